"""The plots of the failure browser: scatter plot and histogram of the frames that pass.

`charts_message` makes the message that web/charts.js draws.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int
from pandas.api.types import is_integer_dtype, is_numeric_dtype

from digit.widgets.columns import axis_title, compared_with
from digit.widgets.frame_filter import Selection

BINS = 40  # of the histogram, at most
MOST_CATEGORIES = 8  # that get a colour of their own: as many as can be told apart

Message = tuple[dict[str, Any], list[bytes]]

# The x axis at first: the first of these that the table has
FIRST_X = ("hidden", "heatmap_entropy", "error_depth", "mpjpe")


class Axes(NamedTuple):
    """The columns of the plots."""

    x: str
    y: str
    bars: str  # of the histogram
    color: str = ""  # of the points; empty for one or two hands


def first_axes(table: pd.DataFrame) -> Axes:
    """What is plotted at first: the error against what most likely explains it."""
    x = next(name for name in FIRST_X if name in table)
    return Axes(x=x, y="mpjpe", bars="mpjpe")


def charts_message(
    table: pd.DataFrame,
    selection: Selection,
    axes: Axes,
) -> Message:
    """Scatter plot and histogram of the frames that pass.

    Args:
        table: The error table.
        selection: The rows that pass.
        axes: The columns to plot.

    Returns:
        The message; its buffers are x, y (float32), whether there are two hands (uint8),
        the row (int32), whether it was chosen (uint8), and where they are coloured by a
        column its numbers (float32), for each point.
    """
    # 1. The points
    shown = table.iloc[selection.before_choice]
    two_hands = np.zeros(len(shown), np.uint8)
    if "hand_type" in shown:
        two_hands = (shown["hand_type"] == "interacting").to_numpy(np.uint8)
    chosen = np.isin(selection.before_choice, selection.rows)
    points = [
        shown[axes.x].to_numpy(np.float32),
        shown[axes.y].to_numpy(np.float32),
        two_hands,
        selection.before_choice.astype(np.int32),
        chosen.astype(np.uint8),
    ]
    categories = None
    if axes.color:
        colors, categories = point_colors(shown[axes.color])
        points.append(colors)

    # 2. The histogram
    values = shown[axes.bars].to_numpy(float)
    known = values[np.isfinite(values)]
    counts, edges = histogram(known, is_integer_dtype(shown[axes.bars].dtype))
    titles = {key: axis_title(name) for key, name in axes._asdict().items() if name}
    content = {
        "kind": "charts",
        "axes": axes._asdict(),
        "titles": titles,
        "categories": categories,
        "diagonal": compared_with(axes.x) == axes.y,
        "counts": counts.tolist(),
        "edges": edges.tolist(),
        "unknown": len(values) - len(known),
    }
    return content, [array.tobytes() for array in points]


def point_colors(
    values: pd.Series,
) -> tuple[Float32[np.ndarray, "n"], list[str] | None]:
    """What points are coloured by.

    Args:
        values: A column.

    Returns:
        Its numbers; of a column of text the number of each word in the list that is
        returned beside, the most frequent words first, and −1 for all others.
    """
    if is_numeric_dtype(values.dtype):
        return values.to_numpy(np.float32), None
    words = values.astype(str)
    frequent = words.value_counts().index[:MOST_CATEGORIES].tolist()
    number = {word: i for i, word in enumerate(frequent)}
    return words.map(number).fillna(-1).to_numpy(np.float32), frequent


def histogram(
    values: Float[np.ndarray, "n"], whole_numbers: bool
) -> tuple[Int[np.ndarray, "b"], Float[np.ndarray, "c"]]:
    """Counts and edges of bins over finite values.

    Bins of whole numbers hold whole numbers: their edges lie halfway between, and each
    is equally many numbers wide.
    """
    whole_numbers = whole_numbers or bool((values == np.round(values)).all())
    if not whole_numbers or len(values) == 0:
        return np.histogram(values, BINS if len(values) > 1 else 1)
    # As many numbers in each bin as make at most BINS of them
    low = values.min()
    count = values.max() - low + 1
    width = np.ceil(count / BINS)
    edges = low - 0.5 + width * np.arange(np.ceil(count / width) + 1)
    return np.histogram(values, edges)

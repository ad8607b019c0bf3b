"""The messages that the failure browser sends to its page.

Each function returns the content of a message as JSON values and its buffers; the
counterpart that draws them is web/failure_browser.js.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from pandas.api.types import is_integer_dtype

from digit.evaluation.metrics import ERRORS
from digit.plots import overlays
from digit.plots.strokes import CHAINS, finger_color
from digit.plots.style import LINE_COLORS, PLOTLY
from digit.skeleton import FINGERS, JOINTS, LABELS, PARTS, SIDES
from digit.widgets.canvas import encode_jpeg
from digit.widgets.columns import column_records, describe, frame_facts
from digit.widgets.exports import PAGE_LIMIT
from digit.widgets.frame_filter import FilterState, Selection, describe_range
from digit.widgets.frame_view import THUMBNAIL_PX, FrameSource, FrameView
from digit.widgets.messages import one_line, plain_facts, plain_numbers

PER_PAGE = 18  # thumbnails
SHEET_COLUMNS = 6  # of the static picture
CROP_QUALITY = 88  # of the JPEG of a frame's crop
EXPORT_QUALITY = 80
BINS = 40  # of the histogram, at most

Message = tuple[dict[str, Any], list[bytes]]
Pictures = list[UInt8[np.ndarray, "s s 3"]]

# The x axis at first: the first of these that the table has
FIRST_X = ("hidden", "heatmap_entropy", "error_depth", "mpjpe")

PICTURE_LAYER = "picture"
LAYERS_BY_PART = (overlays.PART_PROBABILITY,)
LAYERS_BY_JOINT = (overlays.JOINT_HEATMAP,)


class Look(NamedTuple):
    """How a frame is shown."""

    layer: str = PICTURE_LAYER  # or one of `overlays.LAYERS`
    part: str = LABELS[1]  # whose probability is shown
    joint: str = JOINTS[4]  # whose heatmap is shown
    camera: bool = False  # hands in camera space, not with their wrists aligned


class Axes(NamedTuple):
    """The columns of the plots."""

    x: str
    y: str
    bars: str  # of the histogram


def first_axes(table: pd.DataFrame) -> Axes:
    """What is plotted at first: the error against what most likely explains it."""
    x = next(name for name in FIRST_X if name in table)
    return Axes(x=x, y="mpjpe", bars="mpjpe")


def parts_by_finger() -> list[str]:
    """The part labels in the order of the fingers, the background last."""

    def place(label: int) -> tuple[int, int, str]:
        side, part = divmod(label - 1, len(PARTS))
        name = PARTS[part]
        finger = len(FINGERS) if name == "palm" else FINGERS.index(name[:-1])
        return side, finger, name

    labels = sorted(range(1, len(LABELS)), key=place)
    return [LABELS[label] for label in labels] + [LABELS[0]]


def finger_colors() -> list[list[str]]:
    """The colour of each finger, palm and wrist, by side."""
    return [[finger_color(finger, side) for finger in range(6)] for side in (0, 1)]


def state_message(
    table: pd.DataFrame,
    *,
    slices: dict[str, str],
    tags: Sequence[str],
    models: Sequence[str],
    look: Look,
    warning: str,
    verdict: str,
) -> Message:
    """All that stays the same from frame to frame.

    Args:
        table: The error table.
        slices: Name → condition of the slices on columns that the table has.
        tags: Tags to offer.
        models: Names of the models.
        look: How frames are shown.
        warning: What is missing.
        verdict: The comparison of two models in words.
    """
    content = {
        "kind": "state",
        "columns": column_records(table),
        "slices": slices,
        "layers": [PICTURE_LAYER, *overlays.LAYERS],
        "layers_by_part": LAYERS_BY_PART,
        "layers_by_joint": LAYERS_BY_JOINT,
        "parts": parts_by_finger(),
        "joints": JOINTS,
        "tags": list(tags),
        "models": list(models),
        "look": look._asdict(),
        "warning": warning,
        "verdict": verdict,
        "per_page": PER_PAGE,
        "page_limit": PAGE_LIMIT,
        "chains": CHAINS,
        "fingers": finger_colors(),
        "line_colors": LINE_COLORS,
        "wrong_colors": overlays.WRONG_COLORS,
        "font": PLOTLY["font"],
    }
    return content, []


def page_message(
    table: pd.DataFrame,
    rows: Int[np.ndarray, "n"],
    page: int,
    *,
    state: FilterState,
    unknown_counts: Sequence[int],
    frames: FrameSource,
    keys: Sequence[str],
) -> Message:
    """A page of thumbnails and the filter that they pass.

    Args:
        table: The error table.
        rows: Its rows that pass, in order.
        page: Number of the page.
        state: The filter.
        unknown_counts: For each range of it, how many frames have no value.
        frames: Where the thumbnails come from.
        keys: The name of each row of the table.
    """
    # 1. The thumbnails
    cells = []
    pictures = []
    first = page * PER_PAGE
    for row in rows[first : first + PER_PAGE].tolist():
        fault = ""
        picture = b""
        try:
            picture = frames.thumbnail(row)
        except Exception as error:  # whatever is wrong with one frame, the others show
            fault = one_line(error)
        frame = table.loc[row, ["tags", "note"]]
        cells.append(
            {
                "row": row,
                "text": _format_value(table.loc[row, state.sort]),
                "title": keys[row],
                "fault": fault,
                "marked": bool(frame["tags"] or frame["note"]),
            }
        )
        pictures.append(picture)

    # 2. The filter
    chips = []
    for given, unknown in zip(state.ranges, unknown_counts, strict=True):
        chips.append({"text": describe_range(given), "unknown": unknown})
    content = {
        "kind": "page",
        "cells": cells,
        "chips": chips,
        "page": page,
        "state": {
            "query": state.query,
            "slices": list(state.slices),
            "ranges": [list(given) for given in state.ranges],
            "sort": state.sort,
            "descending": state.descending,
            "chosen": state.chosen is not None,
        },
        "shown": len(rows),
        "total": len(table),
    }
    return content, pictures


def _format_value(value: Any) -> str:
    """A value of the column that is sorted by, under a thumbnail."""
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def thumbnail_sheet(
    rows: Int[np.ndarray, "n"], frames: FrameSource
) -> UInt8[np.ndarray, "h w 3"] | None:
    """The thumbnails of rows of the table as one picture.

    Args:
        rows: The rows.
        frames: Where the thumbnails come from.

    Returns:
        The picture, grey where a frame has none; None if no frame has one.
    """
    # 1. A tile for each frame
    tiles = []
    found_any = False
    for row in rows.tolist():
        try:
            data = np.frombuffer(frames.thumbnail(row), np.uint8)
            tiles.append(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))
            found_any = True
        except (ValueError, KeyError, OSError):
            tiles.append(_grey_tile())

    # 2. Full lines
    if not found_any:
        return None
    while len(tiles) % SHEET_COLUMNS:
        tiles.append(_grey_tile())
    lines = []
    for first in range(0, len(tiles), SHEET_COLUMNS):
        lines.append(np.hstack(tiles[first : first + SHEET_COLUMNS]))
    return np.vstack(lines)


def _grey_tile() -> UInt8[np.ndarray, "s s 3"]:
    return np.full((THUMBNAIL_PX, THUMBNAIL_PX, 3), 128, np.uint8)


def charts_message(
    table: pd.DataFrame,
    selection: Selection,
    axes: Axes,
    current_row: int | None,
) -> Message:
    """Scatter plot and histogram of the frames that pass.

    Args:
        table: The error table.
        selection: The rows that pass.
        axes: The columns to plot.
        current_row: The row of the frame that is shown, None for none.

    Returns:
        The message; its buffers are x, y (float32), whether there are two hands (uint8),
        the row (int32) and whether it was chosen (uint8), for each point.
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

    # 2. The histogram
    values = shown[axes.bars].to_numpy(float)
    known = values[np.isfinite(values)]
    counts, edges = histogram(known, is_integer_dtype(shown[axes.bars].dtype))
    content = {
        "kind": "charts",
        "axes": axes._asdict(),
        "titles": {key: axis_title(name) for key, name in axes._asdict().items()},
        "counts": counts.tolist(),
        "edges": edges.tolist(),
        "unknown": len(values) - len(known),
        "current": current_row,
    }
    return content, [array.tobytes() for array in points]


def axis_title(name: str) -> str:
    """A column's title with its unit."""
    column = describe(name)
    return f"{column.title} ({column.unit})" if column.unit else column.title


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


def frame_card(
    table: pd.DataFrame,
    row: int,
    *,
    key: str,
    tags: Sequence[str],
    note: str,
    frames: FrameSource,
    look: Look,
) -> tuple[dict[str, Any], Pictures]:
    """All there is to show of a frame.

    Args:
        table: The error table.
        row: The frame's row.
        key: Its name.
        tags: Its tags.
        note: Its note.
        frames: Where its pictures and predictions come from.
        look: How it is shown.

    Returns:
        JSON values, and a picture for each model; where the frame has no picture, none,
        and `fault` says why.
    """
    # 1. What the table tells
    frame = table.iloc[row]
    other_columns = [name for name in table if name not in ERRORS]
    card = {
        "row": row,
        "key": key,
        "title": frame_title(frame),
        "facts": frame_facts(frame),
        "values": plain_facts(frame[other_columns]),
        "tags": list(tags),
        "note": note,
        "errors": _joint_errors(frame, frames),
        "camera": look.camera,
        "fault": "",
        "pictures": [],
    }

    # 2. The picture, if there is one
    try:
        view = frames.view(row)
    except Exception as error:  # the browser outlives every frame
        card["fault"] = one_line(error)
        return card, []

    # 3. The truth, and each model's prediction
    card["true"] = plain_numbers(view.joints_px)
    card["true_mm"] = plain_numbers(view.joints_cam_mm)
    pictures = []
    for model in range(len(view.predictions)):
        record, picture = _model_picture(view, model, look)
        card["pictures"].append(record)
        pictures.append(picture)
    return card, pictures


def frame_title(frame: pd.Series) -> str:
    """Where a frame comes from."""
    words = []
    if "seq_name" in frame:
        words.append(str(frame["seq_name"]))
    if "camera" in frame:
        words.append(f"camera {frame['camera']}")
    if "frame_idx" in frame:
        words.append(f"frame {frame['frame_idx']}")
    words.append(f"image {frame['image_id']}")
    return " · ".join(words)


def _joint_errors(frame: pd.Series, frames: FrameSource) -> list[list]:
    """The error of each joint (mm), for each model."""
    errors = [plain_numbers(frame[ERRORS])]
    for model in frames.models[1:]:
        row = model.row_of.get(frame["image_id"])
        if row is None:
            errors.append([None] * len(JOINTS))
        else:
            errors.append(plain_numbers(model.table.iloc[row][ERRORS]))
    return errors


def _model_picture(
    view: FrameView, model: int, look: Look
) -> tuple[dict[str, Any], UInt8[np.ndarray, "s s 3"]]:
    """The crop under one model's layer, and its joints."""
    prediction = view.predictions[model]
    picture, caption = overlays.paint_layer(
        view.picture,
        look.layer,
        true=view.true_parts,
        output=None if prediction is None else prediction.output,
        part=LABELS.index(look.part),
        joint=JOINTS.index(look.joint),
    )
    record = {"caption": caption, "joints": None, "mm": None}
    if prediction is not None:
        joints_mm = prediction.joints_aligned_mm
        if look.camera:
            joints_mm = prediction.joints_cam_mm
        record["joints"] = plain_numbers(prediction.joints_px)
        record["mm"] = plain_numbers(joints_mm)
    return record, picture


def frame_message(
    card: dict[str, Any], pictures: Pictures, position: int, count: int
) -> Message:
    """A frame's card with its pictures, and its place among the frames that pass."""
    content = {**card, "kind": "frame", "position": position, "count": count}
    return content, [encode_jpeg(picture, CROP_QUALITY) for picture in pictures]


def no_frame_message() -> Message:
    """What is shown where no frame passes the filter."""
    fault = "No frame passes. Remove a part of the filter, or press “clear”."
    return {"kind": "frame", "row": None, "fault": fault}, []


def comparison_words(names: Sequence[str], found: dict[str, float]) -> str:
    """The paired comparison of two models in words.

    Args:
        names: The names of A and B.
        found: What `paired_difference` returns.
    """

    def signed(value: float) -> str:
        return f"{value:+.2f}".replace("-", "−")

    return (
        f"A: {names[0]}. B: {names[1]}. MPJPE, B − A: {signed(found['difference'])} mm "
        f"(95 % CI {signed(found['low'])} … {signed(found['high'])}, "
        f"{found['groups']:.0f} groups of frames resampled). B is better in "
        f"{found['better']:.0f}, A in {found['worse']:.0f} of {found['frames']:.0f} "
        "frames."
    )


def with_hidden_share(table: pd.DataFrame) -> pd.DataFrame:
    """The table's columns of one value a frame, and the mean hidden share of its hands."""
    # Columns of arrays (part counts) are for the evaluation.
    first = table.iloc[0] if len(table) else {}
    names = [n for n in table if not isinstance(first.get(n), np.ndarray)]
    flat = table[names]
    ways = [f"{side}_hidden_by_{by}" for side in SIDES for by in ("other", "itself")]
    if {*ways, "hand_type"} <= set(flat):
        hands = 1 + (flat["hand_type"] == "interacting")
        flat = flat.assign(hidden=flat[ways].sum(axis=1) / hands)
    return flat.reset_index(drop=True)

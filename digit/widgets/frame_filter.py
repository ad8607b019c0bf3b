"""Which frames the failure browser shows, and in what order.

`FrameFilter` applies a `FilterState` to the table; the page changes the state.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from pandas.api.types import is_numeric_dtype

from digit.widgets.conditions import holds

# Buttons above the table: name → condition. Those on missing columns are left out.
SLICES = {
    "interacting": "hand_type == 'interacting'",
    "single": "hand_type != 'interacting'",
    "worst 5 %": "mpjpe >= mpjpe.quantile(0.95)",
    "swapped hands": "joints_swapped == 1",
    "hand type wrong": "handedness_correct == 0",
    "wrong hand in the parts": "wrong_hand_share > 0.5",
    "heavily hidden": "hidden > 0.5",
    "hands touch": "hands_distance_mm < 1",
    "unsure": "heatmap_entropy >= heatmap_entropy.quantile(0.95)",
    "contradicts itself": "contradiction >= contradiction.quantile(0.95)",
    "not measurable": "mpjpe != mpjpe",
    "tagged": "tags != ''",
    "noted": "note != ''",
    "B better": "mpjpe_change < 0",
    "A better": "mpjpe_change > 0",
    "changed most": "changed >= changed.quantile(0.95)",
}


class FilterState(NamedTuple):
    """What is filtered by, and the order."""

    query: str = ""  # a condition
    slices: Sequence[str] = ()  # names of slices
    # [column, lowest, highest] for numbers, None is open; [column, word] for text
    ranges: Sequence[Sequence[Any]] = ()
    chosen: Sequence[int] | None = None  # rows of the table, for instance of a plot
    sort: str = "mpjpe"
    descending: bool = True
    # [space, image_id]: `distance_to_chosen` is then the distance to this frame
    like: Sequence[Any] | None = None

    def describe(self) -> str:
        """The filter in words; "no filter" where there is none."""
        words = [*self.slices]
        if self.query.strip():
            words.append(self.query.strip())
        words += [describe_range(given) for given in self.ranges]
        if self.chosen is not None:
            words.append(f"{len(self.chosen)} frames chosen by hand")
        return "; ".join(words) or "no filter"

    def describe_order(self) -> str:
        """The order in words."""
        if self.like is not None:
            space, image_id = self.like
            return f"like image {image_id} by {space}"
        direction = "descending" if self.descending else "ascending"
        return f"by {self.sort}, {direction}"

    def describe_change(self, after: "FilterState") -> str:
        """What another filter changes, in words; empty if nothing."""
        words = []
        if self.describe() != after.describe():
            words.append(f"filter “{self.describe()}” → “{after.describe()}”")
        if self.describe_order() != after.describe_order():
            words.append(f"order {self.describe_order()} → {after.describe_order()}")
        return "; ".join(words)

    def depends_on_notes(self) -> bool:
        """Whether a tag or a note may change which frames pass."""
        # Names are enough: a filter that is applied again in vain costs little.
        columns = [given[0] for given in self.ranges]
        words = " ".join([self.query, self.sort, *self.slices, *columns])
        return "tag" in words or "note" in words


class Selection(NamedTuple):
    """Rows of the table that pass, in order."""

    rows: Int[np.ndarray, "n"]
    before_choice: Int[np.ndarray, "m"]  # without `chosen`: what the plots show


def describe_range(given: Sequence[Any]) -> str:
    """A range in words: 10 ≤ mpjpe ≤ 20."""
    column, *ends = given
    if len(ends) == 1:
        return f"{column} = {ends[0]}"
    low, high = ends
    text = column
    if low is not None:
        text = f"{low:.4g} ≤ {text}"
    if high is not None:
        text = f"{text} ≤ {high:.4g}"
    return text if text != column else f"{column} is known"


class FrameFilter:
    """Filters and sorts a table.

    Args:
        table: The table; the object may get further columns later.
        slices: Name → condition (see `digit.widgets.conditions`).
    """

    def __init__(self, table: pd.DataFrame, slices: Mapping[str, str]) -> None:
        self.table = table
        self.slices = dict(slices)

    def usable_slices(self) -> dict[str, str]:
        """The slices on columns that the table has."""
        # A condition on a missing column raises ValueError, on one row as on all.
        usable = {}
        first = self.table.head(1)
        for name, condition in self.slices.items():
            try:
                holds(first, condition)
            except ValueError:
                continue
            usable[name] = condition
        return usable

    def apply(self, state: FilterState) -> Selection:
        """The rows that pass.

        Raises:
            ValueError: If a condition, a slice, a range or the column to sort by is
                invalid.
        """
        # 1. Conditions
        passes = holds(self.table, state.query)
        for name in state.slices:
            if name not in self.slices:
                raise ValueError(f"There is no slice “{name}”.")
            passes &= holds(self.table, self.slices[name])
        for given in state.ranges:
            passes &= self._is_inside(given)

        # 2. Order; frames without a value come last
        if state.sort not in self.table:
            raise ValueError(f"There is no column “{state.sort}” to sort by.")
        order = self.table[state.sort].sort_values(
            ascending=not state.descending, kind="stable", na_position="last"
        )
        ordered = order.index.to_numpy()
        before_choice = ordered[passes[ordered]]

        # 3. Rows that were chosen
        rows = before_choice
        if state.chosen is not None:
            rows = rows[np.isin(rows, np.asarray(state.chosen, int))]
        return Selection(rows, before_choice)

    def _is_inside(self, given: Sequence[Any]) -> Bool[np.ndarray, "n"]:
        """Which rows a range keeps; rows without a value are outside."""
        # 1. A word of a column of text
        column, *ends = given
        if column not in self.table:
            raise ValueError(f"There is no column “{column}”.")
        values = self.table[column]
        if len(ends) == 1:
            return (values.astype(str) == str(ends[0])).to_numpy(bool)

        # 2. Numbers between two ends
        if not is_numeric_dtype(values.dtype):
            raise ValueError(f"{column} holds text: give one of its words.")
        low, high = ends
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"{column}: from {low:g} to {high:g} is empty, as the lowest value is "
                "above the highest; swap them."
            )
        inside = values.notna()
        if low is not None:
            inside &= values >= low
        if high is not None:
            inside &= values <= high
        return inside.to_numpy(bool)

    def unknown_counts(self, state: FilterState) -> list[int]:
        """For each range, how many frames have no value in its column."""
        return [int(self.table[given[0]].isna().sum()) for given in state.ranges]

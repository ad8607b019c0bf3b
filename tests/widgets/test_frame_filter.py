"""Filters, order and histograms of the failure browser, on small tables."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digit.widgets.chart_messages import BINS, histogram
from digit.widgets.columns import column_records, describe
from digit.widgets.frame_filter import SLICES, FilterState, FrameFilter
from digit.widgets.page_messages import parts_by_finger

# Their shortest decimals are not among them: an end that is rounded would drop frames.
ODD = [0.1 + 0.2, 1 / 3, np.float32(0.7), 1e-17]


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": range(6),
            "mpjpe": [30.0, 10.0, np.nan, 20.0, 50.0, 40.0],
            "hidden": [*ODD, np.nan, np.nan],
            "hand_type": ["left", "right", "interacting"] * 2,
        }
    )


@pytest.fixture
def frames(table) -> FrameFilter:
    return FrameFilter(table, SLICES)


def rows_of(frames: FrameFilter, **state) -> list[int]:
    return frames.apply(FilterState(**state)).rows.tolist()


def test_the_worst_frame_comes_first_and_the_unknown_last(frames):
    assert rows_of(frames) == [4, 5, 0, 3, 1, 2]
    assert rows_of(frames, descending=False) == [1, 3, 0, 5, 4, 2]


def test_filters_join(frames):
    assert rows_of(frames, query="mpjpe > 15", slices=["interacting"]) == [5]
    ranges = [["mpjpe", 0, 40], ["hand_type", "left"]]
    assert rows_of(frames, ranges=ranges) == [0, 3]


def test_a_range_with_the_ends_that_are_offered_drops_no_known_frame(frames, table):
    [record] = [r for r in column_records(table) if r["name"] == "hidden"]
    low, high = record["range"]
    assert rows_of(frames, ranges=[["hidden", low, high]], sort="image_id") == [
        3,
        2,
        1,
        0,
    ]


@given(st.lists(st.floats(-(2**99), 2**99, width=32), min_size=1))
def test_the_ends_that_are_offered_hold_all_values(values):
    table = pd.DataFrame({"mpjpe": values, "hidden": np.float32(values)})
    frames = FrameFilter(table, {})
    for record in column_records(table):
        given_range = [record["name"], *record["range"]]
        assert len(rows_of(frames, ranges=[given_range])) == len(values)


def test_a_blank_end_is_open(frames):
    assert rows_of(frames, ranges=[["mpjpe", 25, None]]) == [4, 5, 0]
    assert rows_of(frames, ranges=[["mpjpe", None, 25]]) == [3, 1]
    assert rows_of(frames, ranges=[["mpjpe", None, None]]) == [4, 5, 0, 3, 1]


def test_frames_without_a_value_are_counted(frames):
    state = FilterState(ranges=[["hidden", None, 1], ["mpjpe", 0, None]])
    assert frames.unknown_counts(state) == [2, 1]


def test_an_empty_range_is_refused(frames):
    with pytest.raises(ValueError, match=r"mpjpe: from 9 to 3 is empty.*swap them"):
        rows_of(frames, ranges=[["mpjpe", 9, 3]])


@pytest.mark.parametrize(
    "state",
    [
        {"slices": ["none"]},
        {"ranges": [["none", 1, 2]]},
        {"ranges": [["hand_type", 1, 2]]},
        {"sort": "none"},
    ],
)
def test_what_the_table_lacks_is_refused(frames, state):
    with pytest.raises(ValueError, match=r"There is no|holds text"):
        rows_of(frames, **state)


def test_slices_on_missing_columns_are_left_out(frames):
    assert "interacting" in frames.usable_slices()
    assert "heavily hidden" in frames.usable_slices()
    assert "swapped hands" not in frames.usable_slices()


def test_chosen_rows_leave_the_plots_as_they_are(frames):
    selection = frames.apply(FilterState(chosen=[3, 5], slices=["interacting"]))
    assert selection.rows.tolist() == [5]
    assert selection.before_choice.tolist() == [5, 2]


def test_a_filter_is_described_in_words():
    state = FilterState(
        query="mpjpe > 3", slices=["tagged"], ranges=[["hidden", 0.25, None]]
    )
    assert state.describe() == "tagged; mpjpe > 3; 0.25 ≤ hidden"
    assert FilterState().describe() == "no filter"


def test_bins_of_whole_numbers_hold_whole_numbers():
    counts, edges = histogram(np.array([1.0, 1.0, 2.0, 4.0]), whole_numbers=True)
    assert counts.tolist() == [2, 1, 0, 1]
    assert edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    counts, edges = histogram(np.arange(1000.0), whole_numbers=True)
    assert len(counts) <= BINS
    assert set(counts[:-1]) == {25}


@pytest.mark.parametrize("values", [[], [3.5], [1.5, 2.25, 9.0]])
def test_a_histogram_counts_every_value(values):
    counts, edges = histogram(np.array(values), whole_numbers=False)
    assert counts.sum() == len(values)
    assert len(edges) == len(counts) + 1


def test_columns_are_grouped_and_explained(table):
    records = column_records(table)
    names = [record["name"] for record in records]
    assert names.index("mpjpe") < names.index("hidden") < names.index("image_id")
    assert describe("mpjpe_camera").help
    assert describe("error_l_wrist").title == "error of l_wrist"
    assert describe("of_mine").title == "of_mine"


def test_parts_are_listed_finger_by_finger():
    parts = parts_by_finger()
    assert parts[:6] == [
        "r_thumb1",
        "r_thumb2",
        "r_thumb3",
        "r_index1",
        "r_index2",
        "r_index3",
    ]
    assert parts[15] == "r_palm"
    assert len(set(parts)) == 33

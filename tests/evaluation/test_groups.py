"""Groups of frames: means, intervals and films with known answers."""

import numpy as np
import pandas as pd
import pytest

from digit.evaluation.bootstrap import mean_interval
from digit.evaluation.groups import group_statistics, sequence_rows


@pytest.fixture
def table() -> pd.DataFrame:
    """Two cameras, three instants of one sequence, one frame of another."""
    return pd.DataFrame(
        {
            "capture": [0, 0, 0, 0, 0, 1],
            "seq_name": ["a", "a", "a", "a", "a", "a"],
            "camera": ["1", "2", "1", "1", "2", "1"],
            "frame_idx": [9, 3, 3, 6, 6, 0],
            "mpjpe": [10.0, 40.0, 20.0, 30.0, np.nan, 5.0],
        }
    )


def test_groups_have_number_mean_and_worst_and_come_worst_first(table):
    second, first = group_statistics(table, "camera")
    assert (second.value, second.frames, second.mean) == ("2", 1, 40)
    assert (first.value, first.frames, first.mean) == ("1", 4, 16.25)
    assert (first.worst, first.worst_row) == (30, 3)
    assert first.low < first.mean < first.high
    assert np.isnan(second.low)


def test_an_unknown_column_is_refused(table):
    with pytest.raises(KeyError):
        group_statistics(table, "shoe_size")


def test_the_interval_of_independent_frames_is_the_textbook_one():
    errors = np.random.default_rng(0).normal(30, 10, 400)
    low, high = mean_interval(pd.DataFrame({"mpjpe": errors}), draws=4000)
    half = 1.96 * errors.std() / 20
    assert low == pytest.approx(errors.mean() - half, abs=0.1)
    assert high == pytest.approx(errors.mean() + half, abs=0.1)


def test_frames_of_alike_sequences_have_a_wider_interval():
    sequence = np.repeat(np.arange(20), 20)
    errors = np.random.default_rng(0).normal(30, 10, 20)[sequence]
    table = pd.DataFrame({"mpjpe": errors, "capture": 0, "seq_name": sequence})
    low, high = mean_interval(table)
    alone_low, alone_high = mean_interval(table[["mpjpe"]])
    assert high - low > 3 * (alone_high - alone_low)


def test_a_film_is_one_camera_in_the_order_of_time(table):
    assert sequence_rows(table, 0).tolist() == [2, 3, 0]
    assert sequence_rows(table, 4).tolist() == [1, 4]
    assert sequence_rows(table, 5).tolist() == [5]
    with pytest.raises(ValueError, match="no column seq_name"):
        sequence_rows(table.drop(columns="seq_name"), 0)

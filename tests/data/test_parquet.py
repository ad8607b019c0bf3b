"""Parquet tables: damage is noticed, whatever byte it is in."""

import numpy as np
import pandas as pd
import pytest

from digit.data.parquet import read_table, write_table


@pytest.fixture
def table():
    numbers = np.random.default_rng(0).normal(size=(50, 3))
    return pd.DataFrame(numbers, columns=["a", "b", "c"])


def test_tables_come_back_as_they_were(table, tmp_path):
    write_table(tmp_path / "x.parquet", table)
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.parquet"), table)
    table.to_parquet(tmp_path / "old.parquet")  # without checksums
    pd.testing.assert_frame_equal(read_table(tmp_path / "old.parquet"), table)


def test_every_changed_byte_is_noticed_or_without_effect(table, tmp_path):
    path = tmp_path / "x.parquet"
    write_table(path, table)
    whole = path.read_bytes()
    noticed = 0
    for place in range(4, len(whole), 37):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        )
        try:
            found = read_table(path, "evaluate again")
        except ValueError as error:
            assert str(path) in str(error) and str(error).endswith("; evaluate again")
            noticed += 1
        else:
            pd.testing.assert_frame_equal(found, table)
    assert noticed > 20


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100, b"text"])
def test_what_is_no_table_is_named(content, tmp_path):
    path = tmp_path / "x.parquet"
    with pytest.raises(FileNotFoundError, match="digit evaluate --errors"):
        read_table(path)
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"^{path}: cannot be read as a Parquet table"
    ):
        read_table(path)

"""Tables in Parquet files whose pages carry checksums, so that damage is noticed.

Error tables and the truth of synthetic data are written and read here.
"""

from pathlib import Path

import pandas as pd

from digit.files import atomic


def write_table(
    path: Path | str, table: pd.DataFrame, index: bool | None = None
) -> None:
    """Write a table, whole or not at all.

    Args:
        path: The file.
        table: The table.
        index: Whether its index is written, as in `DataFrame.to_parquet`.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic(path, "wb") as file:
        table.to_parquet(file, index=index, engine="pyarrow", write_page_checksum=True)


EVALUATE_HINT = "make a new one with digit evaluate --errors"


def read_table(path: Path | str, hint: str = EVALUATE_HINT) -> pd.DataFrame:
    """Read a table; checksums are verified where the file has them.

    Args:
        path: The file.
        hint: What an error message advises; by default for an error table.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such table, or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such table; {hint}")
    try:
        return pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True)
    # pyarrow raises exceptions of many kinds for damaged files.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{path}: cannot be read as a Parquet table ({reason}); {hint}"
        ) from None

"""Values as the page gets them: numbers without NaN, pictures as JPEG, errors in a line."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def plain_numbers(values: Any) -> list:
    """Numbers as nested lists of tenths, None where they are not finite."""
    array = np.round(np.asarray(values, float), 1)
    return np.where(np.isfinite(array), array.astype(object), None).tolist()


def plain_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """The known values of a table's row as JSON values."""
    facts = {}
    for name, value in row.items():
        if pd.isna(value):
            continue
        facts[name] = value.item() if isinstance(value, np.generic) else value
    return facts


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # str(error) would put it in quotes
    else:
        text = str(error)
    return " ".join(text.split())[:400] or type(error).__name__

"""Frames of an index whose sequence, camera or family holds some words.

The data browser's search box calls it.
"""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from digit.data.index import Index

SEARCHED = ("capture", "seq_name", "camera", "subject", "family")


class Names(NamedTuple):
    """The names in a column of the index."""

    unique: list[str]
    number: Int[np.ndarray, "n"]  # of each row's name


class FrameSearch:
    """Finds rows of an index by words.

    Args:
        index: The frames.
    """

    def __init__(self, index: Index) -> None:
        self._names: dict[str, Names] = {}
        for column in SEARCHED:
            if column not in index.columns():
                continue
            number, unique = pd.factorize(np.asarray(index[column]))
            self._names[column] = Names([str(name) for name in unique], number)

    def suggestions(self) -> list[str]:
        """Sequences, families and cameras, in this order."""
        names = []
        for column in ("seq_name", "family", "camera"):
            if column in self._names:
                names += sorted(set(self._names[column].unique))
        return names

    def find(self, text: str) -> Int[np.ndarray, "n"]:
        """The rows that have each of the words in one of the columns.

        Args:
            text: Words or parts of them, in any case; "cam400004" is a camera's name,
                too.

        Raises:
            ValueError: If there is no such row.
        """
        passes = None
        for word in text.split():
            has_word = self._rows_with(word)
            if not has_word.any():
                columns = ", ".join(self._names)
                raise ValueError(f"no frame has {word!r} in its {columns}")
            passes = has_word if passes is None else passes & has_word
        if passes is None:
            some = next(iter(self._names.values()))
            return np.arange(len(some.number))
        if not passes.any():
            raise ValueError(f"no frame has all of {text!r}")
        return np.flatnonzero(passes)

    def _rows_with(self, word: str) -> Bool[np.ndarray, "n"]:
        """Which rows have a word in any of the columns."""
        wanted = re.sub(r"^cam(?=\d)", "", word.lower())
        rows = []
        for names in self._names.values():
            has_word = np.array([wanted in name.lower() for name in names.unique])
            rows.append(has_word[names.number])
        return np.any(rows, axis=0)

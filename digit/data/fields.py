"""What each field of an annotation record must hold, and records turned into columns.

`layout` lists the fields of every file; `annotations` reads the files with
`read_table`. Every fault is reported in one form: file, place in the document, what was
expected, and what was found.
"""

import itertools
import math
import ntpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from digit.skeleton import HAND_TYPES

CHUNK = 4096  # records converted at a time
LONGEST_NAME = (
    500  # bytes of a file name: LMDB takes keys of 511, with the split's name
)
LONGEST_SIDE = 65_535  # pixels, as JPEG has it
# A few broken records are left out and listed; more than that is a broken file. Both
# numbers were chosen by eye.
BROKEN_SHARE = 0.1
BROKEN_NUMBER = 3

LONGEST_SHOWN = 60  # characters of a value that a message shows

Place = tuple[str | int, ...]  # the names and positions that lead to a record
Table = dict[str, np.ndarray]


class Broken(NamedTuple):
    """A record, or a part of a document, that cannot be read."""

    path: Path
    place: str  # "annotations/17/bbox"
    expected: str
    found: str

    def __str__(self) -> str:
        what = f"expected {self.expected}, found {self.found}"
        return f"{self.path}: {self.place or 'top level'}: {what}"


def broken(path: Path, place: Place, expected: str, found: Any) -> Broken:
    """Describe a fault; the value that was found is shortened."""
    where = "/".join(str(key) for key in place)
    return Broken(path, f"{where:.120}", expected, _shown(found))


def check_share(faults: Sequence[Broken], total: int) -> None:
    """Stop where more is broken than may be left out.

    Raises:
        ValueError: If more than a tenth of the records are broken (and more than
            three).
    """
    if len(faults) > max(BROKEN_NUMBER, BROKEN_SHARE * total):
        others = f" and {len(faults) - 1:,} more like it" if len(faults) > 1 else ""
        raise ValueError(
            f"{faults[0]}{others}, of {total:,} records; "
            "correct or remove the records, or download the file again"
        )


class Kind:
    """What a field holds. Each kind of field is a subclass."""

    expected: str  # in words, for messages

    def convert(self, values: list) -> np.ndarray:
        """Make a column of values; raises one of `_MISFITS` if one does not fit."""
        raise NotImplementedError

    def empty(self) -> np.ndarray:
        """A column of no values."""
        raise NotImplementedError


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number, or one written as text (keys of JSON objects are)."""

    low: int = -(2**62)
    high: int = 2**62

    @property
    def expected(self) -> str:
        if self.low < -(2**61):
            return "a whole number"
        return f"a whole number from {self.low} to {self.high}"

    def convert(self, values: list) -> np.ndarray:
        # The usual case needs no look at each value.
        if {type(value) for value in values} != {int}:
            values = [self._whole(value) for value in values]
        column = np.array(values, np.int64)
        # Every value lies within the limits.
        if len(column) and not self.low <= column.min() <= column.max() <= self.high:
            raise ValueError(self.expected)
        return column

    def empty(self) -> np.ndarray:
        return np.empty(0, np.int64)

    @staticmethod
    def _whole(value: Any) -> int:
        if isinstance(value, str):
            return int(value)
        if isinstance(value, bool) or int(value) != value:
            raise ValueError(value)
        return int(value)


@dataclass(frozen=True)
class Text(Kind):
    """A short text, or a number taken as text."""

    expected: str = "text"

    def convert(self, values: list) -> np.ndarray:
        return np.array([self._text(value) for value in values], object)

    def empty(self) -> np.ndarray:
        return np.empty(0, object)

    def _text(self, value: Any) -> str:
        is_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not is_number and not isinstance(value, str):
            raise TypeError(value)
        text = str(value)
        text.encode()  # raises UnicodeEncodeError, a ValueError, for a lone surrogate
        if "\0" in text:
            raise ValueError(value)
        return text


@dataclass(frozen=True)
class FileName(Text):
    """A path below the images' folder: plain names with slashes between them.

    Backslashes, as Windows writes them, count as slashes. Control characters and line
    breaks are refused, as exclude lists have a line a frame.
    """

    expected: str = (
        f"a path of at most {LONGEST_NAME} bytes below the images' folder, without '..' "
        "and line breaks"
    )

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(value)
        # Names that lead out of the images' folder are refused, whoever wrote them.
        name = value.replace("\\", "/")
        parts = name.split("/")
        is_plain = not any(part in ("", ".", "..") for part in parts)
        if not is_plain or ntpath.splitdrive(name)[0]:
            raise ValueError(value)
        if len(name.encode()) > LONGEST_NAME:
            raise ValueError(value)
        if not name.isprintable() and any(map(_breaks_a_line, name)):
            raise ValueError(value)
        return name


@dataclass(frozen=True)
class Numbers(Kind):
    """An array of numbers of one shape; a single number may be a list of one."""

    shape: tuple[int, ...]
    dtype: type = np.float32
    expected: str = field(init=False)

    def __post_init__(self) -> None:
        size = " × ".join(str(n) for n in self.shape)
        text = f"{size} numbers" if size else "a number"
        object.__setattr__(self, "expected", text)

    def convert(self, values: list) -> np.ndarray:
        column = np.array(_without_lists_of_one(values) if self.shape else values)
        if column.dtype.kind == "O" and column.ndim > len(self.shape):
            column = column.astype(self.dtype)  # null becomes NaN
        if column.dtype.kind not in "biuf":
            raise TypeError(self.expected)
        # Validities are numbers in some versions and lists of one in others.
        whole = (len(values), *self.shape)
        if column.shape not in (whole, (*whole, 1)):
            raise ValueError(self.expected)
        with np.errstate(over="ignore"):
            return column.reshape(whole).astype(self.dtype)

    def empty(self) -> np.ndarray:
        return np.empty((0, *self.shape), self.dtype)


def _without_lists_of_one(values: list) -> list:
    """Lists of numbers in the place of lists of one-element lists, if all are such.

    numpy takes twice as long for the latter, and validities make up much of a file.
    """
    first = values[0]
    if not (isinstance(first, list) and first and isinstance(first[0], list)):
        return values
    try:
        lengths = set(map(len, itertools.chain.from_iterable(values)))
    except TypeError:  # some are numbers, or nothing
        return values
    if lengths != {1}:
        return values
    return [list(itertools.chain.from_iterable(value)) for value in values]


@dataclass(frozen=True)
class HandType(Kind):
    """A hand type by its name, as its number in HAND_TYPES."""

    expected: str = "one of " + ", ".join(HAND_TYPES)

    def convert(self, values: list) -> np.ndarray:
        return np.array([HAND_TYPES.index(value) for value in values], np.int8)

    def empty(self) -> np.ndarray:
        return np.empty(0, np.int8)


def read_table(
    path: Path, fields: Mapping[str, Kind], records: Iterable[tuple[Place, Any]]
) -> tuple[Table, list[Broken]]:
    """Turn records into columns, leaving out those that do not fit.

    Args:
        path: The file that the records are of, for messages.
        fields: What each column holds.
        records: (place, record) pairs; a record should be a dictionary.

    Returns:
        The columns, and a description of each record that was left out.

    Raises:
        ValueError: If too many are broken, see `check_share`.
    """
    # An empty chunk first: it gives the columns their types if there are no records.
    chunks = [_convert(fields, [])]
    faults: list[Broken] = []
    total = 0
    for batch in _batches(records):
        total += len(batch)
        try:
            chunks.append(_convert(fields, [record for _, record in batch]))
        except _MISFITS:
            # Find out which records do not fit; flags may also be spelled in two ways.
            for place, record in batch:
                fault = find_fault(path, fields, place, record)
                if fault is None:
                    chunks.append(_convert(fields, [record]))
                else:
                    faults.append(fault)
    check_share(faults, total)
    # One array a column.
    columns = {
        name: np.concatenate([chunk[name] for chunk in chunks]) for name in fields
    }
    return columns, faults


_MISFITS = (KeyError, TypeError, ValueError, OverflowError, RecursionError)


def find_fault(
    path: Path, fields: Mapping[str, Kind], place: Place, record: Any
) -> Broken | None:
    """Describe the first thing that is wrong with a record; None if nothing is."""
    if not isinstance(record, dict):
        return broken(path, place, "an object", record)
    for name, kind in fields.items():
        if name not in record:
            there = ", ".join(map(repr, record)) or "none"
            expected = f"the key {name!r}"
            return Broken(path, _joined(place), expected, f"only {there:.80}")
        try:
            kind.convert([record[name]])
        except _MISFITS:
            return broken(path, (*place, name), kind.expected, record[name])
    return None


def _convert(fields: Mapping[str, Kind], records: list[dict]) -> Table:
    if not records:
        return {name: kind.empty() for name, kind in fields.items()}
    return {
        name: kind.convert([record[name] for record in records])
        for name, kind in fields.items()
    }


def _batches(records: Iterable) -> Iterator[list]:
    iterator = iter(records)
    while batch := list(itertools.islice(iterator, CHUNK)):
        yield batch


def _joined(place: Place) -> str:
    return "/".join(str(key) for key in place)


def _breaks_a_line(character: str) -> bool:
    """Whether a character is a control character, a surrogate or a line separator."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _shown(value: Any) -> str:
    """A value as JSON spells the simple ones, shortened and on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        text = repr(value)
    except RecursionError:
        return "a deeply nested value"
    return re.sub(r"\s+", " ", text[:LONGEST_SHOWN])

"""Reading JSON files of gigabytes a few megabytes at a time.

`walk_json` yields the records of a file one after the other; `annotations` and
`build_index` turn them into columns. A million records are never in memory at once.
"""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

BLOCK = 1 << 22  # characters read at a time
LONGEST = 1 << 26  # characters of one record, at most
EXCERPT = 40  # characters of the file that an error message shows

_scan_value = json.JSONDecoder().raw_decode
_skip_spaces = re.compile(r"\s*").match

Keys = tuple[
    str | int, ...
]  # the path to a value: names in objects, positions in lists


def walk_json(path: Path, depth: int) -> Iterator[tuple[Keys, Any]]:
    """Yield the values that lie `depth` levels down a JSON file, in file order.

    A value that is no object and no list ends its branch early: it is yielded with
    fewer than `depth` keys. NaN and Infinity are read as numbers, a byte-order mark is
    skipped.

    Args:
        path: The file, in UTF-8.
        depth: Levels of objects and lists to go down; 0 yields the whole document.

    Yields:
        (keys, value): the names and positions that lead to the value, and the value.

    Raises:
        ValueError: If the file is cut short, is not JSON, or is nested too deeply; the
            message names the file and shows where.
    """
    with open(path, encoding="utf-8-sig") as file:
        try:
            stream = JsonStream(file)
            yield from stream.walk(depth)
            stream.expect_end()
        except RecursionError:
            message = f"{path}: nested too deeply; download or write the file again"
            raise ValueError(message) from None
        except ValueError as error:  # UnicodeDecodeError as well
            message = f"{path}: {error}; download or write the file again"
            raise ValueError(message) from None


class JsonStream:
    """A JSON document that is read block by block.

    `text` holds what has been read and not yet been passed, from position `at` on.
    """

    def __init__(self, file: IO[str]):
        self.file = file
        self.text = ""
        self.at = 0
        self.ended = False

    def walk(self, depth: int) -> Iterator[tuple[Keys, Any]]:
        """Yield (keys, value) of each value `depth` levels below the current
        position."""
        if depth == 0 or self.peek() not in "{[":
            yield (), self.read_value()
            return
        is_object = self.take("{[") == "{"
        for position in itertools.count():
            if self.peek() in "}]":
                self.take("}" if is_object else "]")
                return
            # From the second item on a comma comes first.
            if position > 0:
                self.take(",")
            key = self.read_key() if is_object else position
            if depth == 1:
                # As the recursion would, at less cost: there are millions of these.
                yield (key,), self.read_value()
                continue
            for keys, value in self.walk(depth - 1):
                yield (key, *keys), value

    def read_key(self) -> str:
        """Read an object's key and the colon behind it."""
        key = self.read_value()
        if not isinstance(key, str):
            raise ValueError(f"not JSON, a key is {key!r:.60} instead of a string")
        self.take(":")
        return key

    def read_value(self) -> Any:
        """Parse one whole value, however many blocks it takes."""
        self.peek()
        while True:
            try:
                # The standard library's scanner, which is written in C.
                value, end = _scan_value(self.text, self.at)
            except json.JSONDecodeError:
                # Either cut by the block's end, or not JSON: more text will tell.
                self.read_block()
                continue
            # A number at the very end of the block may go on in the next one.
            if end + 2 < len(self.text) or self.ended:
                self.at = end
                return value
            self.read_block()

    def peek(self) -> str:
        """The next character that is no space; it is not passed."""
        while True:
            self.at = _skip_spaces(self.text, self.at).end()
            if self.at < len(self.text):
                return self.text[self.at]
            self.read_block()

    def take(self, wanted: str) -> str:
        """Pass the next character, which must be one of those wanted."""
        found = self.peek()
        if found not in wanted:
            raise ValueError(f"not JSON, {wanted!r} is missing before {self.excerpt()}")
        self.at += 1
        return found

    def expect_end(self) -> None:
        """Make sure that nothing but spaces follows."""
        while True:
            self.at = _skip_spaces(self.text, self.at).end()
            if self.at < len(self.text):
                message = f"not JSON, something follows its end: {self.excerpt()}"
                raise ValueError(message)
            if self.ended:
                return
            self.read_block()

    def read_block(self) -> None:
        """Read on, dropping what has been passed."""
        if self.ended or len(self.text) - self.at > LONGEST:
            message = f"cut in the middle, or not JSON, from {self.excerpt()} on"
            raise ValueError(message)
        # Only what is not passed yet is kept: memory stays at a block or two.
        block = self.file.read(BLOCK)
        self.text = self.text[self.at :] + block
        self.at = 0
        self.ended = not block

    def excerpt(self) -> str:
        """The next characters, for an error message."""
        return repr(self.text[self.at : self.at + EXCERPT]) + "…"

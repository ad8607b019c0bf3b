"""Reading huge JSON files a piece at a time."""

import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, LONGEST = (
    1 << 22,
    1 << 26,
)  # characters of a JSON file read at a time; of one value


def walk_json(path: Path, depth: int) -> Iterator[tuple[tuple, Any]]:
    """((key or position, …), value) of each value `depth` levels down a JSON file, in file order.

    Holds a few MB at a time; takes NaN and Infinity. ValueError if the file is cut, or no JSON.
    """
    scan, spaces = json.JSONDecoder().raw_decode, re.compile(r"\s*").match
    text, at, ended = "", 0, False

    def read_on() -> None:
        nonlocal text, at, ended
        if ended or len(text) - at > LONGEST:
            raise ValueError(
                f"cut in the middle, or no JSON, from {text[at : at + 40]!r}… on"
            )
        block = file.read(BLOCK)
        text, at, ended = text[at:] + block, 0, not block

    def mark(
        wanted: str = "",
    ) -> str:  # the next character that is no space; passed if wanted
        nonlocal at
        while (at := spaces(text, at).end()) == len(text):
            read_on()
        if wanted and text[at] not in wanted:
            raise ValueError(
                f"no JSON, {wanted!r} is missing before {text[at : at + 40]!r}…"
            )
        at += bool(wanted)
        return text[at - bool(wanted)]

    def value() -> Any:
        nonlocal at
        mark()
        while True:
            with contextlib.suppress(json.JSONDecodeError):
                found, end = scan(text, at)
                if (
                    end + 2 < len(text) or ended
                ):  # else a number may go on in the next block
                    at = end
                    return found
            read_on()

    def walk(depth: int) -> Iterator[tuple[tuple, Any]]:
        if depth == 0 or mark() not in "{[":
            yield (), value()
            return
        named = mark("{[") == "{"
        for key in itertools.count():
            if mark() in "}]":
                return mark("}]")
            if key:
                mark(",")
            if named:
                key = value()
                mark(":")
            for keys, found in walk(depth - 1):
                yield (key, *keys), found

    with open(path, encoding="utf-8") as file:
        try:
            yield from walk(depth)
        except ValueError as error:  # UnicodeDecodeError too
            raise ValueError(
                f"{path}: {error}; fetch or write the file again"
            ) from None

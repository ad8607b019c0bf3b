"""Tables stored as a folder with one .npy file a column, and how a reader knows them
whole.

`build_index` and the mask renderer write tables; `Index` maps them into memory. Beside
the columns lies `columns.json`, which says what each must look like.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from digit.files import atomic, write_json
from digit.paths import digest

MANIFEST = "columns.json"
PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of a column: never a path
BLOCK = 1 << 22  # bytes hashed at a time


class DamagedTable(ValueError):
    """A table on disk is not what was written."""


def write_columns(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write a table that `read_columns` finds whole or not at all.

    Args:
        folder: Where to; it may hold an older table, which is replaced.
        columns: Arrays with as many rows each; texts become arrays of fixed width.

    Raises:
        ValueError: If a column's name is no plain word.
        OSError: If a file cannot be written.
    """
    for name in columns:
        if not PLAIN_NAME.fullmatch(name):
            message = f"{folder}: a column cannot be called {name!r}"
            raise ValueError(f"{message}; use letters, digits and underscores")

    # The manifest vouches for the columns: it goes first and comes last.
    (folder / MANIFEST).unlink(missing_ok=True)
    manifest: dict[str, Any] = {}
    for name, column in columns.items():
        path = folder / f"{name}.npy"
        # Python's texts become numpy's of fixed width: nothing is pickled.
        array = column.astype(str) if column.dtype == object else column
        with atomic(path, "wb") as file:
            np.save(file, array, allow_pickle=False)
        manifest[name] = {"stamp": stamp(path), "hash": file_hash(path)}
    write_checked_json(folder / MANIFEST, manifest)


def read_columns(folder: Path, rows: int | None = None) -> dict[str, np.ndarray]:
    """Map a table into memory, read-only.

    A column whose size or time of change is not the manifest's is hashed: it may have
    been copied. A table without a manifest, as older versions wrote it, is taken as it
    is.

    Args:
        folder: The table's folder.
        rows: How many rows there must be; None if any number will do.

    Raises:
        DamagedTable: If a column is missing, cut, changed, or of another length.
    """
    # 1. Which columns there should be
    manifest = _read_manifest(folder)
    names = [path.stem for path in sorted(folder.glob("*.npy"))]
    if manifest is not None:
        missing = sorted(set(manifest) - set(names))
        if missing:
            raise DamagedTable(f"{folder}: the column {missing[0]} is missing")
        names = list(manifest)
    if not names:
        raise DamagedTable(f"{folder}: no columns")

    # 2. Each as it was written, and of one length
    table: dict[str, np.ndarray] = {}
    for name in names:
        path = folder / f"{name}.npy"
        if manifest is not None:
            _verify(path, manifest[name])
        table[name] = _map_column(path)
        expected = len(next(iter(table.values()))) if rows is None else rows
        if len(table[name]) != expected:
            what = f"{len(table[name])} rows instead of {expected}"
            raise DamagedTable(f"{path}: {what}")
    return table


def stamp(path: Path) -> list[int]:
    """Size and time of change of a file: equal stamps stand for equal content."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def file_hash(path: Path) -> str:
    """A checksum of a file's content."""
    digest = hashlib.blake2b(digest_size=12)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def file_hashes_agree(folder: Path) -> bool:
    """Whether every byte of a table is as written; reads all of it."""
    manifest = _read_manifest(folder)
    return manifest is not None and all(
        file_hash(folder / f"{name}.npy") == entry["hash"]
        for name, entry in manifest.items()
    )


def write_checked_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with its own checksum, for `read_checked_json`."""
    write_json(path, {**content, "checksum": _checksum(content)}, indent=None)


def read_checked_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that `write_checked_json` wrote.

    Raises:
        DamagedTable: If it is not what was written.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedTable(f"{path}: {_in_one_line(error)}") from None
    expected = content.pop("checksum", None) if isinstance(content, dict) else None
    if expected is None or _checksum(content) != expected:
        raise DamagedTable(f"{path}: not what was written")
    return content


def version_of(path: Path) -> int | None:
    """The version that a JSON object names, whether or not it has a checksum.

    Returns:
        None where there is no such object, or no version in it.
    """
    try:
        version = json.loads(path.read_bytes()).get("version")
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return version if type(version) is int else None


def _checksum(content: dict[str, Any]) -> str:
    return digest(json.dumps(content, sort_keys=True))


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    return read_checked_json(path) if path.exists() else None


def _verify(path: Path, entry: dict[str, Any]) -> None:
    """Make sure that a column is what was written; DamagedTable if not."""
    try:
        is_as_written = (
            stamp(path) == entry["stamp"] or file_hash(path) == entry["hash"]
        )
    except OSError as error:
        raise DamagedTable(f"{path}: {_in_one_line(error)}") from None
    if not is_as_written:
        raise DamagedTable(f"{path}: not what was written")


def _map_column(path: Path) -> np.ndarray:
    try:
        # Of a Path numpy would resolve every link. A plain view: its memmap class would
        # slow down every slice.
        column = np.load(str(path), mmap_mode="r", allow_pickle=False)
        return column.view(np.ndarray)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise DamagedTable(f"{path}: {_in_one_line(error)}") from None


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

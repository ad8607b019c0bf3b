"""Tables stored as one .npy file a column."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from digit.files import atomic


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=12)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 22), b""):
            digest.update(block)
    return digest.hexdigest()


def write_columns(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    """A table, as `_read_columns` maps it into memory."""
    for name, column in columns.items():
        with atomic(folder / f"{name}.npy", "wb") as file:
            np.save(file, column.astype(str) if column.dtype == object else column)


def _read_columns(folder: Path) -> dict[str, np.ndarray]:
    """A table's columns as read-only views of the files; ValueError or EOFError for a cut one."""
    return {
        p.stem: np.load(p, mmap_mode="r").view(np.ndarray) for p in folder.glob("*.npy")
    }


def _stamps(sources: Mapping[str, Path]) -> dict[str, list]:
    return {
        r: [p.name, p.stat().st_size, p.stat().st_mtime_ns] for r, p in sources.items()
    }

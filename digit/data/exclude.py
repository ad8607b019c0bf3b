"""Exclude lists: frames that are left out of training and evaluation, and why.

A list is a text file `prepared/exclude/<split>_<name>.tsv` with a line a frame: its
key, a tab, the reason. `packing` writes "images", `health` writes "check"; a user may
add lists under other names. `Index.excluded` reads all of them.
"""

import logging
from collections.abc import Container, Mapping
from pathlib import Path
from typing import NamedTuple

from digit.files import atomic
from digit.paths import prepared_dir, prepared_places

logger = logging.getLogger(__name__)


class ExcludeLists(NamedTuple):
    """What the exclude lists of a split say."""

    reasons: dict[str, str]  # key of a frame → why it is left out
    ignored: list[str]  # "file, line 3: …" for each line that matches no frame


def write_exclude_list(
    dataset_dir: Path | str, split: str, name: str, reasons: Mapping[str, str]
) -> None:
    """Write the list `<split>_<name>.tsv`, in place of the one that is there.

    Raises:
        OSError: If it cannot be written.
    """
    path = prepared_dir(dataset_dir) / f"exclude/{split}_{name}.tsv"
    with atomic(path) as file:
        for key, reason in reasons.items():
            file.write(f"{key}\t{reason}\n")


def read_exclude_lists(
    dataset_dir: Path | str, split: str, keys: Container[str]
) -> ExcludeLists:
    """Read the exclude lists of a split.

    Blank lines and lines that begin with # are comments. A key without a reason counts.
    The lists lie in the data set's folder, in the user's cache, or in both (where the
    folder is read-only): of two lists with one name the newer is used.

    Args:
        dataset_dir: The data set's folder.
        split: The split.
        keys: The keys of its frames.

    Returns:
        The reasons by key, and the lines that name no frame.
    """
    reasons: dict[str, str] = {}
    ignored: list[str] = []
    for path in _lists(dataset_dir, split):
        # A user's editor may write another encoding: what cannot be read names no
        # frame.
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
        for number, line in enumerate(text.split("\n"), 1):
            key, _, reason = line.strip("\r").partition("\t")
            key = key.strip()
            if not key or key.startswith("#"):
                continue
            # Keys of other frames may be of another version of the labels.
            if key in keys:
                reasons.setdefault(key, reason.strip() or f"listed in {path.name}")
            else:
                what = f"{key[:80]!r} is the key of no frame"
                ignored.append(f"{path}, line {number}: {what}")
    return ExcludeLists(reasons, ignored)


def report_ignored(lines: list[str]) -> None:
    """Log the lines that name no frame, shortened to one line of text."""
    if lines:
        others = f" (and {len(lines) - 1} more such lines)" if len(lines) > 1 else ""
        logger.warning("%s%s; correct it or remove it", lines[0], others)


def _lists(dataset_dir: Path | str, split: str) -> list[Path]:
    """The lists of a split, by name; of equal names the one changed last."""
    found: dict[str, Path] = {}
    for folder in prepared_places(dataset_dir, "exclude"):
        for path in sorted(folder.glob(f"{split}_*.tsv")):
            other = found.get(path.name)
            if other is None or other.stat().st_mtime_ns < path.stat().st_mtime_ns:
                found[path.name] = path
    return [found[name] for name in sorted(found)]

"""Packing images into an LMDB, as the bytes they are; resumed wherever it stopped.

`digit prepare` packs a data set's images with `pack_images`; the mask renderer writes
its masks with `pack`.
"""

import contextlib
import itertools
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import lmdb
from tqdm.auto import tqdm

from digit.data.build_index import prepare_index
from digit.data.exclude import write_exclude_list
from digit.data.images import image_fault, size_fault
from digit.data.layout import splits_of
from digit.data.store import (
    ORIGINAL_IMAGES,
    Store,
    close_handle,
    lmdb_error,
    open_lmdb,
)
from digit.files import exclusive
from digit.paths import prepared_dir, prepared_places

logger = logging.getLogger(__name__)

BATCH_BYTES = 1 << 26  # written in one transaction
READ_AHEAD = 256  # items that threads fetch at a time
READERS = 4  # threads
MAP_BYTES = 1 << 30  # of address space at first; doubled when full

Value = bytes | Callable[[], bytes]


class Packed(NamedTuple):
    """What a packing did."""

    added: int  # frames
    kept: int  # frames that were in already
    unusable: dict[str, str]  # key → why the frame was left out


def pack(
    path: Path | str,
    items: Iterable,
    stop: bool = False,
    executor: Executor | None = None,
) -> Packed:
    """Write (key, value) pairs into an LMDB, in their order, keeping what is in
    already.

    A transaction is whole or not there, so a packing may be killed and repeated. The
    file grows as it must.

    Args:
        path: The LMDB; it is made where it is missing.
        items: (key, value) pairs; a value is bytes or a function that gives them. It
            is called a little ahead of time, and only if the key is not in yet. If it
            raises OSError or ValueError, the frame is left out.
        stop: Whether to stop at the first frame that would be left out.
        executor: What calls the functions; by default some threads.

    Raises:
        ValueError: If another process is packing this LMDB, if it is broken, or at an
            unusable frame with `stop`.
        OSError: If the disk is full, or the file cannot be written or locked.
    """
    path = Path(path)
    unusable: dict[str, str] = {}
    added = kept = 0
    batch: list[tuple[bytes, bytes]] = []
    with _writing(path) as env, ThreadPoolExecutor(READERS) as threads:
        for group in _groups(items, READ_AHEAD):
            # 1. What is not in yet
            new = _missing(env, group)
            kept += len(group) - len(new)

            # 2. Its bytes, fetched in parallel, taken in order
            values = (executor or threads).map(_fetch, new)
            for (key, _), value in zip(new, values, strict=True):
                if isinstance(value, bytes):
                    batch.append((key.encode(), value))
                elif stop:
                    hint = "correct the file or exclude the frame"
                    raise ValueError(f"{key}: {value}; {hint}")
                else:
                    unusable[key] = str(value)

            # 3. Written as soon as it is enough for a transaction
            if sum(len(value) for _, value in batch) > BATCH_BYTES:
                added += _commit(env, path, batch)
                batch = []
        added += _commit(env, path, batch)
    return Packed(added, kept, unusable)


def pack_images(
    dataset_dir: Path | str,
    splits: Sequence[str] | None = None,
    stop: bool = False,
    executor: Executor | None = None,
) -> dict[str, Packed]:
    """Pack the plain image files of a data set into `prepared/images.lmdb`.

    Frames that another LMDB of the data set holds (the original's, or one prepared by
    the owner of a read-only data set) are left there. Frames that cannot be used
    (missing, truncated, or not of the annotated size) are put on the exclude list
    "images".

    Args:
        dataset_dir: The data set's folder.
        splits: Which splits; all there are by default. One without an image folder is
            passed over.
        stop: Whether to stop at the first frame that cannot be used.
        executor: What reads the files; by default some threads.

    Returns:
        What was done, by split.

    Raises:
        ValueError, OSError: As `pack` and `prepare_index` do.
    """
    images_dir = Path(dataset_dir) / "images"
    target = prepared_dir(dataset_dir) / "images.lmdb"
    others = [
        *prepared_places(dataset_dir, "images.lmdb"),
        images_dir.parent / ORIGINAL_IMAGES,
    ]
    elsewhere = Store(*(path for path in others if path != target and path.exists()))
    packed: dict[str, Packed] = {}
    for split in splits or splits_of(dataset_dir):
        if not (images_dir / split).is_dir():
            continue
        # The annotated size belongs to what makes an image usable.
        index = prepare_index(dataset_dir, split)
        sizes = zip(index["width"].tolist(), index["height"].tolist(), strict=True)
        frames = sorted(zip(index.keys(), sizes, strict=True))
        items = [
            (key, partial(_read_whole, images_dir / key, *size))
            for key, size in frames
            if key not in elsewhere
        ]
        # In the order of the keys LMDB appends, which is fast and dense.
        bar = tqdm(items, f"packing {split}", len(items), unit="frame")
        packed[split] = pack(target, bar, stop, executor)
        write_exclude_list(dataset_dir, split, "images", packed[split].unusable)
    return packed


def forget(path: Path, *prefixes: str) -> None:
    """Delete what an LMDB, if it is there, holds under some prefixes.

    Raises:
        ValueError, OSError: As `pack` does.
    """
    if not path.exists():
        return
    with _writing(path) as env:
        for prefix in prefixes:
            # Pages are copied before they are freed.
            env.set_mapsize(2 * env.info()["map_size"])
            start = prefix.encode()
            with env.begin(write=True) as transaction, transaction.cursor() as cursor:
                while cursor.set_range(start) and cursor.key().startswith(start):
                    cursor.delete()


def discard_damaged(path: Path) -> None:
    """Delete a prepared LMDB that is cut short or damaged, with a line in the log.

    What it held is derived data: it is packed or rendered again.
    """
    if not path.exists():
        return
    close_handle(path)
    try:
        # Opening compares its length with what its header says.
        open_lmdb(path, readonly=True, lock=False).close()
    except ValueError as error:
        logger.warning("%s; it is made anew", str(error).partition(";")[0])
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[lmdb.Environment]:
    """The LMDB, open for writing by this process alone."""
    with exclusive(path.with_name(f"{path.name}.lock"), wait=False):
        discard_damaged(path)
        close_handle(path)
        with open_lmdb(path, map_size=MAP_BYTES, metasync=False) as env:
            try:
                yield env
            except lmdb.Error as error:
                raise lmdb_error(path, error) from None


def _groups(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _missing(
    env: lmdb.Environment, items: Sequence[tuple[str, Value]]
) -> list[tuple[str, Value]]:
    """The items whose key the LMDB does not have."""
    with env.begin() as transaction:
        return [item for item in items if transaction.get(item[0].encode()) is None]


def _fetch(item: tuple[str, Value]) -> bytes | Exception:
    """An item's bytes, or why there are none."""
    # Errors are passed on as values: they must not end the other threads.
    _, value = item
    if isinstance(value, bytes):
        return value
    try:
        return value()
    except (OSError, ValueError) as error:
        return error


def _commit(
    env: lmdb.Environment, path: Path, batch: Sequence[tuple[bytes, bytes]]
) -> int:
    """Write a batch in one transaction; returns its length."""
    while True:
        try:
            with env.begin(write=True) as transaction:
                transaction.cursor().putmulti(batch)
            return len(batch)
        # The file grows: address space costs nothing, disk is taken page by page.
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()["map_size"])
        except lmdb.Error as error:
            # A full disk, mostly.
            hint = "make room and prepare again: it continues"
            raise OSError(f"{path}: {error}; {hint}") from None


def _read_whole(path: Path, width: int, height: int) -> bytes:
    """Read an image file; ValueError if it is missing, broken or of another size."""
    if not path.is_file():
        raise ValueError("missing")
    data = path.read_bytes()
    fault = image_fault(data) or size_fault(data, width, height)
    if fault:
        raise ValueError(fault)
    return data

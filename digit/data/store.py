"""Images and masks in LMDBs: packed as the bytes they are, read by key, verified.

Keys are `<split>/Capture…/image<F>.jpg`, of masks `.png`. LMDBs that the original's scripts made
(PNG-coded images, three-channel masks, entries `__keys__` and `__len__`) are read where they lie.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import lmdb
import numpy as np
from jaxtyping import Shaped, UInt8
from tqdm.auto import tqdm

from digit.data.health import write_exclude_list
from digit.data.index import Index, open_index
from digit.data.layout import splits_of
from digit.files import exclusive
from digit.paths import find_prepared, prepared_dir

NO_FRAME = (
    b"__"  # how entries begin that are no frames: the original's, and notes of `masks`
)
BATCH_BYTES = 1 << 26  # written in one transaction
READ_AHEAD, READERS = 256, 4  # items that threads fetch at a time
MAP_BYTES = 1 << 30  # of address space at first; doubled when full
BLACK = 20  # grey level that some part of a picture of hands exceeds
REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_open: dict[
    Path, lmdb.Environment
] = {}  # LMDB allows one handle of a file in a process
_opening = threading.Lock()


def _open_lmdb(path: Path, **settings) -> lmdb.Environment:
    try:
        env = lmdb.open(
            str(path), subdir=not path.is_file(), readahead=False, **settings
        )
    except lmdb.Error as error:
        raise ValueError(
            f"{path}: no LMDB ({error}); delete it and prepare again"
        ) from None
    size = (path if path.is_file() else path / "data.mdb").stat().st_size
    whole = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if size < whole:  # reading beyond the end would kill the process
        env.close()
        short = f"cut short, {size:,} of {whole:,} bytes"
        raise ValueError(f"{path}: {short}; delete it and prepare again")
    return env


class Store:
    """Bytes by key, from the first that has the key of some LMDBs and folders of plain files.

    Read-only; opened at the first read. It pickles as its paths. A forked process goes on using its
    parent's handles, which have no locks.
    """

    def __init__(self, *places: Path | str):
        self.places = [Path(place).resolve() for place in places]

    def __repr__(self) -> str:
        return f"Store({', '.join(map(str, self.places))})"

    def read(self, key: str) -> bytes:
        """The value of a key; KeyError where it is nowhere."""
        for place in self.places:
            data = _get(place, key)
            if data is not None:
                return data
        raise KeyError(
            f"{key}: not in {self}; put the file there and run digit prepare"
        )

    def __contains__(self, key: str) -> bool:
        return any(_get(place, key) is not None for place in self.places)

    def keys(self) -> list[str]:
        """All keys, in order."""
        return sorted({key for place in self.places for key in _keys(place)})

    def __len__(self) -> int:
        return len(self.keys())


def _keys(place: Path) -> Iterator[str]:
    if env := _reader(place):
        with env.begin() as transaction:
            found = transaction.cursor().iternext(values=False)
            yield from (key.decode() for key in found if not key.startswith(NO_FRAME))
    else:
        files = sorted(file for file in place.rglob("image*.*") if file.is_file())
        yield from (file.relative_to(place).as_posix() for file in files)


def _reader(place: Path) -> lmdb.Environment | None:
    """The LMDB's handle; None for a folder of plain files, perhaps not there."""
    with _opening:
        if place not in _open and (place.is_file() or (place / "data.mdb").exists()):
            _open[place] = _open_lmdb(place, readonly=True, lock=False)
        return _open.get(place)


def _get(place: Path, key: str) -> bytes | None:
    while env := _reader(place):
        with contextlib.suppress(lmdb.MapResizedError), env.begin() as transaction:
            return transaction.get(key.encode())
        env.set_mapsize(0)  # another process is packing: take its size
    return (place / key).read_bytes() if (place / key).is_file() else None


def image_store(root: Path | str) -> Store:
    """The data set's images: packed by us, by the original's script, or as plain files."""
    packed = (find_prepared(root, "images.lmdb"), Path(root) / "images/interhand.lmdb")
    return Store(
        *(path for path in packed if path and path.exists()), Path(root) / "images"
    )


def mask_store(root: Path | str) -> Store | None:
    """The data set's part masks, ours or the original's; None before they are rendered."""
    paths = (find_prepared(root, "masks.lmdb"), Path(root) / "segm_32.lmdb")
    found = [path for path in paths if path and path.exists()]
    return Store(*found) if found else None


def image_fault(data: bytes) -> str:
    """Why bytes cannot be a whole JPEG or PNG file, "" if they can; does not decode."""
    if data[:2] == b"\xff\xd8":
        return "" if b"\xff\xd9" in data[-64:] else "truncated JPEG"
    if data[:4] == b"\x89PNG":
        return "" if data[-8:-4] == b"IEND" else "truncated PNG"
    return "neither JPEG nor PNG" if data else "zero bytes"


def read_image(store: Store, key: str, reduce: int = 1) -> UInt8[np.ndarray, "h w 3"]:
    """An image, RGB, at 1/reduce of its size (1, 2, 4 or 8, rounded up), pixels as stored.

    KeyError where it is missing; ValueError where it is broken.
    """
    data, image = store.read(key), None
    if not (fault := image_fault(data)):
        flags = cv2.IMREAD_COLOR_RGB | REDUCED[reduce] | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        cure = "fetch the file again, or leave the frame out (digit check lists it)"
        raise ValueError(f"{key}: {fault or 'cannot be decoded'} in {store}; {cure}")
    return image


def read_mask(store: Store, key: str) -> UInt8[np.ndarray, "h w"]:
    """A mask's labels (`skeleton.LABELS`), by its key or its image's.

    KeyError where it is missing; ValueError where it is broken.
    """
    key = f"{key[:-4]}.png"
    data = np.frombuffer(store.read(key), np.uint8)
    mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if mask is None:
        raise ValueError(
            f"{key}: no mask can be decoded in {store}; render the masks again"
        )
    return (
        mask if mask.ndim == 2 else np.ascontiguousarray(mask[..., 2])
    )  # BGR: red is first


class Packed(NamedTuple):
    """What a packing did: frames added, frames found in already, and key → why it was left out."""

    added: int
    kept: int
    unusable: dict[str, str]


def pack(
    path: Path | str,
    items: Iterable,
    stop: bool = False,
    executor: Executor | None = None,
) -> Packed:
    """Write (key, value) pairs into an LMDB, in their order, keeping what is in already.

    A value is bytes, or what gives them, called (a little ahead, by the executor or threads) only
    if the key is not in yet; if that raises OSError or ValueError the frame is left out and the
    reason returned, or raised with `stop`. A transaction is whole or not there, so a packing may be
    killed and repeated. The file grows as it must.

    ValueError if another process is packing this LMDB or it is broken; OSError if the disk is full.
    """
    path, unusable, added, kept = Path(path), {}, 0, 0
    with _writing(path) as env, ThreadPoolExecutor(READERS) as threads:
        batch, items, pool = [], iter(items), executor or threads
        while group := list(itertools.islice(items, READ_AHEAD)):
            with env.begin() as transaction:
                new = [
                    item for item in group if transaction.get(item[0].encode()) is None
                ]
            kept += len(group) - len(new)
            for (key, _), value in zip(new, pool.map(_value, new)):
                if isinstance(value, bytes):
                    batch.append((key.encode(), value))
                elif stop:
                    raise ValueError(
                        f"{key}: {value}; mend the file or leave the frame out"
                    )
                else:
                    unusable[key] = str(value)
            if sum(len(value) for _, value in batch) > BATCH_BYTES:
                added += _put(env, path, batch)
                batch = []
        added += _put(env, path, batch)
    return Packed(added, kept, unusable)


def forget(path: Path, *prefixes: str) -> None:
    """Delete what the LMDB, if it is there, holds under some prefixes; raises as `pack` does."""
    with _writing(path) if path.exists() else contextlib.nullcontext() as env:
        for start in (prefix.encode() for prefix in prefixes if env):
            env.set_mapsize(
                2 * env.info()["map_size"]
            )  # pages are copied before they are freed
            with env.begin(write=True) as transaction, transaction.cursor() as cursor:
                while cursor.set_range(start) and cursor.key().startswith(start):
                    cursor.delete()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[lmdb.Environment]:
    with exclusive(path.with_name(f"{path.name}.lock"), wait=False):
        if path.resolve() in _open:
            _open.pop(path.resolve()).close()
        with _open_lmdb(path, map_size=MAP_BYTES, metasync=False) as env:
            yield env


def _value(item: tuple[str, bytes | Callable[[], bytes]]) -> bytes | Exception:
    try:
        return item[1]() if callable(item[1]) else item[1]
    except (OSError, ValueError) as error:
        return error


def _put(
    env: lmdb.Environment, path: Path, batch: Sequence[tuple[bytes, bytes]]
) -> int:
    while True:
        try:
            with env.begin(write=True) as transaction:
                transaction.cursor().putmulti(batch)
            return len(batch)
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()["map_size"])
        except lmdb.Error as error:  # a full disk, mostly
            raise OSError(
                f"{path}: {error}; make room and prepare again: it continues"
            ) from None


def _read_whole(path: Path) -> bytes:
    data = path.read_bytes() if path.is_file() else None
    if fault := "missing" if data is None else image_fault(data):
        raise ValueError(fault)
    return data


def pack_images(
    root: Path | str,
    splits: Sequence[str] | None = None,
    stop: bool = False,
    executor: Executor | None = None,
) -> dict[str, Packed]:
    """Pack the plain image files of the splits (all there are) into `prepared/images.lmdb`.

    Frames that the original's LMDB holds are left there. What cannot be used is listed with its
    reason in `prepared/exclude/<split>_images.tsv`, or stops the packing with `stop`; a split
    without any image folder is passed over. Raises as `pack` and `open_index` do.
    """
    images, packed = Path(root) / "images", {}
    original = Store(*(path for path in [images / "interhand.lmdb"] if path.exists()))
    for split in splits or splits_of(root):
        if (images / split).is_dir():
            keys = open_index(root, split).keys()
            keys = sorted(key for key in keys if key not in original)
            items = ((key, partial(_read_whole, images / key)) for key in keys)
            bar = tqdm(items, f"packing {split}", len(keys), unit="frame")
            packed[split] = pack(
                prepared_dir(root) / "images.lmdb", bar, stop, executor
            )
            write_exclude_list(root, split, "images", packed[split].unusable)
    return packed


def verify(index: Index, reduce: int = 1) -> Shaped[np.ndarray, "n"]:
    """Decode every image of an index, by all cores; per frame what is wrong with it, or "".

    Missing, broken, black, or of another size than annotated. `reduce` 8 is fast and sees the same.
    """
    store, found = image_store(index.root), []

    def look(key: str, width: int, height: int) -> str:
        try:
            image = read_image(store, key, reduce)
        except (KeyError, ValueError):
            return (
                image_fault(store.read(key)) or "broken" if key in store else "missing"
            )
        if image.shape[:2] != (-(-height // reduce), -(-width // reduce)):
            return "its size is not the annotated one"
        return "black" if image.max() < BLACK else ""

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in tqdm(
            range(0, len(index), READ_AHEAD), desc=f"verify {index.name}"
        ):
            some = index.take(slice(start, start + READ_AHEAD))
            sizes = some["width"].tolist(), some["height"].tolist()
            found.extend(threads.map(look, some.keys(), *sizes))
    return np.array(found, object)

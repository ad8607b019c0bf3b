"""Images and masks in LMDBs: packed as the bytes they are, read by key, verified.

Keys are `<split>/Capture…/image<F>.jpg`, of masks `.png`. LMDBs that the original's scripts made
(PNG-coded images, three-channel masks, entries `__keys__` and `__len__`) are read where they lie.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import lmdb
import numpy as np
from jaxtyping import Shaped, UInt8
from tqdm.auto import tqdm

from .interhand import (
    Index,
    exclusive,
    find_prepared,
    open_index,
    prepared_dir,
    splits_of,
    write_exclude_list,
)  # fmt: skip

FOREIGN = (b"__keys__", b"__len__")  # entries of the original's LMDBs that are no frames
BATCH_BYTES = 1 << 26  # written in one transaction
READ_AHEAD, READERS = 256, 4  # files read by threads at a time
MAP_BYTES = 1 << 30  # of address space at first; doubled when full
BLACK = 20  # grey level that some part of a picture of hands exceeds
DECODE = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2,
          4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}  # fmt: skip

UPRIGHT = cv2.IMREAD_IGNORE_ORIENTATION  # pixels as stored: annotations count in them

_open: dict[Path, lmdb.Environment] = {}  # LMDB allows one handle of a file in a process
_opening = threading.Lock()


def _environment(path: Path) -> lmdb.Environment:
    """The process's handle for reading; without locks, so that forks may go on using it."""
    with _opening:
        if path not in _open:
            try:
                env = lmdb.open(
                    str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False
                )
            except lmdb.Error as error:
                raise ValueError(f"{path}: no LMDB ({error}); delete and prepare again") from None
            _require_whole(env, path)
            _open[path] = env
        return _open[path]


def _require_whole(env: lmdb.Environment, path: Path) -> None:
    """Reading a page beyond the end of the file would kill the process."""
    size = (path / "data.mdb" if path.is_dir() else path).stat().st_size
    whole = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if size < whole:
        env.close()
        raise ValueError(
            f"{path}: cut short, {size:,} of {whole:,} bytes; delete it and prepare again"
        )


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not (place / "data.mdb").exists()


def _keys(place: Path) -> Iterator[str]:
    if _is_folder(place):
        files = (file for file in sorted(place.rglob("image*.*")) if file.is_file())
        yield from (file.relative_to(place).as_posix() for file in files)
        return
    with _environment(place).begin() as transaction:
        for key in transaction.cursor().iternext(values=False):
            if key not in FOREIGN:
                yield key.decode()


class Store:
    """Bytes by key, from the first that has the key of some LMDBs and folders of plain files.

    Read-only; opened at the first read. It pickles as its paths.
    """

    def __init__(self, *places: Path | str):
        self.places = [Path(place).resolve() for place in places]

    def __repr__(self) -> str:
        return f"Store({', '.join(map(str, self.places))})"

    def _get(self, place: Path, key: str) -> bytes | None:
        if _is_folder(place):
            file = place / key
            return file.read_bytes() if file.is_file() else None
        env = _environment(place)
        with contextlib.suppress(lmdb.MapResizedError), env.begin() as transaction:
            return transaction.get(key.encode())
        env.set_mapsize(0)  # another process is packing: take its size
        with env.begin() as transaction:
            return transaction.get(key.encode())

    def read(self, key: str) -> bytes:
        """The value of a key; KeyError where it is nowhere."""
        for place in self.places:
            data = self._get(place, key)
            if data is not None:
                return data
        places = ", ".join(map(str, self.places))
        raise KeyError(f"{key}: not in {places}; put the file there and run digit prepare")

    def __contains__(self, key: str) -> bool:
        return any(self._get(place, key) is not None for place in self.places)

    def keys(self) -> Iterator[str]:
        """Every key once: each place's in order."""
        seen: set[str] = set()
        for place in self.places:
            for key in _keys(place):
                if key not in seen:
                    yield key
                if len(self.places) > 1:
                    seen.add(key)

    def __len__(self) -> int:
        return sum(1 for _ in self.keys())


def image_store(root: Path | str) -> Store:
    """The data set's images: packed by us, by the original's script, or as plain files."""
    root = Path(root).resolve()
    packed = (find_prepared(root, "images.lmdb"), root / "images/interhand.lmdb")
    return Store(*(path for path in packed if path and path.exists()), root / "images")


def mask_store(root: Path | str) -> Store | None:
    """The data set's part masks, ours or the original's; None before they are rendered."""
    paths = (find_prepared(root, "masks.lmdb"), Path(root).resolve() / "segm_32.lmdb")
    found = [path for path in paths if path and path.exists()]
    return Store(*found) if found else None


def image_fault(data: bytes) -> str:
    """Why bytes cannot be a whole JPEG or PNG file, "" if they can; does not decode."""
    if not data:
        return "zero bytes"
    if data[:2] == b"\xff\xd8":
        return "" if b"\xff\xd9" in data[-64:] else "truncated JPEG"
    if data[:4] == b"\x89PNG":
        return "" if data[-8:-4] == b"IEND" else "truncated PNG"
    return "neither JPEG nor PNG"


def read_image(store: Store, key: str, reduce: int = 1) -> UInt8[np.ndarray, "h w 3"]:
    """An image, RGB, at 1/reduce of its size (1, 2, 4 or 8, rounded up).

    KeyError where it is missing; ValueError where it is broken.
    """
    data = store.read(key)
    fault = image_fault(data)
    image = None
    if not fault:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), DECODE[reduce] | UPRIGHT)
    if image is None:
        raise ValueError(
            f"{key}: {fault or 'cannot be decoded'} in {store}; fetch the file again, or leave the "
            "frame out (digit check lists it)"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def read_mask(store: Store, key: str) -> UInt8[np.ndarray, "h w"]:
    """A mask's labels (`skeleton.LABELS`); an image's key is taken for its mask's.

    KeyError where it is missing; ValueError where it is broken.
    """
    key = str(Path(key).with_suffix(".png"))
    data = np.frombuffer(store.read(key), np.uint8)
    mask = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if mask is None:
        raise ValueError(f"{key}: no mask can be decoded in {store}; render the masks again")
    return mask if mask.ndim == 2 else np.ascontiguousarray(mask[..., 2])  # BGR: red is first


class Packed(NamedTuple):
    """What a packing did: frames added, frames found in already, and key → why it was left out."""

    added: int
    kept: int
    unusable: dict[str, str]


def pack(
    path: Path | str,
    items: Iterable[tuple[str, bytes | Callable[[], bytes]]],
    stop: bool = False,
    progress: str = "",
    total: int | None = None,
) -> Packed:
    """Write (key, value) pairs into an LMDB, in their order, keeping what is in already.

    A value is bytes, or what gives them, called (by threads, a little ahead) only if the key is not
    in yet; if that raises OSError or ValueError the frame is left out and the reason returned, or
    raised with `stop`. Each transaction is whole or not there, so a packing may be killed and
    repeated. The file grows as it must. `progress` names a progress bar.

    Raises ValueError if another process is packing this LMDB, or if it is broken; OSError if the
    disk is full.
    """
    path = Path(path)
    unusable: dict[str, str] = {}
    added = kept = 0
    with exclusive(path.with_name(path.name + ".lock"), wait=False), _writer(path) as env:
        bar = tqdm(items, desc=progress, total=total, unit="frame", disable=not progress)
        batch, size = [], 0
        with ThreadPoolExecutor(READERS) as threads:
            items = iter(bar)
            while group := list(itertools.islice(items, READ_AHEAD)):
                with env.begin() as transaction:
                    new = [item for item in group if transaction.get(item[0].encode()) is None]
                kept += len(group) - len(new)
                for key, value in zip([k for k, _ in new], threads.map(_value, new)):
                    if isinstance(value, Exception):
                        if stop:
                            raise ValueError(f"{key}: {value}; mend it or leave the frame out")
                        unusable[key] = str(value)
                        continue
                    batch.append((key.encode(), value))
                    size += len(value)
                if size > BATCH_BYTES:
                    _put(env, path, batch)
                    added, batch, size = added + len(batch), [], 0
        _put(env, path, batch)
    return Packed(added + len(batch), kept, unusable)


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[lmdb.Environment]:
    if path.resolve() in _open:
        _open.pop(path.resolve()).close()
    try:
        env = lmdb.open(str(path), map_size=MAP_BYTES, metasync=False, readahead=False)
    except lmdb.Error as error:
        raise ValueError(f"{path}: no LMDB ({error}); delete it and prepare again") from None
    _require_whole(env, path)
    try:
        yield env
    finally:
        env.close()


def _value(item: tuple[str, bytes | Callable[[], bytes]]) -> bytes | Exception:
    try:
        return item[1]() if callable(item[1]) else item[1]
    except (OSError, ValueError) as error:
        return error


def _put(env: lmdb.Environment, path: Path, batch: Sequence[tuple[bytes, bytes]]) -> None:
    while True:
        try:
            with env.begin(write=True) as transaction:
                transaction.cursor().putmulti(batch)
            return
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()["map_size"])
        except lmdb.Error as error:  # a full disk, mostly
            raise OSError(f"{path}: {error}; make room and prepare again: it continues") from None


def _read_whole(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError("missing")
    data = path.read_bytes()
    if fault := image_fault(data):
        raise ValueError(fault)
    return data


def pack_images(
    root: Path | str, splits: Sequence[str] | None = None, stop: bool = False
) -> dict[str, Packed]:
    """Pack the plain image files of the splits (all there are) into `prepared/images.lmdb`.

    Frames that the original's LMDB holds are left there. What cannot be used is listed with its
    reason in `prepared/exclude/<split>_images.tsv`, or stops the packing with `stop`; a split
    without any image folder is passed over. Raises as `pack` and `open_index` do.
    """
    images = Path(root) / "images"
    original = Store(*(p for p in [images / "interhand.lmdb"] if p.exists()))
    packed = {}
    for split in splits or splits_of(root):
        if not (images / split).is_dir():
            continue
        keys = sorted(key for key in open_index(root, split).keys() if key not in original)
        items = ((key, partial(_read_whole, images / key)) for key in keys)
        target = prepared_dir(root) / "images.lmdb"
        packed[split] = pack(target, items, stop, f"packing {split}", len(keys))
        write_exclude_list(root, split, "images", packed[split].unusable)
    return packed


def verify(index: Index, reduce: int = 1) -> Shaped[np.ndarray, "n"]:
    """Decode every image of an index, by all cores; per frame what is wrong with it, or "".

    Missing, broken, black, or of another size than annotated. `reduce` 8 is fast and sees the same.
    """
    store = image_store(index.root)

    def look(key: str, width: int, height: int) -> str:
        try:
            image = read_image(store, key, reduce)
        except KeyError:
            return "missing"
        except ValueError as error:
            return str(error)
        if image.shape[:2] != (-(-height // reduce), -(-width // reduce)):
            return f"its size is not the annotated {width}×{height}"
        return "black" if image.max() < BLACK else ""

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = threads.map(look, index.keys(), index["width"].tolist(), index["height"].tolist())
        return np.array(list(tqdm(found, desc=f"verify {index.name}", total=len(index))), object)

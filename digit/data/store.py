"""Images and part masks by key, from LMDBs or plain files.

Keys are `<split>/Capture…/image<F>.jpg`, of masks `….png`. LMDBs that the original's
scripts made (PNG-coded images, three-channel masks, entries `__keys__` and `__len__`)
are read where they lie. `packing` writes LMDBs; data sets and widgets read them.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
from jaxtyping import UInt8

from digit.data.images import decode_image, decode_mask
from digit.paths import prepared_places
from digit.skeleton import N_LABELS

# How the names of entries begin that are no frames: the original's, and the notes that
# the mask renderer leaves.
NO_FRAME = b"__"
ORIGINAL_IMAGES = "images/interhand.lmdb"
ORIGINAL_MASKS = "segm_32.lmdb"

# What LMDB raises for a file that is not one or is damaged; all else comes from the
# system.
DAMAGES = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    lmdb.PanicError,
    lmdb.IncompatibleError,
)
PREPARE_HINT = "delete it and prepare again"

# LMDB allows one handle of a file in a process. None of them is for writing but the one
# that `packing` opens, with `close_handle` before.
_open_handles: dict[Path, lmdb.Environment] = {}
_opening = threading.Lock()


class Store:
    """Bytes by key, from the first place that has the key.

    A place is an LMDB or a folder of plain files. A store is read-only and opens its
    files at the first read. It pickles as its paths. A forked process goes on using its
    parent's handles, which have no locks.
    """

    def __init__(self, *places: Path | str):
        self.places = [Path(place).resolve() for place in places]

    def __repr__(self) -> str:
        return f"Store({', '.join(map(str, self.places))})"

    def read(self, key: str) -> bytes:
        """The value of a key.

        Raises:
            KeyError: If no place has it.
            ValueError: If an LMDB is damaged.
        """
        for place in self.places:
            data = _get(place, key)
            if data is not None:
                return data
        raise KeyError(
            f"{key}: not in {self}; put the file there, then run digit prepare"
        )

    def __contains__(self, key: str) -> bool:
        return any(_get(place, key) is not None for place in self.places)

    def keys(self) -> list[str]:
        """All keys, in order."""
        return sorted({key for place in self.places for key in _keys(place)})

    def __len__(self) -> int:
        return len(self.keys())


def image_store(dataset_dir: Path | str) -> Store:
    """The data set's images: prepared, packed by the original's script, or plain
    files."""
    original = Path(dataset_dir) / ORIGINAL_IMAGES
    packed = [*prepared_places(dataset_dir, "images.lmdb"), original]
    return Store(*filter(Path.exists, packed), Path(dataset_dir) / "images")


def mask_store(dataset_dir: Path | str) -> Store | None:
    """The data set's part masks, prepared or the original's; None if it has none."""
    original = Path(dataset_dir) / ORIGINAL_MASKS
    packed = [*prepared_places(dataset_dir, "masks.lmdb"), original]
    found = [path for path in packed if path.exists()]
    return Store(*found) if found else None


def read_image(store: Store, key: str, reduce: int = 1) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image, RGB, pixels as stored.

    Args:
        store: Where from.
        key: Its key.
        reduce: 1, 2, 4 or 8: decode at this fraction of the size.

    Raises:
        KeyError: If it is missing.
        ValueError: If it is broken.
    """
    try:
        return decode_image(store.read(key), reduce)
    except ValueError as error:
        hint = "download the file again, or exclude the frame (digit doctor lists it)"
        raise ValueError(f"{key}: {error} in {store}; {hint}") from None


def read_mask(store: Store, key: str) -> UInt8[np.ndarray, "h w"]:
    """Read a part mask: the labels of `skeleton.LABELS`.

    Args:
        store: Where from.
        key: Its key, or its image's.

    Raises:
        KeyError: If it is missing.
        ValueError: If it is broken, or holds values that are no label.
    """
    key = f"{key[:-4]}.png"
    try:
        mask = decode_mask(store.read(key))
        if mask.size and mask.max() >= N_LABELS:
            wrong = int((mask >= N_LABELS).sum())
            what = f"{wrong} pixels of value up to {mask.max()}"
            raise ValueError(f"{what}, but labels end at {N_LABELS - 1}")
    except ValueError as error:
        hint = "render the masks again, or leave this one out (digit doctor lists it)"
        raise ValueError(f"{key}: no part mask ({error}) in {store}; {hint}") from None
    return mask


def open_lmdb(path: Path, **settings) -> lmdb.Environment:
    """Open an LMDB: a folder, or a single file.

    Raises:
        ValueError: If it is no LMDB, or cut short.
        OSError: If the system does not let it be opened.
    """
    is_folder = not path.is_file()
    data_file = path / "data.mdb" if is_folder else path
    if settings.get("readonly") and not data_file.stat().st_size:
        raise ValueError(f"{path}: cut short, it is empty; {PREPARE_HINT}")
    try:
        env = lmdb.open(str(path), subdir=is_folder, readahead=False, **settings)
    except lmdb.Error as error:
        raise lmdb_error(path, error) from None
    size = data_file.stat().st_size
    whole = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if size < whole:
        # Reading beyond the end would kill the process.
        env.close()
        short = f"cut short, {size:,} of {whole:,} bytes"
        raise ValueError(f"{path}: {short}; {PREPARE_HINT}")
    return env


def lmdb_error(path: Path, error: lmdb.Error) -> OSError | ValueError:
    """An LMDB's error with its file and a hint: ValueError for damage, else OSError."""
    if isinstance(error, DAMAGES):
        return ValueError(f"{path}: no LMDB, or damaged ({error}); {PREPARE_HINT}")
    reason = str(error)
    if isinstance(error, lmdb.MapFullError | lmdb.DiskError):
        hint = "make room and prepare again: it continues"
    else:
        hint = (
            "make the folder writable, on a file system with locks, and prepare again: "
            "it continues"
        )
    return OSError(f"{path}: {reason}; {hint}")


def close_handle(path: Path) -> None:
    """Close this process's handle of an LMDB, if it has one."""
    env = _open_handles.pop(path.resolve(), None)
    if env is not None:
        env.close()


def _keys(place: Path) -> Iterator[str]:
    env = _handle(place)
    if env is None:
        for file in sorted(place.rglob("image*.*")):
            if file.is_file():
                yield file.relative_to(place).as_posix()
        return
    try:
        with env.begin() as transaction:
            for key in transaction.cursor().iternext(values=False):
                if not key.startswith(NO_FRAME):
                    yield key.decode(errors="replace")
    except lmdb.Error as error:
        raise lmdb_error(place, error) from None


def _handle(place: Path) -> lmdb.Environment | None:
    """The LMDB's handle; None for a folder of plain files, which may not be there."""
    with _opening:
        is_lmdb = place.is_file() or (place / "data.mdb").exists()
        if place not in _open_handles and is_lmdb:
            _open_handles[place] = open_lmdb(place, readonly=True, lock=False)
        return _open_handles.get(place)


def _get(place: Path, key: str) -> bytes | None:
    while True:
        env = _handle(place)
        if env is None:
            return _read_file(place, key)
        try:
            with env.begin() as transaction:
                return transaction.get(key.encode())
        except lmdb.MapResizedError:
            # Another process is packing: take the file's new size.
            env.set_mapsize(0)
        except lmdb.BadValsizeError:
            return None  # an empty key, or one longer than LMDB has
        except lmdb.Error as error:
            raise lmdb_error(place, error) from None


def _read_file(folder: Path, key: str) -> bytes | None:
    """A plain file below a folder; None if there is none of this name."""
    if key.startswith("/") or ".." in key.split("/") or "\0" in key:
        return None
    path = folder / key
    return path.read_bytes() if path.is_file() else None

"""The InterHand2.6M tree: read into a columnar, memory-mapped index; written; subsets; health.

A split's annotation JSONs (spec section 3) become three Arrow files of one record batch each, so that
every column is a numpy view of the file's pages, shared by all processes that open it: `frames` (a row
an annotated image, in file order), `instants` (joints and fits, a row per capture and moment) and
`cameras`, to which frames point by row number. The JSONs are read piece by piece, in constant memory.
Lengths mm, bounding boxes (x, y, width, height) in px; a number that is missing is NaN.
"""

import contextlib
import fcntl
import functools
import hashlib
import itertools
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Integer

from . import geometry
from .pickles import NUMPY_ALLOWED, load_pickle
from .skeleton import HAND_TYPE_FLAGS, HAND_TYPES, JOINTS, N_JOINTS, PARENTS, SIDES

# name → (split of the tree, what part of it: everything, a fraction, or a number of frames)
SPLITS: dict[str, tuple[str, float | int | None]] = {
    "train": ("train", None), "val": ("val", None), "test": ("test", None),
    "minitrain": ("train", 1000), "minival": ("val", 1000), "minitest": ("test", 1000),
    "smalltrain": ("train", 0.1), "smallval": ("val", 0.25), "smalltest": ("test", 0.25),
    "tinytrain": ("train", 0.05),
}  # fmt: skip
FAULTS = (  # why a frame's annotation cannot be used: Index["fault"] counts in here
    "", "a valid joint is not finite", "its camera is not finite", "its box is empty",
    "a valid joint lies behind the camera",
)  # fmt: skip
INDEX_VERSION = 1  # of the files' layout: an index of another version is built anew
CHUNK = 50_000  # frames handled at a time


# ---------------------------------------------------------------- files


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[Any]:
    """A file that appears under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, mode) as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file for the block; ValueError if another process has it and `wait` is off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ValueError(
                f"{path}: another preparation of this data set is at work; wait until it ends"
            ) from None
        yield


def _writable(path: Path) -> bool:
    path = next(p for p in (path, *path.parents) if p.exists())
    return bool(path.stat().st_mode & 0o222) and os.access(path, os.W_OK)  # root ignores the mode


@functools.cache
def _cache_dir(root: Path) -> Path:
    cache = Path(os.environ.get("DIGIT_CACHE") or Path.home() / ".cache/digit")
    name = f"{root.name}-{hashlib.blake2b(str(root).encode(), digest_size=6).hexdigest()}"
    if _writable(cache):
        return cache / name
    return Path(tempfile.mkdtemp(prefix="digit-")) / name


def prepared_dir(root: Path | str) -> Path:
    """Where files derived from a data set are written.

    `<root>/prepared`, or where that cannot be written `$DIGIT_CACHE` or `~/.cache/digit`, or else
    a temporary folder.
    """
    root = Path(root).resolve()
    return root / "prepared" if _writable(root / "prepared") else _cache_dir(root)


def find_prepared(root: Path | str, name: str) -> Path | None:
    """The derived file or folder `name`: in the data set (perhaps read-only), or in the cache."""
    root = Path(root).resolve()
    places = (root / "prepared" / name, _cache_dir(root) / name)
    return next((place for place in places if place.exists()), None)


def write_arrow(
    path: Path, columns: Mapping[str, np.ndarray | pa.Array], metadata: Mapping[str, str]
) -> None:
    """Columns (numpy of any row shape, or Arrow) as one record batch that can be memory-mapped.

    masks.arrow is written so, with the metadata {"index": Index.fingerprint}.
    """
    arrays, fields = [], []
    for name, column in columns.items():
        about = {}
        if isinstance(column, np.ndarray) and column.dtype.kind in "biuf":
            about = {"shape": json.dumps(column.shape[1:]), "dtype": column.dtype.str}
            flat = pa.array((column.view(np.uint8) if column.dtype == bool else column).reshape(-1))
            width = int(np.prod(column.shape[1:]))
            column = pa.FixedSizeListArray.from_arrays(flat, width) if column.ndim > 1 else flat
        elif isinstance(column, np.ndarray):
            column = pa.array(column.tolist(), pa.string())
        arrays.append(column)
        fields.append(pa.field(name, column.type, metadata=about))
    schema = pa.schema(fields, metadata=dict(metadata))
    with atomic(path, "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))


class _Table:
    """An Arrow file's columns as read-only numpy views of its pages."""

    def __init__(self, path: Path):
        try:
            self.table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: cut short or no Arrow file ({error}); delete it") from None
        self.metadata = {k.decode(): v.decode() for k, v in self.table.schema.metadata.items()}
        self.names = self.table.column_names

    def __len__(self) -> int:
        return self.table.num_rows

    @functools.cache  # noqa: B019  tables live as long as the process
    def column(self, name: str) -> np.ndarray | pa.Array:
        column = self.table.column(name).chunk(0)
        about = self.table.schema.field(name).metadata or {}
        if b"shape" not in about:
            return column
        flat = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
        shape = (len(column), *json.loads(about[b"shape"]))
        return flat.to_numpy().view(about[b"dtype"].decode()).reshape(shape)

    def take(self, name: str, rows: Integer[np.ndarray, "n"] | None) -> np.ndarray:
        column = self.column(name)
        if isinstance(column, np.ndarray):
            return column if rows is None else column[rows]
        column = column if rows is None else column.take(pa.array(rows))
        if pa.types.is_dictionary(column.type):  # few different strings, shared by the rows
            return np.array(column.dictionary.to_pylist(), object)[column.indices.to_numpy()]
        return np.array(column.to_pylist(), object)


@functools.cache
def _open_table(path: Path, mtime_ns: int) -> _Table:
    return _Table(path)


def _table(path: Path) -> _Table:
    return _open_table(path, path.stat().st_mtime_ns)


# ---------------------------------------------------------------- JSON, streamed


class _JsonReader:
    """Walks a JSON file of any size, holding no more than one value at the wanted depth."""

    BLOCK, LIMIT = 1 << 22, 1 << 26
    scan = staticmethod(json.JSONDecoder().raw_decode)
    skip = staticmethod(re.compile(r"\s*").match)

    def __init__(self, path: Path, file: Any):
        self.path, self.file, self.text, self.at, self.end = path, file, "", 0, False
        self.before = 0  # characters already dropped from the text

    def fail(self, what: str) -> ValueError:
        where = f"after character {self.before + self.at:,}"
        return ValueError(f"{self.path}: {what} {where}; fetch or write the file again")

    def fill(self) -> None:
        try:
            block = self.file.read(self.BLOCK)
        except UnicodeDecodeError:
            raise self.fail("no UTF-8 text") from None
        self.before += self.at
        self.text, self.at, self.end = self.text[self.at :] + block, 0, not block

    def peek(self) -> str:
        while True:
            self.at = self.skip(self.text, self.at).end()
            if self.at < len(self.text):
                return self.text[self.at]
            if self.end:
                raise self.fail("cut in the middle: it ends")
            self.fill()

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self.scan(self.text, self.at)
                if end < len(self.text) or self.end:  # else a number may go on in the next block
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                if self.end:
                    raise self.fail("cut in the middle: it ends") from None
                if len(self.text) - self.at > self.LIMIT:
                    raise self.fail(f"no valid JSON ({error.msg})") from None
            self.fill()

    def walk(self, depth: int) -> Iterator[tuple[tuple, Any]]:
        bracket = self.peek()
        if depth == 0 or bracket not in "{[":
            yield (), self.value()
            return
        close = "}" if bracket == "{" else "]"
        self.at += 1
        if self.peek() == close:
            self.at += 1
            return
        for key in itertools.count():
            if bracket == "{":
                key = self.value()
                if self.peek() != ":":
                    raise self.fail("no valid JSON (':' expected)")
                self.at += 1
            for keys, value in self.walk(depth - 1):
                yield (key, *keys), value
            mark = self.peek()
            self.at += 1
            if mark == close:
                return
            if mark != ",":
                raise self.fail(f"no valid JSON (',' or '{close}' expected)")


def walk_json(path: Path, depth: int) -> Iterator[tuple[tuple, Any]]:
    """((key or position, …), value) for every value `depth` levels below the top, in file order.

    ValueError if the file is cut or no JSON.
    """
    with open(path, encoding="utf-8") as file:
        yield from _JsonReader(path, file).walk(depth)


def _integers(values: Sequence) -> Integer[np.ndarray, "n"]:
    return np.array(values, np.int64)


def _strings(values: Sequence) -> pa.Array:
    return pa.array([str(value) for value in values], pa.string())


def _floats(*shape: int) -> Callable[[Sequence], np.ndarray]:
    return lambda values: np.array(values, np.float32).reshape(len(values), *shape)


def _flags(*shape: int) -> Callable[[Sequence], np.ndarray]:  # numbers, booleans, [number] lists
    return lambda values: np.array(values, np.float32).reshape(len(values), *shape) > 0


def _hand_types(values: Sequence) -> Integer[np.ndarray, "n"]:
    return np.array([HAND_TYPES.index(value) for value in values], np.int8)


IMAGE = {
    "id": _integers, "file_name": _strings, "width": _integers, "height": _integers,
    "capture": _integers, "subject": _integers, "seq_name": _strings, "camera": _strings,
    "frame_idx": _integers,
}  # fmt: skip
ANNOTATION = {
    "id": _integers, "image_id": _integers, "bbox": _floats(4), "joint_valid": _flags(N_JOINTS),
    "hand_type": _hand_types, "hand_type_valid": _flags(),
}  # fmt: skip
ROOTNET = {"annot_id": _integers, "bbox": _floats(4), "abs_depth": _floats(2)}


class _Columns:
    """Gathers JSON records into columns, a chunk at a time."""

    def __init__(self, path: Path, what: str, fields: Mapping[str, Callable]):
        self.path, self.what, self.fields = path, what, fields
        self.get = itemgetter(*fields)
        self.waiting: list[tuple] = []
        self.chunks: list[list] = [[] for _ in fields]

    def add(self, record: Mapping) -> None:
        try:
            self.waiting.append(self.get(record))
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path}: {self.what} {str(record)[:80]} lacks {error}; add it or drop the record"
            ) from None
        if len(self.waiting) == CHUNK:
            self.flush()

    def flush(self) -> None:
        for chunks, (key, convert), values in zip(
            self.chunks, self.fields.items(), zip(*self.waiting)
        ):
            try:
                chunks.append(convert(values))
            except (TypeError, ValueError, OverflowError):  # find the record, or mixed spellings
                chunks.extend(self.one(i, key, convert, value) for i, value in enumerate(values))
        self.waiting = []

    def one(self, i: int, key: str, convert: Callable, value: Any) -> Any:
        try:
            return convert([value])
        except (TypeError, ValueError, OverflowError):
            known = f"none of {', '.join(HAND_TYPES)}" if key == "hand_type" else "not of its form"
            raise ValueError(
                f"{self.path}: {self.what} {self.waiting[i][0]}: {key} = {str(value)[:60]!r} is "
                f"{known}; correct it or drop the record"
            ) from None

    def done(self) -> dict[str, Any]:
        self.flush()
        if not self.chunks[0]:
            return {key: convert([]) for key, convert in self.fields.items()}
        return {
            key: pa.chunked_array(chunks).combine_chunks()
            if isinstance(chunks[0], pa.Array)
            else np.concatenate(chunks)
            for key, chunks in zip(self.fields, self.chunks)
        }


# ---------------------------------------------------------------- the index, built


def _sources(root: Path, split: str) -> dict[str, Path]:
    """The files an index of the split is made from, by role; FileNotFoundError if one must be."""
    folder = root / "annotations" / split
    stem = f"InterHand2.6M_{split}"
    rootnet = "rootnet_output/rootnet_interhand2.6m_output"
    candidates = {
        "data": [folder / f"{stem}_data.json", folder / f"{stem}_data.pkl"],
        "camera": [folder / f"{stem}_camera.json"],
        "joint_3d": [folder / f"{stem}_joint_3d.json"],
        "mano": [folder / f"{stem}_MANO_NeuralAnnot.json"],
        "rootnet": [
            root / f"{rootnet}_{name}.json"
            for name in (split, f"all_{split}", f"machine_annot_{split}")
        ],
        "meta_dict": [root / f"cache/meta_dict_{split}.pkl"],
    }
    found = {
        role: next((p for p in paths if p.is_file()), None) for role, paths in candidates.items()
    }
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such data set folder; give --root where it lies")
    for role in ("data", "camera", "joint_3d"):
        if found[role] is None:
            there = ", ".join(splits_of(root)) or "none"
            raise FileNotFoundError(
                f"{candidates[role][0]}: missing, and split {split!r} needs it; put InterHand2.6M's "
                f"annotations there (complete splits here: {there})"
            )
    return {role: path for role, path in found.items() if path is not None}


def splits_of(root: Path | str) -> list[str]:
    """The splits whose annotations the tree holds, of train, val, test."""
    folder = Path(root) / "annotations"
    return [
        split
        for split in ("train", "val", "test")
        if any(folder.glob(f"{split}/InterHand2.6M_{split}_data.*"))
    ]


def _stamp(path: Path) -> list[int]:
    return [path.stat().st_size, path.stat().st_mtime_ns]


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _is_fresh(folder: Path, sources: Mapping[str, Path]) -> bool:
    """Whether the index in the folder is whole and was made from just these sources."""
    try:
        made = json.loads((folder / "sources.json").read_text())
        whole = all(
            _table(folder / f"{name}.arrow").metadata["build"] == made["build"]
            for name in ("frames", "instants", "cameras")
        )
    except (OSError, ValueError, KeyError):
        return False
    if not whole or made["version"] != INDEX_VERSION or made["files"].keys() != sources.keys():
        return False
    stamps = {role: _stamp(path) for role, path in sources.items()}
    changed = [r for r, path in sources.items() if made["files"][r][:3] != [path.name, *stamps[r]]]
    if any(made["files"][r][3] != _digest(sources[r]) for r in changed):
        return False
    if changed:  # only touched: remember the new times, if we may
        for role in changed:
            made["files"][role][:3] = [sources[role].name, *stamps[role]]
        with contextlib.suppress(OSError), atomic(folder / "sources.json") as file:
            json.dump(made, file)
    return True


def _read_frames(path: Path) -> tuple[dict, dict, dict[str, int]]:
    """Images and their annotations, aligned, in the images' order; what was left out, counted."""
    images = _Columns(path, "image", IMAGE)
    annotations = _Columns(path, "annotation", ANNOTATION)
    if path.suffix == ".pkl":
        for image in load_pickle(path, NUMPY_ALLOWED).values():
            images.add(image)
            annotations.add(image["anno"])
    else:
        for keys, record in walk_json(path, 2):
            if keys[0] in ("images", "annotations"):
                (images if keys[0] == "images" else annotations).add(record)
    images, annotations = images.done(), annotations.done()
    ids, first = np.unique(images["id"], return_index=True)
    annotated, annotation = np.unique(annotations["image_id"], return_index=True)
    both, of_ids, of_annotated = np.intersect1d(
        ids, annotated, assume_unique=True, return_indices=True
    )
    if not len(both):
        raise ValueError(f"{path}: an empty split, it holds no annotated image; fetch it again")
    order = np.argsort(first[of_ids])
    left_out = {
        "images of the same id": len(images["id"]) - len(ids),
        "images without annotation": len(ids) - len(both),
        "second annotations of an image": len(annotations["id"]) - len(annotated),
        "annotations without image": len(annotated) - len(both),
    }
    rows = (first[of_ids][order], annotation[of_annotated][order])
    take = lambda table, rows: {k: v.take(pa.array(rows)) if isinstance(v, pa.Array) else v[rows]
                                for k, v in table.items()}  # fmt: skip
    return take(images, rows[0]), take(annotations, rows[1]), left_out


def _read_instants(joints: Path, mano: Path | None) -> dict[str, np.ndarray]:
    """Joints and fits, a row per capture and moment; NaN where there is no fit."""
    keys, world = [], []
    for key, instant in walk_json(joints, 2):
        try:
            keys.append([int(k) for k in key])
            world.append(np.array(instant["world_coord"], np.float32).reshape(N_JOINTS, 3))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{joints}: capture/frame {'/'.join(map(str, key))}: world_coord is not {N_JOINTS} "
                f"points ({error}); correct it or fetch the file again"
            ) from None
    if not keys:
        raise ValueError(f"{joints}: empty, it holds no moment; fetch it again")
    row_of = {tuple(key): row for row, key in enumerate(keys)}
    fits = np.full((len(keys), 2, 61), np.nan, np.float32)
    for key, hands in walk_json(mano, 2) if mano else ():
        row = row_of.get((int(key[0]), int(key[1])))
        for side, name in enumerate(SIDES):
            fit = hands.get(name) if row is not None and hands else None
            if fit:
                try:
                    fits[row, side] = fit["pose"] + fit["shape"] + fit["trans"]
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(
                        f"{mano}: capture/frame {'/'.join(key)}: {name}: not pose 48, shape 10, "
                        f"trans 3 ({error}); correct it or fetch the file again"
                    ) from None
    capture, frame_idx = np.array(keys, np.int64).T
    pose, shape, trans = np.split(fits, [48, 58], axis=2)
    return {
        "capture": capture, "frame_idx": frame_idx, "joints_world_mm": np.stack(world),
        "mano_pose": pose, "mano_shape": shape, "mano_trans": trans,
    }  # fmt: skip


CAMERA = {"campos": (3,), "camrot": (3, 3), "focal": (2,), "princpt": (2,)}


def _read_cameras(path: Path) -> dict[str, np.ndarray | pa.Array]:
    names, columns = [], {key: [] for key in CAMERA}
    for (capture,), cameras in walk_json(path, 1):
        try:
            for camera in cameras["campos"]:
                names.append((int(capture), camera))
                for key, shape in CAMERA.items():
                    values = np.array(cameras[key][camera], np.float64)
                    columns[key].append(values.reshape(shape))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: capture {capture}: camera {str(camera)!r}: {key} missing or not of shape "
                f"{shape} ({error}); correct it or fetch the file again"
            ) from None
    columns["campos_mm"] = columns.pop("campos")
    return {
        "capture": np.array([capture for capture, _ in names]),
        "camera": _strings([camera for _, camera in names]),
        **{key: np.array(values) for key, values in columns.items()},
    }


def fits_match_type(
    fit_error_mm: Float[np.ndarray, "n 2"], hand_type: Integer[np.ndarray, "n"]
) -> Bool[np.ndarray, "n"]:
    """Where every hand that the frame's type names has a fit, and no other (spec section 3)."""
    return (np.isfinite(fit_error_mm) == (HAND_TYPE_FLAGS[hand_type] > 0)).all(1)


def _build(root: Path, split: str, sources: Mapping[str, Path], folder: Path) -> None:
    made = {role: [path.name, *_stamp(path), _digest(path)] for role, path in sources.items()}
    build = hashlib.blake2b(repr((INDEX_VERSION, made)).encode(), digest_size=16).hexdigest()
    truth = repr([made[r][3] for r in ("data", "camera", "joint_3d", "mano") if r in made])
    images, annotations, left_out = _read_frames(sources["data"])
    instants = _read_instants(sources["joint_3d"], sources.get("mano"))
    cameras = _read_cameras(sources["camera"])
    n = len(images["id"])
    key = lambda table: table["capture"].astype(np.int64) << 32 | table["frame_idx"]  # noqa: E731
    order = np.argsort(key(instants))
    at = np.searchsorted(key(instants)[order], key(images)).clip(max=len(order) - 1)
    instant_row = order[at]
    lost = np.flatnonzero(key(instants)[instant_row] != key(images))
    if len(lost):
        raise ValueError(
            f"{sources['joint_3d']}: capture/frame {images['capture'][lost[0]]}/"
            f"{images['frame_idx'][lost[0]]} missing, and {images['file_name'][lost[0]]} needs it "
            f"({len(lost):,} such frames); fetch the file again or drop the frames"
        )
    camera = images["camera"].dictionary_encode()
    names = camera.dictionary.to_pylist()
    row_of = dict(zip(zip(cameras["capture"].tolist(), cameras["camera"].to_pylist()),
                      range(len(cameras["capture"]))))  # fmt: skip
    pairs, pair = np.unique(
        images["capture"] * len(names) + camera.indices.to_numpy(), return_inverse=True
    )
    pair_row = np.array(
        [row_of.get((int(p) // len(names), names[p % len(names)]), -1) for p in pairs]
    )
    camera_row = pair_row[pair]
    lost = np.flatnonzero(camera_row < 0)
    if len(lost):
        raise ValueError(
            f"{sources['camera']}: capture {images['capture'][lost[0]]} has no camera "
            f"{images['camera'][lost[0]]}, and {images['file_name'][lost[0]]} needs it "
            f"({len(lost):,} such frames); fetch the file again or drop the frames"
        )
    rootnet = {
        "rootnet_bbox_xywh": np.full((n, 4), np.nan, np.float32),
        "rootnet_depth_mm": np.full((n, 2), np.nan, np.float32),
    }
    if "rootnet" in sources:
        records = _Columns(sources["rootnet"], "record", ROOTNET)
        for _, record in walk_json(sources["rootnet"], 1):
            records.add(record)
        records = records.done()
        _, to, of = np.intersect1d(annotations["id"], records["annot_id"], return_indices=True)
        rootnet["rootnet_bbox_xywh"][to] = records["bbox"][of]
        rootnet["rootnet_depth_mm"][to] = records["abs_depth"][of]
    fit_error_mm = np.full((n, 2), np.nan, np.float32)
    if "meta_dict" in sources:
        errors = load_pickle(sources["meta_dict"], NUMPY_ALLOWED)
        for row, name in enumerate(images["file_name"].to_pylist()):
            error = errors.get(f"{split}/{name}", {})
            fit_error_mm[row] = [error.get(f"{side}_fit_err") for side in SIDES]
    frames = {
        "image_id": images["id"], "annot_id": annotations["id"],
        **{name: images[name] for name in ("file_name", "width", "height", "capture", "subject")},
        "seq_name": images["seq_name"].dictionary_encode(), "camera": camera,
        "frame_idx": images["frame_idx"], "bbox_xywh": annotations["bbox"],
        **{name: annotations[name] for name in ("hand_type", "hand_type_valid", "joint_valid")},
        **rootnet, "fit_error_mm": fit_error_mm,
        "parts_valid": fits_match_type(fit_error_mm, annotations["hand_type"]),
        "camera_row": camera_row, "instant_row": instant_row,
    }  # fmt: skip
    frames["fault"] = _find_faults(frames, instants, cameras)
    about = {
        "build": build, "left_out": json.dumps(left_out), "sources": json.dumps(sorted(sources)),
        "fingerprint": hashlib.blake2b(truth.encode(), digest_size=8).hexdigest(),
    }  # fmt: skip
    for name, columns in (("cameras", cameras), ("instants", instants), ("frames", frames)):
        write_arrow(folder / f"{name}.arrow", columns, about)
    with atomic(folder / "sources.json") as file:
        json.dump({"version": INDEX_VERSION, "build": build, "files": made}, file, indent=1)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, n, CHUNK))


def _cam_and_px(
    world: Float[np.ndarray, "n 42 3"], *camera: Float[np.ndarray, "n ..."]
) -> tuple[Float[np.ndarray, "n 42 3"], Float[np.ndarray, "n 42 2"]]:
    """World joints (mm) in the camera frame and in px; camera: camrot, campos_mm, focal, princpt."""
    camrot, campos, focal, princpt = (torch.from_numpy(np.array(c)) for c in camera)
    cam = geometry.world_to_camera(torch.from_numpy(world.astype(np.float64)), camrot, campos)
    return cam.float().numpy(), geometry.project(cam, focal, princpt).float().numpy()


def _find_faults(frames: Mapping, instants: Mapping, cameras: Mapping) -> Integer[np.ndarray, "n"]:
    """Per frame the number of the first thing in `FAULTS` that is wrong with it, 0 for none."""
    found = []
    for part in _chunks(len(frames["image_id"])):
        valid = frames["joint_valid"][part]
        camera = [cameras[c][frames["camera_row"][part]]
                  for c in ("camrot", "campos_mm", "focal", "princpt")]  # fmt: skip
        world = instants["joints_world_mm"][frames["instant_row"][part]]
        cam, _ = _cam_and_px(world, *camera)
        box = frames["bbox_xywh"][part]
        finite = [np.isfinite(c).reshape(len(c), -1).all(1) for c in camera]
        found.append(np.select([
            (valid & ~np.isfinite(world).all(2)).any(1),
            ~np.all(finite, axis=0),
            ~(np.isfinite(box).all(1) & (box[:, 2:] > 0).all(1)),
            (valid & (cam[..., 2] <= 0)).any(1),
        ], [1, 2, 3, 4], 0).astype(np.int8))  # fmt: skip
    return np.concatenate(found)


# ---------------------------------------------------------------- the index, opened


class Frame(NamedTuple):
    """One frame of an index: the columns of `Index` of the same names, and its key."""

    key: str  # "<split>/<file_name>", as in the image LMDB
    image_id: int
    annot_id: int
    width: int
    height: int
    capture: int
    subject: int
    frame_idx: int
    camera: str
    seq_name: str
    file_name: str
    bbox_xywh: Float[np.ndarray, "4"]
    hand_type: int
    hand_type_valid: bool
    joint_valid: Bool[np.ndarray, "42"]
    rootnet_bbox_xywh: Float[np.ndarray, "4"]
    rootnet_depth_mm: Float[np.ndarray, "2"]
    fit_error_mm: Float[np.ndarray, "2"]
    parts_valid: bool
    fault: int
    joints_world_mm: Float[np.ndarray, "42 3"]
    joints_cam_mm: Float[np.ndarray, "42 3"]
    joints_px: Float[np.ndarray, "42 2"]
    camrot: Float[np.ndarray, "3 3"]
    campos_mm: Float[np.ndarray, "3"]
    focal: Float[np.ndarray, "2"]
    princpt: Float[np.ndarray, "2"]
    mano_pose: Float[np.ndarray, "2 48"]
    mano_shape: Float[np.ndarray, "2 10"]
    mano_trans: Float[np.ndarray, "2 3"]


class Index:
    """Frames of one split as columns: `index["bbox_xywh"]`, `index.frame(3)`, `index.take(rows)`.

    Columns (N frames; see `Frame` for all names): as annotated, with `joint_valid` before the rule
    that a hand's joints need its wrist; `hand_type` counts in HAND_TYPES; `fault` in FAULTS; right
    hand before left in `rootnet_depth_mm`, `fit_error_mm` (NaN none) and `mano_*` (NaN none; m).
    Joined on demand: joints, cameras (float64) and fits; `joints_cam_mm`, `joints_px`; any column
    of the index's masks.arrow; any of a synthetic tree's `truth/<split>.parquet`.
    A column of a whole split is a read-only view of the file where it is stored as such.
    An Index pickles as its paths and rows: workers share the files' pages.
    """

    def __init__(
        self, root: Path, split: str, name: str, folder: Path, rows: Integer[np.ndarray, "n"]
    ):
        self.root, self.split, self.name, self.folder, self.rows = root, split, name, folder, rows
        self.fingerprint = self._frames.metadata["fingerprint"]  # of annotations, joints, fits

    _frames = property(lambda self: _table(self.folder / "frames.arrow"))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Index({self.name} of {self.root}: {len(self):,} frames)"

    def take(self, rows: Any) -> "Index":
        """The frames at these positions (numbers, slice or mask) of this index, in that order."""
        return Index(self.root, self.split, self.name, self.folder, self.rows[rows])

    def usable(self) -> "Index":
        """The frames without a fault and on no exclude list (`prepared/exclude/<split>_*.tsv`)."""
        return self.take(self.excluded() == "")

    def excluded(self) -> np.ndarray:
        """Per frame why `usable` leaves it out, "" if it does not."""
        reasons = np.array(FAULTS, object)[self["fault"]]
        listed = read_exclude_lists(self.root, self.split)
        if listed:
            for i, key in enumerate(self.keys()):
                reasons[i] = reasons[i] or listed.get(key, "")
        return reasons

    def keys(self) -> list[str]:
        """Each frame's key in the image store."""
        return [f"{self.split}/{name}" for name in self["file_name"]]

    def __getitem__(self, column: str) -> np.ndarray:
        """A column over the index's rows; KeyError naming what there is."""
        whole = len(self.rows) == len(self._frames) and bool((np.diff(self.rows) == 1).all())
        rows = None if whole else self.rows
        masks = self._masks()
        if masks is not None and column in masks.names:
            return masks.take(column, rows)
        if column in self._frames.names:
            return self._frames.take(column, rows)
        for name, row_of in (("instants", "instant_row"), ("cameras", "camera_row")):
            table = _table(self.folder / f"{name}.arrow")
            if column in table.names:
                return table.take(column, self[row_of])
        if column in ("joints_cam_mm", "joints_px"):
            sizes = {"joints_cam_mm": 3, "joints_px": 2}
            joints = np.empty((len(self), N_JOINTS, sizes[column]), np.float32)
            for part in _chunks(len(self)):
                some = self.take(part)
                camera = (some[c] for c in ("camrot", "campos_mm", "focal", "princpt"))
                both = _cam_and_px(some["joints_world_mm"], *camera)
                joints[part] = both[list(sizes).index(column)]
            return joints
        truth = self._truth()
        if truth is not None and column in truth:
            return truth[column].reindex(self["image_id"]).to_numpy()
        raise KeyError(f"{column!r} is no column; there are {', '.join(self.columns())}")

    def columns(self) -> list[str]:
        """The names of all columns."""
        names = [*Frame._fields[1:], "camera_row", "instant_row"]
        names += [] if self._masks() is None else self._masks().names
        names += [] if self._truth() is None else list(self._truth())
        return list(dict.fromkeys(names))

    def _masks(self) -> _Table | None:
        """The masks' columns, if they were made from this very index."""
        path = find_prepared(self.root, f"index/{self.split}/masks.arrow")
        table = path and _table(path)
        fits = table and table.metadata.get("index") == self.fingerprint
        return table if fits and len(table) == len(self._frames) else None

    def _truth(self) -> pd.DataFrame | None:
        path = self.root / f"truth/{self.split}.parquet"
        return _read_truth(path, path.stat().st_mtime_ns) if path.is_file() else None

    def frame(self, i: int) -> Frame:
        """One frame with all that is known of it."""
        one = self.take([i])
        values = (one[name][0] for name in Frame._fields[1:])
        return Frame(one.keys()[0], *(v.item() if isinstance(v, np.generic) else v for v in values))

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The columns (all of one number or word a frame, unless named) as a table."""
        table = {}
        for name in columns or self.columns():
            column = self[name] if columns or name in self._frames.names else self[name]
            if column.ndim == 1:
                table[name] = column
            elif columns:
                table[name] = list(column)
        return pd.DataFrame(table)


@functools.lru_cache(maxsize=4)
def _read_truth(path: Path, mtime_ns: int) -> pd.DataFrame:
    return pd.read_parquet(path).set_index("image_id")


def read_exclude_lists(root: Path | str, split: str) -> dict[str, str]:
    """Key → reason of every frame on the split's lists, `prepared/exclude/<split>_*.tsv`."""
    folder = find_prepared(root, "exclude")
    lines = [
        line.split("\t", 1)
        for path in (sorted(folder.glob(f"{split}_*.tsv")) if folder else ())
        for line in path.read_text().splitlines()
    ]
    return {key: reason for key, reason in lines}


def write_exclude_list(root: Path | str, split: str, name: str, reasons: Mapping[str, str]) -> Path:
    """Write the list `prepared/exclude/<split>_<name>.tsv`: key, tab, reason."""
    path = prepared_dir(root) / f"exclude/{split}_{name}.tsv"
    with atomic(path) as file:
        file.writelines(f"{key}\t{reason}\n" for key, reason in reasons.items())
    return path


def open_index(root: Path | str, name: str = "train", build: bool = True) -> Index:
    """The index of a split or of a named subset (`SPLITS`), made first where missing or stale.

    Raises ValueError or FileNotFoundError for an unknown name, a missing or broken annotation file,
    a frame without its camera or joints, an unknown hand type, an empty split; FileNotFoundError
    too when there is no fresh index and `build` is off.
    """
    root = Path(root).resolve()
    if name not in SPLITS:
        raise ValueError(f"{name!r} is no split; take one of {', '.join(SPLITS)}")
    split, part = SPLITS[name]
    sources = _sources(root, split)
    place = f"index/{split}"
    fresh = lambda: next(  # noqa: E731
        (f for f in (root / "prepared" / place, _cache_dir(root) / place) if _is_fresh(f, sources)),
        None,
    )
    folder = fresh()
    if folder is None and not build:
        raise FileNotFoundError(f"{prepared_dir(root) / place}: no fresh index; run digit prepare")
    if folder is None:
        with exclusive(prepared_dir(root) / f"index/{split}.lock"):
            folder = fresh()  # another process may have made it while we waited
            if folder is None:
                folder = prepared_dir(root) / place
                _build(root, split, sources, folder)
    n = len(_table(folder / "frames.arrow"))
    rows = np.arange(n) if part is None else subset_rows(n, part)
    return Index(root, split, name, folder, rows)


# ---------------------------------------------------------------- subsets


def mersenne_words(seed: int) -> Iterator[int]:
    """The 32-bit words of MT19937 (Matsumoto and Nishimura 1998) seeded as by `[seed]`, < 2³²."""
    state, i = [19650218], 1
    for j in range(1, 624):
        state.append((1812433253 * (state[-1] ^ state[-1] >> 30) + j) & 0xFFFFFFFF)
    for factor, steps in ((1664525, 624), (1566083941, 623)):
        for _ in range(steps):
            mixed = state[i] ^ (state[i - 1] ^ state[i - 1] >> 30) * factor
            state[i] = (mixed + (seed if factor == 1664525 else -i)) & 0xFFFFFFFF
            i += 1
            if i == 624:
                state[0], i = state[623], 1
    old = np.array([0x80000000, *state[1:]], np.uint32)
    while True:
        pair = old & 0x80000000 | np.roll(old, -1) & 0x7FFFFFFF
        twist = pair >> 1 ^ (pair & 1) * np.uint32(0x9908B0DF)
        new = np.concatenate([old[397:], np.zeros(397, np.uint32)]) ^ twist
        new[227:454] ^= new[:227]  # each slice needs words that the one before has made
        new[454:623] ^= new[227:396]
        pair = old[623] & 0x80000000 | new[0] & 0x7FFFFFFF
        new[623] = new[396] ^ pair >> 1 ^ (pair & 1) * np.uint32(0x9908B0DF)
        word = new ^ new >> 11
        word ^= word << 7 & 0x9D2C5680
        word ^= word << 15 & 0xEFC60000
        yield from (word ^ word >> 18).tolist()
        old = new


def subset_rows(n: int, part: float | int) -> Integer[np.ndarray, "k"]:
    """The original's choice out of n frames, sorted: a fraction of them, or a number (at most n).

    It seeds Python's generator with 1, draws randint(0, 100), then takes random.sample. Done
    here by our own generator and the algorithm of CPython 3.2 on, so that no version can change it.
    """
    words = mersenne_words(1)

    def below(limit: int) -> int:
        shift = 32 - limit.bit_length()
        while (number := next(words) >> shift) >= limit:
            pass
        return number

    below(101)
    k = min(part, n) if isinstance(part, int) else int(part * n)
    if n <= 21 + (4 ** _log4_ceil(3 * k) if k > 5 else 0):
        pool, chosen = list(range(n)), []
        for left in range(n, n - k, -1):
            i = below(left)
            chosen.append(pool[i])
            pool[i] = pool[left - 1]
    else:
        chosen = set()
        while len(chosen) < k:
            chosen.add(below(n))
    return np.array(sorted(chosen), np.int64)


def _log4_ceil(number: int) -> int:
    return ((number - 1).bit_length() + 1) // 2


# ---------------------------------------------------------------- a tree, written


def write_tree(
    root: Path | str,
    split: str,
    frames: Mapping[str, Any],
    instants: Mapping[str, Any],
    cameras: Mapping[str, Any],
    hand_model: str = "mano",
) -> None:
    """Write a split's annotation files as InterHand2.6M has them, from columns as `Index` has them.

    frames (N): image_id, file_name (from "Capture…" on), width, height, capture, subject, seq_name,
      camera (str), frame_idx, bbox_xywh (N, 4) px, joint_valid (N, 42), hand_type (N, in HAND_TYPES),
      hand_type_valid; optional annot_id (else image_id), and rootnet_bbox_xywh (N, 4) px with
      rootnet_depth_mm (N, 2) right, left, which make the RootNet file (all NaN rows are left out).
    instants (M): capture, frame_idx, joints_world_mm (M, 42, 3), joint_valid (M, 42), hand_type,
      hand_type_valid; optional mano_pose (M, 2, 48), mano_shape (M, 2, 10), mano_trans (M, 2, 3) in m,
      right then left, NaN for no fit, which make the NeuralAnnot file.
    cameras (K): capture, camera (str), camrot (K, 3, 3), campos_mm (K, 3), focal (K, 2), princpt (K, 2).

    Values are written as given (round them before, if the files shall be small). skeleton.txt and
    hand_model.txt (which hand the fits are for: "mano" or "generic") are written too; each file
    appears whole, the split's data.json last.
    """
    root = Path(root)
    stem = root / f"annotations/{split}/InterHand2.6M_{split}_"
    plain = lambda table: {k: np.asarray(v).tolist() for k, v in table.items()}  # noqa: E731
    frames, instants, cameras = plain(frames), plain(instants), plain(cameras)
    skeleton = ["# joint name, joint id, parent id"]
    skeleton += [f"{name} {j} {parent}" for j, (name, parent) in enumerate(zip(JOINTS, PARENTS))]
    for name, text in (("skeleton", "\n".join(skeleton)), ("hand_model", hand_model)):
        with atomic(root / f"annotations/{name}.txt") as file:
            file.write(text + "\n")
    captures: dict = {}
    for i, (capture, camera) in enumerate(zip(cameras["capture"], cameras["camera"])):
        of_capture = captures.setdefault(capture, {key: {} for key in CAMERA})
        for key in CAMERA:
            of_capture[key][camera] = cameras["campos_mm" if key == "campos" else key][i]
    _write_json(f"{stem}camera.json", captures)
    joints, fits = {}, {}
    for i, (capture, frame) in enumerate(zip(instants["capture"], instants["frame_idx"])):
        joints.setdefault(capture, {})[frame] = {
            "world_coord": instants["joints_world_mm"][i],
            "joint_valid": [[int(valid)] for valid in instants["joint_valid"][i]],
            "hand_type": HAND_TYPES[instants["hand_type"][i]],
            "hand_type_valid": bool(instants["hand_type_valid"][i]),
        }
        if "mano_pose" in instants:
            fits.setdefault(capture, {})[frame] = {
                side: {key: instants[f"mano_{key}"][i][hand] for key in ("pose", "shape", "trans")}
                if instants["mano_trans"][i][hand][0] == instants["mano_trans"][i][hand][0]
                else None
                for hand, side in enumerate(SIDES)
            }
    _write_json(f"{stem}joint_3d.json", joints)
    if fits:
        _write_json(f"{stem}MANO_NeuralAnnot.json", fits)
    ids = frames.get("annot_id", frames["image_id"])
    if "rootnet_bbox_xywh" in frames:
        found = zip(ids, frames["rootnet_bbox_xywh"], frames["rootnet_depth_mm"])
        records = [dict(zip(ROOTNET, row)) for row in found if row[1][0] == row[1][0]]
        name = f"rootnet_interhand2.6m_output_{split}.json"
        _write_json(root / "rootnet_output" / name, records)
    images = [dict(zip(IMAGE, row)) for row in zip(
        frames["image_id"], *(frames[name] for name in list(IMAGE)[1:])
    )]  # fmt: skip
    annotations = [
        {
            "id": ids[i],
            "image_id": image_id,
            "bbox": frames["bbox_xywh"][i],
            "joint_valid": [[int(valid)] for valid in frames["joint_valid"][i]],
            "hand_type": HAND_TYPES[frames["hand_type"][i]],
            "hand_type_valid": bool(frames["hand_type_valid"][i]),
        }
        for i, image_id in enumerate(frames["image_id"])
    ]
    _write_json(f"{stem}data.json", {"images": images, "annotations": annotations})


def _write_json(path: Path | str, value: Any) -> None:
    with atomic(Path(path)) as file:
        file.write(json.dumps(value))


def hand_model_name(root: Path | str) -> str:
    """Which hand the tree's fits are for: "generic" if its hand_model.txt says so, else "mano"."""
    path = Path(root) / "annotations/hand_model.txt"
    return "generic" if path.is_file() and path.read_text().strip() == "generic" else "mano"

"""InterHand2.6M's annotation files: streamed in as columns.

A column is a numpy array, a row a record. Lengths mm, boxes (x, y, width, height) in px, right hand
before left; a number that is missing is NaN.
"""

import contextlib
import fcntl
import functools
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

from .pickles import NUMPY_ALLOWED, load_pickle
from .skeleton import HAND_TYPES, N_JOINTS, SIDES

# name → (split of the tree, what part of it: everything, a fraction, or a number of frames)
SPLITS: dict[str, tuple[str, float | int | None]] = {
    "train": ("train", None), "val": ("val", None), "test": ("test", None),
    "minitrain": ("train", 1000), "minival": ("val", 1000), "minitest": ("test", 1000),
    "smalltrain": ("train", 0.1), "smallval": ("val", 0.25), "smalltest": ("test", 0.25),
    "tinytrain": ("train", 0.05),
}  # fmt: skip
BLOCK, LONGEST = 1 << 22, 1 << 26  # characters of a JSON file read at a time; of one value
CURE = "put InterHand2.6M's annotations there"
CHUNK = 4096  # records converted at a time
MOMENT = {"capture": int, "frame_idx": int}
IMAGE = {"id": int, "file_name": str, "width": int, "height": int, **MOMENT, "subject": int,
         "seq_name": str, "camera": str}  # fmt: skip
ANNOTATION = {"id": int, "image_id": int, "bbox": (4,), "joint_valid": (N_JOINTS,),
              "hand_type": HAND_TYPES.index, "hand_type_valid": ()}  # fmt: skip
ROOTNET = {"annot_id": int, "bbox": (4,), "abs_depth": (2,)}
CAMERA = {"campos": (3,), "camrot": (3, 3), "focal": (2,), "princpt": (2,)}
FIT = {"pose": (48,), "shape": (10,), "trans": (3,)}


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[Any]:
    """A file that appears under its name only when it is complete; OSError if it cannot be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, mode) as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        why = f"cannot be written ({error}); make room, or the folder writable"
        raise OSError(f"{path}: {why}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(path: Path, wait: bool) -> Iterator[None]:
    """Hold the lock file for the block; ValueError if another process has it and `wait` is off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ValueError(f"{path}: another preparation is at work; wait for its end") from None
        yield


def splits_of(root: Path | str) -> list[str]:
    """The splits whose annotations the tree holds, of train, val, test.

    Raises FileNotFoundError where there is no such tree, or none of them in it.
    """
    found = _splits_there(Path(root))
    if not found:
        place = "annotations/<split>/InterHand2.6M_<split>_data.json"
        raise FileNotFoundError(f"{root}: no {place}; {CURE}")
    return found


def _splits_there(root: Path) -> list[str]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such data set folder; say where it lies by --root")
    folders = {split: root / "annotations" / split for split in ("train", "val", "test")}
    return [s for s, folder in folders.items() if any(folder.glob(f"InterHand2.6M_{s}_data.*"))]


def hand_model_name(root: Path | str) -> str:
    """Which hand the fits are for: "generic" if `annotations/hand_model.txt` says so, or "mano"."""
    path = Path(root) / "annotations/hand_model.txt"
    return "generic" if path.is_file() and path.read_text().strip() == "generic" else "mano"


def annotation_files(root: Path, split: str) -> dict[str, Path]:
    """The files that tell of a split, by role; FileNotFoundError for one that must be there."""
    stem = f"annotations/{split}/InterHand2.6M_{split}"
    rootnet = "rootnet_output/rootnet_interhand2.6m_output"
    names = {
        "data": [f"{stem}_data.json", f"{stem}_data.pkl"], "camera": [f"{stem}_camera.json"],
        "joint_3d": [f"{stem}_joint_3d.json"], "mano": [f"{stem}_MANO_NeuralAnnot.json"],
        "rootnet": [f"{rootnet}_{part}{split}.json" for part in ("", "all_", "machine_annot_")],
        "meta_dict": [f"cache/meta_dict_{split}.pkl"], "truth": [f"truth/{split}.parquet"],
    }  # fmt: skip
    found = {r: root / n for r in names for n in reversed(names[r]) if (root / n).is_file()}
    for role in ("data", "camera", "joint_3d"):
        if role not in found:
            there = ", ".join(_splits_there(root)) or "none"
            cure = f"{CURE} (splits here: {there})"
            raise FileNotFoundError(f"{root / names[role][0]}: missing; {cure}")
    return found


def walk_json(path: Path, depth: int) -> Iterator[tuple[tuple, Any]]:
    """((key or position, …), value) of each value `depth` levels down a JSON file, in file order.

    Holds a few MB at a time; takes NaN and Infinity. ValueError if the file is cut, or no JSON.
    """
    scan, spaces = json.JSONDecoder().raw_decode, re.compile(r"\s*").match
    text, at, ended = "", 0, False

    def read_on() -> None:
        nonlocal text, at, ended
        if ended or len(text) - at > LONGEST:
            raise ValueError(f"cut in the middle, or no JSON, from {text[at : at + 40]!r}… on")
        block = file.read(BLOCK)
        text, at, ended = text[at:] + block, 0, not block

    def mark(wanted: str = "") -> str:  # the next character that is no space; passed if wanted
        nonlocal at
        while (at := spaces(text, at).end()) == len(text):
            read_on()
        if wanted and text[at] not in wanted:
            raise ValueError(f"no JSON, {wanted!r} is missing before {text[at : at + 40]!r}…")
        at += bool(wanted)
        return text[at - bool(wanted)]

    def value() -> Any:
        nonlocal at
        mark()
        while True:
            with contextlib.suppress(json.JSONDecodeError):
                found, end = scan(text, at)
                if end + 2 < len(text) or ended:  # else a number may go on in the next block
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
            raise ValueError(f"{path}: {error}; fetch or write the file again") from None


def gather(
    path: Path, fields: Mapping[str, Any], records: Iterable, dtype: type = np.float32
) -> dict[str, np.ndarray]:
    """JSON records as columns; ValueError naming the record and key that do not fit."""

    def column(key: str, kind: Any, batch: Sequence) -> np.ndarray:
        try:
            values = [record[key] for record in batch]
            if isinstance(kind, tuple):  # the shape of one; a flag may be a one-element list
                return np.array(values, dtype).reshape(len(values), *kind)
            if kind is int:
                return np.array(values, np.int64)  # of strings too
            return np.array([kind(v) for v in values], object if kind is str else np.int8)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if len(batch) > 1:  # one of them, or flags spelled in both ways
                return np.concatenate([column(key, kind, [record]) for record in batch])
            reason = f"it is none of {', '.join(HAND_TYPES)}" if key == "hand_type" else repr(error)
            value = batch[0].get(key) if isinstance(batch[0], dict) else None
            what = f"{key} = {value!r:.60} of {batch[0]!r:.90}…"
            raise ValueError(f"{path}: {what}: {reason}; mend or drop the record") from None

    records = iter(records)
    batches = itertools.chain([[]], iter(lambda: list(itertools.islice(records, CHUNK)), []))
    chunks = [[column(*field, batch) for field in fields.items()] for batch in batches]
    return dict(zip(fields, map(np.concatenate, zip(*chunks))))


def _keyed(path: Path, *names: str) -> Iterator[dict]:
    """The records of nested JSON dictionaries, with the keys that lead to them."""
    for keys, record in walk_json(path, len(names)):
        if len(keys) < len(names) or not isinstance(record, dict):
            where = f"{' → '.join(names)} {'/'.join(map(str, keys))}"
            raise ValueError(f"{path}: no record under {where}; fetch the file again")
        yield record | dict(zip(names, keys))


def read_frames(path: Path) -> tuple[dict, dict, dict[str, int]]:
    """Images and annotations, aligned, in the images' order; how many were left out, and why."""
    fields = {"images": IMAGE, "annotations": ANNOTATION}
    if path.suffix == ".pkl":
        records = list(load_pickle(path, NUMPY_ALLOWED).values())
        parts = [("images", records), ("annotations", (image["anno"] for image in records))]
    else:
        groups = itertools.groupby(walk_json(path, 2), lambda item: item[0][0])
        parts = ((name, (record for _, record in group)) for name, group in groups)
    tables = {name: gather(path, fields[name], part) for name, part in parts if name in fields}
    if any(name not in tables or not len(tables[name]["id"]) for name in fields):
        raise ValueError(f"{path}: an empty split, no images or no annotations; fetch it again")
    images, annotations = tables["images"], tables["annotations"]
    ids = images["id"], annotations["image_id"]
    both, image, annotation = np.intersect1d(*ids, return_indices=True)
    n_images, n_annotated = (len(np.unique(some)) for some in ids)
    left_out = {
        "image of an id seen before": len(ids[0]) - n_images,
        "image without annotation": n_images - len(both),
        "second annotation of an image": len(ids[1]) - n_annotated,
        "annotation without image": n_annotated - len(both),
    }
    order = np.argsort(image)
    images = {key: column[image[order]] for key, column in images.items()}
    return images, {key: c[annotation[order]] for key, c in annotations.items()}, left_out


def _find(table: Mapping, wanted: Mapping, *keys: str) -> Integer[np.ndarray, "n"]:
    """The table's row with the wanted pairs of keys, −1 for none."""
    rows, of = (pd.MultiIndex.from_arrays([t[key] for key in keys]) for t in (table, wanted))
    return rows.get_indexer(of).astype(np.int32)


def read_instants(joints: Path, mano: Path | None) -> dict[str, np.ndarray]:
    """Joints and fits, a row per capture and moment."""
    instants = gather(joints, MOMENT | {"world_coord": (N_JOINTS, 3)}, _keyed(joints, *MOMENT))
    instants["joints_world_mm"] = instants.pop("world_coord")
    for key, shape in FIT.items():
        instants[f"mano_{key}"] = np.full((len(instants["capture"]), 2, *shape), np.nan, np.float32)
    for side, name in enumerate(SIDES) if mano else ():
        records = (moment | moment[name] for moment in _keyed(mano, *MOMENT) if moment.get(name))
        found = gather(mano, MOMENT | FIT, records)
        rows = _find(instants, found, *MOMENT)
        for key in FIT:
            instants[f"mano_{key}"][rows[rows >= 0], side] = found[key][rows >= 0]
    return instants


def read_cameras(path: Path) -> dict[str, np.ndarray]:
    """Cameras, a row per capture and camera, float64."""
    records = (
        {"camera": camera, **of, **{key: of.get(key, {}).get(camera) for key in CAMERA}}
        for of in _keyed(path, "capture")
        for camera in of.get("campos", ())
    )
    cameras = gather(path, {"capture": int, "camera": str, **CAMERA}, records, np.float64)
    return {"campos_mm": cameras.pop("campos"), **cameras}


def read_fit_errors(path: Path, keys: Iterable[str]) -> Float[np.ndarray, "n 2"]:
    """The fitting errors (mm) that the original's meta_dict has for the images' keys."""
    errors = load_pickle(path, NUMPY_ALLOWED)
    found = [[errors.get(key, {}).get(f"{side}_fit_err") for side in SIDES] for key in keys]
    return np.array(found, np.float32).reshape(-1, 2)


def rows_of(path: Path, table: Mapping, images: Mapping, *keys: str) -> Integer[np.ndarray, "n"]:
    """The table's row that each image refers to by the keys; ValueError naming what is missing."""
    rows = _find(table, images, *keys)
    if len(lost := np.flatnonzero(rows < 0)):
        what = ", ".join(f"{key} {images[key][lost[0]]}" for key in keys)
        raise ValueError(
            f"{path}: {what} missing; {images['file_name'][lost[0]]} and {len(lost) - 1:,} other "
            "frames need it: fetch the file again or drop the frames"
        )
    return rows


def mersenne_words(seed: int) -> Iterator[int]:
    """The 32-bit words of MT19937 seeded by the array [seed]; RandomState is frozen (NEP 19)."""
    source = np.random.RandomState([seed])
    while True:
        yield from np.frombuffer(source.bytes(4096), "<u4").tolist()


@functools.cache
def subset_rows(n: int, part: float | int | None) -> Integer[np.ndarray, "k"]:
    """The original's choice of n frames, sorted: all, a fraction, or a number (at most n).

    It seeds Python's generator with 1, draws randint(0, 100), then takes random.sample: done here
    by the algorithm of CPython since 3.2, so that no version changes it.
    """
    if part is None:
        return np.arange(n)
    words, k = mersenne_words(1), min(part, n) if isinstance(part, int) else int(part * n)

    def below(limit: int) -> int:
        shift = 32 - limit.bit_length()
        return next(number for word in words if (number := word >> shift) < limit)

    below(101)
    chosen: set[int] = set()
    if n <= 21 + (4 ** (((3 * k - 1).bit_length() + 1) // 2) if k > 5 else 0):
        pool = list(range(n))
        while len(chosen) < k:
            i = below(len(pool))
            chosen.add(pool[i])
            pool[i] = pool[-1]
            pool.pop()
    while len(chosen) < k:
        chosen.add(below(n))
    return np.array(sorted(chosen), np.int64)

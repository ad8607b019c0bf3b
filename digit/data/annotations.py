"""Reading InterHand2.6M's annotation files as columns."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

from digit.data.json_stream import walk_json
from digit.data.layout import ANNOTATION, CAMERA, FIT, IMAGE, MOMENT
from digit.data.safe_pickle import NUMPY_ALLOWED, load_pickle
from digit.skeleton import HAND_TYPES, N_JOINTS, SIDES

CHUNK = 4096  # records converted at a time


def gather(
    path: Path, fields: Mapping[str, Any], records: Iterable, dtype: type = np.float32
) -> dict[str, np.ndarray]:
    """JSON records as columns; ValueError naming the record and key that do not fit."""

    def column(key: str, kind: Any, batch: Sequence) -> np.ndarray:
        try:
            values = [record[key] for record in batch]
            if isinstance(
                kind, tuple
            ):  # the shape of one; a flag may be a one-element list
                return np.array(values, dtype).reshape(len(values), *kind)
            if kind is int:
                return np.array(values, np.int64)  # of strings too
            return np.array(
                [kind(v) for v in values], object if kind is str else np.int8
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if len(batch) > 1:  # one of them, or flags spelled in both ways
                return np.concatenate([column(key, kind, [record]) for record in batch])
            reason = (
                f"it is none of {', '.join(HAND_TYPES)}"
                if key == "hand_type"
                else repr(error)
            )
            value = batch[0].get(key) if isinstance(batch[0], dict) else None
            what = f"{key} = {value!r:.60} of {batch[0]!r:.90}…"
            raise ValueError(
                f"{path}: {what}: {reason}; mend or drop the record"
            ) from None

    records = iter(records)
    batches = itertools.chain(
        [[]], iter(lambda: list(itertools.islice(records, CHUNK)), [])
    )
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
        parts = [
            ("images", records),
            ("annotations", (image["anno"] for image in records)),
        ]
    else:
        groups = itertools.groupby(walk_json(path, 2), lambda item: item[0][0])
        parts = ((name, (record for _, record in group)) for name, group in groups)
    tables = {
        name: gather(path, fields[name], part) for name, part in parts if name in fields
    }
    if any(name not in tables or not len(tables[name]["id"]) for name in fields):
        raise ValueError(
            f"{path}: an empty split, no images or no annotations; fetch it again"
        )
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
    return (
        images,
        {key: c[annotation[order]] for key, c in annotations.items()},
        left_out,
    )


def _find(table: Mapping, wanted: Mapping, *keys: str) -> Integer[np.ndarray, "n"]:
    """The table's row with the wanted pairs of keys, −1 for none."""
    rows, of = (
        pd.MultiIndex.from_arrays([t[key] for key in keys]) for t in (table, wanted)
    )
    return rows.get_indexer(of).astype(np.int32)


def read_instants(joints: Path, mano: Path | None) -> dict[str, np.ndarray]:
    """Joints and fits, a row per capture and moment."""
    instants = gather(
        joints, MOMENT | {"world_coord": (N_JOINTS, 3)}, _keyed(joints, *MOMENT)
    )
    instants["joints_world_mm"] = instants.pop("world_coord")
    for key, shape in FIT.items():
        instants[f"mano_{key}"] = np.full(
            (len(instants["capture"]), 2, *shape), np.nan, np.float32
        )
    for side, name in enumerate(SIDES) if mano else ():
        records = (
            moment | moment[name]
            for moment in _keyed(mano, *MOMENT)
            if moment.get(name)
        )
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
    cameras = gather(
        path, {"capture": int, "camera": str, **CAMERA}, records, np.float64
    )
    return {"campos_mm": cameras.pop("campos"), **cameras}


def read_fit_errors(path: Path, keys: Iterable[str]) -> Float[np.ndarray, "n 2"]:
    """The fitting errors (mm) that the original's meta_dict has for the images' keys."""
    errors = load_pickle(path, NUMPY_ALLOWED)
    found = [
        [errors.get(key, {}).get(f"{side}_fit_err") for side in SIDES] for key in keys
    ]
    return np.array(found, np.float32).reshape(-1, 2)


def rows_of(
    path: Path, table: Mapping, images: Mapping, *keys: str
) -> Integer[np.ndarray, "n"]:
    """The table's row that each image refers to by the keys; ValueError naming what is missing."""
    rows = _find(table, images, *keys)
    if len(lost := np.flatnonzero(rows < 0)):
        what = ", ".join(f"{key} {images[key][lost[0]]}" for key in keys)
        raise ValueError(
            f"{path}: {what} missing; {images['file_name'][lost[0]]} and {len(lost) - 1:,} other "
            "frames need it: fetch the file again or drop the frames"
        )
    return rows

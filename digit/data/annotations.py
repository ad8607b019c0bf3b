"""Reading InterHand2.6M's annotation files as tables of columns.

`build_index` calls one function a file. Each returns a table and a list of the records
that it had to leave out, and stops only where too many are broken
(`fields.check_share`).
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer

from digit.data.fields import (
    Broken,
    Place,
    Table,
    broken,
    check_share,
    read_table,
)
from digit.data.json_stream import walk_json
from digit.data.layout import (
    ANNOTATION,
    CAMERA,
    FIT,
    IMAGE,
    INSTANT,
    MOMENT,
    ROOTNET,
)
from digit.data.safe_pickle import NUMPY_ALLOWED, load_pickle
from digit.skeleton import SIDES

DOWNLOAD_HINT = "download the file again"


class Frames(NamedTuple):
    """Images and their annotations, row by row, in the order of the images."""

    images: Table
    labels: Table
    left_out: dict[str, int]  # reason → number of records
    faults: list[Broken]


def read_frames(path: Path) -> Frames:
    """Read a split's data.json, or the original's data.pkl, and match both its tables.

    Raises:
        ValueError: If the file cannot be read, holds no annotated image, or too many of
            its records are broken.
    """
    # 1. Both tables, whichever comes first in the file
    fields = {"images": IMAGE, "annotations": ANNOTATION}
    tables: dict[str, Table] = {}
    faults: list[Broken] = []
    groups = _pickled_groups(path) if path.suffix == ".pkl" else json_groups(path)
    for name, records in groups:
        if name in fields and name not in tables:
            tables[name], broken_ones = read_table(path, fields[name], records)
            faults += broken_ones
    for name in fields:
        if name not in tables or not len(tables[name]["id"]):
            hint = faults[0] if faults else DOWNLOAD_HINT
            raise ValueError(f"{path}: an empty split, no {name}; {hint}")

    # 2. The images that have an annotation, each with its first one
    images, labels = tables["images"], tables["annotations"]
    both, image_row, label_row = np.intersect1d(
        images["id"], labels["image_id"], return_indices=True
    )
    n_images = len(np.unique(images["id"]))
    n_labelled = len(np.unique(labels["image_id"]))
    if not len(both):
        raise ValueError(f"{path}: no annotation is of any image; {DOWNLOAD_HINT}")

    # 3. In the order of the images
    order = np.argsort(image_row)
    left_out = {
        "image of an id seen before": len(images["id"]) - n_images,
        "image without annotation": n_images - len(both),
        "second annotation of an image": len(labels["id"]) - n_labelled,
        "annotation without image": n_labelled - len(both),
        "broken record": len(faults),
    }
    return Frames(
        images=take_rows(images, image_row[order]),
        labels=take_rows(labels, label_row[order]),
        left_out=left_out,
        faults=faults,
    )


def read_instants(
    joints_path: Path, mano_path: Path | None, fitted_path: Path | None = None
) -> tuple[Table, list[Broken]]:
    """Read joint_3d.json and the fits: a row for each capture and moment.

    Args:
        joints_path: joint_3d.json.
        mano_path: NeuralAnnot.json, the user's fits.
        fitted_path: Fits of `digit fit-hands` in the same layout; they count where the
            user has none.

    Returns:
        The table, with `joints_world_mm` (m, 42, 3), and `mano_pose` (m, 2, 48),
        `mano_shape` (m, 2, 10), `mano_trans` (m, 2, 3; metres) of right and left, NaN
        for no fit; where `fitted_path` is given `fitted_by_digit` (m, 2); and what was
        left out.

    Raises:
        ValueError: If a file cannot be read, or too many of its records are broken.
    """
    # 1. Joints
    faults: list[Broken] = []
    # Captures and frames are keys of nested objects, not fields.
    records = _moments(joints_path, faults)
    instants, broken_ones = read_table(joints_path, MOMENT | INSTANT, records)
    faults += broken_ones
    instants = _without_repeats(joints_path, instants, tuple(MOMENT), faults)
    check_share(faults, len(instants["capture"]) + len(faults))
    instants["joints_world_mm"] = instants.pop("world_coord")

    # 2. Fits: the user's, then those of `digit fit-hands` where there are none
    n = len(instants["capture"])
    for name, kind in FIT.items():
        instants[f"mano_{name}"] = np.full((n, 2, *kind.shape), np.nan, np.float32)
    no_fit = np.ones((n, 2), bool)
    if mano_path is not None:
        faults += _add_fits(instants, mano_path, into=no_fit)
        no_fit = np.isnan(instants["mano_trans"]).all(-1)
    if fitted_path is not None:
        faults += _add_fits(instants, fitted_path, into=no_fit)
        has_fit = ~np.isnan(instants["mano_trans"]).all(-1)
        instants["fitted_by_digit"] = has_fit & no_fit
    return instants, faults


def _add_fits(
    instants: Table, path: Path, into: Bool[np.ndarray, "m 2"]
) -> list[Broken]:
    """Read a file of fits into the hands of `into`, each side on its own: a moment may
    have one hand's only. Returns what was left out."""
    faults: list[Broken] = []
    for side, side_name in enumerate(SIDES):
        fit_faults: list[Broken] = []
        records = _fits(path, side_name, fit_faults)
        fits, broken_ones = read_table(path, MOMENT | FIT, records)
        fit_faults += broken_ones
        check_share(fit_faults, len(fits["capture"]) + len(fit_faults))
        faults += fit_faults
        # Fits of moments that have no joints are of no use.
        rows = find_rows(instants, fits, tuple(MOMENT))
        wanted = rows >= 0
        wanted[wanted] = into[rows[wanted], side]
        for name in FIT:
            instants[f"mano_{name}"][rows[wanted], side] = fits[name][wanted]
    return faults


def read_cameras(path: Path) -> tuple[Table, list[Broken]]:
    """Read camera.json: a row for each capture and camera, float64.

    Raises:
        ValueError: If the file cannot be read, or too many of its records are broken.
    """
    faults: list[Broken] = []
    fields = {"capture": MOMENT["capture"], "camera": IMAGE["camera"], **CAMERA}
    cameras, broken_ones = read_table(path, fields, _cameras(path, faults))
    faults += broken_ones
    cameras = _without_repeats(path, cameras, ("capture", "camera"), faults)
    check_share(faults, len(cameras["capture"]) + len(faults))
    cameras["campos_mm"] = cameras.pop("campos")
    return cameras, faults


def read_rootnet(path: Path) -> tuple[Table, list[Broken]]:
    """Read RootNet's boxes and absolute root depths, a row for each annotation.

    Raises:
        ValueError: If the file cannot be read, or too many of its records are broken.
    """
    records = _listed(path, walk_json(path, 1))
    return read_table(path, ROOTNET, records)


def _as_float32(number: int | float | np.number) -> float:
    """A number as float32 holds it: infinite where it is too large."""
    largest = float(np.finfo(np.float32).max)
    # NaN, which is larger than nothing, stays NaN.
    if abs(number) > largest:
        return math.inf if number > 0 else -math.inf
    return float(number)


def read_fit_errors(
    path: Path, keys: Sequence[str]
) -> tuple[Float[np.ndarray, "n 2"], list[Broken]]:
    """Read the fitting errors that the original's meta_dict has for the images' keys.

    Returns:
        Errors of right and left, mm, NaN where there is none; and what was left out.

    Raises:
        ValueError: If the file cannot be read, or too many of its entries are broken.
    """
    # image key → {right_fit_err, left_fit_err, imsize}
    entries = load_pickle(path, NUMPY_ALLOWED)
    if not isinstance(entries, dict):
        raise ValueError(str(broken(path, (), "a dictionary by image", entries)))
    errors = np.full((len(keys), 2), np.nan, np.float32)
    faults: list[Broken] = []
    for row, key in enumerate(keys):
        entry = entries.get(key)
        if entry is None:
            continue
        if not isinstance(entry, dict):
            faults.append(broken(path, (key,), "a dictionary", entry))
            continue
        for side, side_name in enumerate(SIDES):
            error = entry.get(f"{side_name}_fit_err")
            # A hand without a fit has none, or null.
            if error is None:
                continue
            if isinstance(error, int | float | np.number):
                errors[row, side] = _as_float32(error)
            else:
                place = (key, f"{side_name}_fit_err")
                faults.append(broken(path, place, "a number or null", error))
    check_share(faults, len(keys))
    return errors, faults


def find_rows(
    table: Mapping[str, np.ndarray],
    wanted: Mapping[str, np.ndarray],
    keys: Sequence[str],
) -> Integer[np.ndarray, "n"]:
    """Find the table's row with the wanted combination of keys; −1 where it has
    none."""
    n = len(table[keys[0]])
    both = [np.concatenate([table[key], wanted[key]]) for key in keys]
    numbers = _numbered(both)
    rows = pd.Index(numbers[:n]).get_indexer(numbers[n:])
    return rows.astype(np.int32)


def _numbered(columns: Sequence[np.ndarray]) -> Integer[np.ndarray, "n"]:
    """A number for each row, equal where the rows are equal in all columns.

    For small tables pandas' MultiIndex, which does the same, takes ten times as long.
    """
    numbers = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        codes, distinct = pd.factorize(column)
        # Two columns of a thousand million rows would still fit into 64 bits.
        numbers = numbers * len(distinct) + codes
    return numbers


def take_rows(table: Table, rows: np.ndarray) -> Table:
    """The rows of a table at some positions, or where a mask is true."""
    return {name: column[rows] for name, column in table.items()}


def _without_repeats(
    path: Path, table: Table, keys: tuple[str, ...], faults: list[Broken]
) -> Table:
    """Keep the first row of each combination of keys: 2 and 02 are one capture."""
    numbers = pd.Index(_numbered([table[key] for key in keys]))
    repeated = numbers.duplicated()
    for row in np.flatnonzero(repeated):
        place = tuple(str(table[key][row]) for key in keys)
        faults.append(broken(path, place, "each of them once", "a second one"))
    return take_rows(table, ~repeated) if repeated.any() else table


# Each function below yields (place, record) pairs for `read_table`, and adds what has
# not even the shape of a record to a list of faults, or raises ValueError.


def json_groups(path: Path) -> Iterator[tuple[str, Iterator[tuple[Place, Any]]]]:
    """The lists of data.json by name."""
    # Records arrive in the order of the file: list after list.
    groups = itertools.groupby(walk_json(path, 2), lambda item: item[0][:1])
    for keys, items in groups:
        if not keys or not isinstance(keys[0], str):
            _, value = next(items)
            found = value if not keys else "a list"
            expected = "an object with images and annotations"
            raise ValueError(f"{broken(path, (), expected, found)}; {DOWNLOAD_HINT}")
        if keys[0] in ("images", "annotations"):
            yield keys[0], _listed(path, items, keys)


def _listed(
    path: Path, items: Iterable[tuple[Place, Any]], prefix: Place = ()
) -> Iterator[tuple[Place, Any]]:
    """Records of a list; ValueError where an object or a plain value stands instead."""
    for keys, record in items:
        if len(keys) != len(prefix) + 1 or not isinstance(keys[-1], int):
            found = record if len(keys) <= len(prefix) else "an object"
            fault = broken(path, prefix, "a list of records", found)
            raise ValueError(f"{fault}; {DOWNLOAD_HINT}")
        yield keys, record


def _pickled_groups(path: Path) -> Iterator[tuple[str, list[tuple[Place, Any]]]]:
    """The tables of the original's data.pkl: image id → image with its annotation."""
    entries = load_pickle(path, NUMPY_ALLOWED)
    if not isinstance(entries, dict):
        fault = broken(path, (), "a dictionary of images by their id", entries)
        raise ValueError(f"{fault}; {DOWNLOAD_HINT}")
    # Each image has its annotation under "anno".
    records = list(entries.items())
    yield "images", [((str(key),), image) for key, image in records]
    labels = [
        ((str(key), "anno"), image.get("anno") if isinstance(image, dict) else None)
        for key, image in records
    ]
    yield "annotations", labels


def _objects(
    path: Path, depth: int, faults: list[Broken], optional: bool = False
) -> Iterator[tuple[Place, dict]]:
    """The objects `depth` levels down; null stands for none where they are optional."""
    for keys, record in walk_json(path, depth):
        is_null = record is None and optional
        if len(keys) < depth and not (is_null and keys):
            fault = broken(path, keys, "an object", record)
            if not keys:
                raise ValueError(f"{fault}; {DOWNLOAD_HINT}")
            faults.append(fault)
        elif isinstance(record, dict):
            yield keys, record
        elif not is_null:
            faults.append(broken(path, keys, "an object", record))


def _moments(path: Path, faults: list[Broken]) -> Iterator[tuple[Place, dict]]:
    """Records of joint_3d.json: capture → frame → record."""
    for keys, record in _objects(path, 2, faults):
        yield keys, {**record, "capture": keys[0], "frame_idx": keys[1]}


def _fits(
    path: Path, side_name: str, faults: list[Broken]
) -> Iterator[tuple[Place, Any]]:
    """Fits of one side: capture → frame → side → fit, or null."""
    for keys, moment in _objects(path, 2, faults, optional=True):
        fit = moment.get(side_name)
        if fit is None:
            continue
        place = (*keys, side_name)
        if isinstance(fit, dict):
            yield place, {**fit, "capture": keys[0], "frame_idx": keys[1]}
        else:
            faults.append(broken(path, place, "a fit or null", fit))


def _cameras(path: Path, faults: list[Broken]) -> Iterator[tuple[Place, dict]]:
    """Records of camera.json: capture → quantity → camera → value, a record a
    camera."""
    for keys, capture in _objects(path, 1, faults):
        quantities: dict[str, dict] = {}
        for name in CAMERA:
            by_camera = capture.get(name)
            if isinstance(by_camera, dict):
                quantities[name] = by_camera
            else:
                fault = broken(path, (*keys, name), "an object by camera", by_camera)
                faults.append(fault)
        # A camera that only some of the quantities name is reported as incomplete.
        names = dict.fromkeys(itertools.chain.from_iterable(quantities.values()))
        if len(quantities) < len(CAMERA):
            continue
        for camera in names:
            record = {"capture": keys[0], "camera": camera}
            for name, by_camera in quantities.items():
                record[name] = by_camera.get(camera)
            yield (*keys, camera), record

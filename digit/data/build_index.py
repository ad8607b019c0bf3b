"""Building the index of a split from its annotation files.

`prepare_index` is called by `digit prepare` and by the commands that need an index and
need no earlier preparation (train, evaluate). `index.open_index` only opens.
"""

import gc
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer

from digit.data.annotations import (
    find_rows,
    read_cameras,
    read_fit_errors,
    read_frames,
    read_instants,
    read_rootnet,
    take_rows,
)
from digit.data.columns import (
    PLAIN_NAME,
    file_hash,
    write_checked_json,
    write_columns,
)
from digit.data.fields import BROKEN_NUMBER, BROKEN_SHARE, Broken, Table
from digit.data.index import (
    INDEX_VERSION,
    JOINED,
    TABLES,
    Index,
    chunks,
    fits_match_type,
    index_folders,
    joints_cam_and_px,
    open_index,
    source_stamps,
    why_stale,
)
from digit.data.layout import MOMENT, SPLITS, annotation_files
from digit.data.parquet import read_table
from digit.files import atomic, exclusive, make_way
from digit.paths import digest, prepared_dir

logger = logging.getLogger(__name__)

# How far a camera's rotation may be from one that neither scales nor mirrors: the
# cameras of InterHand2.6M, stored as float32, are within 1e-6. Chosen by eye.
ROTATION_TOLERANCE = 1e-2


def prepare_index(dataset_dir: Path | str, name: str = "train") -> Index:
    """Open the index of a split or subset; build it first where it is missing or stale.

    Two processes that do so at once build it once. An index that is damaged, or was made
    by another version, is built anew with a line in the log that says which.

    Args:
        dataset_dir: The data set's folder.
        name: One of `layout.SPLITS`.

    Raises:
        ValueError: If there is no such split, if an annotation file cannot be read, or
            if too many of its records are broken.
        FileNotFoundError: If an annotation file is missing.
        OSError: If the index cannot be written.
    """
    dataset_dir = Path(dataset_dir).resolve()
    if name in SPLITS:
        split, _ = SPLITS[name]
        sources = annotation_files(dataset_dir, split)
        found = index_folders(dataset_dir, split)
        if all(why_stale(folder, sources) for folder in found):
            _build_once(dataset_dir, split, sources)
    return open_index(dataset_dir, name)


def _build_once(dataset_dir: Path, split: str, sources: Mapping[str, Path]) -> None:
    """Build an index, unless another process has done it meanwhile."""
    folder = prepared_dir(dataset_dir) / f"index/{split}"
    for place in (folder.parent, folder):
        done = make_way(place)
        if done:
            logger.warning("%s", done)
    with exclusive(folder.with_name(f"{split}.lock"), wait=True):
        reason = why_stale(folder, sources)
        if not reason:
            return
        if reason.startswith(("is damaged", "was made by")):
            logger.warning("%s: the index %s; it is built anew", folder, reason)
        # Records hold no cycles: not to search them for some saves two thirds of the
        # time.
        gc.disable()
        try:
            build_index(split, sources, folder)
        finally:
            gc.enable()


def build_index(split: str, sources: Mapping[str, Path], folder: Path) -> None:
    """Read the annotation files of a split and write its index.

    Args:
        split: "train", "val" or "test".
        sources: The annotation files by role, from `annotation_files`.
        folder: Where the index goes.

    Raises:
        ValueError: If a file cannot be read or too many of its records are broken.
        OSError: If the index cannot be written.
    """
    # 1. Stamps and hashes come first: a source that changes from here on makes it stale
    stamps = source_stamps(sources)
    hashes = {role: file_hash(path) for role, path in sources.items()}

    # 2. The tables of the annotation files
    images, labels, left_out, faults = read_frames(sources["data"])
    instants, instant_faults = read_instants(
        sources["joint_3d"], sources.get("mano"), sources.get("fitted")
    )
    cameras, camera_faults = read_cameras(sources["camera"])
    faults = faults + instant_faults + camera_faults
    frames = {
        "image_id": images.pop("id"),
        "annot_id": labels["id"],
        **images,
        "bbox_xywh": labels["bbox"],
        "hand_type": labels["hand_type"],
        "joint_valid": labels["joint_valid"] > 0,
        "hand_type_valid": labels["hand_type_valid"] > 0,
    }

    # 3. Each frame's moment and camera; frames without one are left out
    frames["instant_row"] = find_rows(instants, frames, tuple(MOMENT))
    frames["camera_row"] = find_rows(cameras, frames, ("capture", "camera"))
    has_joints = _are_found(
        sources["joint_3d"], frames, "instant_row", tuple(MOMENT), instant_faults
    )
    has_camera = _are_found(
        sources["camera"], frames, "camera_row", ("capture", "camera"), camera_faults
    )
    left_out["frame without its joints"] = int((~has_joints).sum())
    left_out["frame without its camera"] = int((~has_camera).sum())
    frames = take_rows(frames, has_joints & has_camera)

    # 4. What other files add to them
    faults += _add_rootnet(frames, sources.get("rootnet"))
    faults += _add_fit_errors(frames, sources.get("meta_dict"), split)
    _add_truth(frames, sources.get("truth"))
    frames["parts_valid"] = fits_match_type(frames["fit_error_mm"], frames["hand_type"])
    frames["fault"] = _find_faults(frames, instants, cameras)

    # 5. Written, with made.json last: it says that the rest is whole
    left_out["broken record"] = len(faults)
    _remove(folder / "made.json")
    for name, table in zip(TABLES, (frames, instants, cameras), strict=True):
        _remove(folder / name)
        write_columns(folder / name, table)
    _write_left_out(folder / "left_out.txt", faults)
    label_roles = ["data", "camera", "joint_3d", "mano"]
    if "fitted" in hashes:
        label_roles.append("fitted")
    fingerprint = digest(repr([hashes.get(role, "") for role in label_roles]))
    made = {
        "version": INDEX_VERSION,
        "stamps": stamps,
        "hashes": hashes,
        "left_out": left_out,
        "fingerprint": fingerprint,
    }
    write_checked_json(folder / "made.json", made)


def _are_found(
    path: Path,
    frames: Table,
    row_column: str,
    keys: tuple[str, ...],
    faults: Sequence[Broken],
) -> Bool[np.ndarray, "n"]:
    """Which frames have a row in another table; ValueError if too many have none."""
    rows = frames[row_column]
    missing = np.flatnonzero(rows < 0)
    if len(missing) > max(BROKEN_NUMBER, BROKEN_SHARE * len(rows)):
        first = missing[0]
        what = ", ".join(f"{key} {frames[key][first]}" for key in keys)
        others = f"{frames['file_name'][first]} and {len(missing) - 1:,} other frames"
        reason = f" ({faults[0]})" if faults else ""
        raise ValueError(
            f"{path}: {what} missing; {others} need it{reason}: "
            "download the file again or remove the frames"
        )
    return rows >= 0


def _add_rootnet(frames: Table, path: Path | None) -> list[Broken]:
    """Add RootNet's boxes and depths, NaN where it has none."""
    n = len(frames["annot_id"])
    frames["rootnet_bbox_xywh"] = np.full((n, 4), np.nan, np.float32)
    frames["rootnet_depth_mm"] = np.full((n, 2), np.nan, np.float32)
    if path is None:
        return []
    found, faults = read_rootnet(path)
    _, frame_rows, found_rows = np.intersect1d(
        frames["annot_id"], found["annot_id"], return_indices=True
    )
    frames["rootnet_bbox_xywh"][frame_rows] = found["bbox"][found_rows]
    frames["rootnet_depth_mm"][frame_rows] = found["abs_depth"][found_rows]
    return faults


def _add_fit_errors(frames: Table, path: Path | None, split: str) -> list[Broken]:
    """Add the original's fitting errors (mm), NaN where it has none."""
    n = len(frames["image_id"])
    frames["fit_error_mm"] = np.full((n, 2), np.nan, np.float32)
    if path is None:
        return []
    keys = [f"{split}/{name}" for name in frames["file_name"]]
    frames["fit_error_mm"][:], faults = read_fit_errors(path, keys)
    return faults


def _add_truth(frames: Table, path: Path | None) -> None:
    """Add what a generator knows of its frames: the columns of `truth/<split>.parquet`.

    Raises:
        ValueError: If the file cannot be read, or a column's name is no plain word or
            is one of the index's own.
    """
    if path is None:
        return
    hint = "generate the data again, or remove the file"
    try:
        truth = read_table(path, hint).set_index("image_id")
        truth = truth.reindex(frames["image_id"])
        columns = {name: np.array(truth[name].tolist()) for name in truth}
    except (KeyError, TypeError, OverflowError) as error:
        reason = re.sub(r"\s+", " ", str(error))[:200]
        raise ValueError(f"{path}: cannot be read ({reason}); {hint}") from None
    for name in columns:
        is_plain = isinstance(name, str) and PLAIN_NAME.fullmatch(name)
        if not is_plain or name in (*frames, *_RESERVED):
            what = f"a column cannot be called {name!r:.60}"
            raise ValueError(f"{path}: {what}; rename it, or remove the file")
    frames.update(columns)


# Columns that `frames` gets later, or that other tables have.
_RESERVED = {
    "parts_valid",
    "fault",
    "mask_status",
    "fitted_by_digit",
    "joints_world_mm",
    "mano_pose",
    "mano_shape",
    "mano_trans",
    "camrot",
    "campos_mm",
    "focal",
    "princpt",
    "key",
    *JOINED,
}


def _find_faults(
    frames: Table, instants: Table, cameras: Table
) -> Integer[np.ndarray, "n"]:
    """The first thing of `FAULTS` that is wrong with each frame, 0 for nothing."""
    camera_fault = _camera_faults(cameras)
    faults = np.zeros(len(frames["image_id"]), np.int8)
    for part in chunks(len(faults)):
        valid = frames["joint_valid"][part]
        box = frames["bbox_xywh"][part]
        camera_row = frames["camera_row"][part]
        world_mm = instants["joints_world_mm"][frames["instant_row"][part]]
        cam_mm, px = joints_cam_and_px(
            world_mm, lambda name, rows=camera_row: cameras[name][rows]
        )
        not_finite = (valid & ~np.isfinite(world_mm).all(2)).any(1)
        is_box = np.isfinite(box).all(1) & (box[:, 2:] > 0).all(1)
        is_behind = (valid & (cam_mm[..., 2] <= 0)).any(1)
        of_camera = camera_fault[camera_row]
        # Numbers that are finite by themselves, such as a focal length of 1e300.
        beyond = (valid & ~np.isfinite(px).all(2)).any(1)
        faults[part] = np.select(
            [not_finite, of_camera == 2, ~is_box, is_behind, of_camera > 0, beyond],
            [1, 2, 3, 4, of_camera, 2],
            0,
        )
    return faults


def _camera_faults(cameras: Table) -> Integer[np.ndarray, "k"]:
    """What is wrong with each camera: a position in `FAULTS`, 0 for nothing."""
    camrot: Float[np.ndarray, "k 3 3"] = cameras["camrot"]
    numbers = [
        cameras[name].reshape(len(camrot), -1)
        for name in ("camrot", "campos_mm", "focal", "princpt")
    ]
    is_finite = np.isfinite(np.concatenate(numbers, axis=1)).all(1)
    with np.errstate(invalid="ignore", over="ignore"):
        product = camrot @ camrot.transpose(0, 2, 1)
        off = np.abs(product - np.eye(3)).max((1, 2), initial=0)
        determinant = np.linalg.det(np.where(np.isfinite(camrot), camrot, 0))
    is_rotation = (off < ROTATION_TOLERANCE) & (determinant > 0)
    has_focal = (cameras["focal"] > 0).all(1)
    faults = np.select([~is_finite, ~has_focal, ~is_rotation], [2, 5, 6], 0)
    return faults.astype(np.int8)


def _remove(path: Path) -> None:
    """Remove a derived file or folder, whatever it has become."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_left_out(path: Path, faults: Sequence[Broken]) -> None:
    """List the broken records, a line each."""
    with atomic(path) as file:
        for fault in faults:
            file.write(f"{fault}\n")

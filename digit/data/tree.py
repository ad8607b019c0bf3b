"""Writing the annotation files of an InterHand2.6M tree, from columns.

The inverse of `annotations`: the generator and the importers call `write_tree`. Lengths
are in mm, boxes are (x, y, width, height) in px.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from digit.data.layout import ANNOTATION, CAMERA, FIT, IMAGE, ROOTNET, annotation_names
from digit.files import write_text
from digit.skeleton import HAND_TYPES, JOINTS, PARENTS, SIDES

Columns = Mapping[str, Any]  # name → array or list, of one length
Lists = dict[str, list]  # the same as Python's lists, as JSON takes them


def write_tree(
    dataset_dir: Path | str,
    split: str,
    frames: Columns,
    instants: Columns,
    cameras: Columns,
    hand_model: str = "mano",
) -> None:
    """Write a split's annotation files as InterHand2.6M has them.

    Values are written as given. Each file appears whole, the split's data.json last.
    Beside them goes hand_model.txt, which says whose fits these are.

    Args:
        dataset_dir: The data set's folder.
        split: "train", "val" or "test".
        frames: Columns of N frames: image_id, file_name (from "Capture…" on), width,
            height, capture, subject, seq_name, camera (text), frame_idx, bbox_xywh (N,
            4; px), joint_valid (N, 42), hand_type (position in HAND_TYPES),
            hand_type_valid; optional annot_id (else image_id), and rootnet_bbox_xywh
            (N, 4; px) with rootnet_depth_mm (N, 2), which make the RootNet file.
        instants: Columns of M moments of a capture: capture, frame_idx, joints_world_mm
            (M, 42, 3), joint_valid (M, 42), hand_type, hand_type_valid; optional
            mano_pose (M, 2, 48), mano_shape (M, 2, 10), mano_trans (M, 2, 3; metres),
            NaN for no fit, which make the NeuralAnnot file.
        cameras: Columns of K cameras: capture, camera (text), camrot (K, 3, 3),
            campos_mm (K, 3), focal, princpt (K, 2).
        hand_model: "mano" or "generic".

    Raises:
        OSError: If a file cannot be written.
    """
    dataset_dir = Path(dataset_dir)
    names = {role: paths[0] for role, paths in annotation_names(split).items()}
    frames = _as_lists(frames)
    instants = _as_lists(instants)
    cameras = _as_lists(cameras)

    # data.json comes last: a tree that has it has all the others.
    _write_conventions(dataset_dir, hand_model)
    _write(dataset_dir / names["camera"], _camera_document(cameras))
    _write(dataset_dir / names["joint_3d"], _joint_document(instants))
    if "mano_pose" in instants:
        _write(dataset_dir / names["mano"], _fit_document(instants))
    if "rootnet_bbox_xywh" in frames:
        _write(dataset_dir / names["rootnet"], _rootnet_document(frames))
    _write(dataset_dir / names["data"], _data_document(frames))


def _write(path: Path, document: dict | list) -> None:
    """Write a JSON file; NaN and infinity are spelled so, as InterHand2.6M's readers
    do."""
    write_text(path, json.dumps(document))


def _write_conventions(dataset_dir: Path, hand_model: str) -> None:
    """Write skeleton.txt and hand_model.txt."""
    lines = ["# joint name, joint id, parent id"]
    for joint, (name, parent) in enumerate(zip(JOINTS, PARENTS, strict=True)):
        lines.append(f"{name} {joint} {parent}")
    folder = dataset_dir / "annotations"
    write_text(folder / "skeleton.txt", "\n".join(lines) + "\n")
    write_text(folder / "hand_model.txt", f"{hand_model}\n")


def _camera_document(cameras: Lists) -> dict:
    """Capture → quantity → camera → value."""
    # InterHand2.6M calls the position campos.
    columns = {name: cameras[name] for name in CAMERA if name in cameras}
    columns["campos"] = cameras["campos_mm"]
    document: dict = {}
    for row, capture in enumerate(cameras["capture"]):
        of_capture = document.setdefault(capture, {name: {} for name in CAMERA})
        for name in CAMERA:
            of_capture[name][cameras["camera"][row]] = columns[name][row]
    return document


def _joint_document(instants: Lists) -> dict:
    """Capture → frame → joints in the world, validity, hand type."""
    document: dict = {}
    for row, capture in enumerate(instants["capture"]):
        record = {"world_coord": instants["joints_world_mm"][row]}
        record.update(_labels(instants, row))
        document.setdefault(capture, {})[instants["frame_idx"][row]] = record
    return document


def _fit_document(instants: Lists) -> dict:
    """Capture → frame → side → fit of the hand model, or null."""
    document: dict = {}
    for row, capture in enumerate(instants["capture"]):
        fits: dict = {}
        for side, side_name in enumerate(SIDES):
            fit = {name: instants[f"mano_{name}"][row][side] for name in FIT}
            # Without a fit every number of it is NaN.
            has_fit = not np.isnan(fit["trans"][0])
            fits[side_name] = fit if has_fit else None
        document.setdefault(capture, {})[instants["frame_idx"][row]] = fits
    return document


def _rootnet_document(frames: Lists) -> list[dict]:
    """RootNet's box and absolute depths for each annotation."""
    columns = (
        _annotation_ids(frames),
        frames["rootnet_bbox_xywh"],
        frames["rootnet_depth_mm"],
    )
    return [
        dict(zip(ROOTNET, values, strict=True)) for values in zip(*columns, strict=True)
    ]


def _data_document(frames: Lists) -> dict:
    """Images and annotations."""
    columns = {**frames, "id": frames["image_id"]}
    images = []
    annotations = []
    for row, annotation_id in enumerate(_annotation_ids(frames)):
        images.append({name: columns[name][row] for name in IMAGE})
        record = {
            "id": annotation_id,
            "image_id": frames["image_id"][row],
            "bbox": frames["bbox_xywh"][row],
            **_labels(frames, row),
        }
        annotations.append({name: record[name] for name in ANNOTATION})
    return {"images": images, "annotations": annotations}


def _labels(table: Lists, row: int) -> dict:
    """Validity and hand type, spelled as InterHand2.6M does."""
    return {
        "joint_valid": [[int(valid)] for valid in table["joint_valid"][row]],
        "hand_type": HAND_TYPES[table["hand_type"][row]],
        "hand_type_valid": bool(table["hand_type_valid"][row]),
    }


def _annotation_ids(frames: Lists) -> list:
    return frames.get("annot_id", frames["image_id"])


def _as_lists(columns: Columns) -> Lists:
    return {name: np.asarray(column).tolist() for name, column in columns.items()}

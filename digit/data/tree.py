"""The annotation files of an InterHand2.6M tree, written from columns.

The inverse of what `digit_data.annotations` reads; lengths mm, boxes (x, y, width, height) in px.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from digit.data.layout import ANNOTATION, CAMERA, FIT, IMAGE, MOMENT, ROOTNET
from digit.files import atomic
from digit.skeleton import HAND_TYPES, JOINTS, PARENTS, SIDES


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
      camera (str), frame_idx, bbox_xywh (N, 4) px, joint_valid (N, 42), hand_type (in HAND_TYPES),
      hand_type_valid; optional annot_id (else image_id), and rootnet_bbox_xywh (N, 4) px with
      rootnet_depth_mm (N, 2), which make the RootNet file.
    instants (M): capture, frame_idx, joints_world_mm (M, 42, 3), joint_valid (M, 42), hand_type,
      hand_type_valid; optional mano_pose (M, 2, 48), mano_shape (M, 2, 10), mano_trans (M, 2, 3)
      in m, NaN for no fit, which make the NeuralAnnot file.
    cameras (K): capture, camera (str), camrot (K, 3, 3), campos_mm (K, 3), focal, princpt (K, 2).

    Values are written as given, with skeleton.txt and hand_model.txt (whose fits these are: "mano"
    or "generic"); each file appears whole, the split's data.json last.
    """
    stem = f"annotations/{split}/InterHand2.6M_{split}"
    frames, instants, cameras = (
        {key: np.asarray(column).tolist() for key, column in table.items()}
        for table in (frames, instants, cameras)
    )

    def write(name: str, value: Any) -> None:
        with atomic(Path(root) / name) as file:
            file.write(value if isinstance(value, str) else json.dumps(value))

    def labels(table: Mapping, i: int) -> dict:
        valid, sure = (
            [[int(v)] for v in table["joint_valid"][i]],
            bool(table["hand_type_valid"][i]),
        )
        kind = HAND_TYPES[table["hand_type"][i]]
        return {"joint_valid": valid, "hand_type": kind, "hand_type_valid": sure}

    bones = "".join(f"{name} {j} {PARENTS[j]}\n" for j, name in enumerate(JOINTS))
    write("annotations/skeleton.txt", f"# joint name, joint id, parent id\n{bones}")
    write("annotations/hand_model.txt", f"{hand_model}\n")
    cameras["campos"] = cameras["campos_mm"]
    views: dict = {
        capture: {key: {} for key in CAMERA} for capture in cameras["capture"]
    }
    for i, (capture, camera) in enumerate(zip(cameras["capture"], cameras["camera"])):
        for key in CAMERA:
            views[capture][key][camera] = cameras[key][i]
    write(f"{stem}_camera.json", views)
    joints, fits = ({capture: {} for capture in instants["capture"]} for _ in range(2))
    for i, (capture, moment) in enumerate(zip(*(instants[key] for key in MOMENT))):
        joints[capture][moment] = {"world_coord": instants["joints_world_mm"][i]}
        joints[capture][moment] |= labels(instants, i)
        if "mano_pose" in instants:
            both = [
                {key: instants[f"mano_{key}"][i][side] for key in FIT}
                for side in (0, 1)
            ]
            both = [None if np.isnan(fit["trans"][0]) else fit for fit in both]
            fits[capture][moment] = dict(zip(SIDES, both))
    write(f"{stem}_joint_3d.json", joints)
    if "mano_pose" in instants:
        write(f"{stem}_MANO_NeuralAnnot.json", fits)
    frames["id"] = frames["image_id"]
    annot_id = frames.get("annot_id", frames["id"])
    if "rootnet_bbox_xywh" in frames:
        rows = zip(annot_id, frames["rootnet_bbox_xywh"], frames["rootnet_depth_mm"])
        found = [dict(zip(ROOTNET, row)) for row in rows]
        write(f"rootnet_output/rootnet_interhand2.6m_output_{split}.json", found)
    images = [dict(zip(IMAGE, row)) for row in zip(*(frames[key] for key in IMAGE))]
    rows = enumerate(zip(annot_id, frames["id"], frames["bbox_xywh"]))
    labelled = [dict(zip(ANNOTATION, row)) | labels(frames, i) for i, row in rows]
    write(f"{stem}_data.json", {"images": images, "annotations": labelled})

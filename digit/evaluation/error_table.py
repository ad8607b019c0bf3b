"""The error table: one row a frame."""

import numpy as np
import pandas as pd
import torch

from digit import geometry, skeleton
from digit.data.dataset import crop_boxes
from digit.data.index import Index
from digit.evaluation.metrics import (
    ERRORS,
    PALM,
    _column,
    _part_columns,
    _truth,
    aligned_error,
)
from digit.evaluation.predictions import BBOX_OF, Predictions, RootDepth
from digit.skeleton import HAND_TYPES, HEATMAP_CELLS, JOINT_SIDE, WRISTS

FRAMES_AT_ONCE = 8192
INTERHAND = "InterHand2.6M v1.0 5 fps"


def _errors(
    index: Index, predictions: Predictions, root_depth: str
) -> dict[str, np.ndarray]:
    """The measured columns of the error table; predictions in the index's order."""
    true, valid, linked = _truth(index)
    camera = _column(index, "focal"), _column(index, "princpt")
    depth = (
        true[:, WRISTS, 2] if root_depth == "gt" else _column(index, "rootnet_depth_mm")
    )
    joints, relative, probability = (torch.tensor(v).float() for v in predictions[1:4])
    z, relative = (
        geometry.cells_to_depth(joints[..., 2]),
        geometry.cells_to_depth(relative),
    )
    boxes = crop_boxes(index, BBOX_OF[root_depth])
    valid &= depth.isfinite()[:, JOINT_SIDE] & boxes.isfinite().all(-1, keepdim=True)
    crop_to_image = geometry.invert_affine(
        geometry.crop_affine(boxes, HEATMAP_CELLS)
    ).float()
    joints_px = geometry.apply_affine(crop_to_image, joints[..., :2])
    predicted = geometry.place_hands(joints_px, z, depth, *camera)  # (b, 42, 3)
    true_relative = geometry.root_relative(true)
    difference = geometry.root_relative(predicted) - true_relative
    # From wrist to wrist: the left one by the right one's depth and the predicted relative depth.
    wrists = torch.stack([depth[:, 0], depth[:, 0] + relative], 1) + z[:, WRISTS]
    wrists = (
        geometry.back_project(joints_px[:, WRISTS], wrists, *camera) - true[:, WRISTS]
    )

    # Honest: only the depth of a hand that the prediction names is asked for.
    named = (probability > 0.5) | (probability == probability.amax(-1, keepdim=True))
    known = named & valid[:, WRISTS] if root_depth == "gt" else named
    right, left = torch.where(known | ~known.flip(-1), depth, depth.flip(-1)).T
    honest = torch.stack(
        [right, torch.where(named.all(-1), right + relative, left)], -1
    )
    honest = geometry.root_relative(geometry.place_hands(joints_px, z, honest, *camera))
    honest = (honest - true_relative).norm(dim=-1)

    hands = [
        t.unflatten(1, (2, skeleton.JOINTS_PER_HAND)) for t in (predicted, true, valid)
    ]
    enough, aligned = hands[2].sum(-1) >= 3, torch.full(hands[2].shape, torch.nan)
    aligned[enough] = aligned_error(*(t[enough] for t in hands))
    side_px = _column(index, "bbox_xywh")[:, 2:].amax(-1)
    true_px, both = (
        geometry.project(true, *camera),
        valid & valid[:, skeleton.SWAP_JOINTS],
    )
    own, other = (
        torch.where(both, (joints_px - hands_px).norm(dim=-1), 0).sum(1)
        for hands_px in (true_px, true_px[:, skeleton.SWAP_JOINTS])
    )

    index_mm, pinky_mm, wrist_mm = hands[1][:, :, PALM].unbind(2)  # (b, 2, 3) each
    normal = torch.linalg.cross(
        index_mm - wrist_mm, pinky_mm - wrist_mm
    )  # right: out of the palm
    palm_deg = torch.cosine_similarity(
        normal * torch.tensor([[1], [-1]]), -wrist_mm, -1
    )
    palm_deg = palm_deg.clamp(-1, 1).arccos().rad2deg()
    palm_deg = torch.where(hands[2][:, :, PALM].all(-1), palm_deg, torch.nan)

    flags = torch.tensor(skeleton.HAND_TYPE_FLAGS[index["hand_type"]]) > 0
    sure = torch.tensor(index["hand_type_valid"]).bool()
    correct = (torch.where(flags, probability, 1 - probability) > 0.5).all(-1)
    of_joint = {
        "mpjpe": difference.norm(dim=-1),
        "mpjpe_predicted_handedness": honest,
        "mpjpe_camera": (predicted - true).norm(dim=-1),
        "pa_mpjpe": aligned.flatten(1),
        "error_in_plane": difference[..., :2].norm(dim=-1),
        "error_depth": difference[..., 2].abs(),
        "error_2d": (joints_px - true_px).norm(dim=-1) / side_px[:, None],
    }
    if predictions.heatmap_entropy is not None:
        of_joint["heatmap_entropy"] = torch.tensor(predictions.heatmap_entropy)
    of_joint = {name: torch.where(valid, v, torch.nan) for name, v in of_joint.items()}
    table = {
        name: values.nanmean(1)
        for name, values in of_joint.items()
        if name != "error_2d"
    }
    table["predicted_hand_type"] = (probability > 0.5).float() @ torch.tensor(
        [1.0, 2.0]
    ) - 1
    table["handedness_correct"] = torch.where(sure, correct * 1.0, torch.nan)
    table["mrrpe"] = torch.where(
        linked, wrists.diff(dim=1).norm(dim=-1)[:, 0], torch.nan
    )
    table["joints_swapped"] = torch.where(both.any(1), (own > other) * 1.0, torch.nan)
    table["bbox_side_px"] = side_px
    for side, name in enumerate(skeleton.SIDES):
        table[f"palm_view_{name}_deg"] = palm_deg[:, side]
        table[f"probability_{name}"] = probability[:, side]
        table[f"mpjpe_{name}"] = of_joint["mpjpe"][:, side == JOINT_SIDE].nanmean(1)
        table[f"error_2d_{name}"] = of_joint["error_2d"][:, side == JOINT_SIDE].nanmean(
            1
        )
        table[f"fit_error_{name}_mm"] = _column(index, "fit_error_mm")[:, side]
    table |= dict(zip(ERRORS, of_joint["mpjpe"].T))
    table["errors_predicted_handedness"] = of_joint[
        "mpjpe_predicted_handedness"
    ]  # (b, 42)
    return {name: values.numpy() for name, values in table.items()}


def error_table(
    index: Index, predictions: Predictions, root_depth: RootDepth = "gt"
) -> pd.DataFrame:
    """One row a frame of the index: what it is, how wrong the prediction is, and what may say why.

    `root_depth`: whose wrist depths and crops, the truth's or RootNet's. Lengths in mm, NaN where
    something does not apply. `error_<joint>` are root-relative; means over the valid joints:
    `mpjpe` (also `_right`, `_left`; `_honest`: depth by predicted hand type; `_camera`: not
    root-relative), `pa_mpjpe` (similarity-aligned, each hand by itself), `error_in_plane`,
    `error_depth`, `error_2d_<side>` (share of the box's longer side), `heatmap_entropy` (nats).
    `joints_swapped`: 1 where the joints lie nearer to the other hand's true ones (2D, both hands
    annotated); `palm_view_<side>_deg`: 0 where the palm faces the camera, 180 where the back does.
    Parts: `part_iou` (mean over the frame's true parts), `wrong_hand_share` (of hand pixels called
    a hand). Columns of the index and of a synthetic tree's truth stand before; `errors_predicted_handedness`,
    `part_pixels` and `hand_confusion` hold an array a frame. Errors: see `Predictions.ordered`.
    """
    predictions = predictions.ordered(index)
    chunks = (
        slice(n, n + FRAMES_AT_ONCE) for n in range(0, len(index), FRAMES_AT_ONCE)
    )
    measured = [
        _errors(index.take(rows), predictions.take(rows), root_depth) for rows in chunks
    ]
    measured = {
        name: np.concatenate([part[name] for part in measured]) for name in measured[0]
    }
    parts = {
        name: getattr(predictions, name) for name in ("part_pixels", "hand_confusion")
    }
    if all(counts is not None for counts in parts.values()):
        measured |= _part_columns(*parts.values())
        measured |= {
            name: counts.reshape(len(index), -1) for name, counts in parts.items()
        }
    measured = {name: v if v.ndim == 1 else list(v) for name, v in measured.items()}
    about_frames = index.to_pandas().drop(columns=["instant_row", "camera_row"])
    table = pd.concat([about_frames, pd.DataFrame(measured)], axis=1)
    for name in ("hand_type", "predicted_hand_type"):
        table[name] = np.array((*HAND_TYPES, "none"), object)[table[name].astype(int)]
    if index.hand_model == "generic":
        data = "synthetic set"
    elif index.is_v1:
        data = INTERHAND
    else:
        data = "InterHand2.6M, label version unknown"
    table.attrs = {"data": data, "split": index.name, "root_depth": root_depth}
    return table

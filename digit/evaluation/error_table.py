"""The error table: a row for each frame, with how wrong its prediction is.

`digit evaluate --errors`, the training's evaluation and the failure browser read it;
`protocol` averages it. It touches no disk: the index it is given holds all it needs.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from digit import geometry
from digit.data.index import Index
from digit.evaluation import metrics
from digit.evaluation.contradiction import COLUMNS
from digit.evaluation.ground_truth import (
    GroundTruth,
    LabelKind,
    RootDepth,
    read_ground_truth,
)
from digit.evaluation.metrics import ERRORS, mean_over_valid
from digit.evaluation.predictions import Predictions
from digit.skeleton import HAND_TYPES, JOINT_SIDE, SIDES, WRISTS

FRAMES_AT_ONCE = 8192  # bounds the memory that a large split needs
INTERHAND = "InterHand2.6M v1.0 5 fps"
# What needs depths that can be trusted.
LENGTHS = (
    *ERRORS,
    "mpjpe",
    "mpjpe_right",
    "mpjpe_left",
    "mpjpe_predicted_handedness",
    "mpjpe_camera",
    "pa_mpjpe",
    "error_in_plane",
    "error_depth",
    "mrrpe",
    "errors_predicted_handedness",
)
INTERNAL_COLUMNS = ["instant_row", "camera_row"]  # of the index, of no use here

Columns = dict[str, Tensor]


class PlacedHands(NamedTuple):
    """Predictions of b frames, placed in the image and before the camera."""

    joints_px: Float[Tensor, "b 42 2"]
    # With the wrist depths of the chosen source.
    joints_cam_mm: Float[Tensor, "b 42 3"]
    # With depths looked up by the predicted hand type.
    joints_by_predicted_hands_mm: Float[Tensor, "b 42 3"]
    # For MRRPE: the left wrist by the predicted relative depth.
    wrists_cam_mm: Float[Tensor, "b 2 3"]
    probability: Float[Tensor, "b 2"]  # right, left


def error_table(
    index: Index,
    predictions: Predictions,
    root_depth: RootDepth = "gt",
    label_kind: LabelKind | None = None,
) -> pd.DataFrame:
    """Compare predictions with the annotations, frame by frame.

    Lengths are in mm, NaN where something does not apply. The columns:

    - those of the index, and of a synthetic data set's truth, with one value a frame;
    - `error_<joint>`: root-relative error of each joint;
    - means over a frame's valid joints: `mpjpe` (also `_right`, `_left`),
      `mpjpe_predicted_handedness`, `mpjpe_camera` (not root-relative), `pa_mpjpe`,
      `error_in_plane`, `error_depth`, `error_2d_<side>` (share of the box's longer
      side), `heatmap_entropy` (nats);
    - `mrrpe`, `handedness_correct`, `predicted_hand_type`, `probability_<side>`;
    - what may explain an error: `joints_swapped`, `palm_view_<side>_deg`,
      `fit_error_<side>_mm`, `bbox_side_px`, `tight_side_px` (the longer sides of the
      annotated box and of the tight box of the annotated joints);
    - where predictions carry part statistics: `part_iou`, `wrong_hand_share`,
      `right_called_left_px`, `left_called_right_px`;
    - where predictions carry them, numbers that need no annotation: `contradiction`,
      `mesh_iou_<side>`, `mesh_other_hand_share`, `mesh_other_part_share` and
      `mesh_residual_mm`, see `digit.evaluation.contradiction`;
    - an array a frame: `errors_predicted_handedness` (42), `errors_2d` (42, shares of
      the tight box's longer side), `part_pixels` (99), `hand_confusion` (9).

    `digit.evaluation.metrics` has the formulas.

    Args:
        index: n frames of a split.
        predictions: Predictions of at least these frames.
        root_depth: Whose wrist depths and crops: "gt" (annotated) or "rootnet".
        label_kind: "2d" if the depths of the labels are not to be trusted: then all
            lengths in mm are NaN. By default what the data set says of itself.

    Returns:
        A table of n rows in the index's order; its `attrs` name data, split, depth
        source and kind of labels.

    Raises:
        ValueError: If predictions are missing or malformed (`Predictions.ordered`), or
            RootNet's box is asked for and a frame has none.

    Example:
        >>> index = digit.open_index("data/demo", "test")
        >>> table = digit.error_table(index, Predictions.load("mine.npz"))
        >>> table.sort_values("mpjpe").tail(20)
    """
    predictions = predictions.ordered(index)

    # 1. Measure, in pieces of bounded size.
    pieces = []
    for start in range(0, len(index), FRAMES_AT_ONCE):
        rows = slice(start, start + FRAMES_AT_ONCE)
        pieces.append(_measure(index.take(rows), predictions.take(rows), root_depth))
    columns = {
        name: torch.cat([piece[name] for piece in pieces]).numpy() for name in pieces[0]
    }
    columns.update(_part_columns(predictions))
    if predictions.contradiction is not None:
        columns.update(zip(COLUMNS, predictions.contradiction.T, strict=True))
    # Depths that do not exist are worth no more than doubtful ones.
    label_kind = label_kind or index.label_kind
    label_kind = "3d" if label_kind == "3d" else "2d"
    if label_kind == "2d":
        for name in LENGTHS:
            columns[name] = np.full_like(columns[name], np.nan)

    # 2. Beside what the index tells of each frame; an array a frame becomes an object.
    measured = pd.DataFrame(
        {
            name: values if values.ndim == 1 else list(values)
            for name, values in columns.items()
        }
    )
    about_frames = index.to_pandas().drop(columns=INTERNAL_COLUMNS)
    table = pd.concat([about_frames, measured], axis=1)

    # 3. Hand types by name.
    type_names = np.array((*HAND_TYPES, "none"), object)
    for name in ("hand_type", "predicted_hand_type"):
        table[name] = type_names[table[name].astype(int)]
    table.attrs = {
        "data": _data_name(index),
        "split": index.name,
        "root_depth": root_depth,
        "label_kind": label_kind,
    }
    return table


def _measure(index: Index, predictions: Predictions, root_depth: RootDepth) -> Columns:
    """The measured columns of some frames; predictions in the index's order."""
    truth = read_ground_truth(index, root_depth)
    placed = place_predictions(predictions, truth, root_depth)
    by_joint = _joint_columns(placed, truth)
    if predictions.heatmap_entropy is not None:
        by_joint["heatmap_entropy"] = torch.tensor(predictions.heatmap_entropy)
    true_px = geometry.project(truth.joints_cam_mm, truth.focal, truth.princpt)
    valid = truth.joint_valid

    # Means over each frame's valid joints.
    columns = {
        name: mean_over_valid(values, valid) for name, values in by_joint.items()
    }

    # Numbers of the whole frame.
    columns["predicted_hand_type"] = _predicted_hand_type(placed.probability)
    columns["handedness_correct"] = metrics.handedness_correct(
        placed.probability, truth.hand_type, truth.hand_type_valid
    )
    columns["mrrpe"] = metrics.mrrpe(
        predicted_wrists_mm=placed.wrists_cam_mm,
        true_wrists_mm=truth.joints_cam_mm[:, WRISTS],
        has_both_wrists=truth.has_both_wrists,
    )
    columns["joints_swapped"] = metrics.joints_swapped(
        predicted_px=placed.joints_px, true_px=true_px, valid=valid
    )
    columns["bbox_side_px"] = truth.bbox_side_px
    columns["tight_side_px"] = truth.tight_side_px

    # Numbers of each hand.
    palm_view_deg = metrics.palm_view_deg(truth.joints_cam_mm, valid)
    errors_2d = metrics.errors_2d(
        predicted_px=placed.joints_px,
        true_px=true_px,
        side_px=truth.bbox_side_px,
    )
    errors_of_tight_box = metrics.errors_2d(
        predicted_px=placed.joints_px,
        true_px=true_px,
        side_px=truth.tight_side_px,
    )
    fit_error_mm = torch.tensor(index["fit_error_mm"]).float()
    for side, name in enumerate(SIDES):
        of_hand = valid & torch.tensor(side == JOINT_SIDE)
        columns[f"palm_view_{name}_deg"] = palm_view_deg[:, side]
        columns[f"probability_{name}"] = placed.probability[:, side]
        columns[f"mpjpe_{name}"] = mean_over_valid(by_joint["mpjpe"], of_hand)
        columns[f"error_2d_{name}"] = mean_over_valid(errors_2d, of_hand)
        columns[f"fit_error_{name}_mm"] = fit_error_mm[:, side]

    # Numbers of each joint.
    joint_errors = torch.where(valid, by_joint["mpjpe"], torch.nan)
    for joint, name in enumerate(ERRORS):
        columns[name] = joint_errors[:, joint]
    columns["errors_predicted_handedness"] = torch.where(
        valid, by_joint["mpjpe_predicted_handedness"], torch.nan
    )
    columns["errors_2d"] = torch.where(valid, errors_of_tight_box, torch.nan)
    return columns


def place_predictions(
    predictions: Predictions, truth: GroundTruth, root_depth: RootDepth
) -> PlacedHands:
    """Bring predictions from cells back before the camera."""
    joints_25d = torch.tensor(predictions.joints_25d).float()
    relative_cells = torch.tensor(predictions.relative_root_depth).float()
    probability = torch.tensor(predictions.hand_type).float()
    camera = {"focal": truth.focal, "princpt": truth.princpt}

    # 1. Pixels of the image, and depths relative to the own wrist.
    joints_px = geometry.apply_affine(truth.cells_to_image, joints_25d[..., :2])
    relative_mm = geometry.cells_to_depth(joints_25d[..., 2])
    left_minus_right_mm = geometry.cells_to_depth(relative_cells)

    # 2. Joints by the given wrist depths.
    joints_cam_mm = geometry.place_hands(
        joints_px, relative_mm, truth.wrist_depth_mm, **camera
    )

    # 3. Joints by the depths that the predicted hand type asks for. RootNet gives both
    #    hands a depth; an annotated depth is known for annotated wrists alone.
    if root_depth == "gt":
        depth_known = truth.joint_valid[:, WRISTS]
    else:
        depth_known = torch.ones_like(truth.joint_valid[:, WRISTS])
    depth_by_predicted_hands_mm = metrics.wrist_depths_by_predicted_hands(
        probability=probability,
        wrist_depth_mm=truth.wrist_depth_mm,
        depth_known=depth_known,
        relative_root_depth_mm=left_minus_right_mm,
    )
    joints_by_predicted_hands_mm = geometry.place_hands(
        joints_px, relative_mm, depth_by_predicted_hands_mm, **camera
    )

    # 4. The wrists as MRRPE needs them.
    right_mm = truth.wrist_depth_mm[:, 0]
    wrist_depth_mm = torch.stack([right_mm, right_mm + left_minus_right_mm], 1)
    wrists_cam_mm = geometry.back_project(
        joints_px[:, WRISTS], wrist_depth_mm + relative_mm[:, WRISTS], **camera
    )
    return PlacedHands(
        joints_px=joints_px,
        joints_cam_mm=joints_cam_mm,
        joints_by_predicted_hands_mm=joints_by_predicted_hands_mm,
        wrists_cam_mm=wrists_cam_mm,
        probability=probability,
    )


def _joint_columns(placed: PlacedHands, truth: GroundTruth) -> Columns:
    """What is measured of each joint (b, 42), under the name of its mean's column."""
    predicted_mm = placed.joints_cam_mm
    true_mm = truth.joints_cam_mm
    by_predicted_hands_mm = placed.joints_by_predicted_hands_mm
    return {
        "mpjpe": metrics.joint_errors(predicted_mm, true_mm),
        "mpjpe_predicted_handedness": metrics.joint_errors(
            by_predicted_hands_mm, true_mm
        ),
        "mpjpe_camera": metrics.camera_errors(predicted_mm, true_mm),
        "pa_mpjpe": metrics.pa_joint_errors(predicted_mm, true_mm, truth.joint_valid),
        "error_in_plane": metrics.in_plane_errors(predicted_mm, true_mm),
        "error_depth": metrics.depth_errors(predicted_mm, true_mm),
    }


def _predicted_hand_type(probability: Float[Tensor, "b 2"]) -> Float[Tensor, "b"]:
    """The predicted hand type as an index into `HAND_TYPES`; −1 for no hand."""
    right, left = (probability > 0.5).float().T
    return right + 2 * left - 1


def _part_columns(predictions: Predictions) -> dict[str, np.ndarray]:
    """The columns about hand parts; none where predictions carry no statistics."""
    pixels = predictions.part_pixels
    confusion = predictions.hand_confusion
    if pixels is None or confusion is None:
        return {}
    wrong = metrics.wrong_hand_pixels(confusion)
    return {
        "part_iou": metrics.part_iou(pixels),
        "wrong_hand_share": metrics.wrong_hand_share(confusion),
        "right_called_left_px": wrong[:, 0],
        "left_called_right_px": wrong[:, 1],
        "part_pixels": pixels.reshape(len(pixels), -1),
        "hand_confusion": confusion.reshape(len(confusion), -1),
    }


def _data_name(index: Index) -> str:
    """What the numbers of this index's data set are called in a report."""
    if index.hand_model == "generic":
        return "synthetic set"
    if index.is_v1:
        return INTERHAND
    return "InterHand2.6M, label version unknown"

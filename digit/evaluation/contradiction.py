"""Where a prediction contradicts itself: its joints against its part map.

Joints and parts are two answers to one question. A hand model is fitted to the
predicted joints, drawn into the crop, and compared with the predicted part labels. This
needs no annotation. `predict_dataset` calls it for every frame and `predict` for a
photo; the error table and the failure browser show it.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from digit import geometry
from digit.hands.depth import mean_bone_lengths_mm, wrist_depth_from_bones
from digit.hands.fitting import fit_joints
from digit.hands.meshes import PREDICTED
from digit.hands.part_rendering import Hands, draw_parts
from digit.skeleton import (
    HEATMAP_CELLS,
    JOINTS_PER_HAND,
    PARTS_PER_HAND,
    SIDES,
)

# The columns that the error table gets, in the order of `Contradictions.as_array`.
COLUMNS = (
    "contradiction",
    "mesh_iou_right",
    "mesh_iou_left",
    "mesh_other_hand_share",
    "mesh_other_part_share",
    "mesh_residual_mm",
)


class Contradictions(NamedTuple):
    """How n predictions contradict themselves.

    Attributes:
        score: 1 − the mean of `hand_iou` over the hands that either shows: 0 where mesh
            and part map agree on where the hands are, 1 where they have nothing in
            common; NaN where neither shows a hand.
        hand_iou: For each hand, intersection over union of the mesh and the part map;
            NaN where both have none of it.
        other_hand_share: Of the pixels that both call a hand, the share that they give
            to different hands.
        other_part_share: Of the pixels that both give to the same hand, the share that
            they give to different parts.
        residual_mm: Mean distance of the meshes' joints from the predicted ones, the
            larger of the two hands'.
    """

    score: Float32[np.ndarray, "n"]
    hand_iou: Float32[np.ndarray, "n 2"]
    other_hand_share: Float32[np.ndarray, "n"]
    other_part_share: Float32[np.ndarray, "n"]
    residual_mm: Float32[np.ndarray, "n"]

    def as_array(self) -> Float32[np.ndarray, "n 6"]:
        """The numbers in the order of `COLUMNS`."""
        return np.column_stack(list(self)).astype(np.float32)


class Views(NamedTuple):
    """The cameras and crops that n predictions were made with.

    Attributes:
        cells_to_image: Affine from cells of the crop to image pixels.
        focal: Focal lengths, px of the image.
        princpt: Principal points, px of the image.
    """

    cells_to_image: Float[Tensor, "n 2 3"]
    focal: Float[Tensor, "n 2"]
    princpt: Float[Tensor, "n 2"]


def find_contradictions(
    hands: Hands,
    joints_25d: Float[Tensor, "n 42 3"],
    relative_root_depth: Float[Tensor, "n"],
    hand_type: Float[Tensor, "n 2"],
    labels: UInt8[np.ndarray, "n s s"],
    views: Views,
) -> Contradictions:
    """Compare predicted joints with predicted parts.

    Args:
        hands: The hand models to fit, right and left.
        joints_25d: Predicted joints, cells of the crop.
        relative_root_depth: Left wrist's depth minus the right's, cells.
        hand_type: Probabilities of a right and of a left hand.
        labels: Predicted part labels of the crop, 0 background.
        views: The cameras and crops.

    Returns:
        The numbers of each prediction.
    """
    size = labels.shape[-1]
    present = hand_type > 0.5
    vertices_cells, depth_mm, residual_mm = _fitted_meshes(
        hands, joints_25d, relative_root_depth, present, views
    )
    vertices_px = vertices_cells * (size / HEATMAP_CELLS)
    rows = []
    for frame in range(len(labels)):
        drawn = draw_parts(hands, vertices_px[frame], depth_mm[frame], size, size)
        rows.append(_compare(drawn, labels[frame]))
    columns = np.array(rows, np.float32).reshape(len(rows), 5)
    return Contradictions(
        score=columns[:, 0],
        hand_iou=columns[:, 1:3],
        other_hand_share=columns[:, 3],
        other_part_share=columns[:, 4],
        residual_mm=residual_mm,
    )


def _fitted_meshes(
    hands: Hands,
    joints_25d: Float[Tensor, "n 42 3"],
    relative_root_depth: Float[Tensor, "n"],
    present: Tensor,
    views: Views,
) -> tuple[
    Float[np.ndarray, "n 2 v 2"], Float[np.ndarray, "n 2 v"], Float32[np.ndarray, "n"]
]:
    """Meshes of the predicted hands: vertices in cells, depths, residuals.

    Vertices of a hand that is not predicted are NaN.
    """
    # 1. Joints before the camera, at the depth where hands have their usual size.
    joints = joints_25d.double()
    joints_px = geometry.apply_affine(views.cells_to_image.double(), joints[..., :2])
    relative_mm = geometry.cells_to_depth(joints[..., 2])
    left_minus_right_mm = geometry.cells_to_depth(relative_root_depth.double())
    # Of a single left hand the own wrist's depth is sought.
    both = present.all(-1)
    left_offset_mm = torch.where(both, left_minus_right_mm, 0.0)
    root_offset_mm = torch.stack([torch.zeros_like(left_offset_mm), left_offset_mm], -1)
    camera = {"focal": views.focal.double(), "princpt": views.princpt.double()}
    right_depth_mm = wrist_depth_from_bones(
        joints_px=joints_px,
        relative_depth_mm=relative_mm,
        root_offset_mm=root_offset_mm,
        present=present,
        bone_lengths_mm=mean_bone_lengths_mm(hands[0]).double(),
        **camera,
    )
    wrist_depth_mm = right_depth_mm[:, None] + root_offset_mm
    joints_cam_mm = geometry.place_hands(
        joints_px, relative_mm, wrist_depth_mm, **camera
    ).numpy()

    # 2. A mesh for each predicted hand.
    n_vertices = len(hands[0].v_template)
    vertices_mm = np.full((len(joints), 2, n_vertices, 3), np.nan)
    residual_mm = np.full((len(joints), 2), np.nan, np.float32)
    for side, hand in enumerate(hands):
        rows = np.flatnonzero(present[:, side].numpy())
        of_hand = slice(side * JOINTS_PER_HAND, (side + 1) * JOINTS_PER_HAND)
        fits = fit_joints(hand, joints_cam_mm[rows, of_hand], settings=PREDICTED)
        parameters = (fits.pose, fits.shape, fits.trans_m)
        vertices_mm[rows, side] = hand.skin(*map(torch.from_numpy, parameters)) * 1000
        residual_mm[rows, side] = fits.residual_mm

    # 3. Back into the crop.
    points = torch.from_numpy(vertices_mm).flatten(1, 2)
    pixels = geometry.project(points, **camera)
    image_to_cells = geometry.invert_affine(views.cells_to_image.double())
    cells = geometry.apply_affine(image_to_cells, pixels).unflatten(1, (2, n_vertices))
    largest_mm = np.where(np.isnan(residual_mm), -np.inf, residual_mm).max(1)
    largest_mm = np.where(np.isfinite(largest_mm), largest_mm, np.nan)
    return cells.numpy(), vertices_mm[..., 2], largest_mm.astype(np.float32)


def _compare(
    drawn: UInt8[np.ndarray, "s s"], labels: UInt8[np.ndarray, "s s"]
) -> tuple[float, float, float, float, float]:
    """Score, IoU of each hand, and shares of other hands and parts of one frame."""
    mesh_hand = _hand_of(drawn)
    part_hand = _hand_of(labels)
    both = (mesh_hand > 0) & (part_hand > 0)
    same_hand = both & (mesh_hand == part_hand)
    iou = []
    for side in range(len(SIDES)):
        in_mesh = mesh_hand == side + 1
        in_parts = part_hand == side + 1
        iou.append(_share((in_mesh & in_parts).sum(), (in_mesh | in_parts).sum()))
    shown = [share for share in iou if not np.isnan(share)]
    score = 1 - np.mean(shown) if shown else float("nan")
    other_part = same_hand & (drawn != labels)
    return (
        float(score),
        iou[0],
        iou[1],
        1 - _share(same_hand.sum(), both.sum()),
        _share(other_part.sum(), same_hand.sum()),
    )


def _hand_of(labels: UInt8[np.ndarray, "s s"]) -> UInt8[np.ndarray, "s s"]:
    """0 background, 1 right hand, 2 left hand."""
    return (labels > 0).astype(np.uint8) + (labels > PARTS_PER_HAND)


def _share(part: int | np.integer, whole: int | np.integer) -> float:
    """A share; NaN of nothing."""
    return float(part / whole) if whole > 0 else float("nan")

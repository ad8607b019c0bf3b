"""Cameras, crops and 2.5D: one torch implementation of each formula.

Every module that needs one of them calls it here, with any leading dimensions. The
conventions (mm, camera x right, y down, z forward, pixel centres at integers) are those
of `skeleton`. An affine (…, 2, 3) maps a pixel (x, y) to A[:, :2] @ (x, y) + A[:, 2].
"""

from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from digit.skeleton import (
    DEPTH_RANGE_MM,
    HEATMAP_CELLS,
    JOINT_WRIST,
    JOINTS_PER_HAND,
    WRISTS,
)

Points2 = Float[Tensor, "*#b n 2"]
Points3 = Float[Tensor, "*#b n 3"]
Joints2 = Float[Tensor, "*b 42 2"]
Joints3 = Float[Tensor, "*b 42 3"]
Depths = Float[Tensor, "*b 42"]
Pair = Float[Tensor, "*#b 2"]
Boxes = Float[Tensor, "*b 4"]
Affine = Float[Tensor, "*#b 2 3"]
Numbers = TypeVar("Numbers", Tensor, np.ndarray, float)


def world_to_camera(
    points_world: Points3,
    camrot: Float[Tensor, "*#b 3 3"],
    campos: Float[Tensor, "*#b 3"],
) -> Points3:
    """Move points from the world's frame to the camera's: camrot @ (world − campos).

    Args:
        points_world: Points, mm.
        camrot: The camera's rotation.
        campos: The camera's position in the world, mm.
    """
    return (points_world - campos[..., None, :]) @ camrot.mT


def project(points_cam: Points3, focal: Pair, princpt: Pair) -> Points2:
    """Project points of the camera's frame to pixels: x / z · focal + princpt.

    Args:
        points_cam: Points, mm, with z ≠ 0.
        focal: Focal lengths in x and y, px.
        princpt: Principal point, px.
    """
    return (
        points_cam[..., :2] / points_cam[..., 2:] * focal[..., None, :]
        + princpt[..., None, :]
    )


def back_project(
    points_px: Points2, depth_mm: Float[Tensor, "*#b n"], focal: Pair, princpt: Pair
) -> Points3:
    """Find the points (mm) that project to some pixels and lie at some depths.

    Args:
        points_px: Pixels.
        depth_mm: Depth of each point before the camera.
        focal: Focal lengths in x and y, px.
        princpt: Principal point, px.
    """
    depth_mm = depth_mm[..., None]
    # x = (u − c) / f · z, and y likewise.
    points_xy = (points_px - princpt[..., None, :]) / focal[..., None, :] * depth_mm
    return torch.cat([points_xy, depth_mm.expand_as(points_xy[..., :1])], dim=-1)


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Turn axis-angle vectors (radians) into rotation matrices, by Rodrigues' formula.

    I + sin θ · K + (1 − cos θ) · K², with K the cross-product matrix of the unit axis.
    Its value and gradient are finite at zero, where the first terms of the series take
    over.
    """
    # 1. The cross-product matrix of the whole vector
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(
        -1, (3, 3)
    )

    # 2. sin θ / θ and (1 − cos θ) / θ²; the square root has no gradient at zero
    square = (axis_angle**2).sum(-1)[..., None, None]
    small = square < 1e-8
    angle = torch.where(small, 1.0, square).sqrt()
    sine = torch.where(small, 1 - square / 6, angle.sin() / angle)
    versine = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / angle**2)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sine * cross + versine * (cross @ cross)


def square_bbox(bbox_xywh: Boxes, scale: float = 1.25) -> Boxes:
    """Make a box square about its centre, by its longer side, and scale it.

    Args:
        bbox_xywh: Boxes (x, y, width, height), px.
        scale: 1.25 is the original DIGIT's evaluation crop.
    """
    centre = bbox_xywh[..., :2] + bbox_xywh[..., 2:] / 2
    side = bbox_xywh[..., 2:].amax(-1, keepdim=True).expand_as(centre) * scale
    return torch.cat([centre - side / 2, side], dim=-1)


def crop_affine(
    bbox_xywh: Boxes,
    size_px: int,
    rotation: Float[Tensor, "*b"] | float = 0.0,
    mirrored: Bool[Tensor, "*b"] | bool = False,
) -> Affine:
    """Find the affine from image pixels to the pixels of a crop.

    The box's centre lands on (size/2, size/2), its sides on the crop's, each axis by
    its own scale.

    Args:
        bbox_xywh: The crop's box in the image, px.
        size_px: Width and height of the crop.
        rotation: By how much the box is turned in the image, rad.
        mirrored: Whether the affine is that of the mirrored image (x → width − 1 − x),
            with the box mirrored, then turned. As the box's centre moves with the
            picture, this only changes the sign of the x column.
    """
    centre = bbox_xywh[..., :2] + bbox_xywh[..., 2:] / 2

    # 1. Undo the rotation, then scale to the crop
    rotation = torch.as_tensor(rotation, dtype=bbox_xywh.dtype, device=bbox_xywh.device)
    cos, sin = rotation.cos(), rotation.sin()
    turn = torch.stack([cos, sin, -sin, cos], -1).unflatten(-1, (2, 2))
    linear = size_px / bbox_xywh[..., 2:, None] * turn

    # 2. Mirror
    mirrored = torch.as_tensor(mirrored, device=bbox_xywh.device)
    sign = 1 - 2 * mirrored.to(bbox_xywh.dtype)
    linear = linear * torch.stack([sign, torch.ones_like(sign)], -1)[..., None, :]

    # 3. Centre on centre
    offset = size_px / 2 - linear @ centre[..., None]
    return torch.cat([linear, offset], dim=-1)


def invert_affine(affine: Affine) -> Affine:
    """Find the affine that undoes another."""
    linear = torch.linalg.inv(affine[..., :2])
    return torch.cat([linear, -linear @ affine[..., 2:]], dim=-1)


def apply_affine(affine: Affine, points_px: Points2) -> Points2:
    """Map pixels by an affine."""
    return points_px @ affine[..., :2].mT + affine[..., None, :, 2]


def to_25d(joints_crop_px: Joints2, joints_depth_mm: Depths, size_px: int) -> Joints3:
    """Express joints in 2.5D: cells, z relative to each hand's own wrist.

    Args:
        joints_crop_px: Joints in the crop, px.
        joints_depth_mm: Their depths before the camera.
        size_px: Width and height of the crop.
    """
    # z first: relative to the wrist of the joint's own hand.
    relative = joints_depth_mm - joints_depth_mm[..., JOINT_WRIST]
    cells_xy = joints_crop_px / size_px * HEATMAP_CELLS
    return torch.cat([cells_xy, depth_to_cells(relative)[..., None]], dim=-1)


def depth_to_cells(depth_mm: Numbers) -> Numbers:
    """Turn relative depths of ±200 mm into cells 0…64."""
    return (depth_mm / DEPTH_RANGE_MM + 1) / 2 * HEATMAP_CELLS


def cells_to_depth(cells: Numbers) -> Numbers:
    """Turn cells 0…64 into relative depths, mm."""
    return (cells / HEATMAP_CELLS * 2 - 1) * DEPTH_RANGE_MM


def from_25d(
    joints_25d: Joints3,
    crop_to_image: Affine,
    wrist_depth_mm: Pair,
    focal: Pair,
    princpt: Pair,
    size_px: int,
) -> Joints3:
    """Find the joints in the camera's frame (mm) from 2.5D: the inverse of `to_25d`.

    Args:
        joints_25d: Joints in cells.
        crop_to_image: From pixels of the crop to those of the image.
        wrist_depth_mm: Absolute depths of the right and the left wrist.
        focal: Focal lengths in x and y, px.
        princpt: Principal point, px.
        size_px: Width and height of the crop.
    """
    joints_px = apply_affine(
        crop_to_image, joints_25d[..., :2] / HEATMAP_CELLS * size_px
    )
    relative_mm = cells_to_depth(joints_25d[..., 2])
    return place_hands(joints_px, relative_mm, wrist_depth_mm, focal, princpt)


def place_hands(
    joints_px: Joints2,
    relative_mm: Depths,
    wrist_depth_mm: Pair,
    focal: Pair,
    princpt: Pair,
) -> Joints3:
    """Find the joints in the camera's frame (mm) from pixels and relative depths.

    Args:
        joints_px: Joints in the image.
        relative_mm: Their depths, relative to their own wrist's.
        wrist_depth_mm: Absolute depths of the right and the left wrist.
        focal: Focal lengths in x and y, px.
        princpt: Principal point, px.
    """
    depth_mm = (
        relative_mm.unflatten(-1, (2, JOINTS_PER_HAND)) + wrist_depth_mm[..., None]
    )
    return back_project(joints_px, depth_mm.flatten(-2), focal, princpt)


def root_relative(joints_mm: Joints3) -> Joints3:
    """Subtract from each joint the wrist of its own hand."""
    # The wrist is each hand's last joint.
    hands = joints_mm.unflatten(-2, (2, JOINTS_PER_HAND))
    return (hands - hands[..., -1:, :]).flatten(-3, -2)


def relative_root_depth(joints_depth_mm: Depths) -> Float[Tensor, "*b"]:
    """The left wrist's depth minus the right's, mm."""
    return joints_depth_mm[..., WRISTS[1]] - joints_depth_mm[..., WRISTS[0]]

"""Cameras, crops and 2.5D: one torch implementation of each formula, any leading dimensions.

Conventions (mm, camera x right, y down, z forward, pixel centres at integers) are those of
`skeleton`. An affine (…, 2, 3) maps a pixel (x, y) to A[:, :2] @ (x, y) + A[:, 2].
"""

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

Points2, Points3 = Float[Tensor, "*#b n 2"], Float[Tensor, "*#b n 3"]
Joints2, Joints3 = Float[Tensor, "*b 42 2"], Float[Tensor, "*b 42 3"]
Depths, Pair = Float[Tensor, "*b 42"], Float[Tensor, "*#b 2"]
Boxes, Affine = Float[Tensor, "*b 4"], Float[Tensor, "*#b 2 3"]


def world_to_camera(
    points_world: Points3,
    camrot: Float[Tensor, "*#b 3 3"],
    campos: Float[Tensor, "*#b 3"],
) -> Points3:
    """Points of the world frame in the camera's: camrot @ (world − campos), mm."""
    return (points_world - campos[..., None, :]) @ camrot.mT


def project(points_cam: Points3, focal: Pair, princpt: Pair) -> Points2:
    """Pinhole projection of camera points (mm) to pixels; a point needs z ≠ 0."""
    return (
        points_cam[..., :2] / points_cam[..., 2:] * focal[..., None, :]
        + princpt[..., None, :]
    )


def back_project(
    points_px: Points2, depth_mm: Float[Tensor, "*#b n"], focal: Pair, princpt: Pair
) -> Points3:
    """The camera points (mm) that project to the pixels and lie at the given depths."""
    depth_mm = depth_mm[..., None]
    points_xy = (points_px - princpt[..., None, :]) / focal[..., None, :] * depth_mm
    return torch.cat([points_xy, depth_mm.expand_as(points_xy[..., :1])], dim=-1)


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation matrices of axis-angle vectors (radians), by Rodrigues; smooth at zero."""
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(
        -1, (3, 3)
    )
    square = (axis_angle**2).sum(-1)[..., None, None]
    small = square < 1e-8
    angle = torch.where(small, 1.0, square).sqrt()  # no gradient of sqrt at 0
    sine = torch.where(small, 1 - square / 6, angle.sin() / angle)
    versine = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / angle**2)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sine * cross + versine * (cross @ cross)


def square_bbox(bbox_xywh: Boxes, scale: float = 1.25) -> Boxes:
    """The box made square about its centre by its longer side, then scaled."""
    centre = bbox_xywh[..., :2] + bbox_xywh[..., 2:] / 2
    side = bbox_xywh[..., 2:].amax(-1, keepdim=True).expand_as(centre) * scale
    return torch.cat([centre - side / 2, side], dim=-1)


def crop_affine(
    bbox_xywh: Boxes,
    size_px: int,
    rotation: Float[Tensor, "*b"] | float = 0.0,
    mirrored: Bool[Tensor, "*b"] | bool = False,
) -> Affine:
    """Image pixel → pixel of the crop of `size_px` that holds the box.

    The box's centre lands on (size/2, size/2), its sides on the crop's, each axis by its own scale.
    `rotation` (radians) turns the box in the image. Where `mirrored`, the affine is that of the
    image flipped (x → width − 1 − x) and the box flipped with it, then rotated: as the box's
    centre moves with the picture, only the sign of the x column is left of it.
    """
    centre = bbox_xywh[..., :2] + bbox_xywh[..., 2:] / 2
    rotation = torch.as_tensor(rotation, dtype=bbox_xywh.dtype, device=bbox_xywh.device)
    cos, sin = rotation.cos(), rotation.sin()
    turn = torch.stack([cos, sin, -sin, cos], -1).unflatten(
        -1, (2, 2)
    )  # undoes the rotation
    linear = size_px / bbox_xywh[..., 2:, None] * turn
    sign = 1 - 2 * torch.as_tensor(mirrored, device=bbox_xywh.device).to(
        bbox_xywh.dtype
    )
    linear = linear * torch.stack([sign, torch.ones_like(sign)], -1)[..., None, :]
    offset = size_px / 2 - linear @ centre[..., None]
    return torch.cat([linear, offset], dim=-1)


def invert_affine(affine: Affine) -> Affine:
    """The affine that undoes `affine`."""
    linear = torch.linalg.inv(affine[..., :2])
    return torch.cat([linear, -linear @ affine[..., 2:]], dim=-1)


def apply_affine(affine: Affine, points_px: Points2) -> Points2:
    """Pixels mapped by an affine."""
    return points_px @ affine[..., :2].mT + affine[..., None, :, 2]


def to_25d(joints_crop_px: Joints2, joints_depth_mm: Depths, size_px: int) -> Joints3:
    """Crop pixels and camera depths → 2.5D in heat-map units, z relative to the own wrist."""
    relative = joints_depth_mm - joints_depth_mm[..., JOINT_WRIST]
    cells_xy = joints_crop_px / size_px * HEATMAP_CELLS
    return torch.cat([cells_xy, depth_to_cells(relative)[..., None]], dim=-1)


def depth_to_cells(depth_mm: Tensor) -> Tensor:
    """Relative depth ±200 mm → heat-map units 0…64."""
    return (depth_mm / DEPTH_RANGE_MM + 1) / 2 * HEATMAP_CELLS


def cells_to_depth(cells: Tensor) -> Tensor:
    """Heat-map units 0…64 → relative depth in mm."""
    return (cells / HEATMAP_CELLS * 2 - 1) * DEPTH_RANGE_MM


def from_25d(
    joints_25d: Joints3,
    crop_to_image: Affine,
    wrist_depth_mm: Pair,
    focal: Pair,
    princpt: Pair,
    size_px: int,
) -> Joints3:
    """2.5D joints back in the camera frame, mm: the inverse of `to_25d`.

    `wrist_depth_mm` is the absolute depth of the right and the left wrist; `size_px` the size of
    the crop that `crop_to_image` maps from.
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
    """Joints in the camera frame, mm, from image pixels and depths below each hand's wrist."""
    depth_mm = (
        relative_mm.unflatten(-1, (2, JOINTS_PER_HAND)) + wrist_depth_mm[..., None]
    )
    return back_project(joints_px, depth_mm.flatten(-2), focal, princpt)


def root_relative(joints_mm: Joints3) -> Joints3:
    """Joints minus the wrist of their own hand."""
    hands = joints_mm.unflatten(-2, (2, JOINTS_PER_HAND))
    return (hands - hands[..., -1:, :]).flatten(-3, -2)


def relative_root_depth(joints_depth_mm: Depths) -> Float[Tensor, "*b"]:
    """Left wrist's depth minus the right's, mm."""
    return joints_depth_mm[..., WRISTS[1]] - joints_depth_mm[..., WRISTS[0]]

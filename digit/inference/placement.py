"""Millimetres from one picture: a lens, a distance, and whether the result can be true.

One picture does not tell how far away a hand is. The focal length comes from the user,
the EXIF entry or an assumed field of view, the distance from the length that a hand is
taken to have. Called by `digit.inference.pipeline` and the photo widget.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from digit import geometry
from digit.skeleton import BONES, HAND_JOINTS, HAND_WRIST, N_JOINTS

FIELD_OF_VIEW_DEG = 60.0  # across the longer side, of a typical phone or webcam; by eye
HAND_LENGTH_MM = 180.0  # wrist to the middle finger's tip, stretched; an adult's
BONES_PER_LENGTH = 4.5  # a hand's 20 bones together by its length; so in InterHand2.6M
DEPTHS_MM = np.geomspace(80, 20_000, 400)  # that are tried

PALM_MM = (50.0, 120.0)  # a palm outside is no person's
NEAREST_MM = 50.0  # a hand nearer than this is not in focus of any camera
MIDDLE_BASE = HAND_JOINTS.index("middle1")


@dataclass(frozen=True)
class Lens:
    """Focal length and principal point in pixels, and where they are from."""

    focal_px: tuple[float, float]
    princpt_px: tuple[float, float]
    source: str


def lens_of(
    width: int,
    height: int,
    exif_focal_px: float | None = None,
    field_of_view_deg: float = FIELD_OF_VIEW_DEG,
) -> Lens:
    """The lens of a picture by its EXIF entry, or by an assumed field of view.

    Args:
        width: of the picture, px.
        height: of the picture, px.
        exif_focal_px: the focal length that EXIF gives, if it does.
        field_of_view_deg: assumed otherwise, across the longer side.
    """
    center = ((width - 1) / 2, (height - 1) / 2)
    if exif_focal_px:
        return Lens((exif_focal_px, exif_focal_px), center, "EXIF")
    half = math.radians(field_of_view_deg) / 2
    focal = max(width, height) / 2 / math.tan(half)
    source = f"assumed field of view of {field_of_view_deg:g} degrees"
    return Lens((focal, focal), center, source)


def joints_from_hand_length(
    joints_px: Float[np.ndarray, "42 2"],
    relative_depth_mm: Float[np.ndarray, "42"],
    relative_root_depth_mm: float,
    hand_type: Float[np.ndarray, "2"],
    lens: Lens,
    hand_length_mm: float = HAND_LENGTH_MM,
) -> Float[np.ndarray, "42 3"]:
    """Joints in the camera frame (mm), as far away as makes the seen hands so long.

    The two hands of a crop share one scale: the distance is that at which the bones of
    the hands seen, weighted by their probabilities, have the length's total.

    Args:
        joints_px: joints in the picture.
        relative_depth_mm: depth of each joint behind its own wrist.
        relative_root_depth_mm: left wrist's depth minus the right's.
        hand_type: probabilities of right and left.
        lens: the picture's.
        hand_length_mm: wrist to the middle finger's tip, stretched.
    """
    pixels = torch.from_numpy(joints_px)
    relative = torch.from_numpy(relative_depth_mm)
    focal = torch.tensor(lens.focal_px, dtype=torch.float64)
    princpt = torch.tensor(lens.princpt_px, dtype=torch.float64)
    weights = np.maximum(hand_type - 0.5, 1e-9)
    both = bool((weights > 1e-9).all())
    left_behind_mm = relative_root_depth_mm if both else 0.0

    def at(depths_mm: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 42 3"]:
        """The joints with the right wrist at each of these depths."""
        wrists = torch.from_numpy(depths_mm[:, None] + [0.0, left_behind_mm])
        n = len(depths_mm)
        placed = geometry.place_hands(
            pixels.expand(n, N_JOINTS, 2),
            relative.expand(n, N_JOINTS),
            wrists,
            focal,
            princpt,
        )
        return placed.numpy()

    # 1. The bones' total length at each depth, which grows with it
    tried = at(DEPTHS_MM)
    bones = np.linalg.norm(tried[:, BONES[:, 0]] - tried[:, BONES[:, 1]], axis=-1)
    totals = bones.reshape(len(tried), 2, len(BONES) // 2).sum(-1)
    total = np.average(totals, axis=-1, weights=weights)

    # 2. The depth where it is the wanted one
    lengths = np.maximum.accumulate(total) / BONES_PER_LENGTH
    depth = np.interp([hand_length_mm], lengths, DEPTHS_MM)
    return at(depth)[0]


def joints_at_depth(
    joints_px: Float[np.ndarray, "42 2"],
    relative_depth_mm: Float[np.ndarray, "42"],
    relative_root_depth_mm: float,
    hand_type: Float[np.ndarray, "2"],
    lens: Lens,
    wrist_depth_mm: float,
) -> Float[np.ndarray, "42 3"]:
    """Joints in the camera frame (mm), one wrist at a given depth.

    Args:
        joints_px: joints in the picture.
        relative_depth_mm: depth of each joint behind its own wrist.
        relative_root_depth_mm: left wrist's depth minus the right's.
        hand_type: probabilities of right and left.
        lens: the picture's.
        wrist_depth_mm: depth of the right wrist, of the left one where no right hand is
            seen.
    """
    wrists = torch.full((2,), float(wrist_depth_mm), dtype=torch.float64)
    if hand_type[0] > 0.5:
        wrists[1] += relative_root_depth_mm
    placed = geometry.place_hands(
        torch.from_numpy(joints_px),
        torch.from_numpy(relative_depth_mm),
        wrists,
        torch.tensor(lens.focal_px, dtype=torch.float64),
        torch.tensor(lens.princpt_px, dtype=torch.float64),
    )
    return placed.numpy()


def palm_length_mm(hand_mm: Float[np.ndarray, "21 3"]) -> float:
    """Wrist to the middle finger's base."""
    return float(np.linalg.norm(hand_mm[MIDDLE_BASE] - hand_mm[HAND_WRIST]))


def implausible(hand_mm: Float[np.ndarray, "21 3"], lens: Lens) -> list[str]:
    """What cannot be true of a placed hand, one line each, with the likely reason."""
    warnings = []
    palm_mm = palm_length_mm(hand_mm)
    low, high = PALM_MM
    if not low <= palm_mm <= high:
        focal = f"{lens.focal_px[0]:.0f} px"
        warnings.append(
            f"a palm of {palm_mm:.0f} mm (people's: {low:.0f} to {high:.0f}); "
            f"likely the focal length ({focal}, {lens.source}) is of another image "
            "size, or the wrist depth is wrong"
        )
    nearest_mm = float(hand_mm[:, 2].min())
    if nearest_mm < 0:
        warnings.append("a hand behind the camera; likely the wrist depth is wrong")
    elif nearest_mm < NEAREST_MM:
        warnings.append(
            f"a hand {nearest_mm:.0f} mm from the camera; "
            "likely the wrist depth is wrong, or the focal length is of another "
            "image size"
        )
    return warnings


def given_lens(focal_px: Sequence[float], princpt_px: Sequence[float]) -> Lens:
    """A lens that the user gives."""
    fx, fy = focal_px
    cx, cy = princpt_px
    return Lens((float(fx), float(fy)), (float(cx), float(cy)), "given")

"""Hands that the landmark model finds in a photograph, as labels of a data set.

`label_hands` is called by `digit.inference.label_dataset` for every picture. Joints in
the image are the model's own; depths come from its metric points, which are put before a
camera, and are plausible at best.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from digit.data.health import MAX_BONE_MM, MAX_PALM_MM, MIN_BONE_MM
from digit.data.photo_tree import Cut, cut_around
from digit.inference.detection import FoundCrop, FoundHand, crops_of
from digit.inference.placement import HAND_LENGTH_MM, Lens, palm_length_mm
from digit.skeleton import (
    BONES,
    HAND_PARENTS,
    HAND_WRIST,
    JOINTS_PER_HAND,
    N_JOINTS,
    SIDES,
)

Picture = UInt8[np.ndarray, "_ _ 3"]

MIN_SCORE = 0.8  # of presence and of the side; by eye
LONGEST_PX = 512  # side of a cut at most, as InterHand2.6M's frames are
# Gap up to which two hands are one frame, of the larger one's side: the evaluation crop
# has a quarter of the tight box around it, and shows none of a hand farther away.
NEAR = 0.3
MIN_HAND_PX = 24.0  # longer side of a hand's tight box; by eye
# Mean distance between image points and projected metric points, of the longer side of
# the tight box. Beyond it the two disagree; by eye.
MAX_RESIDUAL = 0.06
MAX_OUTSIDE = 1 / 3  # share of a hand's joints outside the picture; by eye
PALM_OF_HAND = 0.5  # wrist to middle knuckle, of wrist to middle fingertip

# Why hands are not taken as labels.
NO_HAND = "no hand found"
UNSURE = "score of a hand too low"
TOO_SMALL = "hand too small"
CUT_OFF = "hand cut off by the picture's edge"
SAME_SIDE = "two hands of one side near each other"
CROWDED = "another hand in the crop"
NO_PLACE = "metric points do not fit the image"
NO_BONES = "bones that no hand has"
HAND_BONES = BONES[: len(BONES) // 2]


@dataclass(frozen=True)
class LabelOptions:
    """What hands are taken as labels, and how they are cut out."""

    min_score: float = MIN_SCORE
    hand_length_mm: float = HAND_LENGTH_MM
    longest_px: int = LONGEST_PX


class Placement(NamedTuple):
    """A hand before the camera."""

    joints_cam_mm: Float[np.ndarray, "21 3"]
    residual: float  # see MAX_RESIDUAL


@dataclass(frozen=True)
class LabelledCrop:
    """A cut of a photograph and its labels."""

    cut: Cut
    focal_px: Float[np.ndarray, "2"]  # of the cut's camera
    princpt_px: Float[np.ndarray, "2"]
    joints_cam_mm: Float[np.ndarray, "42 3"]
    joint_valid: Bool[np.ndarray, "42"]


def label_hands(
    hands: Sequence[FoundHand],
    size: tuple[int, int],
    lens: Lens,
    options: LabelOptions,
) -> Iterator[LabelledCrop | str]:
    """Turn the hands found in a photograph into labelled crops.

    Two hands so near that the evaluation crop of one shows the other share a crop.

    Args:
        hands: As `HandDetector.find` gives them.
        size: Width and height of the photograph, px.
        lens: The photograph's.
        options: What is taken.

    Yields:
        A crop for each hand, or pair of hands, that can be taken; else the reason why
        it is dropped.
    """
    # A picture without hands is listed as one, too.
    if not hands:
        yield NO_HAND
    for crop in crops_of(hands, near=NEAR):
        own = {id(hand) for hand in crop.hands}
        others = [hand for hand in hands if id(hand) not in own]
        reason = _why_dropped(crop, others, size, options)
        yield reason or _labelled(crop, size, lens, options)


def place_hand(
    joints_px: Float[np.ndarray, "21 2"],
    metric_mm: Float[np.ndarray, "21 3"],
    lens: Lens,
    hand_length_mm: float = HAND_LENGTH_MM,
) -> Placement | None:
    """Put a hand before the camera.

    Its metric points are moved and turned so that they project to the image points as
    well as they can (PnP), then along their rays onto the image points, and are scaled
    until wrist to middle knuckle has its length.

    Args:
        joints_px: The hand in the image.
        metric_mm: Its shape, about any centre.
        lens: The image's.
        hand_length_mm: Wrist to middle fingertip of a stretched hand.

    Returns:
        The placed hand; None where the points have no place before the camera.
    """
    # 1. Where the metric points lie before the camera
    (fx, fy), (cx, cy) = lens.focal_px, lens.princpt_px
    camera = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    points = np.ascontiguousarray(metric_mm, np.float64)
    pixels = np.ascontiguousarray(joints_px, np.float64)
    found, turn, shift = cv2.solvePnP(
        points, pixels, camera, None, flags=cv2.SOLVEPNP_SQPNP
    )
    if not found:
        return None
    turn, shift = cv2.solvePnPRefineLM(points, pixels, camera, None, turn, shift)
    placed = points @ cv2.Rodrigues(turn)[0].T + shift.ravel()
    depth_mm = placed[:, 2:]
    if not np.isfinite(placed).all() or (depth_mm <= 0).any():
        return None

    # 2. How far they are from the image points
    projected = placed[:, :2] / depth_mm * lens.focal_px + lens.princpt_px
    extent = np.ptp(joints_px, axis=0).max()
    residual = np.linalg.norm(projected - joints_px, axis=1).mean() / extent

    # 3. Onto their rays, and to the hand's length
    rays = (joints_px - lens.princpt_px) / lens.focal_px
    joints_mm = np.column_stack([rays * depth_mm, depth_mm])
    scale = PALM_OF_HAND * hand_length_mm / palm_length_mm(joints_mm)
    return Placement(joints_mm * scale, float(residual))


def _why_dropped(
    crop: FoundCrop,
    others: Sequence[FoundHand],
    size: tuple[int, int],
    options: LabelOptions,
) -> str:
    """Why a crop's hands cannot be taken, as far as the image tells; "" if they can."""
    # 1. Each hand by itself
    for hand in crop.hands:
        if min(hand.presence, hand.side_probability) < options.min_score:
            return UNSURE
        if np.ptp(hand.joints_px, axis=0).max() < MIN_HAND_PX:
            return TOO_SMALL
        inside = _inside(hand.joints_px, size)
        if not inside[HAND_WRIST] or (~inside).mean() > MAX_OUTSIDE:
            return CUT_OFF
    # 2. The hands of the crop together: one of each side
    if len({hand.side for hand in crop.hands}) < len(crop.hands):
        return SAME_SIDE
    # 3. A third hand in the middle of the crop would be seen and not labelled.
    low = crop.bbox_xywh[:2]
    high = low + crop.bbox_xywh[2:]
    for hand in others:
        center = hand.joints_px.mean(0)
        if ((center > low) & (center < high)).all():
            return CROWDED
    return ""


def _labelled(
    crop: FoundCrop, size: tuple[int, int], lens: Lens, options: LabelOptions
) -> LabelledCrop | str:
    """The crop with its hands before the camera, or why they have no place there."""
    # 1. Each hand by itself: the model does not tell how they lie to each other
    joints_mm = np.zeros((N_JOINTS, 3))
    valid = np.zeros(N_JOINTS, bool)
    for hand in crop.hands:
        placement = place_hand(
            hand.joints_px, hand.joints_metric_mm, lens, options.hand_length_mm
        )
        if placement is None or placement.residual > MAX_RESIDUAL:
            return NO_PLACE
        if not _is_human(placement.joints_cam_mm):
            return NO_BONES
        start = SIDES.index(hand.side) * JOINTS_PER_HAND
        joints_mm[start : start + JOINTS_PER_HAND] = placement.joints_cam_mm
        valid[start : start + JOINTS_PER_HAND] = _inside(hand.joints_px, size)

    # 2. The cut has a lens of its own: scaled, with another principal point
    cut = cut_around(crop.bbox_xywh, *size, options.longest_px)
    return LabelledCrop(
        cut=cut,
        focal_px=np.array(lens.focal_px) * cut.scales,
        princpt_px=cut.points(np.array([lens.princpt_px]))[0],
        joints_cam_mm=joints_mm,
        joint_valid=valid,
    )


def _inside(
    joints_px: Float[np.ndarray, "21 2"], size: tuple[int, int]
) -> Bool[np.ndarray, "21"]:
    """Which joints lie in the photograph."""
    limit = np.array(size) - 1
    return ((joints_px >= 0) & (joints_px <= limit)).all(1)


def _is_human(joints_mm: Float[np.ndarray, "21 3"]) -> bool:
    """Whether all bones have lengths that `digit doctor` takes for a hand's."""
    child, parent = HAND_BONES.T
    length_mm = np.linalg.norm(joints_mm[child] - joints_mm[parent], axis=1)
    # The palm's bones are longer than a finger's.
    is_palm = np.array(HAND_PARENTS)[child] == HAND_WRIST
    limit_mm = np.where(is_palm, MAX_PALM_MM, MAX_BONE_MM)
    return bool(((length_mm >= MIN_BONE_MM) & (length_mm <= limit_mm)).all())

"""How hands are held in a data set, beside how they are held in real photographs.

The tests hold the profile `webcam` against `REAL_PHOTOS` with it; it describes any index,
so a notebook can do the same with other data.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from digit.skeleton import HAND_TYPES, JOINTS, JOINTS_PER_HAND
from digit.synth.anatomy import normalize

# Edges of the bins of angles (degrees) and of box sizes (px).
ANGLE_BINS = [0, 30, 60, 90, 120, 180]
BOX_BINS = [0, 60, 100, 150, 200, 600]

FINGERS = ("index", "middle", "ring", "pinky")
WRIST = JOINTS.index("r_wrist")
INDEX_KNUCKLE = JOINTS.index("r_index1")
PINKY_KNUCKLE = JOINTS.index("r_pinky1")

Hand = Float[np.ndarray, "n 21 3"]
Numbers = Float[np.ndarray, "n"]


class HandStatistics(NamedTuple):
    """Shares of frames, or of single hands, in bins; each adds up to 1."""

    # Between the palm's normal and the way to the camera, in `ANGLE_BINS`; single hands.
    palm_angle: list[float]
    # Between metacarpals and last bones, mean of four fingers, in `ANGLE_BINS`; likewise.
    finger_bend: list[float]
    # Longer side of the joints' tight box, in `BOX_BINS`; likewise.
    box_px: list[float]
    # Right, left, interacting; all frames.
    hand_type: list[float]


# 3,814 single hands and 176 pairs in webcam and phone pictures of three public sources:
# SubhiH/HandsDataset (Apache-2.0), Sign-Language-Digits-Dataset (Apache-2.0), and
# hand-tracking-project-using-YOLOv5 (CC BY 4.0). Labels are those of MediaPipe Hands
# 0.10.14, lifted to 3D by a fitted camera, so depth is plausible at best. Pictures were cut
# out with half a box of room and reduced to 320 px at most; nobody's hands touch.
REAL_PHOTOS = HandStatistics(
    palm_angle=[0.673, 0.249, 0.014, 0.024, 0.040],
    finger_bend=[0.112, 0.330, 0.184, 0.158, 0.215],
    box_px=[0.041, 0.412, 0.347, 0.165, 0.035],
    hand_type=[0.724, 0.232, 0.044],
)


def hand_statistics(index: Mapping[str, Any]) -> HandStatistics:
    """Describe how hands are held in a data set.

    Args:
        index: Columns of an index: joints_cam_mm (N, 42, 3), joints_px (N, 42, 2),
            joint_valid (N, 42) and hand_type (N). Single hands count if all of their
            joints are valid.
    """
    hand_types = np.asarray(index["hand_type"])
    palm_angle = []
    finger_bend = []
    box_px = []
    for side in (0, 1):
        own = slice(side * JOINTS_PER_HAND, (side + 1) * JOINTS_PER_HAND)
        is_complete = index["joint_valid"][:, own].all(1)
        chosen = is_complete & (hand_types == side)
        joints_mm = index["joints_cam_mm"][chosen, own].astype(float)
        joints_px = index["joints_px"][chosen, own].astype(float)
        palm_angle.append(palm_angle_deg(joints_mm, side))
        finger_bend.append(finger_bend_deg(joints_mm))
        box_px.append(tight_box_px(joints_px))
    type_bins = list(range(len(HAND_TYPES) + 1))
    return HandStatistics(
        palm_angle=shares(np.concatenate(palm_angle), ANGLE_BINS),
        finger_bend=shares(np.concatenate(finger_bend), ANGLE_BINS),
        box_px=shares(np.concatenate(box_px), BOX_BINS),
        hand_type=shares(hand_types, type_bins),
    )


def palm_angle_deg(joints_cam_mm: Hand, side: int) -> Numbers:
    """Angle between the palm's normal and the way from the hand to the camera.

    Args:
        joints_cam_mm: Joints of hands in the camera's frame.
        side: 0 right, 1 left.

    Returns:
        0° where the palm faces the camera, 180° where the back does.
    """
    wrist = joints_cam_mm[:, WRIST]
    to_index = joints_cam_mm[:, INDEX_KNUCKLE] - wrist
    to_pinky = joints_cam_mm[:, PINKY_KNUCKLE] - wrist
    normal = np.cross(to_index, to_pinky)
    if side == 1:
        normal = -normal
    to_camera = -joints_cam_mm.mean(1)
    return _angle_deg(normal, to_camera)


def finger_bend_deg(joints_cam_mm: Hand) -> Numbers:
    """Mean angle between the metacarpal and the last bone of the four fingers.

    Args:
        joints_cam_mm: Joints of hands, in any frame.
    """
    total = np.zeros(len(joints_cam_mm))
    for finger in FINGERS:
        tip = joints_cam_mm[:, JOINTS.index(f"r_{finger}4")]
        last_joint = joints_cam_mm[:, JOINTS.index(f"r_{finger}3")]
        knuckle = joints_cam_mm[:, JOINTS.index(f"r_{finger}1")]
        metacarpal = knuckle - joints_cam_mm[:, WRIST]
        total = total + _angle_deg(metacarpal, tip - last_joint)
    return total / len(FINGERS)


def tight_box_px(joints_px: Float[np.ndarray, "n j 2"]) -> Numbers:
    """Longer side of the box around the joints."""
    size = joints_px.max(1) - joints_px.min(1)
    return size.max(1)


def shares(values: np.ndarray, bins: list[int]) -> list[float]:
    """The share of values in each bin."""
    counts, _ = np.histogram(values, bins)
    return (counts / len(values)).tolist()


def bin_names(edges: list[int]) -> list[str]:
    """The bins in words, such as "0–30"."""
    return [f"{low}–{high}" for low, high in itertools.pairwise(edges)]


def overlap(one: list[float], other: list[float]) -> float:
    """What two histograms have in common: 0 nothing, 1 everything."""
    return float(np.minimum(one, other).sum())


def _angle_deg(a: Float[np.ndarray, "n 3"], b: Float[np.ndarray, "n 3"]) -> Numbers:
    """Angles between vectors."""
    products = normalize(a) * normalize(b)
    cosine = products.sum(-1)
    angle = np.arccos(np.clip(cosine, -1, 1))
    return np.degrees(angle)

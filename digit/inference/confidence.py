"""How far an estimate can be trusted: a score per hand, and warnings about the box.

The score is the probability that the hand is found at 10 % (the mean error of its
joints is under a tenth of the tight box), by a logistic regression on three clues; the
coefficients are from `benchmarks/hand_scores.py`. Called by `digit.inference.pipeline`.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from digit.skeleton import JOINTS_PER_HAND, PARTS, PARTS_PER_HAND

NEAR_PARTS = 0.03  # of the crop: a joint this near to a hand's pixels is on it; by eye
# Of a crop's edge: more finger pixels, or more pixels of any part, than this mean a cut
# hand. A wrist or forearm may leave the box. From `benchmarks/box_warnings.py`.
FINGER_CUT_SHARE = 0.02
CUT_SHARE = 0.25
SMALL_SHARE = 1 / 3  # of the box's longer side
CONTRADICTION = 0.5  # of a hand's joints on its own pixels; below, a warning

PALM = PARTS.index("palm")  # holds the wrist as well
FAR_FROM_LANDMARKS = 0.2  # of the crop's side: joints this far off are simply wrong

# probability = 1 / (1 + exp(-(constant + coefficients · clues)))
WITH_LANDMARKS = (8.45, -11.85, 1.85, -35.37)
WITHOUT_LANDMARKS = (10.35, -20.67, 2.43)


@dataclass(frozen=True)
class Clues:
    """Evidence for or against one hand of an estimate.

    `entropy` is the mean entropy of the joints' heatmaps, 0 for one cell and 1 for all
    alike; `on_own_parts` the share of its joints on pixels of that hand;
    `from_landmarks` the mean distance to the landmark model's joints, of the crop's
    side, None where that model saw no such hand.
    """

    entropy: float
    on_own_parts: float
    from_landmarks: float | None


def score(clues: Clues) -> float:
    """The probability that the hand's joints are right to a tenth of its box."""
    values = [1.0, clues.entropy, clues.on_own_parts]
    coefficients: tuple[float, ...] = WITHOUT_LANDMARKS
    if clues.from_landmarks is not None:
        values.append(min(clues.from_landmarks, FAR_FROM_LANDMARKS))
        coefficients = WITH_LANDMARKS
    total = sum(c * v for c, v in zip(coefficients, values, strict=True))
    return 1 / (1 + math.exp(-total))


def clues_of(
    side: int,
    joints_crop: Float[np.ndarray, "21 2"],
    entropy_nats: Float[np.ndarray, "21"],
    heatmap_cells: int,
    parts: UInt8[np.ndarray, "s s"],
    landmarks_crop: Float[np.ndarray, "21 2"] | None,
) -> Clues:
    """The clues of one hand.

    Args:
        side: 0 for the right hand, 1 for the left.
        joints_crop: its joints, in [0, 1] of the crop.
        entropy_nats: of its heatmaps.
        heatmap_cells: cells along a heatmap's side.
        parts: part labels on the crop.
        landmarks_crop: the landmark model's joints of the same hand, in [0, 1].
    """
    entropy = float(entropy_nats.mean()) / math.log(heatmap_cells**2)
    own = hand_pixels(parts, side)
    distance = None
    if landmarks_crop is not None:
        apart = np.linalg.norm(joints_crop - landmarks_crop, axis=-1)
        distance = float(apart.mean())
    return Clues(entropy, share_near(own, joints_crop), distance)


def hand_pixels(parts: UInt8[np.ndarray, "s s"], side: int) -> Bool[np.ndarray, "s s"]:
    """The pixels of one hand's parts."""
    first = 1 + side * PARTS_PER_HAND
    return (parts >= first) & (parts < first + PARTS_PER_HAND)


def share_near(
    pixels: Bool[np.ndarray, "s s"], joints_crop: Float[np.ndarray, "n 2"]
) -> float:
    """The share of joints that lie on the pixels or near them."""
    size = len(pixels)
    if not pixels.any():
        return 0.0
    distance_px = cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, 3)
    where = np.clip(np.floor(joints_crop * size), 0, size - 1).astype(int)
    inside = ((joints_crop >= 0) & (joints_crop < 1)).all(-1)
    near = distance_px[where[:, 1], where[:, 0]] <= NEAR_PARTS * size
    return float((near & inside).mean())


def _is_cut(edge: UInt8[np.ndarray, "s"]) -> bool:
    """Whether the part labels along an edge of the crop are those of a cut hand."""
    is_hand = edge > 0
    is_palm = is_hand & ((edge.astype(int) - 1) % PARTS_PER_HAND == PALM)
    is_finger = is_hand & ~is_palm
    return bool(is_finger.mean() > FINGER_CUT_SHARE or is_hand.mean() > CUT_SHARE)


def box_warnings(
    parts: UInt8[np.ndarray, "s s"],
    edges_inside: Bool[np.ndarray, "4"],
    joints_crop: Float[np.ndarray, "42 2"],
    seen: Bool[np.ndarray, "2"],
    box_share: float,
) -> list[str]:
    """What looks wrong with the box of an estimate, one line each.

    Args:
        parts: part labels on the crop.
        edges_inside: for the top, right, bottom and left edge of the crop, whether it
            lies inside the picture: where the picture itself ends no box is to blame.
        joints_crop: joints in [0, 1] of the crop.
        seen: whether there is a right and a left hand.
        box_share: the box's side by the crop's.
    """
    warnings = []
    if not seen.any():
        return ["the network sees no hand in this box"]

    # 1. Hand pixels at the crop's edge
    edges = [parts[0], parts[:, -1], parts[-1], parts[:, 0]]
    names = ("top", "right", "bottom", "left")
    cut = [
        name
        for name, edge, inside in zip(names, edges, edges_inside, strict=True)
        if inside and _is_cut(edge)
    ]
    if cut:
        warnings.append(
            f"the box cuts a hand at its {' and '.join(cut)}: make it larger"
        )

    # 2. Hands that are small in the box
    joints = joints_crop.reshape(2, JOINTS_PER_HAND, 2)[seen].reshape(-1, 2)
    longer = float((joints.max(0) - joints.min(0)).max())
    if longer < SMALL_SHARE * box_share:
        share = longer / box_share
        warnings.append(
            f"the hands fill {share:.0%} of the box's side: make it smaller"
        )

    # 3. Parts and joints that contradict each other
    for side, name in enumerate(("right", "left")):
        hand = joints_crop[side * JOINTS_PER_HAND : (side + 1) * JOINTS_PER_HAND]
        share = share_near(hand_pixels(parts, side), hand)
        if seen[side] and share < CONTRADICTION:
            warnings.append(
                f"only {share:.0%} of the {name} hand's joints lie on pixels that are "
                "classified as that hand"
            )
    return warnings

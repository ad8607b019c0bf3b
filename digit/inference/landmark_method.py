"""MediaPipe's landmark model as a method of its own, in a network's terms.

Called by `digit.inference.pipeline` and by `digit.inference.evaluate` for the method
"mediapipe".
"""

from collections.abc import Sequence

import numpy as np

from digit.inference.crops import Crop, NetworkEstimate, joints_in_cells
from digit.inference.detection import FoundHand
from digit.skeleton import HEATMAP_CELLS, JOINTS_PER_HAND, N_JOINTS, SIDES

LEAST_SEEN = (
    0.51  # probability of a hand that is found, whatever is thought of its side
)


def landmark_sides(hands: Sequence[FoundHand]) -> dict[int, FoundHand]:
    """A crop's hands as right (0) and left (1).

    Of two with the same side the less sure one becomes the other.
    """
    by_side: dict[int, FoundHand] = {}
    for hand in sorted(hands, key=lambda hand: -hand.side_probability)[:2]:
        side = SIDES.index(hand.side)
        if side in by_side:
            side = 1 - side
        by_side[side] = hand
    return by_side


def from_landmarks(hands: Sequence[FoundHand], crop: Crop) -> NetworkEstimate:
    """The hands of a crop as an estimate, without parts.

    Joints of a hand that is not found lie in the crop's centre. Depth is that of the
    model's metric points, relative to the wrist; the model does not tell how far one
    wrist is behind the other, which is given as 0.

    Args:
        hands: the hands found in the crop, at most two of which are used.
        crop: the crop.
    """
    # 1. A hand that is not found: probability 0, joints in the centre
    hand_type = np.zeros(2)
    center = crop.bbox_xywh[:2] + crop.bbox_xywh[2:] / 2
    joints_px = np.tile(center, (N_JOINTS, 1))
    depth_mm = np.zeros(N_JOINTS)
    # 2. The hands that are found
    for side, hand in landmark_sides(hands).items():
        joints = slice(side * JOINTS_PER_HAND, (side + 1) * JOINTS_PER_HAND)
        joints_px[joints] = hand.joints_px
        metric_depth_mm = hand.joints_metric_mm[:, 2]
        depth_mm[joints] = metric_depth_mm - metric_depth_mm[-1]
        hand_type[side] = max(hand.side_probability, LEAST_SEEN)
    # 3. As a network would say it; it has no parts
    size = len(crop.pixels)
    return NetworkEstimate(
        hand_type=hand_type,
        joints_25d=joints_in_cells(joints_px, depth_mm, crop),
        relative_root_depth_mm=0.0,
        parts=np.zeros((size, size), np.uint8),
        entropy_nats=np.zeros(N_JOINTS, np.float32),
        heatmap_cells=HEATMAP_CELLS,
    )

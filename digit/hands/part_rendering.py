"""Two hands' meshes → a picture of their part labels.

Masks of a data set (`part_masks`) and the comparison of predicted joints with predicted
parts (`digit.evaluation.contradiction`) are drawn here.
"""

import functools

import numpy as np
from jaxtyping import Float, Int, UInt8

from digit.hands.model import HandModel
from digit.hands.rasterizer import draw
from digit.skeleton import PARTS_PER_HAND

Hands = tuple[HandModel, HandModel]  # right, left


def draw_parts(
    hands: Hands,
    vertices_px: Float[np.ndarray, "2 v 2"],
    depth_mm: Float[np.ndarray, "2 v"],
    width: int,
    height: int,
) -> UInt8[np.ndarray, "h w"]:
    """The part label of the nearest face at each pixel, 0 for none.

    Args:
        hands: Hand models of the right and the left hand.
        vertices_px: Projected vertices of both; a hand of NaN is not drawn.
        depth_mm: Their depths.
        width: Of the picture.
        height: Of the picture.
    """
    faces, labels = _faces_and_labels(hands)
    mask = np.zeros((height, width), np.uint8)
    nearness = np.zeros(mask.shape, np.float32)
    points = vertices_px.reshape(-1, 2)
    draw(points, depth_mm.reshape(-1), faces, labels, mask, nearness, True)
    return mask


@functools.lru_cache(maxsize=4)
def _faces_and_labels(
    hands: Hands,
) -> tuple[Int[np.ndarray, "f 3"], UInt8[np.ndarray, "f"]]:
    """The faces of both hands, and their part labels."""
    faces = []
    labels = []
    for side, hand in enumerate(hands):
        faces.append(hand.faces + side * len(hand.v_template))
        labels.append(hand.face_part + 1 + side * PARTS_PER_HAND)
    return np.concatenate(faces), np.concatenate(labels).astype(np.uint8)

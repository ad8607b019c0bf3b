"""Two hands' fits → meshes → a picture of their part labels.

Masks of a data set (`part_masks`) and the comparison of predicted joints with predicted
parts (`digit.evaluation.contradiction`) are drawn here.
"""

import functools
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from digit.data.layout import fit_hand_model
from digit.hands.mano_files import find_mano
from digit.hands.model import HandModel, load_hand
from digit.hands.rasterizer import draw
from digit.skeleton import PARTS_PER_HAND, SIDES

Hands = tuple[HandModel, HandModel]  # right, left


def load_hands(dataset_dir: Path | str) -> Hands:
    """Load the hand models that a data set's fits are for.

    Raises:
        FileNotFoundError: if they are MANO's, and MANO's files are missing.
    """
    name = fit_hand_model(dataset_dir)
    folder = find_mano(dataset_dir)
    if name == "mano" and folder is None:
        raise FileNotFoundError(
            f"{Path(dataset_dir) / 'mano'}: MANO_RIGHT.pkl and MANO_LEFT.pkl are "
            "missing; get them from mano.is.tue.mpg.de and put them there, or name "
            "their folder in DIGIT_MANO"
        )
    return load_hand(SIDES[0], name, folder), load_hand(SIDES[1], name, folder)


def fit_vertices_mm(
    hands: Hands,
    pose: Float[Tensor, "*b 2 48"],
    shape: Float[Tensor, "*b 2 10"],
    trans: Float[Tensor, "*b 2 3"],
) -> Float[Tensor, "*b 2 v 3"]:
    """Vertices of right and left fits in the world.

    Args:
        hands: Hand models of the right and the left hand.
        pose: Axis-angle vectors, rad.
        shape: Betas.
        trans: Translations, m.

    Returns:
        Vertices, mm; NaN where a fit is.
    """
    vertices = []
    for side, hand in enumerate(hands):
        of_side = hand.skin(
            pose[..., side, :], shape[..., side, :], trans[..., side, :]
        )
        vertices.append(of_side)
    return torch.stack(vertices, -3) * 1000


def render_part_mask(
    hands: Hands,
    vertices_cam_mm: Float[np.ndarray, "2 v 3"],
    focal: Float[np.ndarray, "2"],
    princpt: Float[np.ndarray, "2"],
    width: int,
    height: int,
) -> UInt8[np.ndarray, "h w"]:
    """Render the part labels of two hands.

    Args:
        hands: Hand models of the right and the left hand.
        vertices_cam_mm: Their vertices in the camera frame; a hand of NaN is not drawn.
        focal: Focal lengths, px.
        princpt: Principal point, px.
        width: Of the image, px.
        height: Of the image, px.

    Returns:
        The label of the nearest face at each pixel, 0 for none.
    """
    vertices = vertices_cam_mm.astype(np.float64)
    depth_mm = vertices[..., 2].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        vertices_px = vertices[..., :2] / depth_mm[..., None] * focal + princpt
    return draw_parts(hands, vertices_px, depth_mm, width, height)


def draw_parts(
    hands: Hands,
    vertices_px: Float[np.ndarray, "2 v 2"],
    depth_mm: Float[np.ndarray, "2 v"],
    width: int,
    height: int,
) -> UInt8[np.ndarray, "h w"]:
    """`render_part_mask` of vertices that are projected already."""
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

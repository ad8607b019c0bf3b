"""Other conventions of joints, parts and axes, and the way to and from this project's.

This project: 21 joints a hand, each finger from tip (4) to base (1), thumb first, then
the wrist; right hand before left; x right, y down, z forward (OpenCV). The predictions
doctor names these functions where a file of predictions follows another convention.
"""

import numpy as np
from jaxtyping import Float, Integer, UInt8

from digit.skeleton import (
    FINGERS,
    HAND_JOINTS,
    HEATMAP_CELLS,
    JOINTS_PER_HAND,
    MANO_JOINT_PART,
    PARTS,
    PARTS_PER_HAND,
    SIDES,
)

MANO_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
_MANO_16 = ("wrist", *(f"{finger}{k}" for finger in MANO_FINGERS for k in (1, 2, 3)))

# The joints of one hand, by their names here, in the orders of others.
HAND_ORDERS: dict[str, tuple[str, ...]] = {
    "interhand": HAND_JOINTS,
    # OpenPose, MediaPipe, FreiHAND: the wrist, then each finger from base to tip.
    "openpose": (
        "wrist",
        *(f"{finger}{k}" for finger in FINGERS for k in (1, 2, 3, 4)),
    ),
    # MANO's skeleton, which has no fingertips.
    "mano16": _MANO_16,
    # The same with fingertips behind, as manopth and smplx append them.
    "mano": (*_MANO_16, *(f"{finger}4" for finger in FINGERS)),
}


def reorder_hand(
    joints: Float[np.ndarray, "*b n d"], source: str, target: str = "interhand"
) -> Float[np.ndarray, "*b m d"]:
    """Bring the joints of one hand from one order into another.

    Args:
        joints: n joints, in the order `source` of `HAND_ORDERS`.
        source: The order they are in.
        target: The order wanted.

    Returns:
        The joints in the order `target`; NaN for those that `source` does not have.

    Raises:
        ValueError: If an order is unknown, or the number of joints is another.
    """
    for order in (source, target):
        if order not in HAND_ORDERS:
            known = ", ".join(HAND_ORDERS)
            raise ValueError(f"order {order!r} is unknown; choose one of {known}")
    names = HAND_ORDERS[source]
    if joints.shape[-2] != len(names):
        raise ValueError(
            f"joints has {joints.shape[-2]} joints; the order {source} has {len(names)}"
        )
    wanted = HAND_ORDERS[target]
    shape = (*joints.shape[:-2], len(wanted), joints.shape[-1])
    reordered = np.full(shape, np.nan, joints.dtype)
    for place, name in enumerate(wanted):
        if name in names:
            reordered[..., place, :] = joints[..., names.index(name), :]
    return reordered


def reorder_hands(
    joints: Float[np.ndarray, "*b 42 d"], source: str, target: str = "interhand"
) -> Float[np.ndarray, "*b 42 d"]:
    """`reorder_hand` for both hands, 21 joints each, right hand first."""
    right = reorder_hand(joints[..., :JOINTS_PER_HAND, :], source, target)
    left = reorder_hand(joints[..., JOINTS_PER_HAND:, :], source, target)
    return np.concatenate([right, left], axis=-2)


def swap_hands(joints: Float[np.ndarray, "*b 42 d"]) -> Float[np.ndarray, "*b 42 d"]:
    """Exchange right and left hand, for methods that put the left one first."""
    return np.roll(joints, JOINTS_PER_HAND, axis=-2)


def mirror_cells(joints: Float[np.ndarray, "*b n d"]) -> Float[np.ndarray, "*b n d"]:
    """Mirror joints in cells about the crop's middle: x goes to 64 − x.

    For methods that predict left hands in the mirrored picture, as right ones.
    """
    mirrored = joints.copy()
    mirrored[..., 0] = HEATMAP_CELLS - joints[..., 0]
    return mirrored


def mirror_mm(points_mm: Float[np.ndarray, "*b n 3"]) -> Float[np.ndarray, "*b n 3"]:
    """Mirror points in space: x changes its sign. A right hand becomes a left one."""
    return points_mm * np.array([-1, 1, 1], points_mm.dtype)


def opencv_from_opengl(
    points_mm: Float[np.ndarray, "*b n 3"],
) -> Float[np.ndarray, "*b n 3"]:
    """Camera points from OpenGL's axes (y up, z backward) to ours, and back again."""
    return points_mm * np.array([1, -1, -1], points_mm.dtype)


# --- Hand parts ---------------------------------------------------------------------


def labels_from_vertex_parts(
    vertex_part: Integer[np.ndarray, "*n"], side: str
) -> UInt8[np.ndarray, "*n"]:
    """Mask labels of vertices, from the original's part numbers.

    The original lists a number for each of MANO's 778 vertices and for the seal of the
    wrist (`vertex_segments_right_seal.json`), the same ones for both hands.

    Args:
        vertex_part: Part numbers 0 … 15, in the order of `skeleton.PARTS`.
        side: "right" or "left".

    Returns:
        Labels as in part masks: 1 … 16 of the right hand, 17 … 32 of the left.

    Raises:
        ValueError: If a number is no part, or there is no such side.
    """
    parts = np.asarray(vertex_part)
    if parts.size and not 0 <= parts.min() <= parts.max() < PARTS_PER_HAND:
        raise ValueError(
            f"vertex_part: {parts.min()} … {parts.max()}; parts are 0 … {PARTS_PER_HAND - 1}"
        )
    return (parts + _first_label(side)).astype(np.uint8)


def vertex_parts_from_labels(
    labels: Integer[np.ndarray, "*n"], side: str
) -> UInt8[np.ndarray, "*n"]:
    """The original's part numbers from mask labels of one hand.

    The inverse of `labels_from_vertex_parts`.

    Raises:
        ValueError: If a label is the background's or the other hand's.
    """
    parts = np.asarray(labels).astype(np.int64) - _first_label(side)
    if parts.size and not 0 <= parts.min() <= parts.max() < PARTS_PER_HAND:
        raise ValueError(f"labels: some are not of the {side} hand")
    return parts.astype(np.uint8)


def parts_from_mano_joints(joint: Integer[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    """The part that each of MANO's 16 joints moves; the wrist's is the palm.

    Of a vertex, the joint with its largest skinning weight gives its part.
    """
    return MANO_JOINT_PART[joint]


def mano_joints_from_parts(part: Integer[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    """MANO's joint of each part: the inverse of `parts_from_mano_joints`."""
    return np.argsort(MANO_JOINT_PART).astype(np.uint8)[part]


def with_seal(vertex_part: Integer[np.ndarray, "778"]) -> Integer[np.ndarray, "779"]:
    """Part numbers of MANO's vertices, and of the wrist's seal behind them: the palm."""
    palm = np.array([PARTS.index("palm")], vertex_part.dtype)
    return np.concatenate([vertex_part, palm])


def without_seal(vertex_part: Integer[np.ndarray, "779"]) -> Integer[np.ndarray, "778"]:
    """Part numbers of MANO's own vertices, without the wrist's seal."""
    return vertex_part[:-1]


def _first_label(side: str) -> int:
    """The mask label of a hand's part 0."""
    if side not in SIDES:
        raise ValueError(f"side {side!r}: choose one of {', '.join(SIDES)}")
    return 1 + PARTS_PER_HAND * SIDES.index(side)

"""Other conventions of joints and axes, and the way to and from this project's.

This project: 21 joints a hand, each finger from tip (4) to base (1), thumb first, then
the wrist; right hand before left; x right, y down, z forward (OpenCV). The predictions
doctor names these functions where a file of predictions follows another convention.
"""

import numpy as np
from jaxtyping import Float

from digit.skeleton import FINGERS, HAND_JOINTS, HEATMAP_CELLS, JOINTS_PER_HAND

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

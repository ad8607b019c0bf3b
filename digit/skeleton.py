"""The conventions that the whole package shares: joints, hand types, part labels,
units.

Joints (42): the right hand is 0–20, the left 21–41. Within a hand: thumb, index,
middle, ring, pinky, each from the tip (4) to the base (1), then the wrist, which is the
hand's root. A joint's parent is the next one towards the base; each base's parent is
the wrist.

Hand type: (1, 0) right, (0, 1) left, (1, 1) interacting; right first everywhere.

Part labels of a mask (33): 0 background, 1–16 right hand, 17–32 left hand (right + 16).
Within a hand, label − 1 is the part number of DIGIT's checkpoints, in the order of
`PARTS`. Each part belongs to one joint of the MANO hand model, whose order is
`MANO_JOINTS`.

Frames and units: lengths in mm (hand models: m, as MANO), camera x right, y down, z
forward, images RGB, pixel centres at integer coordinates (x column, y row). Heatmap
units measure a crop of any size as 64 cells: x, y = crop pixel / crop size · 64, z =
(depth behind the own wrist / 200 mm + 1) / 2 · 64.
"""

import numpy as np

# ------------------------------------------------------------------ joints

SIDES = ("right", "left")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
JOINTS_PER_HAND = 21
N_JOINTS = 2 * JOINTS_PER_HAND
HAND_WRIST = JOINTS_PER_HAND - 1
WRISTS = (HAND_WRIST, N_JOINTS - 1)  # right, left


def _hand_joints() -> tuple[str, ...]:
    """thumb4 thumb3 thumb2 thumb1 index4 … pinky1 wrist."""
    names = [f"{finger}{number}" for finger in FINGERS for number in (4, 3, 2, 1)]
    return (*names, "wrist")


def _hand_parents() -> tuple[int, ...]:
    """The parent of each joint of a hand; −1 for the wrist."""
    parents = []
    for joint in range(JOINTS_PER_HAND):
        if joint == HAND_WRIST:
            parents.append(-1)
        elif joint % 4 == 3:  # a finger's base
            parents.append(HAND_WRIST)
        else:
            parents.append(joint + 1)
    return tuple(parents)


HAND_JOINTS = _hand_joints()
HAND_PARENTS = _hand_parents()
JOINTS = tuple(f"{side[0]}_{joint}" for side in SIDES for joint in HAND_JOINTS)
PARENTS = HAND_PARENTS + tuple(
    parent if parent < 0 else parent + JOINTS_PER_HAND for parent in HAND_PARENTS
)
# (40, 2): child and parent of each bone.
BONES = np.array(
    [(joint, parent) for joint, parent in enumerate(PARENTS) if parent >= 0]
)
# Of each joint: its side (0 right, 1 left), its own hand's wrist, and its finger (5 for
# the wrist).
JOINT_SIDE = np.repeat([0, 1], JOINTS_PER_HAND)
JOINT_WRIST = np.array(WRISTS)[JOINT_SIDE]
JOINT_FINGER = np.tile(np.append(np.repeat(np.arange(5), 4), 5), 2)
# The order of the joints after the picture is mirrored: right and left change places.
SWAP_JOINTS = np.roll(np.arange(N_JOINTS), JOINTS_PER_HAND)

# ------------------------------------------------------------------ hand types

HAND_TYPES = ("right", "left", "interacting")
# A row for each of HAND_TYPES: whether the right hand is there, and the left.
HAND_TYPE_FLAGS = np.array([(1, 0), (0, 1), (1, 1)], np.float32)

# ------------------------------------------------------------------ parts of a hand

# In the order of DIGIT's checkpoints and masks; 1 is proximal, 3 has the fingertip.
PARTS = (
    "ring1",
    "index2",
    "pinky1",
    "middle1",
    "middle3",
    "ring3",
    "pinky3",
    "thumb1",
    "palm",
    "thumb2",
    "index1",
    "index3",
    "thumb3",
    "pinky2",
    "middle2",
    "ring2",
)
PARTS_PER_HAND = len(PARTS)  # 16
N_LABELS = 1 + 2 * PARTS_PER_HAND  # 33
LABELS = ("background",) + tuple(
    f"{side[0]}_{part}" for side in SIDES for part in PARTS
)
# The label that each label becomes after the picture is mirrored.
SWAP_LABELS = np.array([0, *range(17, 33), *range(1, 17)], np.uint8)
# The finger of each part, as in FINGERS; 5 for the palm.
PART_FINGER = np.array(
    [5 if part == "palm" else FINGERS.index(part[:-1]) for part in PARTS]
)

# ------------------------------------------------------------------ MANO

MANO_JOINTS = (
    "wrist",
    "index1",
    "index2",
    "index3",
    "middle1",
    "middle2",
    "middle3",
    "pinky1",
    "pinky2",
    "pinky3",
    "ring1",
    "ring2",
    "ring3",
    "thumb1",
    "thumb2",
    "thumb3",
)
MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
# The part number of each MANO joint: the palm is the wrist's.
MANO_JOINT_PART = np.array(
    [PARTS.index("palm" if name == "wrist" else name) for name in MANO_JOINTS],
    np.uint8,
)

# ------------------------------------------------------------------ heatmaps

HEATMAP_CELLS = 64
DEPTH_RANGE_MM = 200.0  # a heatmap's z covers ± this about the wrist

# ------------------------------------------------------------------ colours

# Okabe and Ito's, told apart by the colour-blind: one a finger, grey for palm and
# wrist.
FINGER_COLORS = ("#D55E00", "#E69F00", "#009E73", "#0072B2", "#CC79A7", "#8C8C8C")

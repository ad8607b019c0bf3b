"""The conventions every room of the house shares.

Joints (42): the right hand is 0–20, the left 21–41. Within a hand: thumb, index, middle, ring,
pinky, each from the tip (4) to the base (1), then the wrist, which is the hand's root. A joint's
parent is the next one towards the base; the parent of each base is the wrist.

Hand type: (1, 0) right, (0, 1) left, (1, 1) interacting; right first everywhere.

Part labels of a mask (33): 0 background, 1–16 right hand, 17–32 left hand (right + 16). Within a
hand, label − 1 is the part number of DIGIT's checkpoints, in the order of `PARTS`; a part belongs
to exactly one joint of the MANO hand model, whose order is `MANO_JOINTS`.

Frames and units: lengths in mm (hand models: m, as MANO), camera x right, y down, z forward, images
RGB, pixel centres at integer coordinates (x column, y row). "Heat-map units" measure a crop of any
size as 64 cells: x, y = crop pixel / crop size · 64, z = (depth behind the own wrist / 200 mm + 1)
/ 2 · 64.
"""

import numpy as np

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
SIDES = ("right", "left")
HAND_JOINTS = tuple(f"{finger}{k}" for finger in FINGERS for k in (4, 3, 2, 1)) + (
    "wrist",
)
JOINTS = tuple(f"{side[0]}_{joint}" for side in SIDES for joint in HAND_JOINTS)
JOINTS_PER_HAND = len(HAND_JOINTS)  # 21
N_JOINTS = len(JOINTS)  # 42
HAND_WRIST = JOINTS_PER_HAND - 1
WRISTS = (HAND_WRIST, N_JOINTS - 1)  # right, left
HAND_PARENTS = tuple(
    -1 if j == HAND_WRIST else HAND_WRIST if j % 4 == 3 else j + 1
    for j in range(JOINTS_PER_HAND)
)
PARENTS = HAND_PARENTS + tuple(
    p if p < 0 else p + JOINTS_PER_HAND for p in HAND_PARENTS
)
BONES = np.array(
    [(j, p) for j, p in enumerate(PARENTS) if p >= 0]
)  # (40, 2) child, parent
JOINT_SIDE = np.repeat([0, 1], JOINTS_PER_HAND)  # 0 right, 1 left, per joint
JOINT_WRIST = np.array(WRISTS)[JOINT_SIDE]  # the wrist of each joint's own hand
JOINT_FINGER = np.tile(np.append(np.repeat(np.arange(5), 4), 5), 2)  # 5 is the wrist
SWAP_JOINTS = np.roll(
    np.arange(N_JOINTS), JOINTS_PER_HAND
)  # joints of the mirrored hands
HAND_TYPES = ("right", "left", "interacting")
HAND_TYPE_FLAGS = np.array(
    [(1, 0), (0, 1), (1, 1)], np.float32
)  # row: index into HAND_TYPES
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
SWAP_LABELS = np.concatenate(  # label of the mirrored hand's part
    [[0], np.arange(17, 33), np.arange(1, 17)]
).astype(np.uint8)
MANO_JOINTS = ("wrist",) + tuple(
    f"{finger}{k}"
    for finger in ("index", "middle", "pinky", "ring", "thumb")
    for k in (1, 2, 3)
)
MANO_PARENTS = tuple(-1 if j == 0 else 0 if j % 3 == 1 else j - 1 for j in range(16))
MANO_JOINT_PART = np.array(  # part number of each MANO joint
    [PARTS.index("palm" if name == "wrist" else name) for name in MANO_JOINTS], np.uint8
)
HEATMAP_CELLS = 64
DEPTH_RANGE_MM = 200.0  # heat-map z covers ± this about the wrist
# Okabe and Ito's colours, told apart by the colour-blind: one a finger, grey for palm and wrist.
FINGER_COLORS = ("#D55E00", "#E69F00", "#009E73", "#0072B2", "#CC79A7", "#8C8C8C")
PART_FINGER = np.array([FINGERS.index(p[:-1]) if p != "palm" else 5 for p in PARTS])

"""Poses of one and two hands: anatomy, named families, arms that reach them, contact.

Angles of a hand are (15, 3) radians for MANO's joints 1–15: flexion towards the palm, abduction
towards the thumb's side, twist, away from the flat rest pose, as the rotation abduction · flexion ·
twist about the joint's own rest axes (`Rig.axes`). `LIMITS` bounds each; an axis that a joint lacks
has the limits 0, 0. Both hands use the right hand's angles: the left is mirrored before it is
turned, as MANO's left model mirrors. World frame: mm, x to the person's left, y down, z from the
cameras in front towards the person, as in InterHand2.6M.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .geometry import axis_angle_to_matrix
from .hand import HandModel
from .skeleton import HAND_JOINTS, MANO_JOINTS

# Degrees (low, high) for flexion, abduction, twist; after the ranges of Kapandji's Physiology of
# the Joints, shifted by the rest pose's own spread. MANO's order of fingers.
_FINGER_ABDUCTION = {"index": (-18, 22), "middle": (-15, 18), "pinky": (-18, 30), "ring": (-12, 22)}
LIMITS = np.radians(
    [
        [limits, abduction, (0, 0)]
        for abduction in _FINGER_ABDUCTION.values()
        for limits, abduction in (((-20, 90), abduction), ((-4, 108), (0, 0)), ((-6, 72), (0, 0)))
    ]
    + [
        [(-24, 40), (-26, 28), (-20, 32)],
        [(-12, 58), (0, 0), (0, 0)],
        [(-20, 78), (0, 0), (0, 0)],
    ]
).astype(np.float32)  # (15, 3, 2)

# Thumbs: flexion, abduction, twist at the base, flexion of the second and third joint.
_THUMBS = {
    "rest": (0, 0, 0, 8, 12), "side": (2, -22, -8, 6, 4), "out": (-20, -8, 0, -6, -12),
    "over": (30, 2, 20, 42, 38), "oppose": (16, 16, 22, 26, 28), "tuck": (34, -2, 24, 50, 50),
    "touch": (22, 14, 24, 22, 34),
}  # fmt: skip
# Hands: thumb; knuckles of index, middle, ring, pinky; their middle joints; spread −1 … 1.
SHAPES = {
    "flat": ("side", (0, 0, 0, 0), (2, 2, 2, 2), -0.6),
    "open": ("rest", (-4, -4, -4, -4), (4, 4, 4, 4), 0.3),
    "spread": ("out", (-8, -6, -6, -8), (2, 2, 2, 4), 1.0),
    "relaxed": ("rest", (18, 24, 30, 34), (28, 32, 36, 36), 0.0),
    "fist": ("over", (80, 84, 86, 86), (100, 102, 102, 100), -0.7),
    "thumb_up": ("out", (78, 82, 84, 84), (100, 102, 102, 100), -0.7),
    "point": ("over", (2, 78, 82, 84), (4, 98, 100, 100), -0.3),
    "two": ("tuck", (0, 0, 80, 84), (4, 4, 100, 100), 0.5),
    "three": ("tuck", (0, 0, 2, 84), (4, 4, 6, 100), 0.4),
    "four": ("tuck", (0, 0, 0, 0), (4, 4, 4, 6), 0.4),
    "pinch": ("touch", (48, 12, 10, 8), (46, 22, 18, 14), 0.2),
    "pinch_middle": ("touch", (8, 52, 12, 10), (12, 50, 20, 14), 0.2),
    "pinch_ring": ("touch", (8, 14, 58, 20), (10, 20, 56, 24), 0.1),
    "bunch": ("touch", (52, 50, 50, 50), (36, 38, 38, 40), -0.6),
    "horns": ("over", (0, 82, 84, 0), (4, 100, 100, 6), 0.5),
    "shaka": ("out", (76, 82, 80, -4), (98, 100, 100, 4), 0.6),
    "gun": ("out", (0, 2, 82, 84), (4, 4, 100, 100), -0.5),
    "ell": ("out", (0, 80, 84, 84), (2, 100, 100, 100), 0.2),
    "claw": ("rest", (0, 0, 0, 0), (66, 68, 68, 64), 0.5),
    "hook": ("side", (6, 6, 6, 6), (94, 96, 96, 92), -0.4),
    "table": ("side", (76, 78, 78, 76), (6, 6, 6, 6), -0.6),
    "cup": ("rest", (26, 26, 28, 30), (30, 30, 30, 30), -0.5),
    "grip": ("oppose", (48, 50, 52, 54), (58, 60, 60, 58), -0.4),
    "wrap": ("oppose", (62, 64, 66, 66), (72, 76, 76, 74), -0.5),
    "lace": ("rest", (52, 54, 56, 56), (56, 58, 58, 54), 0.5),
    "frame": ("out", (8, 78, 82, 84), (6, 96, 98, 98), 0.0),
    "heart": ("rest", (50, 50, 50, 50), (46, 46, 46, 44), -0.6),
    "ring_cut": ("over", (40, 6, 80, 84), (8, 4, 100, 100), 0.8),
    "pinky": ("over", (80, 82, 84, 20), (100, 102, 102, 40), 0.0),
}


class Family(NamedTuple):
    """How two hands meet. Directions (outward from the body's midline, up, to the front) are
    those of each hand's fingers and of its palm; contacts name a point of the right hand and one
    of the left (`Rig.points`)."""

    right: tuple[str, tuple, tuple]  # shape, fingers' direction, palm's direction
    left: tuple[str, tuple, tuple]
    contacts: str = ""  # "right-left …"; none: hands apart
    swap: bool = True  # may the hands change roles?


_IN, _OUT, _UP, _DOWN, _FRONT, _BACK = (
    (-1, 0, 0), (1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1),
)  # fmt: skip
_PRAY = " ".join(f"{p}-{p}" for p in ("palm", "index2", "middle2", "ring2", "index3", "middle3"))
_TIPS = " ".join(f"{f}_tip-{f}_tip" for f in ("thumb", "index", "middle", "ring", "pinky"))
FAMILIES = {
    "prayer": Family(("flat", (0, 1, 0.3), _IN), ("flat", (0, 1, 0.3), _IN), _PRAY, False),
    "steeple": Family(("open", (-0.5, 1, 0.3), (-1, -0.5, 0)), ("open", (-0.5, 1, 0.3), (-1, -0.5, 0)), _TIPS, False),
    "interlocked": Family(("lace", (-0.6, 0.25, 0.7), (-0.75, 0, -0.6)), ("lace", (-0.6, 0.25, 0.7), (-0.75, 0, -0.6)),
        "index1_u-index1_r middle1_r-index1_u middle1_u-middle1_r ring1_r-middle1_u ring1_u-ring1_r pinky1_r-ring1_u middle3-palm_d ring3-palm_d"),
    "hand_over_fist": Family(("fist", (-0.7, 0.3, 0.6), (-0.7, 0, -0.7)), ("grip", (-0.7, 0.5, 0.6), (-0.8, 0, -0.6)),
        "middle2_d-palm index2_d-index1 ring2_d-ring1 index1_d-middle3 middle1_d-ring3"),
    "fist_in_palm": Family(("fist", (-1, 0, 0.5), (0, -1, 0)), ("cup", (0.1, 1, 0.3), _IN), "middle2_d-palm index2_d-index1"),
    "fist_bump": Family(("fist", (-1, 0, 0.2), (0, -1, 0)), ("fist", (-1, 0, 0.2), (0, -1, 0)), "middle2_d-middle2_d index2_d-index2_d ring2_d-ring2_d", False),
    "index_touch": Family(("point", (-1, 0.3, 0.5), (0, -0.6, -0.6)), ("point", (-1, 0.3, 0.5), (0, -0.6, -0.6)), "index_tip-index_tip", False),
    "point_at_palm": Family(("point", (-1, 0, 0.2), (0, -1, 0)), ("open", (0, 1, 0.4), (-1, 0, 0.2)), "index_tip-palm"),
    "count_on_fingers": Family(("point", (-0.9, 0.2, 0.3), (0, -1, 0)), ("open", (-0.4, 1, 0.3), (-0.6, 0, -0.8)), "index_tip-middle3"),
    "crossed_wrists": Family(("open", (-0.8, 0.6, 0.2), (-0.2, 0, -1)), ("open", (-0.8, 0.6, 0.2), (-0.2, 0, -1)), "wrist-wrist_d"),
    "hold_wrist": Family(("wrap", (-1, 0.1, 0.3), (0, -1, 0.2)), ("relaxed", (-0.5, -0.2, 1), (-0.2, -1, 0)), "palm-wrist_d middle1-wrist_d middle3-wrist_u thumb_tip-wrist_r"),
    "hold_finger": Family(("wrap", (-1, 0.2, 0.3), (-0.2, -0.7, -0.5)), ("point", (-0.8, 0.3, 0.5), (0, -0.6, -0.6)), "middle1-index2_d index1-index3_d middle3-index2 thumb3-index3_r"),
    "palm_on_back": Family(("flat", (-0.8, 0, 0.6), (0, -1, 0)), ("flat", (-0.8, 0, 0.6), (0, -1, 0)), "palm-palm_d middle1-middle1_d index1-ring1_d"),
    "handclasp": Family(("grip", (-0.5, 0.2, 0.9), (-0.8, -0.4, 0)), ("grip", (-0.9, 0.2, 0.5), (-0.4, 0.4, -0.8)), "palm-palm index1-ring1 middle3-palm_d thumb3-thumb1_d"),
    "cupped": Family(("cup", (-0.3, 0.1, 1), (-0.25, 1, 0)), ("cup", (-0.3, 0.1, 1), (-0.25, 1, 0)), "palm_u-palm_u pinky1_u-pinky1_u pinky3_u-pinky3_u", False),
    "thumbs_and_index": Family(("frame", (-0.2, 1, 0.1), (0, 0, 1)), ("frame", (-0.2, -1, 0.1), (0, 0, -1)), "thumb_tip-index_tip index_tip-thumb_tip"),
    "heart": Family(("heart", (-0.3, 1, 0.2), (-0.8, 0, 0.6)), ("heart", (-0.3, 1, 0.2), (-0.8, 0, 0.6)), "thumb3-thumb3 index3_d-index3_d middle3_d-middle3_d", False),
    "time_out": Family(("flat", (-0.1, 1, 0.2), (-1, 0, 0)), ("flat", (-1, 0, 0.2), (0, -1, 0)), "middle_tip-palm ring_tip-ring1 index_tip-heel"),
    "pinch_together": Family(("pinch", (-0.9, 0.3, 0.5), (-0.2, -0.6, -0.5)), ("pinch", (-0.9, 0.3, 0.5), (-0.2, -0.6, -0.5)), "index_tip-index_tip thumb_tip-thumb_tip", False),
    "hooked_fingers": Family(("hook", (-1, 0, 0.3), (0, -0.6, -0.7)), ("hook", (-1, 0, 0.3), (0, 0.6, 0.7)), "middle2-middle2 index3-ring2 ring3-index2 index2-ring3"),
    "pinky_promise": Family(("pinky", (-1, 0.1, 0.3), (-0.3, 0, -0.9)), ("pinky", (-1, 0.1, 0.3), (-0.3, 0, -0.9)), "pinky2-pinky2 pinky3-pinky1_d"),
    "clap": Family(("open", (-0.4, 0.5, 0.8), (-1, 0.2, -0.2)), ("open", (0.1, 1, 0.4), (-1, -0.2, 0)), "palm-palm middle1-index1 index1-thumb2"),
    "rub_back": Family(("relaxed", (-1, 0, 0.5), (0, -1, 0)), ("fist", (-0.6, 0, 0.9), (0, -1, 0)), "palm-middle1_d middle1-palm_d middle3-ring1_d"),
    "apart": Family(("", (-0.4, 0.3, 0.8), (-0.5, -0.8, 0)), ("", (-0.4, 0.3, 0.8), (-0.5, -0.8, 0))),
    "signs_apart": Family(("", (-0.1, 1, 0.2), (-0.2, 0, 1)), ("", (-0.1, 1, 0.2), (-0.2, 0, 1))),
}  # fmt: skip


def hand_angles(name: str) -> Float[np.ndarray, "15 3"]:
    """The angles (rad) of a shape of `SHAPES`; fingertips bend by 0.6 of the middle joint."""
    thumb, knuckles, middles, spread = SHAPES[name]
    angles = np.zeros((15, 3))
    fans = np.array([-2, 0, 6, 9]) + spread * np.array([14, 3, -9, -18])
    for row, k in zip((0, 3, 9, 6), range(4)):  # index, middle, ring, pinky in MANO's rows
        angles[row : row + 3, 0] = knuckles[k], middles[k], 0.6 * middles[k]
        angles[row, 1] = fans[k] * (1 - min(max(knuckles[k], 0) / 90, 1))  # bent knuckles lock
    angles[12], angles[13:, 0] = _THUMBS[thumb][:3], _THUMBS[thumb][3:]
    return limited(np.radians(angles).astype(np.float32))


def limited(angles: Float[np.ndarray, "*b 15 3"]) -> Float[np.ndarray, "*b 15 3"]:
    """The angles clipped to `LIMITS`."""
    return np.clip(angles, LIMITS[..., 0], LIMITS[..., 1])


def _unit(v):
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


@dataclass(frozen=True)
class Rig:
    """A subject's right hand for posing, mm: joints, the balls that fill it and named points of
    its skin, `<part>` (palmar), `_d` (dorsal), `_r` (thumb's side), `_u` (little finger's side)."""

    joints: Float[Tensor, "16 3"]
    axes: Float[Tensor, "15 3 3"]  # columns: flexion, abduction, twist
    spots: Float[Tensor, "p 3"]  # balls' centres, then the named points
    weights: Float[Tensor, "p 16"]
    radii: Float[Tensor, "s"]
    itself: Float[Tensor, "s s"]  # overlap of two balls that is no fault
    points: dict[str, int]

    def posed(
        self, angles: Float[Tensor, "*b 2 15 3"], turn: Float[Tensor, "*b 2 3 3"],
        wrist: Float[Tensor, "*b 2 3"],
    ) -> Float[Tensor, "*b 2 p 3"]:  # fmt: skip
        """`spots` of the right and the left hand in the world, by linear blend skinning."""
        local = joint_rotations(angles, self.axes)
        rotation, position = [torch.eye(3).expand_as(local[..., :1, :, :])], [self.joints[:1]]
        for j in range(1, 16):
            parent = 0 if j % 3 == 1 else j - 1
            rotation.append(rotation[parent] @ local[..., j - 1 : j, :, :])
            offset = (self.joints[j] - self.joints[parent])[None, :, None]
            position.append(position[parent] + (rotation[parent] @ offset)[..., 0])
        rotations = torch.cat(rotation, -3)  # (*b, 2, 16, 3, 3)
        position[0] = position[0].expand_as(position[1])
        moves = torch.cat(position, -2) - (rotations @ self.joints[..., None])[..., 0]
        affine = torch.cat([rotations, moves[..., None]], -1).flatten(-2)  # (*b, 2, 16, 12)
        affine = (self.weights @ affine).unflatten(-1, (3, 4))
        local = (affine[..., :3] @ self.spots[..., None])[..., 0] + affine[..., 3] - self.joints[0]
        local = local * torch.tensor([[[1.0, 1, 1]], [[-1.0, 1, 1]]])  # the left is mirrored
        return local @ turn.mT + wrist[..., None, :]


def joint_rotations(
    angles: Float[Tensor, "*b 15 3"], axes: Float[Tensor, "15 3 3"]
) -> Float[Tensor, "*b 15 3 3"]:
    """Local rotations of the 15 finger joints: abduction · flexion · twist about the axes."""
    sin, cos = angles.sin(), angles.cos()
    (sa, sb, sd), (ca, cb, cd) = sin.unbind(-1), cos.unbind(-1)
    euler = torch.stack(
        [
            cb * cd + sb * sa * sd, -cb * sd + sb * sa * cd, sb * ca,
            ca * sd, ca * cd, -sa,
            -sb * cd + cb * sa * sd, sb * sd + cb * sa * cd, cb * ca,
        ], -1,
    ).unflatten(-1, (3, 3))  # fmt: skip
    return axes @ euler @ axes.mT


def joint_angles(
    pose: Float[np.ndarray, "*b 45"], axes: Float[np.ndarray, "15 3 3"], side: str = "right"
) -> Float[np.ndarray, "*b 15 3"]:
    """The angles (rad) of MANO finger poses, the inverse of `joint_rotations`."""
    pose = pose.reshape(*pose.shape[:-1], 15, 3) * (
        np.ones(3) if side == "right" else np.array([1, -1, -1])
    )
    turn = axis_angle_to_matrix(torch.from_numpy(np.ascontiguousarray(pose, np.float64))).numpy()
    m = axes.transpose(0, 2, 1) @ turn @ axes
    flexion = np.arcsin(np.clip(-m[..., 1, 2], -1, 1))
    abduction = np.arctan2(m[..., 0, 2], m[..., 2, 2])
    twist = np.arctan2(m[..., 1, 0], m[..., 1, 1])
    past = abs(abduction) > np.pi / 2  # flexion beyond 90°
    back = lambda a: np.where(past, a - np.sign(a) * np.pi, a)
    angles = [np.where(past, np.pi - flexion, flexion), back(abduction), back(twist)]
    return np.stack(angles, -1).astype(np.float32)


def build_rig(model: HandModel, shape: Float[np.ndarray, "10"], n_balls: int = 96) -> Rig:
    """The rig of a right hand model with a shape.

    Balls are the largest that touch the skin at a vertex from inside (shrinking balls), chosen
    greedily until they cover the skin.
    """
    assert model.side == "right", "the left hand is the mirrored right one"
    betas = torch.from_numpy(shape.astype(np.float32))
    rest = (model.v_template + model.shapedirs @ betas).numpy() * 1000
    joints = model.rest_joints(betas).numpy() * 1000
    marks = (model.joint_regressor.numpy() @ rest)[[HAND_JOINTS.index(m) for m in
        ("index4", "middle4", "pinky4", "ring4", "thumb4")]]  # fmt: skip
    weights = model.weights.numpy()
    # Rest axes: the fingers' flexion axis lies across the palm, the thumb's along WebXR's own.
    axes = np.zeros((15, 3, 3), np.float32)
    ends = np.stack([marks[j // 3] if j % 3 == 2 else joints[j + 2] for j in range(15)])
    along = _unit(ends - joints[1:])
    across = np.cross([0, 1.0, 0], 0.6 * along + 0.4 * along[3])
    across[12:] = [0.48, -0.87, 0.0]
    across = _unit(across - (across * along).sum(-1, keepdims=True) * along)
    axes[:] = np.stack([across, np.cross(along, across), along], -1)
    # Medial balls: |u − v|² / (2 (v − u)·n) is the radius that touches v and reaches u.
    normals = vertex_normals(rest, model.faces)
    delta = rest[:, None] - rest[None]  # v − u
    inside = np.einsum("vuc,vc->vu", delta, normals)
    reach = (delta**2).sum(-1) / np.maximum(2 * inside, 1e-9)
    radius = np.minimum(np.where(inside > 1e-3, reach, np.inf).min(1), 14.0)
    centre = rest - normals * radius[:, None]
    covers = np.linalg.norm(centre[:, None] - rest[None], axis=-1) < radius[:, None] + 1.2
    chosen, open_ = [], np.ones(len(rest), bool)
    while open_.any() and len(chosen) < n_balls:
        chosen.append(int((covers & open_).sum(1).argmax()))
        open_ &= ~covers[chosen[-1]]
    radii = radius[chosen]
    own = np.stack([covers[c] @ weights for c in chosen])
    own /= own.sum(1, keepdims=True)
    points = _named_points(rest, weights.argmax(1), joints, marks, axes)
    spots = np.concatenate([centre[chosen], rest[list(points.values())]])
    bone = own.argmax(1)
    finger, level = (bone + 2) // 3, np.where(bone == 0, 0, (bone - 1) % 3 + 1)
    apart = np.linalg.norm(centre[chosen][:, None] - centre[chosen][None], axis=-1)
    overlap = np.maximum(radii[:, None] + radii - apart, 0) + 1.0
    near = (finger[:, None] == finger) | ((level[:, None] + level <= 1))
    overlap[near & (abs(level[:, None] - level) <= 1)] = 1e3
    to = lambda a: torch.from_numpy(np.asarray(a, np.float32))
    return Rig(
        to(joints), to(axes), to(spots), to(np.concatenate([own, weights[list(points.values())]])),
        to(radii), to(overlap), {name: len(chosen) + i for i, name in enumerate(points)},
    )  # fmt: skip


def _named_points(rest, bone, joints, marks, axes):
    """Vertex of each named point of the skin."""

    def farthest(j, centre, direction):
        offset = rest - centre
        depth = offset @ direction
        aside = np.linalg.norm(offset - depth[:, None] * direction, axis=1)
        return int(np.argmin(aside - 0.2 * depth + 1e3 * ((depth < 0) | (bone != j))))

    def around(name, j, centre, across, up):
        ways = {"": -up, "_d": up, "_r": across, "_u": -across}
        return {name + s: farthest(j, centre, way) for s, way in ways.items()}

    points = {}
    for j, name in enumerate(MANO_JOINTS[1:]):
        end = marks[j // 3] if j % 3 == 2 else joints[j + 2]
        points |= around(name, j + 1, (joints[j + 1] + end) / 2, axes[j, :, 0], axes[j, :, 1])
        if j % 3 == 2:
            points[name[:-1] + "_tip"] = int(np.linalg.norm(rest - marks[j // 3], axis=1).argmin())
    for name, at in (("wrist", 0.0), ("heel", 0.25), ("palm", 0.65)):
        centre = (1 - at) * joints[0] + at * joints[4]
        points |= around(name, 0, centre, np.array([0, 0, 1.0]), np.array([0, 1.0, 0]))
    return points


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]):
    """Unit normals (V, 3), outwards, each the area-weighted mean of its faces'."""
    corners = vertices[faces]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        for c in range(3):
            normals[:, c] += np.bincount(faces[:, k], face[:, c], len(vertices))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


# --- arms -------------------------------------------------------------------------------------


def hand_frame(turn: Float[np.ndarray, "*b 2 3 3"]) -> Float[np.ndarray, "*b 2 3 3"]:
    """Columns: where the fingers, the back and the little finger's side of each hand point."""
    return turn @ _BASIS


def turn_of(fingers: Float[np.ndarray, "*b 3"], palm: Float[np.ndarray, "*b 3"], side: int):
    """Global rotation (*b, 3, 3) of a hand (0 right, 1 left) from where fingers and palm point."""
    fingers = _unit(fingers)
    back = _unit((palm * fingers).sum(-1, keepdims=True) * fingers - palm)
    ulnar = np.cross(fingers, back) * (1 - 2 * side)
    return np.stack([fingers, back, ulnar], -1) @ _BASIS[side].T


_BASIS = np.array([[[-1, 0, 0], [0, 1, 0], [0, 0, -1]], [[1, 0, 0], [0, 1, 0], [0, 0, -1]]], float)


class Person(NamedTuple):
    """Where a person's arms hang, mm, in the world."""

    shoulders: Float[np.ndarray, "2 3"]  # right, left
    upper: float
    fore: float
    chest: Float[np.ndarray, "3"]  # centre of the torso at chest height
    girth: Float[np.ndarray, "2"]  # half width, half depth


def draw_person(rng: np.random.Generator, size: float) -> Person:
    """A person whose hands are held about (0, 0, 1000)."""
    z, drop = 1000 + rng.uniform(190, 290), rng.uniform(-290, -190)
    half = rng.uniform(165, 205) * size
    shoulders = np.array([[-half, drop, z], [half, drop, z]])
    girth = np.array([half * rng.uniform(0.8, 1.0), rng.uniform(95, 140) * size])
    chest = np.array([0.0, drop + 60, z + 20])
    return Person(shoulders, 285 * size, 250 * size, chest, girth)


def reach(
    person: Person, turn: Float[np.ndarray, "*b 2 3 3"], wrist: Float[np.ndarray, "*b 2 3"]
) -> tuple[Float[np.ndarray, "*b 2 3"], Float[np.ndarray, "*b 2"]]:
    """Elbows for hands held so, mm, and how far the wrist, the forearm's roll and the body's room
    are overstrained (0 comfortable; about rad²)."""
    frame = hand_frame(turn)
    span = wrist - person.shoulders
    distance = np.linalg.norm(span, axis=-1)
    far = np.maximum(distance / (0.98 * (person.upper + person.fore)) - 1, 0)
    d = np.clip(distance, abs(person.upper - person.fore) + 5, 0.98 * (person.upper + person.fore))
    axis = span / distance[..., None]
    along = (d**2 + person.upper**2 - person.fore**2) / (2 * d)
    height = np.sqrt(np.maximum(person.upper**2 - along**2, 0))
    down = np.array([0, 1.0, 0]) + 0.35 * np.array([[-1.0, 0, 0], [1, 0, 0]])
    first = _unit(down - (down * axis).sum(-1, keepdims=True) * axis)
    second = np.cross(axis, first)
    elbows, costs = [], []
    for s in np.linspace(-1.9, 1.9, 15):
        out = np.cos(s) * first + np.sin(s) * second
        elbow = person.shoulders + along[..., None] * axis + height[..., None] * out
        fore = _unit(wrist - elbow)
        f, n, u = ((fore[..., None, :] @ frame)[..., 0, k] for k in range(3))
        flexion, deviation = np.arctan2(n, f), np.arcsin(np.clip(u, -1, 1))
        hinge = _unit(np.cross(elbow - person.shoulders, fore)) * np.array([[1.0], [-1.0]])
        roll = (hinge * frame[..., :, 1]).sum(-1)  # pronation beyond about ±85° is negative
        over = lambda x, low, high: np.maximum(x - high, 0) ** 2 + np.maximum(low - x, 0) ** 2
        cost = over(flexion, -1.15, 1.2) + 2 * over(deviation, -0.6, 0.35)
        cost = cost + 0.8 * np.maximum(0.05 - roll, 0) ** 2 + 0.02 * s**2 + 9 * far**2
        for point in (elbow, 0.5 * elbow + 0.5 * wrist, wrist):
            inside = ((point - person.chest)[..., [0, 2]] / (person.girth + 35)) ** 2
            cost = cost + np.maximum(1 - inside.sum(-1), 0)
        elbows.append(elbow), costs.append(cost)
    cost, elbow = np.stack(costs), np.stack(elbows)
    best = np.exp(-(cost - cost.min(0)) / 0.01)[..., None]  # blended, so that arms move smoothly
    elbow = (best * elbow).sum(0) / best.sum(0)
    return wrist + person.fore * _unit(elbow - wrist), cost.min(0)


# --- sequences --------------------------------------------------------------------------------


class Motion(NamedTuple):
    """Instants of a capture, T in all: two hands each, and what the hands should touch."""

    sequence: Int[np.ndarray, "t"]
    family: tuple[str, ...]  # per instant
    present: Bool[np.ndarray, "t 2"]
    angles: Float[np.ndarray, "t 2 15 3"]
    turn: Float[np.ndarray, "t 2 3 3"]
    wrist: Float[np.ndarray, "t 2 3"]  # mm
    elbow: Float[np.ndarray, "t 2 3"]  # mm
    contacts: Int[np.ndarray, "t c 2"]  # spots of the rig, right and left; −1 none


def draw_motion(
    rng: np.random.Generator, rig: Rig, person: Person, families: list[str], instants: int
) -> Motion:
    """A sequence per family, each of `instants` instants that move smoothly between key poses;
    a family is one of `FAMILIES` or "right:<shape>", "left:<shape>" of `SHAPES`."""
    parts = [_sequence(rng, rig, person, family, instants) for family in families]
    angles, turn, wrist, contacts = (np.concatenate(p) for p in zip(*parts))
    names = tuple(f for f in families for _ in range(instants))
    present = np.array([[not f.startswith(s) for s in ("left:", "right:")] for f in names])
    angles, turn, wrist = touch(rig, angles, turn, wrist, contacts, present)
    elbow, _ = reach(person, turn, wrist)
    sequence = np.repeat(np.arange(len(families)), instants)
    return Motion(sequence, names, present, angles, turn, wrist, elbow, contacts)


def _sequence(rng, rig, person, name, instants):
    """Key poses of a family, placed where arms reach them, interpolated."""
    single = name.partition(":")[2]
    family = FAMILIES.get(name, Family((single, _UP, _FRONT), (single, _UP, _FRONT)))
    roles = [family.right, family.left]
    pairs = np.array([p.split("-") for p in family.contacts.split()]).reshape(-1, 2)
    if family.swap and rng.random() < 0.5:
        roles, pairs = roles[::-1], pairs[:, ::-1]
    contacts = np.full((10, 2), -1)
    for row, (a, b) in enumerate(pairs):
        contacts[row] = rig.points[a], rig.points[b]

    n_keys = 2 if instants < 6 else 3
    toward = rng.normal(0, 0.12, (2, 2, 3))  # of this subject's way to do it
    angles = np.zeros((n_keys, 2, 15, 3), np.float32)
    for key in range(n_keys):
        for side in (0, 1):
            shape = roles[side][0] or rng.choice(list(SHAPES))
            noise = rng.normal(0, 0.13, (15, 3)) + rng.normal(0, 0.08, (15, 1))
            angles[key, side] = limited(hand_angles(shape) + noise * (LIMITS[..., 1] != 0))
    to_world = np.array([[-1.0, -1, -1], [1, -1, -1]])
    aims = np.array([role[1:] for role in roles], float)  # (2, fingers and palm, 3)
    aims = (aims + toward) * to_world[:, None]
    base = np.stack([turn_of(*aims[side], side) for side in (0, 1)])  # (2, 3, 3)
    base = np.stack([_jitter(rng, base, 0.1) for _ in range(n_keys)])
    wrist = np.zeros((n_keys, 2, 3))
    if len(pairs):
        posed = rig.posed(*(torch.from_numpy(a.astype(np.float32)) for a in (angles, base, wrist)))
        gap = posed[:, 0, contacts[: len(pairs), 0]] - posed[:, 1, contacts[: len(pairs), 1]]
        wrist[:, 1] = gap.mean(1).numpy()
        apart = rng.uniform(15, 70) * (rng.random() < 0.2)  # some begin just before they touch
        wrist[0, 1, 0] += apart
    else:
        wrist[:, 1, 0] = rng.uniform(90, 240) + rng.normal(0, 15, n_keys)
        wrist[:, 1, 1:] = rng.normal(0, 30, (n_keys, 2))

    # Of many ways to turn and place the whole, take one that the arms reach in comfort.
    n_tries, single_side = 96, int(name.startswith("left:"))
    wide = np.array([1.6, 1.6, 1.6]) if single else np.array([0.45, 0.6, 0.35])
    turns = _jitter(rng, np.broadcast_to(np.eye(3), (n_tries, 3, 3)), wide)
    centre = np.array([0, 0, 1000.0]) + rng.normal(0, 1, (n_tries, 3)) * [30, 40, 25]
    shown = [single_side] if single else [0, 1]
    middle = (wrist + 70 * hand_frame(base)[..., 0])[:, shown].mean((0, 1))
    tried_turn = turns[:, None, None] @ base
    tried = (wrist - middle) @ turns.transpose(0, 2, 1)[:, None] + centre[:, None, None]
    _, strain = reach(person, tried_turn, tried)  # (tries, keys, 2)
    strain = strain[..., single_side] if single else strain.sum(-1)
    best = (strain.max(1) + rng.exponential(0.03, n_tries)).argmin()
    turn, wrist = tried_turn[best], tried[best]

    at = np.sort(rng.random(instants)) * (n_keys - 1)
    k = np.minimum(at.astype(int), n_keys - 2)
    w = at - k
    w = w * w * (3 - 2 * w)
    mix = lambda a: a[k] + w.reshape(-1, *[1] * (a.ndim - 1)) * (a[k + 1] - a[k])
    step = _log(turn[:-1].transpose(0, 1, 3, 2) @ turn[1:])[k] * w[:, None, None]
    turned = turn[k] @ _exp(step)
    return limited(mix(angles)), turned, mix(wrist), np.repeat(contacts[None], instants, 0)


def _exp(axis_angle):
    return axis_angle_to_matrix(torch.from_numpy(np.asarray(axis_angle, np.float64))).numpy()


def _log(rotations: Float[np.ndarray, "*b 3 3"]) -> Float[np.ndarray, "*b 3"]:
    flat = np.asarray(rotations, np.float64).reshape(-1, 3, 3)
    return np.stack([cv2.Rodrigues(r)[0][:, 0] for r in flat]).reshape(*rotations.shape[:-2], 3)


def _jitter(rng, rotations, sigma):
    return _exp(rng.normal(0, 1, rotations.shape[:-1]) * sigma) @ rotations


def touch(
    rig: Rig, angles: Float[np.ndarray, "t 2 15 3"], turn: Float[np.ndarray, "t 2 3 3"],
    wrist: Float[np.ndarray, "t 2 3"], contacts: Int[np.ndarray, "t c 2"],
    present: Bool[np.ndarray, "t 2"], steps: int = 70,
) -> tuple[Float[np.ndarray, "t 2 15 3"], Float[np.ndarray, "t 2 3 3"], Float[np.ndarray, "t 2 3"]]:  # fmt: skip
    """Poses near the given ones whose contacts meet and whose balls do not overlap: gradient
    steps on all instants at once, angles kept within `LIMITS`."""
    to = lambda a: torch.from_numpy(np.ascontiguousarray(a, np.float32))
    angles0, turn0, wrist0 = to(angles), to(turn), to(wrist)
    low, high = to(LIMITS).unbind(-1)
    angle, spin = angles0.clone().requires_grad_(), torch.zeros_like(wrist0, requires_grad=True)
    shift = torch.zeros_like(wrist0, requires_grad=True)  # in units of 50 mm
    adam = torch.optim.Adam([angle, spin, shift], lr=0.02, betas=(0.8, 0.95))
    n = len(rig.radii)
    both, wanted = to(present.all(1)), to((contacts[..., 0] >= 0))
    each = torch.arange(len(angles))[:, None]
    pair = torch.from_numpy(np.maximum(contacts, 0))
    reach_mm = rig.radii[:, None] + rig.radii
    for step in range(steps):
        turned = axis_angle_to_matrix(spin) @ turn0
        posed = rig.posed(angle, turned, wrist0 + 50 * shift)  # (t, 2, p, 3)
        balls = posed[..., :n, :]
        gap = posed[each, 0, pair[..., 0]] - posed[each, 1, pair[..., 1]]
        pull = (torch.sqrt((gap**2).sum(-1) + 4) - 2) * wanted
        between = (reach_mm + 0.5 - torch.cdist(balls[:, 0], balls[:, 1])).clamp(min=0)
        within = (reach_mm - rig.itself - torch.cdist(balls, balls)).clamp(min=0)
        stay = ((angle - angles0) ** 2).sum((1, 2, 3)) + (spin**2).sum((1, 2))
        loss = pull.sum(1) / wanted.sum(1).clamp(min=1) + 0.3 * (between**2).sum((1, 2)) * both
        loss = loss + 0.05 * (within**2).sum((1, 2, 3)) + 2.0 * stay
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
        with torch.no_grad():
            angle.clamp_(low, high)
    with torch.no_grad():
        turned = axis_angle_to_matrix(spin) @ turn0
        return angle.detach().numpy(), turned.numpy(), (wrist0 + 50 * shift).numpy()


def mano_pose(
    rig: Rig, angles: Float[np.ndarray, "*b 2 15 3"], turn: Float[np.ndarray, "*b 2 3 3"]
) -> Float[np.ndarray, "*b 2 48"]:
    """MANO's axis-angle poses of right and left hands (for models with a flat mean hand)."""
    fingers = _log(joint_rotations(torch.from_numpy(angles), rig.axes).numpy())
    fingers[..., 1, :, :] *= [1, -1, -1]
    pose = np.concatenate([_log(turn)[..., None, :], fingers], -2)
    return pose.reshape(*pose.shape[:-2], 48).astype(np.float32)

"""Poses of one and two hands: anatomy, named families, arms that reach them, contact.

Angles of a hand are (15, 3) radians for MANO's joints 1–15: flexion towards the palm, abduction
towards the thumb's side and twist away from the flat rest pose, applied as abduction · flexion ·
twist about the joint's rest axes. `LIMITS` bounds them; an axis that a joint lacks has limits 0, 0.
Both hands use the right hand's angles: the left is mirrored before it is turned, as MANO's left
model mirrors. World: mm, x to the person's left, y down, z from the cameras in front towards the
person, as in InterHand2.6M; right hand first. Families are named in data/hand/poses.json.
"""

import functools
import json
from typing import NamedTuple, no_type_check

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from digit_data.geometry import axis_angle_to_matrix
from digit_data.hand import ASSET, HandModel
from digit_data.raster import COMPILED

# Degrees; after Kapandji's Physiology of the Joints, shifted by the rest pose's own spread.
_FANS = {"index": (-18, 22), "middle": (-15, 18), "pinky": (-18, 30), "ring": (-12, 22)}
LIMITS = np.radians(
    [
        [flexion, (fan if k == 0 else (0, 0)), (0, 0)]
        for fan in _FANS.values()
        for k, flexion in enumerate(((-20, 90), (-4, 108), (-6, 72)))
    ]
    + [[(-24, 40), (-26, 28), (-20, 32)], [(-12, 58), (0, 0), (0, 0)], [(-20, 78), (0, 0), (0, 0)]]
).astype(np.float32)  # (15, 3, 2) low, high
# Columns: where fingers, back and little finger's side of the right and left rest hand point.
_REST = np.array([[[-1, 0, 0], [0, 1, 0], [0, 0, -1]], [[1, 0, 0], [0, 1, 0], [0, 0, -1]]], float)


@functools.lru_cache(1)
def _asset():
    with np.load(ASSET.with_name("generic_look.npz")) as file:
        return {name: file[name] for name in file.files}


@functools.lru_cache(1)
def shapes() -> dict[str, Float32[np.ndarray, "15 3"]]:
    """Angles of the named shapes of a hand."""
    angles = limited(_asset()["shapes"])
    return {str(name): shape for name, shape in zip(_asset()["shape_names"], angles)}


@functools.lru_cache(1)
def families() -> dict[str, dict]:
    """How two hands meet: right and left (right's, if missing) are a shape ("" for any) and where
    fingers and palm point (outward from the body's midline, up, to the front); contacts pair named
    points of the right hand with the left's; `wraps` are the hands that close about the other."""
    text = json.loads(ASSET.with_name("poses.json").read_text())
    return {
        name: {
            "roles": [entry["right"], entry.get("left", entry["right"])], "often": 1,
            "swap": "left" in entry, "wrapping": text["wrapping"], **entry,
            "contacts": [pair.split("-") for pair in entry["contacts"].split()],
        }
        for name, entry in text["families"].items()
    }  # fmt: skip


def limited(angles: Float[np.ndarray, "*b 15 3"]) -> Float32[np.ndarray, "*b 15 3"]:
    """The angles clipped to `LIMITS`."""
    return np.clip(angles, LIMITS[..., 0], LIMITS[..., 1]).astype(np.float32)


class Rig(NamedTuple):
    """A subject's right hand for posing, mm: joints, the balls that fill it, named points."""

    joints: Float[Tensor, "16 3"]
    axes: Float[Tensor, "15 3 3"]  # columns: flexion, abduction, twist
    spots: Float[Tensor, "p 3"]  # balls' centres, then the named points
    weights: Float[Tensor, "p 16"]
    radii: Float[Tensor, "s"]
    slack: Float[Tensor, "s s"]  # overlap of two balls of one hand that is no fault
    points: dict[str, int]  # name → spot


def build_rig(model: HandModel, betas: Float[np.ndarray, "10"]) -> Rig:
    """The rig of a shape of the generic right hand (data/hand/make_look.py says how it is made)."""
    asset, shape = _asset(), torch.from_numpy(betas.astype(np.float32))
    rest = (model.v_template + model.shapedirs @ shape) * 1000
    joints = model.rest_joints(shape) * 1000
    ends, points = (torch.from_numpy(asset[k].astype(np.int64)) for k in ("ball_ends", "points"))
    radii = (rest[ends[:, 0]] - rest[ends[:, 1]]).norm(dim=-1) / 2 * _tensor(asset["ball_scale"])
    stub = joints[0] + torch.tensor([[8.0, 0, 0], [28.0, 0, 0]])  # two more, for the forearm
    balls, radii = torch.cat([rest[ends].mean(1), stub]), torch.cat([radii, torch.full((2,), 17.0)])
    weights = torch.cat([model.weights[ends].mean(1), torch.eye(16)[[0, 0]], model.weights[points]])
    slack = (radii[:, None] + radii - torch.cdist(balls, balls)).clamp(min=0) + 2.0
    slack[:-2, :-2][torch.from_numpy(asset["ball_kin"])] = slack[-2:] = slack[:, -2:] = 1e3
    names = {str(name): len(balls) + i for i, name in enumerate(asset["point_names"])}
    spots = torch.cat([balls, rest[points]])
    return Rig(joints, _tensor(asset["axes"]), spots, weights, radii, slack, names)


def pose_spots(
    rig: Rig, angles: Float[Tensor, "*b 2 15 3"], turn: Float[Tensor, "*b 2 3 3"],
    wrist: Float[Tensor, "*b 2 3"],
) -> Float[Tensor, "*b 2 p 3"]:  # fmt: skip
    """The rig's spots in the world, by linear blend skinning."""
    local = joint_rotations(angles, rig.axes)
    rotations = [torch.eye(3).expand_as(local[..., 0, :, :])]
    positions = [rig.joints[0].expand(rotations[0].shape[:-1])]
    for j in range(1, 16):
        parent = 0 if j % 3 == 1 else j - 1
        offset = rotations[parent] @ (rig.joints[j] - rig.joints[parent])
        rotations.append(rotations[parent] @ local[..., j - 1, :, :])
        positions.append(positions[parent] + offset)
    turned = torch.stack(rotations, -3)  # (*b, 2, 16, 3, 3)
    moves = torch.stack(positions, -2) - (turned @ rig.joints[..., None])[..., 0]
    affine = rig.weights @ torch.cat([turned, moves[..., None]], -1).flatten(-2)
    affine = affine.unflatten(-1, (3, 4))  # (*b, 2, p, 3, 4)
    spots = (affine[..., :3] @ rig.spots[..., None])[..., 0] + affine[..., 3] - rig.joints[0]
    mirror = torch.tensor([[[1.0, 1, 1]], [[-1.0, 1, 1]]])
    return spots * mirror @ turn.mT + wrist[..., None, :]


def joint_rotations(
    angles: Float[Tensor, "*b 15 3"], axes: Float[Tensor, "15 3 3"]
) -> Float[Tensor, "*b 15 3 3"]:
    """Local rotations of the finger joints: abduction · flexion · twist about the rest axes."""
    spin = axis_angle_to_matrix(angles[..., None] * torch.eye(3))  # (*b, 15, axis, 3, 3)
    return axes @ (spin[..., 1, :, :] @ spin[..., 0, :, :] @ spin[..., 2, :, :]) @ axes.mT


def joint_angles(pose: Float[np.ndarray, "*b 48"], side: int) -> Float32[np.ndarray, "*b 15 3"]:
    """The angles (rad) of MANO poses of a side (0 right, 1 left); undoes `mano_pose`."""
    fingers = pose[..., 3:].reshape(*pose.shape[:-1], 15, 3) * ([1, -1, -1] if side else [1, 1, 1])
    m = _asset()["axes"].transpose(0, 2, 1) @ rotation(fingers) @ _asset()["axes"]
    twists = LIMITS[:, 2, 1] > 0  # the thumb's base; the others are told apart beyond 90° too
    cosine = np.hypot(m[..., 1, 0], m[..., 1, 1]) * np.sign(m[..., 1, 1])
    plain = np.arctan2(-m[..., 2, 0], m[..., 0, 0])
    abduction = np.where(twists, np.arctan2(m[..., 0, 2], m[..., 2, 2]), plain)
    twist = np.where(twists, np.arctan2(m[..., 1, 0], m[..., 1, 1]), 0)
    return np.stack([np.arctan2(-m[..., 1, 2], cosine), abduction, twist], -1).astype(np.float32)


def mano_pose(
    rig: Rig, angles: Float[np.ndarray, "*b 2 15 3"], turn: Float[np.ndarray, "*b 2 3 3"]
) -> Float32[np.ndarray, "*b 2 48"]:
    """Axis-angle poses as MANO has them (for a flat mean hand)."""
    fingers = _log(joint_rotations(_tensor(angles), rig.axes).numpy())
    fingers[..., 1, :, :] *= [1, -1, -1]
    return np.concatenate([_log(turn), fingers.reshape(*fingers.shape[:-2], 45)], -1, dtype="f4")


def _tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def rotation(axis_angle: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3 3"]:
    """Rotation matrices of axis-angle vectors (rad), in numpy."""
    return axis_angle_to_matrix(torch.from_numpy(np.asarray(axis_angle, np.float64))).numpy()


def _log(rotations):
    flat = np.asarray(rotations, np.float64).reshape(-1, 3, 3)
    return np.stack([cv2.Rodrigues(r)[0][:, 0] for r in flat]).reshape(*rotations.shape[:-2], 3)


def _jitter(rng, rotations, sigma):
    return rotation(rng.normal(0, 1, rotations.shape[:-1]) * sigma) @ rotations


def unit(v: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Vectors of length one."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


# ---------------------------------------------------------------- arms


def hand_frame(turn: Float[np.ndarray, "*b 2 3 3"]) -> Float[np.ndarray, "*b 2 3 3"]:
    """Columns: where the fingers, the back and the little finger's side of each hand point."""
    return turn @ _REST


class Person(NamedTuple):
    """Where a person's arms hang, mm, world."""

    shoulders: Float[np.ndarray, "2 3"]
    upper: float  # length of the upper arm
    fore: float
    chest: Float[np.ndarray, "3"]  # middle of the torso
    girth: Float[np.ndarray, "2"]  # half its width and depth


def draw_person(rng: np.random.Generator, size: float) -> Person:
    """A person who holds the hands about (0, 0, 1000)."""
    z, y = 1000 + rng.uniform(190, 290), rng.uniform(-290, -190)
    half = rng.uniform(165, 205) * size
    girth = np.array([half * rng.uniform(0.8, 1.0), rng.uniform(95, 140) * size])
    shoulders = np.array([[-half, y, z], [half, y, z]])
    return Person(shoulders, 285 * size, 250 * size, np.array([0, y + 60, z + 20]), girth)


def reach(
    person: Person, turn: Float[np.ndarray, "*b 2 3 3"], wrist: Float[np.ndarray, "*b 2 3"]
) -> tuple[Float[np.ndarray, "*b 2 3"], Float[np.ndarray, "*b 2"]]:
    """Elbows (mm) for hands held so, and the strain of wrist, forearm and reach; 0 is comfort."""
    frame, span = hand_frame(turn), wrist - person.shoulders
    distance, longest = np.linalg.norm(span, axis=-1), 0.98 * (person.upper + person.fore)
    axis, d = unit(span), np.clip(distance, 60, longest)
    along = (d**2 + person.upper**2 - person.fore**2) / (2 * d)
    height = np.sqrt(np.maximum(person.upper**2 - along**2, 0))[..., None]
    down = np.array([[-0.35, 1, 0], [0.35, 1, 0]])
    first = unit(down - (down * axis).sum(-1, keepdims=True) * axis)
    swivel = np.linspace(-1.9, 1.9, 15).reshape(-1, *[1] * span.ndim)
    out = np.cos(swivel) * first + np.sin(swivel) * np.cross(axis, first)
    elbow = person.shoulders + along[..., None] * axis + height * out  # (15, *b, 2, 3)
    fore = unit(wrist - elbow)
    ahead, back, little = np.moveaxis((fore[..., None, :] @ frame)[..., 0, :], -1, 0)
    hinge = unit(np.cross(elbow - person.shoulders, fore)) * np.array([[1.0], [-1.0]])

    def beyond(x, low, high):
        return np.maximum(x - high, 0) ** 2 + np.maximum(low - x, 0) ** 2

    strain = beyond(np.arctan2(back, ahead), -1.0, 1.0)  # flexion of the wrist
    strain += 2 * beyond(np.arcsin(np.clip(little, -1, 1)), -0.6, 0.35)  # its deviation
    strain += beyond((hinge * frame[..., 1]).sum(-1), 0.05, 1)  # the forearm's roll
    strain += 0.02 * swivel[..., 0] ** 2 + 9 * np.maximum(distance / longest - 1, 0) ** 2
    for point in (elbow, 0.5 * elbow + 0.5 * wrist, wrist):  # none of them in the body
        inside = (((point - person.chest)[..., [0, 2]] / (person.girth + 35)) ** 2).sum(-1)
        strain += np.maximum(1 - inside, 0)
    share = np.exp((strain.min(0) - strain) / 0.01)[..., None]  # blended: arms move smoothly
    elbow = (share * elbow).sum(0) / share.sum(0)
    return wrist + person.fore * unit(elbow - wrist), strain.min(0)


# ---------------------------------------------------------------- sequences


class Motion(NamedTuple):
    """T instants of a capture, two hands each."""

    family: list[str]
    sequence: Int[np.ndarray, "t"]
    present: Bool[np.ndarray, "t 2"]
    angles: Float32[np.ndarray, "t 2 15 3"]
    turn: Float[np.ndarray, "t 2 3 3"]
    wrist: Float[np.ndarray, "t 2 3"]  # mm


def draw_motion(
    rng: np.random.Generator, rig: Rig, person: Person, names: list[str], instants: int
) -> Motion:
    """A sequence per name, of `instants` instants that move smoothly between key poses; a name is
    one of `families`, or "right:<shape>", "left:<shape>" for one hand."""
    parts = [_sequence(rng, rig, person, name, instants) for name in names]
    start = [np.concatenate(part) for part in zip(*parts)]
    family = [name for name in names for _ in range(instants)]
    present = np.array([[not n.startswith("left:"), not n.startswith("right:")] for n in family])
    hands = touch(rig, *start, present)
    return Motion(family, np.arange(len(family)) // instants, present, *hands)


def _sequence(rng, rig, person, name, instants):
    """A sequence's angles, turns, wrists, retreats and contacts, before the hands touch."""
    one, _, shape = name.partition(":")
    shown, n_keys = [int(one == "left")] if shape else [0, 1], 2 if instants < 6 else 3
    upright = {"roles": [[shape, [0, 1, 0], [0, 0, 1]]] * 2, "contacts": [], "swap": False}
    family = upright if shape else families()[name]
    order = slice(None, None, -1 if family["swap"] and rng.random() < 0.5 else 1)
    roles, pairs = family["roles"][order], [pair[order] for pair in family["contacts"]]
    used = np.array([[rig.points[point] for point in pair] for pair in pairs], int).reshape(-1, 2)
    contacts = np.full((instants, 10, 2), -1)
    contacts[:, : len(pairs)] = used

    keys = [[r[0] or rng.choice(list(shapes())) for r in roles] for _ in range(n_keys)]
    angles = np.array([[shapes()[shape] for shape in key] for key in keys])  # (keys, 2, 15, 3)
    noise = rng.normal(0, 0.13, angles.shape) + rng.normal(0, 0.08, (*angles.shape[:-1], 1))
    angles = limited(angles + noise)
    aims = np.array([role[1:] for role in roles], float) + rng.normal(0, 0.12, (2, 2, 3))
    aims = aims * np.array([[[-1, -1, -1]], [[1, -1, -1]]])  # outward, up, front → world
    fingers = unit(aims[:, 0])
    back = unit((aims[:, 1] * fingers).sum(-1, keepdims=True) * fingers - aims[:, 1])
    base = np.stack([fingers, back, np.cross(fingers, back) * [[1], [-1]]], -1)
    base = np.stack([_jitter(rng, base @ _REST.transpose(0, 2, 1), 0.1) for _ in range(n_keys)])

    wrist, retreat = np.zeros((2, n_keys, 2, 3))
    if pairs:
        posed = pose_spots(rig, *map(_tensor, (angles, base, wrist))).numpy()
        skin = np.stack([posed[:, side, used[:, side]] for side in (0, 1)], 1)
        wrist[:, 1] = (skin[:, 0] - skin[:, 1]).mean(1)
        wrist[0, 1, 0] += rng.uniform(15, 70) * (rng.random() < 0.15)  # begins before they touch
        # From where they close in: along the skin's normals, or palm first for a hand that wraps.
        balls = posed[:, :, None, : len(rig.radii)]
        near = np.linalg.norm(skin[..., None, :] - balls, axis=-1).argmin(-1)
        core = np.take_along_axis(balls[:, :, 0], near[..., None], 2)
        normal = unit(skin - core).mean(2)
        away = 14 * unit(normal[:, 1] - normal[:, 0])
        wraps = np.array([role[0] in family["wrapping"] for role in roles])[:, None]
        retreat = np.stack([away, -away], 1)
        retreat = 32 * hand_frame(base)[..., 1] * wraps if wraps.any() else retreat
    else:
        wrist[:, 1] = [rng.uniform(90, 240), 0, 0] + rng.normal(0, [15, 30, 30], (n_keys, 3))

    # Of many ways to turn and place the whole, take one that the arms reach in comfort.
    n, wide = 96, 1.6 if shape else np.array([0.3, 0.35, 0.25])
    turns = _jitter(rng, np.broadcast_to(np.eye(3), (n, 3, 3)), wide)
    centre = np.array([0, 0, 1000]) + rng.normal(0, 1, (n, 1, 1, 3)) * [22, 28, 20]
    middle = (wrist + 70 * hand_frame(base)[..., 0])[:, shown].mean((0, 1))
    tried = turns[:, None, None] @ base, (wrist - middle) @ turns.mT[:, None] + centre
    strain = reach(person, *tried)[1][..., shown].sum(-1).max(1)
    best = (strain + rng.exponential(0.03, n)).argmin()
    turn, wrist, retreat = tried[0][best], tried[1][best], retreat @ turns[best].T

    at = np.sort(rng.random(instants)) * (n_keys - 1)
    k = np.minimum(at.astype(int), n_keys - 2)
    w = ((at - k) ** 2 * (3 - 2 * (at - k)))[:, None, None]
    turn = turn[k] @ rotation(w * _log(turn[k].mT @ turn[k + 1]))
    wrist, retreat = (a[k] + w * (a[k + 1] - a[k]) for a in (wrist, retreat))
    angles = limited(angles[k] + w[..., None] * (angles[k + 1] - angles[k]))
    return angles, turn, wrist, retreat, contacts


def touch(
    rig: Rig, angles: Float[np.ndarray, "t 2 15 3"], turn: Float[np.ndarray, "t 2 3 3"],
    wrist: Float[np.ndarray, "t 2 3"], retreat: Float[np.ndarray, "t 2 3"],
    contacts: Int[np.ndarray, "t c 2"], present: Bool[np.ndarray, "t 2"], steps: int = 50,
) -> tuple[Float32[np.ndarray, "t 2 ..."], ...]:  # fmt: skip
    """Angles, turns and wrists near the given ones at which the contacts (spots; −1 none) meet and
    no balls overlap, by gradient steps on all instants at once; angles stay within `LIMITS`. Hands
    start apart by `retreat` (mm), and opened by as much, and close in."""
    angles0, turn0, wrist0, far = map(_tensor, (angles, turn, wrist, retreat))
    low, high = _tensor(LIMITS).unbind(-1)
    ajar = 1 - 0.012 * far.norm(dim=-1)[..., None, None] * torch.tensor([1.0, 0, 0])
    angle, spin = (angles0 * ajar).requires_grad_(), torch.zeros_like(wrist0, requires_grad=True)
    shift = (far / 50).requires_grad_()
    adam = torch.optim.Adam([angle, spin, shift], lr=0.03, betas=(0.8, 0.95))
    both, wanted = _tensor(present.all(1)), _tensor(contacts[..., 0] >= 0)
    each, pair = torch.arange(len(angles))[:, None], torch.from_numpy(np.maximum(contacts, 0))
    room = rig.radii[:, None] + rig.radii
    alone = (room - rig.slack)[::2, ::2]  # half of a hand's balls tell enough about itself
    for _ in range(steps):
        posed = pose_spots(rig, angle, axis_angle_to_matrix(spin) @ turn0, wrist0 + 50 * shift)
        balls = posed[..., : len(room), :]
        gap = posed[each, 0, pair[..., 0]] - posed[each, 1, pair[..., 1]]
        pull = ((gap.square().sum(-1) + 4).sqrt() * wanted).sum(1) / wanted.sum(1).clamp(min=1)
        between = (room + 0.5 - torch.cdist(balls[:, 0], balls[:, 1])).clamp(min=0)
        within = (alone - torch.cdist(balls[..., ::2, :], balls[..., ::2, :])).clamp(min=0)
        stay = (angle - angles0).square().sum((1, 2, 3)) + spin.square().sum((1, 2))
        loss = pull + 0.3 * between.square().sum((1, 2)) * both + 2 * stay
        adam.zero_grad()
        (loss + 0.12 * within.square().sum((1, 2, 3))).sum().backward()
        adam.step()
        with torch.no_grad():
            angle.clamp_(low, high)
    hands = angle, axis_angle_to_matrix(spin) @ turn0, wrist0 + 50 * shift
    return tuple(a.detach().numpy() for a in hands)


@COMPILED
@no_type_check
def contact(a, b, b_normals):
    """Of vertices a (V, 3) against a mesh's vertices b and their normals: smallest distance (mm; 0
    if any is inside), greatest depth inside, and the mean normal where they are inside (3,)."""
    gap, depth, push = np.inf, 0.0, np.zeros(3)
    for i in range(len(a)):
        best, near = np.inf, 0
        for j in range(len(b)):
            x, y, z = a[i, 0] - b[j, 0], a[i, 1] - b[j, 1], a[i, 2] - b[j, 2]
            if x * x + y * y + z * z < best:
                best, near = x * x + y * y + z * z, j
        out = ((a[i] - b[near]) * b_normals[near]).sum()
        aside = np.sqrt(max(best - out * out, 0.0)) - 2.5  # beyond the vertex's own neighbourhood
        if out < 0 and aside < 2.5:
            depth = max(depth, -out)
            push -= out * b_normals[near]
        else:
            gap = min(gap, np.sqrt(out * out + max(aside, 0.0) ** 2))
    size = np.sqrt((push * push).sum())
    return (0.0 if size > 0 else gap), depth, push / max(size, 1e-9)

"""Poses of one and two hands: anatomy, named families, arms that reach them, contact.

Angles of a hand are (15, 3) radians for MANO's joints 1–15: flexion towards the palm, abduction
towards the thumb's side and twist away from the flat rest pose, applied as abduction · flexion ·
twist about the joint's rest axes. `LIMITS` bounds them; an axis that a joint lacks has limits 0, 0.
Both hands use the right hand's angles: the left is mirrored before it is turned, as MANO's left
model mirrors. World: mm, x to the person's left, y down, z from the cameras in front towards the
person, as in InterHand2.6M; per hand right first. The vocabulary is data/hand/poses.json.
"""

import functools
import json
from typing import NamedTuple

import cv2
import numba
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from .geometry import axis_angle_to_matrix
from .hand import ASSET, HandModel

# Degrees; after Kapandji's Physiology of the Joints, shifted by the rest pose's own spread.
_KNUCKLES = {"index": (-18, 22), "middle": (-15, 18), "pinky": (-18, 30), "ring": (-12, 22)}
LIMITS = np.radians(
    [
        [flexion, (abduction if k == 0 else (0, 0)), (0, 0)]
        for abduction in _KNUCKLES.values()
        for k, flexion in enumerate(((-20, 90), (-4, 108), (-6, 72)))
    ]
    + [[(-24, 40), (-26, 28), (-20, 32)], [(-12, 58), (0, 0), (0, 0)], [(-20, 78), (0, 0), (0, 0)]]
).astype(np.float32)  # (15, 3, 2) low, high


class Family(NamedTuple):
    """How two hands meet. A role is a hand's shape ("" for any) and where its fingers and its palm
    point: outward from the body's midline, up, to the front."""

    roles: tuple[tuple, tuple]  # right, left
    contacts: list[list[str]]  # named points of the right and the left hand that touch
    may_swap: bool
    often: float


class Vocabulary(NamedTuple):
    """Shapes of a hand as angles, families of two hands, shapes that close about the other hand."""

    shapes: dict[str, Float32[np.ndarray, "15 3"]]
    families: dict[str, Family]
    wrapping: list[str]


@functools.lru_cache(1)
def vocabulary() -> Vocabulary:
    """What data/hand/poses.json names. A shape there: thumb (flexion, abduction, twist, flexion of
    the next two joints), flexion of the knuckles and of the middle joints from index to pinky
    (tips bend by 0.6 of those), spread from −1 to 1; degrees."""
    text = json.loads(ASSET.with_name("poses.json").read_text())
    shapes = {}
    for name, (thumb, knuckles, middles, spread) in text["shapes"].items():
        angles = np.zeros((15, 3))
        fans = np.array([-2, 0, 6, 9]) + spread * np.array([14, 3, -9, -18])
        for finger, row in enumerate((0, 3, 9, 6)):  # MANO's order: index, middle, pinky, ring
            bend, middle = knuckles[finger], middles[finger]
            angles[row : row + 3, 0] = bend, middle, 0.6 * middle
            angles[row, 1] = fans[finger] * (1 - np.clip(bend / 90, 0, 1))  # bent, they cannot fan
        angles[12], angles[13:, 0] = text["thumbs"][thumb][:3], text["thumbs"][thumb][3:]
        shapes[name] = limited(np.radians(angles))
    families = {
        name: Family(
            (entry["right"], entry.get("left", entry["right"])),
            [pair.split("-") for pair in entry["contacts"].split()],
            "left" in entry or entry.get("roles", False), entry.get("often", 1),
        )
        for name, entry in text["families"].items()
    }  # fmt: skip
    return Vocabulary(shapes, families, text["wrapping"])


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
    inner: Int[Tensor, "p"]  # the ball nearest to each spot


def build_rig(model: HandModel, shape: Float[np.ndarray, "10"]) -> Rig:
    """The rig of a shape of the generic right hand (data/hand/make_look.py says how it is made)."""
    with np.load(ASSET.with_name("generic_look.npz")) as file:
        axes, ends, scale, names, points = (
            file[k] for k in ("axes", "ball_ends", "ball_scale", "point_names", "points")
        )
    betas = torch.from_numpy(shape.astype(np.float32))
    rest = (model.v_template + model.shapedirs @ betas) * 1000
    ends, points = ends.astype(np.int64), points.astype(np.int64)
    radii = 0.5 * (rest[ends[:, 0]] - rest[ends[:, 1]]).norm(dim=-1) * torch.from_numpy(scale)
    joints = model.rest_joints(betas) * 1000
    # Two more fill the forearm's beginning.
    stub = joints[0] + torch.tensor([[8.0, 0, 0], [28.0, 0, 0]])
    balls, radii = torch.cat([rest[ends].mean(1), stub]), torch.cat([radii, torch.full((2,), 17.0)])
    weights = torch.cat([model.weights[ends].mean(1), torch.eye(16)[[0, 0]], model.weights[points]])
    spots = torch.cat([balls, rest[points]])
    bone = weights[: len(radii)].argmax(1)
    finger, level = (bone + 2) // 3, torch.where(bone == 0, 0, (bone - 1) % 3 + 1)
    slack = (radii[:, None] + radii - torch.cdist(balls, balls)).clamp(min=0) + 2.0
    kin = (finger[:, None] == finger) | (level[:, None] + level <= 1)
    slack[kin & ((level[:, None] - level).abs() <= 1)] = 1e3
    places = {str(name): len(radii) + i for i, name in enumerate(names)}
    inner = torch.cdist(spots, balls).argmin(1)
    return Rig(joints, torch.from_numpy(axes), spots, weights, radii, slack, places, inner)


def pose_spots(
    rig: Rig, angles: Float[Tensor, "*b 2 15 3"], turn: Float[Tensor, "*b 2 3 3"],
    wrist: Float[Tensor, "*b 2 3"],
) -> Float[Tensor, "*b 2 p 3"]:  # fmt: skip
    """The rig's spots in the world, by linear blend skinning."""
    local = joint_rotations(angles, rig.axes)
    rotation = [torch.eye(3).expand_as(local[..., 0, :, :])]
    position = [rig.joints[0].expand(rotation[0].shape[:-1])]
    for j in range(1, 16):
        parent = 0 if j % 3 == 1 else j - 1
        rotation.append(rotation[parent] @ local[..., j - 1, :, :])
        position.append(position[parent] + rotation[parent] @ (rig.joints[j] - rig.joints[parent]))
    rotations, positions = torch.stack(rotation, -3), torch.stack(position, -2)  # (*b, 2, 16, …)
    moves = positions - (rotations @ rig.joints[..., None])[..., 0]
    affine = rig.weights @ torch.cat([rotations, moves[..., None]], -1).flatten(-2)
    affine = affine.unflatten(-1, (3, 4))  # (*b, 2, p, 3, 4)
    local = (affine[..., :3] @ rig.spots[..., None])[..., 0] + affine[..., 3] - rig.joints[0]
    mirror = torch.tensor([[[1.0, 1, 1]], [[-1.0, 1, 1]]])
    return local * mirror @ turn.mT + wrist[..., None, :]


def joint_rotations(
    angles: Float[Tensor, "*b 15 3"], axes: Float[Tensor, "15 3 3"]
) -> Float[Tensor, "*b 15 3 3"]:
    """Local rotations of the finger joints: abduction · flexion · twist about the rest axes."""
    spin = axis_angle_to_matrix(angles[..., None] * torch.eye(3))  # (*b, 15, axis, 3, 3)
    return axes @ (spin[..., 1, :, :] @ spin[..., 0, :, :] @ spin[..., 2, :, :]) @ axes.mT


def joint_angles(
    pose: Float[np.ndarray, "*b 48"], axes: Float[np.ndarray, "15 3 3"], side: int
) -> Float32[np.ndarray, "*b 15 3"]:
    """The angles (rad) of MANO poses of a side (0 right, 1 left); undoes `mano_pose`."""
    flip = np.array([1, -1, -1]) if side else 1
    m = axes.transpose(0, 2, 1) @ _exp(pose[..., 3:].reshape(*pose.shape[:-1], 15, 3) * flip) @ axes
    flexion = np.arcsin(np.clip(-m[..., 1, 2], -1, 1))
    abduction = np.arctan2(m[..., 0, 2], m[..., 2, 2])
    twist = np.arctan2(m[..., 1, 0], m[..., 1, 1])
    past = abs(abduction) > np.pi / 2  # flexion beyond 90°
    flexion = np.where(past, np.pi - flexion, flexion)
    turned = [np.where(past, a - np.sign(a) * np.pi, a) for a in (abduction, twist)]
    return np.stack([flexion, *turned], -1).astype(np.float32)


def mano_pose(
    rig: Rig, angles: Float[np.ndarray, "*b 2 15 3"], turn: Float[np.ndarray, "*b 2 3 3"]
) -> Float32[np.ndarray, "*b 2 48"]:
    """Axis-angle poses as MANO has them (for a flat mean hand)."""
    fingers = _log(joint_rotations(torch.from_numpy(angles), rig.axes).numpy())
    fingers[..., 1, :, :] *= [1, -1, -1]
    return np.concatenate([_log(turn), fingers.reshape(*fingers.shape[:-2], 45)], -1, dtype="f4")


def _exp(axis_angle):
    return axis_angle_to_matrix(torch.from_numpy(np.asarray(axis_angle, np.float64))).numpy()


def _log(rotations):
    flat = np.asarray(rotations, np.float64).reshape(-1, 3, 3)
    return np.stack([cv2.Rodrigues(r)[0][:, 0] for r in flat]).reshape(*rotations.shape[:-2], 3)


def _jitter(rng, rotations, sigma):
    return _exp(rng.normal(0, 1, rotations.shape[:-1]) * sigma) @ rotations


def _unit(v):
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


# ---------------------------------------------------------------- arms

# Columns: where fingers, back and little finger's side of the right and left rest hand point.
_REST = np.array([[[-1, 0, 0], [0, 1, 0], [0, 0, -1]], [[1, 0, 0], [0, 1, 0], [0, 0, -1]]], float)


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
    axis, d = _unit(span), np.clip(distance, 60, longest)
    along = (d**2 + person.upper**2 - person.fore**2) / (2 * d)
    height = np.sqrt(np.maximum(person.upper**2 - along**2, 0))[..., None]
    down = np.array([[-0.35, 1, 0], [0.35, 1, 0]])
    first = _unit(down - (down * axis).sum(-1, keepdims=True) * axis)
    swivel = np.linspace(-1.9, 1.9, 15).reshape(-1, *[1] * span.ndim)
    out = np.cos(swivel) * first + np.sin(swivel) * np.cross(axis, first)
    elbow = person.shoulders + along[..., None] * axis + height * out  # (15, *b, 2, 3)
    fore = _unit(wrist - elbow)
    ahead, back, little = np.moveaxis((fore[..., None, :] @ frame)[..., 0, :], -1, 0)
    hinge = _unit(np.cross(elbow - person.shoulders, fore)) * np.array([[1.0], [-1.0]])

    def beyond(x, low, high):
        return np.maximum(x - high, 0) ** 2 + np.maximum(low - x, 0) ** 2

    strain = beyond(np.arctan2(back, ahead), -1.15, 1.2)  # flexion of the wrist
    strain += 2 * beyond(np.arcsin(np.clip(little, -1, 1)), -0.6, 0.35)  # its deviation
    strain += beyond((hinge * frame[..., 1]).sum(-1), 0.05, 1)  # the forearm's roll
    strain += 0.02 * swivel[..., 0] ** 2 + 9 * np.maximum(distance / longest - 1, 0) ** 2
    for point in (elbow, 0.5 * elbow + 0.5 * wrist, wrist):  # none of them in the body
        inside = (((point - person.chest)[..., [0, 2]] / (person.girth + 35)) ** 2).sum(-1)
        strain += np.maximum(1 - inside, 0)
    share = np.exp((strain.min(0) - strain) / 0.01)[..., None]  # blended: arms move smoothly
    elbow = (share * elbow).sum(0) / share.sum(0)
    return wrist + person.fore * _unit(elbow - wrist), strain.min(0)


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
    rng: np.random.Generator, rig: Rig, person: Person, families: list[str], instants: int
) -> Motion:
    """A sequence per name, of `instants` instants that move smoothly between key poses; a name is
    a family of the vocabulary, or "right:<shape>", "left:<shape>" for one hand."""
    parts = [_sequence(rng, rig, person, family, instants) for family in families]
    angles, turn, wrist, contacts, retreat = (np.concatenate(part) for part in zip(*parts))
    names = [name for name in families for _ in range(instants)]
    present = np.array([[not n.startswith("left:"), not n.startswith("right:")] for n in names])
    hands = touch(rig, angles, turn, wrist, contacts, retreat, present)
    return Motion(names, np.repeat(np.arange(len(families)), instants), present, *hands)


def _sequence(rng, rig, person, name, instants):
    """A sequence's angles, turns, wrists, contacts and retreats, before the hands touch."""
    words, n_keys = vocabulary(), 2 if instants < 6 else 3
    one, _, shape = name.partition(":")
    single = [int(one == "left")] if shape else [0, 1]  # the hands that count
    upright = (shape, [0, 1, 0], [0, 0, 1])
    family = words.families.get(name, Family((upright, upright), [], False, 1))
    roles, pairs = list(family.roles), family.contacts
    if family.may_swap and rng.random() < 0.5:
        roles, pairs = roles[::-1], [pair[::-1] for pair in pairs]
    contacts = np.full((10, 2), -1)
    for row, pair in enumerate(pairs):
        contacts[row] = [rig.points[point] for point in pair]

    shapes = [[r[0] or rng.choice(list(words.shapes)) for r in roles] for _ in range(n_keys)]
    angles = np.array([[words.shapes[s] for s in key] for key in shapes])  # (keys, 2, 15, 3)
    noise = rng.normal(0, 0.13, angles.shape) + rng.normal(0, 0.08, (*angles.shape[:-1], 1))
    angles = limited(angles + noise)
    aims = np.array([role[1:] for role in roles], float) + rng.normal(0, 0.12, (2, 2, 3))
    aims = aims * np.array([[[-1, -1, -1]], [[1, -1, -1]]])  # outward, up, front → world
    fingers = _unit(aims[:, 0])
    back = _unit((aims[:, 1] * fingers).sum(-1, keepdims=True) * fingers - aims[:, 1])
    little = np.cross(fingers, back) * [[1], [-1]]
    base = np.stack([fingers, back, little], -1) @ _REST.transpose(0, 2, 1)
    base = np.stack([_jitter(rng, base, 0.1) for _ in range(n_keys)])  # (keys, 2, 3, 3)

    wrist, retreat = np.zeros((2, n_keys, 2, 3))
    if pairs:
        posed = pose_spots(rig, *map(_tensor, (angles, base, wrist))).numpy()
        used, inner = contacts[: len(pairs)], rig.inner.numpy()
        skin = np.stack([posed[:, side, used[:, side]] for side in (0, 1)], 1)
        core = np.stack([posed[:, side, inner[used[:, side]]] for side in (0, 1)], 1)
        wrist[:, 1] = (skin[:, 0] - skin[:, 1]).mean(1)
        wrist[0, 1, 0] += rng.uniform(15, 70) * (rng.random() < 0.15)  # begins before they touch
        # From where they close in: along the skin's normals, or palm first for a hand that wraps.
        normal = _unit(skin - core).mean(2)
        away = 14 * _unit(normal[:, 1] - normal[:, 0])
        wraps = np.array([role[0] in words.wrapping for role in roles])[:, None]
        retreat = np.stack([away, -away], 1)
        retreat = 32 * hand_frame(base)[..., 1] * wraps if wraps.any() else retreat
    else:
        wrist[:, 1, 0] = rng.uniform(90, 240) + rng.normal(0, 15, n_keys)
        wrist[:, 1, 1:] = rng.normal(0, 30, (n_keys, 2))

    # Of many ways to turn and place the whole, take one that the arms reach in comfort.
    n, wide = 96, 1.6 if shape else np.array([0.3, 0.35, 0.25])
    turns = _jitter(rng, np.broadcast_to(np.eye(3), (n, 3, 3)), wide)
    centre = np.array([0, 0, 1000]) + rng.normal(0, 1, (n, 1, 1, 3)) * [30, 40, 25]
    middle = (wrist + 70 * hand_frame(base)[..., 0])[:, single].mean((0, 1))
    tried_turn = turns[:, None, None] @ base
    tried = (wrist - middle) @ turns.transpose(0, 2, 1)[:, None] + centre
    strain = reach(person, tried_turn, tried)[1][..., single].sum(-1).max(1)
    best = (strain + rng.exponential(0.03, n)).argmin()
    turn, wrist, retreat = tried_turn[best], tried[best], retreat @ turns[best].T

    at = np.sort(rng.random(instants)) * (n_keys - 1)
    k = np.minimum(at.astype(int), n_keys - 2)
    w = ((at - k) ** 2 * (3 - 2 * (at - k)))[:, None, None]
    step = _log(turn[:-1].transpose(0, 1, 3, 2) @ turn[1:])
    mixed = [a[k] + w * (a[k + 1] - a[k]) for a in (wrist, retreat)]
    angles = limited(angles[k] + w[..., None] * (angles[k + 1] - angles[k]))
    return (
        angles,
        turn[k] @ _exp(step[k] * w),
        mixed[0],
        contacts[None].repeat(instants, 0),
        mixed[1],
    )


def _tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def touch(
    rig: Rig, angles: Float[np.ndarray, "t 2 15 3"], turn: Float[np.ndarray, "t 2 3 3"],
    wrist: Float[np.ndarray, "t 2 3"], contacts: Int[np.ndarray, "t c 2"],
    retreat: Float[np.ndarray, "t 2 3"], present: Bool[np.ndarray, "t 2"], steps: int = 60,
) -> tuple[Float32[np.ndarray, "t 2 15 3"], Float32[np.ndarray, "t 2 3 3"], Float32[np.ndarray, "t 2 3"]]:  # fmt: skip  # noqa: E501
    """Poses near the given ones in which the contacts (spots; −1 none) meet and no balls overlap,
    by gradient steps on all instants at once; angles stay within `LIMITS`. Hands start apart by
    `retreat` (mm), and opened by as much, and close in."""
    angles0, turn0, wrist0, far = map(_tensor, (angles, turn, wrist, retreat))
    low, high = _tensor(LIMITS).unbind(-1)
    ajar = 1 - 0.012 * far.norm(dim=-1)[..., None, None] * torch.tensor([1.0, 0, 0])
    angle, spin = (angles0 * ajar).requires_grad_(), torch.zeros_like(wrist0, requires_grad=True)
    shift = (far / 50).requires_grad_()
    adam = torch.optim.Adam([angle, spin, shift], lr=0.03, betas=(0.8, 0.95))
    n, both, wanted = len(rig.radii), _tensor(present.all(1)), _tensor(contacts[..., 0] >= 0)
    each, pair = torch.arange(len(angles))[:, None], torch.from_numpy(np.maximum(contacts, 0))
    room = rig.radii[:, None] + rig.radii
    alone = (room - rig.slack)[::2, ::2]  # half of a hand's balls tell enough about itself
    for step in range(steps + 1):
        turned, moved = axis_angle_to_matrix(spin) @ turn0, wrist0 + 50 * shift
        if step == steps:
            return tuple(a.detach().numpy() for a in (angle, turned, moved))
        posed = pose_spots(rig, angle, turned, moved)  # (t, 2, p, 3)
        balls = posed[..., :n, :]
        gap = posed[each, 0, pair[..., 0]] - posed[each, 1, pair[..., 1]]
        pull = ((gap.square().sum(-1) + 4).sqrt() * wanted).sum(1) / wanted.sum(1).clamp(min=1)
        between = (room + 0.5 - torch.cdist(balls[:, 0], balls[:, 1])).clamp(min=0)
        within = (alone - torch.cdist(balls[..., ::2, :], balls[..., ::2, :])).clamp(min=0)
        stay = (angle - angles0).square().sum((1, 2, 3)) + spin.square().sum((1, 2))
        loss = pull + 0.3 * between.square().sum((1, 2)) * both + 2 * stay
        loss = (loss + 0.12 * within.square().sum((1, 2, 3))).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            angle.clamp_(low, high)


@numba.njit(nogil=True, cache=True)
def contact(a, b, b_normals):
    """Of vertices a (V, 3) against a mesh's vertices b and their normals: smallest distance (mm; 0
    if any is inside), greatest depth inside, and the mean normal where they are inside (3,)."""
    gap, depth, push = np.inf, 0.0, np.zeros(3)
    for i in range(len(a)):
        best, near = np.inf, 0
        for j in range(len(b)):
            x, y, z = a[i, 0] - b[j, 0], a[i, 1] - b[j, 1], a[i, 2] - b[j, 2]
            square = x * x + y * y + z * z
            if square < best:
                best, near = square, j
        out = 0.0
        for c in range(3):
            out += (a[i, c] - b[near, c]) * b_normals[near, c]
        aside = max(
            np.sqrt(max(best - out * out, 0.0)) - 2.5, 0.0
        )  # the vertex's own neighbourhood
        if out < 0 and aside < 2.5:
            depth = max(depth, -out)
            for c in range(3):
                push[c] -= out * b_normals[near, c]
        else:
            gap = min(gap, np.sqrt(out * out + aside * aside))
    size = np.sqrt((push * push).sum())
    return (0.0 if size > 0 else gap), depth, push / max(size, 1e-9)

"""Joint limits, rigs and arms."""

import functools
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from digit.geometry import axis_angle_to_matrix
from digit.hands.joint_angles import LIMITS
from digit.hands.model import HandModel
from digit.paths import HAND_LOOK_FILE

# Columns: where fingers, back and little finger's side of the right and left rest hand point.
_REST = np.array(
    [[[-1, 0, 0], [0, 1, 0], [0, 0, -1]], [[1, 0, 0], [0, 1, 0], [0, 0, -1]]], float
)


@functools.lru_cache(1)
def _asset():
    with np.load(HAND_LOOK_FILE) as file:
        return {name: file[name] for name in file.files}


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
    ends, points = (
        torch.from_numpy(asset[k].astype(np.int64)) for k in ("ball_ends", "points")
    )
    radii = (
        (rest[ends[:, 0]] - rest[ends[:, 1]]).norm(dim=-1)
        / 2
        * _tensor(asset["ball_scale"])
    )
    stub = joints[0] + torch.tensor(
        [[8.0, 0, 0], [28.0, 0, 0]]
    )  # two more, for the forearm
    balls, radii = (
        torch.cat([rest[ends].mean(1), stub]),
        torch.cat([radii, torch.full((2,), 17.0)]),
    )
    weights = torch.cat(
        [model.weights[ends].mean(1), torch.eye(16)[[0, 0]], model.weights[points]]
    )
    slack = (radii[:, None] + radii - torch.cdist(balls, balls)).clamp(min=0) + 2.0
    slack[:-2, :-2][torch.from_numpy(asset["ball_kin"])] = slack[-2:] = slack[
        :, -2:
    ] = 1e3
    names = {str(name): len(balls) + i for i, name in enumerate(asset["point_names"])}
    spots = torch.cat([balls, rest[points]])
    return Rig(joints, _tensor(asset["axes"]), spots, weights, radii, slack, names)


def pose_spots(
    rig: Rig,
    angles: Float[Tensor, "*b 2 15 3"],
    turn: Float[Tensor, "*b 2 3 3"],
    wrist: Float[Tensor, "*b 2 3"],
) -> Float[Tensor, "*b 2 p 3"]:
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
    spots = (
        (affine[..., :3] @ rig.spots[..., None])[..., 0]
        + affine[..., 3]
        - rig.joints[0]
    )
    mirror = torch.tensor([[[1.0, 1, 1]], [[-1.0, 1, 1]]])
    return spots * mirror @ turn.mT + wrist[..., None, :]


def joint_rotations(
    angles: Float[Tensor, "*b 15 3"], axes: Float[Tensor, "15 3 3"]
) -> Float[Tensor, "*b 15 3 3"]:
    """Local rotations of the finger joints: abduction · flexion · twist about the rest axes."""
    spin = axis_angle_to_matrix(
        angles[..., None] * torch.eye(3)
    )  # (*b, 15, axis, 3, 3)
    return (
        axes @ (spin[..., 1, :, :] @ spin[..., 0, :, :] @ spin[..., 2, :, :]) @ axes.mT
    )


def joint_angles(
    pose: Float[np.ndarray, "*b 48"], side: int
) -> Float32[np.ndarray, "*b 15 3"]:
    """The angles (rad) of MANO poses of a side (0 right, 1 left); undoes `mano_pose`."""
    fingers = pose[..., 3:].reshape(*pose.shape[:-1], 15, 3) * (
        [1, -1, -1] if side else [1, 1, 1]
    )
    m = _asset()["axes"].transpose(0, 2, 1) @ rotation(fingers) @ _asset()["axes"]
    twists = (
        LIMITS[:, 2, 1] > 0
    )  # the thumb's base; the others are told apart beyond 90° too
    cosine = np.hypot(m[..., 1, 0], m[..., 1, 1]) * np.sign(m[..., 1, 1])
    plain = np.arctan2(-m[..., 2, 0], m[..., 0, 0])
    abduction = np.where(twists, np.arctan2(m[..., 0, 2], m[..., 2, 2]), plain)
    twist = np.where(twists, np.arctan2(m[..., 1, 0], m[..., 1, 1]), 0)
    return np.stack([np.arctan2(-m[..., 1, 2], cosine), abduction, twist], -1).astype(
        np.float32
    )


def mano_pose(
    rig: Rig,
    angles: Float[np.ndarray, "*b 2 15 3"],
    turn: Float[np.ndarray, "*b 2 3 3"],
) -> Float32[np.ndarray, "*b 2 48"]:
    """Axis-angle poses as MANO has them (for a flat mean hand)."""
    fingers = _log(joint_rotations(_tensor(angles), rig.axes).numpy())
    fingers[..., 1, :, :] *= [1, -1, -1]
    return np.concatenate(
        [_log(turn), fingers.reshape(*fingers.shape[:-2], 45)], -1, dtype="f4"
    )


def _tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def rotation(axis_angle: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3 3"]:
    """Rotation matrices of axis-angle vectors (rad), in numpy."""
    return axis_angle_to_matrix(
        torch.from_numpy(np.asarray(axis_angle, np.float64))
    ).numpy()


def _log(rotations):
    flat = np.asarray(rotations, np.float64).reshape(-1, 3, 3)
    return np.stack([cv2.Rodrigues(r)[0][:, 0] for r in flat]).reshape(
        *rotations.shape[:-2], 3
    )


def _jitter(rng, rotations, sigma):
    return rotation(rng.normal(0, 1, rotations.shape[:-1]) * sigma) @ rotations


def unit(v: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Vectors of length one."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


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
    return Person(
        shoulders, 285 * size, 250 * size, np.array([0, y + 60, z + 20]), girth
    )


def reach(
    person: Person,
    turn: Float[np.ndarray, "*b 2 3 3"],
    wrist: Float[np.ndarray, "*b 2 3"],
) -> tuple[Float[np.ndarray, "*b 2 3"], Float[np.ndarray, "*b 2"]]:
    """Elbows (mm) for hands held so, and the strain of wrist, forearm and reach; 0 is comfort."""
    frame, span = hand_frame(turn), wrist - person.shoulders
    distance, longest = (
        np.linalg.norm(span, axis=-1),
        0.98 * (person.upper + person.fore),
    )
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
    strain += (
        0.02 * swivel[..., 0] ** 2 + 9 * np.maximum(distance / longest - 1, 0) ** 2
    )
    for point in (elbow, 0.5 * elbow + 0.5 * wrist, wrist):  # none of them in the body
        inside = (((point - person.chest)[..., [0, 2]] / (person.girth + 35)) ** 2).sum(
            -1
        )
        strain += np.maximum(1 - inside, 0)
    share = np.exp((strain.min(0) - strain) / 0.01)[
        ..., None
    ]  # blended: arms move smoothly
    elbow = (share * elbow).sum(0) / share.sum(0)
    return wrist + person.fore * unit(elbow - wrist), strain.min(0)

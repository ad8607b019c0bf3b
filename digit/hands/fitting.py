"""Joints → pose, shape and place of a hand model: a mesh for what a network predicts.

`fit_joints` fits whole batches of hands of one side to their 21 joints. It starts
analytically (bone lengths give the shape, the palm the place, bones the angles), then
minimises the squared distances of the joints within anatomical limits (see `solver`).
Called where fits are written for data sets without them, and meshes for predictions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float, Float32, Int, Integer
from torch import Tensor

from digit.hands.joint_angles import ANGLE_AXIS, ANGLE_JOINT, LIMITS
from digit.hands.kinematics import N_SHAPE, SHAPE, HandState, JointModel
from digit.hands.model import HandModel
from digit.hands.solver import FitProblem, FitSettings, Solution, solve
from digit.skeleton import (
    FINGERS,
    HAND_JOINTS,
    HAND_PARENTS,
    HAND_WRIST,
    JOINTS_PER_HAND,
    MANO_JOINTS,
)

MIN_JOINTS = 8  # fewer joints do not determine a hand; chosen by eye
HANDS_AT_ONCE = 256  # solved together: bounds the memory, changes no result
DEFAULTS = FitSettings()


@dataclass(frozen=True)
class HandFits:
    """Fits of n hands of one side. A hand with too few joints is NaN throughout."""

    pose: Float32[np.ndarray, "n 48"]  # axis-angle, rad, as `HandModel.skin` takes it
    shape: Float32[np.ndarray, "n 10"]
    trans_m: Float32[np.ndarray, "n 3"]
    joint_residual_mm: Float32[np.ndarray, "n 21"]  # NaN for joints that were not given
    iterations: Int[np.ndarray, "n"]

    @property
    def residual_mm(self) -> Float[np.ndarray, "n"]:
        """Mean distance between fitted and given joints; NaN without a fit.

        It tells joints that no hand can have (mirrored, swapped, coincident) from those
        of a hand.
        """
        given = np.isfinite(self.joint_residual_mm)
        total_mm = np.where(given, self.joint_residual_mm, 0.0).sum(1)
        with np.errstate(invalid="ignore"):  # 0 / 0 where there is no fit
            return total_mm / given.sum(1)

    @classmethod
    def concatenate(cls, parts: list["HandFits"]) -> "HandFits":
        """The hands of all parts in turn."""
        names = [field.name for field in fields(cls)]
        return cls(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in names)
        )


@torch.inference_mode()
def fit_joints(
    hand: HandModel,
    joints_mm: Float[np.ndarray, "n 21 3"],
    valid: Bool[np.ndarray, "n 21"] | None = None,
    shape: Float[np.ndarray, "#n 10"] | None = None,
    settings: FitSettings = DEFAULTS,
) -> HandFits:
    """Fit a hand model to the joints of hands of its side.

    Args:
        hand: A hand model of any kind; its side is that of all hands.
        joints_mm: In the order of `HAND_JOINTS`, in the world or any camera's frame.
        valid: Which joints are known (default: all). Joints that are not finite count
            as unknown. Hands with fewer than `MIN_JOINTS` known joints are not fitted.
        shape: Betas of the hands, where they are known; else they are fitted too. Hands
            of one person have one shape, see `PersonShapes`.
        settings: Priors and when to stop. Raise `joint_noise_mm` for predictions.

    Returns:
        The fits, in the order and frame of the joints. The result for a hand does not
        depend on the other hands of the batch.

    Raises:
        ValueError: if the joints are not (n, 21, 3).
    """
    parts = []
    for solution, rows in _solve_in_chunks(hand, joints_mm, valid, shape, settings):
        parts.append(_as_fits(hand, solution, rows))
    return HandFits.concatenate(parts)


class PersonShapes:
    """One shape per person, from many hands: each counts by what its joints tell of it.

    Fitted one by one, hands agree on a beta only as well as their joints determine it.
    By the Schur complement of its Gauss–Newton Hessian each fit leaves a quadratic
    function of the betas alone; the shape of a person minimises the sum over the
    person's hands of those functions and the prior. Hands of both sides may be added.
    """

    def __init__(self, n_persons: int, settings: FitSettings = DEFAULTS):
        self.settings = settings
        self.information = np.zeros((n_persons, N_SHAPE, N_SHAPE))
        self.pull = np.zeros((n_persons, N_SHAPE))

    @torch.inference_mode()
    def add(
        self,
        hand: HandModel,
        joints_mm: Float[np.ndarray, "n 21 3"],
        valid: Bool[np.ndarray, "n 21"] | None,
        person: Integer[np.ndarray, "n"],
    ) -> None:
        """Count hands of one side in; `person` numbers the persons from 0."""
        chunks = _solve_in_chunks(hand, joints_mm, valid, None, self.settings)
        at = 0
        for solution, fitted in chunks:
            who = person[at : at + len(fitted)][fitted.numpy()]
            at += len(fitted)
            information, pull = _shape_information(solution, self.settings)
            np.add.at(self.information, who, information.numpy())
            np.add.at(self.pull, who, pull.numpy())

    def solve(self) -> Float32[np.ndarray, "k 10"]:
        """The persons' betas; zeros for a person without hands."""
        prior = self.settings.joint_noise_mm**2 * np.eye(N_SHAPE)
        shape = np.linalg.solve(self.information + prior, self.pull[..., None])[..., 0]
        limit = self.settings.shape_limit
        return shape.clip(-limit, limit).astype(np.float32)


def _shape_information(
    solution: Solution, settings: FitSettings
) -> tuple[Float[Tensor, "n 10 10"], Float[Tensor, "n 10"]]:
    """What fits tell of their shapes: the quadratic functions' matrices and vectors."""
    # 1. Eliminate pose and place from the Hessian, but for what is held.
    pose = slice(0, SHAPE.start)
    hessian = solution.equations.hessian
    free = (~solution.held[:, pose]).to(hessian)
    of_pose = hessian[:, pose, pose] * free[:, :, None] * free[:, None, :]
    of_pose = of_pose + torch.diag_embed(1 - free)
    mixed = hessian[:, pose, SHAPE] * free[:, :, None]
    with_prior = hessian[:, SHAPE, SHAPE] - mixed.mT @ torch.linalg.solve(
        of_pose, mixed
    )

    # 2. The prior is counted once a person, not once a hand.
    prior = settings.joint_noise_mm**2 * torch.eye(N_SHAPE).to(hessian)
    pull = (with_prior @ solution.state.shape[..., None])[..., 0]
    return with_prior - prior, pull


def _solve_in_chunks(
    hand: HandModel,
    joints_mm: Float[np.ndarray, "n 21 3"],
    valid: Bool[np.ndarray, "n 21"] | None,
    shape: Float[np.ndarray, "#n 10"] | None,
    settings: FitSettings,
) -> Iterator[tuple[Solution, Bool[Tensor, "m"]]]:
    """Solutions of chunks of hands, and which of a chunk's hands they are of."""
    joints_mm = np.asarray(joints_mm)
    if joints_mm.ndim != 3 or joints_mm.shape[1:] != (JOINTS_PER_HAND, 3):
        raise ValueError(f"joints_mm has shape {joints_mm.shape}, not (n, 21, 3)")
    known = np.isfinite(joints_mm).all(-1)
    if valid is not None:
        known &= valid
    model = _joint_model(hand)
    mirror = np.array([-1.0 if hand.side == "left" else 1.0, 1.0, 1.0])
    for start in range(0, max(len(joints_mm), 1), HANDS_AT_ONCE):
        chunk = slice(start, start + HANDS_AT_ONCE)
        fitted = torch.from_numpy(known[chunk].sum(1) >= MIN_JOINTS)
        seen = torch.from_numpy(known[chunk])[fitted]
        joints = np.where(known[chunk, :, None], joints_mm[chunk] * mirror, 0.0)
        joints = torch.from_numpy(joints.astype(np.float64))[fitted]
        if shape is None:
            given = None
            betas = shape_from_bone_lengths(model, joints, seen, settings)
        else:
            given = shape if len(shape) == 1 else shape[chunk]
            given = np.broadcast_to(given, (len(fitted), N_SHAPE)).astype(np.float64)
            betas = torch.from_numpy(given)[fitted]
        problem = FitProblem(
            joints_mm=joints,
            valid=seen.to(joints),
            shape_is_free=torch.full((len(joints),), given is None),
        )
        state = start_from_joints(model, joints, seen, betas, settings)
        yield solve(model, problem, state, settings), fitted


@lru_cache(maxsize=8)
def _joint_model(hand: HandModel) -> JointModel:
    """The reduced right hand of a model, or of the mirror image of a left one."""
    with torch.inference_mode(False):
        return JointModel.from_hand(hand if hand.side == "right" else hand.mirrored())


def _as_fits(
    hand: HandModel, solution: Solution, fitted: Bool[Tensor, "m"]
) -> HandFits:
    """A chunk's solutions as parameters of its hand, NaN where there are none."""
    model = _joint_model(hand)
    state = solution.state
    # 1. Rotation matrices → MANO's rotation vectors, relative to its mean pose.
    fingers = roma.rotmat_to_rotvec(model.finger_rotations(state.angles))
    rotvecs = torch.cat([roma.rotmat_to_rotvec(state.turn)[:, None], fingers], 1)
    wrist_at_rest_mm = model.rest_joints(state.shape)[:, 0]
    trans_m = (state.wrist_mm - wrist_at_rest_mm) / 1000
    if hand.side == "left":
        rotvecs = rotvecs * torch.tensor([1.0, -1.0, -1.0]).to(rotvecs)
        trans_m = trans_m * torch.tensor([-1.0, 1.0, 1.0]).to(trans_m)
    pose = rotvecs.flatten(1)
    pose[:, 3:] -= hand.hands_mean.to(pose)

    # 2. Back among the hands that were not fitted.
    def spread(values: Float[Tensor, "k c"]) -> Float32[np.ndarray, "m c"]:
        every = np.full((len(fitted), values.shape[1]), np.nan, np.float32)
        every[fitted.numpy()] = values.numpy()
        return every

    iterations = np.zeros(len(fitted), np.int64)
    iterations[fitted.numpy()] = solution.iterations.numpy()
    return HandFits(
        pose=spread(pose),
        shape=spread(state.shape),
        trans_m=spread(trans_m),
        joint_residual_mm=spread(solution.residual_mm),
        iterations=iterations,
    )


# ------------------------------------------------------------ analytic start

# Annotated joints that move with the palm.
_PALM = [HAND_JOINTS.index(f"{finger}1") for finger in FINGERS] + [HAND_WRIST]
# Distances that the pose does not change: along the bones, and across the palm.
_ALONG = [(j, parent) for j, parent in enumerate(HAND_PARENTS) if parent >= 0]
_ACROSS = [(a, b) for a in _PALM for b in _PALM if a < b < HAND_WRIST]
_SEGMENTS = np.array(_ALONG + _ACROSS)
# The annotated joints at the ends of the bone that each MANO finger joint moves.
_BONE_START = [HAND_JOINTS.index(name) for name in MANO_JOINTS[1:]]
_BONE_END = [joint - 1 for joint in _BONE_START]


def shape_from_bone_lengths(
    model: JointModel,
    joints_mm: Float[Tensor, "n 21 3"],
    valid: Bool[Tensor, "n 21"],
    settings: FitSettings,
) -> Float[Tensor, "n 10"]:
    """Betas whose bones are as long as those between the joints, by ridge regression.

    Lengths do not depend on the pose, and nearly linearly on the shape.
    """
    start, end = _SEGMENTS.T
    # 1. Lengths of the mean shape, and what each beta adds to them.
    zero = joints_mm.new_zeros(1, N_SHAPE)
    rest = model.rest_annotated(torch.cat([zero, torch.eye(N_SHAPE).to(zero)]))
    bones = rest[:, start] - rest[:, end]  # (11, s, 3): of the mean, of unit betas
    mean_mm = bones[0].norm(dim=-1)
    slope_mm = ((bones[1:] - bones[0]) * bones[0]).sum(-1) / mean_mm  # (10, s)

    # 2. Regularised least squares over the segments whose ends are both known.
    known = (valid[:, start] & valid[:, end]).to(joints_mm)
    length_mm = (joints_mm[:, start] - joints_mm[:, end]).norm(dim=-1)
    prior = settings.joint_noise_mm**2 * torch.eye(N_SHAPE).to(mean_mm)
    normal = (slope_mm * known[:, None]) @ slope_mm.T + prior
    right = (known * (length_mm - mean_mm)) @ slope_mm.T
    shape = torch.linalg.solve(normal, right[..., None])[..., 0]
    return shape.clamp(-settings.shape_limit, settings.shape_limit)


def start_from_joints(
    model: JointModel,
    joints_mm: Float[Tensor, "n 21 3"],
    valid: Bool[Tensor, "n 21"],
    shape: Float[Tensor, "n 10"],
    settings: FitSettings,
) -> HandState:
    """Place the palm by Procrustes analysis, then bend the fingers bone by bone."""
    rest = model.rest_annotated(shape)
    # 1. The palm's joints hardly move against each other. The others, at a low weight,
    #    say roughly how the hand lies where too few of the palm's are known.
    weight = joints_mm.new_full((JOINTS_PER_HAND,), 1e-3)
    weight[_PALM] = 1.0
    turn, shift = roma.rigid_points_registration(rest, joints_mm, weight * valid)
    wrist_mm = (turn @ model.rest_joints(shape)[:, 0, :, None])[..., 0] + shift

    # 2. From the base to the tip, the direction of a bone in the frame of the bone
    #    before it gives the joint's flexion and, at the base, its abduction.
    bones = joints_mm[:, _BONE_END] - joints_mm[:, _BONE_START]
    known = valid[:, _BONE_END] & valid[:, _BONE_START]
    relaxed = torch.tensor([settings.relaxed_flexion_rad, 0.0, 0.0]).to(joints_mm)
    low, high = torch.from_numpy(LIMITS).to(joints_mm).unbind(-1)
    angles = joints_mm.new_zeros(len(joints_mm), 15, 3)
    parent = turn[:, None].expand(-1, 5, -1, -1)
    for level in range(3):
        joints = slice(level, None, 3)  # of all fingers
        axes = parent @ model.axes[joints]
        bone = (axes.mT @ bones[:, joints, :, None])[..., 0]
        found = _angles_of_bone(bone, is_base=level == 0)
        found = torch.where(known[:, joints, None], found, relaxed)
        angles[:, joints] = found.clamp(low[joints], high[joints])
        rotations = model.finger_rotations(angles[..., ANGLE_JOINT, ANGLE_AXIS])
        parent = parent @ rotations[:, joints]
    return HandState(
        turn=turn,
        wrist_mm=wrist_mm,
        angles=angles[:, ANGLE_JOINT, ANGLE_AXIS],
        shape=shape,
    )


def _angles_of_bone(
    bone: Float[Tensor, "*b 3"], is_base: bool
) -> Float[Tensor, "*b 3"]:
    """Flexion, abduction and twist (0) that turn a joint's rest bone to a direction."""
    across, up, along = bone.unbind(-1)
    zero = torch.zeros_like(along)
    if not is_base:
        return torch.stack([torch.atan2(-up, along), zero, zero], -1)
    flexion = torch.atan2(-up, torch.hypot(across, along))
    return torch.stack([flexion, torch.atan2(across, along), zero], -1)

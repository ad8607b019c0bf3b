"""The annotated joints of a hand as a function of its pose and shape, and their Jacobian.

Fitting a hand model to joints needs the 21 annotated joints thousands of times a second
and never the mesh. As each of them is a weighted sum of skinned vertices, the sums over
vertices can be taken beforehand; what is left depends on 16 rotations only, and gives
exactly what `HandModel.joints(HandModel.skin(…))` gives. Used by `fitting`.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from digit.hands.joint_angles import (
    ANGLE_AXIS,
    ANGLE_JOINT,
    N_ANGLES,
    angle_axes,
    angles_to_rotation,
    rest_axes,
)
from digit.hands.model import HandModel
from digit.skeleton import HAND_JOINTS, MANO_JOINTS, MANO_PARENTS

AnyRows = TypeVar("AnyRows", bound="Rows")

N_SHAPE = 10
# Layout of a step in parameter space, and of the Jacobian's columns.
TURN = slice(0, 3)  # rotation vector applied to the whole hand in the world frame, rad
WRIST = slice(3, 6)  # mm
ANGLES = slice(6, 6 + N_ANGLES)  # rad
SHAPE = slice(6 + N_ANGLES, 6 + N_ANGLES + N_SHAPE)
N_PARAMETERS = SHAPE.stop  # 37

ANGLE_MANO_JOINT = ANGLE_JOINT + 1  # the wrist is MANO's joint 0
ANGLE_PARENT = np.array(MANO_PARENTS)[ANGLE_MANO_JOINT]


@dataclass(frozen=True)
class Rows:
    """Tensors with one row per hand that are taken and replaced together."""

    def take(self: AnyRows, rows: Int[Tensor, "k"] | Bool[Tensor, "n"]) -> AnyRows:
        """The hands at these rows."""
        return replace(
            self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)}
        )

    def put(self: AnyRows, rows: Int[Tensor, "k"], new: AnyRows) -> AnyRows:
        """A copy in which these rows are the new ones."""
        copied = {}
        for field in fields(self):
            old = getattr(self, field.name)
            copied[field.name] = old.index_copy(0, rows, getattr(new, field.name))
        return replace(self, **copied)


@dataclass(frozen=True)
class HandState(Rows):
    """Pose, place and shape of a batch of right hands, as the solver changes them."""

    turn: Float[Tensor, "b 3 3"]  # rotation of the whole hand about its wrist joint
    wrist_mm: Float[Tensor, "b 3"]  # where MANO's wrist joint lies
    angles: Float[Tensor, "b 21"]  # rad, see joint_angles.ANGLE_JOINT
    shape: Float[Tensor, "b 10"]


@dataclass(frozen=True)
class PosedJoints:
    """Where a `HandState` puts the joints, with what the Jacobian needs."""

    joints_mm: Float[Tensor, "b 21 3"]
    rotation: Float[Tensor, "b 16 3 3"]  # of MANO's joints, world
    position_mm: Float[Tensor, "b 16 3"]
    rest_mm: Float[Tensor, "b 16 3"]  # rest joints of the shape
    local: Float[Tensor, "b 15 3 3"]  # rotations of the finger joints
    angle_axis: Float[Tensor, "b 21 3"]  # axes of the angles in their parents' frames
    moment: Float[Tensor, "b p 3"]  # rest-frame moments of shape and pose
    moved: Float[Tensor, "b p 3"]  # the same, turned and moved by their joints


@dataclass(frozen=True)
class JointModel:
    """A right hand reduced to what its annotated joints depend on. Lengths in mm.

    An annotated joint is Σ_v r_v Σ_j w_vj (R_j x_v + t_j) over vertices v and MANO
    joints j, with regressor r, skinning weights w and unposed vertices x. Every pair of
    an annotated and a MANO joint that has weight contributes R_j m + t_j μ, where the
    moment m = Σ_v r_v w_vj x_v is linear in shape and in the pose correctives, and the
    mass μ = Σ_v r_v w_vj is constant. p counts the pairs.
    """

    axes: Float[Tensor, "15 3 3"]
    hands_mean: Float[Tensor, "45"]
    rest: Float[Tensor, "16 3"]
    rest_shape: Float[Tensor, "10 48"]
    moment: Float[Tensor, "p3"]
    moment_shape: Float[Tensor, "10 p3"]
    moment_pose: Float[Tensor, "135 p3"]
    moment_angle: Float[Tensor, "21 9 p3"]  # moment_pose of each angle's joint
    mass: Float[Tensor, "p"]
    pair_joint: Int[Tensor, "p"]  # MANO joint
    pair_annotated: Int[Tensor, "p"]  # annotated joint
    gather: Float[Tensor, "21 p"]  # sums the pairs of each annotated joint

    @classmethod
    def from_hand(cls, hand: HandModel) -> "JointModel":
        """Reduce a right hand.

        Raises:
            ValueError: if the hand is a left one; reduce its mirror image.
        """
        if hand.side != "right":
            raise ValueError("a left hand is reduced by way of hand.mirrored()")
        # 1. Pairs of annotated joint and MANO joint that have weight.
        regressor = hand.joint_regressor.double()
        weights = hand.weights.double()
        mass = regressor @ weights  # (21, 16)
        annotated, mano = torch.nonzero(mass > 1e-6, as_tuple=True)
        share = regressor[annotated] * weights[:, mano].T  # (p, v)

        # 2. Moments of the template and of its shape and pose directions.
        template = hand.v_template.double() * 1000
        shapedirs = hand.shapedirs.double() * 1000
        posedirs = hand.posedirs.double() * 1000
        moment_pose = torch.einsum("pv,vck->kpc", share, posedirs).flatten(1)

        # 3. Which pairs each annotated joint sums, and which of them a MANO joint moves.
        gather = torch.nn.functional.one_hot(annotated, len(HAND_JOINTS)).T.double()
        joints = hand.joints(hand.v_template).double()
        tips = joints[
            [HAND_JOINTS.index(name[:-1] + "4") for name in MANO_JOINTS[1::3]]
        ]
        rest = hand.rest_joints(torch.zeros(N_SHAPE)).double()
        rest_shape = torch.einsum("jv,vcs->sjc", hand.J_regressor.double(), shapedirs)
        return cls(
            axes=rest_axes(rest, tips),
            hands_mean=hand.hands_mean.double(),
            rest=rest * 1000,
            rest_shape=rest_shape.flatten(1),
            moment=(share @ template).flatten(),
            moment_shape=torch.einsum("pv,vcs->spc", share, shapedirs).flatten(1),
            moment_pose=moment_pose,
            moment_angle=moment_pose.unflatten(0, (15, 9))[ANGLE_JOINT],
            mass=mass[annotated, mano],
            pair_joint=mano,
            pair_annotated=annotated,
            gather=gather,
        )

    def to(self, *args: Any) -> "JointModel":
        """The model on another device."""
        moved = {
            field.name: getattr(self, field.name).to(*args) for field in fields(self)
        }
        return replace(self, **moved)

    def rest_joints(self, shape: Float[Tensor, "b 10"]) -> Float[Tensor, "b 16 3"]:
        """MANO's joints in the rest pose, mm."""
        return self.rest + (shape @ self.rest_shape).unflatten(-1, (16, 3))

    def rest_annotated(self, shape: Float[Tensor, "b 10"]) -> Float[Tensor, "b 21 3"]:
        """The annotated joints in the rest pose, mm."""
        moment = (self.moment + shape @ self.moment_shape).unflatten(-1, (-1, 3))
        return self.gather @ moment

    def finger_rotations(
        self, angles: Float[Tensor, "b 21"]
    ) -> Float[Tensor, "b 15 3 3"]:
        """Rotations of the finger joints about the rest pose, in MANO's frame."""
        return self.axes @ angles_to_rotation(_all_angles(angles)) @ self.axes.mT

    def pose(self, state: HandState) -> PosedJoints:
        """Where the joints lie."""
        # 1. Rotations of the joints and the axes of their angles, in the parents' frames.
        local = self.finger_rotations(state.angles)
        axes = angle_axes(_all_angles(state.angles))[:, ANGLE_JOINT, ANGLE_AXIS]
        axes = (self.axes[ANGLE_JOINT] @ axes[..., None])[..., 0]

        # 2. Kinematic chains: fingers hang on the wrist, joints on the one before.
        rest = self.rest_joints(state.shape)
        rotation = [state.turn]
        position = [state.wrist_mm]
        for joint, parent in enumerate(MANO_PARENTS[1:], 1):
            offset = rest[:, joint] - rest[:, parent]
            position.append(position[parent] + _rotate(rotation[parent], offset))
            rotation.append(rotation[parent] @ local[:, joint - 1])
        rotation = torch.stack(rotation, 1)
        position = torch.stack(position, 1)

        # 3. Moments in the rest frame, then moved with their joints.
        bend = (local - torch.eye(3).to(local)).flatten(1)  # (b, 135)
        moment = self.moment + state.shape @ self.moment_shape + bend @ self.moment_pose
        moment = moment.unflatten(-1, (-1, 3))
        offset = position - _rotate(rotation, rest)
        moved = _rotate(rotation[:, self.pair_joint], moment)
        moved = moved + self.mass[:, None] * offset[:, self.pair_joint]
        return PosedJoints(
            joints_mm=self.gather @ moved,
            rotation=rotation,
            position_mm=position,
            rest_mm=rest,
            local=local,
            angle_axis=axes,
            moment=moment,
            moved=moved,
        )

    def jacobian(self, posed: PosedJoints) -> Float[Tensor, "b 21 3 37"]:
        """Derivatives of the joints (mm) by the parameters, in the order of `TURN` ….

        The derivative by `TURN` is that of exp(ω) · turn at ω = 0.
        """
        n = len(posed.joints_mm)
        jacobian = posed.joints_mm.new_zeros(n, len(HAND_JOINTS), 3, N_PARAMETERS)

        # 1. The whole hand turns about the wrist joint, and moves.
        lever = posed.joints_mm - posed.position_mm[:, :1]
        jacobian[..., TURN] = -_cross_matrix(lever)
        jacobian[..., WRIST] = torch.eye(3).to(lever)

        # 2. An angle turns what hangs on its joint about its axis.
        moved = posed.joints_mm.new_zeros(n, len(HAND_JOINTS), 16, 3)
        moved[:, self.pair_annotated, self.pair_joint] = posed.moved
        moved = _sum_along_chains(moved)[:, :, ANGLE_JOINT]  # (b, 21, 21, 3)
        mass = moved.new_zeros(1, len(HAND_JOINTS), 16, 1)
        mass[:, self.pair_annotated, self.pair_joint, 0] = self.mass
        mass = _sum_along_chains(mass)[:, :, ANGLE_JOINT]
        lever = moved - mass * posed.position_mm[:, None, ANGLE_MANO_JOINT]
        axis = _rotate(posed.rotation[:, ANGLE_PARENT], posed.angle_axis)
        turned = torch.linalg.cross(axis[:, None].expand_as(lever), lever)
        jacobian[..., ANGLES] = turned.mT

        # 3. Derivatives of the moments: by an angle through the pose correctives of its
        #    joint, by the shape directly. Both are turned with the pairs' joints.
        local_change = _cross_matrix(posed.angle_axis) @ posed.local[:, ANGLE_JOINT]
        corrective = local_change.flatten(2).transpose(0, 1) @ self.moment_angle
        corrective = corrective.unflatten(-1, (-1, 3)).permute(1, 2, 3, 0)
        shape = self.moment_shape.unflatten(-1, (-1, 3)).permute(1, 2, 0)
        moment = torch.cat(
            [corrective, shape.expand(n, -1, -1, -1)], -1
        )  # (b, p, 3, 31)
        moment = posed.rotation[:, self.pair_joint] @ moment

        # 4. Shape also moves the rest joints, hence the chains.
        rest = self.rest_shape.unflatten(-1, (16, 3)).permute(1, 2, 0)  # (16, 3, 10)
        position = [torch.zeros(n, 3, N_SHAPE).to(rest)]
        for joint, parent in enumerate(MANO_PARENTS[1:], 1):
            offset = posed.rotation[:, parent] @ (rest[joint] - rest[parent])
            position.append(position[parent] + offset)
        offset = torch.stack(position, 1) - posed.rotation @ rest  # (b, 16, 3, 10)
        moment[..., N_ANGLES:] += self.mass[:, None, None] * offset[:, self.pair_joint]

        # 5. Sum the pairs of each annotated joint.
        jacobian[..., ANGLES.start :].index_add_(1, self.pair_annotated, moment)
        return jacobian


def _sum_along_chains(values: Float[Tensor, "b r 16 c"]) -> Float[Tensor, "b r 15 c"]:
    """For each finger joint the sum over itself and the joints beyond it."""
    chains = values[:, :, 1:].unflatten(2, (5, 3))
    return chains.flip(3).cumsum(3).flip(3).flatten(2, 3)


def _cross_matrix(vector: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The matrices [v]× with [v]× w = v × w."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    matrix = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    return matrix.unflatten(-1, (3, 3))


def _all_angles(angles: Float[Tensor, "*b 21"]) -> Float[Tensor, "*b 15 3"]:
    """The angles that can change among all angles of the joints."""
    every = angles.new_zeros(*angles.shape[:-1], 15, 3)
    every[..., ANGLE_JOINT, ANGLE_AXIS] = angles
    return every


def _rotate(
    rotation: Float[Tensor, "*#b 3 3"], vector: Float[Tensor, "*#b 3"]
) -> Tensor:
    """Vectors turned by rotation matrices."""
    return (rotation @ vector[..., None])[..., 0]

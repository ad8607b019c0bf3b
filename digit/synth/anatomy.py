"""The rig that poses a hand fast, and its joint angles.

`motion`, `held_motion` and `contact` pose hands with it; notebook 01 reads joint angles
with it.

Angles of a hand are (15, 3) radians for MANO's joints 1–15: flexion towards the palm,
abduction towards the thumb's side, and twist, away from the flat rest pose. They are
applied as abduction · flexion · twist about the joint's rest axes. `LIMITS` bounds
them; an axis that a joint lacks has limits 0, 0. Both hands use the right hand's
angles: the left hand is mirrored before it is rotated, as MANO's left model is.

The world is in mm: x to the person's left, y down, z from the cameras in front towards
the person, as in InterHand2.6M. The right hand comes first.
"""

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
from digit.synth.arrays import (
    AnyAngles,
    Betas,
    HandRotations,
    Rng,
    Rotations,
    Vector,
    Vectors,
)

# Columns: where the fingers, the back and the little finger's side of the right and of
# the left hand point at rest.
REST_FRAME = np.array(
    [[[-1, 0, 0], [0, 1, 0], [0, 0, -1]], [[1, 0, 0], [0, 1, 0], [0, 0, -1]]],
    float,
)

# Spheres of the forearm beyond the wrist: places (mm from the wrist joint) and radius.
_FOREARM_SPHERES_MM = [[8.0, 0, 0], [28.0, 0, 0]]
_FOREARM_RADIUS_MM = 17.0
# Overlap of two spheres of one hand that never counts as a collision.
_TOLERANCE_MM = 2.0
_ANY_OVERLAP_MM = 1e3


class Rig(NamedTuple):
    """A subject's right hand for posing, in mm.

    The hand is filled with spheres for collisions. Landmarks are named points on its
    skin.
    """

    joints: Float[Tensor, "16 3"]
    axes: Float[Tensor, "15 3 3"]  # columns: flexion, abduction, twist
    points: Float[Tensor, "p 3"]  # centres of the spheres, then the landmarks
    weights: Float[Tensor, "p 16"]  # skinning weights of the points
    radii: Float[Tensor, "s"]  # of the spheres
    allowed_overlap: Float[Tensor, "s s"]  # between two spheres of one hand
    landmarks: dict[str, int]  # name → row of `points`


@functools.lru_cache(1)
def _rig_file() -> dict[str, np.ndarray]:
    """The arrays of `generic_look.npz`, described in data/hand/make_look.py."""
    with np.load(HAND_LOOK_FILE) as file:
        return {name: file[name] for name in file.files}


def clip_to_limits(
    angles: AnyAngles,
) -> Float32[np.ndarray, "*b 15 3"]:
    """Angles clipped to `LIMITS`."""
    low = LIMITS[..., 0]
    high = LIMITS[..., 1]
    return np.clip(angles, low, high).astype(np.float32)


def build_rig(model: HandModel, betas: Betas) -> Rig:
    """Build the rig of a subject's right hand.

    Args:
        model: The generic right hand.
        betas: Its shape parameters.

    Returns:
        Rest positions in mm; the wrist's spheres include two of the forearm.
    """
    file = _rig_file()
    shape = torch.from_numpy(betas.astype(np.float32))
    rest = (model.v_template + model.shapedirs @ shape) * 1000
    joints = model.rest_joints(shape) * 1000
    sphere_ends = torch.from_numpy(file["ball_ends"].astype(np.int64))
    landmark_vertices = torch.from_numpy(file["points"].astype(np.int64))

    # 1. Spheres: each lies between two opposite vertices.
    first, second = rest[sphere_ends].unbind(1)
    span = first - second
    radii = span.norm(dim=-1) / 2 * to_tensor(file["ball_scale"])
    centres = rest[sphere_ends].mean(1)

    # 2. Two more stand for the forearm.
    forearm = joints[0] + torch.tensor(_FOREARM_SPHERES_MM)
    forearm_radii = torch.full((2,), _FOREARM_RADIUS_MM)
    centres = torch.cat([centres, forearm])
    radii = torch.cat([radii, forearm_radii])

    # 3. Skinning weights; the forearm's spheres move with the wrist.
    wrist_only = torch.eye(16)[[0, 0]]
    weights = torch.cat(
        [
            model.weights[sphere_ends].mean(1),
            wrist_only,
            model.weights[landmark_vertices],
        ]
    )

    # 4. Spheres may overlap as much as they do at rest. Neighbours along a bone always
    # may, and so may the forearm's.
    touching = radii[:, None] + radii
    overlap = touching - torch.cdist(centres, centres)
    allowed = overlap.clamp(min=0) + _TOLERANCE_MM
    of_hand = allowed[:-2, :-2]
    of_hand[torch.from_numpy(file["ball_kin"])] = _ANY_OVERLAP_MM
    allowed[-2:] = _ANY_OVERLAP_MM
    allowed[:, -2:] = _ANY_OVERLAP_MM

    landmarks = {}
    for name in file["point_names"]:
        landmarks[str(name)] = len(centres) + len(landmarks)
    return Rig(
        joints=joints,
        axes=to_tensor(file["axes"]),
        points=torch.cat([centres, rest[landmark_vertices]]),
        weights=weights,
        radii=radii,
        allowed_overlap=allowed,
        landmarks=landmarks,
    )


def pose_rig(
    rig: Rig,
    angles: Float[Tensor, "*b 2 15 3"],
    orientation: Float[Tensor, "*b 2 3 3"],
    wrist_mm: Float[Tensor, "*b 2 3"],
) -> Float[Tensor, "*b 2 p 3"]:
    """The rig's points in the world (mm), by linear blend skinning.

    Args:
        rig: The subject's right hand.
        angles: Joint angles of both hands (rad).
        orientation: Rotation of each hand from its rest pose.
        wrist_mm: Where the wrists are.
    """
    # 1. Forward kinematics: rotation and position of every joint of the right hand.
    local = joint_rotations(angles, rig.axes).unbind(-3)
    rotations = [torch.eye(3).expand_as(local[0])]
    positions = [rig.joints[0].expand(rotations[0].shape[:-1])]
    for joint in range(1, 16):
        # The first joint of each finger hangs at the wrist.
        parent = 0 if joint % 3 == 1 else joint - 1
        bone = rig.joints[joint] - rig.joints[parent]
        offset = rotations[parent] @ bone
        rotations.append(rotations[parent] @ local[joint - 1])
        positions.append(positions[parent] + offset)

    # 2. Each point blends the rigid motions of its joints.
    rotation = torch.stack(rotations, -3)  # (*b, 2, 16, 3, 3)
    rotated_joints = (rotation @ rig.joints[..., None]).squeeze(-1)
    translation = torch.stack(positions, -2) - rotated_joints
    rigid = torch.cat([rotation, translation[..., None]], -1)
    blended = rig.weights @ rigid.flatten(-2)
    blended = blended.unflatten(-1, (3, 4))  # (*b, 2, p, 3, 4)
    points = (blended[..., :3] @ rig.points[..., None]).squeeze(-1)
    points = points + blended[..., 3] - rig.joints[0]

    # 3. The left hand is the right hand's mirror image.
    of_right = [[1.0, 1, 1]]
    of_left = [[-1.0, 1, 1]]
    mirror = torch.tensor([of_right, of_left])
    return points * mirror @ orientation.mT + wrist_mm[..., None, :]


def joint_rotations(
    angles: Float[Tensor, "*b 15 3"],
    axes: Float[Tensor, "15 3 3"],
) -> Float[Tensor, "*b 15 3 3"]:
    """Local rotations of the finger joints: abduction · flexion · twist."""
    about_axes = axis_angle_to_matrix(angles[..., None] * torch.eye(3))
    flexion, abduction, twist = about_axes.unbind(-3)
    return axes @ (abduction @ flexion @ twist) @ axes.mT


def joint_angles(
    pose: Float[np.ndarray, "*b 48"],
    side: int,
) -> Float32[np.ndarray, "*b 15 3"]:
    """The joint angles of MANO poses; the inverse of `mano_pose`.

    Args:
        pose: Axis-angle vectors of the 16 joints, of a flat mean hand.
        side: 0 for the right hand, 1 for the left one.

    Returns:
        Flexion, abduction and twist in radians.
    """
    # 1. The rotations in the axes of each joint.
    mirror = [1, -1, -1] if side else [1, 1, 1]
    fingers = pose[..., 3:].reshape(*pose.shape[:-1], 15, 3)
    axes = _rig_file()["axes"]
    to_axes = axes.transpose(0, 2, 1)
    rotations = to_axes @ rotation_matrix(fingers * mirror) @ axes

    # 2. Their elements that abduction · flexion · twist leaves simple.
    m00 = rotations[..., 0, 0]
    m02 = rotations[..., 0, 2]
    m10 = rotations[..., 1, 0]
    m11 = rotations[..., 1, 1]
    m12 = rotations[..., 1, 2]
    m20 = rotations[..., 2, 0]
    m22 = rotations[..., 2, 2]

    # 3. The angles. Only the thumb's base twists; the other joints can be told apart
    # beyond 90° as well.
    twists = LIMITS[:, 2, 1] > 0
    cosine = np.hypot(m10, m11) * np.sign(m11)
    flexion = np.arctan2(-m12, cosine)
    abduction_with_twist = np.arctan2(m02, m22)
    abduction_alone = np.arctan2(-m20, m00)
    abduction = np.where(twists, abduction_with_twist, abduction_alone)
    twist = np.where(twists, np.arctan2(m10, m11), 0)
    return np.stack([flexion, abduction, twist], -1).astype(np.float32)


def mano_pose(
    rig: Rig,
    angles: Float[np.ndarray, "*b 2 15 3"],
    orientation: HandRotations,
) -> Float32[np.ndarray, "*b 2 48"]:
    """Axis-angle poses of both hands in MANO's layout, for a flat mean hand."""
    local = joint_rotations(to_tensor(angles), rig.axes)
    fingers = axis_angle(local.numpy())
    of_left = fingers[..., 1, :, :]
    of_left *= [1, -1, -1]
    fingers = fingers.reshape(*fingers.shape[:-2], 45)
    wrist = axis_angle(orientation)
    return np.concatenate([wrist, fingers], -1, dtype="f4")


def hand_frame(
    orientation: HandRotations,
) -> HandRotations:
    """Columns: where fingers, back and little finger's side of each hand point."""
    return orientation @ REST_FRAME


def frame_from_directions(
    fingers: Float[np.ndarray, "2 3"],
    palm: Float[np.ndarray, "2 3"],
) -> Float[np.ndarray, "2 3 3"]:
    """Orientations of both hands whose fingers and palms point as given.

    Args:
        fingers: Where the fingers point, of any length.
        palm: Where the palm faces; made perpendicular to the fingers.
    """
    fingers = normalize(fingers)
    along = (palm * fingers).sum(-1, keepdims=True)
    back = normalize(along * fingers - palm)
    little = np.cross(fingers, back)
    of_right = [1]
    of_left = [-1]
    little = little * [of_right, of_left]
    frame = np.stack([fingers, back, little], -1)
    to_rest = REST_FRAME.transpose(0, 2, 1)
    return frame @ to_rest


def rotation_matrix(
    axis_angles: Vectors,
) -> Rotations:
    """Rotation matrices of axis-angle vectors (rad), in numpy."""
    vectors = torch.from_numpy(np.asarray(axis_angles, np.float64))
    return axis_angle_to_matrix(vectors).numpy()


def axis_angle(rotations: Rotations) -> Vectors:
    """Axis-angle vectors (rad) of rotation matrices."""
    flat = np.asarray(rotations, np.float64).reshape(-1, 3, 3)
    vectors = []
    for matrix in flat:
        vector, _ = cv2.Rodrigues(matrix)
        vectors.append(vector[:, 0])
    shape = rotations.shape[:-1]
    return np.stack(vectors).reshape(shape)


def jitter(
    rng: Rng,
    rotations: Rotations,
    sigma: float | Vector,
) -> Rotations:
    """Rotations, each followed by a random one of so many radians."""
    vectors = rng.normal(0, 1, rotations.shape[:-1]) * sigma
    return rotation_matrix(vectors) @ rotations


def normalize(vectors: Vectors) -> Vectors:
    """Vectors of length one."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-9)


def to_tensor(array: np.ndarray) -> Tensor:
    """An array as a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))

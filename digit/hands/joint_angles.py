"""How fingers bend: the axes of the finger joints and the limits of their angles.

The fitting of hand models to joints and the generator of synthetic poses both use
this one description of a hand's range of motion.

A finger joint's rotation is given by three angles in radians: flexion towards the palm,
abduction towards the thumb's side and twist about the bone. They are applied as
abduction · flexion · twist about the joint's own rest axes. Both hands use the right
hand's axes; a left hand is the mirror image of a right one.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

FLEXION, ABDUCTION, TWIST = 0, 1, 2

# Lower and upper limits in degrees of (flexion, abduction, twist), in MANO's order of
# joints. Ranges after Kapandji, "The Physiology of the Joints", shifted by the spread
# of the rest pose. An axis that a joint does not have is limited to (0, 0).
_MIDDLE_JOINT = [(-4, 108), (0, 0), (0, 0)]
_LAST_JOINT = [(-6, 72), (0, 0), (0, 0)]
_LIMITS_DEG = [
    [(-20, 90), (-18, 22), (0, 0)], _MIDDLE_JOINT, _LAST_JOINT,  # index
    [(-20, 90), (-15, 18), (0, 0)], _MIDDLE_JOINT, _LAST_JOINT,  # middle
    [(-20, 90), (-18, 30), (0, 0)], _MIDDLE_JOINT, _LAST_JOINT,  # pinky
    [(-20, 90), (-12, 22), (0, 0)], _MIDDLE_JOINT, _LAST_JOINT,  # ring
    [(-24, 40), (-26, 28), (-20, 32)],  # thumb
    [(-12, 58), (0, 0), (0, 0)],
    [(-20, 78), (0, 0), (0, 0)],
]  # fmt: skip
LIMITS = np.radians(_LIMITS_DEG).astype(np.float32)  # (15, 3, 2)

# The angles that can change: 15 flexions, 4 abductions of the knuckles, abduction and
# twist of the thumb's base.
ANGLE_JOINT, ANGLE_AXIS = np.nonzero(LIMITS[..., 0] < LIMITS[..., 1])  # 0 is index1
ANGLE_LOW, ANGLE_HIGH = LIMITS[ANGLE_JOINT, ANGLE_AXIS].T
N_ANGLES = len(ANGLE_JOINT)  # 21

# Flexion axis of the thumb's joints in MANO's rest pose of the right hand, by eye.
_THUMB_FLEXION = (0.48, -0.87, 0.0)


def rest_axes(
    rest_joints: Float[Tensor, "16 3"], fingertips: Float[Tensor, "5 3"]
) -> Float[Tensor, "15 3 3"]:
    """The axes of the right hand's finger joints in MANO's rest pose.

    Args:
        rest_joints: MANO's joints of a right hand in the rest pose, any unit.
        fingertips: Fingertips in MANO's order (index, middle, pinky, ring, thumb).

    Returns:
        A rotation matrix per finger joint whose columns are the axes of flexion,
        abduction and twist. Twist runs along the bone that the joint moves.
    """
    # 1. Directions of the bones that the joints move.
    chains = rest_joints[1:].unflatten(0, (5, 3))
    ends = torch.cat([chains[:, 1:], fingertips[:, None]], 1).flatten(0, 1)
    along = torch.nn.functional.normalize(ends - rest_joints[1:], dim=-1)

    # 2. Fingers flex about an axis across the palm: the back of the hand (+y) crossed
    #    with the finger's direction, drawn towards the middle finger's.
    up = torch.tensor([0.0, 1.0, 0.0]).to(along)
    across = torch.linalg.cross(up.expand_as(along), 0.6 * along + 0.4 * along[3])
    across[12:] = torch.tensor(_THUMB_FLEXION).to(along)

    # 3. Make the axes orthonormal.
    across = across - (across * along).sum(-1, keepdim=True) * along
    across = torch.nn.functional.normalize(across, dim=-1)
    return torch.stack([across, torch.linalg.cross(along, across), along], -1)


def angle_axes(angles: Float[Tensor, "*b 15 3"]) -> Float[Tensor, "*b 15 3 3"]:
    """Instantaneous rotation axes of flexion, abduction and twist in a joint's rest frame.

    Row i is the axis about which the joint's bone turns when angle i grows.
    """
    flexion, abduction, _ = angles.unbind(-1)
    zero = torch.zeros_like(flexion)
    one = torch.ones_like(flexion)
    cos_abduction = abduction.cos()
    sin_abduction = abduction.sin()
    flexion_axis = torch.stack([cos_abduction, zero, -sin_abduction], -1)
    abduction_axis = torch.stack([zero, one, zero], -1)
    twist_axis = torch.stack(
        [
            sin_abduction * flexion.cos(),
            -flexion.sin(),
            cos_abduction * flexion.cos(),
        ],
        -1,
    )
    return torch.stack([flexion_axis, abduction_axis, twist_axis], -2)


def angles_to_rotation(angles: Float[Tensor, "*b 15 3"]) -> Float[Tensor, "*b 15 3 3"]:
    """Rotations abduction · flexion · twist in the rest frames of the joints."""
    flexion_axis, abduction_axis, bone = angle_axes(angles).unbind(-2)
    # Twist turns the flexion axis and its perpendicular about the bone.
    side = torch.linalg.cross(bone, flexion_axis)
    cos = angles[..., TWIST, None].cos()
    sin = angles[..., TWIST, None].sin()
    return torch.stack(
        [cos * flexion_axis + sin * side, cos * side - sin * flexion_axis, bone], -1
    )

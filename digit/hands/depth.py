"""How far away hands are, from the length of their bones.

A 2.5D prediction has no absolute depth. With a camera, hands of ordinary size look as
large as they do at one distance only; contradictions and meshes of predictions are
placed there.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from digit.hands.model import HandModel
from digit.skeleton import BONES, JOINT_SIDE

NEAREST_MM, FARTHEST_MM = 100.0, 5000.0
HALVINGS = 30  # of the interval above: to 0.005 mm


def mean_bone_lengths_mm(hand: HandModel) -> Float[Tensor, "20"]:
    """Bone lengths of a hand model's mean shape, in the order of one hand's `BONES`."""
    joints = hand.joints(hand.v_template) * 1000
    child, parent = torch.from_numpy(BONES[: len(BONES) // 2]).unbind(-1)
    return (joints[child] - joints[parent]).norm(dim=-1)


def wrist_depth_from_bones(
    joints_px: Float[Tensor, "b 42 2"],
    relative_depth_mm: Float[Tensor, "b 42"],
    root_offset_mm: Float[Tensor, "b 2"],
    present: Bool[Tensor, "b 2"],
    focal: Float[Tensor, "#b 2"],
    princpt: Float[Tensor, "#b 2"],
    bone_lengths_mm: Float[Tensor, "20"],
) -> Float[Tensor, "b"]:
    """The depth at which the bones of the hands are as long in sum as those given.

    Args:
        joints_px: Joints in the image.
        relative_depth_mm: Their depths behind their own wrists.
        root_offset_mm: Depth of each wrist minus the sought one, mm: 0 for the right
            hand and the relative root depth for the left one, as a rule.
        present: Which hands are there; the others do not count.
        focal: Focal lengths, px.
        princpt: Principal points, px.
        bone_lengths_mm: Of one hand, see `mean_bone_lengths_mm`.

    Returns:
        Depths, mm; NaN where there is no hand.
    """
    # 1. A joint at depth Z + k lies at (Z + k) · (ray, 1): a bone's vector is linear
    #    in Z.
    ray = (joints_px - princpt[:, None]) / focal[:, None]
    side = torch.from_numpy(JOINT_SIDE)
    beyond_mm = relative_depth_mm + root_offset_mm[:, side]
    direction = torch.cat([ray, torch.zeros_like(ray[..., :1])], -1)
    offset_mm = torch.cat([ray, torch.ones_like(ray[..., :1])], -1)
    offset_mm = offset_mm * beyond_mm[..., None]
    child, parent = torch.from_numpy(BONES).unbind(-1)
    slope = direction[:, child] - direction[:, parent]
    start_mm = offset_mm[:, child] - offset_mm[:, parent]

    # 2. The sum of the bones' lengths grows with Z: bisection on a logarithmic scale.
    counted = present[:, side[child]].to(ray)
    wanted_mm = (counted * torch.cat([bone_lengths_mm] * 2).to(ray)).sum(-1)
    low = torch.full_like(wanted_mm, NEAREST_MM).log()
    high = torch.full_like(wanted_mm, FARTHEST_MM).log()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        bones_mm = start_mm + middle.exp()[:, None, None] * slope
        is_longer = (bones_mm.norm(dim=-1) * counted).sum(-1) > wanted_mm
        high = torch.where(is_longer, middle, high)
        low = torch.where(is_longer, low, middle)
    depth_mm = ((low + high) / 2).exp()
    return torch.where(present.any(-1), depth_mm, torch.nan)

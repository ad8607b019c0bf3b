"""Bringing two hands into contact."""

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int

from digit.geometry import axis_angle_to_matrix
from digit.hands.rasterizer import COMPILED
from digit.synth.anatomy import LIMITS, Rig, _tensor, pose_spots


def touch(
    rig: Rig,
    angles: Float[np.ndarray, "t 2 15 3"],
    turn: Float[np.ndarray, "t 2 3 3"],
    wrist: Float[np.ndarray, "t 2 3"],
    retreat: Float[np.ndarray, "t 2 3"],
    contacts: Int[np.ndarray, "t c 2"],
    present: Bool[np.ndarray, "t 2"],
    steps: int = 50,
) -> tuple[Float32[np.ndarray, "t 2 ..."], ...]:
    """Angles, turns and wrists near the given ones at which the contacts (spots; −1 none) meet and
    no balls overlap, by gradient steps on all instants at once; angles stay within `LIMITS`. Hands
    start apart by `retreat` (mm), and opened by as much, and close in."""
    angles0, turn0, wrist0, far = map(_tensor, (angles, turn, wrist, retreat))
    low, high = _tensor(LIMITS).unbind(-1)
    ajar = 1 - 0.012 * far.norm(dim=-1)[..., None, None] * torch.tensor([1.0, 0, 0])
    angle, spin = (
        (angles0 * ajar).requires_grad_(),
        torch.zeros_like(wrist0, requires_grad=True),
    )
    shift = (far / 50).requires_grad_()
    adam = torch.optim.Adam([angle, spin, shift], lr=0.03, betas=(0.8, 0.95))
    both, wanted = _tensor(present.all(1)), _tensor(contacts[..., 0] >= 0)
    each, pair = (
        torch.arange(len(angles))[:, None],
        torch.from_numpy(np.maximum(contacts, 0)),
    )
    room = rig.radii[:, None] + rig.radii
    alone = (room - rig.slack)[
        ::2, ::2
    ]  # half of a hand's balls tell enough about itself
    for _ in range(steps):
        posed = pose_spots(
            rig, angle, axis_angle_to_matrix(spin) @ turn0, wrist0 + 50 * shift
        )
        balls = posed[..., : len(room), :]
        gap = posed[each, 0, pair[..., 0]] - posed[each, 1, pair[..., 1]]
        pull = ((gap.square().sum(-1) + 4).sqrt() * wanted).sum(1) / wanted.sum(
            1
        ).clamp(min=1)
        between = (room + 0.5 - torch.cdist(balls[:, 0], balls[:, 1])).clamp(min=0)
        within = (alone - torch.cdist(balls[..., ::2, :], balls[..., ::2, :])).clamp(
            min=0
        )
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
        aside = (
            np.sqrt(max(best - out * out, 0.0)) - 2.5
        )  # beyond the vertex's own neighbourhood
        if out < 0 and aside < 2.5:
            depth = max(depth, -out)
            push -= out * b_normals[near]
        else:
            gap = min(gap, np.sqrt(out * out + max(aside, 0.0) ** 2))
    size = np.sqrt((push * push).sum())
    return (0.0 if size > 0 else gap), depth, push / max(size, 1e-9)

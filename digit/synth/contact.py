"""Bringing two hands into contact without letting them pass through each other.

`motion` and `held_motion` call `bring_into_contact` on the fast rig; `capture` calls
`separate_hands` on the skinned meshes for what is left.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from digit.geometry import axis_angle_to_matrix
from digit.hands.model import HandModel
from digit.hands.penetration import measure_contact
from digit.synth.anatomy import LIMITS, Rig, normalize, pose_rig, to_tensor
from digit.synth.arrays import PresentOverTime
from digit.synth.shading import vertex_normals

# Skin gives way by so much before two hands count as passing through each other.
SKIN_GIVES_MM = 2.0
# Weights of the terms that `bring_into_contact` minimises, and its steps; chosen by
# eye.
BETWEEN_HANDS_WEIGHT = 0.3
WITHIN_HAND_WEIGHT = 0.12
STAY_WEIGHT = 2
STEPS = 50
LEARNING_RATE = 0.03
# The optimised shift is in these units, so that one learning rate suits angles and
# lengths.
SHIFT_UNIT_MM = 50
# Spheres of different hands keep this distance.
GAP_MM = 0.5
# How much a hand opens for each mm that it starts away from the other.
OPENING_PER_MM = 0.012
# `separate_hands` repeats this often at most, each time by this share of the
# penetration.
SEPARATION_ROUNDS = 12
SEPARATION_SHARE = 0.6
# Points of the rig in both hands, and a number, of every instant.
RigPoints = Float[Tensor, "t 2 p 3"]
PerInstant = Float[Tensor, "t"]


class Start(NamedTuple):
    """Poses of T instants before the hands touch, two hands each."""

    angles: Float[np.ndarray, "t 2 15 3"]
    orientation: Float[np.ndarray, "t 2 3 3"]
    wrist_mm: Float[np.ndarray, "t 2 3"]
    # From where the hands close in, relative to their place.
    retreat_mm: Float[np.ndarray, "t 2 3"]
    # Pairs of rows of `Rig.points` that touch, right and left; −1 for none.
    contacts: Int[np.ndarray, "t c 2"]


class Posed(NamedTuple):
    """Poses of T instants, two hands each."""

    angles: Float32[np.ndarray, "t 2 15 3"]
    orientation: Float32[np.ndarray, "t 2 3 3"]
    wrist_mm: Float32[np.ndarray, "t 2 3"]


class _Spheres(NamedTuple):
    """What `bring_into_contact` needs to know of the rig's spheres."""

    apart: Float[Tensor, "s s"]  # distance at which two spheres touch
    apart_within: Float[Tensor, "h h"]  # of one hand, for every second sphere


def bring_into_contact(
    rig: Rig,
    start: Start,
    present: PresentOverTime,
) -> Posed:
    """Poses near the given ones whose contacts meet and whose spheres do not overlap.

    Gradient steps on all instants at once. Hands start apart by `retreat_mm`, opened by
    as much, and close in; joint angles stay within `LIMITS`.

    Args:
        rig: The subject's right hand.
        start: The poses to start from.
        present: Which hands are there.
    """
    wanted_angles = to_tensor(start.angles)
    wanted_orientation = to_tensor(start.orientation)
    wanted_wrist = to_tensor(start.wrist_mm)
    retreat = to_tensor(start.retreat_mm)
    low, high = to_tensor(LIMITS).unbind(-1)

    # 1. Start away from the other hand, with the flexion opened.
    flexion_only = torch.tensor([1.0, 0, 0])
    away = retreat.norm(dim=-1)[..., None, None]
    opened = 1 - OPENING_PER_MM * away * flexion_only
    angles = (wanted_angles * opened).requires_grad_()
    spin = torch.zeros_like(wanted_wrist, requires_grad=True)
    shift = (retreat / SHIFT_UNIT_MM).requires_grad_()
    optimizer = torch.optim.Adam(
        [angles, spin, shift], lr=LEARNING_RATE, betas=(0.8, 0.95)
    )

    # 2. What stays the same over the steps.
    both = to_tensor(present.all(1))
    touch_at = to_tensor(start.contacts[..., 0] >= 0)
    pairs = torch.from_numpy(np.maximum(start.contacts, 0))
    apart = rig.radii[:, None] + rig.radii
    # Half of a hand's spheres tell enough about collisions within it.
    spheres = _Spheres(apart, (apart - rig.allowed_overlap)[::2, ::2])

    # 3. Close in.
    for _ in range(STEPS):
        orientation = axis_angle_to_matrix(spin) @ wanted_orientation
        wrist = wanted_wrist + SHIFT_UNIT_MM * shift
        points = pose_rig(rig, angles, orientation, wrist)
        moved = (angles - wanted_angles).square().sum((1, 2, 3))
        moved = moved + spin.square().sum((1, 2))
        loss = _contact_loss(points, pairs, touch_at)
        loss = loss + BETWEEN_HANDS_WEIGHT * _overlap_between(points, spheres) * both
        loss = loss + STAY_WEIGHT * moved
        loss = loss + WITHIN_HAND_WEIGHT * _overlap_within(points, spheres)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        with torch.no_grad():
            angles.clamp_(low, high)

    orientation = axis_angle_to_matrix(spin) @ wanted_orientation
    wrist = wanted_wrist + SHIFT_UNIT_MM * shift
    return Posed(
        angles=angles.detach().numpy(),
        orientation=orientation.detach().numpy(),
        wrist_mm=wrist.detach().numpy(),
    )


def _contact_loss(
    points: RigPoints,
    pairs: Int[Tensor, "t c 2"],
    touch_at: Float[Tensor, "t c"],
) -> PerInstant:
    """Mean distance (mm) of the landmarks that should touch, smooth near zero."""
    instant = torch.arange(len(points))[:, None]
    right = points[instant, 0, pairs[..., 0]]
    left = points[instant, 1, pairs[..., 1]]
    square = (right - left).square().sum(-1)
    distance = (square + 4).sqrt()
    total = (distance * touch_at).sum(1)
    count = touch_at.sum(1).clamp(min=1)
    return total / count


def _overlap_between(
    points: RigPoints,
    spheres: _Spheres,
) -> PerInstant:
    """Sum of squared overlaps (mm²) between spheres of different hands."""
    centres = points[..., : len(spheres.apart), :]
    right = centres[:, 0]
    left = centres[:, 1]
    distance = torch.cdist(right, left)
    overlap = spheres.apart + GAP_MM - distance
    return overlap.clamp(min=0).square().sum((1, 2))


def _overlap_within(
    points: RigPoints,
    spheres: _Spheres,
) -> PerInstant:
    """Sum of squared overlaps (mm²) between spheres of the same hand."""
    centres = points[..., : len(spheres.apart), :]
    every_second = centres[..., ::2, :]
    distance = torch.cdist(every_second, every_second)
    overlap = spheres.apart_within - distance
    return overlap.clamp(min=0).square().sum((1, 2, 3))


class Separation(NamedTuple):
    """What `separate_hands` did; NaN where not both hands are there."""

    shift_mm: Float32[np.ndarray, "t 2 3"]  # translation of each hand
    distance_mm: Float[np.ndarray, "t"]  # between the hands after it
    penetration_mm: Float[np.ndarray, "t"]  # after it


def separate_hands(
    models: tuple[HandModel, HandModel],
    hands_mm: Float32[np.ndarray, "t 2 v 3"],
    both: Bool[np.ndarray, "t"],
) -> Separation:
    """Move hands apart that pass through each other by more than skin gives way.

    Args:
        models: The right and the left hand.
        hands_mm: Their vertices.
        both: The instants that show both hands.
    """
    count = len(hands_mm)
    shift = np.zeros((count, 2, 3), np.float32)
    distance = np.full(count, np.nan)
    penetration = np.full(count, np.nan)
    every_vertex = np.arange(hands_mm.shape[2])
    for t in np.flatnonzero(both):
        normals = [
            vertex_normals(hand, model.faces, every_vertex)
            for hand, model in zip(hands_mm[t], models, strict=True)
        ]
        for _ in range(SEPARATION_ROUNDS):
            right, left = hands_mm[t] + shift[t, :, None]
            right_gap, right_depth, right_push = measure_contact(
                right, left, normals[1]
            )
            left_gap, left_depth, left_push = measure_contact(left, right, normals[0])
            distance[t] = min(right_gap, left_gap)
            penetration[t] = max(right_depth, left_depth)
            if penetration[t] <= SKIN_GIVES_MM:
                break
            direction = normalize(right_push * right_depth - left_push * left_depth)
            excess = penetration[t] - SKIN_GIVES_MM / 2
            step = SEPARATION_SHARE * excess * direction
            shift[t] += [step, -step]
    return Separation(shift, distance, penetration)

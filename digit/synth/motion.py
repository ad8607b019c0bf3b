"""Sequences that move between key poses."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from digit.synth.anatomy import (
    _REST,
    Person,
    Rig,
    _jitter,
    _log,
    _tensor,
    hand_frame,
    limited,
    pose_spots,
    reach,
    rotation,
    unit,
)
from digit.synth.contact import touch
from digit.synth.families import families, shapes


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
    present = np.array(
        [[not n.startswith("left:"), not n.startswith("right:")] for n in family]
    )
    hands = touch(rig, *start, present)
    return Motion(family, np.arange(len(family)) // instants, present, *hands)


def _sequence(rng, rig, person, name, instants):
    """A sequence's angles, turns, wrists, retreats and contacts, before the hands touch."""
    one, _, shape = name.partition(":")
    shown, n_keys = [int(one == "left")] if shape else [0, 1], 2 if instants < 6 else 3
    upright = {
        "roles": [[shape, [0, 1, 0], [0, 0, 1]]] * 2,
        "contacts": [],
        "swap": False,
    }
    family = upright if shape else families()[name]
    order = slice(None, None, -1 if family["swap"] and rng.random() < 0.5 else 1)
    roles, pairs = family["roles"][order], [pair[order] for pair in family["contacts"]]
    used = np.array(
        [[rig.points[point] for point in pair] for pair in pairs], int
    ).reshape(-1, 2)
    contacts = np.full((instants, 10, 2), -1)
    contacts[:, : len(pairs)] = used

    keys = [[r[0] or rng.choice(list(shapes())) for r in roles] for _ in range(n_keys)]
    angles = np.array(
        [[shapes()[shape] for shape in key] for key in keys]
    )  # (keys, 2, 15, 3)
    noise = rng.normal(0, 0.13, angles.shape) + rng.normal(
        0, 0.08, (*angles.shape[:-1], 1)
    )
    angles = limited(angles + noise)
    aims = np.array([role[1:] for role in roles], float) + rng.normal(
        0, 0.12, (2, 2, 3)
    )
    aims = aims * np.array(
        [[[-1, -1, -1]], [[1, -1, -1]]]
    )  # outward, up, front → world
    fingers = unit(aims[:, 0])
    back = unit((aims[:, 1] * fingers).sum(-1, keepdims=True) * fingers - aims[:, 1])
    base = np.stack([fingers, back, np.cross(fingers, back) * [[1], [-1]]], -1)
    base = np.stack(
        [_jitter(rng, base @ _REST.transpose(0, 2, 1), 0.1) for _ in range(n_keys)]
    )

    wrist, retreat = np.zeros((2, n_keys, 2, 3))
    if pairs:
        posed = pose_spots(rig, *map(_tensor, (angles, base, wrist))).numpy()
        skin = np.stack([posed[:, side, used[:, side]] for side in (0, 1)], 1)
        wrist[:, 1] = (skin[:, 0] - skin[:, 1]).mean(1)
        wrist[0, 1, 0] += rng.uniform(15, 70) * (
            rng.random() < 0.15
        )  # begins before they touch
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
        wrist[:, 1] = [rng.uniform(90, 240), 0, 0] + rng.normal(
            0, [15, 30, 30], (n_keys, 3)
        )

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

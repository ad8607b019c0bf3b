"""A person's body as a mesh: hands of the model, arms with sleeves, torso and head."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from digit.hands.model import HandModel, load_hand
from digit.synth.anatomy import Person, hand_frame, reach, unit
from digit.synth.renderer import CLOTH, HAND, SKIN, Surface
from digit.synth.textures import TILE, draw_cloth, draw_skin

# Arm: share of the way from wrist to shoulder, half width and depth (mm).
_ARM = np.array(
    [
        [0, 27, 19],
        [0.05, 30, 22],
        [0.12, 30, 24],
        [0.22, 35, 31],
        [0.34, 42, 38],
        [0.46, 43, 41],
        [0.54, 42, 42],
        [0.62, 42, 44],
        [0.74, 47, 48],
        [0.87, 52, 52],
        [1, 50, 52],
    ]
)
_BARE, _DRESSED = 8, 10  # rings of an arm's skin and of its sleeve
# Head and torso: height below the shoulders (mm), half width and depth as shares of the girth.
_TORSO = np.array(
    [
        [-330, 0.02, 0.03],
        [-300, 0.42, 0.8],
        [-220, 0.46, 0.95],
        [-120, 0.4, 0.8],
        [-90, 0.32, 0.5],
        [-45, 0.33, 0.5],
        [-45, 0.35, 0.55],
        [-25, 0.7, 0.62],
        [10, 1, 0.75],
        [80, 1.05, 0.95],
        [200, 1, 1],
        [420, 0.97, 1],
        [900, 1, 1],
    ]
)
_COLLAR, _AROUND = 6, 24


class Body(NamedTuple):
    """A person's mesh but for its places: hands right and left, arms right and left, torso."""

    models: tuple[HandModel, HandModel]
    surface: Surface
    owner: Int[np.ndarray, "f"]  # 0 right hand, 1 left hand, 2 the rest
    weld: Int[np.ndarray, "v"]  # the vertex that a vertex shares its normal with
    cuff: float  # where sleeves end, share of the way from wrist to shoulder
    bulk: float  # of the arms


def build_body(rng: np.random.Generator) -> Body:
    """A person's topology, skin, clothes and sleeves."""
    models = load_hand("right"), load_hand("left")
    rim, count = models[0].rim, len(models[0].v_template)
    open_ = np.flatnonzero(
        ~np.isin(models[0].faces, rim).all(1)
    )  # without the stub's seal
    faces = [model.faces[open_] + side * count for side, model in enumerate(models)]
    material, weld, start = (
        [np.full(2 * len(open_), HAND)],
        [np.arange(2 * count)],
        2 * count,
    )
    for tube, (around, flip) in enumerate(
        ((len(rim), 1), (len(rim), -1), (_AROUND, -1))
    ):
        rings, bare = (
            (len(_TORSO), _COLLAR + 1) if tube == 2 else (_BARE + _DRESSED, _BARE)
        )
        a = start + np.arange(rings - 1)[:, None] * (around + 1) + np.arange(around)
        b = a + around + 1
        faces.append(
            np.stack([a, a + 1, b, a + 1, b + 1, b], -1).reshape(-1, 3)[:, ::flip]
        )
        kinds = np.where(np.arange(rings - 1) < bare - 1, SKIN, CLOTH)
        material.append(kinds.repeat(2 * around))
        shared = start + np.arange(rings * (around + 1)).reshape(rings, -1)
        shared[:, -1] = shared[:, 0]  # the last column lies upon the first
        if tube < 2:
            shared[0] = np.append(rim, rim[0]) + tube * count
        weld.append(shared.ravel())
        start += shared.size
    material = np.concatenate(material)
    owner, texture = np.full(len(material), 2), np.zeros(len(material), int)
    owner[: 2 * len(open_)] = np.repeat([0, 1], len(open_))
    texture[: 2 * len(open_)] = np.append(open_, -1 - open_)
    cuff = rng.choice(
        [rng.uniform(0.1, 0.2), rng.uniform(0.3, 0.55), rng.uniform(0.68, 0.8)]
    )
    hand, arm = draw_skin(rng)
    tiles = np.stack([arm, draw_cloth(rng)])
    surface = Surface(np.concatenate(faces), material, texture, hand, tiles)
    return Body(
        models, surface, owner, np.concatenate(weld), cuff, rng.uniform(0.85, 1.12)
    )


def _arm(body, side, hand, frame, wrist, elbow, shoulder):
    """An arm's vertices from the hand's rim up, (rings, around, 3), and their share of the way."""
    rim = hand[np.append(body.models[side].rim, body.models[side].rim[0])]
    middle = rim[:-1].mean(0)
    around = np.arctan2((rim - middle) @ frame[:, 1], (rim - middle) @ frame[:, 2])[
        :, None
    ]
    line = np.stack(
        [
            middle,
            middle - 18 * frame[:, 0],
            wrist + 75 * unit(elbow - wrist),
            (wrist + elbow) / 2,
            elbow,
            (elbow + shoulder) / 2,
            shoulder,
        ]
    )
    for _ in range(3):  # Chaikin's corner cutting; the ends stay
        cut = np.stack(
            [0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], 1
        )
        line = np.concatenate([line[:1], cut.reshape(-1, 3)[1:-1], line[-1:]])
    passed = np.append(0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
    at = np.append(
        np.linspace(0, body.cuff, _BARE), np.linspace(body.cuff, 1, _DRESSED)
    )

    def place(share):
        return np.stack([np.interp(share * passed[-1], passed, c) for c in line.T], 1)

    tangent = unit(place(np.minimum(at + 0.008, 1)) - place(np.maximum(at - 0.008, 0)))
    hinge = unit(np.cross(shoulder - elbow, wrist - elbow))
    hinge, turn = (
        hinge * (1 if hinge @ frame[:, 2] > 0 else -1),
        np.clip(at / 0.45, 0, 1)[:, None],
    )
    wide = (1 - turn) * frame[:, 2] + turn * hinge  # from the hand's axes to the arm's
    wide = unit(wide - (wide * tangent).sum(1, keepdims=True) * tangent)[:, None]
    deep = np.cross(wide, tangent[:, None]) * (1 if side else -1)
    sleeve = np.where(np.arange(len(at)) < _BARE, 0, 6 + 5 * np.sin(9 * at))
    half = [np.interp(at, _ARM[:, 0], body.bulk * h) + sleeve for h in _ARM[:, 1:].T]
    half = [h[:, None, None] for h in half]
    rings = (
        place(at)[:, None]
        + np.cos(around) * half[0] * wide
        + np.sin(around) * half[1] * deep
    )
    rings[0] = rim
    return rings, at * passed[-1]


def build_mesh(
    body: Body,
    person: Person,
    hands: Float[np.ndarray, "2 v 3"],
    turn: Float[np.ndarray, "2 3 3"],
    wrist: Float[np.ndarray, "2 3"],
    present: Bool[np.ndarray, "2"],
) -> tuple[Float32[np.ndarray, "u 3"], Float32[np.ndarray, "u 2"]]:
    """A person's vertices (mm, world) and texture coordinates (mm). An absent hand shrinks to a
    point behind the back."""
    vertices, uv = list(hands.copy()), [np.zeros((2 * hands.shape[1], 2))]
    elbow, frame = reach(person, turn, wrist)[0], hand_frame(turn)
    tubes = []
    for side, out in enumerate((-60, 60)):
        shoulder = person.shoulders[side]
        ends = wrist[side], elbow[side]
        if not present[side]:
            vertices[side][:] = person.chest + [out, 260, person.girth[1] + 40]
            ends = vertices[side][0], shoulder + [out, 0.96 * person.upper, 30]
        tubes.append(
            (*_arm(body, side, vertices[side], frame[side], *ends, shoulder), 1)
        )
    angle, half = np.linspace(0, 2 * np.pi, _AROUND + 1), _TORSO[:, 1:] * person.girth
    y = person.shoulders[0, 1] + _TORSO[:, 0]
    x, z = np.cos(angle) * half[:, :1], np.sin(angle) * half[:, 1:] + person.chest[2]
    tubes.append((np.stack(np.broadcast_arrays(x, y[:, None], z), -1), y, 4))
    for rings, along, repeats in tubes:
        across = np.linspace(0, repeats * TILE, rings.shape[1])
        vertices.append(rings.reshape(-1, 3))
        uv.append(
            np.stack(np.broadcast_arrays(along[:, None], across), -1).reshape(-1, 2)
        )
    return np.concatenate(vertices, dtype=np.float32), np.concatenate(
        uv, dtype=np.float32
    )

"""Synthetic people → an InterHand2.6M tree that never needed a download.

A capture is one person (shape, skin, clothes), one dome of cameras, one light. In it, sequences
move between the key poses of a family; every instant is seen by several cameras. Captures are
independent: whatever makes them, and in whatever order, capture k of a seed is the same.
"""

import json
import os
import shutil
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numba
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Int
from tqdm import tqdm

from . import poses, shading
from .hand import HandModel, load_hand
from .interhand import atomic, write_tree
from .raster import draw
from .skeleton import JOINTS_PER_HAND, N_JOINTS, SIDES

FRAMES_PER_CAPTURE = 144
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Profile:
    """What a data set of synthetic hands looks like. Angles in degrees, lengths in mm."""

    name: str = "studio"
    azimuth: tuple[float, float] = (-65.0, 65.0)  # of a camera, 0 in front of the person
    elevation: tuple[float, float] = (-20.0, 40.0)
    distance: tuple[float, float] = (850.0, 1150.0)
    focal: tuple[float, float] = (1.18, 1.36)  # px per mm of distance
    roll: float = 5.0  # standard deviation
    off_centre: float = 28.0  # standard deviation of what a camera looks at, mm
    cameras: int = 12  # of a capture
    views: int = 3  # of an instant
    instants: int = 6  # of a sequence
    single: float = 0.45  # share of sequences with one hand
    grey: float = 0.2  # share of grey cameras
    landscape: float = 0.25  # share of captures with frames 512 × 334
    rooms: float = 0.0  # share of captures before a bright background
    contrast: tuple[float, float] = (0.5, 1.4)  # of lamps against the light from everywhere
    blur: tuple[float, float] = (0.45, 0.8)
    noise: tuple[float, float] = (0.8, 3.0)
    quality: tuple[int, int] = (88, 94)  # of the JPEG


PROFILES = {
    "studio": Profile(),
    "wild": Profile(
        "wild", (-180.0, 180.0), (-35.0, 75.0), (450.0, 1300.0), (0.9, 1.7), 15.0, 40.0, rooms=0.85, grey=0.1,
        contrast=(0.2, 3.0), blur=(0.4, 1.6), noise=(0.8, 7.0), quality=(60, 95),
    ),
}  # fmt: skip


class Job(NamedTuple):
    """One capture to make."""

    root: str
    split: str
    capture: int
    frames: int
    seed: int
    profile: Profile


# --- a person's mesh --------------------------------------------------------------------------

_ARM_AT = (0.0, 0.05, 0.12, 0.22, 0.34, 0.46, 0.54, 0.62, 0.74, 0.87, 1.0)  # of wrist → shoulder
_ARM_HALF = ((1, 1), (30, 22), (30, 24), (35, 31), (42, 38), (43, 41), (42, 42), (42, 44), (47, 48),
             (52, 52), (50, 52))  # fmt: skip
_TORSO = (  # below the shoulders (mm), half width and depth of the girth's, material
    (-330, 0.02, 0.03, shading.SKIN), (-300, 0.42, 0.8, shading.SKIN), (-220, 0.46, 0.95, shading.SKIN),
    (-120, 0.40, 0.80, shading.SKIN), (-90, 0.32, 0.5, shading.SKIN), (-45, 0.33, 0.5, shading.SKIN),
    (-45, 0.35, 0.55, shading.CLOTH), (-25, 0.7, 0.62, shading.CLOTH), (10, 1.0, 0.75, shading.CLOTH),
    (80, 1.05, 0.95, shading.CLOTH), (200, 1.0, 1.0, shading.CLOTH), (420, 0.97, 1.0, shading.CLOTH),
    (900, 1.0, 1.0, shading.CLOTH),
)  # fmt: skip


class Body(NamedTuple):
    """What of a subject's mesh stays the same in every pose: hands right, left, then tubes."""

    models: tuple[HandModel, HandModel]
    faces: Int[np.ndarray, "f 3"]
    material: Int[np.ndarray, "f"]
    texture: Int[np.ndarray, "f"]
    owner: Int[np.ndarray, "f"]  # 0 right hand, 1 left, 2 right arm, 3 left arm, 4 torso
    weld: Int[np.ndarray, "v"]  # the vertex whose normal a vertex shares
    cuff: float  # where the sleeves end, 0 wrist … 1 shoulder
    bulk: float  # of the arms


def build_body(rng: np.random.Generator, models: tuple[HandModel, HandModel]) -> Body:
    """Topology, materials and sleeves of a person."""
    v, f = len(models[0].v_template), len(models[0].faces)
    rim = models[0].rim
    open_ = ~np.isin(models[0].faces, rim).all(1)  # without the seal of the wrist
    rows = np.flatnonzero(open_)
    faces = [models[0].faces[open_], models[1].faces[open_] + v]
    material = [np.zeros(2 * len(rows), int)]
    texture, owner = [rows, -rows - 1], [np.zeros(len(rows), int), np.ones(len(rows), int)]
    weld, start = [np.arange(2 * v)], 2 * v
    n = len(rim)
    for side in (0, 1):
        for kind in (shading.SKIN, shading.CLOTH):
            rings = len(_ARM_AT) if kind == shading.SKIN else len(_ARM_AT) + 1
            tube = _tube_faces(rings, n, flip=side == 1) + start
            faces.append(tube), material.append(np.full(len(tube), kind))
            texture.append(np.zeros(len(tube), int)), owner.append(np.full(len(tube), 2 + side))
            shared = _tube_weld(rings, n) + start
            if kind == shading.SKIN:
                shared[: n + 1] = np.append(rim, rim[0]) + side * v
            weld.append(shared)
            start += rings * (n + 1)
    tube = _tube_faces(len(_TORSO), 24, flip=True) + start
    faces.append(tube)
    kinds = np.array([row[3] for row in _TORSO])
    material.append(np.repeat(kinds[1:], 48))
    texture.append(np.zeros(len(tube), int)), owner.append(np.full(len(tube), 4))
    weld.append(_tube_weld(len(_TORSO), 24) + start)
    cuff = rng.choice([rng.uniform(0.1, 0.2), rng.uniform(0.3, 0.55), rng.uniform(0.68, 0.8)])
    cat = lambda a: np.concatenate(a).astype(np.int32)
    return Body(models, cat(faces), cat(material), cat(texture), cat(owner), cat(weld), cuff,
                rng.uniform(0.85, 1.12))  # fmt: skip


def _tube_faces(rings, n, flip):
    """Two triangles per cell of a tube of rings of n + 1 vertices, the last upon the first."""
    a = (np.arange(rings - 1)[:, None] * (n + 1) + np.arange(n)).ravel()
    b, c, d = a + 1, a + n + 1, a + n + 2
    quads = np.stack([np.stack([a, b, c], 1), np.stack([b, d, c], 1)], 1).reshape(-1, 3)
    return quads[:, ::-1] if flip else quads


def _tube_weld(rings, n):
    weld = np.arange(rings * (n + 1)).reshape(rings, n + 1)
    weld[:, n] = weld[:, 0]
    return weld.ravel()


def _arm(side, hand, frame, wrist, elbow, shoulder, rim, cuff, bulk):
    """Rings of an arm's skin and sleeve with their texture coordinates, from the hand's rim up."""
    ring0 = hand[rim]
    middle = ring0.mean(0)
    around = np.arctan2((ring0 - middle) @ frame[:, 1], (ring0 - middle) @ frame[:, 2])
    around = np.append(around, around[0])
    inward = (elbow - wrist) / np.linalg.norm(elbow - wrist)
    line = np.stack([middle, middle - 18 * frame[:, 0], wrist + 75 * inward, 0.5 * (wrist + elbow),
                     elbow, 0.5 * (elbow + shoulder), shoulder])  # fmt: skip
    for _ in range(3):  # Chaikin's corner cutting, ends kept
        cut = np.stack([0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], 1)
        line = np.concatenate([line[:1], cut.reshape(-1, 3)[1:-1], line[-1:]])
    passed = np.append(0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
    hinge = np.cross(shoulder - elbow, wrist - elbow)
    hinge = hinge / max(np.linalg.norm(hinge), 1e-6)
    hinge = hinge * np.sign(hinge @ frame[:, 2] + 1e-9)

    def rings(at, half):
        """(r, n + 1, 3) ellipses about the line, their axes turning from the hand's to the arm's."""
        s = np.asarray(at) * passed[-1]
        ahead = np.minimum(s + 4, passed[-1])
        place = lambda d: np.stack([np.interp(d, passed, line[:, c]) for c in range(3)], 1)
        centre, tangent = place(s), place(ahead) - place(np.maximum(ahead - 8, 0))
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        turn = np.clip(np.asarray(at) / 0.45, 0, 1)[:, None]
        wide = (1 - turn) * frame[:, 2] + turn * hinge
        wide -= (wide * tangent).sum(1, keepdims=True) * tangent
        wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-6)
        up = np.cross(wide, tangent)
        up = up * (1 if side else -1)
        half = np.asarray(half, float)
        ring = (np.cos(around)[:, None] * half[:, None, :1] * wide[:, None]
                + np.sin(around)[:, None] * half[:, None, 1:] * up[:, None])  # fmt: skip
        uv = np.stack(np.broadcast_arrays(s[:, None], np.linspace(0, shading.TILE, len(around))), -1)
        return centre[:, None] + ring, uv

    half = np.array(_ARM_HALF) * bulk
    skin, uv = rings(_ARM_AT, half)
    skin[0] = np.concatenate([ring0, ring0[:1]])
    at = np.concatenate([[cuff, cuff], np.linspace(cuff, 1, len(_ARM_AT))[1:]])
    loose = np.stack([np.interp(at, _ARM_AT, half[:, k]) for k in (0, 1)], 1)
    loose += np.where(np.arange(len(at)) == 0, 1.0, 6 + 5 * np.sin(9 * at))[:, None]
    sleeve, sleeve_uv = rings(at, loose)
    return [skin.reshape(-1, 3), sleeve.reshape(-1, 3)], [uv.reshape(-1, 2), sleeve_uv.reshape(-1, 2)]


def _torso(person):
    angle = np.linspace(0, 2 * np.pi, 25)
    table = np.array([row[:3] for row in _TORSO])
    half = table[:, 1:] * person.girth
    y = person.shoulders[0, 1] + table[:, 0]
    x = np.cos(angle) * half[:, :1] + person.chest[0]
    z = np.sin(angle) * half[:, 1:] + person.chest[2] + 12 * np.sin(np.clip(table[:, :1] / 200, -1, 1))
    grid = np.broadcast_arrays(x, y[:, None], z)
    uv = np.stack(np.broadcast_arrays(angle / (2 * np.pi) * 4 * shading.TILE, y[:, None]), -1)
    return np.stack(grid, -1).reshape(-1, 3), uv.reshape(-1, 2)


def build_mesh(
    body: Body, person: poses.Person, hands: Float[np.ndarray, "2 v 3"],
    turn: Float[np.ndarray, "2 3 3"], wrist: Float[np.ndarray, "2 3"],
    elbow: Float[np.ndarray, "2 3"], present: Bool[np.ndarray, "2"],
) -> tuple[Float32[np.ndarray, "u 3"], Float32[np.ndarray, "u 2"]]:  # fmt: skip
    """Vertices (mm, world) and texture coordinates (mm) of a person; an absent hand is behind the
    back, its vertices in one point."""
    vertices, uv = [hands[0].copy(), hands[1].copy()], [np.zeros((2 * hands.shape[1], 2))]
    frames = poses.hand_frame(turn)
    for side in (0, 1):
        w, e = wrist[side], elbow[side]
        if not present[side]:
            e = person.shoulders[side] + [(-60, 60)[side], person.upper * 0.96, 30]
            w = person.chest + [(-60, 60)[side], 260, person.girth[1] + 40]
            vertices[side][:] = w
        tubes, tube_uv = _arm(side, vertices[side], frames[side], w, e, person.shoulders[side],
                              body.models[side].rim, body.cuff, body.bulk)  # fmt: skip
        vertices += tubes
        uv += tube_uv
    torso, torso_uv = _torso(person)
    return (np.concatenate(vertices + [torso]).astype(np.float32),
            np.concatenate(uv + [torso_uv]).astype(np.float32))  # fmt: skip


@numba.njit(nogil=True, cache=True)
def welded_normals(vertices, faces, weld):
    """Unit normals (V, 3); vertices that share a weld share the sum of their faces'."""
    normals = np.zeros_like(vertices)
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        u, v = b - a, c - a
        n = np.array([u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]], vertices.dtype)
        for k in range(3):
            normals[weld[faces[f, k]]] += n
    for i in range(len(normals)):
        size = np.sqrt((normals[i] ** 2).sum())
        if size > 1e-12:
            normals[i] /= size
    return normals[weld]


# --- truth ------------------------------------------------------------------------------------


@numba.njit(nogil=True, cache=True)
def gap_and_depth(a, b, b_normals, b_faces, b_around):
    """Smallest distance (mm) from vertices of mesh a to the surface of b, and how deep the deepest
    of them lies inside b."""
    gap, deepest = np.inf, 0.0
    for i in range(len(a)):
        best, near = np.inf, 0
        for j in range(len(b)):
            square = (a[i, 0] - b[j, 0]) ** 2 + (a[i, 1] - b[j, 1]) ** 2 + (a[i, 2] - b[j, 2]) ** 2
            if square < best:
                best, near = square, j
        distance, inside = np.sqrt(best), False
        offset = a[i] - b[near]
        inside = (offset * b_normals[near]).sum() < 0
        for k in range(b_around.shape[1]):
            f = b_around[near, k]
            if f < 0:
                break
            p, q, r = b[b_faces[f, 0]], b[b_faces[f, 1]], b[b_faces[f, 2]]
            u, v, w = q - p, r - p, a[i] - p
            uu, uv, vv, wu, wv = (u * u).sum(), (u * v).sum(), (v * v).sum(), (w * u).sum(), (w * v).sum()
            det = uu * vv - uv * uv
            if det < 1e-12:
                continue
            s, t = (vv * wu - uv * wv) / det, (uu * wv - uv * wu) / det
            if s >= 0 and t >= 0 and s + t <= 1:
                away = w - s * u - t * v
                d = np.sqrt((away * away).sum())
                if d < distance:
                    distance = d
        if inside:
            deepest = max(deepest, distance)
            gap = 0.0
        else:
            gap = min(gap, distance)
    return gap, deepest


@lru_cache(2)
def _around(name: str):
    """Faces about each vertex of a hand (V, k), −1 where there are no more."""
    faces = load_hand("right", name).faces
    table = np.full((faces.max() + 1, 12), -1)
    count = np.zeros(len(table), int)
    for f, corners in enumerate(faces):
        table[corners, count[corners]] = f
        count[corners] += 1
    return table


def hands_apart(
    hands: Float32[np.ndarray, "2 v 3"], normals: Float32[np.ndarray, "2 v 3"],
    models: tuple[HandModel, HandModel],
) -> tuple[float, float]:  # fmt: skip
    """Smallest distance and deepest penetration (mm) of the two hands' meshes."""
    pairs = [
        gap_and_depth(hands[i], hands[1 - i], normals[1 - i], models[1 - i].faces, _around("generic"))
        for i in (0, 1)
    ]
    return float(min(p[0] for p in pairs)), float(max(p[1] for p in pairs))


def hidden(
    face: Int[np.ndarray, "h w"], body: Body, px: Float[np.ndarray, "v 2"],
    depth: Float[np.ndarray, "v"], joints_px: Float[np.ndarray, "42 2"],
    joints_depth: Float[np.ndarray, "42"], present: Bool[np.ndarray, "2"],
):  # fmt: skip
    """Fractions of each hand's front hidden by other things, by itself, out of frame (2, 3), and per
    joint 0 seen, 1 behind its own hand, 2 behind something else, 3 out of frame (42,)."""
    height, width = face.shape
    share, joint = np.full((2, 3), np.nan), np.full(N_JOINTS, 0, np.uint8)
    owner = np.append(body.owner, -1)[face]
    for side in np.flatnonzero(present):
        faces = body.faces[body.owner == side]
        p = px[faces]
        area = 0.5 * np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
        front = area > 0
        middle = p.mean(1)
        inside = ((middle >= -0.5) & (middle < [width - 0.5, height - 0.5])).all(1)
        alone, near = np.full((height, width), -1, np.int32), np.zeros((height, width), np.float32)
        draw(px, depth, faces, np.arange(len(faces), dtype=np.int32), alone, near, True)
        mine = alone >= 0
        total, framed = area[front].sum(), area[front & inside].sum()
        share[side] = (
            (mine & (owner != side)).sum() / max(mine.sum(), 1),
            max(1 - mine.sum() / max(framed, 1), 0), 1 - framed / max(total, 1),
        )  # fmt: skip
        for j in range(side * JOINTS_PER_HAND, (side + 1) * JOINTS_PER_HAND):
            x, y = np.round(joints_px[j]).astype(int)
            if not (0 <= x < width and 0 <= y < height):
                joint[j] = 3
            elif mine[y, x] and owner[y, x] != side:
                joint[j] = 2
            elif mine[y, x] and joints_depth[j] - 1 / near[y, x] > (28 if j % 21 == 20 else 16):
                joint[j] = 1
    return share, joint


# --- captures ---------------------------------------------------------------------------------


class Camera(NamedTuple):
    """One camera of a capture's dome."""

    name: str
    camrot: Float[np.ndarray, "3 3"]
    campos: Float[np.ndarray, "3"]  # mm
    focal: Float[np.ndarray, "2"]
    princpt: Float[np.ndarray, "2"]
    lens: shading.Lens


def draw_cameras(rng: np.random.Generator, profile: Profile, size: tuple[int, int]) -> list[Camera]:
    """The dome of a capture, each camera looking about where the hands are held."""
    cameras = []
    cast = np.exp(rng.normal(0, 0.1, 3)) * rng.uniform(0.8, 1.25)
    for k in range(profile.cameras):
        azimuth, elevation = (np.radians(rng.uniform(*r)) for r in (profile.azimuth, profile.elevation))
        target = np.array([0, 0, 1000.0]) + rng.normal(0, profile.off_centre, 3)
        away = np.array([np.sin(azimuth) * np.cos(elevation), -np.sin(elevation),
                         -np.cos(azimuth) * np.cos(elevation)])  # fmt: skip
        distance = rng.uniform(*profile.distance)
        z = -away
        x = np.cross([0, 1.0, 0], z)
        x /= np.linalg.norm(x)
        y = np.cross(z, x)
        roll = np.radians(rng.normal(0, profile.roll))
        camrot = np.stack([np.cos(roll) * x + np.sin(roll) * y, np.cos(roll) * y - np.sin(roll) * x, z])
        focal = rng.uniform(*profile.focal) * distance + rng.normal(0, 0.3, 2)
        grey = bool(rng.random() < profile.grey)
        lens = shading.Lens(cast * rng.uniform(0.85, 1.2), rng.uniform(*profile.blur),
                            rng.uniform(*profile.noise), grey)  # fmt: skip
        cameras.append(Camera(
            f"{'41' if grey else '40'}{k:04d}", camrot, target + away * distance, focal,
            np.array(size) / 2 + rng.normal(0, 12, 2), lens,
        ))  # fmt: skip
    return cameras


def draw_lights(rng: np.random.Generator, profile: Profile) -> shading.Lights:
    """Two or three lamps above and before the person, and light from everywhere."""
    n = rng.integers(2, 4)
    azimuth, elevation = rng.uniform(-2.0, 2.0, n), rng.uniform(0.1, 1.3, n)
    away = np.stack([np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), -np.cos(azimuth) * np.cos(elevation)], 1)
    place = np.array([0, 0, 1000.0]) + 1600 * away
    power = rng.dirichlet(np.full(n, 2.0)) * rng.uniform(*profile.contrast)
    tint = lambda k: np.exp(rng.normal(0, 0.08, (k, 3)))
    colour = power[:, None] * tint(n)
    sky = rng.uniform(0.25, 0.5) * tint(1)[0]
    return shading.Lights(place, colour, sky, sky * rng.uniform(0.3, 0.8) * tint(1)[0])


def make_capture(job: Job) -> Path:
    """Draw, pose, render and write one capture; returns the file with its annotations."""
    part = Path(job.root) / "parts" / f"{job.split}_{job.capture}.npz"
    if part.is_file():
        return part
    torch.set_num_threads(1)  # sums in one order, whatever the machine
    rng = np.random.default_rng([job.seed, job.capture])
    profile = job.profile
    size = (512, 334) if rng.random() < profile.landscape else (334, 512)
    models = load_hand("right"), load_hand("left")
    betas = np.clip(rng.normal(0, 1, 10), -2, 2).astype(np.float32)
    rig = poses.build_rig(models[0], betas)
    person = poses.draw_person(rng, 1 + 0.05 * float(betas[0]))
    look, body = shading.draw_look(rng), build_body(rng, models)
    cameras, lights = draw_cameras(rng, profile, size), draw_lights(rng, profile)
    dim = rng.random() >= profile.rooms
    lamps = np.array([0, 0, 1000.0]) + 2200 * poses._unit(rng.normal(0, 1, (160, 3)))

    n_instants = -(-job.frames // profile.views)
    n_sequences = -(-n_instants // profile.instants)
    families, shapes = list(poses.FAMILIES), list(poses.SHAPES)
    names = []
    for pick in rng.permutation(max(len(families), n_sequences))[:n_sequences] % len(families):
        one = f"{SIDES[rng.integers(2)]}:{rng.choice(shapes)}"
        names.append(one if rng.random() < profile.single else families[pick])
    motion = poses.draw_motion(rng, rig, person, names, profile.instants)
    pose = poses.mano_pose(rig, motion.angles, motion.turn)
    rest = np.stack([m.rest_joints(torch.from_numpy(betas)).numpy()[0] for m in models])
    trans = (motion.wrist / 1000 - rest).astype(np.float32)
    pose, trans = np.round(pose, 6), np.round(trans, 6)
    shape = torch.from_numpy(np.round(betas, 6)).expand(len(pose), 10)
    hands = np.stack([
        m.skin(torch.from_numpy(pose[:, s]), shape, torch.from_numpy(trans[:, s])).numpy()
        for s, m in enumerate(models)
    ], 1) * 1000  # fmt: skip
    joints = np.concatenate([m.joints(torch.from_numpy(hands[:, s])).numpy()
                             for s, m in enumerate(models)], 1)  # fmt: skip
    balls = rig.posed(*(torch.from_numpy(np.asarray(a, np.float32)) for a in motion[3:6])).numpy()
    balls = balls[:, :, : len(rig.radii)]

    rows = []
    for t in range(n_instants):
        shown, family = motion.present[t], motion.family[t]
        vertices, uv = build_mesh(body, person, hands[t], motion.turn[t], motion.wrist[t],
                                  motion.elbow[t], shown)  # fmt: skip
        normals = welded_normals(vertices, body.faces, body.weld)
        v = hands.shape[2]
        apart = (np.nan, np.nan)
        if shown.all():
            apart = hands_apart(hands[t], normals[: 2 * v].reshape(2, v, 3), models)
        centre = hands[t][shown].reshape(-1, 3).mean(0)
        spheres = np.ascontiguousarray(balls[t][shown].reshape(-1, 3))
        radii = np.tile(rig.radii.numpy(), int(shown.sum()))
        shadow_cameras = np.stack([shading.shadow_camera(p, centre, 420.0) for p in lights.place])
        scene = shading.Scene(
            vertices, normals, shading.openness(vertices, normals, spheres, radii), body.faces,
            body.material, body.texture, uv, look, lights,
            np.stack([shading.shadow_map(vertices, body.faces, c) for c in shadow_cameras]),
            shadow_cameras,
        )  # fmt: skip
        sequence = f"{motion.sequence[t]:04d}_{family.replace(':', '_')}"
        for c in np.sort(rng.permutation(profile.cameras)[: profile.views]):
            if len(rows) == job.frames:
                break
            row = _frame(rng, job, scene, body, cameras[c], size, joints[t], shown, dim, lamps)
            name = f"Capture{job.capture}/{sequence}/cam{cameras[c].name}/image{t}.jpg"
            path = Path(job.root) / "images" / job.split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row.pop("jpeg"))
            rows.append({
                **row, "file_name": name, "seq_name": sequence, "camera": cameras[c].name,
                "frame_idx": t, "family": family, "hands_distance_mm": apart[0], "penetration_mm": apart[1],
            })  # fmt: skip
    columns = {f"frames/{key}": np.stack([row[key] for row in rows]) for key in rows[0]}
    used = np.unique(columns["frames/frame_idx"])
    valid = np.repeat(motion.present, JOINTS_PER_HAND, 1)
    instants = {
        "frame_idx": used, "joints_world_mm": np.where(valid[..., None], joints, 1.0)[used].round(4),
        "joint_valid": valid[used], "hand_type": _type(motion.present)[used],
        "hand_type_valid": np.ones(len(used), bool),
        "mano_pose": pose[used], "mano_shape": np.broadcast_to(shape[:, None].numpy(), (len(pose), 2, 10))[used],
        "mano_trans": np.where(motion.present[..., None], trans, np.nan)[used],
    }  # fmt: skip
    domes = {"camera": [c.name for c in cameras], "campos_mm": [c.campos for c in cameras]}
    domes |= {key: [getattr(c, key) for c in cameras] for key in ("camrot", "focal", "princpt")}
    for group, table in (("instants", instants), ("cameras", domes)):
        columns |= {f"{group}/{key}": np.asarray(value) for key, value in table.items()}
    with atomic(part, "wb") as file:
        np.savez(file, **columns)
    return part


def _type(present):
    """Row of HAND_TYPES of (…, 2) flags: right, left, both."""
    return np.where(present.all(-1), 2, np.where(present[..., 0], 0, 1)).astype(np.int8)


def _frame(rng, job, scene, body, camera, size, joints, present, dim, lamps):
    """One picture, as JPEG, with its annotation, RootNet's guess and truth."""
    width, height = size
    view = camera.camrot, camera.campos, camera.focal, camera.princpt
    back = shading.studio(lamps, *view, width, height) if dim else shading.room(rng, width, height)
    light, face = shading.render(scene, *view, back)
    picture = shading.develop(light, camera.lens, rng)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*job.profile.quality))]
    _, jpeg = cv2.imencode(".jpg", picture[..., ::-1], quality)

    cam = (joints - camera.campos) @ camera.camrot.T
    px = cam[:, :2] / cam[:, 2:] * camera.focal + camera.princpt
    valid = np.repeat(present, JOINTS_PER_HAND)
    low, high = px[valid].min(0), px[valid].max(0)
    box = np.concatenate([(low + high) / 2 - 0.6 * (high - low), 1.2 * (high - low)])
    side = 1.25 * box[2:].max() * (1 + rng.normal(0, 0.008, 2))
    centre = box[:2] + box[2:] / 2 + rng.normal(0, 0.007, 2) * side
    wrists = np.where(present, cam[[20, 41], 2], cam[[20, 41], 2][present.argmax()])
    guess = wrists + rng.normal(0, 30) + rng.normal(0, 12, 2)
    vertices = (scene.vertices - camera.campos) @ camera.camrot.T
    at = vertices[:, :2] / np.maximum(vertices[:, 2:], 1) * camera.focal + camera.princpt
    share, joint = hidden(face, body, at, vertices[:, 2].astype(float), px, cam[:, 2], present)
    truth = {
        f"{side_}_hidden_by_{what}": share[s, k]
        for s, side_ in enumerate(SIDES) for k, what in enumerate(("other", "itself", "frame"))
    }  # fmt: skip
    return {
        "jpeg": jpeg.tobytes(), "width": width, "height": height, "bbox_xywh": box.round(3),
        "joint_valid": valid, "hand_type": _type(present), "hand_type_valid": True,
        "rootnet_bbox_xywh": np.concatenate([centre - side / 2, side]).round(3),
        "rootnet_depth_mm": guess.round(3), "joint_hidden": joint, **truth,
    }  # fmt: skip


# --- trees ------------------------------------------------------------------------------------


def plan(root: Path | str, frames: int, seed: int, profile: Profile) -> list[Job]:
    """The captures of a data set: each split its own, so that no subject is in two."""
    counts = {"val": max(round(frames * SHARES["val"]), 1), "test": max(round(frames * SHARES["test"]), 1)}
    counts = {"train": max(frames - sum(counts.values()), 1)} | counts
    jobs, capture = [], 0
    for split, count in counts.items():
        n = -(-count // FRAMES_PER_CAPTURE)
        for k in range(n):
            share = count * (k + 1) // n - count * k // n
            jobs.append(Job(str(root), split, capture, share, seed, profile))
            capture += 1
    return jobs


def synthesize(
    root: Path | str, frames: int, seed: int = 0, profile: str | Profile = "studio",
    workers: int | None = None, executor: Executor | None = None, progress: bool = True,
) -> dict[str, int]:  # fmt: skip
    """Write a synthetic data set of `frames` frames in all, or finish one that was stopped;
    returns the frames of each split. The same seed, frames and profile give the same bytes for
    any number of workers (default: all cores) or any executor whose workers see `root`.

    Raises ValueError for an unknown profile, fewer than 3 frames, or a root that holds other data.
    """
    if isinstance(profile, str) and profile not in PROFILES:
        raise ValueError(f"profile {profile!r} is unknown: use one of {', '.join(PROFILES)}")
    profile = PROFILES[profile] if isinstance(profile, str) else profile
    if frames < 3:
        raise ValueError(f"frames {frames} are too few for train, val and test: use 3 or more")
    root = Path(root)
    settings = json.loads(json.dumps({"frames": frames, "seed": seed, **asdict(profile)}))
    note = root / "synth.json"
    if note.is_file():
        if (other := json.loads(note.read_text())) != settings:
            key = next(k for k in settings if other.get(k) != settings[k])
            raise ValueError(
                f"{note}: {key} is {other.get(key)!r} there, {settings[key]!r} asked for: use another --out, or "
                "the same settings to finish it"
            )
    elif root.is_dir() and any(root.iterdir()):
        raise ValueError(f"{root} holds other data: use an --out that is empty or does not exist")
    jobs = plan(root, frames, seed, profile)
    totals = {split: sum(j.frames for j in jobs if j.split == split) for split in SHARES}
    done = root / "annotations/test/InterHand2.6M_test_data.json"
    if done.is_file() and not (root / "parts").exists():
        return totals
    with atomic(note) as file:
        file.write(json.dumps(settings, indent=1) + "\n")
    pool = executor or ProcessPoolExecutor(min(workers or os.cpu_count() or 1, len(jobs)))
    parts = {}
    try:
        futures = {pool.submit(make_capture, job): job for job in jobs}
        with tqdm(total=frames, unit="frame", disable=not progress) as bar:
            for future in as_completed(futures):
                job = futures[future]
                parts[job.capture] = future.result()
                bar.update(job.frames)
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    for split in SHARES:
        _gather(root, split, [j for j in jobs if j.split == split], parts)
    shutil.rmtree(root / "parts")
    return totals


def _gather(root, split, jobs, parts):
    """Annotation files and truth of a split, from its captures' parts."""
    tables = {"frames": [], "instants": [], "cameras": []}
    for job in jobs:
        with np.load(parts[job.capture]) as file:
            arrays = {key: file[key] for key in file.files}
        for group, table in tables.items():
            columns = {k.partition("/")[2]: v for k, v in arrays.items() if k.startswith(group)}
            n = len(next(iter(columns.values())))
            table.append(columns | {"capture": np.full(n, job.capture)})
    frames, instants, cameras = (
        {key: np.concatenate([t[key] for t in table]) for key in table[0]}
        for table in tables.values()
    )
    n = len(frames["file_name"])
    frames |= {"image_id": np.arange(n), "subject": frames["capture"]}
    write_tree(root, split, frames, instants, cameras, hand_model="generic")
    keep = ["image_id", "family", "hands_distance_mm", "penetration_mm"]
    truth = pd.DataFrame({k: frames[k] for k in keep + [k for k in frames if "_hidden_" in k]})
    truth["joint_hidden"] = list(frames["joint_hidden"])
    path = root / "truth" / f"{split}.parquet"
    path.parent.mkdir(exist_ok=True)
    truth.to_parquet(path, index=False)

"""Synthetic people → an InterHand2.6M tree that never needed a download.

A capture is one person (shape, skin, clothes), one dome of cameras, one light. In it sequences move
between the key poses of a family, and every instant is seen by several cameras. Captures are
independent: capture k of a seed is the same whoever makes it, and in whatever order.
"""

import json
import os
import shutil
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Int
from tqdm import tqdm

from . import poses, shading
from .annotations import atomic, write_tree
from .hand import HandModel, load_hand
from .raster import draw
from .shading import CLOTH, HAND, SKIN, TILE, Camera, Lights, Surface
from .skeleton import HAND_TYPE_FLAGS, JOINTS_PER_HAND, N_JOINTS, SIDES, WRISTS

FRAMES_PER_CAPTURE = 144
MIDDLE = np.array([0, 0, 1000.0])  # of a dome, mm
TOUCHING_MM = 2.0  # skin gives way so far


@dataclass(frozen=True)
class Profile:
    """What a data set of synthetic hands looks like: ranges; degrees, mm."""

    name: str = "studio"
    azimuth: tuple[float, float] = (-65.0, 65.0)  # of a camera; 0 is in front of the person
    elevation: tuple[float, float] = (-20.0, 40.0)
    distance: tuple[float, float] = (850.0, 1150.0)
    focal: tuple[float, float] = (1.18, 1.36)  # px per mm of distance
    roll: float = 5.0  # standard deviation
    aim: float = 28.0  # standard deviation of what a camera looks at
    cameras: int = 12  # of a capture
    views: int = 3  # of an instant
    instants: int = 6  # of a sequence
    single: float = 0.45  # share of sequences with one hand
    grey: float = 0.2  # share of grey cameras
    landscape: float = 0.25  # share of captures with frames 512 × 334, else 334 × 512
    rooms: float = 0.0  # share of captures before a bright background, else in a dark studio
    contrast: tuple[float, float] = (0.5, 1.4)  # of the lamps
    blur: tuple[float, float] = (0.45, 0.8)  # px
    noise: tuple[float, float] = (0.8, 3.0)
    quality: tuple[int, int] = (88, 94)  # of the JPEGs


PROFILES = {
    "studio": Profile(),
    "wild": Profile(
        "wild", (-180.0, 180.0), (-35.0, 75.0), (450.0, 1300.0), (0.9, 1.7), 15.0, 40.0, grey=0.1,
        rooms=0.85, contrast=(0.2, 3.0), blur=(0.4, 1.6), noise=(0.8, 7.0), quality=(60, 95),
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


# ---------------------------------------------------------------- people

# Rings of an arm: share of the way from the wrist to the shoulder, half width and depth (mm).
_ARM = np.array([
    [0, 1, 1], [0.05, 30, 22], [0.12, 30, 24], [0.22, 35, 31], [0.34, 42, 38], [0.46, 43, 41],
    [0.54, 42, 42], [0.62, 42, 44], [0.74, 47, 48], [0.87, 52, 52], [1, 50, 52],
])  # fmt: skip
# Rings of head and torso: height below the shoulders (mm), half width and depth as shares of the
# girth; skin down to the collar, then cloth.
_TORSO = np.array([
    [-330, 0.02, 0.03], [-300, 0.42, 0.8], [-220, 0.46, 0.95], [-120, 0.4, 0.8], [-90, 0.32, 0.5],
    [-45, 0.33, 0.5], [-45, 0.35, 0.55], [-25, 0.7, 0.62], [10, 1, 0.75], [80, 1.05, 0.95],
    [200, 1, 1], [420, 0.97, 1], [900, 1, 1],
])  # fmt: skip
_COLLAR, _AROUND = 6, 24


class Body(NamedTuple):
    """A person's mesh but for its vertices: hands right and left, arms, sleeves, torso."""

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
    open_ = np.flatnonzero(~np.isin(models[0].faces, rim).all(1))  # without the stub's seal
    parts = [(m.faces[open_] + side * count, HAND, side) for side, m in enumerate(models)]
    weld, start = [np.arange(2 * count)], 2 * count

    def tube(rings, around, flip, material):
        a = np.arange(rings - 1)[:, None] * (around + 1) + np.arange(around)
        quads = np.stack([a, a + 1, a + around + 1, a + 1, a + around + 2, a + around + 1], -1)
        faces = quads.reshape(-1, 3)[:, :: -1 if flip else 1] + start
        parts.append((faces, np.repeat(material, 2 * around), 2))
        shared = start + np.arange(rings * (around + 1)).reshape(rings, -1)
        shared[:, -1] = shared[:, 0]  # the last column lies upon the first
        weld.append(shared.ravel())
        return start + rings * (around + 1)

    for side in (0, 1):
        start = tube(len(_ARM), len(rim), side == 1, np.full(len(_ARM) - 1, SKIN))
        weld[-1][: len(rim) + 1] = np.append(rim, rim[0]) + side * count
        start = tube(len(_ARM) + 1, len(rim), side == 1, np.full(len(_ARM), CLOTH))
    start = tube(
        len(_TORSO), _AROUND, True, np.where(np.arange(len(_TORSO) - 1) < _COLLAR, SKIN, CLOTH)
    )
    faces = np.concatenate([part[0] for part in parts]).astype(np.int32)
    material = np.concatenate([np.broadcast_to(part[1], len(part[0])) for part in parts])
    owner = np.concatenate([np.full(len(part[0]), part[2]) for part in parts])
    texture = np.zeros(len(faces), np.int32)
    texture[: 2 * len(open_)] = np.append(open_, -1 - open_)
    cuff = rng.choice([rng.uniform(0.1, 0.2), rng.uniform(0.3, 0.55), rng.uniform(0.68, 0.8)])
    surface = Surface(faces, material, texture, shading.draw_look(rng))
    return Body(models, surface, owner, np.concatenate(weld), cuff, rng.uniform(0.85, 1.12))


def _arm(body, side, hand, frame, joints):
    """Rings of an arm's skin and of its sleeve: places (mm) and texture coordinates (mm).
    Joints: wrist, elbow, shoulder."""
    rim = hand[body.models[side].rim]
    middle, (wrist, elbow, shoulder) = rim.mean(0), joints
    around = np.arctan2((rim - middle) @ frame[:, 1], (rim - middle) @ frame[:, 2])
    around = np.append(around, around[0])[:, None]
    line = np.stack([
        middle, middle - 18 * frame[:, 0], wrist + 75 * poses._unit(elbow - wrist),
        0.5 * (wrist + elbow), elbow, 0.5 * (elbow + shoulder), shoulder,
    ])  # fmt: skip
    for _ in range(3):  # Chaikin's corner cutting; the ends stay
        cut = np.stack([0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], 1)
        line = np.concatenate([line[:1], cut.reshape(-1, 3)[1:-1], line[-1:]])
    passed = np.append(0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
    hinge = poses._unit(np.cross(shoulder - elbow, wrist - elbow))
    hinge = hinge * (1 if hinge @ frame[:, 2] > 0 else -1)

    def rings(at, half):
        def place(share):
            return np.stack([np.interp(share * passed[-1], passed, c) for c in line.T], 1)

        tangent = poses._unit(place(np.minimum(at + 0.008, 1)) - place(np.maximum(at - 0.008, 0)))
        turn = np.clip(at / 0.45, 0, 1)[:, None]  # from the hand's axes to the arm's
        wide = (1 - turn) * frame[:, 2] + turn * hinge
        wide = poses._unit(wide - (wide * tangent).sum(1, keepdims=True) * tangent)[:, None]
        deep = np.cross(wide, tangent[:, None]) * (1 if side else -1)
        ring = np.cos(around) * half[:, None, :1] * wide + np.sin(around) * half[:, None, 1:] * deep
        uv = np.broadcast_arrays(at[:, None] * passed[-1], np.linspace(0, TILE, len(around)))
        return (place(at)[:, None] + ring), np.stack(uv, -1).reshape(-1, 2)

    skin, skin_uv = rings(_ARM[:, 0], body.bulk * _ARM[:, 1:])
    skin[0] = np.concatenate([rim, rim[:1]])
    at = np.append(body.cuff, np.linspace(body.cuff, 1, len(_ARM)))
    loose = np.where(np.arange(len(at)) == 0, 1.0, 6 + 5 * np.sin(9 * at))  # closed at the cuff
    half = [np.interp(at, _ARM[:, 0], body.bulk * half) + loose for half in _ARM[:, 1:].T]
    sleeve, sleeve_uv = rings(at, np.stack(half, 1))
    return [skin.reshape(-1, 3), sleeve.reshape(-1, 3)], [skin_uv, sleeve_uv]


def build_mesh(
    body: Body, person: poses.Person, hands: Float[np.ndarray, "2 v 3"],
    turn: Float[np.ndarray, "2 3 3"], wrist: Float[np.ndarray, "2 3"],
    present: Bool[np.ndarray, "2"],
) -> tuple[Float32[np.ndarray, "u 3"], Float32[np.ndarray, "u 2"]]:  # fmt: skip
    """A person's vertices (mm, world) and texture coordinates (mm). An absent hand shrinks to a
    point behind the back."""
    vertices, uv = list(hands.copy()), [np.zeros((2 * hands.shape[1], 2))]
    elbow, frame = poses.reach(person, turn, wrist)[0], poses.hand_frame(turn)
    for side, out in enumerate((-60, 60)):
        shoulder = person.shoulders[side]
        joints = [wrist[side], elbow[side], shoulder]
        if not present[side]:
            vertices[side][:] = person.chest + [out, 260, person.girth[1] + 40]
            joints = [vertices[side][0], shoulder + [out, 0.96 * person.upper, 30], shoulder]
        tubes, tubes_uv = _arm(body, side, vertices[side], frame[side], joints)
        vertices, uv = vertices + tubes, uv + tubes_uv
    angle, half = np.linspace(0, 2 * np.pi, _AROUND + 1), _TORSO[:, 1:] * person.girth
    y = person.shoulders[0, 1] + _TORSO[:, :1]
    x, z = np.cos(angle) * half[:, :1], np.sin(angle) * half[:, 1:] + person.chest[2]
    torso = np.stack(np.broadcast_arrays(x, y, z), -1).reshape(-1, 3)
    torso_uv = np.stack(np.broadcast_arrays(angle / (2 * np.pi) * 4 * TILE, y), -1).reshape(-1, 2)
    return tuple(np.concatenate(a, dtype=np.float32) for a in (vertices + [torso], uv + [torso_uv]))


# ---------------------------------------------------------------- captures


def draw_cameras(
    rng: np.random.Generator, profile: Profile, width: int, height: int
) -> list[Camera]:
    """The dome of a capture; each camera looks about where hands are held."""
    cast, cameras = np.exp(rng.normal(0, 0.1, 3)) * rng.uniform(0.8, 1.25), []
    for k in range(profile.cameras):
        toward = _direction(
            *np.radians([rng.uniform(*profile.azimuth), rng.uniform(*profile.elevation)])
        )
        distance, roll = rng.uniform(*profile.distance), np.radians(rng.normal(0, profile.roll))
        x = poses._unit(np.cross([0, 1, 0], -toward))
        y = np.cross(-toward, x)
        tilted = [np.cos(roll) * x + np.sin(roll) * y, np.cos(roll) * y - np.sin(roll) * x, -toward]
        grey = bool(rng.random() < profile.grey)
        cameras.append(Camera(
            f"{'41' if grey else '40'}{k:04d}", np.stack(tilted),
            MIDDLE + rng.normal(0, profile.aim, 3) + toward * distance,
            rng.uniform(*profile.focal) * distance + rng.normal(0, 0.3, 2),
            np.array([width, height]) / 2 + rng.normal(0, 12, 2), cast * rng.uniform(0.85, 1.2),
            rng.uniform(*profile.blur), rng.uniform(*profile.noise), grey,
        ))  # fmt: skip
    return cameras


def _direction(azimuth, elevation):
    """Unit vectors from the person: 0, 0 is to the front."""
    flat = np.cos(elevation)
    return np.stack([np.sin(azimuth) * flat, -np.sin(elevation), -np.cos(azimuth) * flat], -1)


def draw_lights(rng: np.random.Generator, profile: Profile) -> Lights:
    """Two or three lamps before and above the person, and light from everywhere."""
    n = rng.integers(2, 4)
    place = MIDDLE + 1600 * _direction(rng.uniform(-2, 2, n), rng.uniform(0.1, 1.3, n))
    power = rng.dirichlet(np.full(n, 2.0)) * rng.uniform(*profile.contrast)
    tint = np.exp(rng.normal(0, 0.08, (n + 2, 3)))
    sky = rng.uniform(0.25, 0.5) * tint[0]
    return Lights(place, power[:, None] * tint[2:], sky, sky * rng.uniform(0.3, 0.8) * tint[1])


def _meet(body, hands, present):
    """Translations (T, 2, 3) that part hands which lie in each other, by the meshes; and the hands'
    distance and penetration (mm) after it, NaN for single hands."""
    faces, weld = body.models[0].faces, np.arange(hands.shape[2])
    shift, truth = np.zeros((len(hands), 2, 3), np.float32), np.full((len(hands), 2), np.nan)
    for t in np.flatnonzero(present.all(1)):
        flip = faces[:, [0, 2, 1]]
        normals = [shading.vertex_normals(hands[t, s], (faces, flip)[s], weld) for s in (0, 1)]
        for _ in range(12):
            now = hands[t] + shift[t, :, None]
            gaps, depths, pushes = zip(*(
                poses.contact(now[s], now[1 - s], normals[1 - s]) for s in (0, 1)
            ))  # fmt: skip
            truth[t] = min(gaps), max(depths)
            if truth[t, 1] <= TOUCHING_MM:
                break
            push = poses._unit(pushes[0] * depths[0] - pushes[1] * depths[1])
            shift[t] += 0.6 * (truth[t, 1] - 0.5 * TOUCHING_MM) * np.stack([push, -push])
    return shift, truth


def make_capture(job: Job) -> Path:
    """Draw, pose, render and write one capture; returns the file with its annotations."""
    part = Path(job.root) / "parts" / f"{job.capture}.npz"
    if part.is_file():
        return part
    torch.set_num_threads(1)  # sums in one order, whatever the machine
    rng, profile = np.random.default_rng([job.seed, job.capture]), job.profile
    width, height = (512, 334) if rng.random() < profile.landscape else (334, 512)
    betas = np.clip(rng.normal(0, 1, 10), -2, 2).round(6).astype(np.float32)
    body, person = build_body(rng), poses.draw_person(rng, 1 + 0.05 * float(betas[0]))
    rig = poses.build_rig(body.models[0], betas)
    cameras, lights = draw_cameras(rng, profile, width, height), draw_lights(rng, profile)
    lamps = MIDDLE + 2200 * poses._unit(rng.normal(0, 1, (160, 3)))
    lamps = None if rng.random() < profile.rooms else lamps

    n_instants = -(-job.frames // profile.views)
    words, names = poses.vocabulary(), []
    often = np.array([family.often for family in words.families.values()], float)
    for _ in range(-(-n_instants // profile.instants)):
        one = f"{rng.choice(SIDES)}:{rng.choice(list(words.shapes))}"
        two = rng.choice(list(words.families), p=often / often.sum())
        names.append(one if rng.random() < profile.single else str(two))
    motion = poses.draw_motion(rng, rig, person, names, profile.instants)
    present, wrist = motion.present, motion.wrist
    pose, shape = poses.mano_pose(rig, motion.angles, motion.turn).round(6), torch.from_numpy(betas)
    rest = np.stack([model.rest_joints(shape).numpy()[0] for model in body.models])

    def skinned(wrist):
        trans = (wrist / 1000 - rest).astype(np.float32).round(6)
        fits = zip(body.models, torch.from_numpy(pose).unbind(1), torch.from_numpy(trans).unbind(1))
        hands = [m.skin(p, shape.expand(len(p), 10), t).numpy() * 1000 for m, p, t in fits]
        return np.stack(hands, 1), trans

    hands, trans = skinned(wrist)
    shift, apart = _meet(body, hands, present)
    wrist = wrist + shift
    hands, trans = skinned(wrist)
    joints = [m.joints(torch.from_numpy(hands[:, s])).numpy() for s, m in enumerate(body.models)]
    joints = np.concatenate(joints, 1)
    balls = poses.pose_spots(rig, *map(poses._tensor, (motion.angles, motion.turn, wrist)))

    rows = []
    for t in range(n_instants):
        shown = present[t]
        vertices, uv = build_mesh(body, person, hands[t], motion.turn[t], wrist[t], shown)
        normals = shading.vertex_normals(vertices, body.surface.faces, body.weld)
        near = balls[t, shown, : len(rig.radii)].reshape(-1, 3).numpy()
        free = shading.openness(vertices, normals, near, np.tile(rig.radii.numpy(), shown.sum()))
        attributes = np.concatenate([vertices, normals, free[:, None], uv], 1)
        centre = hands[t][shown].mean((0, 1))
        shadows = shading.cast_shadows(vertices, body.surface.faces, lights, centre)
        folder = (
            f"Capture{job.capture}/{motion.sequence[t]:04d}_{motion.family[t].replace(':', '_')}"
        )
        for c in np.sort(rng.permutation(profile.cameras)[: profile.views])[
            : job.frames - len(rows)
        ]:
            camera = cameras[c]
            back = (shading.room(rng, width, height) if lamps is None
                    else shading.studio(lamps, camera, width, height))  # fmt: skip
            light, face = shading.render(body.surface, attributes, lights, shadows, camera, back)
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*profile.quality))]
            picture = shading.develop(light, camera, rng)
            name = f"{folder}/cam{camera.name}/image{t}.jpg"
            path = Path(job.root) / "images" / job.split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".jpg", picture[..., ::-1], quality)[1].tobytes())
            rows.append({
                "file_name": name, "width": width, "height": height,
                "seq_name": folder.split("/")[1], "camera": camera.name,
                "frame_idx": t, "family": motion.family[t],
                "hands_distance_mm": apart[t, 0], "penetration_mm": apart[t, 1],
                **_annotate(rng, camera, joints[t], shown, width, height),
                **_hidden(camera, face, body, vertices, joints[t], shown),
            })  # fmt: skip

    used = np.unique([row["frame_idx"] for row in rows])
    valid = present.repeat(JOINTS_PER_HAND, 1)
    instants = {
        "frame_idx": np.arange(len(hands)), "joint_valid": valid, "hand_type": _hand_type(present),
        "joints_world_mm": np.where(valid[..., None], joints, 1.0).round(4),
        "hand_type_valid": np.ones(len(hands), bool), "mano_pose": pose,
        "mano_shape": np.broadcast_to(betas, (len(hands), 2, 10)),
        "mano_trans": np.where(present[..., None], trans, np.nan),
    }  # fmt: skip
    tables = {f"frames/{key}": [row[key] for row in rows] for key in rows[0]}
    tables |= {f"instants/{key}": value[used] for key, value in instants.items()}
    names = {"camera": "name", "campos_mm": "campos"} | {
        k: k for k in ("camrot", "focal", "princpt")
    }
    tables |= {f"cameras/{key}": [getattr(c, name) for c in cameras] for key, name in names.items()}
    with atomic(part, "wb") as file:
        np.savez(file, **{key: np.asarray(table) for key, table in tables.items()})
    return part


def _hand_type(present):
    return (present[..., None, :] == HAND_TYPE_FLAGS).all(-1).argmax(-1)


def _annotate(rng, camera, joints, present, width, height):
    """Box and validity as InterHand2.6M has them, and what RootNet might say."""
    px, depth = camera.project(joints)
    valid = present.repeat(JOINTS_PER_HAND)
    low, high = px[valid].min(0), px[valid].max(0)
    side = 1.25 * 1.2 * (high - low).max() * (1 + rng.normal(0, 0.008, 2))
    centre = (low + high) / 2 + rng.normal(0, 0.007, 2) * side
    wrists = depth[list(WRISTS)]
    wrists = np.where(present, wrists, wrists[present.argmax()])
    return {
        "bbox_xywh": np.append(1.1 * low - 0.1 * high, 1.2 * (high - low)).round(3),
        "joint_valid": valid, "hand_type": int(_hand_type(present)), "hand_type_valid": True,
        "rootnet_bbox_xywh": np.append(centre - side / 2, side).round(3),
        "rootnet_depth_mm": (wrists + rng.normal(0, 30) + rng.normal(0, 12, 2)).round(3),
    }  # fmt: skip


def _hidden(camera, face, body, vertices, joints, present):
    """Truth about occlusion: what share of each hand's front something else, itself and the frame's
    edge hide; per joint 0 seen, 1 behind its own hand, 2 behind something else, 3 out of frame."""
    height, width = face.shape
    truth, joint_hidden = {}, np.zeros(N_JOINTS, np.uint8)
    owner = np.append(body.owner, -1)[face]
    px, depth = camera.project(vertices)
    at, joint_depth = camera.project(joints)
    at = at.round().astype(int)
    outside = (at < 0).any(1) | (at >= [width, height]).any(1)
    for side, name in enumerate(SIDES):
        shares = np.full(3, np.nan)
        if present[side]:
            faces = body.surface.faces[body.owner == side]
            a, b, c = px[faces].transpose(1, 2, 0)
            area = np.maximum((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]), 0) / 2
            middle = (a + b + c) / 3
            framed = ((middle > -0.5) & (middle < [[width - 0.5], [height - 0.5]])).all(0)
            alone, near = np.zeros(face.shape, bool), np.zeros(face.shape, np.float32)
            draw(px, depth, faces, np.ones(len(faces), bool), alone, near, True)
            covered, own = alone & (owner != side), area[framed].sum()
            shares = [covered.sum() / max(alone.sum(), 1), max(1 - alone.sum() / max(own, 1), 0),
                      1 - own / max(area.sum(), 1)]  # fmt: skip
            j = np.arange(N_JOINTS) // JOINTS_PER_HAND == side
            x, y = at[j & ~outside].T
            thick = np.where(np.isin(np.flatnonzero(j & ~outside), WRISTS), 30.0, 17.0)
            behind = joint_depth[j & ~outside] - 1 / np.maximum(near[y, x], 1e-6) > thick
            seen = np.where(covered[y, x], 2, np.where(alone[y, x] & behind, 1, 0))
            joint_hidden[j & ~outside], joint_hidden[j & outside] = seen, 3
        what = zip(("other", "itself", "frame"), shares)
        truth |= {f"{name}_hidden_by_{by}": float(share) for by, share in what}
    return truth | {"joint_hidden": joint_hidden}


# ---------------------------------------------------------------- trees


def plan(root: Path | str, frames: int, seed: int, profile: Profile) -> list[Job]:
    """The captures of a data set, 80 % train, 10 % val, 10 % test; no subject is in two splits."""
    counts = {
        "train": frames,
        "val": max(round(frames / 10), 1),
        "test": max(round(frames / 10), 1),
    }
    counts["train"] -= counts["val"] + counts["test"]
    jobs = []
    for split, count in counts.items():
        n = -(-count // FRAMES_PER_CAPTURE)
        for k in range(n):
            share = count * (k + 1) // n - count * k // n
            jobs.append(Job(str(root), split, len(jobs), share, seed, profile))
    return jobs


def synthesize(
    root: Path | str, frames: int, seed: int = 0, profile: str | Profile = "studio",
    workers: int | None = None, executor: Executor | None = None, progress: bool = True,
) -> dict[str, int]:  # fmt: skip
    """Write a synthetic data set of so many frames in all, or finish one that was stopped; returns
    the frames of each split. The same seed, frames and profile give the same bytes for any number
    of workers (default: all cores), and on any executor whose workers see `root`.

    ValueError for an unknown profile, fewer than 3 frames, or a root that holds other data.
    """
    if isinstance(profile, str) and profile not in PROFILES:
        raise ValueError(f"profile {profile!r} is unknown: use one of {', '.join(PROFILES)}")
    profile = PROFILES[profile] if isinstance(profile, str) else profile
    if frames < 3:
        raise ValueError(f"frames {frames} are too few for train, val and test: use 3 or more")
    root, note = Path(root), Path(root) / "synth.json"
    settings = json.loads(json.dumps({"frames": frames, "seed": seed, **asdict(profile)}))
    if note.is_file():
        there = json.loads(note.read_text())
        for key in settings:
            if there.get(key) != settings[key]:
                raise ValueError(
                    f"{note}: {key} is {there.get(key)!r}, not {settings[key]!r}: use another "
                    "folder, or these settings to finish what is there"
                )
    elif root.is_dir() and any(root.iterdir()):
        raise ValueError(f"{root} holds other data: use a folder that is empty or does not exist")
    jobs = plan(root, frames, seed, profile)
    totals = {j.split: sum(k.frames for k in jobs if k.split == j.split) for j in jobs}
    complete = root / "truth/test.parquet"  # written last
    if complete.is_file():
        return totals
    with atomic(note) as file:
        file.write(json.dumps(settings, indent=1) + "\n")
    pool = executor or ProcessPoolExecutor(min(workers or os.cpu_count() or 1, len(jobs)))
    try:
        futures = {pool.submit(make_capture, job): job for job in jobs}
        with tqdm(total=frames, unit="frame", disable=not progress) as bar:
            for future in as_completed(futures):
                future.result()
                bar.update(futures[future].frames)
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    for split in totals:
        _gather(root, split, [make_capture(job) for job in jobs if job.split == split])
    shutil.rmtree(root / "parts", ignore_errors=True)
    return totals


def _gather(root, split, parts):
    """A split's annotation files and truth, from its captures' parts."""
    tables = {"frames": {}, "instants": {}, "cameras": {}}
    for part in parts:
        with np.load(part) as file:
            for name in file.files:
                group, _, key = name.partition("/")
                tables[group].setdefault(key, []).append(file[name])
    for table, key in zip(tables.values(), ("frame_idx", "frame_idx", "camera")):
        table["capture"] = [np.full(len(a), int(p.stem)) for a, p in zip(table[key], parts)]
    frames, instants, cameras = (
        {key: np.concatenate(arrays) for key, arrays in table.items()} for table in tables.values()
    )
    frames |= {"image_id": np.arange(len(frames["capture"])), "subject": frames["capture"]}
    write_tree(root, split, frames, instants, cameras, hand_model="generic")
    names = ["image_id", "family", "hands_distance_mm", "penetration_mm"]
    truth = {key: list(frames[key]) for key in names + [k for k in frames if "_hidden" in k]}
    with atomic(root / "truth" / f"{split}.parquet", "wb") as file:
        pd.DataFrame(truth).to_parquet(file, index=False)

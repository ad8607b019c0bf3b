"""Synthetic people → an InterHand2.6M tree that never needed a download.

A capture is one person (shape, skin, clothes), one dome of cameras, one light. In it sequences move
between the key poses of a family, and every instant is seen by several cameras. Captures are
independent: capture k of a seed is the same whoever makes it, and in whatever order.
"""

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32
from tqdm import tqdm

from digit_data.annotations import atomic
from digit_data.hand import HandModel
from digit_data.skeleton import HAND_TYPE_FLAGS, JOINT_SIDE, JOINTS_PER_HAND, SIDES, WRISTS

from . import poses, shading
from .people import build_body, build_mesh
from .poses import unit
from .shading import Camera, Lights
from .tree import write_tree

FRAMES_PER_CAPTURE = 144
MIDDLE = np.array([0, 0, 1000.0])  # of a dome, mm
TOUCHING_MM = 2.0  # skin gives way so far


@dataclass(frozen=True)
class Profile:
    """What a data set of synthetic hands looks like: ranges; degrees, mm, px."""

    name: str = "studio"
    azimuth: tuple[float, float] = (-65.0, 65.0)  # of a camera; 0 is in front of the person
    elevation: tuple[float, float] = (-20.0, 40.0)
    distance: tuple[float, float] = (850.0, 1150.0)
    focal: tuple[float, float] = (1.18, 1.36)  # px per mm of distance
    roll: float = 5.0  # standard deviation
    aim: float = 24.0  # standard deviation of what a camera looks at
    head: float = 0.0  # share of cameras at the person's own head
    cameras: int = 12  # of a capture
    views: int = 3  # of an instant
    instants: int = 6  # of a sequence
    single: float = 0.45  # share of sequences with one hand
    grey: float = 0.2  # share of grey cameras
    landscape: float = 0.25  # share of captures with frames 512 × 334, else 334 × 512
    rooms: float = 0.0  # share of captures before a bright background, else in a dark studio
    contrast: tuple[float, float] = (0.5, 1.4)  # of the lamps
    blur: tuple[float, float] = (0.45, 0.8)
    noise: tuple[float, float] = (0.8, 3.0)
    quality: tuple[int, int] = (88, 94)  # of the JPEGs


PROFILES = {
    "studio": Profile(),
    "wild": Profile(
        "wild", (-105.0, 105.0), (-35.0, 75.0), (450.0, 1300.0), (0.9, 1.7), 15.0, 36.0, 0.2,
        grey=0.1, rooms=0.85, contrast=(0.2, 3.0), blur=(0.4, 1.6), noise=(0.8, 7.0),
        quality=(60, 95),
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


def _direction(azimuth, elevation):
    """Unit vectors from the person; 0, 0 is to the front."""
    flat = np.cos(elevation)
    return np.stack([np.sin(azimuth) * flat, -np.sin(elevation), -np.cos(azimuth) * flat], -1)


def draw_cameras(
    rng: np.random.Generator, profile: Profile, width: int, height: int
) -> list[Camera]:
    """The dome of a capture; each camera looks about where hands are held."""
    raw = np.array([0.95, 1.0, 0.6]) ** rng.uniform(0, 1.3)  # sensors see green before balancing
    cast, cameras = raw * np.exp(rng.normal(0, 0.06, 3)) * rng.uniform(0.55, 1.15), []
    for k in range(profile.cameras):
        ranges = profile.azimuth, profile.elevation, profile.distance
        if rng.random() < profile.head:
            ranges = (150.0, 210.0), (56.0, 75.0), (380.0, 520.0)
        azimuth, elevation, distance = (rng.uniform(*r) for r in ranges)
        toward, roll = _direction(*np.radians([azimuth, elevation])), rng.normal(0, profile.roll)
        x = unit(np.cross([0, 1, 0], -toward))
        level = np.stack([x, np.cross(-toward, x), -toward])
        camrot = poses.rotation(np.array([0, 0, -np.radians(roll)])) @ level
        grey = bool(rng.random() < profile.grey)
        cameras.append(Camera(
            f"{'41' if grey else '40'}{k:04d}", camrot,
            MIDDLE + rng.normal(0, profile.aim, 3) + toward * distance,
            rng.uniform(*profile.focal) * distance + rng.normal(0, 0.3, 2),
            np.array([width, height]) / 2 + rng.normal(0, 12, 2), cast * rng.uniform(0.85, 1.2),
            rng.uniform(*profile.blur), rng.uniform(*profile.noise), grey,
        ))  # fmt: skip
    return cameras


def draw_lights(rng: np.random.Generator, profile: Profile) -> Lights:
    """Two or three lamps before and above the person, and light from everywhere."""
    n = rng.integers(2, 4)
    place = MIDDLE + 1600 * _direction(rng.uniform(-2, 2, n), rng.uniform(0.1, 1.3, n))
    lamps, sky = rng.dirichlet(np.full(n, 2.0)) * rng.uniform(*profile.contrast), 0.38
    level = rng.uniform(0.75, 1.05) / (0.6 * lamps.sum() + sky)  # white skin stays below white
    tint = level * np.exp(rng.normal(0, 0.05, (n + 2, 3)))
    ground = sky * rng.uniform(0.3, 0.8)
    return Lights(place, lamps[:, None] * tint[2:], sky * tint[0], ground * tint[1])


def part_hands(
    models: tuple[HandModel, HandModel], hands: Float32[np.ndarray, "t 2 v 3"],
    both: Bool[np.ndarray, "t"],
) -> tuple[Float32[np.ndarray, "t 2 3"], Float[np.ndarray, "t 2"]]:  # fmt: skip
    """Translations (mm) that part hands which lie in each other by more than skin gives way; and
    the hands' distance and penetration after it (mm), NaN where not both are there."""
    shift, apart = np.zeros((len(hands), 2, 3), np.float32), np.full((len(hands), 2), np.nan)
    weld = np.arange(hands.shape[2])
    for t in np.flatnonzero(both):
        normals = [shading.vertex_normals(h, m.faces, weld) for h, m in zip(hands[t], models)]
        for _ in range(12):
            right, left = hands[t] + shift[t, :, None]
            gap, depth, push = poses.contact(right, left, normals[1])
            other_gap, other_depth, other = poses.contact(left, right, normals[0])
            apart[t] = min(gap, other_gap), max(depth, other_depth)
            if apart[t, 1] <= TOUCHING_MM:
                break
            step = 0.6 * (apart[t, 1] - TOUCHING_MM / 2) * unit(push * depth - other * other_depth)
            shift[t] += [step, -step]
    return shift, apart


def make_capture(job: Job) -> Path:
    """Draw, pose, render and write one capture; returns the file with its annotations."""
    part = Path(job.root) / "parts" / f"{job.capture}.npz"
    if part.is_file():
        return part
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, whatever the machine
    try:
        tables = _capture(job)
    finally:
        torch.set_num_threads(threads)
    with atomic(part, "wb") as file:
        np.savez(file, **{key: np.asarray(table) for key, table in tables.items()})
    return part


def _capture(job):
    """Writes a capture's pictures; its annotations, in columns."""
    rng, profile = np.random.default_rng([job.seed, job.capture]), job.profile
    width, height = (512, 334) if rng.random() < profile.landscape else (334, 512)
    betas = np.clip(rng.normal(0, 1, 10), -2, 2).round(6).astype(np.float32)
    body, person = build_body(rng), poses.draw_person(rng, 1 + 0.05 * float(betas[0]))
    rig, surface = poses.build_rig(body.models[0], betas), body.surface
    cameras, lights = draw_cameras(rng, profile, width, height), draw_lights(rng, profile)
    dome, dark = MIDDLE + 2200 * unit(rng.normal(0, 1, (160, 3))), rng.random() >= profile.rooms

    n_instants = -(-job.frames // profile.views)
    # Families are dealt from one shuffled pack to all captures, so that each gets its share.
    pack = [name for name, family in poses.families().items() for _ in range(family["often"])]
    pack = np.random.default_rng(job.seed).permutation(pack)
    at = job.capture * FRAMES_PER_CAPTURE // (profile.views * profile.instants)
    names = []
    for k in range(at, at - (-n_instants // profile.instants)):
        one = f"{rng.choice(SIDES)}:{rng.choice(list(poses.shapes()))}"
        singles = int(k * profile.single)
        single = int((k + 1) * profile.single) > singles
        names.append(one if single else str(pack[(k - singles) % len(pack)]))
    motion = poses.draw_motion(rng, rig, person, names, profile.instants)
    present, valid = motion.present, motion.present.repeat(JOINTS_PER_HAND, 1)
    pose, shape = poses.mano_pose(rig, motion.angles, motion.turn).round(6), torch.tensor(betas)
    rest = np.stack([model.rest_joints(shape).numpy()[0] for model in body.models])

    def skin(wrist):
        trans = (wrist / 1000 - rest).astype(np.float32).round(6)
        fits = zip(body.models, torch.tensor(pose).unbind(1), torch.tensor(trans).unbind(1))
        hands = [m.skin(p, shape.expand(len(p), 10), t).numpy() * 1000 for m, p, t in fits]
        return trans, np.stack(hands, 1)

    shift, apart = part_hands(body.models, skin(motion.wrist)[1], present.all(1))
    wrist = motion.wrist + shift
    trans, hands = skin(wrist)
    joints = [m.joints(torch.tensor(hands[:, s])).numpy() for s, m in enumerate(body.models)]
    joints = np.concatenate(joints, 1)
    held = (torch.tensor(a, dtype=torch.float32) for a in (motion.angles, motion.turn, wrist))
    balls = poses.pose_spots(rig, *held)

    rows = []
    for t in range(n_instants):
        vertices, uv = build_mesh(body, person, hands[t], motion.turn[t], wrist[t], present[t])
        normals = shading.vertex_normals(vertices, surface.faces, body.weld)
        near = balls[t, present[t], : len(rig.radii)].reshape(-1, 3).numpy()
        free = shading.openness(vertices, normals, near, np.tile(rig.radii, present[t].sum()))
        attributes = np.concatenate([vertices, normals, free[:, None], uv], 1)
        centre = hands[t][present[t]].mean((0, 1)).astype(float)
        shadows = shading.cast_shadows(vertices, surface.faces, lights, centre)
        sequence = f"{motion.sequence[t]:04d}_{motion.family[t].replace(':', '_')}"
        views = _views(rng, cameras, joints[t][valid[t]], width, height)
        wanted = len(rows) + min(profile.views, job.frames - len(rows))
        for left, camera in zip(range(len(views), 0, -1), views):
            scene = (dome, camera) if dark else (rng,)
            back = (shading.studio if dark else shading.room)(*scene, width, height)
            light, seen = shading.render(surface, attributes, lights, shadows, camera, back)
            truth = _hidden(camera, seen, body, attributes, joints[t], present[t])
            behind = (truth["joint_hidden"][valid[t]] == 2).mean() > 0.6  # an arm is before them
            if behind and left > wanted - len(rows):
                continue
            picture = shading.develop(light, camera, rng)[..., ::-1]
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*profile.quality))]
            name = f"Capture{job.capture}/{sequence}/cam{camera.name}/image{t}.jpg"
            path = Path(job.root) / "images" / job.split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".jpg", picture, quality)[1].tobytes())
            rows.append({
                "file_name": name, "width": width, "height": height, "seq_name": sequence,
                "camera": camera.name, "frame_idx": t, "family": motion.family[t],
                "hands_distance_mm": apart[t, 0], "penetration_mm": apart[t, 1],
                **_annotate(rng, camera, joints[t], present[t]),
                **truth,
            })  # fmt: skip
            if len(rows) == wanted:
                break

    used = sorted({row["frame_idx"] for row in rows})
    instants = {
        "frame_idx": np.arange(len(hands)), "joint_valid": valid, "hand_type": _hand_type(present),
        "joints_world_mm": np.where(valid[..., None], joints, 1.0).round(4),
        "hand_type_valid": np.ones(len(hands), bool), "mano_pose": pose,
        "mano_shape": np.broadcast_to(betas, (len(hands), 2, 10)),
        "mano_trans": np.where(present[..., None], trans, np.nan),
    }  # fmt: skip
    tables = {f"frames/{key}": [row[key] for row in rows] for key in rows[0]}
    tables |= {f"instants/{key}": value[used] for key, value in instants.items()}
    names = "name", "camrot", "campos_mm", "focal", "princpt"
    return tables | {f"cameras/{key}": [getattr(c, key) for c in cameras] for key in names}


def _hand_type(present):
    return (present[..., None, :] == HAND_TYPE_FLAGS).all(-1).argmax(-1)


def _views(rng, cameras, joints, width, height):
    """The cameras in any order, but first those that have most of the joints in the frame."""
    cameras = [cameras[c] for c in rng.permutation(len(cameras))]
    px = (camera.project(joints)[0] for camera in cameras)
    out = [((p > 0) & (p < [width, height])).all(1).mean() < 0.75 for p in px]
    return [cameras[c] for c in np.argsort(out, kind="stable")]


def _annotate(rng, camera, joints, present):
    """Box and validity as InterHand2.6M has them, and what RootNet might say."""
    px, depth = camera.project(joints)
    valid = present.repeat(JOINTS_PER_HAND)
    low, high = px[valid].min(0), px[valid].max(0)
    side = 1.25 * 1.2 * (high - low).max() * (1 + rng.normal(0, 0.008, 2))
    centre = (low + high) / 2 + rng.normal(0, 0.007, 2) * side
    wrists = np.where(present, depth[list(WRISTS)], depth[WRISTS[present.argmax()]])
    return {
        "bbox_xywh": np.append(1.1 * low - 0.1 * high, 1.2 * (high - low)).round(3),
        "joint_valid": valid, "hand_type": int(_hand_type(present)), "hand_type_valid": True,
        "rootnet_bbox_xywh": np.append(centre - side / 2, side).round(3),
        "rootnet_depth_mm": (wrists + rng.normal(0, 30) + rng.normal(0, 12, 2)).round(3),
    }  # fmt: skip


def _hidden(camera, seen, body, attributes, joints, present):
    """Truth about occlusion: the share of each hand's front that something else, itself and the
    frame's edge hide; per joint 0 seen, 1 behind its own hand, 2 behind another thing, 3 out."""
    (face, depth_map), count = seen, len(body.models[0].v_template)
    owner = np.append(body.owner, -1)[face]

    def classify(points, side, thick):
        px, depth = camera.project(points)
        x, y = px.round().astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < face.shape[1]) & (y < face.shape[0])
        x, y = x * inside, y * inside
        behind = depth - depth_map[y, x] > thick
        return np.where(inside, np.where(behind, np.where(owner[y, x] == side, 1, 2), 0), 3)

    thick = np.where(np.isin(np.arange(len(joints)), WRISTS), 30.0, 17.0)
    joint = np.where(present[JOINT_SIDE], classify(joints, JOINT_SIDE, thick), 0)
    truth = {"joint_hidden": joint.astype(np.uint8)}
    for side, name in enumerate(SIDES):
        skin = attributes[side * count : (side + 1) * count, :6].astype(float)
        skin = skin[((camera.campos_mm - skin[:, :3]) * skin[:, 3:]).sum(1) > 0]
        how = classify(skin[:, :3], side, 3.0)
        for code, what in ((2, "other"), (1, "itself"), (3, "frame")):
            share = (how == code).mean() if present[side] else np.nan
            truth[f"{name}_hidden_by_{what}"] = float(share)
    return truth


# ---------------------------------------------------------------- trees


def plan(root: Path | str, frames: int, seed: int, profiles: Sequence[Profile]) -> list[Job]:
    """The captures of a data set, 80 % train, 10 % val, 10 % test; no subject is in two splits.

    The captures of a split take the profiles in turn.
    """
    tenth, jobs = max(round(frames / 10), 1), []
    for split, count in (("train", frames - 2 * tenth), ("val", tenth), ("test", tenth)):
        n = -(-count // FRAMES_PER_CAPTURE)
        for k in range(n):
            share = count * (k + 1) // n - count * k // n
            profile = profiles[k % len(profiles)]
            jobs.append(Job(str(root), split, len(jobs), share, seed, profile))
    return jobs


def synthesize(
    root: Path | str, frames: int, seed: int = 0, profile: str | Profile = "studio",
    workers: int | None = None, executor: Executor | None = None, progress: bool = True,
) -> dict[str, int]:  # fmt: skip
    """Write a synthetic data set of so many frames in all, or finish one that was stopped; returns
    the frames of each split. The same seed, frames and profile give the same bytes for any number
    of workers (default: all cores), and on any executor whose workers see `root`. With several
    profiles, "studio+wild", captures take them in turn.

    ValueError for an unknown profile, fewer than 3 frames, or a root that holds other data.
    """
    names = profile.split("+") if isinstance(profile, str) else []
    for name in names:
        if name not in PROFILES:
            raise ValueError(f"profile {name!r} is unknown: use one of {', '.join(PROFILES)}")
    profiles = [PROFILES[name] for name in names] or [profile]
    if frames < 3:
        raise ValueError(f"frames {frames} are too few for train, val and test: use 3 or more")
    root, note = Path(root), Path(root) / "synth.json"
    settings = {"frames": frames, "seed": seed, "profiles": [asdict(p) for p in profiles]}
    settings = json.loads(json.dumps(settings))
    there = json.loads(note.read_text()) if note.is_file() else settings
    for key in settings:
        if there.get(key) != settings[key]:
            raise ValueError(
                f"{note}: {key} is {there.get(key)!r}, not {settings[key]!r}: use another folder, "
                "or these settings to finish what is there"
            )
    if not note.is_file() and root.is_dir() and any(root.iterdir()):
        raise ValueError(f"{root} holds other data: use a folder that is empty or does not exist")
    jobs = plan(root, frames, seed, profiles)
    totals = {j.split: sum(k.frames for k in jobs if k.split == j.split) for j in jobs}
    if (root / "truth/test.parquet").is_file():  # it is written last
        return totals
    with atomic(note) as file:
        file.write(json.dumps(settings, indent=1) + "\n")
    pool = executor or ProcessPoolExecutor(
        min(workers or os.cpu_count() or 1, len(jobs)), initializer=cv2.setNumThreads, initargs=(0,)
    )
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
    for table in tables.values():
        sizes = [len(array) for array in next(iter(table.values()))]
        table["capture"] = [np.repeat([int(part.stem) for part in parts], sizes)]
        table.update({key: np.concatenate(arrays) for key, arrays in table.items()})
    frames, instants, cameras = tables.values()
    cameras["camera"] = cameras.pop("name")
    frames |= {"image_id": np.arange(len(frames["capture"])), "subject": frames["capture"]}
    write_tree(root, split, frames, instants, cameras, hand_model="generic")
    names = ["image_id", "family", "hands_distance_mm", "penetration_mm"]
    truth = {key: list(frames[key]) for key in names + [k for k in frames if "_hidden" in k]}
    with atomic(root / "truth" / f"{split}.parquet", "wb") as file:
        pd.DataFrame(truth).to_parquet(file, index=False)

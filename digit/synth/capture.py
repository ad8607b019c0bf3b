"""One capture: posed, rendered and annotated."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from digit.files import atomic
from digit.hands.model import HandModel
from digit.skeleton import HAND_TYPE_FLAGS, JOINT_SIDE, JOINTS_PER_HAND, SIDES, WRISTS
from digit.synth.anatomy import build_rig, draw_person, mano_pose, pose_spots, unit
from digit.synth.body import build_body, build_mesh
from digit.synth.cameras import MIDDLE, draw_cameras, draw_lights
from digit.synth.contact import contact
from digit.synth.families import families, shapes
from digit.synth.motion import draw_motion
from digit.synth.profiles import FRAMES_PER_CAPTURE, Profile
from digit.synth.renderer import (
    cast_shadows,
    develop,
    openness,
    render,
    room,
    studio,
    vertex_normals,
)

TOUCHING_MM = 2.0  # skin gives way so far


class Job(NamedTuple):
    """One capture to make."""

    root: str
    split: str
    capture: int
    frames: int
    seed: int
    profile: Profile


def part_hands(
    models: tuple[HandModel, HandModel],
    hands: Float32[np.ndarray, "t 2 v 3"],
    both: Bool[np.ndarray, "t"],
) -> tuple[Float32[np.ndarray, "t 2 3"], Float[np.ndarray, "t 2"]]:
    """Translations (mm) that part hands which lie in each other by more than skin gives way; and
    the hands' distance and penetration after it (mm), NaN where not both are there."""
    shift, apart = (
        np.zeros((len(hands), 2, 3), np.float32),
        np.full((len(hands), 2), np.nan),
    )
    weld = np.arange(hands.shape[2])
    for t in np.flatnonzero(both):
        normals = [vertex_normals(h, m.faces, weld) for h, m in zip(hands[t], models)]
        for _ in range(12):
            right, left = hands[t] + shift[t, :, None]
            gap, depth, push = contact(right, left, normals[1])
            other_gap, other_depth, other = contact(left, right, normals[0])
            apart[t] = min(gap, other_gap), max(depth, other_depth)
            if apart[t, 1] <= TOUCHING_MM:
                break
            step = (
                0.6
                * (apart[t, 1] - TOUCHING_MM / 2)
                * unit(push * depth - other * other_depth)
            )
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
    body, person = build_body(rng), draw_person(rng, 1 + 0.05 * float(betas[0]))
    rig, surface = build_rig(body.models[0], betas), body.surface
    cameras, lights = (
        draw_cameras(rng, profile, width, height),
        draw_lights(rng, profile),
    )
    dome, dark = (
        MIDDLE + 2200 * unit(rng.normal(0, 1, (160, 3))),
        rng.random() >= profile.rooms,
    )

    n_instants = -(-job.frames // profile.views)
    # Families are dealt from one shuffled pack to all captures, so that each gets its share.
    pack = [name for name, family in families().items() for _ in range(family["often"])]
    pack = np.random.default_rng(job.seed).permutation(pack)
    at = job.capture * FRAMES_PER_CAPTURE // (profile.views * profile.instants)
    names = []
    for k in range(at, at - (-n_instants // profile.instants)):
        one = f"{rng.choice(SIDES)}:{rng.choice(list(shapes()))}"
        singles = int(k * profile.single)
        single = int((k + 1) * profile.single) > singles
        names.append(one if single else str(pack[(k - singles) % len(pack)]))
    motion = draw_motion(rng, rig, person, names, profile.instants)
    present, valid = motion.present, motion.present.repeat(JOINTS_PER_HAND, 1)
    pose, shape = (
        mano_pose(rig, motion.angles, motion.turn).round(6),
        torch.tensor(betas),
    )
    rest = np.stack([model.rest_joints(shape).numpy()[0] for model in body.models])

    def skin(wrist):
        trans = (wrist / 1000 - rest).astype(np.float32).round(6)
        fits = zip(
            body.models, torch.tensor(pose).unbind(1), torch.tensor(trans).unbind(1)
        )
        hands = [
            m.skin(p, shape.expand(len(p), 10), t).numpy() * 1000 for m, p, t in fits
        ]
        return trans, np.stack(hands, 1)

    shift, apart = part_hands(body.models, skin(motion.wrist)[1], present.all(1))
    wrist = motion.wrist + shift
    trans, hands = skin(wrist)
    joints = [
        m.joints(torch.tensor(hands[:, s])).numpy() for s, m in enumerate(body.models)
    ]
    joints = np.concatenate(joints, 1)
    held = (
        torch.tensor(a, dtype=torch.float32)
        for a in (motion.angles, motion.turn, wrist)
    )
    balls = pose_spots(rig, *held)

    rows = []
    for t in range(n_instants):
        vertices, uv = build_mesh(
            body, person, hands[t], motion.turn[t], wrist[t], present[t]
        )
        normals = vertex_normals(vertices, surface.faces, body.weld)
        near = balls[t, present[t], : len(rig.radii)].reshape(-1, 3).numpy()
        free = openness(vertices, normals, near, np.tile(rig.radii, present[t].sum()))
        attributes = np.concatenate([vertices, normals, free[:, None], uv], 1)
        centre = hands[t][present[t]].mean((0, 1)).astype(float)
        shadows = cast_shadows(vertices, surface.faces, lights, centre)
        sequence = f"{motion.sequence[t]:04d}_{motion.family[t].replace(':', '_')}"
        views = _views(rng, cameras, joints[t][valid[t]], width, height)
        wanted = len(rows) + min(profile.views, job.frames - len(rows))
        for left, camera in zip(range(len(views), 0, -1), views):
            scene = (dome, camera) if dark else (rng,)
            back = (studio if dark else room)(*scene, width, height)
            light, seen = render(surface, attributes, lights, shadows, camera, back)
            truth = _hidden(camera, seen, body, attributes, joints[t], present[t])
            behind = (
                truth["joint_hidden"][valid[t]] == 2
            ).mean() > 0.6  # an arm is before them
            if behind and left > wanted - len(rows):
                continue
            picture = develop(light, camera, rng)[..., ::-1]
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*profile.quality))]
            name = f"Capture{job.capture}/{sequence}/cam{camera.name}/image{t}.jpg"
            path = Path(job.root) / "images" / job.split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".jpg", picture, quality)[1].tobytes())
            rows.append(
                {
                    "file_name": name,
                    "width": width,
                    "height": height,
                    "seq_name": sequence,
                    "camera": camera.name,
                    "frame_idx": t,
                    "family": motion.family[t],
                    "hands_distance_mm": apart[t, 0],
                    "penetration_mm": apart[t, 1],
                    **_annotate(rng, camera, joints[t], present[t]),
                    **truth,
                }
            )
            if len(rows) == wanted:
                break

    used = sorted({row["frame_idx"] for row in rows})
    instants = {
        "frame_idx": np.arange(len(hands)),
        "joint_valid": valid,
        "hand_type": _hand_type(present),
        "joints_world_mm": np.where(valid[..., None], joints, 1.0).round(4),
        "hand_type_valid": np.ones(len(hands), bool),
        "mano_pose": pose,
        "mano_shape": np.broadcast_to(betas, (len(hands), 2, 10)),
        "mano_trans": np.where(present[..., None], trans, np.nan),
    }
    tables = {f"frames/{key}": [row[key] for row in rows] for key in rows[0]}
    tables |= {f"instants/{key}": value[used] for key, value in instants.items()}
    names = "name", "camrot", "campos_mm", "focal", "princpt"
    return tables | {
        f"cameras/{key}": [getattr(c, key) for c in cameras] for key in names
    }


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
        "joint_valid": valid,
        "hand_type": int(_hand_type(present)),
        "hand_type_valid": True,
        "rootnet_bbox_xywh": np.append(centre - side / 2, side).round(3),
        "rootnet_depth_mm": (wrists + rng.normal(0, 30) + rng.normal(0, 12, 2)).round(
            3
        ),
    }


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
        return np.where(
            inside, np.where(behind, np.where(owner[y, x] == side, 1, 2), 0), 3
        )

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

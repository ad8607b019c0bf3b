"""One capture: a person, posed, rendered and annotated.

`dataset.synthesize` runs `make_capture` in worker processes. A capture is one person
(shape, skin, clothes) whose hands move between key poses; several cameras see every
instant. Captures are independent: capture k of a seed is the same whoever makes it, and
in whatever order.

A capture goes through four phases: draw the subject and the cameras, draw the motion,
pose the hand model, and take the pictures.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from digit.files import atomic, is_whole_npz
from digit.skeleton import SIDES
from digit.synth.anatomy import normalize
from digit.synth.annotations import (
    BEHIND_OTHER,
    annotate,
    hand_type,
)
from digit.synth.appearance import dress
from digit.synth.arrays import (
    Betas,
    Points,
    Rgb,
    Rng,
)
from digit.synth.backgrounds import backdrop, room, studio
from digit.synth.body import FACE_FIGURE, build_body, only_arms
from digit.synth.cameras import MIDDLE, draw_cameras, draw_lights
from digit.synth.families import families, shapes
from digit.synth.film import develop, develop_webcam, draw_look
from digit.synth.held_motion import draw_held_motion, draw_name
from digit.synth.motion import Motion, draw_motion
from digit.synth.profiles import Profile, WebcamProfile
from digit.synth.randomness import log_uniform
from digit.synth.renderer import Camera, Lights, Sensor
from digit.synth.scene import (
    PosedHands,
    Scene,
    Subject,
    View,
    build_scene,
    draw_betas,
    make_subject,
    pose_hands,
    take_picture,
)
from digit.synth.viewpoints import (
    Viewpoint,
    aim_camera,
    draw_frame_size,
    draw_viewpoint,
)
from digit.synth.viewpoints import draw_lights as draw_viewpoint_lights

# Frames of the dome's cameras.
LANDSCAPE, PORTRAIT = (512, 334), (334, 512)
# Lamps of a studio, and their distance from its middle.
STUDIO_LAMPS = 160
STUDIO_RADIUS_MM = 2200
# A view is avoided where another thing, mostly an arm, is before more than this share
# of joints.
DOME_HIDDEN_LIMIT = 0.6
# A camera of a viewpoint is aimed again, up to three times, where as many joints are
# hidden or out.
WEBCAM_HIDDEN_LIMIT = 0.4
AIM_ATTEMPTS = 4
# A camera of a dome is preferred if it has this share of the joints in its frame.
SEEN_SHARE = 0.75
# Faces nearer than this are not drawn where there is neither head nor torso.
ARMS_NEAR_MM = 40.0
# JPEG quality of webcams is 100 less a number between these, small ones more often.
WEBCAM_QUALITY_LOSS = (5.0, 75.0)


class Job(NamedTuple):
    """One capture to make."""

    dataset_dir: str
    split: str
    capture: int
    frames: int
    seed: int
    profile: Profile | WebcamProfile


class Dome(NamedTuple):
    """What stands around the subject of a capture."""

    cameras: list[Camera]
    sensors: dict[str, Sensor]  # by the camera's name
    lights: Lights
    lamps_mm: Points  # that are seen in a dark studio
    is_dark: bool  # else it is a bright room
    frame_size: tuple[int, int]  # width and height, px


def make_capture(job: Job) -> Path:
    """Draw, pose, render and write one capture, unless that was done before.

    Args:
        job: What to make.

    Returns:
        The file with the capture's annotations, in columns.
    """
    part = Path(job.dataset_dir) / "parts" / f"{job.capture}.npz"
    if is_whole_npz(part):
        return part
    # One thread adds up in the same order on every machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if isinstance(job.profile, WebcamProfile):
            tables = _webcam_capture(job, job.profile)
        else:
            tables = _dome_capture(job, job.profile)
    finally:
        torch.set_num_threads(threads)
    with atomic(part, "wb") as file:
        np.savez(file, **{key: np.asarray(table) for key, table in tables.items()})
    return part


# ----------------------------------------------------------- profiles studio and wild


def _dome_capture(job: Job, profile: Profile) -> dict[str, Any]:
    """Make a capture in a dome of cameras; returns its annotations."""
    rng = np.random.default_rng([job.seed, job.capture])

    # 1. The subject, the dome and the light.
    is_landscape = rng.random() < profile.landscape
    frame_size = LANDSCAPE if is_landscape else PORTRAIT
    betas = draw_betas(rng)
    body = build_body(rng)
    subject = make_subject(rng, betas, body)
    dome = _draw_dome(rng, profile, frame_size)

    # 2. The motion, and 3. the hands.
    n_instants = _ceil_divide(job.frames, profile.views)
    n_sequences = _ceil_divide(n_instants, profile.instants)
    names = _deal_names(rng, job, profile, n_sequences)
    motion = draw_motion(
        rng,
        subject.rig,
        subject.person,
        names,
        profile.instants,
    )
    hands = pose_hands(subject, motion)

    # 4. The pictures.
    rows: list[dict[str, Any]] = []
    for t in range(n_instants):
        scene = build_scene(subject, subject.body, hands, t, dome.lights)
        wanted = min(profile.views, job.frames - len(rows))
        for view in _dome_views(rng, dome, scene, hands, t, wanted):
            sensor = dome.sensors[view.camera.name]
            picture = develop(view.light, sensor, rng)
            quality = int(rng.integers(*profile.quality))
            row = _frame_row(job, motion, hands, t, view, frame_size)
            _write_jpeg(job, row["file_name"], picture, quality)
            labels = annotate(rng, view.camera, hands.joints_mm[t], hands.present[t])
            rows.append(row | labels | view.truth)
    return _tables(rows, dome.cameras, hands, betas)


def _draw_dome(rng: Rng, profile: Profile, frame_size: tuple[int, int]) -> Dome:
    """Draw what stands around the subject."""
    cameras, sensors = draw_cameras(rng, profile, *frame_size)
    lights = draw_lights(rng, profile)
    lamp_directions = normalize(rng.normal(0, 1, (STUDIO_LAMPS, 3)))
    is_dark = rng.random() >= profile.rooms
    return Dome(
        cameras=cameras,
        sensors=sensors,
        lights=lights,
        lamps_mm=MIDDLE + STUDIO_RADIUS_MM * lamp_directions,
        is_dark=is_dark,
        frame_size=frame_size,
    )


def _dome_views(
    rng: Rng,
    dome: Dome,
    scene: Scene,
    hands: PosedHands,
    t: int,
    wanted: int,
) -> Iterator[View]:
    """So many views of an instant; hidden ones only if there are too few others."""
    valid = hands.joint_valid[t]
    cameras = _sorted_cameras(rng, dome, hands.joints_mm[t][valid])
    taken = 0
    for number, camera in enumerate(cameras):
        if dome.is_dark:
            background = studio(dome.lamps_mm, camera, *dome.frame_size)
        else:
            background = room(rng, *dome.frame_size)
        view = take_picture(scene, hands, t, camera, background)
        is_behind = view.truth["joint_hidden"][valid] == BEHIND_OTHER
        cameras_left = len(cameras) - number
        may_skip = cameras_left > wanted - taken
        if may_skip and is_behind.mean() > DOME_HIDDEN_LIMIT:
            continue
        yield view
        taken += 1
        if taken == wanted:
            return


def _deal_names(
    rng: Rng,
    job: Job,
    profile: Profile,
    n_sequences: int,
) -> list[str]:
    """Names of a capture's sequences, as `draw_motion` takes them.

    Families are dealt from one shuffled pack to all captures of a seed, so that each
    gets its share; single hands are spread evenly between them.
    """
    # 1. The pack, the same for all captures.
    pack = []
    for name, family in families().items():
        pack.extend([name] * family.weight)
    pack = np.random.default_rng(job.seed).permutation(pack)

    # 2. This capture's part of it.
    frames_before = job.capture * profile.frames_per_capture
    frames_per_sequence = profile.views * profile.instants
    first = frames_before // frames_per_sequence
    names = []
    for k in range(first, first + n_sequences):
        side = rng.choice(SIDES)
        shape = rng.choice(list(shapes()))
        singles_before = int(k * profile.single)
        singles_after = int((k + 1) * profile.single)
        if singles_after > singles_before:
            names.append(f"{side}:{shape}")
        else:
            pairs_before = k - singles_before
            names.append(str(pack[pairs_before % len(pack)]))
    return names


def _sorted_cameras(rng: Rng, dome: Dome, joints_mm: Points) -> list[Camera]:
    """The cameras in random order, first those with most joints in the frame."""
    order = rng.permutation(len(dome.cameras))
    shuffled = [dome.cameras[k] for k in order]
    misses_joints = []
    for camera in shuffled:
        px, _ = camera.project(joints_mm)
        inside = (px > 0) & (px < dome.frame_size)
        misses_joints.append(inside.all(1).mean() < SEEN_SHARE)
    order = np.argsort(misses_joints, kind="stable")
    return [shuffled[k] for k in order]


# ---------------------------------------------------------------------- profile webcam


def _webcam_capture(job: Job, profile: WebcamProfile) -> dict[str, Any]:
    """Make a capture of hands held up to cameras; returns its annotations."""
    rng = np.random.default_rng([job.seed, job.capture, 1])

    # 1. The subject, and what the camera does to its pictures.
    frame_size = draw_frame_size(rng)
    betas = draw_betas(rng)
    body = dress(rng, build_body(rng, FACE_FIGURE))
    subject = make_subject(rng, betas, body)
    look = draw_look(rng, profile)

    # 2. The motion, and 3. the hands.
    n_instants = _ceil_divide(job.frames, profile.views)
    n_sequences = _ceil_divide(n_instants, profile.instants)
    names = []
    viewpoints = []
    for _ in range(n_sequences):
        is_single = bool(rng.random() < profile.single)
        names.append(draw_name(rng, is_single))
        viewpoints.append(draw_viewpoint(rng, profile, subject.person))
    motion = draw_held_motion(
        rng,
        subject.rig,
        subject.person,
        viewpoints,
        names,
        profile.instants,
    )
    hands = pose_hands(subject, motion)

    # 4. The pictures; each has a camera of its own.
    rows: list[dict[str, Any]] = []
    cameras: list[Camera] = []
    for t in range(n_instants):
        viewpoint = viewpoints[motion.sequence[t]]
        scene = _viewpoint_scene(rng, viewpoint, subject, hands, t)
        wanted = min(profile.views, job.frames - len(rows))
        for _ in range(wanted):
            view, is_grey = _aim_until_seen(
                rng,
                profile,
                viewpoint,
                scene,
                hands,
                t,
                number=len(rows),
                frame_size=frame_size,
            )
            picture = develop_webcam(view.light, look, is_grey, rng)
            quality = int(100 - log_uniform(rng, *WEBCAM_QUALITY_LOSS))
            row = _frame_row(job, motion, hands, t, view, frame_size)
            _write_jpeg(job, row["file_name"], picture, quality)
            labels = annotate(rng, view.camera, hands.joints_mm[t], hands.present[t])
            rows.append(row | labels | view.truth)
            cameras.append(view.camera)
    return _tables(rows, cameras, hands, betas)


def _viewpoint_scene(
    rng: Rng,
    viewpoint: Viewpoint,
    subject: Subject,
    hands: PosedHands,
    t: int,
) -> Scene:
    """Light an instant, and leave out the body if the viewpoint shows arms only."""
    lights = draw_viewpoint_lights(rng, viewpoint)
    if not viewpoint.arms_only:
        return build_scene(subject, subject.body, hands, t, lights)
    arms = only_arms(subject.body, hands.present[t])
    return build_scene(subject, arms, hands, t, lights, near_mm=ARMS_NEAR_MM)


def _aim_until_seen(
    rng: Rng,
    profile: WebcamProfile,
    viewpoint: Viewpoint,
    scene: Scene,
    hands: PosedHands,
    t: int,
    number: int,
    frame_size: tuple[int, int],
) -> tuple[View, bool]:
    """Aim a camera, again if most joints are hidden; the view, and whether it is grey."""
    valid = hands.joint_valid[t]
    joints_mm = hands.joints_mm[t][valid]
    for _ in range(AIM_ATTEMPTS):
        is_grey = bool(rng.random() < profile.grey)
        name = f"{'41' if is_grey else '40'}{number:04d}"
        camera = aim_camera(rng, viewpoint, joints_mm, name, frame_size)
        background = backdrop(rng, *frame_size)
        view = take_picture(scene, hands, t, camera, background)
        hidden = view.truth["joint_hidden"][valid] >= BEHIND_OTHER
        if hidden.mean() < WEBCAM_HIDDEN_LIMIT:
            break
    return view, is_grey


# --------------------------------------------------------------- phases of all profiles


def _ceil_divide(a: int, b: int) -> int:
    return -(-a // b)


def _frame_row(
    job: Job,
    motion: Motion,
    hands: PosedHands,
    t: int,
    view: View,
    frame_size: tuple[int, int],
) -> dict[str, Any]:
    """The columns of a frame that say what it is."""
    width, height = frame_size
    sequence = f"{motion.sequence[t]:04d}_{motion.name[t].replace(':', '_')}"
    camera = view.camera.name
    return {
        "file_name": f"Capture{job.capture}/{sequence}/cam{camera}/image{t}.jpg",
        "width": width,
        "height": height,
        "seq_name": sequence,
        "camera": camera,
        "frame_idx": t,
        "family": motion.name[t],
        "hands_distance_mm": hands.separation.distance_mm[t],
        "penetration_mm": hands.separation.penetration_mm[t],
    }


def _write_jpeg(
    job: Job,
    file_name: str,
    picture: Rgb,
    quality: int,
) -> None:
    """Write a picture into the data set."""
    path = Path(job.dataset_dir) / "images" / job.split / file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", picture[..., ::-1], settings)
    path.write_bytes(data.tobytes())


def _tables(
    rows: list[dict[str, Any]],
    cameras: list[Camera],
    hands: PosedHands,
    betas: Betas,
) -> dict[str, Any]:
    """The tables frames, instants and cameras; keys are `<table>/<column>`."""
    # Only instants that a picture shows are annotated.
    used = sorted({row["frame_idx"] for row in rows})
    count = len(hands.present)
    joints = np.where(hands.joint_valid[..., None], hands.joints_mm, 1.0)
    instants = {
        "frame_idx": np.arange(count),
        "joint_valid": hands.joint_valid,
        "hand_type": hand_type(hands.present),
        "joints_world_mm": joints.round(4),
        "hand_type_valid": np.ones(count, bool),
        "mano_pose": hands.mano_pose,
        "mano_shape": np.broadcast_to(betas, (count, 2, 10)),
        "mano_trans": np.where(hands.present[..., None], hands.mano_trans, np.nan),
    }
    tables = {}
    for key in rows[0]:
        tables[f"frames/{key}"] = [row[key] for row in rows]
    for key, values in instants.items():
        tables[f"instants/{key}"] = values[used]
    for key in Camera._fields:
        tables[f"cameras/{key}"] = [getattr(camera, key) for camera in cameras]
    return tables

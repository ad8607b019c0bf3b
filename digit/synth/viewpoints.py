"""Cameras that hands are held up to: webcams, phones, one's own eyes.

`held_motion` poses hands for a viewpoint, `capture` takes pictures from it. Ranges were
chosen by eye, beside `statistics.REAL_PHOTOS`.
"""

from typing import NamedTuple

import numpy as np

from digit.synth.anatomy import normalize, rotation_matrix
from digit.synth.arms import Person
from digit.synth.arrays import Points, Rng, Rotation, Rotations, Vector, Vectors
from digit.synth.cameras import MIDDLE, direction
from digit.synth.profiles import WebcamProfile
from digit.synth.randomness import choose, log_uniform
from digit.synth.renderer import Camera, Lights

# Where a camera stands, with its share: before a screen; in another person's hands; at
# the person's own eyes; anywhere.
KINDS = {"webcam": 0.5, "other": 0.26, "own": 0.12, "anywhere": 0.12}
# Azimuth and elevation (degrees) of the cameras of other people and of those anywhere.
OTHER_AZIMUTH = 70
OTHER_ELEVATION = (-25, 45)
ANY_AZIMUTH = 110
ANY_ELEVATION = (-40, 75)
# Where hands are held, from the middle of the shoulders.
BEFORE_SHOULDERS_MM = np.array([0, 60, -260])
DISTANCE_MM = (450.0, 1900.0)
NEAREST_MM = 330.0
# Width, height and weight of the frames of a capture.
FRAME_SIZES = (
    (448, 336, 4),
    (480, 270, 3),
    (336, 448, 2),
    (288, 480, 2),
    (360, 360, 2),
    (320, 240, 1),
)
# Share of the frame's shorter side that the joints fill: mostly, far away, and without
# a body, where the arm must leave the picture.
FILL = (0.2, 0.9)
FAR_FILL = (0.11, 0.22)
ARMS_ONLY_FILL = (0.42, 0.85)
# Share of pictures from far away, of phones turned by a right angle, of hands cut by
# the frame.
FAR_SHARE = 0.12
TURNED_SHARE = 0.07
CUT_SHARE = 0.06
# Share of scenes with a lamp at the camera.
FLASH_SHARE = 0.12


class Viewpoint(NamedTuple):
    """From where a sequence is seen."""

    kind: str  # a key of `KINDS`
    eye_mm: Vector  # the camera's place; each frame's lies near it
    arms_only: bool  # head and torso are not shown


def draw_viewpoint(rng: Rng, profile: WebcamProfile, person: Person) -> Viewpoint:
    """Draw where the camera of a sequence stands, and whether the body is shown."""
    kind = choose(rng, KINDS)
    shoulder = person.shoulders.mean(0)
    if kind == "webcam":
        aside = rng.normal(0, 130)
        down = rng.uniform(-260, 200)
        ahead = rng.uniform(560, 1250)
        eye = shoulder + [aside, down, -ahead]
    elif kind == "own":
        aside = rng.normal(0, 60)
        up = rng.uniform(110, 230)
        ahead = rng.uniform(20, 110)
        eye = shoulder + [aside, -up, -ahead]
    else:
        eye = _stand_around(rng, shoulder, anywhere=kind == "anywhere")
    # Seen with one's own eyes there is no body in view.
    arms_only = kind == "own" or bool(rng.random() < profile.arms_only)
    return Viewpoint(kind, eye, arms_only)


def _stand_around(
    rng: Rng,
    shoulder: Vector,
    anywhere: bool,
) -> Vector:
    """The place of a camera around the person, in mm."""
    widest = ANY_AZIMUTH if anywhere else OTHER_AZIMUTH
    heights = ANY_ELEVATION if anywhere else OTHER_ELEVATION
    azimuth = rng.uniform(-widest, widest)
    elevation = rng.uniform(*heights)
    toward = direction(np.radians(azimuth), np.radians(elevation))
    hands = shoulder + BEFORE_SHOULDERS_MM
    distance = log_uniform(rng, *DISTANCE_MM)
    return hands + toward * distance


def view_frame(toward: Vectors) -> Rotations:
    """Columns: right and up in a level picture, and towards the camera."""
    right = normalize(np.cross([0, 1.0, 0], -toward))
    up = np.cross(toward, right)
    return np.stack([right, up, toward], -1)


def draw_frame_size(rng: Rng) -> tuple[int, int]:
    """Width and height of a capture's frames, in px."""
    weight = np.array([size[2] for size in FRAME_SIZES], float)
    chosen = rng.choice(len(FRAME_SIZES), p=weight / weight.sum())
    width, height, _ = FRAME_SIZES[chosen]
    return width, height


def aim_camera(
    rng: Rng,
    viewpoint: Viewpoint,
    joints_mm: Points,
    name: str,
    frame_size: tuple[int, int],
) -> Camera:
    """Draw a camera near a viewpoint that frames the joints.

    How large the hands are and where in the picture is drawn, as crops of larger
    pictures show them; so the principal point may lie anywhere.

    Args:
        rng: The source of randomness.
        viewpoint: From where the sequence is seen.
        joints_mm: Joints of the hands that are there, in the world.
        name: The camera's name.
        frame_size: Width and height in px.
    """
    # 1. The camera's place.
    centre = (joints_mm.min(0) + joints_mm.max(0)) / 2
    offset = viewpoint.eye_mm - centre
    distance = np.linalg.norm(offset) * np.exp(rng.normal(0, 0.12))
    distance = max(distance, NEAREST_MM)
    turn = rotation_matrix(rng.normal(0, 0.12, 3))
    toward = normalize(offset) @ turn
    eye = centre + toward * distance

    # 2. An optical axis that does not quite hit the hands.
    turn = rotation_matrix(rng.normal(0, 0.16, 3))
    axis = normalize(turn @ -toward)
    camrot = _draw_roll(rng) @ _level_rotation(axis)

    # 3. The size of the hands in the picture gives the focal length.
    in_camera = (joints_mm - eye) @ camrot.T
    depth = np.maximum(in_camera[:, 2:], 1)
    flat = in_camera[:, :2] / depth
    low = flat.min(0)
    high = flat.max(0)
    extent = high - low
    fill = _draw_fill(rng, viewpoint)
    focal = fill * min(frame_size) / extent.max()

    # 4. Their place in the picture gives the principal point.
    size = np.array(frame_size)
    room = np.maximum(size - 1.1 * focal * extent, 0) / 2
    place = size / 2 + rng.uniform(-1, 1, 2) * room
    if rng.random() < CUT_SHARE:
        shift = rng.normal(0, 0.25, 2) * focal
        place = place + shift * extent
    princpt = place - focal * (low + high) / 2
    uneven = np.exp(rng.normal(0, 0.004, 2))
    return Camera(
        name=name,
        camrot=camrot,
        campos_mm=eye,
        focal=np.array([focal, focal]) * uneven,
        princpt=princpt,
    )


def _level_rotation(axis: Vector) -> Rotation:
    """World → camera for a level camera that looks along the axis."""
    right = normalize(np.cross([0, 1.0, 0], axis))
    down = np.cross(axis, right)
    return np.stack([right, down, axis])


def _draw_roll(rng: Rng) -> Rotation:
    """A rotation about the optical axis: small, or that of a turned phone."""
    roll = rng.normal(0, 9)
    if rng.random() < TURNED_SHARE:
        roll += rng.choice([90, -90, 180])
    return rotation_matrix(np.array([0, 0, -np.radians(roll)]))


def _draw_fill(rng: Rng, viewpoint: Viewpoint) -> float:
    """The share of the frame's shorter side that the joints fill."""
    fill = log_uniform(rng, *FILL)
    if rng.random() < FAR_SHARE:
        fill = log_uniform(rng, *FAR_FILL)
    if viewpoint.arms_only and viewpoint.kind != "own":
        fill = max(fill, rng.uniform(*ARMS_ONLY_FILL))
    return fill


def draw_lights(rng: Rng, viewpoint: Viewpoint) -> Lights:
    """One to three lamps anywhere around, ambient light, and sometimes a flash."""
    # 1. Lamps and windows.
    count = rng.integers(1, 4)
    azimuth = rng.uniform(-2.4, 2.4, count)
    elevation = rng.uniform(-0.2, 1.35, count)
    toward = direction(azimuth, elevation)
    distance = rng.uniform(700, 1900, (count, 1))
    place = MIDDLE + distance * toward
    shares = rng.dirichlet(np.full(count, 1.5))
    strength = shares * log_uniform(rng, 0.12, 2.5)
    if rng.random() < FLASH_SHARE:
        at_camera = viewpoint.eye_mm + rng.normal(0, 40, 3)
        place = np.vstack([place, at_camera])
        strength = np.append(strength, rng.uniform(0.4, 1.5))

    # 2. Levels are such that light skin stays below white.
    sky = rng.uniform(0.25, 0.5)
    level = 0.9 / (0.6 * strength.sum() + sky)
    noise = rng.normal(0, 0.07, (len(strength) + 2, 3))
    tint = level * np.exp(noise)
    ground = sky * rng.uniform(0.3, 1.0)
    return Lights(
        place_mm=place,
        colour=strength[:, None] * tint[2:],
        sky=sky * tint[0],
        ground=ground * tint[1],
    )

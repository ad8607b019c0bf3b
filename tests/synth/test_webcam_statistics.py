"""Hands of the profile webcam look as hands in real photographs do.

The real numbers are those of 3,814 single hands and 175 pairs in webcam and phone
pictures of three public sources (SubhiH/HandsDataset, Apache-2.0; Sign Language Digits
Dataset, Apache-2.0; hand-tracking-project-using-YOLOv5, CC BY 4.0), labelled by MediaPipe
Hands 0.10.14 and cut out with half a box of room, at most 320 px. Their depth is
plausible at best, and nobody's hands touch. The profile is meant to be wider: it has
pairs that touch, backs of hands and close views.
"""

from typing import NamedTuple

import numpy as np
import pytest

from digit.hands.model import load_hand
from digit.skeleton import JOINTS_PER_HAND
from digit.synth.anatomy import build_rig
from digit.synth.annotations import hand_type
from digit.synth.arms import draw_person
from digit.synth.body import FACE_FIGURE, build_body
from digit.synth.held_motion import draw_held_motion, draw_name
from digit.synth.profiles import WebcamProfile
from digit.synth.scene import Subject, pose_hands
from digit.synth.viewpoints import aim_camera, draw_frame_size, draw_viewpoint

SUBJECTS = 4
SEQUENCES = 40
INSTANTS = 1
# Rows of a hand's 21 joints.
WRIST, INDEX1, PINKY1 = 20, 7, 19
# From the last joint before the tip to the tip, of index, middle, ring and pinky.
LAST_BONES = [(5, 4), (9, 8), (13, 12), (17, 16)]
KNUCKLES = [7, 11, 15, 19]

ANGLE_BINS = [0, 30, 60, 90, 120, 180]
BOX_BINS = [0, 60, 100, 150, 200, 600]
# Degrees between the palm's normal and the way to the camera; single hands.
REAL_PALM_ANGLE = [0.673, 0.249, 0.014, 0.024, 0.040]
# Mean angle between the metacarpal and the last bone of the four fingers; single hands.
REAL_BEND = [0.112, 0.330, 0.184, 0.158, 0.215]
# Longer side of the joints' tight box in px; single hands.
REAL_BOX_PX = [0.041, 0.412, 0.347, 0.165, 0.035]
# Right, left, two hands.
REAL_HAND_TYPE = [0.724, 0.232, 0.044]


class Statistics(NamedTuple):
    """Numbers of many frames; of single hands but for the types."""

    palm_angle: np.ndarray
    bend: np.ndarray
    box_px: np.ndarray
    types: np.ndarray


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def angle_between(a, b):
    """Degrees."""
    cosine = (unit(a) * unit(b)).sum(-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def palm_angle(joints_cam, side):
    """Between the palm's normal and the way to the camera."""
    to_index = joints_cam[INDEX1] - joints_cam[WRIST]
    to_pinky = joints_cam[PINKY1] - joints_cam[WRIST]
    normal = np.cross(to_index, to_pinky) * (-1 if side else 1)
    return angle_between(normal, -joints_cam.mean(0))


def bend(joints_cam):
    """Mean over the four fingers."""
    metacarpals = joints_cam[KNUCKLES] - joints_cam[WRIST]
    last_bones = [joints_cam[tip] - joints_cam[base] for base, tip in LAST_BONES]
    return angle_between(metacarpals, np.array(last_bones)).mean()


@pytest.fixture(scope="module")
def drawn() -> Statistics:
    """Frames of some subjects, posed and seen but not rendered."""
    profile = WebcamProfile()
    body = build_body(np.random.default_rng(0), FACE_FIGURE)
    betas = np.zeros(10, np.float32)
    rig = build_rig(load_hand("right"), betas)
    found = Statistics([], [], [], [])
    for seed in range(SUBJECTS):
        rng = np.random.default_rng(seed)
        person = draw_person(rng, 1.0)
        subject = Subject(betas, body, person, rig)
        names = []
        viewpoints = []
        for _ in range(SEQUENCES):
            names.append(draw_name(rng, bool(rng.random() < profile.single)))
            viewpoints.append(draw_viewpoint(rng, profile, person))
        motion = draw_held_motion(rng, rig, person, viewpoints, names, INSTANTS)
        hands = pose_hands(subject, motion)
        for t in range(SEQUENCES * INSTANTS):
            kind = int(hand_type(hands.present[t]))
            found.types.append(kind)
            if kind == 2:
                continue
            own = slice(kind * JOINTS_PER_HAND, (kind + 1) * JOINTS_PER_HAND)
            joints_mm = hands.joints_mm[t, own]
            viewpoint = viewpoints[motion.sequence[t]]
            size = draw_frame_size(rng)
            camera = aim_camera(rng, viewpoint, joints_mm, "0", size)
            in_camera = (joints_mm - camera.campos_mm) @ camera.camrot.T
            px, _ = camera.project(joints_mm)
            found.palm_angle.append(palm_angle(in_camera, side=kind))
            found.bend.append(bend(in_camera))
            found.box_px.append((px.max(0) - px.min(0)).max())
    return Statistics(*[np.array(column) for column in found])


def share(values, bins):
    """The share of values in each bin."""
    return np.histogram(values, bins)[0] / len(values)


def overlap(found, real):
    """What two histograms have in common: 0 nothing, 1 everything."""
    return np.minimum(found, real).sum()


def test_real_histograms_are_complete():
    for real in (REAL_PALM_ANGLE, REAL_BEND, REAL_BOX_PX, REAL_HAND_TYPE):
        assert sum(real) == pytest.approx(1, abs=0.002)


def test_palms_face_the_camera(drawn):
    found = share(drawn.palm_angle, ANGLE_BINS)
    assert overlap(found, REAL_PALM_ANGLE) > 0.6
    within_60_degrees = found[:2].sum()
    assert 0.7 < within_60_degrees < 0.95
    # Backs of hands occur as well.
    assert 0.01 < found[-1] < 0.2


def test_fingers_bend_as_real_ones_do(drawn):
    found = share(drawn.bend, ANGLE_BINS)
    assert overlap(found, REAL_BEND) > 0.6
    assert (found > 0.03).all()


def test_hands_are_as_large_as_real_ones_and_larger(drawn):
    found = share(drawn.box_px, BOX_BINS)
    assert overlap(found, REAL_BOX_PX) > 0.4
    assert (found > 0.02).all()


def test_all_hand_types_occur(drawn):
    found = share(drawn.types, [0, 1, 2, 3])
    assert overlap(found, REAL_HAND_TYPE) > 0.5
    assert 0.2 < found[2] < 0.5

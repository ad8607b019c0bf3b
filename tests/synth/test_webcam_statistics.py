"""Hands of the profile webcam are held as hands in real photographs are.

The profile is meant to be wider than the real photographs in `REAL_PHOTOS`, where nobody's
hands touch: it has pairs that touch, backs of hands and close views.
"""

import numpy as np
import pytest

from digit.hands.model import load_hand
from digit.synth.anatomy import build_rig
from digit.synth.annotations import hand_type
from digit.synth.arms import draw_person
from digit.synth.body import FACE_FIGURE, build_body
from digit.synth.held_motion import draw_held_motion, draw_name
from digit.synth.profiles import WebcamProfile
from digit.synth.scene import Subject, pose_hands
from digit.synth.statistics import (
    REAL_PHOTOS,
    HandStatistics,
    finger_bend_deg,
    hand_statistics,
    overlap,
    palm_angle_deg,
)
from digit.synth.viewpoints import aim_camera, draw_frame_size, draw_viewpoint

SUBJECTS = 4
SEQUENCES = 40
INSTANTS = 1


def draw_columns(seed: int, body, rig) -> list[dict]:
    """Columns of the frames of a subject, posed and seen but not rendered."""
    # 1. The subject and the sequences.
    rng = np.random.default_rng(seed)
    profile = WebcamProfile()
    person = draw_person(rng, 1.0)
    names = []
    viewpoints = []
    for _ in range(SEQUENCES):
        is_single = bool(rng.random() < profile.single)
        names.append(draw_name(rng, is_single))
        viewpoints.append(draw_viewpoint(rng, profile, person))
    motion = draw_held_motion(rng, rig, person, viewpoints, names, INSTANTS)
    betas = np.zeros(10, np.float32)
    hands = pose_hands(Subject(betas, body, person, rig), motion)

    # 2. A camera for each instant.
    rows = []
    for t, viewpoint in enumerate(viewpoints):
        valid = hands.joint_valid[t]
        joints_mm = hands.joints_mm[t]
        size = draw_frame_size(rng)
        camera = aim_camera(rng, viewpoint, joints_mm[valid], "0", size)
        px, _ = camera.project(joints_mm)
        row = {
            "joints_cam_mm": (joints_mm - camera.campos_mm) @ camera.camrot.T,
            "joints_px": px,
            "joint_valid": valid,
            "hand_type": int(hand_type(hands.present[t])),
        }
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def drawn() -> HandStatistics:
    """Statistics of the frames of some subjects."""
    body = build_body(np.random.default_rng(0), FACE_FIGURE)
    rig = build_rig(load_hand("right"), np.zeros(10, np.float32))
    rows = []
    for seed in range(SUBJECTS):
        rows.extend(draw_columns(seed, body, rig))
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return hand_statistics(columns)


@pytest.mark.parametrize("name", HandStatistics._fields)
def test_real_shares_add_up(name):
    assert sum(getattr(REAL_PHOTOS, name)) == pytest.approx(1, abs=0.002)


def test_palms_face_the_camera(drawn):
    assert overlap(drawn.palm_angle, REAL_PHOTOS.palm_angle) > 0.6
    within_60_degrees = sum(drawn.palm_angle[:2])
    assert 0.7 < within_60_degrees < 0.95
    # Backs of hands occur as well.
    assert 0.01 < drawn.palm_angle[-1] < 0.2


def test_fingers_bend_as_real_ones_do(drawn):
    assert overlap(drawn.finger_bend, REAL_PHOTOS.finger_bend) > 0.6
    assert min(drawn.finger_bend) > 0.03


def test_hands_are_as_large_as_real_ones_and_larger(drawn):
    assert overlap(drawn.box_px, REAL_PHOTOS.box_px) > 0.4
    assert min(drawn.box_px) > 0.02


def test_all_hand_types_occur(drawn):
    assert overlap(drawn.hand_type, REAL_PHOTOS.hand_type) > 0.5
    interacting = drawn.hand_type[2]
    assert 0.2 < interacting < 0.5


@pytest.mark.parametrize("side", [0, 1])
def test_angles_of_a_flat_hand(side):
    # At rest the palm of either hand faces −y; the camera looks along +z.
    model = load_hand("left" if side else "right")
    vertices = model.v_template[None] * 1000
    joints_mm = model.joints(vertices).numpy().astype(float)
    joints_mm = joints_mm - joints_mm.mean(1, keepdims=True)
    palm_to_camera = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    back_to_camera = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    palm = joints_mm @ palm_to_camera.T + [0, 0, 1000]
    back = joints_mm @ back_to_camera.T + [0, 0, 1000]
    assert palm_angle_deg(palm, side) < 25
    assert palm_angle_deg(back, side) > 155
    assert finger_bend_deg(palm) < 25

"""Cameras that hands are held up to, and hands posed for them."""

import numpy as np
import pytest

from digit.hands.model import load_hand
from digit.synth.anatomy import build_rig, clip_to_limits
from digit.synth.arms import draw_person
from digit.synth.body import FACE_FIGURE, TRUNK, build_body, only_arms
from digit.synth.held_motion import draw_held_motion
from digit.synth.profiles import WebcamProfile
from digit.synth.viewpoints import (
    KINDS,
    NEAREST_MM,
    Viewpoint,
    aim_camera,
    draw_viewpoint,
)

RIG = build_rig(load_hand("right"), np.zeros(10, np.float32))
PERSON = draw_person(np.random.default_rng(0), 1.0)
FRAME_SIZE = (448, 336)
NAMES = ["right:ok", "left:fist", "one_before_other", "palm_on_back_front"]


def viewpoints(count, seed=0):
    rng = np.random.default_rng(seed)
    return [draw_viewpoint(rng, WebcamProfile(), PERSON) for _ in range(count)]


def test_every_kind_of_viewpoint_occurs():
    assert sum(KINDS.values()) == pytest.approx(1)
    kinds = [viewpoint.kind for viewpoint in viewpoints(200)]
    assert set(kinds) == set(KINDS)


def test_own_eyes_see_no_body():
    for viewpoint in viewpoints(100):
        if viewpoint.kind == "own":
            assert viewpoint.arms_only


@pytest.mark.parametrize("seed", range(10))
def test_cameras_frame_the_joints(seed):
    rng = np.random.default_rng(seed)
    joints_mm = rng.normal(0, 50, (21, 3)) + [0, 0, 1000]
    eye_mm = np.array([100.0, -50, 300])
    viewpoint = Viewpoint("other", eye_mm, arms_only=False)
    camera = aim_camera(rng, viewpoint, joints_mm, "0", FRAME_SIZE)
    assert np.allclose(camera.camrot @ camera.camrot.T, np.eye(3))
    assert np.linalg.det(camera.camrot) == pytest.approx(1)
    px, depth_mm = camera.project(joints_mm)
    assert depth_mm.min() > NEAREST_MM / 2
    middle = (px.max(0) + px.min(0)) / 2
    assert (middle > 0).all()
    assert (middle < FRAME_SIZE).all()


def test_held_hands_keep_the_joint_limits():
    rng = np.random.default_rng(1)
    motion = draw_held_motion(rng, RIG, PERSON, viewpoints(4), NAMES, 2)
    assert np.array_equal(motion.angles, clip_to_limits(motion.angles))
    expected = [[True, False]] * 2 + [[False, True]] * 2 + [[True, True]] * 4
    assert motion.present.tolist() == expected


def test_hands_are_where_arms_reach_them():
    rng = np.random.default_rng(2)
    names = ["right:open", "left:two"] * 4
    motion = draw_held_motion(rng, RIG, PERSON, viewpoints(8), names, 1)
    arm_mm = PERSON.upper_arm + PERSON.forearm
    for t, name in enumerate(motion.name):
        side = int(name.startswith("left"))
        distance = np.linalg.norm(motion.wrist_mm[t, side] - PERSON.shoulders[side])
        assert distance < 1.2 * arm_mm


def test_a_film_turns_the_hand_evenly():
    rng = np.random.default_rng(3)
    view = viewpoints(1)
    motion = draw_held_motion(rng, RIG, PERSON, view, ["right:open"], 9, evenly=True)
    turns = motion.orientation[:-1, 0].mT @ motion.orientation[1:, 0]
    assert np.abs(turns[0] - np.eye(3)).max() > 0.01
    np.testing.assert_allclose(turns, turns[:1].repeat(8, 0), atol=0.002)


def test_only_the_arms_that_are_there_are_left():
    body = build_body(np.random.default_rng(0), FACE_FIGURE)
    left_only = only_arms(body, np.array([False, True]))
    assert (body.limb == TRUNK).any()
    assert set(left_only.limb) == {1}
    assert len(left_only.surface.faces) == len(left_only.owner)
    assert 0 not in left_only.owner

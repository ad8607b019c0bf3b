"""Anatomy, arms, contact: what a posed hand may and may not do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from digit.hands.model import load_hand
from digit.synth.anatomy import (
    _REST,
    LIMITS,
    _tensor,
    build_rig,
    draw_person,
    joint_angles,
    limited,
    mano_pose,
    pose_spots,
    reach,
    rotation,
)
from digit.synth.contact import contact
from digit.synth.families import families, shapes
from digit.synth.motion import draw_motion

MODELS = [load_hand("right"), load_hand("left")]
RIG = build_rig(MODELS[0], np.zeros(10, np.float32))


def random_hands(seed, n=3):
    rng = np.random.default_rng(seed)
    low, high = LIMITS[..., 0], LIMITS[..., 1]
    angles = rng.uniform(low, high, (n, 2, 15, 3)).astype(np.float32)
    turn = rotation(rng.normal(0, 1.5, (n, 2, 3)))
    return angles, turn, rng.normal(0, 100, (n, 2, 3))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_angles_survive_mano(seed):
    angles, turn, _ = random_hands(seed)
    pose = mano_pose(RIG, angles, turn)
    for side in (0, 1):
        back = joint_angles(pose[:, side], side)
        assert np.allclose(back, angles[:, side], atol=2e-5)
        assert np.allclose(rotation(pose[:, side, :3]), turn[:, side], atol=1e-5)


def test_shapes_keep_their_limits():
    assert len(families()) >= 12
    for name, angles in shapes().items():
        assert np.array_equal(angles, limited(angles)), name
    fixed = LIMITS[..., 0] == LIMITS[..., 1]
    assert fixed.sum() == 45 - (
        15 + 4 + 2
    )  # 15 flexions, 4 knuckles fan, the thumb's base 2 more
    for family in families().values():
        assert {name for pair in family["contacts"] for name in pair} <= set(RIG.points)
        assert {role[0] for role in family["roles"]} <= set(shapes()) | {""}


def test_flexion_bends_to_the_palm_and_abduction_to_the_thumb():
    for row, finger in ((0, "index"), (3, "middle"), (6, "pinky"), (9, "ring")):
        for axis, direction in ((0, [0, -1, 0]), (1, [0, 0, 1])):
            angles = np.zeros((1, 2, 15, 3), np.float32)
            angles[:, :, row, axis] = 0.3
            eye = torch.eye(3).expand(1, 2, 3, 3)
            zero = torch.zeros(1, 2, 3)
            bent = pose_spots(RIG, torch.from_numpy(angles), eye, zero)
            rest = pose_spots(RIG, torch.zeros(1, 2, 15, 3), eye, zero)
            moved = (bent - rest)[0, :, RIG.points[f"{finger}_tip"]].numpy()
            assert (moved @ direction > 8).all(), (finger, axis)  # both hands alike


def test_spots_follow_the_skin():
    angles, turn, wrist = random_hands(1)
    spots = pose_spots(RIG, *map(_tensor, (angles, turn, wrist)))
    pose = torch.from_numpy(mano_pose(RIG, angles, turn))
    for side, model in enumerate(MODELS):
        trans = (
            torch.from_numpy(wrist[:, side] / 1000).float()
            - model.rest_joints(torch.zeros(10))[0]
        )
        skin = model.skin(pose[:, side], torch.zeros(len(pose), 10), trans) * 1000
        tips = model.joints(skin)[:, [0, 4, 8, 12, 16]]
        names = ("thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip")
        ours = spots[:, side, [RIG.points[name] for name in names]]
        assert (tips - ours).norm(
            dim=-1
        ).max() < 3  # pose correctives move the skin a little


def test_balls_lie_in_the_hand():
    vertices = MODELS[0].v_template * 1000
    centres, radii = RIG.spots[: len(RIG.radii) - 2], RIG.radii[:-2]
    distance, nearest = torch.cdist(centres, vertices).min(1)
    assert (radii - distance).max() < 0.5  # no ball sticks out by more
    corners = vertices[torch.from_numpy(MODELS[0].faces)]
    across = torch.linalg.cross(
        corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    )
    normals = torch.zeros_like(vertices)
    normals.index_add_(
        0, torch.from_numpy(MODELS[0].faces).flatten(), across.repeat_interleave(3, 0)
    )
    assert (((centres - vertices[nearest]) * normals[nearest]).sum(1) < 0).all()
    covered = (torch.cdist(vertices, centres) - radii).amin(1) < 3
    assert covered[vertices[:, 0] < 90].float().mean() > 0.9


def test_reach_has_a_forearm_and_feels_strain():
    person = draw_person(np.random.default_rng(0), 1.0)
    # Palms facing each other, fingers to the front: comfortable. Fingers to the body: not.
    forward = np.stack(
        [np.stack([[0, 0, -1], [s, 0, 0], [0, 1, 0]], 1) for s in (-1.0, 1.0)]
    )
    turn = forward @ _REST.transpose(0, 2, 1)
    assert np.allclose(np.linalg.det(turn), 1)
    wrist = np.array([[-120, 30, 980.0], [120, 30, 980.0]])
    elbow, strain = reach(person, turn, wrist)
    assert np.allclose(np.linalg.norm(elbow - wrist, axis=-1), person.fore)
    backward = turn @ np.diag([-1.0, 1, -1])
    assert (strain < 0.05).all() and (reach(person, backward, wrist)[1] > 0.3).all()


def test_motion_is_within_limits_smooth_and_touches():
    rng = np.random.default_rng(3)
    person = draw_person(rng, 1.0)
    names = ["prayer", "hand_over_fist", "right:fist", "left:pinch"]
    motion = draw_motion(rng, RIG, person, names, 3)
    assert motion.angles.shape == (12, 2, 15, 3) and len(motion.family) == 12
    assert np.array_equal(motion.angles, limited(motion.angles))
    assert (
        motion.present[:6].all() and motion.present[6:9].tolist() == [[True, False]] * 3
    )
    spots = pose_spots(RIG, *map(_tensor, motion[3:6]))
    balls = spots[:6, :, : len(RIG.radii)]
    gap = torch.cdist(balls[:, 0], balls[:, 1]) - RIG.radii[:, None] - RIG.radii
    nearest = gap.amin((1, 2))
    assert nearest.median() < 6 and nearest.min() > -8
    step = (spots[1:] - spots[:-1])[:, 0].norm(dim=-1).amax(-1)
    within = step[[0, 1, 3, 4, 6, 7]]  # of one sequence
    assert within.median() < 60 < step[[2, 5]].max()


def test_the_same_draw_is_the_same_motion():
    one, two = (
        draw_motion(
            np.random.default_rng(5),
            RIG,
            draw_person(np.random.default_rng(4), 1.0),
            ["interlocked"],
            2,
        )
        for _ in range(2)
    )
    for a, b in zip(one, two):
        assert np.array_equal(a, b)


def sphere(centre, radius, n=24):
    theta, phi = np.meshgrid(
        np.linspace(0.05, np.pi - 0.05, n), np.linspace(0, 2 * np.pi, 2 * n)
    )
    normal = np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1
    )
    normal = normal.reshape(-1, 3).astype(np.float32)
    return (normal * radius + np.float32(centre)).astype(np.float32), normal


@pytest.mark.parametrize("apart", [12.0, 0.5, -3.0])
def test_contact_of_two_spheres(apart):
    a, _ = sphere([0, 0, 0], 20)
    b, normals = sphere([0, 40 + apart, 0], 20)
    gap, depth, push = contact(a, b, normals)
    if apart > 0:
        assert abs(gap - apart) < 0.6 and depth == 0
    else:
        assert gap == 0 and abs(depth + apart) < 0.5 and push[1] < -0.95

"""Joint limits, the rig, and joint angles of MANO poses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from digit.hands.model import load_hand
from digit.synth.anatomy import (
    LIMITS,
    build_rig,
    frame_from_directions,
    hand_frame,
    joint_angles,
    mano_pose,
    pose_rig,
    rotation_matrix,
    to_tensor,
)
from digit.synth.shading import vertex_normals

MODELS = [load_hand("right"), load_hand("left")]
RIG = build_rig(MODELS[0], np.zeros(10, np.float32))
FINGERTIPS = ["thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip"]
# The rows of these among a hand's 21 joints.
FINGERTIP_JOINTS = [0, 4, 8, 12, 16]


def random_hands(seed: int, count: int = 3):
    """Angles within the limits, orientations and wrists of pairs of hands."""
    rng = np.random.default_rng(seed)
    low = LIMITS[..., 0]
    high = LIMITS[..., 1]
    angles = rng.uniform(low, high, (count, 2, 15, 3)).astype(np.float32)
    orientation = rotation_matrix(rng.normal(0, 1.5, (count, 2, 3)))
    wrist_mm = rng.normal(0, 100, (count, 2, 3))
    return angles, orientation, wrist_mm


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_angles_survive_mano(seed):
    angles, orientation, _ = random_hands(seed)
    pose = mano_pose(RIG, angles, orientation)
    for side in (0, 1):
        back = joint_angles(pose[:, side], side)
        assert np.allclose(back, angles[:, side], atol=2e-5)
        turned = rotation_matrix(pose[:, side, :3])
        assert np.allclose(turned, orientation[:, side], atol=1e-5)


def test_joints_have_the_axes_of_a_hand():
    is_fixed = LIMITS[..., 0] == LIMITS[..., 1]
    # 15 joints flex, 4 knuckles fan, the thumb's base fans and twists as well.
    assert (~is_fixed).sum() == 15 + 4 + 2


FIRST_ROW = {"index": 0, "middle": 3, "pinky": 6, "ring": 9}
FLEXION, ABDUCTION = 0, 1
# Flexion goes to the palm, abduction to the thumb.
TO_PALM = [0, -1, 0]
TO_THUMB = [0, 0, 1]


def moved_fingertips(finger: str, axis: int):
    """How far the tips of both hands move (mm) when a knuckle turns by 0.3 rad."""
    orientation = torch.eye(3).expand(1, 2, 3, 3)
    wrist = torch.zeros(1, 2, 3)
    angles = torch.zeros(1, 2, 15, 3)
    rest = pose_rig(RIG, angles, orientation, wrist)
    angles[:, :, FIRST_ROW[finger], axis] = 0.3
    moved = pose_rig(RIG, angles, orientation, wrist)
    tip = RIG.landmarks[f"{finger}_tip"]
    return (moved - rest)[0, :, tip].numpy()


@pytest.mark.parametrize("finger", FIRST_ROW)
def test_fingers_of_both_hands_flex_to_the_palm(finger):
    moved = moved_fingertips(finger, FLEXION)
    assert (moved @ TO_PALM > 8).all()


@pytest.mark.parametrize("finger", FIRST_ROW)
def test_fingers_of_both_hands_abduct_to_the_thumb(finger):
    moved = moved_fingertips(finger, ABDUCTION)
    assert (moved @ TO_THUMB > 8).all()


@pytest.mark.parametrize("side", [0, 1])
def test_landmarks_follow_the_skin(side):
    # 1. The landmarks of the rig.
    angles, orientation, wrist_mm = random_hands(1)
    points = pose_rig(
        RIG,
        to_tensor(angles),
        to_tensor(orientation),
        to_tensor(wrist_mm),
    )
    rows = [RIG.landmarks[name] for name in FINGERTIPS]
    landmarks = points[:, side, rows]

    # 2. The fingertips of the skinned model.
    model = MODELS[side]
    pose = torch.from_numpy(mano_pose(RIG, angles, orientation))
    shape = torch.zeros(len(pose), 10)
    wrist_m = torch.from_numpy(wrist_mm[:, side] / 1000).float()
    trans = wrist_m - model.rest_joints(shape[0])[0]
    skin = model.skin(pose[:, side], shape, trans) * 1000
    tips = model.joints(skin)[:, FINGERTIP_JOINTS]

    # 3. Pose correctives, which the rig leaves out, move the skin a little.
    distance = (tips - landmarks).norm(dim=-1)
    assert distance.max() < 3


def test_spheres_lie_in_the_hand():
    vertices = MODELS[0].v_template * 1000
    centres, radii = spheres_of_hand()
    distance, nearest = torch.cdist(centres, vertices).min(1)
    assert (radii - distance).max() < 0.5

    # The nearest skin is in front of each centre.
    normals = vertex_normals(
        vertices.numpy(),
        MODELS[0].faces,
        np.arange(len(vertices)),
    )
    inwards = (centres - vertices[nearest]).numpy()
    height = (inwards * normals[nearest]).sum(1)
    assert (height < 0).all()


def test_spheres_cover_the_hand():
    vertices = MODELS[0].v_template * 1000
    centres, radii = spheres_of_hand()
    distance = torch.cdist(vertices, centres) - radii
    is_covered = distance.amin(1) < 3
    is_hand = vertices[:, 0] < 90
    assert is_covered[is_hand].float().mean() > 0.9


def spheres_of_hand():
    """Centres and radii (mm) of the spheres; the last two of the rig are the forearm's."""
    radii = RIG.radii[:-2]
    return RIG.points[: len(radii)], radii


def test_directions_of_fingers_and_palm_give_an_orientation():
    fingers = np.array([[0, -1.0, 0], [0, -2.0, 0]])
    palm = np.array([[0, -0.5, -1.0], [0, 0, -1.0]])
    orientation = frame_from_directions(fingers=fingers, palm=palm)
    assert np.allclose(np.linalg.det(orientation), 1)
    frame = hand_frame(orientation)
    assert np.allclose(frame[..., 0], [0, -1, 0])
    assert np.allclose(frame[..., 1], [0, 0, 1])

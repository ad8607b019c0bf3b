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

MODELS = [load_hand("right"), load_hand("left")]
RIG = build_rig(MODELS[0], np.zeros(10, np.float32))
FINGERTIPS = ["thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip"]


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


@pytest.mark.parametrize(
    ("row", "finger"), [(0, "index"), (3, "middle"), (6, "pinky"), (9, "ring")]
)
@pytest.mark.parametrize(
    ("axis", "direction"), [(0, [0, -1, 0]), (1, [0, 0, 1])], ids=["flex", "abduct"]
)
def test_fingers_move_the_same_way_in_both_hands(row, finger, axis, direction):
    angles = torch.zeros(1, 2, 15, 3)
    orientation = torch.eye(3).expand(1, 2, 3, 3)
    wrist = torch.zeros(1, 2, 3)
    rest = pose_rig(RIG, angles, orientation, wrist)
    angles[:, :, row, axis] = 0.3
    moved = pose_rig(RIG, angles, orientation, wrist) - rest
    of_tip = moved[0, :, RIG.landmarks[f"{finger}_tip"]].numpy()
    # Flexion goes to the palm (−y), abduction to the thumb (+z).
    assert (of_tip @ direction > 8).all()


def test_landmarks_follow_the_skin():
    angles, orientation, wrist_mm = random_hands(1)
    hands = [to_tensor(array) for array in (angles, orientation, wrist_mm)]
    points = pose_rig(RIG, *hands)
    pose = torch.from_numpy(mano_pose(RIG, angles, orientation))
    no_shape = torch.zeros(len(pose), 10)
    rows = [RIG.landmarks[name] for name in FINGERTIPS]
    for side, model in enumerate(MODELS):
        wrist_m = torch.from_numpy(wrist_mm[:, side] / 1000).float()
        trans = wrist_m - model.rest_joints(no_shape[0])[0]
        skin = model.skin(pose[:, side], no_shape, trans) * 1000
        tips = model.joints(skin)[:, [0, 4, 8, 12, 16]]
        distance = (tips - points[:, side, rows]).norm(dim=-1)
        # Pose correctives, which the rig leaves out, move the skin a little.
        assert distance.max() < 3


def test_spheres_fill_the_hand():
    vertices = MODELS[0].v_template * 1000
    faces = torch.from_numpy(MODELS[0].faces)
    # The last two spheres are the forearm's.
    radii = RIG.radii[:-2]
    centres = RIG.points[: len(radii)]
    distance, nearest = torch.cdist(centres, vertices).min(1)
    assert (radii - distance).max() < 0.5

    corners = vertices[faces]
    along = corners[:, 1] - corners[:, 0]
    across = corners[:, 2] - corners[:, 0]
    normal_of_face = torch.linalg.cross(along, across)
    normals = torch.zeros_like(vertices)
    normals.index_add_(0, faces.flatten(), normal_of_face.repeat_interleave(3, 0))
    height = ((centres - vertices[nearest]) * normals[nearest]).sum(1)
    assert (height < 0).all()

    covered = (torch.cdist(vertices, centres) - radii).amin(1) < 3
    is_hand = vertices[:, 0] < 90
    assert covered[is_hand].float().mean() > 0.9


def test_directions_of_fingers_and_palm_give_an_orientation():
    fingers = np.array([[0, -1.0, 0], [0, -2.0, 0]])
    palm = np.array([[0, -0.5, -1.0], [0, 0, -1.0]])
    orientation = frame_from_directions(fingers=fingers, palm=palm)
    assert np.allclose(np.linalg.det(orientation), 1)
    frame = hand_frame(orientation)
    assert np.allclose(frame[..., 0], [0, -1, 0])
    assert np.allclose(frame[..., 1], [0, 0, 1])

"""The reduced hand against the mesh, and its Jacobian against automatic derivatives."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch
from fake_mano import write_mano

from digit.hands.joint_angles import ANGLE_HIGH, ANGLE_LOW, LIMITS, rest_axes
from digit.hands.kinematics import ANGLES, SHAPE, TURN, WRIST, HandState, JointModel
from digit.hands.model import HandModel, load_hand
from digit.paths import HAND_LOOK_FILE
from digit.skeleton import HAND_JOINTS, MANO_JOINTS


@pytest.fixture(scope="module", params=["generic", "mano"])
def hand(request, tmp_path_factory) -> HandModel:
    folder = None
    if request.param == "mano":
        folder = write_mano(tmp_path_factory.mktemp("mano"))
    return load_hand("right", request.param, folder)


def random_state(n: int, seed: int = 0) -> HandState:
    rng = np.random.default_rng(seed)
    return HandState(
        turn=roma.rotvec_to_rotmat(torch.tensor(rng.normal(0, 1.5, (n, 3)))),
        wrist_mm=torch.tensor(rng.normal(0, 100, (n, 3))),
        angles=torch.tensor(rng.uniform(ANGLE_LOW, ANGLE_HIGH, (n, 21))),
        shape=torch.tensor(rng.normal(0, 1, (n, 10))),
    )


def in_double(hand: HandModel) -> HandModel:
    tensors = {
        k: v.double() for k, v in vars(hand).items() if isinstance(v, torch.Tensor)
    }
    return replace(hand, **tensors)


def test_joints_are_those_of_the_mesh(hand):
    model = JointModel.from_hand(hand)
    state = random_state(5)
    wide = in_double(hand)
    rotations = torch.cat(
        [state.turn[:, None], model.finger_rotations(state.angles)], 1
    )
    pose = roma.rotmat_to_rotvec(rotations).flatten(1)
    pose[:, 3:] -= wide.hands_mean
    trans = state.wrist_mm / 1000 - wide.rest_joints(state.shape)[:, 0]
    mesh_joints_mm = wide.joints(wide.skin(pose, state.shape, trans)) * 1000
    torch.testing.assert_close(
        model.pose(state).joints_mm, mesh_joints_mm, atol=2e-4, rtol=0
    )


def test_jacobian_is_the_derivative(hand):
    model = JointModel.from_hand(hand)
    state = random_state(1, seed=1)

    def joints_after(step):
        moved = HandState(
            turn=roma.rotvec_to_rotmat(step[None, TURN]) @ state.turn,
            wrist_mm=state.wrist_mm + step[WRIST],
            angles=state.angles + step[ANGLES],
            shape=state.shape + step[SHAPE],
        )
        return model.pose(moved).joints_mm[0]

    zero = torch.zeros(37, dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(joints_after, zero)
    found = model.jacobian(model.pose(state))[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_rest_axes_are_those_that_synthetic_poses_use():
    hand = load_hand("right")
    joints = hand.joints(hand.v_template)
    tips = joints[[HAND_JOINTS.index(f"{name[:-1]}4") for name in MANO_JOINTS[1::3]]]
    found = rest_axes(hand.rest_joints(torch.zeros(10)), tips)
    with np.load(HAND_LOOK_FILE) as file:
        np.testing.assert_allclose(found.numpy(), file["axes"], atol=1e-6)


def test_limits_leave_one_flexion_per_joint_and_six_other_angles():
    fixed = LIMITS[..., 0] == LIMITS[..., 1]
    assert not fixed[:, 0].any()
    assert (~fixed[:, 1:]).sum() == 6
    assert (LIMITS[..., 0] <= 0).all() and (LIMITS[..., 1] >= 0).all()


def test_a_left_hand_is_refused():
    with pytest.raises(ValueError, match="mirrored"):
        JointModel.from_hand(load_hand("left"))

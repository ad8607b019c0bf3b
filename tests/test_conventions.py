"""Conventions of others: round trips, and joints that keep their meaning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digit import conventions
from digit.skeleton import HAND_JOINTS

FULL_ORDERS = ["interhand", "openpose", "mano"]


def random_joints(seed: int, n: int = 21) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, n, 3))


@given(st.integers(0, 99), st.sampled_from(FULL_ORDERS), st.sampled_from(FULL_ORDERS))
def test_reordering_round_trips(seed, first, second):
    joints = random_joints(seed)
    there = conventions.reorder_hand(joints, source=first, target=second)
    back = conventions.reorder_hand(there, source=second, target=first)
    np.testing.assert_array_equal(back, joints)


@pytest.mark.parametrize("order", conventions.HAND_ORDERS)
def test_orders_name_each_joint_once(order):
    names = conventions.HAND_ORDERS[order]
    assert len(set(names)) == len(names)
    assert set(names) <= set(HAND_JOINTS)


def test_known_places():
    """The wrist leads elsewhere, and OpenPose's joint 8 is the index fingertip."""
    joints = random_joints(0)
    openpose = conventions.reorder_hand(joints, "interhand", "openpose")
    np.testing.assert_array_equal(openpose[:, 0], joints[:, 20])
    np.testing.assert_array_equal(
        openpose[:, 8], joints[:, HAND_JOINTS.index("index4")]
    )
    mano = conventions.reorder_hand(joints, "interhand", "mano")
    np.testing.assert_array_equal(mano[:, 7], joints[:, HAND_JOINTS.index("pinky1")])
    np.testing.assert_array_equal(mano[:, 16], joints[:, HAND_JOINTS.index("thumb4")])


def test_mano_without_tips_leaves_them_unknown():
    back = conventions.reorder_hand(random_joints(1, n=16), "mano16")
    tips = [name.endswith("4") for name in HAND_JOINTS]
    np.testing.assert_array_equal(np.isnan(back).all((0, 2)), tips)


@given(st.integers(0, 99))
def test_mirrors_and_swaps_undo_themselves(seed):
    hands = random_joints(seed, n=42)
    for change in (
        conventions.swap_hands,
        conventions.mirror_cells,
        conventions.mirror_mm,
        conventions.opencv_from_opengl,
    ):
        assert not np.array_equal(change(hands), hands)
        np.testing.assert_allclose(change(change(hands)), hands, atol=1e-12)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="order 'mediapipe2' is unknown"):
        conventions.reorder_hand(random_joints(0), "mediapipe2")
    with pytest.raises(ValueError, match=r"joints has 21 joints; .* mano16 has 16"):
        conventions.reorder_hand(random_joints(0), "mano16")

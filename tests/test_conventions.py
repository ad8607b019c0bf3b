"""Conventions of others: round trips, and joints that keep their meaning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digit import conventions
from digit.hands.model import load_hand
from digit.skeleton import HAND_JOINTS, LABELS, MANO_JOINTS, PARTS, SWAP_LABELS

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


@given(st.integers(0, 99), st.sampled_from(["right", "left"]))
def test_vertex_parts_round_trip(seed, side):
    parts = np.random.default_rng(seed).integers(0, 16, 778)
    sealed = conventions.with_seal(parts)
    assert sealed.shape == (779,) and PARTS[sealed[-1]] == "palm"
    labels = conventions.labels_from_vertex_parts(sealed, side)
    back = conventions.vertex_parts_from_labels(labels, side)
    np.testing.assert_array_equal(conventions.without_seal(back), parts)


def test_labels_are_those_of_part_masks():
    numbers = np.arange(16)
    right = conventions.labels_from_vertex_parts(numbers, "right")
    left = conventions.labels_from_vertex_parts(numbers, "left")
    assert [LABELS[label] for label in right] == [f"r_{part}" for part in PARTS]
    assert [LABELS[label] for label in left] == [f"l_{part}" for part in PARTS]
    np.testing.assert_array_equal(SWAP_LABELS[right], left)


def test_parts_and_manos_joints_round_trip():
    numbers = np.arange(16)
    parts = conventions.parts_from_mano_joints(numbers)
    names = [PARTS[part] for part in parts]
    assert names == ["palm", *MANO_JOINTS[1:]]
    np.testing.assert_array_equal(conventions.mano_joints_from_parts(parts), numbers)


def test_vertex_parts_of_a_hand_model_are_its_faces_parts():
    """By skinning weights, as in the masks that the hand model renders."""
    hand = load_hand("right")
    parts = conventions.parts_from_mano_joints(hand.weights.argmax(-1).numpy())
    of_corners = parts[hand.faces]
    agreed = (of_corners == of_corners[:, :1]).all(1)
    assert agreed.mean() > 0.7
    np.testing.assert_array_equal(of_corners[agreed, 0], hand.face_part[agreed])


@pytest.mark.parametrize("parts", [[-1], [16], [0, 40]])
def test_what_is_no_part_is_refused(parts):
    with pytest.raises(ValueError, match=r"parts are 0 … 15"):
        conventions.labels_from_vertex_parts(np.array(parts), "right")


def test_labels_of_the_other_hand_are_refused():
    for labels, side in (([0], "right"), ([17], "right"), ([16], "left")):
        with pytest.raises(ValueError, match=f"not of the {side} hand"):
            conventions.vertex_parts_from_labels(np.array(labels), side)
    with pytest.raises(ValueError, match="side 'both'"):
        conventions.vertex_parts_from_labels(np.array([1]), "both")

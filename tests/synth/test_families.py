"""Named shapes and families in data/hand/poses.json."""

import numpy as np
import pytest

from digit.hands.model import load_hand
from digit.synth.anatomy import build_rig, clip_to_limits
from digit.synth.families import (
    families,
    held_families,
    held_family_names,
    held_shape_names,
    held_shapes,
    pose_file,
    shapes,
)

RIG = build_rig(load_hand("right"), np.zeros(10, np.float32))


@pytest.mark.parametrize("read", [shapes, held_shapes])
def test_shapes_keep_the_joint_limits(read):
    for name, angles in read().items():
        assert np.array_equal(angles, clip_to_limits(angles)), name


@pytest.mark.parametrize("read", [families, held_families])
def test_families_name_shapes_and_landmarks_that_exist(read):
    known = set(shapes()) | set(held_shapes()) | {""}
    for family in read().values():
        assert {family.right.shape, family.left.shape} <= known
        touched = {landmark for pair in family.contacts for landmark in pair}
        assert touched <= set(RIG.landmarks)


def test_there_are_many_ways_to_hold_hands():
    assert len(families()) >= 12
    assert len(held_families()) > len(families())
    assert len(held_shapes()) >= 30


@pytest.mark.parametrize("draw", [held_shape_names, held_family_names])
def test_names_have_probabilities(draw):
    names, probability = draw()
    assert len(set(names)) == len(names) == len(probability)
    assert probability.sum() == pytest.approx(1)
    assert (probability > 0).all()


def test_stances_have_shares():
    known = set(pose_file()["stances"]) | {"any"}
    for shape, shares in pose_file()["stance_shares"].items():
        assert shape == "" or shape in held_shapes()
        assert set(shares) <= known
        assert sum(shares.values()) == pytest.approx(1)


def test_swapping_a_family_twice_changes_nothing():
    for family in families().values():
        assert family.swapped().swapped() == family
        assert family.swapped().right == family.left

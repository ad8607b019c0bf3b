"""Sequences of a dome: smooth, within the joint limits, in contact."""

import numpy as np
import torch

from digit.hands.model import load_hand
from digit.synth.anatomy import build_rig, clip_to_limits, pose_rig, to_tensor
from digit.synth.arms import draw_person
from digit.synth.motion import draw_motion

RIG = build_rig(load_hand("right"), np.zeros(10, np.float32))
NAMES = ["prayer", "hand_over_fist", "right:fist", "left:pinch"]
INSTANTS = 3


def drawn(names, instants, seed=3):
    rng = np.random.default_rng(seed)
    person = draw_person(rng, 1.0)
    return draw_motion(rng, RIG, person, names, instants)


def posed(motion):
    hands = (motion.angles, motion.orientation, motion.wrist_mm)
    return pose_rig(RIG, *[to_tensor(array) for array in hands])


def test_names_say_which_hands_are_there():
    motion = drawn(NAMES, INSTANTS)
    assert motion.angles.shape == (12, 2, 15, 3)
    assert motion.name[::INSTANTS] == NAMES
    assert motion.sequence.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert motion.present[:6].all()
    assert motion.present[6:9].tolist() == [[True, False]] * 3
    assert motion.present[9:].tolist() == [[False, True]] * 3


def test_angles_keep_the_joint_limits():
    motion = drawn(NAMES, INSTANTS)
    assert np.array_equal(motion.angles, clip_to_limits(motion.angles))


def test_pairs_touch_without_passing_through():
    points = posed(drawn(NAMES, INSTANTS))
    spheres = points[:6, :, : len(RIG.radii)]
    distance = torch.cdist(spheres[:, 0], spheres[:, 1])
    gap_mm = (distance - RIG.radii[:, None] - RIG.radii).amin((1, 2))
    assert gap_mm.median() < 6
    assert gap_mm.min() > -8


def test_instants_of_a_sequence_are_near_each_other():
    points = posed(drawn(NAMES, INSTANTS))
    step_mm = (points[1:] - points[:-1])[:, 0].norm(dim=-1).amax(-1)
    within_sequences = step_mm[[0, 1, 3, 4, 6, 7]]
    between_sequences = step_mm[[2, 5]]
    assert within_sequences.median() < 60
    assert between_sequences.max() > 60


def test_the_same_seed_draws_the_same_motion():
    first = drawn(["interlocked"], 2, seed=5)
    second = drawn(["interlocked"], 2, seed=5)
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)

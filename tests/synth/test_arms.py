"""Elbows, and the strain of arms."""

import numpy as np

from digit.synth.anatomy import frame_from_directions
from digit.synth.arms import draw_person, reach

PERSON = draw_person(np.random.default_rng(0), 1.0)
WRISTS = np.array([[-120, 30, 980.0], [120, 30, 980.0]])
# Palms face each other.
PALMS = np.array([[1.0, 0, 0], [-1.0, 0, 0]])


def strain_with_fingers(direction):
    fingers = np.array([direction, direction], float)
    orientation = frame_from_directions(fingers=fingers, palm=PALMS)
    return reach(PERSON, orientation, WRISTS)


def test_elbows_are_a_forearm_away():
    elbow, _ = strain_with_fingers([0, 0, -1])
    assert np.allclose(np.linalg.norm(elbow - WRISTS, axis=-1), PERSON.forearm)


def test_fingers_to_the_front_are_comfortable():
    assert (strain_with_fingers([0, 0, -1])[1] < 0.05).all()


def test_fingers_to_the_own_body_are_not():
    assert (strain_with_fingers([0, 0, 1])[1] > 0.3).all()


def test_wrists_out_of_reach_strain():
    orientation = np.broadcast_to(np.eye(3), (2, 3, 3))
    near = reach(PERSON, orientation, WRISTS)[1]
    far = reach(PERSON, orientation, WRISTS - [0, 0, 900])[1]
    assert (far > near + 1).all()

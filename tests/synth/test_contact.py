"""Contact of two hands: closing in, measuring, parting."""

import numpy as np
import pytest

from digit.hands.model import load_hand
from digit.hands.penetration import measure_contact
from digit.synth.contact import SKIN_GIVES_MM, separate_hands

MODELS = (load_hand("right"), load_hand("left"))


def sphere(centre, radius, n=24):
    """Vertices and outward normals of a sphere."""
    polar = np.linspace(0.05, np.pi - 0.05, n)
    azimuth = np.linspace(0, 2 * np.pi, 2 * n)
    theta, phi = np.meshgrid(polar, azimuth)
    ring = np.sin(theta)
    x = ring * np.cos(phi)
    y = ring * np.sin(phi)
    z = np.cos(theta)
    normals = np.stack([x, y, z], -1)
    normals = normals.reshape(-1, 3).astype(np.float32)
    vertices = normals * radius + np.float32(centre)
    return vertices.astype(np.float32), normals


@pytest.mark.parametrize("apart_mm", [12.0, 0.5])
def test_gap_of_two_spheres(apart_mm):
    right, _ = sphere([0, 0, 0], 20)
    left, normals = sphere([0, 40 + apart_mm, 0], 20)
    gap, depth, _ = measure_contact(right, left, normals)
    assert gap == pytest.approx(apart_mm, abs=0.6)
    assert depth == 0


def test_depth_of_two_spheres():
    right, _ = sphere([0, 0, 0], 20)
    left, normals = sphere([0, 37, 0], 20)
    gap, depth, push = measure_contact(right, left, normals)
    assert gap == 0
    assert depth == pytest.approx(3, abs=0.5)
    # The way out of the left sphere.
    assert push[1] < -0.95


def two_hands(between_mm):
    """Vertices of a right and a left hand, one above the other."""
    hands = []
    for side, model in enumerate(MODELS):
        vertices = model.v_template.numpy() * 1000
        vertices = vertices - vertices.mean(0)
        if side == 1:
            # Turned over, so that the backs meet.
            vertices = vertices * [-1, -1, 1]
        above = side * between_mm
        hands.append(vertices + [0, above, 0])
    return np.stack(hands)[None].astype(np.float32)


def test_hands_that_overlap_are_parted():
    hands = two_hands(between_mm=58)
    result = separate_hands(MODELS, hands, np.array([True]))
    assert result.penetration_mm[0] <= SKIN_GIVES_MM + 0.5
    assert np.allclose(result.shift_mm[0, 0], -result.shift_mm[0, 1])
    assert np.abs(result.shift_mm[0, 0]).max() > 1


def test_hands_apart_stay():
    result = separate_hands(MODELS, two_hands(between_mm=200), np.array([True]))
    assert not result.shift_mm.any()
    assert result.penetration_mm[0] == 0
    assert result.distance_mm[0] > 100


def test_single_hands_have_no_distance():
    result = separate_hands(MODELS, two_hands(between_mm=58), np.array([False]))
    assert np.isnan(result.distance_mm[0])
    assert np.isnan(result.penetration_mm[0])
    assert not result.shift_mm.any()

"""Meshes over photographs: where they lie, and how the hands are told apart."""

import numpy as np
import pytest
from posed_hands import draw_hands

from digit.hands.meshes import SIDE_COLORS, HandMesh, fit_meshes
from digit.hands.model import load_hand
from digit.plots.meshes import (
    FROM_ABOVE,
    meshes_rotatable,
    overlay_meshes,
    parallel_view,
    side_view,
)
from digit.skeleton import SIDES

FOCAL = np.array([400.0, 410.0])
PRINCPT = np.array([100.0, 80.0])


@pytest.fixture(scope="module")
def meshes() -> list[HandMesh]:
    hands = [load_hand(side) for side in SIDES]
    joints = [draw_hands(hand, 1, seed=1).joints_mm[0] for hand in hands]
    places = ([-60, 0, 600], [80, 10, 640])
    moved = [j - j.mean(0) + p for j, p in zip(joints, places, strict=True)]
    return fit_meshes(hands, np.concatenate(moved), (True, True))


def test_meshes_cover_their_projected_vertices(meshes):
    image = np.full((160, 220, 3), 40, np.uint8)
    drawn = overlay_meshes(image, meshes, FOCAL, PRINCPT, opacity=1.0)
    assert (image == 40).all()  # the photograph itself stays
    changed = (drawn != 40).any(-1)
    for mesh in meshes:
        points = mesh.vertices_mm
        pixels = points[:, :2] / points[:, 2:] * FOCAL + PRINCPT
        x, y = np.round(pixels).astype(int).T
        inside = (x >= 0) & (x < 220) & (y >= 0) & (y < 160)
        assert changed[y[inside], x[inside]].mean() > 0.95
        x0, y0 = pixels.min(0) - 1
        x1, y1 = pixels.max(0) + 1
        rows, columns = np.nonzero(changed)
        near = (columns > x0) & (columns < x1) & (rows > y0) & (rows < y1)
        assert near.sum() > 500


def test_sides_differ_in_hue(meshes):
    for mesh in meshes:
        image = np.zeros((160, 220, 3), np.uint8)
        drawn = overlay_meshes(image, [mesh], FOCAL, PRINCPT, opacity=1.0)
        mean = drawn[drawn.any(-1)].mean(0)
        expected = np.array(SIDE_COLORS[mesh.side][:3])
        cosine = mean @ expected / np.linalg.norm(mean) / np.linalg.norm(expected)
        assert cosine > 0.99


def test_the_nearer_hand_hides_the_other(meshes):
    right, left = meshes
    behind = HandMesh(**{**vars(left), "vertices_mm": right.vertices_mm * 1.2})
    image = np.zeros((160, 220, 3), np.uint8)
    alone = overlay_meshes(image, [right], FOCAL, PRINCPT, opacity=1.0)
    both = overlay_meshes(image, [right, behind], FOCAL, PRINCPT, opacity=1.0)
    same = (alone == both).all(-1)[alone.any(-1)]
    assert same.mean() > 0.95


def test_side_view_shows_depth(meshes):
    picture = side_view(meshes, 200)
    assert picture.shape == (200, 200, 3)
    covered = (picture != 255).any(-1)
    assert 0.02 < covered.mean() < 0.9
    # The left hand is farther from the camera: it lies to the left.
    is_blue = picture[..., 2] > picture[..., 0].astype(int) + 20
    is_orange = picture[..., 0] > picture[..., 2].astype(int) + 20
    assert np.nonzero(is_blue)[1].mean() < np.nonzero(is_orange)[1].mean()


def test_view_from_above_shows_depth_upwards(meshes):
    picture = parallel_view(meshes, FROM_ABOVE, 200)
    is_blue = picture[..., 2] > picture[..., 0].astype(int) + 20
    is_orange = picture[..., 0] > picture[..., 2].astype(int) + 20
    assert np.nonzero(is_blue)[0].mean() < np.nonzero(is_orange)[0].mean()


def test_no_hands_leave_the_picture_as_it_is():
    image = np.full((20, 30, 3), 7, np.uint8)
    np.testing.assert_array_equal(overlay_meshes(image, [], FOCAL, PRINCPT), image)
    assert (side_view([], 10) == 255).all()


def test_rotatable_figure_names_the_hands(meshes):
    figure = meshes_rotatable(meshes)
    assert [trace.name for trace in figure.data] == ["right hand", "left hand"]
    assert len(figure.data[0].x) == len(meshes[0].vertices_mm)


def test_rotatable_figure_has_a_static_picture(meshes):
    bundle = meshes_rotatable(meshes)._repr_mimebundle_()
    assert bundle["image/png"][:4] == b"\x89PNG"

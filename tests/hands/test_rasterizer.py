"""The z-buffer against ray casting, and what it must survive."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from digit.hands.model import load_hand
from digit.hands.part_masks import Hands, fit_vertices_mm, render_part_mask
from digit.hands.rasterizer import rasterize

WIDTH, HEIGHT = 334, 512
FOCAL, PRINCPT = np.array([1250.0, 1270.0]), np.array([160.0, 250.0])


def random_hands(n: int, seed: int) -> tuple[Hands, np.ndarray]:
    """Vertices (n, 2, V, 3) in the camera frame, mm, of two random hands near each other."""
    rng = np.random.default_rng(seed)
    hands = (load_hand("right"), load_hand("left"))
    pose = rng.normal(0, 0.35, (n, 2, 48))
    pose[..., :3] = rng.normal(0, 1.5, (n, 2, 3))
    trans = rng.normal(0, 0.05, (n, 2, 3)) + [0, 0, 1]
    fits = (
        torch.tensor(a, dtype=torch.float32)
        for a in (pose, rng.normal(size=(n, 2, 10)), trans)
    )
    return hands, fit_vertices_mm(hands, *fits).numpy()


@functools.lru_cache
def rays(
    fx: float, fy: float, cx: float, cy: float, width: int, height: int
) -> np.ndarray:
    """Directions (height · width, 3) of all pixels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(x - cx) / fx, (y - cy) / fy, np.ones(x.shape)], -1).reshape(-1, 3)


def cast_rays(
    vertices: np.ndarray,
    faces: np.ndarray,
    values: np.ndarray,
    focal: np.ndarray = FOCAL,
    princpt: np.ndarray = PRINCPT,
    width=WIDTH,
    height=HEIGHT,
) -> np.ndarray:
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    caster = trimesh.ray.ray_pyembree.RayMeshIntersector(mesh, scale_to_box=False)
    directions = rays(*focal, *princpt, width, height)
    hit = caster.intersects_first(np.zeros_like(directions), directions)
    return np.where(hit >= 0, values[hit], 0).reshape(height, width)


def test_masks_equal_ray_casting():
    hands, scenes = random_hands(50, seed=1)
    v = scenes.shape[2]
    faces = np.concatenate([hands[0].faces, hands[1].faces + v])
    labels = np.concatenate([hands[0].face_part + 1, hands[1].face_part + 17])
    equal, drawn = [], []
    for scene in scenes:
        mask = render_part_mask(hands, scene, FOCAL, PRINCPT, WIDTH, HEIGHT)
        truth = cast_rays(scene.reshape(-1, 3), faces, labels)
        seen = (mask > 0) | (truth > 0)
        equal.append((mask == truth)[seen].mean())  # stricter than over all pixels
        drawn.append(seen.mean())
    assert np.mean(drawn) > 0.05
    assert min(equal) > 0.999


def test_culling_changes_nothing_on_closed_meshes():
    hands, scenes = random_hands(5, seed=2)
    for vertices in scenes[:, 0]:
        px = vertices[:, :2] / vertices[:, 2:] * FOCAL + PRINCPT
        both = [
            rasterize(px, vertices[:, 2], hands[0].faces, WIDTH, HEIGHT, cull=cull)
            for cull in (True, False)
        ]
        assert (both[0][0] != both[1][0]).mean() < 1e-4
        same = np.isfinite(both[0][1]) & (both[0][0] == both[1][0])
        np.testing.assert_allclose(both[0][1][same], both[1][1][same])


def test_depth_is_perspective_correct():
    hands, scenes = random_hands(2, seed=3)
    faces = hands[1].faces
    for vertices in scenes[:, 1].astype(np.float64):
        px = vertices[:, :2] / vertices[:, 2:] * FOCAL + PRINCPT
        face, depth = rasterize(px, vertices[:, 2], faces, WIDTH, HEIGHT)
        y, x = np.nonzero(face >= 0)
        assert len(x) > 1000 and np.isinf(depth[face < 0]).all()
        a, b, c = vertices[faces[face[y, x]]].transpose(1, 0, 2)
        normal = np.cross(b - a, c - a)  # of the plane that the pixel's ray cuts
        ray = np.stack(
            [*((np.stack([x, y], 1) - PRINCPT) / FOCAL).T, np.ones(len(x))], 1
        )
        assert ((normal * ray).sum(1) < 0).all()  # seen from outside
        np.testing.assert_allclose(
            (normal * a).sum(1) / (normal * ray).sum(1), depth[y, x], rtol=1e-5
        )


def test_pixel_centres_are_integers_and_edges_belong():
    px = np.array(
        [[1.0, 1.0], [1.0, 4.0], [4.0, 1.0]]
    )  # counter-clockwise from the camera
    face, depth = rasterize(px, np.full(3, 500.0), np.array([[0, 1, 2]]), 7, 6)
    expected = np.full((6, 7), -1)
    expected[1, 1:5] = expected[2, 1:4] = expected[3, 1:3] = expected[4, 1] = 0
    np.testing.assert_array_equal(face, expected)
    assert np.allclose(depth[face == 0], 500)
    assert (
        rasterize(px, np.full(3, 500.0), np.array([[0, 2, 1]]), 7, 6)[0] == -1
    ).all()
    values = np.array([9], np.uint8)
    assert (
        rasterize(px, np.full(3, 500.0), np.array([[0, 1, 2]]), 7, 6, values)[0].max()
        == 9
    )


def test_no_seam_between_the_faces_of_a_grid():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:9, 0:9] * 5.0
    px = np.stack([x, y], -1).reshape(-1, 2) + rng.uniform(-1, 1, (81, 2))
    corner = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 9, corner + 1], 1),
            np.stack([corner + 1, corner + 9, corner + 10], 1),
        ]
    )
    face, _ = rasterize(px, np.full(81, 300.0), faces, 41, 41)
    assert (face[2:39, 2:39] >= 0).all()


numbers = st.one_of(
    st.floats(-1e4, 1e4),
    st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e300, -1e300, 1e-300]),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(numbers, numbers, numbers), min_size=3, max_size=3),
    st.booleans(),
)
def test_no_triangle_harms(corners, cull):
    corners = np.array(corners)
    face, depth = rasterize(
        corners[:, :2], corners[:, 2], np.array([[0, 1, 2]]), 20, 10, cull=cull
    )
    assert set(np.unique(face)) <= {-1, 0}
    if not (corners[:, 2] > 1).all() or not np.isfinite(corners[:, :2]).all():
        assert (face == -1).all()
    assert (np.isinf(depth) | (face == 0)).all()


def test_a_hand_behind_or_around_the_camera_is_left_out():
    hands, scenes = random_hands(1, seed=4)
    behind = scenes[0] - [0, 0, 2000]
    assert not render_part_mask(hands, behind, FOCAL, PRINCPT, WIDTH, HEIGHT).any()
    around = scenes[0] - scenes[0].mean((0, 1))
    render_part_mask(hands, around.astype(np.float32), FOCAL, PRINCPT, WIDTH, HEIGHT)


def test_a_hand_cut_by_the_edge_is_the_cut_picture():
    hands, scenes = random_hands(4, seed=5)
    edge, x, y = 150, WIDTH / 2, HEIGHT / 2
    corners = np.array([[0, y], [2 * x, y], [x, 0], [x, 2 * y]])
    for scene, corner in zip(scenes, corners, strict=True):
        cut = render_part_mask(hands, scene, FOCAL, corner, WIDTH, HEIGHT)
        size = WIDTH + 2 * edge, HEIGHT + 2 * edge
        whole = render_part_mask(hands, scene, FOCAL, corner + edge, *size)
        assert (whole > 0).sum() > (cut > 0).sum() > 0
        assert (
            whole[edge:-edge, edge:-edge] != cut
        ).mean() < 1e-5  # coordinates are rounded anew

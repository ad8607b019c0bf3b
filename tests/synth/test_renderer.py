"""Normals, light, shadows and textures of the renderer."""

import numpy as np
import pytest

from digit.hands.model import load_hand
from digit.synth.renderer import Camera, Lights, Surface, cast_shadows, render
from digit.synth.shading import CLOTH, HAND, openness, vertex_normals
from digit.synth.textures import draw_cloth, draw_skin

WIDTH, HEIGHT = 200, 160
CAMERA = Camera(
    name="0",
    camrot=np.eye(3),
    campos_mm=np.zeros(3),
    focal=np.array([1200.0, 1200.0]),
    princpt=np.array([100.0, 80.0]),
)
TARGET_MM = np.array([0, 0, 950.0])
WALL_MM = [[-300, -300, 1000], [300, -300, 1000], [300, 300, 1000], [-300, 300, 1000]]
# x of place, of normal and of texture coordinates changes its sign.
MIRROR_OF_ATTRIBUTES = [-1, 1, 1, -1, 1, 1, 1, -1, 1]
RIGHT_HAND = load_hand("right")
HAND_FACES = len(RIGHT_HAND.faces)


@pytest.fixture(scope="module")
def scene():
    """A right hand at 900 mm, its back to the camera, before a cloth wall at 1 m."""
    rng = np.random.default_rng(0)
    hand_texels, arm = draw_skin(rng)
    tiles = np.stack([arm, draw_cloth(rng)])
    # The hand's back, +y at rest, looks to −z.
    turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    hand = RIGHT_HAND.v_template.numpy() * 1000 @ turn.T + [0, 0, 900]
    wall_faces = np.array([[0, 2, 1], [0, 3, 2]]) + len(hand)
    faces = np.concatenate([RIGHT_HAND.faces, wall_faces])
    vertices = np.concatenate([hand, WALL_MM]).astype(np.float32)
    material = np.repeat([HAND, CLOTH], [HAND_FACES, len(wall_faces)])
    surface = Surface(
        faces=faces,
        material=material,
        texture=np.arange(len(faces)) * (material == HAND),
        hand=hand_texels,
        tiles=tiles,
    )
    normals = vertex_normals(vertices, faces, np.arange(len(vertices)))
    nothing_near = np.ones((len(vertices), 1))
    columns = [vertices, normals, nothing_near, vertices[:, :2]]
    return surface, np.concatenate(columns, 1).astype(np.float32)


def one_lamp(x_mm=0.0):
    white = np.ones(3)
    place = np.array([[x_mm, -200.0, -600.0]])
    return Lights(place, colour=white[None], sky=0.2 * white, ground=0.1 * white)


def rendered(surface, attributes, lights, width=WIDTH, height=HEIGHT):
    vertices = attributes[:, :3].copy()
    shadows = cast_shadows(vertices, surface.faces, lights, TARGET_MM)
    background = np.zeros((height, width, 3), np.float32)
    return render(surface, attributes, lights, shadows, CAMERA, background)


def test_normals_point_outwards():
    vertices = RIGHT_HAND.v_template.numpy() * np.float32(1000)
    normals = vertex_normals(vertices, RIGHT_HAND.faces, np.arange(len(vertices)))
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    # Fingers point along −x.
    tip = vertices[:, 0].argmin()
    assert normals[tip, 0] < -0.7


def test_hand_is_lit(scene):
    picture, seen = rendered(*scene, one_lamp())
    is_hand = (seen.face >= 0) & (seen.face < HAND_FACES)
    assert 0.1 < is_hand.mean() < 0.8
    assert np.isfinite(picture).all()
    assert picture.min() >= 0
    assert picture[is_hand].mean() > 0.02


def test_shadow_moves_with_the_lamp(scene):
    from_left, seen = rendered(*scene, one_lamp(-500.0))
    from_right, _ = rendered(*scene, one_lamp(500.0))
    is_wall = seen.face >= HAND_FACES
    difference = np.abs(from_left - from_right).mean(-1)
    changed = is_wall & (difference > 0.1 * from_left[is_wall].mean())
    assert changed.mean() > 0.01


def test_left_hand_mirrors_the_right_one(scene):
    # 1. A picture of odd size, so that a column of pixels lies in the mirror's plane.
    surface, attributes = scene
    size = (WIDTH + 1, HEIGHT + 1)
    right, seen = rendered(surface, attributes, one_lamp(), *size)

    # 2. The mirrored scene; its faces read the texels with two corners swapped.
    mirror = np.array(MIRROR_OF_ATTRIBUTES, np.float32)
    rows = -1 - surface.texture
    is_hand_face = surface.material == HAND
    mirrored = surface._replace(
        faces=surface.faces[:, [0, 2, 1]].copy(),
        texture=np.where(is_hand_face, rows, 0),
    )
    left, _ = rendered(mirrored, attributes * mirror, one_lamp(), *size)

    # 3. Edges and the steps of shadows may differ.
    is_hand = (seen.face >= 0) & (seen.face < HAND_FACES)
    difference = np.abs(left[:, ::-1] - right)
    close = difference.max(-1)[is_hand] < 0.02
    assert close.mean() > 0.9


def test_near_faces_are_not_drawn(scene):
    surface, attributes = scene
    lights = one_lamp()
    shadows = cast_shadows(attributes[:, :3].copy(), surface.faces, lights, TARGET_MM)
    background = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    picture, seen = render(
        surface, attributes, lights, shadows, CAMERA, background, near_mm=2000.0
    )
    assert (seen.face == -1).all()
    assert not picture.any()


def test_openness_is_less_near_a_sphere():
    vertices = np.array([[0, 0, 0], [100, 0, 0]], np.float32)
    normals = np.array([[0, 0, 1], [0, 0, 1]], np.float32)
    centres = np.array([[0, 0, 12]], np.float32)
    radii = np.array([10], np.float32)
    free = openness(vertices, normals, centres, radii)
    assert 0.4 < free[0] < 0.8
    assert free[1] > 0.98

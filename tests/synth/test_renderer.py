"""Skin, light and lenses."""

import numpy as np
import pytest

from digit.hands.model import load_hand
from digit.synth.renderer import (
    CLOTH,
    HAND,
    Camera,
    Lights,
    Surface,
    cast_shadows,
    develop,
    openness,
    render,
    room,
    studio,
    vertex_normals,
)
from digit.synth.textures import draw_cloth, draw_skin


@pytest.fixture(scope="module")
def look():
    rng = np.random.default_rng(0)
    hand, arm = draw_skin(rng)
    return hand, np.stack([arm, draw_cloth(rng)])


def camera(**changes):
    plain = Camera(
        "0",
        np.eye(3),
        np.zeros(3),
        np.array([1200.0, 1200.0]),
        np.array([100.0, 80.0]),
        np.ones(3),
        0.5,
        0.0,
        False,
    )
    return plain._replace(**changes)


def scene(look):
    """A right hand at 900 mm, its back to the camera, before a cloth wall at 1000 mm."""
    hand = load_hand("right")
    turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # the back (+y) looks to −z
    vertices = hand.v_template.numpy() * 1000 @ turn.T + [0, 0, 900]
    wall = np.array(
        [[-300, -300, 1000.0], [300, -300, 1000], [300, 300, 1000], [-300, 300, 1000]]
    )
    faces = np.concatenate(
        [hand.faces, np.array([[0, 2, 1], [0, 3, 2]]) + len(vertices)]
    )
    material = np.repeat([HAND, CLOTH], [len(hand.faces), 2])
    rows = np.arange(len(faces)) * (material == HAND)
    vertices = np.concatenate([vertices, wall]).astype(np.float32)
    normals = vertex_normals(vertices, faces, np.arange(len(vertices)))
    free = np.ones((len(vertices), 1))
    attributes = np.concatenate([vertices, normals, free, vertices[:, :2]], 1)
    return Surface(faces, material, rows, *look), attributes.astype(np.float32)


def lamps(x=0.0):
    one = np.ones(3)
    return Lights(np.array([[x, -200.0, -600.0]]), one[None], 0.2 * one, 0.1 * one)


def rendered(look, lights, **changes):
    surface, attributes = scene(look)
    places, target = attributes[:, :3].copy(), np.array([0, 0, 950.0])
    shadows = cast_shadows(places, surface.faces, lights, target)
    back = np.zeros((160, 200, 3), np.float32)
    picture, (face, _) = render(
        surface, attributes, lights, shadows, camera(**changes), back
    )
    return picture, face


def test_normals_point_outwards():
    hand = load_hand("right")
    vertices = hand.v_template.numpy() * np.float32(1000)
    normals = vertex_normals(vertices, hand.faces, np.arange(len(vertices)))
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    tip = vertices[:, 0].argmin()  # fingers along −x
    assert normals[tip, 0] < -0.7


def test_the_hand_is_lit_and_throws_a_shadow(look):
    picture, face = rendered(look, lamps())
    hand = (face >= 0) & (face < 2314)
    assert 0.1 < hand.mean() < 0.8 and np.isfinite(picture).all() and picture.min() >= 0
    assert picture[hand].mean() > 0.02
    wall = face >= 2314
    from_left, _ = rendered(look, lamps(-500.0))
    from_right, _ = rendered(look, lamps(500.0))
    shadow = wall & (
        abs(from_left - from_right).mean(-1) > 0.1 * from_left[wall].mean()
    )
    assert shadow.mean() > 0.01  # it moves with the lamp


def test_left_texels_mirror_right(look):
    """A mirrored scene is the mirrored picture: the left hand reads the right's texels."""
    surface, attributes = scene(look)
    lights, back = lamps(), np.zeros((161, 201, 3), np.float32)
    middle = camera(princpt=np.array([100.0, 80.0]))
    target = np.array([0, 0, 950.0])

    def draw(surface, attributes):
        shadows = cast_shadows(attributes[:, :3].copy(), surface.faces, lights, target)
        return render(surface, attributes, lights, shadows, middle, back)[0]

    right = draw(surface, attributes)
    flipped = attributes * np.array([-1, 1, 1, -1, 1, 1, 1, -1, 1], np.float32)
    texture = np.where(surface.material == HAND, -1 - surface.texture, 0)
    mirrored = surface._replace(
        faces=surface.faces[:, [0, 2, 1]].copy(), texture=texture
    )
    left = draw(mirrored, flipped)[:, ::-1]
    hand = rendered(look, lights)[1] < 2314
    close = abs(left - right).max(-1)[:160, :200][hand] < 0.02
    assert close.mean() > 0.9  # but for edges and shadow steps


def test_openness_is_less_near_a_ball():
    vertices = np.array([[0, 0, 0], [100, 0, 0]], np.float32)
    normals = np.array([[0, 0, 1], [0, 0, 1]], np.float32)
    balls = np.array([[0, 0, 12, 10]], np.float32)
    free = openness(vertices, normals, balls[:, :3].copy(), balls[:, 3])
    assert 0.4 < free[0] < 0.8 and free[1] > 0.98


def test_looks_span_the_tones():
    tones = [draw_skin(np.random.default_rng(k))[0] for k in range(6)]
    brightness = np.array([hand[..., :3].mean() for hand in tones])
    assert brightness.max() > 2 * brightness.min() and brightness.min() > 0.01
    for hand in tones:
        assert np.isfinite(hand).all() and hand[..., :3].max() < 1
        assert hand[..., 0].mean() > hand[..., 2].mean()  # skin is warmer than grey


def test_develop_is_a_tone_curve(look):
    ramp = np.linspace(0, 1.4, 300, dtype=np.float32)
    picture = np.repeat(np.tile(ramp, (60, 1))[..., None], 3, -1)
    rng = np.random.default_rng(0)
    colour = develop(picture, camera(), rng)
    assert colour.dtype == np.uint8 and colour.shape == (60, 300, 3)
    middle = colour[30, 5:-5, 1].astype(int)
    assert (np.diff(middle[5:]) >= 0).all() and middle[0] < 60 and middle[-1] > 240
    picture = picture * np.array([1, 0.5, 0.2], np.float32)
    grey = develop(picture, camera(grey=True, noise=3.0), rng)
    assert (grey == grey[..., :1]).all()


def test_backgrounds():
    lamp = np.array([[0, 0, 2000.0], [0, 0, -2000.0], [160.0, 130.0, 2000.0]])
    dark = studio(lamp, camera(), 200, 160)
    assert (
        dark.shape == (160, 200, 3) and dark[80, 100, 0] > 1 and np.median(dark) < 0.01
    )
    assert dark[158, 196].max() > 0.5  # a star at the edge is cut, not lost
    bright = room(np.random.default_rng(0), 200, 160)
    assert (
        bright.shape == (160, 200, 3)
        and bright.dtype == np.float32
        and bright.std() > 0.01
    )

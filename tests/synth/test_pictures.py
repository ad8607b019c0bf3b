"""Backgrounds, tone curves, and what webcams do to pictures."""

import numpy as np
import pytest

from digit.synth.backgrounds import backdrop, room, studio
from digit.synth.film import Look, develop, develop_webcam, draw_look
from digit.synth.profiles import WebcamProfile
from digit.synth.renderer import Camera, Sensor

WIDTH, HEIGHT = 200, 160
CAMERA = Camera(
    name="0",
    camrot=np.eye(3),
    campos_mm=np.zeros(3),
    focal=np.array([1200.0, 1200.0]),
    princpt=np.array([100.0, 80.0]),
)
SENSOR = Sensor(exposure=np.ones(3), blur_px=0.5, noise=0.0, grey=False)
FAITHFUL = Look(
    cast=np.ones(3),
    exposure=1.0,
    gamma=1.0,
    saturation=1.0,
    haze=0.0,
    infrared=False,
    noise=0.0,
    sharpen=0.0,
    blur_px=0.5,
)


def ramp(colour=(1.0, 1.0, 1.0)):
    """Light from 0 to 1.4 along the rows."""
    light = np.linspace(0, 1.4, 300, dtype=np.float32)
    rows = np.tile(light, (60, 1))[..., None]
    return rows * np.array(colour, np.float32)


def test_studio_shows_its_lamps():
    ahead = [0, 0, 2000.0]
    behind = [0, 0, -2000.0]
    at_the_edge = [160.0, 130.0, 2000.0]
    lamps = np.array([ahead, behind, at_the_edge])
    picture = studio(lamps, CAMERA, WIDTH, HEIGHT)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture[80, 100, 0] > 1
    assert np.median(picture) < 0.01
    # A star at the edge is cut, not lost.
    assert picture[158, 196].max() > 0.5


@pytest.mark.parametrize("draw", [room, backdrop])
@pytest.mark.parametrize("seed", range(6))
def test_backgrounds_are_light(draw, seed):
    picture = draw(np.random.default_rng(seed), WIDTH, HEIGHT)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert np.isfinite(picture).all()


def test_backdrops_differ():
    rng = np.random.default_rng(0)
    pictures = [backdrop(rng, WIDTH, HEIGHT) for _ in range(20)]
    brightness = [picture.mean() for picture in pictures]
    detail = [picture.std(axis=(0, 1)).mean() for picture in pictures]
    assert max(brightness) > 4 * min(brightness)
    assert max(detail) > 4 * min(detail)


def test_tone_curve_rises_from_black_to_white():
    picture = develop(ramp(), SENSOR, np.random.default_rng(0))
    assert picture.dtype == np.uint8
    assert picture.shape == (60, 300, 3)
    row = picture[30, 5:-5, 1].astype(int)
    assert (np.diff(row) >= 0).all()
    assert row[0] < 60
    assert row[-1] > 240


def test_grey_sensors_see_no_colour():
    grey = SENSOR._replace(grey=True, noise=3.0)
    picture = develop(ramp((1, 0.5, 0.2)), grey, np.random.default_rng(0))
    assert (picture == picture[..., :1]).all()


@pytest.mark.parametrize("infrared", [False, True])
def test_grey_and_infrared_webcams_see_no_colour(infrared):
    look = FAITHFUL._replace(infrared=infrared)
    light = ramp((1, 0.5, 0.2))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        picture = develop_webcam(light, look, not infrared, rng)
        spread = picture.max(-1).astype(int) - picture.min(-1)
        assert spread.max() <= 1


def test_webcam_keeps_size_and_colour():
    light = ramp((1, 0.5, 0.2))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        picture = develop_webcam(light, FAITHFUL, False, rng)
        assert picture.shape == light.shape
        assert picture.dtype == np.uint8
        red, green, blue = picture.reshape(-1, 3).mean(0)
        assert red > green > blue


def test_looks_range_from_dark_to_bright_and_from_grey_to_colourful():
    rng = np.random.default_rng(0)
    looks = [draw_look(rng, WebcamProfile()) for _ in range(200)]
    exposure = [look.exposure for look in looks]
    saturation = [look.saturation for look in looks]
    assert max(exposure) > 3 * min(exposure)
    assert max(saturation) > 3 * min(saturation)
    assert any(look.infrared for look in looks)

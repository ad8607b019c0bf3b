"""Photos of any kind are read as they are meant to be seen; crops do not alias."""

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from digit.inference.photo import read_photo
from digit.inference.predict import predict
from digit.model.network import NETWORKS, Digit

ORIENTATION = 0x112  # EXIF tags
EXIF_IFD = 0x8769
FOCAL_LENGTH_35MM = 0xA405


@pytest.fixture(scope="module")
def network() -> Digit:
    torch.manual_seed(0)
    return Digit(**NETWORKS["quick"]).eval()


@pytest.fixture
def rgb() -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    pixels[:20] //= 4  # the upper half is dark
    return pixels


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_colour_picture_is_read_as_it_is(rgb):
    image, focal_px = read_photo(encoded(rgb))
    assert (image == rgb).all()
    assert focal_px is None


def test_a_grey_picture_gets_three_channels(rgb):
    image, _ = read_photo(encoded(rgb[..., 0]))
    assert image.shape == rgb.shape
    assert (image == rgb[..., :1]).all()


def test_sixteen_bits_become_eight(rgb):
    deep_grey = rgb[..., 0].astype(np.uint16) * 257
    assert (read_photo(encoded(deep_grey))[0] == rgb[..., :1]).all()
    deep_bgr = rgb[..., ::-1].astype(np.uint16) * 257
    data = cv2.imencode(".png", deep_bgr)[1].tobytes()
    assert (read_photo(data)[0] == rgb).all()


def test_transparency_becomes_white(rgb):
    transparent = np.dstack([rgb, np.full((40, 60), 255, np.uint8)])
    transparent[:, :30, 3] = 0
    image, _ = read_photo(encoded(transparent))
    assert (image[:, 30:] == rgb[:, 30:]).all()
    assert (image[:, :30] == 255).all()


def test_exif_turns_the_photo_and_gives_its_focal_length(rgb):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # rotate by 90° to see it upright
    exif.get_ifd(EXIF_IFD)[FOCAL_LENGTH_35MM] = 26
    image, focal_px = read_photo(encoded(rgb, "JPEG", exif=exif, quality=95))
    assert image.shape == (60, 40, 3)
    left, right = image[:, :20], image[:, 20:]
    assert right.mean() < 0.5 * left.mean()  # the dark half is on the right now
    assert focal_px == pytest.approx(26 / 43.27 * np.hypot(60, 40))


def test_a_large_box_is_averaged_down(network):
    stripes = np.zeros((3000, 4000, 3), np.uint8)
    stripes[:, ::2] = 200  # at a tenth of the size only the mean, 100, is left
    crop = predict(network, stripes, [500.0, 500.0, 1500.0, 1500.0]).crop
    assert np.abs(crop.astype(int) - 100).max() <= 16  # a sampled pixel is 100 off


def test_a_large_box_keeps_its_place(network):
    marked = np.zeros((3000, 4000, 3), np.uint8)
    cv2.circle(marked, (1700, 1400), 60, (255, 255, 255), -1)
    crop = predict(network, marked, [500.0, 500.0, 1500.0, 1500.0]).crop[..., 0]
    side_px = 1500 * 1.25
    corner_px = 1250 - side_px / 2
    expected = (np.array([1700, 1400]) - corner_px) * len(crop) / side_px
    centre = np.array(np.nonzero(crop > 127)).mean(1)[::-1]
    assert np.abs(centre - expected).max() < 0.5

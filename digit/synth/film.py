"""From linear light to the 8-bit picture that a camera delivers.

`develop` is what a good camera of a dome does; `develop_webcam` is what webcams and
phones do, with a `Look` that `capture` draws once a person. All numbers were chosen by
eye.
"""

import functools
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digit.synth.arrays import LinearRgb, Rgb, Rng, Vector
from digit.synth.profiles import WebcamProfile
from digit.synth.randomness import log_uniform
from digit.synth.renderer import Sensor

# Tone curves have a value for every 1/1023 of light up to 1.5.
LIGHT_STEPS = 1023
TONES = 1536
# LinearRgb above the knee is compressed.
KNEE = 0.7
GAMMA = 2.2
GREY_OF_DOME = np.array([[0.3], [0.6], [0.1]], np.float32)
GREY_OF_WEBCAM = np.array([[0.3, 0.59, 0.11]])
# A sensor without infrared filter sees mostly red light; skin looks pale.
INFRARED_MIX = np.tile([[0.85, 0.2, -0.05]], (3, 1))


def develop(picture: LinearRgb, sensor: Sensor, rng: Rng) -> Rgb:
    """Linear light → sRGB 0–255: exposure, blur, tone curve, grain."""
    exposed = picture * np.float32(sensor.exposure)
    exposed = cv2.GaussianBlur(exposed, (0, 0), sensor.blur_px)
    if sensor.grey:
        exposed = exposed @ GREY_OF_DOME
    tones, grain_field = _dome_film()
    height, width, channels = exposed.shape
    y, x = rng.integers(0, len(grain_field) - np.array([height, width]))
    grain = grain_field[y:, x:, :channels][:height, :width]
    steps = np.minimum(exposed * LIGHT_STEPS, len(tones) - 1).astype(np.int32)
    developed = tones[steps] + np.float32(sensor.noise) * grain
    developed = np.clip(developed, 0, 255).astype(np.uint8)
    return developed.repeat(3 // channels, -1)


def _compressed(light: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Light with all above the knee pressed together below 1."""
    above = KNEE + (1 - KNEE) * np.tanh((light - KNEE) / 0.3)
    return np.where(light < KNEE, light, above)


@functools.lru_cache(1)
def _dome_film() -> tuple[Float32[np.ndarray, "n"], Float32[np.ndarray, "s s 3"]]:
    """sRGB of light in steps, rounded by 0.5; and a field of grain."""
    soft = _compressed(np.arange(TONES) / LIGHT_STEPS)
    grain = np.random.default_rng(0).standard_normal((1024, 1024, 3), np.float32)
    return (255 * soft ** (1 / GAMMA)).astype(np.float32) + 0.5, grain


class Look(NamedTuple):
    """What a webcam or phone does to a picture, from faithful to poor."""

    cast: Vector  # white balance
    exposure: float
    gamma: float  # 1 is sRGB's
    saturation: float  # 1 is faithful
    haze: float  # light that is added everywhere
    infrared: bool
    noise: float  # standard deviation, of 255
    sharpen: float
    blur_px: float


def draw_look(rng: Rng, profile: WebcamProfile) -> Look:
    """Draw what the camera of a capture does to its pictures."""
    warm = rng.normal(0, 0.16)
    tint = warm * np.array([1, 0.1, -1]) + rng.normal(0, 0.05, 3)
    return Look(
        cast=np.exp(tint),
        exposure=np.exp(rng.normal(-0.1, 0.38)),
        gamma=np.exp(rng.normal(0, 0.16)),
        saturation=np.clip(rng.normal(1.0, 0.3), 0.1, 1.8),
        haze=rng.exponential(0.02),
        infrared=bool(rng.random() < profile.infrared),
        noise=log_uniform(rng, 0.6, 9.0),
        sharpen=max(0.0, rng.normal(0.2, 0.5)),
        blur_px=log_uniform(rng, 0.35, 1.3),
    )


def develop_webcam(picture: LinearRgb, look: Look, grey: bool, rng: Rng) -> Rgb:
    """Linear light → sRGB 0–255 as a webcam or a phone delivers it.

    Args:
        picture: The rendered scene.
        look: What the camera does to all its pictures.
        grey: Whether this picture has no colour.
        rng: The source of randomness for this picture.
    """
    height, width = picture.shape[:2]
    is_grey = grey or look.infrared

    # 1. The lens: few pixels in some pictures, movement, blur, dark corners.
    scale = rng.uniform(0.35, 0.9) if rng.random() < 0.3 else 1.0
    if scale < 1:
        size = (int(width * scale), int(height * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    exposure = look.exposure * np.exp(rng.normal(0, 0.12))
    if look.infrared:
        mix = INFRARED_MIX * exposure
    else:
        mix = np.diag(exposure * look.cast)
    picture = cv2.transform(picture, mix)
    if rng.random() < 0.16:
        picture = _blur_by_motion(rng, picture)
    out_of_focus = rng.uniform(1.5, 3) if rng.random() < 0.08 else 1
    blur = look.blur_px * out_of_focus * max(scale, 0.6)
    picture = cv2.GaussianBlur(picture, (0, 0), blur)
    if rng.random() < 0.3:
        _darken_corners(rng, picture)

    # 2. The tone curve and the colours.
    soft = _compressed(np.arange(TONES) / LIGHT_STEPS + look.haze)
    tones = (255 * soft ** (look.gamma / GAMMA)).astype(np.float32)
    steps = np.clip(picture * LIGHT_STEPS, 0, TONES - 1).astype(np.int32)
    saturation = 0.0 if is_grey else look.saturation
    mix = saturation * np.eye(3) + (1 - saturation) * GREY_OF_WEBCAM
    toned = cv2.transform(tones[steps], mix)

    # 3. Noise.
    field = _grain_fields()[int(rng.integers(2))]
    small_size = np.array(toned.shape[:2])
    y, x = rng.integers(0, len(field) - small_size)
    grain = field[y : y + small_size[0], x : x + small_size[1]]
    toned += np.float32(look.noise) * (grain[..., :1] if is_grey else grain)

    # 4. The software: enlarging and sharpening.
    if scale < 1:
        methods = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST]
        method = rng.choice(methods, p=[0.5, 0.4, 0.1])
        toned = cv2.resize(toned, (width, height), interpolation=int(method))
    if look.sharpen > 0.05:
        smooth = cv2.GaussianBlur(toned, (0, 0), 1.2)
        toned = cv2.addWeighted(toned, 1 + look.sharpen, smooth, -look.sharpen, 0)
    return np.clip(toned, 0, 255).astype(np.uint8)


@functools.lru_cache(1)
def _grain_fields() -> tuple[
    Float32[np.ndarray, "s s 3"], Float32[np.ndarray, "s s 3"]
]:
    """Two fields of noise: fine, and coarser in colour than in brightness."""
    plain = np.random.default_rng(0).standard_normal((800, 800, 3), np.float32)
    coarse = cv2.GaussianBlur(plain, (0, 0), 1.2)
    return plain, plain.mean(2, keepdims=True) + 1.5 * coarse


def _darken_corners(rng: Rng, picture: LinearRgb) -> None:
    """Darken a picture towards its corners."""
    rows, columns = picture.shape[:2]
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    darker = rng.uniform(0.05, 0.3) * (x**2 + y**2)
    picture *= np.float32(1 - darker)[..., None]


def _blur_by_motion(rng: Rng, picture: LinearRgb) -> LinearRgb:
    """The blur of a camera or hand that moved by 2–10 px."""
    length = rng.uniform(2, 10)
    angle = rng.uniform(0, np.pi)
    size = 2 * int(length / 2) + 3
    kernel = np.zeros((size, size), np.float32)
    half = length / 2 * np.array([np.cos(angle), np.sin(angle)])
    # cv2.line takes coordinates with four bits of fraction.
    begin = ((size // 2 - half) * 16).round().astype(int).tolist()
    end = ((size // 2 + half) * 16).round().astype(int).tolist()
    cv2.line(kernel, begin, end, 1.0, 1, cv2.LINE_AA, 4)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())

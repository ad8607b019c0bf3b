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
from digit.synth.filters import blurred
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
# Shares of pictures of webcams that are small, moved, out of focus, dark at the corners.
SMALL_SHARE = 0.3
MOTION_BLUR_SHARE = 0.16
OUT_OF_FOCUS_SHARE = 0.08
DARK_CORNERS_SHARE = 0.3
# How small pictures are enlarged.
ENLARGING_METHODS = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST]
ENLARGING_SHARES = [0.5, 0.4, 0.1]
# Sharpening: the least that is done, and the size of the details.
LEAST_SHARPENING = 0.05
SHARPENING_PX = 1.2


def develop(
    picture: LinearRgb,
    sensor: Sensor,
    rng: Rng,
) -> Rgb:
    """Linear light → sRGB 0–255: exposure, blur, tone curve, grain."""
    # 1. Light on the sensor.
    exposed = picture * np.float32(sensor.exposure)
    exposed = blurred(exposed, sensor.blur_px)
    if sensor.grey:
        exposed = exposed @ GREY_OF_DOME

    # 2. Tones.
    tones = _dome_tones()
    brightest = len(tones) - 1
    steps = np.minimum(exposed * LIGHT_STEPS, brightest)
    toned = tones[steps.astype(np.int32)]

    # 3. Grain, from anywhere in a large field.
    field = _dome_grain()
    height, width, channels = exposed.shape
    y, x = rng.integers(0, len(field) - np.array([height, width]))
    grain = field[y : y + height, x : x + width, :channels]
    developed = toned + np.float32(sensor.noise) * grain
    developed = np.clip(developed, 0, 255).astype(np.uint8)
    return developed.repeat(3 // channels, -1)


def _compressed(light: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Light with all above the knee pressed together below 1."""
    beyond = (light - KNEE) / 0.3
    above = KNEE + (1 - KNEE) * np.tanh(beyond)
    return np.where(light < KNEE, light, above)


@functools.lru_cache(1)
def _dome_tones() -> Float32[np.ndarray, "n"]:
    """sRGB of light in steps, with 0.5 added for rounding."""
    light = np.arange(TONES) / LIGHT_STEPS
    tones = 255 * _compressed(light) ** (1 / GAMMA)
    return tones.astype(np.float32) + 0.5


@functools.lru_cache(1)
def _dome_grain() -> Float32[np.ndarray, "s s 3"]:
    """A field of noise of variance 1, the same for all data sets."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((1024, 1024, 3), np.float32)


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


def develop_webcam(
    picture: LinearRgb,
    look: Look,
    grey: bool,
    rng: Rng,
) -> Rgb:
    """Linear light → sRGB 0–255 as a webcam or a phone delivers it.

    Args:
        picture: The rendered scene.
        look: What the camera does to all its pictures.
        grey: Whether this picture has no colour.
        rng: The source of randomness for this picture.
    """
    height, width = picture.shape[:2]
    is_grey = grey or look.infrared

    # A part of the cameras have few pixels, and enlarge their pictures.
    scale = rng.uniform(0.35, 0.9) if rng.random() < SMALL_SHARE else 1.0
    light = _through_lens(rng, picture, look, scale)
    toned = _toned(light, look, is_grey)
    _add_noise(rng, toned, look, is_grey)
    if scale < 1:
        how = rng.choice(ENLARGING_METHODS, p=ENLARGING_SHARES)
        toned = cv2.resize(toned, (width, height), interpolation=int(how))
    if look.sharpen > LEAST_SHARPENING:
        smooth = blurred(toned, SHARPENING_PX)
        toned = cv2.addWeighted(toned, 1 + look.sharpen, smooth, -look.sharpen, 0)
    return np.clip(toned, 0, 255).astype(np.uint8)


def _through_lens(
    rng: Rng,
    picture: LinearRgb,
    look: Look,
    scale: float,
) -> Float32[np.ndarray, "rows columns 3"]:
    """Light on the sensor: fewer pixels, exposure, movement, blur, dark corners."""
    if scale < 1:
        height, width = picture.shape[:2]
        size = (int(width * scale), int(height * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)

    # 1. Exposure and white balance.
    exposure = look.exposure * np.exp(rng.normal(0, 0.12))
    if look.infrared:
        mix = INFRARED_MIX * exposure
    else:
        mix = np.diag(exposure * look.cast)
    picture = cv2.transform(picture, mix)

    # 2. Blur.
    if rng.random() < MOTION_BLUR_SHARE:
        picture = _blur_by_motion(rng, picture)
    is_out_of_focus = rng.random() < OUT_OF_FOCUS_SHARE
    stronger = rng.uniform(1.5, 3) if is_out_of_focus else 1
    picture = blurred(picture, look.blur_px * stronger * max(scale, 0.6))

    # 3. Dark corners.
    if rng.random() < DARK_CORNERS_SHARE:
        _darken_corners(rng, picture)
    return picture


def _toned(
    light: LinearRgb,
    look: Look,
    is_grey: bool,
) -> LinearRgb:
    """The tone curve and the colours of a webcam, 0–255."""
    steps_of_light = np.arange(TONES) / LIGHT_STEPS
    soft = _compressed(steps_of_light + look.haze)
    tones = 255 * soft ** (look.gamma / GAMMA)
    tones = tones.astype(np.float32)
    steps = np.clip(light * LIGHT_STEPS, 0, TONES - 1)
    toned = tones[steps.astype(np.int32)]

    saturation = 0.0 if is_grey else look.saturation
    keep = saturation * np.eye(3)
    fade = (1 - saturation) * GREY_OF_WEBCAM
    return cv2.transform(toned, keep + fade)


def _add_noise(
    rng: Rng,
    toned: LinearRgb,
    look: Look,
    is_grey: bool,
) -> None:
    """Add noise of one of two kinds, from anywhere in a large field."""
    fields = _grain_fields()
    field = fields[int(rng.integers(len(fields)))]
    height, width = toned.shape[:2]
    y, x = rng.integers(0, len(field) - np.array([height, width]))
    grain = field[y : y + height, x : x + width]
    if is_grey:
        grain = grain[..., :1]
    toned += np.float32(look.noise) * grain


@functools.lru_cache(1)
def _grain_fields() -> tuple[LinearRgb, LinearRgb]:
    """Two fields of noise: fine, and coarser in colour than in brightness."""
    rng = np.random.default_rng(0)
    fine = rng.standard_normal((800, 800, 3), np.float32)
    brightness = fine.mean(2, keepdims=True)
    coarse = brightness + 1.5 * blurred(fine, 1.2)
    return fine, coarse


def _darken_corners(rng: Rng, picture: LinearRgb) -> None:
    """Darken a picture towards its corners."""
    rows, columns = picture.shape[:2]
    y = np.linspace(-1, 1, rows)[:, None]
    x = np.linspace(-1, 1, columns)
    darker = rng.uniform(0.05, 0.3) * (x**2 + y**2)
    brightness = np.float32(1 - darker)
    picture *= brightness[..., None]


def _blur_by_motion(rng: Rng, picture: LinearRgb) -> LinearRgb:
    """The blur of a camera or hand that moved by 2–10 px."""
    length = rng.uniform(2, 10)
    angle = rng.uniform(0, np.pi)
    half = length / 2 * np.array([np.cos(angle), np.sin(angle)])

    # A line through the middle of the kernel; cv2.line takes coordinates with four
    # bits of fraction.
    size = 2 * int(length / 2) + 3
    middle = size // 2
    begin = ((middle - half) * 16).round().astype(int)
    end = ((middle + half) * 16).round().astype(int)
    kernel = np.zeros((size, size), np.float32)
    cv2.line(kernel, begin.tolist(), end.tolist(), 1.0, 1, cv2.LINE_AA, 4)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())

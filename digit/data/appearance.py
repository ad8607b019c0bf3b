"""Random changes of a training crop's look: light, colour, sharpness, noise, hidden patches.

None of them moves a pixel, so that joints and masks stay as they are. `digit.data.dataset`
applies them to the crops of a training run when its settings ask for it.

All ranges were chosen by eye, on crops of real photographs: the strongest change should leave
a hand that a person still recognises.
"""

import cv2
import numpy as np
from jaxtyping import UInt8

Crop = UInt8[np.ndarray, "s s 3"]

# How often each change is made, given that a crop is changed at all.
TONE_PROBABILITY = 0.8
GREY_PROBABILITY = 0.2
SATURATION_PROBABILITY = 0.35
HUE_PROBABILITY = 0.1
GRADIENT_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.12
MOTION_BLUR_PROBABILITY = 0.05
LOW_RESOLUTION_PROBABILITY = 0.15
NOISE_PROBABILITY = 0.15
JPEG_PROBABILITY = 0.2
PATCHES_PROBABILITY = 0.12

GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def change_appearance(crop: Crop, rng: np.random.Generator) -> Crop:
    """Change the look of a crop at random.

    Args:
        crop: RGB crop; it is not written to.
        rng: Where all random numbers come from.

    Returns:
        A crop of the same size, with the hands where they were.
    """
    # 1. What reaches the camera: light and colour.
    if rng.random() < TONE_PROBABILITY:
        crop = change_tone(crop, rng)
    crop = change_colour(crop, rng)
    if rng.random() < GRADIENT_PROBABILITY:
        crop = add_light_gradient(crop, rng)

    # 2. What the lens does to it.
    chance = rng.random()
    if chance < BLUR_PROBABILITY:
        crop = blur(crop, rng)
    elif chance < BLUR_PROBABILITY + MOTION_BLUR_PROBABILITY:
        crop = blur_by_motion(crop, rng)

    # 3. What the sensor and the file do to it.
    crop = record(crop, rng)

    # 4. What stands in the way.
    if rng.random() < PATCHES_PROBABILITY:
        crop = hide_patches(crop, rng)
    return crop


def change_tone(crop: Crop, rng: np.random.Generator) -> Crop:
    """Change gamma, contrast, brightness and the balance of the channels, in one table."""
    gamma = np.exp(rng.normal(0, 0.3))
    contrast = np.exp(rng.normal(0, 0.25))
    brightness = rng.normal(0, 0.1)
    balance = np.exp(rng.normal(0, 0.1, 3))

    level = np.linspace(0, 1, 256)[:, None]
    changed = ((level**gamma - 0.5) * contrast + 0.5 + brightness) * balance
    table = (changed.clip(0, 1) * 255).astype(np.uint8)
    return cv2.LUT(crop, table[None])


def change_colour(crop: Crop, rng: np.random.Generator) -> Crop:
    """Take the colour away, weaken or strengthen it, or shift the hue; often none of these."""
    chance = rng.random()
    if chance < GREY_PROBABILITY:
        # Half of the grey pictures weigh the channels at random, as near-infrared cameras do.
        weights = np.array(GREY_WEIGHTS)
        if rng.random() < 0.5:
            weights = rng.dirichlet((3, 3, 3))
        return cv2.transform(crop, np.tile(weights, (3, 1)))
    chance -= GREY_PROBABILITY
    if chance < SATURATION_PROBABILITY:
        saturation = rng.uniform(0.2, 1.5)
        grey = np.tile(GREY_WEIGHTS, (3, 1))
        return cv2.transform(crop, saturation * np.eye(3) + (1 - saturation) * grey)
    chance -= SATURATION_PROBABILITY
    if chance < HUE_PROBABILITY:
        hsv = cv2.cvtColor(crop, cv2.COLOR_RGB2HSV)
        shift = int(rng.integers(-15, 16))  # OpenCV's hue runs from 0 to 179
        hsv[..., 0] = (hsv[..., 0].astype(int) + shift) % 180
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return crop


def add_light_gradient(crop: Crop, rng: np.random.Generator) -> Crop:
    """Make the crop brighter to one side, as a window or a lamp does."""
    direction = rng.uniform(0, 2 * np.pi)
    strength = rng.uniform(0.2, 1.0)
    position = np.linspace(-0.5, 0.5, len(crop), dtype=np.float32)
    along = (
        np.cos(direction) * position[None, :] + np.sin(direction) * position[:, None]
    )
    gain = (1 + strength * along)[..., None]
    return (crop * gain).clip(0, 255).astype(np.uint8)


def blur(crop: Crop, rng: np.random.Generator) -> Crop:
    """Blur the crop as a lens out of focus does."""
    deviation = rng.uniform(0.003, 0.012) * len(crop)
    return cv2.GaussianBlur(crop, (0, 0), deviation)


def blur_by_motion(crop: Crop, rng: np.random.Generator) -> Crop:
    """Blur the crop along a line of random direction."""
    length = int(rng.uniform(0.02, 0.08) * len(crop)) | 1
    if length < 3:
        return crop
    centre = length // 2
    direction = rng.uniform(0, np.pi)
    reach = (round(centre * np.cos(direction)), round(centre * np.sin(direction)))
    kernel = np.zeros((length, length), np.float32)
    start = (centre - reach[0], centre - reach[1])
    end = (centre + reach[0], centre + reach[1])
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(crop, -1, kernel / kernel.sum())


def record(crop: Crop, rng: np.random.Generator) -> Crop:
    """Record the crop with fewer pixels, noise and JPEG compression, each at random."""
    size = len(crop)
    small = rng.random() < LOW_RESOLUTION_PROBABILITY
    if small:
        small_size = max(8, int(size * rng.uniform(0.4, 0.8)))
        crop = cv2.resize(crop, (small_size, small_size), interpolation=cv2.INTER_AREA)

    if rng.random() < NOISE_PROBABILITY:
        channels = 1 if rng.random() < 0.4 else 3
        shape = (*crop.shape[:2], channels)
        noise = rng.standard_normal(shape, dtype=np.float32) * rng.uniform(2, 12)
        crop = (crop + noise).clip(0, 255).astype(np.uint8)

    if rng.random() < JPEG_PROBABILITY:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(20, 80))]
        _, jpeg = cv2.imencode(".jpg", crop[..., ::-1], quality)
        crop = cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB)

    if small:
        method = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_NEAREST
        crop = cv2.resize(crop, (size, size), interpolation=method)
    return crop


def hide_patches(crop: Crop, rng: np.random.Generator) -> Crop:
    """Hide one or two rectangles behind a colour, noise, or another part of the crop."""
    size = len(crop)
    crop = crop.copy()
    for _ in range(int(rng.integers(1, 3))):
        height, width = (size * rng.uniform(0.06, 0.3, 2)).astype(int) + 1
        top, left = rng.integers(0, (size - height, size - width))
        patch = crop[top : top + height, left : left + width]
        chance = rng.random()
        if chance < 0.4:
            patch[:] = rng.integers(0, 256, 3)
        elif chance < 0.6:
            patch[:] = rng.integers(0, 256, patch.shape)
        else:
            top, left = rng.integers(0, (size - height, size - width))
            patch[:] = crop[top : top + height, left : left + width].copy()
    return crop

"""What lies behind the hands: a dark studio, rooms, walls, shelves, windows.

`capture` draws one for every picture, in linear light. All numbers were chosen by eye.
"""

import functools

import cv2
import numpy as np
from jaxtyping import Float32

from digit.synth.arrays import LinearRgb, Points, Rng
from digit.synth.randomness import choose, log_uniform
from digit.synth.renderer import Camera
from digit.synth.textures import TONES_SRGB, linear

# Half the edge of a lamp's star in a studio, px.
STAR_PX = 26
STUDIO_DARKNESS = 0.0015
# Lamps nearer than this are not seen.
NEAREST_LAMP_MM = 300
# Backgrounds of held-up hands, with their shares.
KINDS = {"room": 0.22, "wall": 0.28, "clouds": 0.16, "shelves": 0.14, "mixed": 0.2}


def studio(lamps_mm: Points, camera: Camera, width: int, height: int) -> LinearRgb:
    """A dark room with a dome's lamps (mm, world), each with a star about it."""
    # The picture has a margin, so that stars at its edge are cut and not lost.
    margin = STAR_PX
    star_size = 2 * margin + 1
    size = (height + 2 * margin, width + 2 * margin, 3)
    picture = np.full(size, STUDIO_DARKNESS, np.float32)
    px, depth = camera.project(lamps_mm)
    for x, y in px[depth > NEAREST_LAMP_MM].astype(int):
        in_width = -margin <= x < width + margin
        in_height = -margin <= y < height + margin
        if in_width and in_height:
            rows = slice(max(y, 0), y + star_size)
            columns = slice(max(x, 0), x + star_size)
            spot = picture[rows, columns]
            star = _star()[max(-y, 0) :, max(-x, 0) :]
            spot += star[: spot.shape[0], : spot.shape[1]]
    return picture[margin:-margin, margin:-margin]


@functools.lru_cache(1)
def _star() -> LinearRgb:
    """A lamp and the eight rays that the lens's aperture adds."""
    y, x = np.mgrid[-STAR_PX : STAR_PX + 1, -STAR_PX : STAR_PX + 1]
    r = np.hypot(x, y)
    angle = np.arctan2(y, x)
    rays = 0.16 * np.exp(-r / 6) * np.maximum(np.cos(4 * angle), 0) ** 12
    rays = rays + 0.05 * np.exp(-r / 5)
    disc = 1.6 / (1 + np.exp(3 * (r - 5.5)))
    return ((disc + rays)[..., None] * [1, 1, 0.92]).astype(np.float32)


def room(rng: Rng, width: int, height: int) -> LinearRgb:
    """A cluttered background out of focus: muted colours, boxes, grain."""
    # 1. Large patches of colour.
    picture = cv2.resize(_muted_colours(rng, *rng.integers(2, 7, 2)), (width, height))

    # 2. Boxes.
    for colour in _muted_colours(rng, rng.integers(0, 16)):
        middle = rng.uniform(-60, (width, height)).tolist()
        size = rng.uniform(12, 240, 2).tolist()
        box = (middle, size, rng.normal(0, 12))
        corners = cv2.boxPoints(box).astype(np.int32)
        cv2.fillPoly(picture, [corners], colour.tolist())

    # 3. Grain where both numbers of cells are large, stripes where one is small.
    cells = rng.integers(4, 120, 2)
    grain = rng.standard_normal(tuple(cells), np.float32)
    grain = grain * np.float32(rng.uniform(0, 0.4))
    picture *= np.exp(cv2.resize(grain, (width, height)))[..., None]
    return np.clip(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 6)), 0, 2)


def _muted_colours(rng: Rng, *shape: int | np.integer) -> Float32[np.ndarray, "..."]:
    """Colours of any brightness that are not far from grey."""
    grey = rng.uniform(0.03, 0.9, (*shape, 1)) ** 1.8
    return (grey * np.exp(rng.normal(0, 0.22, (*shape, 3)))).astype(np.float32)


def backdrop(rng: Rng, width: int, height: int) -> LinearRgb:
    """Draw what lies behind held-up hands."""
    kind = choose(rng, KINDS)
    if kind == "room":
        return room(rng, width, height)

    # 1. A wall, lit unevenly; a quarter of them are bright.
    level = rng.uniform(0.02, 1.0) if rng.random() < 0.75 else rng.uniform(0.7, 1.1)
    warmth = np.array([1, 0, -1])
    base = level * np.exp(rng.normal(0, 0.16, 3) + rng.normal(0, 0.15) * warmth)
    ramp = np.exp(rng.normal(0, 0.3, (2, 2, 1)) + rng.normal(0, 0.03, (2, 2, 3)))
    picture = cv2.resize(ramp.astype("f4"), (width, height)) * base.astype("f4")

    # 2. Plaster or foliage.
    if kind != "wall" or rng.random() < 0.35:
        limits = (0.02, 0.12) if kind == "wall" else (0.15, 0.7)
        strength = rng.uniform(*limits)
        picture *= np.exp(strength * _clouds(rng, width, height))

    # 3. Things.
    if kind in ("shelves", "mixed"):
        for _ in range(rng.integers(3, 30)):
            _draw_box(rng, picture)
    if kind == "mixed":
        for _ in range(rng.integers(1, 9)):
            _draw_blob(rng, picture)
    if rng.random() < 0.18:
        _draw_window(rng, picture)

    blur = log_uniform(rng, 0.4, 5.0)
    picture = cv2.GaussianBlur(picture, (0, 0), blur)
    return np.clip(picture, 0, 2).astype(np.float32)


def _clouds(rng: Rng, width: int, height: int) -> LinearRgb:
    """Noise of many sizes, of variance 1; made at half the resolution, for speed."""
    half = (width // 2, height // 2)
    total = np.zeros((half[1], half[0], 3), np.float32)
    tilt = rng.uniform(0.4, 0.9)
    cells = rng.integers(2, 5)
    weight = 1.0
    for _ in range(7):
        size = (cells, int(cells * half[0] / half[1]) + 1, 3)
        noise = rng.standard_normal(size, np.float32)
        # Much brightness, little colour.
        noise = 0.09 * noise + noise.mean(2, keepdims=True)
        noise = cv2.resize(noise, half, interpolation=cv2.INTER_CUBIC)
        total += np.float32(weight) * noise
        cells = 2 * cells
        weight = weight * tilt
        if cells > half[1]:
            break
    return cv2.resize(total / total.std(), (width, height))


def _draw_box(rng: Rng, picture: LinearRgb) -> None:
    """Draw a book, frame or screen: a rectangle, some with a rim or lines across."""
    height, width = picture.shape[:2]
    brightness = rng.uniform(0.01, 0.95) ** 1.6
    colour = (brightness * np.exp(rng.normal(0, 0.4, 3))).tolist()
    size = (rng.uniform(0.02, 0.4, 2) * [width, height]).tolist()
    middle = (rng.uniform(-0.05, 1.05, 2) * [width, height]).tolist()
    corners = cv2.boxPoints((middle, size, rng.normal(0, 4))).astype(np.int32)
    cv2.fillPoly(picture, [corners], colour, cv2.LINE_AA)
    if rng.random() < 0.4:
        rim = (rng.uniform(0.01, 0.8) * np.ones(3)).tolist()
        thickness = int(rng.integers(1, 5))
        cv2.polylines(picture, [corners], True, rim, thickness, cv2.LINE_AA)
    if rng.random() < 0.25:
        _draw_lines_across(rng, picture, corners)


def _draw_lines_across(rng: Rng, picture: LinearRgb, corners: np.ndarray) -> None:
    """Draw lines from one side of a box to the other."""
    begin = corners[0].astype(float)
    end = corners[1].astype(float)
    across = corners[3] - corners[0]
    step = across / rng.integers(3, 14)
    colour = (rng.uniform(0.01, 0.8) * np.ones(3)).tolist()
    for k in range(1, 14):
        if np.abs(k * step).sum() < np.abs(across).sum():
            a = (begin + k * step).astype(int).tolist()
            b = (end + k * step).astype(int).tolist()
            cv2.line(picture, a, b, colour, int(rng.integers(1, 3)), cv2.LINE_AA)


def _draw_blob(rng: Rng, picture: LinearRgb) -> None:
    """Draw an ellipse, shaded across; most in the colours of skin and wood."""
    height, width = picture.shape[:2]
    if rng.random() < 0.6:
        tone = TONES_SRGB[rng.integers(7), rng.integers(2)]
        tint = rng.normal(0, 0.35) + rng.normal(0, 0.1, 3)
        colour = linear(tone) * np.exp(tint)
    else:
        colour = rng.uniform(0.01, 0.9) * np.exp(rng.normal(0, 0.4, 3))
    mask = np.zeros((height, width), np.float32)
    middle = (rng.uniform(0, 1, 2) * [width, height]).tolist()
    size = (rng.uniform(0.05, 0.6, 2) * min(width, height)).tolist()
    ellipse = (middle, size, rng.uniform(0, 180))
    cv2.ellipse(mask, ellipse, 1.0, -1, cv2.LINE_AA)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.6, 4))[..., None]
    ramp = np.exp(rng.normal(0, 0.35, (2, 2))).astype("f4")
    ramp = cv2.resize(ramp, (width, height))[..., None]
    picture += mask * (ramp * colour.astype("f4") - picture)


def _draw_window(rng: Rng, picture: LinearRgb) -> None:
    """Draw a bright window, some with bars, or a lamp."""
    height, width = picture.shape[:2]
    corner = rng.uniform(-0.1, 0.9, 2) * [width, height]
    x, y = corner.astype(int)
    across, down = (rng.uniform(0.1, 0.6, 2) * [width, height]).astype(int)
    light = rng.uniform(0.9, 1.6, 3).tolist()
    cv2.rectangle(picture, (x, y), (x + across, y + down), light, -1)
    for _ in range(rng.integers(0, 3)):
        at = x + int(rng.uniform(0, across))
        cv2.line(picture, (at, y), (at, y + down), [0.05] * 3, rng.integers(1, 6))

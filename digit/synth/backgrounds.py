"""What lies behind the hands: a dark studio, rooms, walls, shelves, windows.

`capture` draws one for every picture, in linear light. All numbers were chosen by eye.
"""

import functools

import cv2
import numpy as np
from jaxtyping import Float32, Int, Int32

from digit.synth.arrays import LinearRgb, Points, Rng
from digit.synth.filters import blurred, fill_ellipse
from digit.synth.randomness import choose, log_uniform
from digit.synth.renderer import Camera
from digit.synth.textures import TONES_SRGB, linear

# Half the edge of a lamp's star in a studio, px.
STAR_PX = 26
STUDIO_DARKNESS = 0.0015
# Lamps nearer than this are not seen.
NEAREST_LAMP_MM = 300
# Shares of walls with plaster, of backgrounds with a window, of blobs that look like skin.
PLASTER_SHARE = 0.35
WINDOW_SHARE = 0.18
SKIN_COLOURED_SHARE = 0.6
PLASTER_STRENGTH = (0.02, 0.12)
CLOUD_STRENGTH = (0.15, 0.7)
BAR_COLOUR = [0.05, 0.05, 0.05]
# Backgrounds of held-up hands, with their shares.
KINDS = {"room": 0.22, "wall": 0.28, "clouds": 0.16, "shelves": 0.14, "mixed": 0.2}
# Of a rectangle, px.
Corners = Int32[np.ndarray, "4 2"]


def studio(
    lamps_mm: Points,
    camera: Camera,
    width: int,
    height: int,
) -> LinearRgb:
    """A dark room with a dome's lamps (mm, world), each with a star about it."""
    # The picture has a margin, so that stars at its edge are cut and not lost.
    margin = STAR_PX
    size = (height + 2 * margin, width + 2 * margin, 3)
    picture = np.full(size, STUDIO_DARKNESS, np.float32)
    px, depth = camera.project(lamps_mm)
    is_in_front = depth > NEAREST_LAMP_MM
    for x, y in px[is_in_front].astype(int):
        in_width = -margin <= x < width + margin
        in_height = -margin <= y < height + margin
        if in_width and in_height:
            _add_star(picture, x, y)
    return picture[margin:-margin, margin:-margin]


def _add_star(
    picture: LinearRgb,
    left: np.integer,
    top: np.integer,
) -> None:
    """Add a star to a picture; its corner may lie beyond the picture's."""
    size = 2 * STAR_PX + 1
    rows = slice(max(top, 0), top + size)
    columns = slice(max(left, 0), left + size)
    spot = picture[rows, columns]
    star = _star()[max(-top, 0) :, max(-left, 0) :]
    spot_height, spot_width = spot.shape[:2]
    spot += star[:spot_height, :spot_width]


@functools.lru_cache(1)
def _star() -> LinearRgb:
    """A lamp and the eight rays that the lens's aperture adds."""
    offset = np.arange(-STAR_PX, STAR_PX + 1)
    y, x = np.meshgrid(offset, offset, indexing="ij")
    r = np.hypot(x, y)
    angle = np.arctan2(y, x)
    eight_rays = np.maximum(np.cos(4 * angle), 0) ** 12
    rays = 0.16 * np.exp(-r / 6) * eight_rays
    halo = 0.05 * np.exp(-r / 5)
    disc = 1.6 / (1 + np.exp(3 * (r - 5.5)))
    brightness = disc + (rays + halo)
    warm_white = [1, 1, 0.92]
    return (brightness[..., None] * warm_white).astype(np.float32)


def room(
    rng: Rng,
    width: int,
    height: int,
) -> LinearRgb:
    """A cluttered background out of focus: muted colours, boxes, grain."""
    # 1. Large patches of colour.
    rows, columns = rng.integers(2, 7, 2)
    patches = _muted_colours(rng, rows, columns)
    picture = cv2.resize(patches, (width, height))

    # 2. Boxes.
    boxes = rng.integers(0, 16)
    for colour in _muted_colours(rng, boxes):
        middle = rng.uniform(-60, (width, height))
        size = rng.uniform(12, 240, 2)
        angle = rng.normal(0, 12)
        corners = _box_corners(middle, size, angle)
        cv2.fillPoly(picture, [corners], colour.tolist())

    # 3. Grain where both numbers of cells are large, stripes where one is small.
    cells = rng.integers(4, 120, 2)
    grain = rng.standard_normal(tuple(cells), np.float32)
    grain = grain * np.float32(rng.uniform(0, 0.4))
    grain = cv2.resize(grain, (width, height))
    picture *= np.exp(grain)[..., None]
    picture = blurred(picture, rng.uniform(0.6, 6))
    return np.clip(picture, 0, 2)


def _box_corners(
    middle: np.ndarray,
    size: np.ndarray,
    angle_deg: float,
) -> Corners:
    """The corners of a turned rectangle, in whole pixels."""
    box = (middle.tolist(), size.tolist(), angle_deg)
    return cv2.boxPoints(box).astype(np.int32)


def _muted_colours(rng: Rng, *shape: int | np.integer) -> Float32[np.ndarray, "..."]:
    """Colours of any brightness that are not far from grey."""
    grey = rng.uniform(0.03, 0.9, (*shape, 1)) ** 1.8
    tint = rng.normal(0, 0.22, (*shape, 3))
    colours = grey * np.exp(tint)
    return colours.astype(np.float32)


def backdrop(
    rng: Rng,
    width: int,
    height: int,
) -> LinearRgb:
    """Draw what lies behind held-up hands."""
    kind = choose(rng, KINDS)
    if kind == "room":
        return room(rng, width, height)
    picture = _draw_wall(rng, width, height)

    # 1. Plaster or foliage.
    is_wall = kind == "wall"
    if not is_wall or rng.random() < PLASTER_SHARE:
        limits = PLASTER_STRENGTH if is_wall else CLOUD_STRENGTH
        strength = rng.uniform(*limits)
        picture *= np.exp(strength * _clouds(rng, width, height))

    # 2. Things.
    if kind in ("shelves", "mixed"):
        for _ in range(rng.integers(3, 30)):
            _draw_box(rng, picture)
    if kind == "mixed":
        for _ in range(rng.integers(1, 9)):
            _draw_blob(rng, picture)
    if rng.random() < WINDOW_SHARE:
        _draw_window(rng, picture)

    picture = blurred(picture, log_uniform(rng, 0.4, 5.0))
    return np.clip(picture, 0, 2).astype(np.float32)


def _draw_wall(
    rng: Rng,
    width: int,
    height: int,
) -> LinearRgb:
    """Draw a wall of one colour, lit unevenly; a quarter of them are bright."""
    is_any = rng.random() < 0.75
    limits = (0.02, 1.0) if is_any else (0.7, 1.1)
    level = rng.uniform(*limits)
    tint = rng.normal(0, 0.16, 3)
    warmth = rng.normal(0, 0.15) * np.array([1, 0, -1])
    base = level * np.exp(tint + warmth)

    brightness_of_corners = rng.normal(0, 0.3, (2, 2, 1))
    tint_of_corners = rng.normal(0, 0.03, (2, 2, 3))
    corners = np.exp(brightness_of_corners + tint_of_corners)
    ramp = cv2.resize(corners.astype("f4"), (width, height))
    return ramp * base.astype("f4")


def _clouds(
    rng: Rng,
    width: int,
    height: int,
) -> LinearRgb:
    """Noise of many sizes, of variance 1; made at half the resolution, for speed."""
    half_width = width // 2
    half_height = height // 2
    half = (half_width, half_height)
    total = np.zeros((half_height, half_width, 3), np.float32)
    tilt = rng.uniform(0.4, 0.9)
    cells = rng.integers(2, 5)
    weight = 1.0
    for _ in range(7):
        columns = int(cells * half_width / half_height) + 1
        noise = rng.standard_normal((cells, columns, 3), np.float32)
        # Much brightness, little colour.
        brightness = noise.mean(2, keepdims=True)
        noise = 0.09 * noise + brightness
        noise = cv2.resize(noise, half, interpolation=cv2.INTER_CUBIC)
        total += np.float32(weight) * noise
        cells = 2 * cells
        weight = weight * tilt
        if cells > half_height:
            break
    return cv2.resize(total / total.std(), (width, height))


def _draw_box(rng: Rng, picture: LinearRgb) -> None:
    """Draw a book, frame or screen: a rectangle, some with a rim or lines across."""
    brightness = rng.uniform(0.01, 0.95) ** 1.6
    colour = brightness * np.exp(rng.normal(0, 0.4, 3))
    frame_size = _frame_size(picture)
    size = rng.uniform(0.02, 0.4, 2) * frame_size
    middle = rng.uniform(-0.05, 1.05, 2) * frame_size
    corners = _box_corners(middle, size, rng.normal(0, 4))
    cv2.fillPoly(picture, [corners], colour.tolist(), cv2.LINE_AA)
    if rng.random() < 0.4:
        rim = _draw_grey(rng)
        thickness = int(rng.integers(1, 5))
        cv2.polylines(picture, [corners], True, rim, thickness, cv2.LINE_AA)
    if rng.random() < 0.25:
        _draw_lines_across(rng, picture, corners)


def _frame_size(picture: LinearRgb) -> Int[np.ndarray, "2"]:
    """Width and height."""
    height, width = picture.shape[:2]
    return np.array([width, height])


def _draw_grey(rng: Rng) -> list[float]:
    """Draw a grey of any brightness."""
    level = rng.uniform(0.01, 0.8)
    return [level, level, level]


def _draw_lines_across(
    rng: Rng,
    picture: LinearRgb,
    corners: Corners,
) -> None:
    """Draw lines from one side of a box to the other."""
    begin = corners[0].astype(float)
    end = corners[1].astype(float)
    across = corners[3] - corners[0]
    length = np.abs(across).sum()
    step = across / rng.integers(3, 14)
    colour = _draw_grey(rng)
    for k in range(1, 14):
        offset = k * step
        if np.abs(offset).sum() < length:
            a = (begin + offset).astype(int).tolist()
            b = (end + offset).astype(int).tolist()
            thickness = int(rng.integers(1, 3))
            cv2.line(picture, a, b, colour, thickness, cv2.LINE_AA)


def _draw_blob(rng: Rng, picture: LinearRgb) -> None:
    """Draw an ellipse, shaded across; most in the colours of skin and wood."""
    # 1. Its colour.
    if rng.random() < SKIN_COLOURED_SHARE:
        row = rng.integers(len(TONES_SRGB))
        tone = TONES_SRGB[row, rng.integers(2)]
        brightness = rng.normal(0, 0.35)
        tint = rng.normal(0, 0.1, 3)
        colour = linear(tone) * np.exp(brightness + tint)
    else:
        brightness = rng.uniform(0.01, 0.9)
        colour = brightness * np.exp(rng.normal(0, 0.4, 3))

    # 2. Its outline, with a soft edge.
    frame_size = _frame_size(picture)
    middle = rng.uniform(0, 1, 2) * frame_size
    axes = rng.uniform(0.05, 0.6, 2) * min(frame_size)
    angle = rng.uniform(0, 180)
    mask = np.zeros(picture.shape[:2], np.float32)
    fill_ellipse(mask, middle.tolist(), axes.tolist(), 1.0, angle)
    mask = blurred(mask, rng.uniform(0.6, 4))

    # 3. Its shading.
    corners = np.exp(rng.normal(0, 0.35, (2, 2)))
    ramp = cv2.resize(corners.astype("f4"), tuple(frame_size.tolist()))
    shaded = ramp[..., None] * colour.astype("f4")
    picture += mask[..., None] * (shaded - picture)


def _draw_window(rng: Rng, picture: LinearRgb) -> None:
    """Draw a bright window, some with bars, or a lamp."""
    frame_size = _frame_size(picture)
    corner = rng.uniform(-0.1, 0.9, 2) * frame_size
    size = rng.uniform(0.1, 0.6, 2) * frame_size
    left, top = corner.astype(int)
    width, height = size.astype(int)
    bottom = top + height
    light = rng.uniform(0.9, 1.6, 3).tolist()
    cv2.rectangle(picture, (left, top), (left + width, bottom), light, -1)
    for _ in range(rng.integers(0, 3)):
        x = left + int(rng.uniform(0, width))
        thickness = int(rng.integers(1, 6))
        cv2.line(picture, (x, top), (x, bottom), BAR_COLOUR, thickness)

"""Hands drawn into a picture's pixels, fast enough for a video's frames.

What is drawn are the strokes of `digit.plots.strokes`, as everywhere. Called by
`digit.inference.outputs`.
"""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digit.plots.strokes import Stroke, rgb

Image = UInt8[np.ndarray, "height width 3"]

DASH = 0.5  # of a dashed line that is drawn
SUBPIXEL_BITS = 4
FIXED_RANGE = (-(2**14), 2**14)  # of coordinates, px; OpenCV overflows far outside


def paint_box(image: Image, bbox_xywh: Float[np.ndarray, "4"], thickness: int) -> None:
    """Draw a box into the picture."""
    low = np.clip(bbox_xywh[:2].round(), *FIXED_RANGE).astype(int)
    high = np.clip((bbox_xywh[:2] + bbox_xywh[2:]).round(), *FIXED_RANGE).astype(int)
    cv2.rectangle(image, low.tolist(), high.tolist(), (255, 255, 255), thickness)


def paint_strokes(image: Image, strokes: Sequence[Stroke], thickness: int) -> None:
    """Draw strokes into the picture.

    Args:
        image: The picture, which is changed.
        strokes: Lines in pixels; what is not a number is not drawn.
        thickness: Of the lines, px.
    """
    for stroke in strokes:
        color = rgb(stroke.color)
        dashed = stroke.look.line_style != "-"
        for start, end in itertools.pairwise(stroke.points):
            if np.isfinite((start, end)).all():
                _line(image, start, end, color, dashed, thickness)
        for point in stroke.points:
            if np.isfinite(point).all():
                _mark(image, point, color, not stroke.look.filled, thickness)


def _line(
    image: Image,
    start: Float[np.ndarray, "2"],
    end: Float[np.ndarray, "2"],
    color: tuple[int, int, int],
    dashed: bool,
    thickness: int,
) -> None:
    """A bone; a dashed one in pieces four times as long as the line is thick."""
    pieces = 1
    if dashed:
        pieces = max(2, round(float(np.linalg.norm(end - start)) / (8 * thickness)))
    length = DASH if dashed else 1.0
    for piece in range(pieces):
        a = start + (end - start) * (piece / pieces)
        b = start + (end - start) * ((piece + length) / pieces)
        cv2.line(
            image, _fixed(a), _fixed(b), color, thickness, cv2.LINE_AA, SUBPIXEL_BITS
        )


def _mark(
    image: Image,
    point: Float[np.ndarray, "2"],
    color: tuple[int, int, int],
    hollow: bool,
    thickness: int,
) -> None:
    center = _fixed(point)
    radius = round(1.6 * thickness * 2**SUBPIXEL_BITS)
    inner = (255, 255, 255) if hollow else color
    cv2.circle(image, center, radius, inner, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
    cv2.circle(image, center, radius, color, 1, cv2.LINE_AA, SUBPIXEL_BITS)


def write_text(
    image: Image, text: str, point: Float[np.ndarray, "2"], scale: float
) -> None:
    """White on a dark outline."""
    x, y = np.clip(point, *FIXED_RANGE).round().astype(int).tolist()
    font = cv2.FONT_HERSHEY_SIMPLEX
    size = max(0.4, scale)
    width = max(1, round(1.5 * size))
    for color, extra in (((0, 0, 0), 2), ((255, 255, 255), 0)):
        cv2.putText(
            image, text, (x + 6, y + 6), font, size, color, width + extra, cv2.LINE_AA
        )


def _fixed(point: Float[np.ndarray, "2"]) -> tuple[int, int]:
    """A point in OpenCV's fixed-point numbers, moved into their range."""
    x, y = np.clip(point, *FIXED_RANGE) * 2**SUBPIXEL_BITS
    return round(x), round(y)

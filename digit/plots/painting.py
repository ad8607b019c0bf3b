"""Hands drawn into a picture's pixels, fast enough for a video's frames.

The rule is that of all pictures here: the right hand solid and filled, the left dashed
and hollow, a colour for each finger. Called by `digit.inference.outputs`.
"""

import itertools

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digit.skeleton import FINGER_COLORS, HAND_WRIST

Image = UInt8[np.ndarray, "height width 3"]

DASH = 0.5  # of a dashed line that is drawn
SUBPIXEL_BITS = 4
FIXED_RANGE = (-(2**14), 2**14)  # of coordinates, px; OpenCV overflows far outside


def paint_box(image: Image, bbox_xywh: Float[np.ndarray, "4"], thickness: int) -> None:
    """Draw a box into the picture."""
    low = np.clip(bbox_xywh[:2].round(), *FIXED_RANGE).astype(int)
    high = np.clip((bbox_xywh[:2] + bbox_xywh[2:]).round(), *FIXED_RANGE).astype(int)
    cv2.rectangle(image, low.tolist(), high.tolist(), (255, 255, 255), thickness)


def paint_hand(
    image: Image, joints_px: Float[np.ndarray, "21 2"], left: bool, thickness: int
) -> None:
    """Draw one hand into the picture."""
    for finger in range(5):
        color = _rgb(FINGER_COLORS[finger])
        chain = [*range(4 * finger, 4 * finger + 4), HAND_WRIST]
        points = joints_px[chain]
        for start, end in itertools.pairwise(points):
            _line(image, start, end, color, left, thickness)
        for point in points[:-1]:
            _mark(image, point, color, left, thickness)
    _mark(image, joints_px[HAND_WRIST], _rgb(FINGER_COLORS[5]), left, thickness)


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


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)

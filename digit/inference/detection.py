"""Finding the hands of a picture: palms, landmarks, crops for the network.

Called by `digit.inference.pipeline`, the photo widget and the `mediapipe` method. The
two models and their constants are those of MediaPipe Hands 0.10.14 (Zhang et al. 2020,
"MediaPipe Hands: On-device Real-time Hand Tracking"); where a number was chosen by eye
or by a measurement of ours, its comment says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from digit.data.photo_tree import annotated_box
from digit.inference.tflite import load_tflite

Image = UInt8[np.ndarray, "height width 3"]

PALM_FILE = "palm_detection_full.tflite"
LANDMARK_FILE = "hand_landmark_full.tflite"

PALM_INPUT_PX = 192
ANCHOR_STRIDES = ((8, 2), (16, 6))  # px of the input, anchors a cell
PALM_POINTS = 7  # wrist, four knuckles from index to pinky, two thumb joints
MIN_PALM_SCORE = 0.5
MAX_OVERLAP = 0.3  # intersection over union above which two palms are one
HAND_OF_PALM = 2.6  # sides of the hand's box and of the palm's
HAND_SHIFT = 0.5  # of the palm's side, from the palm towards the fingers

LANDMARK_INPUT_PX = 224
MIN_PRESENCE = 0.5
HAND_OF_LANDMARKS = 2.0  # sides of the next frame's box and of the tight one
LANDMARK_SHIFT = 0.1

# our joint order (tips first, wrist last) from theirs (wrist first, base to tip)
FROM_MEDIAPIPE = np.array(
    [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0]
)
# joints around the palm, ours: MediaPipe turns and sizes the next box by these
PALM_JOINTS = np.array([20, 3, 2, 1, 7, 6, 11, 10, 15, 14, 19, 18])
MIDDLE_BASE = 11
INDEX_BASE = 7
RING_BASE = 15
WRIST = 20

# Second look, where the first finds no hand: the picture smaller in the input (a hand
# that fills the picture is too large for the detector) and quarters of it larger.
# Chosen by eye.
SMALLER = 0.6
LARGER = 2.0
OVERLAP = 0.25  # of two neighbouring tiles, of their side
MIN_SECOND_SCORE = 0.3

SAME_HAND = 0.5  # two hands with boxes this much alike (IoU) are the same
TOUCHING = 0.1  # gap between two hands' boxes, of the larger one's side; by eye
APART = 0.3  # the same for hands that shared a crop in the frame before


@dataclass(frozen=True)
class Palm:
    """A palm as the detector sees it, in pixels of the picture."""

    score: float
    bbox_xywh: Float[np.ndarray, "4"]
    points_px: Float[np.ndarray, "7 2"]


@dataclass(frozen=True)
class TurnedBox:
    """A square about a hand, turned so that the fingers point up.

    `angle` (radians) is how far the picture's x axis is from the box's, clockwise as
    seen.
    """

    center_px: Float[np.ndarray, "2"]
    side_px: float
    angle: float

    def to_image(self, size_px: int) -> Float[np.ndarray, "2 3"]:
        """The affine from pixels of a crop of that size to pixels of the picture."""
        scale = self.side_px / size_px
        cos = np.cos(self.angle) * scale
        sin = np.sin(self.angle) * scale
        linear = np.array([[cos, -sin], [sin, cos]])
        half = np.full(2, size_px / 2)
        return np.column_stack([linear, self.center_px - linear @ half])

    def corners_px(self) -> Float[np.ndarray, "4 2"]:
        """The four corners in the picture."""
        affine = self.to_image(1)
        unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
        return unit @ affine[:, :2].T + affine[:, 2]


@dataclass(frozen=True)
class FoundHand:
    """A hand as the landmark model sees it, joints in our order."""

    side: str  # "right" or "left", the person's own
    side_probability: float
    presence: float
    joints_px: Float[np.ndarray, "21 2"]
    depth_px: Float[np.ndarray, "21"]  # relative to the wrist, in pixels of the picture
    joints_metric_mm: Float[np.ndarray, "21 3"]  # about the hand's centre, by the model
    track: int | None = None  # its identity in a video

    @property
    def tight_xyxy(self) -> Float[np.ndarray, "4"]:
        """The box of the joints."""
        return np.concatenate([self.joints_px.min(0), self.joints_px.max(0)])


@dataclass(frozen=True)
class FoundCrop:
    """A box for the network: one hand or two that are close together."""

    bbox_xywh: Float[np.ndarray, "4"]
    hands: tuple[FoundHand, ...]


class HandDetector:
    """The palm detector and the landmark model. Use one per thread."""

    def __init__(self, weights_dir: Path):
        """Open the two model files.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file is damaged.
        """
        self._palms = load_tflite(weights_dir / PALM_FILE, ["Identity", "Identity_1"])
        names = ["Identity", "Identity_1", "Identity_2", "Identity_3"]
        self._landmarks = load_tflite(weights_dir / LANDMARK_FILE, names)

    def find(self, image: Image, second_look: bool = True) -> list[FoundHand]:
        """All hands of a picture, most confident first.

        Args:
            image: RGB.
            second_look: whether to search other scales where none is found at first.
        """
        hands = self.landmarks_of(image, self.palms(image))
        if hands or not second_look:
            return hands
        return self.landmarks_of(image, self.second_look(image))

    def palms(
        self,
        image: Image,
        min_score: float = MIN_PALM_SCORE,
        scale: float = 1.0,
    ) -> list[Palm]:
        """The palms of a picture that is fitted into the input.

        Args:
            image: RGB.
            min_score: palms below this score are left out.
            scale: below 1, the picture is smaller in the input, with a margin around.
        """
        fitted, affine = _letterbox(image, PALM_INPUT_PX, scale)
        raw_boxes, raw_scores = self._palms(fitted)
        palms = decode_palms(raw_boxes[0], raw_scores[0, :, 0], min_score)
        return [_moved(palm, affine) for palm in suppress(palms)]

    def second_look(self, image: Image) -> list[Palm]:
        """Palms in the picture made smaller, and in overlapping quarters of it."""
        palms = self.palms(image, MIN_SECOND_SCORE, SMALLER)
        for x, y, width, height in _tiles(image.shape[1], image.shape[0]):
            tile = image[y : y + height, x : x + width]
            shift = np.array([[1, 0, x], [0, 1, y]], float)
            found = self.palms(tile, MIN_SECOND_SCORE)
            palms += [_moved(palm, shift) for palm in found]
        return suppress(palms)

    def landmarks_of(self, image: Image, palms: Sequence[Palm]) -> list[FoundHand]:
        """The hand of each palm that the landmark model confirms."""
        hands = []
        for palm in palms:
            hand = self.landmarks(image, hand_box(palm))
            if hand is not None:
                hands.append(hand)
        return without_doubles(hands)

    def landmarks(self, image: Image, box: TurnedBox) -> FoundHand | None:
        """The hand in a turned box, or None where the model sees none."""
        # 1. The upright crop
        size = LANDMARK_INPUT_PX
        to_image = box.to_image(size)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(image, to_image, (size, size), flags=flags)
        crop = crop.astype(np.float32) / 255

        # 2. The model
        points, presence, handedness, metric = self._landmarks(crop)
        if presence.item() < MIN_PRESENCE:
            return None
        points = points.reshape(21, 3)[FROM_MEDIAPIPE].astype(float)
        metric_mm = metric.reshape(21, 3)[FROM_MEDIAPIPE].astype(float) * 1000

        # 3. Back into the picture; the metric points are turned with the box
        joints_px = points[:, :2] @ to_image[:, :2].T + to_image[:, 2]
        scale = box.side_px / size
        turn = to_image[:, :2] / scale
        metric_mm[:, :2] = metric_mm[:, :2] @ turn.T

        # MediaPipe calls this "left", of a mirrored picture: a right hand as taken
        right_probability = handedness.item()
        side = "right" if right_probability > 0.5 else "left"
        return FoundHand(
            side=side,
            side_probability=max(right_probability, 1 - right_probability),
            presence=presence.item(),
            joints_px=joints_px,
            depth_px=(points[:, 2] - points[WRIST, 2]) * scale,
            joints_metric_mm=metric_mm,
        )


def anchor_centers() -> Float[np.ndarray, "2016 2"]:
    """Centres (x, y in [0, 1]) of the detector's anchors, cell by cell, row by row."""
    layers = []
    for stride, anchors_per_cell in ANCHOR_STRIDES:
        cells = PALM_INPUT_PX // stride
        rows, columns = np.mgrid[:cells, :cells]
        centers = np.stack([columns, rows], -1).reshape(-1, 2)
        layers.append((centers.repeat(anchors_per_cell, axis=0) + 0.5) / cells)
    return np.concatenate(layers)


_ANCHORS_PX = anchor_centers() * PALM_INPUT_PX


def decode_palms(
    raw_boxes: Float[np.ndarray, "2016 18"],
    raw_scores: Float[np.ndarray, "2016"],
    min_score: float,
) -> list[Palm]:
    """Anchors whose score is high enough as palms, in pixels of the input."""
    scores = 1 / (1 + np.exp(-np.clip(raw_scores, -100, 100)))
    kept = np.flatnonzero(scores >= min_score)
    palms = []
    for anchor in kept:
        # Offsets and sizes are in pixels of the input, relative to the anchor.
        raw = raw_boxes[anchor].astype(float)
        center = raw[:2] + _ANCHORS_PX[anchor]
        size = raw[2:4]
        points = raw[4:].reshape(PALM_POINTS, 2) + _ANCHORS_PX[anchor]
        bbox = np.concatenate([center - size / 2, size])
        palms.append(Palm(float(scores[anchor]), bbox, points))
    return palms


def suppress(palms: Sequence[Palm]) -> list[Palm]:
    """Overlapping palms become one, the mean weighted by score; most confident first.

    This is the weighted non-maximum suppression of BlazeFace (Bazarevsky et al. 2019).
    """
    waiting = sorted(palms, key=lambda palm: -palm.score)
    kept = []
    while waiting:
        # 1. All palms that overlap the most confident one
        best = waiting[0]
        boxes = np.stack([palm.bbox_xywh for palm in waiting])
        alike = box_overlap(best.bbox_xywh, boxes) > MAX_OVERLAP
        alike[0] = True
        group = [palm for palm, same in zip(waiting, alike, strict=True) if same]
        # 2. Their mean, weighted by score
        weights = np.array([palm.score for palm in group])
        weights /= weights.sum()
        bbox = weights @ np.stack([palm.bbox_xywh for palm in group])
        points = np.tensordot(weights, np.stack([palm.points_px for palm in group]), 1)
        kept.append(Palm(best.score, bbox, points))
        waiting = [p for p, same in zip(waiting, alike, strict=True) if not same]
    return kept


def box_overlap(
    bbox_xywh: Float[np.ndarray, "4"], others_xywh: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "n"]:
    """Intersection over union of a box with each of the others."""
    low = np.maximum(bbox_xywh[:2], others_xywh[:, :2])
    high = np.minimum(
        bbox_xywh[:2] + bbox_xywh[2:], others_xywh[:, :2] + others_xywh[:, 2:]
    )
    common = np.clip(high - low, 0, None).prod(-1)
    union = bbox_xywh[2:].prod() + others_xywh[:, 2:].prod(-1) - common
    return common / np.maximum(union, 1e-9)


def hand_box(palm: Palm) -> TurnedBox:
    """The turned square around the whole hand of a palm."""
    # The direction of the fingers: from the wrist to the middle knuckle.
    wrist = palm.points_px[0]
    middle_knuckle = palm.points_px[2]
    towards = middle_knuckle - wrist
    angle = np.arctan2(towards[0], -towards[1])
    # The hand is larger than its palm, and lies further towards the fingers.
    side = palm.bbox_xywh[2:].max()
    center = palm.bbox_xywh[:2] + palm.bbox_xywh[2:] / 2
    fingers = np.array([np.sin(angle), -np.cos(angle)])
    center = center + HAND_SHIFT * palm.bbox_xywh[3] * fingers
    return TurnedBox(center, HAND_OF_PALM * side, float(angle))


def next_box(joints_px: Float[np.ndarray, "21 2"]) -> TurnedBox:
    """Where to look for a hand in the next frame, from its joints in this one."""
    # 1. The direction from the wrist to between the knuckles
    knuckles = (joints_px[INDEX_BASE] + joints_px[RING_BASE]) / 2
    knuckles = (knuckles + joints_px[MIDDLE_BASE]) / 2
    towards = knuckles - joints_px[WRIST]
    angle = np.arctan2(towards[0], -towards[1])

    # 2. The tight box in that direction
    cos, sin = np.cos(angle), np.sin(angle)
    upright = np.array([[cos, sin], [-sin, cos]])
    points = joints_px[PALM_JOINTS] @ upright.T
    low, high = points.min(0), points.max(0)
    size = high - low
    center = (low + high) / 2
    center[1] -= LANDMARK_SHIFT * size[1]
    return TurnedBox(center @ upright, HAND_OF_LANDMARKS * size.max(), float(angle))


def without_doubles(hands: Sequence[FoundHand]) -> list[FoundHand]:
    """Of overlapping hands, keep the most confident."""
    kept: list[FoundHand] = []
    for hand in sorted(hands, key=lambda hand: -hand.presence):
        boxes = np.array([tight_xywh(other) for other in kept]).reshape(-1, 4)
        if (box_overlap(tight_xywh(hand), boxes) < SAME_HAND).all():
            kept.append(hand)
    return kept


def crops_of(
    hands: Sequence[FoundHand],
    together: Sequence[frozenset[int]] = (),
    near: float = TOUCHING,
) -> list[FoundCrop]:
    """Hands that touch or overlap as one crop, hands far apart as one crop each.

    Pairs are formed closest first, and a crop holds at most two hands: the network
    knows one person's right and left hand.

    Args:
        hands: the hands of one picture.
        together: tracks of the pairs of a video's frame before, which stay together
            until they are well apart.
        near: gap between two hands' boxes, of the larger one's side, up to which they
            share a crop.
    """
    # 1. All pairs that are close enough
    pairs = []
    for i, first in enumerate(hands):
        for j, second in enumerate(hands[:i]):
            gap = gap_of_boxes(first.tight_xyxy, second.tight_xyxy)
            before = frozenset({first.track, second.track}) in together
            if gap <= (APART if before else near):
                pairs.append((not before, gap, j, i))

    # 2. The closest first, each hand once
    taken: set[int] = set()
    groups: list[tuple[FoundHand, ...]] = []
    for _, _, i, j in sorted(pairs):
        if i not in taken and j not in taken:
            taken |= {i, j}
            groups.append((hands[i], hands[j]))
    groups += [(hand,) for i, hand in enumerate(hands) if i not in taken]
    return [FoundCrop(_annotated_box(group), group) for group in groups]


def _annotated_box(hands: Sequence[FoundHand]) -> Float[np.ndarray, "4"]:
    """A box as annotated ones are, around all joints of some hands."""
    return annotated_box(np.concatenate([hand.joints_px for hand in hands]))


def gap_of_boxes(
    first_xyxy: Float[np.ndarray, "4"], second_xyxy: Float[np.ndarray, "4"]
) -> float:
    """Gap between two boxes by the larger one's side; negative: they overlap."""
    a, b = first_xyxy, second_xyxy
    apart = np.maximum(a[:2] - b[2:], b[:2] - a[2:]).max()
    side = max((a[2:] - a[:2]).max(), (b[2:] - b[:2]).max())
    return float(apart / max(side, 1e-9))


def tight_xywh(hand: FoundHand) -> Float[np.ndarray, "4"]:
    """The box of a hand's joints as corner and size."""
    low_high = hand.tight_xyxy
    return np.concatenate([low_high[:2], low_high[2:] - low_high[:2]])


def _letterbox(
    image: Image, size: int, scale: float
) -> tuple[Float[np.ndarray, "size size 3"], Float[np.ndarray, "2 3"]]:
    """The picture fitted into a square, and the affine from the square back to it."""
    # 1. The picture at its size in the square
    height, width = image.shape[:2]
    factor = scale * size / max(height, width)
    inner_width = min(size, max(1, round(width * factor)))
    inner_height = min(size, max(1, round(height * factor)))
    shrinks = factor < 1
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    inner = cv2.resize(image, (inner_width, inner_height), interpolation=way)
    # 2. In the middle of a black square
    left = (size - inner_width) // 2
    top = (size - inner_height) // 2
    square = np.zeros((size, size, 3), np.float32)
    square[top : top + inner_height, left : left + inner_width] = inner
    square /= 255
    # 3. The way back
    step_x = width / inner_width
    step_y = height / inner_height
    affine = np.array([[step_x, 0, -left * step_x], [0, step_y, -top * step_y]])
    return square, affine


def _moved(palm: Palm, affine: Float[np.ndarray, "2 3"]) -> Palm:
    """A palm in other pixels; the affine does not turn."""
    scale = affine[[0, 1], [0, 1]]
    corner = palm.bbox_xywh[:2] * scale + affine[:, 2]
    bbox = np.concatenate([corner, palm.bbox_xywh[2:] * scale])
    return Palm(palm.score, bbox, palm.points_px * scale + affine[:, 2])


def _tiles(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Overlapping quarters of a picture, x, y, width, height."""
    tile_width = max(1, round(width / LARGER * (1 + OVERLAP)))
    tile_height = max(1, round(height / LARGER * (1 + OVERLAP)))
    return [
        (x, y, tile_width, tile_height)
        for y in (0, height - tile_height)
        for x in (0, width - tile_width)
    ]

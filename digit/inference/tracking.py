"""Hands followed through a video: boxes from the frame before, identities, smoothing.

Called by `digit.inference.pipeline` for the frames of one video.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, UInt8

from digit.inference.detection import (
    SAME_HAND,
    FoundHand,
    HandDetector,
    box_overlap,
    next_box,
    tight_xywh,
)

LOOK_AGAIN = 10  # frames between two looks of the detector for hands that have come in
SEARCH = 3  # the same where no hand is in sight
KEEP = 5  # frames for which a hand that is lost stays where it was; by eye
SIDE_MEMORY = 0.95  # weight of the past in a hand's side, a frame

# lowest cutoff and its growth with speed (box sides per second): of those tried on noisy
# synthetic motion, the smoothest whose lag does not cost accuracy at usual speeds
MIN_CUTOFF_HZ = 1.0
BETA = 4.0
DERIVATIVE_CUTOFF_HZ = 1.0  # as in the paper


@dataclass
class Track:
    """A hand through time; it is a right hand where `right_votes` is above zero."""

    number: int
    hand: FoundHand
    missed: int = 0
    right_votes: float = 0.0

    def take(self, hand: FoundHand) -> None:
        """The hand in the newest frame."""
        # One frame does not change a side: votes fade slowly.
        vote = hand.side_probability - 0.5
        if hand.side == "left":
            vote = -vote
        self.right_votes = SIDE_MEMORY * self.right_votes + vote
        self.missed = 0
        side = "right" if self.right_votes > 0 else "left"
        self.hand = replace(hand, side=side, track=self.number)


@dataclass
class HandTracker:
    """The hands of one video, frame after frame.

    A hand is looked for where it was in the frame before; the palm detector runs only
    where none is in sight, where one was lost, and now and then for hands that come in.
    """

    detector: HandDetector
    tracks: list[Track] = field(default_factory=list)
    _count: int = 0
    _since_detection: int = LOOK_AGAIN

    def step(self, image: UInt8[np.ndarray, "height width 3"]) -> list[FoundHand]:
        """The hands in the next frame; each one's `track` is its identity."""
        # 1. Where they were
        for track in self.tracks:
            hand = self.detector.landmarks(image, next_box(track.hand.joints_px))
            if hand is not None:
                track.take(hand)
            else:
                track.missed += 1
        self._drop_doubles()

        # 2. The detector, where it may find more
        lost = any(track.missed == 1 for track in self.tracks)
        wait = LOOK_AGAIN if self.tracks else SEARCH
        self._since_detection += 1
        if lost or self._since_detection > wait:
            self._since_detection = 0
            self._detect(image)
        self.tracks = [track for track in self.tracks if track.missed <= KEEP]
        return [track.hand for track in self.tracks]

    def _detect(self, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """New hands, and lost ones found again."""
        # A second look takes five times as long: only where nothing is in sight.
        for hand in self.detector.find(image, second_look=not self.tracks):
            track = self._track_at(hand)
            if track is None:
                self._count += 1
                track = Track(self._count, hand)
                self.tracks.append(track)
            elif track.missed == 0:
                continue
            track.take(hand)

    def _track_at(self, hand: FoundHand) -> Track | None:
        """The track that this hand continues: in about the same place."""
        if not self.tracks:
            return None
        # A lost hand may have moved on since it was seen: less overlap is enough.
        boxes = np.stack([tight_xywh(track.hand) for track in self.tracks])
        overlap = box_overlap(tight_xywh(hand), boxes)
        best = int(overlap.argmax())
        near = overlap[best] > (0.1 if self.tracks[best].missed else 0.3)
        return self.tracks[best] if near else None

    def _drop_doubles(self) -> None:
        """Of two tracks that have come to the same hand the older one stays."""
        kept: list[Track] = []
        for track in sorted(
            self.tracks, key=lambda track: (track.missed, track.number)
        ):
            boxes = [tight_xywh(other.hand) for other in kept]
            overlap = box_overlap(tight_xywh(track.hand), np.reshape(boxes, (-1, 4)))
            if (overlap < SAME_HAND + 0.2).all():
                kept.append(track)
        self.tracks = sorted(kept, key=lambda track: track.number)


class OneEuro:
    """The One-Euro filter (Casiez et al., CHI 2012) on an array, element by element.

    A low-pass filter whose cutoff grows with speed: little jitter at rest, little lag
    in motion.

    Args:
        min_cutoff_hz: cutoff at rest; lower is smoother.
        beta: growth of the cutoff with speed, in Hz per (unit per second); higher
            follows fast motion more closely.
    """

    def __init__(self, min_cutoff_hz: float = MIN_CUTOFF_HZ, beta: float = BETA):
        if not (min_cutoff_hz > 0 and beta >= 0):
            raise ValueError(
                f"One-Euro filter: min_cutoff_hz {min_cutoff_hz} must be above 0 "
                f"and beta {beta} must not be negative"
            )
        self.min_cutoff_hz = min_cutoff_hz
        self.beta = beta
        self._value: np.ndarray | None = None
        self._speed: np.ndarray | None = None
        self._time_s = 0.0

    def __call__(
        self, value: Float[np.ndarray, "..."], time_s: float
    ) -> Float[np.ndarray, "..."]:
        """The smoothed value at a time later than the last."""
        step_s = time_s - self._time_s
        self._time_s = time_s
        if self._value is None or self._speed is None or not step_s > 0:
            self._value = np.array(value, float)
            self._speed = np.zeros_like(self._value)
            return self._value.copy()

        # 1. The smoothed speed; a joint has one cutoff for all its coordinates
        speed = (value - self._value) / step_s
        weight = _weight(DERIVATIVE_CUTOFF_HZ, step_s)
        self._speed = weight * speed + (1 - weight) * self._speed
        magnitude = np.linalg.norm(self._speed, axis=-1, keepdims=True)

        # 2. The value, with a cutoff by that speed
        cutoff = self.min_cutoff_hz + self.beta * magnitude
        weight = _weight(cutoff, step_s)
        self._value = weight * value + (1 - weight) * self._value
        return self._value.copy()


def _weight(
    cutoff_hz: float | Float[np.ndarray, "..."], step_s: float
) -> float | Float[np.ndarray, "..."]:
    """The newest value's weight in an exponential filter of that cutoff."""
    ratio = 2 * math.pi * cutoff_hz * step_s
    return ratio / (ratio + 1)


def smoothed_sequence(
    values: Float[np.ndarray, "frames ..."],
    times_s: Float[np.ndarray, "frames"],
    min_cutoff_hz: float = MIN_CUTOFF_HZ,
    beta: float = BETA,
) -> Float[np.ndarray, "frames ..."]:
    """A whole sequence through one filter."""
    one_euro = OneEuro(min_cutoff_hz, beta)
    smooth = [one_euro(v, float(t)) for v, t in zip(values, times_s, strict=True)]
    return np.stack(smooth)

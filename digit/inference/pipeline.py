"""From files to records: reading, detection and the network at work side by side.

    read_sources → find hands (followed in a video) → crops, network → records

The first two stages have a thread each, the network runs in the caller's. The command
`digit predict` and `predict_files` come here.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from digit.data.photo_tree import annotated_box
from digit.inference.assembly import PredictOptions, Smoother, picture_record
from digit.inference.background import in_background
from digit.inference.crops import (
    Crop,
    NetworkEstimate,
    cut_crop,
    estimate,
    joints_in_picture,
)
from digit.inference.detection import FoundCrop, HandDetector, crops_of
from digit.inference.landmark_method import from_landmarks
from digit.inference.records import PictureRecord
from digit.inference.sources import (
    Failure,
    Picture,
    Source,
    expand_inputs,
    read_sources,
)
from digit.inference.tracking import HandTracker
from digit.paths import DETECTOR_DIR

WAITING = 4  # pictures between two stages
LANDMARK_CROP_PX = 224  # size of the crops that records of the method "mediapipe" carry


@dataclass
class Found:
    """A picture and the boxes that go through the network."""

    picture: Picture
    crops: list[FoundCrop]


def predict_files(
    inputs: Sequence[str | Path],
    network: torch.nn.Module | None = None,
    options: PredictOptions | None = None,
) -> Iterator[PictureRecord | Failure]:
    """Predict the hands of photos, folders, patterns and videos.

    Args:
        inputs: files, folders or patterns such as `photos/*.jpg`.
        network: a network in evaluation mode; None for the method "mediapipe".
        options: see `PredictOptions`; by default hands are found.

    Yields:
        A record for each picture or frame, in order, as it is ready; a failure for each
        input, picture or video that cannot be read.

    Example:
        >>> for record in digit.predict_files(["photos"], digit.load_network()):
        ...     print(record)
    """
    sources, failures = expand_inputs(inputs)
    yield from failures
    yield from predict_sources(sources, network, options or PredictOptions())


def predict_sources(
    sources: Sequence[Source],
    network: torch.nn.Module | None,
    options: PredictOptions,
    open_detector: Callable[[], HandDetector] | None = None,
) -> Iterator[PictureRecord | Failure]:
    """Records of all pictures of the sources, in order.

    Args:
        sources: from `expand_inputs`.
        network: None for the method "mediapipe".
        options: what is asked for.
        open_detector: makes the hand detector in the thread that uses it; by default
            from the shipped files.

    Yields:
        A record for each picture, a failure for each that cannot be read.

    Raises:
        ValueError: if the method "small" has no network.
    """
    if network is None and options.method != "mediapipe":
        raise ValueError(f"the method {options.method!r} needs a network")
    if options.method == "mediapipe":
        network = None
    make = open_detector or (lambda: HandDetector(DETECTOR_DIR))
    pictures = in_background(read_sources(sources), WAITING)
    found = in_background(find_crops(pictures, make, options), WAITING)
    try:
        yield from _records(found, network, options)
    finally:
        found.close()


def predict_picture(
    picture: Picture, network: torch.nn.Module, options: PredictOptions
) -> PictureRecord:
    """The record of a picture that is at hand.

    Args:
        picture: a photo, or a frame of a video.
        network: in evaluation mode.
        options: what is asked for.

    Raises:
        ValueError: if the box of the options does not fit the picture.
    """

    def alone() -> Iterator[Picture]:
        yield picture

    found = find_crops(alone(), lambda: HandDetector(DETECTOR_DIR), options)
    [result] = _records(found, network, options)
    if isinstance(result, Failure):
        raise ValueError(result.reason)
    return result


def find_crops(
    pictures: Iterator[Picture | Failure],
    open_detector: Callable[[], HandDetector],
    options: PredictOptions,
) -> Iterator[Found | Failure]:
    """The boxes of each picture; in a video hands are followed from frame to frame."""
    box_is_given = options.bbox_xywh is not None
    follower: VideoFollower | None = None
    detector: HandDetector | None = None
    try:
        for picture in pictures:
            if isinstance(picture, Failure):
                yield picture
                continue
            # A given box needs no detector, and its score does without in a video.
            is_frame = picture.frame is not None
            if box_is_given and is_frame and options.method == "small":
                bbox = np.array(options.bbox_xywh, float)
                yield Found(picture, [FoundCrop(bbox, ())])
                continue
            detector = detector or open_detector()
            if box_is_given or not is_frame:
                yield Found(picture, _crops_of_photo(picture, detector, options))
                continue
            if follower is None or follower.source != picture.source:
                follower = VideoFollower(picture.source, detector)
            yield Found(picture, follower.crops(picture))
    finally:
        pictures.close()


class VideoFollower:
    """The hands of one video and how they are grouped into crops."""

    def __init__(self, source: str, detector: HandDetector):
        self.source = source
        self._tracker = HandTracker(detector)
        self._together: list[frozenset[int]] = []

    def crops(self, picture: Picture) -> list[FoundCrop]:
        """The crops of the next frame; pairs stay pairs until they are well apart."""
        crops = crops_of(self._tracker.step(picture.image), self._together)
        self._together = [
            frozenset(hand.track for hand in crop.hands)
            for crop in crops
            if len(crop.hands) == 2
        ]
        return crops


def _crops_of_photo(
    picture: Picture, detector: HandDetector, options: PredictOptions
) -> list[FoundCrop]:
    """The crops of a photo, or the given box with the hands in it."""
    box_is_given = options.bbox_xywh is not None
    # In a given box the hands only serve the score: one look is enough.
    hands = detector.find(picture.image, second_look=not box_is_given)
    if not box_is_given:
        return crops_of(hands)
    bbox = np.array(options.bbox_xywh, float)
    centers = [hand.joints_px.mean(0) - bbox[:2] for hand in hands]
    inside = [
        hand
        for hand, center in zip(hands, centers, strict=True)
        if ((center > 0) & (center < bbox[2:])).all()
    ]
    return [FoundCrop(bbox, tuple(inside[:2]))]


def _records(
    found: Iterator[Found | Failure],
    network: torch.nn.Module | None,
    options: PredictOptions,
) -> Iterator[PictureRecord | Failure]:
    """Crops through the network in batches; records in the order of the pictures."""
    writer = _RecordMaker(options)
    for items in _batches(found, options.batch_size):
        for item, crops, estimates in _through_network(items, network, options):
            if isinstance(item, Failure):
                yield item
            else:
                yield writer.record(item, crops, estimates)


class _RecordMaker:
    """Makes the records of successive pictures, with the smoothing of their video."""

    def __init__(self, options: PredictOptions):
        self._options = options
        self._source: str | None = None
        self._smoother: Smoother | None = None

    def record(
        self, item: Found, crops: list[Crop], estimates: list[NetworkEstimate]
    ) -> PictureRecord:
        # A new video starts with new filters.
        picture = item.picture
        if picture.source != self._source:
            self._source = picture.source
            self._smoother = None
            if picture.frame is not None and self._options.smoothing is not None:
                self._smoother = Smoother(*self._options.smoothing)
        return picture_record(
            picture=picture,
            found=item.crops,
            crops=crops,
            estimates=estimates,
            smoother=self._smoother,
            options=self._options,
        )


def _batches(
    found: Iterator[Found | Failure], batch_size: int
) -> Iterator[list[Found | Failure]]:
    """Pictures until they have enough crops; the first alone, to be seen soon."""
    waiting: list[Found | Failure] = []
    count = 0
    wanted = 1
    for item in found:
        waiting.append(item)
        count += 0 if isinstance(item, Failure) else len(item.crops)
        if count >= wanted or len(waiting) >= 2 * wanted:
            yield waiting
            waiting = []
            count = 0
            wanted = batch_size
    if waiting:
        yield waiting


def _through_network(
    items: Sequence[Found | Failure],
    network: torch.nn.Module | None,
    options: PredictOptions,
) -> Iterator[tuple[Found | Failure, list[Crop], list[NetworkEstimate]]]:
    """Each item with its crops and what is said of them; all crops in one batch."""
    # 1. The crops; a box that does not fit its picture makes that picture a failure
    size = LANDMARK_CROP_PX if network is None else network.image_size
    checked: list[Found | Failure] = []
    crops: list[list[Crop]] = []
    for item in items:
        cut: list[Crop] = []
        if isinstance(item, Found):
            image = item.picture.image
            try:
                cut = [cut_crop(image, box.bbox_xywh, size) for box in item.crops]
            except ValueError as error:
                source = item.picture.source
                item = Failure(source, f"{source}: {error}")
        checked.append(item)
        crops.append(cut)

    # 2. The network, or the landmark model's answer in its place
    if network is not None:
        estimates = estimate(network, [crop for cut in crops for crop in cut])
    else:
        estimates = [
            from_landmarks(box.hands, crop)
            for item, cut in zip(checked, crops, strict=True)
            if isinstance(item, Found)
            for box, crop in zip(item.crops, cut, strict=True)
        ]

    # 3. Back to the pictures
    first = 0
    of_item: list[list[NetworkEstimate]] = []
    for cut in crops:
        of_item.append(estimates[first : first + len(cut)])
        first += len(cut)
    if network is not None and options.bbox_xywh is None:
        _cut_around_both(checked, crops, of_item, network)
    yield from zip(checked, crops, of_item, strict=True)


def _cut_around_both(
    items: Sequence[Found | Failure],
    crops: list[list[Crop]],
    estimates: list[list[NetworkEstimate]],
    network: torch.nn.Module,
) -> None:
    """Predict again, around both hands, where the detector has found one of a photo's two.

    The detector often misses a hand that touches another. Where the network sees two
    hands in the crop of one, the crop is cut again around the joints of both; what it
    says then counts if it still sees two. Lists are changed in place.
    """
    # 1. The crops to cut again; in a video the tracker looks for the other hand
    again: list[tuple[int, int, Crop]] = []
    for number, item in enumerate(items):
        if isinstance(item, Failure) or item.picture.frame is not None:
            continue
        pairs = zip(item.crops, crops[number], estimates[number], strict=True)
        for place, (box, crop, guess) in enumerate(pairs):
            if len(box.hands) == 1 and (guess.hand_type > 0.5).all():
                both = annotated_box(joints_in_picture(guess.joints_25d, crop))
                # A box that does not fit the picture is no better one.
                with contextlib.suppress(ValueError):
                    wider = cut_crop(item.picture.image, both, network.image_size)
                    again.append((number, place, wider))

    # 2. What the network says of them
    guesses = estimate(network, [crop for _, _, crop in again])
    for (number, place, crop), guess in zip(again, guesses, strict=True):
        if (guess.hand_type > 0.5).all():
            crops[number][place] = crop
            estimates[number][place] = guess

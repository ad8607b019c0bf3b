"""A picture's record from its crops and what the network says of them.

Joints go back to the picture, are smoothed in a video, placed before the camera and
scored. Called by `digit.inference.pipeline`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from digit.geometry import cells_to_depth, depth_to_cells
from digit.inference.confidence import Clues, box_warnings, clues_of, score
from digit.inference.crops import (
    Crop,
    NetworkEstimate,
    joints_in_cells,
    joints_in_picture,
)
from digit.inference.detection import FoundCrop, FoundHand
from digit.inference.landmark_method import landmark_sides
from digit.inference.placement import (
    FIELD_OF_VIEW_DEG,
    HAND_LENGTH_MM,
    Lens,
    implausible,
    joints_at_depth,
    joints_from_hand_length,
    lens_of,
    palm_length_mm,
)
from digit.inference.records import CropRecord, HandRecord, PictureRecord
from digit.inference.sources import Picture
from digit.inference.tracking import BETA, MIN_CUTOFF_HZ, OneEuro
from digit.skeleton import HEATMAP_CELLS, JOINTS_PER_HAND, SIDES, WRISTS

Method = Literal["small", "mediapipe"]

BATCH = 8  # crops that go through the network together
BOX_IN_CROP = 1 / 1.25  # sides of the box and of the evaluation crop
FAR_OFF = 9.0  # distance that stands for "a hand of the other side", in crop sides
SAME_PLACE = 0.2  # two hands' centres, in crop sides; by eye
ASSUMED_RATE = 30.0  # frames/s of a video without times
HANDS = (slice(0, JOINTS_PER_HAND), slice(JOINTS_PER_HAND, 2 * JOINTS_PER_HAND))


@dataclass(frozen=True)
class PredictOptions:
    """What is asked for.

    Attributes:
        method: "small" for the network, "mediapipe" for the landmark model alone.
        bbox_xywh: one box (px) for every picture; hands are found where it is None.
        lens: the camera; by EXIF or by an assumed field of view where it is None.
        wrist_depth_mm: depth of the right wrist, of the left one where no right hand is
            seen; by the hand's length where it is None.
        hand_length_mm: wrist to the middle finger's tip, stretched.
        hands_present: whether there is a right and a left hand, where that is known;
            the network decides where it is None.
        field_of_view_deg: across the longer side, where nothing tells the focal length.
        smoothing: the One-Euro filter's lowest cutoff (Hz) and beta, for videos; None
            leaves every frame as it is.
        keep_pixels: whether records carry their picture, for drawing.
        contradictions: whether the joints' meshes are compared with the part map.
        batch_size: crops that go through the network together.
    """

    method: Method = "small"
    bbox_xywh: tuple[float, float, float, float] | None = None
    lens: Lens | None = None
    wrist_depth_mm: float | None = None
    hand_length_mm: float = HAND_LENGTH_MM
    hands_present: tuple[bool, bool] | None = None
    field_of_view_deg: float = FIELD_OF_VIEW_DEG
    smoothing: tuple[float, float] | None = (MIN_CUTOFF_HZ, BETA)
    keep_pixels: bool = False
    contradictions: bool = False
    batch_size: int = BATCH


@dataclass
class Smoother:
    """The filters of one video, one for each quantity of each hand."""

    min_cutoff_hz: float
    beta: float
    filters: dict[tuple, OneEuro] = field(default_factory=dict)
    units: dict[tuple, float] = field(default_factory=dict)

    def smooth(
        self, key: tuple, value: Float[np.ndarray, "n d"], unit: float, time_s: float
    ) -> Float[np.ndarray, "n d"]:
        """The smoothed value of one quantity.

        Args:
            key: whose quantity it is.
            value: in the newest frame.
            unit: what the filter measures in; the first one of a key is kept, so that a
                box that grows does not look like motion.
            time_s: of the frame.
        """
        if key not in self.filters:
            self.filters[key] = OneEuro(self.min_cutoff_hz, self.beta)
            self.units[key] = max(unit, 1e-6)
        kept = self.units[key]
        return self.filters[key](value / kept, time_s) * kept


@dataclass
class CropJoints:
    """A crop's joints on their way into a record."""

    joints_px: Float[np.ndarray, "42 2"]
    depth_mm: Float[np.ndarray, "42"]  # behind the own wrist
    relative_root_depth_mm: float
    joints_25d: Float[np.ndarray, "42 3"]


def picture_record(
    picture: Picture,
    found: Sequence[FoundCrop],
    crops: Sequence[Crop],
    estimates: Sequence[NetworkEstimate],
    smoother: Smoother | None,
    options: PredictOptions,
) -> PictureRecord:
    """Everything about one picture.

    Args:
        picture: the picture.
        found: the boxes with the hands that the landmark model sees in them.
        crops: their crops.
        estimates: what the network says of each.
        smoother: of the video, None for a photo.
        options: what is asked for.
    """
    # 1. The camera, where none is given
    height, width = picture.image.shape[:2]
    lens = options.lens
    if lens is None:
        angle = options.field_of_view_deg
        lens = lens_of(width, height, picture.focal_px, angle)
    # 2. The crops
    records = [
        _crop_record(picture, box, crop, guess, lens, smoother, options)
        for box, crop, guess in zip(found, crops, estimates, strict=True)
    ]
    # 3. What else is to be said of the picture
    warnings = list(picture.notes)
    if not records:
        warnings.append("no hand found")
    distance = f"by a hand of {options.hand_length_mm:g} mm"
    if options.wrist_depth_mm is not None:
        distance = "given"
    return PictureRecord(
        image=picture.source,
        width=width,
        height=height,
        method=options.method,
        crops=records,
        camera={
            "focal_px": [round(v, 3) for v in lens.focal_px],
            "princpt_px": [round(v, 3) for v in lens.princpt_px],
            "source": lens.source,
            "distance": distance,
        },
        frame=picture.frame,
        time_s=picture.time_s,
        warnings=warnings,
        pixels=picture.image if options.keep_pixels else None,
    )


def _crop_record(
    picture: Picture,
    found: FoundCrop,
    crop: Crop,
    guess: NetworkEstimate,
    lens: Lens,
    smoother: Smoother | None,
    options: PredictOptions,
) -> CropRecord:
    """One crop's hands: smoothed, placed before the camera, scored."""
    if options.hands_present is not None:
        known = np.array(options.hands_present, float)
        guess = replace(guess, hand_type=known)
    seen = guess.hand_type > 0.5
    landmarks = landmark_sides(found.hands)
    tracks = _tracks(seen, landmarks)

    # 1. Joints in the picture, smoothed
    joints = CropJoints(
        joints_px=joints_in_picture(guess.joints_25d, crop),
        depth_mm=cells_to_depth(guess.joints_25d[:, 2]),
        relative_root_depth_mm=guess.relative_root_depth_mm,
        joints_25d=guess.joints_25d,
    )
    if smoother is not None:
        _smooth(joints, crop, tracks, picture, smoother)

    # 2. Millimetres
    joints_mm = _placed(joints, guess.hand_type, lens, options)

    # 3. Hands, scores and warnings
    joints_crop = crop.crop_share(joints.joints_px)
    warnings = []
    if options.method == "small":
        warnings += box_warnings(
            parts=guess.parts,
            edges_inside=crop.edges_inside,
            joints_crop=joints_crop,
            seen=seen,
            box_share=BOX_IN_CROP,
        )
    hands = []
    for side in np.flatnonzero(seen).tolist():
        hand_mm = joints_mm[HANDS[side]]
        track = tracks[side]
        clues, trust = _trust(side, joints_crop, guess, crop, landmarks, options)
        hand = HandRecord(
            side=SIDES[side],
            probability=float(guess.hand_type[side]),
            score=trust,
            clues=clues,
            joints_px=joints.joints_px[HANDS[side]],
            joints_cam_mm=hand_mm,
            track=track if isinstance(track, int) else None,
            palm_mm=palm_length_mm(hand_mm),
            wrist_distance_mm=float(joints_mm[WRISTS[side], 2]),
        )
        hands.append(hand)
        warnings += [
            f"{SIDES[side]} hand: {text}" for text in implausible(hand_mm, lens)
        ]
    # 4. Joints against parts, which costs more time than all the rest
    contradiction = None
    if options.method == "small" and options.contradictions:
        contradiction = _contradiction(guess, crop, lens)
    return CropRecord(
        bbox_xywh=crop.bbox_xywh,
        hand_type=guess.hand_type,
        joints_px=joints.joints_px,
        joints_25d=joints.joints_25d,
        relative_root_depth_mm=joints.relative_root_depth_mm,
        hands=hands,
        joints_cam_mm=joints_mm,
        contradiction=contradiction,
        warnings=warnings,
        image=crop.pixels,
        parts=guess.parts,
    )


def _contradiction(guess: NetworkEstimate, crop: Crop, lens: Lens) -> float | None:
    """How much the joints of a crop contradict its parts; None where no hand is."""
    # Here, since these imports take twice as long as all of `digit predict`.
    from digit.evaluation.contradiction import Views, find_contradictions
    from digit.hands.model import generic_hands

    to_picture = crop.to_picture.copy()
    to_picture[:, :2] *= len(crop.pixels) / HEATMAP_CELLS
    relative_mm = torch.tensor([guess.relative_root_depth_mm], dtype=torch.float64)
    found = find_contradictions(
        generic_hands(),
        joints_25d=torch.from_numpy(guess.joints_25d)[None],
        relative_root_depth=depth_to_cells(relative_mm),
        hand_type=torch.from_numpy(guess.hand_type)[None],
        labels=guess.parts[None],
        views=Views(
            cells_to_image=torch.from_numpy(to_picture)[None],
            focal=torch.tensor([lens.focal_px], dtype=torch.float64),
            princpt=torch.tensor([lens.princpt_px], dtype=torch.float64),
        ),
    )
    score = float(found.score[0])
    return None if np.isnan(score) else score


def _tracks(
    seen: Bool[np.ndarray, "2"], landmarks: dict[int, FoundHand]
) -> dict[int, int | str]:
    """An identity for each side that is seen: the track of the hand there.

    A side that the landmark model does not see has a name of its own, so that its
    filter goes on from frame to frame.
    """
    tracks: dict[int, int | str] = {}
    for side in np.flatnonzero(seen).tolist():
        # One hand and one track belong together, whatever the sides are called.
        hand = landmarks.get(side)
        if hand is None and len(landmarks) == 1 and seen.sum() == 1:
            hand = landmarks.get(1 - side)
        if hand is not None and hand.track is not None:
            tracks[side] = hand.track
        else:
            others = [str(other.track) for other in landmarks.values()]
            tracks[side] = f"{SIDES[side]} beside {' '.join(others)}"
    return tracks


def _smooth(
    joints: CropJoints,
    crop: Crop,
    tracks: dict[int, int | str],
    picture: Picture,
    smoother: Smoother,
) -> None:
    """Smooth a crop's joints in place, hand by hand."""
    side_px = float(crop.bbox_xywh[2:].max())
    time_s = picture.time_s
    if time_s is None:
        time_s = (picture.frame or 0) / ASSUMED_RATE
    # 1. Each hand, in the picture and in depth
    for side, track in tracks.items():
        hand = HANDS[side]
        key = (track, side)
        flat_px = joints.joints_px[hand]
        joints.joints_px[hand] = smoother.smooth((*key, "px"), flat_px, side_px, time_s)
        depth = joints.depth_mm[hand, None]
        smooth_mm = smoother.smooth((*key, "mm"), depth, HAND_LENGTH_MM, time_s)
        joints.depth_mm[hand] = smooth_mm[:, 0]
    # 2. The wrists' relative depth, of a pair
    if len(tracks) == 2:
        key = (tracks[0], tracks[1], "root")
        root = np.array([[joints.relative_root_depth_mm]])
        smooth_root = smoother.smooth(key, root, HAND_LENGTH_MM, time_s)
        joints.relative_root_depth_mm = float(smooth_root[0, 0])
    joints.joints_25d = joints_in_cells(joints.joints_px, joints.depth_mm, crop)


def _placed(
    joints: CropJoints,
    hand_type: Float[np.ndarray, "2"],
    lens: Lens,
    options: PredictOptions,
) -> Float[np.ndarray, "42 3"]:
    """Joints in the camera frame, by the given wrist depth or by the hand's length."""
    if options.wrist_depth_mm is not None:
        return joints_at_depth(
            joints_px=joints.joints_px,
            relative_depth_mm=joints.depth_mm,
            relative_root_depth_mm=joints.relative_root_depth_mm,
            hand_type=hand_type,
            lens=lens,
            wrist_depth_mm=options.wrist_depth_mm,
        )
    return joints_from_hand_length(
        joints_px=joints.joints_px,
        relative_depth_mm=joints.depth_mm,
        relative_root_depth_mm=joints.relative_root_depth_mm,
        hand_type=hand_type,
        lens=lens,
        hand_length_mm=options.hand_length_mm,
    )


def _trust(
    side: int,
    joints_crop: Float[np.ndarray, "42 2"],
    guess: NetworkEstimate,
    crop: Crop,
    landmarks: dict[int, FoundHand],
    options: PredictOptions,
) -> tuple[Clues | None, float]:
    """What speaks for a hand's joints and the score, see `confidence`.

    Of the landmark model alone it is the model's own probability of hand and side.
    """
    hand = landmarks.get(side)
    if options.method == "mediapipe":
        sure = hand.presence * hand.side_probability if hand is not None else 0.0
        return None, sure
    others = None
    joints = joints_crop[HANDS[side]]
    if hand is not None:
        others = crop.crop_share(hand.joints_px)
    elif any(_same_place(joints, crop, other) for other in landmarks.values()):
        others = np.full((JOINTS_PER_HAND, 2), FAR_OFF)
    clues = clues_of(
        side=side,
        joints_crop=joints,
        entropy_nats=guess.entropy_nats[HANDS[side]],
        heatmap_cells=guess.heatmap_cells,
        parts=guess.parts,
        landmarks_crop=others,
    )
    return clues, score(clues)


def _same_place(
    joints_crop: Float[np.ndarray, "21 2"], crop: Crop, hand: FoundHand
) -> bool:
    """Whether the landmark model sees a hand where these joints are."""
    apart = joints_crop.mean(0) - crop.crop_share(hand.joints_px).mean(0)
    return bool(np.linalg.norm(apart) < SAME_PLACE)

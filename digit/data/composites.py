"""Composites: a hand cut out of a photograph, laid over another hand, as training frames.

They show two hands that touch or overlap in real pictures, which photographs labelled by a
detector hardly ever do. `digit.training.data` adds them to a run that asks for them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch.utils.data import Dataset

from digit import geometry
from digit.data import cut_outs
from digit.data.dataset import Batch, FrameLabels, InterHandDataset, tight_boxes
from digit.data.index import Index
from digit.skeleton import HAND_TYPE_FLAGS, JOINT_WRIST, SWAP_JOINTS

# What the hand is laid over: its own mirror image, another cut hand's picture, or else
# a frame of the data set that the composites accompany.
OWN_MIRROR, ANOTHER_PHOTO = 0.35, 0.4
ROOM = 0.45  # border beyond the upper hand's middle, in sides of the lower hand
# Tells the random numbers of composites from those of photographs, and those of what a
# composite shows from those of its crop.
COMPOSITE_STREAM = 2
CONTENT_STREAM = 3
NO_DEPTH_MM = 1000.0  # any depth will do where only relative ones count

# Ranges of the upper hand's place, chosen by eye; distances in sides of the lower hand.
TOUCHING = 0.6  # of the composites; the others lie further apart
TOUCHING_DISTANCE = (0.1, 0.65)
APART_DISTANCE = (0.65, 2.2)


class Picture(NamedTuple):
    """A picture of one or two hands with its labels."""

    image: UInt8[np.ndarray, "h w 3"]
    joints_px: Float[np.ndarray, "42 2"]
    relative_depth_mm: Float[np.ndarray, "42"]  # behind the own wrist
    joint_valid: Bool[np.ndarray, "42"]
    hand_type: Float32[np.ndarray, "2"]  # right, left
    cut_out: UInt8[np.ndarray, "h w"] | None = None  # soft mask of its one hand


def mirrored(picture: Picture) -> Picture:
    """The picture in the mirror: its right hand is then a left one."""
    last_column = picture.image.shape[1] - 1
    joints_px = picture.joints_px[SWAP_JOINTS] * [-1, 1] + [last_column, 0]
    cut_out = picture.cut_out
    return Picture(
        image=np.ascontiguousarray(picture.image[:, ::-1]),
        joints_px=joints_px,
        relative_depth_mm=picture.relative_depth_mm[SWAP_JOINTS],
        joint_valid=picture.joint_valid[SWAP_JOINTS],
        hand_type=picture.hand_type[::-1].copy(),
        cut_out=None if cut_out is None else np.ascontiguousarray(cut_out[:, ::-1]),
    )


def middle_and_side(picture: Picture) -> tuple[Float[np.ndarray, "2"], float]:
    """The middle of the tight box of a picture's joints, and the box's longer side (px)."""
    points = picture.joints_px[picture.joint_valid]
    low = points.min(0)
    high = points.max(0)
    return (low + high) / 2, float(max((high - low).max(), 4.0))


def lay_over(lower: Picture, upper: Picture, rng: np.random.Generator) -> Picture:
    """Lay the cut-out hand of one picture over the hand of another.

    Joints that become hidden keep their labels.

    Args:
        lower: A picture of one hand.
        upper: A picture of one hand of the other side, with its cut-out.
        rng: Where size, turn, place and shading come from.

    Returns:
        A picture of both hands, with room around the lower one.
    """
    # 1. Room around the lower hand.
    lower_middle, lower_side = middle_and_side(lower)
    offset = draw_offset(lower_side, rng)
    room = int(ROOM * lower_side + np.linalg.norm(offset))
    canvas = with_room(lower.image, room, rng)
    lower_px = lower.joints_px + room
    lower_middle = lower_middle + room

    # 2. Where the upper hand comes to lie.
    upper_middle, upper_side = middle_and_side(upper)
    scale = lower_side / upper_side * np.exp(rng.normal(0, 0.2))
    turn_deg = rng.normal(0, 35) if rng.random() < 0.7 else rng.uniform(-180, 180)
    target = lower_middle + offset
    affine = cv2.getRotationMatrix2D(upper_middle.tolist(), turn_deg, scale)
    affine[:, 2] += target - upper_middle

    # 3. Its colours, shadow and soft edge.
    size = canvas.shape[1::-1]
    matched = match_tone(upper, lower, rng)
    hand = cv2.warpAffine(matched, affine, size, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(upper.cut_out, affine, size).astype(np.float32) / 255
    canvas = with_shadow(canvas, cover, lower_side, rng)
    image = canvas * (1 - cover[..., None]) + hand * cover[..., None]

    # 4. The labels of both.
    of_upper = upper.joint_valid
    upper_px = upper.joints_px @ affine[:, :2].T + affine[:, 2]
    return Picture(
        image=image.clip(0, 255).astype(np.uint8),
        joints_px=np.where(of_upper[:, None], upper_px, lower_px),
        relative_depth_mm=np.where(
            of_upper, upper.relative_depth_mm, lower.relative_depth_mm
        ),
        joint_valid=lower.joint_valid | of_upper,
        hand_type=np.ones(2, np.float32),
    )


def draw_offset(side_px: float, rng: np.random.Generator) -> Float[np.ndarray, "2"]:
    """From the lower hand's middle to the upper one's, mostly near enough to touch."""
    near = rng.random() < TOUCHING
    distance = side_px * rng.uniform(*(TOUCHING_DISTANCE if near else APART_DISTANCE))
    direction = rng.uniform(-np.pi, np.pi)
    if rng.random() < 0.6:  # to the right or to the left
        direction = rng.choice((0.0, np.pi)) + rng.normal(0, 0.4)
    return distance * np.array([np.cos(direction), np.sin(direction)])


def with_room(
    image: UInt8[np.ndarray, "h w 3"], room: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A picture with a border: its edge drawn out, its mean colour, or black."""
    chance = rng.random()
    border = cv2.BORDER_REPLICATE if chance < 0.5 else cv2.BORDER_CONSTANT
    colour = image.mean((0, 1)) if chance < 0.8 else np.zeros(3)
    return cv2.copyMakeBorder(
        image, room, room, room, room, border, value=colour.tolist()
    )


def match_tone(
    upper: Picture, lower: Picture, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The upper picture, mostly with its hand's colour moved towards the lower hand's."""
    if lower.cut_out is None or rng.random() < 0.3:
        return upper.image
    of_upper = upper.image[upper.cut_out > 128]
    of_lower = lower.image[lower.cut_out > 128]
    if len(of_upper) < 50 or len(of_lower) < 50:
        return upper.image
    gain = (of_lower.mean(0) + 5) / (of_upper.mean(0) + 5)
    strength = rng.uniform(0.3, 1)
    matched = upper.image * (1 + strength * (gain - 1))
    return matched.clip(0, 255).astype(np.uint8)


def with_shadow(
    canvas: UInt8[np.ndarray, "h w 3"],
    cover: Float32[np.ndarray, "h w"],
    side_px: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"]:
    """In half of the composites, the soft shadow of the upper hand on what lies below."""
    if rng.random() < 0.5:
        return canvas
    shadow = cv2.GaussianBlur(
        cover, (0, 0), max(1.0, side_px * rng.uniform(0.02, 0.06))
    )
    down = int(0.03 * side_px)
    aside = int(rng.uniform(-0.03, 0.03) * side_px)
    shadow = np.roll(shadow, (down, aside), axis=(0, 1))
    return canvas * (1 - rng.uniform(0.1, 0.45) * shadow[..., None])


class CompositeFrames(Dataset):
    """Composites of the cut-out hands of data sets, as batches; no two alike.

    A position of the stream is epoch · len(self) + number of the cut-out, as for
    `InterHandDataset`; everything else about a composite follows from it and the seed.
    """

    def __init__(self, photos: Sequence[InterHandDataset], others: InterHandDataset):
        """Args:
        photos: Frames of data sets whose hands have been cut out, in the same crop size.
            Augmentation and seed of the composites are those of the first.
        others: Frames of which the single hands are laid under some of them. The depth
            weight of the composites is the lowest of all, as one may mix two data sets.

        Raises:
            ValueError: If no hand has been cut out.
        """
        self.photos = list(photos)
        self.others = others
        # Data set and row in it of every cut-out hand.
        rows = [cut_outs.rows_with_cut_outs(frames.index) for frames in self.photos]
        self.owners = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        self.rows = np.concatenate(rows)
        self.other_rows = cut_outs.single_hands(others.index)
        sources = [*self.photos, others] if len(self.other_rows) else self.photos
        self.depth_weight = min(frames.depth_weight for frames in sources)
        # Without the tight box as base, crops are those of an annotated box 1.2 times it.
        about_tight_box = self.photos[0].augmentation.about_tight_box
        self.box_scale = 1.0 if about_tight_box else 1.2 * 1.25
        if not len(self.rows):
            places = ", ".join(
                f"{frames.index.dataset_dir} ({frames.index.split})"
                for frames in self.photos
            )
            raise ValueError(
                f"{places}: no hand has been cut out; run digit prepare --cut-outs on it"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: Sequence[int]) -> Batch:
        """The composites at these positions of the stream; `row` numbers the photographs."""
        epochs, numbers = np.divmod(np.asarray(positions, np.int64), len(self))
        keys = [
            (self.photos[0].seed, epoch, number, COMPOSITE_STREAM)
            for epoch, number in zip(epochs.tolist(), numbers.tolist(), strict=True)
        ]
        pictures = [
            self.compose(number, np.random.default_rng((*key, CONTENT_STREAM)))
            for number, key in zip(numbers.tolist(), keys, strict=True)
        ]
        labels = labels_of(pictures)
        batch = self.photos[0].crop(
            labels,
            base_xywh=geometry.square_bbox(tight_boxes(labels), scale=self.box_scale),
            pictures=[picture.image for picture in pictures],
            masks=[None] * len(pictures),
            keys=keys,
            rows=self.rows[numbers],
        )
        depth_weight = torch.full_like(batch.depth_weight, self.depth_weight)
        return batch._replace(depth_weight=depth_weight)

    __getitems__ = batch

    def compose(self, number: int, rng: np.random.Generator) -> Picture:
        """One composite, of the cut-out of this number and a hand drawn at random."""
        upper = self.read_cut_out_hand(number)
        chance = rng.random()
        if chance < OWN_MIRROR:
            lower = mirrored(upper)
        elif chance < OWN_MIRROR + ANOTHER_PHOTO or not len(self.other_rows):
            lower = self.read_cut_out_hand(int(rng.integers(len(self))))
        else:
            row = int(rng.choice(self.other_rows))
            lower = read_picture(self.others, row, with_cut_out=False)
        if (lower.hand_type == upper.hand_type).all():
            lower = mirrored(lower)
        return lay_over(lower, upper, rng)

    def read_cut_out_hand(self, number: int) -> Picture:
        """The picture of the cut-out hand of this number."""
        frames = self.photos[self.owners[number]]
        return read_picture(frames, int(self.rows[number]), with_cut_out=True)


def read_picture(frames: InterHandDataset, row: int, with_cut_out: bool) -> Picture:
    """The picture and the labels of a frame that shows one hand."""
    index: Index = frames.index.take([row])
    valid = index["joint_valid"][0].astype(bool)
    joints_cam_mm = index["joints_cam_mm"][0]
    depth_mm = np.where(valid, joints_cam_mm[:, 2], 0)
    return Picture(
        image=frames.read_picture(index, 0),
        joints_px=np.where(valid[:, None], index["joints_px"][0], 0),
        relative_depth_mm=depth_mm - depth_mm[JOINT_WRIST],
        joint_valid=valid,
        hand_type=HAND_TYPE_FLAGS[index["hand_type"][0]],
        cut_out=cut_outs.read_cut_out(frames.index, row) if with_cut_out else None,
    )


def labels_of(pictures: Sequence[Picture]) -> FrameLabels:
    """The labels of pictures; the depth from wrist to wrist is unknown in all of them."""

    def stacked(name: str) -> torch.Tensor:
        return torch.tensor(np.stack([getattr(picture, name) for picture in pictures]))

    count = len(pictures)
    return FrameLabels(
        joints_px=stacked("joints_px").double(),
        depth_mm=stacked("relative_depth_mm").double() + NO_DEPTH_MM,
        annotated=stacked("joint_valid"),
        hand_type=stacked("hand_type").float(),
        hand_type_valid=torch.ones(count),
        root_depth_known=torch.zeros(count, dtype=torch.bool),
    )

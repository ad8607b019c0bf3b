"""How the crops of a batch vary: at random for training, or as one fixed view.

`digit.data.dataset` asks an `Augmentation` for every training batch, and a `View` when
`digit evaluate --views` measures how predictions change with the crop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor

from digit.data.appearance import GREY_WEIGHTS, change_appearance

Crop = UInt8[np.ndarray, "s s 3"]
BLACK = (0, 0, 0)


class CropDraw(NamedTuple):
    """Where the crops of b frames lie, relative to their base boxes, and their colour."""

    shift: Float64[Tensor, "b 2"]  # of the middle, in sides
    scale: Float64[Tensor, "b"]  # of the side
    rotation: Float64[Tensor, "b"]  # rad
    mirrored: Bool[Tensor, "b"]
    colour: Float64[Tensor, "b 3"]  # gain of each channel


class Border(NamedTuple):
    """What is seen beyond the edge of a picture."""

    mode: int  # of OpenCV
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Augmentation:
    """How far training crops vary; the paper's augmentation by default.

    With `widest_crop`, the base box is the square about the tight box of the joints, and
    the crop's side is log-uniform between `narrowest_crop` and `widest_crop` times the
    tight box's; else the base box is the evaluation crop and `scale` applies. `turned`
    and `appearance` are not in the paper either; both are shares of the crops.
    """

    translate: float = 0.15  # uniform, ± of the side
    scale: float = 0.25  # of the side, normal, clipped at one deviation
    rotation_deg: float = 45.0  # one deviation of a normal, clipped at `rotation_clip`
    rotation_probability: float = 0.6
    rotation_clip: float = 2.0
    flip: float = 0.5  # probability
    colour: float = 0.2  # uniform, ± per channel
    narrowest_crop: float = 1.0
    widest_crop: float = 0.0
    turned: float = 0.0  # share of crops turned by any angle
    appearance: float = 0.0  # share of crops whose look is changed

    @property
    def about_tight_box(self) -> bool:
        """Whether scales and shifts refer to the tight box instead of the evaluation crop."""
        return self.widest_crop > 0

    def draw(self, keys: Sequence[tuple[int, ...]]) -> CropDraw:
        """Draw the crops of some samples.

        Args:
            keys: A sample's (seed, epoch, row); its numbers follow from these alone.

        Returns:
            One draw a sample.
        """
        generators = [np.random.default_rng(key) for key in keys]
        uniform = torch.tensor(np.array([rng.random(7) for rng in generators]))
        normal = torch.tensor(np.array([rng.standard_normal(2) for rng in generators]))
        wide = torch.tensor(np.array([rng.random(3) for rng in generators]))

        # 1. Size and place.
        scale = 1 + self.scale * normal[:, 0].clamp(-1, 1)
        shift = self.translate * (2 * uniform[:, :2] - 1)
        if self.about_tight_box:
            ratio = self.widest_crop / self.narrowest_crop
            scale = self.narrowest_crop * ratio ** wide[:, 0]
            shift = shift * scale[:, None]  # in sides of the crop, not of the tight box

        # 2. Rotation.
        deviations = normal[:, 1].clamp(-self.rotation_clip, self.rotation_clip)
        angle_deg = deviations * self.rotation_deg
        angle_deg = angle_deg * (uniform[:, 2] < self.rotation_probability)
        any_angle_deg = 360 * wide[:, 2] - 180
        angle_deg = torch.where(wide[:, 1] < self.turned, any_angle_deg, angle_deg)

        return CropDraw(
            shift=shift,
            scale=scale,
            rotation=angle_deg.deg2rad(),
            mirrored=uniform[:, 3] < self.flip,
            colour=1 + self.colour * (2 * uniform[:, 4:] - 1),
        )

    def border(self, rng: np.random.Generator) -> Border:
        """Black beyond the picture's edge, as in evaluation; in changed crops not always."""
        if rng.random() >= self.appearance:
            return Border(cv2.BORDER_CONSTANT, BLACK)
        chance = rng.random()  # the shares were chosen by eye
        if chance < 0.5:
            return Border(cv2.BORDER_CONSTANT, BLACK)
        if chance < 0.75:
            colour = tuple(rng.integers(0, 256, 3).tolist())
            return Border(cv2.BORDER_CONSTANT, colour)
        return Border(cv2.BORDER_REPLICATE, BLACK)

    def paint(self, crop: Crop, rng: np.random.Generator) -> Crop:
        """Change the look of a share of the crops."""
        if rng.random() >= self.appearance:
            return crop
        return change_appearance(crop, rng)


NO_AUGMENTATION = Augmentation(
    translate=0.0,
    scale=0.0,
    rotation_deg=0.0,
    rotation_probability=0.0,
    rotation_clip=0.0,
    flip=0.0,
    colour=0.0,
)


@dataclass(frozen=True)
class View:
    """One fixed way to crop and colour every frame, for measuring what depends on it."""

    crop: float = 1.5  # side, in longer sides of the tight box
    turn_deg: float = 0.0
    grey: bool = False

    @property
    def about_tight_box(self) -> bool:
        """Views are always given relative to the tight box."""
        return True

    def draw(self, keys: Sequence[tuple[int, ...]]) -> CropDraw:
        """The same crop for every sample."""
        count = len(keys)
        like = {"size": (count,), "dtype": torch.float64}
        return CropDraw(
            shift=torch.zeros(count, 2, dtype=torch.float64),
            scale=torch.full(fill_value=self.crop, **like),
            rotation=torch.full(fill_value=self.turn_deg, **like).deg2rad(),
            mirrored=torch.zeros(count, dtype=torch.bool),
            colour=torch.ones(count, 3, dtype=torch.float64),
        )

    def border(self, rng: np.random.Generator) -> Border:
        """Black beyond the picture's edge."""
        return Border(cv2.BORDER_CONSTANT, BLACK)

    def paint(self, crop: Crop, rng: np.random.Generator) -> Crop:
        """The crop, without its colour if the view is grey."""
        if not self.grey:
            return crop
        return cv2.transform(crop, np.tile(GREY_WEIGHTS, (3, 1)))

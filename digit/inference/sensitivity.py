"""Why a network fails on a frame: its error when a little is changed.

`FrameProbe` covers a square, moves or scales the box, mirrors, and takes the colour away.
The failure browser shows the results as a map and as curves.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from digit import geometry
from digit.data.appearance import GREY_WEIGHTS
from digit.data.dataset import InterHandDataset, crop_boxes, frame_labels
from digit.data.index import Index
from digit.evaluation.ground_truth import BBOX_OF, RootDepth, read_ground_truth
from digit.evaluation.metrics import joint_errors, mean_over_valid
from digit.inference.flip_test import mirrored, unmirrored
from digit.model.network import Prediction

SCALES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5)  # of the box
SHIFTS = (-0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2)  # of its side
GREYS = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the colour that is taken away
SQUARE = 0.2  # side of the occluding square, of the crop's; by eye
IMAGES_AT_ONCE = 16

Progress = Callable[[int, int], object]  # images that are done, and all of them
Images = Float32[Tensor, "b 3 s s"]


class Curve(NamedTuple):
    """The error over the strength of a change."""

    name: str
    amounts: list[float]
    errors_mm: list[float]


class OcclusionMap(NamedTuple):
    """The error with a square over each place of the crop.

    Attributes:
        errors_mm: By row and column of the square's centre, which goes evenly over the
            crop.
        plain_mm: The error of the crop as it is.
    """

    errors_mm: Float[np.ndarray, "c c"]
    plain_mm: float


class FrameProbe:
    """A network and one frame whose picture and box are changed.

    Args:
        network: In evaluation mode; called as `digit.model.network.Digit` is.
        index: The frames of a data set.
        row: Which of them.
        root_depth: The source of wrist depths and boxes.

    Raises:
        ValueError, KeyError: If the frame's picture or box cannot be used.

    Example:
        >>> probe = FrameProbe(network, index, 3)
        >>> probe.occlusion_map(cells=12).errors_mm
    """

    def __init__(
        self,
        network: torch.nn.Module,
        index: Index,
        row: int,
        root_depth: RootDepth = "gt",
    ) -> None:
        self.network = network
        frame = index.take([row])
        bbox = BBOX_OF[root_depth]
        self._frame = frame
        self._crops = InterHandDataset(frame, network.image_size, bbox=bbox)
        self._picture = self._crops.read_picture(frame, 0)
        self._box = crop_boxes(frame, bbox)
        self._truth = read_ground_truth(frame, root_depth)
        self._image, self._crop_to_image = self._crop(self._box)
        self._plain_mm: float | None = None

    @property
    def plain_mm(self) -> float:
        """The error of the frame as it is: its MPJPE."""
        if self._plain_mm is None:
            [self._plain_mm] = self._errors_mm(self._image, self._crop_to_image)
        return self._plain_mm

    # Changes

    def occlusion_map(
        self, cells: int, square: float = SQUARE, progress: Progress | None = None
    ) -> OcclusionMap:
        """Slide a square in the picture's mean colour over the crop.

        Args:
            cells: Places along each axis; the network runs once for each of their
                square.
            square: Side of the square, of the crop's.
            progress: Called after each batch.
        """
        # 1. The squares, row by row
        size = self._image.shape[-1]
        side = max(1, round(square * size))
        color = self._image.mean((0, 2, 3))[:, None, None]
        centres = (np.arange(cells) + 0.5) * size / cells
        starts = np.round(centres - side / 2).astype(int)
        images = self._image.repeat(cells * cells, 1, 1, 1)
        for number, image in enumerate(images):
            top, left = starts[number // cells], starts[number % cells]
            image[:, max(0, top) : top + side, max(0, left) : left + side] = color

        # 2. The errors
        errors = self._errors_mm(images, self._crop_to_image, progress)
        return OcclusionMap(np.reshape(errors, (cells, cells)), self.plain_mm)

    def scaled_box(self, scales: Sequence[float] = SCALES) -> Curve:
        """Scale the box about its centre."""
        centre = self._box[:, :2] + self._box[:, 2:] / 2
        sides = self._box[:, 2:] * torch.tensor(scales).double()[:, None]
        boxes = torch.cat([centre - sides / 2, sides], -1)
        return self._curve("box scaled", scales, *self._crop(boxes))

    def moved_box(self, shifts: Sequence[float] = SHIFTS, axis: int = 0) -> Curve:
        """Move the box to the right (axis 0) or down (axis 1), by shares of its side."""
        boxes = self._box.repeat(len(shifts), 1)
        boxes[:, axis] += torch.tensor(shifts).double() * boxes[:, 2 + axis]
        name = "box moved down" if axis else "box moved to the right"
        return self._curve(name, shifts, *self._crop(boxes))

    def greyed(self, amounts: Sequence[float] = GREYS) -> Curve:
        """Take the colour away, from 0 (as it is) to 1 (grey)."""
        weights = torch.tensor(GREY_WEIGHTS)[:, None, None]
        grey = (self._image * weights).sum(1, keepdim=True)
        share = torch.tensor(amounts).float()[:, None, None, None]
        images = self._image * (1 - share) + grey * share
        return self._curve("colour taken away", amounts, images, self._crop_to_image)

    def mirrored_mm(self) -> float:
        """The error of the mirrored picture, its prediction mirrored back."""
        with torch.inference_mode():
            prediction = unmirrored(self.network(mirrored(self._image)))
        return self._measure(prediction, self._crop_to_image)[0]

    # Measuring

    def _crop(
        self, boxes: Float64[Tensor, "b 4"]
    ) -> tuple[Images, Float64[Tensor, "b 2 3"]]:
        """Crops of the frame by other boxes, and their affines into the picture."""
        count = len(boxes)
        labels = frame_labels(self._frame.take([0] * count))
        keys = [(0, 0, 0)] * count  # nothing is random
        pictures = [self._picture] * count
        masks = [None] * count
        batch = self._crops.crop(labels, boxes, pictures, masks, keys, [0] * count)
        return batch.images(), batch.crop_to_image

    def _curve(
        self,
        name: str,
        amounts: Sequence[float],
        images: Images,
        crop_to_image: Float64[Tensor, "#b 2 3"],
    ) -> Curve:
        errors = self._errors_mm(images, crop_to_image)
        return Curve(name, [float(amount) for amount in amounts], errors)

    @torch.inference_mode()
    def _errors_mm(
        self,
        images: Images,
        crop_to_image: Float64[Tensor, "#b 2 3"],
        progress: Progress | None = None,
    ) -> list[float]:
        """The MPJPE of each crop, as the error table has it; NaN without valid joints."""
        affines = crop_to_image.expand(len(images), -1, -1)
        errors = []
        for start in range(0, len(images), IMAGES_AT_ONCE):
            some = slice(start, start + IMAGES_AT_ONCE)
            errors += self._measure(self.network(images[some]), affines[some])
            if progress is not None:
                progress(len(errors), len(images))
        return errors

    def _measure(
        self, prediction: Prediction, crop_to_image: Float64[Tensor, "b 2 3"]
    ) -> list[float]:
        truth = self._truth
        predicted_mm = geometry.from_25d(
            prediction.joints_25d.double(),
            crop_to_image,
            truth.wrist_depth_mm.double(),
            truth.focal.double(),
            truth.princpt.double(),
            self._image.shape[-1],
        )
        true_mm = truth.joints_cam_mm.expand(len(predicted_mm), -1, -1)
        errors_mm = joint_errors(predicted_mm.float(), true_mm)
        valid = truth.joint_valid.expand(len(errors_mm), -1)
        return mean_over_valid(errors_mm, valid).tolist()

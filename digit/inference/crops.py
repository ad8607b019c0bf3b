"""Boxes of pictures as crops, and many crops through a network at once.

`digit.inference.predict` calls it with one box, `digit.inference.pipeline` with the
boxes of many pictures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, UInt8

from digit import geometry
from digit.evaluation.heatmaps import heatmap_entropy
from digit.skeleton import HEATMAP_CELLS

Picture = UInt8[np.ndarray, "height width 3"]

MIN_BOX_PX = 0.5  # by eye
# A box many times as large as the picture is a typing error; by eye.
MAX_BOX_OF_PICTURE = 20.0
# A crop shrunk further than this is averaged down before it is warped; by eye. All
# boxes of InterHand2.6M are above it, and are warped as in training.
MIN_SCALE_TO_WARP = 0.2
OPENCV_MAX_SIDE_PX = 2**15 - 1  # of a picture that warpAffine takes


@dataclass
class Crop:
    """The evaluation crop of a box."""

    bbox_xywh: Float[np.ndarray, "4"]
    pixels: UInt8[np.ndarray, "s s 3"]
    to_crop: Float[np.ndarray, "2 3"]  # from pixels of the picture
    to_picture: Float[np.ndarray, "2 3"]
    edges_inside: Bool[np.ndarray, "4"]  # top, right, bottom, left: inside the picture

    def crop_share(
        self, points_px: Float[np.ndarray, "n 2"]
    ) -> Float[np.ndarray, "n 2"]:
        """Points of the picture in [0, 1] of the crop."""
        moved = points_px @ self.to_crop[:, :2].T + self.to_crop[:, 2]
        return moved / len(self.pixels)


@dataclass
class NetworkEstimate:
    """What a network gives for one crop, in numpy."""

    hand_type: Float[np.ndarray, "2"]
    joints_25d: Float[np.ndarray, "42 3"]
    relative_root_depth_mm: float
    parts: UInt8[np.ndarray, "s s"]
    entropy_nats: Float[np.ndarray, "42"]
    heatmap_cells: int


def cut_crop(
    image: Picture,
    bbox_xywh: Sequence[float] | np.ndarray,
    size: int,
) -> Crop:
    """The evaluation crop of a box: square, ×1.25, resampled to the network's size.

    Args:
        image: RGB picture.
        bbox_xywh: Left, top, width and height, px.
        size: Of the crop, px.

    Raises:
        ValueError: If the image is no RGB picture, or the box is empty, outside the
            image or far too large.
    """
    check_box(bbox_xywh, image)
    bbox = np.array([float(v) for v in bbox_xywh])
    square = geometry.square_bbox(torch.from_numpy(bbox))
    to_crop = geometry.crop_affine(square, size)
    to_picture = geometry.invert_affine(to_crop).numpy()
    height, width = image.shape[:2]
    left, top, side, _ = square.tolist()
    inside = [top > 0, left + side < width, top + side < height, left > 0]
    pixels = _resample(image, to_crop.numpy(), size)
    return Crop(bbox, pixels, to_crop.numpy(), to_picture, np.array(inside))


@torch.inference_mode()
def estimate(network: torch.nn.Module, crops: Sequence[Crop]) -> list[NetworkEstimate]:
    """What a network says of crops, in one batch.

    Raises:
        ValueError: If the network's output is not finite, or it needs true parts.
    """
    if not crops:
        return []
    pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops]))
    images = pixels.permute(0, 3, 1, 2).float() / 255
    prediction = network(images.to(_device_of(network)))

    # 1. Numbers
    joints_25d = prediction.joints_25d.cpu().double()
    hand_type = prediction.hand_type_logits.cpu().double().sigmoid()
    relative_cells = prediction.relative_root_depth.cpu().double()
    numbers = torch.cat([joints_25d.flatten(), hand_type.flatten(), relative_cells])
    if not numbers.isfinite().all():
        raise ValueError(
            "the network's output is not finite: its weights are damaged; load others"
        )
    relative_mm = geometry.cells_to_depth(relative_cells).tolist()

    # 2. Maps: part labels at the crop's size, entropy of each heatmap
    labels = prediction.part_logits.argmax(1).byte().cpu()
    labels = labels.repeat_interleave(2, 1).repeat_interleave(2, 2).numpy()
    entropy = heatmap_entropy(prediction.heatmaps).cpu().numpy()
    return [
        NetworkEstimate(
            hand_type=hand_type[i].numpy(),
            joints_25d=joints_25d[i].numpy(),
            relative_root_depth_mm=relative_mm[i],
            parts=labels[i],
            entropy_nats=entropy[i],
            heatmap_cells=prediction.heatmaps.shape[-1],
        )
        for i in range(len(crops))
    ]


def joints_in_picture(
    joints_25d: Float[np.ndarray, "42 3"], crop: Crop
) -> Float[np.ndarray, "42 2"]:
    """2.5D joints in pixels of the picture."""
    crop_px = joints_25d[:, :2] / HEATMAP_CELLS * len(crop.pixels)
    return crop_px @ crop.to_picture[:, :2].T + crop.to_picture[:, 2]


def joints_in_cells(
    joints_px: Float[np.ndarray, "42 2"],
    relative_depth_mm: Float[np.ndarray, "42"],
    crop: Crop,
) -> Float[np.ndarray, "42 3"]:
    """Joints of the picture in cells of the crop."""
    cells = crop.crop_share(joints_px) * HEATMAP_CELLS
    return np.column_stack([cells, geometry.depth_to_cells(relative_depth_mm)])


def check_box(bbox_xywh: Sequence[float] | np.ndarray, image: Picture) -> None:
    """Raise ValueError for an image that is no RGB picture, or an impossible box."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"image is {image.dtype} of shape {image.shape}; give an RGB picture, "
            "uint8 of shape (height, width, 3)"
        )
    if len(bbox_xywh) != 4:
        raise ValueError(f"bbox_xywh has {len(bbox_xywh)} numbers; give x, y, w, h")
    x, y, w, h = bbox_xywh
    height, width = image.shape[:2]
    box = f"bbox_xywh {x:g},{y:g},{w:g},{h:g}"
    if not all(math.isfinite(v) for v in bbox_xywh) or min(w, h) < MIN_BOX_PX:
        raise ValueError(f"{box}: give x, y, width and height in px, above 0")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise ValueError(f"{box} lies outside the {width}×{height} image")
    if max(w, h) > MAX_BOX_OF_PICTURE * max(width, height):
        raise ValueError(
            f"{box} is over {MAX_BOX_OF_PICTURE:g} times as large as the "
            f"{width}×{height} image; give it in px of the image"
        )


def _device_of(network: torch.nn.Module) -> torch.device:
    """Where a network's weights are; the CPU for one that torch does not run."""
    weights = next(network.parameters(), None)
    return torch.device("cpu") if weights is None else weights.device


def _resample(
    image: Picture, affine: Float64[np.ndarray, "2 3"], size: int
) -> UInt8[np.ndarray, "s s 3"]:
    """Cut the crop of `size` px that an affine (image → crop pixel) maps to.

    A box far larger than the crop is averaged down first, since a warp only samples
    single pixels.
    """
    scale = affine[0, 0]
    shift = affine[:, 2]
    if scale > MIN_SCALE_TO_WARP and max(image.shape) < OPENCV_MAX_SIDE_PX:
        return cv2.warpAffine(image, affine, (size, size))

    # 1. The part of the image that the crop sees, with a margin of one crop pixel.
    margin = int(1 / scale)
    low = np.maximum(np.floor(-shift / scale) - margin, 0).astype(int)
    high = np.ceil((size - shift) / scale).astype(int) + margin
    patch = image[low[1] : high[1], low[0] : high[0]]

    # 2. Averaged over blocks of whole pixels, to about twice the crop's resolution.
    width_height = np.array(patch.shape[1::-1])
    block = np.maximum(1, np.minimum(0.5 / scale, width_height)).astype(int)
    blocks = width_height // block
    whole_width, whole_height = blocks * block
    small = cv2.resize(
        patch[:whole_height, :whole_width],
        (int(blocks[0]), int(blocks[1])),
        interpolation=cv2.INTER_AREA,
    )

    # 3. The affine from a block's centre to the crop.
    first_centre = low + (block - 1) / 2
    to_crop = np.column_stack([affine[:, :2] * block, shift + scale * first_centre])
    return cv2.warpAffine(small, to_crop, (size, size))

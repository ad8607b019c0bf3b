"""Predicting the hands of one image.

`predict` is what the photo editor, notebook 08 and Python users call; `predict_file`
serves the command line, with results as plain lists.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from digit import geometry
from digit.inference.photo import read_photo
from digit.plots import hands as hand_plots
from digit.skeleton import HEATMAP_CELLS, JOINTS, JOINTS_PER_HAND, SIDES

Picture = UInt8[np.ndarray, "height width 3"]

MIN_BOX_PX = 0.5  # by eye
# A box many times as large as the picture is a typing error; by eye.
MAX_BOX_OF_PICTURE = 20.0
# A crop shrunk further than this is averaged down before it is warped; by eye. All
# boxes of InterHand2.6M are above it, and are warped as in training.
MIN_SCALE_TO_WARP = 0.2
OPENCV_MAX_SIDE_PX = 2**15 - 1  # of a picture that warpAffine takes


class Estimate(NamedTuple):
    """The hands of one image. Both hands' joints are there, predicted or not.

    Attributes:
        hand_type: Probabilities of a right and of a left hand.
        joints_px: 42 joints in pixels of the image, right hand first.
        joints_25d: The same in heatmap units of the crop, z relative to the own wrist.
        joints_cam_mm: The same in the camera frame; None without camera and depth.
        relative_root_depth_mm: Depth of the left wrist minus the right wrist's.
        crop: The s×s crop that the network saw, RGB.
        parts: Its part labels, 0 background, 1–16 right hand, 17–32 left hand.
    """

    hand_type: Float[np.ndarray, "2"]
    joints_px: Float[np.ndarray, "42 2"]
    joints_25d: Float[np.ndarray, "42 3"]
    joints_cam_mm: Float[np.ndarray, "42 3"] | None
    relative_root_depth_mm: float
    crop: UInt8[np.ndarray, "s s 3"]
    parts: UInt8[np.ndarray, "s s"]

    def hands(self) -> list[str]:
        """The hands that are predicted: "right", "left", both or none."""
        sides = zip(SIDES, self.hand_type, strict=True)
        return [side for side, probability in sides if probability > 0.5]

    def figure(self) -> Figure:
        """The figure of `draw_hands`."""
        return draw_hands(self)


class Camera(NamedTuple):
    """A pinhole camera and how far away the (right, or only) wrist is."""

    focal: Float64[Tensor, "2"]  # px
    princpt: Float64[Tensor, "2"]  # px
    wrist_depth_mm: float


@torch.inference_mode()
def predict(
    network: torch.nn.Module,
    image: Picture | Path | str | bytes,
    bbox_xywh: Sequence[float],
    focal: Sequence[float] | None = None,
    princpt: Sequence[float] | None = None,
    wrist_depth_mm: float | None = None,
) -> Estimate:
    """Predict the hands in a box of an image.

    The box is made square about its centre and enlarged by 1.25, as in evaluation.

    Args:
        network: From `load_network`, or a `FlipTest` around it.
        image: RGB picture (height, width, 3), or a photo file's path or bytes.
        bbox_xywh: Left, top, width and height (px) of a box around the hands.
        focal: Focal lengths fx, fy (px).
        princpt: Principal point cx, cy (px).
        wrist_depth_mm: Absolute depth of the right wrist, or of the left one where only
            a left hand is predicted. With `focal` and `princpt` it gives joints in mm;
            give all three, or none.

    Returns:
        An estimate: hand type, joints in the image and in 2.5D, part labels, and joints
        in the camera frame (mm) where a camera is given.

    Raises:
        FileNotFoundError: If `image` names no file.
        ValueError: If the image cannot be decoded, the box is empty or outside the
            image, the camera is invalid or incomplete, or the network is one that needs
            true parts or whose output is not finite.

    Example:
        >>> network = digit.load_network()
        >>> hands = digit.predict(network, "photo.jpg", bbox_xywh=[60, 60, 200, 200])
        >>> hands.hands()
        ['right', 'left']
        >>> hands.joints_px.shape
        (42, 2)
    """
    if not isinstance(image, np.ndarray):
        image, _ = read_photo(image)
    _check_box(bbox_xywh, image)
    camera = _checked_camera(focal, princpt, wrist_depth_mm)

    # 1. The evaluation crop.
    size = network.image_size
    box = torch.tensor([float(v) for v in bbox_xywh], dtype=torch.float64)
    image_to_crop = geometry.crop_affine(geometry.square_bbox(box), size)
    crop = _cut(image, image_to_crop.numpy(), size)

    # 2. The network.
    batch = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    prediction = network(batch.to(_device_of(network)))
    joints_25d = prediction.joints_25d[0].cpu().double()
    hand_type = prediction.hand_type_logits[0].cpu().double().sigmoid()
    relative_cells = prediction.relative_root_depth[0].cpu().double()
    numbers = torch.cat([joints_25d.flatten(), hand_type, relative_cells[None]])
    if not numbers.isfinite().all():
        raise ValueError(
            "the network's output is not finite: its weights are damaged; load others"
        )

    # 3. Back to the image, and before the camera.
    crop_to_image = geometry.invert_affine(image_to_crop)
    joints_crop_px = joints_25d[:, :2] / HEATMAP_CELLS * size
    relative_mm = float(geometry.cells_to_depth(relative_cells))
    joints_cam_mm = None
    if camera is not None:
        right_is_predicted = bool(hand_type[0] > 0.5)
        left_offset_mm = relative_mm if right_is_predicted else 0.0
        right_mm = camera.wrist_depth_mm
        left_mm = right_mm + left_offset_mm
        joints_cam_mm = geometry.from_25d(
            joints_25d,
            crop_to_image=crop_to_image,
            wrist_depth_mm=torch.tensor([right_mm, left_mm], dtype=torch.float64),
            focal=camera.focal,
            princpt=camera.princpt,
            size_px=size,
        ).numpy()

    labels = prediction.part_logits.argmax(1)[0].byte().cpu().numpy()
    return Estimate(
        hand_type=hand_type.numpy(),
        joints_px=geometry.apply_affine(crop_to_image, joints_crop_px).numpy(),
        joints_25d=joints_25d.numpy(),
        joints_cam_mm=joints_cam_mm,
        relative_root_depth_mm=relative_mm,
        crop=crop,
        parts=labels.repeat(2, 0).repeat(2, 1),
    )


def draw_hands(hands: Estimate) -> Figure:
    """Draw an estimate: the crop with its joints, its parts, and the hands in 3D.

    The right hand is drawn solid, the left one dashed and hollow. Without a camera the
    3D view is by weak perspective, as if a heatmap cell were as wide as it is deep.

    Args:
        hands: From `predict`; a hand that is not predicted is not drawn.

    Returns:
        A matplotlib figure.

    Example:
        >>> digit.draw_hands(hands).savefig("hands.png")
    """
    joints_mm = hands.joints_cam_mm
    if joints_mm is None:
        cells = torch.from_numpy(hands.joints_25d)
        joints_mm = geometry.cells_to_depth(cells).numpy()
        joints_mm[JOINTS_PER_HAND:, 2] += hands.relative_root_depth_mm
    joints_crop_px = hands.joints_25d[:, :2] / HEATMAP_CELLS * len(hands.crop)
    is_predicted = np.repeat(hands.hand_type > 0.5, JOINTS_PER_HAND)
    return hand_plots.frame_figure(
        hands.crop,
        joints_px={"predicted": hand_plots.masked(joints_crop_px, is_predicted)},
        parts={"predicted": hands.parts},
        joints_mm={"predicted": hand_plots.masked(joints_mm, is_predicted)},
        title=f"{' and '.join(hands.hands()) or 'no'} hand",
    )


def predict_file(
    network: torch.nn.Module,
    path: Path,
    bbox_xywh: Sequence[float],
    focal: Sequence[float] | None = None,
    princpt: Sequence[float] | None = None,
    wrist_depth_mm: float | None = None,
) -> tuple[dict, Estimate]:
    """Predict an image file.

    Args:
        network: As `predict`'s, like the arguments not named here.
        path: The image file.
        bbox_xywh: A box around the hands, px.
        focal: Focal lengths, px.
        princpt: Principal point, px.
        wrist_depth_mm: Depth of the wrist.

    Returns:
        The result as plain lists and numbers, for JSON, and the estimate itself.

    Raises:
        FileNotFoundError: As `predict`.
        ValueError: As `predict`.
    """
    estimate = predict(
        network,
        path,
        bbox_xywh=bbox_xywh,
        focal=focal,
        princpt=princpt,
        wrist_depth_mm=wrist_depth_mm,
    )
    result = {
        "image": str(path),
        "bbox_xywh": list(bbox_xywh),
        "hands": estimate.hands(),
        "hand_type": dict(zip(SIDES, estimate.hand_type.tolist(), strict=True)),
        "joints": list(JOINTS),
        "joints_px": estimate.joints_px.tolist(),
        "joints_25d": estimate.joints_25d.tolist(),
        "relative_root_depth_mm": estimate.relative_root_depth_mm,
    }
    if estimate.joints_cam_mm is not None:
        result["joints_cam_mm"] = estimate.joints_cam_mm.tolist()
    return result, estimate


def _check_box(bbox_xywh: Sequence[float], image: Picture) -> None:
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


def _checked_camera(
    focal: Sequence[float] | None,
    princpt: Sequence[float] | None,
    wrist_depth_mm: float | None,
) -> Camera | None:
    """The camera, None where none is given; ValueError if invalid or incomplete."""
    missing = {value is None for value in (focal, princpt, wrist_depth_mm)}
    if missing == {True}:
        return None
    if len(missing) > 1:
        raise ValueError(
            "focal, princpt and wrist_depth_mm: give all three of them, or none"
        )
    for name, pair in (("focal", focal), ("princpt", princpt)):
        if len(pair) != 2 or not all(math.isfinite(v) for v in pair):
            raise ValueError(f"{name} {_listed(pair)}: give two finite numbers, px")
    if min(focal) <= 0:
        raise ValueError(f"focal {_listed(focal)}: give focal lengths above 0, px")
    if not math.isfinite(wrist_depth_mm) or wrist_depth_mm <= 0:
        raise ValueError(
            f"wrist_depth_mm {wrist_depth_mm:g}: give a distance above 0, in mm"
        )
    return Camera(
        focal=torch.tensor([float(v) for v in focal], dtype=torch.float64),
        princpt=torch.tensor([float(v) for v in princpt], dtype=torch.float64),
        wrist_depth_mm=float(wrist_depth_mm),
    )


def _listed(values: Sequence[float]) -> str:
    """Numbers as an error message shows them."""
    return ",".join(f"{value:g}" for value in values)


def _device_of(network: torch.nn.Module) -> torch.device:
    """Where a network's weights are; the CPU for one that torch does not run."""
    weights = next(network.parameters(), None)
    return torch.device("cpu") if weights is None else weights.device


def _cut(
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

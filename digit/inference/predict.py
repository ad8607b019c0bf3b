"""Predicting the hands of one image in Python.

`predict` is what the photo editor, notebook 01 and Python users call; whole files go
through `digit.inference.pipeline`.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from digit.geometry import cells_to_depth
from digit.inference.crops import (
    Picture,
    cut_crop,
    estimate,
    joints_in_picture,
)
from digit.inference.detection import HandDetector, crops_of
from digit.inference.photo import read_photo
from digit.inference.placement import (
    Lens,
    given_lens,
    joints_at_depth,
    joints_from_hand_length,
)
from digit.paths import DETECTOR_DIR
from digit.skeleton import HEATMAP_CELLS, JOINTS_PER_HAND, SIDES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Estimate(NamedTuple):
    """The hands of one image. Both hands' joints are there, predicted or not.

    Attributes:
        hand_type: Probabilities of a right and of a left hand.
        joints_px: 42 joints in pixels of the image, right hand first.
        joints_25d: The same in cells of the crop, z relative to the own wrist.
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

    def figure(self) -> "Figure":
        """The figure of `draw_hands`."""
        return draw_hands(self)


class Camera(NamedTuple):
    """A pinhole camera and how far away the (right, or only) wrist is."""

    lens: Lens
    wrist_depth_mm: float


def predict(
    network: torch.nn.Module,
    image: Picture | Path | str | bytes,
    bbox_xywh: Sequence[float] | None = None,
    focal: Sequence[float] | None = None,
    princpt: Sequence[float] | None = None,
    wrist_depth_mm: float | None = None,
) -> Estimate:
    """Predict the hands in a box of an image.

    The box is made square about its centre and enlarged by 1.25, as in evaluation. For
    several hands far apart, whole folders and videos see `digit.predict_files`.

    Args:
        network: From `load_network`, or a `FlipTest` or `TurnTest` around it.
        image: RGB picture (height, width, 3), or a photo file's path or bytes.
        bbox_xywh: Left, top, width and height (px) of a box around the hands; None to
            find them, as the first of `find_boxes`.
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
            image, no hand is found, the camera is invalid or incomplete, or the network
            is one that needs true parts or whose output is not finite.

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
    camera = _checked_camera(focal, princpt, wrist_depth_mm)
    if bbox_xywh is None:
        bbox_xywh = find_boxes(image)[0]

    # 1. The crop through the network.
    crop = cut_crop(image, bbox_xywh, network.image_size)
    [guess] = estimate(network, [crop])
    joints_px = joints_in_picture(guess.joints_25d, crop)

    # 2. Before the camera.
    joints_cam_mm = None
    if camera is not None:
        joints_cam_mm = joints_at_depth(
            joints_px=joints_px,
            relative_depth_mm=cells_to_depth(guess.joints_25d[:, 2]),
            relative_root_depth_mm=guess.relative_root_depth_mm,
            hand_type=guess.hand_type,
            lens=camera.lens,
            wrist_depth_mm=camera.wrist_depth_mm,
        )
    return Estimate(
        hand_type=guess.hand_type,
        joints_px=joints_px,
        joints_25d=guess.joints_25d,
        joints_cam_mm=joints_cam_mm,
        relative_root_depth_mm=guess.relative_root_depth_mm,
        crop=crop.pixels,
        parts=guess.parts,
    )


def place_hands(
    estimate: Estimate, focal: Sequence[float], princpt: Sequence[float], hand_mm: float
) -> Float[np.ndarray, "42 3"]:
    """Place predicted hands at the distance that gives them a known length.

    A picture does not tell the distance; a focal length and the length of a hand
    together do.

    Args:
        estimate: The prediction for an image.
        focal: Focal lengths x and y of that image, px.
        princpt: Its principal point, px.
        hand_mm: Length of a hand from the wrist to the tip of the stretched middle
            finger, mm.

    Returns:
        Joints in the camera's frame, mm. Both hands count where both are predicted,
        each by how sure the network is of it.
    """
    return joints_from_hand_length(
        joints_px=estimate.joints_px,
        relative_depth_mm=cells_to_depth(estimate.joints_25d[:, 2]),
        relative_root_depth_mm=estimate.relative_root_depth_mm,
        hand_type=estimate.hand_type,
        lens=given_lens(focal, princpt),
        hand_length_mm=hand_mm,
    )


def find_boxes(
    image: Picture | Path | str | bytes,
) -> list[tuple[float, float, float, float]]:
    """Find the hands of an image.

    Args:
        image: RGB picture (height, width, 3), or a photo file's path or bytes.

    Returns:
        A box (left, top, width, height; px) for each hand, or for two that are close
        together, the one with the most confident hand first.

    Raises:
        FileNotFoundError: If `image` names no file.
        ValueError: If the image cannot be decoded, or no hand is found.

    Example:
        >>> boxes = digit.find_boxes("photo.jpg")
        >>> digit.predict(network, "photo.jpg", bbox_xywh=boxes[0])
    """
    if not isinstance(image, np.ndarray):
        image, _ = read_photo(image)
    crops = crops_of(open_detector().find(image))
    if not crops:
        raise ValueError("no hand is found in the image; give bbox_xywh, a box in px")
    crops.sort(key=lambda crop: -max(hand.presence for hand in crop.hands))
    return [tuple(crop.bbox_xywh.tolist()) for crop in crops]


@functools.cache
def open_detector() -> HandDetector:
    """The shipped hand detector, opened once."""
    return HandDetector(DETECTOR_DIR)


def draw_hands(hands: Estimate) -> "Figure":
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
    # Here, since matplotlib would delay every prediction by half a second.
    from digit.plots import hands as hand_plots

    joints_mm = hands.joints_cam_mm
    if joints_mm is None:
        joints_mm = cells_to_depth(hands.joints_25d)
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
    return Camera(given_lens(focal, princpt), float(wrist_depth_mm))


def _listed(values: Sequence[float]) -> str:
    """Numbers as an error message shows them."""
    return ",".join(f"{value:g}" for value in values)

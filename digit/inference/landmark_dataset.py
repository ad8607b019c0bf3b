"""MediaPipe's landmark model over a data set, as predictions like any method's.

`digit.inference.evaluate` calls it for the method "mediapipe".
"""

import numpy as np
import torch
from tqdm.auto import tqdm

from digit import geometry
from digit.data.dataset import BboxSource, crop_boxes
from digit.data.index import Index
from digit.data.store import image_store, read_image
from digit.evaluation.predictions import Predictions
from digit.inference.crops import Crop
from digit.inference.detection import FoundHand, HandDetector
from digit.inference.landmark_method import from_landmarks
from digit.paths import DETECTOR_DIR
from digit.skeleton import HEATMAP_CELLS

CROP_PX = 224  # any size does: joints are kept in cells
SAME_DEPTH_CELLS = HEATMAP_CELLS / 2  # the model does not tell how wrists lie in depth


def predict_by_landmarks(
    index: Index, bbox: BboxSource, progress: bool = False
) -> Predictions:
    """Find the hands of each frame in its whole picture.

    Args:
        index: The frames.
        bbox: Whose evaluation crops the joints are given in.
        progress: Whether to show a progress bar.

    Returns:
        A prediction for each frame. A hand that is not found has probability 0, and its
        joints lie in the crop's centre. The wrists' relative depth, which the model does
        not estimate, is that of wrists side by side.

    Raises:
        KeyError: If an image is missing.
        ValueError: If an image is broken, or a frame has no box.
    """
    detector = HandDetector(DETECTOR_DIR)
    images = image_store(index.dataset_dir)
    boxes = crop_boxes(index, bbox)
    joints = []
    hand_types = []
    keys = index.keys()
    rows = tqdm(range(len(index)), "predicting", disable=not progress, leave=False)
    for row in rows:
        # Found in the whole picture, given in the frame's evaluation crop.
        crop = _crop_of(boxes[row])
        hands = _hands_inside(detector.find(read_image(images, keys[row])), crop)
        guess = from_landmarks(hands, crop)
        joints.append(guess.joints_25d)
        hand_types.append(guess.hand_type)
    return Predictions(
        image_id=index["image_id"],
        joints_25d=np.array(joints, np.float32).reshape(-1, 42, 3),
        relative_root_depth=np.full(len(index), SAME_DEPTH_CELLS, np.float32),
        hand_type=np.array(hand_types, np.float32).reshape(-1, 2),
    )


def _crop_of(box_xywh: torch.Tensor) -> Crop:
    """The evaluation crop's geometry, without its pixels."""
    to_crop = geometry.crop_affine(box_xywh, CROP_PX)
    return Crop(
        bbox_xywh=box_xywh.numpy(),
        pixels=np.zeros((CROP_PX, CROP_PX, 3), np.uint8),
        to_crop=to_crop.numpy(),
        to_picture=geometry.invert_affine(to_crop).numpy(),
        edges_inside=np.ones(4, bool),
    )


def _hands_inside(hands: list[FoundHand], crop: Crop) -> list[FoundHand]:
    """The two most confident hands whose centre lies in the crop."""
    inside = []
    for hand in hands:
        center = crop.crop_share(hand.joints_px).mean(0)
        if ((center >= 0) & (center <= 1)).all():
            inside.append(hand)
    return sorted(inside, key=lambda hand: -hand.presence)[:2]

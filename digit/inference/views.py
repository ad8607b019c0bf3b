"""How predictions hold when the same frames are cropped, turned or coloured otherwise.

`digit evaluate --views` adds these numbers to the protocol's. They are measured in the
image, relative to the tight box, as `digit.evaluation.found` does.
"""

import numpy as np
import torch

from digit import geometry
from digit.data.augmentation import View
from digit.data.dataset import (
    InterHandDataset,
    crop_boxes,
    frame_labels,
    tight_boxes,
)
from digit.data.index import Index
from digit.evaluation.error_table import error_table
from digit.evaluation.found import image_metrics
from digit.evaluation.predictions import Predictions
from digit.skeleton import HEATMAP_CELLS

# The crop of evaluation, 1.25 × the annotated box, is 1.5 × the tight box where the
# annotated box is 1.2 × the tight one.
VIEWS = {
    "plain": View(crop=1.5),
    "grey": View(crop=1.5, grey=True),
    "crop_1.00": View(crop=1.0),
    "crop_1.25": View(crop=1.25),
    "crop_1.75": View(crop=1.75),
    "crop_2.00": View(crop=2.0),
    "crop_2.50": View(crop=2.5),
    "turned_90": View(crop=1.5, turn_deg=90.0),
    "turned_-90": View(crop=1.5, turn_deg=-90.0),
    "turned_180": View(crop=1.5, turn_deg=180.0),
}
METRICS = ("found_5", "found_10", "found_15", "pck_2d_10", "single_called_two")


def evaluate_views(predict, index: Index, size_px: int) -> dict[str, float]:
    """Measure each of `VIEWS`.

    Args:
        predict: Function from an `InterHandDataset` to `Predictions` in its crops.
        index: The frames.
        size_px: Size of the crops.

    Returns:
        `view_<name>_<metric>` for the metrics of `METRICS` and `handedness_accuracy`.
    """
    index = index.take(with_tight_box(index))
    numbers = {}
    for name, view in VIEWS.items():
        frames = InterHandDataset(index, size_px, augmentation=view)
        predictions = to_evaluation_crop(predict(frames), index, view)
        table = error_table(index, predictions, root_depth="gt", label_kind="2d")
        measured = image_metrics(table)
        for metric in METRICS:
            numbers[f"view_{name}_{metric}"] = float(measured[metric])
        accuracy = table["handedness_correct"].mean()
        numbers[f"view_{name}_handedness_accuracy"] = float(accuracy)
    return numbers


def with_tight_box(index: Index) -> np.ndarray:
    """Which frames have a tight box with an area, so that it can be cropped."""
    boxes = tight_boxes(frame_labels(index))
    return (boxes[:, 2:].amax(-1) > 0).numpy()


def to_evaluation_crop(
    predictions: Predictions, index: Index, view: View
) -> Predictions:
    """Express predictions in a view's crops in cells of the evaluation crops.

    Args:
        predictions: In the order of the index.
        index: Their frames.
        view: The view that was predicted.
    """
    # 1. Heat-map cells of the view → image → cells of the evaluation crop.
    draw = view.draw([(row,) for row in range(len(index))])
    tight = tight_boxes(frame_labels(index))
    boxes = geometry.square_bbox(tight, scale=view.crop)
    of_view = geometry.crop_affine(boxes, HEATMAP_CELLS, rotation=draw.rotation)
    of_evaluation = geometry.crop_affine(crop_boxes(index), HEATMAP_CELLS)

    # 2. The joints' places; their depths are relative to the wrists and stay.
    joints = torch.tensor(predictions.joints_25d).double()
    in_image = geometry.apply_affine(geometry.invert_affine(of_view), joints[..., :2])
    joints[..., :2] = geometry.apply_affine(of_evaluation, in_image)
    return predictions._replace(joints_25d=joints.float().numpy())

"""Predictions without error, which tests of metrics spoil in one place."""

import numpy as np

from digit.data.dataset import evaluation_targets
from digit.data.index import Index
from digit.evaluation.predictions import Predictions


def perfect_predictions(index: Index, bbox: str = "truth") -> Predictions:
    """The annotations themselves, as a method without fault would predict them."""
    targets = evaluation_targets(index, bbox)
    return Predictions(
        image_id=np.array(index["image_id"]),
        joints_25d=targets.joints_25d.numpy().copy(),
        relative_root_depth=targets.relative_root_depth.numpy().copy(),
        hand_type=targets.hand_type.numpy().copy(),
    )

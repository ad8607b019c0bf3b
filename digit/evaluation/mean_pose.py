"""The mean-pose baseline: how good a method is that never looks at the picture.

Notebooks 05 and 07 and the protocol's report show it beside the network's numbers.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from digit import geometry, skeleton
from digit.data.index import Index
from digit.evaluation.conversion import cells_from_camera
from digit.evaluation.error_table import error_table
from digit.evaluation.ground_truth import (
    RootDepth,
    annotated_joints,
    float_column,
    wrist_depths,
)
from digit.evaluation.predictions import Predictions
from digit.skeleton import JOINT_SIDE, WRISTS

# More frames do not change a mean by a tenth of a millimetre; chosen by eye.
FRAMES_TO_AVERAGE = 50_000


class MeanPose(NamedTuple):
    """Averages over the valid annotations of a training split."""

    joints_mm: Float[Tensor, "42 3"]  # each relative to its own wrist, camera axes
    right_to_left_mm: Float[Tensor, "3"]  # from the right wrist to the left one
    hand_type: Float[np.ndarray, "2"]  # share of frames with a right, a left hand


def mean_pose(train: Index) -> MeanPose:
    """Average the annotations of up to 50,000 frames spread over a split."""
    rows = np.linspace(0, len(train) - 1, FRAMES_TO_AVERAGE).astype(int)
    frames = train.take(np.unique(rows))
    joints = annotated_joints(frames)

    # Joints, and in the last row the vector between the wrists.
    relative_mm = geometry.root_relative(joints.joints_cam_mm)
    wrists_mm = joints.joints_cam_mm[:, WRISTS]
    between_mm = wrists_mm[:, 1:] - wrists_mm[:, :1]
    vectors = torch.cat([relative_mm, between_mm], 1)  # (b, 43, 3)
    known = torch.cat([joints.joint_valid, joints.has_both_wrists[:, None]], 1)
    known = known[..., None]
    means = torch.where(known, vectors, 0).sum(0) / known.sum(0).clamp(1)
    return MeanPose(
        joints_mm=means[:-1],
        right_to_left_mm=means[-1],
        hand_type=skeleton.HAND_TYPE_FLAGS[frames["hand_type"]].mean(0),
    )


def mean_pose_predictions(
    train: Index, test: Index, root_depth: RootDepth = "gt"
) -> Predictions:
    """Predict the training split's mean pose for every frame of another split.

    Hands are put at their true wrists, the left one of a pair where the mean vector
    from the right wrist puts it; so only root-relative numbers and MRRPE mean
    something.

    Args:
        train: The frames to average.
        test: The frames to predict.
        root_depth: Whose wrist depths and crops the predictions will be scored with.

    Returns:
        One prediction a frame of `test`.

    Raises:
        ValueError: If RootNet's box is asked for and a frame has none.
    """
    mean = mean_pose(train)
    joints = annotated_joints(test)
    focal = float_column(test, "focal")
    princpt = float_column(test, "princpt")

    # 1. Where the wrists are seen: the true ones, a pair's left by the mean vector.
    wrists_mm = joints.joints_cam_mm[:, WRISTS]
    left_mm = torch.where(
        joints.has_both_wrists[:, None],
        wrists_mm[:, 0] + mean.right_to_left_mm,
        wrists_mm[:, 1],
    )
    seen_mm = torch.stack([wrists_mm[:, 0], left_mm], 1)
    wrists_px = geometry.project(seen_mm, focal, princpt)

    # 2. The mean hands about them, at the depths that the evaluation will use.
    depth_mm = wrist_depths(test, joints.joints_cam_mm, root_depth)
    wrists_cam_mm = geometry.back_project(wrists_px, depth_mm, focal, princpt)
    joints_cam_mm = wrists_cam_mm[:, JOINT_SIDE] + mean.joints_mm

    # 3. In cells of the crop; zero where no wrist is known and nothing counts.
    joints_25d = cells_from_camera(test, joints_cam_mm.numpy(), root_depth)
    has_wrist = joints.joint_valid[:, WRISTS].numpy()
    joints_25d = np.where(has_wrist[:, JOINT_SIDE, None], joints_25d, 0)
    relative_cells = geometry.depth_to_cells(mean.right_to_left_mm[2])
    return Predictions(
        image_id=np.asarray(test["image_id"]),
        joints_25d=joints_25d,
        relative_root_depth=relative_cells.expand(len(test)).numpy(),
        hand_type=np.tile(mean.hand_type, (len(test), 1)),
    )


def mean_pose_errors(
    train: Index, test: Index, root_depth: RootDepth = "gt"
) -> pd.DataFrame:
    """The error table of the mean pose: what a network has to beat.

    Args:
        train: The frames to average.
        test: The frames to predict.
        root_depth: Whose wrist depths and crops to score with.

    Returns:
        A row a frame of `test`, see `digit.evaluation.error_table`.

    Raises:
        ValueError: If RootNet's box is asked for and a frame has none.
    """
    predictions = mean_pose_predictions(train, test, root_depth)
    return error_table(test, predictions, root_depth)

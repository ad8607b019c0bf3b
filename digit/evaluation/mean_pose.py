"""The mean-pose baseline."""

import numpy as np
import torch

from digit import geometry, skeleton
from digit.data.dataset import crop_boxes
from digit.data.index import Index
from digit.evaluation.metrics import _column, _truth
from digit.evaluation.predictions import BBOX_OF, Predictions, RootDepth
from digit.skeleton import HEATMAP_CELLS, JOINT_SIDE, WRISTS


def mean_pose_predictions(
    train: Index, test: Index, root_depth: RootDepth = "gt"
) -> Predictions:
    """The baseline that sees no picture: each hand of `test` is the mean one of `train`.

    Means, over up to 50,000 frames spread over `train`, of the joints relative to their wrist
    (camera frame, mm), of the vector from right to left wrist, and of the hand types. Hands are
    put at their true wrists, the left one of a pair where the mean vector puts it: only
    root-relative numbers and MRRPE mean something.
    """
    train = train.take(np.unique(np.linspace(0, len(train) - 1, 50_000).astype(int)))
    true, valid, linked = _truth(train)
    vectors = true[:, WRISTS[1]] - true[:, WRISTS[0]]
    points = torch.cat(
        [geometry.root_relative(true), vectors[:, None]], 1
    )  # (b, 43, 3)
    known = torch.cat([valid, linked[:, None]], 1)[..., None]
    means = torch.where(known, points, 0).sum(0) / known.sum(0).clamp(1)
    hand_type = skeleton.HAND_TYPE_FLAGS[train["hand_type"]].mean(0)

    true, _, linked = _truth(test)
    camera = _column(test, "focal"), _column(test, "princpt")
    wrists = true[:, WRISTS]  # (b, 2, 3)
    depth = wrists[..., 2] if root_depth == "gt" else _column(test, "rootnet_depth_mm")
    left = torch.where(linked[:, None], wrists[:, 0] + means[-1], wrists[:, 1])
    wrists_px = geometry.project(torch.stack([wrists[:, 0], left], 1), *camera)
    joints = (
        geometry.back_project(wrists_px, depth, *camera)[:, JOINT_SIDE] + means[:-1]
    )
    crop = geometry.crop_affine(
        crop_boxes(test, BBOX_OF[root_depth]), HEATMAP_CELLS
    ).float()
    joints_px = geometry.apply_affine(crop, geometry.project(joints, *camera))
    joints_25d = geometry.to_25d(joints_px, joints[..., 2], HEATMAP_CELLS)
    joints_25d = joints_25d.nan_to_num(
        0, 0, 0
    ).numpy()  # where no wrist is known nothing counts
    relative = geometry.depth_to_cells(means[-1, 2]).expand(len(test)).numpy()
    hand_type = np.tile(hand_type, (len(test), 1))
    return Predictions(test["image_id"], joints_25d, relative, hand_type)

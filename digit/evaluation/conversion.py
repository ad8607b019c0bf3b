"""Joints of any method as `Predictions`: from the camera frame to cells.

The mean-pose baseline and the predictions doctor come here, and users whose method
predicts joints in space.
"""

import numpy as np
import torch
from jaxtyping import Float

from digit import geometry
from digit.data.index import Index
from digit.evaluation.ground_truth import RootDepth, float_column, image_to_cells
from digit.skeleton import HEATMAP_CELLS


def cells_from_camera(
    index: Index,
    joints_cam_mm: Float[np.ndarray, "n 42 3"],
    root_depth: RootDepth = "gt",
) -> Float[np.ndarray, "n 42 3"]:
    """Joints in the camera frame as `Predictions.joints_25d` wants them.

    Args:
        index: The n frames.
        joints_cam_mm: Absolute joints in each frame's camera, mm; x right, y down, z
            forward.
        root_depth: Whose crops the predictions will be scored with.

    Returns:
        x, y and z in cells of each frame's evaluation crop, z relative to the
        hand's own wrist; zero where a joint has no finite place there.

    Raises:
        ValueError: If RootNet's box is asked for and a frame has none.
    """
    joints = torch.tensor(joints_cam_mm, dtype=torch.float32)
    focal = float_column(index, "focal")
    princpt = float_column(index, "princpt")
    joints_px = geometry.project(joints, focal, princpt)
    crop_affine = image_to_cells(index, root_depth).float()
    joints_25d = geometry.to_25d(
        geometry.apply_affine(crop_affine, joints_px), joints[..., 2], HEATMAP_CELLS
    )
    return joints_25d.nan_to_num(0, 0, 0).numpy()

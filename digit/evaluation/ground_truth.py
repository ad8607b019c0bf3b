"""What the annotations tell of frames, in the form that the metrics take.

The error table and the mean-pose baseline read the columns of an index through here.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from digit import geometry, skeleton
from digit.data.dataset import crop_boxes, frame_labels, tight_boxes
from digit.data.index import Index
from digit.skeleton import HAND_TYPES, HEATMAP_CELLS, JOINT_SIDE, WRISTS

RootDepth = Literal["gt", "rootnet"]
# "2d": the joints are good in the image, their depths are not to be trusted.
LabelKind = Literal["2d", "3d"]
# The evaluation crop that goes with a source of wrist depths.
BBOX_OF = {"gt": "truth", "rootnet": "rootnet"}


class AnnotatedJoints(NamedTuple):
    """The annotated joints of b frames."""

    joints_cam_mm: Float32[Tensor, "b 42 3"]
    # Annotated, finite, and of a hand whose wrist is so too.
    joint_valid: Bool[Tensor, "b 42"]
    # Interacting frames with both wrists valid: those that count for MRRPE.
    has_both_wrists: Bool[Tensor, "b"]


class GroundTruth(NamedTuple):
    """All that the metrics compare with, of b frames."""

    joints_cam_mm: Float32[Tensor, "b 42 3"]
    joint_valid: Bool[Tensor, "b 42"]
    has_both_wrists: Bool[Tensor, "b"]
    hand_type: Bool[Tensor, "b 2"]  # right, left
    hand_type_valid: Bool[Tensor, "b"]
    focal: Float32[Tensor, "b 2"]  # px
    princpt: Float32[Tensor, "b 2"]  # px
    # Absolute depth of the right and left wrist, by the chosen source; NaN: unknown.
    wrist_depth_mm: Float32[Tensor, "b 2"]
    # Heat-map cell of the evaluation crop → pixel of the image; NaN: empty box.
    cells_to_image: Float32[Tensor, "b 2 3"]
    bbox_side_px: Float32[Tensor, "b"]  # longer side of the annotated box
    tight_side_px: Float32[Tensor, "b"]  # longer side of the box of annotated joints


def float_column(index: Index, name: str) -> Float32[Tensor, "b ..."]:
    """A column of the index as a float32 tensor."""
    return torch.tensor(index[name], dtype=torch.float32)


def annotated_joints(index: Index) -> AnnotatedJoints:
    """Read the joints of every frame of an index, and which of them count.

    Args:
        index: b frames.

    Returns:
        Joints in the camera frame (mm) and their validity, by the protocol's rule that
        a hand's joints count only where its wrist does.
    """
    joints_cam_mm = float_column(index, "joints_cam_mm")
    valid = torch.tensor(index["joint_valid"]).bool()
    valid &= joints_cam_mm.isfinite().all(-1)
    valid &= valid[:, skeleton.JOINT_WRIST]
    interacting = torch.tensor(index["hand_type"] == HAND_TYPES.index("interacting"))
    has_both_wrists = valid[:, WRISTS].all(-1) & interacting
    return AnnotatedJoints(joints_cam_mm, valid, has_both_wrists)


def wrist_depths(
    index: Index, joints_cam_mm: Float32[Tensor, "b 42 3"], root_depth: RootDepth
) -> Float32[Tensor, "b 2"]:
    """The absolute depths of right and left wrist (mm), true ones or RootNet's."""
    if root_depth == "gt":
        return joints_cam_mm[:, WRISTS, 2]
    return float_column(index, "rootnet_depth_mm")


def image_to_cells(index: Index, root_depth: RootDepth) -> Float64[Tensor, "b 2 3"]:
    """Affines from pixels of the image to cells of the evaluation crop.

    Args:
        index: b frames.
        root_depth: Whose crop: the annotated box's for "gt", RootNet's for "rootnet".

    Returns:
        Affines; NaN where the box is empty or not finite.

    Raises:
        ValueError: If RootNet's box is asked for and a frame has none.
    """
    boxes = crop_boxes(index, BBOX_OF[root_depth])
    usable = boxes.isfinite().all(-1, keepdim=True)
    return geometry.crop_affine(torch.where(usable, boxes, torch.nan), HEATMAP_CELLS)


def read_ground_truth(index: Index, root_depth: RootDepth) -> GroundTruth:
    """Gather what the metrics need of every frame of an index.

    Args:
        index: b frames.
        root_depth: Whose wrist depths and crops: "gt" (annotated) or "rootnet".

    Returns:
        The ground truth. A joint is not valid where its hand's wrist depth, the crop or
        the camera is unknown, as no prediction could be placed there.

    Raises:
        ValueError: If RootNet's box is asked for and a frame has none.
    """
    joints = annotated_joints(index)
    depth_mm = wrist_depths(index, joints.joints_cam_mm, root_depth)
    focal = float_column(index, "focal")
    princpt = float_column(index, "princpt")
    # Inverted in double precision: boxes may lie thousands of pixels off.
    cells_to_image = geometry.invert_affine(image_to_cells(index, root_depth)).float()

    # A joint counts only where a prediction of it could be placed.
    has_depth = depth_mm.isfinite()[:, JOINT_SIDE]
    has_crop = cells_to_image.isfinite().all((1, 2))
    has_camera = (focal > 0).all(1) & (focal + princpt).isfinite().all(1)
    placeable = has_depth & (has_crop & has_camera)[:, None]

    hand_type = torch.tensor(skeleton.HAND_TYPE_FLAGS[index["hand_type"]]) > 0
    return GroundTruth(
        joints_cam_mm=joints.joints_cam_mm,
        joint_valid=joints.joint_valid & placeable,
        has_both_wrists=joints.has_both_wrists,
        hand_type=hand_type,
        hand_type_valid=torch.tensor(index["hand_type_valid"]).bool(),
        focal=focal,
        princpt=princpt,
        wrist_depth_mm=depth_mm,
        cells_to_image=cells_to_image,
        bbox_side_px=float_column(index, "bbox_xywh")[:, 2:].amax(-1),
        tight_side_px=tight_boxes(frame_labels(index))[:, 2:].amax(-1).float(),
    )

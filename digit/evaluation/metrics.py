"""The metrics, one function each, with its name in the paper and its formula.

`error_table` calls those that give a number a joint or a frame, `protocol` those over
many frames. To add a metric: write its function here, then add its column in
`error_table`.

Notation: P predicted and J annotated joints in the camera frame (mm), w the wrist of a
joint's own hand, R and L the right and left wrist; ‖·‖ is the Euclidean length. MPJPE,
MRRPE and handedness accuracy are the metrics of InterHand2.6M (Moon et al., ECCV 2020),
with which DIGIT (3DV 2021) is evaluated.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Integer, Num
from torch import Tensor

from digit import geometry, skeleton

# One of the metrics, which lies apart so that it comes without pandas.
from digit.evaluation.heatmaps import heatmap_entropy as heatmap_entropy
from digit.skeleton import JOINTS, JOINTS_PER_HAND, N_LABELS, PARTS_PER_HAND, WRISTS

# The columns of an error table with each joint's root-relative error.
ERRORS = [f"error_{joint}" for joint in JOINTS]
PCK_LIMIT_MM = 50.0  # upper end of the area under the PCK curve, as in HO-3D, FreiHAND
PCK_STEP_MM = 0.05
# Fewer points do not fix a similarity in space.
MIN_POINTS_TO_ALIGN = 3
# Index and little finger's base and wrist: the corners of the palm.
PALM_CORNERS = [
    skeleton.HAND_JOINTS.index(joint) for joint in ("index1", "pinky1", "wrist")
]

Joints3 = Float[Tensor, "b 42 3"]
JointNumbers = Float[Tensor, "b 42"]
JointFlags = Bool[Tensor, "b 42"]


def mean_over_valid(values: JointNumbers, valid: JointFlags) -> Float[Tensor, "b"]:
    """The mean over each frame's valid joints; NaN for a frame without any."""
    return torch.where(valid, values, torch.nan).nanmean(1)


# --- Errors of joints in space --------------------------------------------------------


def root_relative_difference(
    predicted_cam_mm: Joints3, true_cam_mm: Joints3
) -> Joints3:
    """(P − P_w) − (J − J_w): the difference left when the wrists are put together."""
    predicted = geometry.root_relative(predicted_cam_mm)
    return predicted - geometry.root_relative(true_cam_mm)


def joint_errors(predicted_cam_mm: Joints3, true_cam_mm: Joints3) -> JointNumbers:
    """MPJPE before its mean: ‖(P − P_w) − (J − J_w)‖ of every joint.

    The published number is the mean of each joint over its valid samples, then over all
    42 joints; the wrists' errors are zero by definition and are counted.

    Args:
        predicted_cam_mm: Predicted joints, camera frame, mm.
        true_cam_mm: Annotated joints, camera frame, mm.

    Returns:
        Errors, mm.
    """
    difference = root_relative_difference(predicted_cam_mm, true_cam_mm)
    return difference.norm(dim=-1)


def camera_errors(predicted_cam_mm: Joints3, true_cam_mm: Joints3) -> JointNumbers:
    """‖P − J‖ of every joint, mm: nothing is aligned, the wrist's error included."""
    return (predicted_cam_mm - true_cam_mm).norm(dim=-1)


def in_plane_errors(predicted_cam_mm: Joints3, true_cam_mm: Joints3) -> JointNumbers:
    """The part of each joint's root-relative error that lies across the view, mm."""
    difference = root_relative_difference(predicted_cam_mm, true_cam_mm)
    return difference[..., :2].norm(dim=-1)


def depth_errors(predicted_cam_mm: Joints3, true_cam_mm: Joints3) -> JointNumbers:
    """The part of each joint's root-relative error that lies along z, mm."""
    difference = root_relative_difference(predicted_cam_mm, true_cam_mm)
    return difference[..., 2].abs()


def mrrpe(
    predicted_wrists_mm: Float[Tensor, "b 2 3"],
    true_wrists_mm: Float[Tensor, "b 2 3"],
    has_both_wrists: Bool[Tensor, "b"],
) -> Float[Tensor, "b"]:
    """MRRPE, mean relative-root position error: ‖(P_L − P_R) − (J_L − J_R)‖.

    Args:
        predicted_wrists_mm: Right and left wrist, camera frame. By the protocol the
            right one lies at its given depth, the left one at the right one's depth
            plus the predicted relative depth.
        true_wrists_mm: The annotated ones.
        has_both_wrists: Interacting frames with both wrists annotated.

    Returns:
        A number a frame, mm; NaN where the frame does not count.
    """
    difference = predicted_wrists_mm - true_wrists_mm
    error = (difference[:, 1] - difference[:, 0]).norm(dim=-1)
    return torch.where(has_both_wrists, error, torch.nan)


def aligned_error(
    predicted: Float[Tensor, "*b n 3"],
    true: Float[Tensor, "*b n 3"],
    valid: Bool[Tensor, "*b n"],
) -> Float[Tensor, "*b n"]:
    """Distances after the similarity that best maps predicted onto true points.

    The least-squares similarity of Umeyama (PAMI 1991): scale, rotation (never a
    mirror image) and translation.

    Args:
        predicted: Points, any unit.
        true: Points, the unit of the result; values at invalid ones do not matter.
        valid: Which points count, at least three.

    Returns:
        Distances; meaningless at invalid points.
    """
    # 1. Both sets about the centroid of their valid points.
    weight = (valid.to(true.dtype) / valid.sum(-1, keepdim=True))[..., None]
    predicted = torch.where(valid[..., None], predicted, 0)
    true = torch.where(valid[..., None], true, 0)
    predicted = predicted - (weight * predicted).sum(-2, keepdim=True)
    true = true - (weight * true).sum(-2, keepdim=True)

    # 2. Rotation from the covariance; its last axis is turned where the best
    #    orthogonal map is a mirror image.
    covariance = (weight * predicted).mT @ true
    u, singular_values, vh = torch.linalg.svd(covariance)
    sign = torch.ones_like(singular_values)
    sign[..., 2] = torch.linalg.det(u @ vh).sign()
    rotation = u * sign[..., None, :] @ vh

    # 3. Scale: explained covariance over the predicted points' variance.
    variance = (weight * predicted**2).sum((-1, -2)).clamp(1e-12)
    scale = (singular_values * sign).sum(-1) / variance
    aligned = scale[..., None, None] * predicted @ rotation
    return (aligned - true).norm(dim=-1)


def pa_joint_errors(
    predicted_cam_mm: Joints3, true_cam_mm: Joints3, valid: JointFlags
) -> JointNumbers:
    """PA-MPJPE before its mean: joint errors after Procrustes alignment of each hand.

    Args:
        predicted_cam_mm: Predicted joints, camera frame, mm.
        true_cam_mm: Annotated joints, camera frame, mm.
        valid: Which joints count.

    Returns:
        Errors, mm; NaN for a hand of fewer than three valid joints.
    """
    by_hand = (2, JOINTS_PER_HAND)
    predicted = predicted_cam_mm.unflatten(1, by_hand)
    true = true_cam_mm.unflatten(1, by_hand)
    hand_valid = valid.unflatten(1, by_hand)
    enough = hand_valid.sum(-1) >= MIN_POINTS_TO_ALIGN
    errors = torch.full(hand_valid.shape, torch.nan)
    errors[enough] = aligned_error(predicted[enough], true[enough], hand_valid[enough])
    return errors.flatten(1)


# --- Errors in the image --------------------------------------------------------------


def errors_2d(
    predicted_px: Float[Tensor, "b 42 2"],
    true_px: Float[Tensor, "b 42 2"],
    side_px: Float[Tensor, "b"],
) -> JointNumbers:
    """Distances in the image, as a share of a given side, such as the box's longer one."""
    return (predicted_px - true_px).norm(dim=-1) / side_px[:, None]


def joints_swapped(
    predicted_px: Float[Tensor, "b 42 2"],
    true_px: Float[Tensor, "b 42 2"],
    valid: JointFlags,
) -> Float[Tensor, "b"]:
    """Whether each hand's joints lie, on the whole, nearer to the other hand's.

    Compared are the summed image distances to the true joints as they are and with the
    hands exchanged, over joints that are annotated on both hands.

    Returns:
        1 where they do, 0 where not, NaN where no joint is annotated on both hands.
    """
    on_both_hands = valid & valid[:, skeleton.SWAP_JOINTS]
    own_px = (predicted_px - true_px).norm(dim=-1)
    other_px = (predicted_px - true_px[:, skeleton.SWAP_JOINTS]).norm(dim=-1)
    to_own = torch.where(on_both_hands, own_px, 0).sum(1)
    to_other = torch.where(on_both_hands, other_px, 0).sum(1)
    swapped = (to_own > to_other) * 1.0
    return torch.where(on_both_hands.any(1), swapped, torch.nan)


def palm_view_deg(true_cam_mm: Joints3, valid: JointFlags) -> Float[Tensor, "b 2"]:
    """How each true hand is seen: 0° palm towards the camera, 180° back of the hand.

    The angle between the palm's outward normal, from the triangle of index base,
    little finger's base and wrist, and the direction from the wrist to the camera.

    Returns:
        Degrees, right and left hand; NaN where a corner of the palm is not valid.
    """
    by_hand = (2, JOINTS_PER_HAND)
    corners = true_cam_mm.unflatten(1, by_hand)[:, :, PALM_CORNERS]
    index_mm, pinky_mm, wrist_mm = corners.unbind(2)  # each (b, 2, 3)
    normal = torch.linalg.cross(index_mm - wrist_mm, pinky_mm - wrist_mm)
    # This points out of a right hand's palm, and into a left hand's.
    outward = normal * torch.tensor([[1], [-1]])
    cosine = torch.cosine_similarity(outward, -wrist_mm, dim=-1)
    angle = cosine.clamp(-1, 1).arccos().rad2deg()
    known = valid.unflatten(1, by_hand)[:, :, PALM_CORNERS].all(-1)
    return torch.where(known, angle, torch.nan)


# --- Handedness -----------------------------------------------------------------------


def handedness_correct(
    probability: Float[Tensor, "b 2"],
    hand_type: Bool[Tensor, "b 2"],
    hand_type_valid: Bool[Tensor, "b"],
) -> Float[Tensor, "b"]:
    """Handedness accuracy before its mean: both outputs on the right side of 0.5.

    Args:
        probability: Predicted, right and left.
        hand_type: Which hands are annotated.
        hand_type_valid: Whether the annotated type is reliable.

    Returns:
        1 or 0 a frame; NaN where the annotated type is not reliable.
    """
    of_truth = torch.where(hand_type, probability, 1 - probability)
    correct = (of_truth > 0.5).all(-1) * 1.0
    return torch.where(hand_type_valid, correct, torch.nan)


def wrist_depths_by_predicted_hands(
    probability: Float[Tensor, "b 2"],
    wrist_depth_mm: Float[Tensor, "b 2"],
    depth_known: Bool[Tensor, "b 2"],
    relative_root_depth_mm: Float[Tensor, "b"],
) -> Float[Tensor, "b 2"]:
    """The wrist depths of "MPJPE with predicted handedness".

    The published protocol looks up each hand's depth by the true hand type. Here only
    depths of predicted hands are looked up: a hand that is not predicted takes the
    other one's, and of two predicted hands the left one lies at the right one's depth
    plus the predicted relative depth.

    Args:
        probability: Predicted, right and left; the likelier hand counts as predicted
            where neither is above 0.5.
        wrist_depth_mm: Absolute depths, right and left.
        depth_known: Which of them a method could ask for.
        relative_root_depth_mm: Predicted left minus right wrist depth.

    Returns:
        Absolute depths (mm) of the right and left wrist.
    """
    likelier = probability == probability.amax(-1, keepdim=True)
    predicted = (probability > 0.5) | likelier
    usable = predicted & depth_known
    keeps_own = usable | ~usable.flip(-1)
    right, left = torch.where(keeps_own, wrist_depth_mm, wrist_depth_mm.flip(-1)).T
    left = torch.where(predicted.all(-1), right + relative_root_depth_mm, left)
    return torch.stack([right, left], -1)


# --- Hand parts -----------------------------------------------------------------------


def part_statistics(
    predicted: Integer[Tensor, "b h w"],
    true: Integer[Tensor, "b h w"],
    valid: Num[Tensor, "b"],
) -> dict[str, Int[np.ndarray, "b 3 n"]]:
    """Pixel counts of predicted against true part labels, as in `Predictions`.

    Args:
        predicted: Labels 0…32.
        true: Labels 0…32.
        valid: Above 0 where a frame's true labels are known.

    Returns:
        `part_pixels` (b, 3, 33): how many pixels truly have each label, are predicted
        to have it, and both; `hand_confusion` (b, 3, 3): true × predicted background,
        right hand, left hand. All zero for a frame whose labels are not known.
    """
    # 1. A confusion matrix of all labels for each frame: (b, true, predicted).
    b = len(true)
    frame = torch.arange(b, device=true.device)[:, None, None]
    cell = (frame * N_LABELS + true) * N_LABELS + predicted
    counts = torch.bincount(cell.flatten(), minlength=b * N_LABELS**2)
    counts = counts.view(b, N_LABELS, N_LABELS) * (valid > 0)[:, None, None]
    counts = counts.int().cpu().numpy()

    # 2. By label, and by hand: background 0, right hand from 1, left hand from 17.
    pixels = [counts.sum(2), counts.sum(1), counts.diagonal(axis1=1, axis2=2)]
    first_label = [0, 1, 1 + PARTS_PER_HAND]
    by_true_hand = np.add.reduceat(counts, first_label, axis=1)
    confusion = np.add.reduceat(by_true_hand, first_label, axis=2)
    return {
        "part_pixels": np.stack(pixels, 1).astype(np.int32),
        "hand_confusion": confusion,
    }


def part_iou(part_pixels: Num[np.ndarray, "n 3 33"]) -> Float[np.ndarray, "n"]:
    """Part IoU: intersection over union, averaged over the parts that are truly there.

    Args:
        part_pixels: See `part_statistics`; summed over frames it gives the data set's
            part mIoU.

    Returns:
        A number a row; NaN where no part is there.
    """
    parts = part_pixels[:, :, 1:].astype(float)
    true, predicted, both = parts.swapaxes(0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = np.where(true > 0, both / (true + predicted - both), 0)
        return iou.sum(1) / (true > 0).sum(1)


def wrong_hand_pixels(
    hand_confusion: Num[np.ndarray, "n 3 3"],
) -> Float[np.ndarray, "n 2"]:
    """Pixels of the right hand predicted left, and of the left predicted right.

    Returns:
        Counts; NaN for a row without any pixel, whose labels are not known.
    """
    known = hand_confusion.any((1, 2))
    wrong = hand_confusion[:, (1, 2), (2, 1)].astype(float)
    return np.where(known[:, None], wrong, np.nan)


def wrong_hand_share(
    hand_confusion: Num[np.ndarray, "n 3 3"],
) -> Float[np.ndarray, "n"]:
    """The share of hand pixels, predicted to be of a hand, that get the wrong hand.

    Returns:
        A number a row; NaN where no hand pixel is predicted to be of a hand.
    """
    on_hands = hand_confusion[:, 1:, 1:].sum((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return wrong_hand_pixels(hand_confusion).sum(1) / on_hands


# --- Over many frames -----------------------------------------------------------------


def pck_curve(
    table: pd.DataFrame, limits_mm: Num[np.ndarray, "t"]
) -> Float[np.ndarray, "t"]:
    """PCK: the share of valid joints whose error is at most each limit.

    Args:
        table: An error table; the wrists, whose error is zero by definition, are left
            out.
        limits_mm: Limits.

    Returns:
        Shares; NaN where no joint is valid.
    """
    errors = np.delete(table[ERRORS].to_numpy(), WRISTS, axis=1)
    errors = np.sort(errors[~np.isnan(errors)])
    below = np.searchsorted(errors, limits_mm, side="right")
    with np.errstate(invalid="ignore"):
        return below / np.float64(len(errors))


def pck_auc(table: pd.DataFrame) -> float:
    """AUC: the area under the PCK curve from 0 to 50 mm, 1 for a perfect method."""
    middles = np.arange(PCK_STEP_MM / 2, PCK_LIMIT_MM, PCK_STEP_MM)
    return float(pck_curve(table, middles).mean())

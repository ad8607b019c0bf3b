"""The loss: a sum of named terms of a `Prediction` and a `Batch` (paper, section 3).

The training loop calls `losses`. To add a term: write a function here that returns one
number, add it to `LOSS_TERMS` under its name, and give it a weight in
`digit.training.settings`.

What is invalid (not annotated) counts as zero in the means over the batch, as in the
original. Lengths are in units of a 64-cell heatmap.
"""

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from digit.data.dataset import Batch
from digit.model.network import Prediction
from digit.skeleton import BONES, HEATMAP_CELLS

PAPER_WEIGHTS = {
    "joints": 1.0,
    "relative_root_depth": 1.0,
    "hand_type": 1.0,
    "parts": 10.0,
    "bones": 0.1,
}


def losses(
    prediction: Prediction,
    batch: Batch,
    weights: Mapping[str, float] = PAPER_WEIGHTS,
    hand_pixels: float = 1.0,
) -> dict[str, Float[Tensor, ""]]:
    """The weighted terms of the loss, by name; the loss is their sum.

    Args:
        prediction: What the network returned for the batch.
        batch: The truth.
        weights: Weight of each term. A term that is missing here, or has weight 0, is
            neither computed nor returned.
        hand_pixels: Weight of a hand's pixel in the part loss, see `part_error`.

    Returns:
        weight · term for each term with a weight.
    """
    terms = dict(LOSS_TERMS)
    terms["parts"] = partial(part_error, hand_pixels=hand_pixels)

    weighted = {}
    for name, term in terms.items():
        weight = weights.get(name, 0.0)
        if weight:
            weighted[name] = weight * term(prediction, batch)
    return weighted


def joint_error(prediction: Prediction, batch: Batch) -> Float[Tensor, ""]:
    """L1 error of the 2.5D joints, mean over batch, joints and coordinates."""
    error = (prediction.joints_25d - batch.joints_25d).abs()
    weight = batch.joint_valid[..., None] * coordinate_weights(batch)
    return (error * weight).mean()


def root_depth_error(prediction: Prediction, batch: Batch) -> Float[Tensor, ""]:
    """L1 error of the relative root depth (left wrist − right wrist)."""
    error = (prediction.relative_root_depth - batch.relative_root_depth).abs()
    return (error * batch.root_valid).mean()


def hand_type_error(prediction: Prediction, batch: Batch) -> Float[Tensor, ""]:
    """Binary cross-entropy of "right hand seen" and "left hand seen", in nats."""
    error = F.binary_cross_entropy_with_logits(
        prediction.hand_type_logits, batch.hand_type, reduction="none"
    )
    return (error.mean(1) * batch.hand_type_valid).mean()


def part_error(
    prediction: Prediction, batch: Batch, hand_pixels: float = 1.0
) -> Float[Tensor, ""]:
    """Cross-entropy of the part segmentation (33 labels), mean over pixels and batch.

    Args:
        prediction: Its part logits are read.
        batch: Its parts are read; a frame whose mask is not valid counts as zero.
        hand_pixels: Weight of a pixel on a hand, against 1 of the background; 1 in the
            paper.
    """
    error = F.cross_entropy(
        prediction.part_logits.float(), batch.parts.long(), reduction="none"
    )
    weight = torch.where(batch.parts > 0, hand_pixels, 1.0)
    per_frame = (error * weight).sum((1, 2)) / weight.sum((1, 2))
    return (per_frame * batch.parts_valid).mean()


def bone_error(prediction: Prediction, batch: Batch) -> Float[Tensor, ""]:
    """Squared error of bone vectors (child − parent), summed over the two hands.

    A bone is valid where both of its ends are.
    """
    error = prediction.joints_25d - batch.joints_25d
    child, parent = torch.as_tensor(BONES, device=error.device).unbind(1)
    bone_vector_error = error[:, child] - error[:, parent]  # (b, 40, 3)
    valid = batch.joint_valid
    bone_valid = valid[:, child] * valid[:, parent]
    weight = bone_valid[..., None] * coordinate_weights(batch)
    # The mean over both hands' 40 bones is half the sum of the two hands' means.
    return 2 * (bone_vector_error**2 * weight).mean()


def coordinate_weights(batch: Batch) -> Float[Tensor, "b 1 3"]:
    """Weights of x, y and depth: depth counts less in frames whose depths are doubtful."""
    depth_weight = batch.depth_weight
    in_image = torch.ones_like(depth_weight)
    return torch.stack([in_image, in_image, depth_weight], -1)[:, None]


def heatmap_error(
    prediction: Prediction, batch: Batch, deviation: float = 0.8
) -> Float[Tensor, ""]:
    """Divergence of the heatmaps from a normal distribution around each joint.

    Not in the paper. A soft-argmax alone asks for the right mean of a heatmap and
    leaves its shape open. With this term small networks need a fraction of the samples;
    Nibali et al. 2018 ("Numerical coordinate regression with convolutional neural
    networks") regularise in the same way.

    Args:
        prediction: Its heatmaps are read.
        batch: Its 2.5D joints are read.
        deviation: Standard deviation of the normal distribution in cells; chosen by
            eye.

    Returns:
        Kullback-Leibler divergence in nats, mean over batch and joints.
    """
    # 1. The target distribution: the product of one along x and one along y.
    heatmaps = prediction.heatmaps  # (b, 42, c, c)
    cells = heatmaps.shape[-1]
    centres = torch.arange(cells, device=heatmaps.device) + 0.5
    target_cells = batch.joints_25d[..., :2, None] * (cells / HEATMAP_CELLS)
    distance = centres - target_cells  # (b, 42, 2, c)
    along_axes = (-(distance**2) / (2 * deviation**2)).softmax(-1)
    along_x, along_y = along_axes.unbind(2)
    normal = (along_y[..., :, None] * along_x[..., None, :]).flatten(2)

    # 2. The divergence of the predicted distribution from it.
    log_probability = heatmaps.float().flatten(2).log_softmax(-1)
    divergence = F.kl_div(log_probability, normal, reduction="none").sum(-1)
    return (divergence * batch.joint_valid).mean()


def part_iou_error(prediction: Prediction, batch: Batch) -> Float[Tensor, ""]:
    """1 − soft IoU of the part labels (not the paper's).

    The IoU of a label over the whole batch, with probabilities in place of pixels
    (Rahman and Wang 2016, "Optimizing intersection-over-union in deep neural
    networks"), mean over the labels that occur. A small part counts as much as the
    palm, as in the part mIoU.
    """
    labels = batch.parts.long()
    probability = prediction.part_logits.float().softmax(1)  # (b, 33, h, h)
    valid = batch.parts_valid[:, None, None].expand(labels.shape)

    # 1. Over all valid pixels, for each label: probability where it is true, and how
    # often.
    probability_of_truth = probability.gather(1, labels[:, None])[:, 0] * valid
    zeros = probability_of_truth.new_zeros(probability.shape[1])
    intersection = zeros.index_add(0, labels.flatten(), probability_of_truth.flatten())
    true_pixels = zeros.index_add(0, labels.flatten(), valid.flatten())

    # 2. IoU of each label, averaged over those that occur.
    predicted_pixels = (probability * valid[:, None]).sum((0, 2, 3))
    union = predicted_pixels + true_pixels - intersection
    occurs = true_pixels > 0
    error = 1 - intersection / union.clamp_min(1e-6)
    return (error * occurs).sum() / occurs.sum().clamp_min(1)


# Every term: a function of prediction and batch.
LOSS_TERMS = {
    "joints": joint_error,
    "relative_root_depth": root_depth_error,
    "hand_type": hand_type_error,
    "parts": part_error,
    "bones": bone_error,
    "heatmaps": heatmap_error,  # not in the paper
    "part_iou": part_iou_error,  # not in the paper
}

"""What training minimises: named terms of a `Prediction` and a `Batch`."""

from collections.abc import Mapping

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
    """The terms by name, times their weights; the loss is their sum. Lengths in heat-map units.

    What is invalid counts as zero in the means over the batch, as in the original. A term without
    a weight, or of weight 0, is left out: by default "heatmaps" and "part_iou", which the paper has
    not. `hand_pixels`: see `part_error`.
    """
    joints, depth = prediction.joints_25d, prediction.relative_root_depth
    hand_type = F.binary_cross_entropy_with_logits(
        prediction.hand_type_logits, batch.hand_type, reduction="none"
    )
    terms = {
        "joints": (
            (joints - batch.joints_25d).abs() * batch.joint_valid[..., None]
        ).mean(),
        "relative_root_depth": (
            (depth - batch.relative_root_depth).abs() * batch.root_valid
        ).mean(),
        "hand_type": (hand_type.mean(1) * batch.hand_type_valid).mean(),
        "parts": part_error(prediction, batch, hand_pixels),
        "bones": bone_error(joints, batch.joints_25d, batch.joint_valid),
    }
    if weights.get("heatmaps"):
        truth = batch.joints_25d, batch.joint_valid
        terms["heatmaps"] = heatmap_error(prediction.heatmaps, *truth)
    if weights.get("part_iou"):
        terms["part_iou"] = part_iou_error(prediction, batch)
    return {
        name: weights[name] * term for name, term in terms.items() if weights.get(name)
    }


def part_error(
    prediction: Prediction, batch: Batch, hand_pixels: float = 1.0
) -> Float[Tensor, ""]:
    """Cross-entropy of the part map, mean over pixels, zero where a frame's mask is not valid.

    A pixel on a hand counts `hand_pixels` times one of the background; 1 is the paper's loss.
    """
    error = F.cross_entropy(
        prediction.part_logits.float(), batch.parts.long(), reduction="none"
    )
    weight = torch.where(batch.parts > 0, hand_pixels, 1.0)
    error = (error * weight).sum((1, 2)) / weight.sum((1, 2))
    return (error * batch.parts_valid).mean()


def part_iou_error(prediction: Prediction, batch: Batch) -> Float[Tensor, ""]:
    """1 − the soft Jaccard index of a label over the batch, mean over the labels that are there.

    The index is the IoU with probabilities for pixels (Rahman and Wang 2016). A small part counts
    as much as the palm, as in the part mIoU.
    """
    labels = batch.parts.long()
    valid = batch.parts_valid[:, None, None].expand(labels.shape)
    probability = prediction.part_logits.float().softmax(1)
    hit = probability.gather(1, labels[:, None])[:, 0] * valid
    zero = hit.new_zeros(probability.shape[1])
    both = zero.index_add(0, labels.flatten(), hit.flatten())
    true = zero.index_add(0, labels.flatten(), valid.flatten())
    either = (probability * valid[:, None]).sum((0, 2, 3)) + true - both
    there = true > 0
    return ((1 - both / either.clamp_min(1e-6)) * there).sum() / there.sum().clamp_min(
        1
    )


def bone_error(
    joints: Float[Tensor, "b 42 3"],
    target: Float[Tensor, "b 42 3"],
    valid: Float[Tensor, "b 42"],
) -> Float[Tensor, ""]:
    """Squared error of bone vectors with two valid ends: mean over a hand, the hands added."""
    child, parent = torch.as_tensor(BONES, device=joints.device).unbind(1)
    error = joints - target
    square = (error[:, child] - error[:, parent]) ** 2  # (b, 40, 3)
    return 2 * (square * (valid[:, child] * valid[:, parent])[..., None]).mean()


def heatmap_error(
    heatmaps: Float[Tensor, "b 42 c c"],
    target: Float[Tensor, "b 42 3"],
    valid: Float[Tensor, "b 42"],
    deviation: float = 0.8,
) -> Float[Tensor, ""]:
    """Divergence (nats) of each heat map's softmax from a normal distribution around its joint.

    `deviation` is in cells. A soft-argmax alone says where a map's mean should be, not its mass;
    told both, networks learn in a fraction of the samples (Nibali et al. 2018 regularise likewise).
    """
    cells = heatmaps.shape[-1]
    centres = torch.arange(cells, device=heatmaps.device) + 0.5
    distance = centres - target[..., :2, None] * (
        cells / HEATMAP_CELLS
    )  # (b, 42, 2, c)
    x, y = (-(distance**2) / (2 * deviation**2)).softmax(-1).unbind(2)
    normal = (y[..., :, None] * x[..., None, :]).flatten(2)
    log_probability = heatmaps.float().flatten(2).log_softmax(-1)
    divergence = F.kl_div(log_probability, normal, reduction="none").sum(-1)
    return (divergence * valid).mean()

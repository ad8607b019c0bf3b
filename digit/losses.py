"""What training minimises: named terms of a `Prediction` and a `Batch` (spec section 6)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .dataset import Batch
from .network import Prediction
from .skeleton import BONES

PAPER_WEIGHTS = {
    "joints": 1.0, "relative_root_depth": 1.0, "hand_type": 1.0, "parts": 10.0, "bones": 0.1,
}  # fmt: skip


def losses(
    prediction: Prediction, batch: Batch, weights: Mapping[str, float] = PAPER_WEIGHTS
) -> dict[str, Float[Tensor, ""]]:
    """The terms by name, times their weights; the loss is their sum. Lengths in heat-map units.

    What is invalid counts as zero in the means over the batch, as in the original. A term without
    a weight, or of weight 0, is left out.
    """
    joints, depth = prediction.joints_25d, prediction.relative_root_depth
    hand_type = F.binary_cross_entropy_with_logits(
        prediction.hand_type_logits, batch.hand_type, reduction="none"
    )
    terms = {
        "joints": ((joints - batch.joints_25d).abs() * batch.joint_valid[..., None]).mean(),
        "relative_root_depth": (
            (depth - batch.relative_root_depth).abs() * batch.root_valid
        ).mean(),
        "hand_type": (hand_type.mean(1) * batch.hand_type_valid).mean(),
        "parts": part_error(prediction, batch),
        "bones": bone_error(joints, batch.joints_25d, batch.joint_valid),
    }
    return {name: weights[name] * term for name, term in terms.items() if weights.get(name)}


def part_error(prediction: Prediction, batch: Batch) -> Float[Tensor, ""]:
    """Cross-entropy of the part map, mean over pixels, zero where a frame's mask is not valid."""
    error = F.cross_entropy(prediction.part_logits.float(), batch.parts.long(), reduction="none")
    return (error.mean((1, 2)) * batch.parts_valid).mean()


def bone_error(
    joints: Float[Tensor, "b 42 3"], target: Float[Tensor, "b 42 3"], valid: Float[Tensor, "b 42"]
) -> Float[Tensor, ""]:
    """Squared error of bone vectors with two valid ends: mean over a hand, the hands added."""
    child, parent = torch.as_tensor(BONES, device=joints.device).unbind(1)
    error = joints - target
    square = (error[:, child] - error[:, parent]) ** 2  # (b, 40, 3)
    return 2 * (square * (valid[:, child] * valid[:, parent])[..., None]).mean()

"""The flip test."""

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from digit.model.network import Prediction
from digit.skeleton import HEATMAP_CELLS, SWAP_JOINTS, SWAP_LABELS


def mirrored(values: Shaped[Tensor, "*b s"]) -> Shaped[Tensor, "*b s"]:
    """A crop, or labels on it, in the mirror about column s/2: column x → s − x, as training crops
    are mirrored. Column 0, whose image lies outside, stays."""
    return torch.cat([values[..., :1], values[..., 1:].flip(-1)], -1)


class FlipTest(torch.nn.Module):
    """A network that looks twice, the second time in the mirror; the mean of what it says.

    Known as flip test; not in the paper's protocol. It takes twice the time.
    """

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network, self.image_size = network, network.image_size

    def forward(
        self,
        image: Float[Tensor, "b 3 s s"],
        true_parts: UInt8[Tensor, "b h h"] | None = None,
    ) -> Prediction:
        given = [] if true_parts is None else [true_parts]
        labels = torch.as_tensor(SWAP_LABELS, device=image.device)
        swapped = [labels[mirrored(parts).long()] for parts in given]
        looks = (
            self.network(image, *given),
            unmirrored(self.network(mirrored(image), *swapped)),
        )
        return Prediction(*((first + second) / 2 for first, second in zip(*looks)))


def unmirrored(prediction: Prediction) -> Prediction:
    """What a prediction for a mirrored crop says of the crop itself."""
    joints = prediction.joints_25d[:, SWAP_JOINTS]
    x = HEATMAP_CELLS - joints[..., :1]
    return Prediction(
        torch.cat([x, joints[..., 1:]], -1),
        HEATMAP_CELLS - prediction.relative_root_depth,  # the middle cell is depth zero
        prediction.hand_type_logits.flip(-1),
        mirrored(prediction.part_logits)[:, SWAP_LABELS.astype(int)],
        prediction.heatmaps.flip(-1)[:, SWAP_JOINTS],
    )

"""The flip test: a network's prediction averaged with that for the mirrored picture.

`digit predict --flip-test` and `digit evaluate --flip-test` wrap their network in
`FlipTest`. It is not part of the paper's protocol.
"""

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from digit.model.network import Prediction
from digit.skeleton import HEATMAP_CELLS, SWAP_JOINTS, SWAP_LABELS


class FlipTest(torch.nn.Module):
    """A network that also predicts the mirrored picture, and averages the two.

    It is called as the network itself is, and takes twice the time.
    """

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network
        self.image_size = network.image_size

    def forward(
        self,
        image: Float[Tensor, "b 3 s s"],
        true_parts: UInt8[Tensor, "b h h"] | None = None,
    ) -> Prediction:
        """The mean of both predictions; arguments as the network's own."""
        if true_parts is None:
            straight = self.network(image)
            flipped = self.network(mirrored(image))
        else:
            labels = torch.as_tensor(SWAP_LABELS, device=image.device)
            flipped_parts = labels[mirrored(true_parts).long()]
            straight = self.network(image, true_parts)
            flipped = self.network(mirrored(image), flipped_parts)
        pairs = zip(straight, unmirrored(flipped), strict=True)
        return Prediction(*((first + second) / 2 for first, second in pairs))


def mirrored(values: Shaped[Tensor, "*b s"]) -> Shaped[Tensor, "*b s"]:
    """Mirror crops, or labels on them, as training crops are mirrored.

    Column x goes to s − x, about the crop's middle s/2. Column 0 would come from outside
    and stays.
    """
    return torch.cat([values[..., :1], values[..., 1:].flip(-1)], -1)


def unmirrored(prediction: Prediction) -> Prediction:
    """Turn the prediction for a mirrored crop into one for the crop itself.

    Sides are exchanged in joints, parts and hand type, x in cells goes to 64 − x, and
    the relative root depth, whose middle cell is 0 mm, changes its sign.
    """
    joints = prediction.joints_25d[:, SWAP_JOINTS]
    x = HEATMAP_CELLS - joints[..., :1]
    swap_labels = SWAP_LABELS.astype(int)
    return Prediction(
        joints_25d=torch.cat([x, joints[..., 1:]], -1),
        relative_root_depth=HEATMAP_CELLS - prediction.relative_root_depth,
        hand_type_logits=prediction.hand_type_logits.flip(-1),
        part_logits=mirrored(prediction.part_logits)[:, swap_labels],
        heatmaps=prediction.heatmaps.flip(-1)[:, SWAP_JOINTS],
    )

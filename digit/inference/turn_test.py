"""The turn test: a picture predicted in four quarter turns, the surest of them kept.

`digit predict --turn-test` and `digit evaluate --turn-test` wrap their network in
`TurnTest`, for cameras held sideways, upside down or above a table. It is not part of
the paper's protocol.
"""

import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

from digit.evaluation.heatmaps import heatmap_entropy
from digit.inference.flip_test import FlipTest, mirrored
from digit.model.network import Prediction
from digit.skeleton import HEATMAP_CELLS

# How much surer than the picture as it is (entropy of the heat maps, nats) a turned one
# has to be. Chosen on a third of the photographs of `val`, most of which are upright.
MARGIN_NATS = 0.2


class TurnTest(torch.nn.Module):
    """A network that also predicts the picture turned by 90, 180 and 270 degrees.

    Of the four predictions it returns the one whose heat maps have the least entropy,
    which for most hands is the one in the position the network has seen most. It is
    called as the network itself is, and takes four times the time.

    Args:
        network: A network, or a `FlipTest` around one.
        margin_nats: How much surer a turned picture has to be than the one given.
    """

    def __init__(self, network: torch.nn.Module, margin_nats: float = MARGIN_NATS):
        super().__init__()
        self.network = network
        self.image_size = network.image_size
        self.margin_nats = margin_nats

    def forward(
        self,
        image: Float[Tensor, "b 3 s s"],
        true_parts: UInt8[Tensor, "b h h"] | None = None,
    ) -> Prediction:
        """The surest prediction, in the picture's own position; arguments as the
        network's own."""
        inputs = [image] if true_parts is None else [image, true_parts]
        surest = self.network(*inputs)
        least_doubt = doubt_nats(surest) - self.margin_nats
        for quarters in (1, 2, 3):
            # One quarter further than in the round before.
            inputs = [turned(values) for values in inputs]
            prediction = unturned(self.network(*inputs), quarters)
            doubt = doubt_nats(prediction)
            surer = doubt < least_doubt
            least_doubt = torch.where(surer, doubt, least_doubt)
            surest = chosen(surer, prediction, surest)
        return surest


def with_test_time_options(
    network: torch.nn.Module, flip_test: bool, turn_test: bool
) -> torch.nn.Module:
    """A network as it is, in a flip test, in a turn test, or a flip test in a turn test."""
    if flip_test:
        network = FlipTest(network)
    return TurnTest(network) if turn_test else network


def doubt_nats(prediction: Prediction) -> Float[Tensor, "b"]:
    """Mean entropy of the heat maps of the hands that are seen (nats)."""
    of_hand = heatmap_entropy(prediction.heatmaps).unflatten(1, (2, -1)).mean(-1)
    probability = prediction.hand_type_logits.float().sigmoid()
    # A hand that is not seen counts only where neither is.
    weight = torch.where(probability > 0.5, probability, 1e-3)
    return (weight * of_hand).sum(-1) / weight.sum(-1)


def chosen(first: Bool[Tensor, "b"], one: Prediction, other: Prediction) -> Prediction:
    """For each picture the first of two predictions where `first` is true."""
    return Prediction(
        *(
            torch.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b)
            for a, b in zip(one, other, strict=True)
        )
    )


def turned(values: Shaped[Tensor, "*b s s"]) -> Shaped[Tensor, "*b s s"]:
    """Turn crops, or labels on them, by a quarter turn counter-clockwise.

    A point (x, y) goes to (y, s − x). As in `flip_test.mirrored`, whatever would come
    from outside stays.
    """
    return mirrored(values).mT.contiguous()


def turned_back(values: Shaped[Tensor, "*b s s"]) -> Shaped[Tensor, "*b s s"]:
    """Undo `turned`."""
    return mirrored(values.mT)


def unturned(prediction: Prediction, quarters: int) -> Prediction:
    """Turn the prediction for a turned crop into one for the crop itself.

    Depths, sides and hand type are the same in every position.

    Args:
        prediction: For a crop turned by that many `turned`.
        quarters: How many quarter turns.
    """
    joints = prediction.joints_25d
    parts = prediction.part_logits
    heatmaps = prediction.heatmaps
    for _ in range(quarters):
        x, y, depth = joints.unbind(-1)
        joints = torch.stack([HEATMAP_CELLS - y, x, depth], -1)
        parts = turned_back(parts)
        heatmaps = heatmaps.mT.flip(-1)
    return prediction._replace(joints_25d=joints, part_logits=parts, heatmaps=heatmaps)

"""The exponential moving average of a network's weights under training.

Where the setting `ema` is on, the averaged weights are those that are evaluated and
used.
"""

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from digit.model.network import Digit


class WeightAverage(AveragedModel):
    """A copy of the network whose weights are averages over the training steps.

    average ← d · average + (1 − d) · weights, with d = min(decay, (1 + step) / (10 +
    step)), so that the random weights of the beginning are soon forgotten. Batch-norm
    statistics are averaged as well.

    Args:
        network: The network to copy.
        decay: The decay of long runs.
    """

    def __init__(self, network: Digit, decay: float):
        super().__init__(network, multi_avg_fn=self._average, use_buffers=True)
        self.decay = decay
        self.step = 0
        self.requires_grad_(False)

    def update(self, network: Digit, step: int) -> None:
        """Take in the weights after an optimiser step, counted from 1."""
        self.step = step
        self.update_parameters(network)

    def resume(self, state: dict[str, Tensor], step: int) -> None:
        """Go on from the averaged weights after a step."""
        self.module.load_state_dict(state)
        # Else the next update would replace the average by the weights.
        self.n_averaged += step

    def _average(self, averaged: list, current: list, _count: object) -> None:
        """Called by torch with all tensors of both networks."""
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(averaged, current, 0)


def evaluated_network(network: Digit, average: WeightAverage | None) -> torch.nn.Module:
    """The weights that count: the averaged ones, where there are any."""
    return network if average is None else average.module

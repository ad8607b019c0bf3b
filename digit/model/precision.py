"""Half precision where the processor computes in it: twice as fast, nearly as exact.

Training asks `cpu_computes_bfloat16` for its setting "auto"; `digit predict` wraps its
network in `InBfloat16`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from digit.model.network import Prediction


def cpu_computes_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 by itself; others only imitate it."""
    return torch.cpu._is_avx512_bf16_supported()


class InBfloat16(torch.nn.Module):
    """A network that computes in bfloat16 where autocast thinks that safe.

    It is called as the network itself is. On photographs its joints differed from those
    in single precision by 0.07 cells of 64 on average and their errors by less than
    0.3 % (`small`, 48 crops).

    Args:
        network: The network, whose weights stay in single precision.
    """

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network
        self.image_size = network.image_size

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Prediction:
        """The network's prediction, in single precision again."""
        with torch.autocast(image.device.type, dtype=torch.bfloat16):
            prediction = self.network(image)
        return Prediction(*(output.float() for output in prediction))

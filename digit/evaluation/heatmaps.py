"""How unsure heat maps are.

Without pandas, so that `digit predict` starts quickly: `digit.inference` needs the entropy
as well as `metrics`.
"""

from jaxtyping import Float
from torch import Tensor


def heatmap_entropy(heatmaps: Float[Tensor, "b 42 c c"]) -> Float[Tensor, "b 42"]:
    """Entropy (nats) of each joint's softmax over its heatmap: how unsure it is."""
    log_probability = heatmaps.float().flatten(2).log_softmax(-1)
    return -(log_probability.exp() * log_probability).sum(-1)

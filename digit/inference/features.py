"""The pooled features of a network, caught while it predicts.

`digit.inference.evaluate` keeps them beside an error table, so that the failure browser
finds frames that look alike to the network.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor


@contextmanager
def pooled_features(network: torch.nn.Module) -> Iterator[list[Float[Tensor, "b d"]]]:
    """Collect what the hand type and the relative root depth are predicted from.

    Args:
        network: A `digit.model.network.Digit`, or a flip or turn test of one.

    Yields:
        A list to which every forward pass within the context appends the features of
        its images: the mean over the picture of the output of `conv_head`.

    Raises:
        AttributeError: If the network has no such layers.

    Example:
        >>> with pooled_features(network) as found:
        ...     network(images)
        >>> found[0].shape
    """
    found: list[Tensor] = []

    def keep(layer: torch.nn.Module, inputs: tuple, output: Tensor) -> None:
        found.append(output.float().mean((2, 3)))

    inner = network
    while hasattr(inner, "network"):  # of a flip test, of a turn test
        inner = inner.network
    handle = inner.conv_head.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()

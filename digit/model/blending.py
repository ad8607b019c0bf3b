"""Blending two checkpoints of the same network: a weighted mean of their weights.

A network trained on from other weights often keeps more of what it could before, and most
of what it has learned, half-way between the two (Wortsman et al. 2022, "Robust fine-tuning
of zero-shot models"). `digit blend` calls `blend_checkpoints`.
"""

from pathlib import Path

from digit.model.checkpoints import Source, load_network, save_checkpoint
from digit.model.network import Digit


def blend(first: Source, second: Source, share: float) -> Digit:
    """Average the weights of two networks.

    Args:
        first: A checkpoint.
        second: A checkpoint of the same network; its crop size is the result's.
        share: Weight of the second, 0 to 1; batch-norm statistics are averaged alike.

    Returns:
        The network of averaged weights, in evaluation mode.

    Raises:
        ValueError: If the share is out of range, or the networks are not the same.
        FileNotFoundError: If a checkpoint is missing.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share {share}: must be from 0 to 1")
    of_first = load_network(first).float().state_dict()
    network = load_network(second).float()
    blended = network.state_dict()
    shapes_of_first = {name: tensor.shape for name, tensor in of_first.items()}
    shapes = {name: tensor.shape for name, tensor in blended.items()}
    if shapes_of_first != shapes:
        raise ValueError(
            f"{first} and {second} hold different networks; give two checkpoints of one"
        )
    for name, tensor in blended.items():
        if tensor.dtype.is_floating_point:
            tensor.lerp_(of_first[name], 1 - share)
    network.load_state_dict(blended)
    return network


def blend_checkpoints(
    first: Path, second: Path, share: float, out: Path, half: bool = False
) -> None:
    """Write the average of two checkpoints, see `blend`.

    Args:
        first: A checkpoint.
        second: A checkpoint of the same network.
        share: Weight of the second.
        out: Where to write the average.
        half: Whether to write it in half precision, as the shipped weights are.
    """
    network = blend(first, second, share)
    save_checkpoint(out, network.half() if half else network)

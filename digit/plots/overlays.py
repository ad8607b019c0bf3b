"""Parts, heatmaps and errors painted over pictures."""

from functools import cache

import cv2
import matplotlib as mpl
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.colors import to_rgb

from digit import skeleton as sk
from digit.plots.style import LINE_COLORS, RGB, Labels, finger_color


@cache
def part_colors() -> UInt8[np.ndarray, "33 3"]:
    """RGB of each part label: hue by finger, lighter towards the tip, the left hand paler still."""
    shades = {
        "1": (-0.4, 0.4),
        "2": (0.0, 0.58),
        "3": (0.28, 0.74),
        "m": (-0.25, 0.6),
    }  # m: palm
    colors = np.zeros((sk.N_LABELS, 3))
    for label in range(1, sk.N_LABELS):
        side, part = divmod(label - 1, sk.PARTS_PER_HAND)
        shade = shades[sk.PARTS[part][-1]][side]
        colors[label] = to_rgb(finger_color(int(sk.PART_FINGER[part]), side, shade))
    return np.round(255 * colors).astype(np.uint8)


def paint_parts(image: RGB, labels: Labels, opacity: float = 0.75) -> RGB:
    """The picture with its part labels painted over; the left hand is hatched, borders are dark."""
    color = part_colors()[labels].astype(np.float32)
    hatch = np.indices(labels.shape).sum(0) % max(4, labels.shape[0] // 40) == 0
    color[hatch & (labels > sk.PARTS_PER_HAND)] *= 0.55
    edge = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
    color[edge] *= 0.35
    shown = ((labels > 0) | edge)[..., None] * opacity
    return np.round(image * (1 - shown) + color * shown).astype(np.uint8)


def paint_heatmap(image: RGB, heatmap: Float[np.ndarray, "a b"]) -> RGB:
    """The picture, greyed, under a heat map of any size: clear at 0, strongest at its maximum."""
    heat = cv2.resize(heatmap.astype(np.float32), image.shape[1::-1])
    heat = np.clip(heat / max(float(heat.max()), 1e-12), 0, 1)
    shown = np.minimum(1, 2.5 * heat)[..., None] * 0.85
    grey = image.mean(-1, keepdims=True) * 0.8
    color = mpl.colormaps["inferno"](heat)[..., :3] * 255
    return np.round(grey * (1 - shown) + color * shown).astype(np.uint8)


LAYERS = (
    "true parts",
    "predicted parts",
    "wrong pixels",
    "part probability",
    "joint heat map",
    "uncertainty",
)
WRONG = {
    "the other hand": LINE_COLORS[1],
    "another part": LINE_COLORS[0],
    "hand or not": "#F0E442",
}


def paint_wrong(image: RGB, labels: Labels, true: Labels) -> RGB:
    """The picture, greyed, its wrongly labelled pixels coloured as in `WRONG`."""
    side, true_side = (
        np.ceil(v / sk.PARTS_PER_HAND).astype(int) for v in (labels, true)
    )
    both = (side > 0) & (true_side > 0)
    kinds = both & (side != true_side), (side == true_side) & (labels != true)
    kinds = *kinds, (side > 0) != (true_side > 0)
    painted = np.repeat(image.mean(-1, keepdims=True) * 0.7, 3, -1)
    for kind, color in zip(kinds, WRONG.values()):
        painted[kind] = 0.25 * painted[kind] + 0.75 * 255 * np.array(to_rgb(color))
    return np.round(painted).astype(np.uint8)


def paint_layer(
    image: RGB,
    layer: str,
    true: Labels | None,
    labels: Labels | None,
    probability: Float[np.ndarray, "33 a b"] | None,
    heatmaps: Float[np.ndarray, "42 c d"] | None,
    part: int,
    joint: int,
) -> tuple[RGB, str]:
    """One of `LAYERS` over the picture (any other name: the picture), and what it shows in words.

    `labels`, `probability` (of parts) and `heatmaps` (sum 1) are a network's, None without one;
    `true` labels are None where they are not known. The words then say what is missing.
    """
    if layer in ("true parts", "wrong pixels") and true is None:
        return image, "The true parts of this frame are not known."
    if layer in LAYERS[1:] and labels is None:
        return image, "This layer needs a network: give its checkpoint."
    if layer == "true parts":
        return paint_parts(image, true), "true parts; left hand hatched"
    if layer == "predicted parts":
        return paint_parts(image, labels), "predicted parts; left hand hatched"
    if layer == "wrong pixels":
        hands = (true > 0) | (labels > 0)
        share = ((labels != true) & hands).sum() / max(1, hands.sum())
        return paint_wrong(
            image, labels, true
        ), f"{share:.0%} of the hands' pixels are wrong"
    if layer == "part probability":
        found = probability[part].astype(float)
        return paint_heatmap(
            image, found
        ), f"{sk.LABELS[part]}: probability up to {found.max():.2f}"
    if layer == "joint heat map":
        found = heatmaps[joint].astype(float)
        return paint_heatmap(
            image, found
        ), f"{sk.JOINTS[joint]}: up to {found.max():.3f} in a cell"
    if layer == "uncertainty":
        found = probability.astype(float)
        found = -(found * np.log(found.clip(1e-9))).sum(0)
        return paint_heatmap(
            image, found
        ), f"entropy of the parts: up to {found.max():.2f} nats"
    return image, ""

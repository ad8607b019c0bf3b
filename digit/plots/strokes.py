"""What a drawing of hands consists of: coloured lines, and how the sides differ.

`digit.plots.hands` draws strokes with matplotlib and plotly, `digit.plots.painting` into
the pixels of a picture. Nothing here needs a drawing library, so that `digit predict`
starts quickly.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from digit import skeleton as sk

PALER = 0.35  # share of white in the left hand's colours; by eye

# Joints of one hand, finger by finger: tip … base, wrist.
CHAINS = [
    [*range(4 * finger, 4 * finger + 4), sk.HAND_WRIST]
    for finger in range(len(sk.FINGERS))
]


class SideLook(NamedTuple):
    """How one hand differs from the other without colour."""

    line_style: str  # matplotlib
    filled: bool  # marks
    hatch: str  # bars, matplotlib
    plotly_dash: str
    plotly_symbol: str


# The rule of every picture: the right hand is solid and filled, the left hand dashed
# and hollow. digit/widgets/web/hands.js is its counterpart in the browser.
SIDE_LOOKS = (
    SideLook("-", True, "", "solid", "circle"),
    SideLook("--", False, "////", "dash", "circle-open"),
)


class Stroke(NamedTuple):
    """A polyline in pixels (2D) or mm (3D)."""

    points: Float[np.ndarray, "n d"]  # NaN is not drawn
    color: str
    left: bool = False  # drawn dashed and hollow
    marks: bool = True  # a mark at each point
    label: str = ""  # written at the first point

    @property
    def look(self) -> SideLook:
        """How its side is drawn."""
        return SIDE_LOOKS[int(self.left)]


def finger_color(finger: int, side: int, shade: float | None = None) -> str:
    """Colour of a finger; the left hand's is paler than the right's.

    Args:
        finger: 0 thumb … 4 pinky, 5 palm and wrist.
        side: 0 right, 1 left.
        shade: share of white (> 0) or black (< 0) mixed in; by default 0.35 of
            white for the left hand and none for the right.

    Returns:
        The colour as "#rrggbb".
    """
    if shade is None:
        shade = PALER * side
    color = np.array(rgb(sk.FINGER_COLORS[finger])) / 255
    mixed = color * (1 - abs(shade)) + max(shade, 0)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in mixed.tolist())


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a colour such as "#0072b2"."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def hand_strokes(
    joints: Float[np.ndarray, "42 d"], color: str | None = None
) -> list[Stroke]:
    """The strokes of both hands, the right one's first.

    Args:
        joints: Joints of both hands, pixels or mm.
        color: One colour for all strokes instead of the fingers' colours.

    Returns:
        Those of `side_strokes` for each hand.
    """
    right = side_strokes(joints[: sk.JOINTS_PER_HAND], side=0, color=color)
    left = side_strokes(joints[sk.JOINTS_PER_HAND :], side=1, color=color)
    return right + left


def side_strokes(
    joints: Float[np.ndarray, "21 d"], side: int, color: str | None = None
) -> list[Stroke]:
    """The strokes of one hand.

    Args:
        joints: Its joints, pixels or mm.
        side: 0 right, 1 left.
        color: One colour for all strokes instead of the fingers' colours.

    Returns:
        Each finger from tip to wrist, then the wrist by itself, so that it is drawn in
        the palm's colour and where no finger is known.
    """
    strokes = []
    for finger, chain in enumerate([*CHAINS, [sk.HAND_WRIST]]):
        chosen = color or finger_color(finger, side)
        strokes.append(Stroke(joints[chain], chosen, left=side == 1))
    return strokes

"""One look for every figure."""

import io

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from digit import skeleton as sk

RGB = UInt8[np.ndarray, "h w 3"]
Labels = UInt8[np.ndarray, "h w"]
Pixels = Float[np.ndarray, "42 2"]
Values = Shaped[np.ndarray, "_"]
INK, FRAME, GRID = "#222222", "#888888", "#E4E4E4"
LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#444444")
LINE_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
CHAINS = [
    [*range(4 * f, 4 * f + 4), sk.HAND_WRIST] for f in range(5)
]  # tip … base, wrist
EYE = np.array([0.35, -0.25, -0.9])  # where the reader stands, in camera axes
STYLE = {  # matplotlib's, for `with mpl.rc_context(STYLE)`; every figure here has it
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "savefig.dpi": 110,
    "font.size": 10,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": FRAME,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "legend.edgecolor": "white",
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.8,
    "axes.prop_cycle": mpl.cycler(color=LINE_COLORS, linestyle=LINE_DASHES),
}
PLOTLY = dict(  # the same look for plotly: `figure.update_layout(PLOTLY)`
    template="plotly_white",
    colorway=LINE_COLORS,
    margin=dict(l=50, r=10, t=40, b=40),
    font=dict(family="DejaVu Sans, Verdana, sans-serif", size=12, color=INK),
)


class Picture(Figure):
    """A matplotlib figure that shows itself in a notebook without pyplot or an inline backend."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.05)
        return buffer.getvalue()


def finger_color(finger: int, side: int, shade: float | None = None) -> str:
    """Hex colour of a finger (5: palm and wrist), mixed with white (shade > 0) or black (< 0)."""
    shade = 0.35 * side if shade is None else shade  # the left hand is the paler
    return to_hex(
        np.array(to_rgb(sk.FINGER_COLORS[finger])) * (1 - abs(shade)) + max(shade, 0)
    )


def _panels(
    count: int, columns: int = 0, height: float = 2.9
) -> tuple[Figure, list[Axes]]:
    columns = columns or min(3, max(2, count))
    across, rows = max(1, min(columns, count)), max(1, -(-count // columns))
    figure = Picture(figsize=(10 / columns * across, height * rows))
    grid = list(figure.subplots(rows, across, squeeze=False).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]

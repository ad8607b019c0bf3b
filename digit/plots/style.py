"""One look for every figure: colours, dashes, fonts, a figure that shows itself.

Used by the other modules of `digit.plots`, by the widgets, and by notebooks that draw a
figure of their own.
"""

import io

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Types that recur in the signatures of this package.
RGB = UInt8[np.ndarray, "h w 3"]
Labels = UInt8[np.ndarray, "h w"]
Pixels = Float[np.ndarray, "42 2"]
Values = Shaped[np.ndarray, "_"]

INK = "#222222"  # text, intervals, what is drawn over data
FRAME = "#888888"
GRID = "#E4E4E4"

# Okabe and Ito's colours in an order that also differs in brightness. Each series has
# its own dash as well, so that a figure can be read without colour.
LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#444444")
LINE_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))

# Direction from the hands to the viewer in camera axes (x right, y down, z forward):
# a little right of the camera and above it. Chosen by eye.
VIEW_DIRECTION = np.array([0.35, -0.25, -0.9])

# matplotlib's settings, for `with mpl.rc_context(STYLE):`.
STYLE = {
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

# The same look for plotly, for `figure.update_layout(PLOTLY)`.
PLOTLY = {
    "template": "plotly_white",
    "colorway": LINE_COLORS,
    "margin": {"l": 50, "r": 10, "t": 40, "b": 40},
    "font": {
        "family": "DejaVu Sans, Verdana, sans-serif",
        "size": 12,
        "color": INK,
    },
}


class Picture(Figure):
    """A matplotlib figure that shows itself in a notebook without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.05)
        return buffer.getvalue()


def panel_grid(
    count: int, columns: int = 0, row_height: float = 2.9
) -> tuple[Figure, list[Axes]]:
    """A figure ten inches wide with `count` panels in rows.

    Args:
        count: Number of panels.
        columns: Panels in a row; 0 chooses two or three.
        row_height: Height of a row, inches.

    Returns:
        The figure and its panels; cells left over in the last row stay empty.
    """
    columns = columns or min(3, max(2, count))
    across = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    figure = Picture(figsize=(10 / columns * across, row_height * rows))
    panels = list(figure.subplots(rows, across, squeeze=False).flat)
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, panels[:count]

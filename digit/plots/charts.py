"""Charts of errors, distributions and learning curves.

Notebooks call these with plain arrays; each returns a figure in the common style.
"""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from digit import skeleton as sk
from digit.plots.hands import show_image
from digit.plots.strokes import SIDE_LOOKS, finger_color
from digit.plots.style import (
    INK,
    LINE_COLORS,
    LINE_DASHES,
    RGB,
    STYLE,
    Picture,
    Values,
    panel_grid,
)

# Half the width of a 95 % interval of a mean, in standard errors.
INTERVAL_95 = 1.96


def learning_curves(
    panels: Mapping[str, Mapping[str, pd.Series]], xlabel: str = "step"
) -> Figure:
    """Named curves over steps; a long curve is pale under its running mean.

    Args:
        panels: Label of the y axis → name → values over their index; NaN is skipped.
        xlabel: Label of the x axes.

    Returns:
        The figure, a panel for each label.
    """
    with mpl.rc_context(STYLE):
        figure, grid = panel_grid(len(panels))
        for axes, (ylabel, curves) in zip(grid, panels.items(), strict=True):
            for name, curve in curves.items():
                _draw_curve(axes, name, curve.dropna())
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set(xlabel=xlabel, ylabel=ylabel)
            axes.legend()
    return figure


def _draw_curve(axes: Axes, name: str, curve: pd.Series) -> None:
    """The running mean over a twentieth of the curve, and the curve itself."""
    # The mean over windows that are centred, so that it is not late
    window = max(1, len(curve) // 20)
    smooth = curve.rolling(window, center=True).mean()
    [line] = axes.plot(smooth, label=name)
    single = len(curve) == 1  # one point makes no line: it gets a mark
    axes.plot(
        curve,
        color=line.get_color(),
        linestyle="-",
        marker="o" if single else "",
        markersize=5,
        alpha=1.0 if single else 0.2,
    )


def distributions(panels: Mapping[str, Mapping[str, Values]], bins: int = 40) -> Figure:
    """Histograms of named groups of numbers; of words, how often each occurs.

    All groups of a panel share their bins. A group with less than a twentieth of the
    panel's values is drawn as one tick per value.

    Args:
        panels: Label of the x axis → name of a group → its values; what is not finite
            does not count.
        bins: Number of bins at most.

    Returns:
        The figure, a panel for each label.
    """
    with mpl.rc_context(STYLE):
        figure, grid = panel_grid(len(panels))
        for axes, (xlabel, groups) in zip(grid, panels.items(), strict=True):
            # Words are counted, numbers go into bins.
            values = np.concatenate(list(groups.values()))
            if values.dtype.kind in "UO":
                words, counts = np.unique(values.astype(str), return_counts=True)
                axes.bar_label(axes.bar(words, counts))
            else:
                _draw_histograms(axes, groups, values, bins)
            axes.set(xlabel=xlabel, ylabel="count")
            axes.grid(axis="x", visible=False)
            if len(groups) > 1:
                # Above the axes: inside, the legend would hide something.
                axes.legend(
                    loc="lower left",
                    bbox_to_anchor=(0, 1),
                    ncols=len(groups),
                    fontsize=8,
                )
    return figure


def _draw_histograms(
    axes: Axes, groups: Mapping[str, Values], values: Values, bins: int
) -> None:
    """Histograms of the groups over common bins; `values` are those of all groups."""
    # Few values get few bins.
    finite = values[np.isfinite(values)]
    edges = np.histogram_bin_edges(finite, min(bins, len(values) + 4))
    looks = itertools.cycle(zip(LINE_COLORS, LINE_DASHES, strict=True))
    for (name, group), (color, dash) in zip(groups.items(), looks, strict=False):
        finite = group[np.isfinite(group)]
        # A histogram of few values beside many would be flat.
        if 20 * len(finite) < len(values):
            axes.plot(
                finite,
                np.zeros(len(finite)),
                linestyle="",
                color=color,
                label=name,
                marker="|",
                markersize=14,
                markeredgewidth=1.6,
            )
        else:
            axes.hist(
                finite,
                edges,
                histtype="stepfilled",
                label=name,
                facecolor=(color, 0.15),
                edgecolor=color,
                linestyle=dash,
                linewidth=1.6,
            )


def binned_shares(
    panels: Mapping[str, tuple[Sequence[str], Mapping[str, Sequence[float]]]],
) -> Figure:
    """Shares of values in bins, the bars of several groups side by side.

    Args:
        panels: Label of the x axis → names of the bins, and name of a group → the share of
            its values in each bin.

    Returns:
        The figure, a panel for each label.
    """
    hatches = ("", "////", "....")
    with mpl.rc_context(STYLE):
        figure, grid = panel_grid(len(panels), columns=2)
        for axes, (xlabel, (bins, groups)) in zip(grid, panels.items(), strict=True):
            width = 0.8 / len(groups)
            for number, (name, shares) in enumerate(groups.items()):
                places = np.arange(len(bins)) + (number + 0.5) * width - 0.4
                axes.bar(
                    places,
                    shares,
                    width,
                    label=name,
                    color=LINE_COLORS[number % len(LINE_COLORS)],
                    hatch=hatches[number % len(hatches)],
                    edgecolor="white",
                )
            axes.set_xticks(range(len(bins)), bins)
            axes.set(xlabel=xlabel, ylabel="share")
            axes.grid(axis="x", visible=False)
        grid[0].legend()
    return figure


def ranges(
    values: Mapping[str, Values],
    limits: Mapping[str, tuple[float, float]],
    ylabel: str,
) -> Figure:
    """Ranges of named values side by side.

    A bar holds the 5th to 95th percentile, a thin line all values, a mark the median,
    and brackets the limits. Bars have the colour of the finger that the name begins
    with.

    Args:
        values: Name → values; NaN does not count.
        limits: Name → lower and upper limit.
        ylabel: Label of the y axis.

    Returns:
        The figure.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(10, 3.4))
        axes = figure.subplots()
        for x, (name, group) in enumerate(values.items()):
            # The finger that the name begins with, else the palm's grey
            fingers = [i for i, f in enumerate(sk.FINGERS) if name.startswith(f)]
            color = finger_color(fingers[0] if fingers else 5, 0, 0.2)
            # A bar for nine tenths of the values, a line for all, a mark for the median
            percentiles = np.nanpercentile(group, (0, 5, 50, 95, 100))
            lowest, low, median, high, highest = percentiles
            axes.bar(x, high - low, 0.6, bottom=low, color=color)
            axes.plot((x, x), (lowest, highest), color=INK, linestyle="-", linewidth=1)
            axes.plot(x, median, "o", color=INK, markersize=4)
            axes.plot(
                (x, x), limits[name], "_", color=INK, markersize=14, markeredgewidth=2
            )
        axes.set_xticks(range(len(values)), values, rotation=50, ha="right")
        axes.set(ylabel=ylabel, xlim=(-0.7, len(values) - 0.3))
        axes.grid(axis="x", visible=False)
    return figure


def intervals(panels: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Figure:
    """Numbers with their intervals, one below the other: where do they overlap?

    Args:
        panels: Label of the x axis → name of a row → lower end, number, upper end.

    Returns:
        The figure, a panel for each label; the rows of all panels are the same.
    """
    names = list(dict.fromkeys(name for rows in panels.values() for name in rows))
    with mpl.rc_context(STYLE):
        figure, grid = panel_grid(len(panels), row_height=1.2 + 0.35 * len(names))
        for axes, (xlabel, rows) in zip(grid, panels.items(), strict=True):
            for name, (low, middle, high) in rows.items():
                place = names.index(name)
                color = LINE_COLORS[place % len(LINE_COLORS)]
                axes.plot((low, high), (place, place), "-", color=color, linewidth=2.5)
                axes.plot(middle, place, "o", color=color, markersize=7)
            # Names at the first panel of a row only; the first name above
            axes.set_yticks(range(len(names)), names)
            axes.tick_params(labelleft=axes.get_subplotspec().is_first_col())
            axes.set(xlabel=xlabel, ylim=(len(names) - 0.5, -0.5))
            axes.grid(axis="y", visible=False)
    return figure


def joint_errors(
    errors_mm: Float[np.ndarray, "n 42"], ylabel: str = "error (mm)"
) -> Figure:
    """Mean error of each joint with its 95 % interval.

    Args:
        errors_mm: Error of each joint in each frame; NaN does not count.
        ylabel: Label of the y axis.

    Returns:
        The figure; the right hand's bars are plain and the left hand's hatched.
    """
    table = pd.DataFrame(errors_mm)
    joints = np.arange(sk.JOINTS_PER_HAND)
    fingers = sk.JOINT_FINGER[joints].tolist()
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(10, 3.2))
        axes = figure.subplots()
        for side, name in enumerate(sk.SIDES):
            # Right and left bars side by side
            hand = table.loc[:, side == sk.JOINT_SIDE]
            axes.bar(
                joints + 0.4 * side - 0.2,
                hand.mean(),
                0.36,
                yerr=INTERVAL_95 * hand.sem(),
                label=f"{name} hand",
                hatch=SIDE_LOOKS[side].hatch,
                color=[finger_color(finger, side) for finger in fingers],
                edgecolor="#555555",
                ecolor=INK,
            )
        axes.set_xticks(joints, sk.HAND_JOINTS, rotation=40, ha="right")
        axes.set(ylabel=ylabel, xlim=(-0.6, len(joints) - 0.4))
        axes.grid(axis="x", visible=False)
        axes.legend(ncols=2, loc=(0.75, 1.0))
    return figure


def pck_curves(
    errors_mm: Mapping[str, Float[np.ndarray, "..."]], limit_mm: float = 50
) -> Figure:
    """Percentage of correct keypoints over the distance that counts as correct.

    Args:
        errors_mm: Name → errors of joints; what is not finite does not count.
        limit_mm: Where the curves end, and the area under the curve with them.

    Returns:
        The figure; the legend gives the area under each curve, 1 for a perfect method.
    """
    with mpl.rc_context(STYLE):
        figure, [axes] = panel_grid(1)
        dashes = itertools.cycle(LINE_DASHES)
        for (name, errors), dash in zip(errors_mm.items(), dashes, strict=False):
            finite = errors[np.isfinite(errors)]
            if len(finite):
                # The integral of the empirical distribution, exactly
                area = np.clip(1 - finite / limit_mm, 0, 1).mean()
                axes.ecdf(finite, label=f"{name} (AUC {area:.3f})", linestyle=dash)
        axes.set(
            xlabel="distance to the true joint (mm)",
            ylabel="share of joints within it",
            xlim=(0, limit_mm),
            ylim=(0, 1.01),
        )
        axes.legend(loc="lower right")
    return figure


def shares_below(values: Mapping[str, Values], xlabel: str, ylabel: str) -> Figure:
    """What share of each group's values lies below a limit, over the limit.

    Args:
        values: Name of a group → its values; what is not finite does not count.
        xlabel: Label of the x axis, which is logarithmic: values are positive.
        ylabel: Label of the y axis.

    Returns:
        The figure.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(10, 2.9))
        axes = figure.subplots()
        looks = itertools.cycle(zip(LINE_COLORS, LINE_DASHES, strict=True))
        for (name, group), (color, dash) in zip(values.items(), looks, strict=False):
            finite = group[np.isfinite(group)]
            if len(finite):
                axes.ecdf(finite, label=name, color=color, linestyle=dash)
        axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log", ylim=(0, 1.01))
        # Beside the axes: inside, the legend would hide a curve.
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def error_against(
    columns: Mapping[str, Values],
    errors_mm: Values,
    ylabel: str = "MPJPE (mm)",
    bins: int = 8,
) -> Figure:
    """Frames' errors against columns, with the mean of each quantile.

    Args:
        columns: Label of the x axis → a value of each frame.
        errors_mm: The error of each frame; frames without a value or an error do not
            count.
        ylabel: Label of the y axes.
        bins: Number of quantiles: parts with equally many frames, in order of x.

    Returns:
        The figure; bars are 95 % intervals of the means.
    """
    with mpl.rc_context(STYLE):
        figure, grid = panel_grid(len(columns))
        for axes, (xlabel, column) in zip(grid, columns.items(), strict=True):
            table = pd.DataFrame({"x": column, "y": errors_mm})
            table = table.dropna().sort_values("x")
            axes.plot(table["x"], table["y"], ".", alpha=0.25, markersize=4)
            # Parts of equally many frames, in order of x
            quantile = np.arange(len(table)) * bins // max(len(table), 1)
            groups = table.groupby(quantile)
            mean = groups.mean()
            interval = INTERVAL_95 * groups["y"].sem()
            axes.errorbar(mean["x"], mean["y"], interval, fmt="o-", color=INK)
            axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, None))
    return figure


def pixel_probabilities(
    image: RGB, mark_px: tuple[float, float], probability: pd.Series
) -> Figure:
    """One pixel of an image, and how probable each label is there.

    Args:
        image: The crop, RGB.
        mark_px: Column and row of the pixel.
        probability: Of some labels, by name (`skeleton.LABELS`), the likeliest first.

    Returns:
        The image with the pixel marked, beside a bar per label in the colour of its finger;
        bars of the left hand are hatched.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(8.2, 3.2))
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
        show_image(left, image)
        left.plot(*mark_px, marker="o", markersize=13, color="white", fillstyle="none")
        left.plot(*mark_px, marker="+", markersize=9, color="white")

        names = list(probability.index)
        for row, (name, value) in enumerate(probability.items()):
            side = int(name.startswith("l_"))
            part = sk.PARTS.index(name[2:]) if name != "background" else None
            finger = 5 if part is None else int(sk.PART_FINGER[part])
            right.barh(
                row,
                value,
                color=finger_color(finger, side),
                hatch="////" * side,
                edgecolor="#555555",
            )
        right.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        right.invert_yaxis()
        right.set(xlabel="probability at this pixel", xlim=(0, 1))
        right.grid(axis="y", visible=False)
    return figure

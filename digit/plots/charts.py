"""Charts of errors, distributions and learning curves."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from digit import skeleton as sk
from digit.plots.style import (
    INK,
    LINE_COLORS,
    LINE_DASHES,
    STYLE,
    Picture,
    Values,
    _panels,
    finger_color,
)


def learning_curves(
    panels: Mapping[str, Mapping[str, pd.Series]], xlabel: str = "step"
) -> Figure:
    """Named series over their index; a long one is drawn pale under its running mean."""
    with mpl.rc_context(STYLE):
        figure, grid = _panels(len(panels))
        for axes, (ylabel, lines) in zip(grid, panels.items()):
            for name, line in lines.items():
                line = line.dropna()
                window = max(1, len(line) // 20)
                mean = axes.plot(line.rolling(window, center=True).mean(), label=name)[
                    0
                ]
                mark = "o" if len(line) == 1 else ""  # one point makes no line
                look = dict(color=mean.get_color(), ls="-", marker=mark, markersize=5)
                axes.plot(line, **look, alpha=1.0 if mark else 0.2)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set(xlabel=xlabel, ylabel=ylabel)
            axes.legend()
    return figure


def distributions(panels: Mapping[str, Mapping[str, Values]], bins: int = 40) -> Figure:
    """Histograms of named groups of numbers over the same bins; of words, how often each occurs.

    A group of less than a twentieth of the others' values is drawn as a tick for each of its own.
    """
    with mpl.rc_context(STYLE):
        figure, grid = _panels(len(panels))
        for axes, (xlabel, groups) in zip(grid, panels.items()):
            every = np.concatenate(list(groups.values()))
            if every.dtype.kind in "UO":
                axes.bar_label(
                    axes.bar(*np.unique(every.astype(str), return_counts=True))
                )
            else:
                edges = np.histogram_bin_edges(
                    every[np.isfinite(every)], min(bins, len(every) + 4)
                )
                for (name, group), color, dash in zip(
                    groups.items(), LINE_COLORS, LINE_DASHES
                ):
                    look = dict(
                        facecolor=(color, 0.15), edgecolor=color, linestyle=dash, lw=1.6
                    )
                    finite = group[np.isfinite(group)]
                    if 20 * len(finite) < len(every):
                        mark = dict(marker="|", markersize=14, markeredgewidth=1.6)
                        axes.plot(
                            finite, 0 * finite, ls="", color=color, label=name, **mark
                        )
                    else:
                        axes.hist(
                            finite, edges, histtype="stepfilled", label=name, **look
                        )
            axes.set(xlabel=xlabel, ylabel="count")
            axes.grid(axis="x", visible=False)
            if len(groups) > 1:  # above: inside it would hide something
                axes.legend(
                    loc="lower left",
                    bbox_to_anchor=(0, 1),
                    ncols=len(groups),
                    fontsize=8,
                )
    return figure


def ranges(
    values: Mapping[str, Values], limits: Mapping[str, tuple[float, float]], ylabel: str
) -> Figure:
    """Named values one beside the other: 5–95 % as a bar in the colour of the finger that the name
    begins with, extremes as a line, the median as a mark; limits as brackets."""
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(10, 3.4))
        axes = figure.subplots()
        for x, (name, group) in enumerate(values.items()):
            finger = next(
                (i for i, f in enumerate(sk.FINGERS) if name.startswith(f)), 5
            )
            low, first, middle, last, high = np.nanpercentile(
                group, (0, 5, 50, 95, 100)
            )
            axes.bar(
                x, last - first, 0.6, bottom=first, color=finger_color(finger, 0, 0.2)
            )
            axes.plot((x, x), (low, high), color=INK, linestyle="-", linewidth=1)
            axes.plot(x, middle, "o", color=INK, markersize=4)
            axes.plot(
                (x, x), limits[name], "_", color=INK, markersize=14, markeredgewidth=2
            )
        axes.set_xticks(range(len(values)), values, rotation=50, ha="right")
        axes.set(ylabel=ylabel, xlim=(-0.7, len(values) - 0.3))
        axes.grid(axis="x", visible=False)
    return figure


def joint_errors(
    errors_mm: Float[np.ndarray, "n 42"], ylabel: str = "error (mm)"
) -> Figure:
    """Mean error of each joint over frames with its 95 % interval; NaN entries do not count."""
    table, joints = pd.DataFrame(errors_mm), np.arange(sk.JOINTS_PER_HAND)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(10, 3.2))
        axes = figure.subplots()
        for side, name in enumerate(sk.SIDES):
            hand = table.loc[:, side == sk.JOINT_SIDE]
            color = [
                finger_color(finger, side)
                for finger in sk.JOINT_FINGER[joints].tolist()
            ]
            look = dict(
                hatch="////" * side, edgecolor="#555555", ecolor=INK, color=color
            )
            x, interval = joints + 0.4 * side - 0.2, 1.96 * hand.sem()
            axes.bar(x, hand.mean(), 0.36, yerr=interval, label=f"{name} hand", **look)
        axes.set_xticks(joints, sk.HAND_JOINTS, rotation=40, ha="right")
        axes.set(ylabel=ylabel, xlim=(-0.6, len(joints) - 0.4))
        axes.grid(axis="x", visible=False)
        axes.legend(ncols=2, loc=(0.75, 1.0))
    return figure


def pck_curves(
    errors_mm: Mapping[str, Float[np.ndarray, "..."]], limit_mm: float = 50
) -> Figure:
    """Share of joints within a distance, per named set of errors; the legend gives the area."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _panels(1)
        for (name, errors), dash in zip(errors_mm.items(), LINE_DASHES):
            there = errors[np.isfinite(errors)]
            if len(there):
                area = np.clip(
                    1 - there / limit_mm, 0, 1
                ).mean()  # of the curve, exactly
                axes.ecdf(there, label=f"{name} (AUC {area:.3f})", linestyle=dash)
        axes.set(
            xlabel="distance to the true joint (mm)", ylabel="share of joints within it"
        )
        axes.set(xlim=(0, limit_mm), ylim=(0, 1.01))
        axes.legend(loc="lower right")
    return figure


def error_against(
    columns: Mapping[str, Values],
    errors_mm: Values,
    ylabel: str = "MPJPE (mm)",
    bins: int = 8,
) -> Figure:
    """Frames' errors against columns; over them means of equal shares with 95 % intervals."""
    with mpl.rc_context(STYLE):
        figure, grid = _panels(len(columns))
        for axes, (xlabel, column) in zip(grid, columns.items()):
            table = pd.DataFrame(dict(x=column, y=errors_mm)).dropna().sort_values("x")
            share = table.groupby(np.arange(len(table)) * bins // max(len(table), 1))
            axes.plot(table.x, table.y, ".", alpha=0.25, markersize=4)
            mean, interval = share.mean(), 1.96 * share.y.sem()
            axes.errorbar(mean.x, mean.y, interval, fmt="o-", color=INK)
            axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, None))
    return figure

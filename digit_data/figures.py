"""Pictures of hands, parts, cameras and errors: arrays in, figures out.

One look everywhere. A finger keeps its colour (`skeleton.FINGER_COLORS`) in joints, parts and bars.
The right hand has solid lines, filled marks and full colours; the left hand dashed lines, hollow or
hatched marks and paler colours, so that hue alone decides nothing. Backgrounds are opaque: figures
hold on dark pages. 3D is seen as the camera sees it: x right, y down, z away from the reader, mm.

Functions return matplotlib figures (a notebook shows them, `savefig` keeps them; pyplot knows
nothing of them), plotly figures where the name says rotatable, or uint8 pictures. NaN is not drawn.
Several panels or rows come as mappings; their keys, with units, are what is written there.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Num, Shaped, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from plotly.subplots import make_subplots

from . import skeleton as sk

RGB = UInt8[np.ndarray, "h w 3"]
Labels = UInt8[np.ndarray, "h w"]
Pixels = Float[np.ndarray, "42 2"]
Values = Shaped[np.ndarray, "_"]

INK, FRAME, GRID = "#222222", "#888888", "#E4E4E4"
LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#444444")
LINE_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
CHAINS = [[*range(4 * f, 4 * f + 4), sk.HAND_WRIST] for f in range(5)]  # tip … base, wrist
EYE = np.array([0.35, -0.25, -0.9])  # where the reader stands, in camera axes
STYLE = {  # matplotlib's, for `with mpl.rc_context(STYLE)`; every figure here has it
    "figure.facecolor": "white", "figure.dpi": 110, "figure.constrained_layout.use": True,
    "savefig.facecolor": "white", "savefig.dpi": 110, "font.size": 10, "text.color": INK,
    "axes.titlesize": 10, "axes.titlelocation": "left", "axes.edgecolor": FRAME,
    "axes.spines.top": False, "axes.spines.right": False, "axes.labelcolor": INK,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "legend.edgecolor": "white",
    "xtick.color": INK, "ytick.color": INK, "lines.linewidth": 1.6, "hatch.linewidth": 0.8,
    "axes.prop_cycle": mpl.cycler(color=LINE_COLORS, linestyle=LINE_DASHES),
}  # fmt: skip
PLOTLY = dict(  # the same look for plotly: `figure.update_layout(PLOTLY)`
    template="plotly_white", colorway=LINE_COLORS, margin=dict(l=50, r=10, t=40, b=40),
    font=dict(family="DejaVu Sans, Verdana, sans-serif", size=12, color=INK),
)  # fmt: skip


class Picture(Figure):
    """A matplotlib figure that shows itself in a notebook without pyplot or an inline backend."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.05)
        return buffer.getvalue()


def finger_color(finger: int, side: int, shade: float | None = None) -> str:
    """Hex colour of a finger (5: palm and wrist), mixed with white (shade > 0) or black (< 0)."""
    shade = 0.35 * side if shade is None else shade  # the left hand is the paler
    return to_hex(np.array(to_rgb(sk.FINGER_COLORS[finger])) * (1 - abs(shade)) + max(shade, 0))


@cache
def part_colors() -> UInt8[np.ndarray, "33 3"]:
    """RGB of each part label: hue by finger, lighter towards the tip, the left hand paler still."""
    shades = {"1": (-0.4, 0.4), "2": (0.0, 0.58), "3": (0.28, 0.74), "m": (-0.25, 0.6)}  # m: palm
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
    "true parts", "predicted parts", "wrong pixels", "part probability", "joint heat map",
    "uncertainty",
)  # fmt: skip
WRONG = {"the other hand": LINE_COLORS[1], "another part": LINE_COLORS[0], "hand or not": "#F0E442"}


def paint_wrong(image: RGB, labels: Labels, true: Labels) -> RGB:
    """The picture, greyed, its wrongly labelled pixels coloured as in `WRONG`."""
    side, true_side = (np.ceil(v / sk.PARTS_PER_HAND).astype(int) for v in (labels, true))
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
        return paint_wrong(image, labels, true), f"{share:.0%} of the hands' pixels are wrong"
    if layer == "part probability":
        found = probability[part].astype(float)
        return paint_heatmap(
            image, found
        ), f"{sk.LABELS[part]}: probability up to {found.max():.2f}"
    if layer == "joint heat map":
        found = heatmaps[joint].astype(float)
        return paint_heatmap(image, found), f"{sk.JOINTS[joint]}: up to {found.max():.3f} in a cell"
    if layer == "uncertainty":
        found = probability.astype(float)
        found = -(found * np.log(found.clip(1e-9))).sum(0)
        return paint_heatmap(image, found), f"entropy of the parts: up to {found.max():.2f} nats"
    return image, ""


class Stroke(NamedTuple):
    """A polyline in pixels (2D) or mm (3D): what `draw`, `space` and `space_rotatable` draw."""

    points: Float[np.ndarray, "n d"]
    color: str
    left: bool = False  # drawn dashed and hollow
    marks: bool = True  # a mark at each point
    label: str = ""  # written at the first point


Scenes = Mapping[str, Sequence[Stroke]]


def masked(
    joints: Float[np.ndarray, "*b 42 d"], joint_valid: Bool[np.ndarray, "*b 42"]
) -> Float[np.ndarray, "*b 42 d"]:
    """The joints with NaN, which is not drawn, where they are not valid."""
    return np.where(joint_valid[..., None], joints, np.nan)


def hand_strokes(joints: Float[np.ndarray, "42 d"], color: str | None = None) -> list[Stroke]:
    """Fingers from tip to wrist, then the wrist alone; `color` replaces the fingers' colours."""
    return [
        Stroke(hand[chain], color or finger_color(finger, side), left=bool(side))
        for side, hand in enumerate((joints[: sk.JOINTS_PER_HAND], joints[sk.JOINTS_PER_HAND :]))
        for finger, chain in enumerate([*CHAINS, [sk.HAND_WRIST]])
    ]


def camera_strokes(
    camrot: Float[np.ndarray, "c 3 3"], campos_mm: Float[np.ndarray, "c 3"], names: Sequence[str]
) -> list[Stroke]:
    """Each camera, in the world frame, as a pyramid that opens where it looks; named at its eye."""
    corners = np.array([(-30, -30, 90), (30, -30, 90), (30, 30, 90), (-30, 30, 90), (0, 0, 0)])
    path = corners[[4, 0, 1, 2, 3, 0, 4, 1, 2, 4, 3]]
    cameras = zip(camrot, campos_mm, names, strict=True)
    return [Stroke(path @ r + p, LINE_COLORS[0], marks=False, label=n) for r, p, n in cameras]


def draw(axes: Axes, strokes: Sequence[Stroke], outline: bool = True) -> None:
    """Strokes onto 2D axes (px) or 3D axes (mm); `outline` darkens around, for photographs."""
    for points, color, left, marks, label in strokes:
        shown = points[:, [0, 2, 1]] if points.shape[1] == 3 else points
        line = axes.plot(*shown.T, color=color, linestyle="--" if left else "-")[0]
        line.set(marker="o" if marks else "", markersize=3.6, markeredgewidth=1.1)
        line.set(markerfacecolor="white" if left else color, linewidth=1.9 if marks else 1.0)
        line.set_path_effects([withStroke(linewidth=3.4, foreground="#000000A0")] * outline)
        if label:
            axes.text(*shown[0], f" {label}", size=7)


def show_image(axes: Axes, image: Num[np.ndarray, "h w *rgb"], title: str = "") -> None:
    """A picture (RGB uint8, or one channel with a colour map) without ticks, its size kept."""
    axes.imshow(image)
    axes.set(title=title, autoscale_on=False, anchor="N")
    axes.set_axis_off()


def _panels(count: int, columns: int = 0, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    columns = columns or min(3, max(2, count))
    across, rows = max(1, min(columns, count)), max(1, -(-count // columns))
    figure = Picture(figsize=(10 / columns * across, height * rows))
    grid = list(figure.subplots(rows, across, squeeze=False).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def contact_sheet(
    images: Sequence[Num[np.ndarray, "..."]],
    captions: Sequence[str] = (),
    joints_px: Sequence[Pixels] | Float[np.ndarray, "n 42 2"] = (),
    columns: int = 4,
    unit: str = "",
) -> Figure:
    """Captioned pictures in rows, under hands where given; one channel has a bar with `unit`."""
    ratio = max((image.shape[0] / image.shape[1] for image in images), default=1.0)
    with mpl.rc_context(STYLE):
        figure, grid = _panels(len(images), columns, 10 / columns * ratio + 0.3)
        cells = itertools.zip_longest(grid, images, captions, joints_px)
        for axes, image, caption, joints in cells:
            show_image(axes, image, caption or "")
            if image.ndim == 2:
                figure.colorbar(axes.images[0], ax=axes, shrink=0.7, label=unit)
            draw(axes, [] if joints is None else hand_strokes(joints))
    return figure


def _extent(scenes: Scenes) -> Float[np.ndarray, "3 2"]:
    points = np.concatenate([s.points for strokes in scenes.values() for s in strokes])
    points = points[np.isfinite(points).all(-1)] if np.isfinite(points).any() else np.zeros((1, 3))
    return np.stack([points.min(0) - 10, points.max(0) + 10], -1)


def _draw_space(figure: Figure, cell, scenes: Scenes, name: str) -> None:
    axes = figure.add_subplot(cell, projection="3d")
    x, y, z = _extent(scenes)
    axes.set(xlim=x, ylim=z, zlim=y[::-1])  # matplotlib's third axis is the upright one
    axes.set_box_aspect([np.ptp(side) for side in (x, z, y)], zoom=0.88)
    for axis, label in zip((axes.xaxis, axes.yaxis, axes.zaxis), "xzy"):
        axis.set_label_text(f"{label} (mm)", size=8)
        axis.labelpad = 2 if label == "z" else -3
    azimuth, height = np.arctan2(EYE[2], EYE[0]), np.arcsin(-EYE[1] / np.linalg.norm(EYE))
    axes.view_init(np.degrees(height), np.degrees(azimuth))
    axes.set_title(name, y=0.95)
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=7, pad=0)
    draw(axes, scenes[name], outline=False)


def space(scenes: Scenes) -> Figure:
    """Drawings in 3D (camera axes, mm) side by side, on one scale, aspect equal."""
    with mpl.rc_context(STYLE):
        size = 6.0 if len(scenes) == 1 else 4.4
        figure = Picture(figsize=(size * len(scenes), 0.86 * size))
        for cell, name in zip(figure.add_gridspec(1, len(scenes)), scenes):
            _draw_space(figure, cell, scenes, name)
    return figure


def space_rotatable(scenes: Scenes) -> go.Figure:
    """`space` for turning with the mouse (plotly), the same view to begin with."""
    ranges = zip("xyz", _extent(scenes).tolist())
    room = {f"{a}axis": dict(title=f"{a} (mm)", range=r, nticks=6) for a, r in ranges}
    camera = dict(eye=dict(zip("xyz", 2.7 * EYE)), up=dict(x=0, y=-1, z=0))
    specs = [[dict(type="scene")] * len(scenes)]
    figure = make_subplots(1, len(scenes), specs=specs, subplot_titles=list(scenes))
    for column, strokes in enumerate(scenes.values(), start=1):
        for points, color, left, marks, label in strokes:
            line = dict(color=color, width=5 if marks else 3, dash="dash" if left else "solid")
            mark = dict(size=3.5, color=color, symbol="circle-open" if left else "circle")
            look = dict(mode="lines+markers" if marks else "lines", line=line, marker=mark)
            hover = label + "%{x:.0f}, %{y:.0f}, %{z:.0f} mm<extra></extra>"
            trace = go.Scatter3d(dict(zip("xyz", points.T)), **look, hovertemplate=hover)
            figure.add_trace(trace, row=1, col=column)
    figure.update_scenes(room, aspectmode="data", camera=camera)
    return figure.update_layout(PLOTLY, showlegend=False, height=440)


def frame_figure(
    image: RGB,
    joints_px: Mapping[str, Pixels],
    parts: Mapping[str, Labels] | None = None,
    joints_mm: Mapping[str, Float[np.ndarray, "42 3"]] | None = None,
    title: str = "",
) -> Figure:
    """A row for each account of a frame: joints over the image, parts over it, hands in 3D (mm).

    The names of `joints_px` are the rows ("annotated", "predicted", …); 3D keeps to one scale.
    """
    columns = [column for column in (joints_px, parts, joints_mm) if column]
    scenes = {name: hand_strokes(joints) for name, joints in (joints_mm or {}).items()}
    height = 3.2 * min(1.1, image.shape[0] / image.shape[1]) + 0.3
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(3.2 * len(columns), height * len(joints_px) + 0.2))
        figure.suptitle(title, x=0.01, ha="left", size=10)
        grid = figure.add_gridspec(len(joints_px), len(columns))
        for (i, name), (j, column) in itertools.product(enumerate(joints_px), enumerate(columns)):
            if column is joints_mm and name in scenes:
                _draw_space(figure, grid[i, j], scenes, name)
            elif column is parts and name in parts:
                show_image(figure.add_subplot(grid[i, j]), paint_parts(image, parts[name]), name)
            elif column is joints_px:
                show_image(axes := figure.add_subplot(grid[i, j]), image, name)
                draw(axes, hand_strokes(joints_px[name]))
    return figure


def learning_curves(panels: Mapping[str, Mapping[str, pd.Series]], xlabel: str = "step") -> Figure:
    """Named series over their index; a long one is drawn pale under its running mean."""
    with mpl.rc_context(STYLE):
        figure, grid = _panels(len(panels))
        for axes, (ylabel, lines) in zip(grid, panels.items()):
            for name, line in lines.items():
                line = line.dropna()
                window = max(1, len(line) // 20)
                mean = axes.plot(line.rolling(window, center=True).mean(), label=name)[0]
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
                axes.bar_label(axes.bar(*np.unique(every.astype(str), return_counts=True)))
            else:
                edges = np.histogram_bin_edges(every[np.isfinite(every)], min(bins, len(every) + 4))
                for (name, group), color, dash in zip(groups.items(), LINE_COLORS, LINE_DASHES):
                    look = dict(facecolor=(color, 0.15), edgecolor=color, linestyle=dash, lw=1.6)
                    finite = group[np.isfinite(group)]
                    if 20 * len(finite) < len(every):
                        mark = dict(marker="|", markersize=14, markeredgewidth=1.6)
                        axes.plot(finite, 0 * finite, ls="", color=color, label=name, **mark)
                    else:
                        axes.hist(finite, edges, histtype="stepfilled", label=name, **look)
            axes.set(xlabel=xlabel, ylabel="count")
            axes.grid(axis="x", visible=False)
            if len(groups) > 1:  # above: inside it would hide something
                axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(groups), fontsize=8)
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
            finger = next((i for i, f in enumerate(sk.FINGERS) if name.startswith(f)), 5)
            low, first, middle, last, high = np.nanpercentile(group, (0, 5, 50, 95, 100))
            axes.bar(x, last - first, 0.6, bottom=first, color=finger_color(finger, 0, 0.2))
            axes.plot((x, x), (low, high), color=INK, linestyle="-", linewidth=1)
            axes.plot(x, middle, "o", color=INK, markersize=4)
            axes.plot((x, x), limits[name], "_", color=INK, markersize=14, markeredgewidth=2)
        axes.set_xticks(range(len(values)), values, rotation=50, ha="right")
        axes.set(ylabel=ylabel, xlim=(-0.7, len(values) - 0.3))
        axes.grid(axis="x", visible=False)
    return figure


def joint_errors(errors_mm: Float[np.ndarray, "n 42"], ylabel: str = "error (mm)") -> Figure:
    """Mean error of each joint over frames with its 95 % interval; NaN entries do not count."""
    table, joints = pd.DataFrame(errors_mm), np.arange(sk.JOINTS_PER_HAND)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(10, 3.2))
        axes = figure.subplots()
        for side, name in enumerate(sk.SIDES):
            hand = table.loc[:, side == sk.JOINT_SIDE]
            color = [finger_color(finger, side) for finger in sk.JOINT_FINGER[joints].tolist()]
            look = dict(hatch="////" * side, edgecolor="#555555", ecolor=INK, color=color)
            x, interval = joints + 0.4 * side - 0.2, 1.96 * hand.sem()
            axes.bar(x, hand.mean(), 0.36, yerr=interval, label=f"{name} hand", **look)
        axes.set_xticks(joints, sk.HAND_JOINTS, rotation=40, ha="right")
        axes.set(ylabel=ylabel, xlim=(-0.6, len(joints) - 0.4))
        axes.grid(axis="x", visible=False)
        axes.legend(ncols=2, loc=(0.75, 1.0))
    return figure


def pck_curves(errors_mm: Mapping[str, Float[np.ndarray, "..."]], limit_mm: float = 50) -> Figure:
    """Share of joints within a distance, per named set of errors; the legend gives the area."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _panels(1)
        for (name, errors), dash in zip(errors_mm.items(), LINE_DASHES):
            there = errors[np.isfinite(errors)]
            if len(there):
                area = np.clip(1 - there / limit_mm, 0, 1).mean()  # of the curve, exactly
                axes.ecdf(there, label=f"{name} (AUC {area:.3f})", linestyle=dash)
        axes.set(xlabel="distance to the true joint (mm)", ylabel="share of joints within it")
        axes.set(xlim=(0, limit_mm), ylim=(0, 1.01))
        axes.legend(loc="lower right")
    return figure


def error_against(
    columns: Mapping[str, Values], errors_mm: Values, ylabel: str = "MPJPE (mm)", bins: int = 8
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

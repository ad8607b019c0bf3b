"""Hands drawn in 2D and 3D."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from plotly.subplots import make_subplots

from digit import skeleton as sk
from digit.plots.overlays import paint_parts
from digit.plots.style import (
    CHAINS,
    EYE,
    LINE_COLORS,
    PLOTLY,
    RGB,
    STYLE,
    Labels,
    Picture,
    Pixels,
    _panels,
    finger_color,
)


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


def hand_strokes(
    joints: Float[np.ndarray, "42 d"], color: str | None = None
) -> list[Stroke]:
    """Fingers from tip to wrist, then the wrist alone; `color` replaces the fingers' colours."""
    return [
        Stroke(hand[chain], color or finger_color(finger, side), left=bool(side))
        for side, hand in enumerate(
            (joints[: sk.JOINTS_PER_HAND], joints[sk.JOINTS_PER_HAND :])
        )
        for finger, chain in enumerate([*CHAINS, [sk.HAND_WRIST]])
    ]


def camera_strokes(
    camrot: Float[np.ndarray, "c 3 3"],
    campos_mm: Float[np.ndarray, "c 3"],
    names: Sequence[str],
) -> list[Stroke]:
    """Each camera, in the world frame, as a pyramid that opens where it looks; named at its eye."""
    corners = np.array(
        [(-30, -30, 90), (30, -30, 90), (30, 30, 90), (-30, 30, 90), (0, 0, 0)]
    )
    path = corners[[4, 0, 1, 2, 3, 0, 4, 1, 2, 4, 3]]
    cameras = zip(camrot, campos_mm, names, strict=True)
    return [
        Stroke(path @ r + p, LINE_COLORS[0], marks=False, label=n)
        for r, p, n in cameras
    ]


def draw(axes: Axes, strokes: Sequence[Stroke], outline: bool = True) -> None:
    """Strokes onto 2D axes (px) or 3D axes (mm); `outline` darkens around, for photographs."""
    for points, color, left, marks, label in strokes:
        shown = points[:, [0, 2, 1]] if points.shape[1] == 3 else points
        line = axes.plot(*shown.T, color=color, linestyle="--" if left else "-")[0]
        line.set(marker="o" if marks else "", markersize=3.6, markeredgewidth=1.1)
        line.set(
            markerfacecolor="white" if left else color, linewidth=1.9 if marks else 1.0
        )
        line.set_path_effects(
            [withStroke(linewidth=3.4, foreground="#000000A0")] * outline
        )
        if label:
            axes.text(*shown[0], f" {label}", size=7)


def show_image(axes: Axes, image: Num[np.ndarray, "h w *rgb"], title: str = "") -> None:
    """A picture (RGB uint8, or one channel with a colour map) without ticks, its size kept."""
    axes.imshow(image)
    axes.set(title=title, autoscale_on=False, anchor="N")
    axes.set_axis_off()


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
    points = (
        points[np.isfinite(points).all(-1)]
        if np.isfinite(points).any()
        else np.zeros((1, 3))
    )
    return np.stack([points.min(0) - 10, points.max(0) + 10], -1)


def _draw_space(figure: Figure, cell, scenes: Scenes, name: str) -> None:
    axes = figure.add_subplot(cell, projection="3d")
    x, y, z = _extent(scenes)
    axes.set(xlim=x, ylim=z, zlim=y[::-1])  # matplotlib's third axis is the upright one
    axes.set_box_aspect([np.ptp(side) for side in (x, z, y)], zoom=0.88)
    for axis, label in zip((axes.xaxis, axes.yaxis, axes.zaxis), "xzy"):
        axis.set_label_text(f"{label} (mm)", size=8)
        axis.labelpad = 2 if label == "z" else -3
    azimuth, height = (
        np.arctan2(EYE[2], EYE[0]),
        np.arcsin(-EYE[1] / np.linalg.norm(EYE)),
    )
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
            line = dict(
                color=color, width=5 if marks else 3, dash="dash" if left else "solid"
            )
            mark = dict(
                size=3.5, color=color, symbol="circle-open" if left else "circle"
            )
            look = dict(
                mode="lines+markers" if marks else "lines", line=line, marker=mark
            )
            hover = label + "%{x:.0f}, %{y:.0f}, %{z:.0f} mm<extra></extra>"
            trace = go.Scatter3d(
                dict(zip("xyz", points.T)), **look, hovertemplate=hover
            )
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
        for (i, name), (j, column) in itertools.product(
            enumerate(joints_px), enumerate(columns)
        ):
            if column is joints_mm and name in scenes:
                _draw_space(figure, grid[i, j], scenes, name)
            elif column is parts and name in parts:
                show_image(
                    figure.add_subplot(grid[i, j]),
                    paint_parts(image, parts[name]),
                    name,
                )
            elif column is joints_px:
                show_image(axes := figure.add_subplot(grid[i, j]), image, name)
                draw(axes, hand_strokes(joints_px[name]))
    return figure

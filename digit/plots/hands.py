"""Hands drawn in 2D over pictures and in 3D, with matplotlib and plotly.

Everything that is drawn is a list of strokes (`digit.plots.strokes`). Called by
notebooks, widgets and `digit predict`.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.patheffects import withStroke
from plotly.subplots import make_subplots

from digit.plots.interactive import InteractiveFigure
from digit.plots.overlays import paint_parts
from digit.plots.strokes import Stroke, hand_strokes
from digit.plots.style import (
    LINE_COLORS,
    PLOTLY,
    RGB,
    STYLE,
    VIEW_DIRECTION,
    Labels,
    Picture,
    Pixels,
    panel_grid,
)

Scenes = Mapping[str, Sequence[Stroke]]


def masked(
    joints: Float[np.ndarray, "*b 42 d"], joint_valid: Bool[np.ndarray, "*b 42"]
) -> Float[np.ndarray, "*b 42 d"]:
    """The joints with NaN, which is not drawn, where they are not valid."""
    return np.where(joint_valid[..., None], joints, np.nan)


def camera_strokes(
    camrot: Float[np.ndarray, "c 3 3"],
    campos_mm: Float[np.ndarray, "c 3"],
    names: Sequence[str],
) -> list[Stroke]:
    """Cameras in the world frame as pyramids that open where they look.

    Args:
        camrot: Rotation from world to camera of each camera.
        campos_mm: Its position in the world frame.
        names: Its name, written at its position.

    Returns:
        One stroke a camera.
    """
    # Four corners of the image plane and the camera's centre, in camera axes (mm).
    # The size, 60 mm across, is chosen by eye.
    corners = np.array(
        [(-30, -30, 90), (30, -30, 90), (30, 30, 90), (-30, 30, 90), (0, 0, 0)]
    )
    path = corners[[4, 0, 1, 2, 3, 0, 4, 1, 2, 4, 3]]

    strokes = []
    for rotation, position, name in zip(camrot, campos_mm, names, strict=True):
        points = path @ rotation + position
        strokes.append(Stroke(points, LINE_COLORS[0], marks=False, label=name))
    return strokes


# 2D


def draw(axes: Axes, strokes: Sequence[Stroke], outline: bool = True) -> None:
    """Draw strokes onto axes.

    Args:
        axes: 2D axes for strokes in pixels, 3D axes for strokes in mm.
        strokes: What to draw.
        outline: Darken around the lines, for drawing over photographs.
    """
    for stroke in strokes:
        points = stroke.points
        if points.shape[1] == 3:
            points = points[:, [0, 2, 1]]  # matplotlib's third axis is the upright one

        look = stroke.look
        [line] = axes.plot(*points.T, color=stroke.color, linestyle=look.line_style)
        line.set_linewidth(1.9 if stroke.marks else 1.0)
        line.set_marker("o" if stroke.marks else "")
        line.set_markersize(3.6)
        line.set_markeredgewidth(1.1)
        line.set_markerfacecolor(stroke.color if look.filled else "white")
        if outline:
            dark = withStroke(linewidth=3.4, foreground="#000000A0")
            line.set_path_effects([dark])
        if stroke.label:
            axes.text(*points[0], f" {stroke.label}", size=7)


def show_image(axes: Axes, image: Num[np.ndarray, "h w *rgb"], title: str = "") -> None:
    """Show a picture without ticks; what is drawn over it does not change its extent.

    Args:
        axes: Where to show it.
        image: RGB uint8, or one channel, which is shown with a colour map.
        title: Written above.
    """
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
    """Captioned pictures in rows, with hands drawn over them.

    Args:
        images: Pictures; those with one channel get a colour bar.
        captions: One for each of the first pictures.
        joints_px: Joints of each of the first pictures.
        columns: Pictures in a row.
        unit: Written at the colour bars.

    Returns:
        The figure.
    """
    aspect = max((image.shape[0] / image.shape[1] for image in images), default=1.0)
    with mpl.rc_context(STYLE):
        figure, panels = panel_grid(len(images), columns, 10 / columns * aspect + 0.3)
        cells = itertools.zip_longest(panels, images, captions, joints_px)
        for axes, image, caption, joints in cells:
            show_image(axes, image, caption or "")
            if image.ndim == 2:
                figure.colorbar(axes.images[0], ax=axes, shrink=0.7, label=unit)
            if joints is not None:
                draw(axes, hand_strokes(joints))
    return figure


# 3D


def _extent_mm(scenes: Scenes) -> Float[np.ndarray, "3 2"]:
    """Lowest and highest x, y, z over all scenes, with a margin of 10 mm."""
    strokes = itertools.chain.from_iterable(scenes.values())
    points = np.concatenate([stroke.points for stroke in strokes])
    points = points[np.isfinite(points).all(-1)]
    if len(points) == 0:
        points = np.zeros((1, 3))
    return np.stack([points.min(0) - 10, points.max(0) + 10], -1)


def _draw_scene(figure: Figure, cell: SubplotSpec, scenes: Scenes, name: str) -> None:
    """Draw one of the scenes into a cell of the figure, on the scale of all of them."""
    axes = figure.add_subplot(cell, projection="3d")

    # 1. One scale for all scenes. matplotlib's axes are our x, z and −y.
    x, y, z = _extent_mm(scenes)
    axes.set(xlim=x, ylim=z, zlim=y[::-1])
    axes.set_box_aspect([np.ptp(limits) for limits in (x, z, y)], zoom=0.88)

    # 2. The viewpoint
    azimuth = np.arctan2(VIEW_DIRECTION[2], VIEW_DIRECTION[0])
    elevation = np.arcsin(-VIEW_DIRECTION[1] / np.linalg.norm(VIEW_DIRECTION))
    axes.view_init(elev=np.degrees(elevation), azim=np.degrees(azimuth))

    # 3. Labels
    axis_names = zip((axes.xaxis, axes.yaxis, axes.zaxis), "xzy", strict=True)
    for axis, label in axis_names:
        axis.set_label_text(f"{label} (mm)", size=8)
        axis.labelpad = 2 if label == "z" else -3
    axes.set_title(name, y=0.95)
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=7, pad=0)

    draw(axes, scenes[name], outline=False)


def space(scenes: Scenes) -> Figure:
    """Scenes in 3D side by side, on one scale and with equal aspect.

    Args:
        scenes: Title → strokes in mm, x right, y down, z forward.

    Returns:
        The figure.
    """
    size = 6.0 if len(scenes) == 1 else 4.4
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(size * len(scenes), 0.86 * size))
        cells = figure.add_gridspec(1, len(scenes))
        for column, name in enumerate(scenes):
            _draw_scene(figure, cells[0, column], scenes, name)
    return figure


def _plotly_trace(stroke: Stroke) -> go.Scatter3d:
    """A stroke in mm as a line in plotly."""
    x, y, z = stroke.points.T
    look = stroke.look
    return go.Scatter3d(
        x=x,
        y=y,
        z=z,
        mode="lines+markers" if stroke.marks else "lines",
        line={
            "color": stroke.color,
            "width": 5 if stroke.marks else 3,
            "dash": look.plotly_dash,
        },
        marker={"size": 3.5, "color": stroke.color, "symbol": look.plotly_symbol},
        hovertemplate=stroke.label + "%{x:.0f}, %{y:.0f}, %{z:.0f} mm<extra></extra>",
    )


def space_rotatable(scenes: Scenes) -> InteractiveFigure:
    """`space` as a plotly figure that is turned with the mouse, seen alike at first.

    Args:
        scenes: Title → strokes in mm, x right, y down, z forward.

    Returns:
        The figure; its static picture is that of `space`.
    """
    # 1. A scene beside the other
    titles = list(scenes)
    figure = make_subplots(
        rows=1,
        cols=len(titles),
        specs=[[{"type": "scene"}] * len(titles)],
        subplot_titles=titles,
        figure=InteractiveFigure(),
    )
    for column, title in enumerate(titles, start=1):
        for stroke in scenes[title]:
            figure.add_trace(_plotly_trace(stroke), row=1, col=column)

    # 2. The same extent, aspect and viewpoint for each of them
    axes: dict[str, Any] = {}
    for axis, limits in zip("xyz", _extent_mm(scenes).tolist(), strict=True):
        axes[f"{axis}axis"] = {"title": f"{axis} (mm)", "range": limits, "nticks": 6}
    eye = dict(zip("xyz", (2.7 * VIEW_DIRECTION).tolist(), strict=True))
    camera = {"eye": eye, "up": {"x": 0, "y": -1, "z": 0}}
    figure.update_scenes(axes, aspectmode="data", camera=camera)
    figure.update_layout(PLOTLY, showlegend=False, height=440)
    return figure.set_static_picture(space(scenes))


# A whole frame


def frame_figure(
    image: RGB,
    joints_px: Mapping[str, Pixels],
    parts: Mapping[str, Labels] | None = None,
    joints_mm: Mapping[str, Float[np.ndarray, "42 3"]] | None = None,
    title: str = "",
) -> Figure:
    """One frame in rows: joints over the image, parts over it, and hands in 3D.

    Args:
        image: The crop.
        joints_px: Title of a row ("annotated", "predicted", …) → joints on the image.
        parts: Title of a row → part labels on the image; rows may be missing.
        joints_mm: Title of a row → joints in 3D; rows may be missing. All rows have
            one scale.
        title: Written above the figure.

    Returns:
        The figure, a column for each of the three that is given.
    """
    parts = parts or {}
    joints_mm = joints_mm or {}
    scenes = {name: hand_strokes(joints) for name, joints in joints_mm.items()}

    # A column for each kind of picture that some row has
    columns = ["joints"]
    if parts:
        columns.append("parts")
    if scenes:
        columns.append("3D")

    row_height = 3.2 * min(1.1, image.shape[0] / image.shape[1]) + 0.3
    size = 3.2 * len(columns), row_height * len(joints_px) + 0.2
    # A row for each name
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=size)
        figure.suptitle(title, x=0.01, ha="left", size=10)
        grid = figure.add_gridspec(len(joints_px), len(columns))
        for row, name in enumerate(joints_px):
            axes = figure.add_subplot(grid[row, 0])
            show_image(axes, image, name)
            draw(axes, hand_strokes(joints_px[name]))
            if name in parts:
                axes = figure.add_subplot(grid[row, columns.index("parts")])
                show_image(axes, paint_parts(image, parts[name]), name)
            if name in scenes:
                cell = grid[row, columns.index("3D")]
                _draw_scene(figure, cell, scenes, name)
    return figure

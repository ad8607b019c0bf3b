"""Canvases for pictures and 3D scenes."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anywidget
import cv2
import ipywidgets as widgets
import numpy as np
from jaxtyping import UInt8
from traitlets import Bool as Flag
from traitlets import Bytes, List, Unicode
from traitlets import Int as Number

from digit.plots.hands import Stroke
from digit.plots.style import VIEW_DIRECTION

LONGEST_PX = 1200  # of a picture as a widget shows it
VIEW = (
    math.atan2(VIEW_DIRECTION[0], -VIEW_DIRECTION[2]),
    -math.asin(VIEW_DIRECTION[1]),
)  # yaw, pitch
LOOK = dict(style=dict(description_width="135px"), layout=dict(width="310px"))
WIDE = LOOK | dict(layout=dict(width="470px"))


class Canvas(anywidget.AnyWidget):
    """A picture (`size`: its width and height, px) fitted into `room` (px of the screen).

    Strokes and box are in the picture's pixels. `box` [x, y, w, h], where not empty, moves with
    mouse and arrow keys; `asked` counts its changes, and the next comes when `answered` is as much.
    `clicked` is [x, y, time]. With `opens`, photos arrive by `on_msg`, in pieces.
    """

    _esm = Path(__file__).with_name("canvas.js")
    picture, title, opens = (
        Bytes().tag(sync=True),
        Unicode().tag(sync=True),
        Flag().tag(sync=True),
    )
    size, room = List([1, 1]).tag(sync=True), List([470, 470]).tag(sync=True)
    strokes, box, clicked = (
        List().tag(sync=True),
        List().tag(sync=True),
        List().tag(sync=True),
    )
    asked, answered = Number().tag(sync=True), Number().tag(sync=True)

    def show(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        strokes: Sequence[Stroke] = (),
        title: str = "",
    ) -> None:
        """Another picture, and what is drawn over it."""
        h, w = image.shape[:2]
        if (scale := LONGEST_PX / max(h, w)) < 1:
            small = max(1, round(w * scale)), max(1, round(h * scale))
            image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[
            1
        ].tobytes()
        with self.hold_sync():
            self.picture, self.size, self.title = code, [w, h], title
            self.draw(strokes)

    def draw(self, strokes: Sequence[Stroke]) -> None:
        """Other strokes; NaN is not drawn."""
        self.strokes = _records(strokes)


def _records(strokes: Sequence[Stroke]) -> list[dict]:
    """As JSON knows them: NaN is null."""
    return [
        stroke._asdict()
        | {
            "points": [
                [round(v, 1) if math.isfinite(v) else None for v in point]
                for point in stroke.points.tolist()
            ]
        }
        for stroke in strokes
    ]


class Space(anywidget.AnyWidget):
    """Strokes in 3D (mm), camera axes, turned with the mouse; aspect equal, the view stays.

    `view` is yaw and pitch (rad); `clicked` the label of the stroke that was clicked last.
    """

    _esm = Path(__file__).with_name("canvas.js")
    strokes, clicked = List().tag(sync=True), Unicode().tag(sync=True)
    room, view = List([400, 390]).tag(sync=True), List(list(VIEW)).tag(sync=True)
    first = List(list(VIEW)).tag(sync=True)

    def draw(self, strokes: Sequence[Stroke]) -> None:
        """Other strokes; NaN is not drawn."""
        self.strokes = _records(strokes)


def _row(*children: widgets.Widget, kind: type = widgets.HBox) -> widgets.Box:
    return kind(children, layout=dict(grid_gap="4px 8px", flex="0 0 auto"))


_column = partial(_row, kind=widgets.VBox)

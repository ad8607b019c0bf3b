"""Browsing a data set by hand."""

from collections.abc import Callable
from functools import partial
from html import escape

import cv2
import ipywidgets as widgets
import numpy as np

from digit.data.index import Frame, Index
from digit.data.store import Store, image_store, mask_store, read_image, read_mask
from digit.plots import hands as hand_plots
from digit.plots import overlays
from digit.plots.hands import Stroke
from digit.plots.style import LINE_COLORS
from digit.skeleton import HAND_TYPES, N_JOINTS
from digit.widgets.canvas import LOOK, Canvas, Space, _column, _row
from digit.widgets.photo_editor import _Desk

TILES, TILE_PX = 12, 170  # views of an instant beside each other, their height
KNOWN = {
    "subject": ("subject", ""),
    "family": ("family", ""),
    "hands_distance_mm": ("gap between the hands, mm:", ".0f"),
    "right_hidden_by_other": ("right hand hidden by the left:", ".0%"),
    "left_hidden_by_other": ("left hand hidden by the right:", ".0%"),
}
CHOSEN = LINE_COLORS[1]
LEVELS = {
    "capture": "capture",
    "sequence": "seq_name",
    "instant": "frame_idx",
    "camera": "camera",
}


class DataBrowser(_Desk):
    """A data set by capture, sequence, instant and camera: the frame with its annotation, the
    capture's cameras in 3D, the instant in other cameras; a click on one of these takes it."""

    def __init__(self, index: Index):
        super().__init__()
        self.index, self.images, self.masks = (
            index,
            image_store(index.root),
            mask_store(index.root),
        )
        self.canvas, self.strip, self.space = (
            Canvas(),
            Canvas(room=[1200, TILE_PX]),
            Space(),
        )
        self.choices = [widgets.Dropdown(description=level, **LOOK) for level in LEVELS]
        self.layers = {
            name: widgets.Checkbox(name != "box", description=name, **LOOK)
            for name in ("joints", "parts", "box")
        }
        self.steps = [
            widgets.Button(description=text) for text in ("◀ instant", "instant ▶")
        ]
        self.rows = [np.arange(len(index))] * (
            len(LEVELS) + 1
        )  # of the index, after each choice
        tools = _column(
            *self.choices, _row(*self.steps), *self.layers.values(), self.said
        )
        self.children = [_row(self.canvas, tools, self.space), self.strip, self.note]
        for level, choice in enumerate(self.choices):
            self._on(choice, "value", partial(self._choose, level))
        for layer in self.layers.values():
            self._on(layer, "value", self._show)
        for by, button in zip((-1, 1), self.steps):
            button.on_click(lambda _, by=by: self._do(lambda: self._step(by)))
        self._on(self.strip, "clicked", self._pick)
        self._on(self.space, "clicked", lambda: self._go_to(self.space.clicked))
        self._do(lambda: self._choose(-1))

    def _choose(self, level: int) -> None:
        """What a choice leaves to choose below it; what still holds is kept."""
        for k, (choice, column) in enumerate(zip(self.choices, LEVELS.values())):
            if k >= level:
                values = self.index.take(self.rows[k])[column]
                if k > level:
                    options, kept = np.unique(values).tolist(), choice.value
                    choice.options = options
                    choice.value = kept if kept in options else options[0]
                self.rows[k + 1] = self.rows[k][values == choice.value]
        self._show()

    def _step(self, by: int) -> None:
        instant = self.choices[2]
        there = instant.options.index(instant.value) + by
        instant.value = instant.options[min(max(there, 0), len(instant.options) - 1)]
        self._choose(2)

    def _pick(self) -> None:
        tile = min(
            np.searchsorted(self.edges, self.strip.clicked[0]), len(self.tiles) - 1
        )
        self._go_to(self.index.take(self.tiles[[tile]])["camera"][0])

    def _go_to(self, camera: str) -> None:
        if camera not in self.choices[3].options:
            raise ValueError(f"camera {camera} has no picture of this instant")
        self.choices[3].value = camera
        self._choose(3)

    def _read(self, read: Callable, store: Store, key: str) -> np.ndarray | None:
        try:
            return read(store, key)
        except (OSError, KeyError, ValueError) as error:
            self._note(str(error.args[0]))
            return None

    def _show(self) -> None:
        row = self.rows[-1][:1]
        frame, on = (
            self.index.frame(int(row[0])),
            {k: v.value for k, v in self.layers.items()},
        )
        image = self._read(read_image, self.images, frame.key)
        image = (
            np.full((frame.height, frame.width, 3), 90, np.uint8)
            if image is None
            else image
        )
        if on["parts"] and self.masks is not None and frame.parts_valid:
            parts = self._read(read_mask, self.masks, frame.key)
            image = image if parts is None else overlays.paint_parts(image, parts)
        x, y, w, h = frame.bbox_xywh
        around = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)])
        joints_px = hand_plots.masked(frame.joints_px, frame.joint_valid)
        strokes = hand_plots.hand_strokes(joints_px) if on["joints"] else []
        strokes += [Stroke(around, CHOSEN, marks=False)] * on["box"]
        self.canvas.show(image, strokes, frame.key)
        masked = (
            ""
            if frame.parts_valid
            else "; no part mask: no fit, or none is rendered yet"
        )
        known = self.index.take(row)
        words = [
            escape(f"{label} {known[name][0]:{form}}")
            for name, (label, form) in KNOWN.items()
            if name in self.index.columns() and known[name][0] == known[name][0]
        ]
        count = f"{frame.joint_valid.sum()} of {N_JOINTS} joints annotated{masked}"
        lines = "<br>".join([f"<b>{HAND_TYPES[frame.hand_type]}</b>", count, *words])
        self.said.value = f"<div style='line-height:1.4;width:300px'>{lines}</div>"
        self._show_cameras(frame)
        self._show_views(frame)

    def _show_cameras(self, frame: Frame) -> None:
        capture = self.index.take(self.rows[1])
        some = capture.take(np.unique(capture["camera_row"], return_index=True)[1])
        cameras = hand_plots.camera_strokes(
            some["camrot"], some["campos_mm"], some["camera"].tolist()
        )
        cameras = [
            c._replace(color=CHOSEN) if c.label == frame.camera else c for c in cameras
        ]
        joints_mm = hand_plots.masked(frame.joints_world_mm, frame.joint_valid)
        self.space.draw(hand_plots.hand_strokes(joints_mm) + cameras)

    def _show_views(self, frame: Frame) -> None:
        rows = self.rows[3][np.argsort(self.index.take(self.rows[3])["camera"])]
        spread = rows[np.linspace(0, len(rows) - 1, min(TILES, len(rows))).astype(int)]
        self.tiles = rows[np.isin(rows, [*spread, self.rows[-1][0]])]
        views, pictures, strokes, x = self.index.take(self.tiles), [], [], 0
        joints_px = hand_plots.masked(views["joints_px"], views["joint_valid"])
        for i, (key, camera) in enumerate(zip(views.keys(), views["camera"].tolist())):
            image = self._read(partial(read_image, reduce=2), self.images, key)
            scale = TILE_PX / views["height"][i]
            size = max(1, round(views["width"][i] * scale)), TILE_PX
            image = np.full((2, 2, 3), 90, np.uint8) if image is None else image
            pictures.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            edge = np.array(
                [(x, 0), (x + size[0], 0), (x + size[0], TILE_PX), (x, TILE_PX)]
            )
            chosen = CHOSEN if camera == frame.camera else "#FFFFFF"
            hands = hand_plots.hand_strokes(joints_px[i] * scale + (x, 0))
            strokes += [stroke._replace(marks=False) for stroke in hands]
            strokes.append(
                Stroke(edge[[0, 1, 2, 3, 0]], chosen, marks=False, label=camera)
            )
            x += size[0]
        self.edges = np.cumsum([picture.shape[1] for picture in pictures])
        self.strip.show(
            np.hstack(pictures), strokes, "one instant; click to take a camera"
        )

"""Widgets over pictures: your own photo under the network, a data set looked through by hand.

`Canvas` is a picture under strokes, with a box to move where it has one (photo.js draws it). What
cannot be read or computed is said in a sentence; a widget does not die of a picture.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path

import anywidget
import cv2
import ipywidgets as widgets
import numpy as np
import torch
from jaxtyping import Float, UInt8
from traitlets import Bool as Flag
from traitlets import Bytes, List, Unicode
from traitlets import Int as Number

from digit_data import figures, geometry
from digit_data.figures import Stroke
from digit_data.interhand import Frame, Index
from digit_data.skeleton import BONES, HAND_TYPES, JOINTS_PER_HAND, N_JOINTS, SIDES, WRISTS
from digit_data.store import Store, image_store, mask_store, read_image, read_mask

from .inference import Estimate, predict, read_photo
from .network import Digit

LONGEST_PX = 1200  # of a picture as a widget shows it
BONES_PER_LENGTH = 4.5  # a hand's 20 bones together by its length; so in InterHand2.6M, too
DEPTHS_MM = np.geomspace(80, 20_000, 400)
SMALL_PX = 40  # a smaller box shows less than any the network has learnt from
TILES, TILE_PX = 12, 170  # views of an instant beside each other, their height
KNOWN = {"subject": ("subject", ""), "family": ("family", ""),
         "hands_distance_mm": ("gap between the hands, mm:", ".0f"),
         "right_hidden_by_other": ("right hand hidden by the left:", ".0%"),
         "left_hidden_by_other": ("left hand hidden by the right:", ".0%")}  # fmt: skip
VIEW = math.atan2(figures.EYE[0], -figures.EYE[2]), -math.asin(figures.EYE[1])  # yaw, pitch
CHOSEN = figures.LINE_COLORS[1]
LEVELS = {"capture": "capture", "sequence": "seq_name", "instant": "frame_idx", "camera": "camera"}
LOOK = dict(style=dict(description_width="135px"), layout=dict(width="310px"))
WIDE = LOOK | dict(layout=dict(width="470px"))
DISTANCE = (
    "<b>The third dimension.</b> One picture does not tell how far away a hand is: one twice as "
    "large at twice the distance looks the same, and through a lens twice as long so does anything "
    "twice as far. "
)


class Canvas(anywidget.AnyWidget):
    """A picture (`size`: its width and height, px) fitted into `room` (px of the screen).

    Strokes and box are in the picture's pixels. `box` [x, y, w, h], where not empty, moves with
    mouse and arrow keys; `asked` counts its changes, and the next comes when `answered` is as much.
    `clicked` is [x, y, time]. With `opens`, photos arrive by `on_msg`, in pieces.
    """

    _esm = Path(__file__).with_name("photo.js")
    picture, title, opens = Bytes().tag(sync=True), Unicode().tag(sync=True), Flag().tag(sync=True)
    size, room = List([1, 1]).tag(sync=True), List([470, 470]).tag(sync=True)
    strokes, box, clicked = List().tag(sync=True), List().tag(sync=True), List().tag(sync=True)
    asked, answered = Number().tag(sync=True), Number().tag(sync=True)

    def show(
        self, image: UInt8[np.ndarray, "h w 3"], strokes: Sequence[Stroke] = (), title: str = ""
    ) -> None:
        """Another picture, and what is drawn over it."""
        h, w = image.shape[:2]
        if (scale := LONGEST_PX / max(h, w)) < 1:
            small = max(1, round(w * scale)), max(1, round(h * scale))
            image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        with self.hold_sync():
            self.picture, self.size, self.title = code, [w, h], title
            self.draw(strokes)

    def draw(self, strokes: Sequence[Stroke]) -> None:
        """Other strokes; NaN is not drawn."""
        self.strokes = _records(strokes)


def _records(strokes: Sequence[Stroke]) -> list[dict]:
    """As JSON knows them: NaN is null."""
    return [
        stroke._asdict() | {"points": [
            [round(v, 1) if math.isfinite(v) else None for v in point]
            for point in stroke.points.tolist()
        ]}
        for stroke in strokes
    ]  # fmt: skip


class Space(anywidget.AnyWidget):
    """Strokes in 3D (mm), camera axes, turned with the mouse; aspect equal, the view stays.

    `view` is yaw and pitch (rad); `clicked` the label of the stroke that was clicked last.
    """

    _esm = Path(__file__).with_name("photo.js")
    strokes, clicked = List().tag(sync=True), Unicode().tag(sync=True)
    room, view = List([400, 390]).tag(sync=True), List(list(VIEW)).tag(sync=True)
    first = List(list(VIEW)).tag(sync=True)

    def draw(self, strokes: Sequence[Stroke]) -> None:
        """Other strokes; NaN is not drawn."""
        self.strokes = _records(strokes)


def place_hands(
    estimate: Estimate, focal: Sequence[float], princpt: Sequence[float], hand_mm: float
) -> Float[np.ndarray, "42 3"]:
    """Joints in the camera's frame, mm, as far away as makes the hands that are seen so long.

    A picture does not tell the distance; a focal length (px) and a hand's length (mm, wrist to the
    middle finger's tip, stretched) together do.
    """
    joints_px = torch.from_numpy(estimate.joints_px)
    relative_mm = geometry.cells_to_depth(torch.from_numpy(estimate.joints_25d[:, 2]))
    camera = [torch.tensor(v, dtype=torch.float64) for v in (focal, princpt)]
    sure = np.maximum(estimate.hand_type - 0.5, 1e-9)
    left_mm = estimate.relative_root_depth_mm if (sure > 1e-9).all() else 0.0

    def at(depth_mm: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 42 3"]:
        wrists_mm = torch.from_numpy(depth_mm[:, None] + [0.0, left_mm])
        n = len(depth_mm)
        hands = joints_px.expand(n, N_JOINTS, 2), relative_mm.expand(n, N_JOINTS)
        return geometry.place_hands(*hands, wrists_mm, *camera).numpy()

    tried = at(DEPTHS_MM)
    bones = np.linalg.norm(tried[:, BONES[:, 0]] - tried[:, BONES[:, 1]], axis=-1)
    bones = np.average(bones.reshape(-1, 2, len(BONES) // 2).sum(-1), axis=-1, weights=sure)
    return at(np.interp([hand_mm], np.maximum.accumulate(bones) / BONES_PER_LENGTH, DEPTHS_MM))[0]


def _row(*children: widgets.Widget, kind: type = widgets.HBox) -> widgets.Box:
    return kind(children, layout=dict(grid_gap="4px 8px", flex="0 0 auto"))


_column = partial(_row, kind=widgets.VBox)


class _Desk(widgets.VBox):
    """Widgets whose doings speak in `note` when they fail, and do not set each other off."""

    def __init__(self):
        self.note, self.said, self._busy = widgets.HTML(), widgets.HTML(), False
        super().__init__()

    def _on(self, widget: widgets.Widget, name: str, act: Callable[[], object]) -> None:
        widget.observe(lambda _: self._do(act), name)

    def _do(self, act: Callable[[], object]) -> None:
        if self._busy:
            return
        self._busy, self.note.value = True, ""
        try:
            act()
        except Exception as error:
            self._note(str(error) or repr(error))
        finally:
            self._busy = False

    def _note(self, text: str) -> None:
        self.note.value += f"<b>⚠ {escape(text)}</b><br>"


class OwnPhoto(_Desk):
    """A photo, a box to move, and what a network says of it: joints, parts, the hands in 3D.

    `frames` of a data set, where given, are examples, with their boxes and cameras. The last
    answer is `estimate` and `joints_cam_mm`, None where there is none; `note` says why.
    """

    def __init__(self, network: Digit, frames: Index | None = None):
        super().__init__()
        self.network, self.frames, self.lens, self._pieces = network, frames, "", []
        self.image = np.full((3, 4, 3), 128, np.uint8)  # until there is one
        self.assumed_deg = 60  # of a photo that does not tell
        self.estimate = self.joints_cam_mm = None
        names = frames["file_name"].tolist() if frames else []
        text = partial(widgets.Text, continuous_update=False)
        self.canvas, self.parts = Canvas(opens=True), Canvas(room=[270, 270])
        self.space, options = Space(), [("–", -1), *((k, i) for i, k in enumerate(names))]
        self.example = widgets.Dropdown(options=options, description="or an example", **WIDE)
        self.path = text(description="or a path", placeholder="photo.jpg", **WIDE)
        self.box = text(description="box x, y, w, h (px)", **WIDE)
        self.angle = widgets.IntSlider(60, 5, 120, description="field of view (°)", **LOOK)
        self.camera = text(description="focal, centre (px)", **LOOK)
        self.hand_mm = widgets.IntSlider(180, 110, 240, description="hand's length (mm)", **LOOK)
        parts = widgets.HTML("parts: right hand full, left hand pale and hatched")
        left = _column(self.canvas, self.box, self.example, self.path)
        middle = _column(self.parts, parts, self.angle, self.camera, self.hand_mm)
        right = _column(_row(middle, self.space), self.note, self.said)
        self.children = [_row(left, right)]
        self._on(self.example, "value", lambda: self._take(self.example.value))
        self._on(self.path, "value", lambda: self._take(Path(self.path.value.strip())))
        self._on(self.canvas, "asked", self._predict)
        self._on(self.box, "value", lambda: self._move(_numbers(self.box.value, "box x, y, w, h")))
        self._on(self.angle, "value", lambda: self._assume(self.angle.value))
        self._on(self.camera, "value", lambda: self._place("as typed"))
        self._on(self.hand_mm, "value", self._place)
        self.canvas.on_msg(lambda _, about, pieces: self._do(lambda: self._receive(about, pieces)))
        self.canvas.show(self.image)
        self.example.value = 0 if names else -1

    def take(self, source: int | Path | bytes) -> None:
        """Show an example (its number), a file or a file's bytes, and what is seen there."""
        self._do(lambda: self._take(source))

    def move(self, bbox_xywh: Sequence[float]) -> None:
        """Another box, px."""
        self._do(lambda: self._move(bbox_xywh))

    def _receive(self, about: dict, pieces: list) -> None:
        self._pieces = [*(self._pieces if about["i"] else []), bytes(pieces[0])]
        if len(self._pieces) == about["count"]:
            data, self._pieces = b"".join(self._pieces), []
            if len(data) != about["size"]:
                raise ValueError(f"{about['name']}: over 200 MB; make the photo smaller")
            self._take(data)

    def _take(self, source: int | Path | bytes) -> None:
        if source in (-1, Path()):  # nothing chosen
            return
        self.estimate = None
        if isinstance(source, int):
            one = self.frames.frame(source)
            self.image, box = (
                read_image(image_store(self.frames.root), one.key),
                one.bbox_xywh.tolist(),
            )
            self._set_camera("annotated", *one.focal.tolist(), *one.princpt.tolist())
        else:
            self.image, focal_px = read_photo(source)
            h, w = self.image.shape[:2]
            box = [0.2 * w, 0.2 * h, 0.6 * w, 0.6 * h]
            if focal_px:
                self._set_camera("by the photo's EXIF entry", focal_px, focal_px, w / 2, h / 2)
            else:
                self._assume(self.assumed_deg)
        self.example.value = source if isinstance(source, int) else -1
        self.canvas.show(self.image)
        self._move(box)

    def _set_camera(self, lens: str, *numbers: float) -> None:
        self.lens, self.camera.value = lens, ", ".join(f"{v:.0f}" for v in numbers)
        self._place()

    def _assume(self, angle_deg: int) -> None:
        self.assumed_deg = angle_deg
        h, w = self.image.shape[:2]
        focal = w / 2 / np.tan(np.radians(angle_deg / 2))
        lens = f"assumed from a field of view of {angle_deg}°"
        self._set_camera(lens, focal, focal, w / 2, h / 2)

    def _move(self, bbox_xywh: Sequence[float]) -> None:
        self.canvas.box = [float(v) for v in bbox_xywh]
        self._predict()

    def _predict(self) -> None:
        x, y, w, h = self.canvas.box
        self.box.value = ", ".join(f"{v:.1f}" for v in self.canvas.box)
        self.estimate = None
        self.said.value, self.canvas.strokes = "", []
        try:
            self.estimate = predict(self.network, self.image, self.canvas.box)
        finally:
            self.canvas.answered = self.canvas.asked
        if max(w, h) < SMALL_PX:
            self._note(f"The box is {max(w, h):.0f} px long: too few to see fingers in.")
        if min(x, y) < 0 or x + w > self.image.shape[1] or y + h > self.image.shape[0]:
            self._note("The box reaches beyond the picture; there the network sees black.")
        self.canvas.draw(figures.hand_strokes(self._seen(self.estimate.joints_px)))
        self.parts.show(figures.paint_parts(self.estimate.crop, self.estimate.parts))
        self._place()

    def _seen(self, joints: Float[np.ndarray, "42 d"]) -> Float[np.ndarray, "42 d"]:
        return figures.masked(joints, np.repeat(self.estimate.hand_type > 0.5, JOINTS_PER_HAND))

    def _place(self, lens: str = "") -> None:
        self.lens = lens or self.lens
        if self.estimate is None:
            return
        fx, fy, cx, cy = _numbers(self.camera.value, "focal x, y, centre x, y")
        self.angle.value = round(np.degrees(2 * np.arctan2(self.image.shape[1] / 2, fx)))
        joints_mm = place_hands(self.estimate, [fx, fy], [cx, cy], float(self.hand_mm.value))
        self.joints_cam_mm = self._seen(joints_mm)
        self.space.draw(figures.hand_strokes(self.joints_cam_mm))
        right, left = (f"{p:.0%}" for p in self.estimate.hand_type)
        wrists = zip(SIDES, joints_mm[list(WRISTS), 2], self.estimate.hand_type)
        far = " and ".join(f"the {side} wrist {z:.0f} mm" for side, z, p in wrists if p > 0.5)
        hands = " and ".join(f"a {side}" for side in self.estimate.hands()) or "no"
        self.said.value = (
            f"<div style='line-height:1.4;width:715px'><b>The network sees {hands} hand</b> (right "
            f"{right}, left {left}).<br>{DISTANCE}Focal length: {self.lens}. With a hand "
            f"{self.hand_mm.value} mm long that puts {far or 'nothing'} before the camera. The "
            "shape of each hand in depth and the depth between the wrists are the network's.</div>"
        )


def _numbers(text: str, what: str) -> list[float]:
    words = text.replace(",", " ").split()
    if len(words) != 4 or not all(re.fullmatch(r"[-+]?[0-9.]+", word) for word in words):
        raise ValueError(f"{text!r}: give four numbers, {what}")
    return [float(word) for word in words]


class DataBrowser(_Desk):
    """A data set by capture, sequence, instant and camera: the frame with its annotation, the
    capture's cameras in 3D, the instant in other cameras; a click on one of these takes it."""

    def __init__(self, index: Index):
        super().__init__()
        self.index, self.images, self.masks = index, image_store(index.root), mask_store(index.root)
        self.canvas, self.strip, self.space = Canvas(), Canvas(room=[1200, TILE_PX]), Space()
        self.choices = [widgets.Dropdown(description=level, **LOOK) for level in LEVELS]
        self.layers = {name: widgets.Checkbox(name != "box", description=name, **LOOK)
                       for name in ("joints", "parts", "box")}  # fmt: skip
        self.steps = [widgets.Button(description=text) for text in ("◀ instant", "instant ▶")]
        self.rows = [np.arange(len(index))] * (len(LEVELS) + 1)  # of the index, after each choice
        tools = _column(*self.choices, _row(*self.steps), *self.layers.values(), self.said)
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
        tile = min(np.searchsorted(self.edges, self.strip.clicked[0]), len(self.tiles) - 1)
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
        frame, on = self.index.frame(int(row[0])), {k: v.value for k, v in self.layers.items()}
        image = self._read(read_image, self.images, frame.key)
        image = np.full((frame.height, frame.width, 3), 90, np.uint8) if image is None else image
        if on["parts"] and self.masks is not None and frame.parts_valid:
            parts = self._read(read_mask, self.masks, frame.key)
            image = image if parts is None else figures.paint_parts(image, parts)
        x, y, w, h = frame.bbox_xywh
        around = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)])
        joints_px = figures.masked(frame.joints_px, frame.joint_valid)
        strokes = figures.hand_strokes(joints_px) if on["joints"] else []
        strokes += [Stroke(around, CHOSEN, marks=False)] * on["box"]
        self.canvas.show(image, strokes, frame.key)
        masked = "" if frame.parts_valid else "; no part mask: no fit, or none is rendered yet"
        known = self.index.take(row)
        words = [escape(f"{label} {known[name][0]:{form}}") for name, (label, form) in KNOWN.items()
                 if name in self.index.columns() and known[name][0] == known[name][0]]  # fmt: skip
        count = f"{frame.joint_valid.sum()} of {N_JOINTS} joints annotated{masked}"
        lines = "<br>".join([f"<b>{HAND_TYPES[frame.hand_type]}</b>", count, *words])
        self.said.value = f"<div style='line-height:1.4;width:300px'>{lines}</div>"
        self._show_cameras(frame)
        self._show_views(frame)

    def _show_cameras(self, frame: Frame) -> None:
        capture = self.index.take(self.rows[1])
        some = capture.take(np.unique(capture["camera_row"], return_index=True)[1])
        cameras = figures.camera_strokes(some["camrot"], some["campos_mm"], some["camera"].tolist())
        cameras = [c._replace(color=CHOSEN) if c.label == frame.camera else c for c in cameras]
        joints_mm = figures.masked(frame.joints_world_mm, frame.joint_valid)
        self.space.draw(figures.hand_strokes(joints_mm) + cameras)

    def _show_views(self, frame: Frame) -> None:
        rows = self.rows[3][np.argsort(self.index.take(self.rows[3])["camera"])]
        spread = rows[np.linspace(0, len(rows) - 1, min(TILES, len(rows))).astype(int)]
        self.tiles = rows[np.isin(rows, [*spread, self.rows[-1][0]])]
        views, pictures, strokes, x = self.index.take(self.tiles), [], [], 0
        joints_px = figures.masked(views["joints_px"], views["joint_valid"])
        for i, (key, camera) in enumerate(zip(views.keys(), views["camera"].tolist())):
            image = self._read(partial(read_image, reduce=2), self.images, key)
            scale = TILE_PX / views["height"][i]
            size = max(1, round(views["width"][i] * scale)), TILE_PX
            image = np.full((2, 2, 3), 90, np.uint8) if image is None else image
            pictures.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            edge = np.array([(x, 0), (x + size[0], 0), (x + size[0], TILE_PX), (x, TILE_PX)])
            chosen = CHOSEN if camera == frame.camera else "#FFFFFF"
            hands = figures.hand_strokes(joints_px[i] * scale + (x, 0))
            strokes += [stroke._replace(marks=False) for stroke in hands]
            strokes.append(Stroke(edge[[0, 1, 2, 3, 0]], chosen, marks=False, label=camera))
            x += size[0]
        self.edges = np.cumsum([picture.shape[1] for picture in pictures])
        self.strip.show(np.hstack(pictures), strokes, "one instant; click to take a camera")

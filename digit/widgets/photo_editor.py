"""Your own photo under the network."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import torch
from jaxtyping import Float

from digit import geometry
from digit.data.index import Index
from digit.data.store import image_store, read_image
from digit.inference.photo import read_photo
from digit.inference.predict import Estimate, predict
from digit.model.network import Digit
from digit.plots import hands as hand_plots
from digit.plots import overlays
from digit.skeleton import BONES, JOINTS_PER_HAND, N_JOINTS, SIDES, WRISTS
from digit.widgets.canvas import LOOK, WIDE, Canvas, Space, _column, _row

BONES_PER_LENGTH = (
    4.5  # a hand's 20 bones together by its length; so in InterHand2.6M, too
)
DEPTHS_MM = np.geomspace(80, 20_000, 400)
SMALL_PX = 40  # a smaller box shows less than any the network has learnt from
DISTANCE = (
    "<b>The third dimension.</b> One picture does not tell how far away a hand is: one twice as "
    "large at twice the distance looks the same, and through a lens twice as long so does anything "
    "twice as far. "
)


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
    bones = np.average(
        bones.reshape(-1, 2, len(BONES) // 2).sum(-1), axis=-1, weights=sure
    )
    return at(
        np.interp([hand_mm], np.maximum.accumulate(bones) / BONES_PER_LENGTH, DEPTHS_MM)
    )[0]


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
        self.space, options = (
            Space(),
            [("–", -1), *((k, i) for i, k in enumerate(names))],
        )
        self.example = widgets.Dropdown(
            options=options, description="or an example", **WIDE
        )
        self.path = text(description="or a path", placeholder="photo.jpg", **WIDE)
        self.box = text(description="box x, y, w, h (px)", **WIDE)
        self.angle = widgets.IntSlider(
            60, 5, 120, description="field of view (°)", **LOOK
        )
        self.camera = text(description="focal, centre (px)", **LOOK)
        self.hand_mm = widgets.IntSlider(
            180, 110, 240, description="hand's length (mm)", **LOOK
        )
        parts = widgets.HTML("parts: right hand full, left hand pale and hatched")
        left = _column(self.canvas, self.box, self.example, self.path)
        middle = _column(self.parts, parts, self.angle, self.camera, self.hand_mm)
        right = _column(_row(middle, self.space), self.note, self.said)
        self.children = [_row(left, right)]
        self._on(self.example, "value", lambda: self._take(self.example.value))
        self._on(self.path, "value", lambda: self._take(Path(self.path.value.strip())))
        self._on(self.canvas, "asked", self._predict)
        self._on(
            self.box,
            "value",
            lambda: self._move(_numbers(self.box.value, "box x, y, w, h")),
        )
        self._on(self.angle, "value", lambda: self._assume(self.angle.value))
        self._on(self.camera, "value", lambda: self._place("as typed"))
        self._on(self.hand_mm, "value", self._place)
        self.canvas.on_msg(
            lambda _, about, pieces: self._do(lambda: self._receive(about, pieces))
        )
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
                raise ValueError(
                    f"{about['name']}: over 200 MB; make the photo smaller"
                )
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
                self._set_camera(
                    "by the photo's EXIF entry", focal_px, focal_px, w / 2, h / 2
                )
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
            self._note(
                f"The box is {max(w, h):.0f} px long: too few to see fingers in."
            )
        if min(x, y) < 0 or x + w > self.image.shape[1] or y + h > self.image.shape[0]:
            self._note(
                "The box reaches beyond the picture; there the network sees black."
            )
        self.canvas.draw(hand_plots.hand_strokes(self._seen(self.estimate.joints_px)))
        self.parts.show(overlays.paint_parts(self.estimate.crop, self.estimate.parts))
        self._place()

    def _seen(self, joints: Float[np.ndarray, "42 d"]) -> Float[np.ndarray, "42 d"]:
        return hand_plots.masked(
            joints, np.repeat(self.estimate.hand_type > 0.5, JOINTS_PER_HAND)
        )

    def _place(self, lens: str = "") -> None:
        self.lens = lens or self.lens
        if self.estimate is None:
            return
        fx, fy, cx, cy = _numbers(self.camera.value, "focal x, y, centre x, y")
        self.angle.value = round(
            np.degrees(2 * np.arctan2(self.image.shape[1] / 2, fx))
        )
        joints_mm = place_hands(
            self.estimate, [fx, fy], [cx, cy], float(self.hand_mm.value)
        )
        self.joints_cam_mm = self._seen(joints_mm)
        self.space.draw(hand_plots.hand_strokes(self.joints_cam_mm))
        right, left = (f"{p:.0%}" for p in self.estimate.hand_type)
        wrists = zip(SIDES, joints_mm[list(WRISTS), 2], self.estimate.hand_type)
        far = " and ".join(
            f"the {side} wrist {z:.0f} mm" for side, z, p in wrists if p > 0.5
        )
        hands = " and ".join(f"a {side}" for side in self.estimate.hands()) or "no"
        self.said.value = (
            f"<div style='line-height:1.4;width:715px'><b>The network sees {hands} hand</b> (right "
            f"{right}, left {left}).<br>{DISTANCE}Focal length: {self.lens}. With a hand "
            f"{self.hand_mm.value} mm long that puts {far or 'nothing'} before the camera. The "
            "shape of each hand in depth and the depth between the wrists are the network's.</div>"
        )


def _numbers(text: str, what: str) -> list[float]:
    words = text.replace(",", " ").split()
    if len(words) != 4 or not all(
        re.fullmatch(r"[-+]?[0-9.]+", word) for word in words
    ):
        raise ValueError(f"{text!r}: give four numbers, {what}")
    return [float(word) for word in words]

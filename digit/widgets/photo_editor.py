"""The photo editor: a photo, a box around the hands, and what a network predicts there.

Chapter 01 of the notebooks shows it; its prose explains the camera and the length of
the hand.
"""

from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from digit.data.index import Index
from digit.data.store import image_store, read_image
from digit.hands.meshes import HandMesh, fit_meshes, mesh_warnings
from digit.hands.model import generic_hands
from digit.inference.assembly import PredictOptions
from digit.inference.photo import read_photo
from digit.inference.pipeline import predict_picture
from digit.inference.placement import Lens
from digit.inference.predict import Estimate, find_boxes, place_hands, predict
from digit.inference.sources import Picture
from digit.model.network import Digit
from digit.paths import runs_dir
from digit.plots import hands as hand_plots
from digit.plots import overlays
from digit.plots.hands import Stroke
from digit.skeleton import JOINTS_PER_HAND, SIDES, WRISTS
from digit.widgets.keys import Key
from digit.widgets.photo_page import (
    BOX_FIELD,
    CAMERA_FIELD,
    DEFAULT_ANGLE_DEG,
    HANDS,
    NO_EXAMPLE,
    PhotoPage,
    four_numbers,
)
from digit.widgets.picture_source import name_of
from digit.widgets.saved_results import KINDS, save_result, saved_line

SMALLEST_BOX_PX = 40  # fewer pixels than that are not seen in training; chosen by eye
FIRST_BOX = (0.2, 0.2, 0.6, 0.6)  # x, y, w, h in shares of a photo

FOUND_COLOR = "#FFFFFF"  # of the boxes that were found
PAGE = 10  # pictures to jump by key

DISTANCE = (
    "<b>The third dimension.</b> One picture does not tell how far away a hand is: one "
    "twice as large at twice the distance looks the same, and so does one twice as far "
    "through a lens twice as long. "
)


class PhotoEditor(PhotoPage):
    """A photo, a box to move, and what a network predicts in it.

    Args:
        network: The network.
        frames: Frames of a data set as examples, with their boxes and cameras.
        results_dir: Where results are saved; by default `photos` beside the runs.

    Attributes:
        image: The photo, RGB.
        estimate: The last prediction, None where there is none; `note` says why.
        joints_cam_mm: Its joints in the camera's frame, NaN for hands that are not
            shown; None without a prediction or with an invalid camera.
        meshes: Hand models fitted to them; empty where the skeleton is shown.

    Example:
        >>> editor = digit.PhotoEditor(digit.load_network())
        >>> editor.take(Path("photo.jpg"))
    """

    def __init__(
        self,
        network: Digit,
        frames: Index | None = None,
        results_dir: Path | str | None = None,
    ) -> None:
        names = frames["file_name"].tolist() if frames else []
        super().__init__(names, show=self._show_picture)
        self.network = network
        self.frames = frames
        self.results_dir = Path(results_dir or runs_dir() / "photos")
        self.image = np.full((3, 4, 3), 128, np.uint8)  # until there is one
        self.picture = Picture("photo", self.image)
        self.estimate: Estimate | None = None
        self.joints_cam_mm: np.ndarray | None = None
        self.meshes: list[HandMesh] = []
        self.found_xywh: list[list[float]] = []  # boxes of the hands that were found
        self.camera_source = ""  # where the focal length comes from
        self.assumed_deg = DEFAULT_ANGLE_DEG
        self.box_is_guess = False
        self._pieces: list[bytes] = []  # of a photo on its way from the page

        self.shortcuts.listen(self._keys())
        self._connect()
        self.canvas.show(self.image)
        self.example.value = 0 if frames else NO_EXAMPLE

    def static_figure(self) -> Figure | None:
        """The last prediction: crop, parts and hands in 3D."""
        return None if self.estimate is None else self.estimate.figure()

    def _keys(self) -> list[Key]:
        source = self.source
        save = {kind: partial(self._save, kind) for kind in KINDS}
        return [
            Key("j", "next picture or frame", lambda: source.step(1)),
            Key("k", "previous picture or frame", lambda: source.step(-1)),
            Key("J", f"{PAGE} further", lambda: source.step(PAGE)),
            Key("K", f"{PAGE} back", lambda: source.step(-PAGE)),
            Key("f", "find hands; again for the next ones", self._find_hands),
            Key("m", "mesh or skeleton", self._toggle_mesh),
            Key("c", "take a picture with the camera", source.take_picture),
            Key("s", "save as JSON", save["JSON"]),
            Key("i", "save as picture", save["picture"]),
            Key("g", "save the mesh", save["mesh"]),
            Key("+", "enlarge the picture", lambda: self.canvas.zoom(1.25)),
            Key("-", "make it smaller", lambda: self.canvas.zoom(0.8)),
            Key("0", "the whole picture", lambda: self.canvas.zoom(0)),
        ]

    def _connect(self) -> None:
        self.on_change(self.example, "value", lambda: self._take(self.example.value))
        self.on_change(self.canvas, "asked", self._predict_moved)
        self.on_change(self.canvas, "clicked", self._take_clicked_box)
        self.on_change(self.box, "value", self._take_typed_box)
        self.find.on_click(lambda _: self.perform(self._find_hands))
        self.on_change(self.hands, "value", self._show_hands)
        self.on_change(
            self.angle, "value", lambda: self._assume_angle(self.angle.value)
        )
        self.on_change(self.camera, "value", self._take_typed_camera)
        self.on_change(self.hand_mm, "value", self._place)
        self.on_change(self.shows_mesh, "value", self._draw_space)
        for kind, button in self.save.items():
            button.on_click(
                lambda _, kind=kind: self.perform(partial(self._save, kind))
            )
        self.canvas.on_msg(
            lambda _, about, pieces: self.perform(lambda: self._receive(about, pieces))
        )

    # What to look at

    def take(self, source: int | Path | bytes) -> None:
        """Show a photo and what is predicted in it.

        Args:
            source: The number of an example, the path of a photo, a folder or a video,
                or the bytes of a photo.
        """
        self.perform(lambda: self._take(source))

    def move(self, bbox_xywh: Sequence[float]) -> None:
        """Predict in another box, px."""
        self.perform(lambda: self._move(bbox_xywh))

    def _receive(self, about: dict, pieces: list) -> None:
        """Collect a photo that the page sends in pieces."""
        # The first piece begins a new photo, even if the last one never came to its end.
        if about["i"] == 0:
            self._pieces = []
        self._pieces.append(bytes(pieces[0]))
        if len(self._pieces) < about["count"]:
            return
        data = b"".join(self._pieces)
        self._pieces = []
        if len(data) != about["size"]:
            raise ValueError(f"{about['name']}: over 200 MB; make the photo smaller")
        self._take(data, about["name"])

    def _take(self, source: int | Path | bytes, name: str = "photo") -> None:
        """Show an example or a photo; the last one stays where it cannot be read."""
        if source == NO_EXAMPLE:
            return
        if isinstance(source, Path):
            self.source.show_path(source)
            self.source.path.value = str(source)
            return
        if isinstance(source, int):
            self._show_example(source)
        else:
            image, focal_px = read_photo(source)
            self._show_picture(Picture(name, image, focal_px=focal_px))
        self.source.forget()

    def _show_example(self, number: int) -> None:
        """Show an example with its box and its camera."""
        frame = self.frames.frame(number)
        image = read_image(image_store(self.frames.dataset_dir), frame.key)
        self._set_picture(Picture(frame.key, image))
        camera = [*frame.focal.tolist(), *frame.princpt.tolist()]
        self._set_camera("annotated", camera)
        self.example.value = number
        self._set_box(frame.bbox_xywh.tolist())
        self._predict()

    def _show_picture(self, picture: Picture) -> None:
        """Show a photo by the camera of its EXIF entry and the first hands found."""
        # 1. Picture and camera
        self._set_picture(picture)
        height, width = self.image.shape[:2]
        focal_px = picture.focal_px
        if focal_px:
            camera = [focal_px, focal_px, width / 2, height / 2]
            self._set_camera("by the photo's EXIF entry", camera)
        else:
            self._assume_angle(self.assumed_deg)
        self.example.value = NO_EXAMPLE

        # 2. The box: of the hands that are found, else a guess
        try:
            self._detect()
        except ValueError:
            x, y, w, h = FIRST_BOX
            self.box_is_guess = True
            self._set_box([x * width, y * height, w * width, h * height])
        else:
            self._set_box(self.found_xywh[0])
        self._predict()

    def _set_picture(self, picture: Picture) -> None:
        """Show another picture; nothing is known of it yet."""
        self.picture = picture
        self.image = picture.image
        self.estimate = None
        self.box_is_guess = False
        self.found_xywh = []
        self.saved.value = ""
        self.hands.value = next(iter(HANDS))
        self.canvas.show(self.image, title=name_of(picture))

    # The camera

    def _set_camera(self, source: str, focal_and_centre: Sequence[float]) -> None:
        self.camera_source = source
        self.camera.value = ", ".join(f"{value:.0f}" for value in focal_and_centre)
        self._place()

    def _assume_angle(self, angle_deg: int) -> None:
        """Take the focal length that gives the picture a field of view."""
        self.assumed_deg = angle_deg
        height, width = self.image.shape[:2]
        focal_px = width / 2 / np.tan(np.radians(angle_deg / 2))
        source = f"assumed from a field of view of {angle_deg}°"
        self._set_camera(source, [focal_px, focal_px, width / 2, height / 2])

    def _take_typed_camera(self) -> None:
        self.camera_source = "as typed"
        self._place()

    # The box

    def _take_typed_box(self) -> None:
        self._move(four_numbers(self.box.value, BOX_FIELD))

    def _find_hands(self) -> None:
        """Move the box to hands that are found; with each call to the next ones."""
        if not self.found_xywh:
            self._detect()
        number = 0
        if self.canvas.box in self.found_xywh:
            number = self.found_xywh.index(self.canvas.box) + 1
        self._move(self.found_xywh[number % len(self.found_xywh)])

    def _detect(self) -> None:
        """Find the boxes of all hands; ValueError where there are none."""
        try:
            boxes = find_boxes(self.image)
        except ValueError:
            raise ValueError("no hand is found in this picture: draw a box") from None
        self.found_xywh = [np.round(box, 1).tolist() for box in boxes]

    def _take_clicked_box(self) -> None:
        """Take the smallest of the found boxes that was clicked into."""
        u, v, _ = self.canvas.clicked
        hit = [
            (w * h, [x, y, w, h])
            for x, y, w, h in self.found_xywh
            if x <= u <= x + w and y <= v <= y + h
        ]
        if hit and min(hit)[1] != self.canvas.box:
            self._move(min(hit)[1])

    def _move(self, bbox_xywh: Sequence[float]) -> None:
        self.box_is_guess = False
        self._set_box(bbox_xywh)
        self._predict()

    def _set_box(self, bbox_xywh: Sequence[float]) -> None:
        self.canvas.box = [float(value) for value in bbox_xywh]

    def _predict_moved(self) -> None:
        """Predict in the box as it was moved in the page."""
        self.box_is_guess = False
        try:
            self._predict()
        finally:
            self.canvas.answered = self.canvas.asked

    def _predict(self) -> None:
        """Predict in the box and show it; what was shown before is greyed out."""
        # 1. Nothing that is shown belongs to the new box yet.
        self.box.value = ", ".join(f"{value:.1f}" for value in self.canvas.box)
        self._mark_stale()
        self._check_box()

        # 2. The prediction
        self.estimate = predict(self.network, self.image, self.canvas.box)
        self._warn_of_box()
        painted = overlays.paint_parts(self.estimate.crop, self.estimate.parts)
        self.parts.show(painted)
        self._show_hands()

    def _mark_stale(self) -> None:
        """Grey out what does not belong to the box that is shown."""
        self.estimate = None
        self.joints_cam_mm = None
        self.about.value = ""
        self.parts_caption.value = ""
        self.canvas.strokes = []
        self.saved.value = ""
        self.parts.stale = True
        self.space.stale = True

    def _check_box(self) -> None:
        """Raise ValueError for a box without area or outside the image."""
        x, y, w, h = self.canvas.box
        height, width = self.image.shape[:2]
        named = f"{BOX_FIELD}: {x:g}, {y:g}, {w:g}, {h:g}"
        if w <= 0 or h <= 0:
            raise ValueError(f"{named}: width and height must be positive")
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise ValueError(f"{named} lies outside the {width}×{height} image")

    def _warn_of_box(self) -> None:
        x, y, w, h = self.canvas.box
        height, width = self.image.shape[:2]
        if max(w, h) < SMALLEST_BOX_PX:
            self.warn(f"The box is {max(w, h):.0f} px long: too few to see fingers in.")
        if min(x, y) < 0 or x + w > width or y + h > height:
            self.warn(
                "The box reaches beyond the picture; the network sees black there."
            )

    # What is predicted

    def _hands_shown(self) -> Bool[np.ndarray, "2"]:
        """Whether the right and the left hand are shown: as predicted, or as chosen."""
        chosen = HANDS[self.hands.value]
        if chosen is None:
            return self.estimate.hand_type > 0.5
        return np.array(chosen)

    def _only_shown(
        self, joints: Float[np.ndarray, "42 d"]
    ) -> Float[np.ndarray, "42 d"]:
        """The joints, NaN for a hand that is not shown."""
        return hand_plots.masked(
            joints, np.repeat(self._hands_shown(), JOINTS_PER_HAND)
        )

    def _show_hands(self) -> None:
        """Draw the joints over the photo and place the hands in space."""
        if self.estimate is None:
            return
        joints_px = self._only_shown(self.estimate.joints_px)
        strokes = hand_plots.hand_strokes(joints_px)
        self.canvas.draw(strokes + self._other_boxes())
        self.parts_caption.value = (
            "<div style='line-height:1.4'>Parts in the dashed square; the left hand is "
            f"pale and hatched.<br>Probabilities: {self._probabilities()}</div>"
        )
        self._place()

    def _other_boxes(self) -> list[Stroke]:
        """The found boxes but the one that is chosen, numbered."""
        strokes = []
        for number, (x, y, w, h) in enumerate(self.found_xywh, start=1):
            if [x, y, w, h] == self.canvas.box:
                continue
            outline = [(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)]
            points = np.array(outline)
            label = f"{number}: click"
            strokes.append(Stroke(points, FOUND_COLOR, marks=False, label=label))
        return strokes

    def _probabilities(self) -> str:
        right, left = self.estimate.hand_type
        return f"right {right:.0%}, left {left:.0%}"

    def _place(self) -> None:
        """Place the hands in space by the camera and the length of a hand."""
        if self.estimate is None:
            return
        # 1. The camera; what was placed with another one is stale.
        self.joints_cam_mm = None
        self.space.stale = True
        self.about.value = ""
        fx, fy, cx, cy = self._checked_camera()
        angle_rad = 2 * np.arctan2(self.image.shape[1] / 2, fx)
        self.angle.value = round(np.degrees(angle_rad))

        # 2. A hand that the user chose counts as certain.
        estimate = self.estimate
        if HANDS[self.hands.value] is not None:
            certain = self._hands_shown().astype(float)
            estimate = estimate._replace(hand_type=certain)
        joints_mm = place_hands(
            estimate,
            focal=[fx, fy],
            princpt=[cx, cy],
            hand_mm=float(self.hand_mm.value),
        )

        # 3. The hands in space and what was assumed
        self.joints_cam_mm = self._only_shown(joints_mm)
        self._draw_space()
        self.about.value = self._describe(joints_mm)

    def _draw_space(self) -> None:
        """Draw the hands in 3D, and say where their meshes cannot be true."""
        self.meshes = []
        self.mesh_note.value = ""
        if self.joints_cam_mm is None:
            return
        if not self.shows_mesh.value:
            self.space.draw(hand_plots.hand_strokes(self.joints_cam_mm))
            return
        shown = self._hands_shown()
        self.meshes = fit_meshes(generic_hands(), self.joints_cam_mm, shown)
        self.space.draw(meshes=self.meshes)
        lines = [f"⚠ {escape(line)}<br>" for line in mesh_warnings(self.meshes)]
        self.mesh_note.value = "".join(lines)

    def _toggle_mesh(self) -> None:
        self.shows_mesh.value = not self.shows_mesh.value
        self._draw_space()

    def _checked_camera(self) -> list[float]:
        """The typed camera; ValueError names the field where it is invalid."""
        numbers = four_numbers(self.camera.value, CAMERA_FIELD)
        if min(numbers[:2]) <= 0:
            raise ValueError(
                f"{CAMERA_FIELD}: the focal length is {min(numbers[:2]):g}; "
                "it must be positive"
            )
        return numbers

    # Results as files

    def _save(self, kind: str) -> None:
        """Save the hands in the box by the writers of `digit predict`."""
        if self.estimate is None or self.joints_cam_mm is None:
            raise ValueError("there is nothing to save: give a valid box and camera")
        fx, fy, cx, cy = self._checked_camera()
        options = PredictOptions(
            bbox_xywh=tuple(self.canvas.box),
            lens=Lens((fx, fy), (cx, cy), source=self.camera_source),
            hand_length_mm=float(self.hand_mm.value),
            hands_present=HANDS[self.hands.value],
            smoothing=None,
            keep_pixels=True,
        )
        record = predict_picture(self.picture, self.network, options)
        self.saved.value = saved_line(save_result(kind, record, self.results_dir))

    def _describe(self, joints_mm: Float[np.ndarray, "42 3"]) -> str:
        """What the network predicts and what was assumed, as HTML."""
        # Distances of the hands that are shown; the prediction tells of both.
        shown = self._hands_shown()
        predicted = " and ".join(f"a {side}" for side in self.estimate.hands()) or "no"
        wrists = zip(SIDES, joints_mm[list(WRISTS), 2], shown, strict=True)
        distances = [
            f"the {side} wrist {z:.0f} mm" for side, z, is_on in wrists if is_on
        ]
        guess = ""
        if self.box_is_guess:
            guess = (
                "<b>No hand is found; the box is a first guess:</b> draw one around the "
                "hands. "
            )
        return (
            "<div style='line-height:1.4;max-width:880px'>"
            f"{guess}<b>The network predicts {predicted} hand</b> "
            f"({self._probabilities()}). It answers for any picture, also for one "
            f"without hands.<br>{DISTANCE}Focal length: {self.camera_source}. With a "
            f"hand {self.hand_mm.value} mm long that puts "
            f"{' and '.join(distances) or 'nothing'} before the camera. The shape of "
            "each hand in depth and the depth between the wrists are predicted.</div>"
        )

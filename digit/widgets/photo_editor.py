"""The photo editor: a photo, a box around the hands, and what a network predicts there.

Chapter 01 of the notebooks shows it; its prose explains the camera and the length of
the hand.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from digit import geometry
from digit.data.index import Index
from digit.data.store import image_store, read_image
from digit.inference.photo import read_photo
from digit.inference.placement import BONES_PER_LENGTH as BONES_PER_LENGTH
from digit.inference.placement import Lens, joints_from_hand_length
from digit.inference.predict import Estimate, find_boxes, predict
from digit.model.network import Digit
from digit.plots import hands as hand_plots
from digit.plots import overlays
from digit.skeleton import JOINTS_PER_HAND, SIDES, WRISTS
from digit.widgets.canvas import Canvas, Space
from digit.widgets.controls import WIDE, ReportingBox, column, row

SMALLEST_BOX_PX = 40  # fewer pixels than that are not seen in training; chosen by eye
DEFAULT_ANGLE_DEG = 60  # field of view of a photo without an EXIF focal length
FIRST_BOX = (0.2, 0.2, 0.6, 0.6)  # x, y, w, h in shares of a photo

BOX_FIELD = "box x, y, w, h (px)"
CAMERA_FIELD = "focal, centre (px)"
NO_EXAMPLE = -1

# Which hands are drawn: description → right, left; None leaves it to the network.
HANDS: dict[str, tuple[bool, bool] | None] = {
    "as predicted": None,
    "one right hand": (True, False),
    "one left hand": (False, True),
    "both hands": (True, True),
}
DISTANCE = (
    "<b>The third dimension.</b> One picture does not tell how far away a hand is: one "
    "twice as large at twice the distance looks the same, and so does one twice as far "
    "through a lens twice as long. "
)


def place_hands(
    estimate: Estimate, focal: Sequence[float], princpt: Sequence[float], hand_mm: float
) -> Float[np.ndarray, "42 3"]:
    """Place predicted hands at the distance that gives them a known length.

    A picture does not tell the distance; a focal length and the length of a hand
    together do.

    Args:
        estimate: The prediction for an image.
        focal: Focal lengths x and y of that image, px.
        princpt: Its principal point, px.
        hand_mm: Length of a hand from the wrist to the tip of the stretched middle
            finger, mm.

    Returns:
        Joints in the camera's frame, mm. Both hands count where both are predicted,
        each by how sure the network is of it.
    """
    relative_mm = geometry.cells_to_depth(torch.from_numpy(estimate.joints_25d[:, 2]))
    return joints_from_hand_length(
        joints_px=estimate.joints_px,
        relative_depth_mm=relative_mm.numpy(),
        relative_root_depth_mm=estimate.relative_root_depth_mm,
        hand_type=estimate.hand_type,
        lens=Lens(tuple(focal), tuple(princpt), source="given"),
        hand_length_mm=hand_mm,
    )


class PhotoEditor(ReportingBox):
    """A photo, a box to move, and what a network predicts in it.

    Args:
        network: The network.
        frames: Frames of a data set as examples, with their boxes and cameras.

    Attributes:
        image: The photo, RGB.
        estimate: The last prediction, None where there is none; `note` says why.
        joints_cam_mm: Its joints in the camera's frame, NaN for hands that are not
            shown; None without a prediction or with an invalid camera.

    Example:
        >>> editor = digit.PhotoEditor(digit.load_network())
        >>> editor.take(Path("photo.jpg"))
    """

    def __init__(self, network: Digit, frames: Index | None = None) -> None:
        super().__init__()
        self.network = network
        self.frames = frames
        self.image = np.full((3, 4, 3), 128, np.uint8)  # until there is one
        self.estimate: Estimate | None = None
        self.joints_cam_mm: np.ndarray | None = None
        self.camera_source = ""  # where the focal length comes from
        self.assumed_deg = DEFAULT_ANGLE_DEG
        self.box_is_guess = False
        self._pieces: list[bytes] = []  # of a photo on its way from the page

        self._make_widgets()
        self._connect()
        self.canvas.show(self.image)
        self.example.value = 0 if frames else NO_EXAMPLE

    def static_figure(self) -> Figure | None:
        """The last prediction: crop, parts and hands in 3D."""
        return None if self.estimate is None else self.estimate.figure()

    def _make_widgets(self) -> None:
        names = self.frames["file_name"].tolist() if self.frames else []
        examples = [("–", NO_EXAMPLE)]
        examples += [(name, i) for i, name in enumerate(names)]
        text = partial(widgets.Text, continuous_update=False)

        # 1. The photo
        self.canvas = Canvas(opens=True)
        self.box = text(description=BOX_FIELD, **WIDE)
        self.find = widgets.Button(
            description="find hands",
            tooltip="a box around the hands; again for the next ones",
        )
        self.example = widgets.Dropdown(
            options=examples, description="or an example", **WIDE
        )
        self.path = text(description="or a path", placeholder="photo.jpg", **WIDE)

        # 2. Parts, hands, camera and the length of a hand
        self.parts = Canvas(room=[300, 300])
        self.parts_caption = widgets.HTML()
        self.hands = widgets.Dropdown(
            options=list(HANDS), description="hands shown", **WIDE
        )
        self.angle = widgets.IntSlider(
            DEFAULT_ANGLE_DEG, 5, 120, description="field of view (°)", **WIDE
        )
        self.camera = text(description=CAMERA_FIELD, **WIDE)
        self.hand_mm = widgets.IntSlider(
            180, 110, 240, description="hand's length (mm)", **WIDE
        )

        # 3. The hands in 3D, and the layout
        self.space = Space(room=[400, 340])
        left = column(
            self.canvas,
            self.note,
            self.box,
            self.find,
            self.example,
            self.path,
            self.hands,
            self.angle,
            self.camera,
            self.hand_mm,
        )
        right = column(self.parts, self.parts_caption, self.space)
        self.children = [row(left, right), self.about]

    def _connect(self) -> None:
        self.on_change(self.example, "value", lambda: self._take(self.example.value))
        self.on_change(self.path, "value", self._take_path)
        self.on_change(self.canvas, "asked", self._predict_moved)
        self.on_change(self.box, "value", self._take_typed_box)
        self.find.on_click(lambda _: self.perform(self._find_hands))
        self.on_change(self.hands, "value", self._show_hands)
        self.on_change(
            self.angle, "value", lambda: self._assume_angle(self.angle.value)
        )
        self.on_change(self.camera, "value", self._take_typed_camera)
        self.on_change(self.hand_mm, "value", self._place)
        self.canvas.on_msg(
            lambda _, about, pieces: self.perform(lambda: self._receive(about, pieces))
        )

    # What to look at

    def take(self, source: int | Path | bytes) -> None:
        """Show a photo and what is predicted in it.

        Args:
            source: The number of an example, the path of a file, or a file's bytes.
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
        self._take(data)

    def _take_path(self) -> None:
        path = self.path.value.strip()
        if path:
            self._take(Path(path))

    def _take(self, source: int | Path | bytes) -> None:
        """Show an example or a photo; the last one stays where it cannot be read."""
        # 1. Picture, camera and a box; an error leaves the last ones as they are
        if source == NO_EXAMPLE:
            return
        if isinstance(source, int):
            bbox_xywh = self._take_example(source)
        else:
            bbox_xywh = self._take_photo(source)

        # 2. Show them, and predict
        self.example.value = source if isinstance(source, int) else NO_EXAMPLE
        self.hands.value = next(iter(HANDS))
        self.canvas.show(self.image)
        self._set_box(bbox_xywh)
        self._predict()

    def _take_example(self, number: int) -> list[float]:
        """Take image and camera of an example; returns its box."""
        frame = self.frames.frame(number)
        self.image = read_image(image_store(self.frames.dataset_dir), frame.key)
        self.estimate = None
        self.box_is_guess = False
        camera = [*frame.focal.tolist(), *frame.princpt.tolist()]
        self._set_camera("annotated", camera)
        return frame.bbox_xywh.tolist()

    def _take_photo(self, source: Path | bytes) -> list[float]:
        """Take a photo and the camera of its EXIF entry; returns a first box."""
        self.image, focal_px = read_photo(source)
        self.estimate = None
        self.box_is_guess = True
        height, width = self.image.shape[:2]
        if focal_px:
            camera = [focal_px, focal_px, width / 2, height / 2]
            self._set_camera("by the photo's EXIF entry", camera)
        else:
            self._assume_angle(self.assumed_deg)
        x, y, w, h = FIRST_BOX
        return [x * width, y * height, w * width, h * height]

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
        self._move(_four_numbers(self.box.value, BOX_FIELD))

    def _find_hands(self) -> None:
        """Move the box to hands that are found; with each call to the next ones."""
        try:
            boxes = find_boxes(self.image)
        except ValueError:
            raise ValueError("no hand is found in this picture: draw a box") from None
        rounded = [np.round(box, 1).tolist() for box in boxes]
        number = 0
        if self.canvas.box in rounded:
            number = (rounded.index(self.canvas.box) + 1) % len(rounded)
        self._move(rounded[number])

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
        self.canvas.draw(hand_plots.hand_strokes(joints_px))
        self.parts_caption.value = (
            f"parts (left hand pale and hatched); {self._probabilities()}"
        )
        self._place()

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
        self.space.draw(hand_plots.hand_strokes(self.joints_cam_mm))
        self.about.value = self._describe(joints_mm)

    def _checked_camera(self) -> list[float]:
        """The typed camera; ValueError names the field where it is invalid."""
        numbers = _four_numbers(self.camera.value, CAMERA_FIELD)
        if min(numbers[:2]) <= 0:
            raise ValueError(
                f"{CAMERA_FIELD}: the focal length is {min(numbers[:2]):g}; "
                "it must be positive"
            )
        return numbers

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
            guess = "<b>The box is a first guess:</b> draw one around the hands. "
        return (
            "<div style='line-height:1.4;max-width:880px'>"
            f"{guess}<b>The network predicts {predicted} hand</b> "
            f"({self._probabilities()}). It answers for any picture, also for one "
            f"without hands.<br>{DISTANCE}Focal length: {self.camera_source}. With a "
            f"hand {self.hand_mm.value} mm long that puts "
            f"{' and '.join(distances) or 'nothing'} before the camera. The shape of "
            "each hand in depth and the depth between the wrists are predicted.</div>"
        )


def _four_numbers(text: str, field: str) -> list[float]:
    """Four finite numbers, separated by commas or spaces; ValueError names the field."""
    words = text.replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise ValueError(f"{field}: {text!r}: give four numbers")
    return numbers

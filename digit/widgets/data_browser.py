"""The data browser: a data set frame by frame, with its annotation and its cameras.

Chapter 02 of the notebooks shows it.
"""

from collections.abc import Callable
from functools import partial
from html import escape

import cv2
import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from digit.data.index import Frame, Index
from digit.data.store import Store, image_store, mask_store, read_image, read_mask
from digit.plots import hands as hand_plots
from digit.plots import overlays
from digit.plots.hands import Stroke
from digit.plots.style import LINE_COLORS
from digit.skeleton import HAND_TYPES, N_JOINTS
from digit.widgets.canvas import Canvas, Space
from digit.widgets.controls import NARROW, ReportingBox, column, row
from digit.widgets.frame_search import FrameSearch
from digit.widgets.keys import Key, Keys

MOST_TILES = 12  # views of an instant side by side
TILE_HEIGHT_PX = 170
GREY = 90  # of a picture that is missing
CHOSEN_COLOR = LINE_COLORS[1]
OTHER_COLOR = "#FFFFFF"
UNSEEING_COLOR = "#B0B0B0"  # of cameras without a picture
NO_PICTURE = "no picture of this instant"

# What is chosen one after the other, and the index's column for it.
LEVELS = {
    "capture": "capture",
    "sequence": "seq_name",
    "instant": "frame_idx",
    "camera": "camera",
}
INSTANT = list(LEVELS).index("instant")
CAMERA = list(LEVELS).index("camera")

# Columns that only some data sets have: what they are called, and the number's format.
EXTRA_FACTS = {
    "subject": ("subject", ""),
    "family": ("family", ""),
    "hands_distance_mm": ("gap between the hands, mm:", ".0f"),
    "right_hidden_by_other": ("right hand hidden by the left:", ".0%"),
    "left_hidden_by_other": ("left hand hidden by the right:", ".0%"),
}


class DataBrowser(ReportingBox):
    """A data set by capture, sequence, instant and camera.

    Shows the frame with its annotation, the capture's cameras in 3D, and the same
    instant in other cameras; a click on a camera or a view chooses it. Words of the
    search box narrow the frames down; keys are listed by `?`.

    Args:
        index: The frames to browse; images and masks are read from its data set.

    Example:
        >>> digit.DataBrowser(digit.open_index("data/demo", "val"))
    """

    def __init__(self, index: Index) -> None:
        super().__init__()
        self.index = index
        self.images = image_store(index.dataset_dir)
        self.masks = mask_store(index.dataset_dir)
        # Rows of the index before the first choice and after each of them
        self.rows = [np.arange(len(index))] * (len(LEVELS) + 1)
        self.search = FrameSearch(index)
        self.cameras_of: dict[str, Index] = {}  # a frame of each camera, by capture
        self.frame: Frame | None = None  # that is shown
        self.image = np.zeros((1, 1, 3), np.uint8)  # with its parts
        self.tile_rows = np.arange(0)  # rows of the index
        self.tile_ends_px = np.arange(0)  # right ends of the tiles

        # 1. Widgets
        self.canvas = Canvas()
        self.strip = Canvas(room=[1200, TILE_HEIGHT_PX], zooms=False)
        self.space = Space(room=[440, 270])
        self.words = widgets.Combobox(
            description="search",
            placeholder="sequence, camera …",
            options=self.search.suggestions(),
            continuous_update=False,
            **NARROW,
        )
        self.passing = widgets.HTML()
        self.choices = [
            widgets.Dropdown(description=level, **NARROW) for level in LEVELS
        ]
        self.layers = {
            name: widgets.Checkbox(
                name != "box", description=name, indent=False, layout={"width": "90px"}
            )
            for name in ("joints", "parts", "box")
        }
        self.previous_instant = widgets.Button(description="◀ instant")
        self.next_instant = widgets.Button(description="instant ▶")
        self.shortcuts = Keys(self)
        self.shortcuts.listen(self._keys())

        # 2. Layout
        steps = row(self.previous_instant, self.next_instant)
        layers = row(*self.layers.values())
        left = column(self.canvas, self.about, width_px=470)
        search = row(self.words, self.passing)
        choices = [search, *self.choices, steps, layers]
        right = column(*choices, self.space, self.shortcuts, width_px=440)
        self.children = [row(left, right), self.note, self.strip]

        # 3. Callbacks
        self.on_change(self.words, "value", self._search)
        for level, choice in enumerate(self.choices):
            self.on_change(choice, "value", partial(self._choose, level))
        for layer in self.layers.values():
            self.on_change(layer, "value", self._show)
        self.previous_instant.on_click(lambda _: self.perform(lambda: self._step(-1)))
        self.next_instant.on_click(lambda _: self.perform(lambda: self._step(1)))
        self.on_change(self.strip, "clicked", self._click_tile)
        self.on_change(
            self.space, "clicked", lambda: self._choose_camera(self.space.clicked)
        )
        self.perform(lambda: self._choose(-1))

    def _keys(self) -> list[Key]:
        canvas = self.canvas
        camera, sequence = CAMERA, list(LEVELS).index("sequence")
        keys = [
            Key("ArrowLeft", "previous instant", lambda: self._step(-1)),
            Key("ArrowRight", "next instant", lambda: self._step(1)),
            Key("ArrowUp", "previous camera", lambda: self._step(-1, camera)),
            Key("ArrowDown", "next camera", lambda: self._step(1, camera)),
            Key("[", "previous sequence", lambda: self._step(-1, sequence)),
            Key("]", "next sequence", lambda: self._step(1, sequence)),
            Key("s", "search", self.words.focus),
        ]
        for name in self.layers:
            keys.append(Key(name[0], f"{name} on or off", partial(self._toggle, name)))
        keys += [
            Key("+", "enlarge the picture", lambda: canvas.zoom(1.25)),
            Key("-", "make it smaller", lambda: canvas.zoom(0.8)),
            Key("0", "the whole picture", lambda: canvas.zoom(0)),
            Key("Shift+ArrowLeft", "see more of the left", lambda: canvas.pan(-0.1, 0)),
            Key("Shift+ArrowRight", "of the right", lambda: canvas.pan(0.1, 0)),
            Key("Shift+ArrowUp", "of the top", lambda: canvas.pan(0, -0.1)),
            Key("Shift+ArrowDown", "of the bottom", lambda: canvas.pan(0, 0.1)),
        ]
        return keys

    def _toggle(self, layer: str) -> None:
        self.layers[layer].value = not self.layers[layer].value
        self._show()

    # Choosing a frame

    def _search(self) -> None:
        """Narrow the frames down to those that have the words."""
        self.rows[0] = self.search.find(self.words.value)
        count = len(self.rows[0])
        everything = len(self.index)
        self.passing.value = ""
        if count < everything:
            self.passing.value = f"{count:,} of {everything:,} frames"
        self._choose(-1)

    def _choose(self, level: int) -> None:
        """Narrow the rows down from a level on; lower choices stay where they can."""
        # Choices above `level` stay, those below it get new options.
        columns = list(LEVELS.values())
        for k, (choice, name) in enumerate(zip(self.choices, columns, strict=True)):
            if k < level:
                continue
            values = self.index.take(self.rows[k])[name]
            if k > level:
                options = np.unique(values).tolist()
                before = choice.value
                choice.options = options
                choice.value = before if before in options else options[0]
            self.rows[k + 1] = self.rows[k][values == choice.value]
        self._show()

    def _step(self, by: int, level: int = INSTANT) -> None:
        """Go to the next or previous option of a level, as far as there are any."""
        choice = self.choices[level]
        position = choice.options.index(choice.value) + by
        last = len(choice.options) - 1
        choice.value = choice.options[min(max(position, 0), last)]
        self._choose(level)

    def _click_tile(self) -> None:
        x_px = self.strip.clicked[0]
        tile = int(np.searchsorted(self.tile_ends_px, x_px))
        tile = min(tile, len(self.tile_rows) - 1)
        cameras = self.index.take(self.tile_rows)["camera"]
        self._choose_camera(str(cameras[tile]))

    def _choose_camera(self, camera: str) -> None:
        if camera not in self.choices[CAMERA].options:
            raise ValueError(f"camera {camera}: {NO_PICTURE}, or none that is searched")
        self.choices[CAMERA].value = camera
        self._choose(CAMERA)

    # Showing it

    def _show(self) -> None:
        """Show the frame that is chosen, everywhere."""
        # Several frames are left where a data set lists one twice.
        index_row = self.rows[-1][:1]
        frame = self.index.frame(int(index_row[0]))
        self.frame = frame
        self.image = self._picture(frame)
        self.canvas.show(self.image, self._annotation(frame), frame.key)
        self.about.value = self._describe(frame, index_row)
        self._show_cameras(frame)
        self._show_views(frame)

    def static_figure(self) -> Figure | None:
        """The frame with its annotation."""
        if self.frame is None:
            return None
        joints_px = hand_plots.masked(self.frame.joints_px, self.frame.joint_valid)
        return hand_plots.contact_sheet(
            [self.image], [self.frame.key], [joints_px], columns=2
        )

    def _read(self, read: Callable, store: Store, key: str) -> np.ndarray | None:
        """A picture of a store; None, and a note, where it cannot be read."""
        try:
            return read(store, key)
        except (OSError, KeyError, ValueError) as error:
            self.warn(str(error.args[0]))
            return None

    def _picture(self, frame: Frame) -> np.ndarray:
        """The image with its parts, grey where it cannot be read."""
        image = self._read(read_image, self.images, frame.key)
        if image is None:
            image = np.full((frame.height, frame.width, 3), GREY, np.uint8)
        shows_parts = self.layers["parts"].value and frame.parts_valid
        if not shows_parts or self.masks is None:
            return image
        parts = self._read(read_mask, self.masks, frame.key)
        return image if parts is None else overlays.paint_parts(image, parts)

    def _annotation(self, frame: Frame) -> list[Stroke]:
        """The strokes of the layers that are on."""
        strokes = []
        if self.layers["joints"].value:
            joints_px = hand_plots.masked(frame.joints_px, frame.joint_valid)
            strokes += hand_plots.hand_strokes(joints_px)
        if self.layers["box"].value:
            x, y, w, h = frame.bbox_xywh
            outline = [(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)]
            strokes.append(Stroke(np.array(outline), CHOSEN_COLOR, marks=False))
        return strokes

    def _describe(self, frame: Frame, index_row: np.ndarray) -> str:
        """What is known of the frame, as HTML."""
        counted = f"{frame.joint_valid.sum()} of {N_JOINTS} joints annotated"
        if not frame.parts_valid:
            counted += "; no part mask: no fit, or none is rendered yet"

        # What only some data sets know
        lines = [f"<b>{HAND_TYPES[frame.hand_type]}</b>", counted]
        values = self.index.take(index_row)
        for name, (label, number_format) in EXTRA_FACTS.items():
            if name not in self.index.columns():
                continue
            value = values[name][0]
            is_nan = value != value
            if not is_nan:
                lines.append(escape(f"{label} {value:{number_format}}"))
        text = "; ".join(lines)
        return f"<div style='line-height:1.4;max-width:470px'>{text}</div>"

    def _show_cameras(self, frame: Frame) -> None:
        """The cameras of the capture around the hands.

        The frame's own is coloured and named; those without a picture of this instant
        are grey.
        """
        # 1. All cameras of the capture, which do not change with the instant
        cameras = self.cameras_of.get(frame.capture)
        if cameras is None:
            of_capture = np.flatnonzero(self.index["capture"] == frame.capture)
            capture = self.index.take(of_capture)
            _, first_rows = np.unique(capture["camera_row"], return_index=True)
            cameras = capture.take(first_rows)
            self.cameras_of[frame.capture] = cameras
        strokes = hand_plots.camera_strokes(
            cameras["camrot"], cameras["campos_mm"], cameras["camera"].tolist()
        )

        # 2. Which of them see this instant
        seeing = set(self.choices[CAMERA].options)
        notes = {}
        for i, stroke in enumerate(strokes):
            if stroke.label == frame.camera:
                strokes[i] = stroke._replace(color=CHOSEN_COLOR)
            elif stroke.label not in seeing:
                strokes[i] = stroke._replace(color=UNSEEING_COLOR)
                notes[stroke.label] = NO_PICTURE
        joints_mm = hand_plots.masked(frame.joints_world_mm, frame.joint_valid)
        self.space.notes = notes
        self.space.named = frame.camera
        self.space.draw(hand_plots.hand_strokes(joints_mm) + strokes)

    def _show_views(self, frame: Frame) -> None:
        """The instant in other cameras, side by side."""
        # 1. Some of the views, evenly spread over the cameras, and the frame itself
        instant = self.rows[INSTANT + 1]
        rows = instant[np.argsort(self.index.take(instant)["camera"])]
        count = min(MOST_TILES, len(rows))
        spread = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
        self.tile_rows = rows[np.isin(rows, [*spread, self.rows[-1][0]])]
        views = self.index.take(self.tile_rows)
        joints_px = hand_plots.masked(views["joints_px"], views["joint_valid"])
        cameras = views["camera"].tolist()

        # 2. Each as a tile of one height, its hands and its name over it
        tiles = []
        strokes = []
        left = 0
        for i, (key, camera) in enumerate(zip(views.keys(), cameras, strict=True)):
            scale = TILE_HEIGHT_PX / views["height"][i]
            width = max(1, round(views["width"][i] * scale))
            image = self._read(partial(read_image, reduce=2), self.images, key)
            if image is None:
                image = np.full((2, 2, 3), GREY, np.uint8)
            size = width, TILE_HEIGHT_PX
            tiles.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            for stroke in hand_plots.hand_strokes(joints_px[i] * scale + (left, 0)):
                strokes.append(stroke._replace(marks=False))
            color = CHOSEN_COLOR if camera == frame.camera else OTHER_COLOR
            strokes.append(_tile_edge(left, width, color, camera))
            left += width

        # 3. All tiles as one picture
        self.tile_ends_px = np.cumsum([tile.shape[1] for tile in tiles])
        title = "one instant; click a view to choose its camera"
        self.strip.show(np.hstack(tiles), strokes, title)


def _tile_edge(left: int, width: int, color: str, name: str) -> Stroke:
    """The rim of a tile, px, with its name in the corner."""
    right = left + width
    bottom = TILE_HEIGHT_PX
    path = [(left, 0), (right, 0), (right, bottom), (left, bottom), (left, 0)]
    return Stroke(np.array(path), color, marks=False, label=name)

"""The widgets of the photo editor and how they are laid out.

`digit.widgets.photo_editor` gives them their behaviour.
"""

from collections.abc import Callable, Sequence
from functools import partial

import ipywidgets as widgets
import numpy as np

from digit.inference.sources import Picture
from digit.widgets.canvas import Canvas, Space
from digit.widgets.controls import NARROW, ReportingBox, column, row
from digit.widgets.keys import Keys
from digit.widgets.picture_source import PictureSource
from digit.widgets.saved_results import KINDS

DEFAULT_ANGLE_DEG = 60  # field of view of a photo without an EXIF focal length
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


class PhotoPage(ReportingBox):
    """Photo, parts and hands in 3D; below them what is chosen, and what is saved.

    Args:
        example_names: Of the frames on offer as examples.
        show: Called with each picture that is chosen among files and cameras.
    """

    def __init__(
        self, example_names: Sequence[str], show: Callable[[Picture], object]
    ) -> None:
        super().__init__()
        self._make_widgets(example_names, show)
        self._arrange()

    def _make_widgets(
        self, example_names: Sequence[str], show: Callable[[Picture], object]
    ) -> None:
        examples = [("–", NO_EXAMPLE)]
        examples += [(name, i) for i, name in enumerate(example_names)]
        text = partial(widgets.Text, continuous_update=False)

        # 1. The photo
        self.canvas = Canvas(opens=True)
        self.box = text(description=BOX_FIELD, **NARROW)
        self.box.layout.width = "330px"  # four numbers with a decimal
        self.find = widgets.Button(
            description="find hands",
            tooltip="a box around the hands; again for the next ones",
        )
        self.example = widgets.Dropdown(
            options=examples, description="or an example", **NARROW
        )
        self.source = PictureSource(self, show)

        # 2. Parts, hands, camera and the length of a hand
        self.parts = Canvas(room=[230, 230], zooms=False)
        self.parts_caption = widgets.HTML()
        self.hands = widgets.Dropdown(
            options=list(HANDS), description="hands shown", **NARROW
        )
        self.angle = widgets.IntSlider(
            DEFAULT_ANGLE_DEG, 5, 120, description="field of view (°)", **NARROW
        )
        self.camera = text(description=CAMERA_FIELD, **NARROW)
        self.hand_mm = widgets.IntSlider(
            180, 110, 240, description="hand length (mm)", **NARROW
        )

        # 3. The hands in 3D, and what is saved
        self.space = Space(room=[440, 290])
        self.shows_mesh = widgets.Checkbox(
            True, description="mesh", indent=False, layout={"width": "auto"}
        )
        self.mesh_note = widgets.HTML(layout={"max_width": "440px"})
        self.save = {
            kind: widgets.Button(
                description=kind,
                tooltip=f"save the hands in the box as {ending}",
                layout={"width": "80px"},
            )
            for kind, (ending, _) in KINDS.items()
        }
        self.saved = widgets.HTML()
        self.shortcuts = Keys(self)

    def _arrange(self) -> None:
        """Lay the widgets out: what is seen above, what is chosen below."""
        left = column(
            self.canvas,
            self.note,
            self.saved,
            self.source,
            self.example,
            width_px=470,
        )
        beside_parts = column(self.parts_caption, self.shows_mesh)
        beside_parts.layout.flex = "1 1 90px"
        parts = row(self.parts, beside_parts)
        parts.layout.flex_flow = "row nowrap"
        right = column(parts, self.space, self.mesh_note, width_px=440)
        save = row(widgets.Label("save"), *self.save.values())
        choices = row(
            column(self.box, self.hands, self.find, save),
            column(self.camera, self.angle, self.hand_mm, self.shortcuts),
        )
        self.children = [row(left, right), choices, self.about]


def four_numbers(text: str, field: str) -> list[float]:
    """Four finite numbers, separated by commas or spaces; ValueError names the field."""
    words = text.replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise ValueError(f"{field}: {text!r}: give four numbers")
    return numbers

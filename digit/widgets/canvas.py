"""Two canvases: `Canvas` for a picture under strokes, `Space` for hands in 3D.

The data browser and the photo editor are made of them. The drawing itself is done by
`web/picture.js` and `web/space.js`.
"""

import math
from collections.abc import Sequence

import anywidget
import cv2
import numpy as np
import traitlets
from jaxtyping import UInt8

from digit.hands.meshes import SIDE_COLORS, HandMesh
from digit.plots.hands import Stroke
from digit.plots.style import VIEW_DIRECTION
from digit.widgets import assets

LONGEST_SIDE_PX = 1200  # of a picture as it is sent to the page
JPEG_QUALITY = 92

# Yaw and pitch (rad) from which `Space` is seen first, as the figures are.
FIRST_VIEW = [
    math.atan2(VIEW_DIRECTION[0], -VIEW_DIRECTION[2]),
    -math.asin(VIEW_DIRECTION[1]),
]


class Canvas(anywidget.AnyWidget):
    """A picture, what is drawn over it, and a box that can be moved.

    Attributes:
        picture: The picture as a JPEG.
        size: Its width and height, px; strokes and box are in these pixels.
        room: Width and height that it is fitted into, px of the screen.
        title: Shown on hover and read out by screen readers.
        strokes: What is drawn over it; see `draw`.
        stale: Grey the picture out: it belongs to something else.
        box: [x, y, w, h], moved with mouse and arrow keys; empty for none.
        asked: How often the box was changed in the page.
        answered: Set it to `asked` when a box is dealt with: the next one follows.
        clicked: [x, y, time] of the last click that did not move the box.
        zooms: Zoom with the wheel once the picture has the focus, and move it with the
            mouse where there is no box.
        opens: Offer to open photos, which arrive by `on_msg`, in pieces.
    """

    _esm = assets.script("dom.js", "hands.js", "picture.js")
    picture = traitlets.Bytes().tag(sync=True)
    size = traitlets.List([1, 1]).tag(sync=True)
    room = traitlets.List([470, 470]).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    strokes = traitlets.List().tag(sync=True)
    stale = traitlets.Bool().tag(sync=True)
    box = traitlets.List().tag(sync=True)
    asked = traitlets.Int().tag(sync=True)
    answered = traitlets.Int().tag(sync=True)
    clicked = traitlets.List().tag(sync=True)
    zooms = traitlets.Bool(True).tag(sync=True)
    opens = traitlets.Bool().tag(sync=True)

    def show(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        strokes: Sequence[Stroke] = (),
        title: str = "",
    ) -> None:
        """Show another picture.

        Args:
            image: The picture, RGB; a large one is sent smaller.
            strokes: What is drawn over it, in the picture's pixels.
            title: Shown on hover.
        """
        # A photo of a phone would take seconds to a remote page.
        height, width = image.shape[:2]
        scale = LONGEST_SIDE_PX / max(height, width)
        if scale < 1:
            small = max(1, round(width * scale)), max(1, round(height * scale))
            image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        # All of it in one message, so that the page draws once.
        with self.hold_sync():
            self.picture = encode_jpeg(image, JPEG_QUALITY)
            self.size = [width, height]
            self.title = title
            self.stale = False
            self.draw(strokes)

    def draw(self, strokes: Sequence[Stroke]) -> None:
        """Replace the strokes; NaN is not drawn."""
        self.strokes = stroke_records(strokes)

    def zoom(self, factor: float) -> None:
        """Enlarge the picture about its middle; a factor of 0 shows all of it again."""
        self.send({"zoom": factor})

    def pan(self, x: float, y: float) -> None:
        """Move what is seen of an enlarged picture, in shares of the canvas."""
        self.send({"pan": [x, y]})


class Space(anywidget.AnyWidget):
    """Strokes and meshes in 3D with equal aspect, turned with mouse or arrow keys.

    Attributes:
        strokes: What is drawn, in mm: x right, y down, z forward; see `draw`.
        meshes: Hand meshes in the same frame; see `draw`.
        named: The label that is always written; others are on hover.
        notes: What is written after a label on hover, by label.
        stale: Draw pale: it belongs to something else.
        room: Width and height on the screen, px.
        view: Yaw and pitch, rad; it stays when the strokes change.
        first_view: Where a double click goes back to.
        clicked: The label of the stroke that was clicked last.
    """

    _esm = assets.script("dom.js", "hands.js", "space_scene.js", "space.js")
    strokes = traitlets.List().tag(sync=True)
    meshes = traitlets.List().tag(sync=True)
    named = traitlets.Unicode().tag(sync=True)
    notes = traitlets.Dict().tag(sync=True)
    stale = traitlets.Bool().tag(sync=True)
    room = traitlets.List([400, 390]).tag(sync=True)
    view = traitlets.List(FIRST_VIEW).tag(sync=True)
    first_view = traitlets.List(FIRST_VIEW).tag(sync=True)
    clicked = traitlets.Unicode().tag(sync=True)

    def draw(
        self, strokes: Sequence[Stroke] = (), meshes: Sequence[HandMesh] = ()
    ) -> None:
        """Replace what is drawn.

        Args:
            strokes: NaN is not drawn.
            meshes: Closed surfaces; the left hand's is hatched.
        """
        with self.hold_sync():
            self.stale = False
            self.strokes = stroke_records(strokes)
            self.meshes = mesh_records(meshes)


def mesh_records(meshes: Sequence[HandMesh]) -> list[dict]:
    """Meshes with their numbers as bytes."""
    return [
        {
            "vertices": np.ascontiguousarray(mesh.vertices_mm, "<f4").tobytes(),
            "faces": np.ascontiguousarray(mesh.faces, "<u4").tobytes(),
            "color": list(SIDE_COLORS[mesh.side][:3]),
            "left": mesh.side == "left",
        }
        for mesh in meshes
    ]


def encode_jpeg(image: UInt8[np.ndarray, "h w 3"], quality: int) -> bytes:
    """An RGB picture as a JPEG file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", image[..., ::-1], options)
    return data.tobytes()


def stroke_records(strokes: Sequence[Stroke]) -> list[dict]:
    """Strokes as JSON values: tenths, and None for NaN."""
    records = []
    for stroke in strokes:
        record = stroke._asdict()
        # JSON knows no NaN.
        record["points"] = [
            [round(value, 1) if math.isfinite(value) else None for value in point]
            for point in stroke.points.tolist()
        ]
        records.append(record)
    return records

"""Around a frame of the failure browser: its whole picture, the other cameras' views, and
thumbnails for the tooltips of plots."""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from digit.data.dataset import crop_boxes
from digit.widgets.canvas import encode_jpeg

if TYPE_CHECKING:
    from digit.widgets.failure_browser import FailureBrowser

WHOLE_QUALITY = 85  # of the JPEG
INSTANT = ["capture", "seq_name", "frame_idx"]
MOST_VIEWS = 24
BOX_COLOR = (255, 255, 255)


class FrameContext:
    """Answers the page's requests about what lies around a frame.

    Args:
        browser: The failure browser.
    """

    def __init__(self, browser: "FailureBrowser") -> None:
        self.browser = browser
        self.answers = {"whole": self._answer_whole, "tip": self._answer_tip}

    def _answer_tip(self, row: int) -> None:
        """The thumbnail of a frame that the mouse points at in a plot."""
        browser = self.browser
        try:
            picture = browser.frames.thumbnail(row)
        except (ValueError, KeyError, OSError):
            return  # the tooltip stays without a picture
        content = {"kind": "tip", "row": row, "title": browser.frame_keys[row]}
        browser.send(content, buffers=[picture])

    def _answer_whole(self) -> None:
        """The whole picture with its crop marked, and the other views of the instant."""
        # 1. The whole picture
        browser = self.browser
        row = browser.current_row()
        frames = browser.frames
        frames.thumbnail(row)  # raises where there is no picture
        frame = frames.reader.index.take([int(frames.index_rows[row])])
        picture = frames.reader.crops.read_picture(frame, 0).copy()
        x, y, width, height = crop_boxes(frame, frames.reader.bbox)[0].tolist()
        corners = np.round([[x, y], [x + width, y + height]]).astype(int).tolist()
        for color, thickness in (((0, 0, 0), 3), (BOX_COLOR, 1)):
            cv2.rectangle(picture, corners[0], corners[1], color, thickness)

        # 2. The views of the same instant that the table has
        views, pictures = [], []
        for other in self._same_instant(row)[:MOST_VIEWS]:
            error_mm = browser.table["mpjpe"].iloc[other]
            words = "not measurable" if np.isnan(error_mm) else f"{error_mm:.1f} mm"
            try:
                pictures.append(frames.thumbnail(other))
            except (ValueError, KeyError, OSError):
                continue  # without a picture there is nothing to look at
            camera = browser.table["camera"].iloc[other]
            views.append({"row": other, "text": f"{camera}: {words}"})
        content = {
            "kind": "whole",
            "row": row,
            "title": browser.frame_keys[row],
            "views": views,
        }
        whole = encode_jpeg(picture, WHOLE_QUALITY)
        browser.send(content, buffers=[whole, *pictures])

    def _same_instant(self, row: int) -> list[int]:
        """The other rows of the frame's instant."""
        table = self.browser.table
        if not {*INSTANT, "camera"} <= set(table):
            return []
        same = np.ones(len(table), bool)
        for name in INSTANT:
            same &= (table[name] == table[name].iloc[row]).to_numpy(bool)
        same[row] = False
        return np.flatnonzero(same).tolist()

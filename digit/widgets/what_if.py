"""The failure browser's "why": what a small change of the frame does to its error."""

import time
from typing import TYPE_CHECKING, Any

import cv2
import matplotlib as mpl
import numpy as np
from jaxtyping import Float, UInt8

from digit.inference.sensitivity import Curve, FrameProbe, OcclusionMap
from digit.widgets.canvas import encode_jpeg
from digit.widgets.frame_messages import CROP_QUALITY
from digit.widgets.messages import plain_numbers

if TYPE_CHECKING:
    from digit.widgets.failure_browser import FailureBrowser

MAP_TIME_S = 6.0  # about how long the map may take; a slow network gets a coarser one
LEAST_CELLS, MOST_CELLS = 6, 16
LEAST_SCALE_MM = 2.0  # a smaller change is not painted in full colour; by eye
MAP_OPACITY = 0.65


class WhatIf:
    """Answers the page's request for the effect of small changes.

    Args:
        browser: The failure browser whose frame is changed.
    """

    def __init__(self, browser: "FailureBrowser") -> None:
        self.browser = browser
        self.answers = {"why": self._answer_why}

    def _answer_why(self, model: int = 0) -> None:
        # 1. The frame and the network
        browser = self.browser
        row = browser.current_row()
        if model >= len(browser.models) or browser.models[model].network is None:
            raise ValueError("This needs a network: give its checkpoint.")
        frames = browser.frames
        view = frames.view(row)
        probe = FrameProbe(
            browser.models[model].network,
            frames.reader.index,
            int(frames.index_rows[row]),
            frames.reader.root_depth,
        )

        # 2. Curves
        start = time.monotonic()
        curves: list[Curve] = []
        makers = [
            probe.scaled_box,
            probe.moved_box,
            lambda: probe.moved_box(axis=1),
            probe.greyed,
        ]
        for number, make in enumerate(makers):
            self._tell(row, f"Changing the box and the colours: {number + 1} of 4 …")
            curves.append(make())
        mirrored_mm = probe.mirrored_mm()
        images = sum(len(curve.amounts) for curve in curves) + 1
        seconds_an_image = (time.monotonic() - start) / images

        # 3. The map, as fine as its time allows
        cells = int(np.sqrt(MAP_TIME_S / max(seconds_an_image, 1e-6)))
        cells = int(np.clip(cells, LEAST_CELLS, MOST_CELLS))
        found = probe.occlusion_map(
            cells,
            progress=lambda done, count: self._tell(
                row, f"Covering squares: {done} of {count} …"
            ),
        )
        self._send(row, curves, mirrored_mm, found, view.picture)

    def _tell(self, row: int, text: str) -> None:
        self.browser.send({"kind": "why_progress", "row": row, "text": text})

    def _send(
        self,
        row: int,
        curves: list[Curve],
        mirrored_mm: float,
        found: OcclusionMap,
        picture: UInt8[np.ndarray, "s s 3"],
    ) -> None:
        change_mm = found.errors_mm - found.plain_mm
        scale_mm = max(LEAST_SCALE_MM, float(np.abs(change_mm).max()))
        records: list[dict[str, Any]] = [
            {**curve._asdict(), "errors_mm": plain_numbers(curve.errors_mm)}
            for curve in curves
        ]
        content = {
            "kind": "why",
            "row": row,
            "curves": records,
            "plain_mm": round(found.plain_mm, 1),
            "mirrored_mm": round(mirrored_mm, 1),
            "scale_mm": round(scale_mm, 1),
            "lowest_mm": round(float(change_mm.min()), 1),
            "highest_mm": round(float(change_mm.max()), 1),
            "cells": len(change_mm),
            "changes_mm": plain_numbers(change_mm),
        }
        painted = paint_change(picture, change_mm, scale_mm)
        self.browser.send(content, buffers=[encode_jpeg(painted, CROP_QUALITY)])


def paint_change(
    picture: UInt8[np.ndarray, "s s 3"],
    change_mm: Float[np.ndarray, "c c"],
    scale_mm: float,
) -> UInt8[np.ndarray, "s s 3"]:
    """Paint changes of the error over a grey picture: red is worse, blue is better.

    Args:
        picture: The crop.
        change_mm: The change with a square over each place.
        scale_mm: The change that gets the full colour.
    """
    size = picture.shape[1::-1]
    share = cv2.resize(change_mm / scale_mm, size, interpolation=cv2.INTER_CUBIC)
    share = np.clip(share, -1, 1)
    color = mpl.colormaps["RdBu_r"]((share + 1) / 2)[..., :3] * 255
    alpha = MAP_OPACITY * np.minimum(1, 1.6 * np.abs(share))[..., None]
    grey = picture.mean(-1, keepdims=True)
    return np.round(grey * (1 - alpha) + color * alpha).astype(np.uint8)

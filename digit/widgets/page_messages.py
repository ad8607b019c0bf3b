"""The messages that the failure browser sends to its page.

Each function returns the content of a message as JSON values and its buffers; the
counterpart that draws them is web/failure_browser.js.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pandas as pd
from jaxtyping import Int, UInt8

from digit.plots import overlays
from digit.plots.strokes import CHAINS, finger_color
from digit.plots.style import LINE_COLORS, PLOTLY
from digit.skeleton import FINGERS, JOINTS, LABELS, PARTS, SIDES
from digit.widgets.canvas import FIRST_VIEW
from digit.widgets.columns import FACTS, column_records
from digit.widgets.exports import PAGE_LIMIT
from digit.widgets.frame_filter import FilterState, describe_range
from digit.widgets.frame_messages import (
    LAYERS_BY_JOINT,
    LAYERS_BY_PART,
    MESH_LAYER,
    PICTURE_LAYER,
    Look,
)
from digit.widgets.frame_view import THUMBNAIL_PX, FrameSource
from digit.widgets.messages import one_line, plain_numbers

PER_PAGE = 18  # thumbnails
SHEET_COLUMNS = 6  # of the static picture

Message = tuple[dict[str, Any], list[bytes]]


def parts_by_finger() -> list[str]:
    """The part labels in the order of the fingers, the background last."""

    def place(label: int) -> tuple[int, int, str]:
        side, part = divmod(label - 1, len(PARTS))
        name = PARTS[part]
        finger = len(FINGERS) if name == "palm" else FINGERS.index(name[:-1])
        return side, finger, name

    labels = sorted(range(1, len(LABELS)), key=place)
    return [LABELS[label] for label in labels] + [LABELS[0]]


def finger_colors() -> list[list[str]]:
    """The colour of each finger, palm and wrist, by side."""
    return [[finger_color(finger, side) for finger in range(6)] for side in (0, 1)]


def state_message(
    table: pd.DataFrame,
    *,
    slices: dict[str, str],
    tags: Sequence[str],
    models: Sequence[str],
    look: Look,
    warning: str,
    verdict: str,
    offers: Mapping[str, Any],
) -> Message:
    """All that stays the same from frame to frame.

    Args:
        table: The error table.
        slices: Name → condition of the slices on columns that the table has.
        tags: Tags to offer.
        models: Names of the models.
        look: How frames are shown.
        warning: What is missing.
        verdict: The comparison of two models in words.
        offers: What the parts of the browser offer: `runs`, `spaces`, `groups`,
            `views` and `history`.
    """
    content = {
        "kind": "state",
        "columns": column_records(table),
        "slices": slices,
        "layers": [PICTURE_LAYER, *overlays.LAYERS, MESH_LAYER],
        "layers_by_part": LAYERS_BY_PART,
        "layers_by_joint": LAYERS_BY_JOINT,
        "parts": parts_by_finger(),
        "joints": JOINTS,
        "tags": list(tags),
        "models": list(models),
        "look": look._asdict(),
        "warning": warning,
        "verdict": verdict,
        "facts": list(FACTS),
        "page_limit": PAGE_LIMIT,
        "chains": CHAINS,
        "first_view": FIRST_VIEW,
        "fingers": finger_colors(),
        "line_colors": LINE_COLORS,
        "wrong_colors": overlays.WRONG_COLORS,
        "font": PLOTLY["font"],
        **offers,
    }
    return content, []


def page_message(
    table: pd.DataFrame,
    rows: Int[np.ndarray, "n"],
    page: int,
    *,
    state: FilterState,
    unknown_counts: Sequence[int],
    frames: FrameSource,
    keys: Sequence[str],
    per_page: int = PER_PAGE,
    with_joints: bool = False,
) -> Message:
    """A page of thumbnails and the filter that they pass.

    Args:
        table: The error table.
        rows: Its rows that pass, in order.
        page: Number of the page.
        state: The filter.
        unknown_counts: For each range of it, how many frames have no value.
        frames: Where the thumbnails come from.
        keys: The name of each row of the table.
        per_page: Thumbnails on a page.
        with_joints: Whether the stored predictions are drawn on the thumbnails.
    """
    # 1. The thumbnails
    cells = []
    pictures = []
    first = page * per_page
    shown = rows[first : first + per_page]
    columns = [table[name].iloc[shown] for name in ("tags", "note", state.sort)]
    for row, tags, note, value in zip(shown.tolist(), *columns, strict=True):
        fault = ""
        picture = b""
        try:
            picture = frames.thumbnail(row)
        except Exception as error:  # whatever is wrong with one frame, the others show
            fault = one_line(error)
        cell = {
            "row": row,
            "text": _format_value(value),
            "title": keys[row],
            "fault": fault,
            "marked": bool(tags or note),
        }
        if with_joints and not fault:
            joints = frames.stored_joints(row)  # in shares of the crop's side
            cell["joints"] = None if joints is None else plain_numbers(100 * joints)
        cells.append(cell)
        pictures.append(picture)

    # 2. The filter
    chips = []
    for given, unknown in zip(state.ranges, unknown_counts, strict=True):
        chips.append({"text": describe_range(given), "unknown": unknown})
    content = {
        "kind": "page",
        "cells": cells,
        "chips": chips,
        "page": page,
        "pages": -(-len(rows) // per_page),
        "state": {
            "query": state.query,
            "slices": list(state.slices),
            "ranges": [list(given) for given in state.ranges],
            "sort": state.sort,
            "descending": state.descending,
            "chosen": state.chosen is not None,
            "like": None if state.like is None else list(state.like),
        },
        "shown": len(rows),
        "total": len(table),
    }
    return content, pictures


def _format_value(value: Any) -> str:
    """A value of the column that is sorted by, under a thumbnail."""
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def thumbnail_sheet(
    rows: Int[np.ndarray, "n"], frames: FrameSource
) -> UInt8[np.ndarray, "h w 3"] | None:
    """The thumbnails of rows of the table as one picture.

    Args:
        rows: The rows.
        frames: Where the thumbnails come from.

    Returns:
        The picture, grey where a frame has none; None if no frame has one.
    """
    # 1. A tile for each frame
    tiles = []
    found_any = False
    for row in rows.tolist():
        try:
            data = np.frombuffer(frames.thumbnail(row), np.uint8)
            tiles.append(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))
            found_any = True
        except (ValueError, KeyError, OSError):
            tiles.append(_grey_tile())

    # 2. Full lines
    if not found_any:
        return None
    while len(tiles) % SHEET_COLUMNS:
        tiles.append(_grey_tile())
    lines = []
    for first in range(0, len(tiles), SHEET_COLUMNS):
        lines.append(np.hstack(tiles[first : first + SHEET_COLUMNS]))
    return np.vstack(lines)


def _grey_tile() -> UInt8[np.ndarray, "s s 3"]:
    return np.full((THUMBNAIL_PX, THUMBNAIL_PX, 3), 128, np.uint8)


def with_hidden_share(table: pd.DataFrame) -> pd.DataFrame:
    """The table's columns of one value a frame, and the mean hidden share of its hands."""
    # Columns of arrays (part counts) are for the evaluation.
    first = table.iloc[0] if len(table) else {}
    names = [n for n in table if not isinstance(first.get(n), np.ndarray)]
    flat = table[names]
    ways = [f"{side}_hidden_by_{by}" for side in SIDES for by in ("other", "itself")]
    if {*ways, "hand_type"} <= set(flat):
        hands = 1 + (flat["hand_type"] == "interacting")
        flat = flat.assign(hidden=flat[ways].sum(axis=1) / hands)
    return flat.reset_index(drop=True)

"""Frames of the failure browser as a list, a table, or a page that opens by itself."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from digit.files import write_json, write_text
from digit.plots.strokes import CHAINS
from digit.widgets import assets

PAGE_LIMIT = 200  # frames on a page: each is a picture of some 30 kB
LIST, TABLE, PAGE = ".txt", ".csv", ".html"
ENDINGS = (LIST, TABLE, PAGE)


def check_ending(path: Path) -> None:
    """Raise ValueError for a file that none of the exports can write."""
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: give a file that ends in .txt, .csv or .html")


def export_name(filter_words: str, split: str, ending: str) -> str:
    """A file name that tells split, filter and time, so that nothing is overwritten."""
    # Letters, digits and dots make a name on every file system.
    words = re.sub(r"[^A-Za-z0-9.]+", "-", filter_words).strip("-.")[:60]
    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    return f"{split}_{words or 'frames'}_{time}{ending}"


def export_list(path: Path, keys: Sequence[str]) -> Path:
    """Write one frame's key a line."""
    return write_text(path, "".join(f"{key}\n" for key in keys))


def export_table(path: Path, frames: pd.DataFrame) -> Path:
    """Write rows of the table with their tags and notes."""
    return write_text(path, frames.to_csv(index=False))


def export_filter(
    path: Path, filter_words: str, frames: int, split: str, models: Sequence[str]
) -> Path:
    """Write beside an exported list or table how it was made, as <name>.json.

    Args:
        path: The export.
        filter_words: The filter in words.
        frames: Number of frames.
        split: Their split.
        models: Names of the models.

    Returns:
        The path of the JSON file.
    """
    about = {
        "filter": filter_words,
        "frames": frames,
        "split": split,
        "models": list(models),
        "time": datetime.now().isoformat(timespec="seconds"),
    }
    beside = path.with_suffix(path.suffix + ".json")
    write_json(beside, about)
    return beside


def export_page(
    path: Path,
    cards: Sequence[Mapping[str, Any]],
    *,
    passed: int,
    models: Sequence[str],
    finger_colors: Sequence[Sequence[str]],
    filter_words: str,
    sort: str,
    descending: bool,
) -> Path:
    """Write frames as one HTML file that needs no kernel and nothing from the net.

    Args:
        path: The file.
        cards: What there is to show of each frame (see `page_messages.frame_card`), its
            pictures with their JPEG in base64.
        passed: Number of frames that pass the filter; only the first have a card.
        models: Names of the models.
        finger_colors: Colour by side and finger.
        filter_words: The filter in words.
        sort: Column that the frames are sorted by at first.
        descending: Whether the largest come first.

    Returns:
        The path.
    """
    page = {
        "cards": list(cards),
        "passed": passed,
        "models": list(models),
        "filter": filter_words,
        "sort": sort,
        "descending": descending,
        "chains": CHAINS,
        "fingers": finger_colors,
    }
    # "<" is escaped so that no text in the data can end the script.
    data = json.dumps(page).replace("<", "\\u003c")
    code = assets.join("hands.js", "dom.js", "export_page.js")
    text = assets.read("export_page.html")
    text = text.replace("/*CODE*/", code)
    return write_text(path, text.replace("/*DATA*/", data))

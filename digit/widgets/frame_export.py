"""Exports of the failure browser: which frames, where to, and what the page is told."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digit.widgets import exports, frame_messages, page_messages
from digit.widgets.canvas import encode_jpeg

if TYPE_CHECKING:
    from digit.widgets.failure_browser import FailureBrowser

LARGEST_DOWNLOAD_BYTES = 8_000_000
PROGRESS_EVERY = 10  # frames of an export


class FrameExport:
    """Writes frames to files, and answers the page's request for it.

    Args:
        browser: The failure browser whose frames are exported.
    """

    def __init__(self, browser: "FailureBrowser") -> None:
        self.browser = browser
        self.answers = {"export": self._answer_export}

    def write(self, path: Path | str, rows: Sequence[int] | None) -> Path:
        """Write frames to a file; see `FailureBrowser.export`."""
        # 1. Which frames, and how they were chosen
        browser = self.browser
        path = Path(path)
        exports.check_ending(path)
        words = browser.state.describe()
        if rows is not None:
            words = f"{len(rows)} frames chosen by hand"
        chosen = [int(row) for row in (browser.rows if rows is None else rows)]
        # 2. By the ending
        if path.suffix == exports.LIST:
            keys = [browser.frame_keys[row] for row in chosen]
            return exports.export_list(path, keys)
        if path.suffix == exports.TABLE:
            return exports.export_table(path, browser.table.iloc[chosen])
        return exports.export_page(
            path,
            self._cards_with_pictures(chosen[: exports.PAGE_LIMIT]),
            passed=len(chosen),
            models=[model.name for model in browser.models],
            finger_colors=page_messages.finger_colors(),
            filter_words=words,
            sort=browser.state.sort,
            descending=browser.state.descending,
        )

    def _cards_with_pictures(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Cards for a page that stands alone, with progress shown in the widget."""
        cards = []
        browser = self.browser
        look = browser.look._replace(layer=frame_messages.PICTURE_LAYER)
        for number, row in enumerate(rows):
            if number % PROGRESS_EVERY == 0:
                browser.say(f"Making the page: {number} of {len(rows)} frames …")
            card, pictures = browser.card(row, look)
            for record, picture in zip(card["pictures"], pictures, strict=True):
                data = encode_jpeg(picture, frame_messages.EXPORT_QUALITY)
                record["jpeg"] = base64.b64encode(data).decode()
            cards.append(card)
        return cards

    def _answer_export(self, ending: str, rows: Sequence[int] | None = None) -> None:
        """Save the frames that pass, or chosen ones, beside the notes, and offer the
        file as a download."""
        browser = self.browser
        passing = rows if rows else browser.rows
        if len(passing) == 0:
            raise ValueError("No frame passes the filter: there is nothing to export.")
        # 1. A file beside the notes
        words = browser.state.describe()
        if rows:
            words = f"{len(rows)} frames chosen by hand"
        folder = Path("exports")
        if browser.notes.path is not None:
            folder = browser.notes.path.parent / "exports"
        path = folder / exports.export_name(words, browser.split, ending)
        self.write(path, rows or None)

        # 2. How it was made, and where it is
        count = len(passing)
        if ending == exports.PAGE:  # which tells its filter itself
            count = min(count, exports.PAGE_LIMIT)
        else:
            models = [model.name for model in browser.models]
            exports.export_filter(path, words, count, browser.split, models)
        text = f"{count} of {len(passing)} frames ({words}) saved to"
        self._send(path, text)

    def _send(self, path: Path, text: str) -> None:
        """Tell where the file is, with its content where that is not too large."""
        data = path.read_bytes()
        text = f"{text} {path.resolve()}"
        content = {"kind": "export", "text": text, "name": path.name}
        buffers = [data] if len(data) <= LARGEST_DOWNLOAD_BYTES else []
        self.browser.send(content, buffers=buffers)

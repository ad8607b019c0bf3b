"""The failure browser: every frame of an error table, with one or two networks.

Chapter 08 of the notebooks shows it. The kernel filters, runs the networks and paints
layers; the page (web/failure_browser.js) draws what `digit.widgets.page_messages` sends
and asks for more. What goes wrong with a frame or a filter becomes a sentence in the widget.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import plotly

from digit.evaluation.bootstrap import paired_difference
from digit.widgets import assets, exports, page_messages, static_picture
from digit.widgets.canvas import encode_jpeg
from digit.widgets.evaluated_model import EvaluatedModel, Source
from digit.widgets.frame_filter import SLICES, FilterState, FrameFilter
from digit.widgets.frame_view import FrameSource, FrameView
from digit.widgets.messages import one_line
from digit.widgets.notes import FrameNotes
from digit.widgets.page_messages import PER_PAGE, Look, Message

OFFERED_TAGS = ("wrong hand", "hidden", "bad label", "look again")
LARGEST_DOWNLOAD_BYTES = 8_000_000
PROGRESS_EVERY = 10  # frames of an export


class FailureBrowser(anywidget.AnyWidget):
    """Every frame of an error table to look at, with filters, plots, tags and notes.

    Args:
        table: An error table, its file (`digit evaluate --errors`), or a run's folder,
            whose table of the split and whose best checkpoint are then used.
        dataset_dir: The data set; without it there are no pictures.
        checkpoint: A network, for the layers of parts and heatmaps.
        notes: File of tags and notes; by default beside the table.
        split: The split, where the table does not tell.
        slices: Further buttons: name → condition (see `digit.widgets.conditions`).

    Attributes:
        table: The error table, with `tags`, `note`, and, where it can be told, `hidden`.
        rows: Rows of the table that pass the filter, in order.
        models: The models that are shown: A, and after `compare` B.
        notes: The tags and notes.
        warning: What is missing: the data set, frames of it, or the notes.

    Raises:
        FileNotFoundError: If table or checkpoint do not exist.
        ValueError: If they are no such thing.

    Example:
        >>> digit.FailureBrowser("errors.parquet", "data/demo", "best.ckpt")
    """

    _esm = assets.script(
        "dom.js",
        "hands.js",
        "completion.js",
        "frame_list.js",
        "charts.js",
        "frame_pane.js",
        "failure_browser.js",
    )
    _css = assets.read("failure_browser.css")

    def __init__(
        self,
        table: Source,
        dataset_dir: Path | str | None = None,
        checkpoint: Path | str | None = None,
        notes: Path | str | None = None,
        split: str = "test",
        slices: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()

        # 1. The table and its frames
        first = EvaluatedModel(table, checkpoint, split)
        self.split = first.table.attrs.get("split", split)
        self.table = page_messages.with_hidden_share(first.table)
        root_depth = first.table.attrs.get("root_depth", "gt")
        self.frames = FrameSource(self.table, dataset_dir, self.split, root_depth)
        self.frames.models.append(first)
        self.warning = self.frames.warning
        self.verdict = ""  # of a comparison

        # 2. Tags and notes
        names = self.table["file_name" if "file_name" in self.table else "image_id"]
        self.frame_keys = [f"{self.split}/{name}" for name in names]
        if notes is None and first.path is not None:
            notes = first.path.with_suffix(".notes.json")
        self.notes = FrameNotes(None if notes is None else Path(notes))
        try:
            self.notes.read()
        except ValueError as error:
            self.warning += str(error)
        self._update_note_columns()

        # 3. What is shown
        self.filters = FrameFilter(self.table, {**SLICES, **dict(slices or {})})
        self.state = FilterState()
        self.selection = self.filters.apply(self.state)
        self.page = 0  # of thumbnails
        self.position = 0  # of the frame, among the rows that pass
        self.look = Look()
        self.axes = page_messages.first_axes(self.table)

        # 4. What the page may ask for
        self._answers = {
            "hello": self._answer_hello,
            "filter": self._answer_filter,
            "page": self._answer_page,
            "axes": self._answer_axes,
            "show": self._answer_show,
            "step": self._answer_step,
            "look": self._answer_look,
            "tag": self._answer_tag,
            "note": self._answer_note,
            "undo": self._answer_undo,
            "export": self._answer_export,
            "compare": self._answer_compare,
        }
        self.on_msg(self._receive)

    # For notebooks

    @property
    def rows(self) -> np.ndarray:
        """Rows of the table that pass the filter, in order."""
        return self.selection.rows

    @property
    def models(self) -> list[EvaluatedModel]:
        """The models that are shown."""
        return self.frames.models

    @property
    def slices(self) -> dict[str, str]:
        """Name → condition of the buttons."""
        return self.filters.slices

    def filter(self, **changes: Any) -> pd.DataFrame:
        """Change the filter; what is not given stays as it is.

        Args:
            changes: Fields of `FilterState`: query, slices, ranges, chosen, sort,
                descending.

        Returns:
            The rows of the table that pass, in order.

        Raises:
            ValueError: If the filter is invalid; it then stays as it was.
        """
        # An invalid filter raises here and leaves everything as it is.
        state = self.state._replace(**changes)
        self.selection = self.filters.apply(state)
        self.state = state
        self.page = 0
        self.position = 0
        return self.table.iloc[self.rows]

    def frame_view(self, row: int) -> FrameView:
        """A frame with its annotation and predictions.

        Args:
            row: Row of the table.

        Raises:
            ValueError, KeyError: If the frame has no picture.
        """
        return self.frames.view(row)

    def compare(
        self, second: Source, checkpoint: Path | str | None = None
    ) -> dict[str, float]:
        """Show a second model, B, beside the first, A.

        Args:
            second: As `table` of the browser: it must be of the same split.
            checkpoint: A network, for the layers of B.

        Returns:
            The paired difference of the MPJPE, B − A (see
            `digit.evaluation.bootstrap.paired_difference`).
        """
        # 1. Is there a difference at all?
        model = EvaluatedModel(second, checkpoint, self.split)
        found = paired_difference(self.models[0].table, model.table)
        self.models[1:] = [model]

        # 2. Columns of the comparison
        errors = model.table["mpjpe"].to_numpy()[model.row_of]
        by_image = pd.Series(errors, model.row_of.index)
        self.table["mpjpe_b"] = self.table["image_id"].map(by_image)
        self.table["mpjpe_change"] = self.table["mpjpe_b"] - self.table["mpjpe"]
        self.table["changed"] = self.table["mpjpe_change"].abs()

        # 3. The verdict in words
        names = [model.name for model in self.models]
        self.verdict = page_messages.comparison_words(names, found)
        self.frames.forget()
        self._send_all()
        return found

    def export(self, path: Path | str, rows: Sequence[int] | None = None) -> Path:
        """Write frames to a file, by its ending.

        Args:
            path: .txt for a list of file names; .csv for the rows with tags and notes;
                .html for a page of up to 200 frames that opens without a kernel.
            rows: Rows of the table; by default those that pass the filter.

        Returns:
            The path.

        Raises:
            ValueError: If the ending is another one.
        """
        # 1. Which frames, and how they were chosen
        path = Path(path)
        exports.check_ending(path)
        words = self.state.describe()
        if rows is not None:
            words = f"{len(rows)} frames chosen by the notebook"
        chosen = [int(row) for row in (self.rows if rows is None else rows)]
        # 2. By the ending
        if path.suffix == exports.LIST:
            return exports.export_list(path, [self.frame_keys[row] for row in chosen])
        if path.suffix == exports.TABLE:
            return exports.export_table(path, self.table.iloc[chosen])
        return exports.export_page(
            path,
            self._cards_with_pictures(chosen[: exports.PAGE_LIMIT]),
            passed=len(chosen),
            models=[model.name for model in self.models],
            finger_colors=page_messages.finger_colors(),
            filter_words=words,
            sort=self.state.sort,
            descending=self.state.descending,
        )

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and a page of thumbnails for where there is no kernel."""
        sheet = page_messages.thumbnail_sheet(self.rows[:PER_PAGE], self.frames)
        if sheet is not None:
            jpeg = encode_jpeg(sheet, page_messages.EXPORT_QUALITY)
            static_picture.publish(jpeg, type(self).__name__)
        return super()._repr_mimebundle_(**options)

    # Frames

    def _card(self, row: int, look: Look) -> tuple[dict[str, Any], list]:
        note = self.notes.of(self.frame_keys[row])
        return page_messages.frame_card(
            self.table,
            row,
            key=self.frame_keys[row],
            tags=note.tags,
            note=note.note,
            frames=self.frames,
            look=look,
        )

    def _cards_with_pictures(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Cards for a page that stands alone, with progress shown in the widget."""
        cards = []
        look = self.look._replace(layer=page_messages.PICTURE_LAYER)
        for number, row in enumerate(rows):
            if number % PROGRESS_EVERY == 0:
                self._say(f"Making the page: {number} of {len(rows)} frames …")
            card, pictures = self._card(row, look)
            for record, picture in zip(card["pictures"], pictures, strict=True):
                data = encode_jpeg(picture, page_messages.EXPORT_QUALITY)
                record["jpeg"] = base64.b64encode(data).decode()
            cards.append(card)
        return cards

    def _current_row(self) -> int:
        """The row of the frame that is shown; ValueError where no frame passes."""
        if len(self.rows) == 0:
            raise ValueError("No frame is shown.")
        return int(self.rows[self.position])

    def _update_note_columns(self) -> None:
        notes = [self.notes.of(key) for key in self.frame_keys]
        self.table["tags"] = [", ".join(note.tags) for note in notes]
        self.table["note"] = [note.note for note in notes]

    def _known_tags(self) -> list[str]:
        """The tags to offer: the usual ones, then those in use."""
        return list(dict.fromkeys([*OFFERED_TAGS, *self.notes.tags_by_use()]))

    # To the page

    def _post(self, message: Message) -> None:
        content, buffers = message
        self.send(content, buffers=buffers)

    def _say(self, text: str, place: str = "foot") -> None:
        """Show a sentence under the filter or at the foot of the widget."""
        self.send({"kind": "say", "text": text, "place": place})

    def _send_all(self) -> None:
        message = page_messages.state_message(
            self.table,
            slices=self.filters.usable_slices(),
            tags=self._known_tags(),
            models=[model.name for model in self.models],
            look=self.look,
            warning=self.warning,
            verdict=self.verdict,
        )
        self._post(message)
        self._send_frames()

    def _send_frames(self) -> None:
        self._send_page()
        self._send_frame()
        self._send_charts()

    def _send_page(self) -> None:
        message = page_messages.page_message(
            self.table,
            self.rows,
            self.page,
            state=self.state,
            unknown_counts=self.filters.unknown_counts(self.state),
            frames=self.frames,
            keys=self.frame_keys,
        )
        self._post(message)

    def _send_charts(self) -> None:
        current = self._current_row() if len(self.rows) else None
        message = page_messages.charts_message(
            self.table, self.selection, self.axes, current
        )
        self._post(message)

    def _send_frame(self) -> None:
        """The frame; those around it are then made in the background."""
        if len(self.rows) == 0:
            self._post(page_messages.no_frame_message())
            return
        card, pictures = self._card(self._current_row(), self.look)
        message = page_messages.frame_message(
            card, pictures, self.position, len(self.rows)
        )
        self._post(message)
        before = self.rows[max(0, self.position - 1) : self.position]
        after = self.rows[self.position + 1 : self.position + 4]
        self.frames.prepare([*after.tolist(), *before.tolist()])

    def _send_marks(self) -> None:
        """Which frames have tags or notes, and those of the current one."""
        has_marks = (self.table["tags"] != "") | (self.table["note"] != "")
        content = {
            "kind": "marks",
            "marked": np.flatnonzero(has_marks).tolist(),
            "known": self._known_tags(),
        }
        if len(self.rows):
            content.update(
                self.notes.of(self.frame_keys[self._current_row()])._asdict()
            )
        self.send(content)

    # From the page

    def _receive(self, _: Any, content: Mapping[str, Any], buffers: Sequence) -> None:
        """Answer a request of the page; an error becomes a sentence."""
        # What is made ahead of time would delay the answer.
        arguments = dict(content)
        request = arguments.pop("do")
        self.frames.stop_preparing()
        try:
            self._answers[request](**arguments)
        except Exception as error:  # the widget outlives every frame and filter
            place = "filter" if request == "filter" else "foot"
            self._say(one_line(error), place)

    def _answer_hello(self, plotly_there: bool) -> None:
        """A page was opened; plotly, 5 MB, is sent once a page."""
        self._send_all()
        if not plotly_there:
            package = Path(plotly.__file__).parent / "package_data"
            script = (package / "plotly.min.js").read_bytes()
            self.send({"kind": "plotly"}, buffers=[script])

    def _answer_filter(self, **changes: Any) -> None:
        self.filter(**changes)
        self._send_frames()

    def _answer_page(self, page: int) -> None:
        last = max(0, len(self.rows) - 1) // PER_PAGE
        self.page = int(np.clip(page, 0, last))
        self._send_page()

    def _answer_axes(self, **axes: str) -> None:
        for name in axes.values():
            if name not in self.table:
                raise ValueError(f"There is no column “{name}” to plot.")
        self.axes = self.axes._replace(**axes)
        self._send_charts()

    def _answer_show(self, row: int) -> None:
        positions = np.flatnonzero(self.rows == row)
        if len(positions) == 0:
            raise ValueError("This frame does not pass the filter.")
        self.position = int(positions[0])
        self._send_frame()

    def _answer_step(self, by: int) -> None:
        last = max(0, len(self.rows) - 1)
        self.position = int(np.clip(self.position + by, 0, last))
        self._send_frame()
        if self.position // PER_PAGE != self.page:
            self._answer_page(self.position // PER_PAGE)

    def _answer_look(self, **look: Any) -> None:
        self.look = self.look._replace(**look)
        self._send_frame()

    def _answer_tag(self, tag: str) -> None:
        key = self.frame_keys[self._current_row()]
        self._change_notes(lambda: self.notes.toggle_tag(key, tag))

    def _answer_note(self, text: str, row: int) -> None:
        key = self.frame_keys[row]
        note = self.notes.of(key)._replace(note=text.strip())
        self._change_notes(lambda: self.notes.set(key, note))

    def _answer_undo(self) -> None:
        key = self._change_notes(self.notes.undo)
        if key is None:
            self._say("There is nothing to undo.")
        else:
            self._say(f"Undone: the last tag or note of {key}")

    def _change_notes(self, change: Any) -> Any:
        """Change tags or notes; a filter by them follows."""
        try:
            result = change()
        finally:
            self._update_note_columns()
        if self.state.depends_on_notes():
            self._filter_again()
        self._send_marks()
        return result

    def _filter_again(self) -> None:
        """Apply the filter after a change; the frame stays while it passes."""
        row = self._current_row() if len(self.rows) else -1
        self.selection = self.filters.apply(self.state)
        positions = np.flatnonzero(self.rows == row)
        last = max(0, len(self.rows) - 1)
        if len(positions):
            self.position = int(positions[0])
        else:
            self.position = min(self.position, last)
        self.page = min(self.page, last // PER_PAGE)
        self._send_frames()

    def _answer_compare(self, path: str) -> None:
        if not path.strip():
            raise ValueError("Give the second model: a run's folder or an error table.")
        self.compare(path.strip())

    def _answer_export(self, ending: str) -> None:
        """Save the frames that pass beside the notes, and offer the file as a download."""
        if len(self.rows) == 0:
            raise ValueError("No frame passes the filter: there is nothing to export.")
        # 1. A file beside the notes
        words = self.state.describe()
        folder = Path("exports")
        if self.notes.path is not None:
            folder = self.notes.path.parent / "exports"
        path = folder / exports.export_name(words, self.split, ending)
        self.export(path)

        # 2. How it was made, and where it is
        count = len(self.rows)
        if ending == exports.PAGE:  # which tells its filter itself
            count = min(count, exports.PAGE_LIMIT)
        else:
            models = [model.name for model in self.models]
            exports.export_filter(path, words, count, self.split, models)
        text = f"{count} of {len(self.rows)} frames ({words}) saved to"
        self._send_export(path, text)

    def _send_export(self, path: Path, text: str) -> None:
        """Tell where the file is, with its content where that is not too large."""
        data = path.read_bytes()
        text = f"{text} {path.resolve()}"
        content = {"kind": "export", "text": text, "name": path.name}
        buffers = [data] if len(data) <= LARGEST_DOWNLOAD_BYTES else []
        self.send(content, buffers=buffers)

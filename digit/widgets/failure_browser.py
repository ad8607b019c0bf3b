"""The failure browser: every frame of an error table, with one or two networks.

Chapter 08 of the notebooks shows it. The kernel filters, runs the networks and paints
layers; the page (web/failure_browser.js) draws what `digit.widgets.page_messages` sends
and asks for more. What goes wrong with a frame or a filter becomes a sentence in the widget.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import plotly

from digit.widgets import (
    assets,
    chart_messages,
    frame_messages,
    page_messages,
    static_picture,
)
from digit.widgets.canvas import encode_jpeg
from digit.widgets.comparison import Comparison
from digit.widgets.evaluated_model import EvaluatedModel, Source
from digit.widgets.frame_context import FrameContext
from digit.widgets.frame_export import FrameExport
from digit.widgets.frame_filter import SLICES, FilterState, FrameFilter, Selection
from digit.widgets.frame_groups import FrameGroups
from digit.widgets.frame_marks import FrameMarks
from digit.widgets.frame_messages import Look
from digit.widgets.frame_view import FrameSource, FrameView
from digit.widgets.history import History
from digit.widgets.messages import one_line
from digit.widgets.navigation import Navigation
from digit.widgets.notes import FrameNotes
from digit.widgets.page_messages import PER_PAGE, Message
from digit.widgets.saved_views import SavedViews, views_beside
from digit.widgets.similar_frames import SimilarFrames
from digit.widgets.what_if import WhatIf


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
        "filter_bar.js",
        "thumbnails.js",
        "plots.js",
        "charts.js",
        "groups.js",
        "crop.js",
        "space_scene.js",
        "svg_context.js",
        "hands_3d.js",
        "joint_errors.js",
        "film.js",
        "why.js",
        "context.js",
        "frame_pane.js",
        "views.js",
        "foot.js",
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
        given = [table if first.path else "table", dataset_dir, checkpoint]
        arguments = ", ".join(repr(str(one)) for one in given if one is not None)
        self.call = f"digit.FailureBrowser({arguments})"  # that opens it again

        # 2. Tags and notes, and what can be undone
        names = self.table["file_name" if "file_name" in self.table else "image_id"]
        self.frame_keys = [f"{self.split}/{name}" for name in names]
        if notes is None and first.path is not None:
            notes = first.path.with_suffix(".notes.json")
        self.notes = self._opened_notes(None if notes is None else Path(notes))
        self.marks = FrameMarks(self)
        self.marks.update_columns()
        self.history = History()

        # 3. What is shown
        self.filters = FrameFilter(self.table, {**SLICES, **dict(slices or {})})
        self.state = FilterState()
        self.selection = self.filters.apply(self.state)
        self.page = 0  # of thumbnails
        self.per_page = PER_PAGE
        self.thumbnails_with_joints = False
        self.position = 0  # of the frame, among the rows that pass
        self.visited: int | None = None  # a frame that is shown without passing
        self.look = Look()
        self.axes = chart_messages.first_axes(self.table)

        # 4. The parts of the browser, and what the page may ask each of them for
        self.similar = SimilarFrames(self)
        self.groups = FrameGroups(self)
        self.comparison = Comparison(self)
        self.views = SavedViews(self, views_beside(self.notes.path))
        self.exporter = FrameExport(self)
        self._answers = self._all_answers()
        self.on_msg(self._receive)

    def _opened_notes(self, path: Path | None) -> FrameNotes:
        """The notes of a file; what is wrong with it goes into the warning."""
        notes = FrameNotes(path)
        try:
            notes.read()
        except ValueError as error:
            self.warning += str(error)
        return notes

    def _all_answers(self) -> dict[str, Callable[..., Any]]:
        """The function for each request of the page."""
        parts = (
            Navigation(self),
            FrameContext(self),
            WhatIf(self),
            self.marks,
            self.similar,
            self.groups,
            self.comparison,
            self.views,
            self.exporter,
        )
        answers = {"hello": self._answer_hello, "filter": self._answer_filter}
        for part in parts:
            answers.update(part.answers)
        return answers

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
                descending, like.

        Returns:
            The rows of the table that pass, in order.

        Raises:
            ValueError: If the filter is invalid; it then stays as it was.
        """
        # An invalid filter raises here and leaves everything as it is.
        before = self.state, self._row_or_none()
        state = self.similar.set_distances(self.state._replace(**changes))
        selection = self.filters.apply(state)
        self._show(state, selection, row=None)

        # It can be undone where it changes anything.
        words = before[0].describe_change(state)
        if words:
            after = self.state, self._row_or_none()
            self.remember(
                words,
                undo=lambda: self._go_to(*before),
                redo=lambda: self._go_to(*after),
            )
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
        return self.comparison.load(second, checkpoint)

    def open_view(self, name: str) -> "FailureBrowser":
        """Show a view that was saved under a name.

        Returns:
            The browser, so that the call can end a cell.

        Raises:
            ValueError: If there is no such view, or it does not fit the table.
        """
        self.views.open(name)
        return self

    def save_view(self, name: str) -> None:
        """Save filter, order, plots, layer and columns under a name."""
        self.views.save(name)

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
        return self.exporter.write(path, rows)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and a page of thumbnails for where there is no kernel."""
        sheet = page_messages.thumbnail_sheet(self.rows[:PER_PAGE], self.frames)
        if sheet is not None:
            jpeg = encode_jpeg(sheet, frame_messages.EXPORT_QUALITY)
            static_picture.publish(jpeg, type(self).__name__)
        return super()._repr_mimebundle_(**options)

    # Frames

    def card(self, row: int, look: Look) -> tuple[dict[str, Any], list]:
        """All there is to show of a frame, see `frame_messages.frame_card`."""
        note = self.notes.of(self.frame_keys[row])
        return frame_messages.frame_card(
            self.table,
            row,
            key=self.frame_keys[row],
            tags=note.tags,
            note=note.note,
            frames=self.frames,
            look=look,
        )

    def current_row(self) -> int:
        """The row of the frame that is shown; ValueError where no frame passes."""
        row = self._row_or_none()
        if row is None:
            raise ValueError("No frame is shown.")
        return row

    def _row_or_none(self) -> int | None:
        if self.visited is not None:
            return self.visited
        return int(self.rows[self.position]) if len(self.rows) else None

    # The filter

    def _show(self, state: FilterState, selection: Selection, row: int | None) -> None:
        """Show frames that pass, at a row where it is one of them."""
        self.state = state
        self.selection = selection
        self.visited = None
        positions = np.flatnonzero(selection.rows == row)
        self.position = int(positions[0]) if len(positions) else 0
        self.page = self.position // self.per_page

    def _go_to(self, state: FilterState, row: int | None) -> None:
        """Show an earlier filter and the frame that was looked at with it."""
        try:
            state = self.similar.set_distances(state)
            selection = self.filters.apply(state)
        except ValueError:  # by columns of a second model that was dropped
            state = FilterState()
            selection = self.filters.apply(state)
        self._show(state, selection, row)
        self.send_frames()

    def filter_again(self) -> None:
        """Apply the filter after the table has changed; the frame stays while it
        passes, else the next one takes its place."""
        row = self._row_or_none()
        position = self.position
        self._show(self.state, self.filters.apply(self.state), row)
        if row is not None and row not in self.rows:
            self.position = min(position, max(0, len(self.rows) - 1))
            self.page = self.position // self.per_page
        self.send_frames()

    def remember(
        self, words: str, undo: Callable[[], object], redo: Callable[[], object]
    ) -> None:
        """Make a change something that can be undone."""
        self.history.add(words, undo, redo)
        self.send_history()

    # To the page

    def _post(self, message: Message) -> None:
        content, buffers = message
        self.send(content, buffers=buffers)

    def say(self, text: str, place: str = "foot") -> None:
        """Show a sentence under the filter or at the foot of the widget."""
        self.send({"kind": "say", "text": text, "place": place})

    def send_history(self) -> None:
        self.send({"kind": "history", **self.history.next_words()})

    def send_all(self) -> None:
        """Send everything that the page shows."""
        self.send_columns()
        self.send_frames()

    def send_columns(self) -> None:
        """Send what stays from frame to frame, such as the columns."""
        try:
            views = list(self.views.read())
        except ValueError as error:
            views = []
            self.say(one_line(error))
        offers = {
            "runs": self.comparison.offered_runs(),
            "spaces": self.similar.spaces(),
            "groups": self.groups.offered(),
            "views": views,
            "history": self.history.next_words(),
        }
        message = page_messages.state_message(
            self.table,
            slices=self.filters.usable_slices(),
            tags=self.marks.known_tags(),
            models=[model.name for model in self.models],
            look=self.look,
            warning=self.warning,
            verdict=self.comparison.verdict,
            offers=offers,
        )
        self._post(message)

    def send_frames(self) -> None:
        """Send the frames that pass: thumbnails, the frame that is shown, and plots."""
        self.send_page()
        self.send_frame()
        self.send_charts()
        if len(self.models) > 1:
            self.comparison.send_verdict()

    def send_page(self) -> None:
        message = page_messages.page_message(
            self.table,
            self.rows,
            self.page,
            state=self.state,
            unknown_counts=self.filters.unknown_counts(self.state),
            frames=self.frames,
            keys=self.frame_keys,
            per_page=self.per_page,
            with_joints=self.thumbnails_with_joints,
        )
        self._post(message)

    def send_charts(self) -> None:
        """Send the plots of the frames that pass."""
        message = chart_messages.charts_message(self.table, self.selection, self.axes)
        self._post(message)

    def send_frame(self, ahead: Sequence[int] | None = None) -> None:
        """The frame; those that are likely to follow are then made in the background."""
        row = self._row_or_none()
        if row is None:
            self._post(frame_messages.no_frame_message())
            return
        card, pictures = self.card(row, self.look)
        position = self.position if self.visited is None else None
        message = frame_messages.frame_message(card, pictures, position, len(self.rows))
        self._post(message)
        if ahead is None:
            before = self.rows[max(0, self.position - 1) : self.position]
            after = self.rows[self.position + 1 : self.position + 4]
            ahead = [*after.tolist(), *before.tolist()]
        self.frames.prepare(ahead)

    def send_marks(self) -> None:
        """Send which frames have tags or notes, and those of the current one."""
        has_marks = (self.table["tags"] != "") | (self.table["note"] != "")
        content = {
            "kind": "marks",
            "marked": np.flatnonzero(has_marks).tolist(),
            "known": self.marks.known_tags(),
        }
        row = self._row_or_none()
        if row is not None:
            content.update(self.notes.of(self.frame_keys[row])._asdict())
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
            self.say(one_line(error), place)

    def _answer_hello(self, plotly_there: bool) -> None:
        """A page was opened; plotly, 5 MB, is sent once a page."""
        self.send_all()
        if not plotly_there:
            package = Path(plotly.__file__).parent / "package_data"
            script = (package / "plotly.min.js").read_bytes()
            self.send({"kind": "plotly"}, buffers=[script])

    def _answer_filter(self, **changes: Any) -> None:
        self.filter(**changes)
        self.send_frames()

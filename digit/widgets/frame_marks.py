"""Tags and notes as the failure browser's page sets them, one frame or many at a time."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from digit.widgets.notes import Change

if TYPE_CHECKING:
    from digit.widgets.failure_browser import FailureBrowser

OFFERED_TAGS = ("wrong hand", "hidden", "bad label", "look again")


class FrameMarks:
    """Answers the page's requests about tags and notes.

    Args:
        browser: The failure browser whose frames are marked.
    """

    def __init__(self, browser: "FailureBrowser") -> None:
        self.browser = browser
        self.answers = {"tag": self._answer_tag, "note": self._answer_note}

    def known_tags(self) -> list[str]:
        """The tags to offer: the usual ones, then those in use."""
        used = self.browser.notes.tags_by_use()
        return list(dict.fromkeys([*OFFERED_TAGS, *used]))

    def update_columns(self) -> None:
        """Write tags and notes into the table's columns."""
        browser = self.browser
        noted = browser.notes.notes.items()
        tags = {key: ", ".join(note.tags) for key, note in noted}
        texts = {key: note.note for key, note in noted}
        browser.table["tags"] = [tags.get(key, "") for key in browser.frame_keys]
        browser.table["note"] = [texts.get(key, "") for key in browser.frame_keys]

    def _answer_tag(self, tag: str, rows: Sequence[int] | None = None) -> None:
        """Set or remove a tag of the frame that is shown, or of chosen ones."""
        browser = self.browser
        chosen = rows or [browser.current_row()]
        keys = [browser.frame_keys[row] for row in chosen]
        change = self._change(lambda: browser.notes.toggle_tag(keys, tag))
        self._remember(change)

    def _answer_note(self, text: str, row: int) -> None:
        browser = self.browser
        key = browser.frame_keys[row]
        note = browser.notes.of(key)._replace(note=text.strip())
        self._remember(self._change(lambda: browser.notes.set(key, note)))

    def _remember(self, change: Change) -> None:
        """Make a change something that can be undone."""
        notes = self.browser.notes
        self.browser.remember(
            change.describe(),
            undo=lambda: self._change(lambda: notes.set_many(change.before)),
            redo=lambda: self._change(lambda: notes.set_many(change.after)),
        )

    def _change(self, make: Callable[[], Change]) -> Change:
        """Change tags or notes; a filter by them follows."""
        browser = self.browser
        try:
            change = make()
        finally:
            self.update_columns()
        if browser.state.depends_on_notes():
            browser.filter_again()
        browser.send_marks()
        return change

"""Tags and notes on frames, saved in a JSON file as they are made.

The failure browser writes them; the file lies beside the error table.
"""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from digit.files import write_json
from digit.widgets.messages import one_line


class Note(NamedTuple):
    """What is noted about one frame."""

    tags: list[str]
    note: str

    def is_empty(self) -> bool:
        """Whether there is neither a tag nor a text."""
        return not self.tags and not self.note


class Change(NamedTuple):
    """A change that can be undone."""

    key: str
    before: Note


class FrameNotes:
    """Tags and notes by frame.

    Each change reads the file first, since two kernels may write to one file, and then
    replaces it whole.

    Args:
        path: The file; None keeps the notes in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.notes: dict[str, Note] = {}
        self.changes: list[Change] = []

    def read(self) -> None:
        """Read the file again.

        Raises:
            ValueError: If it cannot be read as notes; it is never written over then.
        """
        # Nothing is noted yet, or notes stay in memory.
        if self.path is None or not self.path.exists():
            return
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            notes = {}
            for key, record in found.items():
                tags = [str(tag) for tag in record["tags"]]
                notes[key] = Note(tags, str(record["note"]))
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            raise ValueError(
                f"{self.path}: cannot be read as tags and notes ({one_line(error)}); "
                "repair it or move it away: until then nothing is saved"
            ) from None
        self.notes = notes

    def of(self, key: str) -> Note:
        """The note of a frame, empty where there is none."""
        return self.notes.get(key, Note([], ""))

    def set(self, key: str, note: Note) -> None:
        """Change and save the note of a frame; raises ValueError as `read`."""
        self.read()
        self.changes.append(Change(key, self.of(key)))
        self._save(key, note)

    def toggle_tag(self, key: str, tag: str) -> None:
        """Set a tag of a frame, or take it away."""
        # Other tags keep their order.
        note = self.of(key)
        if tag in note.tags:
            tags = [other for other in note.tags if other != tag]
        else:
            tags = [*note.tags, tag]
        self.set(key, note._replace(tags=tags))

    def undo(self) -> str | None:
        """Take the last change back.

        Returns:
            The frame that it belongs to, None if there is nothing to undo.
        """
        if not self.changes:
            return None
        # Another kernel may have noted something in the meantime.
        self.read()
        change = self.changes.pop()
        self._save(change.key, change.before)
        return change.key

    def tags_by_use(self) -> list[str]:
        """All tags in use, the most frequent first."""
        used = Counter(tag for note in self.notes.values() for tag in note.tags)
        return [tag for tag, _ in used.most_common()]

    def _save(self, key: str, note: Note) -> None:
        # A copy: if the file cannot be written, the notes in memory stay as they are.
        notes = dict(self.notes)
        notes[key] = note
        kept = {name: value for name, value in notes.items() if not value.is_empty()}
        if self.path is not None:
            records = {name: value._asdict() for name, value in kept.items()}
            write_json(self.path, records)
        self.notes = kept

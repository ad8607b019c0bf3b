"""Tags and notes on frames, saved in a JSON file as they are made.

The failure browser writes them; the file lies beside the error table.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from digit.files import write_json
from digit.widgets.messages import one_line

Content = TypeVar("Content")


class Note(NamedTuple):
    """What is noted about one frame."""

    tags: list[str]
    note: str

    def is_empty(self) -> bool:
        """Whether there is neither a tag nor a text."""
        return not self.tags and not self.note


class Change(NamedTuple):
    """A change of the notes of some frames, by their keys."""

    before: dict[str, Note]
    after: dict[str, Note]

    def describe(self) -> str:
        """The change in words."""
        added, removed = set(), set()
        for key, note in self.after.items():
            added |= set(note.tags) - set(self.before[key].tags)
            removed |= set(self.before[key].tags) - set(note.tags)
        words = [f"tag “{tag}”" for tag in sorted(added)]
        words += [f"removed tag “{tag}”" for tag in sorted(removed)]
        keys = list(self.after)
        frames = keys[0] if len(keys) == 1 else f"{len(keys)} frames"
        return f"{', '.join(words) or 'note'} of {frames}"


def read_json(
    path: Path, parse: Callable[[Any], Content], what: str, hint: str
) -> Content:
    """What a file that the user's work is saved in holds.

    Args:
        path: The JSON file.
        parse: Takes what the file holds and returns what it means.
        what: That in words, for the error.
        hint: What to do about a file that cannot be read.

    Raises:
        ValueError: If it cannot be read so; the file is left alone.
    """
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        reason = f"cannot be read as {what} ({one_line(error)})"
        raise ValueError(f"{path}: {reason}; {hint}") from None


def _parsed(found: Any) -> dict[str, Note]:
    """The notes of a file, by the frames' keys."""
    return {
        key: Note([str(tag) for tag in record["tags"]], str(record["note"]))
        for key, record in found.items()
    }


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

    def read(self) -> None:
        """Read the file again.

        Raises:
            ValueError: If it cannot be read as notes; it is never written over then.
        """
        # Nothing is noted yet, or notes stay in memory.
        if self.path is None or not self.path.exists():
            return
        hint = "repair it or move it away: until then nothing is saved"
        self.notes = read_json(self.path, _parsed, "tags and notes", hint)

    def of(self, key: str) -> Note:
        """The note of a frame, empty where there is none."""
        return self.notes.get(key, Note([], ""))

    def set(self, key: str, note: Note) -> Change:
        """Change and save the note of a frame; raises ValueError as `read`."""
        return self.set_many({key: note})

    def set_many(self, notes: Mapping[str, Note]) -> Change:
        """Change and save the notes of some frames.

        Args:
            notes: The new note of each frame, by its key.

        Returns:
            The change; `set_many(change.before)` takes it back.

        Raises:
            ValueError: As `read`.
        """
        # Another kernel may have noted something in the meantime.
        self.read()
        change = Change({key: self.of(key) for key in notes}, dict(notes))
        self._save(notes)
        return change

    def toggle_tag(self, keys: Sequence[str], tag: str) -> Change:
        """Set a tag of all these frames, or take it away where all of them have it."""
        # Another kernel may have tagged the same frames. Other tags keep their order.
        self.read()
        found = {key: self.of(key) for key in keys}
        remove = all(tag in note.tags for note in found.values())
        notes = {}
        for key, note in found.items():
            tags = [other for other in note.tags if other != tag]
            notes[key] = note._replace(tags=tags if remove else [*tags, tag])
        return self.set_many(notes)

    def tags_by_use(self) -> list[str]:
        """All tags in use, the most frequent first."""
        used = Counter(tag for note in self.notes.values() for tag in note.tags)
        return [tag for tag, _ in used.most_common()]

    def _save(self, changed: Mapping[str, Note]) -> None:
        # A copy: if the file cannot be written, the notes in memory stay as they are.
        notes = {**self.notes, **changed}
        kept = {name: value for name, value in notes.items() if not value.is_empty()}
        if self.path is not None:
            records = {name: value._asdict() for name, value in kept.items()}
            write_json(self.path, records)
        self.notes = kept

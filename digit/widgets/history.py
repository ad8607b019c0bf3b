"""Undo and redo of what a reader changes in the failure browser, each step in words."""

from collections.abc import Callable
from typing import NamedTuple

MOST_STEPS = 200  # that can be undone


class Step(NamedTuple):
    """A change that was made: what it was, and how to take it back and make it again."""

    words: str
    undo: Callable[[], object]
    redo: Callable[[], object]


class History:
    """The steps that were made, the last one first to be undone."""

    def __init__(self) -> None:
        self.done: list[Step] = []
        self.undone: list[Step] = []

    def add(
        self, words: str, undo: Callable[[], object], redo: Callable[[], object]
    ) -> None:
        """Remember a change; what was undone before cannot be redone any more."""
        self.done = [*self.done, Step(words, undo, redo)][-MOST_STEPS:]
        self.undone.clear()

    def undo(self) -> str | None:
        """Take the last change back.

        Returns:
            What it was, in words; None if there is nothing to undo. If taking it back
            raises an error, the step remains.
        """
        if not self.done:
            return None
        step = self.done[-1]
        step.undo()
        self.done.pop()
        self.undone.append(step)
        return step.words

    def redo(self) -> str | None:
        """Make the change again that was undone last; returns as `undo`."""
        if not self.undone:
            return None
        step = self.undone[-1]
        step.redo()
        self.undone.pop()
        self.done.append(step)
        return step.words

    def next_words(self) -> dict[str, str]:
        """What `undo` and `redo` would change; empty for nothing."""
        return {
            "undo": self.done[-1].words if self.done else "",
            "redo": self.undone[-1].words if self.undone else "",
        }

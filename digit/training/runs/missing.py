"""The error for a run that is not there yet, with the command that makes one.

Whoever looks for a run raises it; notebooks show it as a sentence and a command.
"""

import shlex
from collections.abc import Sequence


class MissingRun(FileNotFoundError):
    """There is no run, or no evaluation of one, for what is asked.

    Args:
        sentence: What is missing.
        command: The words of the command that makes it; none where nothing does.
    """

    def __init__(self, sentence: str, command: Sequence[object] = ()) -> None:
        self.sentence = sentence
        self.command = shlex.join(map(str, command))
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        """The sentence, and the command below it."""
        if not self.command:
            return [f"{self.sentence}."]
        return [f"{self.sentence}. This command makes it:", f"    {self.command}"]

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows in place of a traceback; it stops at this cell."""
        return self._lines()

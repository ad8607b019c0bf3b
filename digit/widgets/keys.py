"""Keys of a whole widget, whatever in it has the focus, and the list of them.

Data browser, photo editor and label review have one `Keys` each. `web/keys.js` listens.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import anywidget
import traitlets

from digit.widgets import assets
from digit.widgets.controls import ReportingBox


class Key(NamedTuple):
    """A key as the browser names it, what it does in words, and its action."""

    key: str
    meaning: str
    act: Callable[[], object]
    repeats: bool = True  # while it is held down


class Keys(anywidget.AnyWidget):
    """Calls the actions of keys; its button and `?` list them.

    Args:
        owner: The box whose keys they are; errors of an action are shown in its note.

    Attributes:
        meanings: Each key with its meaning in words and whether it repeats, in the order
            of the list.
        pressed: [key, count] of the last key that was pressed in the page.
        handled: Set to that count when it is dealt with; until then a key that is held
            down waits.
    """

    _esm = assets.script("dom.js", "keys.js")
    meanings = traitlets.List().tag(sync=True)
    pressed = traitlets.List().tag(sync=True)
    handled = traitlets.Int().tag(sync=True)

    def __init__(self, owner: ReportingBox) -> None:
        super().__init__()
        self._owner = owner
        self._acts: dict[str, Callable[[], object]] = {}
        self.observe(lambda _: self._press(), "pressed")

    def listen(self, keys: Sequence[Key]) -> None:
        """Call the actions of these keys from now on."""
        self._acts = {key.key: key.act for key in keys}
        self.meanings = [[key.key, key.meaning, key.repeats] for key in keys]

    def _press(self) -> None:
        key, count = self.pressed
        try:
            self._owner.perform(self._acts[key])
        finally:
            self.handled = count

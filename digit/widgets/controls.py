"""What data browser and photo editor share: layout, and errors shown in place."""

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from digit.widgets import static_picture

# The width of a control with a description.
NARROW: dict[str, Any] = {
    "style": {"description_width": "128px"},
    "layout": {"width": "310px"},
}
# The narrowest that a column of pictures becomes before it wraps below its neighbour.
NARROWEST_PX = 310


def row(*children: widgets.Widget) -> widgets.HBox:
    """Widgets side by side; they wrap where the window is narrow."""
    layout = {"grid_gap": "4px 8px", "flex": "0 1 auto", "flex_flow": "row wrap"}
    return widgets.HBox(children, layout=layout)


def column(*children: widgets.Widget, width_px: int | None = None) -> widgets.VBox:
    """Widgets one below the other.

    Args:
        children: The widgets.
        width_px: How wide it is at most, where it may become narrower; None for as wide
            as its widgets are.
    """
    layout = {"grid_gap": "4px 8px", "flex": "0 0 auto"}
    if width_px is not None:
        layout |= {
            "flex": f"1 1 {NARROWEST_PX}px",
            "min_width": "0",
            "max_width": f"{width_px}px",
        }
    return widgets.VBox(children, layout=layout)


class ReportingBox(widgets.VBox):
    """A box of widgets that shows the errors of its callbacks instead of raising.

    Attributes:
        note: Warnings and errors of the last action.
        about: A description of what is shown.
    """

    def __init__(self) -> None:
        self.note = widgets.HTML()
        self.about = widgets.HTML()
        self._busy = False
        super().__init__()
        self.add_class(static_picture.LIVE_CLASS)

    def static_figure(self) -> Figure | None:
        """What is shown where there is no kernel, None for nothing."""
        return None

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        # Shown where there is no kernel, see `static_picture`.
        figure = self.static_figure()
        if figure is not None:
            static_picture.publish(figure._repr_png_(), type(self).__name__)
        bundle = super()._repr_mimebundle_(**options)
        bundle["text/plain"] = static_picture.NOTE
        return bundle

    def on_change(
        self, widget: widgets.Widget, name: str, act: Callable[[], object]
    ) -> None:
        """Call `act` when a trait of a widget changes; see `perform`."""
        widget.observe(lambda _: self.perform(act), name)

    def perform(self, act: Callable[[], object]) -> None:
        """Run an action; an error of it is shown in `note`.

        Changes that the action itself makes to widgets set off nothing further.
        """
        # A callback that a change of the action itself has set off
        if self._busy:
            return
        self._busy = True
        self.note.value = ""
        try:
            act()
        except Exception as error:  # the widget outlives every file and every input
            self.warn(str(error) or repr(error))
        finally:
            self._busy = False

    def warn(self, text: str) -> None:
        """Add a line to `note`; the text is not read as HTML."""
        self.note.value += f"<b style='overflow-wrap:anywhere'>⚠ {escape(text)}</b><br>"

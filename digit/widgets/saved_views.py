"""Views of the failure browser under a name: filter, order, plots, layer, columns.

They lie in a JSON file beside the notes, so that a colleague opens the same view.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digit.files import write_json
from digit.widgets.chart_messages import Axes
from digit.widgets.frame_filter import FilterState
from digit.widgets.notes import read_json
from digit.widgets.page_messages import Look

if TYPE_CHECKING:
    from digit.widgets.failure_browser import FailureBrowser


def views_beside(notes: Path | None) -> Path | None:
    """The file of views that belongs to a file of notes."""
    if notes is None:
        return None
    return notes.with_name(
        f"{notes.name.removesuffix('.json')}.views.json".replace(
            ".notes.views", ".views"
        )
    )


class SavedViews:
    """Saves and opens views, and answers the page's requests about them.

    Args:
        browser: The failure browser.
        path: The JSON file; None keeps the views in memory.
    """

    def __init__(self, browser: "FailureBrowser", path: Path | None) -> None:
        self.browser = browser
        self.path = path
        self._views: dict[str, dict[str, Any]] = {}
        self.answers = {
            "save_view": self._answer_save,
            "open_view": self.open,
            "delete_view": self._answer_delete,
        }

    def read(self) -> dict[str, dict[str, Any]]:
        """All views by name.

        Raises:
            ValueError: If the file cannot be read as views; it is then left alone.
        """
        if self.path is None or not self.path.exists():
            return self._views
        hint = "repair it or move it away"
        self._views = read_json(self.path, _checked, "saved views", hint)
        return self._views

    def save(self, name: str, page: Mapping[str, Any] | None = None) -> None:
        """Save what is shown now under a name; an earlier view of it is replaced.

        Args:
            name: The name.
            page: What the page alone knows, such as which joints are drawn.

        Raises:
            ValueError: If the name is empty or the file cannot be read.
        """
        name = name.strip()
        if not name:
            raise ValueError("Give the view a name.")
        # Points of a plot belong to one table; a condition holds for the next one too.
        browser = self.browser
        view = {
            "filter": browser.state._asdict(),
            "look": browser.look._asdict(),
            "axes": browser.axes._asdict(),
            "page": dict(page or {}),
        }
        self._write({**self.read(), name: view})

    def open(self, name: str) -> None:
        """Show a saved view.

        Raises:
            ValueError: If there is no such view, or it does not fit this table; all
                then stays as it is.
        """
        # 1. The view, and the columns that it needs
        views = self.read()
        if name not in views:
            known = ", ".join(views) or "none is saved yet"
            raise ValueError(f"There is no view “{name}”; known: {known}.")
        state, look, axes, page = _parsed(views[name])
        browser = self.browser
        browser.similar.make_columns(axes)
        if any(name and name not in browser.table for name in axes):
            axes = browser.axes  # of another table

        # 2. Show it
        browser.filter(**state._asdict())
        browser.look = look
        browser.axes = axes
        browser.send_all()
        browser.send({"kind": "view", "name": name, "page": page})

    def delete(self, name: str) -> None:
        """Forget a view; ValueError if there is no such view."""
        views = dict(self.read())
        if name not in views:
            raise ValueError(f"There is no view “{name}”.")
        del views[name]
        self._write(views)

    def _write(self, views: dict[str, dict[str, Any]]) -> None:
        if self.path is not None:
            write_json(self.path, views)
        self._views = views

    def _answer_save(self, name: str, page: Mapping[str, Any]) -> None:
        self.save(name, page)
        self.send_names(name.strip())
        call = f"open_view({name.strip()!r})"
        self.browser.say(f"Saved. In Python: {self.browser.call}.{call}")

    def _answer_delete(self, name: str) -> None:
        self.delete(name)
        self.send_names("")
        self.browser.say(f"The view “{name}” is deleted.")

    def send_names(self, chosen: str) -> None:
        """Tell the page which views there are."""
        content = {"kind": "views", "names": list(self.read()), "chosen": chosen}
        self.browser.send(content)


def _checked(views: Any) -> dict[str, dict[str, Any]]:
    """The views of a file as they are; raises an error if one is none."""
    for view in views.values():
        _parsed(view)
    return views


def _parsed(
    view: Mapping[str, Any],
) -> tuple[FilterState, Look, Axes, dict[str, Any]]:
    """The parts of a view; raises KeyError or TypeError if it is none."""
    state = FilterState(**view["filter"])
    if state.like is not None:
        space, image_id = state.like
        state = state._replace(like=(str(space), int(image_id)))
    return state, Look(**view["look"]), Axes(**view["axes"]), dict(view["page"])

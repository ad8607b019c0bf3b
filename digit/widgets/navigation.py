"""Steps through the frames of the failure browser, pages of thumbnails, plots, undo."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from digit.widgets.failure_browser import FailureBrowser

LARGEST_PER_PAGE = 60  # thumbnails


class Navigation:
    """Answers the page's requests about what is shown.

    Args:
        browser: The failure browser.
    """

    def __init__(self, browser: "FailureBrowser") -> None:
        self.browser = browser
        self.answers = {
            "page": self._answer_page,
            "axes": self._answer_axes,
            "show": self._answer_show,
            "visit": self._answer_visit,
            "step": self._answer_step,
            "look": self._answer_look,
            "undo": self._answer_undo,
            "redo": self._answer_redo,
        }

    def _answer_page(
        self,
        page: int,
        per_page: int | None = None,
        with_joints: bool | None = None,
    ) -> None:
        """Another page of thumbnails, or as many or other ones on a page."""
        browser = self.browser
        if per_page is not None:
            browser.per_page = int(np.clip(per_page, 1, LARGEST_PER_PAGE))
        if with_joints is not None:
            browser.thumbnails_with_joints = bool(with_joints)
        last = max(0, len(browser.rows) - 1) // browser.per_page
        browser.page = int(np.clip(page, 0, last))
        browser.send_page()

    def _answer_axes(self, **axes: str) -> None:
        browser = self.browser
        for name in axes.values():
            if name and name not in browser.table:
                raise ValueError(f"There is no column “{name}” to plot.")
        browser.axes = browser.axes._replace(**axes)
        browser.send_charts()

    def _answer_show(self, row: int) -> None:
        browser = self.browser
        positions = np.flatnonzero(browser.rows == row)
        if len(positions) == 0:
            raise ValueError("This frame does not pass the filter.")
        browser.position = int(positions[0])
        browser.visited = None
        browser.send_frame()

    def _answer_visit(self, row: int, ahead: Sequence[int] = ()) -> None:
        """Show a frame, whether it passes the filter or not."""
        browser = self.browser
        if not 0 <= row < len(browser.table):
            raise ValueError(f"The table has no row {row}.")
        positions = np.flatnonzero(browser.rows == row)
        browser.visited = int(row)
        if len(positions):
            browser.position = int(positions[0])
            browser.visited = None
        browser.send_frame(ahead)

    def _answer_step(self, by: int) -> None:
        browser = self.browser
        last = max(0, len(browser.rows) - 1)
        browser.position = int(np.clip(browser.position + by, 0, last))
        browser.visited = None
        browser.send_frame()
        if browser.position // browser.per_page != browser.page:
            self._answer_page(browser.position // browser.per_page)

    def _answer_look(self, **look: Any) -> None:
        browser = self.browser
        browser.look = browser.look._replace(**look)
        browser.send_frame()

    def _answer_undo(self) -> None:
        browser = self.browser
        words = browser.history.undo()
        browser.send_history()
        browser.say(f"Undone: {words}" if words else "There is nothing to undo.")

    def _answer_redo(self) -> None:
        browser = self.browser
        words = browser.history.redo()
        browser.send_history()
        browser.say(f"Done again: {words}" if words else "There is nothing to redo.")

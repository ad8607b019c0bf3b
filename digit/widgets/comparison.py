"""A second model, B, beside the first in the failure browser."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from digit.evaluation.bootstrap import mean_interval, paired_difference
from digit.training.runs.folder import run_folders
from digit.widgets.chart_messages import first_axes
from digit.widgets.columns import COMPARED
from digit.widgets.evaluated_model import EvaluatedModel, Source, find_evaluated_run

if TYPE_CHECKING:
    from digit.widgets.failure_browser import FailureBrowser

CHANGE_COLUMNS = ("mpjpe_change", "changed")


class Comparison:
    """Loads and drops the second model, and answers the page's requests about it.

    Args:
        browser: The failure browser.
    """

    def __init__(self, browser: "FailureBrowser") -> None:
        self.browser = browser
        self.verdict = ""  # in words
        self.answers = {"compare": self._answer_compare, "drop": self.drop}

    def offered_runs(self) -> list[str]:
        """The names of other runs that were evaluated on the same split."""
        table = f"errors_{self.browser.split}.parquet"
        first = self.browser.models[0].path
        folders = [folder for folder in run_folders() if (folder / table).is_file()]
        # Runs beside the one that is shown may lie elsewhere.
        if first is not None:
            folders += [path.parent for path in first.parent.parent.glob(f"*/{table}")]
            here = first.parent.resolve()
            folders = [folder for folder in folders if folder.resolve() != here]
        by_name = {folder.name: folder for folder in folders}
        return sorted(by_name, reverse=True)  # runs are named by their time

    def load(self, second: Source, checkpoint: Path | str | None) -> dict[str, float]:
        """Show a second model; see `FailureBrowser.compare`."""
        # 1. Is there a difference at all?
        browser = self.browser
        model = EvaluatedModel(second, checkpoint, browser.split)
        found = paired_difference(browser.models[0].table, model.table)
        self._drop_columns()
        browser.models[1:] = [model]

        # 2. Columns of the comparison
        ids = browser.table["image_id"]
        for name in COMPARED:
            if name in browser.table and name in model.table:
                values = model.table[name].to_numpy()[model.row_of]
                of_image = pd.Series(values, model.row_of.index)
                browser.table[f"{name}_b"] = ids.map(of_image)
        change = browser.table["mpjpe_b"] - browser.table["mpjpe"]
        browser.table["mpjpe_change"] = change
        browser.table["changed"] = change.abs()

        # 3. The verdict in words
        names = [model.name for model in browser.models]
        self.verdict = comparison_words(names, found)
        browser.frames.forget()
        browser.send_all()
        return found

    def drop(self) -> None:
        """Show the first model alone again; a filter by B's columns is given up."""
        browser = self.browser
        browser.models[1:] = []
        self.verdict = ""
        self._drop_columns()
        browser.frames.forget()
        try:
            browser.filter_again()
        except ValueError:
            browser.filter(query="", slices=(), ranges=(), sort="mpjpe")
        axes = first_axes(browser.table)
        if not set(browser.axes) - {""} <= set(browser.table):
            browser.axes = axes
        browser.send_all()

    def send_verdict(self) -> None:
        """Send the verdict of all frames and, under a filter, of those that pass."""
        text = self.verdict
        frames = self.browser.table.iloc[self.browser.rows]
        if text and 0 < len(frames) < len(self.browser.table):
            change = frames["mpjpe_change"]
            low, high = mean_interval(frames, "mpjpe_change")
            text += (
                f" Of the {change.notna().sum()} frames that pass the filter: B − A "
                f"{signed(change.mean())} mm (95 % CI {signed(low)} … {signed(high)})."
            )
        self.browser.send({"kind": "verdict", "text": text})

    def _drop_columns(self) -> None:
        names = [f"{name}_b" for name in COMPARED]
        drop = [
            name for name in (*names, *CHANGE_COLUMNS) if name in self.browser.table
        ]
        self.browser.table.drop(columns=drop, inplace=True)

    def _answer_compare(self, path: str) -> None:
        """Load a table, a run's folder, or a run by the names that commands know."""
        name = path.strip()
        if not name:
            raise ValueError("Give the second model: a run or an error table.")
        source = Path(name)
        if not source.exists():
            first = self.browser.models[0].path
            beside = source if first is None else first.parent.parent / name
            if (beside / f"errors_{self.browser.split}.parquet").is_file():
                source = beside
            elif len(source.parts) == 1 and source.suffix != ".parquet":
                source = find_evaluated_run(name, self.browser.split)
        self.load(source, None)


def comparison_words(names: Sequence[str], found: dict[str, float]) -> str:
    """The paired comparison of two models in words.

    Args:
        names: The names of A and B.
        found: What `paired_difference` returns.
    """
    return (
        f"A: {names[0]}. B: {names[1]}. MPJPE, B − A: {signed(found['difference'])} mm "
        f"(95 % CI {signed(found['low'])} … {signed(found['high'])}, "
        f"{found['groups']:.0f} groups of frames resampled). B is better in "
        f"{found['better']:.0f}, A in {found['worse']:.0f} of {found['frames']:.0f} "
        "frames."
    )


def signed(value: float) -> str:
    """A number of hundredths with its sign; a dash where it is not known."""
    if not np.isfinite(value):
        return "–"
    return f"{value:+.2f}".replace("-", "−")

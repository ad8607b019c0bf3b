"""A small run with its error table, and the failure browser over it."""

import shutil

import pandas as pd
import pytest
from browser_lab import run
from lab import Lab

from digit.inference.evaluate import evaluate
from digit.widgets.failure_browser import FailureBrowser


@pytest.fixture(scope="module")
def evaluated(tiny_root, tiny_run):
    """The small run with its error table, as digit evaluate leaves it."""
    errors = tiny_run / "errors_train.parquet"
    checkpoint = tiny_run / "checkpoints/best.ckpt"
    evaluate(tiny_root, "train", "gt", checkpoint, errors=errors)
    return tiny_run


@pytest.fixture
def browser(evaluated, tiny_root, tmp_path):
    notes = tmp_path / "notes.json"
    return FailureBrowser(evaluated, tiny_root, split="train", notes=notes)


@pytest.fixture
def table(evaluated) -> pd.DataFrame:
    return pd.read_parquet(evaluated / "errors_train.parquet")


@pytest.fixture(scope="module")
def two_runs(tiny_root, tiny_run, tmp_path_factory):
    """Two runs with error tables of the small training split, the largest."""
    folder = tmp_path_factory.mktemp("two")
    checkpoint = tiny_run / "checkpoints/best.ckpt"
    errors = tiny_run / "errors_train.parquet"
    evaluate(tiny_root, "train", "gt", checkpoint, errors=errors)
    return [shutil.copytree(tiny_run, folder / name) for name in ("first", "second")]


@pytest.fixture(scope="module")
def opened(lab, two_runs, tiny_root) -> Lab:
    """The notebook, run, with the browser in view."""
    lab.open(
        "08_error_analysis",
        run=str(two_runs[0]),
        root=str(tiny_root),
        split="train",
        n=1,
    )
    run(lab)
    return lab

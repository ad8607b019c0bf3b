"""`digit demo`: data, masks, a trained network and the executed notebooks, in minutes."""

import math
from datetime import datetime
from pathlib import Path

from digit.paths import NOTEBOOKS_DIR, runs_dir, workspace_dir
from digit.training.papermill import execute_notebook
from digit.training.runs import create_run, find_run, state, train
from digit.training.settings import make_settings

SEED = 1
MANY_EPOCHS = 1000  # more than the minutes allow, so that the clock ends the training


def demo(frames: int, minutes: float) -> None:
    """Make a synthetic data set, train on it, and execute the notebooks.

    Writes data/demo, one run, and the executed notebooks into runs/demo/: all but 10, which
    compares the runs of an ablation. What is there already is kept.

    Args:
        frames: Synthetic frames.
        minutes: Training time.

    Raises:
        ValueError: If the minutes are not above 0, before anything is made.
    """
    from digit.hands.part_masks import prepare
    from digit.synth.dataset import synthesize

    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes {minutes}: give a number above 0")
    # 1. Data, and the chapters that look at them.
    dataset_dir = workspace_dir() / "data" / "demo"
    print(f"{frames} synthetic frames, their index, images and masks → {dataset_dir}")
    synthesize(dataset_dir, frames, seed=SEED)
    prepare(dataset_dir)
    for name in ("02_data_inspection", "03_mask_rendering", "04_network"):
        _execute(name, root=str(dataset_dir))

    # 2. A trained network: chapter 05.
    run = _demo_run(dataset_dir, minutes)
    if state(run) != "finished":
        _say(f"training for {minutes} minutes → {run}")
        train(run)

    # 3. The chapters that look at the network.
    for name in ("07_evaluation", "08_error_analysis", "09_joints_to_hands"):
        _execute(name, run=str(run))
    _execute("01_own_photo", real=str(dataset_dir))
    _execute("06_runs")

    # 4. What there is to see.
    report = (run / "report_test.txt").read_text()
    print(f"\ntest subjects the network has never seen; {report}")
    print(f"executed notebooks: {_notebooks_dir()} and {run / '05_training.ipynb'}")
    print(f"figures of the worst frames, errors, checkpoints: {run}")
    print("next: make lab")


def _demo_run(dataset_dir: Path, minutes: float) -> Path:
    """The run of an earlier demo, or a new one."""
    try:
        return find_run("-demo-????")
    except FileNotFoundError:
        changes = {"minutes": minutes, "epochs": MANY_EPOCHS}
        settings = make_settings("quick", changes)
        return create_run(dataset_dir, "quick", settings, name="demo")


def _notebooks_dir() -> Path:
    """Where the executed notebooks go."""
    return runs_dir() / "demo"


def _execute(name: str, **values: object) -> None:
    """Execute a notebook with values for its parameters."""
    _say(f"notebook {name}")
    notebook = NOTEBOOKS_DIR / f"{name}.ipynb"
    execute_notebook(notebook, _notebooks_dir() / f"{name}.ipynb", values)


def _say(text: str) -> None:
    """Print a line with the time of day."""
    print(f"{datetime.now():%H:%M:%S} {text}", flush=True)

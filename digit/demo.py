"""The demo: everything in minutes."""

from datetime import datetime

from digit.paths import NOTEBOOKS_DIR, runs_dir, workspace_dir
from digit.training.papermill import execute_notebook
from digit.training.runs import create_run, find_run, state, train
from digit.training.settings import make_settings


def demo(frames: int, minutes: float) -> None:
    """Data, masks, a trained network, its errors and the notebooks; what is there already is kept.

    Writes data/demo, one run, and the executed notebooks into runs/demo/: all but 07, which looks
    at an ablation's runs.
    """
    from digit.hands.part_masks import prepare
    from digit.synth.dataset import synthesize

    root, out = workspace_dir() / "data" / "demo", runs_dir() / "demo"

    def notebooks(values: dict, *names: str) -> None:
        for name in names:
            print(f"{datetime.now():%H:%M:%S} notebook {name}", flush=True)
            execute_notebook(
                NOTEBOOKS_DIR / f"{name}.ipynb", out / f"{name}.ipynb", values
            )

    print(
        f"{frames} synthetic frames, their index, images and masks → {root}", flush=True
    )
    synthesize(root, frames, seed=1)
    prepare(root)
    notebooks(
        {"root": str(root)},
        "02_data_inspection",
        "03_mask_rendering",
        "04_network",
    )
    try:
        run = find_run("-demo-????")
    except FileNotFoundError:
        settings = make_settings("quick", {"minutes": minutes, "epochs": 1000})
        run = create_run(root, "quick", settings, "demo")
    if state(run) != "finished":
        print(
            f"{datetime.now():%H:%M:%S} training for {minutes} minutes → {run}",
            flush=True,
        )
        train(run)
    notebooks({"run": str(run)}, "07_evaluation", "08_error_analysis")
    notebooks({"real": str(root)}, "01_own_photo")
    notebooks({}, "06_runs")
    print(
        f"\ntest subjects the network has never seen; {(run / 'report_test.txt').read_text()}"
    )
    print(f"executed notebooks: {out} and {run / '05_training.ipynb'}")
    print(f"figures of the worst frames, errors, checkpoints: {run}\nnext: make lab")

"""Papermill runs: one folder a training, with all that is needed to trust, repeat and resume it.

runs/<date>-<name>-<short id>/
    parameters.yaml   root, settings, preset      environment.json  versions, git state, data set
    04_training.ipynb the executed notebook       log.txt           what the training printed
    metrics.csv       step, epoch, seconds, name, value             tensorboard/  the same curves
    progress.json     where it is now             checkpoints/      best.ckpt, last.ckpt
    result.json       only of a run that finished: the run is good by this file alone
"""

import dataclasses
import json
import os
import platform
import secrets
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path

import pandas as pd
import yaml

from .settings import HEADLINE, Settings, make_settings

PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOKS = PROJECT / "notebooks"


def project_path(path: str | Path) -> Path:
    """The path itself if absolute or there already, else the same path in the project's folder."""
    path = Path(path)
    return path if path.is_absolute() or path.exists() else PROJECT / path


def runs_dir() -> Path:
    """Where runs are kept: $DIGIT_RUNS, or runs/ of the project."""
    return Path(os.environ.get("DIGIT_RUNS", PROJECT / "runs"))


def find_run(name: str | Path) -> Path:
    """A run by its folder or its name's end, a glob at most; "latest" is the newest good one.

    Raises FileNotFoundError that lists what there is.
    """
    folders = sorted(p.parent for p in runs_dir().glob("*/parameters.yaml"))
    if (Path(name) / "parameters.yaml").exists():
        return Path(name)
    if str(name) == "latest":
        found = [p for p in folders if (p / "result.json").exists()]
        found.sort(key=lambda p: (p / "result.json").stat().st_mtime)
    else:
        found = [p for p in folders if p.match(f"*{name}")]
    if not found:
        there = ", ".join(p.name for p in folders[-5:]) or "none yet: start one with digit train"
        raise FileNotFoundError(f"{runs_dir()}: no run {str(name)!r}; there are: {there}")
    return found[-1]


def create_run(root: Path, preset: str, settings: Settings, name: str = "") -> Path:
    """A new run folder with its parameters and the record of what it was made with."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    run = runs_dir() / f"{stamp}-{name or preset}-{secrets.token_hex(2)}"
    run.mkdir(parents=True)
    content = {"root": str(root.resolve()), "preset": preset}
    content["settings"] = dataclasses.asdict(settings)
    (run / "environment.json").write_text(json.dumps(environment(root), indent=1))
    (run / "parameters.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return run


def open_run(run: str, root: Path, preset: str, overrides: dict) -> Path:
    """The named run, or a new one where `run` is empty."""
    if run:
        return find_run(run)
    return create_run(root, preset, make_settings(preset, overrides))


def parameters(run: Path) -> tuple[Path, Settings]:
    """The data set and the settings of a run."""
    content = yaml.safe_load((run / "parameters.yaml").read_text())
    return Path(content["root"]), Settings(**content["settings"])


def environment(root: Path) -> dict:
    """Versions, git state, machine, and the fingerprint of the data set's annotations."""
    packages = ("torch", "torchvision", "pytorch-lightning", "timm", "numpy", "numba", "lmdb")
    git = {}
    for name, words in (("commit", "rev-parse HEAD"), ("changes", "status --porcelain")):
        command = ["git", "-C", str(PROJECT), *words.split()]
        git[name] = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    sources = {
        str(path.relative_to(root)): json.loads(path.read_text())
        for path in sorted((root / "prepared" / "index").glob("*/sources.json"))
    }
    return {
        "python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count(),
        "packages": {name: metadata.version(name) for name in packages}, "git": git,
        "command": sys.argv, "data": sources, "started": datetime.now().isoformat("T", "seconds"),
    }  # fmt: skip


def execute_notebook(notebook: Path, output: Path, parameters: dict) -> Path:
    """Run a notebook through papermill in the project's folder; `output` is kept if it fails too.

    Raises RuntimeError with the failing cell's error.
    """
    import papermill

    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            notebook,
            output,
            parameters,
            cwd=PROJECT,
            progress_bar=False,
            kernel_name="python3",
            extra_arguments=["--log-level=ERROR"],
        )
    except papermill.exceptions.PapermillExecutionError as error:
        raise RuntimeError(
            f"{output}: cell {error.exec_count} failed: {error.ename}: {error.evalue}"
        ) from error
    return output


def launch(run: Path) -> subprocess.Popen:
    """Start the training of a run as a process of its own, so that no kernel blocks on it."""
    command = [sys.executable, "-m", "digit", "fit", str(run)]
    with (run / "log.txt").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=PROJECT)


def progress(run: Path) -> dict:
    """What the run last said of itself; {} before it says anything."""
    path = run / "progress.json"
    return json.loads(path.read_text()) if path.exists() else {}


def progress_line(run: Path) -> str:
    """Epoch, step, speed, loss, best error and time left in one line."""
    state = progress(run)
    if "seconds" not in state:
        return f"{run.name}: {state.get('state', 'starting')}"
    best = state["best"].get("mpjpe_all")
    left = timedelta(seconds=round(state["seconds_left"] or 0))
    return (
        f"epoch {state['epoch']:.2f} · step {state['step']} · "
        f"{state.get('samples_per_s') or 0:.0f} samples/s · loss {state.get('loss') or 0:.3f} · "
        f"best {f'{best:.1f} mm' if best else '–'} · {left} left"
    )


def wait(process: subprocess.Popen, run: Path, show=print, every_s: float = 2.0) -> None:
    """Show a training's progress until it ends.

    An interrupt is passed on to the training, which saves a checkpoint before it goes. Raises
    RuntimeError, with the last line of its log, when the training did not end well.
    """
    line = ""
    try:
        while process.poll() is None:
            if (new := progress_line(run)) != line:
                show(line := new)
            time.sleep(every_s)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
    if process.returncode:
        last = (run / "log.txt").read_text().strip().splitlines()[-1:] or ["no output"]
        raise RuntimeError(
            f"training ended with status {process.returncode}: {last[0]}\n"
            f"see {run / 'log.txt'}; continue with: digit train --resume {run.name}"
        )


def train(run: Path) -> dict:
    """Execute notebook 04 for a run, new or interrupted, with progress in the terminal."""
    executed = run / "04_training.ipynb"
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(run, done), daemon=True)
    watcher.start()
    try:
        execute_notebook(NOTEBOOKS / "04_training.ipynb", executed, {"run": str(run)})
    finally:
        done.set()
        watcher.join()
    return json.loads((run / "result.json").read_text())


def _watch(run: Path, done: threading.Event) -> None:
    line, live = "", sys.stderr.isatty()
    while not done.wait(1.0 if live else 15.0):
        if (new := progress_line(run)) != line:
            line = new
            print(f"\r\x1b[K{line}" if live else line, end="" if live else "\n", file=sys.stderr)
    if live:
        print(file=sys.stderr)


def list_runs() -> pd.DataFrame:
    """All runs, one row each: state, epoch, best error (mm), wall time (minutes)."""
    rows = []
    for path in sorted(runs_dir().glob("*/parameters.yaml")):
        run, content = path.parent, yaml.safe_load(path.read_text())
        state = progress(run)
        finished = (run / "result.json").exists()
        stale = time.time() - (run / "progress.json").stat().st_mtime > 600 if state else True
        word = "good" if finished else state.get("state", "new")
        rows.append({
            "run": run.name, "state": "dead" if word == "running" and stale else word,
            "preset": content["preset"], "data": Path(content["root"]).name,
            "epoch": state.get("epoch"), "step": state.get("step"),
            "best_mpjpe_mm": (state.get("best") or {}).get("mpjpe_all"),
            "minutes": (state.get("seconds") or 0) / 60,
        })  # fmt: skip
    return pd.DataFrame(rows)


def curves(run: Path) -> pd.DataFrame:
    """metrics.csv as a table: index step, one column a quantity."""
    table = pd.read_csv(run / "metrics.csv")
    return table.pivot_table(index="step", columns="name", values="value", aggfunc="last")


def demo(frames: int, minutes: float) -> None:
    """Data, masks, a trained network, its errors and all notebooks; what is there already is kept.

    Writes data/demo, one run, and figures and executed notebooks into runs/demo/.
    """
    from digit_synth import synthesize

    from .masks import prepare

    start, root, out = time.monotonic(), PROJECT / "data" / "demo", runs_dir() / "demo"

    def say(text: str) -> None:
        print(f"[{time.monotonic() - start:4.0f} s] {text}", flush=True)

    say(f"{frames} synthetic frames → {root}")
    synthesize(root, frames, seed=1)
    say("index, image LMDB, mask LMDB")
    prepare(root)
    for number in ("01_data_inspection", "02_mask_rendering", "03_model_building"):
        _demo_notebook(number, out, {"root": str(root)}, say)
    try:
        run = find_run("-demo-????")
    except FileNotFoundError:
        overrides = {"minutes": minutes, "epochs": 1000}
        run = create_run(root, "quick", make_settings("quick", overrides), "demo")
    if not (run / "result.json").exists():
        say(f"training for {minutes} minutes → {run}")
        train(run)
    for number in ("05_evaluation", "06_error_analysis"):
        _demo_notebook(number, out, {"run": str(run)}, say)
    summary = pd.read_csv(run / "summary_test.csv", index_col=0).reindex(columns=HEADLINE)
    report = (run / "report_test.txt").read_text().splitlines()
    say("done\n\nmm, handedness as a share; test subjects the network has never seen\n")
    print(summary.to_string(float_format="{:.2f}".format, na_rep="–"))
    print("\nprotocol:", next(line for line in report if line.startswith("this: "))[6:])
    print(f"executed notebooks: {out} and {run / '04_training.ipynb'}")
    print(f"figures of the worst frames, errors, checkpoints: {run}\nnext: make lab")


def _demo_notebook(name: str, out: Path, values: dict, say) -> None:
    say(f"notebook {name}")
    execute_notebook(NOTEBOOKS / f"{name}.ipynb", out / f"{name}.ipynb", values)

"""Papermill runs: one folder a training, with all that is needed to trust, repeat and resume it.

runs/<date>-<name>-<short id>/
    parameters.yaml   root, settings, preset      environment.json  versions, git state, data set
    05_training.ipynb the executed notebook       log.txt           what the training printed
    metrics.csv       step, epoch, seconds, name, value             tensorboard/  the same curves
    progress.json     where it is now             checkpoints/      best.ckpt, last.ckpt
    process           who trains it, see `state`  earlier/          notebooks of earlier sessions
    result.json       only of a run that finished: the run is good by this file alone
"""

import contextlib
import fcntl
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path

import pandas as pd
import yaml

from digit.paths import NOTEBOOKS_DIR, runs_dir, workspace_dir
from digit.training.papermill import execute_notebook
from digit.training.settings import Settings, change_run, make_settings

LOSSES = ("loss", "parts", "joints", "relative_root_depth", "hand_type", "bones")


def find_run(name: str | Path) -> Path:
    """A run by its folder or its name's end, a glob at most; "latest" is the newest good one
    that predicts parts, as no bound of an ablation does.

    Raises FileNotFoundError that lists what there is.
    """
    folders = sorted(p.parent for p in runs_dir().glob("*/parameters.yaml"))
    if (Path(name) / "parameters.yaml").exists():
        return Path(name).resolve()
    if str(name) == "latest":
        found = [p for p in folders if (p / "result.json").exists()]
        found = [p for p in found if parameters(p)[1].parts == "predicted"]
        found.sort(key=lambda p: (p / "result.json").stat().st_mtime)
    else:
        found = [p for p in folders if p.match(f"*{name}")]
    if not found:
        there = (
            ", ".join(p.name for p in folders[-5:])
            or "none yet: start one with digit train"
        )
        raise FileNotFoundError(
            f"{runs_dir()}: no run {str(name)!r}; there are: {there}"
        )
    return found[-1]


def create_run(root: Path, preset: str, settings: Settings, name: str = "") -> Path:
    """A new run folder with its parameters and the record of what it was made with."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    run = runs_dir() / f"{stamp}-{name or preset}-{secrets.token_hex(2)}"
    run.mkdir(parents=True)
    content = {
        "root": str(root.resolve()),
        "preset": preset,
        "settings": vars(settings),
    }
    (run / "environment.json").write_text(
        json.dumps(environment(root, settings), indent=1)
    )
    (run / "parameters.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return run


def open_run(run: str, root: Path, preset: str, overrides: dict) -> Path:
    """The named run, or a new one where `run` is empty."""
    return (
        find_run(run)
        if run
        else create_run(root, preset, make_settings(preset, overrides))
    )


def parameters(run: Path) -> tuple[Path, Settings]:
    """The data set and the settings of a run."""
    content = yaml.safe_load((run / "parameters.yaml").read_text())
    return Path(content["root"]), Settings(**content["settings"])


def fingerprints(root: Path, settings: Settings) -> dict[str, str]:
    """Of the labels and fits of the splits that a run learns from and is judged by."""
    from digit.data.index import open_index

    splits = (settings.train_split, settings.val_split)
    return {split: open_index(root, split).fingerprint for split in splits}


def environment(root: Path, settings: Settings) -> dict:
    """Versions, git state, machine, seed, and the fingerprint of the annotations."""
    packages = (
        "torch",
        "torchvision",
        "pytorch-lightning",
        "timm",
        "numpy",
        "numba",
        "lmdb",
    )
    git = {}
    for name, words in (
        ("commit", "rev-parse HEAD"),
        ("changes", "status --porcelain"),
    ):
        command = ["git", "-C", str(workspace_dir()), *words.split()]
        git[name] = subprocess.run(
            command, capture_output=True, text=True, check=False
        ).stdout
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": {name: metadata.version(name) for name in packages},
        "git": git,
        "command": sys.argv,
        "data": fingerprints(root, settings),
        "seed": settings.seed,
        "started": datetime.now().isoformat("T", "seconds"),
    }


@contextlib.contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Hold a run while this process trains it; the file `process` says how that ended.

    The lock on it goes with the process however that dies, and is not the loader workers'. Raises
    ValueError where another process trains the run.
    """
    if any(
        int(os.environ.get(f"{n}RANK", 0)) for n in ("", "LOCAL_", "NODE_", "GROUP_")
    ):
        yield  # the first process speaks for all
        return
    with (run / "process").open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{run.name} is being trained already: see digit runs"
            ) from None

        def say(word: str) -> None:
            file.truncate(0)
            print(word, os.getpid(), socket.gethostname(), file=file, flush=True)

        say("running")
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # until the training's own
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            say("stopped")
            raise
        say("ended")


def trainer(run: Path) -> int | None:
    """The number of the process that trains the run; None where none does."""
    with contextlib.suppress(FileNotFoundError), (run / "process").open() as file:
        word, *process = file.read().split() or [""]
        try:
            if (
                word == "running"
            ):  # else not even asking for the lock, which would be in the way
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(process[0])
    return None


def state(run: Path) -> str:
    """new, running, finished, or what to resume: stopped by a signal, failed (or killed)."""
    if (run / "result.json").exists() or trainer(run):
        return "finished" if (run / "result.json").exists() else "running"
    if not (run / "process").exists():
        return "new"
    return (
        "stopped" if (run / "process").read_text().startswith("stopped") else "failed"
    )


def _refuse_running(run: Path) -> None:
    if process := trainer(run):
        raise ValueError(f"{run.name} is being trained already, by process {process}")


def change(run: Path, overrides: dict[str, object]) -> None:
    """Change settings of a run at rest, see `change_run`; a finished one is then to be resumed.

    Raises ValueError for a run that is being trained, and what `change_run` raises.
    """
    _refuse_running(run)
    change_run(run, overrides)
    for name in ("result.json", "errors_test.npz"):
        (run / name).unlink(missing_ok=True)


def launch(run: Path) -> subprocess.Popen | None:
    """Start the training of a run as a process of its own, so that no kernel blocks on it.

    None where it is running already: a kernel that was restarted watches it further.
    """
    if trainer(run):
        return None
    command = [sys.executable, "-m", "digit", "fit", str(run)]
    with (run / "log.txt").open("a") as log:
        output = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = subprocess.Popen(command, cwd=workspace_dir(), **output)
    (run / "launcher").write_text(f"{process.pid} {socket.gethostname()}")
    while process.poll() is None and not trainer(run):
        time.sleep(0.05)
    return process


def stop(run: Path) -> None:
    """End the training of a run, if there is one, and wait until it has saved its checkpoint.

    Of several machines the first process may be on another: then torchrun or srun, started here,
    passes the signal on. Raises ValueError where nothing of the run is on this machine.
    """
    if trainer(run):
        process = _process_here(run / "process") or _process_here(run / "launcher")
        if process:
            os.kill(process, signal.SIGTERM)
        elif trainer(run):  # that is, it has not ended meanwhile
            raise ValueError(
                f"{run.name} is being trained on another machine: stop it there"
            )
    while trainer(run):
        time.sleep(0.1)


def _process_here(path: Path) -> int | None:
    """The process that a file names, if it is one of this machine."""
    words = path.read_text().split() if path.exists() else []
    return int(words[-2]) if words[-1:] == [socket.gethostname()] else None


def progress(run: Path) -> dict:
    """What the run last said of itself; {} before it says anything."""
    path = run / "progress.json"
    return json.loads(path.read_text()) if path.exists() else {}


def progress_line(run: Path) -> str:
    """Epoch, step, speed, best error, time left and losses in one line."""
    said = progress(run)
    if "seconds" not in said:
        return f"{run.name}: starting"
    left, best = round(said["seconds_left"] or 0), said["best"].get("mpjpe_all")
    best = f"{best:.1f} mm" if best else "–"
    losses = [
        f"{name} {said[name]:.2f}" for name in LOSSES if said.get(name) is not None
    ]
    return (
        f"epoch {said['epoch']:.2f} · step {said['step']}/{said['steps']} · "
        f"{said.get('samples_per_s') or 0:.0f} samples/s · best {best} · "
        f"{timedelta(seconds=left)} left · {', '.join(losses)}"
    )


def wait(
    process: subprocess.Popen | None, run: Path, show=print, every_s: float = 2.0
) -> None:
    """Show a training's progress until it ends.

    An interrupt is passed on to the training, which saves a checkpoint before it goes. Raises
    RuntimeError, with the last line of its log, when the training did not end well.
    """
    line = ""
    try:
        while trainer(run) if process is None else process.poll() is None:
            if (new := progress_line(run)) != line:
                show(line := new)
            time.sleep(every_s)
    except KeyboardInterrupt:
        stop(run)
    show(progress_line(run))
    if not (run / "result.json").exists():
        log = (run / "log.txt").read_text().strip().splitlines()[-50:] or ["no output"]
        said = [
            line for line in log if line.startswith("digit: ")
        ]  # torchrun has its say after
        status = "" if process is None else f" with status {process.wait()}"
        raise RuntimeError(
            f"training ended{status}: {(said or log)[-1]}\n"
            f"see {run / 'log.txt'}; continue with: digit train --resume {run.name}"
        )


def train(run: Path, note: Callable[[], str] = str) -> dict:
    """Execute notebook 05 for a run, new or interrupted; its progress in the terminal after `note`.

    An interrupt or SIGTERM ends the training with a checkpoint. The notebook and the environment
    of earlier sessions are kept in `earlier/`. Raises ValueError for a run that is being trained,
    or whose data set is not what it was, RuntimeError for a training that did not end well.
    """
    root, settings = parameters(run)
    executed, record = run / "05_training.ipynb", run / "environment.json"
    _refuse_running(run)
    now, then = environment(root, settings), json.loads(record.read_text())["data"]
    for split, labels in now["data"].items():
        if then.get(split, labels) != labels:
            raise ValueError(
                f"{root}: {split} has changed since {run.name} began: start a new run"
            )
    if executed.exists():
        earlier = run / "earlier" / str(1 + sum(1 for _ in run.glob("earlier/*")))
        earlier.mkdir(parents=True)
        for path in (executed, record):
            path.rename(earlier / path.name)
        record.write_text(json.dumps(now, indent=1))
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(run, done, note), daemon=True)
    watcher.start()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        execute_notebook(NOTEBOOKS_DIR / executed.name, executed, {"run": str(run)})
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; go on with digit train --resume {run.name}"
        ) from None
    finally:
        stop(run)
        signal.signal(signal.SIGTERM, before)
        done.set()
        watcher.join()
    return json.loads((run / "result.json").read_text())


def _watch(run: Path, done: threading.Event, note: Callable[[], str]) -> None:
    line, live = "", sys.stderr.isatty()
    while not done.wait(1.0 if live else 15.0):
        if (new := note() + progress_line(run)) != line:
            line = new[: shutil.get_terminal_size().columns - 1] if live else new
            print(
                f"\r\x1b[K{line}" if live else line,
                end="" if live else "\n",
                file=sys.stderr,
            )
    if live:
        print(file=sys.stderr)


def list_runs() -> pd.DataFrame:
    """All runs, one row each: state, epoch, best error (mm), wall time (minutes)."""
    rows = []
    for path in sorted(runs_dir().glob("*/parameters.yaml")):
        run, content, said = (
            path.parent,
            yaml.safe_load(path.read_text()),
            progress(path.parent),
        )
        rows.append(
            {
                "run": run.name,
                "state": state(run),
                "preset": content["preset"],
                "data": Path(content["root"]).name,
                "epoch": said.get("epoch"),
                "step": said.get("step"),
                "best_mpjpe_mm": (said.get("best") or {}).get("mpjpe_all"),
                "minutes": (said.get("seconds") or 0) / 60,
            }
        )
    return pd.DataFrame(rows)


def curves(run: Path) -> pd.DataFrame:
    """metrics.csv as a table: index step, one column a quantity."""
    table = pd.read_csv(run / "metrics.csv")
    return table.pivot_table(
        index="step", columns="name", values="value", aggfunc="last"
    )

"""`digit train`: notebook 05, executed for a run through papermill.

The notebook starts the training as a process of its own and waits for it; here its
progress is shown in the terminal, and whatever ends this command ends the training too,
with a checkpoint.
"""

import contextlib
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from digit.files import write_json, write_text
from digit.paths import NOTEBOOKS_DIR
from digit.training.papermill import execute_notebook
from digit.training.runs.folder import (
    ENVIRONMENT_FILE,
    check_labels,
    environment,
    parameters,
)
from digit.training.runs.process import LAUNCHER_FILE, session, stop
from digit.training.runs.progress import progress_line, result

NOTEBOOK = "05_training.ipynb"
LIVE_EVERY_S = 1.0  # in a terminal, where the line is rewritten in place
LOG_EVERY_S = 15.0  # elsewhere, a line each


def train(run: Path, note: Callable[[], str] = str) -> dict:
    """Train a run, new or interrupted, through notebook 05.

    An interrupt or SIGTERM ends the training with a checkpoint. The notebook and the
    environment of earlier sessions are kept in `earlier/`.

    Args:
        run: The run's folder.
        note: Gives what stands before the progress in the terminal.

    Returns:
        The content of result.json.

    Raises:
        ValueError: If the run is being trained already, or its labels have changed.
        RuntimeError: If the training did not end well.
        KeyboardInterrupt: If it was stopped; the message says how to go on.
    """
    with session(run):
        # 1. The data must be what they were; the record of earlier sessions is kept.
        dataset_dir, settings = parameters(run)
        now = environment(dataset_dir, settings)
        check_labels(run, now["data"], dataset_dir)
        executed = executed_notebook(run)
        if executed is not None:
            keep_earlier_session(run, executed, now)

        # 2. The notebook, which trains.
        (run / LAUNCHER_FILE).unlink(missing_ok=True)
        hint = f"continue with: digit train --resume {run.name}"
        with _sigterm_interrupts(), _progress_shown(run, note):
            try:
                execute_notebook(
                    NOTEBOOKS_DIR / NOTEBOOK, run / NOTEBOOK, {"run": str(run)}
                )
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"stopped; {hint}") from None
            except RuntimeError as error:
                if "--resume" in str(error):
                    raise
                raise RuntimeError(f"{error}; {hint}") from error
            finally:
                # Nothing but the notebook can have launched it in this session.
                if (run / LAUNCHER_FILE).exists():
                    stop(run)
    return result(run)


def executed_notebook(run: Path) -> Path | None:
    """The notebook of the last session; its number was another one in older versions."""
    found = sorted(run.glob("*_training.ipynb"))
    return found[-1] if found else None


def keep_earlier_session(run: Path, executed: Path, now: dict) -> None:
    """Move notebook and environment of the last session to `earlier/<number>/`.

    The new environment is written before the old one is given up, so that a full disk
    loses nothing.
    """
    folder = run / "earlier"
    number = 1
    while (folder / str(number)).exists():
        number += 1
    folder = folder / str(number)
    folder.mkdir(parents=True)
    with contextlib.suppress(FileNotFoundError):
        text = (run / ENVIRONMENT_FILE).read_text(errors="replace")
        write_text(folder / ENVIRONMENT_FILE, text)
    write_json(run / ENVIRONMENT_FILE, now)
    executed.rename(folder / executed.name)


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Within the block, SIGTERM is a KeyboardInterrupt."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _progress_shown(run: Path, note: Callable[[], str]) -> Iterator[None]:
    """Within the block, the run's progress is shown on standard error."""
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(run, done, note), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(run: Path, done: threading.Event, note: Callable[[], str]) -> None:
    """Show each new line of progress until `done` is set."""
    live = sys.stderr.isatty()
    line = ""
    while not done.wait(LIVE_EVERY_S if live else LOG_EVERY_S):
        new = note() + progress_line(run)
        if new == line:
            continue
        line = new
        if live:
            columns = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{line[:columns]}", end="", file=sys.stderr)
        else:
            print(line, file=sys.stderr)
    if live:
        print(file=sys.stderr)

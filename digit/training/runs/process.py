"""Which process trains a run: claimed, asked for, started and stopped.

A training holds a lock on its run as long as its process lives, however that ends; the
file `process` says what became of it. `digit train` holds another, so that two of them
never work on one run. Signals between processes work on Linux and macOS.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import psutil

from digit.files import LOCK_HINT, write_text
from digit.paths import workspace_dir
from digit.training.distributed import is_first_process
from digit.training.runs.progress import progress_line

PROCESS_FILE = "process"  # "<state> <process number> <host>" of the training
LAUNCHER_FILE = (
    "launcher"  # "<process number> <host> <start time>" of what `launch` started
)
PROCESS_LOCK = "process.lock"
SESSION_LOCK = "session.lock"

# The run that the `digit train` around this process works on.
SESSION_VARIABLE = "DIGIT_SESSION"

# Others look for an instant whether a lock is held, which must not look like a claim.
CLAIM_WAIT_S = 2.0

# How long a training may take to stop: the grace that `digit.training.signals` gives a
# step, and time to save. Then it is killed; its last checkpoint is whole.
STOP_LIMIT_S = 240.0
LOG_LINES = 50  # searched for the error of a training that failed


@contextlib.contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Hold a run while this process trains it; the file `process` says how that ended.

    Raises:
        ValueError: If another process trains the run.
        OSError: If the file system has no locks.
    """
    if not is_first_process():
        yield  # the first process claims for all of them
        return
    with _locked(run / PROCESS_LOCK, run):
        _record(run, "running")
        # Until the training takes the signals itself.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            _record(run, "stopped")
            raise
        _record(run, "ended")


@contextlib.contextmanager
def session(run: Path) -> Iterator[None]:
    """Hold a run while `digit train` works on it, from its first line to its last.

    Raises:
        ValueError: If the run is being trained already.
        OSError: If the file system has no locks.
    """
    with _locked(run / SESSION_LOCK, run):
        refuse_running(run)
        before = os.environ.get(SESSION_VARIABLE, "")
        os.environ[SESSION_VARIABLE] = str(run.resolve())
        try:
            yield
        finally:
            os.environ[SESSION_VARIABLE] = before


def trainer(run: Path) -> int | None:
    """The number of the process that trains a run; None where none does."""
    state, number, _ = _read_process_file(run)
    # Otherwise not even asking for the lock, which would be in the way of a claim.
    if state == "running" and _is_locked(run / PROCESS_LOCK, number):
        return number
    return None


def state(run: Path) -> str:
    """How a run stands.

    Returns:
        "new", "running" or "finished", or what can be resumed: "stopped" (by a signal)
        or "failed" (an error, or killed).
    """
    if (run / "result.json").exists():
        return "finished"
    if trainer(run):
        return "running"
    if not (run / PROCESS_FILE).exists():
        return "new"
    word, _, _ = _read_process_file(run)
    return "stopped" if word == "stopped" else "failed"


def refuse_running(run: Path) -> None:
    """Raise ValueError where a run is being trained."""
    process = trainer(run)
    if process:
        raise ValueError(f"{run.name} is being trained already, by process {process}")


def launch(run: Path) -> subprocess.Popen | None:
    """Start the training of a run as a process of its own, so that no kernel blocks on it.

    Returns:
        The process; None where the run is being trained already: a kernel that was
        restarted goes on watching it.

    Raises:
        ValueError: If a `digit train` other than the one around this process has the
            run.
    """
    if trainer(run):
        return None
    is_ours = os.environ.get(SESSION_VARIABLE) == str(run.resolve())
    if not is_ours and _is_locked(run / SESSION_LOCK, None):
        raise ValueError(f"{run.name} is being trained already: see digit runs")

    # 1. Start it, its output in the log; signals to this process' group do not reach
    # it.
    command = [sys.executable, "-m", "digit", "fit", str(run)]
    with (run / "log.txt").open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=workspace_dir(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = psutil.Process(process.pid).create_time()
    record = f"{process.pid} {socket.gethostname()} {started}"
    write_text(run / LAUNCHER_FILE, record)

    # 2. Wait until it has claimed the run, or ended.
    while process.poll() is None and not trainer(run):
        time.sleep(0.05)
    return process


def stop(run: Path, limit_s: float = STOP_LIMIT_S) -> None:
    """End the training of a run, if there is one, and wait until it has saved a checkpoint.

    Args:
        run: The run's folder.
        limit_s: How long to wait; then the training is killed.

    Raises:
        ValueError: If it is trained on another machine, and was not started from here.
    """
    # Of several machines, the first process may be on another: then what was launched
    # here (torchrun or srun) passes the signal on. What has not claimed the run yet
    # counts too.
    process = _training_process(run) or _launched_process(run)
    if process is None:
        if trainer(run):
            raise ValueError(
                f"{run.name} is being trained on another machine: stop it there"
            )
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)

    end = time.monotonic() + limit_s
    while trainer(run) or _launched_process(run):
        if time.monotonic() > end:
            _kill(run)
            return
        time.sleep(0.1)


def wait(
    process: subprocess.Popen | None,
    run: Path,
    show: Callable[[str], object] = print,
    every_s: float = 2.0,
) -> None:
    """Show a training's progress until it ends.

    An interrupt is passed on to the training, which saves a checkpoint before it goes.

    Args:
        process: What `launch` returned.
        run: The run's folder.
        show: Called with each new line.
        every_s: How often to look.

    Raises:
        RuntimeError: If the training did not end well; with the last line of its log.
    """
    # 1. While it runs, show what is new.
    line = ""
    try:
        while trainer(run) if process is None else process.poll() is None:
            new = progress_line(run)
            if new != line:
                show(new)
                line = new
            time.sleep(every_s)
    except KeyboardInterrupt:
        stop(run)

    # 2. How it ended.
    show(progress_line(run))
    if not (run / "result.json").exists():
        status = "" if process is None else f" with status {process.wait()}"
        hint = f"continue with: digit train --resume {run.name}"
        raise RuntimeError(
            f"training ended{status}: {_last_error(run)}\nsee {run / 'log.txt'}; {hint}"
        )


def _last_error(run: Path) -> str:
    """The line of the log that says why a training ended."""
    text = (run / "log.txt").read_text(errors="replace")
    lines = text.strip().splitlines()[-LOG_LINES:]
    if not lines:
        return "no output"
    # What torchrun says after it tells less.
    errors = [line for line in lines if line.startswith("digit: ")]
    return (errors or lines)[-1]


@contextlib.contextmanager
def _locked(path: Path, run: Path) -> Iterator[None]:
    """Hold a lock file; it is given back by the operating system where the process dies.

    filelock closes it in forked processes, so that loader workers do not hold it.
    """
    lock = filelock.FileLock(path, timeout=CLAIM_WAIT_S)
    try:
        lock.acquire()
    except filelock.Timeout:
        message = f"{run.name} is being trained already: see digit runs"
        raise ValueError(message) from None
    except (OSError, NotImplementedError) as error:
        raise OSError(f"{path}: cannot be locked ({error}); {LOCK_HINT}") from None
    try:
        yield
    finally:
        lock.release()


def _is_locked(path: Path, process: int | None) -> bool:
    """Whether another process holds a lock file.

    Args:
        path: The lock file.
        process: The process that is believed to hold it; asked after where this user
            may not open the file.
    """
    if not path.exists():
        return False
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):
        return process is not None and psutil.pid_exists(process)
    lock.release()
    return False


def _record(run: Path, state: str) -> None:
    """Write the file `process`."""
    write_text(run / PROCESS_FILE, f"{state} {os.getpid()} {socket.gethostname()}\n")


def _read_process_file(run: Path) -> tuple[str, int | None, str]:
    """State, process number and host of the file `process`; "", None, "" where unreadable."""
    try:
        words = (run / PROCESS_FILE).read_text(errors="replace").split()
        state, number, host = words
        return state, int(number), host
    except (OSError, ValueError):
        return "", None, ""


def _training_process(run: Path) -> psutil.Process | None:
    """The process that trains a run, if it is one of this machine."""
    number = trainer(run)
    _, _, host = _read_process_file(run)
    if number is None or host != socket.gethostname():
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(number)
    return None


def _launched_process(run: Path) -> psutil.Process | None:
    """The process that `launch` started for a run, if it is on this machine and alive."""
    try:
        words = (run / LAUNCHER_FILE).read_text(errors="replace").split()
        number, host, started = words
        if host != socket.gethostname():
            return None
        process = psutil.Process(int(number))
        # Another process may have got the same number since.
        is_the_same = abs(process.create_time() - float(started)) < 1
        is_alive = process.status() != psutil.STATUS_ZOMBIE
        return process if is_the_same and is_alive else None
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None


def _kill(run: Path) -> None:
    """Kill the training of a run with its loader workers, and say so."""
    print(f"{run.name}: did not stop in time and is killed; its last checkpoint stays")
    for process in (_training_process(run), _launched_process(run)):
        if process is None:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()

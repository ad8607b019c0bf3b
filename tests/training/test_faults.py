"""What may befall a training: it ends with one clear line and a checkpoint, and can be resumed.

Each run is a process of its own, forked off a server that has imported everything already. The
faults happen at definite points (a batch, a file that is replaced), not after a time.
"""

import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from digit.cli import main
from digit.model.checkpoints import load_network
from digit.training import runs, signals
from digit.training.loop import train_run
from digit.training.settings import make_settings

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["digit.training.loop", "digit.training.runs", "torch.utils.tensorboard"]
)
CALM = {
    "steps": 8,
    "batch_size": 4,
    "workers": 0,
    "log_every": 2,
    "evaluate_every": 1000,
    "val_frames": 4,
    "checkpoint_every": 2,
    "ema": 0.9,
}
LIMIT_S = 3600  # for a training that hangs; no outcome depends on it


# In the process of the run.


def _fit(run: Path, fault: str, number: int) -> None:
    """`digit fit RUN` in this process, its output in the log, with a fault."""
    os.setpgid(0, 0)
    with (run / "log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    if fault == "compiled":
        # A backend that does nothing wraps the network all the same.
        torch.compile = partial(torch.compile, backend="eager")
    elif fault in KILLS:
        _kill_at(fault, number)
    elif fault:
        _at_batch(number, FAULTS[fault])
    sys.exit(main(["fit", str(run)]))


def _at_batch(number: int, fault) -> None:
    """Call `fault` when the loss of a batch (counted from 1) is computed."""
    from digit.training import module

    losses = module.losses
    batches = iter(range(1, 1000))

    def faulty(*arguments, **options):
        terms = losses(*arguments, **options)
        if next(batches) == number:
            return fault(terms) or terms
        return terms

    module.losses = faulty


def _kill_at(place: str, number: int) -> None:
    """End this process without a warning at the n-th call of a function that writes."""
    owner, name, after = KILLS[place]
    function = getattr(owner, name)
    calls = iter(range(1, 1000))

    def killed(*arguments, **options):
        is_the_one = next(calls) == number
        if is_the_one and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if is_the_one:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, killed)


# Where a run is killed: a function, and whether before or after its work.
KILLS = {
    "before a file is replaced": (os, "replace", False),
    "after a file is replaced": (os, "replace", True),
    "before a checkpoint is written": (torch, "save", False),
    "after a checkpoint is written": (torch, "save", True),
}


def _out_of_memory(_terms) -> None:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"
    )


def _nan(terms) -> dict:
    return {name: term * float("nan") for name, term in terms.items()}


def _signal(signal_number: int, _terms) -> None:
    """To the whole group and twice, as Ctrl-C and launchers send it."""
    os.killpg(os.getpgid(0), signal_number)
    os.kill(os.getpid(), signal.SIGTERM)


def _kill_worker(_terms) -> None:
    [worker] = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)


def _signal_and_kill_worker(terms) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    _kill_worker(terms)


def _full_disk(_terms) -> None:
    """Writes beyond a size are refused from now on, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


def _hang(_terms) -> None:
    """Never come back from a step, after a signal; its grace is over at once."""
    set_alarm = signals.StopRequest._set_alarm
    signals.StopRequest._set_alarm = lambda stop, s: set_alarm(stop, min(s, 0.1))
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()


FAULTS = {
    "memory": _out_of_memory,
    "nan": _nan,
    "SIGTERM": partial(_signal, signal.SIGTERM),
    "SIGINT": partial(_signal, signal.SIGINT),
    "SIGUSR1": partial(_signal, signal.SIGUSR1),
    "dead worker": _kill_worker,
    "signal and dead worker": _signal_and_kill_worker,
    "full disk": _full_disk,
    "hang": _hang,
}


# In the test's process.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where this file's runs are kept."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIGIT_RUNS", str(folder))
        yield folder


def new_run(dataset_dir, name, **more):
    settings = make_settings("quick", {**CALM, **more})
    return runs.create_run(dataset_dir, "quick", settings, name)


def fit(run, fault="", number=0) -> int:
    """The exit status of `digit fit`, with a fault at the n-th batch or file."""
    process = SERVER.Process(target=_fit, args=(run, fault, number))
    process.start()
    process.join(LIMIT_S)
    return process.exitcode


def last_line(run) -> str:
    return (run / "log.txt").read_text().strip().splitlines()[-1]


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def same_weights(run, other):
    a = weights(run)
    b = weights(other)
    moments = [state["optimizer"]["state"][0]["exp_avg"] for state in (a, b)]
    for key in ("state_dict", "ema"):
        for name in a[key]:
            if not torch.equal(a[key][name], b[key][name]):
                return False
    return a["step"] == b["step"] and torch.equal(*moments)


def losses_of(run):
    lines = (run / "metrics.csv").read_text().splitlines()
    return [(row.split(",")[0], row.split(",")[-1]) for row in lines if ",loss," in row]


def checkpoint_names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def calm(tiny_root, folder):
    """A run that nothing befell."""
    run = new_run(tiny_root, "calm")
    assert fit(run) == 0
    return run


def test_killed_run_resumes_bit_identically(calm, tiny_root):
    """SIGKILL while files are written: weights, averages, moments and curve stay the same."""
    run = new_run(tiny_root, "killed")
    for place, number in (
        ("before a checkpoint is written", 1),
        ("after a checkpoint is written", 2),
        ("before a file is replaced", 9),
        ("after a file is replaced", 5),
        ("after a file is replaced", 6),
    ):
        assert fit(run, place, number) == -signal.SIGKILL, place
    assert not (run / "result.json").exists()
    assert runs.state(run) == "failed"
    assert fit(run) == 0
    assert same_weights(run, calm)
    assert losses_of(run) == losses_of(calm)
    assert checkpoint_names(run) == ["best.ckpt", "last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signal_leaves_a_checkpoint(name, calm, tiny_root):
    """To the whole group: loader workers take no harm."""
    run = new_run(tiny_root, "signal", checkpoint_every=1000, workers=1, log_every=1)
    assert fit(run, name, 3) == 130
    assert weights(run)["step"] == 3
    assert "stopped at step 3 of 8" in last_line(run)
    assert runs.progress(run)["state"] == "stopped"
    assert runs.progress(run)["loss"] > 0
    assert fit(run) == 0
    assert same_weights(run, calm)


def test_signal_interrupts_a_step_that_hangs(calm, tiny_root):
    run = new_run(tiny_root, "hang", checkpoint_every=1000)
    assert fit(run, "hang", 5) == 130
    assert "stopped at step 4 of 8" in last_line(run)
    assert weights(run)["step"] == 4
    assert fit(run) == 0
    assert same_weights(run, calm)


def test_out_of_memory_saves_the_last_whole_step(calm, tiny_root):
    run = new_run(tiny_root, "memory", checkpoint_every=1000)
    assert fit(run, "memory", 5) == 1
    line = last_line(run)
    assert "out of memory (step 5: CUDA out of memory" in line
    assert "checkpoint of step 4" in line
    remedy = line.split("digit train ")[1].split()
    assert remedy == ["--resume", run.name, "--set", "accumulate=2"]
    assert runs.progress(run)["error"] in line
    assert runs.progress(run)["state"] == "failed"
    assert weights(run)["step"] == 4
    assert fit(run) == 0
    assert same_weights(run, calm)


def test_nan_keeps_the_last_good_checkpoint(calm, tiny_root):
    run = new_run(tiny_root, "nan")
    assert fit(run, "nan", 5) == 1
    assert "the loss is not finite" in last_line(run)
    assert "checkpoint of step 4" in last_line(run)
    assert all(
        tensor.isfinite().all() for tensor in weights(run)["state_dict"].values()
    )
    assert fit(run) == 0
    assert same_weights(run, calm)


def test_weights_that_are_not_finite_are_not_saved(tiny_root, folder, capsys):
    """The step's own loss was finite. The remedy in the message is a command."""
    run = new_run(
        tiny_root, "remedy", learning_rate=1e30, clip_norm=0, warmup=0, steps=2, ema=0
    )
    message = r"the loss is not finite.*no checkpoint yet"
    with pytest.raises(RuntimeError, match=message) as error:
        train_run(run)
    remedy = str(error.value).split("digit ")[1].split()
    assert remedy == ["train", "--resume", run.name, "--set", "learning_rate=3e+29"]
    assert main([*remedy[:-1], "learning_rate=1e-4", "seed=2"]) == 2
    assert "--set seed: fixed once a run has begun" in capsys.readouterr().err

    runs.change(run, {"learning_rate": "1e-4"})
    assert train_run(run)["steps"] == 2
    record = (run / "parameters.yaml").read_text()
    assert "former_settings" in record and "1.0e+30" in record
    assert runs.parameters(run)[1].learning_rate == 1e-4


def test_dead_loader_worker_is_named(calm, tiny_root):
    run = new_run(tiny_root, "worker", workers=1, checkpoint_every=1000, log_every=1)
    assert fit(run, "dead worker", 4) == 1
    assert "a loader worker died" in last_line(run)
    assert "--set workers=0" in last_line(run)
    assert weights(run)["step"] >= 3
    assert fit(run) == 0
    assert same_weights(run, calm)


def test_worker_killed_by_the_signal_is_no_failure(calm, tiny_root):
    """One that starts in that moment cannot leave the signal to the main process yet."""
    run = new_run(tiny_root, "both", workers=1, checkpoint_every=1000, log_every=1)
    assert fit(run, "signal and dead worker", 3) == 130
    assert runs.progress(run)["state"] == "stopped"
    assert "stopped at step" in last_line(run)
    assert fit(run) == 0
    assert same_weights(run, calm)


def test_full_disk_keeps_the_last_good_checkpoint(calm, tiny_root):
    run = new_run(tiny_root, "full", log_every=1)
    assert fit(run, "full disk", 4) == 1
    assert "the disk is full: make room" in last_line(run)
    assert weights(run)["step"] == 2
    assert checkpoint_names(run) == ["last.ckpt"]
    assert fit(run) == 0
    assert same_weights(run, calm)
    assert json.loads((run / "result.json").read_text())["steps"] == 8


def test_compiled_run_leaves_a_plain_checkpoint(calm, tiny_root):
    """Not in this process: the shape checks of the tests cannot be compiled."""
    run = new_run(tiny_root, "compiled", compile=True)
    assert fit(run, "compiled") == 0
    names = load_network(run / "checkpoints" / "best.ckpt").state_dict().keys()
    assert names == load_network(calm / "checkpoints" / "best.ckpt").state_dict().keys()
    assert weights(run)["state_dict"].keys() == weights(calm)["state_dict"].keys()
    np.testing.assert_allclose(
        [float(value) for _, value in losses_of(run)],
        [float(value) for _, value in losses_of(calm)],
        rtol=0.02,
    )

"""What may befall a run: it ends with a clear line and a checkpoint, and resumes as if nothing was.

Each run is a process of its own, forked off a server that has imported everything already.
"""

import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from digit.cli import main
from digit.model.checkpoints import load_network
from digit.training import runs
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


def _fit(run: Path, fault: str = "") -> None:
    """`digit fit RUN` in this process, its output in the log; or with a fault at step 5."""
    os.setpgid(0, 0)
    with (run / "log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    if fault:
        _inject(fault)
    sys.exit(main(["fit", str(run)]))


def _inject(fault: str) -> None:
    from digit.training import loop

    if (
        fault == "compiled"
    ):  # a backend that does nothing: it wraps the network all the same
        torch.compile = partial(torch.compile, backend="eager")
        return
    losses, calls = loop.losses, iter(range(1, 1000))

    def faulty(*given, **options):
        if next(calls) != 5:
            return losses(*given, **options)
        if fault == "memory":
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"
            )
        return {
            name: term * float("nan")
            for name, term in losses(*given, **options).items()
        }

    loop.losses = faulty


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where this file's runs are kept."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIGIT_RUNS", str(folder))
        yield folder


def new_run(root, name, **more):
    return runs.create_run(
        root, "quick", make_settings("quick", {**CALM, **more}), name
    )


def start(run, fault=""):
    process = SERVER.Process(target=_fit, args=(run, fault))
    process.start()
    return process


def wait_for(process, condition, limit_s=240):
    end = time.monotonic() + limit_s
    while not condition():
        assert process.exitcode is None, f"ended with {process.exitcode}"
        assert time.monotonic() < end, "the run makes no progress"
        time.sleep(0.01)


def wait_for_step(run, process, step):
    wait_for(process, lambda: runs.progress(run).get("step", 0) >= step)


def status(process) -> int:
    process.join(240)
    return process.exitcode


def last_line(run) -> str:
    return (run / "log.txt").read_text().strip().splitlines()[-1]


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def same_weights(run, other):
    a, b = weights(run), weights(other)
    moments = [state["optimizer"]["state"][0]["exp_avg"] for state in (a, b)]
    tensors = all(
        torch.equal(a[key][k], b[key][k])
        for key in ("state_dict", "ema")
        for k in a[key]
    )
    return a["step"] == b["step"] and tensors and torch.equal(*moments)


def losses_of(run):
    lines = (run / "metrics.csv").read_text().splitlines()
    return [(row.split(",")[0], row.split(",")[-1]) for row in lines if ",loss," in row]


@pytest.fixture(scope="module")
def calm(tiny_root, folder):
    """A run that nothing befell."""
    run = new_run(tiny_root, "calm")
    assert status(start(run)) == 0
    return run


def test_killed_five_times_and_resumed_is_bit_identical(calm, tiny_root):
    """SIGKILL at random moments: weights, averages, moments and curve of an undisturbed run."""
    hurt, rng = new_run(tiny_root, "hurt"), np.random.default_rng(2)
    for kill in range(5):
        process = start(hurt)
        wait_for_step(
            hurt, process, int(rng.integers(2 * (kill // 2), 2 * (kill // 2) + 3))
        )
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        assert status(process) == -signal.SIGKILL
    assert not (hurt / "result.json").exists()
    assert status(start(hurt)) == 0
    assert same_weights(hurt, calm) and losses_of(hurt) == losses_of(calm)
    assert {p.name for p in (hurt / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_leaves_a_checkpoint_and_a_clear_line(number, calm, tiny_root):
    """To the whole group, twice, as Ctrl-C and launchers send it: loader workers take no harm."""
    run = new_run(
        tiny_root, "term", steps=8, checkpoint_every=1000, workers=1, log_every=1
    )
    process = start(run)
    wait_for_step(run, process, 2)
    os.killpg(process.pid, number)
    process.terminate()
    assert status(process) == 130
    step = weights(run)["step"]
    assert 2 <= step < 8 and f"stopped at step {step} of 8" in last_line(run)
    assert runs.progress(run)["state"] == "stopped" and runs.progress(run)["loss"] > 0
    assert status(start(run)) == 0 and same_weights(run, calm)


def test_out_of_memory_is_named_and_the_last_whole_step_saved(calm, tiny_root):
    run = new_run(tiny_root, "memory", checkpoint_every=1000)
    assert status(start(run, "memory")) == 1
    said = last_line(run)
    assert (
        "out of memory (step 5: CUDA out of memory" in said
        and "checkpoint of step 4" in said
    )
    cure = said.split("digit train ")[1].split()
    assert cure == ["--resume", run.name, "--set", "accumulate=2"]
    assert (
        runs.progress(run)["error"] in said and runs.progress(run)["state"] == "failed"
    )
    assert weights(run)["step"] == 4
    assert status(start(run)) == 0 and same_weights(run, calm)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(calm, tiny_root):
    run = new_run(tiny_root, "nan")
    assert status(start(run, "nan")) == 1
    said = last_line(run)
    assert "the loss is not finite" in said and "checkpoint of step 4" in said
    assert all(v.isfinite().all() for v in weights(run)["state_dict"].values())
    assert status(start(run)) == 0 and same_weights(run, calm)


def test_the_cure_is_a_command_and_the_record_keeps_what_was_changed(tiny_root, capsys):
    """Weights spoilt in a step whose own loss was finite are not saved over the good ones."""
    run = new_run(
        tiny_root, "cure", learning_rate=1e30, clip_norm=0, warmup=0, steps=2, ema=0
    )
    with pytest.raises(
        RuntimeError, match=r"the loss is not finite.*no checkpoint yet"
    ) as error:
        main_fit(run)
    cure = str(error.value).split("digit ")[1].split()
    assert cure == ["train", "--resume", run.name, "--set", "learning_rate=3e+29"]
    assert main([*cure[:-1], "learning_rate=1e-4", "seed=2"]) == 2
    assert "--set seed: fixed once a run has begun" in capsys.readouterr().err
    from digit.training.settings import change_run

    change_run(run, {"learning_rate": "1e-4"})
    assert main_fit(run)["steps"] == 2
    record = (run / "parameters.yaml").read_text()
    assert "former_settings" in record and "1.0e+30" in record
    assert runs.parameters(run)[1].learning_rate == 1e-4


def main_fit(run):
    from digit.training.loop import fit

    return fit(run)


def worker_of(process) -> int:
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    [worker] = " ".join(path.read_text() for path in tasks).split()
    return int(worker)


def test_a_dead_loader_worker_is_named(calm, tiny_root):
    run = new_run(tiny_root, "worker", workers=1, checkpoint_every=1000, log_every=1)
    process = start(run)
    wait_for_step(run, process, 3)
    os.kill(worker_of(process), signal.SIGKILL)
    assert status(process) == 1
    assert "a loader worker died" in last_line(run) and "--set workers=0" in last_line(
        run
    )
    assert weights(run)["step"] >= 3
    assert status(start(run)) == 0 and same_weights(run, calm)


def test_a_worker_that_the_signal_killed_is_no_failure(calm, tiny_root):
    """One that starts in that moment cannot leave the signal to the main process yet."""
    run = new_run(tiny_root, "both", workers=1, checkpoint_every=1000, log_every=1)
    process = start(run)
    wait_for_step(run, process, 2)
    worker = worker_of(process)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(worker, signal.SIGKILL)
    assert status(process) == 130
    assert runs.progress(run)["state"] == "stopped" and "stopped at step" in last_line(
        run
    )
    assert status(start(run)) == 0 and same_weights(run, calm)


def test_a_full_disk_is_named_and_the_last_good_checkpoint_stays(calm, tiny_root):
    """The operating system refuses to write beyond a size, as it does on a full disk."""
    run = new_run(tiny_root, "full", log_every=1, steps=8)
    process = start(run)
    wait_for(process, (run / "checkpoints" / "last.ckpt").exists)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    assert status(process) == 1
    assert "the disk is full: make room" in last_line(run)
    assert weights(run)["step"] in (2, 4, 6)
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    assert status(start(run)) == 0 and same_weights(run, calm)
    assert json.loads((run / "result.json").read_text())["steps"] == 8


def test_a_compiled_run_leaves_a_plain_checkpoint(calm, tiny_root):
    """Not in this process: the shape checks of the tests cannot be compiled."""
    run = new_run(tiny_root, "compiled", compile=True)
    assert status(start(run, "compiled")) == 0
    state = load_network(run / "checkpoints" / "best.ckpt").state_dict()
    assert (
        state.keys()
        == load_network(calm / "checkpoints" / "best.ckpt").state_dict().keys()
    )
    assert weights(run)["state_dict"].keys() == weights(calm)["state_dict"].keys()
    np.testing.assert_allclose(
        [float(v) for _, v in losses_of(run)],
        [float(v) for _, v in losses_of(calm)],
        rtol=0.02,
    )

"""Several processes compute what one does; where one is lost, the run can be resumed.

Compared in single precision: the processes add up gradients, statistics and losses in another
order than one process, and nothing else differs.
"""

import json
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import FOUR_STEPS, curve, start

from digit.training import runs
from digit.training.distributed import launch_command
from digit.training.loop import train_run
from digit.training.sampler import StreamSampler
from digit.training.settings import make_settings
from digit.training.validation import VALIDATION_METRICS

LIMIT_S = 3600  # for processes that hang; no outcome depends on it


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where this file's runs are kept."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIGIT_RUNS", str(folder))
        yield folder


def new_run(root, name, **more):
    return runs.create_run(
        root, "quick", make_settings("quick", {**FOUR_STEPS, **more}), name
    )


@pytest.fixture(scope="module")
def alone(tiny_root, folder):
    """A run of one process, and one that saw each batch in reverse order."""
    plain = new_run(tiny_root, "alone")
    train_run(plain)
    reordered = new_run(tiny_root, "reversed")
    with pytest.MonkeyPatch.context() as patch:
        batches = StreamSampler.__iter__
        patch.setattr(
            StreamSampler, "__iter__", lambda self: (b[::-1] for b in batches(self))
        )
        train_run(reordered)
    return plain, reordered


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def distance(run, other):
    """The largest relative difference of the curves; the mean absolute one of all weights."""
    a, b = (weights(r)["ema"].values() for r in (run, other))
    apart = torch.cat(
        [(v.double() - w.double()).flatten() for v, w in zip(a, b, strict=True)]
    )
    return abs(curve(run) / curve(other) - 1).max(), float(apart.abs().mean())


def assert_same_training(run, alone, reordered):
    """The same first losses; then no farther apart than reordering brings about."""
    np.testing.assert_allclose(curve(run)[0], curve(alone)[0], rtol=2e-5)
    for found, allowed in zip(
        distance(run, alone), distance(reordered, alone), strict=True
    ):
        assert found <= 4 * allowed + 1e-6


def test_two_devices_train_as_one(alone, tiny_root):
    run = new_run(tiny_root, "devices", devices=2)
    assert start(run).wait(LIMIT_S) == 0, (run / "log.txt").read_text()
    print(
        "two processes:",
        distance(run, alone[0]),
        "reversed:",
        distance(alone[1], alone[0]),
    )
    assert_same_training(run, *alone)


def test_two_nodes_train_and_evaluate_as_one(tiny_root, folder):
    """The same `digit fit` on each node; a torchrun of one process each, on the loopback.

    The learning rate is too small to change a weight: all losses and errors are of one network.
    """
    one, run = (
        new_run(tiny_root, f"{n}", nodes=n, learning_rate=1e-30, ema=0) for n in (1, 2)
    )
    expected = train_run(one)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    nodes = [start(run, MASTER_ADDR="127.0.0.1", MASTER_PORT=port) for _ in range(2)]
    assert [node.wait(LIMIT_S) for node in nodes] == [0, 0], (
        run / "log.txt"
    ).read_text()
    np.testing.assert_allclose(curve(run), curve(one), rtol=2e-5)
    found = json.loads((run / "result.json").read_text())
    errors = [key for key in VALIDATION_METRICS if key in expected]
    print({key: (expected[key], found[key] - expected[key]) for key in errors})
    assert len(errors) >= 3 and found["processes"] == 2
    for key in errors:
        assert found[key] == pytest.approx(expected[key], rel=1e-6, abs=1e-6), key


def test_lost_process_ends_with_a_checkpoint(tiny_root, folder):
    """SIGKILL to the second of two: the first saves the last whole step; one goes on alone."""
    run = new_run(tiny_root, "lost", devices=2, steps=1000, checkpoint_every=10000)
    launcher = start(run)
    while runs.progress(run).get("step", 0) < 2:
        assert launcher.poll() is None, (run / "log.txt").read_text()
        time.sleep(0.1)
    tasks = Path(f"/proc/{launcher.pid}/task").glob("*/children")
    processes = " ".join(path.read_text() for path in tasks).split()
    ranks = {
        Path(f"/proc/{p}/environ").read_bytes().split(b"\0RANK=")[-1][:1]: p
        for p in processes
    }
    os.kill(int(ranks[b"1"]), signal.SIGKILL)
    os.kill(
        int(ranks[b"0"]), signal.SIGTERM
    )  # torchrun sends one too, at a time of its own
    assert launcher.wait(LIMIT_S) != 0
    log, step = (run / "log.txt").read_text(), weights(run)["step"]
    assert (
        f"digit: {run.name}: another process of the run was lost" in log and step >= 2
    )
    assert (
        f"checkpoint of step {step}; continue with: digit train --resume {run.name}"
        in log
    )
    assert "another process" in runs.progress(run)["error"]
    runs.change(run, {"devices": 1, "steps": step + 1})
    assert train_run(run)["steps"] == step + 1


def test_launch_commands(tmp_path, monkeypatch):
    for name in ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "first")
    one, four, many = (
        make_settings("full", {"devices": d, "nodes": n})
        for d, n in ((1, 1), (4, 1), (4, 2))
    )
    assert launch_command(tmp_path, one) is None
    assert launch_command(tmp_path, four)[2:5] == [
        "torch.distributed.run",
        "--nproc-per-node=4",
        "--standalone",
    ]
    assert "--rdzv-endpoint=first:29400" in launch_command(tmp_path, many)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    command = launch_command(tmp_path, many)
    assert command[:3] == ["srun", "--ntasks-per-node=1", "--ntasks=2"]
    assert command[-4:] == ["-m", "digit", "fit", str(tmp_path)]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    assert launch_command(tmp_path, many) is None

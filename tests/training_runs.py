"""Short trainings that the tests start as processes of their own."""

import os
import subprocess
import sys

from digit.training import runs

FOUR_STEPS = {
    "steps": 4,
    "batch_size": 8,
    "workers": 0,
    "log_every": 1,
    "evaluate_every": 1000,
    "val_frames": 7,
    "checkpoint_every": 2,
    "ema": 0.5,
    "precision": "32-true",
    "warmup": 0,
    "schedule": "step",
    "learning_rate": 1e-4,
}


def start(run, **environment):
    """Start `digit fit` for a run, its output in the run's log."""
    with (run / "log.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "digit", "fit", str(run)],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )


def curve(run):
    """The logged losses: a row a step, a column a term."""
    return runs.curves(run)[["loss", "parts", "joints", "bones"]].to_numpy()

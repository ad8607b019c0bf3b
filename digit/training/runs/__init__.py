"""Run folders: one folder a training, with all that is needed to trust, repeat and resume it.

runs/<date>-<name>-<short id>/
    parameters.yaml    data set, preset, settings
    environment.json   versions, git state, fingerprints of the labels
    05_training.ipynb  the executed notebook
    earlier/           notebooks and environments of earlier sessions
    log.txt            what the training printed
    metrics.csv        step, epoch, seconds, name, value
    tensorboard/       the same curves
    progress.json      where the training is now
    checkpoints/       best.ckpt, last.ckpt, and previous.ckpt, the last before it
    process            which process trains it, see `state`
    result.json        only of a run that finished

`folder` makes, finds and changes runs, and `missing` is the error for one that is not
there; `process` says who trains one, starts and stops that; `progress` reads how far it
is; `session` is `digit train`: notebook 05 executed through papermill.
"""

from digit.training.runs.folder import (
    change,
    create_run,
    environment,
    find_run,
    fingerprints,
    move_data,
    not_evaluated,
    open_run,
    parameters,
)
from digit.training.runs.missing import MissingRun
from digit.training.runs.process import claimed, launch, state, stop, trainer, wait
from digit.training.runs.progress import (
    curves,
    list_runs,
    progress,
    progress_line,
    result,
)
from digit.training.runs.session import train

__all__ = [
    "MissingRun",
    "change",
    "claimed",
    "create_run",
    "curves",
    "environment",
    "find_run",
    "fingerprints",
    "launch",
    "list_runs",
    "move_data",
    "not_evaluated",
    "open_run",
    "parameters",
    "progress",
    "progress_line",
    "result",
    "state",
    "stop",
    "train",
    "trainer",
    "wait",
]

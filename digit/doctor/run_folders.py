"""The doctor for run folders: files that are damaged, processes that are gone, data that
was moved.

`digit doctor --runs` calls `examine_runs`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from digit.data.index import open_index
from digit.data.parquet import read_table
from digit.doctor.findings import Finding, Severity
from digit.evaluation.predictions import Predictions
from digit.model.checkpoints import matching_state, read_checkpoint
from digit.model.network import Digit, build_network
from digit.paths import runs_dir
from digit.training.checkpoint_files import CheckpointFiles, read_resume_state
from digit.training.data import crop_size
from digit.training.progress_log import read_metrics
from digit.training.runs.folder import (
    ENVIRONMENT_FILE,
    PARAMETERS_FILE,
    parameters,
    recorded_labels,
)
from digit.training.runs.process import state, trainer
from digit.training.settings import SettingError, Settings

LEFT_OPEN = ("failed", "stopped")  # states of runs that can be resumed


def examine_runs(runs: Sequence[Path] | None = None) -> list[Finding]:
    """Look for faults in run folders; nothing is changed.

    Args:
        runs: Their folders; by default all that lie in the folder of runs, those
            without parameters.yaml included.
    """
    if runs is None:
        folder = runs_dir()
        runs = sorted(path for path in folder.glob("*") if _may_be_run(path))
    findings: list[Finding] = []
    for run in runs:
        findings += examine_run(run)
    return findings


def examine_run(run: Path) -> list[Finding]:
    """Look for faults in one run folder; nothing is changed."""
    # 1. Without readable parameters nothing else can be told
    try:
        dataset_dir, settings = parameters(run)
    except (FileNotFoundError, ValueError) as error:
        what = str(error).removeprefix(f"{run / PARAMETERS_FILE}: ")
        what = what.removeprefix(f"{run}: ")
        hint = f"move it away if it is no run, or restore {PARAMETERS_FILE}"
        return [_finding(run, "error", f"unreadable: {what}", hint)]

    # 2. Everything else
    findings: list[Finding] = []
    findings += _data_set(run, dataset_dir, settings)
    findings += _process(run)
    findings += _checkpoints(run, settings)
    for examine in FILE_EXAMINERS:
        findings += examine(run)
    return findings


def _may_be_run(path: Path) -> bool:
    """Whether a folder among the runs is one, or has been."""
    files = (PARAMETERS_FILE, ENVIRONMENT_FILE, "checkpoints", "metrics.csv")
    return path.is_dir() and any((path / name).exists() for name in files)


def _finding(
    run: Path, severity: Severity, what: str, hint: str = "", example: str = ""
) -> Finding:
    """A row of the table for this area."""
    return Finding("run", run.name, severity, what, example=example, hint=hint)


# --- Data set and process -----------------------------------------------------------


def _data_set(run: Path, dataset_dir: Path, settings: Settings) -> Iterator[Finding]:
    """Whether the data set is where it was, with the labels that the run began with."""
    moved = f"digit train --resume {run.name} --root NEW_PLACE"
    if not dataset_dir.is_dir():
        severity: Severity = "warning" if state(run) == "finished" else "error"
        what = "its data set is not there any more"
        yield _finding(run, severity, what, moved, example=str(dataset_dir))
        return
    recorded = recorded_labels(run)
    if recorded is None:
        what = f"{ENVIRONMENT_FILE} is damaged: whether labels have changed is unknown"
        yield _finding(run, "warning", what)
        return
    for split in (settings.train_split, settings.val_split):
        try:
            found = open_index(dataset_dir, split).fingerprint
        except (FileNotFoundError, ValueError) as error:
            yield _finding(run, "warning", f"{split} of its data set: {error}")
            continue
        if recorded.get(split, found) != found:
            what = f"the labels of {split} have changed since it began"
            hint = "start a new run; this one cannot be resumed"
            yield _finding(run, "warning", what, hint, example=str(dataset_dir))


def _process(run: Path) -> Iterator[Finding]:
    """Whether a run that is not finished is being trained."""
    now = state(run)
    if now in LEFT_OPEN:
        how = "its process is gone" if now == "failed" else "it was stopped"
        hint = f"digit train --resume {run.name}"
        yield _finding(run, "warning", f"not finished: {how}", hint)
    elif now == "new" and not trainer(run):
        hint = f"digit train --resume {run.name}, or remove it"
        yield _finding(run, "note", "its training has not begun", hint)


# --- Checkpoints --------------------------------------------------------------------


def _checkpoints(run: Path, settings: Settings) -> Iterator[Finding]:
    """Whether the checkpoints are there, whole, and of the run's network."""
    files = CheckpointFiles(run)
    try:
        network = _outline(settings)
    except (SettingError, ValueError, TypeError) as error:
        hint = "was it made by another version?"
        yield _finding(run, "error", f"its network cannot be built: {error}", hint)
        return
    yield from _resumable(run, files, network, has_average=bool(settings.ema))
    yield from _usable(run, files, network)

    # What earlier damage has left
    aside = sorted(files.folder.glob("*.damaged-*"))
    if aside:
        hint = f"remove what is not needed: {files.folder}/*.damaged-*"
        what = "damaged checkpoints kept aside"
        yield _finding(run, "note", what, hint, aside[0].name)


def _resumable(
    run: Path, files: CheckpointFiles, network: Digit, has_average: bool
) -> Iterator[Finding]:
    """Whether a training can go on from last.ckpt, or else from previous.ckpt."""
    # 1. Why each cannot be used
    reasons = {}
    for path in (files.last, files.previous):
        if path.exists():
            reasons[path] = _why_not_resumed(path, network, has_average)
    command = f"digit train --resume {run.name}"

    # 2. None is there
    now = state(run)
    if not reasons and now != "new":
        severity: Severity = "warning" if now in LEFT_OPEN else "note"
        hint = f"{command} begins at the start"
        yield _finding(run, severity, "no checkpoint to resume from", hint)

    # 3. Some are damaged
    has_whole_one = "" in reasons.values()
    severity = "warning" if has_whole_one else "error"
    where = "the other one" if has_whole_one else "the start, and keeps it aside"
    for path, reason in reasons.items():
        if reason:
            what = f"{path.name} is damaged"
            yield _finding(
                run, severity, what, f"{command} goes on from {where}", reason
            )


def _usable(run: Path, files: CheckpointFiles, network: Digit) -> Iterator[Finding]:
    """Whether the weights of the best evaluation can be used."""
    if files.best.exists():
        reason = _why_not_used(files.best, network)
        if reason:
            hint = f"train on to the next evaluation: digit train --resume {run.name}"
            yield _finding(run, "error", "best.ckpt is damaged", hint, reason)
    elif state(run) == "finished":
        yield _finding(run, "error", "no best.ckpt, though it is finished")


def _outline(settings: Settings) -> Digit:
    """The run's network without memory for its weights."""
    with torch.device("meta"):
        return build_network(
            settings.network,
            parts=settings.parts,
            pretrained=False,
            image_size=crop_size(settings),
        )


def _why_not_resumed(path: Path, network: Digit, has_average: bool) -> str:
    """Why a training cannot go on from a checkpoint; "" if it can."""
    try:
        read_resume_state(path, network, has_average)
    except (OSError, ValueError) as error:
        return _short(error, path)
    return ""


def _why_not_used(path: Path, network: Digit) -> str:
    """Why a checkpoint's weights cannot be used; "" if they can."""
    try:
        matching_state(read_checkpoint(path), network, str(path))
    except (OSError, ValueError) as error:
        return _short(error, path)
    return ""


def _short(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ").partition("; get the file")[0][:200]


# --- Other files --------------------------------------------------------------------


def _metrics(run: Path) -> Iterator[Finding]:
    """Lines of metrics.csv that are no rows."""
    _, others = read_metrics(run / "metrics.csv")
    if others:
        what = "lines of metrics.csv that cannot be read; curves go without them"
        hint = "nothing: a resumed run keeps the file aside"
        yield Finding("run", run.name, "warning", what, count=others, hint=hint)


def _json_files(run: Path) -> Iterator[Finding]:
    """JSON files of a run that hold no object."""
    for path in sorted(run.glob("*.json")):
        try:
            content = json.loads(path.read_bytes())
            reason = "" if isinstance(content, dict) else "no object"
        except (OSError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:100]
        if not reason:
            continue
        # Tags and notes are the user's; all else is written again.
        is_notes = path.name.endswith(".notes.json")
        severity: Severity = "error" if is_notes else "warning"
        hint = "repair it, or move it away"
        if path.name == "result.json":
            hint = f"remove it, then digit train --resume {run.name} writes it again"
        elif path.name == "progress.json":
            hint = "nothing: the next training writes it again"
        yield _finding(run, severity, f"{path.name} is damaged", hint, reason)


def _evaluations(run: Path) -> Iterator[Finding]:
    """Error tables and predictions that cannot be read."""
    hint = f"digit evaluate --checkpoint {run}/checkpoints/best.ckpt --errors …"
    for path in sorted(run.glob("errors_*.parquet")):
        try:
            read_table(path)
        except (ValueError, OSError) as error:
            yield _finding(
                run, "warning", f"{path.name} is damaged", hint, _short(error, path)
            )
    for path in sorted(run.glob("errors_*.npz")):
        try:
            Predictions.load(path)
        except (ValueError, OSError) as error:
            yield _finding(
                run, "warning", f"{path.name} is damaged", hint, _short(error, path)
            )


FILE_EXAMINERS: tuple[Callable[[Path], Iterator[Finding]], ...] = (
    _metrics,
    _json_files,
    _evaluations,
)

"""Run folders: made, found, read and changed.

`digit train`, the ablation and the notebooks make and find runs by these functions.
"""

import dataclasses
import json
import os
import platform
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from digit.files import atomic, write_json
from digit.paths import runs_dir, workspace_dir
from digit.training.runs.missing import MissingRun
from digit.training.runs.process import refuse_running
from digit.training.settings import (
    FIXED,
    Settings,
    changed,
    make_settings,
    settings_of_record,
)

PARAMETERS_FILE = "parameters.yaml"
ENVIRONMENT_FILE = "environment.json"
# The command that makes a first run, on the data of `digit demo`.
FIRST_RUN = ("digit", "train", "--root", "data/demo", "--preset", "quick")

# Names become part of a folder's name, which is typed into commands and searched for by
# a glob.
NAME = re.compile(r"[A-Za-z0-9._-]{0,100}")

# The packages whose versions a run records.
PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "numpy",
    "numba",
    "lmdb",
)


def find_run(name: str | Path) -> Path:
    """Find a run.

    Args:
        name: Its folder, or the end of its name (glob patterns allowed), or "latest":
            the newest finished one that predicts parts, as no upper bound of an
            ablation does.

    Returns:
        The run's folder; the newest, where several match.

    Raises:
        MissingRun: If there is none; the message lists the newest there are.
    """
    if (Path(name) / PARAMETERS_FILE).exists():
        return Path(name).resolve()
    folders = run_folders()
    if str(name) == "latest":
        found = _finished_runs_with_parts(folders)
    else:
        found = [folder for folder in folders if folder.match(f"*{name}")]
    if not found:
        sentence = f"{runs_dir()}: no run {str(name)!r}"
        if folders:
            there = ", ".join(folder.name for folder in folders[-5:])
            raise MissingRun(f"{sentence}; there are: {there}")
        raise MissingRun(f"{sentence}; there are none yet", FIRST_RUN)
    return found[-1]


def not_evaluated(run: Path, split: str) -> MissingRun:
    """The error for a run without an error table of a split."""
    dataset_dir, settings = parameters(run)
    command = ["digit", "evaluate", "--root", dataset_dir, "--split", split]
    command += ["--root-depth", settings.root_depth]
    command += ["--checkpoint", run / "checkpoints" / "best.ckpt"]
    command += ["--errors", run / f"errors_{split}.parquet"]
    return MissingRun(f"{run.name} was not evaluated on {split} yet", command)


def run_folders() -> list[Path]:
    """The folders of all runs, oldest first."""
    return sorted(path.parent for path in runs_dir().glob(f"*/{PARAMETERS_FILE}"))


def create_run(
    dataset_dir: Path, preset: str, settings: Settings, name: str = ""
) -> Path:
    """Make the folder of a new run, once all that it needs is in order.

    Args:
        dataset_dir: The data set's folder.
        preset: The preset that the settings came from; recorded only.
        settings: The settings.
        name: Part of the folder's name; by default the preset.

    Returns:
        The folder.

    Raises:
        ValueError: If the name has other characters than letters, digits, ".", "-",
            "_", or if settings, weights or data are faulty.
        FileNotFoundError: If data or weights are missing.
    """
    if not NAME.fullmatch(name):
        allowed = "letters, digits, '.', '-' and '_'"
        raise ValueError(f"name {name!r:.120}: only {allowed} (at most 100)")
    from digit.training.loop import check_start

    check_start(dataset_dir, settings)
    record = environment(dataset_dir, settings)

    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    run = runs_dir() / f"{stamp}-{name or preset}-{secrets.token_hex(2)}"
    run.mkdir(parents=True)
    content = {
        "root": str(dataset_dir.resolve()),
        "preset": preset,
        "settings": dataclasses.asdict(settings),
    }
    # The parameters last: a folder is a run once they are there.
    write_json(run / ENVIRONMENT_FILE, record)
    _write_parameters(run, content)
    return run


def open_run(
    run: str, dataset_dir: Path, preset: str, overrides: Mapping[str, object]
) -> Path:
    """The named run, or a new one where `run` is empty; errors as of both functions."""
    if run:
        return find_run(run)
    return create_run(dataset_dir, preset, make_settings(preset, overrides))


def parameters(run: Path) -> tuple[Path, Settings]:
    """The data set's folder and the settings of a run.

    Raises:
        FileNotFoundError: If this is no run.
        ValueError: If its parameters are damaged.
    """
    content = read_parameters(run)
    try:
        settings = settings_of_record(content["settings"])
    except ValueError as error:
        path = Path(run) / PARAMETERS_FILE
        raise ValueError(f"{path}: {error}; was it made by another version?") from None
    return Path(content["root"]), settings


def read_parameters(run: Path) -> dict[str, Any]:
    """The content of a run's parameters.yaml; errors as `parameters`."""
    path = Path(run) / PARAMETERS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{run}: no run (it has no {PARAMETERS_FILE})")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: damaged ({reason:.200}); start a new run") from None
    if not isinstance(content, dict) or not isinstance(content.get("root"), str):
        raise ValueError(f"{path}: damaged (no root in it); start a new run")
    if not isinstance(content.get("settings"), dict):
        raise ValueError(f"{path}: damaged (no settings in it); start a new run")
    return content


def change(run: Path, overrides: Mapping[str, object]) -> None:
    """Change settings of a run; a finished one is then to be resumed.

    `parameters.yaml` keeps the former settings, in order.

    Args:
        run: A run that is not being trained.
        overrides: Settings to replace, as in `make_settings`.

    Raises:
        ValueError: If the run is being trained, or a setting is unknown, invalid or
            fixed.
    """
    refuse_running(run)
    _, settings = parameters(run)
    new = changed(settings, overrides, FIXED)
    content = read_parameters(run)
    former = list(content.get("former_settings", []))
    content["former_settings"] = [*former, content["settings"]]
    content["settings"] = dataclasses.asdict(new)
    _write_parameters(run, content)
    for name in ("result.json", "errors_test.npz"):
        (run / name).unlink(missing_ok=True)


def move_data(run: Path, dataset_dir: Path) -> None:
    """Tell a run that its data set is in another folder now.

    Args:
        run: A run that is not being trained.
        dataset_dir: The folder; its labels must be those that the run began with.

    Raises:
        ValueError: If the run is being trained, or the labels are others.
        FileNotFoundError, ValueError: As `open_index`, for a faulty data set.
    """
    refuse_running(run)
    _, settings = parameters(run)
    check_labels(run, fingerprints(dataset_dir, settings), dataset_dir)
    content = read_parameters(run)
    content["root"] = str(dataset_dir.resolve())
    _write_parameters(run, content)


def check_labels(run: Path, found: Mapping[str, str], dataset_dir: Path) -> None:
    """Raise ValueError where a split's labels are not those that a run began with.

    Where the run's record is damaged, that is said, and nothing is compared.
    """
    recorded = recorded_labels(run)
    if recorded is None:
        record = run / ENVIRONMENT_FILE
        print(f"{record}: damaged; whether the labels have changed is not checked")
        return
    for split, fingerprint in found.items():
        if recorded.get(split, fingerprint) != fingerprint:
            raise ValueError(
                f"{dataset_dir}: {split} has changed since {run.name} began: "
                "start a new run"
            )


def recorded_labels(run: Path) -> dict[str, str] | None:
    """Fingerprints of the labels that a run began with; None where the record is damaged."""
    try:
        record = json.loads((run / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
        labels = record["data"]
        is_whole = all(isinstance(label, str) for label in labels.values())
        return labels if is_whole else None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ):
        return None


def fingerprints(dataset_dir: Path, settings: Settings) -> dict[str, str]:
    """Fingerprints of labels and fits of the splits that a run learns from and is judged by.

    Those of further data sets (setting `also`) stand under their folders.
    """
    from digit.data.build_index import prepare_index
    from digit.training.mixture import parse_other_data_sets

    splits = (settings.train_split, settings.val_split)
    found = {split: prepare_index(dataset_dir, split).fingerprint for split in splits}
    for other in parse_other_data_sets(settings.also):
        index = prepare_index(other.dataset_dir, settings.train_split)
        found[str(other.dataset_dir)] = index.fingerprint
    return found


def environment(dataset_dir: Path, settings: Settings) -> dict[str, Any]:
    """What a run is made with: versions, git state, machine, seed, labels."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "git": {
            "commit": _git("rev-parse", "HEAD"),
            "changes": _git("status", "--porcelain"),
        },
        "command": sys.argv,
        "data": fingerprints(dataset_dir, settings),
        "seed": settings.seed,
        "started": datetime.now().isoformat("T", "seconds"),
    }


def _git(*words: str) -> str:
    """What git says in the workspace; "" where there is no git, or no repository."""
    command = ["git", "-C", str(workspace_dir()), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout


def _write_parameters(run: Path, content: dict[str, Any]) -> None:
    """Write parameters.yaml, whole or not at all."""
    with atomic(run / PARAMETERS_FILE) as file:
        yaml.safe_dump(content, file, sort_keys=False)


def _finished_runs_with_parts(folders: list[Path]) -> list[Path]:
    """Finished runs whose network predicts parts, the last finished at the end."""
    found = []
    for folder in folders:
        if not (folder / "result.json").exists():
            continue
        try:
            _, settings = parameters(folder)
        except (OSError, ValueError):
            continue  # digit runs lists it as unreadable
        if settings.parts == "predicted":
            found.append(folder)
    return sorted(found, key=lambda folder: (folder / "result.json").stat().st_mtime)

"""The ablation: variants of the network, each trained with several seeds.

`digit ablation` calls `run_ablation`; notebook 10 compares the members.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from digit.paths import NOTEBOOKS_DIR, runs_dir
from digit.training.papermill import execute_notebook
from digit.training.runs.folder import (
    create_run,
    fingerprints,
    read_parameters,
    recorded_labels,
    run_folders,
)
from digit.training.runs.process import state
from digit.training.runs.progress import progress
from digit.training.runs.session import train
from digit.training.settings import Settings, make_settings, settings_of_record

WITHOUT_PART_SUPERVISION = {"weight_parts": 0, "weight_part_iou": 0}

# What the part features are computed from, all else equal.
VARIANTS: dict[str, dict[str, object]] = {
    # The image's features alone, without a part head.
    "none": {"parts": "none", **WITHOUT_PART_SUPERVISION},
    # DIGIT.
    "predicted": {"parts": "predicted"},
    # True parts, in evaluation too: an upper bound.
    "true": {"parts": "true", **WITHOUT_PART_SUPERVISION},
    # DIGIT's size, but nothing tells its part head what parts are.
    "unsupervised": {"parts": "predicted", **WITHOUT_PART_SUPERVISION},
}
DEFAULT_VARIANTS = ("none", "predicted", "true")
FORMER_NAMES = {"untaught": "unsupervised"}  # of variants, still understood

MOST_SEEDS = 1000  # more trainings are taken for a mistake
NOTEBOOK = "10_ablation.ipynb"

# Settings that change how a run computes, but not what.
WITHOUT_INFLUENCE = ("workers", "log_every", "checkpoint_every")


def run_ablation(
    dataset_dir: Path,
    preset: str,
    overrides: Mapping[str, object],
    variants: Sequence[str],
    seeds: int,
    out: Path | None = None,
) -> str:
    """Train variants of the network for several seeds, and compare them in notebook 10.

    Args:
        dataset_dir: The data set's folder.
        preset: The settings that all variants share.
        overrides: Changes of them.
        variants: Names of `VARIANTS`.
        seeds: How many seeds, from 1 on.
        out: Where `ablation.md` and `ablation.png` go; by default `runs/ablation/`.

    Returns:
        The text of `ablation.md`.

    Raises:
        ValueError: As `make_members`.
        RuntimeError: If a training fails; the others are finished first.
    """
    members = make_members(preset, overrides, variants, seeds)
    runs = sweep(dataset_dir, preset, members)

    out = (out or runs_dir() / "ablation").resolve()
    out.mkdir(parents=True, exist_ok=True)
    parameters = {
        "members": {name: str(run) for name, run in runs.items()},
        "out": str(out),
    }
    executed = runs_dir() / "ablation" / NOTEBOOK
    execute_notebook(NOTEBOOKS_DIR / NOTEBOOK, executed, parameters)
    return (out / "ablation.md").read_text()


def make_members(
    preset: str, overrides: Mapping[str, object], variants: Sequence[str], seeds: int
) -> dict[str, Settings]:
    """The settings of each member of an ablation, by the name <variant>-<seed>.

    Args:
        preset: A name of `digit.training.settings.PRESETS`.
        overrides: Settings to replace in all members.
        variants: Names of `VARIANTS`.
        seeds: How many seeds, from 1 on.

    Raises:
        ValueError: If there is no member, a variant is unknown, a setting is one that
            the members differ in, or as `make_settings`.
    """
    for name in ("parts", "seed"):
        if name in overrides:
            raise ValueError(f"{name}: set by variants and seeds, not for all members")
    if seeds < 1:
        raise ValueError(f"seeds {seeds}: give at least 1")
    if seeds > MOST_SEEDS:
        raise ValueError(f"seeds {seeds}: give at most {MOST_SEEDS}")
    variants = [FORMER_NAMES.get(variant, variant) for variant in variants]
    for variant in variants:
        if variant not in VARIANTS:
            known = ", ".join(VARIANTS)
            raise ValueError(f"variants {variant}: unknown; choose from {known}")

    members = {}
    for seed in range(1, seeds + 1):
        for variant in variants:
            changes = {**overrides, **VARIANTS[variant], "seed": seed}
            members[f"{variant}-{seed}"] = make_settings(preset, changes)
    return members


def find_member(dataset_dir: Path, settings: Settings) -> Path | None:
    """Find the run of these labels and settings.

    Args:
        dataset_dir: The data set's folder. A finished run may have been trained on a copy of
            it elsewhere; one to be resumed must be of this folder.
        settings: All but those `WITHOUT_INFLUENCE` must be the same.

    Returns:
        The newest such run, finished ones first; None where there is none.
    """
    labels = fingerprints(dataset_dir, settings)
    finished = []
    resumable = []
    for run in run_folders():
        try:
            content = read_parameters(run)
            its_settings = settings_of_record(content["settings"])
        except (OSError, ValueError):
            continue  # digit runs lists it as unreadable
        same_settings = _what_matters(its_settings) == _what_matters(settings)
        if not same_settings or recorded_labels(run) != labels:
            continue
        if state(run) == "finished":
            finished.append(run)
        elif Path(content["root"]) == dataset_dir:
            resumable.append(run)
    candidates = finished or resumable
    return candidates[-1] if candidates else None


def sweep(
    dataset_dir: Path, preset: str, members: Mapping[str, Settings]
) -> dict[str, Path]:
    """Train the members in turn, and predict the test split with each.

    What is finished already is kept, and an interrupted member goes on from its checkpoint.
    A member's errors are in its `errors_test.parquet`.

    Args:
        dataset_dir: The data set's folder.
        preset: Recorded in new runs.
        members: Settings by the member's name, as of `make_members`.

    Returns:
        The run of each member.

    Raises:
        RuntimeError: If a member fails; it is raised when all others are done.
    """
    # 1. What there is already.
    dataset_dir = dataset_dir.resolve()
    found = {}
    waiting = []
    for name, settings in members.items():
        found[name] = find_member(dataset_dir, settings)
        if found[name] is None or state(found[name]) != "finished":
            waiting.append(name)

    # 2. One member after another.
    runs: dict[str, Path] = {}
    failed = []
    for name, settings in members.items():
        run = found[name] or create_run(dataset_dir, preset, settings, name)
        runs[name] = run
        print(f"{name}: {run.name}, {state(run)}", flush=True)
        try:
            if name in waiting:
                waiting.remove(name)
                train(run, lambda: _note(runs, waiting))
            _predict_test(dataset_dir, run, settings)
        except RuntimeError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)

    # 3. Failures at the end.
    if failed:
        hint = "the same command tries them again"
        raise RuntimeError(f"failed: {', '.join(failed)}; {hint}")
    return runs


def _what_matters(settings: Settings) -> dict[str, object]:
    """The settings that change what a run computes."""
    values = dataclasses.asdict(settings)
    for key in WITHOUT_INFLUENCE:
        del values[key]
    return values


def _note(runs: Mapping[str, Path], waiting: list[str]) -> str:
    """The member at work (the last one begun), how many follow, and the time for all."""
    name, run = list(runs.items())[-1]
    durations = []
    for begun in runs.values():
        now = progress(begun)
        if now.get("seconds") is not None:
            durations.append(now["seconds"] + (now.get("seconds_left") or 0))
    typical_s = sum(durations) / max(1, len(durations))
    left_s = typical_s * len(waiting) + progress(run).get("seconds_left", typical_s)
    left = timedelta(seconds=round(left_s))
    return f"{name} · {len(waiting)} to follow, {left} in all · "


def _predict_test(dataset_dir: Path, run: Path, settings: Settings) -> None:
    """Write a member's errors on the test split, unless those of its checkpoint are there."""
    from digit.inference.evaluate import evaluate

    checkpoint = run / "checkpoints" / "best.ckpt"
    predictions = run / "errors_test.npz"  # written last
    if not _is_of(predictions, checkpoint):
        evaluate(
            dataset_dir,
            "test",
            settings.root_depth,
            checkpoint=checkpoint,
            errors=run / "errors_test.parquet",
        )


def _is_of(predictions: Path, checkpoint: Path) -> bool:
    """Whether predictions are there, and not of a run that has been resumed since."""
    if not predictions.exists():
        return False
    if not checkpoint.exists():
        return True
    return predictions.stat().st_mtime >= checkpoint.stat().st_mtime

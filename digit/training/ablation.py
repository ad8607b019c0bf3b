"""Sweeps over variants and seeds."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import yaml

from digit.paths import NOTEBOOKS_DIR, runs_dir
from digit.training.papermill import execute_notebook
from digit.training.runs import create_run, fingerprints, progress, state, train
from digit.training.settings import Settings, make_settings

_WITHOUT_PART_SUPERVISION = {"weight_parts": 0, "weight_part_iou": 0}
# What the part features see, all else equal, as changes of settings.
VARIANTS = {
    # No part features: the image's features alone.
    "none": {"parts": "none", **_WITHOUT_PART_SUPERVISION},
    # DIGIT.
    "predicted": {"parts": "predicted"},
    # The true parts, in evaluation too: a bound.
    "true": {"parts": "true", **_WITHOUT_PART_SUPERVISION},
    # DIGIT's size, but without part supervision.
    "unsupervised": {"parts": "predicted", **_WITHOUT_PART_SUPERVISION},
}
NOTEBOOK = "10_ablation.ipynb"


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
        ValueError: If a variant or a setting is unknown, or there is no seed.
        RuntimeError: If a training fails; the others are finished first.
    """
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        known = ", ".join(VARIANTS)
        raise ValueError(f"variants {unknown[0]}: unknown; choose from {known}")
    if seeds < 1:
        raise ValueError(f"seeds {seeds}: give at least 1")
    members = {}
    for seed in range(1, seeds + 1):
        for name in variants:
            changes = {**overrides, **VARIANTS[name], "seed": seed}
            members[f"{name}-{seed}"] = make_settings(preset, changes)

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


def find_member(root: Path, settings: Settings) -> Path | None:
    """The run of these labels and settings, a finished one first; None where there is none."""
    found, data = [], fingerprints(root, settings)
    same = dict.fromkeys(
        ("workers", "log_every", "checkpoint_every")
    )  # change no result
    for path in sorted(runs_dir().glob("*/parameters.yaml")):
        content, run = yaml.safe_load(path.read_text()), path.parent
        alike = vars(Settings()) | content["settings"] | same == vars(settings) | same
        alike &= json.loads((run / "environment.json").read_text())["data"] == data
        finished = state(run) == "finished"
        if alike and (finished or Path(content["root"]) == root):
            found.append((finished, run))
    return max(found)[1] if found else None


def sweep(root: Path, preset: str, members: Mapping[str, Settings]) -> dict[str, Path]:
    """Train the named settings in turn and predict test with each; what is finished is kept.

    An interrupted member goes on from its checkpoint. One that fails is left out; when all others
    are done, RuntimeError names it. A member's errors are in its errors_test.parquet.
    """
    from digit.inference.evaluate import evaluate

    runs, failed, root = {}, [], root.resolve()
    found = {name: find_member(root, settings) for name, settings in members.items()}
    waiting = [
        name for name, run in found.items() if not run or state(run) != "finished"
    ]

    def note() -> str:
        said = [s for s in map(progress, runs.values()) if "seconds" in s]
        whole = sum(s["seconds"] + s["seconds_left"] for s in said) / max(1, len(said))
        left = whole * len(waiting) + progress(run).get("seconds_left", whole)
        return f"{name} · {len(waiting)} to follow, {timedelta(seconds=round(left))} in all · "

    for name, settings in members.items():
        runs[name] = run = found[name] or create_run(root, preset, settings, name)
        print(f"{name}: {run.name}, {state(run)}", flush=True)
        try:
            if name in waiting:
                waiting.remove(name)
                train(run, note)
            if not (run / "errors_test.npz").exists():  # written last
                best, errors = (
                    run / "checkpoints/best.ckpt",
                    run / "errors_test.parquet",
                )
                evaluate(root, "test", settings.root_depth, best, errors=errors)
        except RuntimeError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
    if failed:
        raise RuntimeError(
            f"failed: {', '.join(failed)}; the same command tries them again"
        )
    return runs

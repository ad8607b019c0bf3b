"""How far runs are: the files that a training writes, read back.

The notebooks, `digit runs` and the line in the terminal of `digit train` call these
functions.
"""

import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from digit.files import read_json_object
from digit.training.progress_log import read_metrics

LONGEST_S = 1e9  # some thirty years; more cannot be shown
LOSSES = ("loss", "parts", "joints", "relative_root_depth", "hand_type", "bones")


def progress(run: Path) -> dict[str, Any]:
    """The content of progress.json; {} before the training has written it."""
    try:
        content = json.loads((run / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def result(run: Path) -> dict[str, Any]:
    """The content of result.json.

    Raises:
        FileNotFoundError: If the run is not finished.
        ValueError: If the file is damaged.
    """
    hint = f"digit train --resume {Path(run).name} writes it"
    return read_json_object(Path(run) / "result.json", hint)


def progress_line(run: Path) -> str:
    """Epoch, step, speed, best error, time left and losses in one line."""
    now = progress(run)
    if _number(now, "seconds") is None:
        return f"{run.name}: starting"

    # What the training has not measured yet is null or missing.
    best_mm = _best_mm(now)
    left_s = min(_number(now, "seconds_left") or 0, LONGEST_S)
    losses = []
    for name in LOSSES:
        value = _number(now, name)
        if value is not None:
            losses.append(f"{name} {value:.2f}")
    parts = [
        f"epoch {_number(now, 'epoch') or 0:.2f}",
        f"step {_number(now, 'step') or 0:.0f}/{_number(now, 'steps') or 0:.0f}",
        f"{_number(now, 'samples_per_s') or 0:.0f} samples/s",
        f"best {best_mm:.1f} mm" if best_mm else "best –",
        f"{timedelta(seconds=round(left_s))} left",
        ", ".join(losses),
    ]
    return " · ".join(parts)


def _number(content: dict[str, Any], name: str) -> int | float | None:
    """A number of progress.json; None where it is missing, null, or something else."""
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def _best_mm(content: dict[str, Any]) -> int | float | None:
    """The lowest MPJPE on val so far."""
    best = content.get("best")
    return _number(best, "mpjpe_all") if isinstance(best, dict) else None


def list_runs() -> pd.DataFrame:
    """All runs, oldest first, one row each.

    Columns: run, state, preset, data, epoch, step, best_mpjpe_mm, minutes (of
    training). A run whose files are damaged is a row with the state "unreadable".
    """
    from digit.training.runs.folder import run_folders

    return pd.DataFrame([_row(run) for run in run_folders()])


def _row(run: Path) -> dict[str, Any]:
    """A row of `list_runs`."""
    from digit.training.runs.folder import read_parameters
    from digit.training.runs.process import state

    try:
        content = read_parameters(run)
    except (OSError, ValueError):
        return {"run": run.name, "state": "unreadable"}
    now = progress(run)
    return {
        "run": run.name,
        "state": state(run),
        "preset": content.get("preset"),
        "data": Path(content["root"]).name,
        "epoch": _number(now, "epoch"),
        "step": _number(now, "step"),
        "best_mpjpe_mm": _best_mm(now),
        "minutes": (_number(now, "seconds") or 0) / 60,
    }


def curves(run: Path) -> pd.DataFrame:
    """metrics.csv as a table: one row a step, one column a quantity.

    Lines that cannot be read are left out.
    """
    rows, _ = read_metrics(run / "metrics.csv")
    table = pd.DataFrame(rows, columns=["step", "epoch", "seconds", "name", "value"])
    table["step"] = table["step"].astype(int)
    table["value"] = table["value"].astype(float)
    return table.pivot_table(
        index="step", columns="name", values="value", aggfunc="last"
    )

"""How far runs are: the files that a training writes, read back.

The notebooks, `digit runs` and the line in the terminal of `digit train` call these
functions.
"""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from digit.training.progress_log import read_metrics

LOSSES = ("loss", "parts", "joints", "relative_root_depth", "hand_type", "bones")


def progress(run: Path) -> dict[str, Any]:
    """The content of progress.json; {} before the training has written it."""
    try:
        content = json.loads((run / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def progress_line(run: Path) -> str:
    """Epoch, step, speed, best error, time left and losses in one line."""
    now = progress(run)
    if "seconds" not in now:
        return f"{run.name}: starting"
    best_mm = (now.get("best") or {}).get("mpjpe_all")
    left = timedelta(seconds=round(now.get("seconds_left") or 0))
    losses = []
    for name in LOSSES:
        if now.get(name) is not None:
            losses.append(f"{name} {now[name]:.2f}")
    parts = [
        f"epoch {now['epoch']:.2f}",
        f"step {now['step']}/{now['steps']}",
        f"{now.get('samples_per_s') or 0:.0f} samples/s",
        f"best {best_mm:.1f} mm" if best_mm else "best –",
        f"{left} left",
        ", ".join(losses),
    ]
    return " · ".join(parts)


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
        "epoch": now.get("epoch"),
        "step": now.get("step"),
        "best_mpjpe_mm": (now.get("best") or {}).get("mpjpe_all"),
        "minutes": (now.get("seconds") or 0) / 60,
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

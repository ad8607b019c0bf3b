"""Chapter "Runs": what runs there are, how they differ, and which is better."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from digit.chapters.common import expected_and_measured
from digit.evaluation.bootstrap import paired_difference
from digit.evaluation.protocol import HEADLINE, protocol
from digit.plots import charts
from digit.plots.interactive import CONFIG
from digit.plots.style import LINE_COLORS, PLOTLY
from digit.training import runs

CURVES = {
    "joints": "training loss of the joints",
    "val_mpjpe_all": "MPJPE on val (mm)",
}
PLOTLY_DASHES = ("solid", "dash", "dot")


def choose(names: Sequence[str], newest: int) -> list[Path]:
    """Runs by name, or the newest ones where none is named."""
    chosen = list(names) or list(runs.list_runs()["run"].tail(newest))
    return [runs.find_run(name) for name in chosen]


def differences(chosen: Sequence[Path]) -> pd.DataFrame:
    """Settings, data and code in which the runs differ; a column per run."""
    columns = {}
    for run_dir in chosen:
        dataset_dir, settings = runs.parameters(run_dir)
        record = _record(run_dir)
        column = dict(vars(settings))
        column["data set"] = dataset_dir.name
        column["labels"] = str(record["data"])
        column["code"] = record.get("git", {}).get("commit", "")[:7] or "unknown"
        columns[run_dir.name] = column
    table = pd.DataFrame(columns).astype(str)
    return table[table.nunique(axis=1) > 1]


def _record(run_dir: Path) -> dict:
    return json.loads((run_dir / "environment.json").read_text())


def _curves(run_dir: Path) -> pd.DataFrame:
    """The curves of a run; an empty table before it has any."""
    if not (run_dir / "metrics.csv").exists():
        return pd.DataFrame()
    return runs.curves(run_dir)


def running(chosen: Sequence[Path]) -> list[Path]:
    """The runs that are being trained now."""
    return [run_dir for run_dir in chosen if runs.state(run_dir) == "running"]


def live_figure(chosen: Sequence[Path]) -> go.FigureWidget:
    """A figure of the curves that `follow` keeps up to date."""
    # 1. A curve per run and quantity, empty until `refresh`.
    figure = go.FigureWidget(make_subplots(1, 2, subplot_titles=list(CURVES.values())))
    figure._config = {**figure._config, **CONFIG}  # nothing is uploaded
    for row, run_dir in enumerate(chosen):
        line = {
            "color": LINE_COLORS[row % len(LINE_COLORS)],
            "dash": PLOTLY_DASHES[row // len(LINE_COLORS) % len(PLOTLY_DASHES)],
        }
        for column, name in enumerate(CURVES, start=1):
            trace = go.Scatter(
                name=run_dir.name,
                meta=name,
                line=line,
                legendgroup=run_dir.name,
                showlegend=column == 1,
                mode="lines+markers",
            )
            figure.add_trace(trace, row=1, col=column)

    # 2. The layout, with room for the progress lines above.
    figure.update_xaxes(title="step")
    figure.update_layout(PLOTLY)
    figure.update_layout(
        margin={"l": 50, "r": 10, "t": 90, "b": 40},
        height=420,
        title={"font": {"size": 12}},
        legend={"orientation": "h", "y": -0.2},
    )
    return figure


def refresh(figure: go.FigureWidget, chosen: Sequence[Path]) -> None:
    """Read the curves again and put them into the figure; the title says where each run
    is."""
    tables = {run_dir.name: _curves(run_dir) for run_dir in chosen}
    lines = [f"{run.name}: {runs.progress_line(run)}" for run in running(chosen)]
    with figure.batch_update():
        for trace in figure.data:
            curve = tables[trace.name].get(trace.meta, pd.Series(dtype=float)).dropna()
            trace.x = curve.index.to_numpy()
            trace.y = curve.to_numpy()
        figure.layout.title.text = "<br>".join(lines) or "none of them is being trained"


async def follow(
    figure: go.FigureWidget, chosen: Sequence[Path], every_s: float = 5.0
) -> None:
    """Keep the figure up to date while any of the runs is being trained."""
    while running(chosen):
        refresh(figure, chosen)
        await asyncio.sleep(every_s)
    refresh(figure, chosen)


def show_curves(chosen: Sequence[Path]) -> Figure:
    """The same curves, standing still."""
    tables = {run_dir.name.split("-", 2)[-1]: _curves(run_dir) for run_dir in chosen}
    panels = {}
    for name, label in CURVES.items():
        panels[label] = {
            run: table[name] for run, table in tables.items() if name in table
        }
    return charts.learning_curves(panels)


def error_tables(chosen: Sequence[Path], split: str) -> dict[str, pd.DataFrame]:
    """The error tables that an evaluation has left in the run folders, by run."""
    tables = {}
    for run_dir in chosen:
        path = run_dir / f"errors_{split}.parquet"
        if path.exists():
            tables[run_dir.name] = pd.read_parquet(path)
    return tables


def metrics_with_intervals(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Headline metrics of each run with their 95 % bootstrap intervals, as text."""
    rows = {}
    for name, table in tables.items():
        result = protocol(table)
        row: dict[str, object] = {"frames": len(table)}
        for key in HEADLINE:
            if result[key] is None:
                continue
            low, high = result[f"{key}_low"], result[f"{key}_high"]
            row[key] = f"{result[key]:.2f} ({low:.2f} … {high:.2f})"
        rows[name] = row
    return pd.DataFrame(rows).T


def paired_against_first(
    chosen: Sequence[Path], tables: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Each run against the first one, frame by frame, where both saw the same labels.

    Returns:
        A row per run, hand type and metric; empty where nothing can be compared.
    """
    # 1. The runs that have errors; the first is the reference.
    evaluated = [run_dir for run_dir in chosen if run_dir.name in tables]
    if len(evaluated) < 2:
        return pd.DataFrame()
    first = evaluated[0]

    # 2. The others on the same labels, frame by frame.
    rows = {}
    for other in evaluated[1:]:
        if _record(other)["data"] != _record(first)["data"]:
            continue
        for hands in ("all", "interacting"):
            one, two = tables[first.name], tables[other.name]
            if hands == "interacting":
                one = one[one["hand_type"] == hands]
            for metric in ("mpjpe", "mrrpe"):
                if one[metric].notna().any() and two[metric].notna().any():
                    rows[other.name, hands, metric] = paired_difference(
                        one, two, metric
                    )
    return pd.DataFrame(rows, dtype=float).T.round(3)


def checks(chosen: Sequence[Path]) -> pd.DataFrame:
    """Expected and measured: what the record of a finished run must be."""
    finished = [run_dir for run_dir in chosen if runs.state(run_dir) == "finished"]
    saved = reached = best = 0
    for run_dir in finished:
        result = json.loads((run_dir / "result.json").read_text())
        curves = _curves(run_dir)
        saved += (run_dir / "checkpoints/best.ckpt").exists()
        reached += int(curves.index.max() == result["steps"])
        best += int(abs(curves["val_mpjpe_all"].min() - result["mpjpe_all"]) < 0.01)
    n = len(finished)
    return expected_and_measured(
        [
            ("finished runs with their best checkpoint", n, saved, saved == n),
            ("whose curves reach the last step", n, reached, reached == n),
            ("whose best error is the lowest of its curve", n, best, best == n),
        ]
    )

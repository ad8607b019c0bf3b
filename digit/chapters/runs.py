"""Chapter "Runs": what runs there are, how they differ, and which is better."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from digit.chapters.closing_table import expected_and_measured
from digit.data.index import open_index
from digit.data.parquet import read_table
from digit.evaluation.bootstrap import paired_difference
from digit.evaluation.mean_pose import mean_pose_errors
from digit.evaluation.protocol import HEADLINE, protocol
from digit.files import read_json_object
from digit.plots import charts
from digit.plots.interactive import CONFIG
from digit.plots.style import LINE_COLORS, PLOTLY
from digit.training import runs

SHOWN_ERRORS = {
    "mpjpe_sh": "MPJPE, single hands (mm)",
    "mpjpe_ih": "MPJPE, interacting hands (mm)",
    "mrrpe": "MRRPE (mm)",
}
CURVES = {
    "joints": "training loss of the joints",
    "val_mpjpe_all": "MPJPE on val (mm)",
}
PLOTLY_DASHES = ("solid", "dash", "dot")
MEAN_POSE = "mean pose"  # stands beside the runs, for what they have to beat


def choose(names: Sequence[str], newest: int) -> list[Path]:
    """Runs by name, or the newest ones where none is named.

    Raises:
        MissingRun: If there is no such run, or none at all.
    """
    there = runs.list_runs()
    if not names and there.empty:
        return [runs.find_run("latest")]  # says that there is none
    chosen = list(names) or list(there["run"].tail(newest))
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
    hint = "digit doctor --runs says what else is damaged"
    return read_json_object(run_dir / "environment.json", hint)


def _short(name: str) -> str:
    """The end of a run's name, without date and time; other names as they are."""
    return name.split("-", 2)[-1]


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
    tables = {_short(run_dir.name): _curves(run_dir) for run_dir in chosen}
    panels = {}
    for name, label in CURVES.items():
        panels[label] = {
            run: table[name] for run, table in tables.items() if name in table
        }
    return charts.learning_curves(panels)


def show_draws(draws: Float[np.ndarray, "b"]) -> Figure:
    """How often the bootstrap's means came out where."""
    return charts.distributions({"mean of a draw (mm)": {"draws": draws}})


def error_tables(chosen: Sequence[Path], split: str) -> dict[str, pd.DataFrame]:
    """The error tables that an evaluation has left in the run folders.

    Args:
        chosen: Folders of runs.
        split: Name of the split.

    Returns:
        The table of each run that has one, by the run's name, and last that of the mean
        pose on the first one's data set, as "mean pose"; empty if no run has one.
    """
    # 1. The runs' tables.
    tables = {}
    for run_dir in chosen:
        path = run_dir / f"errors_{split}.parquet"
        if path.exists():
            tables[run_dir.name] = read_table(path)

    # 2. The mean pose, on the data of the first of them.
    for run_dir in chosen:
        if run_dir.name in tables:
            dataset_dir, settings = runs.parameters(run_dir)
            train = open_index(dataset_dir, settings.train_split).usable()
            test = open_index(dataset_dir, split).usable()
            tables[MEAN_POSE] = mean_pose_errors(train, test)
            break
    return tables


def show_intervals(tables: dict[str, pd.DataFrame]) -> Figure:
    """Errors of each run with their 95 % bootstrap intervals."""
    panels: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, table in tables.items():
        result = protocol(table)
        for key, label in SHOWN_ERRORS.items():
            if result[key] is not None:
                ends = result[f"{key}_low"], result[key], result[f"{key}_high"]
                panels.setdefault(label, {})[_short(name)] = ends
    return charts.intervals(panels)


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


def comparable(
    chosen: Sequence[Path], tables: dict[str, pd.DataFrame]
) -> list[tuple[str, str]]:
    """Which tables can be compared with the first one, frame by frame.

    Returns:
        Pairs of names in `tables`: the first run, and in turn each other run on the same
        labels and the mean pose.
    """
    evaluated = [run_dir for run_dir in chosen if run_dir.name in tables]
    if not evaluated:
        return []
    first, *others = evaluated
    labels = _record(first)["data"]
    names = [run.name for run in others if _record(run)["data"] == labels]
    return [(first.name, name) for name in (*names, MEAN_POSE)]


def paired_against_first(
    chosen: Sequence[Path], tables: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Each run and the mean pose against the first run, frame by frame.

    Returns:
        A row per run, hand type and metric; empty where nothing can be compared.
    """
    rows = {}
    for first, other in comparable(chosen, tables):
        for hands in ("all", "interacting"):
            one, two = tables[first], tables[other]
            if hands == "interacting":
                one = one[one["hand_type"] == hands]
            for metric in ("mpjpe", "mrrpe"):
                if one[metric].notna().any() and two[metric].notna().any():
                    rows[other, hands, metric] = paired_difference(one, two, metric)
    return pd.DataFrame(rows, dtype=float).T.round(3)


def show_differences(chosen: Sequence[Path], tables: dict[str, pd.DataFrame]) -> Figure:
    """How much each frame's MPJPE differs from the first run's."""
    panels = {}
    for first, other in comparable(chosen, tables):
        one = tables[first].set_index("image_id")["mpjpe"]
        two = tables[other].set_index("image_id")["mpjpe"]
        label = f"MPJPE of a frame: {_short(other)} − {_short(first)} (mm)"
        panels[label] = {"frames": (two - one).dropna().to_numpy()}
    return charts.distributions(panels)


def checks(chosen: Sequence[Path]) -> pd.DataFrame:
    """Expected and measured: what the record of a finished run must be."""
    finished = [run_dir for run_dir in chosen if runs.state(run_dir) == "finished"]
    saved = reached = best = 0
    for run_dir in finished:
        result = runs.result(run_dir)
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

"""The figures of chapter "Ablation": curves, predictions, changes and their intervals.

Notebook 10 calls them with what `digit.chapters.ablation` has read. A variant keeps its
colour, dash and mark in all of them.
"""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from digit.chapters.ablation import VARIANTS, Ablation, resample
from digit.data.dataset import InterHandDataset
from digit.data.index import open_index
from digit.model.checkpoints import load_network
from digit.plots import hands as hand_plots
from digit.plots.style import INK, LINE_COLORS, LINE_DASHES, STYLE, Picture
from digit.skeleton import HEATMAP_CELLS
from digit.training import runs

MARKERS = ("s", "D", "^", "o")


def _line_look(variant: str) -> dict[str, object]:
    """Colour and dash of a variant."""
    number = VARIANTS.index(variant)
    return {"color": LINE_COLORS[number], "linestyle": LINE_DASHES[number]}


def show_curves(members: Mapping[str, Path]) -> Figure:
    """The training loss of the joints of each variant, mean over its seeds."""
    # 1. The curves of a variant's seeds.
    curves: dict[str, list[pd.Series]] = {}
    for name, run_dir in members.items():
        variant = name.rpartition("-")[0]
        curves.setdefault(variant, []).append(runs.curves(run_dir)["joints"].dropna())

    # 2. A line per variant; pale, its single seeds.
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(10, 3.2))
        axes = figure.subplots()
        for variant, seeds in curves.items():
            look = _line_look(variant)
            mean = pd.concat(seeds, axis=1).mean(axis=1)
            axes.plot(mean, marker=".", label=variant, **look)
            for curve in seeds:
                axes.plot(curve, alpha=0.25, linewidth=1, **look)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="step", ylabel="loss of the joints (cells)")
        axes.legend()
    return figure


def show_predictions(
    members: Mapping[str, Path], ablation: Ablation, n: int = 4
) -> Figure:
    """The same test crops with the joints of the annotation and of each variant's first
    run."""
    # 1. Frames with two hands, evenly spread over the test split.
    first = next(iter(members.values()))
    dataset_dir, _ = runs.parameters(first)
    index = open_index(dataset_dir, "test").usable()
    rows = ablation.slices.get("interacting", ablation.slices["all"])
    image_ids = rows.index[rows.to_numpy()]
    places = np.flatnonzero(np.isin(index["image_id"], image_ids))
    chosen = places[np.linspace(0, len(places) - 1, n).round().astype(int)]

    # 2. Joints of the annotation, then of one run per variant.
    joints_25d = {}
    for variant in ablation.variants:
        run_dir = next(
            run for name, run in members.items() if name.rpartition("-")[0] == variant
        )
        network = load_network(run_dir / "checkpoints/best.ckpt")
        batch = InterHandDataset(index, network.image_size).batch(chosen)
        with torch.inference_mode():
            prediction = network.eval()(batch.images(), batch.parts)
        joints_25d.setdefault("annotated", batch.joints_25d.numpy())
        joints_25d[variant] = prediction.joints_25d.numpy()

    # 3. A row of crops for each.
    crops = list(batch.image.permute(0, 2, 3, 1).contiguous().numpy())
    times = len(joints_25d)
    joints_px = np.concatenate(list(joints_25d.values()))[..., :2]
    joints_px = joints_px * network.image_size / HEATMAP_CELLS
    valid = np.tile(batch.joint_valid.numpy() > 0, (times, 1))
    captions = [name for name in joints_25d for _ in range(len(chosen))]
    return hand_plots.contact_sheet(
        crops * times,
        captions,
        hand_plots.masked(joints_px, valid),
        columns=len(chosen),
    )


def show_changes(ablation: Ablation) -> Figure:
    """What each variant changes against the base: per frame, and in the mean."""
    rows = ablation.slices["all"]
    of_frames = {
        variant: pd.concat([table.loc[rows, "mpjpe"] for table in tables], axis=1)
        for variant, tables in ablation.tables.items()
    }
    drawn = resample(ablation, rows, "mpjpe")
    base = ablation.base
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(10, 3.4))
        left, right = figure.subplots(1, 2)
        for variant in ablation.variants:
            if variant == base:
                continue
            change = of_frames[variant].mean(axis=1) - of_frames[base].mean(axis=1)
            share = (change < 0).mean()
            label = f"{variant}, lower in {100 * share:.0f} % of the frames"
            left.ecdf(change.dropna(), label=label, **_line_look(variant))
            _draw_draws(right, drawn[variant] - drawn[base], variant)
        for axes in (left, right):
            axes.axvline(0, color=INK, linewidth=1, linestyle="-")
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)
        unit = f"against {base} (mm)"
        left.set(xlabel=f"change of a frame's MPJPE {unit}", ylabel="share of frames")
        right.set(xlabel=f"change of the mean MPJPE {unit}", ylabel="draws")
    return figure


def _draw_draws(axes: Axes, changes: pd.Series, variant: str) -> None:
    """A histogram of resampled changes, its 95 % interval in the legend."""
    low, high = changes.quantile([0.025, 0.975])
    interval = f"{low:+.1f} … {high:+.1f}".replace("-", "−")
    look = _line_look(variant)
    axes.hist(
        changes,
        bins=40,
        histtype="stepfilled",
        facecolor=(look["color"], 0.15),
        edgecolor=look["color"],
        linestyle=look["linestyle"],
        linewidth=1.6,
        label=f"{variant}, 95 % of the draws {interval} mm",
    )


def show_comparison(ablation: Ablation, result: pd.DataFrame) -> Figure:
    """Above the error of each variant, below its change against the base variant."""
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(10, 5.6))
        above, below = figure.subplots(2, 1, sharex=True)
        for variant in ablation.variants:
            _draw_variant(above, ablation, result, "error", variant)
            if variant != ablation.base:
                _draw_variant(below, ablation, result, "change", variant)
        below.axhline(0, color=INK, linewidth=1, linestyle="-")
        above.set(ylabel="MPJPE (mm)")
        below.set(ylabel=f"change against {ablation.base} (mm)", xlabel="test frames")
        labels = [
            name.replace(" ", "\n", 1) + f"\n{rows.sum():,}"
            for name, rows in ablation.slices.items()
        ]
        below.set_xticks(range(len(labels)), labels)
        columns = len(ablation.variants)
        above.legend(ncols=columns, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def _draw_variant(
    axes: Axes, ablation: Ablation, result: pd.DataFrame, what: str, variant: str
) -> None:
    """Means with intervals of one variant over the slices; a small dot per seed."""
    rows = result.xs((what, variant), level=(1, 2))
    place = ablation.variants.index(variant) - (len(ablation.variants) - 1) / 2
    x = np.arange(len(rows)) + 0.2 * place
    number = VARIANTS.index(variant)
    color = LINE_COLORS[number]
    below = (rows["mean"] - rows["low"]).abs().astype(float)
    above = (rows["high"] - rows["mean"]).abs().astype(float)
    axes.errorbar(
        x,
        rows["mean"].astype(float),
        np.stack([below, above]),
        linestyle="",
        capsize=3,
        markersize=5,
        marker=MARKERS[number],
        color=color,
        label=variant,
    )
    for at, seeds in zip(x, rows["seeds"], strict=True):
        axes.plot(
            np.full(len(seeds), at + 0.06), seeds, ".", color=color, markersize=3.5
        )

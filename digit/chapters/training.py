"""Chapter "Training": what a run sees, its curves, and whether it beats the mean
pose."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from digit.chapters.closing_table import expected_and_measured
from digit.data.dataset import InterHandDataset
from digit.evaluation.mean_pose import mean_pose_errors
from digit.evaluation.protocol import protocol
from digit.model.checkpoints import load_network
from digit.plots import charts, overlays
from digit.plots import hands as hand_plots
from digit.skeleton import HEATMAP_CELLS
from digit.training import runs
from digit.training.clock import learning_rate
from digit.training.data import HandData
from digit.training.settings import PRESETS, Settings
from digit.training.validation import VALIDATION_METRICS

LOSS_TERMS = ("parts", "joints", "relative_root_depth", "hand_type", "bones")
ERROR_NAMES = ("mpjpe_sh", "mpjpe_ih", "mrrpe")


def against_the_paper(settings: Settings) -> pd.DataFrame:
    """The settings in which a run differs from the paper's recipe."""
    paper = vars(PRESETS["paper"])
    rows = {
        name: (value, paper[name])
        for name, value in vars(settings).items()
        if value != paper[name]
    }
    return pd.DataFrame(rows, index=["this run", "paper"]).T.astype(str)


def show_augmented(data: HandData, n: int = 8) -> Figure:
    """Training crops as the network sees them, with their joints and part masks."""
    # 1. One sample each of evenly spread frames.
    frames = data.train_frames
    rows = np.linspace(0, len(frames) - 1, n).round().astype(int)
    # A different epoch for each, since the augmentation depends on it.
    positions = [epoch * len(frames) + row for epoch, row in enumerate(rows)]
    batch = frames.batch(positions)

    # 2. Pictures, masks at full size, and joints in pixels.
    pictures = batch.image.permute(0, 2, 3, 1).contiguous().numpy()
    masks = batch.parts.repeat_interleave(2, 1).repeat_interleave(2, 2).numpy()
    joints_px = batch.joints_25d[..., :2].numpy() * pictures.shape[1] / HEATMAP_CELLS
    joints_px = hand_plots.masked(joints_px, batch.joint_valid.bool().numpy())
    painted = [
        overlays.paint_parts(picture, mask, 0.5)
        for picture, mask in zip(pictures, masks, strict=True)
    ]
    return hand_plots.contact_sheet(painted, columns=4, joints_px=joints_px)


def show_schedules(settings: Settings) -> Figure:
    """The learning rate over a run: this run's schedule beside the paper's."""
    shares = np.linspace(0, 1, 39)  # few enough to be drawn without a running mean
    schedules = {"this run": settings, "paper": PRESETS["paper"]}
    curves = {}
    for name, chosen in schedules.items():
        relative = [learning_rate(chosen, s) / chosen.learning_rate for s in shares]
        label = f"{name}, of {chosen.learning_rate:g}"
        curves[label] = pd.Series(relative, 100 * shares)
    return charts.learning_curves(
        {"share of the learning rate": curves}, xlabel="share of the run (%)"
    )


def show_predictions(run_dir: Path, data: HandData, n: int = 4) -> Figure:
    """Validation crops: annotated joints above, those of the best checkpoint below."""
    # 1. Evenly spread frames of subjects that were not trained on.
    network = load_network(run_dir / "checkpoints/best.ckpt")
    rows = np.linspace(0, len(data.val_index) - 1, n).round().astype(int)
    batch = InterHandDataset(data.val_index, network.image_size).batch(rows)
    with torch.inference_mode():
        prediction = network.eval()(batch.images(), batch.parts)

    # 2. Both sets of joints in pixels of the crops; hands that are not there are left out.
    pictures = list(batch.image.permute(0, 2, 3, 1).contiguous().numpy())
    joints_25d = torch.cat([batch.joints_25d, prediction.joints_25d]).numpy()
    cell_px = network.image_size / HEATMAP_CELLS
    valid = np.tile(batch.joint_valid.numpy() > 0, (2, 1))
    joints_px = hand_plots.masked(joints_25d[..., :2] * cell_px, valid)
    captions = ["annotated"] * n + ["predicted"] * n
    return hand_plots.contact_sheet(pictures * 2, captions, joints_px, columns=n)


def show_curves(run_dir: Path) -> Figure:
    """The weighted loss terms, and the validation errors."""
    curves = runs.curves(run_dir)
    losses = {term: curves[term] for term in LOSS_TERMS if term in curves}
    errors = {
        name: curves[f"val_{name}"] for name in ERROR_NAMES if f"val_{name}" in curves
    }
    return charts.learning_curves(
        {"loss, weighted": losses, "error on val (mm)": errors}
    )


def mean_pose_result(data: HandData) -> dict:
    """The protocol's metrics of the mean training pose on the validation frames."""
    table = mean_pose_errors(data.train_frames.index, data.val_index)
    return protocol(table, intervals=False)


def compare_results(results: dict[str, dict]) -> pd.DataFrame:
    """The headline metrics of several results, a row each."""
    rows = {
        name: {metric: result.get(metric) for metric in VALIDATION_METRICS}
        for name, result in results.items()
    }
    return pd.DataFrame(rows).T.astype(float).round(3)


def checks(run_dir: Path, result: dict, baseline: dict) -> pd.DataFrame:
    """Expected and measured: the loss fell, the mean pose is beaten, the weights are
    saved."""
    loss = runs.curves(run_dir)["loss"].dropna()
    fell_to = loss.iloc[-3:].mean() / loss.iloc[0]
    ratio = result["mpjpe_all"] / baseline["mpjpe_all"]
    saved = (run_dir / "checkpoints/best.ckpt").exists()
    return expected_and_measured(
        [
            ("loss at the end over the start", "< 1", f"{fell_to:.2f}", fell_to < 1),
            ("MPJPE over the mean pose's", "< 1", f"{ratio:.2f}", ratio < 1),
            ("best checkpoint on disk", "yes", "yes" if saved else "no", saved),
        ]
    )

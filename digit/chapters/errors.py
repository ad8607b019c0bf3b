"""Chapter "Error analysis": the worst frames, and what the bad frames have in
common."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.figure import Figure

from digit.chapters import evaluation
from digit.chapters.closing_table import expected_and_measured
from digit.evaluation.metrics import ERRORS
from digit.evaluation.protocol import protocol
from digit.paths import SHIPPED_WEIGHTS
from digit.plots import charts
from digit.plots import hands as hand_plots
from digit.skeleton import LABELS, SIDES
from digit.training import runs
from digit.widgets.failure_browser import FailureBrowser

INTERVAL_95 = 1.96  # half the width of a 95 % interval of a mean, in standard errors

CAUSES = {
    "heatmap_entropy": "entropy of the heatmaps (nats)",
    "hidden": "hidden share of the hands",
    "hands_distance_mm": "distance of the hands (mm)",
    "bbox_side_px": "side of the box (px)",
}
# Statements about frames, as conditions that the failure browser's filter accepts too.
STATEMENTS = {
    "a third is hidden": "hidden > 0.33",
    "the hands touch": "hands_distance_mm < 1",
    "two hands": "hand_type == 'interacting'",
    "the hand is small": "bbox_side_px < 150",
    "the back of a hand is seen": "palm_view_right_deg > 120 or palm_view_left_deg > 120",
    "the network is unsure": "heatmap_entropy > heatmap_entropy.quantile(0.8)",
    "wrong hand type": "handedness_correct == 0",
    "joints swapped": "joints_swapped == 1",
}
# Three ways to count a hand that was taken for the other one.
CONFUSIONS = {
    "wrong hand type": "handedness_correct == 0",
    "pixels of the other hand": "wrong_hand_share > 0.5",
    "joints swapped": "joints_swapped == 1",
}


def about_network(run_dir: Path) -> str:
    """Which network made the pictures of this chapter, and how long it was trained."""
    _, settings = runs.parameters(run_dir)
    now = runs.progress(run_dir)
    minutes = (now.get("seconds") or 0) / 60
    return (
        f"Everything here is of the network of the run {run_dir.name}: "
        f"{settings.network}, {now.get('step') or 0:,} steps in {minutes:.0f} minutes. "
        f"The weights that ship ({SHIPPED_WEIGHTS.name}) are another network."
    )


def against_mean_pose(
    run_dir: Path, dataset_dir: Path, split: str, table: pd.DataFrame
) -> pd.DataFrame:
    """The network's metrics beside those of the mean pose of its training frames.

    Args:
        run_dir: The run.
        dataset_dir: The data set of the table.
        split: Its split.
        table: The error table of the run.

    Returns:
        A row per metric that both have; "verdict" names those by which the network is
        worse than the mean pose.
    """
    result = protocol(table, intervals=False)
    root_depth = str(result["root_depth"])
    baseline = evaluation.mean_pose_result(run_dir, dataset_dir, split, root_depth)
    rows = evaluation.summary({"network": result, "mean pose": baseline}).T.dropna()
    lost = evaluation.worse_than_mean_pose(result, baseline)
    rows["verdict"] = [
        "worse than the mean pose" * (name in lost) for name in rows.index
    ]
    return rows


def show_spread(table: pd.DataFrame) -> Figure:
    """Histogram of the frames' errors, single hands beside interacting ones."""
    single = table["hand_type"] != "interacting"
    groups = {
        "single": table.loc[single, "mpjpe"].to_numpy(),
        "interacting": table.loc[~single, "mpjpe"].to_numpy(),
    }
    return charts.distributions({"MPJPE of a frame (mm)": groups})


def worst_rows(table: pd.DataFrame, n: int) -> list[int]:
    """Positions of the n frames with the largest error, the worst first."""
    error = table["mpjpe"].fillna(-1).to_numpy()
    return [int(row) for row in error.argsort()[::-1][:n]]


def error_kinds(table: pd.DataFrame) -> pd.DataFrame:
    """Mean errors in the image plane, in depth, after alignment, and between the
    wrists."""
    columns = ["mpjpe", "error_in_plane", "error_depth", "pa_mpjpe", "mrrpe"]
    columns += [name for name in ("part_iou", "wrong_hand_share") if name in table]
    return table.groupby("hand_type")[columns].mean().astype(float).round(2)


def show_joint_errors(table: pd.DataFrame) -> Figure:
    """Mean error of each joint."""
    return charts.joint_errors(table[ERRORS].to_numpy(float))


def worst_parts(table: pd.DataFrame, n: int = 8) -> pd.DataFrame:
    """The parts with the smallest overlap; empty where no part map was evaluated.

    Args:
        table: An error table with `part_pixels`: per frame the counts of true, predicted
            and correct pixels of each label.
        n: Parts to return.
    """
    if "part_pixels" not in table:
        return pd.DataFrame()
    # Counts over all frames: true, predicted and correct pixels of each label.
    totals = np.sum(list(table["part_pixels"]), axis=0).reshape(3, len(LABELS))
    true, predicted, correct = totals[:, 1:].astype(float)
    parts = pd.DataFrame(
        {
            "IoU": correct / (true + predicted - correct),
            "recall": correct / true,
            "share of hand pixels": true / true.sum(),
        },
        index=LABELS[1:],
    )
    return parts.sort_values("IoU").head(n).round(3)


def show_causes(table: pd.DataFrame) -> Figure:
    """Error of a frame against what may have caused it."""
    columns = {
        label: table[column].to_numpy(float)
        for column, label in CAUSES.items()
        if column in table
    }
    return charts.error_against(columns, table["mpjpe"].to_numpy(float))


def show_palm_views(table: pd.DataFrame) -> Figure:
    """Error of a hand against the angle between its palm and the camera."""
    views = [table[f"palm_view_{side}_deg"].to_numpy(float) for side in SIDES]
    errors = [table[f"mpjpe_{side}"].to_numpy(float) for side in SIDES]
    return charts.error_against(
        {"palm's view (°)": np.concatenate(views)},
        np.concatenate(errors),
        ylabel="MPJPE of a hand (mm)",
    )


def statements(table: pd.DataFrame) -> pd.DataFrame:
    """Each statement of `STATEMENTS` with the mean error where it holds and
    elsewhere."""
    rows = {}
    for claim, condition in _answerable(table, STATEMENTS).items():
        rows[claim] = _compare(table, condition)
    return pd.DataFrame(rows).T


def _answerable(table: pd.DataFrame, conditions: Mapping[str, str]) -> dict[str, str]:
    """The conditions whose first column the table has."""
    return {
        claim: condition
        for claim, condition in conditions.items()
        if re.match(r"\w+", condition)[0] in table
    }


def _compare(table: pd.DataFrame, condition: str) -> dict[str, object]:
    """Mean error where a condition holds and where it does not, with a 95 %
    interval."""
    # 1. The two groups of frames.
    inside = table.query(condition).dropna(subset="mpjpe")
    outside = table.drop(inside.index)["mpjpe"].dropna()

    # 2. Their difference with its standard error.
    difference = inside["mpjpe"].mean() - outside.mean()
    standard_error = np.hypot(inside["mpjpe"].sem(), outside.sem())
    worst = inside.nlargest(4, "mpjpe")["image_id"]
    return {
        "condition": condition,
        "frames": len(inside),
        "inside (mm)": round(inside["mpjpe"].mean(), 1),
        "outside (mm)": round(outside.mean(), 1),
        "difference": round(difference, 1),
        "±": round(INTERVAL_95 * standard_error, 1),
        "worst image_id": ", ".join(map(str, worst)),
    }


def families(table: pd.DataFrame, n: int = 12) -> pd.DataFrame:
    """Mean error of each pose family, the hardest first; empty for data without
    families."""
    if "family" not in table:
        return pd.DataFrame()
    # Few frames make a wide interval, which is shown beside the mean.
    groups = table.dropna(subset="mpjpe").groupby("family")["mpjpe"]
    worst = table.loc[groups.idxmax(), ["family", "image_id"]].set_index("family")
    summary = pd.DataFrame(
        {
            "MPJPE (mm)": groups.mean().round(1),
            "±": (INTERVAL_95 * groups.sem()).round(1),
            "frames": groups.size(),
            "worst image_id": worst["image_id"],
        }
    )
    return summary.sort_values("MPJPE (mm)", ascending=False).head(n)


def reject_unsure(
    table: pd.DataFrame, shares: tuple[float, ...] = (0, 0.1, 0.2, 0.3, 0.5)
) -> pd.DataFrame:
    """Mean error of the frames that remain when a share is left out.

    Args:
        table: An error table.
        shares: Shares of the frames that are left out.

    Returns:
        A row per share: the error when the frames with the broadest heatmaps are left out,
        and, as a bound, when the truly worst are.
    """
    scored = table.dropna(subset="mpjpe")
    error = scored["mpjpe"].astype(float)
    orders = {"the most uncertain": scored["heatmap_entropy"], "the worst": error}
    columns = {
        name: [error[order.rank(pct=True) <= 1 - share].mean() for share in shares]
        for name, order in orders.items()
    }
    index = pd.Index([f"{share:.0%}" for share in shares], name="left out")
    return pd.DataFrame(columns, index=index).round(1)


def rank_correlation(table: pd.DataFrame, column: str = "heatmap_entropy") -> float:
    """Spearman's correlation of a column with the error."""
    return float(table[column].rank().corr(table["mpjpe"].rank()))


def hand_type_confusion(table: pd.DataFrame) -> pd.DataFrame:
    """True against predicted hand types, frames."""
    predicted = table["predicted_hand_type"].rename("predicted")
    return pd.crosstab(table["hand_type"], predicted)


def confusions(table: pd.DataFrame) -> pd.DataFrame:
    """How many frames have a hand taken for the other one, counted in three ways."""
    rows = {}
    for name, condition in _answerable(table, CONFUSIONS).items():
        column = condition.split()[0]
        found = table.query(condition)
        rows[name] = {
            "frames": len(found),
            "of": int(table[column].notna().sum()),
            "worst image_id": ", ".join(
                map(str, found.nlargest(6, "mpjpe")["image_id"])
            ),
        }
    return pd.DataFrame(rows).T


def show_change(table: pd.DataFrame) -> Figure:
    """How much a second model changed each frame's error."""
    single = table["hand_type"] != "interacting"
    groups = {
        "single": table.loc[single, "mpjpe_change"].to_numpy(),
        "interacting": table.loc[~single, "mpjpe_change"].to_numpy(),
    }
    return charts.distributions({"change of MPJPE, B − A (mm)": groups})


def checks(table: pd.DataFrame, apart_mm: float) -> pd.DataFrame:
    """Expected and measured: the table and the pictures tell the same errors.

    Args:
        table: The error table.
        apart_mm: Largest difference between an error of the table and the same error
            computed anew for the pictures.
    """
    unknown = int(table["mpjpe"].isna().sum())
    return expected_and_measured(
        [
            ("frames whose error is not measurable", 0, unknown, unknown == 0),
            (
                "joint errors of the worst frames, now and stored, apart",
                "< 0.1 mm",
                f"{apart_mm:.4f} mm",
                apart_mm < 0.1,
            ),
        ]
    )


def save_worst(browser: FailureBrowser, path: Path) -> str:
    """Save the worst twentieth of the frames as a page that opens without a kernel.

    Returns:
        How many frames were saved, and where.
    """
    table = browser.table
    worst = table.query(browser.slices["worst 5 %"])
    rows = worst.sort_values("mpjpe", ascending=False).index
    page = browser.export(path, rows)
    return f"{len(rows)} of {len(table)} frames saved to {page}"


def show_frame(browser: FailureBrowser, row: int) -> Figure:
    """One frame: annotation above, prediction below; joints, parts, and hands in 3D."""
    # 1. What is true and what is predicted.
    frame = browser.table.iloc[row]
    view = browser.frame_view(row)
    prediction = view.predictions[0]
    joints_px = {"annotated": view.joints_px, "predicted": prediction.joints_px}
    known_parts = {}
    if view.true_parts is not None:
        known_parts["annotated"] = view.true_parts
    if prediction.output is not None:
        known_parts["predicted"] = prediction.output.labels

    # 2. The title says how wrong it is.
    title = (
        f"{frame.seq_name}, camera {frame.camera}: {frame.hand_type}, predicted "
        f"{frame.predicted_hand_type}; {frame.mpjpe:.0f} mm"
    )
    return hand_plots.frame_figure(
        view.picture, joints_px, known_parts, _hands_mm(browser, row), title
    )


def show_frame_rotatable(browser: FailureBrowser, row: int) -> go.Figure:
    """Annotated and predicted hands of one frame, to be turned with the mouse."""
    scenes = {
        name: hand_plots.hand_strokes(joints_mm)
        for name, joints_mm in _hands_mm(browser, row).items()
    }
    return hand_plots.space_rotatable(scenes)


def _hands_mm(
    browser: FailureBrowser, row: int
) -> dict[str, Float[np.ndarray, "42 3"]]:
    """Annotated and predicted joints in camera axes, each predicted wrist on its true
    one."""
    view = browser.frame_view(row)
    predicted_mm = view.predictions[0].joints_aligned_mm
    return {"annotated": view.joints_cam_mm, "predicted": predicted_mm}


def recomputed_apart_mm(browser: FailureBrowser, rows: Sequence[int]) -> float:
    """Largest difference between the table's joint errors and those of the pictures,
    mm."""
    apart = 0.0
    for row in rows:
        joints_mm = _hands_mm(browser, row)
        error = np.linalg.norm(joints_mm["predicted"] - joints_mm["annotated"], axis=-1)
        stored = browser.table.iloc[row][ERRORS].to_numpy(float)
        apart = max(apart, float(np.nanmax(np.abs(error - stored), initial=0)))
    return apart

"""Chapter "Evaluation": the protocol on a split, beside the mean pose."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from digit.chapters.common import expected_and_measured
from digit.data.index import open_index
from digit.evaluation.error_table import error_table
from digit.evaluation.mean_pose import mean_pose_predictions
from digit.evaluation.metrics import ERRORS
from digit.evaluation.protocol import protocol
from digit.plots import charts
from digit.skeleton import WRISTS
from digit.training import runs

SUMMARY = (
    "mpjpe_all",
    "mpjpe_sh",
    "mpjpe_ih",
    "mrrpe",
    "handedness_accuracy",
    "part_miou",
    "mpjpe_40_all",
    "mpjpe_predicted_handedness_all",
    "pa_mpjpe_all",
    "pck_auc",
)


def mean_pose_result(
    run_dir: Path, dataset_dir: Path, split: str, root_depth: str
) -> dict:
    """The protocol's metrics of the mean pose of the run's training frames."""
    _, settings = runs.parameters(run_dir)
    train = open_index(dataset_dir, settings.train_split).usable()
    test = open_index(dataset_dir, split).usable()
    predictions = mean_pose_predictions(train, test, root_depth)
    return protocol(error_table(test, predictions, root_depth))


def summary(results: dict[str, dict]) -> pd.DataFrame:
    """Metrics of several results, a row each."""
    rows = {
        name: {metric: result.get(metric) for metric in SUMMARY}
        for name, result in results.items()
    }
    return pd.DataFrame(rows).T.astype(float).round(3)


def worse_than_mean_pose(result: dict, baseline: dict) -> list[str]:
    """The error metrics by which a network loses to the mean pose."""
    errors = [name for name in SUMMARY if "mpjpe" in name or name == "mrrpe"]
    return [
        name
        for name in errors
        if None not in (result.get(name), baseline.get(name))
        and result[name] > baseline[name]
    ]


def root_relative_by_hand() -> pd.DataFrame:
    """A small case by hand: one joint of each hand, and what MPJPE and MRRPE see of it.

    The left hand is predicted 30 mm too deep as a whole. MPJPE subtracts each hand's
    own wrist and sees nothing of it; MRRPE looks at the wrists only and sees all of it.
    """
    # 1. The true points, and predicted ones with the left hand pushed back.
    true_mm = {
        "right wrist": (0, 0, 800),
        "right index tip": (0, -150, 790),
        "left wrist": (90, 0, 800),
        "left index tip": (90, -150, 780),
    }
    table = pd.DataFrame(true_mm, index=["x", "y", "z"]).T.astype(float)
    predicted = table.copy()
    predicted.loc[["left wrist", "left index tip"], "z"] += 30
    result = table.add_prefix("true ").join(predicted.add_prefix("predicted "))

    # 2. MPJPE: each joint relative to its own wrist.
    def root_relative(points: pd.DataFrame, side: str) -> np.ndarray:
        return points.loc[f"{side} index tip"] - points.loc[f"{side} wrist"]

    errors = {}
    for side in ("right", "left"):
        difference = root_relative(predicted, side) - root_relative(table, side)
        errors[f"{side} index tip"] = np.linalg.norm(difference)

    # 3. MRRPE: the left wrist relative to the right one.
    between_wrists = (predicted.loc["left wrist"] - predicted.loc["right wrist"]) - (
        table.loc["left wrist"] - table.loc["right wrist"]
    )
    errors["left wrist"] = np.linalg.norm(between_wrists)
    result["error (mm)"] = pd.Series(errors)
    result["enters"] = pd.Series(
        {
            "right index tip": "MPJPE",
            "left index tip": "MPJPE",
            "left wrist": "MRRPE",
        }
    )
    return result.fillna("")


def show_joint_errors(table: pd.DataFrame) -> Figure:
    """Mean error of each joint."""
    return charts.joint_errors(table[ERRORS].to_numpy(float))


def show_pck(table: pd.DataFrame) -> Figure:
    """Share of joints within a distance, single hands beside interacting ones."""
    single = table["hand_type"] != "interacting"
    joints = np.delete(ERRORS, WRISTS)  # the wrists' errors are zero by definition
    return charts.pck_curves(
        {
            "single": table.loc[single, joints].to_numpy(float),
            "interacting": table.loc[~single, joints].to_numpy(float),
        }
    )


def checks(
    dataset_dir: Path, split: str, table: pd.DataFrame, result: dict, baseline: dict
) -> pd.DataFrame:
    """Expected and measured: a row for every frame, and the mean pose is beaten."""
    n = len(open_index(dataset_dir, split).usable())
    rows = [("every frame has its row", n, len(table), n == len(table))]
    for hands, key in (("single", "mpjpe_sh"), ("interacting", "mpjpe_ih")):
        gain = 1 - (result[key] or np.nan) / (baseline[key] or np.nan)
        rows.append(
            (f"{hands}: below the mean pose by", "> 0 %", f"{gain:.0%}", gain > 0)
        )
    return expected_and_measured(rows)

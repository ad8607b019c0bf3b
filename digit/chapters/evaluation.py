"""Chapter "Evaluation": the protocol on a split, beside the mean pose."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from digit import geometry
from digit.chapters.closing_table import expected_and_measured
from digit.data.index import open_index
from digit.evaluation.ground_truth import annotated_joints
from digit.evaluation.mean_pose import mean_pose_errors
from digit.evaluation.metrics import ERRORS, joint_errors, mrrpe
from digit.evaluation.protocol import protocol
from digit.hands.model import generic_hands
from digit.plots import charts
from digit.plots.hands import draw, hand_strokes
from digit.plots.style import INK, STYLE, panel_grid
from digit.skeleton import JOINT_SIDE, WRISTS
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
    return protocol(mean_pose_errors(train, test, root_depth))


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


def show_root_relative(dataset_dir: Path, split: str, deeper_mm: float = 30) -> Figure:
    """The same case with whole hands, seen from the side: the left hand lies too deep.

    Args:
        dataset_dir: The data set's folder.
        split: The split whose first frame with all joints of two hands is shown; the hand
            model's own joints stand in where there is none.
        deeper_mm: How far the left hand is pushed away from the camera.

    Returns:
        Two panels: the hands where they are, and each hand from its own wrist.
    """
    # 1. The annotated hands of one frame, and the same ones with the left hand pushed.
    annotated = annotated_joints(open_index(dataset_dir, split).usable())
    whole = annotated.joint_valid.all(1)
    true_mm = annotated.joints_cam_mm[whole][:1] if whole.any() else _resting_hands_mm()
    pushed_mm = true_mm.clone()
    pushed_mm[:, JOINT_SIDE == 1, 2] += deeper_mm

    # 2. What each metric says of them.
    both = torch.ones(1, dtype=torch.bool)
    between_mm = mrrpe(pushed_mm[:, WRISTS], true_mm[:, WRISTS], both).item()
    error_mm = joint_errors(pushed_mm, true_mm).mean().item()
    panels = {
        f"where they are: MRRPE {between_mm:.0f} mm": (true_mm, pushed_mm),
        f"each from its own wrist: MPJPE {error_mm:.0f} mm": (
            geometry.root_relative(true_mm),
            geometry.root_relative(pushed_mm),
        ),
    }

    # 3. Depth to the right, the image's y axis downwards.
    with mpl.rc_context(STYLE):
        figure, grid = panel_grid(len(panels), row_height=3.6)
        for axes, (title, (true, pushed)) in zip(grid, panels.items(), strict=True):
            draw(axes, hand_strokes(true[0, :, [2, 1]].numpy(), INK), outline=False)
            draw(axes, hand_strokes(pushed[0, :, [2, 1]].numpy()), outline=False)
            axes.set(
                title=title, xlabel="z, away from the camera (mm)", ylabel="y (mm)"
            )
            axes.set_aspect("equal", adjustable="datalim")
            axes.invert_yaxis()
    return figure


def _resting_hands_mm() -> Float[torch.Tensor, "1 42 3"]:
    """The hand model's two hands at rest, side by side before a camera."""
    joints_mm = []
    for hand, x_mm in zip(generic_hands(), (-80.0, 80.0), strict=True):
        rest_mm = 1000 * hand.joints(hand.v_template)
        joints_mm.append(rest_mm + torch.tensor([x_mm, 0.0, 800.0]))
    return torch.cat(joints_mm)[None]


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

"""Chapter "From joints to hands": meshes fitted to joints, and what contradicts
them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from digit.chapters.closing_table import expected_and_measured
from digit.data.index import Index
from digit.data.parquet import read_table
from digit.data.store import image_store, read_image
from digit.hands.fitting import HandFits, fit_joints
from digit.hands.meshes import HandMesh, fit_meshes, mesh_warnings
from digit.hands.model import HandModel
from digit.hands.part_masks import Hands
from digit.plots import charts
from digit.plots import hands as hand_plots
from digit.plots.meshes import meshes_rotatable, overlay_meshes, side_view
from digit.skeleton import HAND_TYPE_FLAGS, JOINTS_PER_HAND
from digit.training import runs

WORST_SHARE = 0.1


class FittedFrame(NamedTuple):
    """The hands of one frame, fitted to its annotated joints."""

    picture: np.ndarray
    focal: Float[np.ndarray, "2"]
    princpt: Float[np.ndarray, "2"]
    meshes: list[HandMesh]


def fit_frame(index: Index, row: int, hands: Hands) -> FittedFrame:
    """Fit the hand models to the annotated joints of one frame."""
    frame = index.frame(row)
    joints_cam_mm = hand_plots.masked(frame.joints_cam_mm, frame.joint_valid)
    present = HAND_TYPE_FLAGS[frame.hand_type] > 0
    return FittedFrame(
        picture=read_image(image_store(index.dataset_dir), frame.key),
        focal=frame.focal,
        princpt=frame.princpt,
        meshes=fit_meshes(hands, joints_cam_mm, present),
    )


def show_over_photos(fitted: list[FittedFrame]) -> Figure:
    """Each photograph, the meshes over it, and the meshes from the side."""
    pictures, captions = [], []
    for frame in fitted:
        height = frame.picture.shape[0]
        overlay = overlay_meshes(
            frame.picture, frame.meshes, frame.focal, frame.princpt
        )
        pictures += [frame.picture, overlay, side_view(frame.meshes, size_px=height)]
        captions += ["the photograph", "fitted meshes", "from the camera's right"]
    return hand_plots.contact_sheet(pictures, captions, columns=3)


def show_rotatable(fitted: FittedFrame) -> go.Figure:
    """The meshes of one frame, to be turned with the mouse."""
    return meshes_rotatable(fitted.meshes)


def report(fitted: list[FittedFrame]) -> pd.DataFrame:
    """How far each mesh is from the joints it was fitted to, and what is wrong with
    it."""
    rows = []
    for number, frame in enumerate(fitted):
        residuals = {mesh.side: mesh.residual_mm for mesh in frame.meshes}
        rows.append(
            {
                "frame": number,
                "right residual (mm)": residuals.get("right", np.nan),
                "left residual (mm)": residuals.get("left", np.nan),
                "warnings": "; ".join(mesh_warnings(frame.meshes)),
            }
        )
    return pd.DataFrame(rows).set_index("frame").round(2)


def joints_of_side(index: Index, side: int) -> Float[np.ndarray, "n 21 3"]:
    """World joints (mm) of the wholly annotated hands of one side, 0 right or 1
    left."""
    rows = slice(side * JOINTS_PER_HAND, (side + 1) * JOINTS_PER_HAND)
    whole = _whole_hands(index, side)
    return index["joints_world_mm"][whole, rows].astype(np.float64)


def _whole_hands(index: Index, side: int) -> Bool[np.ndarray, "n"]:
    """Where every joint of a side is annotated."""
    rows = slice(side * JOINTS_PER_HAND, (side + 1) * JOINTS_PER_HAND)
    return index["joint_valid"][:, rows].all(1)


def residuals_mm(
    hand: HandModel, joints_mm: Float[np.ndarray, "n 21 3"]
) -> dict[str, Float[np.ndarray, "n"]]:
    """Fit good joints, and joints that no hand of this side can have.

    Args:
        hand: The model of the joints' side.
        joints_mm: Joints of hands of that side.

    Returns:
        Kind of joints → each hand's mean distance (mm) between given and fitted joints.
    """
    # 1. Joints that are right, noisy, and wrong in two ways.
    rng = np.random.default_rng(0)
    mirrored = joints_mm * np.array([-1.0, 1.0, 1.0])
    reordered = joints_mm.copy()
    reordered[:, :4], reordered[:, 16:20] = joints_mm[:, 16:20], joints_mm[:, :4]
    kinds = {
        "as annotated": joints_mm,
        "with 5 mm of noise": joints_mm + rng.normal(0, 5, joints_mm.shape),
        "mirrored: a left hand given as a right one": mirrored,
        "thumb and little finger exchanged": reordered,
    }

    # 2. How far a fit stays from each.
    return {name: fit_joints(hand, given).residual_mm for name, given in kinds.items()}


def quantiles(residuals: dict[str, Float[np.ndarray, "n"]]) -> pd.DataFrame:
    """Median and 95th percentile of the residuals, a row per kind."""
    rows = {
        name: np.quantile(values, [0.5, 0.95]) for name, values in residuals.items()
    }
    columns = ["median (mm)", "95 % (mm)"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).round(2)


def show_residuals(residuals: dict[str, Float[np.ndarray, "n"]]) -> Figure:
    """What share of the hands of each kind has a residual below a limit."""
    return charts.shares_below(residuals, "residual (mm)", "share of hands below it")


def vertex_error_mm(
    hand: HandModel, fits: HandFits, index: Index, side: int
) -> Float[np.ndarray, "n"]:
    """Mean distance between the fitted meshes' vertices and those of the stored fits,
    mm.

    Args:
        hand: The hand model of both.
        fits: Fits to the joints of `joints_of_side`.
        index: The frames, with fits of the same hand model.
        side: 0 right, 1 left.
    """
    whole = _whole_hands(index, side)
    stored = (index[f"mano_{name}"][whole, side] for name in ("pose", "shape", "trans"))
    true_vertices = hand.skin(*(torch.from_numpy(np.array(v)).float() for v in stored))
    parameters = (fits.pose, fits.shape, fits.trans_m)
    vertices = hand.skin(*map(torch.from_numpy, parameters))
    return (vertices - true_vertices).norm(dim=-1).mean(-1).numpy() * 1000


def read_errors(run_dir: Path, split: str) -> pd.DataFrame:
    """The error table that an evaluation of this run has left.

    Raises:
        MissingRun: If the split was not evaluated.
    """
    path = run_dir / f"errors_{split}.parquet"
    if not path.is_file():
        raise runs.not_evaluated(run_dir, split)
    return read_table(path)


def show_contradiction(table: pd.DataFrame) -> Figure:
    """Error of interacting frames against the contradiction between joints and
    parts."""
    both = table[table["hand_type"] == "interacting"]
    columns = {
        "contradiction": both["contradiction"].to_numpy(float),
        "entropy of the heatmaps (nats)": both["heatmap_entropy"].to_numpy(float),
    }
    return charts.error_against(columns, both["mpjpe"].to_numpy(float))


def detection_of_worst(table: pd.DataFrame) -> pd.DataFrame:
    """How well columns that need no annotation find the worst tenth of interacting
    frames.

    Returns:
        Per column the area under the ROC curve (0.5 is chance, 1 perfect), and the share of
        the worst tenth among the first tenth by that column.
    """
    # 1. Which frames are to be found.
    both = table[table["hand_type"] == "interacting"].dropna(subset="mpjpe")
    is_worst = both["mpjpe"] >= both["mpjpe"].quantile(1 - WORST_SHARE)

    # 2. How each column ranks them; a missing value counts as suspicious.
    rows = {}
    for column in ("contradiction", "heatmap_entropy"):
        order = both[column].rank(na_option="top")
        first = order > order.quantile(1 - WORST_SHARE)
        rows[column] = {
            "area under the curve": _area_under_curve(
                order.to_numpy(), is_worst.to_numpy()
            ),
            "of the worst tenth, in the first tenth": is_worst[first].sum()
            / is_worst.sum(),
        }
    return pd.DataFrame(rows).T.round(2)


def _area_under_curve(
    ranks: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"]
) -> float:
    """Area under the ROC curve by the Mann–Whitney statistic."""
    n_positive = positive.sum()
    n_negative = len(positive) - n_positive
    wins = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(wins / (n_positive * n_negative))


def checks(fits: HandFits, vertex_mm: Float[np.ndarray, "n"]) -> pd.DataFrame:
    """Expected and measured: what fitting exact joints gives back."""
    residual_mm = fits.residual_mm
    median_mm = np.median(residual_mm)
    high_mm = np.quantile(residual_mm, 0.95)
    vertex_median_mm = np.median(vertex_mm)
    return expected_and_measured(
        [
            ("joint residual, median (mm)", "≤ 1", f"{median_mm:.2f}", median_mm <= 1),
            (
                "joint residual, 95th percentile (mm)",
                "≤ 3",
                f"{high_mm:.2f}",
                high_mm <= 3,
            ),
            (
                "vertex error, median (mm)",
                "≤ 3",
                f"{vertex_median_mm:.2f}",
                vertex_median_mm <= 3,
            ),
        ]
    )

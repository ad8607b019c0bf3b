"""The metrics, one function each."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Num
from torch import Tensor

from digit import skeleton
from digit.data.index import Index
from digit.skeleton import JOINTS, WRISTS

ERRORS = [f"error_{joint}" for joint in JOINTS]
PALM = [skeleton.HAND_JOINTS.index(joint) for joint in ("index1", "pinky1", "wrist")]


def aligned_error(
    predicted: Float[Tensor, "*b n 3"],
    true: Float[Tensor, "*b n 3"],
    valid: Bool[Tensor, "*b n"],
) -> Float[Tensor, "*b n"]:
    """Distances after the similarity that best maps the predicted on the true valid points."""
    weight = (valid.to(true.dtype) / valid.sum(-1, keepdim=True))[..., None]
    predicted, true = (
        torch.where(valid[..., None], points, 0) for points in (predicted, true)
    )
    predicted = predicted - (weight * predicted).sum(-2, keepdim=True)
    true = true - (weight * true).sum(-2, keepdim=True)
    u, s, vh = torch.linalg.svd((weight * predicted).mT @ true)
    proper = torch.ones_like(s)
    proper[..., 2] = torch.linalg.det(u @ vh).sign()  # a rotation, never a mirror image
    scale = (s * proper).sum(-1) / (weight * predicted**2).sum((-1, -2)).clamp(1e-12)
    aligned = scale[..., None, None] * predicted @ (u * proper[..., None, :] @ vh)
    return (aligned - true).norm(dim=-1)


def _column(index: Index, name: str) -> Float32[Tensor, "b ..."]:
    return torch.tensor(index[name], dtype=torch.float32)


def _truth(
    index: Index,
) -> tuple[Float[Tensor, "b 42 3"], Bool[Tensor, "b 42"], Bool[Tensor, "b"]]:
    """Camera-frame joints; which count (their wrist does too); frames that have a wrist vector."""
    true = _column(index, "joints_cam_mm")
    valid = torch.tensor(index["joint_valid"]).bool() & true.isfinite().all(-1)
    valid &= valid[:, skeleton.JOINT_WRIST]
    return true, valid, valid[:, WRISTS].all(-1) & torch.tensor(index["hand_type"] == 2)


def _part_columns(
    pixels: Num[np.ndarray, "n 3 33"], confusion: Num[np.ndarray, "n 3 3"]
) -> dict:
    """What `part_statistics` say, one number a row; NaN where the true parts are not known."""
    true, given, right = pixels[:, :, 1:].swapaxes(0, 1).astype(float)
    confusion = np.where(confusion.any((1, 2), keepdims=True), confusion, np.nan)
    swapped = confusion[:, (1, 2), (2, 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = np.where(true > 0, right / (true + given - right), 0)
        return {
            "part_iou": iou.sum(1) / (true > 0).sum(1),
            "wrong_hand_share": swapped.sum(1) / confusion[:, 1:, 1:].sum((1, 2)),
            "right_called_left_px": swapped[:, 0],
            "left_called_right_px": swapped[:, 1],
        }


def pck_curve(
    table: pd.DataFrame, limits_mm: Num[np.ndarray, "t"]
) -> Float[np.ndarray, "t"]:
    """The share of valid joints, wrists left out, whose error is at most each limit."""
    error = np.delete(table[ERRORS].to_numpy(), WRISTS, 1)
    error = np.sort(error[~np.isnan(error)])
    with np.errstate(invalid="ignore"):
        return np.searchsorted(error, limits_mm, side="right") / np.float64(len(error))

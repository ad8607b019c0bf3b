"""Predicting the hands of one image."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from digit import geometry
from digit.inference.photo import read_photo
from digit.plots import hands as hand_plots
from digit.skeleton import HEATMAP_CELLS, JOINTS, JOINTS_PER_HAND, SIDES


class Estimate(NamedTuple):
    """One image's hands, in numpy; s is the crop's size, the hands of a type not seen included."""

    hand_type: Float[np.ndarray, "2"]  # probabilities, right and left
    joints_px: Float[np.ndarray, "42 2"]  # pixels of the image given
    joints_25d: Float[np.ndarray, "42 3"]  # heat-map units of the crop
    joints_cam_mm: (
        Float[np.ndarray, "42 3"] | None
    )  # where camera and wrist depth are known
    relative_root_depth_mm: float  # left wrist − right wrist
    crop: UInt8[np.ndarray, "s s 3"]
    parts: UInt8[np.ndarray, "s s"]  # labels on the crop

    def hands(self) -> list[str]:
        """The hands the network sees: "right", "left", both or none."""
        return [side for side, p in zip(SIDES, self.hand_type) if p > 0.5]

    def figure(self) -> Figure:
        """The crop with joints, its parts, and the hands in 3D, camera or not."""
        joints_mm = self.joints_cam_mm
        if joints_mm is None:  # weak perspective: a cell counts as its depth's
            joints_mm = geometry.cells_to_depth(
                torch.from_numpy(self.joints_25d)
            ).numpy()
            joints_mm[JOINTS_PER_HAND:, 2] += self.relative_root_depth_mm
        crop_px = self.joints_25d[:, :2] / HEATMAP_CELLS * len(self.crop)
        seen = np.repeat(self.hand_type > 0.5, JOINTS_PER_HAND)
        drawn = (
            hand_plots.masked(crop_px, seen),
            self.parts,
            hand_plots.masked(joints_mm, seen),
        )
        title = f"{' and '.join(self.hands()) or 'no'} hand"
        return hand_plots.frame_figure(
            self.crop, *({"predicted": v} for v in drawn), title
        )


@torch.inference_mode()
def predict(
    network: torch.nn.Module,
    image: UInt8[np.ndarray, "height width 3"],
    bbox_xywh: Sequence[float],
    focal: Sequence[float] | None = None,
    princpt: Sequence[float] | None = None,
    wrist_depth_mm: float | None = None,
) -> Estimate:
    """The hands in a box of an RGB image (px); the box is made square and ×1.25 as in evaluation.

    With a camera (focal, princpt, px) and the absolute depth of the right wrist, of the left one
    where only a left hand is seen, joints come in the camera frame too (mm). Raises ValueError for
    a box without area or outside the image, and for a network that is fed true parts.
    """
    x, y, w, h = bbox_xywh
    height, width = image.shape[:2]
    if not (np.abs(bbox_xywh).max() < 1e6 and w > 0 and h > 0):  # nor NaN
        raise ValueError(
            f"--bbox {x:g},{y:g},{w:g},{h:g}: give x, y, width > 0, height > 0 in px"
        )
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise ValueError(
            f"--bbox {x:g},{y:g},{w:g},{h:g} lies outside the {width}×{height} image"
        )
    size = network.image_size
    box = geometry.square_bbox(torch.tensor([x, y, w, h], dtype=torch.float64))
    affine = geometry.crop_affine(box, size)
    crop = _cut(image, affine.numpy(), size)
    prediction = network(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255)
    joints = prediction.joints_25d[0].double()
    back = geometry.invert_affine(affine)
    hand_type = prediction.hand_type_logits[0].double().sigmoid().numpy()
    relative = geometry.cells_to_depth(prediction.relative_root_depth[0].double())
    joints_cam = None
    if focal is not None and princpt is not None and wrist_depth_mm is not None:
        depth = torch.full((2,), float(wrist_depth_mm), dtype=torch.float64)
        if hand_type[0] > 0.5:
            depth[1] += relative
        camera = (torch.tensor(v, dtype=torch.float64) for v in (focal, princpt))
        joints_cam = geometry.from_25d(joints, back, depth, *camera, size).numpy()
    labels = prediction.part_logits.argmax(1)[0].byte().numpy()
    joints_px = geometry.apply_affine(
        back, joints[:, :2] / HEATMAP_CELLS * size
    ).numpy()
    parts = labels.repeat(2, 0).repeat(2, 1)
    return Estimate(
        hand_type, joints_px, joints.numpy(), joints_cam, float(relative), crop, parts
    )


def _cut(
    image: UInt8[np.ndarray, "height width 3"],
    affine: Float[np.ndarray, "2 3"],
    size: int,
) -> UInt8[np.ndarray, "s s 3"]:
    """The crop; a box far larger than that is averaged down first, for a warp only samples."""
    scale, shift = affine[0, 0], affine[:, 2]
    if (
        scale > 0.2 and max(image.shape) < 2**15 - 1
    ):  # all of InterHand2.6M, as evaluation does
        return cv2.warpAffine(image, affine, (size, size))
    margin = int(1 / scale)
    low = np.maximum(np.floor(-shift / scale) - margin, 0).astype(int)
    high = np.ceil((size - shift) / scale).astype(int) + margin
    patch = image[low[1] : high[1], low[0] : high[0]]
    shape = np.array(patch.shape[1::-1])
    k = np.maximum(1, np.minimum(0.5 / scale, shape)).astype(int)
    (w, h), (whole_w, whole_h) = shape // k, shape // k * k
    small = cv2.resize(
        patch[:whole_h, :whole_w], (int(w), int(h)), interpolation=cv2.INTER_AREA
    )
    moved = np.column_stack([affine[:, :2] * k, shift + scale * (low + (k - 1) / 2)])
    return cv2.warpAffine(small, moved, (size, size))


def predict_file(
    network: torch.nn.Module,
    path: Path,
    bbox_xywh: Sequence[float],
    focal: Sequence[float] | None,
    princpt: Sequence[float] | None,
    wrist_depth_mm: float | None,
    figure: Path | None = None,
) -> dict:
    """`predict` on a picture file as plain lists; `figure` is where a drawing goes.

    Raises as `read_photo` and `predict` do.
    """
    image, _ = read_photo(path)
    estimate = predict(network, image, bbox_xywh, focal, princpt, wrist_depth_mm)
    result = {
        "image": str(path),
        "bbox_xywh": list(bbox_xywh),
        "hands": estimate.hands(),
        "hand_type": dict(zip(SIDES, estimate.hand_type.tolist())),
        "joints": list(JOINTS),
        "joints_px": estimate.joints_px.tolist(),
        "joints_25d": estimate.joints_25d.tolist(),
        "relative_root_depth_mm": estimate.relative_root_depth_mm,
    }
    if estimate.joints_cam_mm is not None:
        result["joints_cam_mm"] = estimate.joints_cam_mm.tolist()
    if figure is not None:
        estimate.figure().savefig(figure)
    return result

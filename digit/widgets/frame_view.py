"""One frame as the failure browser shows it: its crop, the truth, each model's prediction.

`FrameReader` makes a `FrameView` of a row of the index; `FrameSource` finds the rows of an
error table in the data set and keeps what was made.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float64, UInt8
from torch import Tensor

from digit import geometry
from digit.data.dataset import Batch, InterHandDataset
from digit.data.index import Index, open_index
from digit.evaluation.ground_truth import BBOX_OF, RootDepth
from digit.model.network import Digit
from digit.plots import hands as hand_plots
from digit.plots.overlays import NetworkOutput
from digit.skeleton import HEATMAP_CELLS, JOINT_SIDE, JOINT_WRIST, WRISTS
from digit.widgets.canvas import encode_jpeg
from digit.widgets.evaluated_model import EvaluatedModel, StoredPrediction
from digit.widgets.messages import one_line

CROP_PX = 384
THUMBNAIL_PX = 112
THUMBNAIL_QUALITY = 80
KEPT_VIEWS = 48
KEPT_THUMBNAILS = 4096

CELL_PX = CROP_PX / HEATMAP_CELLS


class FramePrediction(NamedTuple):
    """What one model predicts for one frame; NaN for a hand that it does not predict."""

    joints_px: Float[np.ndarray, "42 2"]  # on the crop
    # Camera axes, each predicted wrist moved onto the true one: as MPJPE compares them
    joints_aligned_mm: Float[np.ndarray, "42 3"]
    # The left wrist by the predicted relative depth: as MRRPE compares them
    joints_cam_mm: Float[np.ndarray, "42 3"]
    output: NetworkOutput | None = None  # where the network is at hand


class FrameView(NamedTuple):
    """A frame's crop, its annotation (NaN where not annotated), the predictions."""

    picture: UInt8[np.ndarray, "s s 3"]
    true_parts: UInt8[np.ndarray, "s s"] | None
    joints_px: Float[np.ndarray, "42 2"]
    joints_cam_mm: Float[np.ndarray, "42 3"]
    predictions: list[FramePrediction | None]  # one for each model
    focal: Float[np.ndarray, "2"]  # of a camera that sees just the crop, px
    princpt: Float[np.ndarray, "2"]


class _Placement(NamedTuple):
    """What puts a prediction into camera space: the true wrists and their depths.

    A hand that is not annotated gets the wrist of the other one, so that a hand that is
    predicted as the other is drawn where the true one is.
    """

    wrists_mm: Float64[Tensor, "1 2 3"]
    wrist_depth_mm: Float64[Tensor, "1 2"]
    joint_known: Bool[np.ndarray, "42"]  # its wrist is annotated
    both_wrists: bool
    focal: Float64[Tensor, "1 2"]
    princpt: Float64[Tensor, "1 2"]
    crop_to_image: Float64[Tensor, "1 2 3"]


class FrameReader:
    """The frames of an index, each in its evaluation crop.

    Args:
        index: The frames.
        root_depth: The source of wrist depths and boxes of the evaluation.
    """

    def __init__(self, index: Index, root_depth: RootDepth) -> None:
        self.index = index
        self.root_depth = root_depth
        self.bbox = BBOX_OF[root_depth]
        self.crops = InterHandDataset(index, CROP_PX, bbox=self.bbox)
        self.thumbnails = InterHandDataset(index, THUMBNAIL_PX, bbox=self.bbox)

    def thumbnail(self, index_row: int) -> UInt8[np.ndarray, "s s 3"]:
        """The crop, small; raises as `view`."""
        return _picture(self.thumbnails.batch([index_row]))

    def view(self, index_row: int, models: Sequence[EvaluatedModel]) -> FrameView:
        """The frame and what the models predict for it.

        Args:
            index_row: Row of the index.
            models: The models.

        Returns:
            The view.

        Raises:
            ValueError, KeyError: If the frame has no picture or an unusable one.
        """
        frame = self.index.take([index_row])
        batch = self.crops.batch([index_row])

        # 1. The annotation
        valid = frame["joint_valid"][0] & frame["joint_valid"][0][JOINT_WRIST]
        true_px = batch.joints_25d[0, :, :2].double().numpy() * CELL_PX
        in_crop = batch.joint_valid[0].numpy() > 0
        true_parts = None
        if batch.parts_valid[0]:
            # Every second pixel of the crop is labelled.
            true_parts = batch.parts[0].numpy().repeat(2, 0).repeat(2, 1)

        # 2. The predictions
        placement = self._placement(frame, valid, batch)
        image_id = int(frame["image_id"][0])
        predictions = []
        for model in models:
            output = None
            if model.network is not None:
                stored, output = self._run(model.network, index_row)
            else:
                stored = model.stored_prediction(image_id)
            if stored is None:
                predictions.append(None)
            else:
                predictions.append(_place(stored, placement, output))

        return FrameView(
            picture=_picture(batch),
            true_parts=true_parts,
            joints_px=hand_plots.masked(true_px, in_crop),
            joints_cam_mm=hand_plots.masked(frame["joints_cam_mm"][0], valid),
            predictions=predictions,
            **_crop_camera(placement),
        )

    def _placement(
        self, frame: Index, valid: Bool[np.ndarray, "42"], batch: Batch
    ) -> _Placement:
        # 1. Depths of both wrists, true or of RootNet
        true_mm = torch.tensor(frame["joints_cam_mm"]).double()
        wrists_mm = true_mm[:, WRISTS]
        depth_mm = wrists_mm[..., 2]
        if self.root_depth == "rootnet":
            depth_mm = torch.tensor(frame["rootnet_depth_mm"]).double()

        # 2. The hand whose wrist each side gets: its own, or the only one
        wrist_valid = valid[list(WRISTS)]
        source = [side if wrist_valid[side] else 1 - side for side in (0, 1)]
        return _Placement(
            wrists_mm=wrists_mm[:, source],
            wrist_depth_mm=depth_mm[:, source],
            joint_known=valid.reshape(2, -1)[source].ravel(),
            both_wrists=bool(wrist_valid.all()),
            focal=torch.tensor(frame["focal"]).double(),
            princpt=torch.tensor(frame["princpt"]).double(),
            crop_to_image=batch.crop_to_image,
        )

    @torch.inference_mode()
    def _run(
        self, network: Digit, index_row: int
    ) -> tuple[StoredPrediction, NetworkOutput]:
        """Run a network on a frame, in its own input size."""
        # 1. The prediction in cells
        dataset = InterHandDataset(self.index, network.image_size, bbox=self.bbox)
        batch = dataset.batch([index_row])
        found = network(batch.images(), batch.parts)
        stored = StoredPrediction(
            joints_25d=found.joints_25d[0].numpy(),
            relative_root_depth=float(found.relative_root_depth[0]),
            hand_type=found.hand_type_logits[0].sigmoid().numpy(),
        )

        # 2. What the layers show, in half precision as it is kept
        probability = found.part_logits[0].float().softmax(0)
        labels = probability.argmax(0).byte().numpy()
        size = (CROP_PX, CROP_PX)
        logits = found.heatmaps[0].float()
        heatmaps = logits.flatten(1).softmax(-1).view(logits.shape)
        output = NetworkOutput(
            labels=cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST),
            part_probability=probability.half().numpy(),
            heatmaps=heatmaps.half().numpy(),
        )
        return stored, output


def _crop_camera(placement: _Placement) -> dict[str, Float[np.ndarray, "2"]]:
    """The camera of a crop that was cut out and scaled, not turned."""
    image_to_crop = geometry.invert_affine(placement.crop_to_image)
    scale = image_to_crop[0].diagonal()
    princpt = geometry.apply_affine(image_to_crop, placement.princpt[:, None])[0, 0]
    return {"focal": (placement.focal[0] * scale).numpy(), "princpt": princpt.numpy()}


def _picture(batch: Batch) -> UInt8[np.ndarray, "s s 3"]:
    """The picture of a batch of one frame."""
    return np.ascontiguousarray(batch.image[0].permute(1, 2, 0).numpy())


def _place(
    stored: StoredPrediction, placement: _Placement, output: NetworkOutput | None
) -> FramePrediction:
    """A prediction in cells in the crop's pixels and in camera space."""
    # 1. From cells into the camera
    joints_25d = torch.tensor(stored.joints_25d)[None].double()

    def in_camera(wrist_depth_mm: Float64[Tensor, "1 2"]) -> Float64[Tensor, "1 42 3"]:
        return geometry.from_25d(
            joints_25d,
            placement.crop_to_image,
            wrist_depth_mm,
            placement.focal,
            placement.princpt,
            CROP_PX,
        )

    # 2. Each hand on its true wrist
    cam_mm = in_camera(placement.wrist_depth_mm)
    aligned_mm = geometry.root_relative(cam_mm) + placement.wrists_mm[:, JOINT_SIDE]

    # 3. The left hand by the right wrist's depth and the predicted relative depth
    if placement.both_wrists:
        right_mm = placement.wrist_depth_mm[:, 0]
        relative = torch.tensor([stored.relative_root_depth]).double()
        left_mm = right_mm + geometry.cells_to_depth(relative)
        cam_mm = in_camera(torch.stack([right_mm, left_mm], 1))

    # 4. Only hands that are predicted, and in space only those with a true wrist
    predicted = (np.asarray(stored.hand_type) > 0.5)[JOINT_SIDE]
    known = predicted & placement.joint_known
    joints_px = stored.joints_25d[:, :2].astype(float) * CELL_PX
    return FramePrediction(
        joints_px=hand_plots.masked(joints_px, predicted),
        joints_aligned_mm=hand_plots.masked(aligned_mm[0].numpy(), known),
        joints_cam_mm=hand_plots.masked(cam_mm[0].numpy(), known),
        output=output,
    )


class FrameSource:
    """The frames of an error table in their data set; what was made is kept.

    Args:
        table: The error table.
        dataset_dir: The data set, None for none: frames then have no pictures.
        split: Its split.
        root_depth: See `FrameReader`.

    Attributes:
        models: The models whose predictions are shown; call `forget` after a change.
        index_rows: Row of the index for each row of the table, -1 where the data set
            has no such frame.
        warning: What is missing, in a sentence; empty if nothing is.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        dataset_dir: Path | str | None,
        split: str,
        root_depth: RootDepth,
    ) -> None:
        self.table = table
        self.models: list[EvaluatedModel] = []
        self.index_rows = np.full(len(table), -1)
        self.reader: FrameReader | None = None
        self.warning = self._open(table, dataset_dir, split, root_depth)
        self._lock = threading.RLock()
        self._background = ThreadPoolExecutor(1)
        self._waiting: list[Future] = []
        self.forget()

    def _open(
        self,
        table: pd.DataFrame,
        dataset_dir: Path | str | None,
        split: str,
        root_depth: RootDepth,
    ) -> str:
        """Find each row's frame in the data set; returns the warning."""
        if dataset_dir is None:
            return "No data set was given: frames are listed without their pictures. "
        try:
            index = open_index(dataset_dir, split)
        except (OSError, ValueError) as error:
            return f"{one_line(error)}. "

        # An image_id of another data set may occur here too: the file name tells.
        rows = pd.Index(index["image_id"]).get_indexer(table["image_id"])
        if "file_name" in table and len(index):
            differs = index["file_name"][rows] != table["file_name"].to_numpy(object)
            rows = np.where(differs, -1, rows)
        self.index_rows = rows
        self.reader = FrameReader(index, root_depth)
        unknown = int((rows < 0).sum())
        if unknown == 0:
            return ""
        return (
            f"{unknown} of {len(table)} rows are no frames of {dataset_dir} ({split}): "
            "the table belongs to another data set or version. They have no picture; "
            "evaluate again. "
        )

    def forget(self) -> None:
        """Make all views and thumbnails anew from now on."""
        self._view = lru_cache(KEPT_VIEWS)(self._make_view)
        self._thumbnail = lru_cache(KEPT_THUMBNAILS)(self._make_thumbnail)

    def _make_view(self, index_row: int) -> FrameView:
        return self.reader.view(index_row, self.models)

    def _make_thumbnail(self, index_row: int) -> bytes:
        return encode_jpeg(self.reader.thumbnail(index_row), THUMBNAIL_QUALITY)

    def _index_row(self, row: int) -> int:
        if self.index_rows[row] < 0:
            raise ValueError("The data set has no such frame, so there is no picture.")
        return int(self.index_rows[row])

    def view(self, row: int) -> FrameView:
        """The frame of a row of the table; raises as `FrameReader.view`."""
        index_row = self._index_row(row)
        with self._lock:  # two threads at once would make it twice
            return self._view(index_row)

    def thumbnail(self, row: int) -> bytes:
        """Its thumbnail as a JPEG; raises as `view`."""
        return self._thumbnail(self._index_row(row))

    def stored_joints(self, row: int) -> Float[np.ndarray, "42 2"] | None:
        """The first model's stored joints in shares of the crop's side; NaN for a hand
        that it does not predict, None without stored predictions."""
        image_id = int(self.table["image_id"].iloc[row])
        stored = self.models[0].stored_prediction(image_id)
        if stored is None:
            return None
        predicted = (np.asarray(stored.hand_type) > 0.5)[JOINT_SIDE]
        shares = stored.joints_25d[:, :2].astype(float) / HEATMAP_CELLS
        return hand_plots.masked(shares, predicted)

    def prepare(self, rows: Sequence[int]) -> None:
        """Make views of these rows in the background."""
        self._waiting = [self._background.submit(self.view, int(row)) for row in rows]

    def stop_preparing(self) -> None:
        """Drop what waits to be made in the background: someone waits for an answer."""
        for job in self._waiting:
            job.cancel()
        self._waiting = []

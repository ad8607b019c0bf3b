"""A frame as the widgets show it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8

from digit import geometry
from digit.data.dataset import InterHandDataset
from digit.data.index import Index
from digit.evaluation.ground_truth import BBOX_OF, RootDepth
from digit.evaluation.metrics import ERRORS
from digit.evaluation.predictions import Predictions
from digit.model.checkpoints import load_network
from digit.model.network import Digit, optimized_for_inference
from digit.plots import hands as hand_plots
from digit.skeleton import HEATMAP_CELLS, JOINT_SIDE, JOINT_WRIST, WRISTS

DISPLAY_PX, THUMBNAIL_PX = 384, 84
Source = pd.DataFrame | Path | str


class Account(NamedTuple):
    """What one model says of one frame; the last three only where its network is at hand."""

    joints_px: Float[
        np.ndarray, "42 2"
    ]  # on the crop shown; NaN: of a hand that it does not name
    aligned_mm: Float[
        np.ndarray, "42 3"
    ]  # camera axes, each wrist on the true (or only) one
    camera_mm: Float[
        np.ndarray, "42 3"
    ]  # the left wrist by the predicted relative depth
    labels: UInt8[np.ndarray, "s s"] | None = None
    part_probability: Float[np.ndarray, "33 h h"] | None = None
    heatmaps: Float[np.ndarray, "42 c c"] | None = None


class Shot(NamedTuple):
    """A frame as it is shown: its crop, what is true of it (NaN: not annotated), the accounts."""

    picture: UInt8[np.ndarray, "s s 3"]
    labels: UInt8[np.ndarray, "s s"] | None
    joints_px: Float[np.ndarray, "42 2"]
    camera_mm: Float[np.ndarray, "42 3"]
    accounts: list[Account | None]


class Model:
    """An error table with what lies beside it: predictions (.npz), a run's best checkpoint."""

    def __init__(self, source: Source, checkpoint: Path | str | None, split: str):
        self.name, self.predictions, self.path = "table", None, None
        if not isinstance(source, pd.DataFrame):
            path = self.path = Path(source)
            self.name = path.name if path.is_dir() else path.stem
            if path.is_dir():
                trained = path / "checkpoints" / "best.ckpt"
                checkpoint = checkpoint or (trained if trained.is_file() else None)
                path = self.path = path / f"errors_{split}.parquet"
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path}: no such table; digit evaluate --errors writes it"
                )
            try:
                source = pd.read_parquet(path)
            except (ValueError, OSError) as error:
                fault = f"{path}: no Parquet table ({sentence(error)}); write it anew"
                raise ValueError(fault) from None
            if path.with_suffix(".npz").is_file():
                self.predictions = Predictions.load(path.with_suffix(".npz"))
        if missing := [
            name for name in ("image_id", "mpjpe", *ERRORS) if name not in source
        ]:
            version = f"no error table of this version: column {missing[0]} is missing"
            raise ValueError(
                f"{self.name}: {version}; write it anew with digit evaluate --errors"
            )
        self.table = source
        self.row_of = (
            pd.Series(np.arange(len(source)), source["image_id"])
            .groupby(level=0)
            .first()
        )
        self.network = checkpoint and optimized_for_inference(load_network(checkpoint))

    def stored(self, image_id: int) -> tuple | None:
        """Joints (2.5D), relative root depth (cells) and hand type of a frame, from the .npz."""
        rows = () if self.predictions is None else self.predictions.image_id == image_id
        return (
            tuple(v[rows][0] for v in self.predictions[1:4]) if np.any(rows) else None
        )


def sentence(error: Exception) -> str:
    """What an error says, in one line."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split())[:400] or type(error).__name__


class Frames:
    """The frames of an index, each in its evaluation crop of `DISPLAY_PX`."""

    def __init__(self, index: Index, root_depth: RootDepth):
        self.index, self.depth, bbox = index, root_depth, BBOX_OF[root_depth]
        self._display = InterHandDataset(index, DISPLAY_PX, bbox=bbox)
        self._small = InterHandDataset(index, THUMBNAIL_PX, bbox=bbox)

    def thumbnail(self, place: int) -> UInt8[np.ndarray, "s s 3"]:
        """The crop, small; errors as `shot`'s."""
        picture = self._small.batch([place]).image[0].permute(1, 2, 0)
        return np.ascontiguousarray(picture.numpy())

    def shot(self, place: int, models: Sequence[Model]) -> Shot:
        """The frame at a row of the index; ValueError or KeyError says why there is none."""
        cell_px = DISPLAY_PX / HEATMAP_CELLS
        frame, batch = self.index.take([place]), self._display.batch([place])
        true_mm = torch.tensor(frame["joints_cam_mm"]).double()
        valid = frame["joint_valid"][0] & frame["joint_valid"][0][JOINT_WRIST]
        depth_mm = true_mm[:, WRISTS, 2]
        if self.depth == "rootnet":
            depth_mm = torch.tensor(frame["rootnet_depth_mm"]).double()
        both = valid[list(WRISTS)]
        beside = [
            side if both[side] else 1 - side for side in (0, 1)
        ]  # the hand there, if one is
        depth_mm, known = depth_mm[:, beside], valid.reshape(2, -1)[beside].ravel()
        wrists_mm = true_mm[:, WRISTS][:, beside]
        camera = [torch.tensor(frame[name]).double() for name in ("focal", "princpt")]
        accounts = []
        for model in models:
            said, extra = model.stored(int(frame["image_id"][0])), ()
            if model.network:
                said, extra = self._run(model.network, place)
            if said is None:
                accounts.append(None)
                continue
            joints, to_image = torch.tensor(said[0])[None].double(), batch.crop_to_image
            in_mm = [
                geometry.from_25d(joints, to_image, depth_mm, *camera, DISPLAY_PX)
            ] * 2
            in_mm[0] = geometry.root_relative(in_mm[0]) + wrists_mm[:, JOINT_SIDE]
            if both.all():
                left_mm = depth_mm[:, 0] + geometry.cells_to_depth(
                    torch.tensor([said[1]])
                )
                linked = torch.stack([depth_mm[:, 0], left_mm], 1)
                in_mm[1] = geometry.from_25d(
                    joints, to_image, linked, *camera, DISPLAY_PX
                )
            seen = (np.asarray(said[2]) > 0.5)[JOINT_SIDE]
            in_mm = [
                hand_plots.masked(points[0].numpy(), seen & known) for points in in_mm
            ]
            joints_px = hand_plots.masked(joints[0, :, :2].numpy() * cell_px, seen)
            accounts.append(Account(joints_px, *in_mm, *extra))
        labels = (
            batch.parts[0].numpy().repeat(2, 0).repeat(2, 1)
            if batch.parts_valid[0]
            else None
        )
        true_px = batch.joints_25d[0, :, :2].double().numpy() * cell_px
        true_px = hand_plots.masked(true_px, batch.joint_valid[0].numpy() > 0)
        picture = np.ascontiguousarray(batch.image[0].permute(1, 2, 0).numpy())
        return Shot(
            picture,
            labels,
            true_px,
            hand_plots.masked(true_mm[0].numpy(), valid),
            accounts,
        )

    @torch.inference_mode()
    def _run(self, network: Digit, place: int) -> tuple[tuple, tuple]:
        dataset = InterHandDataset(
            self.index, network.image_size, bbox=self._display.bbox
        )
        batch = dataset.batch([place])
        found = network(batch.images(), batch.parts)
        parts = found.part_logits[0].float().softmax(0)
        heatmaps = (
            found.heatmaps[0]
            .float()
            .flatten(1)
            .softmax(-1)
            .view(found.heatmaps.shape[1:])
        )
        labels = cv2.resize(
            parts.argmax(0).byte().numpy(), [DISPLAY_PX] * 2, interpolation=0
        )
        said = found.joints_25d[0].numpy(), float(found.relative_root_depth[0])
        said = *said, found.hand_type_logits[0].sigmoid().numpy()
        return said, (labels, parts.half().numpy(), heatmaps.half().numpy())

"""A record of the index → crop, augmentation → `Batch`.

A batch is made at once: the geometry of all its frames in one call, then each picture decoded and
warped straight into its place. `loader` gives a DataLoader of batches.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from digit import geometry
from digit.data.index import Index
from digit.data.store import image_store, mask_store, read_image, read_mask
from digit.skeleton import (
    HAND_TYPE_FLAGS,
    HEATMAP_CELLS,
    JOINT_WRIST,
    SWAP_JOINTS,
    SWAP_LABELS,
    WRISTS,
)

BboxSource = Literal["truth", "rootnet"]


class Batch(NamedTuple):
    """Frames as the network and the losses take them; flags and validities are 0 or 1."""

    image: UInt8[Tensor, "b 3 s s"]  # RGB, channels last in memory
    joints_25d: Float32[
        Tensor, "b 42 3"
    ]  # heat-map units of the crop; finite where not valid too
    joint_valid: Float32[Tensor, "b 42"]
    relative_root_depth: Float32[
        Tensor, "b"
    ]  # left wrist − right wrist, heat-map units
    root_valid: Float32[Tensor, "b"]
    hand_type: Float32[Tensor, "b 2"]  # right, left
    hand_type_valid: Float32[Tensor, "b"]
    parts: UInt8[Tensor, "b h h"]  # labels 0…32 at half the crop's size
    parts_valid: Float32[Tensor, "b"]
    crop_to_image: Float64[
        Tensor, "b 2 3"
    ]  # pixel of the crop → pixel of the stored image
    row: Int64[Tensor, "b"]  # position in the data set's index

    def images(self) -> Float32[Tensor, "b 3 s s"]:
        """The pictures as the network takes them, in [0, 1]."""
        return self.image.float() / 255


class Targets(NamedTuple):
    """What the annotations say of a crop of each frame; fields as in `Batch`."""

    bbox_xywh: Float64[Tensor, "b 4"]  # the crop's box in the image, px
    image_to_crop: Float64[Tensor, "b 2 3"]
    joints_25d: Float32[Tensor, "b 42 3"]
    joint_valid: Float32[Tensor, "b 42"]
    relative_root_depth: Float32[Tensor, "b"]
    root_valid: Float32[Tensor, "b"]
    hand_type: Float32[Tensor, "b 2"]
    hand_type_valid: Float32[Tensor, "b"]


@dataclass(frozen=True)
class Augmentation:
    """How far training crops vary; the original's by default."""

    translate: float = 0.15  # uniform, ± of the crop's side
    scale: float = 0.25  # of the crop's side, normal, clipped at one deviation
    rotation_deg: float = 45.0  # one deviation of a normal, clipped at `rotation_clip`
    rotation_probability: float = 0.6
    rotation_clip: float = 2.0
    flip: float = 0.5  # probability
    colour: float = 0.2  # uniform, ± per channel

    def draw(self, keys: Sequence[tuple[int, int, int]]) -> tuple[Tensor, ...]:
        """Shift (b, 2) and scale (b,) of the side, rotation (rad), mirrored, colour (b, 3).

        A sample's numbers follow from its own key (seed, epoch, index) alone.
        """
        draws = [np.random.default_rng(key) for key in keys]
        uniform = torch.tensor(np.array([rng.random(7) for rng in draws]))
        normal = torch.tensor(np.array([rng.standard_normal(2) for rng in draws]))
        angle = (
            normal[:, 1].clamp(-self.rotation_clip, self.rotation_clip)
            * self.rotation_deg
        )
        return (
            self.translate * (2 * uniform[:, :2] - 1),
            1 + self.scale * normal[:, 0].clamp(-1, 1),
            (angle * (uniform[:, 2] < self.rotation_probability)).deg2rad(),
            uniform[:, 3] < self.flip,
            1 + self.colour * (2 * uniform[:, 4:] - 1),
        )


def crop_boxes(index: Index, bbox: BboxSource = "truth") -> Float64[Tensor, "b 4"]:
    """The evaluation crop of each frame: the square box ×1.25, or RootNet's box as it stands.

    NaN where the annotated box is empty; ValueError where RootNet has none.
    """
    boxes = index["bbox_xywh" if bbox == "truth" else "rootnet_bbox_xywh"].astype(
        np.float64
    )
    bad = ~(boxes[:, 2:] > 0).all(-1)
    if bbox == "rootnet" and bad.any():
        frames = f"{bad.sum()} of {len(boxes)} frames (image_id {index['image_id'][bad][0]}, …)"
        raise ValueError(
            f"{index.root} ({index.split}): {frames} have no box in rootnet_output; "
            "add RootNet's file of this split or take the true boxes and depths"
        )
    boxes = torch.tensor(np.where(bad[:, None], np.nan, boxes))
    return geometry.square_bbox(boxes) if bbox == "truth" else boxes


def crop_targets(
    index: Index,
    bbox_xywh: Float64[Tensor, "b 4"],
    rotation: Float64[Tensor, "b"],
    mirrored: Bool[Tensor, "b"],
    size_px: int,
) -> Targets:
    """The targets of each frame of the index for one given crop each (`geometry.crop_affine`)."""
    image_to_crop = geometry.crop_affine(bbox_xywh, size_px, rotation, mirrored)
    camera = (
        torch.tensor(index[name], dtype=torch.float64) for name in ("focal", "princpt")
    )
    joints_cam = torch.tensor(index["joints_cam_mm"], dtype=torch.float64)
    joints_px = geometry.apply_affine(
        image_to_crop, geometry.project(joints_cam, *camera)
    )
    annotated = torch.tensor(index["joint_valid"], dtype=torch.bool)
    hand_type = torch.tensor(HAND_TYPE_FLAGS[index["hand_type"]])

    flip = torch.where(
        mirrored[:, None], torch.tensor(SWAP_JOINTS), torch.arange(len(SWAP_JOINTS))
    )
    joints_px = joints_px.take_along_dim(flip[..., None], 1)  # (b, 42, 2)
    depth = joints_cam[..., 2].take_along_dim(flip, 1)
    annotated = annotated.take_along_dim(flip, 1)
    hand_type = torch.where(mirrored[:, None], hand_type.flip(-1), hand_type)

    joints = geometry.to_25d(joints_px, depth, size_px)
    inside = ((joints >= 0) & (joints < HEATMAP_CELLS)).all(-1) & (depth > 0)
    root_depth = geometry.depth_to_cells(geometry.relative_root_depth(depth))
    root_valid = (inside & annotated)[:, WRISTS].all(-1) & hand_type.all(-1)
    root_valid &= (root_depth >= 0) & (root_depth < HEATMAP_CELLS)
    return Targets(
        bbox_xywh,
        image_to_crop,
        joints.nan_to_num(0, 0, 0).float(),  # 0 × infinity would spoil a masked loss
        (inside & annotated & annotated[:, JOINT_WRIST]).float(),
        root_depth.nan_to_num(0, 0, 0).float(),
        root_valid.float(),
        hand_type,
        torch.tensor(index["hand_type_valid"], dtype=torch.float32),
    )


def evaluation_targets(
    index: Index, bbox: BboxSource = "truth", size_px: int = 256
) -> Targets:
    """The targets of each frame of the index in its evaluation crop."""
    boxes = crop_boxes(index, bbox)
    return crop_targets(
        index, boxes, boxes.new_zeros(len(boxes)), boxes[:, 0].isnan(), size_px
    )


class InterHandDataset(Dataset):
    """The frames of an index as batches: evaluation crops, or augmented ones for training.

    Raises ValueError where RootNet's boxes are wanted and a frame has none.
    """

    def __init__(
        self,
        index: Index,
        size_px: int = 256,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        bbox: BboxSource = "truth",
    ):
        self.index, self.size_px, self.seed, self.bbox = index, size_px, seed, bbox
        self.augmentation = augmentation or Augmentation(*[0.0] * 7)
        if bbox == "rootnet":
            crop_boxes(index, bbox)  # said here, not by a worker on its way
        self._images, self._masks = image_store(index.root), mask_store(index.root)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Batch:
        return self.batch([position])

    def batch(self, positions: Sequence[int]) -> Batch:
        """The frames at these positions, each epoch · len(self) + row of the index.

        A sample's augmentation is a function of (seed, epoch, row) only. Raises ValueError for an
        empty box, a picture that is broken or has not its annotated size, KeyError for no picture.
        """
        epochs, rows = np.divmod(np.asarray(positions, np.int64), len(self))
        index, size = self.index.take(rows), self.size_px
        keys = [(self.seed, *key) for key in zip(epochs.tolist(), rows.tolist())]
        shift, scale, rotation, mirrored, colour = self.augmentation.draw(keys)
        corner, sides = crop_boxes(index, self.bbox).split(2, -1)
        if not sides.isfinite().all():
            raise ValueError(
                f"{index.root} ({index.split}): empty box; take index.usable()"
            )
        centre, sides = corner + (0.5 + shift) * sides, sides * scale[:, None]
        boxes = torch.cat([centre - sides / 2, sides], -1)
        targets = crop_targets(index, boxes, rotation, mirrored, size)

        image = np.empty((len(index), size, size, 3), np.uint8)
        parts = np.zeros((len(index), size // 2, size // 2), np.uint8)
        parts_valid = index["parts_valid"] & (self._masks is not None)
        sizes_px = zip(index["width"].tolist(), index["height"].tolist())
        for i, (name, size_px) in enumerate(zip(index["file_name"], sizes_px)):
            key, affine = f"{index.split}/{name}", targets.image_to_crop[i].numpy()
            picture = read_image(self._images, key)
            if picture.shape[1::-1] != size_px:
                sizes = f"{picture.shape[1::-1]} pixels, annotated as {size_px}"
                raise ValueError(
                    f"{index.root}: {key} has {sizes}: exclude it (digit check)"
                )
            cv2.warpAffine(picture, affine, (size, size), image[i])
            cv2.transform(image[i], colour[i].diag().numpy(), image[i])
            if parts_valid[i]:  # every second pixel of the crop
                mask = read_mask(self._masks, key)
                cv2.warpAffine(
                    mask, affine / 2, parts[i].shape, parts[i], cv2.INTER_NEAREST
                )
                parts[i] = SWAP_LABELS[parts[i]] if mirrored[i] else parts[i]
        return Batch(
            torch.from_numpy(image).permute(0, 3, 1, 2),
            *targets[2:],
            torch.from_numpy(parts),
            torch.tensor(parts_valid, dtype=torch.float32),
            geometry.invert_affine(targets.image_to_crop),
            torch.from_numpy(rows),
        )

    __getitems__ = batch  # a DataLoader asks for all frames of a batch at once


def single_threaded(worker: int) -> None:
    """`worker_init_fn`: the processes are the parallelism, libraries must not add more.

    Signals sent to all are for the main process, which saves a checkpoint while its workers live.
    SIGTERM may also be its own, to end them as it leaves: they obey after five seconds.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(5))
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))


def loader(
    dataset: InterHandDataset, batch_size: int, workers: int = 0, **options
) -> DataLoader:
    """A DataLoader of batches; `options` are the DataLoader's own (shuffle, sampler, …)."""
    options.setdefault("persistent_workers", workers > 0)
    start = {"collate_fn": Batch._make, "worker_init_fn": single_threaded}
    return DataLoader(dataset, batch_size, num_workers=workers, **start, **options)

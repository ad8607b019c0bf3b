"""Frames of an index as batches: crop, augmentation, targets.

A batch is made at once: the geometry of all its frames in one call, then each picture
is decoded and warped straight into its place. Training and evaluation read their frames
here, through `loader` or a DataLoader of their own.
"""

import logging
import os
import signal
from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from digit import geometry
from digit.data.augmentation import NO_AUGMENTATION, Augmentation, View
from digit.data.images import decode_image, size_fault
from digit.data.index import Index
from digit.data.store import image_store, mask_store, read_mask
from digit.skeleton import (
    HAND_TYPE_FLAGS,
    HEATMAP_CELLS,
    JOINT_WRIST,
    SWAP_JOINTS,
    SWAP_LABELS,
    WRISTS,
)

logger = logging.getLogger(__name__)

BboxSource = Literal["truth", "rootnet"]
# Workers that give no batch for so long hang. Chosen by eye: no batch takes minutes.
LOADER_TIMEOUT_S = 600.0
MASK_WARNINGS = 3  # unusable masks that a process logs before it is silent about them
LOOK_STREAM = 1  # tells the generator of a sample's look from that of its geometry


class Batch(NamedTuple):
    """Frames as the network and the losses take them; flags and validities are 0 or
    1."""

    image: UInt8[Tensor, "b 3 s s"]  # RGB, channels last in memory
    # Heat-map units of the crop; finite where not valid too.
    joints_25d: Float32[Tensor, "b 42 3"]
    joint_valid: Float32[Tensor, "b 42"]
    # Left wrist − right wrist on the scale of z: 32 cells for equal depths.
    relative_root_depth: Float32[Tensor, "b"]
    root_valid: Float32[Tensor, "b"]
    hand_type: Float32[Tensor, "b 2"]  # right, left
    hand_type_valid: Float32[Tensor, "b"]
    parts: UInt8[Tensor, "b h h"]  # labels 0…32 at half the crop's size
    parts_valid: Float32[Tensor, "b"]
    # Pixel of the crop → pixel of the stored image.
    crop_to_image: Float64[Tensor, "b 2 3"]
    row: Int64[Tensor, "b"]  # position in the data set's index
    # How far the joints' depths are to be trusted: 1, or less where they are doubtful.
    depth_weight: Float32[Tensor, "b"]

    def images(self) -> Float32[Tensor, "b 3 s s"]:
        """The pictures as the network takes them, in [0, 1]."""
        return self.image.float() / 255


class FrameLabels(NamedTuple):
    """What the annotations say of b frames, in pixels of their pictures."""

    joints_px: Float64[Tensor, "b 42 2"]
    depth_mm: Float64[Tensor, "b 42"]  # before the camera
    annotated: Bool[Tensor, "b 42"]
    hand_type: Float32[Tensor, "b 2"]  # right, left
    hand_type_valid: Float32[Tensor, "b"]
    # Whether the depths of the two hands can be compared.
    root_depth_known: Bool[Tensor, "b"]


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


def frame_labels(index: Index) -> FrameLabels:
    """Read the labels of every frame of an index."""
    joints_cam_mm = torch.tensor(index["joints_cam_mm"], dtype=torch.float64)
    focal = torch.tensor(index["focal"], dtype=torch.float64)
    princpt = torch.tensor(index["princpt"], dtype=torch.float64)
    return FrameLabels(
        joints_px=geometry.project(joints_cam_mm, focal, princpt),
        depth_mm=joints_cam_mm[..., 2],
        annotated=torch.tensor(index["joint_valid"], dtype=torch.bool),
        hand_type=torch.tensor(HAND_TYPE_FLAGS[index["hand_type"]]),
        hand_type_valid=torch.tensor(index["hand_type_valid"], dtype=torch.float32),
        root_depth_known=torch.ones(len(index), dtype=torch.bool),
    )


def tight_boxes(labels: FrameLabels) -> Float64[Tensor, "b 4"]:
    """The box of each frame's annotated joints (x, y, width, height); NaN without
    any."""
    seen = labels.annotated & labels.joints_px.isfinite().all(-1)
    none = ~seen.any(-1, keepdim=True)
    low = torch.where(seen[..., None], labels.joints_px, torch.inf).amin(1)
    high = torch.where(seen[..., None], labels.joints_px, -torch.inf).amax(1)
    box = torch.cat([low, high - low], -1)
    return torch.where(none, torch.nan, box)


def crop_boxes(index: Index, bbox: BboxSource = "truth") -> Float64[Tensor, "b 4"]:
    """The evaluation crop of each frame.

    Args:
        index: b frames.
        bbox: "truth": the annotated box made square, × 1.25. "rootnet": RootNet's box
            as it stands.

    Returns:
        Boxes (x, y, width, height, px); NaN where the annotated box is empty.

    Raises:
        ValueError: If RootNet's boxes are asked for and a frame has none.
    """
    name = "bbox_xywh" if bbox == "truth" else "rootnet_bbox_xywh"
    boxes = index[name].astype(np.float64)
    bad = ~(boxes[:, 2:] > 0).all(-1)
    if bbox == "rootnet" and bad.any():
        first = index["image_id"][bad][0]
        frames = f"{bad.sum()} of {len(boxes)} frames (image_id {first}, …)"
        raise ValueError(
            f"{index.dataset_dir} ({index.split}): {frames} have no box in rootnet_output; "
            "add RootNet's file of this split or take the true boxes and depths"
        )
    boxes = torch.tensor(np.where(bad[:, None], np.nan, boxes))
    return geometry.square_bbox(boxes) if bbox == "truth" else boxes


def crop_targets(
    labels: FrameLabels,
    bbox_xywh: Float64[Tensor, "b 4"],
    rotation: Float64[Tensor, "b"],
    mirrored: Bool[Tensor, "b"],
    size_px: int,
) -> Targets:
    """The targets of each frame in one given crop (`geometry.crop_affine`).

    Args:
        labels: The labels of b frames.
        bbox_xywh: The crop's box in each picture, px.
        rotation: By how much the box is turned, rad.
        mirrored: Which crops are mirrored: their right hand counts as a left one.
        size_px: The crop's size.

    Returns:
        Targets; a joint is valid where it is annotated, its wrist is, it lies in the
        crop and its relative depth in the range of the heat maps.
    """
    # 1. Joints in the crop; those of mirrored frames change sides.
    image_to_crop = geometry.crop_affine(bbox_xywh, size_px, rotation, mirrored)
    joints_px = geometry.apply_affine(image_to_crop, labels.joints_px)
    own = torch.arange(len(SWAP_JOINTS))
    order = torch.where(mirrored[:, None], torch.tensor(SWAP_JOINTS), own)
    joints_px = joints_px.take_along_dim(order[..., None], 1)  # (b, 42, 2)
    depth_mm = labels.depth_mm.take_along_dim(order, 1)
    annotated = labels.annotated.take_along_dim(order, 1)
    swapped = labels.hand_type.flip(-1)
    hand_type = torch.where(mirrored[:, None], swapped, labels.hand_type)

    # 2. Which of them count.
    joints = geometry.to_25d(joints_px, depth_mm, size_px)
    inside = ((joints >= 0) & (joints < HEATMAP_CELLS)).all(-1) & (depth_mm > 0)
    valid = inside & annotated & annotated[:, JOINT_WRIST]

    # 3. The depth from wrist to wrist.
    root_depth_mm = geometry.relative_root_depth(depth_mm)
    root_depth = geometry.depth_to_cells(root_depth_mm)
    root_valid = (inside & annotated)[:, WRISTS].all(-1) & hand_type.all(-1)
    root_valid &= (root_depth >= 0) & (root_depth < HEATMAP_CELLS)
    root_valid &= labels.root_depth_known

    return Targets(
        bbox_xywh=bbox_xywh,
        image_to_crop=image_to_crop,
        # 0 × infinity would spoil a masked loss.
        joints_25d=joints.nan_to_num(0, 0, 0).float(),
        joint_valid=valid.float(),
        relative_root_depth=root_depth.nan_to_num(0, 0, 0).float(),
        root_valid=root_valid.float(),
        hand_type=hand_type,
        hand_type_valid=labels.hand_type_valid,
    )


def evaluation_targets(
    index: Index, bbox: BboxSource = "truth", size_px: int = 256
) -> Targets:
    """The targets of each frame of the index in its evaluation crop."""
    boxes = crop_boxes(index, bbox)
    still = boxes.new_zeros(len(boxes))
    return crop_targets(
        frame_labels(index),
        bbox_xywh=boxes,
        rotation=still,
        mirrored=still.bool(),
        size_px=size_px,
    )


class InterHandDataset(Dataset):
    """The frames of an index as batches: evaluation crops, or augmented ones for
    training."""

    def __init__(
        self,
        index: Index,
        size_px: int = 256,
        augmentation: Augmentation | View | None = None,
        seed: int = 0,
        bbox: BboxSource = "truth",
        depth_weight: float = 1.0,
    ):
        """Args:
        index: The frames.
        size_px: Size of the crops.
        augmentation: How crops vary; evaluation crops without.
        seed: Of the augmentation.
        bbox: Whose boxes, see `crop_boxes`.
        depth_weight: How far the depths are to be trusted; below 1 the depth between
            the wrists does not count at all.

        Raises:
            ValueError: If RootNet's boxes are asked for and a frame has none.
        """
        self.index = index
        self.size_px = size_px
        self.augmentation = augmentation or NO_AUGMENTATION
        self.seed = seed
        self.bbox = bbox
        self.depth_weight = depth_weight
        if bbox == "rootnet":
            crop_boxes(index, bbox)  # raises here, not in a loader worker later on
        self._images = image_store(index.dataset_dir)
        self._masks = mask_store(index.dataset_dir)
        self._mask_faults = 0

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Batch:
        return self.batch([position])

    def batch(self, positions: Sequence[int]) -> Batch:
        """The frames at these positions of the stream, epoch · len(self) + row.

        A sample's augmentation is a function of (seed, epoch, row) alone. A part mask
        that cannot be used (missing, broken, of another size, with values that are no
        labels) is left out with a line in the log: its frame counts without part
        supervision.

        Raises:
            ValueError: If a box is empty, or a picture broken or not of its annotated
                size.
            KeyError: If a picture is missing.
        """
        epochs, rows = np.divmod(np.asarray(positions, np.int64), len(self))
        index = self.index.take(rows)
        keys = [
            (self.seed, epoch, row)
            for epoch, row in zip(epochs.tolist(), rows.tolist(), strict=True)
        ]
        pictures = (self.read_picture(index, i) for i in range(len(index)))
        masks = (self._read_mask(index, i) for i in range(len(index)))
        labels = frame_labels(index)
        if self.augmentation.about_tight_box:
            boxes = geometry.square_bbox(tight_boxes(labels), scale=1.0)
        else:
            boxes = crop_boxes(index, self.bbox)
        return self.crop(labels, boxes, pictures, masks, keys, rows)

    __getitems__ = batch  # a DataLoader asks for all frames of a batch at once

    def crop(self, labels, base_xywh, pictures, masks, keys, rows) -> Batch:
        """Crop pictures as this data set crops its frames.

        Args:
            labels: `FrameLabels` of b frames.
            base_xywh: Boxes (b, 4) that the augmentation's shifts and scales refer to,
                px.
            pictures: Iterable of b RGB pictures.
            masks: Iterable of b part masks, None where a frame has none.
            keys: What each sample's random numbers follow from.
            rows: What goes into the batch's `row`.

        Raises:
            ValueError: If a box is empty.
        """
        # 1. Where the crops lie, and what the labels become in them.
        draw = self.augmentation.draw(keys)
        corner, sides = base_xywh.split(2, -1)
        if not sides.isfinite().all():
            raise ValueError(
                f"{self.index.dataset_dir} ({self.index.split}): empty box; "
                "use index.usable()"
            )
        centre = corner + (0.5 + draw.shift) * sides
        sides = sides * draw.scale[:, None]
        boxes = torch.cat([centre - sides / 2, sides], -1)
        size = self.size_px
        targets = crop_targets(
            labels, boxes, rotation=draw.rotation, mirrored=draw.mirrored, size_px=size
        )

        # 2. The pictures, and every second pixel of the masks.
        count = len(keys)
        image = np.empty((count, size, size, 3), np.uint8)
        parts = np.zeros((count, size // 2, size // 2), np.uint8)
        parts_valid = np.zeros(count, np.float32)
        for i, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
            rng = np.random.default_rng((*keys[i], LOOK_STREAM))
            affine = targets.image_to_crop[i].numpy()
            border = self.augmentation.border(rng)
            cv2.warpAffine(
                picture,
                affine,
                (size, size),
                dst=image[i],
                borderMode=border.mode,
                borderValue=border.colour,
            )
            cv2.transform(image[i], draw.colour[i].diag().numpy(), image[i])
            image[i] = self.augmentation.paint(image[i], rng)
            if mask is not None:
                parts_valid[i] = 1
                cv2.warpAffine(
                    mask, affine / 2, parts[i].shape, parts[i], cv2.INTER_NEAREST
                )
                if draw.mirrored[i]:
                    parts[i] = SWAP_LABELS[parts[i]]

        # 3. Depths that cannot be trusted do not tell how far the hands are apart.
        trusted = float(self.depth_weight == 1)
        return Batch(
            image=torch.from_numpy(image).permute(0, 3, 1, 2),
            joints_25d=targets.joints_25d,
            joint_valid=targets.joint_valid,
            relative_root_depth=targets.relative_root_depth,
            root_valid=targets.root_valid * trusted,
            hand_type=targets.hand_type,
            hand_type_valid=targets.hand_type_valid,
            parts=torch.from_numpy(parts),
            parts_valid=torch.from_numpy(parts_valid),
            crop_to_image=geometry.invert_affine(targets.image_to_crop),
            row=torch.from_numpy(np.asarray(rows, np.int64)),
            depth_weight=torch.full((count,), self.depth_weight),
        )

    def read_picture(self, index: Index, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture of a frame of an index of this data set.

        Raises:
            ValueError: If it is broken, or not of its annotated size.
            KeyError: If it is missing.
        """
        key = f"{index.split}/{index['file_name'][i]}"
        width, height = int(index["width"][i]), int(index["height"][i])
        # The header is read first: no memory is asked for a picture of a wrong size.
        data = self._images.read(key)
        try:
            fault = size_fault(data, width, height)
            picture = None if fault else decode_image(data)
        except ValueError as error:
            fault = str(error)
        if not fault and picture.shape[:2] != (height, width):
            fault = f"{picture.shape[1]} × {picture.shape[0]} pixels"
        if fault:
            hint = "run digit prepare, which excludes such frames"
            raise ValueError(f"{index.dataset_dir}: {key}: {fault}; {hint}")
        return picture

    def _read_mask(self, index: Index, i: int) -> UInt8[np.ndarray, "h w"] | None:
        """The part mask of a frame; None where it has none that can be used."""
        if self._masks is None or not index["parts_valid"][i]:
            return None
        key = f"{index.split}/{index['file_name'][i]}"
        width, height = int(index["width"][i]), int(index["height"][i])
        try:
            mask = read_mask(self._masks, key)
            if mask.shape == (height, width):
                return mask
            found = f"{mask.shape[1]} × {mask.shape[0]} pixels"
            fault = f"{key[:-4]}.png: {found}, its image has {width} × {height}"
        except (ValueError, KeyError) as error:
            fault = str(error.args[0])
        # An unusable mask costs part supervision of one frame, not the run.
        self._mask_faults += 1
        if self._mask_faults <= MASK_WARNINGS:
            is_last = self._mask_faults == MASK_WARNINGS
            rest = " (no more such lines)" if is_last else ""
            logger.warning("part mask left out: %s%s", fault, rest)
        return None


def single_threaded(worker: int) -> None:
    """`worker_init_fn`: the processes are the parallelism, libraries must not add more.

    Signals sent to all are for the main process, which saves a checkpoint while its
    workers live. SIGTERM may also be its own, to end them as it leaves: they obey after
    five seconds.
    """
    # 1. One thread each
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    # 2. Signals
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(5))
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))


def loader(
    dataset: InterHandDataset, batch_size: int, workers: int = 0, **options
) -> DataLoader:
    """A DataLoader of batches; `options` are the DataLoader's own (shuffle, sampler,
    …).

    Workers that hang end it with torch's RuntimeError after `LOADER_TIMEOUT_S`.
    """
    options.setdefault("persistent_workers", workers > 0)
    options.setdefault("timeout", LOADER_TIMEOUT_S if workers else 0)
    start = {"collate_fn": Batch._make, "worker_init_fn": single_threaded}
    return DataLoader(dataset, batch_size, num_workers=workers, **start, **options)

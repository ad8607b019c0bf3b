"""The data of a run: a stream of training batches, and the frames it is evaluated on.

The training loop and notebook 05 call `open_data`, and so does `digit train` before it
starts anything, so that faulty data is named at once.
"""

import os
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from digit.data.augmentation import Augmentation
from digit.data.build_index import prepare_index
from digit.data.composites import CompositeFrames
from digit.data.cut_outs import rows_with_cut_outs
from digit.data.dataset import (
    LOADER_TIMEOUT_S,
    Batch,
    InterHandDataset,
    single_threaded,
)
from digit.data.index import Index
from digit.data.store import mask_store
from digit.evaluation.ground_truth import BBOX_OF
from digit.model.network import NETWORKS, check_image_size
from digit.training.mixture import (
    MixedFrames,
    batch_counts,
    parse_other_data_sets,
)
from digit.training.sampler import StreamSampler
from digit.training.settings import SettingError, Settings

# Loader workers hand their batches over in shared memory (on Linux: this folder).
SHARED_MEMORY = Path("/dev/shm")
PREFETCHED_BATCHES = 2  # a worker, torch's default


class HandData(pl.LightningDataModule):
    """The training stream of one data set or several, and the evaluation frames of one.

    The first data set alone is evaluated on, and an epoch is one pass over its training
    frames, whatever else the batches hold (settings `also` and `composites`). The loop
    sets `first_step` and `last_step` before training.

    Args:
        dataset_dir: The data set's folder.
        settings: Splits, augmentation, depth source, workers and batch size are read.
        size_px: Side of the crops.

    Raises:
        SettingError: If data sets or composites cannot be mixed as the settings say.
        ValueError: If a split has no usable frame, or no boxes of the kind asked for.
        FileNotFoundError, ValueError: As `open_index`, for a faulty data set.
    """

    def __init__(self, dataset_dir: Path, settings: Settings, size_px: int):
        super().__init__()
        self.settings = settings
        self.first_step = 0
        self.last_step = 0

        self.train_frames = _training_frames(
            dataset_dir, settings, size_px, label_kind=None
        )
        self.mixture, self.batch_counts = self._mix(size_px)

        val_index = _usable_frames(dataset_dir, settings.val_split)
        val_index = _evenly_drawn(val_index, settings.val_frames)
        self.val_frames = InterHandDataset(
            val_index, size_px, bbox=BBOX_OF[settings.root_depth]
        )

    @property
    def samples_per_epoch(self) -> int:
        """Samples of all data sets that go with one pass over the first one's frames."""
        batch_size = sum(self.batch_counts)
        return max(1, len(self.train_frames) * batch_size // self.batch_counts[0])

    def _mix(self, size_px: int) -> tuple[MixedFrames, list[int]]:
        """The members of the mixture, and how many samples of a step each gives."""
        settings = self.settings
        members = [self.train_frames]
        shares = []

        # 1. Further data sets.
        for other in parse_other_data_sets(settings.also):
            frames = _training_frames(
                other.dataset_dir, settings, size_px, other.label_kind
            )
            members.append(frames)
            shares.append(other.share)

        # 2. Composites of all hands that have been cut out.
        if settings.composites:
            with_hands = [
                frames for frames in members if len(rows_with_cut_outs(frames.index))
            ]
            if not with_hands:
                raise SettingError(
                    f"composites={settings.composites}: none of the data sets has "
                    "cut-out hands; run digit prepare --cut-outs on a data set of photographs"
                )
            members.append(CompositeFrames(with_hands, others=self.train_frames))
            shares.append(settings.composites)

        return MixedFrames(members), batch_counts(settings.batch_size, shares)

    def part_warning(self) -> str:
        """What is to be said where no part mask counts though parts are used; "" else."""
        settings = self.settings
        is_learnt = settings.weight_parts + settings.weight_part_iou > 0
        is_used = {"predicted": is_learnt, "true": True, "none": False}
        data_sets = [
            member.index
            for member in self.mixture.members
            if isinstance(member, InterHandDataset)
        ]
        if not is_used[settings.parts] or any(map(has_part_masks, data_sets)):
            return ""
        index = self.train_frames.index
        return (
            f"{index.dataset_dir}: no part mask of {index.name} counts, so the network "
            "learns no parts (the part loss stays 0); render masks with digit prepare "
            f"--root {index.dataset_dir} (digit doctor says what they lack), or set "
            "weight_parts=0 to train without"
        )

    @property
    def val_index(self) -> Index:
        """The frames that the evaluation of this run sees."""
        return self.val_frames.index

    def train_dataloader(self) -> DataLoader:
        """The batches of this process, from `first_step` to `last_step`."""
        settings = self.settings
        # Which frames: this process's share of every step.
        sampler = StreamSampler(
            [len(frames) for frames in self.mixture.members],
            self.batch_counts,
            settings,
            first_step=self.first_step,
            last_step=self.last_step,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )

        # Who makes them: workers that make whole batches, one each in turn.
        return DataLoader(
            self.mixture,
            batch_sampler=sampler,
            num_workers=settings.workers,
            collate_fn=Batch._make,
            worker_init_fn=single_threaded,
            pin_memory=torch.cuda.is_available(),
            timeout=LOADER_TIMEOUT_S if settings.workers else 0,
        )


def open_data(dataset_dir: Path, settings: Settings) -> HandData:
    """Open the data of a run, with crops of the size that its network wants.

    Raises:
        SettingError: If the network or the image size cannot be.
        FileNotFoundError, ValueError: As `HandData`.
    """
    return HandData(dataset_dir, settings, crop_size(settings))


def crop_size(settings: Settings) -> int:
    """Side in pixels of the run's crops, in training and whenever its weights are used.

    Raises:
        SettingError: If the network is unknown or the image size too large.
    """
    if settings.network not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise SettingError(
            f"network={settings.network}: unknown; choose one of {known}"
        )
    if not settings.image_size:
        return NETWORKS[settings.network]["image_size"]
    try:
        check_image_size(settings.image_size)
    except ValueError as error:
        raise SettingError(str(error)) from None
    return settings.image_size


def check_shared_memory(settings: Settings) -> None:
    """Raise SettingError where the loader workers' batches do not fit shared memory.

    Containers often have 64 MB of it; workers that run out of it hang or are killed.
    Outside Linux nothing is checked.
    """
    if not settings.workers or not SHARED_MEMORY.is_dir():
        return
    pixels = crop_size(settings) ** 2
    frame_bytes = 3 * pixels + pixels // 4  # the image, and part labels at half size
    batch = settings.batch_size // settings.accumulate // settings.nodes
    batches = settings.workers * PREFETCHED_BATCHES
    needed = batches * batch * frame_bytes  # of all devices of this machine together
    space = os.statvfs(SHARED_MEMORY)
    free = space.f_bavail * space.f_frsize
    if needed > free:
        sizes = f"{needed / 1e6:.0f} MB, {SHARED_MEMORY} has {free / 1e6:.0f} MB"
        hint = "set workers=0, or give the container more (docker run --shm-size=4g)"
        raise SettingError(
            f"workers={settings.workers}: the loader needs {sizes} of shared memory; {hint}"
        )


def has_part_masks(index: Index) -> bool:
    """Whether any frame of an index has a part mask that counts."""
    masks = mask_store(index.dataset_dir)
    return masks is not None and bool(index["parts_valid"].any())


def _training_frames(
    dataset_dir: Path, settings: Settings, size_px: int, label_kind: str | None
) -> InterHandDataset:
    """The training frames of one data set, its depths weighted by the kind of its labels.

    Args:
        dataset_dir: The data set's folder.
        settings: Split, augmentation, seed and weight of doubtful depths are read.
        size_px: Side of the crops.
        label_kind: "3d", "2d" or "flat"; None: as the data set says of itself.
    """
    index = _usable_frames(dataset_dir, settings.train_split)
    # Joints that lie in a plane for want of depths teach none.
    depth_weights = {"3d": 1.0, "2d": settings.doubtful_depth, "flat": 0.0}
    return InterHandDataset(
        index,
        size_px,
        _augmentation(settings),
        settings.seed,
        depth_weight=depth_weights[label_kind or index.label_kind],
    )


def _usable_frames(dataset_dir: Path, split: str) -> Index:
    """The frames of a split that are not excluded; ValueError where there is none."""
    index = prepare_index(dataset_dir, split).usable()
    if not len(index):
        raise ValueError(
            f"{dataset_dir}: no frame of {index.name} is usable: see digit doctor"
        )
    return index


def _evenly_drawn(index: Index, count: int) -> Index:
    """So many frames of an index, evenly drawn; all of them for 0."""
    if not count or count >= len(index):
        return index
    rows = np.linspace(0, len(index) - 1, count).round().astype(int)
    return index.take(rows)


def _augmentation(settings: Settings) -> Augmentation | None:
    """How training crops vary; None where they do not."""
    if not settings.augment:
        return None
    return Augmentation(
        flip=settings.flip,
        rotation_deg=settings.rotation_deg,
        translate=settings.translate,
        scale=settings.scale,
        narrowest_crop=settings.narrowest_crop,
        widest_crop=settings.widest_crop,
        turned=settings.turned,
        appearance=settings.appearance,
    )

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

from digit.data.build_index import prepare_index
from digit.data.dataset import Augmentation, Batch, InterHandDataset, single_threaded
from digit.data.index import Index
from digit.evaluation.ground_truth import BBOX_OF
from digit.model.network import NETWORKS, check_image_size
from digit.training.sampler import StreamSampler
from digit.training.settings import SettingError, Settings

# Loader workers hand their batches over in shared memory (on Linux: this folder).
SHARED_MEMORY = Path("/dev/shm")
PREFETCHED_BATCHES = 2  # a worker, torch's default
LOADER_TIMEOUT_S = 600.0  # chosen by eye: no batch takes minutes


class HandData(pl.LightningDataModule):
    """The training stream and the evaluation frames of one data set.

    The loop sets `first_step` and `last_step` before training.

    Args:
        dataset_dir: The data set's folder.
        settings: Splits, augmentation, depth source, workers and batch size are read.
        size_px: Side of the crops.

    Raises:
        ValueError: If a split has no usable frame, or no boxes of the kind asked for.
        FileNotFoundError, ValueError: As `open_index`, for a faulty data set.
    """

    def __init__(self, dataset_dir: Path, settings: Settings, size_px: int):
        super().__init__()
        self.settings = settings
        self.first_step = 0
        self.last_step = 0

        train_index = _usable_frames(dataset_dir, settings.train_split)
        self.train_frames = InterHandDataset(
            train_index, size_px, _augmentation(settings), settings.seed
        )

        val_index = _usable_frames(dataset_dir, settings.val_split)
        val_index = _evenly_drawn(val_index, settings.val_frames)
        self.val_frames = InterHandDataset(
            val_index, size_px, bbox=BBOX_OF[settings.root_depth]
        )

    @property
    def val_index(self) -> Index:
        """The frames that the evaluation of this run sees."""
        return self.val_frames.index

    def train_dataloader(self) -> DataLoader:
        """The batches of this process, from `first_step` to `last_step`."""
        settings = self.settings
        sampler = StreamSampler(
            len(self.train_frames),
            settings,
            first_step=self.first_step,
            last_step=self.last_step,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return DataLoader(
            self.train_frames,
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


def _usable_frames(dataset_dir: Path, split: str) -> Index:
    """The frames of a split that are not excluded; ValueError where there is none."""
    index = prepare_index(dataset_dir, split).usable()
    if not len(index):
        raise ValueError(
            f"{dataset_dir}: no frame of {index.name} is usable: see digit check"
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
    )

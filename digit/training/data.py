"""The data of a run."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from digit.data.dataset import Augmentation, Batch, InterHandDataset, single_threaded
from digit.data.index import Index, open_index
from digit.evaluation.ground_truth import BBOX_OF
from digit.model.network import NETWORKS
from digit.training.sampler import StreamSampler
from digit.training.settings import Settings


class HandData(pl.LightningDataModule):
    """The training stream and the evaluation frames of one data set.

    Raises ValueError for an empty split, or one without the boxes that are asked for, and what
    `open_index` raises for a faulty data set.
    """

    def __init__(self, root: Path, settings: Settings, size_px: int):
        super().__init__()
        train = open_index(root, settings.train_split).usable()
        val = open_index(root, settings.val_split).usable()
        for index in (train, val):
            if not len(index):
                raise ValueError(
                    f"{root}: no frame of {index.name} is usable: see digit check"
                )
        if settings.val_frames and settings.val_frames < len(val):
            val = val.take(
                np.linspace(0, len(val) - 1, settings.val_frames).round().astype(int)
            )
        augmentation = None
        if settings.augment:
            names = ("flip", "rotation_deg", "translate", "scale")
            augmentation = Augmentation(
                **{name: getattr(settings, name) for name in names}
            )
        self.settings, self.steps, self.start = settings, 0, 0
        self.train_frames = InterHandDataset(
            train, size_px, augmentation, settings.seed
        )
        self.val_frames = InterHandDataset(
            val, size_px, bbox=BBOX_OF[settings.root_depth]
        )

    @property
    def val_index(self) -> Index:
        """Frames the evaluation of this run sees."""
        return self.val_frames.index

    def train_dataloader(self) -> DataLoader:
        where = (
            self.steps,
            self.start,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        return DataLoader(
            self.train_frames,
            num_workers=self.settings.workers,
            collate_fn=Batch._make,
            batch_sampler=StreamSampler(len(self.train_frames), self.settings, *where),
            worker_init_fn=single_threaded,
            pin_memory=torch.cuda.is_available(),
        )


def open_data(root: Path, settings: Settings) -> HandData:
    """The data of a run, with crops of the size its network wants."""
    return HandData(root, settings, crop_size(settings))


def crop_size(settings: Settings) -> int:
    """Pixels of the run's crops, in training and whenever its checkpoints are used.

    Raises ValueError for a network that is not there.
    """
    if settings.network not in NETWORKS:
        name, known = settings.network, ", ".join(NETWORKS)
        raise ValueError(f"--set network={name}: unknown; choose one of {known}")
    return settings.image_size or NETWORKS[settings.network]["image_size"]

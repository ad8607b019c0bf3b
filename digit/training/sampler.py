"""The order in which training samples are drawn.

`digit.training.data` gives a `StreamSampler` to its DataLoader.
"""

from collections.abc import Iterator

import numpy as np

from digit.training.settings import Settings


class StreamSampler:
    """The batches of one process, from one optimiser step to another.

    All samples of a run form one stream: a permutation of the frames for epoch 0, then
    one for epoch 1, … Which frame stands at which position depends on the seed alone,
    so any number of processes, and any session of a resumed run, reads its share of the
    same stream.

    Args:
        frames: Number of training frames.
        settings: Batch size, accumulation and seed are read.
        first_step: The optimiser step to begin with, counted from 0.
        last_step: The step to end before.
        rank: Number of this process.
        world_size: How many processes share each batch.
    """

    def __init__(
        self,
        frames: int,
        settings: Settings,
        *,
        first_step: int,
        last_step: int,
        rank: int,
        world_size: int,
    ):
        if frames < 1:
            raise ValueError("an empty data set has no samples to draw")
        self.frames = frames
        self.seed = settings.seed
        self.rank = rank
        self.world_size = world_size
        # The accumulated batches of a step follow one another in the stream.
        self.batch_size = settings.batch_size // settings.accumulate
        self.batches = range(
            first_step * settings.accumulate, last_step * settings.accumulate
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        """Batches of dataset positions, each epoch · frames + row of the index."""
        order = np.empty(0, np.int64)
        epoch_of_order = -1
        for batch in self.batches:
            start = batch * self.batch_size
            mine = range(start + self.rank, start + self.batch_size, self.world_size)
            positions = []
            for place in mine:
                epoch, place_in_epoch = divmod(place, self.frames)
                if epoch != epoch_of_order:
                    generator = np.random.default_rng([self.seed, epoch])
                    order = generator.permutation(self.frames)
                    epoch_of_order = epoch
                positions.append(epoch * self.frames + int(order[place_in_epoch]))
            yield positions

"""The order in which training samples are drawn, from one data set or several.

`digit.training.data` gives a `StreamSampler` to its DataLoader.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from digit.training.settings import Settings


class FrameStream:
    """The frames of one data set: a permutation for epoch 0, then one for epoch 1, …

    Args:
        frames: Number of training frames.
        seed: The permutations follow from it alone.
    """

    def __init__(self, frames: int, seed: int):
        if frames < 1:
            raise ValueError("an empty data set has no samples to draw")
        self.frames = frames
        self.seed = seed
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    def __getitem__(self, place: int) -> int:
        """The sample at a place of the stream: epoch · frames + row of the index."""
        epoch, place_in_epoch = divmod(place, self.frames)
        if epoch != self._epoch:
            generator = np.random.default_rng([self.seed, epoch])
            self._order = generator.permutation(self.frames)
            self._epoch = epoch
        return epoch * self.frames + int(self._order[place_in_epoch])


class StreamSampler:
    """The batches of one process, from one optimiser step to another.

    Each data set has a stream of its own, and every step takes the same number of
    samples from each. They are dealt out evenly to the accumulated batches of the step
    and to the processes. So the samples of a step depend on its number and the seed
    alone: any number of processes, any accumulation and any session of a resumed run
    reads the same ones.

    Args:
        frames: Number of training frames of each data set.
        counts: How many samples of each a step takes.
        settings: Accumulation and seed are read.
        first_step: The optimiser step to begin with, counted from 0.
        last_step: The step to end before.
        rank: Number of this process.
        world_size: How many processes share each batch.
    """

    def __init__(
        self,
        frames: Sequence[int],
        counts: Sequence[int],
        settings: Settings,
        *,
        first_step: int,
        last_step: int,
        rank: int,
        world_size: int,
    ):
        self.streams = [FrameStream(number, settings.seed) for number in frames]
        self.counts = list(counts)
        self.steps = range(first_step, last_step)
        self.accumulate = settings.accumulate
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return len(self.steps) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Batches of (number of the data set, position in its stream)."""
        shares = self.accumulate * self.world_size
        for step in self.steps:
            # In the order of the data sets, so that every share gets some of each.
            samples = [
                (member, stream[place])
                for member, (stream, count) in enumerate(
                    zip(self.streams, self.counts, strict=True)
                )
                for place in range(step * count, (step + 1) * count)
            ]
            for batch in range(self.accumulate):
                mine = batch * self.world_size + self.rank
                yield samples[mine::shares]

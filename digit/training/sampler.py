"""The order in which samples are drawn."""

import numpy as np

from digit.training.settings import Settings


class StreamSampler:
    """The batches of one process, from an optimiser step onward, as lists of stream positions."""

    def __init__(
        self, n: int, settings: Settings, steps: int, start: int, rank: int, world: int
    ):
        assert n > 0, "an empty data set has no stream"
        self.n, self.seed, self.rank, self.world = n, settings.seed, rank, world
        self.batch = settings.batch_size // settings.accumulate
        self.batches = range(start * settings.accumulate, steps * settings.accumulate)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        order, current = np.empty(0, np.int64), -1
        for k in self.batches:
            positions = []
            for p in range(
                k * self.batch + self.rank, (k + 1) * self.batch, self.world
            ):
                epoch, i = divmod(p, self.n)
                if epoch != current:
                    rng = np.random.default_rng([self.seed, epoch])
                    order, current = rng.permutation(self.n), epoch
                positions.append(epoch * self.n + int(order[i]))
            yield positions

"""The original's fixed subsets of a split."""

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Integer


def mersenne_words(seed: int) -> Iterator[int]:
    """The 32-bit words of MT19937 seeded by the array [seed]; RandomState is frozen (NEP 19)."""
    source = np.random.RandomState([seed])
    while True:
        yield from np.frombuffer(source.bytes(4096), "<u4").tolist()


@functools.cache
def subset_rows(n: int, part: float | int | None) -> Integer[np.ndarray, "k"]:
    """The original's choice of n frames, sorted: all, a fraction, or a number (at most n).

    It seeds Python's generator with 1, draws randint(0, 100), then takes random.sample: done here
    by the algorithm of CPython since 3.2, so that no version changes it.
    """
    if part is None:
        return np.arange(n)
    words, k = (
        mersenne_words(1),
        min(part, n) if isinstance(part, int) else int(part * n),
    )

    def below(limit: int) -> int:
        shift = 32 - limit.bit_length()
        return next(number for word in words if (number := word >> shift) < limit)

    below(101)
    chosen: set[int] = set()
    if n <= 21 + (4 ** (((3 * k - 1).bit_length() + 1) // 2) if k > 5 else 0):
        pool = list(range(n))
        while len(chosen) < k:
            i = below(len(pool))
            chosen.add(pool[i])
            pool[i] = pool[-1]
            pool.pop()
    while len(chosen) < k:
        chosen.add(below(n))
    return np.array(sorted(chosen), np.int64)

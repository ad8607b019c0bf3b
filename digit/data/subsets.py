"""The original's fixed subsets of a split, such as `minival` and `smalltrain`.

`index.open_index` calls `subset_rows` with what `layout.SPLITS` says of a name.
"""

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Integer


@functools.cache
def subset_rows(n: int, part: float | int | None) -> Integer[np.ndarray, "k"]:
    """The original's choice of some of n frames, sorted.

    The original seeds Python's generator with 1, draws randint(0, 100), then takes
    random.sample. The same is done here by the algorithm of CPython since 3.2, so that
    no version of Python can change it.

    Args:
        n: Frames of the split.
        part: None for all of them, a fraction, or a number (at most n are taken).
    """
    if part is None:
        return np.arange(n)
    k = min(part, n) if isinstance(part, int) else int(part * n)
    # 1. The original's seed, and the number that it draws first
    words = mersenne_words(1)
    _draw_below(words, 101)  # the original's randint
    # 2. CPython samples from a list or into a set, whichever is smaller
    if n <= _list_limit(k):
        chosen = _sample_from_list(words, n, k)
    else:
        chosen = _sample_into_set(words, n, k)
    return np.array(sorted(chosen), np.int64)


def mersenne_words(seed: int) -> Iterator[int]:
    """The 32-bit words of MT19937, seeded by the array [seed] as Python does.

    numpy's RandomState gives them: its stream is frozen (NEP 19).
    """
    source = np.random.RandomState([seed])
    while True:
        yield from np.frombuffer(source.bytes(4096), "<u4").tolist()


def _draw_below(words: Iterator[int], limit: int) -> int:
    """A number below the limit: the highest bits of the first word that are."""
    shift = 32 - limit.bit_length()
    while True:
        number = next(words) >> shift
        if number < limit:
            return number


def _list_limit(k: int) -> int:
    """Up to how many of which CPython samples k from a list instead of a set."""
    if k <= 5:
        return 21
    exponent = ((3 * k - 1).bit_length() + 1) // 2  # ceil(log4(3 k))
    return 21 + 4**exponent


def _sample_from_list(words: Iterator[int], n: int, k: int) -> list[int]:
    """Take k of n; the last of the rest moves to each place that becomes free."""
    pool = list(range(n))
    chosen = []
    for _ in range(k):
        place = _draw_below(words, len(pool))
        chosen.append(pool[place])
        # The last of the rest fills the gap.
        pool[place] = pool[-1]
        pool.pop()
    return chosen


def _sample_into_set(words: Iterator[int], n: int, k: int) -> set[int]:
    """Draw until k different ones are found."""
    chosen: set[int] = set()
    while len(chosen) < k:
        chosen.add(_draw_below(words, n))
    return chosen

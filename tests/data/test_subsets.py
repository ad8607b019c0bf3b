"""The original's subsets: the same frames, whatever the version of Python and numpy."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from digit.data.subsets import mersenne_words, subset_rows


def test_words_are_those_of_pythons_generator():
    words, python = mersenne_words(1), random.Random(1)
    first = [next(words) for _ in range(2000)]
    assert first == [python.getrandbits(32) for _ in range(2000)]
    assert next(mersenne_words(1)) == 577090037


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 6000), part=st.sampled_from([1000, 0.1, 0.25, 0.05]))
def test_subsets_are_the_originals(n, part):
    python = random.Random(1)
    assert python.randint(0, 100) == 17
    k = min(part, n) if isinstance(part, int) else int(part * n)
    assert subset_rows(n, part).tolist() == sorted(python.sample(range(n), k))


def test_smalltrain_of_the_real_size_is_fixed():
    rows = subset_rows(1_361_062, 0.1)
    assert len(rows) == 136_106
    assert rows[:5].tolist() == [8, 19, 38, 49, 52]
    assert rows.sum() == 92_561_823_245

"""The stream of training samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digit.training.sampler import StreamSampler
from digit.training.settings import Settings


def stream(frames, settings, first_step, last_step, rank=0, world_size=1):
    """The batches of one process."""
    sampler = StreamSampler(
        frames,
        settings,
        first_step=first_step,
        last_step=last_step,
        rank=rank,
        world_size=world_size,
    )
    batches = list(sampler)
    assert len(batches) == len(sampler)
    return batches


@given(
    frames=st.integers(1, 30),
    accumulate=st.integers(1, 3),
    world_size=st.integers(1, 3),
    first_step=st.integers(0, 9),
    seed=st.integers(0, 5),
)
def test_all_readers_see_one_stream(frames, accumulate, world_size, first_step, seed):
    """Any start, accumulation or number of processes reads the same samples."""
    batch_size = 6 * accumulate * world_size
    settings = Settings(batch_size=batch_size, accumulate=accumulate, seed=seed)
    plain = Settings(batch_size=batch_size, seed=seed)
    whole = [sample for batch in stream(frames, plain, 0, 10) for sample in batch]

    # 1. What the processes read together is the stream from the first step on.
    shares = [
        stream(frames, settings, first_step, 10, rank, world_size)
        for rank in range(world_size)
    ]
    joined = []
    for batches in zip(*shares, strict=True):
        joined.append(sorted(sample for batch in batches for sample in batch))
    size = batch_size // accumulate
    tail = whole[first_step * batch_size :]
    assert joined == [sorted(tail[i : i + size]) for i in range(0, len(tail), size)]

    # 2. Each epoch has each frame once.
    for epoch in range(len(whole) // frames):
        samples = whole[epoch * frames : (epoch + 1) * frames]
        assert sorted(samples) == list(range(epoch * frames, (epoch + 1) * frames))


def test_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        stream(0, Settings(), 0, 1)

"""The stream of training samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digit.training.sampler import StreamSampler
from digit.training.settings import Settings


def batches_of(
    frames, counts, settings, first_step=0, last_step=10, rank=0, world_size=1
):
    """The batches of one process."""
    sampler = StreamSampler(
        frames,
        counts,
        settings,
        first_step=first_step,
        last_step=last_step,
        rank=rank,
        world_size=world_size,
    )
    batches = list(sampler)
    assert len(batches) == len(sampler)
    return batches


def in_steps(batches, accumulate):
    """All samples of each step."""
    return [
        sorted(sample for batch in batches[i : i + accumulate] for sample in batch)
        for i in range(0, len(batches), accumulate)
    ]


@given(
    frames=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    accumulate=st.integers(1, 3),
    world_size=st.integers(1, 3),
    first_step=st.integers(0, 9),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_all_readers_see_one_stream(
    frames, accumulate, world_size, first_step, seed, data
):
    """Any start, accumulation or number of processes reads the same samples."""
    shares = accumulate * world_size
    batch_size = 6 * shares
    counts = [data.draw(st.integers(1, 2)) for _ in frames[1:]]
    counts.insert(0, batch_size - sum(counts))
    settings = Settings(batch_size=batch_size, accumulate=accumulate, seed=seed)
    plain = Settings(batch_size=batch_size, seed=seed)
    steps = in_steps(batches_of(frames, counts, plain), accumulate=1)

    # 1. What the processes read together are the samples of each step.
    processes = [
        batches_of(frames, counts, settings, first_step, 10, rank, world_size)
        for rank in range(world_size)
    ]
    assert {len(batch) for batches in processes for batch in batches} == {6}
    joined = [
        [sample for batch in batches for sample in batch]
        for batches in zip(*processes, strict=True)
    ]
    assert in_steps(joined, accumulate) == steps[first_step:]

    # 2. Each batch has its fair part of each data set.
    for batch in processes[0]:
        for member, count in enumerate(counts):
            found = sum(owner == member for owner, _ in batch)
            assert abs(found - count / shares) < 1

    # 3. Each epoch of a data set has each of its frames once.
    for member, number in enumerate(frames):
        samples = [
            position for step in steps for owner, position in step if owner == member
        ]
        whole_epochs = len(samples) // number
        seen = sorted(samples)[: whole_epochs * number]
        assert seen == list(range(whole_epochs * number))


def test_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        batches_of([0], [1], Settings(), 0, 1)

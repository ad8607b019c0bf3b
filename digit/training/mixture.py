"""Training batches mixed from several data sets, and composites of photographed hands.

`digit train --root A --also B:0.3` makes a `MixedFrames` of the data sets' frames and a
`MixedSampler` that draws a fixed number of each into every batch; `digit.training.data`
puts them together.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from digit.data.dataset import Batch
from digit.data.layout import LABEL_KINDS
from digit.training.sampler import StreamSampler
from digit.training.settings import OTHER_ROOTS_SEPARATOR, SettingError


class OtherRoot(NamedTuple):
    """A further data set to train on."""

    dataset_dir: Path
    share: float  # of every batch
    label_kind: str | None  # "2d" or "3d"; None: as the data set says of itself


def parse_other_roots(text: str) -> list[OtherRoot]:
    """Read the setting `also`: `FOLDER:SHARE` or `FOLDER:SHARE:2d`, separated by ";".

    Raises:
        SettingError: If an entry is malformed, a share is not between 0 and 1, or all of
            them leave nothing to the first data set.
    """
    roots = [
        _parse_other_root(entry) for entry in text.split(OTHER_ROOTS_SEPARATOR) if entry
    ]
    if sum(root.share for root in roots) >= 1:
        raise SettingError(f"also={text}: the shares add up to 1 or more")
    return roots


def _parse_other_root(entry: str) -> OtherRoot:
    """Read one entry of the setting `also`."""
    rest, label_kind = entry, None
    if entry.rpartition(":")[2] in LABEL_KINDS:
        rest, _, label_kind = entry.rpartition(":")
    folder, _, share_text = rest.rpartition(":")
    try:
        share = float(share_text)
    except ValueError:
        share = 0.0
    if not folder or not 0 < share < 1:
        raise SettingError(
            f"also={entry}: give FOLDER:SHARE with a share between 0 and 1, and :2d "
            "behind it if its depths are not to be trusted"
        )
    return OtherRoot(Path(folder), share, label_kind)


def batch_counts(batch_size: int, shares: Sequence[float]) -> list[int]:
    """How many samples of a batch each member of a mixture gives.

    Args:
        batch_size: Samples in a batch.
        shares: Shares of the members after the first, which gets the rest.

    Returns:
        One number a member, rounded, that of the first member in front.

    Raises:
        SettingError: If a member would get no sample.
    """
    counts = [round(batch_size * share) for share in shares]
    counts.insert(0, batch_size - sum(counts))
    if min(counts) < 1:
        raise SettingError(
            f"batch_size={batch_size}: too small for these shares, which give "
            f"{', '.join(map(str, counts))} samples of a batch"
        )
    return counts


class MixedFrames(Dataset):
    """Frames of several data sets as one; a batch's `row` counts in its own data set.

    Args:
        members: Data sets with a method `batch`, such as `InterHandDataset`.
    """

    def __init__(self, members: Sequence):
        self.members = list(members)

    def __len__(self) -> int:
        return sum(len(member) for member in self.members)

    def batch(self, positions: Sequence[tuple[int, int]]) -> Batch:
        """The frames at (member, position of its stream), grouped by member."""
        batches = []
        for number, member in enumerate(self.members):
            mine = [position for owner, position in positions if owner == number]
            if mine:
                batches.append(member.batch(mine))
        image = torch.cat([batch.image for batch in batches])
        fields = {
            name: torch.cat([getattr(batch, name) for batch in batches])
            for name in Batch._fields
        }
        fields["image"] = image.contiguous(memory_format=torch.channels_last)
        return Batch(**fields)

    __getitems__ = batch  # a DataLoader asks for all frames of a batch at once


class MixedSampler:
    """Batches of a mixture: a fixed number of each member's own stream.

    Args:
        samplers: One sampler a member, which draws the member's share of each batch.
    """

    def __init__(self, samplers: Sequence[StreamSampler]):
        self.samplers = list(samplers)

    def __len__(self) -> int:
        return len(self.samplers[0])

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Batches of (member, position of its stream)."""
        for batches in zip(*self.samplers, strict=True):
            yield [
                (number, position)
                for number, positions in enumerate(batches)
                for position in positions
            ]

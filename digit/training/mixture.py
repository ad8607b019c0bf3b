"""Training batches mixed from several data sets, and composites of photographed hands.

`digit train --root A --also B:0.3` makes a `MixedFrames` of the data sets' frames, of
which `digit.training.sampler` draws a fixed number of each into every batch;
`digit.training.data` puts them together.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from digit.data.dataset import Batch
from digit.data.layout import LABEL_KINDS
from digit.training.settings import DATA_SETS_SEPARATOR, SettingError


class OtherDataSet(NamedTuple):
    """A further data set to train on."""

    dataset_dir: Path
    share: float  # of every batch
    label_kind: str | None  # of `LABEL_KINDS`; None: as the data set says of itself


def parse_other_data_sets(text: str) -> list[OtherDataSet]:
    """Read the setting `also`: `FOLDER:SHARE` or `FOLDER:SHARE:KIND`, separated by ";".

    The kind of its labels, one of `LABEL_KINDS`, replaces what a data set says of itself.

    Raises:
        SettingError: If an entry is malformed, a share is not between 0 and 1, or all of
            them leave nothing to the first data set.
    """
    others = [
        _parse_other_data_set(entry)
        for entry in text.split(DATA_SETS_SEPARATOR)
        if entry
    ]
    if sum(other.share for other in others) >= 1:
        raise SettingError(f"also={text}: the shares add up to 1 or more")
    return others


def _parse_other_data_set(entry: str) -> OtherDataSet:
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
            f"also={entry}: give FOLDER:SHARE with a share between 0 and 1, and behind it "
            ":2d if its depths are not to be trusted, :flat if it has none"
        )
    return OtherDataSet(Path(folder), share, label_kind)


def batch_counts(batch_size: int, shares: Sequence[float]) -> list[int]:
    """How many samples of a batch each member of a mixture gives.

    Args:
        batch_size: Samples in a batch.
        shares: Shares of the members after the first, which gets the rest.

    Returns:
        One number a member, rounded, that of the first member in front.

    Raises:
        SettingError: If the shares leave nothing to the first member, or a member would
            get no sample.
    """
    if sum(shares) >= 1:
        raise SettingError(
            "also and composites: the shares add up to 1 or more, which leaves nothing "
            "to the first data set"
        )
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

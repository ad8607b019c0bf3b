"""The frames that a chapter looks at: opening a split, and choosing a few of its frames.

The notebooks call these; the chapters' modules choose their pictures by them.
"""

from pathlib import Path

import numpy as np

from digit.data.index import Index, open_index
from digit.paths import workspace_path


def open_split(dataset_dir: str | Path, split: str) -> Index:
    """Open a split; relative folders are looked for here and in the project's folder.

    Args:
        dataset_dir: The data set's folder.
        split: Name of the split, as "train" or "minitest".

    Returns:
        The index of the split, without the frames on an exclude list.
    """
    return open_index(workspace_path(dataset_dir), split).usable()


def spread(index: Index, n: int) -> Index:
    """At most n frames of an index, evenly spread over it."""
    rows = np.linspace(0, len(index) - 1, min(n, len(index)))
    return index.take(np.unique(rows.round().astype(int)))

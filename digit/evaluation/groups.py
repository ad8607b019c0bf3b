"""Groups of frames of an error table: by sequence, camera, subject, or any other column.

The failure browser lists them; `sequence_rows` finds the frames of its films.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

from digit.evaluation.bootstrap import mean_interval

# What frames are grouped by where the table has it, besides clusters
GROUP_COLUMNS = ("seq_name", "camera", "subject", "family", "capture", "hand_type")
SEQUENCE = ["capture", "seq_name", "camera"]  # one film


class Group(NamedTuple):
    """The frames that share a value, and how wrong they are (in the metric's unit)."""

    value: str | int | float
    frames: int
    mean: float
    low: float  # of the mean's 95 % interval; NaN for a single frame
    high: float
    worst: float
    worst_row: int  # of the table: its index


def group_statistics(
    frames: pd.DataFrame, column: str, metric: str = "mpjpe"
) -> list[Group]:
    """How wrong the frames of each group are.

    Args:
        frames: Rows of an error table; those without the metric are left out.
        column: What they are grouped by.
        metric: What is averaged.

    Returns:
        The groups, the highest mean first. The interval comes from a bootstrap, see
        `digit.evaluation.bootstrap.mean_interval`.

    Raises:
        KeyError: If there is no such column.
    """
    groups = []
    known = frames.dropna(subset=[metric])
    for value, members in known.groupby(column, sort=True):
        errors = members[metric].to_numpy(float)
        low, high = mean_interval(members, metric)
        worst = int(np.argmax(errors))
        group = Group(
            value=value,
            frames=len(members),
            mean=float(errors.mean()),
            low=low,
            high=high,
            worst=float(errors[worst]),
            worst_row=int(members.index[worst]),
        )
        groups.append(group)
    return sorted(groups, key=lambda group: -group.mean)


def sequence_rows(table: pd.DataFrame, row: int) -> Int[np.ndarray, "k"]:
    """The frames of one camera's film of a sequence, in the order of time.

    Args:
        table: An error table, its index 0, 1, 2, ….
        row: A frame of the film.

    Returns:
        The rows of its sequence and camera.

    Raises:
        ValueError: If the table does not tell sequences, cameras or instants.
    """
    missing = [name for name in (*SEQUENCE, "frame_idx") if name not in table]
    if missing:
        raise ValueError(f"The table has no column {missing[0]}, so there is no film.")
    frame = table.iloc[row]
    same = np.ones(len(table), bool)
    for name in SEQUENCE:
        same &= (table[name] == frame[name]).to_numpy(bool)
    rows = np.flatnonzero(same)
    return rows[np.argsort(table["frame_idx"].to_numpy()[rows], kind="stable")]

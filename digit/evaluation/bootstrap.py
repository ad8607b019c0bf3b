"""Intervals by resampling: of a mean, and of the paired difference of two error tables.

Notebook 06 and the failure browser compare runs, and groups of frames, with it.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

# Fewer sequences than this make no interval: frames are resampled then. By eye.
MIN_SEQUENCES = 8


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, column: str = "mpjpe", draws: int = 2000
) -> dict[str, float]:
    """How much larger a column is in the second of two error tables.

    The frames that both tables have are compared one by one. The interval comes from
    a bootstrap that draws whole sequences, as frames of one sequence are alike; where
    there are under eight sequences it draws frames.

    Args:
        first: An error table.
        second: Another one, of the same split.
        column: What to compare.
        draws: Bootstrap resamples.

    Returns:
        `difference`: mean of second − first; `low`, `high`: its 95 % interval;
        `chance`: two-sided share of resamples on the other side of 0 (a p-value);
        `frames`, `groups`: how many are compared, and drawn from; `better`, `worse`:
        in how many frames the second is lower, higher.

    Raises:
        ValueError: If no frame has the column in both tables.
    """
    # 1. Pair the frames.
    one = first.drop_duplicates("image_id").set_index("image_id", drop=False)
    one = one.rename_axis(None)
    other = second.drop_duplicates("image_id").set_index("image_id")
    change = (other[column] - one[column]).dropna()
    if change.empty:
        raise ValueError(
            f"no frame has {column} in both tables: evaluate both on the same split"
        )

    # 2. Resample groups, with sums and counts so that long sequences weigh more.
    group = _groups(one.loc[change.index])
    means = _resampled_means(change.to_numpy(float), group, draws)
    low, high = np.quantile(means, (0.025, 0.975))
    other_side = min((means <= 0).mean(), (means >= 0).mean())
    return {
        "difference": float(change.mean()),
        "low": float(low),
        "high": float(high),
        "chance": float(min(1.0, 2 * other_side)),
        "frames": float(len(change)),
        "groups": float(group.max() + 1),
        "better": float((change < 0).sum()),
        "worse": float((change > 0).sum()),
    }


def mean_interval(
    frames: pd.DataFrame, column: str = "mpjpe", draws: int = 400
) -> tuple[float, float]:
    """The 95 % interval of a column's mean.

    As in `paired_difference`, whole sequences are drawn, and frames where there are
    under eight sequences.

    Args:
        frames: Rows of an error table.
        column: Whose mean; frames without a value are left out.
        draws: Bootstrap resamples.

    Returns:
        The interval's ends; NaN where fewer than two frames have a value.
    """
    known = frames.dropna(subset=column)
    if len(known) < 2:
        return np.nan, np.nan
    group = _groups(known)
    means = _resampled_means(known[column].to_numpy(float), group, draws)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _groups(frames: pd.DataFrame) -> Integer[np.ndarray, "n"]:
    """The number of each frame's group: its sequence, or itself where these are few."""
    sequence = ["capture", "seq_name"]
    if set(sequence) <= set(frames):
        group = frames.groupby(sequence).ngroup().to_numpy()
        if group.max() + 1 >= MIN_SEQUENCES:
            return group
    return np.arange(len(frames))


def _resampled_means(
    values: Float[np.ndarray, "n"], group: Integer[np.ndarray, "n"], draws: int
) -> Float[np.ndarray, "draws"]:
    """The mean of the values in each bootstrap resample of the groups."""
    groups = group.max() + 1
    sums = np.bincount(group, values)
    counts = np.bincount(group)
    equal = np.full(groups, 1 / groups)
    times = np.random.default_rng(0).multinomial(groups, equal, draws)
    return (times @ sums) / (times @ counts)

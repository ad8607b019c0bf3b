"""Paired comparison of two error tables."""

import numpy as np
import pandas as pd


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, column: str = "mpjpe", draws: int = 2000
) -> dict[str, float]:
    """How much larger a column is in the second of two error tables, over the frames of both.

    `difference`: mean of second − first; `low`, `high`: 95 % of resamples of whole sequences (of
    frames where these are under eight); `chance`: two-sided share of them on 0's other side; also
    `frames`, `groups`, in how many frames the second is `better`, `worse`. ValueError: no frame.
    """
    keys = (
        ["capture", "seq_name"]
        if {"capture", "seq_name"} <= set(first)
        else ["image_id"]
    )
    pair = (
        first.drop_duplicates("image_id")
        .set_index("image_id", drop=False)
        .rename_axis(None)
    )
    other = second.drop_duplicates("image_id").set_index("image_id")[column]
    change = (other - pair[column]).dropna()
    if change.empty:
        raise ValueError(
            f"no frame has {column} in both tables: evaluate both on the same split"
        )
    group = pair.loc[change.index].groupby(keys).ngroup().to_numpy()
    if (groups := group.max() + 1) < 8:
        group, groups = np.arange(len(change)), len(change)
    sums, counts = np.bincount(group, change), np.bincount(group)
    times = np.random.default_rng(0).multinomial(
        groups, np.full(groups, 1 / groups), draws
    )
    means = (times @ sums) / (times @ counts)
    low, high = np.quantile(means, (0.025, 0.975))
    chance = min(1.0, 2 * min((means <= 0).mean(), (means >= 0).mean()))
    found = {"difference": change.mean(), "low": low, "high": high, "chance": chance}
    found |= {"frames": len(change), "groups": groups}
    found |= {"better": (change < 0).sum(), "worse": (change > 0).sum()}
    return {name: float(value) for name, value in found.items()}

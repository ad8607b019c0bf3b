"""The paper's protocol: averages of an error table, and the published numbers.

`protocol` computes, `format_report` prints. `digit evaluate`, the training's evaluation
and the notebooks call both.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

from digit.evaluation.error_table import INTERHAND
from digit.evaluation.found import image_lines, image_metrics
from digit.evaluation.metrics import (
    ERRORS,
    part_iou,
    pck_auc,
    pck_curve,
    wrong_hand_share,
)
from digit.skeleton import JOINTS, N_JOINTS, WRISTS

HEADLINE = ("mpjpe_all", "mpjpe_sh", "mpjpe_ih", "mrrpe", "handedness_accuracy")
HEADLINE_TITLES = ("MPJPE all", "single", "interacting", "MRRPE", "handedness %")
# Further metrics, and how the report calls them.
EXTRAS = {
    "mpjpe_40": "MPJPE of the 40 joints other than the wrists, "
    "all / single / interacting",
    "mpjpe_predicted_handedness": "MPJPE with predicted handedness, "
    "depth by the predicted hand type",
    "pa_mpjpe": "PA-MPJPE, each hand aligned by a similarity",
    "pck_auc": "PCK, area under the curve 0–50 mm, 40 joints",
    "part_miou": "part mIoU",
    "wrong_hand_share": "of the hand pixels predicted to be of either hand, "
    "the share given to the other one",
}
PCK_LIMITS_MM = np.arange(5, 51, 5)
RESAMPLES = 1000
# More frames are resampled in this many random groups, to save time.
MOST_GROUPS = 2000
FRAME_COLUMNS = ["pa_mpjpe", "mrrpe", "handedness_correct"]


class Published(NamedTuple):
    """A row of a published table; lengths in mm, handedness accuracy as a share."""

    method: str
    data: str
    split: str
    root_depth: str
    mpjpe_all: float
    mpjpe_sh: float
    mpjpe_ih: float
    mrrpe: float
    handedness_accuracy: float | None


PUBLISHED = (
    # DIGIT, 3DV 2021: its table of results on InterHand2.6M.
    Published("DIGIT", INTERHAND, "val", "rootnet", 14.82, 13.15, 16.65, 31.33, 0.9879),
    Published(
        "DIGIT", INTERHAND, "test", "rootnet", 12.59, 10.73, 14.21, 29.04, 0.9915
    ),
    # MMPose's model zoo, InterNet on InterHand2.6M.
    Published(
        "InterNet in MMPose", INTERHAND, "test", "gt", 11.86, 9.69, 13.72, 29.27, None
    ),
)


def protocol(
    table: pd.DataFrame, intervals: bool = True, seed: int = 0
) -> dict[str, float | int | str | None]:
    """Average an error table by the paper's protocol.

    A joint's error is averaged over its valid samples, then over the 42 joints; `_all`
    takes all frames, `_sh` those of a single hand, `_ih` those of interacting hands.

    Args:
        table: An error table, or a slice of one.
        intervals: Whether to add `<name>_low` and `<name>_high` for the headline
            metrics: 95 % of 1,000 bootstrap resamples of the frames (of 2,000 random
            groups of frames where there are more).
        seed: Of the bootstrap.

    Returns:
        Flat metrics, None where nothing counts: `mpjpe_all|sh|ih`,
        `<joint>_all|sh|ih`, `mrrpe`, `handedness_accuracy`; `mpjpe_40_…` without the
        wrists' zeros; `mpjpe_predicted_handedness_…`; `pa_mpjpe_…`, mean over frames;
        `pck_<mm>mm` and `pck_auc` of the 40 joints; `part_miou` and `wrong_hand_share`
        over all pixels; the metrics of `digit.evaluation.found`. With them what they
        stand for: `data`, `split`, `root_depth`, `label_kind`, `n_frames`, `n_scored`,
        `protocol`. Where depths are not to be trusted, all lengths in mm are None.

    Example:
        >>> digit.protocol(table[table["hand_type"] == "interacting"])["mpjpe_ih"]
    """
    rng = np.random.default_rng(seed)

    # 1. The paper's metrics, and their intervals.
    sums, counts = _grouped_sums(table, rng)
    whole = _averages(sums.sum(1)[None], counts.sum(1)[None])
    result = whole.iloc[0].to_dict()
    if intervals:
        result.update(_intervals(sums, counts, rng))

    # 2. Metrics of the distribution of errors.
    shares = pck_curve(table, PCK_LIMITS_MM)
    for limit_mm, share in zip(PCK_LIMITS_MM, shares, strict=True):
        result[f"pck_{limit_mm}mm"] = share
    result["pck_auc"] = pck_auc(table)

    # 3. Metrics of the parts, over the pixels of all frames.
    if "part_pixels" in table and len(table):
        pixels = np.sum(list(table["part_pixels"]), axis=0)
        confusion = np.sum(list(table["hand_confusion"]), axis=0)
        result["part_miou"] = part_iou(pixels.reshape(1, 3, -1)).item()
        share = wrong_hand_share(confusion.reshape(1, 3, 3))
        result["wrong_hand_share"] = share.item()

    # 4. Metrics in the image, which need no depth.
    result.update(image_metrics(table))
    for name, value in result.items():
        result[name] = float(value) if np.isfinite(value) else None

    # 5. What the numbers stand for.
    for name in ("data", "split", "root_depth"):
        result[name] = table.attrs.get(name, "unknown")
    result["label_kind"] = table.attrs.get("label_kind", "3d")
    result["n_frames"] = len(table)
    result["n_scored"] = int(_scored(table).sum())
    result["protocol"] = _describe(
        data=result["data"],
        split=result["split"],
        root_depth=result["root_depth"],
        label_kind=result["label_kind"],
    )
    return result


def _scored(table: pd.DataFrame) -> pd.Series:
    """Which frames have a joint that counts, in the image if nowhere else."""
    scored = table["mpjpe"].notna()
    if "errors_2d" in table:
        in_image = [np.isfinite(errors).any() for errors in table["errors_2d"]]
        scored |= np.array(in_image, bool)
    return scored


def _grouped_sums(
    table: pd.DataFrame, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "2 g k"], Float[np.ndarray, "2 g k"]]:
    """Sums and counts of a table's numbers over g random groups of frames.

    Returns:
        First axis: single, interacting frames. Last axis: 42 joint errors, 42 with
        predicted handedness, then `FRAME_COLUMNS`.
    """
    groups = max(1, min(len(table), MOST_GROUPS))
    group = rng.permutation(len(table)) % groups
    interacting = (table["hand_type"] == "interacting").to_numpy()
    cell = group + groups * interacting

    predicted_handedness = pd.DataFrame(
        np.reshape(list(table["errors_predicted_handedness"]), (len(table), N_JOINTS)),
        table.index,
    )
    numbers = pd.concat(
        [table[ERRORS], predicted_handedness, table[FRAME_COLUMNS]], axis=1
    )
    grouped = numbers.groupby(cell)
    every_cell = range(2 * groups)
    sums = grouped.sum().reindex(every_cell, fill_value=0).to_numpy(float)
    counts = grouped.count().reindex(every_cell, fill_value=0).to_numpy(float)
    return sums.reshape(2, groups, -1), counts.reshape(2, groups, -1)


def _averages(
    sums: Float[np.ndarray, "r 2 k"], counts: Float[np.ndarray, "r 2 k"]
) -> pd.DataFrame:
    """The paper's metrics of r resamples, from sums over single and interacting frames.

    Args:
        sums: As `_grouped_sums` gives them, without its groups.
        counts: Likewise.

    Returns:
        A row a resample, a column a metric; NaN where nothing counts.
    """
    # 1. The mean of every column over all, single and interacting frames.
    with np.errstate(invalid="ignore"):
        means = {
            "all": sums.sum(1) / counts.sum(1),
            "sh": sums[:, 0] / counts[:, 0],
            "ih": sums[:, 1] / counts[:, 1],
        }

    # 2. Over the joints.
    pa_mpjpe, mrrpe, handedness = range(2 * N_JOINTS, 2 * N_JOINTS + 3)
    result = {
        "mrrpe": means["all"][:, mrrpe],
        "handedness_accuracy": means["all"][:, handedness],
    }
    for frames, mean in means.items():
        errors = mean[:, :N_JOINTS]
        predicted_handedness = mean[:, N_JOINTS : 2 * N_JOINTS]
        fingers = np.delete(errors, WRISTS, axis=1)
        result[f"mpjpe_{frames}"] = _mean_of_known(errors)
        result[f"mpjpe_40_{frames}"] = _mean_of_known(fingers)
        result[f"mpjpe_predicted_handedness_{frames}"] = _mean_of_known(
            predicted_handedness
        )
        result[f"pa_mpjpe_{frames}"] = mean[:, pa_mpjpe]
        for joint, name in enumerate(JOINTS):
            result[f"{name}_{frames}"] = errors[:, joint]
    return pd.DataFrame(result)


def _mean_of_known(values: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "r"]:
    """The mean of each row's numbers that are not NaN; NaN for a row without any."""
    return pd.DataFrame(values).mean(axis=1).to_numpy()


def _intervals(
    sums: Float[np.ndarray, "2 g k"],
    counts: Float[np.ndarray, "2 g k"],
    rng: np.random.Generator,
) -> dict[str, float]:
    """The 95 % bootstrap intervals of the headline metrics."""
    times = _draw_groups(sums.shape[1], rng)
    resampled = _averages(
        sums=(times @ sums).swapaxes(0, 1), counts=(times @ counts).swapaxes(0, 1)
    )
    ends = {}
    for end, share in (("low", 0.025), ("high", 0.975)):
        quantiles = resampled[list(HEADLINE)].quantile(share)
        ends.update(quantiles.add_suffix(f"_{end}").to_dict())
    return ends


def _draw_groups(
    groups: int, rng: np.random.Generator
) -> Integer[np.ndarray, "draws g"]:
    """How many times each of the groups is drawn in each resample."""
    draws = rng.integers(groups, size=(RESAMPLES, groups))
    cell = draws + groups * np.arange(RESAMPLES)[:, None]
    times = np.bincount(cell.ravel(), minlength=RESAMPLES * groups)
    return times.reshape(RESAMPLES, groups)


def _describe(data: str, split: str, root_depth: str, label_kind: str = "3d") -> str:
    """The protocol of a row of numbers, in words."""
    source = {"gt": "true", "rootnet": "RootNet's"}.get(root_depth, root_depth)
    if label_kind == "2d":
        return (
            f"{data}; {split}; {source} boxes; 2D metrics only, as the depths of these "
            "labels are not to be trusted; by the joints of the true hands"
        )
    return (
        f"{data}; {split}; {source} boxes and wrist depths, chosen by the true hand "
        "type; each hand minus its own wrist, no other alignment; mean of 42 joints "
        "with the wrists' zeros"
    )


def format_report(result: Mapping, others: Mapping[str, Mapping] | None = None) -> str:
    """Format metrics beside the published ones, each row with its protocol.

    Args:
        result: What `protocol` returns.
        others: Further results of ours by name, for instance the mean pose's.

    Returns:
        A text table (mm), intervals, further metrics, and the protocol of each row.
    """
    rows = {"this": result, **(others or {})}
    for row in PUBLISHED:
        about = _describe(data=row.data, split=row.split, root_depth=row.root_depth)
        rows[f"{row.method} {row.split}"] = {**row._asdict(), "protocol": about}

    lines = ["mm", _headline_table(rows), ""]
    for name, row in rows.items():
        if interval := _interval_text(row):
            lines.append(f"95 % of {name}: {interval}")
    lines += _extra_lines(result)
    lines += image_lines(result)
    lines.append("")
    lines += [f"{name}: {row['protocol']}" for name, row in rows.items()]
    return "\n".join(lines)


def _headline_table(rows: Mapping[str, Mapping]) -> str:
    """The headline metrics of each row as a text table."""
    numbers = {
        name: [row.get(metric) for metric in HEADLINE] for name, row in rows.items()
    }
    table = pd.DataFrame.from_dict(
        numbers, orient="index", columns=list(HEADLINE_TITLES), dtype=float
    )
    table["handedness %"] *= 100
    return table.to_string(float_format="{:.2f}".format, na_rep="–")


def _interval_text(row: Mapping) -> str:
    """The intervals of a row's lengths; empty where it has none."""
    texts = []
    for metric, title in zip(HEADLINE[:4], HEADLINE_TITLES[:4], strict=True):
        low = row.get(f"{metric}_low")
        high = row.get(f"{metric}_high")
        if low is not None and high is not None:
            texts.append(f"{title} {low:.1f}…{high:.1f}")
    return ", ".join(texts)


def _extra_lines(result: Mapping) -> list[str]:
    """A line for each further metric that the result has."""
    lines = []
    for metric, title in EXTRAS.items():
        keys = [f"{metric}{frames}" for frames in ("", "_all", "_sh", "_ih")]
        values = [result[key] for key in keys if key in result]
        if all(value is None for value in values):
            continue
        texts = ["–" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"{title}: {' / '.join(texts)}")
    return lines

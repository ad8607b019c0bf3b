"""The paper's protocol: aggregates of an error table."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from digit.evaluation.error_table import INTERHAND
from digit.evaluation.metrics import ERRORS, _part_columns, pck_curve
from digit.skeleton import JOINTS, N_JOINTS, WRISTS

HEADLINE = ("mpjpe_all", "mpjpe_sh", "mpjpe_ih", "mrrpe", "handedness_accuracy")
EXTRAS = {
    "mpjpe_40": "MPJPE of the 40 joints that are no wrists, all / single / interacting",
    "mpjpe_predicted_handedness": "MPJPE, depth by the predicted hand type",
    "pa_mpjpe": "MPJPE, each hand aligned by a similarity",
    "pck_auc": "PCK, area under the curve 0–50 mm, 40 joints",
    "part_miou": "part mIoU",
    "wrong_hand_share": "share of hand pixels called the other hand",
}
PUBLISHED = (  # method, data, split, depth, then as `HEADLINE`
    ("DIGIT", INTERHAND, "val", "rootnet", 14.82, 13.15, 16.65, 31.33, 0.9879),
    ("DIGIT", INTERHAND, "test", "rootnet", 12.59, 10.73, 14.21, 29.04, 0.9915),
    ("InterNet in MMPose", INTERHAND, "test", "gt", 11.86, 9.69, 13.72, 29.27, None),
)


def _means(
    sums: Float[np.ndarray, "r 2 k"], counts: Float[np.ndarray, "r 2 k"]
) -> pd.DataFrame:
    """Aggregates (r rows) of per-frame columns summed over single and over interacting frames.

    The columns: 42 errors, 42 honest errors, pa_mpjpe, mrrpe, handedness_correct.
    """
    with np.errstate(invalid="ignore"):
        every = sums.sum(1) / counts.sum(1)
        single, interacting = (sums / counts).swapaxes(0, 1)
    result = {"mrrpe": every[:, -2], "handedness_accuracy": every[:, -1]}
    for name, mean in (("all", every), ("sh", single), ("ih", interacting)):
        joints, honest = (
            pd.DataFrame(mean[:, :N_JOINTS]),
            mean[:, N_JOINTS : 2 * N_JOINTS],
        )
        result[f"mpjpe_{name}"] = joints.mean(axis=1)
        result[f"mpjpe_40_{name}"] = joints.drop(columns=list(WRISTS)).mean(axis=1)
        result[f"mpjpe_predicted_handedness_{name}"] = pd.DataFrame(honest).mean(axis=1)
        result[f"pa_mpjpe_{name}"] = mean[:, -3]
        result |= {f"{joint}_{name}": joints[j] for j, joint in enumerate(JOINTS)}
    return pd.DataFrame(result)


def protocol(table: pd.DataFrame, intervals: bool = True, seed: int = 0) -> dict:
    """The metrics of the paper and ours, flat (None where nothing counts), and what they stand for.

    `mpjpe_all|sh|ih`, `<joint>_all|sh|ih`, `mrrpe`, `handedness_accuracy`; `mpjpe_40_…` without the
    wrists' zeros; `mpjpe_predicted_handedness_…` with the depth by predicted hand type; `pa_mpjpe_…`, mean over
    frames; `pck_<mm>mm` and `pck_auc` (0…50 mm) of the 40 joints; `part_miou`, `wrong_hand_share`
    over all pixels. With `intervals`, `<name>_low` and `_high` for `HEADLINE`: 95 % of 1,000
    bootstrap resamples of the frames (of 2,000 random groups of frames where there are more).
    """
    groups, rng = min(len(table), 2000), np.random.default_rng(seed)
    cell = rng.permutation(len(table)) % groups
    cell += groups * (table["hand_type"] == "interacting").to_numpy()
    honest = pd.DataFrame(np.stack(table["errors_predicted_handedness"]), table.index)
    rest = table[["pa_mpjpe", "mrrpe", "handedness_correct"]]
    grouped = pd.concat([table[ERRORS], honest, rest], axis=1).groupby(cell)
    sums, counts = (
        cells.reindex(range(2 * groups), fill_value=0)
        .to_numpy(float)
        .reshape(2, groups, -1)
        for cells in (grouped.sum(), grouped.count())
    )
    result = _means(sums.sum(1)[None], counts.sum(1)[None]).iloc[0].to_dict()
    if intervals:
        draws = (
            rng.integers(groups, size=(1000, groups))
            + groups * np.arange(1000)[:, None]
        )
        times = np.bincount(draws.ravel(), minlength=1000 * groups).reshape(
            1000, groups
        )
        resampled = _means(
            *((times @ cells).swapaxes(0, 1) for cells in (sums, counts))
        )
        for end, share in (("low", 0.025), ("high", 0.975)):
            result |= (
                resampled[list(HEADLINE)]
                .quantile(share)
                .add_suffix(f"_{end}")
                .to_dict()
            )
    limits = np.arange(5, 51, 5)
    result |= dict(zip((f"pck_{mm}mm" for mm in limits), pck_curve(table, limits)))
    result["pck_auc"] = pck_curve(table, np.arange(0.025, 50, 0.05)).mean()
    if "part_pixels" in table:
        totals = (np.sum(list(table[n]), 0) for n in ("part_pixels", "hand_confusion"))
        parts = _part_columns(*(counts.reshape(1, 3, -1) for counts in totals))
        result["part_miou"], result["wrong_hand_share"] = [
            v.item() for v in parts.values()
        ][:2]
    result = {name: float(v) if np.isfinite(v) else None for name, v in result.items()}
    about = {
        name: table.attrs.get(name, "unknown")
        for name in ("data", "split", "root_depth")
    }
    scored = {"n_frames": len(table), "n_scored": int(table["mpjpe"].notna().sum())}
    return result | about | scored | {"protocol": _describe(**about)}


def _describe(data: str, split: str, root_depth: str) -> str:
    source = {"gt": "true", "rootnet": "RootNet's"}.get(root_depth, root_depth)
    return (
        f"{data}; {split}; {source} boxes and wrist depths, chosen by the true hand type; each "
        "hand minus its own wrist, no other alignment; mean of 42 joints with the wrists' zeros"
    )


def format_report(result: Mapping, others: Mapping[str, Mapping] | None = None) -> str:
    """The metrics of `protocol` beside the published rows, each row with its protocol.

    `others`: further rows of ours by name, for instance the mean pose's.
    """
    rows = {"this": result, **(others or {})}
    for method, *about in PUBLISHED:
        row = dict(zip(HEADLINE, about[3:]), protocol=_describe(*about[:3]))
        rows[f"{method} {about[1]}"] = row
    heads = ["MPJPE all", "single", "interacting", "MRRPE", "handedness %"]
    table = pd.DataFrame(rows).T[[*HEADLINE]].set_axis(heads, axis=1).astype(float)
    table["handedness %"] *= 100
    lines = ["mm", table.to_string(float_format="{:.2f}".format, na_rep="–"), ""]
    for method, row in rows.items():
        ends = [
            (row.get(f"{name}_low"), row.get(f"{name}_high")) for name in HEADLINE[:4]
        ]
        ends = [
            f"{head} {a:.1f}…{b:.1f}" for head, (a, b) in zip(heads, ends) if a and b
        ]
        lines += [f"95 % of {method}: {', '.join(ends)}"] if ends else []
    for key, text in EXTRAS.items():
        keys = [f"{key}{hands}" for hands in ("", "_all", "_sh", "_ih")]
        numbers = [result[k] for k in keys if k in result]
        text += ": " + " / ".join("–" if v is None else f"{v:.3f}" for v in numbers)
        lines += [text] if any(v is not None for v in numbers) else []
    return "\n".join(
        [*lines, "", *(f"{name}: {row['protocol']}" for name, row in rows.items())]
    )

"""Metrics in the image, for labels without depth too: hands found, PCK, hands counted.

A hand is found where the mean error of its joints is below a share of the longer side of
the tight box, the box of the frame's annotated joints. The error is measured to the joints
of the hand's true side, whatever hand type was predicted. `protocol` adds these metrics to
its own; `digit evaluate --views` repeats them for other crops.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from digit.skeleton import JOINTS_PER_HAND, SIDES

LIMITS_PERCENT = (5, 10, 15)  # of the tight box's longer side
INTERACTING = "interacting"


def image_metrics(table: pd.DataFrame) -> dict[str, float]:
    """Measure an error table in the image.

    Args:
        table: An error table, or a slice of one.

    Returns:
        Shares, NaN where nothing counts: `found_<percent>` of the hands, with `_sh` and
        `_ih` those of single and of interacting frames; `pck_2d_<percent>` of the joints;
        `single_called_two`, of the frames of a single hand those for which both hands are
        predicted; `side_accuracy`, of the frames of a single hand for which one hand is
        predicted those with the right side. `median_error_2d`, the median over the hands,
        is a share of the tight box's longer side; `n_hands` counts the hands. Nothing for
        a table made before these metrics were.
    """
    if "errors_2d" not in table:
        return {}
    errors = np.stack(table["errors_2d"]) if len(table) else np.empty((0, 42))
    hands = hand_errors(errors)
    interacting = (table["hand_type"] == INTERACTING).to_numpy()

    metrics = {"n_hands": float(np.isfinite(hands).sum())}
    for percent in LIMITS_PERCENT:
        metrics[f"found_{percent}"] = share_below(hands, percent)
        metrics[f"found_{percent}_sh"] = share_below(hands[~interacting], percent)
        metrics[f"found_{percent}_ih"] = share_below(hands[interacting], percent)
        metrics[f"pck_2d_{percent}"] = share_below(errors, percent)
    known = hands[np.isfinite(hands)]
    metrics["median_error_2d"] = np.median(known) if len(known) else np.nan
    metrics.update(_hand_counts(table, single=~interacting))
    return metrics


def hand_errors(errors_2d: Float[np.ndarray, "n 42"]) -> Float[np.ndarray, "n 2"]:
    """The mean error of each hand's valid joints, right hand first; NaN for no hand."""
    of_hand = errors_2d.reshape(-1, len(SIDES), JOINTS_PER_HAND)
    valid = np.isfinite(of_hand)
    total = np.where(valid, of_hand, 0).sum(-1)
    with np.errstate(invalid="ignore"):
        return total / valid.sum(-1)


def share_below(errors: Float[np.ndarray, "..."], percent: int) -> float:
    """The share of known errors that are below a limit; NaN where none is known."""
    known = errors[np.isfinite(errors)]
    if not len(known):
        return np.nan
    return float((known < percent / 100).mean())


def _hand_counts(
    table: pd.DataFrame, single: Bool[np.ndarray, "n"]
) -> dict[str, float]:
    """Whether one hand was predicted where one is seen, and which."""
    # Frames whose hand type is not valid have no accuracy, and do not count.
    frames = table[single & table["handedness_correct"].notna().to_numpy()]
    predicted = frames["predicted_hand_type"]
    one_hand = frames[predicted.isin(SIDES)]
    same_side = one_hand["predicted_hand_type"] == one_hand["hand_type"]
    return {
        "single_called_two": (predicted == INTERACTING).mean(),
        "side_accuracy": same_side.mean(),
    }


def image_lines(result: Mapping) -> list[str]:
    """Lines of a report about the metrics in the image; none without them.

    Args:
        result: Metrics by name. Views of `digit evaluate --views` follow as lines of
            their own, from the keys `view_<name>_<metric>`.
    """
    if result.get("found_10") is None:
        return []
    names = ("found_5", "found_10", "found_15")
    found = " / ".join(_percent(result[name]) for name in names)
    lines = [
        f"hands found within 5 / 10 / 15 % of the tight box: {found} "
        f"of {result['n_hands']:.0f} hands",
        f"… within 10 %, single / interacting: {_percent(result['found_10_sh'])} / "
        f"{_percent(result['found_10_ih'])}",
        f"PCK in the image, 10 % of the tight box: {_percent(result['pck_2d_10'])}; "
        f"median error of a hand: {_percent(result['median_error_2d'])}",
        f"hand type correct: {_percent(result['handedness_accuracy'])}; single hands "
        f"called two: {_percent(result['single_called_two'])}; side of those called one "
        f"hand correct: {_percent(result['side_accuracy'])}",
    ]
    for key in result:
        if key.startswith("view_") and key.endswith("_found_10"):
            view = key.removeprefix("view_").removesuffix("_found_10")
            type_share = _percent(result[f"view_{view}_handedness_accuracy"])
            lines.append(
                f"view {view}: found within 10 % {_percent(result[key])}, "
                f"hand type correct {type_share}"
            )
    return lines


def _percent(share: float | None) -> str:
    """A share as text."""
    return "–" if share is None else f"{100 * share:.1f} %"

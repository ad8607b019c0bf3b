"""What the columns of an error table are called in the failure browser, and what they mean.

To add a column to the browser, add it to the error table (digit/evaluation) and, for a
title and an explanation, to `COLUMNS`; a column that is not listed is shown by its name.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from digit.evaluation.metrics import ERRORS
from digit.evaluation.similarity import SPACES
from digit.skeleton import JOINTS

NOT_OFFERED = ("note", "file_name")  # too long to choose from
MOST_WORDS = 300  # of a column of text


class Column(NamedTuple):
    """How a column is presented."""

    title: str
    help: str
    unit: str = ""
    group: str = "other"


# The order of the groups in menus
GROUPS = (
    "error",
    "kind of error",
    "each hand",
    "parts",
    "hands in the picture",
    "second model",
    "similar frames",
    "recording",
    "notes",
    "joints",
    "other",
)

(
    ERROR,
    KIND,
    HAND,
    PARTS,
    PICTURE,
    SECOND,
    SIMILAR,
    RECORDING,
    NOTES,
    JOINT,
    OTHER,
) = GROUPS

COLUMNS = {
    "mpjpe": Column(
        "MPJPE", "mean distance of the joints, relative to their wrist", "mm", ERROR
    ),
    "mpjpe_predicted_handedness": Column(
        "MPJPE, predicted handedness",
        "as MPJPE, but the predicted hand type chooses which depth is used",
        "mm",
        ERROR,
    ),
    "mpjpe_camera": Column(
        "MPJPE in camera space",
        "mean distance of the joints without aligning the wrists",
        "mm",
        ERROR,
    ),
    "pa_mpjpe": Column(
        "PA-MPJPE",
        "mean distance after each hand is shifted, turned and scaled to fit",
        "mm",
        ERROR,
    ),
    "mrrpe": Column(
        "MRRPE", "error of the vector from the right wrist to the left", "mm", ERROR
    ),
    "error_in_plane": Column(
        "error in plane", "mean distance parallel to the image", "mm", KIND
    ),
    "error_depth": Column(
        "error in depth", "mean distance along the viewing axis", "mm", KIND
    ),
    "heatmap_entropy": Column(
        "heatmap entropy", "spread of the heatmaps (uncertainty)", "nats", KIND
    ),
    "handedness_correct": Column(
        "hand type correct", "1 where the predicted hand type is the true one", "", KIND
    ),
    "joints_swapped": Column(
        "joints swapped",
        "1 where the joints lie nearer to those of the other hand",
        "",
        KIND,
    ),
    "part_iou": Column(
        "part IoU", "mean overlap of the parts that are seen", "", PARTS
    ),
    "wrong_hand_share": Column(
        "wrong hand share",
        "of hand pixels predicted to be of either hand, the share given to the other",
        "",
        PARTS,
    ),
    "right_called_left_px": Column(
        "right predicted left",
        "pixels of the right hand that are predicted as the left",
        "px",
        PARTS,
    ),
    "left_called_right_px": Column(
        "left predicted right",
        "pixels of the left hand that are predicted as the right",
        "px",
        PARTS,
    ),
    "contradiction": Column(
        "contradiction",
        "joints against parts, without annotation: 1 − overlap of the mesh fitted to "
        "the joints and the predicted parts",
        "",
        PARTS,
    ),
    "mesh_iou_right": Column(
        "mesh overlap, right",
        "overlap of the right hand's mesh and its predicted parts",
        "",
        PARTS,
    ),
    "mesh_iou_left": Column(
        "mesh overlap, left",
        "overlap of the left hand's mesh and its predicted parts",
        "",
        PARTS,
    ),
    "mesh_other_hand_share": Column(
        "mesh on the other hand",
        "share of hand pixels that the meshes give to the other hand than the parts",
        "",
        PARTS,
    ),
    "mesh_other_part_share": Column(
        "mesh on another part",
        "share of a hand's pixels that the mesh gives to another part",
        "",
        PARTS,
    ),
    "mesh_residual_mm": Column(
        "mesh residual",
        "how far the predicted joints are from those of any hand",
        "mm",
        KIND,
    ),
    "hidden": Column(
        "hidden share", "mean share of the hands that is hidden", "", PICTURE
    ),
    "hands_distance_mm": Column(
        "gap between the hands", "shortest distance of the two skins", "mm", PICTURE
    ),
    "penetration_mm": Column(
        "penetration", "how deep one hand enters the other", "mm", PICTURE
    ),
    "bbox_side_px": Column(
        "side of the box", "longer side of the annotated box", "px", PICTURE
    ),
    "hand_type": Column("hand type", "annotated", "", PICTURE),
    "predicted_hand_type": Column("predicted hand type", "predicted", "", PICTURE),
    "family": Column("family", "family of poses of a synthetic frame", "", PICTURE),
    "mpjpe_b": Column("MPJPE of B", "MPJPE of the second model", "mm", SECOND),
    "mpjpe_change": Column(
        "MPJPE, B − A", "negative where the second model is better", "mm", SECOND
    ),
    "changed": Column("change of MPJPE", "without its sign", "mm", SECOND),
    "distance_to_chosen": Column(
        "distance to the chosen frame",
        "what “like this” sorts by: mm for poses and error patterns, standard "
        "deviations for features",
        "",
        SIMILAR,
    ),
    "cluster": Column(
        "cluster of failures", "named by what its frames share", "", SIMILAR
    ),
    "image_id": Column("image id", "of the annotation", "", RECORDING),
    "annot_id": Column("annotation id", "of the annotation", "", RECORDING),
    "capture": Column("capture", "one person's session", "", RECORDING),
    "subject": Column("subject", "the person", "", RECORDING),
    "seq_name": Column("sequence", "a gesture of the capture", "", RECORDING),
    "camera": Column("camera", "its name", "", RECORDING),
    "frame_idx": Column("instant", "number within the sequence", "", RECORDING),
    "width": Column("image width", "", "px", RECORDING),
    "height": Column("image height", "", "px", RECORDING),
    "tags": Column("tags", "yours", "", NOTES),
    "note": Column("note", "yours", "", NOTES),
}

# Columns with the name of a hand in place of the {}
HAND_COLUMNS = {
    "mpjpe_{}": Column("MPJPE, {} hand", "as MPJPE, of one hand", "mm", HAND),
    "error_2d_{}": Column(
        "2D error, {} hand", "share of the longer side of the box", "", HAND
    ),
    "probability_{}": Column(
        "probability of the {} hand", "that it is in the picture", "", HAND
    ),
    "palm_view_{}_deg": Column(
        "view of the {} palm", "0° faces the camera, 180° is the back", "°", HAND
    ),
    "fit_error_{}_mm": Column(
        "fit error, {} hand", "distance of the fitted hand model", "mm", HAND
    ),
    "{}_hidden_by_other": Column(
        "{} hand hidden by the other", "share of its pixels", "", PICTURE
    ),
    "{}_hidden_by_itself": Column(
        "{} hand hidden by itself", "share of its pixels", "", PICTURE
    ),
    "{}_hidden_by_frame": Column(
        "{} hand outside the picture", "share of its pixels", "", PICTURE
    ),
}
for _side in ("right", "left"):
    for _name, _column in HAND_COLUMNS.items():
        COLUMNS[_name.format(_side)] = _column._replace(
            title=_column.title.format(_side)
        )
# Metrics of the second model, of which A has a column of the same name without _b
COMPARED = (
    "mpjpe",
    "mpjpe_camera",
    "pa_mpjpe",
    "mrrpe",
    "error_in_plane",
    "error_depth",
    "heatmap_entropy",
    "part_iou",
    "contradiction",
    "handedness_correct",
)
for _name in COMPARED[1:]:
    _column = COLUMNS[_name]
    COLUMNS[f"{_name}_b"] = _column._replace(
        title=f"{_column.title} of B", group=SECOND
    )
for _space in SPACES:
    for _axis in (1, 2):
        COLUMNS[f"map_{_space}_{_axis}"] = Column(
            f"map by {_space}, axis {_axis}",
            "principal component; frames that are alike lie near each other",
            "",
            SIMILAR,
        )
for _joint, _name in zip(JOINTS, ERRORS, strict=True):
    COLUMNS[_name] = Column(
        f"error of {_joint}", "distance, relative to its wrist", "mm", JOINT
    )

# What is written about a frame: column → short label and number of digits.
FACTS = {
    "mpjpe": ("MPJPE", 1),
    "pa_mpjpe": ("PA", 1),
    "error_in_plane": ("in plane", 0),
    "error_depth": ("depth", 0),
    "mrrpe": ("MRRPE", 0),
    "part_iou": ("part IoU", 2),
    "hidden": ("hidden", 2),
    "wrong_hand_share": ("wrong hand", 2),
    "heatmap_entropy": ("entropy", 2),
    "contradiction": ("contradiction", 2),
    "hands_distance_mm": ("gap", 0),
}


def describe(name: str) -> Column:
    """How a column is presented; one that is not listed by its own name."""
    return COLUMNS.get(name, Column(name, ""))


def axis_title(name: str) -> str:
    """A column's title with its unit."""
    column = describe(name)
    return f"{column.title} ({column.unit})" if column.unit else column.title


def compared_with(name: str) -> str | None:
    """The column of the same metric of the other model; None where there is none."""
    if name in COMPARED:
        return f"{name}_b"
    first = name.removesuffix("_b")
    return first if first != name and first in COMPARED else None


def column_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The columns of a table for the page, group by group.

    Returns:
        A record for each column: `name`, the fields of `Column`, and either `range` with
        the lowest and highest value (None without any), or `words` that it holds.
    """
    records = []
    for name, values in table.items():
        if name in NOT_OFFERED:
            continue
        # Full precision: a filter with these ends keeps every known value.
        record = {"name": name, **describe(name)._asdict()}
        if is_numeric_dtype(values.dtype):
            numbers = values.to_numpy(float, na_value=np.nan)
            known = numbers[~np.isnan(numbers)]
            ends = [float(known.min()), float(known.max())] if len(known) else None
            record["range"] = ends
        else:
            record["words"] = sorted(map(str, values.unique()))[:MOST_WORDS]
        records.append(record)
    # Within a group the order stays: of COLUMNS, so joints go by finger, then the table's
    order = {name: i for i, name in enumerate(COLUMNS)}
    records.sort(key=lambda r: (GROUPS.index(r["group"]), order.get(r["name"], 999)))
    return records


def frame_facts(
    frame: pd.Series,
    other: pd.Series | None = None,
    names: Sequence[str] = tuple(FACTS),
) -> list[dict[str, str]]:
    """What is written about a frame.

    Args:
        frame: Its row of the table.
        other: Its row of a second model's table, where there is one.
        names: The columns to write about.

    Returns:
        A record for each fact: `text`, `help`, which explains it, and where a second
        model has another value, `other`.
    """
    facts = [_hand_type_fact(frame, other)]
    # A frame none of whose joints counts, for instance without annotated wrists
    if pd.isna(frame["mpjpe"]):
        why = "none of its joints has a measurable error"
        facts.append({"text": "not measurable", "help": why})
    # Whatever else is known of it
    for name in names:
        value = frame.get(name)
        if value is None or pd.isna(value):
            continue
        column = describe(name)
        fact = {
            "text": f"{FACTS.get(name, (column.title,))[0]} {_with_unit(name, value)}",
            "help": f"{column.title}: {column.help}",
        }
        value_b = None if other is None or name not in COMPARED else other.get(name)
        if value_b is not None and pd.notna(value_b):
            fact["other"] = _with_unit(name, value_b)
        facts.append(fact)
    return facts


def _with_unit(name: str, value: Any) -> str:
    """A value of a column with its unit, in sensible digits."""
    unit = f" {describe(name).unit}" if describe(name).unit else ""
    if isinstance(value, str):
        return value
    if name in FACTS:
        return f"{value:.{FACTS[name][1]}f}{unit}"
    return f"{value:.4g}{unit}"


def _hand_type_fact(frame: pd.Series, other: pd.Series | None) -> dict[str, str]:
    """The annotated and the predicted hand type."""
    types = f"{frame.get('hand_type', '?')}, "
    types += f"predicted {frame.get('predicted_hand_type', '?')}"
    fact = {"text": types, "help": "annotated hand type, predicted hand type"}
    if other is not None and "predicted_hand_type" in other:
        fact["other"] = str(other["predicted_hand_type"])
    return fact

"""What the failure browser sends to its page about one frame.

`frame_card` gathers it, for the exported page as well; web/frame_pane.js draws it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from digit.evaluation.metrics import ERRORS
from digit.plots import overlays
from digit.skeleton import JOINTS, LABELS
from digit.widgets.canvas import encode_jpeg
from digit.widgets.columns import FACTS, frame_facts
from digit.widgets.frame_mesh import paint_mesh
from digit.widgets.frame_view import FrameSource, FrameView
from digit.widgets.messages import one_line, plain_facts, plain_numbers

CROP_QUALITY = 88  # of the JPEG of a frame's crop
EXPORT_QUALITY = 80

Message = tuple[dict[str, Any], list[bytes]]
Pictures = list[UInt8[np.ndarray, "s s 3"]]

PICTURE_LAYER = "picture"
MESH_LAYER = "fitted mesh"
LAYERS_OF_NETWORK = tuple(set(overlays.LAYERS) - {overlays.TRUE_PARTS})
LAYERS_BY_PART = (overlays.PART_PROBABILITY,)
LAYERS_BY_JOINT = (overlays.JOINT_HEATMAP,)

# Said over the crop of a model, A or B, in place of a layer that needs its network
NO_NETWORK = (
    "No layers: A is an error table without its network. Open the run's folder, or give "
    "the checkpoint: FailureBrowser(table, dataset_dir, checkpoint)",
    "No layers: B is an error table without its network. Compare with the run's folder, "
    "or give the checkpoint in a cell: browser.compare(table, checkpoint)",
)


class Look(NamedTuple):
    """How a frame is shown."""

    layer: str = PICTURE_LAYER  # or one of `overlays.LAYERS`, or `MESH_LAYER`
    part: str = LABELS[1]  # whose probability is shown
    joint: str = JOINTS[4]  # whose heatmap is shown
    camera: bool = False  # hands in camera space, not with their wrists aligned
    facts: Sequence[str] = tuple(FACTS)  # columns that are written about it


def frame_card(
    table: pd.DataFrame,
    row: int,
    *,
    key: str,
    tags: Sequence[str],
    note: str,
    frames: FrameSource,
    look: Look,
) -> tuple[dict[str, Any], Pictures]:
    """All there is to show of a frame.

    Args:
        table: The error table.
        row: The frame's row.
        key: Its name.
        tags: Its tags.
        note: Its note.
        frames: Where its pictures and predictions come from.
        look: How it is shown.

    Returns:
        JSON values, and a picture for each model; where the frame has no picture, none,
        and `fault` says why.
    """
    # 1. What the table tells
    frame = table.iloc[row]
    other = _frame_of_second(frame, frames)
    errors = set(ERRORS)
    values = {name: value for name, value in frame.items() if name not in errors}
    card = {
        "row": row,
        "key": key,
        "title": frame_title(frame),
        "facts": frame_facts(frame, other, look.facts),
        "values": plain_facts(values),
        "tags": list(tags),
        "note": note,
        "errors": _joint_errors(frame, frames),
        "camera": look.camera,
        "fault": "",
        "pictures": [],
    }

    # 2. The picture, if there is one
    try:
        view = frames.view(row)
    except Exception as error:  # the browser outlives every frame
        card["fault"] = one_line(error)
        return card, []

    # 3. The truth, and each model's prediction; under a layer the picture itself as
    #    well, so that the page can fade the one into the other
    card["true"] = plain_numbers(view.joints_px)
    card["true_mm"] = plain_numbers(view.joints_cam_mm)
    pictures = []
    for model in range(len(view.predictions)):
        record, picture = _model_picture(view, model, look)
        if look.layer in LAYERS_OF_NETWORK and frames.models[model].network is None:
            record["missing"] = NO_NETWORK[model]
        card["pictures"].append(record)
        pictures.append(picture)
    if look.layer != PICTURE_LAYER:
        pictures.append(view.picture)
    return card, pictures


def frame_title(frame: pd.Series) -> str:
    """Where a frame comes from."""
    words = []
    if "seq_name" in frame:
        words.append(str(frame["seq_name"]))
    if "camera" in frame:
        words.append(f"camera {frame['camera']}")
    if "frame_idx" in frame:
        words.append(f"frame {frame['frame_idx']}")
    words.append(f"image {frame['image_id']}")
    return " · ".join(words)


def _joint_errors(frame: pd.Series, frames: FrameSource) -> list[list]:
    """The error of each joint (mm), for each model."""
    errors = [_joint_errors_of(frame)]
    for model in frames.models[1:]:
        row = model.row_of.get(frame["image_id"])
        if row is None:
            errors.append([None] * len(JOINTS))
        else:
            errors.append(_joint_errors_of(model.table.iloc[row]))
    return errors


def _joint_errors_of(frame: pd.Series) -> list[float | None]:
    # A list of names as an index takes pandas ten times as long.
    values = frame.to_dict()
    return plain_numbers([values[name] for name in ERRORS])


def _frame_of_second(frame: pd.Series, frames: FrameSource) -> pd.Series | None:
    """The frame's row in the second model's table, None where there is none."""
    if len(frames.models) < 2:
        return None
    second = frames.models[1]
    row = second.row_of.get(frame["image_id"])
    return None if row is None else second.table.iloc[row]


def _model_picture(
    view: FrameView, model: int, look: Look
) -> tuple[dict[str, Any], UInt8[np.ndarray, "s s 3"]]:
    """The crop under one model's layer, its joints, and under "fitted mesh" its mesh."""
    # 1. The layer
    prediction = view.predictions[model]
    output = None if prediction is None else prediction.output
    part, joint = LABELS.index(look.part), JOINTS.index(look.joint)
    record = {"joints": None, "mm": None, "heat": None, "meshes": [], "missing": ""}
    if look.layer == MESH_LAYER:
        painted = paint_mesh(view, prediction, look.camera)
        picture, record["caption"] = painted.picture, painted.caption
        record["meshes"] = painted.meshes
    else:
        picture, record["caption"] = overlays.paint_layer(
            view.picture,
            look.layer,
            true=view.true_parts,
            output=output,
            part=part,
            joint=joint,
        )
        record["heat"] = overlays.heat_scale(look.layer, output, part, joint)

    # 2. The joints
    if prediction is not None:
        joints_mm = prediction.joints_aligned_mm
        if look.camera:
            joints_mm = prediction.joints_cam_mm
        record["joints"] = plain_numbers(prediction.joints_px)
        record["mm"] = plain_numbers(joints_mm)
    return record, picture


def frame_message(
    card: dict[str, Any], pictures: Pictures, position: int | None, count: int
) -> Message:
    """A frame's card with its pictures, and its place among the frames that pass.

    The position is None for a frame that does not pass and is shown all the same.
    """
    content = {**card, "kind": "frame", "position": position, "count": count}
    return content, [encode_jpeg(picture, CROP_QUALITY) for picture in pictures]


def no_frame_message() -> Message:
    """What is shown where no frame passes the filter."""
    fault = "No frame passes. Remove a part of the filter, or press “clear”."
    return {"kind": "frame", "row": None, "fault": fault}, []

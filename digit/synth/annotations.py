"""Labels of a rendered frame, and the truth about what hides its hands.

`capture` calls both functions for every picture it keeps.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from digit.skeleton import HAND_TYPE_FLAGS, JOINT_SIDE, JOINTS_PER_HAND, SIDES, WRISTS
from digit.synth.arrays import Indices, Points, Present, Rng
from digit.synth.renderer import Camera, Seen

# The annotated box is the joints' tight box, wider by this share.
BOX_SCALE = 1.2
# RootNet's box is the evaluation crop of the annotated one, with noise (share of its
# side).
CROP_SCALE = 1.25
ROOTNET_SIZE_NOISE = 0.008
ROOTNET_PLACE_NOISE = 0.007
# Noise of RootNet's depth, of both wrists alike and of each; standard deviations.
ROOTNET_DEPTH_MM = 30
ROOTNET_WRIST_DEPTH_MM = 12
# How far a joint lies behind the skin at most: wrists, other joints.
WRIST_DEPTH_MM = 30.0
JOINT_DEPTH_MM = 17.0
# A vertex of the skin is hidden if something lies before it by more than this.
SKIN_DEPTH_MM = 3.0
# Codes of `joint_hidden`.
VISIBLE, BEHIND_OWN_HAND, BEHIND_OTHER, OUT_OF_FRAME = 0, 1, 2, 3
HIDING = {"other": BEHIND_OTHER, "itself": BEHIND_OWN_HAND, "frame": OUT_OF_FRAME}


class FrameTruth(NamedTuple):
    """What a frame shows, for the truth about occlusion."""

    camera: Camera
    seen: Seen
    # Of each face: 0 right hand, 1 left hand, 2 other things.
    owner: Indices
    skin_mm: Float[np.ndarray, "2 v 3"]  # vertices of both hands, in the world
    skin_normals: Float[np.ndarray, "2 v 3"]
    joints_mm: Float[np.ndarray, "42 3"]  # in the world
    present: Present


def hand_type(
    present: Bool[np.ndarray, "*b 2"],
) -> np.integer | Int[np.ndarray, "*b"]:
    """The number of the hand type (in `HAND_TYPES`) of frames that show these hands."""
    matches = present[..., None, :] == HAND_TYPE_FLAGS
    return matches.all(-1).argmax(-1)


def annotate(
    rng: Rng,
    camera: Camera,
    joints_mm: Float[np.ndarray, "42 3"],
    present: Present,
) -> dict[str, Any]:
    """Box and validity as InterHand2.6M has them, and what RootNet might say.

    Args:
        rng: The source of RootNet's noise.
        camera: Of the frame.
        joints_mm: In the world.
        present: Which hands are there.

    Returns:
        Columns of one row of the frame table.
    """
    # 1. The box.
    px, depth = camera.project(joints_mm)
    valid = present.repeat(JOINTS_PER_HAND)
    low = px[valid].min(0)
    high = px[valid].max(0)
    corner = 1.1 * low - 0.1 * high
    bbox = np.append(corner, BOX_SCALE * (high - low))

    # 2. RootNet's box and depths; a wrist that is not there has the other one's depth.
    crop_side = CROP_SCALE * BOX_SCALE * (high - low).max()
    side = crop_side * (1 + rng.normal(0, ROOTNET_SIZE_NOISE, 2))
    centre = (low + high) / 2 + rng.normal(0, ROOTNET_PLACE_NOISE, 2) * side
    depth_of_present = depth[WRISTS[present.argmax()]]
    wrists = np.where(present, depth[list(WRISTS)], depth_of_present)
    noise_of_both = rng.normal(0, ROOTNET_DEPTH_MM)
    noise_of_each = rng.normal(0, ROOTNET_WRIST_DEPTH_MM, 2)
    return {
        "bbox_xywh": bbox.round(3),
        "joint_valid": valid,
        "hand_type": int(hand_type(present)),
        "hand_type_valid": True,
        "rootnet_bbox_xywh": np.append(centre - side / 2, side).round(3),
        "rootnet_depth_mm": (wrists + noise_of_both + noise_of_each).round(3),
    }


def occlusion(frame: FrameTruth) -> dict[str, Any]:
    """The truth about what hides the hands of a frame.

    Returns:
        joint_hidden: Per joint 0 visible, 1 behind its own hand, 2 behind another
            thing, 3 out of the frame.
        <side>_hidden_by_<what>: The share of the skin that faces the camera which is
            hidden by "other" things, by the hand "itself", by the edge of the "frame";
            NaN for absent hands.
    """
    # 1. Joints.
    is_wrist = np.isin(np.arange(len(frame.joints_mm)), WRISTS)
    thickness = np.where(is_wrist, WRIST_DEPTH_MM, JOINT_DEPTH_MM)
    of_joints = _classify(frame, frame.joints_mm, JOINT_SIDE, thickness)
    is_there = frame.present[JOINT_SIDE]
    of_joints = np.where(is_there, of_joints, VISIBLE)
    truth: dict[str, Any] = {"joint_hidden": of_joints.astype(np.uint8)}

    # 2. Skin.
    for side, name in enumerate(SIDES):
        of_skin = _hidden_skin(frame, side)
        for what, code in HIDING.items():
            share = np.nan
            if frame.present[side]:
                share = (of_skin == code).mean()
            truth[f"{name}_hidden_by_{what}"] = float(share)
    return truth


def _hidden_skin(frame: FrameTruth, side: int) -> Int[np.ndarray, "n"]:
    """What hides the vertices of a hand that face the camera, in the codes above."""
    skin = frame.skin_mm[side].astype(float)
    normals = frame.skin_normals[side].astype(float)
    to_camera = frame.camera.campos_mm - skin
    faces_camera = (to_camera * normals).sum(1) > 0
    return _classify(frame, skin[faces_camera], side, SKIN_DEPTH_MM)


def _classify(
    frame: FrameTruth,
    points_mm: Points,
    side: int | Int[np.ndarray, "n"],
    thickness_mm: float | Float[np.ndarray, "n"],
) -> Int[np.ndarray, "n"]:
    """What hides points of a side, in the codes above."""
    # 1. The pixel of each point; those out of the frame look at the corner.
    px, depth = frame.camera.project(points_mm)
    x, y = px.round().astype(int).T
    height, width = frame.seen.face.shape
    in_columns = (x >= 0) & (x < width)
    in_rows = (y >= 0) & (y < height)
    inside = in_columns & in_rows
    x = x * inside
    y = y * inside

    # 2. What is seen there, and whether it lies before the point.
    face = frame.seen.face[y, x]
    owner = np.append(frame.owner, -1)[face]
    is_behind = depth - frame.seen.depth_mm[y, x] > thickness_mm
    behind_what = np.where(owner == side, BEHIND_OWN_HAND, BEHIND_OTHER)
    code = np.where(is_behind, behind_what, VISIBLE)
    return np.where(inside, code, OUT_OF_FRAME)

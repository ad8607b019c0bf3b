"""The usual mistakes of files of predictions, each with the joints as they should be.

`prediction_doctor` tries them. To add a mistake: yield its `Correction` from one of the
functions below, and add a case to the doctor's tests.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from digit import conventions
from digit.data.index import Index
from digit.evaluation.conversion import cells_from_camera
from digit.evaluation.ground_truth import GroundTruth, RootDepth, image_to_cells
from digit.geometry import depth_to_cells
from digit.skeleton import HEATMAP_CELLS, JOINT_WRIST, JOINTS_PER_HAND, WRISTS

CROP_PX = 256
MM_PER_M = 1000
# A wrist this many cells from the middle has no depth relative to itself; by eye.
FAR_FROM_WRIST = 32

Cells = Float[np.ndarray, "n 42 3"]


class Sample(NamedTuple):
    """Frames that are looked at, and what is true of them."""

    index: Index
    root_depth: RootDepth
    truth: GroundTruth
    true_25d: Cells
    counts: Bool[np.ndarray, "n 42"]  # valid joints


class Correction(NamedTuple):
    """A mistake, and the joints as they would be without it."""

    what: str
    remedy: str
    apply: Callable[[Cells], Cells]
    # Whether it changes units: then the result must also follow the truth in size.
    of_units: bool = False


def order_corrections() -> Iterator[Correction]:
    """Other orders of joints and hands."""
    for source, name in (("mano", "MANO's"), ("openpose", "OpenPose's (MediaPipe's)")):
        yield Correction(
            what=f"the joints are in {name} order",
            remedy=f"digit.conventions.reorder_hands(joints, {source!r})",
            apply=lambda joints, source=source: conventions.reorder_hands(
                joints, source
            ),
        )
    yield Correction(
        what="right and left hand are exchanged",
        remedy="digit.conventions.swap_hands(joints)",
        apply=conventions.swap_hands,
    )


def mirror_corrections() -> Iterator[Correction]:
    """Mirrored hands, pictures and axes."""
    left = slice(JOINTS_PER_HAND, None)
    right = slice(0, JOINTS_PER_HAND)
    for hand, side in ((left, "left"), (right, "right")):
        yield Correction(
            what=f"the {side} hand is mirrored, as if in the flipped picture",
            remedy=f"digit.conventions.mirror_cells for the {side} hand's joints",
            apply=lambda joints, hand=hand: _with_hand(
                joints, hand, conventions.mirror_cells(joints[:, hand])
            ),
        )
        yield Correction(
            what=f"the {side} hand is mirrored about its wrist",
            remedy=f"x → 2 · x of the wrist − x for the {side} hand's joints",
            apply=lambda joints, hand=hand: _with_hand(
                joints, hand, _mirrored_about_wrist(joints[:, hand])
            ),
        )
    yield Correction(
        what="the predictions are for mirrored pictures",
        remedy="digit.conventions.swap_hands(mirror_cells(joints))",
        apply=lambda joints: conventions.swap_hands(conventions.mirror_cells(joints)),
    )
    yield Correction(
        what="x runs to the left",
        remedy="digit.conventions.mirror_cells(joints)",
        apply=conventions.mirror_cells,
    )
    for axis, name in ((1, "y runs upward"), (2, "z runs towards the camera")):
        yield Correction(
            what=name,
            remedy=f"{'xyz'[axis]} → 64 − {'xyz'[axis]}",
            apply=lambda joints, axis=axis: _with_axis(
                joints, axis, HEATMAP_CELLS - joints[..., axis]
            ),
        )


def depth_corrections() -> Iterator[Correction]:
    """Depths in other units, or not relative to the wrist."""
    relative = "(z / 200 + 1) / 2 · 64 with z in mm behind the own wrist"
    for unit, mm in (("millimetres", 1), ("metres", MM_PER_M)):
        yield Correction(
            what=f"depths are in {unit}, not in cells",
            remedy=f"z → {relative}",
            apply=lambda joints, mm=mm: _with_axis(
                joints, 2, depth_to_cells(mm * joints[..., 2])
            ),
            of_units=True,
        )
        yield Correction(
            what=f"depths are absolute, in {unit}",
            remedy=f"z → {relative}",
            apply=lambda joints, mm=mm: _with_axis(
                joints, 2, depth_to_cells(mm * _behind_wrist(joints))
            ),
            of_units=True,
        )
    yield Correction(
        what="depths are absolute, not relative to the own wrist",
        remedy="z → z − z of the wrist + 32",
        apply=_relative_to_wrist,
        of_units=True,
    )


def image_corrections(sample: Sample) -> Iterator[Correction]:
    """Image positions in other units or of another picture."""
    ratio = HEATMAP_CELLS / CROP_PX
    scales = (
        ("pixels of the 256 px crop", ratio, 1.0),
        ("shares of the crop, 0…1", HEATMAP_CELLS, 1.0),
        ("pixels of the 256 px crop, depths likewise", ratio, ratio),
        ("shares of the crop, 0…1, depths likewise", HEATMAP_CELLS, HEATMAP_CELLS),
    )
    for name, scale, depth_scale in scales:
        factors = np.array([scale, scale, depth_scale], np.float32)
        yield Correction(
            what=f"x and y are {name}, not cells",
            remedy=f"multiply by {scale:g}",
            apply=lambda joints, factors=factors: joints * factors,
            of_units=True,
        )
    to_cells = image_to_cells(sample.index, sample.root_depth).numpy()
    yield Correction(
        what="x and y are pixels of the image, not cells of the crop",
        remedy="map them by digit.geometry.crop_affine(box, 64)",
        apply=lambda joints: with_image_positions(
            joints, _mapped(to_cells, joints[..., :2])
        ),
        of_units=True,
    )


def space_corrections(sample: Sample) -> Iterator[Correction]:
    """Joints in space, not in cells at all."""
    true_wrists_mm = sample.truth.joints_cam_mm[:, JOINT_WRIST].numpy()
    for unit, mm in (("millimetres", 1), ("metres", MM_PER_M)):
        yield Correction(
            what=f"joints are in {unit} relative to the wrist, not in cells",
            remedy="add the wrist's place, then digit.evaluation.conversion."
            "cells_from_camera",
            apply=lambda joints, mm=mm: cells_from_camera(
                sample.index,
                mm * (joints - joints[:, JOINT_WRIST]) + true_wrists_mm,
                sample.root_depth,
            ),
            of_units=True,
        )
        yield Correction(
            what=f"joints are in {unit} of the camera frame, not in cells",
            remedy="digit.evaluation.conversion.cells_from_camera",
            apply=lambda joints, mm=mm: cells_from_camera(
                sample.index, (mm * joints).astype(np.float32), sample.root_depth
            ),
            of_units=True,
        )


def both(first: Correction, second: Correction) -> Correction:
    """Two corrections, one after the other."""
    return Correction(
        what=f"{first.what}, and {second.what}",
        remedy=f"{first.remedy}, then {second.remedy}",
        apply=lambda joints: second.apply(first.apply(joints)),
        of_units=True,
    )


def _with_hand(joints: Cells, hand: slice, values: np.ndarray) -> Cells:
    """The joints with one hand replaced."""
    changed = joints.copy()
    changed[:, hand] = values
    return changed


def _with_axis(joints: Cells, axis: int, values: np.ndarray) -> Cells:
    """The joints with one coordinate replaced."""
    changed = joints.copy()
    changed[..., axis] = values
    return changed


def with_image_positions(joints: Cells, positions: np.ndarray) -> Cells:
    """The joints with x and y replaced."""
    changed = joints.copy()
    changed[..., :2] = positions
    return changed


def _mirrored_about_wrist(hand: np.ndarray) -> np.ndarray:
    """A hand's joints with x mirrored about its wrist, the last joint."""
    mirrored = hand.copy()
    mirrored[..., 0] = 2 * hand[:, -1:, 0] - hand[..., 0]
    return mirrored


def _behind_wrist(joints: Cells) -> np.ndarray:
    """Depths minus those of the own wrist."""
    return joints[..., 2] - joints[:, JOINT_WRIST, 2]


def _relative_to_wrist(joints: Cells) -> Cells:
    """Depths in cells made relative, where the wrists' own are far from relative."""
    wrist_cells = joints[:, WRISTS, 2] - HEATMAP_CELLS / 2
    if np.median(np.abs(wrist_cells)) < FAR_FROM_WRIST:
        return joints
    return _with_axis(joints, 2, _behind_wrist(joints) + HEATMAP_CELLS / 2)


def _mapped(affine: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Positions of each frame mapped by its affine."""
    linear = affine[:, :, :2]
    offset = affine[:, None, :, 2]
    return positions @ linear.swapaxes(1, 2) + offset

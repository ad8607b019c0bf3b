"""The predictions doctor: does a file of predictions mean something else than it should?

It tries the usual mistakes (another order of joints, mirrored or exchanged hands, other
units, another crop) on a sample of frames, and names those whose correction brings the
error down by far. `digit doctor --predictions` prints what it finds.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float

from digit import conventions, geometry
from digit.data.dataset import evaluation_targets
from digit.data.index import Index
from digit.evaluation import metrics
from digit.evaluation.conversion import cells_from_camera
from digit.evaluation.ground_truth import (
    BBOX_OF,
    GroundTruth,
    RootDepth,
    image_to_cells,
    read_ground_truth,
)
from digit.evaluation.predictions import Predictions
from digit.skeleton import HEATMAP_CELLS, JOINT_WRIST, JOINTS_PER_HAND, WRISTS

SAMPLE = 500  # frames that are looked at
# All thresholds are chosen by eye, on files with and without mistakes.
FEWEST_FRAMES = 5  # on which anything can be told
GAIN = 0.75  # a correction leaves at most this share of the error
SCALE_GAIN = 0.97  # the same for another crop, whose slope must tell as well
SCALE_SLOPE = 1.1
SCALE_CORRELATION = 0.85  # below it a network is poor, whatever its slope
SCALE_RANGE = (0.4, 2.5)  # of crops that somebody may have cut
PLAUSIBLE_SLOPE = (0.4, 2.5)  # of predicted against true positions, in right units
FAR_FROM_WRIST = 32  # cells: such a wrist has no depth relative to itself
MOST_MISTAKES = 3  # of the joints, one upon the other
CROP_PX = 256
MM_PER_M = 1000

Cells = Float[np.ndarray, "n 42 3"]


class Mistake(NamedTuple):
    """A mistake that a file of predictions seems to have.

    Attributes:
        what: The mistake, in words.
        metric: What it spoils: "MPJPE" or "MRRPE" (mm), "handedness" (share correct) or
            "frames known" (share).
        before: The metric on the sample, as the file is.
        after: What it would become.
        remedy: How to mend it.
    """

    what: str
    metric: str
    before: float
    after: float
    remedy: str

    def sentence(self) -> str:
        """The mistake and its remedy in a line."""
        if self.metric in ("MPJPE", "MRRPE"):
            numbers = f"{self.before:.1f} → {self.after:.1f} mm"
        else:
            numbers = f"{self.before:.0%} → {self.after:.0%}"
        return f"{self.what}: {self.metric} {numbers} when mended; {self.remedy}"


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


def diagnose_predictions(
    index: Index, predictions: Predictions, root_depth: RootDepth = "gt"
) -> list[Mistake]:
    """Look for the usual mistakes in predictions.

    Args:
        index: Frames of the split they are for.
        predictions: Predictions of some or all of these frames.
        root_depth: Whose wrist depths and crops they are made for.

    Returns:
        The mistakes found, those of the joints in the order in which to mend them. An
        empty list for predictions that are merely poor.

    Raises:
        ValueError: If under five of the frames are predicted.

    Example:
        >>> for mistake in diagnose_predictions(index, Predictions.load("mine.npz")):
        ...     print(mistake.sentence())
    """
    predictions = predictions.checked()
    mistake = _foreign_ids(index, predictions)
    if mistake is not None:
        return [mistake]
    sample, predictions = _draw_sample(index, predictions, root_depth)

    mistakes, joints_25d = _joint_mistakes(sample, predictions.joints_25d)
    mended = predictions._replace(joints_25d=joints_25d)
    mistakes += _root_depth_mistakes(sample, mended)
    mistakes += _hand_type_mistakes(sample, predictions)
    return mistakes


def _foreign_ids(index: Index, predictions: Predictions) -> Mistake | None:
    """Whether the frames are named by something else than the image id."""
    ids = predictions.image_id
    if np.isin(ids, index.split_image_ids).mean() > 0.5:
        return None
    others = {
        "annotation ids (annotations[…].id)": index["annot_id"],
        "row numbers": np.arange(len(index.split_image_ids)),
    }
    for name, known in others.items():
        if np.isin(ids, known).all():
            return Mistake(
                what=f"image_id holds {name}",
                metric="frames known",
                before=0.0,
                after=1.0,
                remedy="give images[…].id of the annotations",
            )
    return None


def _draw_sample(
    index: Index, predictions: Predictions, root_depth: RootDepth
) -> tuple[Sample, Predictions]:
    """Up to `SAMPLE` predicted frames, spread over the index, and their predictions."""
    rows = np.flatnonzero(np.isin(index["image_id"], predictions.image_id))
    if len(rows) < FEWEST_FRAMES:
        raise ValueError(
            f"predictions of {len(rows)} frames of {index.name}: at least "
            f"{FEWEST_FRAMES} are needed to tell anything"
        )
    chosen = np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).round().astype(int)
    some = index.take(rows[chosen])
    order = {
        image_id: row for row, image_id in enumerate(predictions.image_id.tolist())
    }
    where = [order[image_id] for image_id in some["image_id"].tolist()]
    truth = read_ground_truth(some, root_depth)
    sample = Sample(
        index=some,
        root_depth=root_depth,
        truth=truth,
        true_25d=evaluation_targets(some, BBOX_OF[root_depth]).joints_25d.numpy(),
        counts=truth.joint_valid.numpy(),
    )
    return sample, predictions.take(where)


# --- Joints -------------------------------------------------------------------------


def _joint_mistakes(sample: Sample, joints_25d: Cells) -> tuple[list[Mistake], Cells]:
    """Mistakes of the joints, one upon the other, and the joints without them."""
    orders = [*_order_corrections(), *_mirror_corrections()]
    units = [
        *_depth_corrections(),
        *_image_corrections(sample),
        *_space_corrections(sample),
    ]
    pairs = [_both(order, unit) for order in orders for unit in units]
    mistakes: list[Mistake] = []
    for _ in range(MOST_MISTAKES):
        # Two at once where none of the two is enough to tell.
        found = (
            _best_correction(sample, joints_25d, orders + units)
            or _crop_scale(sample, joints_25d)
            or _best_correction(sample, joints_25d, pairs)
        )
        if found is None:
            break
        mistake, joints_25d = found
        mistakes.append(mistake)
    return mistakes, joints_25d


def _both(first: Correction, second: Correction) -> Correction:
    """Two corrections, one after the other."""
    return Correction(
        what=f"{first.what}, and {second.what}",
        remedy=f"{first.remedy}, then {second.remedy}",
        apply=lambda joints: second.apply(first.apply(joints)),
        of_units=True,
    )


def _best_correction(
    sample: Sample, joints_25d: Cells, corrections: list[Correction]
) -> tuple[Mistake, Cells] | None:
    """The correction that brings the error down most, if any does by far."""
    before, _ = _errors(sample, joints_25d)
    candidates = []
    for correction in corrections:
        mended = correction.apply(joints_25d)
        after, after_2d = _errors(sample, mended)
        if not after <= GAIN * before:
            continue
        if correction.of_units and not _has_plausible_size(sample, mended):
            continue
        # Of corrections that are as good in space, the one better in the image.
        rank = (round(after, 1), after_2d)
        mistake = Mistake(correction.what, "MPJPE", before, after, correction.remedy)
        candidates.append((rank, mistake, mended))
    if not candidates:
        return None
    _, mistake, mended = min(candidates, key=lambda candidate: candidate[0])
    return mistake, mended


def _errors(sample: Sample, joints_25d: Cells) -> tuple[float, float]:
    """MPJPE (mm) and the mean distance in the image (cells); infinite if undefined."""
    truth = sample.truth
    joints = torch.tensor(joints_25d, dtype=torch.float32)
    joints_cam_mm = geometry.place_hands(
        geometry.apply_affine(truth.cells_to_image, joints[..., :2]),
        geometry.cells_to_depth(joints[..., 2]),
        truth.wrist_depth_mm,
        focal=truth.focal,
        princpt=truth.princpt,
    )
    errors_mm = metrics.joint_errors(joints_cam_mm, truth.joints_cam_mm).numpy()
    offsets = joints_25d[..., :2] - sample.true_25d[..., :2]
    errors_2d = np.linalg.norm(offsets, axis=-1)
    means = []
    for errors in (errors_mm, errors_2d):
        mean = errors[sample.counts].mean() if sample.counts.any() else np.inf
        means.append(float(mean) if np.isfinite(mean) else np.inf)
    return means[0], means[1]


def _slopes(sample: Sample, joints_25d: Cells, axes: slice) -> tuple[float, float]:
    """Predicted on true, and true on predicted positions relative to the wrist.

    Noise leaves the first at 1, and a network that shrinks to the mean the second: so
    whichever is above 1 tells of another scale, and not of a poor network.
    """
    predicted = (joints_25d - joints_25d[:, JOINT_WRIST])[..., axes][sample.counts]
    true = (sample.true_25d - sample.true_25d[:, JOINT_WRIST])[..., axes][sample.counts]
    product = (predicted * true).sum()
    on_true = product / max((true**2).sum(), 1e-9)
    on_predicted = product / max((predicted**2).sum(), 1e-9)
    return float(on_true), float(on_predicted)


def _has_plausible_size(sample: Sample, joints_25d: Cells) -> bool:
    """Whether positions in the image and depths follow the true ones in size."""
    low, high = PLAUSIBLE_SLOPE
    for axes in (slice(0, 2), slice(2, 3)):
        on_true, _ = _slopes(sample, joints_25d, axes)
        if not low < on_true < high:
            return False
    return True


def _order_corrections() -> Iterator[Correction]:
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


def _mirror_corrections() -> Iterator[Correction]:
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


def _depth_corrections() -> Iterator[Correction]:
    """Depths in other units, or not relative to the wrist."""
    relative = "(z / 200 + 1) / 2 · 64 with z in mm behind the own wrist"
    for unit, mm in (("millimetres", 1), ("metres", MM_PER_M)):
        yield Correction(
            what=f"depths are in {unit}, not in heatmap cells",
            remedy=f"z → {relative}",
            apply=lambda joints, mm=mm: _with_axis(
                joints, 2, _depth_to_cells(mm * joints[..., 2])
            ),
            of_units=True,
        )
        yield Correction(
            what=f"depths are absolute, in {unit}",
            remedy=f"z → {relative}",
            apply=lambda joints, mm=mm: _with_axis(
                joints, 2, _depth_to_cells(mm * _behind_wrist(joints))
            ),
            of_units=True,
        )
    yield Correction(
        what="depths are absolute, not relative to the own wrist",
        remedy="z → z − z of the wrist + 32",
        apply=_relative_to_wrist,
        of_units=True,
    )


def _image_corrections(sample: Sample) -> Iterator[Correction]:
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
            what=f"x and y are {name}, not heatmap cells",
            remedy=f"multiply by {scale:g}",
            apply=lambda joints, factors=factors: joints * factors,
            of_units=True,
        )
    to_cells = image_to_cells(sample.index, sample.root_depth).numpy()
    yield Correction(
        what="x and y are pixels of the image, not cells of the crop",
        remedy="map them by digit.geometry.crop_affine(box, 64)",
        apply=lambda joints: _with_image_positions(
            joints, _mapped(to_cells, joints[..., :2])
        ),
        of_units=True,
    )


def _space_corrections(sample: Sample) -> Iterator[Correction]:
    """Joints in space, not in heatmap units at all."""
    true_wrists_mm = sample.truth.joints_cam_mm[:, JOINT_WRIST].numpy()
    for unit, mm in (("millimetres", 1), ("metres", MM_PER_M)):
        yield Correction(
            what=f"joints are in {unit} relative to the wrist, not in heatmap cells",
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
            what=f"joints are in {unit} of the camera frame, not in heatmap cells",
            remedy="digit.evaluation.conversion.cells_from_camera",
            apply=lambda joints, mm=mm: cells_from_camera(
                sample.index, (mm * joints).astype(np.float32), sample.root_depth
            ),
            of_units=True,
        )


def _crop_scale(sample: Sample, joints_25d: Cells) -> tuple[Mistake, Cells] | None:
    """Whether image positions are of a crop of another scale about the same centre."""
    on_true, on_predicted = _slopes(sample, joints_25d, slice(0, 2))
    correlation = np.sqrt(max(on_true * on_predicted, 0))
    if correlation < SCALE_CORRELATION:
        return None
    factor = 1 / on_true if on_true > on_predicted else on_predicted
    low, high = SCALE_RANGE
    is_crop = low < factor < high
    if not is_crop or max(on_true, on_predicted) < SCALE_SLOPE:
        return None
    centre = HEATMAP_CELLS / 2
    positions = (joints_25d[..., :2] - centre) * factor + centre
    mended = _with_image_positions(joints_25d, positions)
    before, before_2d = _errors(sample, joints_25d)
    after, after_2d = _errors(sample, mended)
    if after > SCALE_GAIN * before or after_2d > SCALE_GAIN * before_2d:
        return None
    mistake = Mistake(
        what=f"x and y are of a crop {factor:.2f} times as large as the evaluation crop",
        metric="MPJPE",
        before=before,
        after=after,
        remedy="the crop is the annotated box made square, times 1.25: x → "
        f"(x − 32) · {factor:.3g} + 32, and y likewise",
    )
    return mistake, mended


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


def _with_image_positions(joints: Cells, positions: np.ndarray) -> Cells:
    """The joints with x and y replaced."""
    changed = joints.copy()
    changed[..., :2] = positions
    return changed


def _mirrored_about_wrist(hand: np.ndarray) -> np.ndarray:
    """A hand's joints with x mirrored about its wrist, the last joint."""
    return _with_axis(hand, 0, 2 * hand[:, -1:, 0] - hand[..., 0])


def _behind_wrist(joints: Cells) -> np.ndarray:
    """Depths minus those of the own wrist."""
    return joints[..., 2] - joints[:, JOINT_WRIST, 2]


def _relative_to_wrist(joints: Cells) -> Cells:
    """Depths in cells made relative, where the wrists' own are far from relative."""
    wrist_cells = joints[:, WRISTS, 2] - HEATMAP_CELLS / 2
    if np.median(np.abs(wrist_cells)) < FAR_FROM_WRIST:
        return joints
    return _with_axis(joints, 2, _behind_wrist(joints) + HEATMAP_CELLS / 2)


def _depth_to_cells(depth_mm: np.ndarray) -> np.ndarray:
    """`geometry.depth_to_cells` of an array."""
    return geometry.depth_to_cells(torch.from_numpy(depth_mm)).numpy()


def _mapped(affine: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Positions of each frame mapped by its affine."""
    linear = affine[:, :, :2]
    offset = affine[:, None, :, 2]
    return positions @ linear.swapaxes(1, 2) + offset


# --- Relative root depth and hand type ----------------------------------------------


def _root_depth_mistakes(sample: Sample, predictions: Predictions) -> list[Mistake]:
    """Mistakes of the relative root depth, by MRRPE of joints without mistakes."""
    counts = sample.truth.has_both_wrists.numpy()
    if counts.sum() < FEWEST_FRAMES:
        return []
    relative = predictions.relative_root_depth.astype(np.float64)
    right_mm = sample.truth.wrist_depth_mm[:, 0].numpy().astype(np.float64)
    before = _mrrpe(sample, predictions)
    cells = "(z / 200 + 1) / 2 · 64 with z = left − right wrist depth in mm"
    tried = [
        (
            "relative root depth is right minus left",
            "→ 64 − it",
            HEATMAP_CELLS - relative,
        ),
    ]
    for unit, mm in (("millimetres", 1), ("metres", MM_PER_M)):
        tried += [
            (
                f"relative root depth is in {unit}, not in heatmap cells",
                f"→ {cells}",
                _depth_to_cells(mm * relative),
            ),
            (
                f"relative root depth is right minus left, in {unit}",
                f"→ {cells}",
                _depth_to_cells(-mm * relative),
            ),
            (
                f"relative root depth is the left wrist's absolute depth in {unit}",
                f"→ {cells}",
                _depth_to_cells(mm * relative - right_mm),
            ),
        ]
    best = None
    for what, remedy, values in tried:
        after = _mrrpe(sample, predictions._replace(relative_root_depth=values))
        if not after <= GAIN * before or not _follows_truth(sample, values, counts):
            continue
        if best is None or after < best.after:
            best = Mistake(
                what, "MRRPE", before, after, f"relative_root_depth {remedy}"
            )
    return [] if best is None else [best]


def _mrrpe(sample: Sample, predictions: Predictions) -> float:
    """MRRPE of the sample, mm; infinite if undefined."""
    truth = sample.truth
    joints = torch.tensor(predictions.joints_25d, dtype=torch.float32)[:, WRISTS]
    cells = torch.tensor(predictions.relative_root_depth, dtype=torch.float32)
    right_mm = truth.wrist_depth_mm[:, 0]
    wrists_mm = torch.stack([right_mm, right_mm + geometry.cells_to_depth(cells)], 1)
    wrists_cam_mm = geometry.back_project(
        geometry.apply_affine(truth.cells_to_image, joints[..., :2]),
        wrists_mm + geometry.cells_to_depth(joints[..., 2]),
        focal=truth.focal,
        princpt=truth.princpt,
    )
    errors = metrics.mrrpe(
        wrists_cam_mm, truth.joints_cam_mm[:, WRISTS], truth.has_both_wrists
    )
    mean = errors.nanmean().item()
    return mean if np.isfinite(mean) else np.inf


def _follows_truth(
    sample: Sample, relative_cells: np.ndarray, counts: Bool[np.ndarray, "n"]
) -> bool:
    """Whether relative root depths follow the true ones in size and sign."""
    depths_mm = sample.truth.joints_cam_mm[:, WRISTS, 2].numpy()
    true_mm = (depths_mm[:, 1] - depths_mm[:, 0])[counts]
    cells = torch.from_numpy(relative_cells[counts])
    predicted_mm = geometry.cells_to_depth(cells).numpy()
    slope = (predicted_mm * true_mm).sum() / max((true_mm**2).sum(), 1e-9)
    low, high = PLAUSIBLE_SLOPE
    return bool(low < slope < high)


def _hand_type_mistakes(sample: Sample, predictions: Predictions) -> list[Mistake]:
    """Whether the left hand's probability comes first."""
    truth = sample.truth
    single = truth.hand_type.sum(1) == 1
    counts = single & truth.hand_type_valid
    if counts.sum() < FEWEST_FRAMES:
        return []
    probability = torch.tensor(predictions.hand_type, dtype=torch.float32)
    accuracy = []
    for tried in (probability, probability.flip(-1)):
        correct = metrics.handedness_correct(tried, truth.hand_type, counts)
        accuracy.append(correct.nanmean().item())
    before, after = accuracy
    if before > 0.5 or after < 0.75:
        return []
    return [
        Mistake(
            what="hand_type has the left hand first",
            metric="handedness",
            before=before,
            after=after,
            remedy="hand_type[:, ::-1]",
        )
    ]

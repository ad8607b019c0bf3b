"""The predictions doctor: does a file of predictions mean something else than it should?

It tries the usual mistakes (another order of joints, mirrored or exchanged hands, other
units, another crop) on a sample of frames, and names those whose correction brings the
error down by far. `digit doctor --predictions` prints what it finds.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool

from digit import geometry
from digit.data.build_index import prepare_index
from digit.data.dataset import evaluation_targets
from digit.data.index import Index
from digit.data.layout import splits_of
from digit.evaluation import metrics
from digit.evaluation.ground_truth import BBOX_OF, RootDepth, read_ground_truth
from digit.evaluation.prediction_mistakes import (
    MM_PER_M,
    Cells,
    Correction,
    Sample,
    both,
    depth_corrections,
    image_corrections,
    mirror_corrections,
    order_corrections,
    space_corrections,
    with_image_positions,
)
from digit.evaluation.predictions import Predictions
from digit.geometry import depth_to_cells
from digit.skeleton import HEATMAP_CELLS, JOINT_WRIST, WRISTS

SAMPLE = 500  # frames that are looked at
# All thresholds are chosen by eye, on files with and without mistakes.
FEWEST_FRAMES = 5  # on which anything can be told
LEAST_SURE = 0.1  # mean distance of hand-type probabilities from 0.5
GAIN = 0.75  # a correction leaves at most this share of the error
SCALE_GAIN = 0.97  # the same for another crop, whose slope must tell as well
SCALE_SLOPE = 1.1
SCALE_CORRELATION = 0.85  # below it a network is poor, whatever its slope
SCALE_RANGE = (0.4, 2.5)  # of crops that somebody may have cut
PLAUSIBLE_SLOPE = (0.4, 2.5)  # of predicted against true positions, in right units
MOST_MISTAKES = 3  # of the joints, one upon the other


class Mistake(NamedTuple):
    """A mistake that a file of predictions seems to have.

    Attributes:
        what: The mistake, in words.
        metric: What it spoils: "MPJPE" or "MRRPE" (mm), "handedness" (share correct) or
            "frames known" (share).
        before: The metric on the sample, as the file is.
        after: What it would become.
        remedy: How to fix it.
    """

    what: str
    metric: str
    before: float
    after: float
    remedy: str

    def numbers(self) -> str:
        """What the metric is, and would become, in words."""
        if self.metric in ("MPJPE", "MRRPE"):
            return f"{self.metric} {self.before:.1f} → {self.after:.1f} mm when fixed"
        return f"{self.metric} {self.before:.0%} → {self.after:.0%} when fixed"

    def sentence(self) -> str:
        """The mistake and its remedy in a line."""
        return f"{self.what}: {self.numbers()}; {self.remedy}"


def examine_predictions(
    dataset_dir: Path | str,
    predictions: Path | str,
    split: str | None = None,
    root_depth: RootDepth = "gt",
) -> list[Mistake]:
    """Look for the usual mistakes in a file of predictions.

    Args:
        dataset_dir: The data set's folder.
        predictions: An .npz file, see `Predictions.load`.
        split: Which split they are for; by default the one that has their image ids.
        root_depth: Whose wrist depths and crops they are made for.

    Returns:
        The mistakes found; see `diagnose_predictions`.

    Raises:
        FileNotFoundError: If the data set or the file is missing.
        ValueError: If the file is malformed, has too few frames of the split, or its
            frames may be those of several splits.
    """
    found = Predictions.load(predictions)
    if split is None:
        split = _split_of(dataset_dir, found)
    return diagnose_predictions(prepare_index(dataset_dir, split), found, root_depth)


def _split_of(dataset_dir: Path | str, predictions: Predictions) -> str:
    """The split that has the predictions' image ids."""
    splits = splits_of(dataset_dir)
    fitting = [
        split
        for split in splits
        if np.isin(
            predictions.image_id, prepare_index(dataset_dir, split).split_image_ids
        ).all()
    ]
    if len(splits) == 1 or len(fitting) == 1:
        return (fitting or splits)[0]
    if fitting:
        raise ValueError(f"split: the image ids fit {', '.join(fitting)}; name one")
    raise ValueError(f"split: no split has all image ids; name one of {splits}")


def diagnose_predictions(
    index: Index, predictions: Predictions, root_depth: RootDepth = "gt"
) -> list[Mistake]:
    """Look for the usual mistakes in predictions.

    Args:
        index: Frames of the split they are for.
        predictions: Predictions of some or all of these frames.
        root_depth: Whose wrist depths and crops they are made for.

    Returns:
        The mistakes found, those of the joints in the order in which to fix them. An
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
    fixed = predictions._replace(joints_25d=joints_25d)
    mistakes += _root_depth_mistakes(sample, fixed)
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
            f"{FEWEST_FRAMES} are needed"
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
    orders = [*order_corrections(), *mirror_corrections()]
    units = [
        *depth_corrections(),
        *image_corrections(sample),
        *space_corrections(sample),
    ]
    pairs = [both(order, unit) for order in orders for unit in units]
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


def _best_correction(
    sample: Sample, joints_25d: Cells, corrections: list[Correction]
) -> tuple[Mistake, Cells] | None:
    """The correction that brings the error down most, if any does by far."""
    before, _ = _errors(sample, joints_25d)
    candidates = []
    for correction in corrections:
        fixed = correction.apply(joints_25d)
        after, after_2d = _errors(sample, fixed)
        if not after <= GAIN * before:
            continue
        if correction.of_units and not _has_plausible_size(sample, fixed):
            continue
        # Of corrections that are as good in space, the one better in the image.
        rank = (round(after, 1), after_2d)
        mistake = Mistake(correction.what, "MPJPE", before, after, correction.remedy)
        candidates.append((rank, mistake, fixed))
    if not candidates:
        return None
    _, mistake, fixed = min(candidates, key=lambda candidate: candidate[0])
    return mistake, fixed


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
    fixed = with_image_positions(joints_25d, positions)
    before, before_2d = _errors(sample, joints_25d)
    after, after_2d = _errors(sample, fixed)
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
    return mistake, fixed


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
                f"relative root depth is in {unit}, not in cells",
                f"→ {cells}",
                depth_to_cells(mm * relative),
            ),
            (
                f"relative root depth is right minus left, in {unit}",
                f"→ {cells}",
                depth_to_cells(-mm * relative),
            ),
            (
                f"relative root depth is the left wrist's absolute depth in {unit}",
                f"→ {cells}",
                depth_to_cells(mm * relative - right_mm),
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
    # A method that is never sure says nothing about the order.
    if (probability[counts] - 0.5).abs().mean() < LEAST_SURE:
        return []
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

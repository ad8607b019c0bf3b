"""Fits for data sets that have joints but no fits: the command `digit fit-hands`.

Every hand with enough joints and no fit of the user's gets one. They are written in
NeuralAnnot's layout to `prepared/fits/`, never into the user's annotations; the index
reads them where the user has none, and `digit prepare` renders masks from them as from
any other fits.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Integer
from tqdm.auto import tqdm

from digit.data.build_index import prepare_index
from digit.data.index import Index
from digit.data.layout import (
    FITTED_MODEL_NAME,
    LABELS_NAME,
    fitted_error_name,
    fitted_name,
    hand_model_name,
    has_own_fits,
    label_kind,
    splits_of,
)
from digit.files import atomic, exclusive, is_whole_npz, write_json, write_text
from digit.hands.fitting import MIN_JOINTS, PersonShapes, fit_joints
from digit.hands.mano_files import find_mano
from digit.hands.model import load_hand
from digit.hands.solver import FitSettings
from digit.paths import digest, prepared_dir
from digit.skeleton import JOINTS_PER_HAND, SIDES

FIT_VERSION = 1  # of fits and files: others are made anew
SHARD = 1024  # moments of one task
DECIMALS = 6  # of the numbers written: micrometres and microradians
# Joints of real hands are fitted to within 4 mm, even by a hand model that is not
# theirs; joints that are this far off on average do not belong to a hand. By eye.
MAX_RESIDUAL_MM = 15.0
# A subject's hands share one shape unless that costs them more than this on average:
# then the "subject" is many people. By eye.
MAX_COST_OF_ONE_SHAPE_MM = 1.0
HANDS_FOR_A_SHAPE = 256  # of each subject and side that shapes are found from
SETTINGS = FitSettings()


@dataclass(frozen=True)
class FitReport:
    """What was done for a split; residuals are the fits' mean distances from joints."""

    split: str
    hand_model: str
    fitted: int
    left_out: int
    had_fits: int
    median_residual_mm: float
    percentile_95_residual_mm: float
    path: Path

    def __str__(self) -> str:
        if not self.fitted and not self.left_out:
            return f"{self.split}: nothing to fit, {self.had_fits:,} hands have fits"
        text = f"{self.split}: {self.fitted:,} hands fitted with the {self.hand_model} "
        text += "hand model"
        if self.fitted:
            text += f", {self.median_residual_mm:.1f} mm off their joints (median; "
            text += f"95 % within {self.percentile_95_residual_mm:.1f} mm)"
        if self.left_out:
            text += f"; {self.left_out:,} left out, see {fitted_error_name(self.split)}"
        if self.had_fits:
            text += f"; {self.had_fits:,} had fits already"
        return f"{text} → {self.path}"


class Moments(NamedTuple):
    """The moments of a split: m instants, seen by one or more cameras."""

    capture: Integer[np.ndarray, "m"]
    frame_idx: Integer[np.ndarray, "m"]
    subject: Integer[np.ndarray, "m"]  # numbered from 0
    joints_mm: Float32[np.ndarray, "m 2 21 3"]  # world; right, left
    valid: Bool[np.ndarray, "m 2 21"]
    has_fit: Bool[np.ndarray, "m 2"]  # the user's

    @property
    def wanted(self) -> Bool[np.ndarray, "m 2"]:
        """The hands to fit: some joint is known and the user has no fit."""
        return self.valid.any(-1) & ~self.has_fit


class Shard(NamedTuple):
    """One task: it needs nothing but these arrays and the hand model."""

    hand_model: str
    mano_dir: str | None
    joints_mm: Float32[np.ndarray, "k 2 21 3"]
    valid: Bool[np.ndarray, "k 2 21"]
    shape: Float32[np.ndarray, "k 10"]  # NaN: each hand has its own


@dataclass(frozen=True)
class ShardFits:
    """The fits of a shard's hands; NaN where there is none."""

    pose: Float32[np.ndarray, "k 2 48"]
    shape: Float32[np.ndarray, "k 2 10"]
    trans_m: Float32[np.ndarray, "k 2 3"]
    joint_residual_mm: Float32[np.ndarray, "k 2 21"]


def fit_dataset(
    dataset_dir: Path | str,
    splits: Sequence[str] | None = None,
    executor: Executor | None = None,
) -> Iterator[FitReport]:
    """Fit the hands of a data set that have joints but no fit.

    Tasks of 1,024 moments go to the executor; their results are kept until a split is
    whole, so that a run that was stopped continues. The same joints and hand model give
    the same fits for any executor.

    Args:
        dataset_dir: The data set's folder.
        splits: Which splits; by default all that are there.
        executor: Where tasks run; by default threads on all cores.

    Yields:
        A report for each split, when it is done.

    Raises:
        FileNotFoundError: if the data set is missing, or the user's fits are MANO's and
            MANO's files are missing.
        ValueError: if another process is fitting this split, or the data set's joints
            have no depths.
    """
    dataset_dir = Path(dataset_dir).resolve()
    if label_kind(dataset_dir) == "flat":
        raise ValueError(
            f"{dataset_dir / LABELS_NAME}: says flat, so these joints have no depths, and "
            "no hand can be fitted to them"
        )
    hand_model, mano_dir = choose_hand_model(dataset_dir)
    for split in splits or splits_of(dataset_dir):
        with exclusive(prepared_dir(dataset_dir) / f"fits/{split}.lock", wait=False):
            yield _fit_split(dataset_dir, split, hand_model, mano_dir, executor)


def choose_hand_model(dataset_dir: Path) -> tuple[str, Path | None]:
    """The hand model to fit, and the folder of its files.

    A data set has fits of one hand model. The user's own fits decide where there are
    some; else MANO is fitted where its files are, and the hand that ships elsewhere.
    """
    if hand_model_name(dataset_dir) == "generic":
        return "generic", None
    mano_dir = find_mano(dataset_dir)
    if mano_dir is not None:
        return "mano", mano_dir
    if has_own_fits(dataset_dir):
        raise FileNotFoundError(
            f"{dataset_dir / 'mano'}: MANO_RIGHT.pkl and MANO_LEFT.pkl are missing, and "
            "the data set's own fits are MANO's; get them from mano.is.tue.mpg.de and "
            "put them there, or name their folder in DIGIT_MANO"
        )
    return "generic", None


def _fit_split(
    dataset_dir: Path,
    split: str,
    hand_model: str,
    mano_dir: Path | None,
    executor: Executor | None,
) -> FitReport:
    """Fit the hands of a split, or return the report of fits that are up to date."""
    # 1. What is there to fit, and is it done already?
    index = prepare_index(dataset_dir, split)
    prepared = prepared_dir(dataset_dir)
    key = _key(index, hand_model, mano_dir)
    note = prepared / f"fits/{split}.json"
    path = prepared / fitted_name(split)
    done = _read_note(note)
    if done is not None and done["key"] == key and path.is_file():
        return FitReport(**{**done["report"], "path": path})
    moments = read_moments(index)

    # 2. Fit shard by shard; those of an earlier run are taken as they are.
    parts = prepared / f"fits/{split}-{key}"
    shape = subject_shapes(moments, hand_model, mano_dir)[moments.subject]
    starts = range(0, len(moments.capture), SHARD)
    todo = [start for start in starts if not is_whole_npz(parts / f"{start}.npz")]
    shards = [
        Shard(
            hand_model=hand_model,
            mano_dir=None if mano_dir is None else str(mano_dir),
            joints_mm=moments.joints_mm[start : start + SHARD],
            valid=(moments.valid & moments.wanted[..., None])[start : start + SHARD],
            shape=shape[start : start + SHARD],
        )
        for start in todo
    ]
    results = _run(shards, executor)
    bar = tqdm(results, f"fitting {split}", len(shards), unit="shard", disable=None)
    for start, found in zip(todo, bar, strict=True):
        with atomic(parts / f"{start}.npz", "wb") as file:
            np.savez(file, **asdict(found))

    # 3. Gather and write; the note, which says that all is complete, comes last.
    fits = _gather(parts, starts)
    residual_mm = mean_residual_mm(fits.joint_residual_mm)
    good = moments.wanted & (residual_mm <= MAX_RESIDUAL_MM)
    _write_fits(path, moments, fits, good)
    _write_errors(prepared / fitted_error_name(split), moments, fits, good)
    write_text(prepared / FITTED_MODEL_NAME, f"{hand_model}\n")
    report = FitReport(
        split=split,
        hand_model=hand_model,
        fitted=int(good.sum()),
        left_out=int((moments.wanted & ~good).sum()),
        had_fits=int(moments.has_fit.sum()),
        median_residual_mm=_percentile(residual_mm[good], 50.0),
        percentile_95_residual_mm=_percentile(residual_mm[good], 95.0),
        path=path,
    )
    written = {k: v for k, v in vars(report).items() if k != "path"}
    write_json(note, {"key": key, "report": written})
    shutil.rmtree(parts, ignore_errors=True)
    return report


def read_moments(index: Index) -> Moments:
    """The moments of an index's frames: a joint is valid where any frame says so."""
    rows, first, moment_of_frame = np.unique(
        index["instant_row"], return_index=True, return_inverse=True
    )
    of_moment = index.take(first)
    joints_mm = of_moment["joints_world_mm"].reshape(len(rows), 2, JOINTS_PER_HAND, 3)
    valid = np.zeros((len(rows), index["joint_valid"].shape[1]), bool)
    np.logical_or.at(valid, moment_of_frame, index["joint_valid"])
    valid = valid.reshape(joints_mm.shape[:3]) & np.isfinite(joints_mm).all(-1)
    has_fit = np.isfinite(of_moment["mano_trans"]).all(-1)
    if "fitted_by_digit" in index.columns():
        has_fit &= ~of_moment["fitted_by_digit"]
    _, subject = np.unique(of_moment["subject"], return_inverse=True)
    return Moments(
        capture=of_moment["capture"],
        frame_idx=of_moment["frame_idx"],
        subject=subject,
        joints_mm=joints_mm,
        valid=valid,
        has_fit=has_fit,
    )


def subject_shapes(
    moments: Moments, hand_model: str, mano_dir: Path | None
) -> Float32[np.ndarray, "s 10"]:
    """One shape for each subject; NaN for those whose hands differ in shape.

    Found from up to 256 hands of each subject and side, spread over its moments.
    """
    n_subjects = int(moments.subject.max()) + 1 if len(moments.subject) else 0
    shapes = PersonShapes(n_subjects, SETTINGS)
    enough = moments.wanted & (moments.valid.sum(-1) >= MIN_JOINTS)

    # 1. Sample hands, and add up what they tell of their subjects' shapes.
    samples = []
    for side, side_name in enumerate(SIDES):
        hand = load_hand(side_name, hand_model, mano_dir)
        rows = _spread(np.flatnonzero(enough[:, side]), moments.subject)
        joints = moments.joints_mm[rows, side]
        valid = moments.valid[rows, side]
        subject = moments.subject[rows]
        shapes.add(hand, joints, valid, subject)
        samples.append((hand, joints, valid, subject))
    found = shapes.solve()

    # 2. What one shape costs each subject, in residual.
    cost_mm = np.zeros((2, n_subjects))
    hands = np.zeros(n_subjects)
    for hand, joints, valid, subject in samples:
        own = fit_joints(hand, joints, valid, settings=SETTINGS)
        shared = fit_joints(
            hand, joints, valid, shape=found[subject], settings=SETTINGS
        )
        hands += np.bincount(subject, minlength=n_subjects)
        for row, fits in enumerate((own, shared)):
            cost_mm[row] += np.bincount(subject, fits.residual_mm, n_subjects)
    mean_mm = cost_mm / np.maximum(hands, 1)
    differ = mean_mm[1] - mean_mm[0] > MAX_COST_OF_ONE_SHAPE_MM
    found[differ | (hands == 0)] = np.nan
    return found


def fit_shard(shard: Shard) -> ShardFits:
    """Fit the hands of one task."""
    n = len(shard.joints_mm)
    by_name = {
        "pose": np.full((n, 2, 48), np.nan, np.float32),
        "shape": np.full((n, 2, 10), np.nan, np.float32),
        "trans_m": np.full((n, 2, 3), np.nan, np.float32),
        "joint_residual_mm": np.full((n, 2, JOINTS_PER_HAND), np.nan, np.float32),
    }
    has_shape = np.isfinite(shard.shape).all(-1)
    for side, side_name in enumerate(SIDES):
        hand = load_hand(side_name, shard.hand_model, shard.mano_dir)
        for shape_is_given in (False, True):
            rows = np.flatnonzero(has_shape == shape_is_given)
            fits = fit_joints(
                hand,
                shard.joints_mm[rows, side],
                shard.valid[rows, side],
                shape=shard.shape[rows] if shape_is_given else None,
                settings=SETTINGS,
            )
            for name, values in by_name.items():
                values[rows, side] = getattr(fits, name)
    return ShardFits(**by_name)


def mean_residual_mm(
    joint_residual_mm: Float[np.ndarray, "*n 21"],
) -> Float[np.ndarray, "*n"]:
    """The mean over a hand's given joints; infinite where it has no fit."""
    given = np.isfinite(joint_residual_mm)
    total = np.where(given, joint_residual_mm, 0.0).sum(-1)
    count = given.sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


# ------------------------------------------------------------ helpers


def _key(index: Index, hand_model: str, mano_dir: Path | None) -> str:
    """Of all that fits depend on: the annotations but for our own fits, and the hand."""
    hashes = {k: v for k, v in index.source_hashes.items() if k != "fitted"}
    hand = [
        values.sum().item() if isinstance(values, torch.Tensor) else None
        for side in SIDES
        for values in vars(load_hand(side, hand_model, mano_dir)).values()
    ]
    return digest(repr((FIT_VERSION, SHARD, SETTINGS, sorted(hashes.items()), hand)))


def _read_note(path: Path) -> dict | None:
    """What was written about fits that are whole; None where there is nothing."""
    names = {field.name for field in fields(FitReport)} - {"path"}
    try:
        note = json.loads(path.read_text())
        return note if set(note["report"]) == names and "key" in note else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run(shards: Sequence[Shard], executor: Executor | None) -> Iterator[ShardFits]:
    """Results of the tasks in their order, a few ahead of their use."""
    if executor is not None:
        yield from executor.map(fit_shard, shards)
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a task a core
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(fit_shard, shards)
    finally:
        torch.set_num_threads(threads)


def _gather(parts: Path, starts: Sequence[int]) -> ShardFits:
    """The fits of all shards, in order."""
    names = [field.name for field in fields(ShardFits)]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for start in starts:
        with np.load(parts / f"{start}.npz") as file:
            for name in names:
                columns[name].append(file[name])
    return ShardFits(**{name: np.concatenate(columns[name]) for name in names})


def _spread(
    rows: Integer[np.ndarray, "k"], subject: Integer[np.ndarray, "m"]
) -> Integer[np.ndarray, "j"]:
    """Up to 256 of these rows of each subject, spread evenly over them."""
    chosen = [np.zeros(0, np.int64)]
    for one in np.unique(subject[rows]):
        of_subject = rows[subject[rows] == one]
        count = min(len(of_subject), HANDS_FOR_A_SHAPE)
        places = np.linspace(0, len(of_subject) - 1, count).astype(int)
        chosen.append(of_subject[places])
    return np.concatenate(chosen)


def _percentile(values: Float[np.ndarray, "n"], percent: float) -> float:
    """A percentile; 0 of nothing."""
    return float(np.percentile(values, percent)) if len(values) else 0.0


def _write_fits(
    path: Path, moments: Moments, fits: ShardFits, good: Bool[np.ndarray, "m 2"]
) -> None:
    """NeuralAnnot's layout: capture → frame → side → pose, shape, trans; or null."""
    order = np.lexsort((moments.frame_idx, moments.capture))
    with atomic(path) as file:
        capture = None
        file.write("{")
        for row in order.tolist():
            if moments.capture[row] != capture:
                file.write("" if capture is None else "},")
                capture = moments.capture[row]
                file.write(f'"{capture}": {{')
                separator = ""
            record = {}
            for side, side_name in enumerate(SIDES):
                fit = _record(fits, row, side) if good[row, side] else None
                record[side_name] = fit
            file.write(f'{separator}"{moments.frame_idx[row]}": {json.dumps(record)}')
            separator = ",\n"
        file.write("}" if capture is None else "}}")


def _record(fits: ShardFits, row: int, side: int) -> dict[str, list[float]]:
    """One fit as NeuralAnnot has it."""
    values = {
        "pose": fits.pose[row, side],
        "shape": fits.shape[row, side],
        "trans": fits.trans_m[row, side],
    }
    return {
        name: np.round(numbers.astype(np.float64), DECIMALS).tolist()
        for name, numbers in values.items()
    }


def _write_errors(
    path: Path, moments: Moments, fits: ShardFits, good: Bool[np.ndarray, "m 2"]
) -> None:
    """A line for each hand that was to be fitted, and whether it was."""
    residual_mm = mean_residual_mm(fits.joint_residual_mm)
    with atomic(path) as file:
        file.write("capture\tframe_idx\thand\tjoints\tmean_mm\tlargest_mm\tstatus\n")
        for row, side in np.argwhere(moments.wanted).tolist():
            count = int(moments.valid[row, side].sum())
            if good[row, side]:
                status = "fitted"
            elif count < MIN_JOINTS:
                status = f"left out: fewer than {MIN_JOINTS} joints"
            else:
                status = f"left out: more than {MAX_RESIDUAL_MM:.0f} mm off its joints"
            _write_line(
                file,
                moments.capture[row],
                moments.frame_idx[row],
                SIDES[side],
                count,
                f"{residual_mm[row, side]:.2f}",
                f"{np.nanmax(fits.joint_residual_mm[row, side], initial=0):.2f}",
                status,
            )


def _write_line(file: IO[str], *values: object) -> None:
    """A line of a table of tab-separated values."""
    file.write("\t".join(str(value) for value in values) + "\n")

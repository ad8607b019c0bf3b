"""The health report of a data set: what is wrong with it, how often, and what to do.

`check` is what `digit doctor` (and `digit check`) prints for a data set. There is one
function a finding; frames that cannot be used go onto an exclude list.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from digit.data.build_index import prepare_index
from digit.data.columns import file_hashes_agree
from digit.data.exclude import write_exclude_list
from digit.data.index import FAULTS, TABLES, Index
from digit.data.layout import splits_of
from digit.data.pixels import examine_images, examine_masks
from digit.data.split_files import Remark, Severity, remarks
from digit.skeleton import BONES, HAND_TYPES, JOINTS_PER_HAND, WRISTS

logger = logging.getLogger(__name__)

# Beyond human hands; the palm's bones lead to the wrist. Chosen by eye.
MIN_BONE_MM = 3
MAX_BONE_MM = 80
MAX_PALM_MM = 130
# A fit farther from its joints suggests wrong 3D joints. Chosen by eye.
MAX_FIT_ERROR_MM = 10
# A camera fits if half of the joints lie in the box, widened by this share of its
# sides.
BOX_MARGIN = 0.2
# Frames that a first look is taken at: seconds. Chosen by eye.
LOOKED_AT = 20_000

COLUMNS = (
    "split",
    "severity",
    "finding",
    "frames",
    "share",
    "excluded",
    "example",
    "worst_camera",
    "hint",
    "known_issue",
)
EXCLUDED_HINT = "nothing: these frames are on the exclude list, and left out"


class Finding(NamedTuple):
    """One thing that is wrong with some frames."""

    what: str
    wrong: Bool[np.ndarray, "n"]  # which frames
    severity: Severity = "warning"
    excludes: bool = False  # whether they cannot be used
    hint: str = ""
    known_issue: str = ""  # a public report of the same


class Columns:
    """What several findings need of the frames of a split."""

    def __init__(self, index: Index):
        self.index = index
        self.sound = index["fault"] == 0
        self.joint_valid = index["joint_valid"]
        self.size_px = np.stack([index["width"], index["height"]], axis=1)
        self.box_low, self.box_extent = np.split(index["bbox_xywh"], 2, axis=1)
        self.box_high = self.box_low + self.box_extent

    @cached_property
    def joints_px(self) -> Float[np.ndarray, "n 42 2"]:
        return self.index["joints_px"]


def check(
    dataset_dir: Path | str,
    splits: Sequence[str] | None = None,
    examine_pixels: bool = False,
) -> pd.DataFrame:
    """Report the health of a data set, and put unusable frames onto an exclude list.

    The list is `prepared/exclude/<split>_check.tsv`. Other lists are left as they are.

    Args:
        dataset_dir: The data set's folder.
        splits: Which splits; all there are by default.
        examine_pixels: Whether to decode every picture and part mask as well.

    Returns:
        A row a finding, with `COLUMNS`: its severity ("error", "warning", "note"),
        number and share of frames, whether they are excluded, an example, the camera
        that has most of it with the share of its frames, what to do, and a public
        report of it.

    Raises:
        ValueError, FileNotFoundError, OSError: As `prepare_index` does.
    """
    rows: list[tuple] = []
    for split in splits or splits_of(dataset_dir):
        index = _sound_index(dataset_dir, split)
        split_rows, reasons = examine(index, examine_pixels)
        rows += split_rows
        write_exclude_list(dataset_dir, split, "check", reasons)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def examine(index: Index, examine_pixels: bool) -> tuple[list[tuple], dict[str, str]]:
    """Look for everything that may be wrong with a split; writes nothing.

    Args:
        index: Its frames.
        examine_pixels: Whether to decode every picture and part mask as well.

    Returns:
        Rows of the report, and why each frame that cannot be used cannot, by its key.
    """
    # 1. The split's files
    rows = [_remark_row(index, remark) for remark in remarks(index)]
    # 2. Its frames; the first reason of each counts
    columns = Columns(index)
    reasons = np.full(len(index), "", object)
    for finding in findings(columns, examine_pixels):
        if not finding.wrong.any():
            continue
        rows.append(_finding_row(index, finding))
        if finding.excludes:
            reasons[finding.wrong & (reasons == "")] = finding.what
    keys = np.array(index.keys(), object)
    bad = np.flatnonzero(reasons != "")
    return rows, dict(zip(keys[bad], reasons[bad], strict=True))


def first_look(index: Index) -> list[str]:
    """What is wrong with a split by its labels, at little cost: a line a finding.

    Numbers of frames are of at most `LOOKED_AT`, evenly drawn. `digit prepare` prints
    the lines; `check` looks at all frames, and at the pictures.
    """
    if len(index) > LOOKED_AT:
        rows = np.linspace(0, len(index) - 1, LOOKED_AT).round().astype(int)
        index = index.take(rows)
    found, _ = examine(index, examine_pixels=False)
    report = pd.DataFrame(found, columns=list(COLUMNS))
    serious = report[report["severity"] != "note"]
    return [f"{row.finding} ({row.frames:,})" for row in serious.itertuples()]


def findings(columns: Columns, examine_pixels: bool) -> Iterator[Finding]:
    """Everything that may be wrong with frames."""
    yield from annotation_faults(columns)
    if examine_pixels:
        yield from picture_faults(columns)
        yield from mask_faults(columns)
    for find in FINDERS:
        yield find(columns)


# ------------------------------------------------------------------ frames


def annotation_faults(columns: Columns) -> Iterator[Finding]:
    """What building the index has found: numbers that make no picture or no joints."""
    for number, fault in enumerate(FAULTS[1:], 1):
        wrong = columns.index["fault"] == number
        yield Finding(fault, wrong, "error", excludes=True, hint=EXCLUDED_HINT)


def picture_faults(columns: Columns) -> Iterator[Finding]:
    """Pictures that are missing, broken, black, or of another size than annotated."""
    faults = examine_images(columns.index)
    for fault in sorted(set(faults) - {""}):
        wrong = faults == fault
        # If it is true of all, the data set has no images: labels alone can be used.
        excludes = not wrong.all()
        known = KNOWN_PICTURE_ISSUES.get(fault, "")
        hint = EXCLUDED_HINT if excludes else "put the images there, see the README"
        yield Finding(f"image: {fault}", wrong, "error", excludes, hint, known)


KNOWN_PICTURE_ISSUES = {
    "its size is not the annotated one": "InterHand2.6M #157 (camera 400412 of v1.0)",
    "black": "black frames of InterHand2.6M v1.0",
}


def mask_faults(columns: Columns) -> Iterator[Finding]:
    """Part masks that count and cannot be used; their frames go without one."""
    faults = examine_masks(columns.index)
    for fault in sorted(set(faults) - {""}):
        hint = "render the masks again; until then these frames have none"
        known = KNOWN_MASK_ISSUES.get(fault, "")
        yield Finding(
            f"part mask: {fault}", faults == fault, "warning", False, hint, known
        )


KNOWN_MASK_ISSUES = {
    "values above 32": "digit-interacting #5",
    "shows no hand": "render_mano_ih #2",
}


def seen_twice(columns: Columns) -> Finding:
    """Two frames of one camera at one moment: one of them has another's labels."""
    names = columns.index.to_pandas(["capture", "camera", "frame_idx"])
    return Finding(
        what="capture, camera and moment seen twice",
        wrong=names.duplicated(keep=False).to_numpy(),
        severity="error",
        excludes=True,
        hint=EXCLUDED_HINT,
    )


def box_outside(columns: Columns) -> Finding:
    """Boxes that show nothing of the image."""
    outside = (columns.box_high <= 0) | (columns.box_low >= columns.size_px)
    return Finding(
        what="box wholly outside the image",
        wrong=outside.any(1),
        severity="error",
        excludes=True,
        hint=EXCLUDED_HINT,
    )


def box_partly_outside(columns: Columns) -> Finding:
    """Boxes that reach beyond the image by more than a pixel."""
    beyond = (columns.box_low < -1) | (columns.box_high > columns.size_px + 1)
    what = "box partly outside the image"
    return Finding(what, beyond.any(1), "note", hint="nothing: crops are black there")


def joint_outside(columns: Columns) -> Finding:
    """Valid joints that project beyond the image."""
    joints_px = columns.joints_px
    limit = columns.size_px[:, None] - 1
    outside = ((joints_px < 0) | (joints_px > limit)).any(2) & columns.joint_valid
    what = "a valid joint outside the image"
    return Finding(what, outside.any(1), "note", hint="nothing: it does not count")


def camera_misfit(columns: Columns) -> Finding:
    """Cameras that do not fit: fewer than half of the valid joints lie near the box."""
    # A box may be tight: joints lie a little beyond it.
    margin = BOX_MARGIN * columns.box_extent
    low = (columns.box_low - margin)[:, None]
    high = (columns.box_high + margin)[:, None]
    joints_px, valid = columns.joints_px, columns.joint_valid
    inside = ((joints_px > low) & (joints_px < high)).all(2) & valid
    misfit = columns.sound & (inside.sum(1) < valid.sum(1) / 2)
    return Finding(
        what="camera does not fit: most joints project outside the box",
        wrong=misfit,
        severity="error",
        excludes=True,
        hint=EXCLUDED_HINT,
        known_issue="InterHand2.6M #157 (camera 400412 of v1.0)",
    )


def bone_lengths(columns: Columns) -> Finding:
    """Bones that no human hand has, between valid joints."""
    index = columns.index
    # The palm's bones are longer than a finger's.
    child, parent = BONES[:, 0], BONES[:, 1]
    limit_mm = np.where(np.isin(parent, WRISTS), MAX_PALM_MM, MAX_BONE_MM)
    joints_mm = index["joints_world_mm"]
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are absurd
        length_mm = np.linalg.norm(joints_mm[:, child] - joints_mm[:, parent], axis=2)
    wrong = (length_mm > limit_mm) | (length_mm < MIN_BONE_MM)
    wrong &= columns.joint_valid[:, child] & columns.joint_valid[:, parent]
    # Joints that lie in a plane for want of depths have no lengths.
    wrong &= index.label_kind != "flat"
    return Finding(
        what="bone length beyond human",
        wrong=columns.sound & wrong.any(1),
        severity="error",
        excludes=True,
        hint=EXCLUDED_HINT,
    )


def empty_hand(columns: Columns) -> Finding:
    """Interacting hands of which one has no valid joint."""
    index = columns.index
    # Frames of one hand have an empty other hand, rightly.
    interacting = index["hand_type"] == HAND_TYPES.index("interacting")
    by_hand = columns.joint_valid.reshape(len(index), 2, JOINTS_PER_HAND)
    is_empty = ~by_hand.any(2)
    return Finding(
        what="interacting, but a hand has no valid joint",
        wrong=interacting & is_empty.any(1),
        severity="warning",
        hint="nothing: the hand's joints do not count, its hand type does",
        known_issue="InterHand2.6M #99, #113",
    )


def large_fit_error(columns: Columns) -> Finding:
    """Fits that are far from the joints: one of the two is wrong."""
    error_mm = columns.index["fit_error_mm"]
    return Finding(
        what=f"fit error over {MAX_FIT_ERROR_MM} mm",
        wrong=(error_mm > MAX_FIT_ERROR_MM).any(1),
        severity="error",
        excludes=True,
        hint=EXCLUDED_HINT,
    )


def fits_of_other_hands(columns: Columns) -> Finding:
    """Frames without a part mask, as their fits are not those of their hand type."""
    index = columns.index
    has_fits = np.isfinite(index["fit_error_mm"]).any()
    return Finding(
        what="fits do not match the hand type: no part mask",
        wrong=~index["parts_valid"] & has_fits,
        severity="note",
        hint="nothing: these frames go without part supervision",
    )


FINDERS: tuple[Callable[[Columns], Finding], ...] = (
    seen_twice,
    box_outside,
    box_partly_outside,
    joint_outside,
    camera_misfit,
    bone_lengths,
    empty_hand,
    large_fit_error,
    fits_of_other_hands,
)


# ------------------------------------------------------------------ rows of the report


def _sound_index(dataset_dir: Path | str, split: str) -> Index:
    """The split's index, built anew if a byte of its columns has changed."""
    index = prepare_index(dataset_dir, split)
    if not all(file_hashes_agree(index.folder / name) for name in TABLES):
        logger.warning("%s: a column has changed; it is built anew", index.folder)
        (index.folder / "made.json").unlink()
        index = prepare_index(dataset_dir, split)
    return index


def _remark_row(index: Index, remark: Remark) -> tuple:
    return (
        index.split,
        remark.severity,
        remark.what,
        remark.count,
        remark.count / len(index),
        False,
        remark.example,
        "",
        remark.hint,
        remark.known_issue,
    )


def _finding_row(index: Index, finding: Finding) -> tuple:
    wrong = finding.wrong
    # A fault of one camera shows as a share of nearly all of its frames.
    cameras, camera_of = np.unique(index["camera"], return_inverse=True)
    wrong_of = np.bincount(camera_of, weights=wrong)
    worst = wrong_of.argmax()
    share = wrong_of[worst] / np.count_nonzero(camera_of == worst)
    return (
        index.split,
        finding.severity,
        finding.what,
        int(wrong.sum()),
        float(wrong.mean()),
        finding.excludes,
        index.keys()[wrong.argmax()],
        f"{cameras[worst]}: {share:.0%}",
        finding.hint,
        finding.known_issue,
    )

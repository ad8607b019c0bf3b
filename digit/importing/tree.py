"""Carrying out an import: pictures copied, annotations written, faults listed.

`digit import` calls `import_data`. What is there already is never overwritten; pictures
of an interrupted call are not copied again.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

from digit.conventions import HAND_ORDERS
from digit.data.layout import LABELS_NAME, WHOLE_SPLITS, label_kind
from digit.data.photo_tree import (
    PhotoFrame,
    begin_folder,
    has_split,
    picture_file,
    write_photo_tree,
    write_picture,
)
from digit.files import atomic, exclusive
from digit.importing.arrays import plan_arrays
from digit.importing.coco import plan_coco
from digit.importing.freihand import plan_freihand
from digit.importing.plan import Imported, ImportOptions, LeftOut, Plan
from digit.skeleton import HAND_TYPES

READERS: dict[str, Callable[[Path, ImportOptions], Plan]] = {
    "coco": plan_coco,
    "freihand": plan_freihand,
    "arrays": plan_arrays,
}
FOLDER = Path("imported")  # in the data set's folder: how it was made
SHOWN = 3  # things left out that a message names


@dataclass
class ImportReport:
    """What an import has done."""

    dataset_dir: Path
    left_out_file: Path
    label_kind: str
    frames: Counter = field(default_factory=Counter)  # by split
    hand_types: Counter = field(default_factory=Counter)
    left_out: Counter = field(default_factory=Counter)  # by reason

    def __str__(self) -> str:
        """The report in words, a line each."""
        splits = ", ".join(f"{n:,} {split}" for split, n in self.frames.items())
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in self.hand_types.items())
        lines = [f"{self.frames.total():,} frames ({splits}; {kinds})"]
        if self.label_kind == "flat":
            lines.append(
                "  joints in the image only: training and evaluation leave depths out"
            )
        for reason, count in self.left_out.most_common():
            lines.append(f"  left out: {count:,} × {reason}")
        if self.left_out:
            lines.append(f"  listed in {self.left_out_file}")
        return "\n".join(lines)


def import_data(
    kind: str,
    source: Path | str,
    dataset_dir: Path | str,
    options: ImportOptions | None = None,
    progress: bool = True,
) -> ImportReport:
    """Write other data in InterHand2.6M's layout.

    Args:
        kind: "coco", "freihand" or "arrays".
        source: COCO-WholeBody's JSON file, FreiHAND's folder, or an .npz file.
        dataset_dir: The data set's folder: a new one, or one with other splits of an
            earlier import. A call that was interrupted is repeated.
        options: Splits, folder of the pictures, conventions.
        progress: Whether to show a progress bar.

    Returns:
        What was imported, and what was left out for which reason.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the data are not as they should be, nothing of them can be used,
            or a split is there already.
        OSError: If a file cannot be written.
        KeyboardInterrupt: If interrupted; the same call goes on.
    """
    # 1. What is asked for
    options = options or ImportOptions()
    _check(kind, options)
    source, dataset_dir = Path(source), Path(dataset_dir)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder; check the path")
    # Before it is read, so that a change meanwhile is noticed by the next call.
    settings = _settings(kind, source, options)
    plan = READERS[kind](source, options)
    _check_folder(dataset_dir, plan)

    # 2. The folder, and picture by picture
    name = options.split or "train"
    note = FOLDER / f"{name}.json"
    _check_source(source, dataset_dir / note, settings)
    begin_folder(dataset_dir, note, settings)
    with exclusive(dataset_dir / FOLDER / "lock", wait=False):
        frames, left_out = _copy(plan, dataset_dir, progress)
        if not frames:
            some = "; ".join(f"{one.what}: {one.reason}" for one in left_out[:SHOWN])
            raise ValueError(
                f"{source}: no frame can be used ({some or 'it is empty'})"
            )

        # 3. The annotations, and what makes no frame
        left_out_file = dataset_dir / FOLDER / f"{name}_left_out.tsv"
        _write_left_out(left_out_file, left_out)
        write_photo_tree(dataset_dir, frames, plan.label_kind)
    report = ImportReport(dataset_dir, left_out_file, plan.label_kind)
    report.frames.update(frame.split for frame in frames)
    report.hand_types.update(HAND_TYPES[frame.hand_type] for frame in frames)
    report.left_out.update(one.reason for one in left_out)
    return report


def _check(kind: str, options: ImportOptions) -> None:
    """Raise ValueError, naming the argument, if a value makes no sense."""
    # What the command line does not check, for callers in Python
    if kind not in READERS:
        raise ValueError(f"kind {kind!r}: choose one of {', '.join(READERS)}")
    if options.split is not None and options.split not in WHOLE_SPLITS:
        raise ValueError(f"split {options.split!r}: choose train, val or test")
    if not 0 <= options.val_share < 1:
        raise ValueError(f"val_share {options.val_share:g}: give a number in 0 … 1")
    if options.order not in HAND_ORDERS:
        orders = ", ".join(HAND_ORDERS)
        raise ValueError(f"order {options.order!r}: choose one of {orders}")
    if options.images is not None and not options.images.is_dir():
        raise FileNotFoundError(f"{options.images}: no such folder; check the path")


def _check_folder(dataset_dir: Path, plan: Plan) -> None:
    """Raise ValueError where a data set has what would be written."""
    # Annotations that are there stay.
    for split in sorted(plan.splits):
        if has_split(dataset_dir, split):
            raise ValueError(
                f"{dataset_dir}: holds the split {split} already; give another folder "
                "or another split"
            )
    # A data set says one thing of all its labels.
    if (dataset_dir / LABELS_NAME).exists():
        kind = label_kind(dataset_dir)
        if kind != plan.label_kind:
            raise ValueError(
                f"{dataset_dir / LABELS_NAME}: the labels there are {kind}, the new ones "
                f"{plan.label_kind}; give another folder"
            )


def _settings(kind: str, source: Path, options: ImportOptions) -> dict:
    """What two calls must have in common to be one import."""
    settings = asdict(options) | {"kind": kind, "source": str(source.resolve())}
    images = options.images
    settings["images"] = None if images is None else str(images.resolve())
    files = sorted(source.glob("*.json")) if source.is_dir() else [source]
    settings["source_files"] = {}
    for path in files:
        found = path.stat()
        settings["source_files"][path.name] = [found.st_size, found.st_mtime_ns]
    return settings


def _check_source(source: Path, note: Path, settings: dict) -> None:
    """Raise ValueError where an import was begun with the source as it was before.

    Pictures that were copied then would get the labels of now.
    """
    try:
        before = json.loads(note.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return  # not begun yet, or said by `begin_folder`
    if not isinstance(before, dict):
        return
    changed = "source_files"
    if before != settings and before | {changed: settings[changed]} == settings:
        raise ValueError(
            f"{source}: has changed since its import was begun (by size or time; see "
            f"{note}), and the pictures that lie there are of the former one; give "
            "another folder, or remove this one"
        )


def _copy(
    plan: Plan, dataset_dir: Path, progress: bool
) -> tuple[list[PhotoFrame], list[LeftOut]]:
    """Write the pictures that are not there yet."""
    frames = []
    left_out = []
    try:
        with tqdm(total=plan.total, unit="frame", disable=not progress) as bar:
            for item in plan.items:
                bar.update()
                if isinstance(item, LeftOut):
                    left_out.append(item)
                    continue
                reason = _copy_one(item, dataset_dir)
                if reason:
                    left_out.append(LeftOut(item.frame.key, reason))
                else:
                    frames.append(item.frame)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted after {len(frames):,} frames; the same command goes on"
        ) from None
    return frames, left_out


def _copy_one(item: Imported, dataset_dir: Path) -> str:
    """Write a frame's picture; why it cannot be used, "" if it can."""
    # Of an interrupted call; pictures appear whole or not at all.
    if picture_file(dataset_dir, item.frame).is_file():
        return ""
    try:
        data = item.read()
    except (ValueError, OSError) as error:
        return f"its picture cannot be read ({error!s:.100})"
    write_picture(dataset_dir, item.frame, data)
    return ""


def _write_left_out(path: Path, left_out: Sequence[LeftOut]) -> None:
    with atomic(path) as file:
        file.write("what\treason\n")
        for what, reason in left_out:
            plain = what if what.isprintable() else repr(what)
            file.write(f"{plain}\t{reason}\n")

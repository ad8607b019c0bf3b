"""What is to be said of a split's files: names, versions, masks, RootNet, exclude lists.

`health.check` puts these remarks before its findings on frames; there is one function a
remark.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from digit.data.exclude import read_exclude_lists
from digit.data.index import Index
from digit.data.layout import (
    annotation_files,
    annotation_names,
    find_similar,
    misplaced_images,
)
from digit.data.store import ORIGINAL_MASKS

Severity = Literal["error", "warning", "note"]


class Remark(NamedTuple):
    """One thing that is wrong with a split's files, or worth knowing about them."""

    what: str
    severity: Severity
    count: int  # of records, lines or frames
    example: str = ""
    hint: str = ""
    known_issue: str = ""


def remarks(index: Index) -> Iterator[Remark]:
    """Everything there is to say of a split's files."""
    for remark_on in REMARKS:
        yield from remark_on(index)


def label_version(index: Index) -> Iterator[Remark]:
    """Which version of InterHand2.6M the labels are, by their number of frames."""
    known = "v1.0, by its" if index.is_v1 else "unknown: v1.0 has another"
    what = f"label version {known} number of frames"
    yield Remark(what, "note", len(index))


def depths_not_trusted(index: Index) -> Iterator[Remark]:
    """What the data set says of its own depths."""
    if index.label_kind == "2d":
        yield Remark("depths not to be trusted, by labels.txt", "note", len(index))
    elif index.label_kind == "flat":
        yield Remark("no depths, by labels.txt", "note", len(index))


def records_left_out(index: Index) -> Iterator[Remark]:
    """Records of the annotation files that make no frame."""
    listed = index.folder / "left_out.txt"
    for reason, count in index.left_out.items():
        if count:
            is_broken = reason == "broken record"
            example = _first_line(listed) if is_broken else ""
            hint = f"all are listed in {listed}" if is_broken else ""
            yield Remark(reason, "warning", count, example, hint)


def names_not_as_published(index: Index) -> Iterator[Remark]:
    """Files that are there under another name or in another place."""
    found = annotation_files(index.dataset_dir, index.split)
    # Fits are optional, so a wrong name would go unnoticed.
    if "mano" not in found:
        similar = find_similar(index.dataset_dir, index.split, "mano")
        if similar is not None:
            name = f"InterHand2.6M_{index.split}_MANO_NeuralAnnot.json"
            hint = f"if these are MANO fits, call it {name}"
            yield Remark("no MANO fits by their name", "warning", 1, str(similar), hint)
    # The archives unpack to images/<…>/images/<split>.
    folder = misplaced_images(index.dataset_dir, index.split)
    if folder is not None:
        hint = f"move it to {index.dataset_dir / 'images' / index.split}"
        yield Remark("images in another folder", "error", 1, str(folder), hint)


def masks_without_fit_errors(index: Index) -> Iterator[Remark]:
    """The original's masks count only with the file that tells which of them are
    valid."""
    masks = index.dataset_dir / ORIGINAL_MASKS
    if masks.exists() and not index["parts_valid"].any():
        what = "part masks of which none counts"
        place = f"cache/meta_dict_{index.split}.pkl"
        hint = f"put {place} beside {ORIGINAL_MASKS}, or remove that to render masks"
        yield Remark(what, "warning", len(index), str(masks), hint)


def masks_not_rendered(index: Index) -> Iterator[Remark]:
    """Frames that could have part masks and have none yet."""
    if (index.dataset_dir / ORIGINAL_MASKS).exists() or index["parts_valid"].any():
        return
    if np.isfinite(index["mano_trans"]).any():
        if "mask_status" not in index.columns():
            hint = f"render them: digit prepare --root {index.dataset_dir}"
            yield Remark("part masks not rendered yet", "note", len(index), hint=hint)
    else:
        hint = f"digit fit-hands --root {index.dataset_dir}, then digit prepare"
        what = "no hand fits, so no part masks"
        yield Remark(what, "note", len(index), hint=hint)


def rootnet_missing(index: Index) -> Iterator[Remark]:
    """Frames that cannot be evaluated with RootNet's boxes and depths."""
    missing = ~np.isfinite(index["rootnet_depth_mm"]).any(1)
    if not missing.any():
        return
    if not missing.all():
        what = "frame without RootNet's depth"
        example = index.keys()[int(missing.argmax())]
        hint = "evaluate with --root-depth gt, or get RootNet's file of this version"
        yield Remark(what, "warning", int(missing.sum()), example, hint)
    elif index.split != "train":
        # Published for val and test alone.
        name = annotation_names(index.split)["rootnet"][0]
        hint = f"for --root-depth rootnet, put {name} into the data set's folder"
        yield Remark("no depths of RootNet", "note", len(index), hint=hint)


def exclude_lines_ignored(index: Index) -> Iterator[Remark]:
    """Lines of exclude lists that name no frame."""
    names = index.split_file_names.tolist()
    keys = {f"{index.split}/{name}" for name in names}
    lists = read_exclude_lists(index.dataset_dir, index.split, keys)
    if lists.ignored:
        what = "line of an exclude list that names no frame"
        hint = "correct or remove it: <key of a frame>, a tab, the reason"
        yield Remark(what, "warning", len(lists.ignored), lists.ignored[0], hint)


REMARKS: tuple[Callable[[Index], Iterator[Remark]], ...] = (
    label_version,
    depths_not_trusted,
    records_left_out,
    names_not_as_published,
    masks_without_fit_errors,
    masks_not_rendered,
    rootnet_missing,
    exclude_lines_ignored,
)


def _first_line(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return lines[0] if lines else ""

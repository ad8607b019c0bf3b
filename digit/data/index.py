"""The index of a data set: the frames of a split as memory-mapped columns.

`open_index` opens what `build_index.prepare_index` has made. Everything that needs
frames (data sets, the error table, widgets, notebooks) takes an `Index`.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Integer, Shaped

from digit import geometry
from digit.data.columns import (
    DamagedTable,
    file_hash,
    read_checked_json,
    read_columns,
    stamp,
    version_of,
    write_checked_json,
)
from digit.data.exclude import read_exclude_lists, report_ignored
from digit.data.layout import (
    FRAMES_OF_V1,
    SPLITS,
    annotation_files,
    hand_model_name,
    label_kind,
)
from digit.data.subsets import subset_rows
from digit.paths import prepared_dir, prepared_places
from digit.skeleton import HAND_TYPE_FLAGS, N_JOINTS

logger = logging.getLogger(__name__)

# What may be wrong with a frame; the column `fault` holds the position in this list.
FAULTS = (
    "",
    "a valid joint is not finite",
    "its camera is not finite",
    "its box is empty",
    "a valid joint lies behind the camera",
    "its camera's focal length is not positive",
    "its camera's rotation is scaled or mirrored",
)
TABLES = ("frames", "instants", "cameras")
# By which column of `frames` a frame points to its row of the other tables.
ROW_OF = {"instants": "instant_row", "cameras": "camera_row"}
JOINED = ("joints_cam_mm", "joints_px")  # columns computed when asked for
INDEX_VERSION = 4  # of the files' layout: an index of another version is built anew
FRAMES_AT_ONCE = 16384

# One frame: its key in the image store, and the columns of `Index`.
Frame = SimpleNamespace


class Opened(NamedTuple):
    """An index's files, as they are when it is opened."""

    made: dict[str, Any]  # what made.json says
    tables: dict[str, dict[str, np.ndarray]]
    hand_model: str
    label_kind: str


class Index:
    """Frames of a split as columns: `index["bbox_xywh"]`, `index.frame(3)`.

    `columns()` names them. For N frames:

    - As annotated: `image_id`, `annot_id`, `file_name`, `width`, `height`, `capture`,
      `subject`, `seq_name`, `camera`, `frame_idx`, `bbox_xywh` (N, 4; px), `hand_type`
      (position in HAND_TYPES), `hand_type_valid`, and `joint_valid` (N, 42), before the
      rule that a hand's joints need its wrist.
    - `fault`: position in FAULTS. `parts_valid`: whether the part mask counts.
    - `rootnet_bbox_xywh` (N, 4; px), `rootnet_depth_mm` (N, 2), `fit_error_mm` (N, 2):
      right and left, NaN for none.
    - From the frame's moment: `joints_world_mm` (N, 42, 3), `mano_pose` (N, 2, 48),
      `mano_shape` (N, 2, 10), `mano_trans` (N, 2, 3; metres), NaN for no fit; after
      `digit fit-hands` also `fitted_by_digit` (N, 2): whether the fit is its.
    - From its camera: `camrot` (N, 3, 3), `campos_mm`, `focal`, `princpt` (px),
      float64.
    - Computed: `joints_cam_mm` (N, 42, 3), `joints_px` (N, 42, 2).
    - Synthetic data have the columns of `truth/<split>.parquet` as well.

    A whole split's columns are read-only views of the files. An index, and what is
    taken from it, keeps to the files that it has opened: open it again after preparing.
    It pickles as its paths and rows.
    """

    def __init__(
        self,
        dataset_dir: Path,
        split: str,
        name: str,
        folder: Path,
        rows: Integer[np.ndarray, "n"],
        opened: Opened | None = None,
    ):
        self.dataset_dir = dataset_dir
        self.split = split
        self.name = name
        self.folder = folder
        self.rows = rows
        self._opened = opened or _open_files(dataset_dir, split, folder)
        self._tables = self._opened.tables

    @property
    def fingerprint(self) -> str:
        """A checksum of the labels and fits: masks are made for one of them."""
        return self._opened.made["fingerprint"]

    @property
    def source_hashes(self) -> dict[str, str]:
        """A checksum of each file that the index was made from, by role."""
        return self._opened.made["hashes"]

    @property
    def left_out(self) -> dict[str, int]:
        """How many records of the annotation files make no frame, by reason."""
        return self._opened.made["left_out"]

    @property
    def split_image_ids(self) -> Integer[np.ndarray, "m"]:
        """The `image_id` of each frame of the whole split, which this is a part of."""
        return self._tables["frames"]["image_id"]

    @property
    def split_file_names(self) -> Shaped[np.ndarray, "m"]:
        """The `file_name` of each frame of the whole split."""
        return self._tables["frames"]["file_name"]

    @property
    def hand_model(self) -> str:
        """Which hand model the fits are for: "generic" (synthetic data) or "mano"."""
        return self._opened.hand_model

    @property
    def label_kind(self) -> str:
        """What the joints' depths are worth: "3d", "2d" or "flat"; see `layout`."""
        return self._opened.label_kind

    @property
    def is_v1(self) -> bool:
        """Whether the labels are InterHand2.6M v1.0's, by their number of frames."""
        return len(self.split_image_ids) == FRAMES_OF_V1[self.split]

    def __reduce__(self) -> tuple:
        fields = (self.dataset_dir, self.split, self.name, self.folder, self.rows)
        return Index, fields

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Index({self.name} of {self.dataset_dir}: {len(self):,} frames)"

    def take(self, rows: Any) -> "Index":
        """The frames at some positions of this index, in their order.

        Args:
            rows: Positions, a slice, or a mask.
        """
        return Index(
            dataset_dir=self.dataset_dir,
            split=self.split,
            name=self.name,
            folder=self.folder,
            rows=self.rows[rows],
            opened=self._opened,
        )

    def columns(self) -> list[str]:
        """The names of all columns."""
        names = [name for table in self._tables.values() for name in table]
        return [*dict.fromkeys(names), *JOINED]

    def __getitem__(self, column: str) -> Shaped[np.ndarray, "n ..."]:
        """A column over the index's frames.

        Raises:
            KeyError: If there is no such column; the message names those there are.
        """
        for table_name, table in self._tables.items():
            if column not in table:
                continue
            if table_name in ROW_OF:
                return table[column][self[ROW_OF[table_name]]]
            # Taking all rows would copy: a whole split keeps its view of the file.
            return table[column] if self._is_whole() else table[column][self.rows]
        if column not in JOINED:
            there = ", ".join(self.columns())
            raise KeyError(f"{column!r} is no column; there are {there}")
        return self._joints(column)

    def keys(self) -> list[str]:
        """Each frame's key in the image store, "<split>/<file_name>"."""
        return [f"{self.split}/{name}" for name in self["file_name"]]

    def frame(self, i: int) -> Frame:
        """One frame: its `key` in the image store, and every column."""
        one = self.take([i])
        values: dict[str, Any] = {"key": one.keys()[0]}
        for name in self.columns():
            value = one[name][0]
            values[name] = value.item() if isinstance(value, np.generic) else value
        return Frame(**values)

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The columns as a table.

        Args:
            columns: Which; by default those that are stored with one value a frame.
        """
        table: dict[str, Any] = {}
        for name in columns or self._tables["frames"]:
            column = self[name]
            if column.ndim == 1:
                table[name] = column
            elif columns:
                table[name] = list(column)
        return pd.DataFrame(table)

    def excluded(self) -> Shaped[np.ndarray, "n"]:
        """Why each frame should not be used, "" for most.

        The reason is the frame's fault, or what an exclude list says (see `exclude`).
        Lines of the lists that name no frame of the split are logged.
        """
        # 1. Faults of the annotations
        reasons = np.array(FAULTS, object)[self["fault"]]
        # 2. Lists name frames of the whole split, of which this may be a part
        names = self.split_file_names.tolist()
        every_key = {f"{self.split}/{name}" for name in names}
        lists = read_exclude_lists(self.dataset_dir, self.split, every_key)
        report_ignored(lists.ignored)
        if lists.reasons:
            for i, key in enumerate(self.keys()):
                reasons[i] = reasons[i] or lists.reasons.get(key, "")
        return reasons

    def usable(self) -> "Index":
        """The frames that nothing excludes."""
        return self.take(self.excluded() == "")

    def _is_whole(self) -> bool:
        n = len(self.split_image_ids)
        return len(self) == n and np.array_equal(self.rows, np.arange(n))

    def _joints(self, column: str) -> Float[np.ndarray, "n 42 _"]:
        """Compute `joints_cam_mm` or `joints_px`, some thousands of frames at a
        time."""
        # All frames at once would take gigabytes.
        in_camera = column == "joints_cam_mm"
        joints = np.empty((len(self), N_JOINTS, 3 if in_camera else 2), np.float32)
        for part in chunks(len(self)):
            some = self.take(part)
            cam_mm, px = joints_cam_and_px(some["joints_world_mm"], some.__getitem__)
            joints[part] = cam_mm if in_camera else px
        return joints


def open_index(dataset_dir: Path | str, name: str = "train") -> Index:
    """Open the index of a split, or of a named subset of it.

    Args:
        dataset_dir: The data set's folder.
        name: One of `layout.SPLITS`: "train", "val", "test", or a subset as "minival".

    Returns:
        Its frames as columns: `index["joints_cam_mm"]` (N, 42, 3) in mm,
        `index["bbox_xywh"]` (N, 4) in px, …; `index.columns()` names them all.

    Raises:
        ValueError: If there is no split of this name, or no frame in it.
        FileNotFoundError: If an annotation file is missing, or the index is missing,
            damaged or older than the annotations.

    Example:
        >>> index = digit.open_index("data/demo", "val")
        >>> joints_px = index["joints_px"]  # (N, 42, 2)
    """
    dataset_dir = Path(dataset_dir).resolve()
    if name not in SPLITS:
        known = ", ".join(SPLITS)
        raise ValueError(f"{name!r} is no split; choose one of {known}")
    split, part = SPLITS[name]

    # 1. The first index that is whole and up to date
    sources = annotation_files(dataset_dir, split)
    reason, files = "is missing", None
    for folder in index_folders(dataset_dir, split):
        reason, files = _read_fresh(folder, sources)
        if files is not None:
            break
    if files is None:
        folder = prepared_dir(dataset_dir) / f"index/{split}"
        hint = f"prepare the data set first: digit prepare --root {dataset_dir}"
        raise FileNotFoundError(f"{folder}: the index {reason}; {hint}")

    # 2. The rows of the subset
    opened = _with_masks(dataset_dir, split, files)
    n = len(opened.tables["frames"]["image_id"])
    rows = subset_rows(n, part)
    if not len(rows):
        message = f"{dataset_dir}: {name} is an empty split, {part} of {n} frames"
        raise ValueError(f"{message}; take {split}")
    return Index(dataset_dir, split, name, folder, rows, opened)


def index_folders(dataset_dir: Path, split: str) -> list[Path]:
    """Where an index of the split lies: beside the data, in the user's cache, or
    both."""
    return prepared_places(dataset_dir, f"index/{split}")


def why_stale(folder: Path, sources: Mapping[str, Path]) -> str:
    """Why an index cannot be opened; "" if it is whole and made from these sources.

    Args:
        folder: The index's folder.
        sources: The annotation files by role, from `annotation_files`.
    """
    return _read_fresh(folder, sources)[0]


class _Files(NamedTuple):
    """The content of an index's folder."""

    made: dict[str, Any]
    tables: dict[str, dict[str, np.ndarray]]


def _read_fresh(folder: Path, sources: Mapping[str, Path]) -> tuple[str, _Files | None]:
    """Why an index cannot be opened, "" if it can; and its files, if it can."""
    # 1. Of this version?
    path = folder / "made.json"
    if not path.exists():
        return "is missing", None
    version = version_of(path)
    if version is not None and version != INDEX_VERSION:
        age = "an older" if version < INDEX_VERSION else "a newer"
        return f"was made by {age} version", None
    try:
        made = read_checked_json(path)
    except DamagedTable as error:
        return f"is damaged ({error})", None

    # 2. From these sources? Those that were only touched, or copied, count as
    # unchanged.
    stamps = source_stamps(sources)
    if made["stamps"] != stamps:
        for role in {*sources, *made["hashes"]}:
            source = sources.get(role)
            if source is None or file_hash(source) != made["hashes"].get(role):
                return f"is out of date ({role} has changed)", None
        with contextlib.suppress(OSError):
            write_checked_json(path, made | {"stamps": stamps})

    # 3. Whole?
    try:
        tables = {name: read_columns(folder / name) for name in TABLES}
    except DamagedTable as error:
        return f"is damaged ({error})", None
    return "", _Files(made, tables)


def source_stamps(sources: Mapping[str, Path]) -> dict[str, list]:
    """Name, size and time of change of each source, by role."""
    return {role: [path.name, *stamp(path)] for role, path in sources.items()}


def fits_match_type(
    fit_error_mm: Float[np.ndarray, "n 2"], hand_type: Integer[np.ndarray, "n"]
) -> Bool[np.ndarray, "n"]:
    """Whether every hand that the frame's type names has a fit, and no other has.

    Only then the frame's part mask shows all of its hands.
    """
    has_fit = np.isfinite(fit_error_mm)
    # Right and left, as in the hand type.
    is_named = HAND_TYPE_FLAGS[hand_type] > 0
    return (has_fit == is_named).all(1)


def joints_cam_and_px(
    joints_world_mm: Float[np.ndarray, "n 42 3"],
    camera_column: Callable[[str], np.ndarray],
) -> tuple[Float[np.ndarray, "n 42 3"], Float[np.ndarray, "n 42 2"]]:
    """Joints in the cameras' frames (mm), and in the images (px).

    Args:
        joints_world_mm: The joints in the world's frame.
        camera_column: Gives each frame's `camrot`, `campos_mm`, `focal` and `princpt`.
    """
    # Float64: a pixel's rounding at a metre is a hundredth of a millimetre.
    camrot = torch.from_numpy(camera_column("camrot"))
    campos_mm = torch.from_numpy(camera_column("campos_mm"))
    focal = torch.from_numpy(camera_column("focal"))
    princpt = torch.from_numpy(camera_column("princpt"))
    world_mm = torch.from_numpy(joints_world_mm).double()
    cam_mm = geometry.world_to_camera(world_mm, camrot, campos_mm)
    px = geometry.project(cam_mm, focal, princpt)
    return cam_mm.float().numpy(), px.float().numpy()


def chunks(n: int) -> Iterator[slice]:
    """Slices of some thousands of frames that cover n frames."""
    for start in range(0, n, FRAMES_AT_ONCE):
        yield slice(start, start + FRAMES_AT_ONCE)


def _open_files(dataset_dir: Path, split: str, folder: Path) -> Opened:
    """Map an index's tables again, as another process does that gets an index."""
    made = read_checked_json(folder / "made.json")
    tables = {name: read_columns(folder / name) for name in TABLES}
    return _with_masks(dataset_dir, split, _Files(made, tables))


def _with_masks(dataset_dir: Path, split: str, files: _Files) -> Opened:
    """An index's files with the masks' columns where they are of the same labels."""
    made, tables = files
    n = len(tables["frames"]["image_id"])
    masks = f"index/{split}/masks-{made['fingerprint']}"
    for mask_folder in prepared_places(dataset_dir, masks):
        try:
            tables["frames"].update(read_columns(mask_folder, rows=n))
            break
        except DamagedTable as error:
            hint = f"prepare the data set again: digit prepare --root {dataset_dir}"
            logger.warning("%s; no mask counts until then; %s", error, hint)
    return Opened(made, tables, hand_model_name(dataset_dir), label_kind(dataset_dir))

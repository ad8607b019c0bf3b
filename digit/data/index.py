"""The index: frames of a split as memory-mapped columns."""

import contextlib
import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Integer, Shaped

from digit import geometry
from digit.data.annotations import (
    gather,
    read_cameras,
    read_fit_errors,
    read_frames,
    read_instants,
    rows_of,
)
from digit.data.columns import _hash, _read_columns, _stamps, write_columns
from digit.data.json_stream import walk_json
from digit.data.layout import (
    MOMENT,
    ROOTNET,
    SPLITS,
    annotation_files,
    hand_model_name,
    label_kind,
)
from digit.data.subsets import subset_rows
from digit.files import atomic, exclusive
from digit.paths import digest, find_prepared, prepared_dir
from digit.skeleton import HAND_TYPE_FLAGS, N_JOINTS

FAULTS = (
    "",
    "a valid joint is not finite",
    "its camera is not finite",
    "its box is empty",
    "a valid joint lies behind the camera",
)
FRAMES_OF_V1 = {"train": 1_361_062, "val": 380_125, "test": 849_160}  # 5 fps
TABLES = ("frames", "instants", "cameras")
ROW_OF = {
    "instants": "instant_row",
    "cameras": "camera_row",
}  # by which frames point to them
JOINED = ("joints_cam_mm", "joints_px")  # columns computed when asked for
INDEX_VERSION = 3  # of the files' layout: an index of another version is built anew
CHUNK = 16384  # frames computed with at a time
Frame = (
    SimpleNamespace  # one frame: its key in the image store, and the columns of `Index`
)


def _open(
    root: Path, split: str, folder: Path
) -> tuple[dict, dict[str, dict[str, np.ndarray]]]:
    """What made.json says, and the tables; with masks' columns if made from the same labels."""
    made = json.loads((folder / "made.json").read_text())
    made["hand_model"] = hand_model_name(root)
    made["label_kind"] = label_kind(root)
    tables = {name: _read_columns(folder / name) for name in TABLES}
    if masks := find_prepared(root, f"index/{split}/masks-{made['fingerprint']}"):
        tables["frames"] |= _read_columns(masks)
    return made, tables


def _is_fresh(folder: Path, sources: Mapping[str, Path]) -> bool:
    """Whether the index in the folder is whole and was made from just these sources."""
    try:
        made, stamps = json.loads((folder / "made.json").read_text()), _stamps(sources)
        for name in TABLES:
            _read_columns(folder / name)
        if made["stamps"] != stamps:  # only touched?
            if {role: _hash(path) for role, path in sources.items()} != made["hashes"]:
                return False
            with contextlib.suppress(OSError), atomic(folder / "made.json") as file:
                json.dump(made | {"stamps": stamps}, file)
        return made["version"] == INDEX_VERSION
    except (OSError, ValueError, KeyError, EOFError):
        return False


def fits_match_type(
    fit_error_mm: Float[np.ndarray, "n 2"], hand_type: Integer[np.ndarray, "n"]
) -> Bool[np.ndarray, "n"]:
    """Where every hand that the frame's type names has a fit, and no other."""
    return (np.isfinite(fit_error_mm) == (HAND_TYPE_FLAGS[hand_type] > 0)).all(1)


def _build(split: str, sources: Mapping[str, Path], folder: Path) -> None:
    (folder / "made.json").unlink(missing_ok=True)  # what says that the rest is whole
    stamps, hashes = (
        _stamps(sources),
        {role: _hash(path) for role, path in sources.items()},
    )
    images, labels, left_out = read_frames(sources["data"])
    instants = read_instants(sources["joint_3d"], sources.get("mano"))
    cameras = read_cameras(sources["camera"])
    frames = {
        "image_id": images.pop("id"),
        "annot_id": labels["id"],
        **images,
        "bbox_xywh": labels["bbox"],
        "hand_type": labels["hand_type"],
        **{key: labels[key] > 0 for key in ("joint_valid", "hand_type_valid")},
        "instant_row": rows_of(sources["joint_3d"], instants, images, *MOMENT),
        "camera_row": rows_of(sources["camera"], cameras, images, "capture", "camera"),
    }
    for name, size in (
        ("rootnet_bbox_xywh", 4),
        ("rootnet_depth_mm", 2),
        ("fit_error_mm", 2),
    ):
        frames[name] = np.full((len(frames["image_id"]), size), np.nan, np.float32)
    if "rootnet" in sources:
        records = (record for _, record in walk_json(sources["rootnet"], 1))
        found = gather(sources["rootnet"], ROOTNET, records)
        _, to, of = np.intersect1d(
            frames["annot_id"], found["annot_id"], return_indices=True
        )
        frames["rootnet_bbox_xywh"][to] = found["bbox"][of]
        frames["rootnet_depth_mm"][to] = found["abs_depth"][of]
    if "meta_dict" in sources:
        keys = (f"{split}/{name}" for name in images["file_name"])
        frames["fit_error_mm"][:] = read_fit_errors(sources["meta_dict"], keys)
    if "truth" in sources:
        truth = (
            pd.read_parquet(sources["truth"])
            .set_index("image_id")
            .reindex(frames["image_id"])
        )
        frames |= {name: np.array(truth[name].tolist()) for name in truth}
    frames["parts_valid"] = fits_match_type(frames["fit_error_mm"], frames["hand_type"])
    frames["fault"] = _find_faults(frames, instants, cameras)
    for name, columns in zip(TABLES, (frames, instants, cameras)):
        write_columns(folder / name, columns)
    labels_and_fits = [
        hashes.get(role, "") for role in ("data", "camera", "joint_3d", "mano")
    ]
    made = {
        "version": INDEX_VERSION,
        "stamps": stamps,
        "hashes": hashes,
        "left_out": left_out,
    }
    with atomic(folder / "made.json") as file:
        json.dump(made | {"fingerprint": digest(repr(labels_and_fits))}, file)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, n, CHUNK))


def _cam_and_px(
    world: Float[np.ndarray, "n 42 3"], cameras: Callable[[str], np.ndarray]
) -> tuple[Float[np.ndarray, "n 42 3"], Float[np.ndarray, "n 42 2"]]:
    """World joints (mm) in the cameras' frames, and in px."""
    names = ("camrot", "campos_mm", "focal", "princpt")
    camrot, campos, focal, princpt = (torch.from_numpy(cameras(name)) for name in names)
    cam = geometry.world_to_camera(torch.from_numpy(world).double(), camrot, campos)
    return cam.float().numpy(), geometry.project(cam, focal, princpt).float().numpy()


def _find_faults(
    frames: Mapping, instants: Mapping, cameras: Mapping
) -> Integer[np.ndarray, "n"]:
    """Per frame the number of the first thing in `FAULTS` that is wrong with it, 0 for none."""
    fine = np.all(
        [
            np.isfinite(c).reshape(len(c), -1).all(1)
            for c in cameras.values()
            if c.dtype.kind == "f"
        ],
        axis=0,
    )
    faults = np.zeros(len(frames["image_id"]), np.int8)
    for part in _chunks(len(faults)):
        valid, box, row = (
            frames[c][part] for c in ("joint_valid", "bbox_xywh", "camera_row")
        )
        world = instants["joints_world_mm"][frames["instant_row"][part]]
        cam, _ = _cam_and_px(world, lambda name, row=row: cameras[name][row])
        wrong = [
            (valid & ~np.isfinite(world).all(2)).any(1),
            ~fine[row],
            ~(np.isfinite(box).all(1) & (box[:, 2:] > 0).all(1)),
            (valid & (cam[..., 2] <= 0)).any(1),
        ]
        faults[part] = np.select(wrong, [1, 2, 3, 4], 0)
    return faults


class Index:
    """Frames of a split as columns: `index["bbox_xywh"]`, `index.frame(3)`, `index.take(rows)`.

    `columns()` names them (N frames): as annotated, `joint_valid` (N, 42) before the rule that a
    hand's joints need its wrist; `hand_type` counts in HAND_TYPES, `fault` in FAULTS; `rootnet_*`
    and `fit_error_mm` (N, 2) with NaN for none; joints (`joints_world_mm`, `joints_cam_mm`,
    `joints_px`), cameras (`camrot`, `campos_mm`, `focal`, `princpt`, float64) and fits
    (`mano_pose`, `mano_shape`, `mano_trans`; m; NaN none) are joined on demand. Synthetic data have
    those of `truth/<split>.parquet` too. What is stored as such is, for a whole split, a read-only
    view of the file. An Index, and what is taken from it, keeps to the files it has opened (open it
    again after preparing). It pickles as its paths and rows.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        name: str,
        folder: Path,
        rows: Integer[np.ndarray, "n"],
        opened: tuple[dict, dict[str, dict[str, np.ndarray]]] | None = None,
    ):
        self.root, self.split, self.name, self.folder, self.rows = (
            root,
            split,
            name,
            folder,
            rows,
        )
        self.made, self._tables = self._opened = opened or _open(root, split, folder)
        self.fingerprint = self.made["fingerprint"]  # of the labels and fits

    @property
    def split_image_ids(self) -> Integer[np.ndarray, "m"]:
        """The `image_id` of every frame of the whole split, of which this index is a part."""
        return self._tables["frames"]["image_id"]

    @property
    def hand_model(self) -> str:
        """Which hand model the fits are for: "generic" (synthetic data) or "mano"."""
        return self.made["hand_model"]

    @property
    def label_kind(self) -> str:
        """ "3d", or "2d" where the depths of the joints are not to be trusted."""
        return self.made["label_kind"]

    @property
    def is_v1(self) -> bool:
        """Whether the labels are InterHand2.6M v1.0's, by their number of frames."""
        return len(self.split_image_ids) == FRAMES_OF_V1[self.split]

    def __reduce__(self) -> tuple:
        return Index, (self.root, self.split, self.name, self.folder, self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Index({self.name} of {self.root}: {len(self):,} frames)"

    def take(self, rows: Any) -> "Index":
        """The frames at these positions (numbers, slice or mask) of this index, in their order."""
        some = self.rows[rows]
        return Index(self.root, self.split, self.name, self.folder, some, self._opened)

    def columns(self) -> list[str]:
        """The names of all columns."""
        names = (name for table in self._tables.values() for name in table)
        return [*dict.fromkeys(names), *JOINED]

    def __getitem__(self, column: str) -> Shaped[np.ndarray, "n ..."]:
        """A column over the index's rows; KeyError naming what there is."""
        for name, table in self._tables.items():
            if column in table and name in ROW_OF:
                return table[column][self[ROW_OF[name]]]
            if column in table:
                n = len(table[column])
                whole = len(self) == n and np.array_equal(self.rows, np.arange(n))
                return table[column] if whole else table[column][self.rows]
        if column not in JOINED:
            raise KeyError(
                f"{column!r} is no column; there are {', '.join(self.columns())}"
            )
        which = JOINED.index(column)
        joints = np.empty((len(self), N_JOINTS, 3 - which), np.float32)
        for part in _chunks(len(self)):
            some = self.take(part)
            joints[part] = _cam_and_px(some["joints_world_mm"], some.__getitem__)[which]
        return joints

    def keys(self) -> list[str]:
        """Each frame's key in the image store, "<split>/<file_name>"."""
        return [f"{self.split}/{name}" for name in self["file_name"]]

    def frame(self, i: int) -> Frame:
        """One frame: its `key` in the image store, and every column."""
        one = self.take([i])
        values = {name: one[name][0] for name in self.columns()}
        values = {
            k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()
        }
        return Frame(key=one.keys()[0], **values)

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The columns as a table; by default those that are stored with one value a frame."""
        table = {name: self[name] for name in columns or self._tables["frames"]}
        return pd.DataFrame(
            {
                k: v if v.ndim == 1 else list(v)
                for k, v in table.items()
                if columns or v.ndim == 1
            }
        )

    def excluded(self) -> Shaped[np.ndarray, "n"]:
        """Per frame why it should not be used, "" for most: its fault, or what an exclude list
        (`prepared/exclude/<split>_*.tsv`, written by packing and `check`) says."""
        reasons, listed = np.array(FAULTS, object)[self["fault"]], {}
        folder = find_prepared(self.root, "exclude")
        for path in sorted(folder.glob(f"{self.split}_*.tsv")) if folder else ():
            listed |= dict(
                line.split("\t", 1) for line in path.read_text().splitlines()
            )
        for i, key in enumerate(self.keys() if listed else ()):
            reasons[i] = reasons[i] or listed.get(key, "")
        return reasons

    def usable(self) -> "Index":
        """The frames that nothing excludes."""
        return self.take(self.excluded() == "")


def open_index(root: Path | str, name: str = "train", build: bool = True) -> Index:
    """The index of a split or of a named subset (`SPLITS`), made first where missing or stale.

    ValueError or FileNotFoundError for an unknown name, a missing or broken annotation file, a
    frame without its camera or joints, an unknown hand type, an empty split; and, with `build`
    off, for an index that is missing or stale.
    """
    root = Path(root).resolve()
    if name not in SPLITS:
        raise ValueError(f"{name!r} is no split; take one of {', '.join(SPLITS)}")
    split, part = SPLITS[name]
    sources, place = annotation_files(root, split), f"index/{split}"
    folder = find_prepared(root, place, lambda path: _is_fresh(path, sources))
    if not folder:
        folder = prepared_dir(root) / place
        if not build:
            raise FileNotFoundError(
                f"{folder}: index missing or stale; run digit prepare"
            )
        with exclusive(folder.with_name(f"{split}.lock"), wait=True):
            if not _is_fresh(
                folder, sources
            ):  # another process may have made it meanwhile
                gc.disable()  # records hold no cycles: not to look for them saves two thirds
                try:
                    _build(split, sources, folder)
                finally:
                    gc.enable()
    index = Index(root, split, name, folder, np.arange(0))
    n = len(index._tables["frames"]["image_id"])
    index.rows = subset_rows(n, part)
    if not len(index):
        raise ValueError(
            f"{root}: {name} is an empty split, {part} of {n} frames; take {split}"
        )
    return index

"""The InterHand2.6M tree as a columnar, memory-mapped index; its named subsets and its health.

A split's annotation files become three Arrow files of one record batch each, whose columns are
numpy views of the files' pages, shared by all processes: `frames` (a row an annotated image, in
file order), `instants` (joints and fits per capture and moment) and `cameras`, to which frames
point by row number. Units and orders are those of `annotations`.
"""

import contextlib
import functools
import gc
import hashlib
import json
import os
import tempfile
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Integer, Shaped

from . import annotations, geometry
from .annotations import MOMENT, SPLITS, atomic, exclusive, splits_of
from .annotations import hand_model_name as hand_model_name
from .skeleton import BONES, HAND_TYPE_FLAGS, N_JOINTS, WRISTS

FAULTS = ("", "a valid joint is not finite", "its camera is not finite", "its box is empty",
          "a valid joint lies behind the camera")  # fmt: skip
FRAMES_OF_V1 = {"train": 1_361_062, "val": 380_125, "test": 849_160}  # 5 fps
MIN_BONE_MM, MAX_BONE_MM, MAX_PALM_MM = 3, 80, 130  # beyond human; palm: wrist to base
MAX_FIT_ERROR_MM = 10  # of a fit that speaks for wrong 3D joints
TABLES = ("frames", "instants", "cameras")
ROW_OF = {"instants": "instant_row", "cameras": "camera_row"}  # by which frames point to them
INDEX_VERSION = 2  # of the files' layout: an index of another version is built anew
CHUNK = 16384  # frames computed with at a time

# One frame with all that is known of it: its key in the image store, and the columns of `Index`.
Frame = namedtuple("Frame", (
    "key", "image_id", "annot_id", "file_name", "width", "height", "capture", "subject", "seq_name",
    "camera", "frame_idx", "bbox_xywh", "hand_type", "hand_type_valid", "joint_valid",
    "rootnet_bbox_xywh", "rootnet_depth_mm", "fit_error_mm", "parts_valid", "fault",
    "joints_world_mm", "joints_cam_mm", "joints_px", "camrot", "campos_mm", "focal", "princpt",
    "mano_pose", "mano_shape", "mano_trans",
))  # fmt: skip


def _writable(path: Path) -> bool:
    path = next(p for p in (path, *path.parents) if p.exists())
    return bool(path.stat().st_mode & 0o222) and os.access(path, os.W_OK)  # root ignores the mode


@functools.cache
def _cache_dir(root: Path) -> Path:
    cache = Path(os.environ.get("DIGIT_CACHE") or Path.home() / ".cache/digit")
    if not _writable(cache):
        cache = Path(tempfile.mkdtemp(prefix="digit-"))
        os.environ["DIGIT_CACHE"] = str(cache)  # worker processes look there too
    return cache / f"{root.name}-{_digest([str(root).encode()])}"


def prepared_dir(root: Path | str) -> Path:
    """Where derived files of a data set are written: `<root>/prepared`, or where that cannot be
    written a folder of `$DIGIT_CACHE` or `~/.cache/digit`, or else a temporary one."""
    root = Path(root).resolve()
    return root / "prepared" if _writable(root / "prepared") else _cache_dir(root)


def find_prepared(root: Path | str, name: str, good: Callable = Path.exists) -> Path | None:
    """The derived file or folder `name` that is `good`: in the data set, or in the cache."""
    root = Path(root).resolve()
    return next((p for p in (root / "prepared" / name, _cache_dir(root) / name) if good(p)), None)


def _digest(blocks: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def write_arrow(path: Path, columns: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Columns (numpy of any row shape) as one record batch that can be memory-mapped.

    masks.arrow is written so, with metadata {"index": Index.fingerprint} and all the split's rows.
    """
    arrays = {}
    for name, column in columns.items():
        column = column.view(np.uint8) if column.dtype == bool else column
        tensor = pa.FixedShapeTensorArray.from_numpy_ndarray if column.ndim > 1 else pa.array
        arrays[name] = tensor(np.ascontiguousarray(column))
        if name in ("camera", "seq_name"):  # few different strings
            arrays[name] = arrays[name].dictionary_encode()
    batch = pa.record_batch(list(arrays.values()), list(arrays)).replace_schema_metadata(metadata)
    with atomic(path, "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


class _Table:
    """An Arrow file's columns as read-only numpy views of its pages (uint8 is bool)."""

    def __init__(self, path: Path):
        try:
            self.batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: broken ({error}); delete it and prepare again") from None
        self.metadata = {k.decode(): v.decode() for k, v in self.batch.schema.metadata.items()}
        self.names = self.batch.schema.names

    def take(self, name: str, rows: Integer[np.ndarray, "n"] | None) -> Shaped[np.ndarray, "n ..."]:
        column = self.batch.column(name)
        if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
            column = column if rows is None else column.take(pa.array(rows))
            return column.to_numpy(zero_copy_only=False)
        tensor = isinstance(column, pa.FixedShapeTensorArray)
        values = column.to_numpy_ndarray() if tensor else column.to_numpy()
        values = values.view(bool) if values.dtype == np.uint8 else values
        return values if rows is None else values[rows]


def _open_tables(root: Path, split: str, folder: Path) -> dict[str, _Table]:
    """A split's tables, masks.arrow before the others if it was made from the same labels."""
    tables = {name: _Table(folder / f"{name}.arrow") for name in TABLES}
    path = find_prepared(root, f"index/{split}/masks.arrow")
    masks = path and _Table(path)
    fits = masks and masks.metadata.get("index") == tables["frames"].metadata["fingerprint"]
    return {"masks": masks} | tables if fits else tables


def _stamps(sources: Mapping[str, Path]) -> dict[str, list]:
    return {r: [p.name, p.stat().st_size, p.stat().st_mtime_ns] for r, p in sources.items()}


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return _digest(iter(lambda: file.read(1 << 22), b""))


def _is_fresh(folder: Path, sources: Mapping[str, Path]) -> bool:
    """Whether the index in the folder is whole and was made from just these sources."""
    try:
        made = json.loads((folder / "sources.json").read_text())
        builds = {_Table(folder / f"{name}.arrow").metadata["build"] for name in TABLES}
        stamps = _stamps(sources)
        if builds != {made["build"]} or made["version"] != INDEX_VERSION:
            return False
        if stamps != made["stamps"]:  # only touched?
            if {role: _hash(path) for role, path in sources.items()} != made["hashes"]:
                return False
            with contextlib.suppress(OSError), atomic(folder / "sources.json") as file:
                json.dump(made | {"stamps": stamps}, file)
        return True
    except (OSError, ValueError, KeyError):
        return False


def fits_match_type(
    fit_error_mm: Float[np.ndarray, "n 2"], hand_type: Integer[np.ndarray, "n"]
) -> Bool[np.ndarray, "n"]:
    """Where every hand that the frame's type names has a fit, and no other (spec section 3)."""
    return (np.isfinite(fit_error_mm) == (HAND_TYPE_FLAGS[hand_type] > 0)).all(1)


def _build(split: str, sources: Mapping[str, Path], folder: Path) -> None:
    stamps, hashes = _stamps(sources), {role: _hash(path) for role, path in sources.items()}
    images, labels, left_out = annotations.read_frames(sources["data"])
    instants = annotations.read_instants(sources["joint_3d"], sources.get("mano"))
    cameras = annotations.read_cameras(sources["camera"])
    frames = {
        "image_id": images.pop("id"), "annot_id": labels["id"], **images,
        "bbox_xywh": labels["bbox"], "hand_type": labels["hand_type"],
        **{key: labels[key] > 0 for key in ("joint_valid", "hand_type_valid")},
        "instant_row": annotations.rows_of(sources["joint_3d"], instants, images, *MOMENT),
        "camera_row": annotations.rows_of(sources["camera"], cameras, images, "capture", "camera"),
    }  # fmt: skip
    for name, size in (("rootnet_bbox_xywh", 4), ("rootnet_depth_mm", 2), ("fit_error_mm", 2)):
        frames[name] = np.full((len(frames["image_id"]), size), np.nan, np.float32)
    if "rootnet" in sources:
        records = (record for _, record in annotations.walk_json(sources["rootnet"], 1))
        found = annotations.gather(sources["rootnet"], annotations.ROOTNET, records)
        _, to, of = np.intersect1d(frames["annot_id"], found["annot_id"], return_indices=True)
        frames["rootnet_bbox_xywh"][to] = found["bbox"][of]
        frames["rootnet_depth_mm"][to] = found["abs_depth"][of]
    if "meta_dict" in sources:
        keys = (f"{split}/{name}" for name in images["file_name"])
        frames["fit_error_mm"][:] = annotations.read_fit_errors(sources["meta_dict"], keys)
    frames["parts_valid"] = fits_match_type(frames["fit_error_mm"], frames["hand_type"])
    frames["fault"] = _find_faults(frames, instants, cameras)
    build = _digest([repr((INDEX_VERSION, hashes)).encode()])
    made_of = [hashes.get(role, "") for role in ("data", "camera", "joint_3d", "mano")]
    about = {"build": build, "left_out": json.dumps(left_out)}
    about["fingerprint"] = _digest([repr(made_of).encode()])
    for name, columns in zip(TABLES, (frames, instants, cameras)):
        write_arrow(folder / f"{name}.arrow", columns, about)
    made = {"version": INDEX_VERSION, "build": build, "stamps": stamps, "hashes": hashes}
    with atomic(folder / "sources.json") as file:
        json.dump(made, file)


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


def _find_faults(frames: Mapping, instants: Mapping, cameras: Mapping) -> Integer[np.ndarray, "n"]:
    """Per frame the number of the first thing in `FAULTS` that is wrong with it, 0 for none."""
    fine = np.all([np.isfinite(c).reshape(len(c), -1).all(1)
                   for c in cameras.values() if c.dtype.kind == "f"], axis=0)  # fmt: skip
    faults = np.zeros(len(frames["image_id"]), np.int8)
    for part in _chunks(len(faults)):
        valid, box, row = (frames[c][part] for c in ("joint_valid", "bbox_xywh", "camera_row"))
        world = instants["joints_world_mm"][frames["instant_row"][part]]
        cam, _ = _cam_and_px(world, lambda name, row=row: cameras[name][row])
        wrong = [(valid & ~np.isfinite(world).all(2)).any(1), ~fine[row],
                 ~(np.isfinite(box).all(1) & (box[:, 2:] > 0).all(1)),
                 (valid & (cam[..., 2] <= 0)).any(1)]  # fmt: skip
        faults[part] = np.select(wrong, [1, 2, 3, 4], 0)
    return faults


class Index:
    """Frames of a split as columns: `index["bbox_xywh"]`, `index.frame(3)`, `index.take(rows)`.

    The columns are `Frame`'s (N frames): as annotated, `joint_valid` (N, 42) before the rule that a
    hand's joints need its wrist; `hand_type` counts in HAND_TYPES, `fault` in FAULTS; `rootnet_*`
    and `fit_error_mm` (N, 2) with NaN for none; joints, cameras (float64) and fits `mano_*` (m;
    NaN none) are joined on demand. There are also `camera_row`, `instant_row`, every column of the
    split's masks.arrow and, for synthetic data, of `truth/<split>.parquet`. What is stored as such
    is, for a whole split, a read-only view of the file. An Index, and what is taken from it, keeps
    to the files it has opened (open it again after preparing). It pickles as its paths and rows.
    """

    def __init__(
        self, root: Path, split: str, name: str, folder: Path, rows: Integer[np.ndarray, "n"],
        tables: dict[str, _Table] | None = None,
    ):  # fmt: skip
        self.root, self.split, self.name, self.folder, self.rows = root, split, name, folder, rows
        self._tables = tables or _open_tables(root, split, folder)
        self.fingerprint = self._tables["frames"].metadata["fingerprint"]  # of the labels and fits

    def __reduce__(self) -> tuple:
        return Index, (self.root, self.split, self.name, self.folder, self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Index({self.name} of {self.root}: {len(self):,} frames)"

    def take(self, rows: Any) -> "Index":
        """The frames at these positions (numbers, slice or mask) of this index, in their order."""
        some = self.rows[rows]
        return Index(self.root, self.split, self.name, self.folder, some, self._tables)

    def _truth(self) -> pd.DataFrame:
        path = self.root / f"truth/{self.split}.parquet"
        return _read_truth(path, path.stat().st_mtime_ns) if path.is_file() else pd.DataFrame()

    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(dict.fromkeys((*Frame._fields[1:], *self._stored())))

    def _stored(self) -> list[str]:
        """Those that are stored with a row a frame."""
        tables = (self._tables[name].names for name in ("frames", "masks") if name in self._tables)
        return [name for names in (*tables, self._truth()) for name in names]

    def __getitem__(self, column: str) -> Shaped[np.ndarray, "n ..."]:
        """A column over the index's rows; KeyError naming what there is."""
        n = self._tables["frames"].batch.num_rows
        whole = len(self) == n and (np.diff(self.rows) == 1).all()
        for name, table in self._tables.items():
            if column in table.names:
                rows = self[ROW_OF[name]] if name in ROW_OF else None if whole else self.rows
                return table.take(column, rows)
        if column in ("joints_cam_mm", "joints_px"):
            which = int(column == "joints_px")
            joints = np.empty((len(self), N_JOINTS, 3 - which), np.float32)
            for part in _chunks(len(self)):
                some = self.take(part)
                joints[part] = _cam_and_px(some["joints_world_mm"], some.__getitem__)[which]
            return joints
        if column in self._truth():
            return self._truth()[column].reindex(self["image_id"]).to_numpy()
        raise KeyError(f"{column!r} is no column; there are {', '.join(self.columns())}")

    def keys(self) -> list[str]:
        """Each frame's key in the image store, "<split>/<file_name>"."""
        return [f"{self.split}/{name}" for name in self["file_name"]]

    def frame(self, i: int) -> Frame:
        """One frame with all that is known of it."""
        one = self.take([i])
        values = (one[name][0] for name in Frame._fields[1:])
        return Frame(*one.keys(), *(v.item() if isinstance(v, np.generic) else v for v in values))

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The columns as a table; by default those that are stored with one value a frame."""
        table = {name: self[name] for name in dict.fromkeys(columns or self._stored())}
        return pd.DataFrame({k: v if v.ndim == 1 else list(v) for k, v in table.items()
                             if columns or v.ndim == 1})  # fmt: skip

    def excluded(self) -> Shaped[np.ndarray, "n"]:
        """Per frame why it should not be used, "" for most: its fault, or what an exclude list
        (`prepared/exclude/<split>_*.tsv`, written by packing and `check`) says."""
        reasons, listed = np.array(FAULTS, object)[self["fault"]], {}
        folder = find_prepared(self.root, "exclude")
        for path in sorted(folder.glob(f"{self.split}_*.tsv")) if folder else ():
            listed |= dict(line.split("\t", 1) for line in path.read_text().splitlines())
        for i, key in enumerate(self.keys() if listed else ()):
            reasons[i] = reasons[i] or listed.get(key, "")
        return reasons

    def usable(self) -> "Index":
        """The frames that nothing excludes."""
        return self.take(self.excluded() == "")


@functools.lru_cache(maxsize=4)
def _read_truth(path: Path, mtime_ns: int) -> pd.DataFrame:
    return pd.read_parquet(path).set_index("image_id")


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
    sources, place = annotations.annotation_files(root, split), f"index/{split}"
    folder = find_prepared(root, place, lambda path: _is_fresh(path, sources))
    if not folder:
        target = prepared_dir(root) / place
        if not build:
            raise FileNotFoundError(f"{target}: index missing or stale; run digit prepare")
        with exclusive(target.with_name(f"{split}.lock"), wait=True):
            if not _is_fresh(target, sources):  # another process may have made it meanwhile
                gc.disable()  # records hold no cycles: not to look for them saves two thirds
                try:
                    _build(split, sources, target)
                finally:
                    gc.enable()
            folder = target
    tables = _open_tables(root, split, folder)
    n = tables["frames"].batch.num_rows
    rows = annotations.subset_rows(n, part)
    if not len(rows):
        raise ValueError(f"{root}: {name} is an empty split, {part} of {n} frames; take {split}")
    return Index(root, split, name, folder, rows, tables)


def check(
    root: Path | str,
    splits: Sequence[str] | None = None,
    examine: Callable[[Index], Shaped[np.ndarray, "n"]] | None = None,
) -> pd.DataFrame:
    """The health of a data set, a row a finding: number and share of its frames, whether they go on
    the exclude list `prepared/exclude/<split>_check.tsv`, an example, and the camera that has most
    of it with the share of its frames. `examine` looks at the images: `store.verify`.

    Raises as `open_index` does.
    """
    report = []
    for split in splits or splits_of(root):
        index = open_index(root, split)
        n, keys, camera = len(index), np.array(index.keys(), object), index["camera"]
        known = "v1.0, by its" if n == FRAMES_OF_V1[split] else "unknown: v1.0 has another"
        counts = {f"label version {known} number of frames": n}
        counts |= json.loads(index._tables["frames"].metadata["left_out"])
        report += [(split, what, k, k / n, False, "", "") for what, k in counts.items() if k]
        reasons = np.full(n, "", object)
        for what, wrong, exclude in _findings(index, examine):
            if wrong.any():
                where = pd.Series(wrong).groupby(camera).agg(["sum", "mean"])
                worst = where.sort_values("sum").iloc[-1]
                most, example = f"{worst.name}: {worst['mean']:.0%}", keys[wrong.argmax()]
                report += [(split, what, wrong.sum(), wrong.mean(), exclude, example, most)]
                reasons[wrong & (reasons == "") & exclude] = what
        bad = np.flatnonzero(reasons != "")
        write_exclude_list(root, split, "check", dict(zip(keys[bad], reasons[bad])))
    names = ["split", "finding", "frames", "share", "excluded", "example", "worst_camera"]
    return pd.DataFrame(report, columns=names)


def _findings(index: Index, examine: Callable | None) -> Iterator[tuple[str, np.ndarray, bool]]:
    """What may be wrong, which frames have it, and whether that makes them unusable."""
    for number, fault in enumerate(FAULTS[1:], 1):
        yield fault, index["fault"] == number, True
    sound = index["fault"] == 0
    if examine:
        images = examine(index)
        for reason in sorted(set(images) - {""}):
            wrong = images == reason
            yield f"image: {reason}", wrong, not wrong.all()  # of all, the tree has no images
    names = index.to_pandas(["capture", "camera", "frame_idx"])
    yield "capture, camera and moment seen twice", names.duplicated(keep=False).to_numpy(), True
    size = np.stack([index["width"], index["height"]], 1)
    low, extent = np.split(index["bbox_xywh"], 2, axis=1)
    high = low + extent
    yield "box wholly outside the image", ((high <= 0) | (low >= size)).any(1), True
    yield "box partly outside the image", ((low < -1) | (high > size + 1)).any(1), False
    valid, px = index["joint_valid"], index["joints_px"].transpose(1, 0, 2)
    outside = ((px < 0) | (px > size - 1)).any(2).T & valid
    yield "a valid joint outside the image", outside.any(1), False
    inside = ((px > low - 0.2 * extent) & (px < high + 0.2 * extent)).all(2).T & valid
    misfit = sound & (inside.sum(1) < valid.sum(1) / 2)
    yield "camera does not fit: most joints project outside the box", misfit, True
    world = index._tables["instants"].take("joints_world_mm", None)
    bones = np.linalg.norm(world[:, BONES[:, 0]] - world[:, BONES[:, 1]], axis=2)
    limit = np.where(np.isin(BONES[:, 1], WRISTS), MAX_PALM_MM, MAX_BONE_MM)
    wrong = ((bones > limit) | (bones < MIN_BONE_MM))[index["instant_row"]]
    wrong &= valid[:, BONES[:, 0]] & valid[:, BONES[:, 1]]
    yield "bone length beyond human", sound & wrong.any(1), True
    error, fits = index["fit_error_mm"], index["parts_valid"]
    yield f"fit error over {MAX_FIT_ERROR_MM} mm", (error > MAX_FIT_ERROR_MM).any(1), True
    yield "fits do not match the hand type: no part mask", ~fits & np.isfinite(error).any(), False


def write_exclude_list(root: Path | str, split: str, name: str, reasons: Mapping[str, str]) -> None:
    """Write the list `prepared/exclude/<split>_<name>.tsv`: key, tab, reason."""
    with atomic(prepared_dir(root) / f"exclude/{split}_{name}.tsv") as file:
        file.writelines(f"{key}\t{reason}\n" for key, reason in reasons.items())

"""The InterHand2.6M tree as columns, mapped from files; its named subsets and its health.

A split's annotation files become three tables, each a folder with a .npy file for every column,
whose pages all processes share: `frames` (a row an annotated image, in file order), `instants`
(joints and fits per capture and moment) and `cameras`, to which frames point by row number. Units
and orders are those of `annotations`.
"""

import contextlib
import functools
import gc
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
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
JOINED = ("joints_cam_mm", "joints_px")  # columns computed when asked for
INDEX_VERSION = 3  # of the files' layout: an index of another version is built anew
CHUNK = 16384  # frames computed with at a time
Frame = SimpleNamespace  # one frame: its key in the image store, and the columns of `Index`


def _writable(path: Path) -> bool:
    path = next(p for p in (path, *path.parents) if p.exists())
    return bool(path.stat().st_mode & 0o222) and os.access(path, os.W_OK)  # root ignores the mode


@functools.cache
def _cache_dir(root: Path) -> Path:
    cache = Path(os.environ.get("DIGIT_CACHE") or Path.home() / ".cache/digit")
    if not _writable(cache):
        cache = Path(tempfile.mkdtemp(prefix="digit-"))
        os.environ["DIGIT_CACHE"] = str(cache)  # worker processes look there too
    return cache / f"{root.name}-{_digest(str(root))}"


def prepared_dir(root: Path | str) -> Path:
    """Where derived files of a data set are written: `<root>/prepared`, or where that cannot be
    written a folder of `$DIGIT_CACHE` or `~/.cache/digit`, or else a temporary one."""
    root = Path(root).resolve()
    return root / "prepared" if _writable(root / "prepared") else _cache_dir(root)


def find_prepared(root: Path | str, name: str, good: Callable = Path.exists) -> Path | None:
    """The derived file or folder `name` that is `good`: in the data set, or in the cache."""
    root = Path(root).resolve()
    return next((p for p in (root / "prepared" / name, _cache_dir(root) / name) if good(p)), None)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=12)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 22), b""):
            digest.update(block)
    return digest.hexdigest()


def write_columns(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    """A table, as `_read_columns` maps it into memory."""
    for name, column in columns.items():
        with atomic(folder / f"{name}.npy", "wb") as file:
            np.save(file, column.astype(str) if column.dtype == object else column)


def _read_columns(folder: Path) -> dict[str, np.ndarray]:
    """A table's columns as read-only views of the files; ValueError or EOFError for a cut one."""
    return {p.stem: np.load(p, mmap_mode="r").view(np.ndarray) for p in folder.glob("*.npy")}


def _open(root: Path, split: str, folder: Path) -> tuple[dict, dict[str, dict[str, np.ndarray]]]:
    """What made.json says, and the tables; with masks' columns if made from the same labels."""
    made = json.loads((folder / "made.json").read_text())
    tables = {name: _read_columns(folder / name) for name in TABLES}
    if masks := find_prepared(root, f"index/{split}/masks-{made['fingerprint']}"):
        tables["frames"] |= _read_columns(masks)
    return made, tables


def _stamps(sources: Mapping[str, Path]) -> dict[str, list]:
    return {r: [p.name, p.stat().st_size, p.stat().st_mtime_ns] for r, p in sources.items()}


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
    if "truth" in sources:
        truth = pd.read_parquet(sources["truth"]).set_index("image_id").reindex(frames["image_id"])
        frames |= {name: np.array(truth[name].tolist()) for name in truth}
    frames["parts_valid"] = fits_match_type(frames["fit_error_mm"], frames["hand_type"])
    frames["fault"] = _find_faults(frames, instants, cameras)
    for name, columns in zip(TABLES, (frames, instants, cameras)):
        write_columns(folder / name, columns)
    labels_and_fits = [hashes.get(role, "") for role in ("data", "camera", "joint_3d", "mano")]
    made = {"version": INDEX_VERSION, "stamps": stamps, "hashes": hashes, "left_out": left_out}
    with atomic(folder / "made.json") as file:
        json.dump(made | {"fingerprint": _digest(repr(labels_and_fits))}, file)


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
        self, root: Path, split: str, name: str, folder: Path, rows: Integer[np.ndarray, "n"],
        opened: tuple[dict, dict[str, dict[str, np.ndarray]]] | None = None,
    ):  # fmt: skip
        self.root, self.split, self.name, self.folder, self.rows = root, split, name, folder, rows
        self.made, self._tables = self._opened = opened or _open(root, split, folder)
        self.fingerprint = self.made["fingerprint"]  # of the labels and fits

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
            raise KeyError(f"{column!r} is no column; there are {', '.join(self.columns())}")
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
        values = {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}
        return Frame(key=one.keys()[0], **values)

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The columns as a table; by default those that are stored with one value a frame."""
        table = {name: self[name] for name in columns or self._tables["frames"]}
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
        folder = prepared_dir(root) / place
        if not build:
            raise FileNotFoundError(f"{folder}: index missing or stale; run digit prepare")
        with exclusive(folder.with_name(f"{split}.lock"), wait=True):
            if not _is_fresh(folder, sources):  # another process may have made it meanwhile
                gc.disable()  # records hold no cycles: not to look for them saves two thirds
                try:
                    _build(split, sources, folder)
                finally:
                    gc.enable()
    index = Index(root, split, name, folder, np.arange(0))
    n = len(index._tables["frames"]["image_id"])
    index.rows = annotations.subset_rows(n, part)
    if not len(index):
        raise ValueError(f"{root}: {name} is an empty split, {part} of {n} frames; take {split}")
    return index


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
        counts |= index.made["left_out"]
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
    world = index._tables["instants"]["joints_world_mm"]
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

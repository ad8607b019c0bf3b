"""What `damage.strike` damages of a data set: annotations and derived files.

`damage_targets` collects the targets.
"""

import contextlib
import copy
import functools
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from damage import (
    BYTE_MUTATIONS,
    JSON_MUTATIONS,
    TEXT_MUTATIONS,
    Mutation,
    Reading,
    Target,
    digest,
    mutated_bytes,
)
from trees import annotation_paths, columns, write_lmdb

from digit.data import build_index
from digit.data import index as index_module
from digit.data.build_index import prepare_index
from digit.data.columns import read_columns, stamp, write_columns
from digit.data.health import examine
from digit.data.index import Index
from digit.data.parquet import write_table
from digit.data.tree import write_tree

N_MOMENTS, N_CAMERAS = 3, 2
N_FRAMES = N_MOMENTS * N_CAMERAS


def make_data_set(dataset_dir: Path, with_truth: bool = False) -> Path:
    """Six frames with every kind of annotation file, prepared; without pictures."""
    frames, instants, cameras, _ = columns(
        captures=1, n_moments=N_MOMENTS, n_cameras=N_CAMERAS
    )
    write_tree(dataset_dir, "train", frames, instants, cameras)
    # 1. What other programs have made
    errors = {"right_fit_err": 1.5, "left_fit_err": None, "imsize": (512, 334)}
    keys = [f"train/{name}" for name in frames["file_name"]]
    (dataset_dir / "cache").mkdir()
    meta_dict = pickle.dumps({key: errors for key in keys})
    (dataset_dir / "cache/meta_dict_train.pkl").write_bytes(meta_dict)
    if with_truth:
        truth = pd.DataFrame({"image_id": frames["image_id"], "family": "relaxed"})
        truth["penetration_mm"] = np.arange(len(truth)) * 0.1
        (dataset_dir / "truth").mkdir()
        write_table(dataset_dir / "truth/train.parquet", truth)
    write_lmdb(dataset_dir / "segm_32.lmdb", {})
    # 2. What preparation makes, and the user's exclude list
    index = prepare_index(dataset_dir)
    parts_valid = np.ones(len(index), bool)
    masks = index.folder / f"masks-{index.fingerprint}"
    write_columns(masks, {"parts_valid": parts_valid})
    mine = dataset_dir / "prepared/exclude/train_mine.tsv"
    mine.parent.mkdir()
    mine.write_text(f"# mine\n{keys[0]}\tblurred\n{keys[3]}\n")
    return dataset_dir


def read_annotations(dataset_dir: Path) -> Reading:
    """Prepare a data set's labels and look at them as the doctor does.

    The index's columns stay in memory: they are damaged as another kind of file.
    """
    with columns_in_memory(), mock.patch.multiple(build_index, **READERS):
        index = prepare_index(dataset_dir)
        rows, reasons = examine(index, examine_pixels=False)
        # What can be counted on whatever the files hold
        sound = index.take(index["fault"] == 0)
        assert np.isfinite(sound["joints_px"][sound["joint_valid"]]).all()
        assert len(index.usable()) <= len(index) <= N_FRAMES
        value = (_digest_of(index), tuple(reasons), tuple(index.excluded()))
        # Without its columns it would be called damaged.
        (index.folder / "made.json").unlink()
    return Reading(value, tuple(str((row[1:4], row[6])) for row in rows))


def read_index(dataset_dir: Path) -> Reading:
    """Open a data set's index; it is built anew where its files are damaged."""
    with mock.patch.multiple(build_index, **READERS):
        return Reading(_digest_of(prepare_index(dataset_dir)))


def remembered(read: Callable) -> Callable:
    """A function of files that reads them again only where one has changed."""
    results: dict[tuple, Any] = {}

    def read_changed(*paths: Path | None) -> Any:
        files = tuple((path, *stamp(path)) for path in paths if path is not None)
        if files not in results:
            found = read(*paths)
            if len(results) > 8:
                results.clear()
            results[files] = found
        return copy.deepcopy(results[files])

    return read_changed


READERS = {
    name: remembered(getattr(build_index, name))
    for name in ("read_frames", "read_instants", "read_cameras", "read_rootnet")
}


def _digest_of(index: Index) -> str:
    return digest(*(index[name] for name in index.columns() if name != "joints_px"))


@contextlib.contextmanager
def columns_in_memory() -> Iterator[None]:
    """Within the block, the tables of an index that is built are not written to disk."""
    tables: dict[Path, dict[str, np.ndarray]] = {}

    def write(folder: Path, table: dict[str, np.ndarray]) -> None:
        # As they would come back: fixed-width texts
        tables[folder] = {
            name: column.astype(str) if column.dtype == object else column
            for name, column in table.items()
        }

    def read(folder: Path, rows: int | None = None) -> dict[str, np.ndarray]:
        if folder in tables:
            return dict(tables[folder])
        return read_columns(folder, rows)

    with (
        mock.patch.object(build_index, "write_columns", write),
        mock.patch.object(index_module, "read_columns", read),
    ):
        yield


def data_set_targets(folder: Path) -> Iterator[Target]:
    """The annotation files, and what preparation makes of them."""
    dataset_dir = make_data_set(folder / "tree")
    # 1. The user's
    files = annotation_paths(dataset_dir)
    for name, path in files.items():
        yield _target(f"{name}.json", [path], dataset_dir, JSON_MUTATIONS)
    meta_dict = dataset_dir / "cache/meta_dict_train.pkl"
    pickle_mutations = (mutated_bytes, mutated_pickle)
    yield _target("meta_dict.pkl", [meta_dict], dataset_dir, pickle_mutations)
    mine = dataset_dir / "prepared/exclude/train_mine.tsv"
    yield _target("exclude list", [mine], dataset_dir, TEXT_MUTATIONS)

    # 2. Derived: made anew whatever becomes of it
    dataset_dir = make_data_set(folder / "derived")
    index = dataset_dir / "prepared/index/train"
    derived = {"read": read_index, "is_verified": True, "is_users": False}
    made = [index / "made.json"]
    yield _target("made.json", made, dataset_dir, JSON_MUTATIONS, **derived)
    manifests = sorted(index.glob("*/columns.json"))
    yield _target("columns.json", manifests, dataset_dir, JSON_MUTATIONS, **derived)
    columns_ = sorted(index.rglob("*.npy"))
    yield _target("columns", columns_, dataset_dir, BYTE_MUTATIONS, **derived)

    # 3. The original's pickle, and a generator's truth
    other = make_data_set(folder / "other tree", with_truth=True)
    data = _pickled_annotations(other)
    yield _target("data.pkl", [data], other, pickle_mutations)
    truth = other / "truth/train.parquet"
    yield _target("truth.parquet", [truth], other, BYTE_MUTATIONS, is_verified=True)


def _target(
    name: str,
    files: list[Path],
    dataset_dir: Path,
    mutations: tuple[Mutation, ...],
    read: Callable[[Path], Reading] = read_annotations,
    **more: bool,
) -> Target:
    """Some files of a data set; everything that is the user's must stay."""
    users = [path for path in dataset_dir.rglob("*") if _is_users(path)]
    return Target(
        name=name,
        files=lambda: files,
        read=functools.partial(read, dataset_dir),
        folder=dataset_dir,
        mutations=mutations,
        watched=users,
        **more,
    )


def _is_users(path: Path) -> bool:
    is_derived = "prepared" in path.parts and path.suffix != ".tsv"
    return path.is_file() and not is_derived and path.suffix != ".mdb"


def mutated_pickle(rng, data: bytes) -> bytes:
    """A pickle of one value replaced, removed, repeated, or wrapped in a list."""
    # JSON has no tuples and no keys but texts, which is as good a damage.
    text = json.dumps(pickle.loads(data)).encode()
    changed = JSON_MUTATIONS[0](rng, text)
    return pickle.dumps(json.loads(changed))


def _pickled_annotations(dataset_dir: Path) -> Path:
    """Put the original's data.pkl in the place of data.json."""
    path = annotation_paths(dataset_dir)["data"]
    data = json.loads(path.read_text())
    by_id = {label["image_id"]: label for label in data["annotations"]}
    records = {
        image["id"]: {**image, "anno": by_id[image["id"]]} for image in data["images"]
    }
    path.unlink()
    path = path.with_suffix(".pkl")
    path.write_bytes(pickle.dumps(records))
    prepare_index(dataset_dir)
    return path

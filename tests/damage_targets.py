"""What `damage.strike` damages: small files of every kind that the workbench reads."""

import contextlib
import functools
import hashlib
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from damage import (
    BYTE_MUTATIONS,
    JSON_MUTATIONS,
    TEXT_MUTATIONS,
    Mutation,
    Reading,
    Target,
    mutated_bytes,
)
from fake_mano import write_mano
from scoring import perfect_predictions
from torch import nn
from trees import annotation_paths, columns, write_lmdb

from digit.data.build_index import prepare_index
from digit.data.columns import write_columns
from digit.data.health import examine
from digit.data.index import Index
from digit.data.tree import write_tree
from digit.doctor.run_folders import examine_run
from digit.evaluation.error_table import error_table
from digit.evaluation.predictions import Predictions
from digit.hands.mano_files import MANO_REGRESSOR, MANO_VERTEX_PARTS, read_mano
from digit.inference.networks import load_network
from digit.model.network import NETWORKS, build_network
from digit.training import runs
from digit.training.checkpoint_files import CheckpointFiles
from digit.training.progress_log import COLUMNS, read_metrics, trim_metrics
from digit.training.settings import make_settings
from digit.widgets.evaluated_model import EvaluatedModel
from digit.widgets.notes import FrameNotes

RUN = "20260101-000000-small-aaaa"
SMALLEST = {
    "backbone": "efficientnet_lite0",
    "image_size": 32,
    "features": 4,
    "part_widths": (2, 2),
    "part_features": (2, 2),
    "unet": (2, 2, 2, 2),
    "head": (2, 2, 2, 2, 4, 4),
}


def digest(*arrays: np.ndarray) -> str:
    """A checksum of arrays."""
    found = hashlib.blake2b()
    for array in arrays:
        found.update(repr((array.shape, array.dtype.str)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


# --- Data sets ----------------------------------------------------------------------


def make_data_set(dataset_dir: Path) -> Path:
    """Fifteen frames with every kind of annotation file, prepared."""
    frames, instants, cameras, _ = columns(captures=1)
    write_tree(dataset_dir, "train", frames, instants, cameras)
    # 1. What other programs have made
    errors = {"right_fit_err": 1.5, "left_fit_err": None, "imsize": (512, 334)}
    keys = [f"train/{name}" for name in frames["file_name"]]
    (dataset_dir / "cache").mkdir()
    meta_dict = pickle.dumps({key: errors for key in keys})
    (dataset_dir / "cache/meta_dict_train.pkl").write_bytes(meta_dict)
    truth = pd.DataFrame({"image_id": frames["image_id"], "family": "relaxed"})
    truth["penetration_mm"] = np.arange(len(truth)) * 0.1
    (dataset_dir / "truth").mkdir()
    write_parquet(dataset_dir / "truth/train.parquet", truth)
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


def read_data_set(dataset_dir: Path) -> Reading:
    """Prepare and check a data set's labels."""
    index = prepare_index(dataset_dir)
    rows, reasons = examine(index, examine_pixels=False)
    # What can be counted on whatever the files hold
    sound = index.take(index["fault"] == 0)
    assert np.isfinite(sound["joints_px"][sound["joint_valid"]]).all()
    assert len(index.usable()) <= len(index) <= 15
    value = digest(*(index[name] for name in index.columns() if name != "joints_px"))
    findings = tuple(str((row[1:4], row[6])) for row in rows)
    return Reading((value, tuple(reasons), tuple(index.excluded())), findings)


def _data_set_targets(dataset_dir: Path) -> Iterator[Target]:
    """The annotation files, and what preparation makes of them."""

    def target(name: str, path: Path, mutations, **more) -> Target:
        return Target(
            name=name,
            files=lambda: [path],
            read=lambda: read_data_set(dataset_dir),
            folder=dataset_dir,
            mutations=mutations,
            **more,
        )

    # 1. The user's
    for name, path in annotation_paths(dataset_dir).items():
        yield target(f"{name}.json", path, JSON_MUTATIONS)
    meta_dict = dataset_dir / "cache/meta_dict_train.pkl"
    yield target("meta_dict.pkl", meta_dict, (mutated_bytes, mutated_pickle))
    truth = dataset_dir / "truth/train.parquet"
    yield target("truth.parquet", truth, BYTE_MUTATIONS, is_verified=True)
    mine = dataset_dir / "prepared/exclude/train_mine.tsv"
    yield target("exclude list", mine, TEXT_MUTATIONS)

    # 2. Derived: made anew whatever becomes of it
    folder = dataset_dir / "prepared/index/train"
    derived = {"is_verified": True, "is_users": False}
    yield target("made.json", folder / "made.json", JSON_MUTATIONS, **derived)
    manifest = folder / "frames/columns.json"
    yield target("columns.json", manifest, JSON_MUTATIONS, **derived)
    columns_of = target("columns", folder, BYTE_MUTATIONS, **derived)
    yield columns_of._replace(files=lambda: sorted(folder.rglob("*.npy")))


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


# --- Runs ---------------------------------------------------------------------------


@contextlib.contextmanager
def smallest_network() -> Iterator[None]:
    """Within the block, networks have a backbone of a few numbers, to be quick."""

    class Backbone(nn.Module):
        def __init__(self, features: int):
            super().__init__()
            self.conv = nn.Conv2d(3, features, 4, stride=4)

        def forward(self, image):
            return [self.conv(image)]

    def build(name, features, pretrained):
        return Backbone(features), 0

    with (
        mock.patch("digit.model.network.build_backbone", build),
        mock.patch.dict(NETWORKS, {"quick": SMALLEST}),
    ):
        yield


def make_run(folder: Path, dataset_dir: Path) -> Path:
    """A run of a few steps as a training leaves it; no training takes place."""
    run = folder / RUN
    settings = make_settings("quick", {"val_split": "train", "ema": 0})
    # 1. Checkpoints
    torch.manual_seed(0)
    network = build_network("quick", pretrained=False)
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.rand_like(parameter)
    optimizer.step()
    state = {"step": 4, "seconds": 1.5, "best": {"mpjpe_all": 20.0, "step": 4}}
    files = CheckpointFiles(run)
    for _ in range(2):
        files.save_last(network, **state, optimizer=optimizer.state_dict(), scaler={})
    files.save_best(network, **state)
    # 2. Everything else
    runs.folder._write_parameters(
        run,
        {
            "root": str(dataset_dir),
            "preset": "quick",
            "settings": runs.folder.dataclasses.asdict(settings),
        },
    )
    record = {"data": runs.fingerprints(dataset_dir, settings), "seed": 1, "cpus": 2}
    (run / "environment.json").write_text(json.dumps(record))
    (run / "result.json").write_text(json.dumps({"mpjpe_all": 20.0, "steps": 4}))
    progress = {"state": "done", "step": 4, "seconds": 1.5, "best": state["best"]}
    (run / "progress.json").write_text(json.dumps(progress))
    (run / "process").write_text("ended 999999999 nowhere\n")
    (run / "launcher").write_text("999999999 nowhere 1.5\n")
    lines = [",".join(COLUMNS), *(f"{k},0.1,1.5,loss,{k / 7}" for k in range(30))]
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    notes = FrameNotes(run / "errors_test.notes.json")
    notes.toggle_tag(["train/a.jpg"], "blurred")
    notes.toggle_tag(["train/b.jpg"], "depth")
    return run


def read_run(run: Path, with_data: bool = False) -> Reading:
    """List, examine and describe a run, but for its checkpoints, which take long.

    Args:
        run: Its folder.
        with_data: Whether to open its data set as well.
    """
    left_out = ["_checkpoints"] if with_data else ["_checkpoints", "_data_set"]
    nothing = dict.fromkeys(left_out, lambda *_: ())
    with mock.patch.multiple("digit.doctor.run_folders", **nothing):
        findings = tuple(f"{row.finding} {row.example}" for row in examine_run(run))
    rows = runs.list_runs()
    assert len(rows) == 1
    try:
        settings = repr(runs.parameters(run))
    except ValueError as error:
        settings = ""
        assert str(run) in str(error)
    curves = runs.curves(run)
    value = (rows.to_json(), runs.progress_line(run), settings, curves.to_json())
    return Reading(value, findings)


def _run_targets(run: Path) -> Iterator[Target]:
    """The files of a run folder."""
    small = {
        "parameters.yaml": TEXT_MUTATIONS,
        "environment.json": JSON_MUTATIONS,
        "result.json": JSON_MUTATIONS,
        "progress.json": JSON_MUTATIONS,
        "process": BYTE_MUTATIONS,
        "launcher": BYTE_MUTATIONS,
    }
    for name, mutations in small.items():
        with_data = name in ("parameters.yaml", "environment.json")
        read = functools.partial(read_run, run, with_data)
        yield _file_target(name, run / name, read, mutations)
    yield _metrics_target(run)
    yield from _checkpoint_targets(run)
    notes = run / "errors_test.notes.json"
    yield _file_target("notes", notes, lambda: _read_notes(notes), JSON_MUTATIONS)


def _file_target(
    name: str,
    path: Path,
    read: Callable[[], Reading],
    mutations: tuple[Mutation, ...],
    **more,
) -> Target:
    """A target of one file."""
    return Target(name, lambda: [path], read, path.parent, mutations, **more)


def _metrics_target(run: Path) -> Target:
    """metrics.csv as a resumed training takes it up, in a copy."""
    path = run / "metrics.csv"

    def read() -> Reading:
        reading = read_run(run)
        copy = run / "copy" / path.name
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
        rows, others = read_metrics(copy)
        trim_metrics(copy, 10**9)
        assert read_metrics(copy) == (rows, 0), "a row is lost"
        aside = copy.with_name(f"{copy.name}.damaged")
        assert others < 2 or aside.read_bytes() == path.read_bytes(), "it is not kept"
        shutil.rmtree(copy.parent)
        return reading

    return _file_target("metrics.csv", path, read, TEXT_MUTATIONS)


def _checkpoint_targets(run: Path) -> Iterator[Target]:
    """last.ckpt as a training resumes from it, best.ckpt as it is used."""
    files = CheckpointFiles(run)
    network = build_network("quick", pretrained=False)

    def weights(state: dict[str, torch.Tensor]) -> str:
        return digest(*(tensor.numpy() for tensor in state.values()))

    def read_last() -> Reading:
        state = files.read_newest(network, has_average=False)
        files.set_damaged_aside()
        moments = state.optimizer["state"][0]["exp_avg"].numpy()
        value = (state.step, state.seconds, weights(state.weights), digest(moments))
        return Reading(value)

    def read_best() -> Reading:
        return Reading(weights(load_network(files.best).state_dict()))

    def repair() -> None:
        for aside in files.folder.glob("*.damaged-*"):
            aside.unlink()

    last = _file_target(
        "last.ckpt", files.last, read_last, BYTE_MUTATIONS, is_verified=True
    )
    yield last._replace(repair=repair)
    yield _file_target(
        "best.ckpt", files.best, read_best, BYTE_MUTATIONS, is_verified=True
    )


def _read_notes(path: Path) -> Reading:
    """Tags and notes, to which another is added in a copy."""
    notes = FrameNotes(path)
    notes.read()
    before = {key: note for key, note in notes.notes.items() if not note.is_empty()}
    copy = path.with_name("copy.json")
    shutil.copy(path, copy)
    added = FrameNotes(copy)
    added.toggle_tag(["new"], "tag")
    after = FrameNotes(copy)
    after.read()
    copy.unlink()
    assert before.items() <= after.notes.items(), "a note is lost"
    return Reading(json.dumps(sorted(before.items())))


# --- Predictions, weights, hand models ----------------------------------------------


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """A Parquet file as the workbench writes it."""
    from digit.data.parquet import write_table

    write_table(path, table)


def mutated_arrays(rng, data: bytes) -> bytes:
    """An .npz with one array removed, renamed, or of other values, shape or type."""
    with np.load(io.BytesIO(data)) as file:
        arrays = {name: file[name] for name in file.files}
    name = rng.choice(sorted(arrays))
    array = arrays.pop(name)
    flat = array.reshape(-1)
    values = [np.nan, np.inf, -1, 0, 1e30, 7.5]
    changed = array.astype(np.float64)
    changed.reshape(-1)[rng.randrange(flat.size)] = rng.choice(values)
    arrays[name] = rng.choice(
        [
            changed,
            array[:-1],
            array[..., None],
            flat,
            array[:0],
            np.array(0),
            array.astype(str),
            array.astype(complex),
            array.astype(">f8"),
            array.astype(np.longdouble),
            array.astype(np.float16),
            array.astype(np.uint64),
            array.astype(bool),
            np.array([None] * len(array), object),
        ]
    )
    if rng.random() < 0.1:
        arrays[f"{name}2"] = arrays.pop(name)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _prediction_targets(folder: Path, index: Index) -> Iterator[Target]:
    """A file of predictions, and an error table."""
    folder.mkdir()
    npz = folder / "mine.npz"
    perfect_predictions(index).save(npz)

    def read_npz() -> Reading:
        table = error_table(index, Predictions.load_for(npz, index), "gt")
        assert np.isfinite(table["mpjpe"].dropna()).all()
        return Reading(digest(table["mpjpe"].to_numpy(), table["mrrpe"].to_numpy()))

    yield _file_target(
        "predictions.npz", npz, read_npz, BYTE_MUTATIONS, is_verified=True
    )
    other = npz.with_name("arrays.npz")
    shutil.copy(npz, other)

    def read_arrays() -> Reading:
        table = error_table(index, Predictions.load_for(other, index), "gt")
        return Reading(digest(table["mpjpe"].to_numpy()))

    yield _file_target("predictions.npz, arrays", other, read_arrays, (mutated_arrays,))

    parquet = folder / "errors.parquet"
    write_parquet(parquet, error_table(index, Predictions.load(npz), "gt"))

    def read_table() -> Reading:
        table = EvaluatedModel(parquet, checkpoint=None, split="train").table
        return Reading(table.to_json())

    yield _file_target(
        "errors.parquet", parquet, read_table, BYTE_MUTATIONS, is_verified=True
    )


def _weight_targets(folder: Path) -> Iterator[Target]:
    """An exported network."""
    from digit.model.checkpoints import save_checkpoint
    from digit.model.onnx import export

    folder.mkdir()
    torch.manual_seed(0)
    checkpoint = folder / "weights.ckpt"
    save_checkpoint(checkpoint, build_network("quick", pretrained=False).eval())
    onnx = folder / "weights.onnx"
    export(checkpoint, onnx)
    image = torch.rand(1, 3, 32, 32)

    def read_onnx() -> Reading:
        found = load_network(onnx)(image)
        return Reading(digest(*(output.numpy() for output in found)))

    yield _file_target(
        "weights.onnx", onnx, read_onnx, BYTE_MUTATIONS, is_verified=True
    )


def _hand_model_targets(folder: Path) -> Iterator[Target]:
    """The user's MANO files, and what may lie beside them."""
    write_mano(folder)
    np.save(folder / MANO_REGRESSOR, np.full((21, 778), 1 / 778))
    (folder / MANO_VERTEX_PARTS).write_text(json.dumps([k % 16 for k in range(779)]))

    def read() -> Reading:
        arrays = read_mano("right", folder)
        return Reading(digest(*arrays.values()))

    for name, mutations in (
        ("MANO_RIGHT.pkl", BYTE_MUTATIONS),
        (MANO_REGRESSOR, BYTE_MUTATIONS),
        (MANO_VERTEX_PARTS, JSON_MUTATIONS),
    ):
        yield _file_target(name, folder / name, read, mutations)


def make_targets(folder: Path, with_onnx: bool = True) -> Iterator[Target]:
    """All targets, in folders of their own; within `smallest_network`.

    `$DIGIT_RUNS` is set to a folder of theirs.
    """
    dataset_dir = make_data_set(folder / "tree")
    yield from _data_set_targets(dataset_dir)
    pickled = make_data_set(folder / "pickled")
    data = _pickled_annotations(pickled)
    yield Target(
        name="data.pkl",
        files=lambda: [data],
        read=lambda: read_data_set(pickled),
        folder=pickled,
        mutations=(mutated_bytes, mutated_pickle),
    )
    own = make_data_set(folder / "for the run")
    os.environ["DIGIT_RUNS"] = str(folder / "runs")
    yield from _run_targets(make_run(folder / "runs", own))
    yield from _prediction_targets(folder / "predictions", prepare_index(own))
    yield from _hand_model_targets(folder / "mano")
    if with_onnx:
        yield from _weight_targets(folder / "weights")

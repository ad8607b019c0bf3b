"""What `damage.strike` damages besides: predictions, weights, the user's hand models.

`damage_targets` collects the targets.
"""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from damage import (
    BYTE_MUTATIONS,
    JSON_MUTATIONS,
    Reading,
    Target,
    digest,
    file_target,
)
from fake_mano import write_mano
from scoring import perfect_predictions

from digit.data.index import Index
from digit.data.parquet import write_table
from digit.evaluation.error_table import error_table
from digit.evaluation.predictions import Predictions
from digit.hands.mano_files import MANO_REGRESSOR, MANO_VERTEX_PARTS, read_mano
from digit.inference.networks import load_network
from digit.model.checkpoints import save_checkpoint
from digit.model.network import build_network
from digit.model.onnx import export
from digit.widgets.evaluated_model import EvaluatedModel


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


def prediction_targets(folder: Path, index: Index) -> Iterator[Target]:
    """A file of predictions, and an error table."""
    folder.mkdir()
    npz = folder / "mine.npz"
    perfect_predictions(index).save(npz)

    def read_npz() -> Reading:
        table = error_table(index, Predictions.load_for(npz, index), "gt")
        assert np.isfinite(table["mpjpe"].dropna()).all()
        return Reading(digest(table["mpjpe"].to_numpy(), table["mrrpe"].to_numpy()))

    yield file_target(
        "predictions.npz", npz, read_npz, BYTE_MUTATIONS, is_verified=True
    )
    other = npz.with_name("arrays.npz")
    shutil.copy(npz, other)

    def read_arrays() -> Reading:
        table = error_table(index, Predictions.load_for(other, index), "gt")
        return Reading(digest(table["mpjpe"].to_numpy()))

    yield file_target("predictions.npz, arrays", other, read_arrays, (mutated_arrays,))

    parquet = folder / "errors.parquet"
    write_table(parquet, error_table(index, Predictions.load(npz), "gt"))

    def read_table() -> Reading:
        table = EvaluatedModel(parquet, checkpoint=None, split="train").table
        return Reading(table.to_json())

    yield file_target(
        "errors.parquet", parquet, read_table, BYTE_MUTATIONS, is_verified=True
    )


def weight_targets(folder: Path) -> Iterator[Target]:
    """An exported network."""
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

    yield file_target("weights.onnx", onnx, read_onnx, BYTE_MUTATIONS, is_verified=True)


def hand_model_targets(folder: Path) -> Iterator[Target]:
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
        yield file_target(name, folder / name, read, mutations)

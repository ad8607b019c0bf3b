"""Predictions in files: what is read, and how what is wrong with them is named."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from scoring import perfect_predictions

from digit.evaluation.error_table import error_table
from digit.evaluation.metrics import part_statistics
from digit.evaluation.predictions import Predictions


def saved(path, predictions: Predictions, **changes):
    """An .npz of the predictions, some arrays replaced."""
    np.savez(path, **(predictions.arrays() | changes))
    return path


def test_predictions_survive_a_file(index, tmp_path):
    labels = torch.zeros(6, 4, 4).long()
    statistics = part_statistics(labels, labels, torch.ones(6))
    entropy = np.ones((6, 42), np.float32)
    predictions = perfect_predictions(index)
    predictions = predictions._replace(heatmap_entropy=entropy, **statistics)
    predictions.save(tmp_path / "p.npz")
    again = Predictions.load(tmp_path / "p.npz")
    for ours, theirs in zip(predictions, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (error_table(index, again)["heatmap_entropy"] == 1).all()


def test_parts_make_the_whole(index):
    predictions = perfect_predictions(index)
    halves = [predictions.take(np.arange(3)), predictions.take(slice(3, 6))]
    for ours, again in zip(predictions, Predictions.concatenate(halves), strict=True):
        np.testing.assert_array_equal(ours, again)


@pytest.mark.parametrize("dtype", [">f4", ">f8", "f2", "longdouble"])
def test_numbers_of_any_kind_are_read(index, tmp_path, dtype):
    good = perfect_predictions(index)
    arrays = {
        "joints_25d": good.joints_25d.astype(dtype),
        "hand_type": good.hand_type.astype(dtype),
        "image_id": good.image_id.astype(">i4"),
    }
    path = saved(tmp_path / "p.npz", good, **arrays)
    table = error_table(index, Predictions.load(path))
    assert (table["mpjpe"] < 1).all()


def test_whole_numbers_serve_as_coordinates(index, tmp_path):
    good = perfect_predictions(index)
    path = saved(tmp_path / "p.npz", good, hand_type=good.hand_type.astype(np.uint8))
    assert error_table(index, Predictions.load(path))["handedness_correct"].all()


CASES = {
    "missing array": ({"hand_type": None}, "there is no array hand_type"),
    "NaN": ({"joints_25d": np.full((6, 42, 3), np.nan)}, "joints_25d is NaN"),
    "huge": ({"joints_25d": np.full((6, 42, 3), 1e30)}, "joints_25d is beyond"),
    "too huge for float64": (
        {"relative_root_depth": np.full(6, 1e300, np.longdouble) ** 2},
        "relative_root_depth is NaN or infinite",
    ),
    "empty": (
        {
            "image_id": np.zeros(0, int),
            "joints_25d": np.zeros((0, 42, 3)),
            "relative_root_depth": np.zeros(0),
            "hand_type": np.zeros((0, 2)),
        },
        "image_id is empty",
    ),
    "one id alone": ({"image_id": np.array(7)}, r"image_id is int64 of shape \(\)"),
    "ids as text": ({"image_id": np.array(list("abcdef"))}, "image_id is <U1"),
    "ids as dates": ({"image_id": np.zeros(6, "M8[s]")}, "image_id is datetime64"),
    "complex": ({"hand_type": np.ones((6, 2), complex)}, "hand_type is complex128"),
    "41 joints": (
        {"joints_25d": np.zeros((6, 41, 3))},
        r"joints_25d is float64 of shape \(6, 41, 3\); .*\(N, 42, 3\) for the 6",
    ),
    "logits": ({"hand_type": np.full((6, 2), 5.0)}, "hand_type is not in 0…1: 6 of 6"),
    "objects": ({"image_id": np.array([{}], object)}, r"p\.npz"),
    "ids of 64 bits": (
        {"image_id": np.full(6, 2**64 - 1, np.uint64)},
        "image_id has numbers beyond 64 bits",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_malformed_arrays_are_refused(case, index, tmp_path):
    changes, message = CASES[case]
    arrays = perfect_predictions(index).arrays() | changes
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        Predictions.load(tmp_path / "p.npz")


def test_frames_that_do_not_fit_are_named(index):
    good = perfect_predictions(index)
    foreign = good.take([0])._replace(image_id=np.array([7]))
    nan = good.joints_25d.copy()
    nan[4, 7, 1] = np.nan
    cases = [
        ("joints_25d is NaN or infinite: 1 of 6 .*104", good._replace(joints_25d=nan)),
        (
            "image_id is repeated: 1 of 6 .*100",
            good._replace(image_id=np.array([100, 100, 102, 103, 104, 105])),
        ),
        ("of no frame in val: 1 of 7 .*7", Predictions.concatenate([good, foreign])),
        ("without a prediction: 2 of 6 .*image_id 100, 101", good.take(slice(2, 6))),
    ]
    for message, predictions in cases:
        with pytest.raises(ValueError, match=message):
            error_table(index, predictions)


def test_files_of_another_kind_are_refused(index, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        Predictions.load(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"image_id": 1}))
    np.save(tmp_path / "array.npy", np.arange(3))
    whole = saved(tmp_path / "whole.npz", perfect_predictions(index)).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("text.npz", "empty.npz", "pickle.npz", "array.npy", "cut.npz"):
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            Predictions.load(tmp_path / name)


def test_an_entry_that_is_no_array_is_named(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("image_id", "joints_25d", "relative_root_depth", "hand_type"):
            archive.writestr(name, b"bytes")
    with pytest.raises(ValueError, match=f"^{path}: image_id is no array"):
        Predictions.load(path)

"""Evaluating a data set: what is written, what is left out, what is refused."""

import time

import numpy as np
import pandas as pd
import pytest
import torch
from scoring import perfect_predictions
from trees import make_tree

from digit.data.build_index import prepare_index
from digit.data.dataset import InterHandDataset
from digit.data.index import open_index
from digit.evaluation.predictions import Predictions
from digit.inference.evaluate import evaluate, predict_dataset
from digit.inference.flip_test import FlipTest
from digit.model.network import build_network


@pytest.fixture(scope="module")
def checkpoint(tiny_run):
    return tiny_run / "checkpoints" / "best.ckpt"


@pytest.fixture
def scored(tmp_path):
    """A data set of six frames without pictures, and perfect predictions in a file."""
    dataset_dir = make_tree(tmp_path / "tree", pictures=False)
    predictions = tmp_path / "mine.npz"
    perfect_predictions(prepare_index(dataset_dir, "val")).save(predictions)
    return dataset_dir, predictions


def test_table_and_predictions_lie_side_by_side(tiny_root, checkpoint, tmp_path):
    errors = tmp_path / "errors.parquet"
    result = evaluate(tiny_root, "test", "gt", checkpoint, errors=errors)
    table = pd.read_parquet(errors)
    assert len(table) == result["n_frames"]
    found = Predictions.load(tmp_path / "errors.npz")
    np.testing.assert_array_equal(found.image_id, table["image_id"])
    assert found.features.shape == (len(table), 256)
    assert found.features.std(0).max() > 0


def test_features_are_what_the_hand_type_is_predicted_from(tiny_root):
    index = open_index(tiny_root, "val").usable().take([0, 1])
    network = build_network("quick", pretrained=False).eval()
    frames = InterHandDataset(index, 128)
    found = predict_dataset(network, frames, features=True)
    logits = network.hand_fc(torch.from_numpy(found.features.astype(np.float32)))
    np.testing.assert_allclose(logits.sigmoid().detach(), found.hand_type, atol=2e-3)
    assert predict_dataset(network, frames).features is None
    twice = predict_dataset(FlipTest(network), frames, features=True)
    np.testing.assert_array_equal(twice.features, found.features)


def test_network_keeps_its_mode(tiny_root):
    index = open_index(tiny_root, "val").usable().take([0, 1])
    network = build_network("quick", pretrained=False).train()
    found = predict_dataset(network, InterHandDataset(index, 128), np.array([1]))
    assert network.training
    assert found.image_id.tolist() == [index["image_id"][1]]


@pytest.mark.parametrize("name", ["flip_test", "turn_test"])
def test_test_time_options_change_numbers_and_are_named(
    tiny_root, checkpoint, name, always_turned
):
    once = evaluate(tiny_root, "test", "gt", checkpoint)
    more = evaluate(tiny_root, "test", "gt", checkpoint, **{name: True})
    assert once["mpjpe_all"] != more["mpjpe_all"]
    assert more["protocol"] == f"{once['protocol']}; {name.replace('_', ' ')}"


def test_excluded_frames_are_left_out_and_counted(scored):
    dataset_dir, predictions = scored
    whole = evaluate(dataset_dir, "val", "gt", predictions=predictions)
    assert whole["n_left_out"] == 0
    exclude = dataset_dir / "prepared" / "exclude"
    exclude.mkdir(parents=True, exist_ok=True)
    keys = open_index(dataset_dir, "val").keys()
    (exclude / "val_mine.tsv").write_text(f"{keys[0]}\tblurred\n")
    result = evaluate(dataset_dir, "val", "gt", predictions=predictions)
    assert result["n_left_out"] == 1
    assert result["protocol"] == f"{whole['protocol']}; 1 of 6 frames are left out"

    (exclude / "val_mine.tsv").write_text("".join(f"{k}\tblurred\n" for k in keys))
    with pytest.raises(ValueError, match="every frame of val is left out"):
        evaluate(dataset_dir, "val", "gt", predictions=predictions)


def test_predictions_file_is_never_rewritten(scored):
    dataset_dir, predictions = scored
    before = predictions.read_bytes()
    errors = predictions.with_suffix(".parquet")
    evaluate(dataset_dir, "val", "gt", predictions=predictions, errors=errors)
    assert predictions.read_bytes() == before
    assert len(pd.read_parquet(errors)) == 6


def test_outputs_that_destroy_something_are_refused(scored, checkpoint, tmp_path):
    dataset_dir, predictions = scored
    annotations = dataset_dir / "annotations/val/InterHand2.6M_val_data.json"
    before = predictions.read_bytes()
    for errors in (predictions, tmp_path / "x.npz", annotations, tmp_path):
        with pytest.raises(ValueError, match="errors"):
            evaluate(dataset_dir, "val", "gt", predictions=predictions, errors=errors)
    assert predictions.read_bytes() == before
    # A checkpoint's predictions go beside the table: that place must be free, too.
    copy = tmp_path / "copy.npz"
    copy.write_bytes(checkpoint.read_bytes())
    with pytest.raises(ValueError, match="errors"):
        evaluate(dataset_dir, "val", "gt", copy, errors=tmp_path / "copy.parquet")
    assert copy.read_bytes() == checkpoint.read_bytes()


def test_arguments_that_do_not_fit_are_refused(scored, checkpoint):
    dataset_dir, predictions = scored
    with pytest.raises(ValueError, match="checkpoint and predictions: give one"):
        evaluate(dataset_dir, "val", "gt")
    with pytest.raises(ValueError, match="checkpoint and predictions: give one"):
        evaluate(dataset_dir, "val", "gt", checkpoint, predictions)
    with pytest.raises(ValueError, match=r"flip_test: .*mine\.npz"):
        evaluate(dataset_dir, "val", "gt", predictions=predictions, flip_test=True)


@pytest.mark.parametrize("image_id", [-1, 2**40])
def test_predictions_of_other_frames_are_named_with_their_file(scored, image_id):
    dataset_dir, path = scored
    found = Predictions.load(path)
    found.image_id[0] = image_id
    found.save(path)
    with pytest.raises(ValueError, match=f"^{path}: predictions of no frame in val"):
        evaluate(dataset_dir, "val", "gt", predictions=path)


class HangingFrames(InterHandDataset):
    """Frames whose pictures never come."""

    def batch(self, rows):
        time.sleep(4)
        return super().batch(rows)

    __getitems__ = batch


def test_workers_that_hang_end_the_prediction(tiny_root, monkeypatch):
    monkeypatch.setattr("digit.data.dataset.LOADER_TIMEOUT_S", 1)
    network = build_network("quick", pretrained=False).eval()
    frames = HangingFrames(open_index(tiny_root, "val"), network.image_size)
    with pytest.raises(
        RuntimeError, match=f"{tiny_root}: DataLoader timed out"
    ) as error:
        predict_dataset(network, frames, workers=1)
    assert "workers=0" in str(error.value)

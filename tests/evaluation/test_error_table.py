"""The error table: columns worked out by hand, and what has no number."""

import os

import numpy as np
import pandas as pd
import pytest
import torch
from scoring import perfect_predictions
from trees import FOCAL, PRINCPT, make_tree

from digit import geometry
from digit.data.build_index import prepare_index
from digit.evaluation import error_table as module
from digit.evaluation.error_table import error_table
from digit.evaluation.protocol import protocol
from digit.skeleton import WRISTS


def test_perfect_predictions_have_no_error(index):
    table = error_table(index, perfect_predictions(index))
    result = protocol(table)
    for name in (
        "mpjpe_all",
        "mpjpe_40_ih",
        "mpjpe_predicted_handedness_sh",
        "pa_mpjpe_all",
        "mrrpe",
    ):
        assert abs(result[name]) < 1e-2, name
    assert result["handedness_accuracy"] == 1
    assert result["pck_auc"] > 0.999
    assert (table[["error_2d_right", "error_2d_left"]].max() < 1e-5).all()


def test_what_does_not_apply_is_nan(index):
    table = error_table(index, perfect_predictions(index))
    assert list(table["hand_type"]) == ["right", "left", "interacting"] * 2
    assert (table["predicted_hand_type"] == table["hand_type"]).all()
    assert table["mpjpe_right"].isna().tolist() == [False, True, False] * 2
    assert table["mrrpe"].isna().tolist() == [True, True, False] * 2
    assert table["error_l_index1"].isna().tolist() == [True, False, False] * 2


def test_errors_by_hand(index):
    """One joint 10 mm too deep, one half a cell aside, the left wrist 20 mm too deep."""
    predictions = perfect_predictions(index)
    predictions.joints_25d[2, 3, 2] += 10 / 200 / 2 * 64
    predictions.joints_25d[2, 30, 0] += 0.5
    predictions.relative_root_depth[2] += 20 / 200 / 2 * 64
    table = error_table(index, predictions)

    joints_mm = index["joints_cam_mm"][2]
    joints_px = index["joints_px"][2]
    row = table.iloc[2]
    # Along the ray of its pixel, a joint moves further than in depth alone.
    ray = np.append((joints_px[3] - PRINCPT) / FOCAL, 1)
    assert row["error_r_thumb1"] == pytest.approx(10 * np.linalg.norm(ray), abs=1e-3)
    side_px = 1.25 * index["bbox_xywh"][2, 2:].max()
    aside_mm = 0.5 / 64 * side_px / FOCAL[0] * joints_mm[30, 2]
    assert row["error_l_middle3"] == pytest.approx(aside_mm, abs=1e-3)
    mean = (row["error_r_thumb1"] + aside_mm) / 42
    assert row["mpjpe"] == pytest.approx(mean, abs=1e-3)
    assert row["error_depth"] == pytest.approx(10 / 42, abs=1e-3)
    left_ray = np.append((joints_px[41] - PRINCPT) / FOCAL, 1)
    assert row["mrrpe"] == pytest.approx(20 * np.linalg.norm(left_ray), abs=1e-3)

    # Four frames have a left hand, two of them are interacting.
    result = protocol(table)
    assert result["l_middle3_all"] == pytest.approx(aside_mm / 4, abs=1e-3)
    assert result["l_middle3_ih"] == pytest.approx(aside_mm / 2, abs=1e-3)
    assert result["mpjpe_sh"] == pytest.approx(0, abs=1e-3)


def test_handedness_counts_frames_of_a_valid_type(tmp_path):
    valid = np.array([True, True, True, True, True, False])
    tree = make_tree(tmp_path / "tree", pictures=False, hand_type_valid=valid)
    index = prepare_index(tree, "val")
    predictions = perfect_predictions(index)
    predictions.hand_type[:] = [
        (0.9, 0.1),
        (0.6, 0.9),
        (0.9, 0.5),
        (0.4, 0.3),
        (0, 1),
        (0, 0),
    ]
    table = error_table(index, predictions)
    expected = [1, 0, 0, 0, 1, np.nan]
    np.testing.assert_array_equal(table["handedness_correct"], expected)
    types = ["right", "interacting", "right", "none", "left", "none"]
    assert table["predicted_hand_type"].tolist() == types
    assert protocol(table)["handedness_accuracy"] == pytest.approx(2 / 5)


def test_predicted_handedness_chooses_the_depth(index):
    predictions = perfect_predictions(index)
    # Truly both: the left hand's depth is not looked up.
    predictions.hand_type[2] = (0.9, 0.1)
    # Truly right: no left depth is known, nothing changes.
    predictions.hand_type[0] = (0.1, 0.9)
    # No hand predicted: the likelier one counts.
    predictions.hand_type[3] = (0.4, 0.3)
    table = error_table(index, predictions)
    assert (table["mpjpe"] < 1e-2).all()

    # The left hand of frame 2, placed at the right wrist's depth.
    depth_mm = index["joints_cam_mm"][2][WRISTS, 2]
    hand = torch.tensor(index["joints_cam_mm"][2])[21:]
    focal = torch.tensor(FOCAL).float()
    princpt = torch.tensor(PRINCPT).float()
    moved_mm = hand[:, 2] + depth_mm[0] - depth_mm[1]
    hand_px = geometry.project(hand, focal, princpt)
    placed = geometry.back_project(hand_px, moved_mm, focal, princpt)
    error = ((placed - placed[20]) - (hand - hand[20])).norm(dim=-1)
    found = table["mpjpe_predicted_handedness"].to_numpy()
    assert found[2] == pytest.approx(error.sum().item() / 42, abs=1e-3)
    np.testing.assert_allclose(np.delete(found, 2), 0, atol=1e-2)


def test_many_frames_are_scored_in_pieces(index, monkeypatch):
    whole = error_table(index, perfect_predictions(index))
    monkeypatch.setattr(module, "FRAMES_AT_ONCE", 4)
    pd.testing.assert_frame_equal(error_table(index, perfect_predictions(index)), whole)


def test_predictions_of_other_frames_are_left_out(index):
    table = error_table(index.take([4, 1]), perfect_predictions(index))
    assert table["image_id"].tolist() == [104, 101]
    assert (table["mpjpe"] < 1e-2).all()


def test_order_of_predictions_does_not_matter(index):
    shuffled = perfect_predictions(index).take(np.arange(6)[::-1])
    assert (error_table(index, shuffled)["mpjpe"] < 1e-2).all()


def test_unusable_annotations_have_no_errors(tmp_path):
    rng = np.random.default_rng(0)
    joints = rng.normal(0, 40, (6, 42, 3)) + [0, 0, 900]
    joints[3, 4] = np.nan
    joints[5, 20] = np.inf
    boxes = np.tile([0.0, 90.0, 334.0, 334.0], (6, 1))
    boxes[1, 2] = 0
    changes = {"joints_world_mm": joints, "bbox_xywh": boxes}
    tree = make_tree(tmp_path / "tree", pictures=False, **changes)
    index = prepare_index(tree, "val")
    table = error_table(index, perfect_predictions(index))
    assert table["mpjpe"].isna().tolist() == [False, True, False, False, False, False]
    assert np.isnan(table["error_r_thumb1"][1])
    assert np.isnan(table["error_r_index4"][3])
    assert np.isnan(table["mpjpe_right"][5])
    assert np.isnan(table["mrrpe"][5])
    assert table["fault"][1] > 0
    result = protocol(table)
    assert result["mpjpe_all"] < 1e-2
    assert (result["n_frames"], result["n_scored"]) == (6, 5)


def test_no_file_is_opened(index, monkeypatch):
    predictions = perfect_predictions(index)

    def refuse(*args, **kwargs):
        pytest.fail(f"opened {args}")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(os, "stat", refuse)
    table = error_table(index, predictions)
    monkeypatch.undo()
    assert len(table) == 6


def test_table_survives_parquet(index, tmp_path):
    table = error_table(index, perfect_predictions(index))
    table.to_parquet(tmp_path / "errors.parquet")
    again = pd.read_parquet(tmp_path / "errors.parquet")
    assert protocol(again) == protocol(table)

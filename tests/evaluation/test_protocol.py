"""The protocol against the original's numbers, and its report."""

import json

import numpy as np
import pytest
from scoring import perfect_predictions

from digit.evaluation.error_table import error_table
from digit.evaluation.mean_pose import mean_pose_predictions
from digit.evaluation.metrics import ERRORS
from digit.evaluation.predictions import Predictions
from digit.evaluation.protocol import format_report, protocol

PUBLISHED = ("14.82", "13.15", "16.65", "31.33", "98.79", "12.59", "29.04", "11.86")


@pytest.mark.parametrize("root_depth", ["gt", "rootnet"])
def test_metrics_equal_the_originals(original, reference, root_depth, tmp_path):
    folder = reference / "protocol_seed11"
    expected = np.load(folder / f"expected_{root_depth}.npz")
    np.savez(
        tmp_path / "p.npz",
        image_id=expected["image_id"],
        joints_25d=expected["pred_joint_coord"],
        relative_root_depth=expected["pred_rel_root_depth"][:, 0],
        hand_type=expected["pred_hand_type"],
    )
    predictions = Predictions.load(tmp_path / "p.npz")
    result = protocol(error_table(original, predictions, root_depth))
    theirs = json.loads((folder / f"metrics_{root_depth}.json").read_text())
    theirs["handedness_accuracy"] = theirs.pop("handness_acc")
    assert len(theirs) == 131
    for name, value in theirs.items():
        assert result[name] == pytest.approx(value, abs=1e-3), name


@pytest.fixture(scope="module")
def noisy(index):
    """A table of predictions with noise in depth."""
    rng = np.random.default_rng(0)
    predictions = perfect_predictions(index)
    predictions.joints_25d[..., 2] += rng.normal(0, 2, (6, 42))
    return error_table(index, predictions)


def test_mpjpe_is_the_mean_over_joints_of_means_over_frames(noisy):
    result = protocol(noisy)
    joints = noisy[ERRORS].mean()
    assert result["mpjpe_all"] == pytest.approx(joints.mean())
    fingers = joints.drop(["error_r_wrist", "error_l_wrist"])
    assert result["mpjpe_40_all"] == pytest.approx(fingers.mean())


def test_interval_holds_the_value_and_is_repeatable(noisy):
    result = protocol(noisy)
    assert result == protocol(noisy)
    assert result["mpjpe_all_low"] < result["mpjpe_all"] < result["mpjpe_all_high"]
    assert "mpjpe_all_low" not in protocol(noisy, intervals=False)


def test_what_nothing_counts_for_is_none(noisy):
    single = protocol(noisy[noisy["hand_type"] == "right"])
    assert single["mrrpe"] is None
    assert single["mpjpe_ih"] is None
    assert single["l_thumb1_all"] is None
    assert single["mpjpe_sh"] == single["mpjpe_all"]
    json.dumps(single, allow_nan=False)


def test_frames_of_which_there_is_none_give_none(noisy):
    result = protocol(noisy[noisy["hand_type"] == "a third hand"])
    assert result["mpjpe_all"] is None and result["found_10"] is None
    assert result["n_frames"] == 0


def test_intervals_of_many_frames_match_theory(index):
    """Beyond 2,000 frames groups are resampled; the interval stays that of the mean."""
    rng = np.random.default_rng(1)
    table = error_table(index, perfect_predictions(index))
    table = table.loc[rng.integers(6, size=9000)].reset_index(drop=True)
    table["mrrpe"] = rng.normal(30, 10, 9000)
    result = protocol(table)
    half = 1.96 * 10 / 9000**0.5
    assert result["mrrpe_high"] - result["mrrpe"] == pytest.approx(half, rel=0.15)
    assert result["mrrpe"] - result["mrrpe_low"] == pytest.approx(half, rel=0.15)


def test_report_names_the_protocol_of_each_row(index):
    result = protocol(error_table(index, perfect_predictions(index)))
    baseline = error_table(index, mean_pose_predictions(index, index))
    mean = protocol(baseline, intervals=False)
    text = format_report(result, {"mean pose": mean})
    for number in (*PUBLISHED, f"{mean['mpjpe_all']:.2f}"):
        assert number in text
    rows = ("this", "mean pose", "DIGIT val", "DIGIT test", "InterNet in MMPose test")
    for row in rows:
        [line] = [line for line in text.splitlines() if line.startswith(f"{row}: ")]
        assert "wrist" in line and "true hand type" in line
    assert result["data"] == "InterHand2.6M, label version unknown"
    assert "MMPose test: InterHand2.6M v1.0 5 fps; test; true boxes" in text
    assert "MPJPE with predicted handedness" in text


def test_report_keeps_the_place_of_what_is_missing(index):
    single = protocol(error_table(index.take([0]), perfect_predictions(index)))
    lines = format_report(single).splitlines()
    assert any(" / – / " in line or line.endswith("/ –") for line in lines)

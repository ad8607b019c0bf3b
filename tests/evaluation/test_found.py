"""Metrics in the image, against values by hand; views, against the plain crop."""

import numpy as np
import pytest
import torch
from trees import make_tree

from digit.data.build_index import prepare_index
from digit.data.dataset import evaluation_targets
from digit.evaluation.error_table import LENGTHS, error_table
from digit.evaluation.found import hand_errors, image_metrics, share_below
from digit.evaluation.predictions import Predictions
from digit.evaluation.protocol import format_report, protocol
from digit.inference.views import VIEWS, evaluate_views, to_evaluation_crop


def perfect(index) -> Predictions:
    """Predictions that repeat the truth."""
    targets = evaluation_targets(index)
    return Predictions(
        image_id=index["image_id"].copy(),
        joints_25d=targets.joints_25d.numpy().copy(),
        relative_root_depth=targets.relative_root_depth.numpy().copy(),
        hand_type=targets.hand_type.numpy().copy(),
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Six frames: right, left, interacting, twice."""
    return prepare_index(make_tree(tmp_path_factory.mktemp("found") / "tree"), "val")


def shifted(index, frame: int, joints: slice, percent: float) -> Predictions:
    """Perfect predictions but for some joints of a frame, moved right by a share of the
    tight box's longer side."""
    predictions = perfect(index)
    table = error_table(index, predictions)
    row = table.iloc[frame]
    cell_px = 1.25 * row["bbox_side_px"] / 64
    predictions.joints_25d[frame, joints, 0] += (
        percent / 100 * row["tight_side_px"] / cell_px
    )
    return predictions


def test_the_tight_side_is_that_of_the_annotated_joints(index):
    table = error_table(index, perfect(index))
    for i in range(len(index)):
        points = index["joints_px"][i][index["joint_valid"][i].astype(bool)]
        side = np.ptp(points, axis=0).max()
        assert table["tight_side_px"][i] == pytest.approx(side, rel=1e-4)


@pytest.mark.parametrize(
    "percent, found", [(4, (1, 1, 1)), (9, (0, 1, 1)), (12, (0, 0, 1))]
)
def test_a_hand_is_found_below_the_limit(index, percent, found):
    """Frame 0 shows a right hand alone; all of its joints are off by the same share."""
    table = error_table(index, shifted(index, 0, slice(0, 21), percent))
    metrics = image_metrics(table.iloc[:1])
    assert tuple(metrics[f"found_{limit}"] for limit in (5, 10, 15)) == found
    assert metrics["median_error_2d"] == pytest.approx(percent / 100, rel=1e-3)
    assert metrics["n_hands"] == 1
    everything = image_metrics(table)
    assert everything["n_hands"] == 8
    assert everything["found_10"] == pytest.approx((7 + found[1]) / 8)
    assert everything["found_10_ih"] == 1


def test_the_error_of_a_hand_is_the_mean_of_its_valid_joints():
    errors = np.full((2, 42), np.nan)
    errors[0, :2] = (0.1, 0.3)
    errors[1, 21:] = 0.2
    hands = hand_errors(errors)
    np.testing.assert_allclose(hands, [[0.2, np.nan], [np.nan, 0.2]])
    assert share_below(hands, 25) == 1
    assert np.isnan(share_below(np.full(3, np.nan), 10))


def test_hands_are_counted(index):
    """Of four single hands one is called two, and one of the others is the wrong one."""
    predictions = perfect(index)
    predictions.hand_type[0] = (0.9, 0.8)
    predictions.hand_type[1] = (0.9, 0.1)
    metrics = image_metrics(error_table(index, predictions))
    assert metrics["single_called_two"] == pytest.approx(1 / 4)
    assert metrics["side_accuracy"] == pytest.approx(2 / 3)


def test_labels_without_depth_give_no_lengths(index):
    table = error_table(index, perfect(index), label_kind="2d")
    for name in LENGTHS:
        if name != "errors_predicted_handedness":
            assert table[name].isna().all(), name
    result = protocol(table)
    assert result["mpjpe_all"] is None and result["mrrpe"] is None
    assert result["pck_auc"] is None
    assert result["found_5"] == 1 and result["handedness_accuracy"] == 1
    assert result["n_scored"] == 6
    assert "2D metrics only" in result["protocol"]
    assert "hands found" in format_report(result)


def test_a_data_set_says_of_itself_that_depths_are_doubtful(tmp_path):
    dataset_dir = make_tree(tmp_path / "tree")
    assert prepare_index(dataset_dir, "val").label_kind == "3d"
    labels = dataset_dir / "annotations/labels.txt"
    labels.write_text("2d\n")
    index = prepare_index(dataset_dir, "val")
    assert index.label_kind == "2d"
    assert protocol(error_table(index, perfect(index)))["mpjpe_all"] is None
    labels.write_text("4d\n")
    with pytest.raises(
        ValueError, match=r"labels\.txt: holds '4d'; write 3d, 2d or flat"
    ):
        prepare_index(dataset_dir, "val")


@pytest.mark.parametrize("name", VIEWS)
def test_perfect_predictions_of_a_view_are_perfect(index, name):
    """Joints at their places in the view's crop are at their places in the evaluation's."""
    from digit.data.dataset import InterHandDataset

    frames = InterHandDataset(index, 64, augmentation=VIEWS[name])
    batch = frames.batch(range(len(index)))
    in_view = perfect(index)._replace(joints_25d=batch.joints_25d.numpy())
    back = to_evaluation_crop(in_view, index, VIEWS[name])
    valid = batch.joint_valid.bool().numpy()
    expected = perfect(index).joints_25d
    np.testing.assert_allclose(back.joints_25d[valid], expected[valid], atol=2e-3)


def test_every_view_is_measured(index):
    def predict(frames):
        batch = frames.batch(range(len(frames)))
        return perfect(frames.index)._replace(joints_25d=batch.joints_25d.numpy())

    numbers = evaluate_views(predict, index, size_px=64)
    for name in VIEWS:
        assert numbers[f"view_{name}_found_5"] == 1
        assert numbers[f"view_{name}_handedness_accuracy"] == 1
    result = protocol(error_table(index, perfect(index))) | numbers
    assert "view turned_90" in format_report(result)


def test_a_frame_without_joints_does_not_count(tmp_path):
    valid = torch.ones(6, 42, dtype=torch.bool).numpy()
    valid[2] = False
    index = prepare_index(make_tree(tmp_path / "tree", joint_valid=valid), "val")
    metrics = image_metrics(error_table(index, perfect(index)))
    assert metrics["n_hands"] == 10

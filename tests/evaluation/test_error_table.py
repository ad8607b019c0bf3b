"""The protocol against the original's numbers, and the error table against values by hand."""

import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import FOCAL, PRINCPT, make_tree

from digit import geometry
from digit.data.dataset import evaluation_targets
from digit.data.index import open_index
from digit.evaluation import error_table as error_table_module
from digit.evaluation.error_table import error_table
from digit.evaluation.mean_pose import mean_pose_predictions
from digit.evaluation.metrics import (
    ERRORS,
    aligned_error,
    part_statistics,
    pck_curve,
)
from digit.evaluation.predictions import Predictions
from digit.evaluation.protocol import format_report, protocol
from digit.skeleton import JOINTS, WRISTS


def perfect(index, bbox="truth") -> Predictions:
    targets = evaluation_targets(index, bbox)
    return Predictions(
        np.array(index["image_id"]),
        targets.joints_25d.numpy().copy(),
        targets.relative_root_depth.numpy().copy(),
        targets.hand_type.numpy().copy(),
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Six frames: right, left, interacting, twice."""
    return open_index(
        make_tree(tmp_path_factory.mktemp("m") / "tree", pictures=False), "val"
    )


@pytest.fixture(scope="module")
def original(reference, tmp_path_factory):
    root = tmp_path_factory.mktemp("reference") / "tree"
    shutil.copytree(reference / "protocol_seed11", root)
    return open_index(root, "val")


@pytest.mark.parametrize("depth", ["gt", "rootnet"])
def test_metrics_are_the_originals(original, reference, depth, tmp_path):
    folder = reference / "protocol_seed11"
    expected = dict(np.load(folder / f"expected_{depth}.npz"))
    names = ("image_id", "joint_coord", "rel_root_depth", "hand_type")
    fields = (expected["image_id"], *(expected[f"pred_{name}"] for name in names[1:]))
    np.savez(
        tmp_path / "p.npz",
        **dict(zip(Predictions._fields, fields[:2])),
        relative_root_depth=fields[2][:, 0],
        hand_type=fields[3],
    )
    result = protocol(
        error_table(original, Predictions.load(tmp_path / "p.npz"), depth)
    )
    published = json.loads((folder / f"metrics_{depth}.json").read_text())
    published["handedness_accuracy"] = published.pop("handness_acc")
    assert len(published) == 131
    for name, value in published.items():
        assert result[name] == pytest.approx(value, abs=1e-3), name


def test_perfect_predictions_have_no_error(index):
    table = error_table(index, perfect(index))
    result = protocol(table)
    for name in (
        "mpjpe_all",
        "mpjpe_40_ih",
        "mpjpe_predicted_handedness_sh",
        "pa_mpjpe_all",
        "mrrpe",
    ):
        assert abs(result[name]) < 1e-2, name
    assert result["handedness_accuracy"] == 1 and result["pck_auc"] > 0.999
    assert (table[["error_2d_right", "error_2d_left"]].max() < 1e-5).all()
    assert list(table["hand_type"]) == ["right", "left", "interacting"] * 2
    assert (table["predicted_hand_type"] == table["hand_type"]).all()
    assert table["mpjpe_right"].isna().tolist() == [False, True, False] * 2
    assert table["mrrpe"].isna().tolist() == [True, True, False] * 2
    assert table["error_l_index1"].isna().tolist() == [True, False, False] * 2


def test_errors_by_hand(index):
    """One joint 10 mm too deep, another half a crop cell aside; the left wrist 20 mm too deep."""
    predictions = perfect(index)
    predictions.joints_25d[2, 3, 2] += 10 / 200 / 2 * 64
    predictions.joints_25d[2, 30, 0] += 0.5
    predictions.relative_root_depth[2] += 20 / 200 / 2 * 64
    table = error_table(index, predictions)
    joints, pixels = index["joints_cam_mm"][2], index["joints_px"][2]
    ray = np.append((pixels[3] - PRINCPT) / FOCAL, 1)
    aside = 0.5 / 64 * 1.25 * index["bbox_xywh"][2, 2:].max() / FOCAL[0] * joints[30, 2]
    row = table.iloc[2]
    assert row["error_r_thumb1"] == pytest.approx(10 * np.linalg.norm(ray), abs=1e-3)
    assert row["error_l_middle3"] == pytest.approx(aside, abs=1e-3)
    assert row["mpjpe"] == pytest.approx((row["error_r_thumb1"] + aside) / 42, abs=1e-3)
    assert row["error_depth"] == pytest.approx(10 / 42, abs=1e-3)
    left_ray = np.append((pixels[41] - PRINCPT) / FOCAL, 1)
    assert row["mrrpe"] == pytest.approx(20 * np.linalg.norm(left_ray), abs=1e-3)
    result = protocol(table)
    assert result["l_middle3_all"] == pytest.approx(
        aside / 4, abs=1e-3
    )  # four left hands
    assert result["l_middle3_ih"] == pytest.approx(aside / 2, abs=1e-3)
    assert result["mpjpe_sh"] == pytest.approx(0, abs=1e-3)


def test_handedness_counts_both_outputs_where_the_type_is_valid(tmp_path):
    valid = np.array([True, True, True, True, True, False])
    index = open_index(
        make_tree(tmp_path / "tree", pictures=False, hand_type_valid=valid), "val"
    )
    predictions = perfect(index)
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
    kinds = ["right", "interacting", "right", "none", "left", "none"]
    assert table["predicted_hand_type"].tolist() == kinds
    assert protocol(table)["handedness_accuracy"] == pytest.approx(2 / 5)


def test_the_honest_variant_takes_the_depth_of_the_predicted_type(index):
    predictions = perfect(index)
    predictions.hand_type[2] = (
        0.9,
        0.1,
    )  # truly both: the left hand's depth is not asked for
    predictions.hand_type[0] = (
        0.1,
        0.9,
    )  # truly right: no left depth is known, nothing changes
    predictions.hand_type[3] = (0.4, 0.3)  # nothing named: the likelier one
    table = error_table(index, predictions)
    assert (table["mpjpe"] < 1e-2).all()
    depth = index["joints_cam_mm"][2][WRISTS, 2]
    joints = torch.tensor(index["joints_cam_mm"][2])[21:]
    camera = torch.tensor(FOCAL).float(), torch.tensor(PRINCPT).float()
    moved = joints[:, 2] + depth[0] - depth[1]
    placed = geometry.back_project(geometry.project(joints, *camera), moved, *camera)
    error = ((placed - placed[20]) - (joints - joints[20])).norm(dim=-1)
    honest = table["mpjpe_predicted_handedness"].to_numpy()
    assert honest[2] == pytest.approx(error.sum().item() / 42, abs=1e-3)
    np.testing.assert_allclose(np.delete(honest, 2), 0, atol=1e-2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5))
def test_aligned_error_ignores_similarities_but_not_mirrors(seed, scale):
    rng = np.random.default_rng(seed)
    points = torch.tensor(rng.normal(0, 40, (2, 21, 3)))
    valid = torch.tensor(rng.random((2, 21)) < 0.7) | (torch.arange(21) < 4)
    rotation = geometry.axis_angle_to_matrix(torch.tensor(rng.normal(size=(2, 3))))
    moved = scale * points @ rotation + torch.tensor(rng.normal(0, 500, (2, 1, 3)))
    moved = torch.where(
        valid[..., None], moved, torch.nan
    )  # what does not count may be anything
    assert aligned_error(points, moved, valid)[valid].max() < 1e-6 * scale + 1e-6
    assert (
        aligned_error(points * torch.tensor([-1, 1, 1]), moved, valid)[valid].max() > 1
    )
    noisy = points + torch.tensor(rng.normal(0, 3, (2, 21, 3)))
    aligned = aligned_error(noisy, points, valid)
    plain = (noisy - points).norm(dim=-1)
    assert ((aligned**2 * valid).sum(-1) <= (plain**2 * valid).sum(-1)).all()


def test_part_statistics_by_hand():
    true = torch.tensor([[[0, 1], [1, 17]], [[2, 2], [2, 2]]])
    predicted = torch.tensor([[[0, 1], [17, 17]], [[2, 2], [2, 2]]])
    found = part_statistics(predicted, true, torch.tensor([1.0, 0.0]))
    pixels = found["part_pixels"][0]  # true, given, both
    assert pixels[:, [0, 1, 17]].tolist() == [[1, 2, 1], [1, 1, 2], [1, 1, 1]]
    assert found["hand_confusion"][0].tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert found["part_pixels"][1].sum() == 0


def test_part_columns_and_the_data_sets_iou(index):
    true = torch.zeros(6, 4, 4, dtype=torch.int64)
    true[:, 0], true[:, 1] = 3, 20
    predicted = true.clone()
    predicted[0, 0, :2] = 19  # half of a right part called its left counterpart
    predicted[1, 1] = 0  # a left part missed
    valid = torch.tensor([1.0, 1, 1, 1, 1, 0])
    found = part_statistics(predicted, true, valid)
    table = error_table(index, perfect(index)._replace(**found))
    np.testing.assert_allclose(table["part_iou"], [0.75, 0.5, 1, 1, 1, np.nan])
    np.testing.assert_allclose(table["wrong_hand_share"], [0.25, 0, 0, 0, 0, np.nan])
    np.testing.assert_array_equal(
        table["right_called_left_px"], [2, 0, 0, 0, 0, np.nan]
    )
    np.testing.assert_array_equal(
        table["left_called_right_px"], [0, 0, 0, 0, 0, np.nan]
    )
    result = protocol(table)
    assert result["part_miou"] == pytest.approx((18 / 20 + 16 / 20) / 2)
    assert result["wrong_hand_share"] == pytest.approx(2 / 36)
    assert protocol(table[2:5])["part_miou"] == 1  # a slice of the table is a table


def test_protocol_of_slices_and_intervals(index):
    rng = np.random.default_rng(0)
    predictions = perfect(index)
    predictions.joints_25d[..., 2] += rng.normal(0, 2, (6, 42))
    table = error_table(index, predictions)
    result = protocol(table)
    assert result == protocol(table) and result["n_frames"] == 6
    assert result["mpjpe_all_low"] < result["mpjpe_all"] < result["mpjpe_all_high"]
    errors = table[ERRORS]
    assert result["mpjpe_all"] == pytest.approx(errors.mean().mean())
    fingers = np.delete(errors.to_numpy(), WRISTS, 1)
    assert result["mpjpe_40_all"] == pytest.approx(
        errors.mean().drop("error_r_wrist").drop("error_l_wrist").mean()
    )
    fingers = fingers[~np.isnan(fingers)]
    assert result["pck_10mm"] == pytest.approx((fingers <= 10).mean())
    curve = pck_curve(table, np.linspace(0, 50, 5001))
    assert result["pck_auc"] == pytest.approx(
        np.trapezoid(curve, dx=1 / 5000), abs=1e-3
    )
    single = protocol(table[table["hand_type"] == "right"])
    assert (
        single["mrrpe"] is None
        and single["mpjpe_ih"] is None
        and single["l_thumb1_all"] is None
    )
    assert single["mpjpe_sh"] == single["mpjpe_all"] and single["split"] == "val"
    assert "mpjpe_all_low" not in protocol(table, intervals=False)
    json.dumps(result, allow_nan=False)


def test_intervals_of_many_frames_match_theory(index):
    """Beyond 2,000 frames groups of frames are resampled; the interval stays that of the mean."""
    rng = np.random.default_rng(1)
    table = error_table(index, perfect(index))
    table = table.loc[rng.integers(6, size=9000)].reset_index(drop=True)
    table["mrrpe"] = rng.normal(30, 10, 9000)
    result = protocol(table)
    half = 1.96 * 10 / 9000**0.5
    assert result["mrrpe_high"] - result["mrrpe"] == pytest.approx(half, rel=0.15)
    assert result["mrrpe"] - result["mrrpe_low"] == pytest.approx(half, rel=0.15)


def test_many_frames_are_scored_in_pieces(index, monkeypatch):
    whole = error_table(index, perfect(index))
    monkeypatch.setattr(error_table_module, "FRAMES_AT_ONCE", 4)
    pd.testing.assert_frame_equal(error_table(index, perfect(index)), whole)


def test_more_predictions_than_frames_are_fine(index):
    table = error_table(index.take([4, 1]), perfect(index))
    assert table["image_id"].tolist() == [104, 101] and (table["mpjpe"] < 1e-2).all()


def test_unusable_annotations_give_rows_without_errors(tmp_path):
    rng = np.random.default_rng(0)
    joints = rng.normal(0, 40, (6, 42, 3)) + [0, 0, 900]
    joints[3, 4], joints[5, 20] = np.nan, np.inf
    boxes = np.tile([0.0, 90.0, 334.0, 334.0], (6, 1))
    boxes[1, 2] = 0
    root = make_tree(
        tmp_path / "tree", pictures=False, joints_world_mm=joints, bbox_xywh=boxes
    )
    index = open_index(root, "val")
    table = error_table(index, perfect(index))
    assert table["mpjpe"].isna().tolist() == [False, True, False, False, False, False]
    assert np.isnan(table["error_r_thumb1"][1]) and np.isnan(table["error_r_index4"][3])
    assert np.isnan(table["mpjpe_right"][5]) and np.isnan(table["mrrpe"][5])
    assert table["fault"][1] > 0
    result = protocol(table)
    assert result["mpjpe_all"] < 1e-2 and (result["n_frames"], result["n_scored"]) == (
        6,
        5,
    )


@pytest.mark.parametrize("depth", ["gt", "rootnet"])
def test_mean_pose_measures_the_mean_pose(original, depth):
    predictions = mean_pose_predictions(original, original, depth)
    table = error_table(original, predictions, depth)
    joints, valid = original["joints_cam_mm"], original["joint_valid"].copy()
    valid[:, :21] &= valid[:, 20:21]
    valid[:, 21:] &= valid[:, 41:]
    relative = joints - np.repeat(joints[:, WRISTS], 21, axis=1)
    weight = valid[..., None]
    mean = (relative * weight).sum(0) / weight.sum(0)
    error = np.linalg.norm(relative - mean, axis=-1)
    for j, name in enumerate(JOINTS):
        np.testing.assert_allclose(
            table[f"error_{name}"].to_numpy()[valid[:, j]],
            error[valid[:, j], j],
            atol=0.05,
        )
    if depth == "gt":
        both = (original["hand_type"] == 2) & valid[:, WRISTS].all(1)
        vectors = joints[both, 41] - joints[both, 20]
        expected = np.linalg.norm(vectors - vectors.mean(0), axis=-1)
        np.testing.assert_allclose(table["mrrpe"].to_numpy()[both], expected, atol=0.05)
    assert table["probability_right"].nunique() == 1


def test_predictions_survive_a_file(index, tmp_path):
    found = part_statistics(
        torch.zeros(6, 4, 4).long(), torch.zeros(6, 4, 4).long(), torch.ones(6)
    )
    predictions = perfect(index)._replace(
        heatmap_entropy=np.ones((6, 42), np.float32), **found
    )
    predictions.save(tmp_path / "p.npz")
    for ours, again in zip(predictions, Predictions.load(tmp_path / "p.npz")):
        np.testing.assert_array_equal(ours, again)
    halves = [predictions.take(np.arange(3)), predictions.take(slice(3, 6))]
    for ours, again in zip(predictions, Predictions.concatenate(halves)):
        np.testing.assert_array_equal(ours, again)
    table = error_table(
        index, predictions.take(np.arange(6)[::-1])
    )  # any order will do
    assert (table["mpjpe"] < 1e-2).all() and (table["heatmap_entropy"] == 1).all()
    table.to_parquet(tmp_path / "errors.parquet")
    again = pd.read_parquet(tmp_path / "errors.parquet")
    assert protocol(again) == protocol(table)


def test_bad_predictions_are_refused_by_name(index, tmp_path):
    good = perfect(index)
    nan = good.joints_25d.copy()
    nan[4, 7, 1] = np.nan
    cases = [
        ("joints_25d is NaN or infinite: 1 of 6 .*104", good._replace(joints_25d=nan)),
        (
            r"joints_25d is float32 of shape \(6, 41, 3\); .*\(N, 42, 3\) for the 6",
            good._replace(joints_25d=good.joints_25d[:, 1:]),
        ),
        (r"image_id is int64 of shape \(\); it must hold numbers of shape \(N\)", good._replace(image_id=np.array(7))),
        (
            "hand_type is not in 0…1: 6 of 6",
            good._replace(hand_type=good.hand_type + 5),
        ),
        (
            "image_id is repeated: 1 of 6 .*100",
            good._replace(image_id=np.array([100, 100, 102, 103, 104, 105])),
        ),
        (
            "of no frame in val: 1 of 7 .*7",
            Predictions.concatenate(
                [good, good.take([0])._replace(image_id=np.array([7]))]
            ),
        ),
        ("without a prediction: 2 of 6 .*image_id 100, 101", good.take(slice(2, 6))),
        (
            "of no frame in val: 1 of 6 .*7",
            good._replace(image_id=np.array([7, *range(101, 106)])),
        ),
    ]
    for message, predictions in cases:
        with pytest.raises(ValueError, match=message):
            error_table(index, predictions)
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        Predictions.load(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"image_id": 1}))
    np.save(tmp_path / "array.npy", good.image_id)
    np.savez(tmp_path / "short.npz", image_id=good.image_id)
    np.savez(
        tmp_path / "objects.npz",
        **(good._asdict() | {"image_id": np.array([{}], object)}),
    )
    for name in ("text.npz", "pickle.npz", "array.npy", "short.npz", "objects.npz"):
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            Predictions.load(tmp_path / name)


def test_the_report_stands_beside_the_published_rows(index):
    result = protocol(error_table(index, perfect(index)))
    mean = protocol(
        error_table(index, mean_pose_predictions(index, index)), intervals=False
    )
    text = format_report(result, {"mean pose": mean})
    single = protocol(error_table(index.take([0]), perfect(index)))
    assert any(
        " / – / " in line or line.endswith("/ –")
        for line in format_report(single).splitlines()
    ), "what nothing counts for keeps its place"
    for number in (
        "14.82",
        "13.15",
        "16.65",
        "31.33",
        "98.79",
        "12.59",
        "29.04",
        "11.86",
        "29.27",
    ):
        assert number in text
    lines = text.splitlines()
    for row in (
        "this",
        "mean pose",
        "DIGIT val",
        "DIGIT test",
        "InterNet in MMPose test",
    ):
        protocols = [line for line in lines if line.startswith(f"{row}: ")]
        assert (
            len(protocols) == 1
            and "wrist" in protocols[0]
            and "true hand type" in protocols[0]
        )
    assert result["data"] == "InterHand2.6M, label version unknown"
    assert "MMPose test: InterHand2.6M v1.0 5 fps; test; true boxes" in text
    assert (
        "depth by the predicted hand type" in text
        and f"{mean['mpjpe_all']:.2f}" in text
    )

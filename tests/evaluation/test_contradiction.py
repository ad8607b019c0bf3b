"""Joints against parts: the truth agrees with itself, and mistakes show."""

import json

import numpy as np
import pytest
import torch

from digit.cli import main
from digit.data.dataset import InterHandDataset
from digit.data.index import open_index
from digit.evaluation.contradiction import COLUMNS, Views, find_contradictions
from digit.evaluation.error_table import error_table
from digit.evaluation.predictions import Predictions
from digit.geometry import apply_affine
from digit.hands.depth import mean_bone_lengths_mm, wrist_depth_from_bones
from digit.hands.model import generic_hands
from digit.inference.evaluate import predict_dataset
from digit.model.network import build_network
from digit.skeleton import HEATMAP_CELLS, SWAP_JOINTS, SWAP_LABELS


@pytest.fixture(scope="module")
def truth(tiny_root):
    """The true answers of frames with two hands, as `find_contradictions` takes them."""
    index = open_index(tiny_root, "train").usable()
    index = index.take((index["hand_type"] == 2) & index["parts_valid"])
    batch = InterHandDataset(index, 256).batch(range(len(index)))
    every_joint = batch.joint_valid.bool().all(1)
    assert every_joint.sum() >= 8
    cells_to_image = batch.crop_to_image.clone()
    cells_to_image[..., :2] *= 256 / HEATMAP_CELLS
    return {
        "joints_25d": batch.joints_25d[every_joint],
        "relative_root_depth": batch.relative_root_depth[every_joint],
        "hand_type": batch.hand_type[every_joint],
        "labels": batch.parts[every_joint].numpy(),
        "views": Views(
            cells_to_image=cells_to_image[every_joint],
            focal=torch.tensor(index["focal"])[every_joint],
            princpt=torch.tensor(index["princpt"])[every_joint],
        ),
    }


@pytest.fixture(scope="module")
def agreed(truth):
    return find_contradictions(generic_hands(), **truth)


def test_the_truth_hardly_contradicts_itself(agreed):
    assert np.median(agreed.score) < 0.15
    assert agreed.score.max() < 0.4
    assert (agreed.hand_iou > 0.6).all()
    assert np.median(agreed.other_hand_share) < 0.03
    assert np.median(agreed.other_part_share) < 0.2
    assert agreed.residual_mm.max() < 5


def test_swapped_hands_contradict_the_parts(truth, agreed):
    swapped = truth["joints_25d"][:, SWAP_JOINTS]
    found = find_contradictions(generic_hands(), **{**truth, "joints_25d": swapped})
    assert (found.score > agreed.score + 0.2).all()
    assert (found.residual_mm > agreed.residual_mm + 2).all()
    assert found.other_hand_share.mean() > 0.5
    labels = SWAP_LABELS[truth["labels"]]
    found = find_contradictions(generic_hands(), **{**truth, "labels": labels})
    assert (found.score > agreed.score + 0.2).all()


def test_moved_joints_contradict_the_parts(truth, agreed):
    moved = truth["joints_25d"] + torch.tensor([12.0, 0, 0])
    found = find_contradictions(generic_hands(), **{**truth, "joints_25d": moved})
    assert (found.score > agreed.score).all()
    np.testing.assert_allclose(found.residual_mm, agreed.residual_mm, atol=1.5)


def test_a_hand_that_only_the_parts_show_counts(truth):
    right_only = torch.tensor([[1.0, 0.0]]).expand(len(truth["hand_type"]), 2)
    found = find_contradictions(generic_hands(), **{**truth, "hand_type": right_only})
    assert (found.hand_iou[:, 1] == 0).all()
    assert (found.hand_iou[:, 0] > 0.4).all()
    assert (found.score > 0.5).all()


def test_no_hand_at_all_is_nan(truth):
    nothing = {
        "hand_type": torch.zeros_like(truth["hand_type"]),
        "labels": np.zeros_like(truth["labels"]),
    }
    found = find_contradictions(generic_hands(), **{**truth, **nothing})
    assert np.isnan(found.as_array()).all()


def test_depth_from_bones_is_the_depth_of_hands_of_usual_size():
    right, left = generic_hands()
    joints_mm = torch.cat(
        [right.joints(right.v_template), left.joints(left.v_template)]
    )
    joints_mm = joints_mm.double()[None] * 1000
    joints_mm = joints_mm + torch.tensor([0, 0, 700.0])
    joints_mm[:, 21:] += torch.tensor([150.0, 0, 40])
    focal = torch.tensor([[900.0, 950]], dtype=torch.float64)
    princpt = torch.tensor([[160.0, 200]], dtype=torch.float64)
    pixels = joints_mm[..., :2] / joints_mm[..., 2:] * focal + princpt
    wrists = joints_mm[:, [20, 41], 2]
    relative = joints_mm[..., 2] - wrists.repeat_interleave(21, dim=1)
    depth_mm = wrist_depth_from_bones(
        joints_px=pixels,
        relative_depth_mm=relative,
        root_offset_mm=wrists - wrists[:, :1],
        present=torch.tensor([[True, True]]),
        focal=focal,
        princpt=princpt,
        bone_lengths_mm=mean_bone_lengths_mm(right),
    )
    torch.testing.assert_close(depth_mm, wrists[:, 0], atol=0.1, rtol=0)


def test_error_table_has_the_columns_where_predictions_carry_them(tiny_root, tmp_path):
    index = open_index(tiny_root, "val").usable()
    network = build_network("quick").eval()
    dataset = InterHandDataset(index, network.image_size)
    found = predict_dataset(network, dataset, contradictions=True)
    assert found.contradiction.shape == (len(index), len(COLUMNS))
    found.save(tmp_path / "found.npz")
    table = error_table(index, Predictions.load(tmp_path / "found.npz"))
    for place, column in enumerate(COLUMNS):
        np.testing.assert_array_equal(table[column], found.contradiction[:, place])
    without = predict_dataset(network, dataset)
    assert without.contradiction is None
    assert not set(COLUMNS) & set(error_table(index, without).columns)


def test_cells_of_a_batch_lead_back_to_the_image(tiny_root):
    index = open_index(tiny_root, "val").usable()
    batch = InterHandDataset(index, 128).batch(range(len(index)))
    to_image = batch.crop_to_image.clone()
    to_image[..., :2] *= 128 / HEATMAP_CELLS
    pixels = apply_affine(to_image, batch.joints_25d[..., :2].double())
    valid = batch.joint_valid.bool().numpy()
    np.testing.assert_allclose(
        pixels.numpy()[valid], index["joints_px"][valid], atol=0.05
    )


def test_predict_tells_the_contradiction_of_a_photo(tiny_root, tmp_path):
    index = open_index(tiny_root, "train")
    frame = int(np.flatnonzero(index["hand_type"] == 2)[0])
    photo = tiny_root / "images" / index.keys()[frame]
    bbox = ",".join(f"{value:.1f}" for value in index["bbox_xywh"][frame])
    out = tmp_path / "hands.json"
    mesh = tmp_path / "hands.glb"
    words = ["predict", str(photo), "--bbox", bbox]
    assert main([*words, "--json", str(out), "--mesh", str(mesh)]) == 0
    assert 0 <= json.loads(out.read_text())["contradiction"] <= 1
    assert mesh.stat().st_size > 10_000

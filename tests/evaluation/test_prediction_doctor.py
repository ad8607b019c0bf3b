"""The predictions doctor names the usual mistakes, and is silent on merely poor ones."""

import json

import numpy as np
import pytest
import torch
from scoring import perfect_predictions

from digit import conventions, geometry
from digit.cli import main
from digit.data.dataset import InterHandDataset
from digit.data.index import open_index
from digit.evaluation.conversion import cells_from_camera
from digit.evaluation.mean_pose import mean_pose_predictions
from digit.evaluation.prediction_doctor import (
    diagnose_predictions,
    examine_predictions,
)
from digit.evaluation.predictions import Predictions
from digit.inference.evaluate import predict_dataset
from digit.inference.networks import load_network
from digit.model.network import build_network
from digit.skeleton import JOINT_SIDE, WRISTS

LEFT = slice(21, None)


@pytest.fixture(scope="module")
def frames(tiny_root):
    return open_index(tiny_root, "train")


@pytest.fixture(scope="module")
def good(frames) -> Predictions:
    """Predictions with some noise."""
    return noisy(perfect_predictions(frames), cells=2)


def noisy(predictions: Predictions, cells: float, seed: int = 0) -> Predictions:
    """Predictions with normal noise in heatmap cells."""
    rng = np.random.default_rng(seed)
    joints = predictions.joints_25d
    depth = predictions.relative_root_depth
    return predictions._replace(
        joints_25d=with_type(joints + rng.normal(0, cells, joints.shape)),
        relative_root_depth=with_type(depth + rng.normal(0, cells, depth.shape)),
    )


def with_type(values) -> np.ndarray:
    return np.asarray(values, np.float32)


def depths_mm(joints_25d: np.ndarray) -> np.ndarray:
    """Depths behind the wrist."""
    return (joints_25d[..., 2] / 64 * 2 - 1) * 200


def with_depths(joints_25d: np.ndarray, depths: np.ndarray) -> np.ndarray:
    return np.concatenate([joints_25d[..., :2], depths[..., None]], -1)


def to_order(joints: np.ndarray, order: str) -> np.ndarray:
    return conventions.reorder_hands(joints, source="interhand", target=order)


def mirrored_left(joints: np.ndarray) -> np.ndarray:
    changed = joints.copy()
    changed[:, LEFT] = conventions.mirror_cells(joints[:, LEFT])
    return changed


def scaled_crop(joints: np.ndarray, scale: float) -> np.ndarray:
    """Joints in a crop of `scale` boxes in place of 1.25."""
    changed = joints.copy()
    changed[..., :2] = (joints[..., :2] - 32) * 1.25 / scale + 32
    return changed


# What the joints become, and what the doctor says.
JOINT_MISTAKES = {
    "mirrored left": (mirrored_left, "the left hand is mirrored"),
    "swapped hands": (conventions.swap_hands, "right and left hand are exchanged"),
    "MANO order": (lambda j: to_order(j, "mano"), "in MANO's order"),
    "OpenPose order": (lambda j: to_order(j, "openpose"), "in OpenPose's"),
    "mm for cells": (lambda j: with_depths(j, depths_mm(j)), "depths are in millim"),
    "metres": (lambda j: with_depths(j, depths_mm(j) / 1000), "depths are in metres"),
    "small crop": (lambda j: scaled_crop(j, 1.0), "of a crop 0.8"),
    "large crop": (lambda j: scaled_crop(j, 1.8), "of a crop 1.4"),
    "pixels": (lambda j: j * [4, 4, 1], "pixels of the 256 px crop"),
    "shares": (lambda j: j / 64, "shares of the crop"),
    "y upward": (lambda j: j * [1, -1, 1] + [0, 64, 0], "y runs upward"),
    "order and unit": (
        lambda j: to_order(with_depths(j, depths_mm(j)), "mano"),
        "MANO's order, and depths are in millimetres",
    ),
}


@pytest.mark.parametrize("case", JOINT_MISTAKES)
def test_mistakes_of_joints_are_named(case, frames, good):
    change, words = JOINT_MISTAKES[case]
    spoilt = good._replace(joints_25d=with_type(change(good.joints_25d)))
    [mistake] = diagnose_predictions(frames, spoilt)
    assert words in mistake.what
    assert mistake.metric == "MPJPE"
    assert mistake.after < 25 < mistake.before
    assert mistake.remedy in mistake.sentence()


@pytest.mark.parametrize("unit", [1, 1000])
def test_absolute_depths_are_named(unit, frames, good):
    wrists_mm = frames["joints_cam_mm"][:, WRISTS, 2][:, JOINT_SIDE]
    absolute = (depths_mm(good.joints_25d) + wrists_mm) / unit
    joints = with_type(with_depths(good.joints_25d, absolute))
    [mistake] = diagnose_predictions(frames, good._replace(joints_25d=joints))
    assert "depths are absolute" in mistake.what


@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize("relative", [False, True])
def test_joints_in_space_are_named(unit, relative, frames):
    joints_mm = torch.tensor(frames["joints_cam_mm"])
    words = "of the camera frame"
    if relative:
        joints_mm = geometry.root_relative(joints_mm)
        words = "relative to the wrist"
    joints = with_type(joints_mm.numpy() / unit)
    spoilt = perfect_predictions(frames)._replace(joints_25d=joints)
    [mistake] = diagnose_predictions(frames, spoilt)
    assert words in mistake.what
    assert mistake.after < 1


def test_converter_makes_predictions(frames):
    joints = cells_from_camera(frames, frames["joints_cam_mm"])
    valid = frames["joint_valid"]
    expected = perfect_predictions(frames).joints_25d
    np.testing.assert_allclose(joints[valid], expected[valid], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r, right: 64 - r, "right minus left"),
        (lambda r, right: (r / 64 * 2 - 1) * 200, "in millimetres"),
        (lambda r, right: (r / 64 * 2 - 1) * 200 + right, "absolute depth"),
    ],
)
def test_mistakes_of_relative_root_depth_are_named(change, words, frames, good):
    right_mm = np.nan_to_num(frames["joints_cam_mm"][:, WRISTS[0], 2])
    depth = with_type(change(good.relative_root_depth, right_mm))
    [mistake] = diagnose_predictions(frames, good._replace(relative_root_depth=depth))
    assert words in mistake.what
    assert mistake.metric == "MRRPE"


def test_left_hand_first_is_named(frames, good):
    flipped = good._replace(hand_type=good.hand_type[:, ::-1].copy())
    [mistake] = diagnose_predictions(frames, flipped)
    assert "left hand first" in mistake.what
    assert (mistake.before, mistake.after) == (0, 1)


def test_row_numbers_for_image_ids_are_named(frames, good):
    numbered = good._replace(image_id=np.arange(len(frames)) + 10**7)
    with pytest.raises(ValueError, match="at least 5"):
        diagnose_predictions(frames, numbered)
    annotated = good._replace(image_id=np.array(frames["annot_id"]) + 0)
    if not np.isin(annotated.image_id, frames.split_image_ids).all():
        [mistake] = diagnose_predictions(frames, annotated)
        assert "annotation ids" in mistake.what


def poor_files(frames, good):
    """Files without a mistake, from very good to worthless."""
    rng = np.random.default_rng(0)
    joints = good.joints_25d
    n = len(frames)
    yield from (noisy(good, cells, seed=i) for i, cells in enumerate((0, 1, 3, 6, 10)))
    yield noisy(good, 20)
    yield mean_pose_predictions(frames, frames)
    for changed in (
        np.full_like(joints, 32),
        rng.uniform(0, 64, joints.shape),
        with_depths(joints, np.full(joints.shape[:2], 32)),
        with_depths(joints, joints[..., 2] + rng.normal(0, 15, joints.shape[:2])),
        joints + rng.normal(0, 6, (n, 1, 3)),
        joints + rng.normal(0, 4, (n, 1, 3)) + rng.normal(0, 4, joints.shape),
        np.where(rng.random((n, 42, 1)) < 0.2, rng.uniform(0, 64, (n, 42, 3)), joints),
        np.where(rng.random((n, 1, 1)) < 0.35, conventions.swap_hands(joints), joints),
        np.where(rng.random((n, 1, 1)) < 0.2, mirrored_left(joints), joints),
    ):
        yield good._replace(joints_25d=with_type(changed))
    yield good._replace(hand_type=rng.random(good.hand_type.shape))
    yield good._replace(relative_root_depth=np.full(n, 32.0))


def test_silent_on_poor_predictions(frames, good):
    for number, predictions in enumerate(poor_files(frames, good)):
        assert diagnose_predictions(frames, predictions) == [], number


@pytest.mark.parametrize("name", ["shipped", "untrained", "hardly trained"])
def test_silent_on_networks(name, frames, tiny_run):
    networks = {
        "shipped": lambda: load_network(),
        "untrained": lambda: build_network("quick", pretrained=False).eval(),
        "hardly trained": lambda: load_network(tiny_run / "checkpoints/best.ckpt"),
    }
    torch.manual_seed(4)
    network = networks[name]()
    found = predict_dataset(network, InterHandDataset(frames, network.image_size))
    assert diagnose_predictions(frames, found) == []


def test_a_constant_guess_is_no_exchange_of_sides(frames, good):
    """Of right hands alone, an undecided network that leans to the left gets all wrong."""
    right = np.flatnonzero(frames["hand_type"] == 0)
    undecided = np.tile([0.48, 0.53], (len(good.hand_type), 1))
    guess = good._replace(hand_type=undecided).take(right)
    assert diagnose_predictions(frames.take(right), guess) == []


def test_command_names_mistakes_and_splits(tiny_root, frames, good, tmp_path, capsys):
    path = tmp_path / "mine.npz"
    good.save(path)
    words = ["doctor", "--root", str(tiny_root), "--predictions", str(path)]
    assert main(words) == 0
    assert "none of the usual mistakes" in capsys.readouterr().out
    good._replace(joints_25d=conventions.swap_hands(good.joints_25d)).save(path)
    assert main([*words, "--json", "-"]) == 1
    [row] = json.loads(capsys.readouterr().out)
    assert row["finding"] == "right and left hand are exchanged"
    assert row["area"] == "predictions" and row["before"] > row["after"]
    assert main(["doctor", "--predictions", str(path)]) == 2
    assert "--root: give the data set of the predictions" in capsys.readouterr().err
    assert examine_predictions(tiny_root, path, split="train")[0].metric == "MPJPE"

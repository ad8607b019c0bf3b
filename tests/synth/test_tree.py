"""A synthetic tree: what it says agrees with what its pictures show."""

import cv2
import numpy as np
import pytest
import torch

from digit.hands.model import load_hand
from digit.hands.part_masks import fit_vertices_mm, load_hands, render_masks
from digit.skeleton import HAND_TYPE_FLAGS, JOINTS_PER_HAND, SIDES, WRISTS
from digit.synth.anatomy import LIMITS, joint_angles
from digit.synth.families import families, shapes

SPLITS = ("train", "val", "test")
MODELS = [load_hand("right"), load_hand("left")]
INTERACTING = 2
# Columns of the right and of the left hand's joints.
OWN_JOINTS = [slice(0, JOINTS_PER_HAND), slice(JOINTS_PER_HAND, None)]


def fits_of(index):
    """Pose, shape and translation of both hands, as tensors."""
    columns = [index[f"mano_{name}"] for name in ("pose", "shape", "trans")]
    return [torch.from_numpy(np.array(column, np.float32)) for column in columns]


def test_splits_have_their_frames_and_subjects(small_tree):
    assert small_tree.counts == {"train": 20, "val": 2, "test": 2}
    subjects = []
    for split, index in small_tree.indices.items():
        assert len(index) == small_tree.counts[split]
        subjects.extend(np.unique(index["subject"]))
    assert len(set(subjects)) == len(subjects)


def test_tree_names_the_generic_hand_and_leaves_no_parts(small_tree):
    note = small_tree.dataset_dir / "annotations/hand_model.txt"
    assert note.read_text().strip() == "generic"
    assert not (small_tree.dataset_dir / "parts").exists()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("side", [0, 1])
def test_hands_have_all_joints_and_a_fit_or_neither(small_tree, split, side):
    index = small_tree.indices[split]
    valid = index["joint_valid"][:, OWN_JOINTS[side]]
    is_there = valid.all(1)
    assert np.array_equal(is_there, valid.any(1))

    _, _, trans = fits_of(index)
    has_fit = np.isfinite(trans[:, side, 0].numpy())
    assert np.array_equal(is_there, has_fit)

    # As InterHand2.6M has it: all coordinates of absent joints are 1.
    joints_mm = index["joints_world_mm"][:, OWN_JOINTS[side]]
    assert (joints_mm[~is_there] == 1).all()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("side", [0, 1])
def test_joints_are_those_of_the_fits(small_tree, split, side):
    index = small_tree.indices[split]
    pose, shape, trans = [fit[:, side] for fit in fits_of(index)]
    is_there = torch.isfinite(trans[:, 0])
    model = MODELS[side]
    vertices_mm = model.skin(pose, shape, trans) * 1000
    of_fit = model.joints(vertices_mm).numpy()
    annotated = index["joints_world_mm"][:, OWN_JOINTS[side]]
    error_mm = np.abs(of_fit - annotated)
    assert (error_mm[is_there] < 0.01).all()


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_are_wider_than_the_joints_by_a_fifth(small_tree, split):
    index = small_tree.indices[split]
    for i in range(len(index)):
        px = index["joints_px"][i]
        px = px[index["joint_valid"][i]]
        low = px.min(0)
        high = px.max(0)
        x, y, width, height = index["bbox_xywh"][i]
        assert np.allclose([width, height], 1.2 * (high - low), atol=0.1)
        middle = [x + width / 2, y + height / 2]
        assert np.allclose(middle, (low + high) / 2, atol=0.1)


@pytest.mark.parametrize("split", SPLITS)
def test_hand_types_say_which_wrists_are_there(small_tree, split):
    index = small_tree.indices[split]
    flags = np.array(HAND_TYPE_FLAGS)[index["hand_type"]]
    assert np.array_equal(flags > 0, index["joint_valid"][:, list(WRISTS)])


def test_rootnet_is_near_the_truth(small_tree):
    index = small_tree.indices["train"]
    crop_side = 1.25 * index["bbox_xywh"][:, 2:].max(1, keepdims=True)
    assert np.allclose(index["rootnet_bbox_xywh"][:, 2:] / crop_side, 1, atol=0.05)
    wrists = list(WRISTS)
    depth_mm = index["joints_cam_mm"][:, wrists, 2]
    error_mm = index["rootnet_depth_mm"] - depth_mm
    error_mm = error_mm[index["joint_valid"][:, wrists]]
    assert 3 < error_mm.std() < 80
    assert np.abs(error_mm).max() < 200


def test_pictures_show_the_masks(small_tree):
    """Where the mask of the fits shows a hand, the picture does, or an arm or cloth."""
    hands = load_hands(small_tree.dataset_dir)
    owners = iter(small_tree.owners)
    for index in small_tree.indices.values():
        for i, (mask, errors_mm, _) in enumerate(render_masks(hands, index)):
            # 1. Sizes and fits.
            frame = index.frame(i)
            path = small_tree.dataset_dir / "images" / frame.key
            picture = cv2.imread(str(path))
            assert picture.shape[:2] == mask.shape
            assert mask.shape == (frame.height, frame.width)
            assert np.nanmax(errors_mm) < 0.01

            # 2. Labels 1–16 are the right hand's, 17–32 the left hand's.
            shown = next(owners)
            label = mask.astype(int)
            side_in_mask = np.where(label == 0, -1, (label - 1) // 16)
            is_hand = np.isin(shown, [0, 1])
            agrees = side_in_mask[is_hand] == shown[is_hand]
            assert agrees.mean() > 0.999

            # 3. Hidden parts of hands lie behind other things, not behind nothing.
            is_hidden = (side_in_mask >= 0) & ~is_hand
            behind_nothing = is_hidden & (shown != 2)
            allowed = 0.001 * max(is_hidden.sum(), 1)
            assert behind_nothing.sum() <= allowed


def test_hands_stand_out_from_what_is_around_them(small_tree):
    """In the JPEGs themselves, not only in the arrays of the renderer."""
    contrast = []
    owners = iter(small_tree.owners)
    for index in small_tree.indices.values():
        for i in range(len(index)):
            path = small_tree.dataset_dir / "images" / index.frame(i).key
            picture = cv2.imread(str(path)).astype(float)
            inside, around = inside_and_around(next(owners))
            if min(inside.sum(), around.sum()) > 200:
                of_hand = picture[inside].mean(0)
                of_rest = picture[around].mean(0)
                contrast.append(np.linalg.norm(of_hand - of_rest))
    assert len(contrast) > 10
    assert np.median(contrast) > 15


def inside_and_around(owner):
    """Pixels well inside the hands, and those a little outside of them."""
    hand = np.isin(owner, [0, 1]).astype(np.uint8)
    inside = cv2.erode(hand, np.ones((7, 7)))
    wide = cv2.dilate(hand, np.ones((15, 15)))
    near = cv2.dilate(hand, np.ones((5, 5)))
    return inside > 0, (wide > 0) & (near == 0)


@pytest.mark.parametrize("split", SPLITS)
def test_joints_out_of_the_frame_are_marked(small_tree, split):
    index = small_tree.indices[split]
    hidden = np.stack(index["joint_hidden"])
    valid = index["joint_valid"]
    px = index["joints_px"].round()
    size = np.stack([index["width"], index["height"]], 1)[:, None]
    inside = ((px >= 0) & (px < size)).all(-1)
    assert (hidden[valid & ~inside] == 3).all()
    assert (hidden[valid & inside] < 3).all()
    assert (hidden[~valid] == 0).all()


@pytest.mark.parametrize("split", SPLITS)
def test_shares_of_hidden_skin_are_shares(small_tree, split):
    index = small_tree.indices[split]
    for side, name in enumerate(SIDES):
        is_there = index["joint_valid"][:, WRISTS[side]]
        total = np.zeros(len(index))
        for what in ("other", "itself", "frame"):
            share = index[f"{name}_hidden_by_{what}"]
            assert np.array_equal(np.isfinite(share), is_there)
            assert (share[is_there] >= 0).all()
            total = total + share
        assert (total[is_there] <= 1 + 1e-6).all()


@pytest.mark.parametrize("split", SPLITS)
def test_pairs_have_a_distance_and_do_not_pass_through(small_tree, split):
    index = small_tree.indices[split]
    is_pair = index["hand_type"] == INTERACTING
    assert np.array_equal(np.isfinite(index["hands_distance_mm"]), is_pair)
    assert (index["penetration_mm"][is_pair] < 5).all()


def test_family_names_are_known(small_tree):
    for index in small_tree.indices.values():
        for name in np.unique(index["family"]):
            side, _, shape = name.partition(":")
            if shape:
                assert side in SIDES
                assert shape in shapes()
            else:
                assert name in families()


@pytest.mark.parametrize("side", [0, 1])
def test_fits_keep_the_joint_limits(small_tree, side):
    poses = small_tree.indices["train"]["mano_pose"][:, side]
    poses = poses[np.isfinite(poses).all(1)]
    angles = joint_angles(poses, side)
    assert (angles >= LIMITS[..., 0] - 1e-3).all()
    assert (angles <= LIMITS[..., 1] + 1e-3).all()


def test_penetration_agrees_with_ray_casting(small_tree):
    trimesh = pytest.importorskip("trimesh")
    index = small_tree.indices["train"]
    pairs = np.flatnonzero(index["hand_type"] == INTERACTING)[::3]
    assert len(pairs) > 0
    index = index.take(pairs)
    hands = load_hands(small_tree.dataset_dir)
    vertices = fit_vertices_mm(hands, *fits_of(index)).numpy()
    for pair, written_mm in zip(vertices, index["penetration_mm"], strict=True):
        deepest_mm = 0.0
        for side in (0, 1):
            other = pair[1 - side]
            mesh = trimesh.Trimesh(pair[side], hands[side].faces, process=False)
            inside = other[mesh.contains(other)]
            if len(inside):
                distance = np.linalg.norm(inside[:, None] - pair[side], axis=-1)
                deepest_mm = max(deepest_mm, distance.min(1).max())
        assert deepest_mm < 5
        assert written_mm == pytest.approx(deepest_mm, abs=3)

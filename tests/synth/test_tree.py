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
def test_joints_are_those_of_the_fits(small_tree, split, side):
    index = small_tree.indices[split]
    pose, shape, trans = [fit[:, side] for fit in fits_of(index)]
    own = slice(side * JOINTS_PER_HAND, (side + 1) * JOINTS_PER_HAND)
    valid = index["joint_valid"][:, own]
    joints = index["joints_world_mm"][:, own]

    # A hand has all of its joints and a fit, or neither.
    is_there = valid.all(1)
    assert np.array_equal(is_there, valid.any(1))
    assert np.array_equal(is_there, np.isfinite(trans[:, 0].numpy()))
    assert (joints[~is_there] == 1).all()

    model = MODELS[side]
    vertices = model.skin(pose, shape, trans) * 1000
    error_mm = np.abs(model.joints(vertices).numpy() - joints)
    assert (error_mm[is_there] < 0.01).all()


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_are_wider_than_the_joints_by_a_fifth(small_tree, split):
    index = small_tree.indices[split]
    boxes = index["bbox_xywh"]
    for px, valid, box in zip(
        index["joints_px"], index["joint_valid"], boxes, strict=True
    ):
        low = px[valid].min(0)
        high = px[valid].max(0)
        assert np.allclose(box[2:], 1.2 * (high - low), atol=0.1)
        assert np.allclose(box[:2] + box[2:] / 2, (low + high) / 2, atol=0.1)


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
            frame = index.frame(i)
            picture = cv2.imread(str(small_tree.dataset_dir / "images" / frame.key))
            assert picture.shape[:2] == mask.shape == (frame.height, frame.width)

            shown = next(owners)
            side_in_mask = np.where(mask == 0, -1, (mask.astype(int) - 1) // 16)
            is_hand = np.isin(shown, [0, 1])
            assert (side_in_mask[is_hand] == shown[is_hand]).mean() > 0.999
            is_covered = (side_in_mask >= 0) & ~is_hand
            # The share is that of all covered pixels; there may be none.
            uncovered = is_covered & (shown != 2)
            assert uncovered.sum() <= 0.001 * max(is_covered.sum(), 1)
            assert np.nanmax(errors_mm) < 0.01


def test_hands_stand_out_from_what_is_around_them(small_tree):
    """In the JPEGs themselves, not only in the arrays of the renderer."""
    contrast = []
    owners = iter(small_tree.owners)
    for index in small_tree.indices.values():
        for i in range(len(index)):
            key = index.frame(i).key
            picture = cv2.imread(str(small_tree.dataset_dir / "images" / key))
            hand = np.isin(next(owners), [0, 1]).astype(np.uint8)
            inside = cv2.erode(hand, np.ones((7, 7))) > 0
            wide = cv2.dilate(hand, np.ones((15, 15))) > 0
            near = cv2.dilate(hand, np.ones((5, 5))) > 0
            around = wide & ~near
            if min(inside.sum(), around.sum()) > 200:
                of_hand = picture[inside].astype(float).mean(0)
                of_rest = picture[around].astype(float).mean(0)
                contrast.append(np.linalg.norm(of_hand - of_rest))
    assert len(contrast) > 10
    assert np.median(contrast) > 15


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

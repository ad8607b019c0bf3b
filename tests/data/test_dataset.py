"""Batches against the original's numbers, against a slower path, and against their own
laws."""

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import FLIPPED, HEIGHT, STILL, WIDTH, make_tree, png, write_lmdb

from digit import geometry
from digit.data.build_index import prepare_index
from digit.data.dataset import (
    Augmentation,
    InterHandDataset,
    crop_boxes,
    evaluation_targets,
    loader,
)
from digit.skeleton import SWAP_JOINTS, SWAP_LABELS


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_tree(tmp_path_factory.mktemp("dataset") / "tree")


@pytest.fixture(scope="module")
def index(root):
    return prepare_index(root, "val")


@pytest.fixture(scope="module")
def original(reference, tmp_path_factory):
    """The reference tree with the pictures its README describes."""
    root = tmp_path_factory.mktemp("reference") / "tree"
    shutil.copytree(reference / "protocol_seed11", root)
    index = prepare_index(root, "val")
    y, x = np.mgrid[:512, :334]
    picture = np.stack([3 * x + y, x + 2 * y, x * y // 97], -1).astype(
        np.uint8
    )  # modulo 256
    png = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    keys = index.keys()
    for key in keys:
        (root / "images" / key).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / key).write_bytes(png)
    return index


@pytest.mark.parametrize("depth, bbox", [("gt", "truth"), ("rootnet", "rootnet")])
def test_samples_are_the_originals(original, reference, depth, bbox):
    expected = np.load(reference / f"protocol_seed11/expected_{depth}.npz")
    ids = original["image_id"].tolist()
    rows = [ids.index(i) for i in expected["image_id"]]
    targets = evaluation_targets(original.take(rows), bbox)
    batch = InterHandDataset(original, bbox=bbox).batch(rows)
    np.testing.assert_allclose(targets.bbox_xywh, expected["bbox"], atol=1e-4)
    np.testing.assert_allclose(batch.crop_to_image, expected["inv_trans"], atol=1e-4)
    np.testing.assert_array_equal(batch.hand_type, expected["hand_type"])
    for ours in (targets, batch):
        np.testing.assert_allclose(ours.joints_25d, expected["joint_coord"], atol=1e-3)
        np.testing.assert_array_equal(ours.joint_valid, expected["joint_valid"])
        np.testing.assert_array_equal(ours.root_valid, expected["root_valid"][:, 0])
        np.testing.assert_allclose(
            ours.relative_root_depth, expected["rel_root_depth"][:, 0], atol=1e-3
        )
    seen = batch.image.permute(0, 2, 3, 1)[:, ::32, ::32].numpy().astype(float)
    assert np.abs(seen - expected["img_checksum"]).max() <= 1


@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize("augmentation", [None, Augmentation(flip=0.0)])
def test_masks_are_every_second_pixel_of_the_warped_mask(index, size, augmentation):
    dataset = InterHandDataset(index, size, augmentation, seed=3)
    batch = dataset.batch(range(len(index)))
    assert batch.parts_valid.all()
    for i, key in enumerate(index.keys()):
        mask = cv2.imdecode(
            np.frombuffer(dataset._masks.read(key.replace(".jpg", ".png")), np.uint8),
            -1,
        )
        affine = geometry.invert_affine(batch.crop_to_image[i]).numpy()
        whole = cv2.warpAffine(mask, affine, (size, size), flags=cv2.INTER_NEAREST)
        assert (
            batch.parts[i].numpy() != whole[::2, ::2]
        ).mean() < 2e-3  # the affine, twice inverted


def test_mask_of_the_evaluation_crop_is_identical(index):
    batch = InterHandDataset(index).batch([0])
    affine = evaluation_targets(index.take([0])).image_to_crop[0].numpy()
    mask = cv2.imdecode(
        np.frombuffer(
            InterHandDataset(index)._masks.read(
                index.keys()[0].replace(".jpg", ".png")
            ),
            np.uint8,
        ),
        -1,
    )
    whole = cv2.warpAffine(mask, affine, (256, 256), flags=cv2.INTER_NEAREST)
    small = torch.nn.functional.interpolate(
        torch.tensor(whole)[None, None].float(), 128
    )
    np.testing.assert_array_equal(batch.parts[0], small[0, 0])


def test_a_flipped_sample_is_the_sample_of_the_flipped_picture(index):
    plain = InterHandDataset(index).batch(range(6))
    flipped = InterHandDataset(index, augmentation=FLIPPED).batch(range(6))
    swapped = plain.joints_25d[:, SWAP_JOINTS]
    swapped[..., 0] = 64 - swapped[..., 0]
    torch.testing.assert_close(flipped.joints_25d, swapped, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(
        flipped.joint_valid, plain.joint_valid[:, SWAP_JOINTS]
    )
    np.testing.assert_array_equal(flipped.hand_type, plain.hand_type.flip(-1))
    both = plain.hand_type.all(-1)
    torch.testing.assert_close(
        flipped.relative_root_depth[both], 64 - plain.relative_root_depth[both]
    )
    targets, dataset = evaluation_targets(index), InterHandDataset(index)
    for i, key in enumerate(index.keys()):
        picture = cv2.imread(str(index.dataset_dir / "images" / key))[:, ::-1, ::-1]
        mask = dataset._masks.read(key.replace(".jpg", ".png"))
        mask = SWAP_LABELS[cv2.imdecode(np.frombuffer(mask, np.uint8), -1)[:, ::-1]]
        x, y, w, h = targets.bbox_xywh[i].tolist()
        box = torch.tensor([WIDTH - 1 - x - w, y, w, h], dtype=torch.float64)
        affine = geometry.crop_affine(box, 256).numpy()
        expected = cv2.warpAffine(np.ascontiguousarray(picture), affine, (256, 256))
        got = flipped.image[i].permute(1, 2, 0).numpy()
        assert np.abs(got.astype(int) - expected).max() <= 2
        expected = cv2.warpAffine(mask, affine, (256, 256), flags=cv2.INTER_NEAREST)[
            ::2, ::2
        ]
        assert (flipped.parts[i].numpy() != expected).mean() < 2e-3


def test_flipping_twice_gives_the_input_back(index):
    batch = InterHandDataset(index, augmentation=FLIPPED).batch([0])
    plain = InterHandDataset(index).batch([0])
    again = batch.joints_25d[:, SWAP_JOINTS]
    again[..., 0] = 64 - again[..., 0]
    torch.testing.assert_close(again, plain.joints_25d, atol=1e-4, rtol=0)
    inner = torch.tensor(SWAP_LABELS)[batch.parts.int()].flip(-1)[
        ..., :-1
    ]  # 64 − x: one column on
    assert (inner != plain.parts[..., 1:]).float().mean() < 2e-3


def test_targets_lie_where_the_crop_shows_them(index):
    batch = InterHandDataset(index, augmentation=Augmentation(), seed=1).batch(range(6))
    in_image = geometry.apply_affine(
        batch.crop_to_image, batch.joints_25d[..., :2].double() / 64 * 256
    )
    joints_px = torch.tensor(index["joints_px"]).double()
    mirrored = torch.linalg.det(batch.crop_to_image[:, :, :2]) < 0
    assert mirrored.any() and not mirrored.all()
    expected = torch.where(
        mirrored[:, None, None], joints_px[:, SWAP_JOINTS], joints_px
    )
    torch.testing.assert_close(in_image, expected, atol=1e-3, rtol=0)


def test_augmentation_depends_on_seed_epoch_and_index_only(index):
    dataset = InterHandDataset(index, 64, Augmentation(), seed=4)
    boxes = index["bbox_xywh"].copy()
    first = dataset.batch([0, 1, 2])
    for _ in range(3):  # the original moved the stored box: its jitter added up
        dataset.batch([2, 0])
    again = dataset.batch([2, 0])
    np.testing.assert_array_equal(again.image, first.image[[2, 0]])
    np.testing.assert_array_equal(again.crop_to_image, first.crop_to_image[[2, 0]])
    np.testing.assert_array_equal(index["bbox_xywh"], boxes)
    other = dataset.batch([6, 7, 8])  # epoch 1 of the same frames
    assert other.row.tolist() == [0, 1, 2]
    assert (other.crop_to_image != first.crop_to_image).flatten(1).any(1).all()
    seeded = InterHandDataset(index, 64, Augmentation(), seed=5).batch([0, 1, 2])
    assert (seeded.crop_to_image != first.crop_to_image).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 1000))
def test_augmentation_stays_within_its_ranges(seed, epoch):
    drawn = Augmentation().draw([(seed, epoch, i) for i in range(50)])
    shift, scale, rotation, mirrored, colour = drawn
    assert shift.abs().max() <= 0.15 and shift.shape == (50, 2)
    assert scale.min() >= 0.75 and scale.max() <= 1.25
    assert rotation.abs().max() <= np.deg2rad(90) + 1e-9
    assert 0 < (rotation == 0).float().mean() < 1 and 0 < mirrored.float().mean() < 1
    assert colour.min() >= 0.8 and colour.max() <= 1.2 and colour.shape == (50, 3)
    still = STILL.draw([(seed, epoch, 0)])
    assert [v.tolist() for v in still] == [[[0, 0]], [1], [0], [False], [[1, 1, 1]]]


def test_augmentation_draws_are_spread_as_the_paper_says():
    shift, scale, rotation, mirrored, colour = Augmentation().draw(
        [(0, 0, i) for i in range(4000)]
    )
    assert abs((rotation != 0).double().mean() - 0.6) < 0.03
    assert abs(mirrored.double().mean() - 0.5) < 0.03
    assert (
        abs(shift.std() - 0.15 / 3**0.5) < 0.004
        and abs(colour.std() - 0.2 / 3**0.5) < 0.005
    )
    assert abs((scale.sub(1).abs() > 0.2499).double().mean() - 0.3173) < 0.03
    turned = rotation[rotation != 0].rad2deg()
    assert abs((turned.abs() < 45).double().mean() - 0.6827) < 0.03


def test_what_does_not_count_as_valid(tmp_path):
    rng = np.random.default_rng(0)
    joints = rng.normal(0, 30, (4, 42, 3)) + [0, 0, 900]
    valid = np.ones((4, 42), bool)
    joints[0, 3] = [5000, 0, 900]  # outside the crop
    joints[0, 4, 2] = joints[0, 20, 2] + 201  # beyond the depth range
    joints[0, 5, 2] = joints[0, 20, 2] - 200  # 0 cells: still in
    valid[1, 20] = False  # no wrist, no hand
    joints[2, 25], valid[2, 25] = np.nan, False
    joints[3, 41, 2] = joints[3, 20, 2] + 230  # wrists too far apart
    joints[3, 21:41, 2] = joints[3, 41, 2]
    boxes = np.tile([0.0, 90.0, 334.0, 334.0], (4, 1))
    both = np.full(4, 2)
    root = make_tree(
        tmp_path / "tree",
        4,
        pictures=False,
        joints_world_mm=joints,
        joint_valid=valid,
        bbox_xywh=boxes,
        hand_type=both,
    )
    targets = evaluation_targets(prepare_index(root, "val"))
    expected = np.ones((4, 42))
    expected[0, 3] = expected[0, 4] = expected[1, :21] = expected[2, 25] = 0
    np.testing.assert_array_equal(targets.joint_valid, expected)
    np.testing.assert_array_equal(targets.root_valid, [1, 0, 1, 0])
    assert (
        targets.joints_25d.isfinite().all()
        and targets.relative_root_depth.isfinite().all()
    )


def test_a_joint_behind_the_camera_does_not_count(tmp_path):
    joints = np.random.default_rng(0).normal(0, 30, (1, 42, 3)) + [0, 0, 100]
    joints[0, 7] = [0, 0, -50]
    root = make_tree(
        tmp_path / "tree",
        1,
        pictures=False,
        joints_world_mm=joints,
        bbox_xywh=np.array([[0.0, 90.0, 334.0, 334.0]]),
    )
    targets = evaluation_targets(prepare_index(root, "val"))
    assert targets.joint_valid[0, 7] == 0


def test_batches_are_ready_for_the_network(index):
    batch = InterHandDataset(index, 128)[4]
    assert batch.image.shape == (1, 3, 128, 128) and batch.image.dtype == torch.uint8
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    images = batch.images()
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.min() >= 0 and 0.5 < images.max() <= 1 and batch.row.tolist() == [4]
    assert batch.parts.shape == (1, 64, 64)


def test_a_script_ends_though_a_loader_is_still_open(tiny_root):
    """Workers that ignored SIGTERM for good would keep the interpreter from leaving."""
    lines = (
        "from digit.data.dataset import InterHandDataset, loader",
        "from digit.data.build_index import prepare_index",
        f"index = prepare_index({str(tiny_root)!r}, 'train')",
        "kept = iter(loader(InterHandDataset(index, 64), 4, 1))",
        "next(kept)",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=60)


def test_loader_workers_give_the_same_batches(index):
    dataset = InterHandDataset(index, 64, Augmentation(), seed=2)
    alone = list(loader(dataset, 4, sampler=range(12)))
    helped = list(loader(dataset, 4, workers=2, sampler=range(12)))
    assert [batch.row.tolist() for batch in alone] == [
        [0, 1, 2, 3],
        [4, 5, 0, 1],
        [2, 3, 4, 5],
    ]
    for one, other in zip(alone, helped, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_unusable_pictures_and_boxes_are_named(tmp_path):
    root = make_tree(tmp_path / "tree", 3)
    index = prepare_index(root, "val")
    bad = root / "images" / index.keys()[1]
    bad.write_bytes(bad.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"image1\.jpg"):
        InterHandDataset(index).batch([0, 1])
    cv2.imwrite(str(bad), np.zeros((100, 90, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"image1.jpg: its size is 90 × 100, not 334 × 512"
    ):
        InterHandDataset(index).batch([1])
    with pytest.raises(ValueError, match=r"3 of 3 frames .*no box in rootnet_output"):
        crop_boxes(index, "rootnet")


def test_an_empty_box_has_no_targets_and_no_sample(tmp_path):
    boxes = np.array([[0.0, 0, 300, 300], [0, 0, -5, 10], [0, 0, 300, 300]])
    index = prepare_index(make_tree(tmp_path / "tree", 3, bbox_xywh=boxes), "val")
    targets = evaluation_targets(index)
    assert targets.joint_valid.any(1).tolist() == [True, False, True]
    assert targets.joints_25d.isfinite().all()
    with pytest.raises(ValueError, match=r"usable\(\)"):
        InterHandDataset(index, 64).batch([0, 1])
    assert len(InterHandDataset(index.usable(), 64).batch([0, 1]).row) == 2


@pytest.mark.parametrize("corner", [(-90, -70), (200, 400), (-150, 100)])
def test_a_crop_beyond_the_edge_is_black_there(tmp_path, corner):
    box = np.array([[*corner, 240.0, 240.0]])
    index = prepare_index(make_tree(tmp_path / "tree", 1, bbox_xywh=box), "val")
    batch = InterHandDataset(index, 256).batch([0])
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    points = torch.stack([x, y], -1).reshape(1, -1, 2).double()
    at = geometry.apply_affine(batch.crop_to_image, points)[0]
    beyond = (at < -1).any(1) | (at > torch.tensor([WIDTH, HEIGHT])).any(1)
    seen = batch.image[0].permute(1, 2, 0).reshape(-1, 3)
    assert (
        0 < beyond.double().mean() < 1
        and not seen[beyond].any()
        and seen[~beyond].any()
    )
    assert not batch.parts[0].flatten()[beyond.view(256, 256)[::2, ::2].flatten()].any()
    inside = ((batch.joints_25d >= 0) & (batch.joints_25d < 64)).all(-1)
    assert not (batch.joint_valid.bool() & ~inside).any()


def test_frames_without_masks_say_so(tmp_path):
    root = make_tree(tmp_path / "tree", 2)
    shutil.rmtree(root / "segm_32.lmdb")
    batch = InterHandDataset(prepare_index(root, "val"), 64).batch([0, 1])
    assert not batch.parts_valid.any() and not batch.parts.any()


BAD_MASKS = {
    "a value above 32": png(np.full((HEIGHT, WIDTH), 33, np.uint8)),
    "another size": png(np.ones((9, 9), np.uint8)),
    "no image": b"text",
    "no bytes": b"",
    "cut": png(np.ones((HEIGHT, WIDTH), np.uint8))[:-30],
    "missing": None,
}


@pytest.mark.parametrize("fault", BAD_MASKS)
def test_an_unusable_mask_is_left_out_and_named(tmp_path, fault, caplog):
    dataset_dir = make_tree(tmp_path / "tree", 3)
    index = prepare_index(dataset_dir, "val")
    keys = index.keys()
    names = [key.replace(".jpg", ".png") for key in keys]
    masks = {name: png(np.ones((HEIGHT, WIDTH), np.uint8)) for name in names}
    masks[names[1]] = BAD_MASKS[fault]
    shutil.rmtree(dataset_dir / "segm_32.lmdb")
    there = {name: data for name, data in masks.items() if data is not None}
    write_lmdb(dataset_dir / "segm_32.lmdb", there)
    batch = InterHandDataset(index, 64).batch([0, 1, 2])
    assert batch.parts_valid.tolist() == [1, 0, 1]
    assert not batch.parts[1].any()
    assert f"part mask left out: {names[1]}" in caplog.text


def test_many_unusable_masks_are_not_many_lines(tmp_path, caplog):
    dataset_dir = make_tree(tmp_path / "tree", 6)
    index = prepare_index(dataset_dir, "val")
    shutil.rmtree(dataset_dir / "segm_32.lmdb")
    write_lmdb(dataset_dir / "segm_32.lmdb", {})
    batch = InterHandDataset(index, 64).batch(range(6))
    assert not batch.parts_valid.any()
    assert len(caplog.records) == 3
    assert "no more such lines" in caplog.text

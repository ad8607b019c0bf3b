"""Hands cut out of pictures, against true masks; composites, against the hands they
show."""

import copy

import cv2
import numpy as np
import pytest
import torch

from digit.data import composites, cut_outs
from digit.data.augmentation import Augmentation
from digit.data.build_index import prepare_index
from digit.data.composites import CompositeFrames, lay_over, mirrored, read_picture
from digit.data.dataset import InterHandDataset
from digit.data.store import mask_store, read_mask
from digit.skeleton import SWAP_JOINTS

WIDE = Augmentation(narrowest_crop=1.0, widest_crop=2.2, turned=0.3, appearance=0.8)


@pytest.fixture(scope="module")
def index(tiny_root):
    return prepare_index(tiny_root, "train")


@pytest.fixture(scope="module")
def some(index):
    """Twelve frames of single hands, cut out into `prepared/`."""
    some = index.take(cut_outs.single_hands(index)[:12])
    cut_outs.write_cut_outs(some)
    return some


@pytest.fixture
def photos(some):
    return InterHandDataset(some, 64, WIDE, seed=3, depth_weight=0.25)


def test_cut_outs_agree_with_true_masks(some):
    masks = mask_store(some.dataset_dir)
    rows = cut_outs.rows_with_cut_outs(some).tolist()
    assert len(rows) >= len(some) / 2
    overlaps = []
    for row in rows:
        cut = cut_outs.read_cut_out(some, row) > 128
        true = read_mask(masks, some.keys()[row]) > 0
        overlaps.append((cut & true).sum() / (cut | true).sum())
    assert np.median(overlaps) > 0.6


def test_a_hand_that_colour_cannot_tell_is_not_cut_out():
    flat = np.full((120, 120, 3), 90, np.uint8)
    joints_px = np.random.default_rng(0).uniform(40, 60, (21, 2))
    cut = cut_outs.cut_out(flat, joints_px)
    assert cut is None or cut.shape == flat.shape[:2]


def test_a_small_hand_in_a_large_picture(some, photos, monkeypatch):
    """It is cut out in a small picture, and lies on its hand."""
    row = int(cut_outs.rows_with_cut_outs(some)[0])
    picture = read_picture(photos, row, with_cut_out=False).image
    joints_px = cut_outs.hand_joints_px(some.take([row]))[0]
    scale = 60 / np.ptp(joints_px, axis=0).max()
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    large = np.zeros((3000, 4000, 3), np.uint8)
    large[2000 : 2000 + height, 900 : 900 + width] = small
    sizes = []
    grab_cut = cv2.grabCut

    def measured(image, *arguments):
        sizes.append(max(image.shape))
        return grab_cut(image, *arguments)

    monkeypatch.setattr(cv2, "grabCut", measured)
    joints_px = joints_px * scale + (900, 2000)
    mask = cut_outs.cut_out(large, joints_px)
    assert sizes and max(sizes) <= 4 * cut_outs.HAND_PX
    assert mask.shape == (3000, 4000)
    points = np.rint(joints_px).astype(int)
    assert (mask[points[:, 1], points[:, 0]] > 0).mean() > 0.9
    low, high = points.min(0) - 20, points.max(0) + 20
    assert mask[low[1] : high[1], low[0] : high[0]].sum() == mask.sum()


def test_existing_cut_outs_are_kept(some):
    folder = cut_outs.cut_out_folder(some)
    path = folder / f"{some['image_id'][0]}.png"
    before = path.read_bytes()
    path.write_bytes(b"")
    cut_outs.write_cut_outs(some)
    assert path.read_bytes() == b""
    path.write_bytes(before)


def test_mirroring_twice_gives_the_picture_back(photos, some):
    row = int(cut_outs.rows_with_cut_outs(some)[0])
    picture = read_picture(photos, row, with_cut_out=True)
    again = mirrored(mirrored(picture))
    np.testing.assert_array_equal(again.image, picture.image)
    np.testing.assert_allclose(again.joints_px, picture.joints_px)
    np.testing.assert_array_equal(mirrored(picture).hand_type, picture.hand_type[::-1])
    np.testing.assert_array_equal(
        mirrored(picture).joint_valid, picture.joint_valid[SWAP_JOINTS]
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_composite_shows_the_upper_hand_where_its_joints_are(photos, some, seed):
    """The upper hand's pixels around its palm are those of its picture, but for the
    tone."""
    rng = np.random.default_rng(seed)
    upper = read_picture(photos, int(cut_outs.rows_with_cut_outs(some)[0]), True)
    white = upper._replace(image=np.full_like(upper.image, 255))
    lower = mirrored(upper)
    black = lower._replace(image=np.zeros_like(lower.image), cut_out=None)
    both = lay_over(black, white, rng)
    knuckle = 11 if upper.hand_type[0] else 32
    x, y = np.rint(
        (both.joints_px[knuckle] + both.joints_px[knuckle // 21 * 21 + 20]) / 2
    )
    height, width = both.image.shape[:2]
    if 0 <= x < width and 0 <= y < height:
        assert both.image[int(y), int(x)].min() > 200
    assert both.joint_valid.all()
    assert both.hand_type.tolist() == [1, 1]


def test_joints_of_the_lower_hand_stay_in_place(photos, some):
    upper = read_picture(photos, int(cut_outs.rows_with_cut_outs(some)[0]), True)
    lower = mirrored(upper)
    both = lay_over(lower, upper, np.random.default_rng(0))
    moved = (both.joints_px - lower.joints_px)[lower.joint_valid]
    np.testing.assert_allclose(moved, np.tile(moved[0], (len(moved), 1)))


def test_batches_of_composites(photos, index):
    frames = CompositeFrames([photos], InterHandDataset(index, 64))
    batch = frames.batch([0, 1, 2, len(frames)])
    assert batch.image.shape == (4, 3, 64, 64)
    assert batch.hand_type.all()
    assert not batch.parts_valid.any() and not batch.root_valid.any()
    assert (batch.depth_weight == 0.25).all()
    assert (
        batch.joint_valid[:, :21].any(1).all()
        and batch.joint_valid[:, 21:].any(1).all()
    )
    again = frames.batch([0, 1, 2, len(frames)])
    for one, other in zip(batch, again, strict=True):
        torch.testing.assert_close(one, other)
    assert (batch.image[0] != batch.image[3]).any()  # another epoch, another composite


def test_what_is_shown_does_not_decide_how_it_is_cropped(photos, index):
    frames = CompositeFrames([photos], InterHandDataset(index, 64))
    compose = frames.compose
    drawn = []

    def remember(number, rng):
        drawn.append(copy.deepcopy(rng).random())  # whether a hand meets its mirror
        return compose(number, rng)

    frames.compose = remember
    count = 60
    frames.batch(range(count))
    numbers = [divmod(place, len(frames)) for place in range(count)]
    keys = [(3, *number, composites.COMPOSITE_STREAM) for number in numbers]
    shifts = photos.augmentation.draw(keys).shift.numpy()
    assert abs(np.corrcoef(drawn, shifts[:, 0])[0, 1]) < 0.5


def test_a_lower_hand_without_depths_teaches_none(photos, index):
    flat = InterHandDataset(index, 64, depth_weight=0.0)
    assert (CompositeFrames([photos], flat).batch([0]).depth_weight == 0).all()


def test_a_data_set_without_cut_outs_is_refused(index):
    val = prepare_index(index.dataset_dir, "val")
    with pytest.raises(ValueError, match="no hand has been cut out"):
        CompositeFrames([InterHandDataset(val, 64)], InterHandDataset(index, 64))


def test_hands_of_all_data_sets_meet(photos, some, index):
    """Every cut-out is the upper hand once an epoch; the doubtful depths decide."""
    trusted = InterHandDataset(some, 64, depth_weight=1.0)
    frames = CompositeFrames([trusted, photos], InterHandDataset(index, 64))
    n_hands = len(cut_outs.rows_with_cut_outs(some))
    assert frames.owners.tolist() == [0] * n_hands + [1] * n_hands
    last = frames.read_cut_out_hand(len(frames) - 1)
    alone = read_picture(photos, int(frames.rows[-1]), with_cut_out=True)
    np.testing.assert_array_equal(last.image, alone.image)
    assert (frames.batch([0, len(frames) - 1]).depth_weight == 0.25).all()


def test_every_kind_of_lower_hand_is_used(photos, index, monkeypatch):
    frames = CompositeFrames([photos], InterHandDataset(index, 64))
    read = []
    monkeypatch.setattr(
        composites,
        "read_picture",
        lambda dataset, row, with_cut_out: (
            read.append(dataset),
            read_picture(dataset, row, with_cut_out),
        )[1],
    )
    for number in range(len(frames)):
        frames.compose(number, np.random.default_rng(number))
    assert frames.photos[0] in read and frames.others in read


def test_cut_outs_lie_on_their_hand(some):
    """What is cut out covers the joints of its hand."""
    for row in cut_outs.rows_with_cut_outs(some).tolist():
        mask = cut_outs.read_cut_out(some, row)
        points = np.rint(cut_outs.hand_joints_px(some.take([row]))[0]).astype(int)
        inside = (points >= 0).all(1) & (points < mask.shape[1::-1]).all(1)
        covered = mask[points[inside, 1], points[inside, 0]] > 64
        assert covered.mean() > 0.8


def test_damaged_cut_outs_are_named_and_made_anew(some):
    folder = cut_outs.cut_out_folder(some)
    row = int(cut_outs.rows_with_cut_outs(some)[0])
    path = folder / f"{some['image_id'][row]}.png"
    whole = path.read_bytes()
    (folder / "notes of mine.png").write_bytes(b"x")
    for damaged in (b"\x89PNG", whole[: len(whole) // 2], b"text"):
        path.write_bytes(damaged)
        rows = cut_outs.rows_with_cut_outs(some)
        assert row in rows
        with pytest.raises(ValueError, match=rf"^{path}: damaged"):
            cut_outs.read_cut_out(some, row)
        cut_outs.write_cut_outs(some)
        assert path.read_bytes() == whole
    assert (folder / "notes of mine.png").read_bytes() == b"x"
    (folder / "notes of mine.png").unlink()

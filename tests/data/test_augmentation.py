"""Crops about the tight box, any rotation, changed looks, and fixed views."""

import cv2
import numpy as np
import pytest
import torch
from trees import make_tree

from digit import geometry
from digit.data.augmentation import Augmentation, View
from digit.data.build_index import prepare_index
from digit.data.dataset import InterHandDataset, frame_labels, tight_boxes

KEYS = [(0, 0, row) for row in range(4000)]
WIDE = Augmentation(
    translate=0.12, rotation_deg=20.0, narrowest_crop=1.0, widest_crop=2.2, turned=0.3
)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return prepare_index(
        make_tree(tmp_path_factory.mktemp("augmentation") / "tree"), "val"
    )


def test_new_settings_leave_the_papers_draws_as_they_were():
    paper = Augmentation().draw(KEYS)
    off = Augmentation(turned=0.0, appearance=0.5).draw(KEYS)
    for one, other in zip(paper, off, strict=True):
        torch.testing.assert_close(one, other)


def test_crops_are_spread_evenly_over_their_range():
    draw = WIDE.draw(KEYS)
    assert draw.scale.min() >= 1.0 and draw.scale.max() <= 2.2
    half_way = np.sqrt(1.0 * 2.2)
    assert (draw.scale < half_way).double().mean() == pytest.approx(0.5, abs=0.03)
    assert (draw.shift.abs().amax(1) <= 0.12 * draw.scale + 1e-9).all()


def test_a_share_of_crops_is_turned_by_any_angle():
    angle_deg = WIDE.draw(KEYS).rotation.rad2deg()
    beyond = (
        (angle_deg.abs() > 45).double().mean()
    )  # 0.3 · 3/4, and a few of the normal's
    assert beyond == pytest.approx(0.225, abs=0.03)
    assert angle_deg.min() < -170 and angle_deg.max() > 170


def test_the_tight_box_holds_the_annotated_joints(index):
    labels = frame_labels(index)
    boxes = tight_boxes(labels)
    for i in range(len(index)):
        points = index["joints_px"][i][index["joint_valid"][i].astype(bool)]
        low = points.min(0)
        expected = np.concatenate([low, points.max(0) - low])
        np.testing.assert_allclose(boxes[i].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("crop", [1.0, 1.5, 2.5])
def test_a_view_has_the_given_side_and_middle(index, crop):
    batch = InterHandDataset(index, 64, View(crop=crop, turn_deg=90.0)).batch(range(6))
    boxes = tight_boxes(frame_labels(index))
    for i, affine in enumerate(batch.crop_to_image):
        side_px = torch.linalg.det(affine[:, :2]).sqrt() * 64
        assert side_px == pytest.approx(crop * float(boxes[i, 2:].max()), rel=1e-6)
        middle = geometry.apply_affine(affine, torch.tensor([[32.0, 32.0]]).double())[0]
        torch.testing.assert_close(middle, boxes[i, :2] + boxes[i, 2:] / 2)


def test_a_turned_view_is_the_picture_turned(index):
    upright = InterHandDataset(index, 64, View()).batch([0]).image[0]
    turned = InterHandDataset(index, 64, View(turn_deg=90.0)).batch([0]).image[0]
    again = torch.rot90(turned, -1, (1, 2))
    difference = (again[:, 1:-1, 1:-1].int() - upright[:, 1:-1, 1:-1].int()).abs()
    shifted = min(
        (torch.roll(again, (dy, dx), (1, 2)).int() - upright.int())[:, 4:-4, 4:-4]
        .abs()
        .float()
        .mean()
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    )
    assert min(shifted, difference.float().mean()) < 3


def test_a_grey_view_has_no_colour(index):
    image = InterHandDataset(index, 64, View(grey=True)).batch([0]).image[0].int()
    assert (image - image[0]).abs().max() == 0


def test_appearance_changes_pictures_but_not_targets(index):
    plain = InterHandDataset(index, 64, Augmentation(), seed=2).batch(range(6))
    look = Augmentation(appearance=1.0)
    changed = InterHandDataset(index, 64, look, seed=2).batch(range(6))
    assert (plain.image != changed.image).flatten(1).any(1).all()
    for name in ("joints_25d", "joint_valid", "parts", "crop_to_image"):
        torch.testing.assert_close(getattr(plain, name), getattr(changed, name))
    again = InterHandDataset(index, 64, look, seed=2).batch([5, 3])
    torch.testing.assert_close(again.image, changed.image[[5, 3]])


def test_borders_of_changed_crops_are_not_always_black():
    changed = Augmentation(appearance=1.0)
    modes = [changed.border(np.random.default_rng(seed)) for seed in range(200)]
    assert {border.mode for border in modes} == {
        cv2.BORDER_CONSTANT,
        cv2.BORDER_REPLICATE,
    }
    plain = [Augmentation().border(np.random.default_rng(seed)) for seed in range(20)]
    assert {border.colour for border in plain} == {(0, 0, 0)}
    assert {border.mode for border in plain} == {cv2.BORDER_CONSTANT}

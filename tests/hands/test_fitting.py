"""Joints → hands: exact joints come back, impossible ones show in the residual."""

import numpy as np
import pytest
from fake_mano import write_mano
from jaxtyping import TypeCheckError
from posed_hands import draw_hands, fit_vertices

from digit.hands import fitting
from digit.hands.fitting import MIN_JOINTS, PersonShapes, fit_joints
from digit.hands.joint_angles import LIMITS
from digit.hands.model import HandModel, load_hand
from digit.hands.part_masks import render_part_mask
from digit.hands.solver import FitSettings
from digit.skeleton import HAND_JOINTS, SIDES
from digit.synth.anatomy import joint_angles


@pytest.fixture(scope="module", params=SIDES)
def hand(request) -> HandModel:
    return load_hand(request.param)


def assert_within_limits(fits, hand):
    angles = joint_angles(fits.pose, SIDES.index(hand.side))
    assert (angles >= LIMITS[..., 0] - 1e-5).all()
    assert (angles <= LIMITS[..., 1] + 1e-5).all()


def test_exact_joints_give_back_the_hand(hand):
    true = draw_hands(hand, 60)
    fits = fit_joints(hand, true.joints_mm)
    assert np.median(fits.residual_mm) < 0.5
    assert np.percentile(fits.residual_mm, 95) < 1.0
    vertices_mm = fit_vertices(hand, fits)
    error_mm = np.linalg.norm(vertices_mm - true.vertices_mm, axis=-1).mean(1)
    assert np.median(error_mm) < 1.5
    assert_within_limits(fits, hand)


def test_residuals_are_distances_from_the_joints_of_the_mesh(hand):
    true = draw_hands(hand, 5)
    joints_mm = true.joints_mm + np.random.default_rng(0).normal(0, 5, (5, 21, 3))
    fits = fit_joints(hand, joints_mm)
    vertices_mm = fit_vertices(hand, fits)
    regressed_mm = hand.joint_regressor.numpy() @ vertices_mm
    distance_mm = np.linalg.norm(regressed_mm - joints_mm, axis=-1)
    np.testing.assert_allclose(fits.joint_residual_mm, distance_mm, atol=2e-3)
    np.testing.assert_allclose(fits.residual_mm, distance_mm.mean(1), atol=2e-3)


def test_manos_own_files_are_fitted(tmp_path):
    folder = write_mano(tmp_path)
    for side in SIDES:
        hand = load_hand(side, "mano", folder)
        true = draw_hands(hand, 10)
        fits = fit_joints(hand, true.joints_mm)
        assert fits.residual_mm.max() < 1.0
        error_mm = np.abs(fit_vertices(hand, fits) - true.vertices_mm).mean((1, 2))
        assert np.median(error_mm) < 1.5


def test_noise_stays_noise(hand):
    true = draw_hands(hand, 60)
    noise_mm = np.random.default_rng(0).normal(0, 5, true.joints_mm.shape)
    settings = FitSettings(joint_noise_mm=5.0)
    fits = fit_joints(hand, true.joints_mm + noise_mm, settings=settings)
    assert_within_limits(fits, hand)
    assert (fits.residual_mm < np.linalg.norm(noise_mm, axis=-1).mean(1)).all()
    assert np.abs(fits.shape).max() <= settings.shape_limit


def test_a_hand_does_not_depend_on_its_batch(hand, monkeypatch):
    true = draw_hands(hand, 20)
    noise_mm = np.random.default_rng(0).normal(0, 5, true.joints_mm.shape)
    joints_mm = true.joints_mm + noise_mm
    together = fit_joints(hand, joints_mm)
    alone = fit_joints(hand, joints_mm[7:8])
    monkeypatch.setattr(fitting, "HANDS_AT_ONCE", 6)
    in_pieces = fit_joints(hand, joints_mm)
    for name in ("pose", "shape", "trans_m", "joint_residual_mm"):
        whole = getattr(together, name)
        np.testing.assert_allclose(getattr(in_pieces, name), whole, atol=1e-5)
        np.testing.assert_allclose(getattr(alone, name), whole[7:8], atol=1e-5)


def test_the_frame_does_not_matter(hand):
    true = draw_hands(hand, 4)
    joints_mm = true.joints_mm @ np.diag([1.0, -1, -1]) + [300, -2000, 50]
    moved = fit_joints(hand, joints_mm)
    fits = fit_joints(hand, true.joints_mm)
    np.testing.assert_allclose(moved.residual_mm, fits.residual_mm, atol=1e-3)
    np.testing.assert_allclose(moved.pose[:, 3:], fits.pose[:, 3:], atol=1e-3)


def test_missing_joints_are_filled_in(hand):
    true = draw_hands(hand, 20)
    valid = np.random.default_rng(1).random((20, 21)) > 0.2
    joints_mm = np.where(valid[..., None], true.joints_mm, 1e6)
    fits = fit_joints(hand, joints_mm, valid)
    np.testing.assert_array_equal(np.isnan(fits.joint_residual_mm), ~valid)
    assert np.median(fits.residual_mm) < 1.0
    error_mm = np.linalg.norm(fit_vertices(hand, fits) - true.vertices_mm, axis=-1)
    assert np.median(error_mm.mean(1)) < 4.0
    assert_within_limits(fits, hand)


def test_too_few_joints_are_not_fitted():
    hand = load_hand("right")
    joints_mm = draw_hands(hand, 3).joints_mm.copy()
    joints_mm[0, MIN_JOINTS - 1 :] = np.nan
    joints_mm[1] = np.inf
    fits = fit_joints(hand, joints_mm)
    for values in (fits.pose, fits.shape, fits.trans_m, fits.joint_residual_mm):
        assert np.isnan(values[:2]).all()
        assert np.isfinite(values[2]).all()
    np.testing.assert_array_equal(np.isnan(fits.residual_mm), [True, True, False])
    assert len(fit_joints(hand, joints_mm[:0]).pose) == 0


def test_joints_of_no_hand_show_in_the_residual(hand):
    """Two hands swapped, a mirror image, coincident joints, a finger out of place."""
    true = draw_hands(hand, 40)
    possible_mm = fit_joints(hand, true.joints_mm).residual_mm
    swapped_mm = draw_hands(
        load_hand({"right": "left", "left": "right"}[hand.side]), 40
    )
    mirrored_mm = true.joints_mm * [-1, 1, 1]
    collapsed_mm = true.joints_mm.copy()
    collapsed_mm[:, :12] = collapsed_mm[:, :1]
    for joints_mm in (swapped_mm.joints_mm, mirrored_mm, collapsed_mm):
        residual_mm = fit_joints(hand, joints_mm).residual_mm
        assert residual_mm.min() > 4 * possible_mm.max()
    coincident_mm = np.repeat(true.joints_mm[:, :1], 21, axis=1)
    assert fit_joints(hand, coincident_mm).residual_mm.min() > 10
    displaced_mm = true.joints_mm.copy()
    displaced_mm[:, HAND_JOINTS.index("index4")] += 60
    residual_mm = fit_joints(hand, displaced_mm).joint_residual_mm
    assert (residual_mm.max(1) > 5).all()


def test_a_given_shape_is_kept(hand):
    true = draw_hands(hand, 5)
    fits = fit_joints(hand, true.joints_mm, shape=true.shape)
    np.testing.assert_array_equal(fits.shape, true.shape)
    assert fits.residual_mm.max() < 0.2
    one_for_all = fit_joints(hand, true.joints_mm, shape=true.shape[:1])
    np.testing.assert_array_equal(one_for_all.shape, true.shape[:1].repeat(5, 0))


def test_a_persons_shape_is_found_from_both_hands():
    settings = FitSettings(joint_noise_mm=5.0)
    rng = np.random.default_rng(2)
    betas = np.clip(rng.normal(0, 1, (3, 10)), -2, 2)
    person = np.arange(60) % 3
    shapes = PersonShapes(4, settings)
    own_error = []
    for side in SIDES:
        hand = load_hand(side)
        true = draw_hands(hand, 60, shape=betas[person])
        joints_mm = true.joints_mm + rng.normal(0, 5, true.joints_mm.shape)
        shapes.add(hand, joints_mm, None, person)
        alone = fit_joints(hand, joints_mm, settings=settings)
        own_error.append(np.square(alone.shape - true.shape).mean())
    found = shapes.solve()
    assert np.square(found[:3] - betas).mean() < 0.7 * np.mean(own_error)
    np.testing.assert_array_equal(found[3], 0)  # a person without hands


def test_masks_of_fits_are_those_of_the_hands():
    hands = (load_hand("right"), load_hand("left"))
    true_mm, fitted_mm = [], []
    for hand, x_mm in zip(hands, (-40, 40), strict=True):
        drawn = draw_hands(hand, 12)
        fits = fit_joints(hand, drawn.joints_mm)
        # Put them before the camera, side by side, so that some overlap.
        place_mm = drawn.joints_mm.mean(1, keepdims=True) - [x_mm, 0, 700]
        true_mm.append(drawn.vertices_mm - place_mm)
        fitted_mm.append(fit_vertices(hand, fits) - place_mm)
    camera = {"focal": np.full(2, 900.0), "princpt": np.array([167.0, 256])}
    hand_iou, part_iou = [], []
    for views in zip(np.stack(true_mm, 1), np.stack(fitted_mm, 1), strict=True):
        true, fitted = (
            render_part_mask(hands, view, **camera, width=334, height=512)
            for view in views
        )
        either = (true > 0) | (fitted > 0)
        hand_iou.append(((true > 0) & (fitted > 0)).sum() / either.sum())
        for label in np.unique(true[true > 0]):
            both = (true == label) & (fitted == label)
            part_iou.append(both.sum() / ((true == label) | (fitted == label)).sum())
    assert np.mean(hand_iou) >= 0.97
    assert np.mean(part_iou) >= 0.85


def test_wrong_shapes_are_refused():
    with pytest.raises((ValueError, TypeCheckError), match=r"n 21 3|n, 21, 3"):
        fit_joints(load_hand("right"), np.zeros((2, 42, 3)))

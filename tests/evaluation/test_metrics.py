"""Each metric against values worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring import perfect_predictions

from digit import geometry, skeleton
from digit.evaluation import metrics
from digit.evaluation.error_table import error_table
from digit.evaluation.protocol import protocol

ALL_VALID = torch.ones(1, 42, dtype=torch.bool)


def random_hands(seed: int = 0, frames: int = 1) -> torch.Tensor:
    """Joints (mm) scattered about a point a metre before the camera."""
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(0, 40, (frames, 42, 3)) + [0, 0, 1000])


def test_mpjpe_ignores_where_each_wrist_is():
    true = random_hands()
    moved = true.clone()
    moved[:, :21] += torch.tensor([5.0, 0, 0])
    moved[:, 21:] += torch.tensor([0, 0, 80.0])
    assert metrics.joint_errors(moved, true).max() < 1e-9
    camera = metrics.camera_errors(moved, true)
    torch.testing.assert_close(camera[0, [0, 41]], torch.tensor([5.0, 80.0]).double())


def test_errors_split_into_plane_and_depth():
    true = random_hands()
    moved = true.clone()
    moved[0, 3] += torch.tensor([3.0, 4.0, 12.0])
    assert metrics.joint_errors(moved, true)[0, 3] == pytest.approx(13)
    assert metrics.in_plane_errors(moved, true)[0, 3] == pytest.approx(5)
    assert metrics.depth_errors(moved, true)[0, 3] == pytest.approx(12)


def test_mrrpe_measures_the_vector_between_wrists():
    true = torch.tensor([[[0.0, 0, 900], [100, 0, 950]]]).repeat(2, 1, 1)
    predicted = true + 30  # both by the same: no error
    predicted[:, 1, 2] += 7
    counts = torch.tensor([True, False])
    error = metrics.mrrpe(predicted, true, has_both_wrists=counts)
    assert error[0] == pytest.approx(7) and error[1].isnan()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5))
def test_alignment_ignores_similarities_but_not_mirrors(seed, scale):
    rng = np.random.default_rng(seed)
    points = torch.tensor(rng.normal(0, 40, (2, 21, 3)))
    valid = torch.tensor(rng.random((2, 21)) < 0.7) | (torch.arange(21) < 4)
    rotation = geometry.axis_angle_to_matrix(torch.tensor(rng.normal(size=(2, 3))))
    moved = scale * points @ rotation + torch.tensor(rng.normal(0, 500, (2, 1, 3)))
    # Values at points that do not count may be anything.
    moved = torch.where(valid[..., None], moved, torch.nan)
    error = metrics.aligned_error(points, moved, valid)
    assert error[valid].max() < 1e-6 * scale + 1e-6

    mirrored = points * torch.tensor([-1, 1, 1])
    assert metrics.aligned_error(mirrored, moved, valid)[valid].max() > 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_alignment_never_makes_the_squared_error_larger(seed):
    rng = np.random.default_rng(seed)
    points = torch.tensor(rng.normal(0, 40, (2, 21, 3)))
    valid = torch.tensor(rng.random((2, 21)) < 0.7) | (torch.arange(21) < 4)
    noisy = points + torch.tensor(rng.normal(0, 3, (2, 21, 3)))
    aligned = metrics.aligned_error(noisy, points, valid)
    plain = (noisy - points).norm(dim=-1)
    assert ((aligned**2 * valid).sum(-1) <= (plain**2 * valid).sum(-1)).all()


def test_pa_mpjpe_aligns_each_hand_by_itself():
    true = random_hands().float()
    moved = true.clone()
    moved[:, :21] = 1.3 * moved[:, :21] + 40
    moved[:, 21:] = 0.8 * moved[:, 21:] - 90
    valid = ALL_VALID.clone()
    assert metrics.pa_joint_errors(moved, true, valid).max() < 1e-2
    valid[:, 23:] = False  # two points fix no similarity
    assert metrics.pa_joint_errors(moved, true, valid)[:, 21:].isnan().all()


def test_2d_errors_are_shares_of_the_box():
    true = torch.zeros(2, 42, 2)
    predicted = true + torch.tensor([6.0, 8.0])
    error = metrics.errors_2d(predicted, true, side_px=torch.tensor([100.0, 20]))
    torch.testing.assert_close(error, torch.tensor([0.1, 0.5])[:, None].expand(2, 42))


def test_swapped_hands_are_noticed():
    true = torch.rand(1, 42, 2) * 100
    other = true[:, skeleton.SWAP_JOINTS]
    assert metrics.joints_swapped(other, true, ALL_VALID) == 1
    assert metrics.joints_swapped(true, true, ALL_VALID) == 0
    one_hand = ALL_VALID & (torch.arange(42) < 21)
    assert metrics.joints_swapped(other, true, one_hand).isnan().all()


@pytest.mark.parametrize(("side", "facing"), [(0, 0.0), (1, 180.0)])
def test_palm_view_of_a_flat_hand(side, facing):
    """Fingers up, index on the right: a right hand shows its palm, a left its back."""
    hands = torch.zeros(1, 42, 3)
    index, pinky, wrist = (21 * side + k for k in metrics.PALM_CORNERS)
    hands[0, wrist] = torch.tensor([0.0, 0, 500])
    hands[0, index] = torch.tensor([30.0, -80, 500])
    hands[0, pinky] = torch.tensor([-30.0, -80, 500])
    angle = metrics.palm_view_deg(hands, ALL_VALID)[0, side]
    assert angle == pytest.approx(facing, abs=0.1)


def test_handedness_needs_both_outputs_right():
    probability = torch.tensor([(0.9, 0.1), (0.6, 0.9), (0.9, 0.5), (0.4, 0.3), (0, 0)])
    hand_type = torch.tensor([(1, 0), (1, 0), (1, 1), (0, 1), (0, 1)]) > 0
    reliable = torch.tensor([True, True, True, True, False])
    correct = metrics.handedness_correct(probability, hand_type, reliable)
    np.testing.assert_array_equal(correct, [1, 0, 0, 0, np.nan])


def test_depths_are_looked_up_by_predicted_hands():
    depths = metrics.wrist_depths_by_predicted_hands(
        probability=torch.tensor([(0.9, 0.9), (0.9, 0.1), (0.1, 0.9), (0.4, 0.3)]),
        wrist_depth_mm=torch.tensor([(900.0, 950.0)]).repeat(4, 1),
        depth_known=torch.ones(4, 2, dtype=torch.bool),
        relative_root_depth_mm=torch.full((4,), 20.0),
    )
    assert depths.tolist() == [[900, 920], [900, 900], [950, 950], [900, 900]]


def test_part_statistics_count_pixels():
    true = torch.tensor([[[0, 1], [1, 17]], [[2, 2], [2, 2]]])
    predicted = torch.tensor([[[0, 1], [17, 17]], [[2, 2], [2, 2]]])
    found = metrics.part_statistics(predicted, true, torch.tensor([1.0, 0.0]))
    pixels = found["part_pixels"][0]  # true, predicted, both
    assert pixels[:, [0, 1, 17]].tolist() == [[1, 2, 1], [1, 1, 2], [1, 1, 1]]
    assert found["hand_confusion"][0].tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert found["part_pixels"][1].sum() == 0


def test_part_columns_and_the_data_sets_iou(index):
    true = torch.zeros(6, 4, 4, dtype=torch.int64)
    true[:, 0] = 3
    true[:, 1] = 20
    predicted = true.clone()
    predicted[0, 0, :2] = 19  # half of a right part taken for its left counterpart
    predicted[1, 1] = 0  # a left part missed
    valid = torch.tensor([1.0, 1, 1, 1, 1, 0])
    found = metrics.part_statistics(predicted, true, valid)
    table = error_table(index, perfect_predictions(index)._replace(**found))
    expected = {
        "part_iou": [0.75, 0.5, 1, 1, 1, np.nan],
        "wrong_hand_share": [0.25, 0, 0, 0, 0, np.nan],
        "right_called_left_px": [2, 0, 0, 0, 0, np.nan],
        "left_called_right_px": [0, 0, 0, 0, 0, np.nan],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], values, err_msg=name)
    result = protocol(table)
    assert result["part_miou"] == pytest.approx((18 / 20 + 16 / 20) / 2)
    assert result["wrong_hand_share"] == pytest.approx(2 / 36)
    # A slice of the table is a table.
    assert protocol(table[2:5])["part_miou"] == 1


def test_entropy_of_a_flat_and_of_a_sharp_heatmap():
    heatmaps = torch.zeros(1, 42, 8, 8)
    heatmaps[0, 1, 2, 3] = 100
    entropy = metrics.heatmap_entropy(heatmaps)[0]
    assert entropy[0] == pytest.approx(np.log(64)) and entropy[1] < 1e-6


def test_pck_is_the_share_below_each_limit(index):
    rng = np.random.default_rng(0)
    predictions = perfect_predictions(index)
    predictions.joints_25d[..., 2] += rng.normal(0, 2, (6, 42))
    table = error_table(index, predictions)
    fingers = np.delete(table[metrics.ERRORS].to_numpy(), skeleton.WRISTS, 1)
    fingers = fingers[~np.isnan(fingers)]
    assert metrics.pck_curve(table, np.array([10]))[0] == np.mean(fingers <= 10)
    curve = metrics.pck_curve(table, np.linspace(0, 50, 5001))
    area = np.trapezoid(curve, dx=1 / 5000)
    assert metrics.pck_auc(table) == pytest.approx(area, abs=1e-3)

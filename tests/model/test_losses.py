"""Loss terms: equal to the original's, and properties that they must have."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from digit.data.dataset import Batch
from digit.model.losses import (
    PAPER_WEIGHTS,
    bone_error,
    heatmap_error,
    losses,
    part_error,
    part_iou_error,
)
from digit.model.network import Prediction


def make_batch(n: int = 3, h: int = 16, **changes) -> Batch:
    """A batch with random truth, everything valid."""
    g = torch.Generator().manual_seed(n)
    batch = Batch(
        image=torch.zeros(n, 3, 2 * h, 2 * h, dtype=torch.uint8),
        joints_25d=torch.rand(n, 42, 3, generator=g) * 64,
        joint_valid=torch.ones(n, 42),
        relative_root_depth=torch.rand(n, generator=g) * 64,
        root_valid=torch.ones(n),
        hand_type=(torch.rand(n, 2, generator=g) > 0.5).float(),
        hand_type_valid=torch.ones(n),
        parts=torch.randint(0, 33, (n, h, h), dtype=torch.uint8, generator=g),
        parts_valid=torch.ones(n),
        crop_to_image=torch.zeros(n, 2, 3, dtype=torch.float64),
        row=torch.arange(n),
        depth_weight=torch.ones(n),
    )
    return batch._replace(**changes)


def make_prediction(n: int = 3, h: int = 16) -> Prediction:
    g = torch.Generator().manual_seed(100 + n)
    return Prediction(
        torch.rand(n, 42, 3, generator=g) * 64,
        torch.rand(n, generator=g) * 64,
        torch.randn(n, 2, generator=g),
        torch.randn(n, 33, h, h, generator=g),
        torch.randn(n, 42, h // 2, h // 2, generator=g),
    )


def test_terms_equal_the_originals(reference):
    from network_reference import original_state, reference_input

    from digit.model.checkpoints import load_network

    want = np.load(reference / "network_seed7.npz")
    truth = {key: torch.from_numpy(want[key]) for key in want.files}
    with torch.no_grad():
        prediction = load_network(original_state(reference))(reference_input())
    batch = make_batch(
        2,
        128,
        joints_25d=truth["target_joint_coord"],
        joint_valid=truth["joint_valid"],
        relative_root_depth=truth["target_rel_root_depth"][:, 0],
        root_valid=truth["root_valid"][:, 0],
        hand_type=truth["target_hand_type"],
        hand_type_valid=truth["hand_type_valid"],
        parts=truth["target_segm"],
        parts_valid=truth["segm_valid"],
    )
    got = losses(prediction, batch)
    for ours, theirs in {
        "joints": "joint",
        "relative_root_depth": "rel_root_depth",
        "hand_type": "hand_type",
        "parts": "segm",
        "bones": "bone",
    }.items():
        expected = want[f"train_loss_{theirs}"].mean()  # two come per sample
        assert float(got[ours]) == pytest.approx(expected, rel=1e-4), ours


def test_weights_scale_and_drop_terms():
    prediction, batch = make_prediction(), make_batch()
    plain = losses(prediction, batch, dict.fromkeys(PAPER_WEIGHTS, 1.0))
    paper = losses(prediction, batch)
    assert list(plain) == list(paper) == list(PAPER_WEIGHTS)
    for name, weight in PAPER_WEIGHTS.items():
        torch.testing.assert_close(paper[name], weight * plain[name])
    assert set(losses(prediction, batch, {"joints": 1.0, "parts": 0.0})) == {"joints"}


def test_truth_and_invalid_frames_cost_nothing():
    batch = make_batch()
    logits = torch.nn.functional.one_hot(batch.parts.long(), 33).movedim(-1, 1) * 50.0
    perfect = make_prediction()._replace(
        joints_25d=batch.joints_25d,
        relative_root_depth=batch.relative_root_depth,
        hand_type_logits=(batch.hand_type * 2 - 1) * 50,
        part_logits=logits,
    )
    assert all(float(term) < 1e-6 for term in losses(perfect, batch).values())
    nothing = {
        k: torch.zeros_like(v)
        for k, v in batch._asdict().items()
        if k.endswith("_valid")
    }
    assert not any(losses(make_prediction(), batch._replace(**nothing)).values())


def test_weight_of_hand_pixels():
    """Three background pixels with an error of log 33, one on a hand with log 2."""
    batch = make_batch(1, 2, parts=torch.tensor([[[0, 0], [0, 7]]], dtype=torch.uint8))
    logits = torch.zeros(1, 33, 2, 2)
    logits[0, 7, 1, 1] = np.log(32)  # as likely as all others together
    prediction = make_prediction(1, 2)._replace(part_logits=logits)
    for weight in (1.0, 3.0):
        want = (3 * np.log(33) + weight * np.log(2)) / (3 + weight)
        assert float(part_error(prediction, batch, weight)) == pytest.approx(
            want, rel=1e-6
        )
    weighted = losses(prediction, batch, {"parts": 10.0}, hand_pixels=3.0)["parts"]
    assert float(weighted) == pytest.approx(10 * want, rel=1e-6)
    assert not part_error(prediction, batch._replace(parts_valid=torch.zeros(1)), 3.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(0, 1000), st.booleans())
def test_part_iou_error_of_certain_pixels(n, seed, invalid):
    """Where every pixel is certain, the soft IoU is the counted one."""
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, 33, (2, n, 6, 6)) * (
        rng.random((2, n, 6, 6)) < 0.5
    )
    valid = np.ones(n, np.float32)
    valid[0] = not invalid
    logits = (
        torch.nn.functional.one_hot(torch.tensor(predicted), 33).movedim(-1, 1) * 80.0
    )
    batch = make_batch(
        n, 6, parts=torch.tensor(true).byte(), parts_valid=torch.tensor(valid)
    )
    error = part_iou_error(make_prediction(n, 6)._replace(part_logits=logits), batch)
    true = true[valid > 0]
    predicted = predicted[valid > 0]
    labels = np.unique(true)
    iou = []
    for label in labels:
        intersection = ((true == label) & (predicted == label)).sum()
        union = ((true == label) | (predicted == label)).sum()
        iou.append(intersection / union)
    assert float(error) == pytest.approx(1 - np.mean(iou) if iou else 0, abs=1e-5)


def test_part_iou_error_is_off_by_default():
    batch, prediction = make_batch(), make_prediction()
    assert "part_iou" not in losses(prediction, batch)
    logits = prediction.part_logits.bfloat16().requires_grad_()
    prediction = prediction._replace(part_logits=logits)
    term = losses(prediction, batch, {"part_iou": 3.0})["part_iou"]
    term.backward()
    assert 0 < float(term) < 3 and logits.grad.isfinite().all() and logits.grad.any()


def test_invalid_frame_only_changes_the_mean():
    one, two = make_prediction(1), make_prediction(2)
    both = Prediction(*(torch.cat(pair) for pair in zip(one, two, strict=True)))
    first, second = make_batch(1), make_batch(2)
    for name in ("joint_valid", "root_valid", "hand_type_valid", "parts_valid"):
        second = second._replace(**{name: getattr(second, name) * 0})
    batch = Batch(*(torch.cat(pair) for pair in zip(first, second, strict=True)))
    alone, together = losses(one, first), losses(both, batch)
    for name in alone:
        torch.testing.assert_close(together[name], alone[name] / 3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=6, max_size=6), st.integers(0, 41))
def test_bone_error_ignores_a_shift_of_a_hand(shift, joint):
    batch, prediction = make_batch(2), make_prediction(2)
    moved = prediction.joints_25d + torch.tensor(shift).view(2, 1, 3).repeat_interleave(
        21, 1
    ).view(1, 42, 3)
    valid = batch.joint_valid.clone()
    valid[:, joint] = 0
    batch = batch._replace(joint_valid=valid)
    before = bone_error(prediction, batch)
    shifted = bone_error(prediction._replace(joints_25d=moved), batch)
    torch.testing.assert_close(shifted, before, rtol=1e-4, atol=1e-2)
    changed = prediction.joints_25d.clone()
    changed[:, joint] += 100  # an end without annotation takes its bones out
    after = bone_error(prediction._replace(joints_25d=changed), batch)
    torch.testing.assert_close(after, before)


def test_gradients_are_finite_in_bfloat16():
    prediction = Prediction(*(p.bfloat16().requires_grad_() for p in make_prediction()))
    total = torch.stack([*losses(prediction, make_batch()).values()]).sum()
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in prediction[:4])


def normal_map(cells: int, joint_cells: tuple[float, float]) -> torch.Tensor:
    """A normal distribution around a joint (deviation 0.8 cells) on a grid of cells."""
    centres = (torch.arange(cells) + 0.5).double()
    along_x, along_y = (
        torch.exp(-((centres - coordinate) ** 2) / (2 * 0.8**2))
        for coordinate in joint_cells
    )
    normal = torch.outer(along_y, along_x)
    return normal / normal.sum()


def heatmap_error_of(heatmap: torch.Tensor, valid: torch.Tensor) -> float:
    """The heatmap term of one frame whose joints all lie at (20, 38) of 64 cells."""
    batch = make_batch(
        1,
        joints_25d=torch.tensor([20.0, 38.0, 0]).expand(1, 42, 3),
        joint_valid=valid,
    )
    heatmaps = heatmap.expand(1, 42, *heatmap.shape)
    return float(heatmap_error(make_prediction(1)._replace(heatmaps=heatmaps), batch))


def test_heatmap_error_by_hand():
    """0 for the normal distribution itself; log n − entropy for a flat heatmap."""
    normal = normal_map(16, (5.0, 9.5))  # cells of 16, that is 20 and 38 of 64
    logits = normal.log().clamp_min(-80).float()
    valid = torch.ones(1, 42)
    assert heatmap_error_of(logits, valid) == pytest.approx(0, abs=1e-5)
    assert heatmap_error_of(logits + 3, valid) == pytest.approx(0, abs=1e-5)

    entropy = -(normal * normal.clamp_min(1e-300).log()).sum().item()
    flat = torch.zeros(16, 16)
    expected = np.log(256) - entropy
    assert heatmap_error_of(flat, valid) == pytest.approx(expected, rel=1e-5)

    every_second = torch.arange(42)[None] % 2 * 1.0  # invalid ones count as zero
    error = heatmap_error_of(flat, every_second)
    assert error == pytest.approx(expected / 2, rel=1e-5)


def test_heatmap_error_is_off_by_default():
    batch, prediction = make_batch(), make_prediction()
    assert "heatmaps" not in losses(prediction, batch)
    assert losses(prediction, batch, PAPER_WEIGHTS | {"heatmaps": 2.0})["heatmaps"] > 0


def test_doubtful_depths_count_by_their_weight():
    """Depth errors of a doubtful frame are scaled; errors in the image count in full."""
    batch, prediction = make_batch(2), make_prediction(2)
    doubtful = batch._replace(depth_weight=torch.tensor([0.25, 1.0]))
    depth_only = batch.joints_25d.clone()
    depth_only[0, :, 2] += torch.linspace(1, 8, 42)
    in_image = batch.joints_25d.clone()
    in_image[0, :, 0] += torch.linspace(1, 8, 42)
    for name in ("joints", "bones"):
        only = {name: 1.0}
        deep = prediction._replace(joints_25d=depth_only)
        full = losses(deep, batch, only)[name]
        torch.testing.assert_close(losses(deep, doubtful, only)[name], 0.25 * full)
        aside = prediction._replace(joints_25d=in_image)
        full = losses(aside, batch, only)[name]
        torch.testing.assert_close(losses(aside, doubtful, only)[name], full)

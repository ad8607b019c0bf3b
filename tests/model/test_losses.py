"""Loss terms against the original's, and the laws they keep."""

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


def test_terms_are_the_originals(reference):
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


def test_truth_costs_nothing_and_what_is_invalid_neither():
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


def test_a_hand_pixel_weighs_as_asked():
    """Three pixels of background at an error of log 33, one of a hand at one of log 2."""
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
def test_part_iou_of_certain_pixels_is_the_iou(n, seed, invalid):
    """Where every pixel is certain, the soft index is the counted one, of labels that are there."""
    rng = np.random.default_rng(seed)
    true, said = rng.integers(0, 33, (2, n, 6, 6)) * (rng.random((2, n, 6, 6)) < 0.5)
    valid = np.ones(n, np.float32)
    valid[0] = not invalid
    logits = torch.nn.functional.one_hot(torch.tensor(said), 33).movedim(-1, 1) * 80.0
    batch = make_batch(
        n, 6, parts=torch.tensor(true).byte(), parts_valid=torch.tensor(valid)
    )
    error = part_iou_error(make_prediction(n, 6)._replace(part_logits=logits), batch)
    true, said = true[valid > 0], said[valid > 0]
    there = np.unique(true)
    iou = [
        ((true == v) & (said == v)).sum() / ((true == v) | (said == v)).sum()
        for v in there
    ]
    assert float(error) == pytest.approx(
        1 - np.mean(iou) if len(there) else 0, abs=1e-5
    )


def test_part_iou_is_ours_and_off_by_default():
    batch, prediction = make_batch(), make_prediction()
    assert "part_iou" not in losses(prediction, batch)
    logits = prediction.part_logits.bfloat16().requires_grad_()
    prediction = prediction._replace(part_logits=logits)
    term = losses(prediction, batch, {"part_iou": 3.0})["part_iou"]
    term.backward()
    assert 0 < float(term) < 3 and logits.grad.isfinite().all() and logits.grad.any()


def test_an_invalid_frame_changes_nothing_but_the_mean():
    one, two = make_prediction(1), make_prediction(2)
    both = Prediction(*(torch.cat(pair) for pair in zip(one, two)))
    first, second = make_batch(1), make_batch(2)
    for name in ("joint_valid", "root_valid", "hand_type_valid", "parts_valid"):
        second = second._replace(**{name: getattr(second, name) * 0})
    batch = Batch(*(torch.cat(pair) for pair in zip(first, second)))
    alone, together = losses(one, first), losses(both, batch)
    for name in alone:
        torch.testing.assert_close(together[name], alone[name] / 3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=6, max_size=6), st.integers(0, 41))
def test_bones_do_not_see_a_shift_of_either_hand(shift, joint):
    batch, prediction = make_batch(2), make_prediction(2)
    moved = prediction.joints_25d + torch.tensor(shift).view(2, 1, 3).repeat_interleave(
        21, 1
    ).view(1, 42, 3)
    valid = batch.joint_valid.clone()
    valid[:, joint] = 0
    before = bone_error(prediction.joints_25d, batch.joints_25d, valid)
    torch.testing.assert_close(
        bone_error(moved, batch.joints_25d, valid), before, rtol=1e-4, atol=1e-2
    )
    changed = prediction.joints_25d.clone()
    changed[:, joint] += 100  # an end without annotation takes its bones out
    torch.testing.assert_close(bone_error(changed, batch.joints_25d, valid), before)


def test_gradients_are_finite_in_bfloat16_too():
    prediction = Prediction(*(p.bfloat16().requires_grad_() for p in make_prediction()))
    total = torch.stack([*losses(prediction, make_batch()).values()]).sum()
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in prediction[:4])


def test_heat_map_error_by_hand():
    """0 where a map is the normal distribution itself; a flat map is off by log n − entropy."""
    centres = (torch.arange(16) + 0.5).double()
    joint = torch.tensor([5.0, 9.5])  # cells of 16, that is 20 and 38 of 64
    x, y = (torch.exp(-((centres - c) ** 2) / (2 * 0.8**2)) for c in joint)
    normal = torch.outer(y, x) / torch.outer(y, x).sum()
    target = torch.tensor([20.0, 38.0, 0]).expand(1, 42, 3)
    maps = normal.log().clamp_min(-80).float().expand(1, 42, 16, 16)
    valid = torch.ones(1, 42)
    assert heatmap_error(maps, target, valid).item() == pytest.approx(0, abs=1e-5)
    assert heatmap_error(maps + 3, target, valid).item() == pytest.approx(0, abs=1e-5)
    entropy = -(normal * normal.clamp_min(1e-300).log()).sum()
    flat = heatmap_error(torch.zeros(1, 42, 16, 16), target, valid)
    assert flat.item() == pytest.approx(np.log(256) - entropy.item(), rel=1e-5)
    half = heatmap_error(
        torch.zeros(1, 42, 16, 16), target, torch.arange(42)[None] % 2 * 1.0
    )
    assert half.item() == pytest.approx(
        flat.item() / 2, rel=1e-5
    )  # invalid ones count as zero


def test_heat_map_error_is_ours_and_off_by_default():
    batch, prediction = make_batch(), make_prediction()
    assert "heatmaps" not in losses(prediction, batch)
    assert losses(prediction, batch, PAPER_WEIGHTS | {"heatmaps": 2.0})["heatmaps"] > 0

"""The weights that ship: small enough to ship, and as good as their card says."""

import pytest

from digit.inference.evaluate import evaluate
from digit.paths import SHIPPED_WEIGHTS


def test_unseen_synthetic_hands_are_estimated(tiny_root):
    result = evaluate(tiny_root, "train", "gt", SHIPPED_WEIGHTS)
    assert result["mpjpe_all"] < 35  # the mean pose is off by about 90 mm
    assert result["handedness_accuracy"] > 0.9
    assert result["part_miou"] > 0.35
    assert result["wrong_hand_share"] < 0.1


def test_real_hands_are_found(real_frames):
    """By the model card 3 of 6, relative to the tight box, and every hand type."""
    result = evaluate(real_frames, "test", "gt", SHIPPED_WEIGHTS)
    assert result["n_hands"] == 6
    assert result["found_10"] >= 0.49
    assert result["handedness_accuracy"] == 1


def test_model_card_lies_beside_the_weights():
    text = (SHIPPED_WEIGHTS.parent / "README.md").read_text()
    for word in ("seed 7", "seed 11", "recipe", "mean pose", "Limits", "digit train"):
        assert word in text
    assert SHIPPED_WEIGHTS.stat().st_size / 1e6 == pytest.approx(14, abs=1)

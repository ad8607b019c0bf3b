"""The weights that ship: small enough to ship, and good for what their card says."""

import pandas as pd
import pytest

from digit.cli import main
from digit.inference.evaluate import evaluate
from digit.paths import SHIPPED_WEIGHTS


def test_the_weights_that_ship_know_hands_they_never_saw(tiny_root, tmp_path):
    assert SHIPPED_WEIGHTS.stat().st_size <= 15e6
    result = evaluate(tiny_root, "train", "gt", SHIPPED_WEIGHTS)
    assert result["mpjpe_all"] < 35  # the mean pose is off by about 90 mm
    assert result["handedness_accuracy"] > 0.9
    assert result["part_miou"] > 0.35 and result["wrong_hand_share"] < 0.1


def test_real_hands_are_found(real_frames, tmp_path):
    """3 of 6 by the model card: a mean 2D error under a tenth of the box's longer side."""
    evaluate(
        real_frames,
        "test",
        "gt",
        SHIPPED_WEIGHTS,
        errors=tmp_path / "errors.parquet",
    )
    errors = pd.read_parquet(tmp_path / "errors.parquet")[
        ["error_2d_right", "error_2d_left"]
    ]
    assert (errors < 0.1).to_numpy().sum() >= 3


def test_predict_needs_no_checkpoint(tiny_root, capsys):
    picture = next((tiny_root / "images").rglob("*.jpg"))
    assert main(["predict", str(picture), "--bbox", "60,60,200,200"]) == 0
    assert "joints" in capsys.readouterr().out


def test_a_card_lies_beside_them():
    text = (SHIPPED_WEIGHTS.parent / "README.md").read_text()
    for word in ("seed 7", "seed 11", "recipe", "mean pose", "Limits", "digit train"):
        assert word in text
    assert pytest.approx(14, abs=1) == SHIPPED_WEIGHTS.stat().st_size / 1e6

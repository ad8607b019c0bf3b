"""Short trainings: precision, log, the real frames overfitted, what checkpoints keep."""

import json

import pytest
import torch

from digit.files import write_json
from digit.inference.evaluate import evaluate
from digit.model.checkpoints import load_network
from digit.training import runs
from digit.training.loop import precision_here, train_run
from digit.training.progress_log import read_metrics, trim_metrics
from digit.training.settings import make_settings


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    trim_metrics(path, 0)
    with path.open("a") as file:
        file.write(
            "10,0.1,1.0,loss,3\n20,0.2,2.0,loss,2\n30,0.3,3.0,lo"
        )  # cut in the middle
    trim_metrics(path, 20)
    assert path.read_text().splitlines()[1:] == [
        "10,0.1,1.0,loss,3",
        "20,0.2,2.0,loss,2",
    ]


def test_garbage_in_metrics_is_kept_aside(tmp_path):
    path = tmp_path / "metrics.csv"
    good = "step,epoch,seconds,name,value\n10,0.1,1.0,loss,3\n"
    path.write_bytes(good.encode() + b"\xff\xfe\0,,\nnonsense\n1e9,a,b,c,d\n")
    assert len(read_metrics(path)[0]) == 1
    trim_metrics(path, 20)
    assert path.read_text() == good
    assert "nonsense" in (tmp_path / "metrics.csv.damaged-1").read_text(
        errors="replace"
    )


def test_one_damaged_row_is_kept_aside_and_never_overwritten(tmp_path):
    path = tmp_path / "metrics.csv"
    for number, damage in enumerate(("10,0.1,1.0,lo", "10,x,1.0,loss,3"), 1):
        path.write_text(f"{damage}\n20,0.2,2.0,loss,2\n30,0.3,3.0,lo")
        rows, damaged = read_metrics(path)
        assert (len(rows), damaged) == (1, 1)  # what a kill has cut is no damage
        trim_metrics(path, 20)
        assert damage in (tmp_path / f"metrics.csv.damaged-{number}").read_text()


def test_nan_is_null_in_json(tmp_path):
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": 1.0})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": 1.0}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def overrides(**more):
    return {
        "steps": 8,
        "batch_size": 4,
        "workers": 0,
        "log_every": 2,
        "evaluate_every": 1000,
        "val_frames": 4,
        "checkpoint_every": 2,
        "ema": 0.9,
        **more,
    }


def new_run(root, name, **more):
    return runs.create_run(
        root, "quick", make_settings("quick", overrides(**more)), name
    )


@pytest.mark.parametrize(
    ("wanted", "native", "here"),
    [
        ("auto", True, "bf16-mixed"),
        ("auto", False, "32-true"),
        ("32-true", True, "32-true"),
        ("16-mixed", True, "bf16-mixed"),
        ("bf16-mixed", False, "bf16-mixed"),
    ],
)
def test_precision_of_this_machine(wanted, native, here, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert precision_here(wanted) == here


def test_four_real_frames_are_overfitted(real_frames, tmp_path, monkeypatch):
    """Under 5 mm and all hand types right within 300 steps of `quick`, not augmented."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    monkeypatch.setenv("DIGIT_CACHE", str(tmp_path / "cache"))
    run = new_run(
        real_frames,
        "real",
        steps=300,
        augment=False,
        ema=0,
        batch_size=4,
        evaluate_every=100,
        checkpoint_every=1000,
    )
    result = train_run(run)
    assert result["mpjpe_all"] < 5
    assert result["handedness_accuracy"] == 1


def test_checkpoint_keeps_the_image_size(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    overrides = {"steps": 2, "batch_size": 4, "workers": 0, "precision": "32-true"}
    settings = make_settings("quick", overrides | {"image_size": 64})
    run = runs.create_run(tiny_root, "quick", settings, "size")
    found = train_run(run)
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert load_network(checkpoint).image_size == 64
    again = evaluate(tiny_root, "val", "gt", checkpoint)
    assert again["mpjpe_all"] == pytest.approx(found["mpjpe_all"], rel=1e-4)


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3])
def test_gradients_are_clipped_under_mixed_precision(
    clip_norm, tiny_root, tmp_path, monkeypatch
):
    """Lightning would refuse to with a fused optimiser."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    more = {
        "precision": "bf16-mixed",
        "clip_norm": clip_norm,
        "accumulate": 2,
        "ema": 0,
    }
    run = new_run(tiny_root, "mixed", steps=1, **more)
    assert train_run(run)["steps"] == 1
    optimizer = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[
        "optimizer"
    ]
    assert optimizer["param_groups"][0]["fused"]
    moments = torch.cat(
        [state["exp_avg"].flatten() for state in optimizer["state"].values()]
    )
    norm = float(moments.norm()) / 0.1  # after one step: (1 − β₁) × gradient
    assert norm == pytest.approx(1e-3, rel=0.01) if clip_norm else norm > 0.1

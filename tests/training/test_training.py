"""The stream, the settings, precision, and the four real frames learnt by heart."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from digit.inference.evaluate import evaluate
from digit.model.checkpoints import load_network
from digit.training import runs
from digit.files import write_json
from digit.training.loop import fit, precision_here, trim_metrics
from digit.training.sampler import StreamSampler
from digit.training.settings import PRESETS, Settings, make_settings


@given(
    n=st.integers(1, 30),
    accumulate=st.integers(1, 3),
    world=st.integers(1, 3),
    start=st.integers(0, 9),
    seed=st.integers(0, 5),
)
def test_stream_is_one_whatever_reads_it(n, accumulate, world, start, seed):
    """Any start, accumulation or number of processes reads the same samples, each epoch once."""
    settings = Settings(
        batch_size=6 * accumulate * world, accumulate=accumulate, seed=seed
    )
    plain = Settings(batch_size=settings.batch_size, seed=seed)
    whole = [p for batch in StreamSampler(n, plain, 10, 0, 0, 1) for p in batch]
    parts = [
        list(StreamSampler(n, settings, 10, start, r, world)) for r in range(world)
    ]
    joined = [sorted(p for batch in batches for p in batch) for batches in zip(*parts)]
    size = settings.batch_size // accumulate
    tail = whole[start * settings.batch_size :]
    assert joined == [sorted(tail[i : i + size]) for i in range(0, len(tail), size)]
    epochs = len(whole) // n
    for epoch in range(epochs):
        assert sorted(whole[epoch * n : (epoch + 1) * n]) == list(
            range(epoch * n, (epoch + 1) * n)
        )


def test_presets_hold_the_papers_recipe():
    paper = PRESETS["paper"]
    assert (paper.learning_rate, paper.epochs, paper.drop_at) == (1e-4, 50, 40 / 50)
    assert (paper.batch_size, paper.accumulate, paper.precision) == (64, 2, "16-mixed")
    assert (paper.evaluate_every, paper.seed, paper.network) == (2, 1, "full")
    weights = paper.loss_weights()
    assert weights["parts"] == 10 and weights["bones"] == 0.1 and weights["joints"] == 1


@pytest.mark.parametrize(
    ("preset", "key", "value", "said"),
    [
        ("huge", "seed", "1", "preset 'huge' is unknown; choose one of paper"),
        ("quick", "learningrate", "1", "--set learningrate: unknown key"),
        ("quick", "epochs", "many", "--set epochs=many: needs a value of type float"),
        (
            "quick",
            "batch_size",
            "8.5",
            "--set batch_size=8.5: needs a value of type int",
        ),
        ("quick", "batch_size", "0", "must be above 0"),
        ("quick", "precision", "8", "choose one of 32-true"),
        ("quick", "image_size", "100", "image_size=100: must be a multiple of 32"),
        ("quick", "image_size", "-32", "image_size=-32: must be a number from 0 on"),
        ("quick", "epochs", "-3", "epochs=-3.0: must be a number from 0 on"),
        (
            "quick",
            "learning_rate",
            "nan",
            "learning_rate=nan: must be a number from 0 on",
        ),
        ("quick", "checkpoint_every", "0", "checkpoint_every=0: must be above 0"),
        ("paper", "batch_size", "33", "must be a multiple"),
        ("quick", "augment", "maybe", "needs a value of type bool"),
    ],
)
def test_wrong_settings_are_named(preset, key, value, said):
    with pytest.raises(ValueError, match=said):
        make_settings(preset, {key: value})


def test_settings_convert_text():
    settings = make_settings(
        "quick", {"augment": "false", "steps": "600", "learning_rate": "3e-4"}
    )
    assert (
        settings.augment is False
        and settings.steps == 600
        and settings.learning_rate == 3e-4
    )


def test_metrics_rows_after_the_checkpoint_are_dropped(tmp_path):
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


def test_json_is_whole_and_knows_no_nan(tmp_path):
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
def test_precision_is_the_machines_where_it_may_choose(
    wanted, native, here, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert precision_here(wanted) == here


def test_four_real_frames_are_learnt_by_heart(real_frames, tmp_path, monkeypatch):
    """Under 5 mm and all four hand types right within 600 steps of `quick`, not augmented."""
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
    result = fit(run)
    assert result["mpjpe_all"] < 5
    assert result["handedness_accuracy"] == 1


def test_a_checkpoint_keeps_the_size_its_run_was_trained_at(
    tiny_root, tmp_path, monkeypatch
):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    overrides = {"steps": 2, "batch_size": 4, "workers": 0, "precision": "32-true"}
    settings = make_settings("quick", overrides | {"image_size": 64})
    run = runs.create_run(tiny_root, "quick", settings, "size")
    found = fit(run)
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert load_network(checkpoint).image_size == 64
    again = evaluate(tiny_root, "val", "gt", checkpoint)
    assert again["mpjpe_all"] == pytest.approx(found["mpjpe_all"], rel=1e-4)


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3])
def test_a_fused_optimiser_clips_under_mixed_precision(
    clip_norm, tiny_root, tmp_path, monkeypatch
):
    """Lightning would refuse to; the mean gradient's norm is held to what is asked."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    more = {
        "precision": "bf16-mixed",
        "clip_norm": clip_norm,
        "accumulate": 2,
        "ema": 0,
    }
    run = new_run(tiny_root, "mixed", steps=1, **more)
    assert fit(run)["steps"] == 1
    optimizer = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[
        "optimizer"
    ]
    assert optimizer["param_groups"][0]["fused"]
    moments = torch.cat(
        [state["exp_avg"].flatten() for state in optimizer["state"].values()]
    )
    norm = float(moments.norm()) / 0.1  # after one step: (1 − β₁) × gradient
    assert norm == pytest.approx(1e-3, rel=0.01) if clip_norm else norm > 0.1

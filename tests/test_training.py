"""The stream, the schedule, resuming, and the four real frames learnt by heart."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from digit import runs
from digit.settings import PRESETS, Settings, make_settings
from digit.training import StreamSampler, fit, trim_metrics, write_json


@given(
    n=st.integers(1, 30), accumulate=st.integers(1, 3), world=st.integers(1, 3),
    start=st.integers(0, 9), seed=st.integers(0, 5),
)  # fmt: skip
def test_stream_is_one_whatever_reads_it(n, accumulate, world, start, seed):
    """Any start, accumulation or number of processes reads the same samples, each epoch once."""
    settings = Settings(batch_size=6 * accumulate * world, accumulate=accumulate, seed=seed)
    plain = Settings(batch_size=settings.batch_size, seed=seed)
    whole = [p for batch in StreamSampler(n, plain, 10, 0, 0, 1) for p in batch]
    parts = [list(StreamSampler(n, settings, 10, start, r, world)) for r in range(world)]
    joined = [sorted(p for batch in batches for p in batch) for batches in zip(*parts)]
    size = settings.batch_size // accumulate
    tail = whole[start * settings.batch_size :]
    assert joined == [sorted(tail[i : i + size]) for i in range(0, len(tail), size)]
    epochs = len(whole) // n
    for epoch in range(epochs):
        assert sorted(whole[epoch * n : (epoch + 1) * n]) == list(range(epoch * n, (epoch + 1) * n))


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
        ("quick", "batch_size", "8.5", "--set batch_size=8.5: needs a value of type int"),
        ("quick", "batch_size", "0", "must be above 0"),
        ("quick", "precision", "8", "choose one of 32-true"),
        ("paper", "batch_size", "33", "must be a multiple"),
        ("quick", "augment", "maybe", "needs a value of type bool"),
    ],
)
def test_wrong_settings_are_named(preset, key, value, said):
    with pytest.raises(ValueError, match=said):
        make_settings(preset, {key: value})


def test_settings_convert_text():
    settings = make_settings("quick", {"augment": "false", "steps": "600", "learning_rate": "3e-4"})
    assert settings.augment is False and settings.steps == 600 and settings.learning_rate == 3e-4


def test_metrics_rows_after_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    trim_metrics(path, 0)
    with path.open("a") as file:
        file.write("10,0.1,1.0,loss,3\n20,0.2,2.0,loss,2\n30,0.3,3.0,lo")  # cut in the middle
    trim_metrics(path, 20)
    assert path.read_text().splitlines()[1:] == ["10,0.1,1.0,loss,3", "20,0.2,2.0,loss,2"]


def test_json_is_whole_and_knows_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": 1.0})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": 1.0}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def overrides(**more):
    return {
        "steps": 8, "batch_size": 4, "workers": 0, "log_every": 2, "evaluate_every": 1000,
        "val_frames": 4, "checkpoint_every": 2, "ema": 0.9, **more,
    }  # fmt: skip


def new_run(root, name, **more):
    return runs.create_run(root, "quick", make_settings("quick", overrides(**more)), name)


def weights_of(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_killed_and_resumed_is_bit_identical(tiny_root, tmp_path, monkeypatch):
    """SIGKILL at random moments; the resumed run ends with the weights of an undisturbed one."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    calm = new_run(tiny_root, "calm")
    fit(calm)
    hurt = new_run(tiny_root, "hurt")
    rng = np.random.default_rng(0)
    for _ in range(2):
        process = start(hurt)
        wait_for_step(hurt, process, int(rng.integers(2, 7)))
        process.kill()
        process.wait()
    assert not (hurt / "result.json").exists()
    fit(hurt)
    a, b = weights_of(calm), weights_of(hurt)
    assert a["step"] == b["step"] == 8
    for key in ("state_dict", "ema"):
        assert all(torch.equal(a[key][k], b[key][k]) for k in a[key])
    values = [
        [line for line in (r / "metrics.csv").read_text().splitlines() if ",loss," in line]
        for r in (calm, hurt)
    ]
    strip = [[(v.split(",")[0], v.split(",")[-1]) for v in rows] for rows in values]
    assert strip[0] == strip[1]


def start(run):
    with (run / "log.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "digit", "fit", str(run)], stdout=log, stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )  # fmt: skip


def wait_for_step(run, process, step, limit_s=120):
    end = time.monotonic() + limit_s
    while runs.progress(run).get("step", 0) < step:
        assert process.poll() is None, (run / "log.txt").read_text()
        assert time.monotonic() < end, "the run makes no progress"
        time.sleep(0.02)


def test_sigterm_leaves_a_checkpoint_and_a_clear_line(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    run = new_run(tiny_root, "term", steps=2000, checkpoint_every=100000)
    process = start(run)
    wait_for_step(run, process, 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    state = weights_of(run)
    assert state["step"] >= 2 and not (run / "result.json").exists()
    assert f"stopped at step {state['step']} of 2000" in (run / "log.txt").read_text()
    assert runs.state(run) == "stopped"


def test_a_loss_that_is_not_finite_ends_the_run(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    run = new_run(tiny_root, "nan", learning_rate=1e30, clip_norm=0, warmup=0)
    with pytest.raises(ValueError, match=r"loss is not finite .* the last good checkpoint is kept"):
        fit(run)
    assert not (run / "result.json").exists()


def test_four_real_frames_are_learnt_by_heart(shared, tmp_path, monkeypatch):
    """Under 5 mm and all four hand types right within 600 steps of `quick`, not augmented."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    monkeypatch.setenv("DIGIT_CACHE", str(tmp_path / "cache"))
    run = new_run(
        shared / "data" / "InterHand2.6M_sample", "real", steps=300, augment=False, ema=0,
        batch_size=4, evaluate_every=100, checkpoint_every=1000,
    )  # fmt: skip
    result = fit(run)
    assert result["mpjpe_all"] < 5
    assert result["handedness_accuracy"] == 1


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_mixed_precision_with_and_without_clipping(clip_norm, tiny_root, tmp_path, monkeypatch):
    """Lightning refuses to clip under a fused optimiser in mixed precision."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    more = {"precision": "bf16-mixed", "clip_norm": clip_norm, "accumulate": 2}
    run = new_run(tiny_root, "mixed", steps=2, **more)
    assert fit(run)["steps"] == 2

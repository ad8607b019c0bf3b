"""What only a GPU shows: `DIGIT_CUDA=1 python -m pytest tests/test_cuda.py`."""

import numpy as np
import pytest
import torch

from digit.model.network import build_network, optimized_for_inference
from digit.training import runs
from digit.training.loop import train_run
from digit.training.settings import make_settings

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no GPU, or no DIGIT_CUDA=1"
)


@pytest.mark.parametrize("name", ["quick", "full"])
def test_forward_pass_equals_the_cpus(name):
    network = build_network(name, pretrained=False).eval()
    image = torch.rand(2, 3, network.image_size, network.image_size)
    with torch.no_grad():
        expected = network(image)
        torch.backends.cudnn.allow_tf32 = False
        found = optimized_for_inference(network).cuda()(image.cuda())
        with torch.autocast("cuda", torch.bfloat16):
            half = network.cuda()(image.cuda())
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b.cpu(), a, atol=5e-3, rtol=1e-3)
    assert (
        half.joints_25d.cpu() - expected.joints_25d
    ).abs().mean() < 0.5  # cells of 64


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "auto"])
def test_training_learns_and_resumes(precision, tiny_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    changes = {
        "steps": 30,
        "batch_size": 8,
        "accumulate": 2,
        "workers": 2,
        "log_every": 5,
        "ema": 0.9,
        "precision": precision,
        "augment": False,
        "checkpoint_every": 10,
        "val_frames": 8,
    }
    run = runs.create_run(tiny_root, "quick", make_settings("quick", changes), "cuda")
    assert train_run(run)["steps"] == 30
    loss = runs.curves(run)["loss"].dropna()
    assert loss.iloc[-1] < 0.7 * loss.iloc[0]
    runs.change(run, {"steps": 34})
    assert train_run(run)["steps"] == 34


def test_compiled_run_leaves_a_plain_checkpoint(tiny_root, tmp_path, monkeypatch):
    from training_runs import start

    from digit.model.checkpoints import load_network

    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    changes = {
        "steps": 4,
        "batch_size": 8,
        "compile": True,
        "val_frames": 8,
        "precision": "auto",
    }
    run = runs.create_run(
        tiny_root, "quick", make_settings("quick", changes), "compiled"
    )
    assert start(run).wait(600) == 0, (
        run / "log.txt"
    ).read_text()  # without shape checks
    load_network(run / "checkpoints" / "best.ckpt")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")
def test_two_gpus_train_as_one(tiny_root, tmp_path, monkeypatch):
    from training_runs import FOUR_STEPS, curve, start

    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    one, two = (
        runs.create_run(
            tiny_root, "quick", make_settings("quick", FOUR_STEPS | {"devices": n}), ""
        )
        for n in (1, 2)
    )
    train_run(one)
    assert start(two).wait(400) == 0, (two / "log.txt").read_text()
    np.testing.assert_allclose(curve(two)[0], curve(one)[0], rtol=1e-4)
    np.testing.assert_allclose(curve(two), curve(one), rtol=1e-2)

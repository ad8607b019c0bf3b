"""The doctor for weights: checksums of those that ship, and what any file computes."""

import shutil

import pytest
import torch

from digit.cli import main
from digit.doctor.weights import CHECKSUMS, examine_shipped_weights, examine_weights
from digit.model.checkpoints import save_checkpoint
from digit.model.network import build_network
from digit.paths import WEIGHTS_DIR


@pytest.fixture(scope="module")
def network():
    return build_network("quick", pretrained=False).eval()


@pytest.fixture
def checkpoint(network, tmp_path):
    path = tmp_path / "some.ckpt"
    save_checkpoint(path, network)
    return path


def test_shipped_weights_are_those_listed():
    """After a change: cd data/weights; sha256sum small.ckpt mediapipe/*.tflite > SHA256SUMS"""
    assert examine_shipped_weights() == []
    listed = (WEIGHTS_DIR / CHECKSUMS).read_text()
    there = [
        p for p in WEIGHTS_DIR.rglob("*") if p.suffix in (".ckpt", ".tflite", ".onnx")
    ]
    assert all(path.name in listed for path in there)


def test_changed_cut_and_missing_shipped_weights(tmp_path):
    folder = shutil.copytree(WEIGHTS_DIR, tmp_path / "weights")
    content = bytearray((folder / "small.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "small.ckpt").write_bytes(content)
    palm = folder / "mediapipe/palm_detection_full.tflite"
    palm.write_bytes(palm.read_bytes()[:-1])
    (folder / "mediapipe/hand_landmark_full.tflite").unlink()
    found = {
        row.where.rpartition("/")[2]: row.finding
        for row in examine_shipped_weights(folder)
    }
    assert "checksum is another" in found["small.ckpt"]
    assert "checksum is another" in found["palm_detection_full.tflite"]
    assert found["hand_landmark_full.tflite"] == "is missing"


def test_whole_weights_have_no_findings(checkpoint):
    assert examine_weights(checkpoint) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>", b"\x80\x04N."])
@pytest.mark.parametrize("suffix", ["ckpt", "onnx", "tflite"])
def test_what_is_no_network(content, suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    [found] = examine_weights(path)
    assert found.severity == "error" and found.hint


def test_weights_of_nan(network, checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    next(iter(content["state_dict"].values())).fill_(float("nan"))
    torch.save(content, checkpoint)
    [found] = examine_weights(checkpoint)
    assert "NaN" in found.finding


def test_weights_that_overflow(network, checkpoint):
    """Every weight is finite, what they compute is not."""
    content = torch.load(checkpoint, weights_only=True)
    for name, tensor in content["state_dict"].items():
        if name.startswith("hand_fc") and tensor.is_floating_point():
            tensor.fill_(3e38)
    torch.save(content, checkpoint)
    assert any("NaN or infinite" in row.finding for row in examine_weights(checkpoint))


def test_a_wrong_rank(checkpoint, monkeypatch):
    class Odd(torch.nn.Module):
        image_size = 64

        def forward(self, image):
            outputs = [torch.zeros(1, 42, 2), torch.zeros(1, 1), torch.zeros(1, 2)]
            return [*outputs, torch.zeros(1, 33, 32, 32), torch.zeros(1, 42, 16, 16)]

    monkeypatch.setattr("digit.doctor.weights.load_network", lambda _: Odd())
    found = examine_weights(checkpoint)
    assert ["joints_25d" in row.finding for row in found] == [True, False]
    assert "has shape (1, 1), not (1,)" in found[1].finding


def test_the_command(checkpoint, tmp_path, capsys):
    assert main(["doctor", "--weights", str(checkpoint)]) == 0
    assert main(["doctor", "--weights", str(tmp_path / "none.ckpt")]) == 1
    assert "is missing" in capsys.readouterr().out
    words = ["doctor", "--weights", str(checkpoint), "--json", str(checkpoint)]
    assert main(words) == 2, "an output is never an input"

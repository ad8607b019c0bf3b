"""benchmarks/gpu.py, as far as a machine without a GPU can run it."""

import sys
from pathlib import Path

import pytest
import torch

from digit.model.checkpoints import load_network, save_checkpoint
from digit.model.network import build_network

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
gpu = pytest.importorskip("gpu")


def test_every_combination_is_measured():
    rows = gpu.speeds("quick", [1], "cpu", 1, compiled=False)
    assert [(row["job"], row["precision"]) for row in rows] == [
        (job, precision)
        for job in ("training", "inference")
        for precision in gpu.DTYPES
    ]
    assert all(row["images_per_s"] > 0 for row in rows if row["precision"] != "fp16")


def test_a_failure_is_a_row(monkeypatch):
    def fails(*_):
        raise RuntimeError("out of memory\nby a lot")

    monkeypatch.setattr(gpu, "training_step", fails)
    rows = gpu.speeds("quick", [1], "cpu", 1, compiled=False)
    failed = [row for row in rows if row["job"] == "training"]
    assert [row["failed"] for row in failed] == ["out of memory"] * len(gpu.DTYPES)
    text = gpu.table(rows)
    assert text.count("failed: out of memory") == len(gpu.DTYPES)
    assert text.count("\n") == len(rows) + 1


def test_split_weights_can_be_joined(tmp_path, monkeypatch):
    network = build_network("quick", pretrained=False)
    save_checkpoint(tmp_path / "best.ckpt", network)
    gpu.halve(tmp_path / "best.ckpt", tmp_path / "half.ckpt")
    assert (tmp_path / "half.ckpt").stat().st_size < 0.55 * (
        tmp_path / "best.ckpt"
    ).stat().st_size
    monkeypatch.setattr(gpu, "PIECE", 2**20)
    pieces = gpu.split(tmp_path / "half.ckpt", tmp_path / "pieces")
    assert len(pieces) > 3 and all(piece.stat().st_size <= 2**20 for piece in pieces)
    gpu.join(tmp_path / "pieces", tmp_path / "whole.ckpt")
    weights = load_network(tmp_path / "whole.ckpt").conv_hm.weight
    torch.testing.assert_close(weights, network.conv_hm.weight, atol=1e-3, rtol=1e-3)
    pieces[1].unlink()
    with pytest.raises(ValueError, match="a piece is missing or damaged"):
        gpu.join(tmp_path / "pieces", tmp_path / "whole.ckpt")

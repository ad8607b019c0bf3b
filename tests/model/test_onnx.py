"""Networks as ONNX: the same predictions as torch, and other files are refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from digit.cli import main
from digit.model.checkpoints import load_network, save_checkpoint
from digit.model.network import build_network
from digit.model.onnx import OnnxNetwork, export

onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("onnxruntime", reason="the extra export is not installed")
pytest.importorskip("onnxscript", reason="the extra export is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small network's checkpoint, and the ONNX file that the command makes of it."""
    folder = tmp_path_factory.mktemp("onnx")
    widths = {
        "features": 8,
        "part_widths": (4, 4),
        "part_features": (4, 4),
        "unet": (4, 4, 4, 4),
    }
    network = build_network("quick", pretrained=True, **widths, head=(4, 4, 4, 4, 8, 8))
    save_checkpoint(folder / "x.ckpt", network)
    assert (
        main(["export", str(folder / "x.ckpt"), "--out", str(folder / "x.onnx")]) == 0
    )
    return folder / "x.ckpt", folder / "x.onnx"


def test_predictions_equal_torchs(exported):
    ours, theirs = load_network(exported[0]), OnnxNetwork(exported[1])
    assert theirs.image_size == ours.image_size
    for batch in (1, 2, 5):
        image = torch.rand(
            batch, 3, 128, 128, generator=torch.Generator().manual_seed(batch)
        )
        with torch.no_grad():
            pairs = zip(
                ours(image),
                theirs(image.contiguous(memory_format=torch.channels_last)),
                strict=True,
            )
        for a, b in pairs:
            torch.testing.assert_close(b, a, atol=1e-3, rtol=1e-4)
    assert sorted(p.name for p in exported[1].parent.iterdir()) == ["x.ckpt", "x.onnx"]


def test_predict_command_takes_onnx(exported, tiny_root, tmp_path):
    image = next((tiny_root / "images" / "test").rglob("*.jpg"))
    for i, path in enumerate(exported):
        words = [
            "predict",
            str(image),
            "--bbox",
            "-10,20,300,300",
            "--checkpoint",
            str(path),
            "--precision",
            "32",
        ]
        assert main([*words, "--json", str(tmp_path / f"{i}.json")]) == 0
    a, b = (json.loads((tmp_path / f"{i}.json").read_text()) for i in range(2))
    np.testing.assert_allclose(a["joints_px"], b["joints_px"], atol=0.05)
    assert a["hands"] == b["hands"]


def test_different_predictions_leave_no_file(exported, tmp_path, monkeypatch):
    made = SimpleNamespace(model_proto=onnx.load(exported[1]))
    del made.model_proto.metadata_props[:]  # as torch gives it, without our checksum
    monkeypatch.setattr("torch.onnx.export", lambda *_, **__: made)
    monkeypatch.setattr("digit.model.onnx.MAX_DIFFERENCE", 0.0)
    with pytest.raises(ValueError, match=r"y\.onnx: onnxruntime differs from torch by"):
        export(exported[0], tmp_path / "y.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_package_is_named(exported, tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", str(exported[0]), "--out", str(tmp_path / "y.onnx")]) == 2
    assert "onnx is not installed" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"pip install -e '\.\[export\]'"):
        OnnxNetwork(exported[1])


def faulty(content: bytes) -> dict[str, bytes]:
    """Files that are no export of ours, by what is wrong with them."""

    def changed(change) -> bytes:
        model = onnx.load_from_string(content)
        change(model)
        return model.SerializeToString()

    def elsewhere(model):
        tensor = next(t for t in model.graph.initializer if t.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = tensor.EXTERNAL
        tensor.external_data.add(key="location", value="../../../etc/passwd")

    def no_size(model):
        model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "s"

    def huge_size(model):
        model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 10**9

    def other_network(model):
        del model.graph.output[1:]

    return {
        "a web page": b"<html>404 not found</html>",
        "empty": b"",
        "cut short": content[: len(content) // 2],
        "weights of another file": changed(elsewhere),
        "other outputs": changed(other_network),
        "a foreign operator": changed(
            lambda model: setattr(model.graph.node[0], "domain", "evil")
        ),
        "control flow": changed(
            lambda model: setattr(model.graph.node[3], "op_type", "Loop")
        ),
        "no image size": changed(no_size),
        "a huge image size": changed(huge_size),
    }


@pytest.mark.parametrize("number", range(9))
def test_other_files_are_refused_in_one_line(number, exported, tmp_path, capsys):
    kind, content = list(faulty(exported[1].read_bytes()).items())[number]
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    assert (
        main(["predict", "photo.jpg", "--bbox", "1,2,30,40", "--checkpoint", str(path)])
        == 2
    )
    error = capsys.readouterr().err
    assert error.count("\n") == 1, kind
    assert "bad.onnx: refused" in error and "digit export" in error, kind
    assert "root:" not in error


def test_onnx_is_no_torch_checkpoint(exported, tmp_path):
    with pytest.raises(ValueError, match=r"x\.onnx: refused"):
        load_network(exported[1])
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx: no such file"):
        OnnxNetwork(tmp_path / "gone.onnx")


def test_changed_weights_are_noticed(exported, tmp_path):
    """ONNX itself has no checksums."""
    path = tmp_path / "x.onnx"
    whole = exported[1].read_bytes()
    for share in (0.3, 0.5, 0.7):
        place = int(len(whole) * share)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=f"^{path}: refused"):
            OnnxNetwork(path)


def test_files_without_a_checksum_are_taken(exported, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported[1])
    assert [entry.key for entry in model.metadata_props] == ["digit_checksum"]
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "x.onnx")
    assert OnnxNetwork(tmp_path / "x.onnx").image_size == 128

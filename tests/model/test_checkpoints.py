"""Supported checkpoints load; damaged and hostile ones are refused and run nothing."""

import argparse
import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from network_reference import original_state, reference_input

from digit.model.checkpoints import load_network, load_state, save_checkpoint
from digit.model.network import build_network


@pytest.fixture(scope="module")
def original(reference) -> dict[str, torch.Tensor]:
    return original_state(reference)


@pytest.fixture(scope="module")
def tiny():
    """The quick network with the least widths, for small checkpoints."""
    widths = {
        "features": 8,
        "part_widths": (4, 4),
        "part_features": (4, 4),
        "unet": (4, 4, 4, 4),
    }
    return build_network("quick", pretrained=False, **widths, head=(4, 4, 4, 4, 8, 8))


def joints(network) -> torch.Tensor:
    with torch.no_grad():
        size = network.image_size
        return network(
            torch.linspace(0, 1, 3 * size**2).view(1, 3, size, size)
        ).joints_25d


@pytest.mark.parametrize("prefix", ["", "model.", "module.model."])
def test_original_state_dict_loads_with_any_prefix(original, prefix):
    network = load_network({prefix + key: value for key, value in original.items()})
    assert not network.training and network.image_size == 256
    ours = {f"pose_reg.{key}": value for key, value in network.state_dict().items()}
    assert ours.keys() == original.keys()
    assert all(torch.equal(ours[key], original[key]) for key in ours)


@pytest.mark.parametrize("zipped", [True, False])
def test_lightning_checkpoint_loads(original, tmp_path, zipped):
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.utilities.parsing import AttributeDict

    content = {
        "epoch": 49,
        "pytorch-lightning_version": "0.9.0",
        "callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(14.8)}},
        "hparams_name": "args",
        "hyper_parameters": AttributeDict(
            lr=1e-4, args=argparse.Namespace(batch_size=64)
        ),
        "lr_schedulers": [{"milestones": [40]}],
        "state_dict": {f"model.{key}": value for key, value in original.items()},
    }
    torch.save(content, tmp_path / "l.ckpt", _use_new_zipfile_serialization=zipped)
    network = load_network(tmp_path / "l.ckpt")
    assert torch.equal(network.conv_hm.weight, original["pose_reg.conv_hm.weight"])
    assert network(reference_input()[:1]).joints_25d.shape == (1, 42, 3)


def test_official_hrnet_file_fills_the_backbone(original):
    import timm

    state = timm.create_model(
        "hrnet_w32"
    ).state_dict()  # with its classifier and all fusions
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    network = load_network(state)
    assert torch.equal(network.backbone.conv1.weight, state["conv1.weight"])
    trained = load_network(original)
    load_state(trained, state)
    assert torch.equal(trained.backbone.conv1.weight, state["conv1.weight"])
    assert torch.equal(trained.conv_hm.weight, original["pose_reg.conv_hm.weight"])
    with pytest.raises(ValueError, match=r"hrnet_w32.*backbone\.stage4\.0\.branches"):
        cut = {k: v for k, v in state.items() if not k.startswith("stage4.0.branches")}
        load_network(cut)


def test_own_checkpoint_loads(tiny, tmp_path):
    save_checkpoint(tmp_path / "own.ckpt", tiny, step=3, settings={"seed": 1}, best={})
    network = load_network(tmp_path / "own.ckpt")
    assert network.arguments == tiny.arguments and not network.training
    assert torch.equal(joints(network), joints(tiny.eval()))
    blind = build_network("quick", parts="none", pretrained=False)
    save_checkpoint(tmp_path / "none.ckpt", blind)
    assert load_network(tmp_path / "none.ckpt").parts == "none"
    assert not list(tmp_path.glob(".*"))  # nothing half-written left


def test_averaged_weights_come_first(tiny, tmp_path):
    average = {key: value * 0 + 2 for key, value in tiny.state_dict().items()}
    save_checkpoint(tmp_path / "ema.ckpt", tiny, ema=average)
    assert (load_network(tmp_path / "ema.ckpt").conv_hm.weight == 2).all()
    content = torch.load(tmp_path / "ema.ckpt", weights_only=True)
    assert torch.equal(content["state_dict"]["conv_hm.weight"], tiny.conv_hm.weight)


def test_half_precision_weights_load_as_float32(tiny):
    state = {
        k: v.half() if v.is_floating_point() else v
        for k, v in tiny.state_dict().items()
    }
    network = load_network({"state_dict": state, "network": tiny.arguments})
    assert network.conv_hm.weight.dtype == torch.float32


def test_failed_save_leaves_the_old_checkpoint(tiny, tmp_path):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, tiny, step=1)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, tiny, step=lambda: None)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [
        "last.ckpt"
    ]


def test_faults_are_named(tiny, tmp_path):
    state, arguments = tiny.state_dict(), tiny.arguments

    def refused(match: str, changes: dict | None = None, drop: str = "", **content):
        kept = {
            k: v
            for k, v in (state | (changes or {})).items()
            if not (drop and drop in k)
        }
        path = tmp_path / "faulty.ckpt"
        torch.save({"state_dict": kept, "network": arguments, **content}, path)
        with pytest.raises(ValueError, match=match) as error:
            load_network(path)
        assert "faulty.ckpt" in str(error.value)

    refused(r"missing keys .*conv_hm\.weight, conv_hm\.bias; use", drop="conv_hm")
    refused(r"unexpected keys .*: extra\.weight; use", {"extra.weight": torch.zeros(1)})
    wrong = {"conv_hm.weight": torch.zeros(42, 9, 1, 1)}
    refused(
        r"conv_hm\.weight has shape \(42, 9, 1, 1\).* needs \(42, 12, 1, 1\)", wrong
    )
    refused("conv_hm.weight.*is a str", {"conv_hm.weight": "text"})
    refused(
        "cannot be built.*hf_hub",
        network=arguments | {"backbone": "hf_hub:someone/model"},
    )
    refused("cannot be built", network=arguments | {"surprise": 1})
    refused("cannot be built", network=[1, 2])
    refused("shape", network=arguments | {"features": 100_000})  # claims cost nothing
    refused("cannot be built|shape", network=arguments | {"features": 10**15})
    refused("no weights", state_dict={})
    huge = torch.zeros(1).expand(10**12)
    refused("shape", {"conv_hm.bias": huge})
    with pytest.raises(FileNotFoundError, match=r"gone\.ckpt"):
        load_network(tmp_path / "gone.ckpt")
    before = joints(tiny.eval())
    with pytest.raises(ValueError, match="the state dict"):
        load_state(tiny, state | {"conv_hm.bias": torch.zeros(5)})
    assert torch.equal(joints(tiny), before)  # all or nothing


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((42,), float("nan")), "NaN or infinity"),
        (torch.zeros(42, dtype=torch.complex64), "complex"),
        (torch.zeros(42).to_sparse(), "sparse"),
    ],
)
def test_unusable_numbers_are_refused(value, message, tiny):
    state = {**tiny.state_dict(), "conv_hm.bias": value}
    with pytest.raises(ValueError, match=rf"conv_hm\.bias.*{message}"):
        load_network({"state_dict": state, "network": tiny.arguments})


@pytest.mark.parametrize("size", [0, -128, 10**9, "text", None])
def test_unusable_image_size_is_refused(size, tiny):
    arguments = {**tiny.arguments, "image_size": size}
    with pytest.raises(ValueError, match=r"cannot be built.*image_size"):
        load_network({"state_dict": tiny.state_dict(), "network": arguments})


@pytest.mark.parametrize("damage", ["flipped", "zeroed"])
def test_damaged_tensors_are_noticed(damage, tiny, tmp_path):
    """The weights would load: only the checksums in the file tell."""
    path = tmp_path / "damaged.ckpt"
    save_checkpoint(path, tiny)
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 2048)
    if damage == "zeroed":
        content[middle] = bytes(2048)
    else:
        content[middle] = bytes(255 - byte for byte in content[middle])
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.ckpt: .*(checksum|zip|header)"):
        load_network(path)


def test_shipped_weights_load():
    from digit.paths import SHIPPED_WEIGHTS

    network = load_network(SHIPPED_WEIGHTS)
    assert network.parts == "predicted" and not network.training


class Evil:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Unknown:
    pass


def saved(content: object, **options) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def with_pickle(content: bytes) -> bytes:
    """A zip checkpoint whose pickle is replaced."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved({"a": torch.ones(4)}))) as good,
        zipfile.ZipFile(file, "w") as bad,
    ):
        for entry in good.infolist():
            swap = entry.filename.endswith("data.pkl")
            bad.writestr(entry.filename, content if swap else good.read(entry))
    return file.getvalue()


def squeezed(size: int) -> bytes:
    """A zip bomb: a checkpoint's entries, compressed, one of them immense."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + bytes(size))
        archive.writestr("archive/version", b"3\n")
    return file.getvalue()


def tarred(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors", "../escaped"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def hostile(mark: Path) -> dict[str, bytes]:
    command = f"touch {mark}"
    evil = Evil(os.system, command)
    good = saved({"state_dict": {"a": torch.ones(2000)}})
    inflated = zipfile.ZipFile(io.BytesIO(saved({"a": torch.ones(4)}))).read(
        "archive/data.pkl"
    )
    return {
        "os.system": saved({"state_dict": evil}),
        "os.system, legacy file": saved(
            {"state_dict": evil}, _use_new_zipfile_serialization=False
        ),
        "beside good weights": saved(
            {"state_dict": {"a": torch.ones(2)}, "extra": evil}
        ),
        "subprocess": saved(Evil(subprocess.check_call, ["touch", str(mark)])),
        "eval in hyper-parameters": saved(
            {"hyper_parameters": Evil(eval, f"open('{mark}','w')")}
        ),
        "nested reduce": saved({"a": [({"b": Evil(print, evil)},)]}),
        "an unknown class": saved({"state_dict": {}, "callback": Unknown()}),
        "a whole module": saved(torch.nn.Conv2d(1, 1, 1)),
        "torch.load within": saved(Evil(torch.load, str(mark))),
        "getattr chain": with_pickle(
            b"\x80\x02c__builtin__\ngetattr\ncos\nX\x06\0\0\0system\x86R."
        ),
        "state of a function": with_pickle(
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}b."
        ),
        "setattr on a tensor class": with_pickle(
            b"\x80\x02ctorch\nTensor\n}X\x01\0\0\0aK\x01sb."
        ),
        "old-style instance": with_pickle(f"(S'{command}'\niposix\nsystem\n.".encode()),
        "a plain pickle": pickle.dumps(evil),
        "a pickled list": pickle.dumps([1, 2]),
        "storage larger than its bytes": with_pickle(
            inflated.replace(b"K\x04", b"M\x00\x40")
        ),
        "storage that is not there": with_pickle(
            inflated.replace(b"\x000q", b"\x009q")
        ),
        "zip bomb": squeezed(30_000_000),
        "legacy tar": tarred(pickle.dumps(evil)),
        "cut short": good[: len(good) // 2],
        "legacy, cut short": saved(
            {"a": torch.ones(2000)}, _use_new_zipfile_serialization=False
        )[:3000],
        "empty": b"",
        "a web page": b"<html>404 not found</html>",
        "zeros": bytes(1000),
        "no weights but a list": saved([torch.ones(2)]),
        "TorchScript": scripted(),
    }


def scripted() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), file)
    return file.getvalue()


@pytest.mark.parametrize("name", hostile(Path("x")))
def test_hostile_checkpoint_is_refused(tmp_path, name):
    mark, path = tmp_path / "evil", tmp_path / "bad.ckpt"
    path.write_bytes(hostile(mark)[name])
    with pytest.raises(ValueError, match=r"bad\.ckpt: ") as refusal:
        load_network(path)
    assert not mark.exists() and not list(tmp_path.parent.glob("*/escaped"))
    assert len(str(refusal.value)) < 500 + len(str(path))
    assert "`False`" not in str(refusal.value)  # torch's advice to turn the guard off


def test_hostile_checkpoint_would_run_elsewhere(tmp_path):
    """The test above means something: torch alone runs the code in such a file."""
    path, mark = tmp_path / "bad.ckpt", tmp_path / "evil"
    path.write_bytes(hostile(mark)["beside good weights"])
    torch.load(path, weights_only=False)
    assert mark.exists()

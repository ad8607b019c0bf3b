"""Reading and writing checkpoints."""

import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from digit.files import atomic
from digit.model.network import NETWORKS, Digit

PREFIXES = re.compile(r"^((model|module|network|pose_reg|_orig_mod)\.)+")
CLASSIFIER = re.compile(  # of the official HRNet file; the pose network has none of it
    r"^backbone\."
    r"(incre_modules|downsamp_modules|final_layer|classifier|stage4\.2\.fuse_layers\.[123])\."
)
LIGHTNING = [
    f"pytorch_lightning.{name}"
    for name in (
        "utilities.parsing.AttributeDict",
        "callbacks.model_checkpoint.ModelCheckpoint",
        "callbacks.early_stopping.EarlyStopping",
    )
]
# classes beside the weights in a Lightning checkpoint, read as dictionaries
BESIDE = [
    (OrderedDict, name)
    for name in ("argparse.Namespace", "easydict.EasyDict", *LIGHTNING)
]
Source = str | Path | Mapping[str, object]


def load_network(source: Source) -> Digit:
    """The network of a checkpoint file or state dict, in evaluation mode, on the CPU.

    Read are our own checkpoints (averaged weights first), the original's (its state dict with any
    prefix, or inside a Lightning checkpoint) and the official ImageNet file of HRNet-W32, which
    fills the backbone alone. Nothing of a file is executed. Raises FileNotFoundError, or ValueError
    naming the file and its fault: code, damage, missing or unexpected keys, a wrong shape.
    """
    name, content = _read(source)
    arguments = content.get("network", NETWORKS["full"])
    try:
        with torch.device("meta"):  # whatever sizes the file claims cost nothing yet
            outline = Digit(**arguments)
    except Exception as error:
        raise ValueError(
            f"{name}: its network cannot be built: {error!r:.200}"
        ) from None
    state = _fit(content, outline, name)
    network = Digit(**arguments)
    network.load_state_dict(state, strict=False)
    return network.eval()


def load_state(network: Digit, source: Source) -> None:
    """Fill a network with the weights of a checkpoint; sources and errors as `load_network`'s."""
    name, content = _read(source)
    network.load_state_dict(_fit(content, network, name), strict=False)


def save_checkpoint(
    path: str | Path,
    network: Digit,
    ema: Mapping[str, Tensor] | None = None,
    **extra: object,
) -> None:
    """Write a network, its averaged weights and plain extras; a file is replaced whole or not."""
    content = {
        "state_dict": network.state_dict(),
        "network": network.arguments,
        **extra,
    }
    content |= {} if ema is None else {"ema": dict(ema)}
    with atomic(Path(path), "wb") as file:
        torch.save(content, file)


def _read(source: Source) -> tuple[str, dict[str, object]]:
    """What errors call the source, and its content; the weights are under "state_dict" or "ema"."""
    name, content = "the state dict", source
    if not isinstance(source, Mapping):
        name = str(source)
        if not Path(source).is_file():
            raise FileNotFoundError(f"{name}: no such checkpoint; check the path")
        try:
            if zipfile.is_zipfile(source):
                with zipfile.ZipFile(
                    source
                ) as archive:  # a bomb; torch itself never compresses
                    if any(entry.compress_type for entry in archive.infolist()):
                        raise ValueError("its entries are compressed")
            with torch.serialization.safe_globals(BESIDE):
                content = torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:
            text = str(error) or repr(error)
            reason = re.search(
                r"(?:WeightsUnpickler error: |Trying to load )([^\n]+)", text
            )
            reason = (reason[1] if reason else text).split(". ")[0]
            fault = f"refused, broken or more than weights: {reason:.300}"
            raise ValueError(
                f"{name}: {fault}; get the file again from its source"
            ) from None
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{name}: holds a {type(content).__name__}, not weights by name"
        )
    return name, dict(content) if "state_dict" in content else {"state_dict": content}


def _fit(content: Mapping[str, object], network: Digit, name: str) -> dict[str, Tensor]:
    """The content's weights under the network's names, once all names and shapes are right."""
    found = content["ema" if isinstance(content.get("ema"), Mapping) else "state_dict"]
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{name}: holds no weights")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ValueError(f"{name}: {key!r:.100} is a {kind}, not weights by name")
    state = {PREFIXES.sub("", key): value for key, value in found.items()}
    expected = network.state_dict()
    if "layer1.0.conv1.weight" in state:  # HRNet alone
        state = {f"backbone.{key}": value for key, value in state.items()}
        state = {
            key: value for key, value in state.items() if not CLASSIFIER.match(key)
        }
        expected = {
            key: value for key, value in expected.items() if key.startswith("backbone.")
        }
    missing = [
        k for k in expected if k not in state and not k.endswith("num_batches_tracked")
    ]
    unexpected = [key for key in state if key not in expected]
    wrong = [
        f"{key} has shape {tuple(value.shape)}, the network needs {tuple(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    keys_for = f"keys for a {network.arguments['backbone']} network: "
    faults = {
        f"missing {keys_for}": missing,
        f"unexpected {keys_for}": unexpected,
        "": wrong,
    }
    for fault, found in faults.items():
        if found:
            some = ", ".join(found[:8]) + f" and {len(found) - 8} more" * (
                len(found) > 8
            )
            raise ValueError(f"{name}: {fault}{some}; use a checkpoint of this network")
    return state

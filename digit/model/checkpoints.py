"""Reading and writing checkpoints; nothing that a file contains is executed.

`load_network` and `load_state` read our own checkpoints, the original's and the
official ImageNet file of HRNet-W32; `save_checkpoint` writes ours. Training, inference
and export use them.
"""

import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from digit.files import atomic
from digit.model.network import NETWORKS, Digit

Source = str | Path | Mapping[str, object]

# What wrappers (Lightning, DistributedDataParallel, torch.compile, the original's own
# module) put before the parameter names.
PREFIXES = re.compile(r"^((model|module|network|pose_reg|_orig_mod)\.)+")

# Parameters of the official HRNet file that the pose network does not have: the
# classifier, and the parts of the last fusion that feed it.
HRNET_CLASSIFIER = re.compile(
    r"^backbone\."
    r"(incre_modules|downsamp_modules|final_layer|classifier|stage4\.2\.fuse_layers\.[123])\."
)

# Classes that stand beside the weights in a Lightning checkpoint. They are read as
# dictionaries instead, so that none of their code runs.
BESIDE_THE_WEIGHTS = (
    "argparse.Namespace",
    "easydict.EasyDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
)

MAX_KEYS_NAMED = 8  # in an error message


def load_network(source: Source) -> Digit:
    """Load a network.

    Args:
        source: A checkpoint file or a state dict: one of this workbench (its averaged weights,
            where it has them), the original's (with any prefix, or inside a Lightning
            checkpoint), or the official ImageNet file of HRNet-W32, which fills the
            backbone alone.

    Returns:
        The network in evaluation mode, on the CPU, in single precision.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds code, is damaged, or its weights are not those of
            the network: missing or unexpected names, a wrong shape.
    """
    name = source_name(source)
    content = read_checkpoint(source)
    arguments = content.get("network", NETWORKS["full"])

    # Names and shapes are compared with a network without memory, so that whatever
    # sizes the file claims cost nothing.
    try:
        with torch.device("meta"), _NoInitialisation():
            outline = Digit(**arguments)
    except Exception as error:
        reason = f"its network cannot be built: {error!r:.200}"
        raise ValueError(f"{name}: {reason}") from None
    state = matching_state(content, outline, name)

    network = Digit(**arguments)
    network.load_state_dict(state, strict=False)
    return network.eval()


class _NoInitialisation(TorchFunctionMode):
    """Weights stay as they are when a module is built within it.

    For networks without memory: random numbers for those would load torch's compiler,
    which takes longer than all the rest of `load_network`.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        is_random = func in (Tensor.normal_, Tensor.uniform_)
        if is_random or getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def load_state(network: Digit, source: Source) -> None:
    """Fill a network with the weights of a checkpoint, or leave it as it is.

    Args:
        network: The network to fill.
        source: As in `load_network`.

    Raises:
        FileNotFoundError, ValueError: As `load_network`.
    """
    content = read_checkpoint(source)
    state = matching_state(content, network, source_name(source))
    network.load_state_dict(state, strict=False)


def save_checkpoint(
    path: str | Path,
    network: Digit,
    ema: Mapping[str, Tensor] | None = None,
    **extra: object,
) -> None:
    """Write a checkpoint; a file that is there is replaced whole or not at all.

    Args:
        path: The file.
        network: Its weights, and the arguments that build it, are written.
        ema: Averaged weights, which `load_network` prefers.
        extra: Plain values and tensors to keep beside the weights.

    Raises:
        OSError: If it cannot be written.
    """
    content = {
        "state_dict": network.state_dict(),
        "network": network.arguments,
        **extra,
    }
    if ema is not None:
        content["ema"] = dict(ema)
    with atomic(Path(path), "wb") as file:
        torch.save(content, file)


def source_name(source: Source) -> str:
    """What error messages call a source."""
    return "the state dict" if isinstance(source, Mapping) else str(source)


def read_checkpoint(source: Source) -> dict[str, object]:
    """Read the content of a checkpoint, without running any of it.

    Returns:
        A dictionary with the weights under "state_dict" (and averaged ones under
        "ema").

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, holds code, or is no dictionary.
    """
    content = source
    if not isinstance(source, Mapping):
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such checkpoint; check the path")
        content = _read_file(path)
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise ValueError(f"{source_name(source)}: holds a {kind}, not weights by name")
    if "state_dict" in content:
        return dict(content)
    return {"state_dict": content}


def _read_file(path: Path) -> object:
    """Unpickle a file with torch's restricted unpickler."""
    stand_ins = [(OrderedDict, class_name) for class_name in BESIDE_THE_WEIGHTS]
    try:
        _verify_archive(path)
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        fault = f"refused, broken or more than weights: {_reason(error):.300}"
        message = f"{path}: {fault}; get the file again from its source"
        raise ValueError(message) from None


def _verify_archive(path: Path) -> None:
    """Raise ValueError where a zip checkpoint is compressed or damaged.

    torch neither compresses its files (so a compressed one may be a zip bomb) nor looks
    at the checksums that it writes into them.
    """
    if not zipfile.is_zipfile(path):
        return  # torch's old format, which has no checksums
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type for entry in archive.infolist()):
            raise ValueError("its entries are compressed")
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"damaged: the checksum of {damaged} is wrong")


def _reason(error: Exception) -> str:
    """The sentence of torch's error that says what is wrong, without its advice."""
    text = str(error) or repr(error)
    found = re.search(r"(?:WeightsUnpickler error: |Trying to load )([^\n]+)", text)
    sentence = found[1] if found else text
    return sentence.split(". ")[0]


def matching_state(
    content: Mapping[str, object], network: Digit, name: str
) -> dict[str, Tensor]:
    """Bring a checkpoint's weights under the network's parameter names.

    Args:
        content: What `read_checkpoint` returned.
        network: The network that the weights are for.
        name: What error messages call the checkpoint.

    Returns:
        Weights for `network.load_state_dict(…, strict=False)`.

    Raises:
        ValueError: If a name is missing or unexpected, a shape wrong, or a weight NaN.
    """
    # 1. Averaged weights first; wrappers' prefixes removed.
    averaged = content.get("ema")
    found = averaged if isinstance(averaged, Mapping) else content["state_dict"]
    _check_tensors(found, name)
    state = {PREFIXES.sub("", key): value for key, value in found.items()}
    expected = network.state_dict()

    # 2. The official HRNet file: the backbone alone, without its classifier.
    if "layer1.0.conv1.weight" in state:
        state = {f"backbone.{key}": value for key, value in state.items()}
        state = {k: v for k, v in state.items() if not HRNET_CLASSIFIER.match(k)}
        expected = {k: v for k, v in expected.items() if k.startswith("backbone.")}

    # 3. The same names and shapes, and numbers that can be computed with.
    _check_names_and_shapes(state, expected, network.arguments["backbone"], name)
    _check_numbers(state, name)
    return state


def _check_tensors(found: object, name: str) -> None:
    """Raise ValueError unless this is a non-empty dictionary of tensors by name."""
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{name}: holds no weights")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ValueError(f"{name}: {key!r:.100} is a {kind}, not weights by name")


def _check_numbers(state: Mapping[str, Tensor], name: str) -> None:
    """Raise ValueError for weights that are complex, sparse, NaN or infinite."""
    for key, value in state.items():
        if value.is_complex() or value.layout != torch.strided:
            kind = f"a {value.layout} tensor of {value.dtype}"
            raise ValueError(f"{name}: {key} is {kind}, not weights")
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{name}: {key} holds NaN or infinity")


def _check_names_and_shapes(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    backbone: str,
    name: str,
) -> None:
    """Raise ValueError for the first kind of difference, naming some of its keys."""
    missing = []
    for key in expected:
        # Old files have no such counters; they do not matter in evaluation.
        if key not in state and not key.endswith("num_batches_tracked"):
            missing.append(key)
    _refuse_keys(f"{name}: missing keys for a {backbone} network: ", missing)

    unexpected = [key for key in state if key not in expected]
    _refuse_keys(f"{name}: unexpected keys for a {backbone} network: ", unexpected)

    wrong_shapes = []
    for key, value in state.items():
        shape = tuple(value.shape)
        wanted = tuple(expected[key].shape)
        if shape != wanted:
            wrong_shapes.append(f"{key} has shape {shape}, the network needs {wanted}")
    _refuse_keys(f"{name}: ", wrong_shapes)


def _refuse_keys(fault: str, keys: list[str]) -> None:
    """Raise ValueError with some of the keys, if there are any."""
    if not keys:
        return
    named = ", ".join(keys[:MAX_KEYS_NAMED])
    if len(keys) > MAX_KEYS_NAMED:
        named += f" and {len(keys) - MAX_KEYS_NAMED} more"
    raise ValueError(f"{fault}{named}; use a checkpoint of this network")

"""Networks as ONNX files for programs without torch, and such files as networks.

`digit export` calls `export`; `digit predict` runs an `.onnx` file as an `OnnxNetwork`.
Both need the optional packages of the extra `export`.
"""

import hashlib
import importlib
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from digit.files import atomic
from digit.model.checkpoints import load_network
from digit.model.network import Digit, Prediction, check_image_size

OPSET = 18
CONTROL_FLOW = ("If", "Loop", "Scan")  # operators that none of our networks needs
MAX_DIFFERENCE = 1e-3  # between torch and onnxruntime, in cells and logits
CHECKSUM = "digit_checksum"  # the entry of a file's metadata that vouches for the rest
HINT = "make it by digit export CHECKPOINT --out x.onnx"


class OnnxNetwork(torch.nn.Module):
    """An exported network, run by onnxruntime on the CPU, called as the torch one is.

    Args:
        path: A file that `export` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a package is missing, or the file is not one of ours: damaged,
            with other outputs, weights in other files, control flow or foreign
            operators.
    """

    def __init__(self, path: Path | str):
        super().__init__()
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file; {HINT}")
        onnx, onnxruntime = _optional_modules("onnx", "onnxruntime")
        try:
            model = onnx.load(path, load_external_data=False)
            onnx.checker.check_model(model)
            _check_is_ours(model)
            _verify(model)
            self.image_size = _image_size(model)
            self.session = onnxruntime.InferenceSession(
                model.SerializeToString(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise ValueError(f"{path}: refused ({reason:.200}); {HINT}") from None

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Prediction:
        """Predict as `Digit.forward` does."""
        outputs = self.session.run(None, {"image": np.ascontiguousarray(image.numpy())})
        return Prediction(*(torch.from_numpy(output) for output in outputs))


@torch.no_grad()
def export(checkpoint: Path | str, out: Path | str) -> float:
    """Write a checkpoint's network as ONNX.

    The file takes images (b, 3, s, s) in [0, 1] and gives the fields of a `Prediction`.
    It is kept only if onnxruntime computes what torch computes.

    Args:
        checkpoint: As `load_network` takes it.
        out: The file to write.

    Returns:
        The largest difference between torch and onnxruntime on random images.

    Raises:
        FileNotFoundError, ValueError: As `load_network`; ValueError also if `out` is no
            file, if a package is missing, if the network needs true parts, or if the two
            differ.
    """
    if Path(out).exists() and not Path(out).is_file():
        # It is read again for the comparison, which a pipe would never answer.
        raise ValueError(f"{out}: no file (a device, a folder); give a file's name")
    _optional_modules("onnx", "onnxscript", "onnxruntime")
    network = load_network(checkpoint)
    if network.parts == "true":
        reason = "needs the true parts of each image: nothing to export"
        raise ValueError(f"{checkpoint}: {reason}")

    # 1. Translate, with an open batch size.
    example = torch.rand(2, 3, network.image_size, network.image_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=["image"],
            output_names=list(Prediction._fields),
            dynamic_shapes={"image": {0: "batch"}},
        )

    # 2. Write aside and compare; the file is moved into place only if both agree.
    out = Path(out)
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key = CHECKSUM
    entry.value = _checksum(model)
    with atomic(out, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))
        file.flush()
        exported = OnnxNetwork(file.name)
        difference = max(parity(network, exported, batch) for batch in (1, 3))
        if not difference < MAX_DIFFERENCE:
            reason = f"onnxruntime differs from torch by {difference:.2g}"
            raise ValueError(f"{out}: {reason}")
    return difference


def parity(network: Digit, exported: OnnxNetwork, batch: int) -> float:
    """The largest difference of any output on a batch of random images."""
    image = torch.rand(batch, 3, network.image_size, network.image_size)
    differences = []
    for ours, theirs in zip(network(image), exported(image), strict=True):
        differences.append(float((ours - theirs).abs().max()))
    return max(differences)


def _optional_modules(*names: str) -> list[ModuleType]:
    """Import packages of the extra `export`; ValueError names one that is missing."""
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        hint = "ONNX needs the extra export: pip install -e '.[export]'"
        raise ValueError(f"{error.name} is not installed; {hint}") from None


def _check_is_ours(model) -> None:
    """Raise ValueError unless the model is what `export` writes."""
    outputs = [output.name for output in model.graph.output]
    has_our_outputs = outputs == list(Prediction._fields)
    has_plain_operators = not model.functions and all(
        not node.domain and node.op_type not in CONTROL_FLOW
        for node in model.graph.node
    )
    has_weights_inside = all(
        tensor.data_location != tensor.EXTERNAL for tensor in model.graph.initializer
    )
    if not (has_our_outputs and has_plain_operators and has_weights_inside):
        raise ValueError("not what digit export writes")


def _verify(model) -> None:
    """Raise ValueError where the model is not as `export` wrote it.

    ONNX itself has no checksums: changed weights would be used without a word. Files of
    older versions have no entry and are taken as they are.
    """
    recorded = [entry.value for entry in model.metadata_props if entry.key == CHECKSUM]
    if recorded and recorded != [_checksum(model)]:
        raise ValueError("damaged: its checksum is another")


def _checksum(model) -> str:
    """A checksum of all of a model but the entry that holds it."""
    rest = type(model)()
    rest.CopyFrom(model)
    del rest.metadata_props[:]
    for entry in model.metadata_props:
        if entry.key != CHECKSUM:
            rest.metadata_props.append(entry)
    content = rest.SerializeToString(deterministic=True)
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _image_size(model) -> int:
    """Side of the images in pixels; ValueError where the model has no usable one."""
    shape = model.graph.input[0].type.tensor_type.shape
    size = shape.dim[-1].dim_value
    check_image_size(size)
    return size

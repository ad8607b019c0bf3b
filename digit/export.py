"""A network as ONNX, for programs without torch, and back: `digit export`, `digit predict x.onnx`.

onnx, onnxscript and onnxruntime come with the extra `export`.
"""

import importlib
import json
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .inference import load_network
from .network import Digit, Prediction

OPSET, CONTROL_FLOW = 18, ("If", "Loop", "Scan")
MAX_DIFFERENCE = 1e-3  # between torch and onnxruntime: heat-map units, logits
BATCHES = (1, 3)  # on which they are compared


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        cure = "pip install -e '.[export]'"
        raise ValueError(f"{name} is not installed; ONNX needs the extra export: {cure}") from None


class OnnxNetwork(torch.nn.Module):
    """An exported network, run by onnxruntime on the CPU; called as the torch one is.

    Raises FileNotFoundError, and ValueError for a file that is no ONNX of ours: damaged, of other
    inputs and outputs, with weights in other files, or with control flow and foreign operators.
    """

    def __init__(self, path: Path | str):
        super().__init__()
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file; write it with digit export")
        onnx, runtime = _module("onnx"), _module("onnxruntime")
        cure = "export the checkpoint again: digit export CHECKPOINT --out x.onnx"
        try:
            model = onnx.load(path, load_external_data=False)
            onnx.checker.check_model(model)
            notes = {entry.key: entry.value for entry in model.metadata_props}
            self.arguments = json.loads(notes["digit"])
            self.image_size = int(self.arguments["image_size"])
            names = [output.name for output in model.graph.output]
            nodes, weights = model.graph.node, model.graph.initializer
            plain = all(not n.domain and n.op_type not in CONTROL_FLOW for n in nodes)
            inside = all(tensor.data_location != tensor.EXTERNAL for tensor in weights)
            if names != list(Prediction._fields) or not (plain and inside) or model.functions:
                raise ValueError("not what digit export writes")
            options = runtime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            provider = ["CPUExecutionProvider"]
            self.session = runtime.InferenceSession(model.SerializeToString(), options, provider)
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise ValueError(f"{path}: refused ({reason:.200}); {cure}") from None

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Prediction:
        inputs = {"image": np.ascontiguousarray(image.numpy())}
        return Prediction(*map(torch.from_numpy, self.session.run(None, inputs)))


@torch.no_grad()
def export(checkpoint: Path | str, out: Path | str) -> float:
    """Write a checkpoint's network as ONNX, pictures (b, 3, s, s) in [0, 1] → `Prediction`.

    The file is there only if onnxruntime gives what torch gives, for several batch sizes; returned
    is the largest difference. Raises as `load_network`; ValueError where one of the packages or
    the parity is missing, and for a network that needs the true parts.
    """
    onnx, _ = _module("onnx"), (_module("onnxscript"), _module("onnxruntime"))
    network, out = load_network(checkpoint), Path(out)
    if network.parts == "true":
        raise ValueError(f"{checkpoint}: needs the true parts of each picture: nothing to export")
    size = network.image_size
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    names = {"input_names": ["image"], "output_names": list(Prediction._fields)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network, (example,), dynamo=True, opset_version=OPSET, verbose=False, **names,
            dynamic_shapes={"image": {0: "batch"}},
        )  # fmt: skip
    model = program.model_proto
    onnx.helper.set_model_props(model, {"digit": json.dumps(network.arguments)})
    temporary = out.with_name(f".{out.name}.part")
    try:
        temporary.write_bytes(model.SerializeToString())
        difference = parity(network, OnnxNetwork(temporary))
        if not difference < MAX_DIFFERENCE:
            raise ValueError(f"{out}: onnxruntime differs from torch by {difference:.2g}")
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return difference


def parity(network: Digit, exported: OnnxNetwork) -> float:
    """The largest difference of any output on random pictures, for each of the batch sizes."""
    largest, generator = 0.0, torch.Generator().manual_seed(1)
    for batch in BATCHES:
        image = torch.rand(batch, 3, network.image_size, network.image_size, generator=generator)
        for ours, theirs in zip(network(image), exported(image)):
            assert ours.shape == theirs.shape
            largest = max(largest, float((ours - theirs).abs().max()))
    return largest

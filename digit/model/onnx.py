"""A network as ONNX, for programs without torch, and back (the extra `export`)."""

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
from digit.model.network import Digit, Prediction

OPSET, CONTROL_FLOW = 18, ("If", "Loop", "Scan")
MAX_DIFFERENCE = 1e-3  # between torch and onnxruntime: heat-map units, logits


def _modules(*names: str) -> list[ModuleType]:
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        cure = "ONNX needs the extra export: pip install -e '.[export]'"
        raise ValueError(f"{error.name} is not installed; {cure}") from None


class OnnxNetwork(torch.nn.Module):
    """An exported network, run by onnxruntime on the CPU; called as the torch one is.

    Raises FileNotFoundError, and ValueError for a file that is not of ours: damaged, with other
    outputs, weights in other files, control flow or foreign operators.
    """

    def __init__(self, path: Path | str):
        super().__init__()
        cure = "make it by digit export CHECKPOINT --out x.onnx"
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file; {cure}")
        onnx, runtime = _modules("onnx", "onnxruntime")
        try:
            model = onnx.load(path, load_external_data=False)
            onnx.checker.check_model(model)
            graph, fields = model.graph, list(Prediction._fields)
            self.image_size = graph.input[0].type.tensor_type.shape.dim[-1].dim_value
            plain = all(
                not n.domain and n.op_type not in CONTROL_FLOW for n in graph.node
            )
            plain &= all(
                tensor.data_location != tensor.EXTERNAL for tensor in graph.initializer
            )
            plain &= self.image_size > 0 and not model.functions
            if [output.name for output in graph.output] != fields or not plain:
                raise ValueError("not what digit export writes")
            content, provider = model.SerializeToString(), ["CPUExecutionProvider"]
            self.session = runtime.InferenceSession(content, providers=provider)
        except Exception as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise ValueError(f"{path}: refused ({reason:.200}); {cure}") from None

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Prediction:
        inputs = {"image": np.ascontiguousarray(image.numpy())}
        return Prediction(*map(torch.from_numpy, self.session.run(None, inputs)))


@torch.no_grad()
def export(checkpoint: Path | str, out: Path | str) -> float:
    """Write a checkpoint's network as ONNX, pictures (b, 3, s, s) in [0, 1] → `Prediction`.

    The file is there only if onnxruntime gives what torch gives; returned is the largest
    difference. Raises as `load_network` does, and ValueError where a package is missing.
    """
    _modules("onnx", "onnxscript", "onnxruntime")
    network, out = load_network(checkpoint), Path(out)
    if network.parts == "true":
        raise ValueError(
            f"{checkpoint}: needs the true parts of each picture: nothing to export"
        )
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
    with atomic(out, "wb") as file:
        file.write(program.model_proto.SerializeToString())
        file.flush()
        written = OnnxNetwork(file.name)
        difference = max(parity(network, written, batch) for batch in (1, 3))
        if not difference < MAX_DIFFERENCE:
            raise ValueError(
                f"{out}: onnxruntime differs from torch by {difference:.2g}"
            )
    return difference


def parity(network: Digit, exported: OnnxNetwork, batch: int) -> float:
    """The largest difference of any output on so many random pictures."""
    image = torch.rand(batch, 3, network.image_size, network.image_size)
    pairs = zip(network(image), exported(image), strict=True)
    return max(float((ours - theirs).abs().max()) for ours, theirs in pairs)

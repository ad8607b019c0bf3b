"""The two MediaPipe models as functions of numpy arrays, run by LiteRT or by OpenCV.

`detection` calls them. LiteRT is about five times as fast as OpenCV on one core; where
it is not installed OpenCV, a dependency anyway, gives the same numbers.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32


@runtime_checkable
class TfliteModel(Protocol):
    """A model of one picture: RGB in [0, 1] in, the named outputs out."""

    def __call__(
        self, image: Float32[np.ndarray, "size size 3"]
    ) -> list[Float32[np.ndarray, "1 ..."]]: ...


def load_tflite(path: Path, outputs: Sequence[str]) -> TfliteModel:
    """Open a model file for use by one thread.

    Args:
        path: a `.tflite` file.
        outputs: names of the outputs to return, in this order.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the file cannot be read as a model or lacks an output.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: the model file is missing; it belongs to the project"
        )
    try:
        import ai_edge_litert.interpreter as litert
    except ImportError:
        litert = None
    try:
        if litert is None:
            return _OpenCvModel(path, outputs)
        return _LiteRtModel(path, outputs, litert)
    except Exception as error:
        hint = "get the file again from the project"
        raise ValueError(
            f"{path}: not a readable model: {error!s:.200}; {hint}"
        ) from None


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Nothing that native code writes to standard error is seen."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


class _LiteRtModel:
    """A model in LiteRT's interpreter (XNNPACK), one thread."""

    def __init__(self, path: Path, outputs: Sequence[str], litert):
        with (
            _silent_stderr()
        ):  # LiteRT announces its delegate, and cannot be told not to
            self._interpreter = litert.Interpreter(str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        details = self._interpreter.get_output_details()
        index_by_name = {detail["name"]: detail["index"] for detail in details}
        self._outputs = [index_by_name[name] for name in outputs]

    def __call__(
        self, image: Float32[np.ndarray, "size size 3"]
    ) -> list[Float32[np.ndarray, "1 ..."]]:
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


class _OpenCvModel:
    """A model in OpenCV's classic engine; the newer one loses outputs."""

    def __init__(self, path: Path, outputs: Sequence[str]):
        import cv2

        self._net = cv2.dnn.readNetFromTFLite(str(path), cv2.dnn.ENGINE_CLASSIC)
        self._outputs = list(outputs)

    def __call__(
        self, image: Float32[np.ndarray, "size size 3"]
    ) -> list[Float32[np.ndarray, "1 ..."]]:
        self._net.setInput(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))
        return list(self._net.forward(self._outputs))

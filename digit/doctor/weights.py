"""The doctor for weights: those that ship, and any checkpoint, ONNX or TFLite file.

`digit doctor --weights` calls `examine_shipped_weights` and `examine_weights`.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch

from digit.doctor.findings import Finding, Severity
from digit.inference.networks import load_network
from digit.inference.tflite import load_tflite
from digit.model.network import Prediction
from digit.paths import WEIGHTS_DIR
from digit.skeleton import N_JOINTS, N_LABELS

CHECKSUMS = "SHA256SUMS"  # of the shipped files, as `sha256sum` writes it
GET_AGAIN = "get the file again: git checkout, or install the package again"
LARGEST_OUTPUT = 1e4  # of a network in use, in cells and logits; by eye


def examine_shipped_weights(folder: Path = WEIGHTS_DIR) -> list[Finding]:
    """Look at the weights that ship: their checksums, then each as `examine_weights`.

    Args:
        folder: Where they and `SHA256SUMS` lie.
    """
    findings = []
    listed = folder / CHECKSUMS
    if not listed.is_file():
        return [_finding(listed, "error", "is missing", hint=GET_AGAIN)]
    for line in listed.read_text(errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        path = folder / name
        if not name or not path.is_file():
            findings.append(_finding(path, "error", "is missing", hint=GET_AGAIN))
        elif _checksum(path) != expected:
            what = "is not the file that ships: its checksum is another"
            findings.append(_finding(path, "error", what, hint=GET_AGAIN))
        else:
            findings += examine_weights(path)
    return findings


def examine_weights(path: Path) -> list[Finding]:
    """Look at a file of weights: whether it loads, and what it computes is plausible.

    Args:
        path: A checkpoint (ours, the original's), an `.onnx` or a `.tflite` file.
    """
    try:
        if path.suffix == ".tflite":
            load_tflite(path, outputs=())
            return []
        network = load_network(path)
    except FileNotFoundError as error:
        return [_finding(path, "error", "is missing", example=str(error))]
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        what, _, hint = reason.rpartition("; ")
        return [_finding(path, "error", what or reason, hint=hint if what else "")]
    return list(_examine_outputs(path, network))


@torch.no_grad()
def _examine_outputs(path: Path, network: torch.nn.Module) -> Iterator[Finding]:
    """Run a network on a grey picture and look at what it gives."""
    # 1. Some weights alone are no whole network
    if getattr(network, "parts", "predicted") == "true":
        what = "wants the true parts of each image: an upper bound of the ablation"
        yield _finding(path, "note", what, hint="use another network for photographs")
        return
    size = network.image_size
    try:
        found = network(torch.full((1, 3, size, size), 0.5))
    except Exception as error:
        what = f"cannot be run ({str(error).splitlines()[0]:.100})"
        yield _finding(path, "error", what, hint=GET_AGAIN)
        return

    # 2. Shapes and numbers
    shapes = _expected_shapes(size)
    for name, output in zip(Prediction._fields, found, strict=True):
        shape = tuple(output.shape)
        if shape != shapes[name]:
            what = f"output {name} has shape {shape}, not {shapes[name]}"
            yield _finding(path, "error", what, hint=GET_AGAIN)
        elif not output.isfinite().all():
            what = f"output {name} is NaN or infinite for a grey picture"
            yield _finding(path, "error", what, hint=GET_AGAIN)
        elif output.abs().max() > LARGEST_OUTPUT:
            what = f"output {name} is beyond ±{LARGEST_OUTPUT:.0f} for a grey picture"
            hint = "train on with a lower learning rate"
            yield _finding(path, "warning", what, hint=hint)


def _expected_shapes(size: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's outputs for one image of this size."""
    return {
        "joints_25d": (1, N_JOINTS, 3),
        "relative_root_depth": (1,),
        "hand_type_logits": (1, 2),
        "part_logits": (1, N_LABELS, size // 2, size // 2),
        "heatmaps": (1, N_JOINTS, size // 4, size // 4),
    }


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _finding(
    path: Path, severity: Severity, what: str, hint: str = "", example: str = ""
) -> Finding:
    """A row of the table for this area."""
    return Finding("weights", str(path), severity, what, example=example, hint=hint)

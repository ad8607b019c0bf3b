"""The network that the reference outputs in `reference/` were computed with."""

import json

import numpy as np
import torch


def original_state(reference, seed: int = 7) -> dict[str, torch.Tensor]:
    """The reference checkpoint, filled by the rule of reference/README.md."""
    shapes = json.loads((reference / "original_state_dict.json").read_text())
    state = {}
    for i, (key, shape) in enumerate(sorted(shapes.items())):
        noise = (
            np.random.default_rng([seed, i]).standard_normal(shape).astype(np.float32)
        )
        if key.endswith("num_batches_tracked"):
            value = np.zeros(shape, np.int64)
        elif key.endswith("running_var"):
            value = 1 + 0.5 * np.abs(noise)
        elif key.endswith("running_mean"):
            value = 0.1 * noise
        elif len(shape) >= 2:
            value = noise * 0.97 / np.sqrt(np.prod(shape[1:]))
        elif key.endswith("weight"):
            value = 1 + 0.1 * noise
        else:
            value = 0.1 * noise
        dtype = np.int64 if key.endswith("num_batches_tracked") else np.float32
        state[key] = torch.from_numpy(np.asarray(value, dtype))
    return state


def reference_input(seed: int = 7) -> torch.Tensor:
    """Two pictures of 32-pixel blocks, of the reference's own rule."""
    blocks = np.random.default_rng([seed, 1000000]).random((2, 3, 8, 8))
    return torch.from_numpy(blocks.repeat(32, 2).repeat(32, 3).astype(np.float32))

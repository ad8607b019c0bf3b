"""Named hand shapes and named ways in which two hands meet."""

import functools
import json

import numpy as np
from jaxtyping import Float32

from digit.paths import HAND_POSES_FILE
from digit.synth.anatomy import _asset, limited


@functools.lru_cache(1)
def shapes() -> dict[str, Float32[np.ndarray, "15 3"]]:
    """Angles of the named shapes of a hand."""
    angles = limited(_asset()["shapes"])
    return {str(name): shape for name, shape in zip(_asset()["shape_names"], angles)}


@functools.lru_cache(1)
def families() -> dict[str, dict]:
    """How two hands meet: right and left (right's, if missing) are a shape ("" for any) and where
    fingers and palm point (outward from the body's midline, up, to the front); contacts pair named
    points of the right hand with the left's; `wraps` are the hands that close about the other."""
    text = json.loads(HAND_POSES_FILE.read_text())
    return {
        name: {
            "roles": [entry["right"], entry.get("left", entry["right"])],
            "often": 1,
            "swap": "left" in entry,
            "wrapping": text["wrapping"],
            **entry,
            "contacts": [pair.split("-") for pair in entry["contacts"].split()],
        }
        for name, entry in text["families"].items()
    }

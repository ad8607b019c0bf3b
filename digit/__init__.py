"""DIGIT workbench: 3D joints of two interacting hands from one image, by their parts.

The names below are all that most users need; each is loaded when it is first used, so
that `import digit` is quick. From a photo to a drawing:

    import digit

    network = digit.load_network()
    hands = digit.predict(network, "photo.jpg")
    digit.draw_hands(hands).savefig("hands.png")

Data:       synthesize, prepare, open_index
Network:    load_network, predict, predict_files, find_boxes, draw_hands
Evaluation: evaluate, error_table, protocol
Widgets:    DataBrowser, FailureBrowser, LabelReview, PhotoEditor
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digit.data.index import open_index
    from digit.evaluation.error_table import error_table
    from digit.evaluation.protocol import protocol
    from digit.hands.part_masks import prepare
    from digit.inference.evaluate import evaluate
    from digit.inference.networks import load_network
    from digit.inference.pipeline import predict_files
    from digit.inference.predict import draw_hands, find_boxes, predict
    from digit.synth.dataset import synthesize
    from digit.widgets.data_browser import DataBrowser
    from digit.widgets.failure_browser import FailureBrowser
    from digit.widgets.label_review import LabelReview
    from digit.widgets.photo_editor import PhotoEditor

__version__ = "0.2.0"

__all__ = [
    "DataBrowser",
    "FailureBrowser",
    "LabelReview",
    "PhotoEditor",
    "draw_hands",
    "error_table",
    "evaluate",
    "find_boxes",
    "load_network",
    "open_index",
    "predict",
    "predict_files",
    "prepare",
    "protocol",
    "synthesize",
]

# Where each public name lives: its module, and its name there.
_PLACES = {
    "DataBrowser": ("digit.widgets.data_browser", "DataBrowser"),
    "FailureBrowser": ("digit.widgets.failure_browser", "FailureBrowser"),
    "LabelReview": ("digit.widgets.label_review", "LabelReview"),
    "PhotoEditor": ("digit.widgets.photo_editor", "PhotoEditor"),
    "draw_hands": ("digit.inference.predict", "draw_hands"),
    "error_table": ("digit.evaluation.error_table", "error_table"),
    "evaluate": ("digit.inference.evaluate", "evaluate"),
    "find_boxes": ("digit.inference.predict", "find_boxes"),
    "load_network": ("digit.inference.networks", "load_network"),
    "open_index": ("digit.data.index", "open_index"),
    "predict": ("digit.inference.predict", "predict"),
    "predict_files": ("digit.inference.pipeline", "predict_files"),
    "prepare": ("digit.hands.part_masks", "prepare"),
    "protocol": ("digit.evaluation.protocol", "protocol"),
    "synthesize": ("digit.synth.dataset", "synthesize"),
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not, beside the module's own."""
    return sorted({*globals(), *__all__})

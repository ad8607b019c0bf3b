"""All kinds of files that `damage.strike` damages, each in a small folder of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

from damage import Target
from damage_data_sets import data_set_targets, make_data_set
from damage_results import hand_model_targets, prediction_targets, weight_targets
from damage_runs import make_run, run_targets

from digit.data.build_index import prepare_index


def make_targets(folder: Path, with_onnx: bool = True) -> Iterator[Target]:
    """All targets, in folders of their own; within `damage_runs.smallest_network`.

    `$DIGIT_RUNS` is set to a folder of theirs.

    Args:
        folder: Where theirs are made.
        with_onnx: Whether ONNX, which takes seconds to export, is among them.
    """
    yield from data_set_targets(folder / "data")
    own = make_data_set(folder / "for the run")
    os.environ["DIGIT_RUNS"] = str(folder / "runs")
    yield from run_targets(make_run(folder / "runs", own))
    yield from prediction_targets(folder / "predictions", prepare_index(own))
    yield from hand_model_targets(folder / "mano")
    if with_onnx:
        yield from weight_targets(folder / "weights")

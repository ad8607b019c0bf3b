"""A model as the failure browser gets it: its error table and what lies beside it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from digit.data.parquet import read_table
from digit.evaluation.metrics import ERRORS
from digit.evaluation.predictions import Predictions
from digit.model.checkpoints import load_network
from digit.model.network import optimized_for_inference
from digit.paths import runs_dir
from digit.training import runs

Source = pd.DataFrame | Path | str

NEEDED_COLUMNS = ("image_id", "mpjpe", *ERRORS)


class StoredPrediction(NamedTuple):
    """The prediction for one frame in cells, as `Predictions` holds it."""

    joints_25d: Float[np.ndarray, "42 3"]
    relative_root_depth: float
    hand_type: Float[np.ndarray, "2"]


class EvaluatedModel:
    """An error table, its predictions (.npz), and the network where there is one.

    Args:
        source: An error table, its file, or a run's folder, whose table of the split and
            whose best checkpoint are then used.
        checkpoint: The network's checkpoint; without one there are no part layers.
        split: The split, where the source is a run.

    Attributes:
        name: What the model is called: the run's or the file's name.
        table: The error table.
        path: Its file, None for a table.
        network: The network, None without a checkpoint.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If a file is no error table of this version, or no checkpoint.
    """

    def __init__(
        self, source: Source, checkpoint: Path | str | None, split: str
    ) -> None:
        self.name = "table"
        self.path: Path | None = None
        self.predictions: Predictions | None = None

        # 1. The table
        if isinstance(source, pd.DataFrame):
            self.table = source
        else:
            # A run's folder stands for its table of the split and its best checkpoint.
            given = Path(source)
            self.name = given.name if given.is_dir() else given.stem
            self.path = given
            if given.is_dir():
                self.path = given / f"errors_{split}.parquet"
                best = given / "checkpoints" / "best.ckpt"
                if checkpoint is None and best.is_file():
                    checkpoint = best
            self.table = _read_table(self.path)
        self._check_columns()

        # 2. What lies beside it
        if self.path is not None and self.path.with_suffix(".npz").is_file():
            self.predictions = Predictions.load(self.path.with_suffix(".npz"))
        self.network = None
        if checkpoint:
            self.network = optimized_for_inference(load_network(checkpoint))

        # 3. The row of each image; the first where it is listed twice
        rows = pd.Series(np.arange(len(self.table)), self.table["image_id"])
        self.row_of = rows.groupby(level=0).first()

    def _check_columns(self) -> None:
        missing = [name for name in NEEDED_COLUMNS if name not in self.table]
        if missing:
            raise ValueError(
                f"{self.name}: no error table of this version: column {missing[0]} is "
                "missing; make a new one with digit evaluate --errors"
            )

    def stored_prediction(self, image_id: int) -> StoredPrediction | None:
        """The prediction for a frame from the .npz, None where there is none."""
        if self.predictions is None:
            return None
        # The order of the .npz is its own.
        found = np.flatnonzero(self.predictions.image_id == image_id)
        if len(found) == 0:
            return None
        row = found[0]
        return StoredPrediction(
            joints_25d=self.predictions.joints_25d[row],
            relative_root_depth=float(self.predictions.relative_root_depth[row]),
            hand_type=self.predictions.hand_type[row],
        )


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such error table; make it with digit evaluate --errors"
        )
    return read_table(path)


def find_evaluated_run(name: str | Path, split: str) -> Path:
    """A run that has an error table of a split.

    Args:
        name: A run as `digit.training.runs.find_run` takes it; "latest" is the newest
            run that was evaluated on the split, which need not be the newest run.
        split: The split.

    Returns:
        The run's folder.

    Raises:
        MissingRun: If there is no such run, or it was not evaluated; the message gives
            the command that does it.
    """
    table = f"errors_{split}.parquet"
    if name == "latest":
        # The newest run may not be evaluated yet: the newest table decides.
        tables = sorted(
            runs_dir().glob(f"*/{table}"), key=lambda path: path.stat().st_mtime
        )
        if tables:
            return tables[-1].parent
    run = runs.find_run(name)
    if not (run / table).is_file():
        raise runs.not_evaluated(run, split)
    return run

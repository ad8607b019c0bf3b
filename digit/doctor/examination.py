"""The doctor's whole examination: everything that one call of `digit doctor` names."""

from collections.abc import Sequence
from pathlib import Path

from digit.doctor.data import examine_data, examine_predictions_file
from digit.doctor.environment import examine_environment
from digit.doctor.findings import Finding
from digit.doctor.run_folders import examine_runs
from digit.doctor.weights import examine_shipped_weights, examine_weights
from digit.evaluation.ground_truth import RootDepth
from digit.training.runs import find_run


def examine(
    dataset_dir: Path | None = None,
    predictions: Path | None = None,
    split: str | None = None,
    root_depth: RootDepth = "gt",
    runs: Sequence[str] | None = None,
    weights: Sequence[Path] | None = None,
    environment: bool = False,
) -> list[Finding]:
    """Look at what is named; where nothing is, at all runs, weights and the environment.

    Args:
        dataset_dir: A data set. With `predictions` these alone are looked at.
        predictions: Predictions for it, an .npz file.
        split: Which split the predictions are for; by default found by their ids.
        root_depth: Whose boxes and wrist depths they are made for.
        runs: Names of runs; all of them where it is empty.
        weights: Files of weights; those that ship where it is empty.
        environment: Whether to look at packages, machine and folders.

    Raises:
        ValueError: If predictions are given without their data set.
        ValueError, FileNotFoundError, OSError: As the examination of each.
    """
    is_named = any(
        item is not None for item in (dataset_dir, predictions, runs, weights)
    )
    if not is_named and not environment:
        runs, weights, environment = (), (), True
    findings: list[Finding] = []

    # 1. A data set, or predictions for it
    if predictions is not None:
        if dataset_dir is None:
            raise ValueError("dataset_dir: give the data set of the predictions")
        findings += examine_predictions_file(
            dataset_dir, predictions, split=split, root_depth=root_depth
        )
    elif dataset_dir is not None:
        findings += examine_data(dataset_dir)

    # 2. Runs and weights
    if runs is not None:
        findings += examine_runs([find_run(name) for name in runs] or None)
    if weights:
        for path in weights:
            findings += examine_weights(path)
    elif weights is not None:
        findings += examine_shipped_weights()

    # 3. The environment
    if environment:
        findings += examine_environment(dataset_dir)
    return findings

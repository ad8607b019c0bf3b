"""The checkpoints of a run: last.ckpt, previous.ckpt (the last before it) and best.ckpt.

`digit.training.module` writes them through `CheckpointFiles`; `digit.training.loop`
resumes from the newest that is whole.
"""

import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from digit.model.checkpoints import matching_state, read_checkpoint, save_checkpoint
from digit.model.network import Digit


class ResumeState(NamedTuple):
    """What a training goes on from.

    Attributes:
        step: Optimiser steps done.
        seconds: Training time so far.
        best: The best evaluation so far, {} before the first.
        weights: Of the network.
        average: Averaged weights; None where they are off.
        optimizer: State of the optimiser.
        scaler: State of fp16's loss scaling; {} without.
    """

    step: int
    seconds: float
    best: dict
    weights: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimizer: dict
    scaler: dict


class CheckpointFiles:
    """The checkpoints of one run.

    Every file appears under its name only when it is whole. Where last.ckpt turns out
    to be damaged, the run goes on from previous.ckpt, and the damaged file is kept
    aside.

    Args:
        run: The run's folder.
    """

    def __init__(self, run: Path):
        self.folder = run / "checkpoints"
        self.last = self.folder / "last.ckpt"
        self.previous = self.folder / "previous.ckpt"
        self.best = self.folder / "best.ckpt"
        self._damaged: list[Path] = []

    def read_newest(self, network: Digit, has_average: bool) -> ResumeState | None:
        """Read the newest checkpoint that is whole and of this network.

        What cannot be read is said in one line each, and left for `set_damaged_aside`.

        Args:
            network: The network that is trained.
            has_average: Whether averaged weights are expected.

        Returns:
            The state to resume from; None where there is none.
        """
        self._damaged = []
        for path in (self.last, self.previous):
            if not path.exists():
                continue
            try:
                return read_resume_state(path, network, has_average)
            except (OSError, ValueError) as error:
                self._damaged.append(path)
                print(f"{error}; going on from an earlier checkpoint", flush=True)
        return None

    def set_damaged_aside(self) -> None:
        """Rename the files that `read_newest` could not read, and remove half-written ones."""
        for path in self._damaged:
            number = 1
            while path.with_name(f"{path.name}.damaged-{number}").exists():
                number += 1
            aside = path.with_name(f"{path.name}.damaged-{number}")
            path.rename(aside)
            print(f"{path}: kept as {aside.name}", flush=True)
        self._damaged = []
        # Left over by a process that was killed while it saved.
        for left_over in self.folder.glob(".*.ckpt*"):
            left_over.unlink()

    def best_so_far(self, network: Digit) -> dict:
        """The evaluation of best.ckpt, {} where there is none that is whole."""
        try:
            content = read_checkpoint(self.best)
            matching_state(content, network, str(self.best))
        except (OSError, ValueError):
            return {}
        best = content.get("best")
        return best if isinstance(best, dict) else {}

    def save_last(self, network: Digit, **state: object) -> None:
        """Save the state to resume from; the former last.ckpt becomes previous.ckpt."""
        new = self.folder / ".new.ckpt"
        save_checkpoint(new, network, **state)
        if self.last.exists():
            os.replace(self.last, self.previous)
        os.replace(new, self.last)

    def save_best(self, network: Digit, **state: object) -> None:
        """Save the weights with the lowest error on val so far."""
        save_checkpoint(self.best, network, **state)


def read_resume_state(path: Path, network: Digit, has_average: bool) -> ResumeState:
    """Read a checkpoint to resume from.

    Raises:
        FileNotFoundError, ValueError: If it is no file, damaged, of another network, or
            without what a training needs to go on.
    """
    content = read_checkpoint(path)
    # A file may be whole and yet not hold what is expected, of the types expected.
    weights = {"state_dict": content["state_dict"]}
    average = {"state_dict": content.get("ema")}
    try:
        state = ResumeState(
            step=int(content["step"]),
            seconds=float(content["seconds"]),
            best=dict(content["best"]),
            weights=matching_state(weights, network, str(path)),
            average=matching_state(average, network, str(path))
            if has_average
            else None,
            optimizer=dict(content["optimizer"]),
            scaler=dict(content["scaler"]),
        )
        _check_optimizer(state.optimizer, network)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = f"no checkpoint that a training can go on from ({error!r:.100})"
        raise ValueError(f"{path}: {reason}") from None
    if state.step < 0:
        raise ValueError(f"{path}: step {state.step} cannot be")
    return state


def _check_optimizer(optimizer: dict, network: Digit) -> None:
    """Raise KeyError or TypeError unless Adam's moments have the parameters' shapes."""
    shapes = [parameter.shape for parameter in network.parameters()]
    [group] = optimizer["param_groups"]
    if len(group["params"]) != len(shapes):
        raise TypeError(f"an optimiser of {len(group['params'])} parameters")
    for number, moments in optimizer["state"].items():
        for name in ("exp_avg", "exp_avg_sq"):
            tensor = moments[name]
            if not isinstance(tensor, Tensor) or tensor.shape != shapes[number]:
                raise TypeError(f"{name} of parameter {number}")
            if not torch.isfinite(tensor).all():
                raise TypeError(f"{name} of parameter {number} is not finite")

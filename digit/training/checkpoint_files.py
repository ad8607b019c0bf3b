"""The checkpoints of a run: last.ckpt, previous.ckpt (the last before it) and best.ckpt.

`digit.training.module` writes them through `CheckpointFiles`; `digit.training.loop`
resumes from the newest that is whole.
"""

import math
import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from digit.files import free_name
from digit.model.checkpoints import matching_state, read_checkpoint, save_checkpoint
from digit.model.network import Digit
from digit.training.settings import EVALUATION, Settings

# What reading a checkpoint of another content can raise
DAMAGED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)
MAX_STEPS = 2**53  # whole numbers up to here are exact as floats
# Of Adam's options those that no training of ours turns on.
ADAM_IS_WITHOUT = (
    "amsgrad",
    "maximize",
    "foreach",
    "capturable",
    "differentiable",
    "decoupled_weight_decay",
)
SCALER_NUMBERS = (
    "scale",
    "growth_factor",
    "backoff_factor",
    "growth_interval",
    "_growth_tracker",
)


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
        settings: Of the session that saved it.
    """

    step: int
    seconds: float
    best: dict
    weights: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimizer: dict
    scaler: dict
    settings: dict


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
            aside = free_name(path, "damaged")
            path.rename(aside)
            print(f"{path}: kept as {aside.name}", flush=True)
        self._damaged = []
        # Left over by a process that was killed while it saved.
        for left_over in self.folder.glob(".*.ckpt*"):
            left_over.unlink()

    def best_so_far(
        self, network: Digit, resumed: ResumeState | None, settings: Settings
    ) -> dict:
        """The best evaluation so far; {} where there is none to compare with.

        Args:
            network: The run's network.
            resumed: What an earlier session left. Where all checkpoints to resume from
                are damaged, best.ckpt may be whole.
            settings: The run's. An evaluation on other frames, crops or depths is none
                to compare with.
        """
        if resumed:
            best, former = resumed.best, resumed.settings
        else:
            best, former = self._evaluation_of_best(network)
        same = all(
            former.get(name, getattr(settings, name)) == getattr(settings, name)
            for name in EVALUATION
        )
        return best if same else {}

    def _evaluation_of_best(self, network: Digit) -> tuple[dict, dict]:
        """Evaluation and settings of best.ckpt, {} where it is not whole."""
        try:
            content = read_checkpoint(self.best)
            matching_state(content, network, str(self.best))
        except (OSError, ValueError):
            return {}, {}
        best = content.get("best")
        settings = content.get("settings")
        return (
            best if _is_evaluation(best) else {},
            settings if isinstance(settings, dict) else {},
        )

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
            settings=dict(content.get("settings", {})),
        )
        _check_progress(state)
        _check_optimizer(state.optimizer, network)
        if state.step and not state.optimizer["state"]:
            raise TypeError("an optimiser without moments")
        _check_scaler(state.scaler)
    except DAMAGED as error:
        if str(error).startswith(str(path)):
            raise  # from `matching_state`, which names the file
        reason = f"no checkpoint that a training can go on from ({error!r:.100})"
        raise ValueError(f"{path}: {reason}") from None
    return state


def _check_progress(state: ResumeState) -> None:
    """Raise TypeError unless steps, time and best evaluation can be gone on from."""
    if not 0 <= state.step < MAX_STEPS:
        raise TypeError(f"step {state.step}")
    if not _is_number(state.seconds) or state.seconds < 0:
        raise TypeError(f"{state.seconds} seconds")
    if not _is_evaluation(state.best):
        raise TypeError("an evaluation without its error")


def _is_evaluation(best: object) -> bool:
    """Whether this is an evaluation that others can be compared with, or {}."""
    if not isinstance(best, dict):
        return False
    if not best:
        return True
    error_mm = best.get("mpjpe_all")
    return _is_number(error_mm) and error_mm > 0


def _is_number(value: object) -> bool:
    """Whether this is a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _check_optimizer(optimizer: dict, network: Digit) -> None:
    """Raise an error of DAMAGED unless this is Adam's state for the parameters."""
    shapes = [parameter.shape for parameter in network.parameters()]
    [group] = optimizer["param_groups"]
    _check_options(group, len(shapes))

    # Its moments; parameters that no loss reaches have none
    for number, moments in optimizer["state"].items():
        is_known = number in range(len(shapes)) and isinstance(moments, dict)
        if not is_known:
            raise TypeError(f"an optimiser's state of parameter {number!r:.40}")
        for name, shape in (
            ("step", torch.Size()),
            ("exp_avg", shapes[number]),
            ("exp_avg_sq", shapes[number]),
        ):
            _check_moment(moments[name], shape, f"{name} of parameter {number}")


def _check_options(group: object, parameters: int) -> None:
    """Raise an error of DAMAGED unless these are Adam's options for so many parameters.

    Other versions of torch may have others besides.
    """
    if not isinstance(group, dict):
        raise TypeError(f"an optimiser's options are {group!r:.40}")
    numbers = group["params"]
    if not isinstance(numbers, list) or numbers != list(range(parameters)):
        raise TypeError("an optimiser of other parameters")
    for number in (group["lr"], group["eps"], *group["betas"]):
        if not _is_number(number):
            raise TypeError(f"an optimiser's option is {number!r:.40}")
    if len(group["betas"]) != 2:
        raise TypeError("an optimiser without two betas")
    for name in ADAM_IS_WITHOUT:
        if group.get(name) is not None and group[name] is not False:
            raise TypeError(f"an optimiser's option {name} is {group[name]!r:.40}")


def _check_moment(tensor: object, shape: torch.Size, name: str) -> None:
    """Raise TypeError unless this is a plain tensor of finite floats of a shape."""
    is_plain = isinstance(tensor, Tensor) and tensor.layout == torch.strided
    if not is_plain or not tensor.is_floating_point() or tensor.shape != shape:
        raise TypeError(name)
    if not torch.isfinite(tensor).all():
        raise TypeError(f"{name} is not finite")


def _check_scaler(scaler: dict) -> None:
    """Raise KeyError or TypeError unless this is a state of fp16's scaling, or {}."""
    for name in SCALER_NUMBERS if scaler else ():
        if not _is_number(scaler[name]):
            raise TypeError(f"the scaling's {name} is {scaler[name]!r:.40}")

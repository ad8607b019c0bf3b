"""What a training writes while it runs: metrics.csv, TensorBoard events and progress.json.

`digit.training.module` writes through `ProgressLog`; `digit.training.runs` reads the
files.
"""

import csv
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from digit.files import atomic, free_name, write_json
from digit.training.clock import Clock, Plan
from digit.training.distributed import mean_over_processes
from digit.training.settings import Settings

COLUMNS = ("step", "epoch", "seconds", "name", "value")


class LossWindow:
    """Means of the loss terms, and the speed, since the last row of the log.

    Args:
        settings: Batch size and accumulation are read.
        step: The step that the session begins with.
    """

    def __init__(self, settings: Settings, step: int):
        self._batches_per_step = settings.accumulate
        self._batch_size = settings.batch_size
        self._sums: dict[str, Tensor] = {}
        self._first_step = step
        self._start = time.monotonic()

    def add(self, terms: dict[str, Tensor], total: Tensor) -> None:
        """Add the loss terms of one batch, and their sum as "loss"."""
        for name, value in {**terms, "loss": total}.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach()

    def close(self, step: int, world_size: int) -> dict[str, float]:
        """The means over all processes up to this step; a new window begins.

        Raises:
            FloatingPointError: If a mean is not finite.
        """
        # 1. Means over steps, accumulated batches and processes.
        steps = max(1, step - self._first_step)
        sums = torch.stack(list(self._sums.values()))
        means = mean_over_processes(sums / steps / self._batches_per_step, world_size)
        row = dict(zip(self._sums, means.tolist(), strict=True))
        if not math.isfinite(row["loss"]):
            bad = [name for name, value in row.items() if not math.isfinite(value)]
            since = f"since step {self._first_step}"
            raise FloatingPointError(f"not finite: {', '.join(bad)}, {since}")

        # 2. Speed, and the next window.
        seconds = time.monotonic() - self._start
        row["samples_per_s"] = steps * self._batch_size / seconds
        self._sums = {}
        self._first_step = step
        self.restart_time()
        return row

    def restart_time(self) -> None:
        """Measure the speed from now on: an evaluation is no training."""
        self._start = time.monotonic()


class ProgressLog:
    """The log of a run, written by the first process only.

    Args:
        run: The run's folder.
        plan: Its steps.
        settings: The time limit is read.
        clock: Its training time.
    """

    def __init__(self, run: Path, plan: Plan, settings: Settings, clock: Clock):
        self._run = run
        self._plan = plan
        self._minutes = settings.minutes
        self._clock = clock
        self._state: dict[str, object] = {}  # the content of progress.json

    def record(self, step: int, row: dict[str, float], best: dict) -> None:
        """Add a row of quantities to metrics.csv, and bring progress.json up to date.

        Args:
            step: Optimiser steps done.
            row: Quantities by name.
            best: The best evaluation so far.
        """
        epoch = step / self._plan.steps_per_epoch
        seconds = self._clock.seconds()

        # metrics.csv is in long format, so that rows may have different quantities.
        head = [step, f"{epoch:.4f}", f"{seconds:.1f}"]
        with (self._run / "metrics.csv").open("a", newline="") as file:
            writer = csv.writer(file)
            for name, value in row.items():
                writer.writerow([*head, name, f"{value:.6g}"])
        self.tell(
            state="running",
            step=step,
            steps=self._plan.last_step,
            epoch=epoch,
            seconds=seconds,
            seconds_left=self._seconds_left(step, seconds),
            best=best,
            **row,
        )

    def tell(self, **news: object) -> None:
        """Bring progress.json up to date."""
        self._state.update(news)
        write_json(self._run / "progress.json", self._state)

    def _seconds_left(self, step: int, seconds: float) -> float:
        """Seconds to the end at the mean speed so far, or to the time limit."""
        left = (self._plan.last_step - step) * seconds / max(1, step)
        if self._minutes:
            left = min(left, self._minutes * 60 - seconds)
        return max(0.0, left)


def read_metrics(path: Path) -> tuple[list[list[str]], int]:
    """Read metrics.csv as far as it can be read.

    Returns:
        The rows [step, epoch, seconds, name, value] whose numbers are numbers, and how
        many damaged ones there are. A last line without an end, as a process leaves that
        was killed while it wrote, counts as neither unless it is a row.
    """
    if not path.is_file():
        return [], 0
    text = path.read_bytes().decode(errors="replace").replace("\0", "\ufffd")
    rows = []
    others = 0
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        row = line.removesuffix("\r").split(",")
        if row in (list(COLUMNS), [""]):
            continue
        if _is_row(row):
            rows.append(row)
        elif number < len(lines):
            others += 1
    return rows, others


def _is_row(row: list[str]) -> bool:
    """Whether these are the fields of a row of metrics.csv."""
    if len(row) != len(COLUMNS) or not row[3].isidentifier():
        return False
    if not (row[0].isascii() and row[0].isdigit()):
        return False
    try:
        for number in (row[1], row[2], row[4]):
            float(number)
    except ValueError:
        return False
    return True


def trim_metrics(path: Path, step: int) -> None:
    """Start metrics.csv, or drop the rows after the step that a run is resumed from.

    A file with damaged lines is kept beside it, as `….damaged-1`.

    Args:
        path: The file.
        step: The last step to keep.
    """
    rows, others = read_metrics(path)
    if others:
        aside = free_name(path, "damaged")
        path.replace(aside)
        print(
            f"{path}: {others} lines cannot be read; the file is kept as {aside.name}"
        )
    kept = [row for row in rows if int(row[0]) <= step]
    with atomic(path) as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *kept])

"""How far a training is: its plan in steps, its time, and the learning rate that follows.

`digit.training.module` asks these at each step.
"""

import math
import time
from dataclasses import dataclass

from digit.training.settings import Settings

FIRST_WARMUP_SHARE = 0.01  # of the learning rate, so that the first step moves at all
LAST_COSINE_SHARE = 1e-3  # of the learning rate, at the end of the cosine


@dataclass(frozen=True)
class Plan:
    """The steps of a run.

    Attributes:
        first_step: Optimiser steps that earlier sessions have done.
        last_step: Optimiser steps of the whole run.
        steps_per_epoch: Optimiser steps of one pass over the first data set's frames.
    """

    first_step: int
    last_step: int
    steps_per_epoch: float

    @classmethod
    def of(cls, settings: Settings, samples_per_epoch: int, first_step: int) -> "Plan":
        """The plan by a run's settings.

        Args:
            settings: Batch size, steps and epochs are read.
            samples_per_epoch: Samples of all data sets that go with one pass over the
                first one's frames.
            first_step: Optimiser steps that earlier sessions have done.
        """
        steps_per_epoch = samples_per_epoch / settings.batch_size
        steps = settings.steps
        if not steps:
            steps = max(1, round(settings.epochs * steps_per_epoch))
        return cls(first_step, steps, steps_per_epoch)

    def is_evaluated(self, step: int, settings: Settings) -> bool:
        """Whether val is evaluated after a step that is not the last."""
        if not settings.evaluate_every:
            return False
        every = max(1, round(settings.evaluate_every * self.steps_per_epoch))
        return step % every == 0


class Clock:
    """The training time of a run, all its sessions together.

    Attributes:
        earlier_s: Seconds of the sessions before this one.
        agreed_s: The time as all processes last agreed on it, by which they decide.
    """

    def __init__(self, earlier_s: float = 0.0):
        self.earlier_s = earlier_s
        self.agreed_s = 0.0
        self._session_start = time.monotonic()

    def start_session(self) -> None:
        """Count from now on: what it took to get ready is no training time."""
        self._session_start = time.monotonic()

    def seconds(self) -> float:
        """Seconds of training so far, by this process."""
        return self.earlier_s + time.monotonic() - self._session_start


def share_done(settings: Settings, plan: Plan, step: int, seconds: float) -> float:
    """How much of a run is done, from 0 to 1 (more, where it runs late).

    Where a run has a time limit, the later of steps and clock counts.
    """
    share = step / max(1, plan.last_step)
    if settings.minutes:
        share = max(share, seconds / 60 / settings.minutes)
    return share


def learning_rate(settings: Settings, share: float) -> float:
    """The learning rate at a share of the run: a linear warm-up, then the schedule.

    The schedules: "step" is the paper's, a tenth from `drop_at` on (epoch 40 of 50);
    "cosine" falls to nearly 0.
    """
    rate = settings.learning_rate
    if share < settings.warmup:
        return rate * max(share / settings.warmup, FIRST_WARMUP_SHARE)
    if settings.schedule == "cosine":
        cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
        return rate * max(cosine, LAST_COSINE_SHARE)
    return rate * (0.1 if share >= settings.drop_at else 1.0)

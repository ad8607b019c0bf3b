"""Signals that ask a training to stop, which it does after the step it is at.

`digit.training.loop` heeds them during training; SIGUSR1 and SIGALRM exist on Linux and
macOS only.
"""

import contextlib
import signal
import time
from collections.abc import Iterator

# SIGUSR1 is what SLURM sends before a job's time is up, if asked to.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1")
    if hasattr(signal, name)
)

# After a signal a step may take so long; then it is interrupted. Chosen by eye: less
# than the five minutes that docs/training.md has SLURM give.
GRACE_S = 120.0

# A second Ctrl-C within this time is taken for the same one: launchers pass signals on.
SAME_SIGNAL_S = 9.0


class Overdue(Exception):
    """A step did not end in time after a signal, as when the loader hangs."""


class StopRequest:
    """Whether a signal has asked the training to stop.

    Attributes:
        signal_number: The signal that this process got; 0 for none.
        agreed: The same over all processes, as they last agreed; they must stop at the
            same step.
    """

    def __init__(self, grace_s: float | None = None):
        self.signal_number = 0
        self.agreed = 0
        self._grace_s = GRACE_S if grace_s is None else grace_s
        self._time = 0.0

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Within the block, signals only ask for a stop; after it, all is as before."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self.install()
        try:
            yield
        finally:
            self._set_alarm(0.0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def install(self) -> None:
        """Take the signals; again, where a library has put its own handlers in place."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def explains(self, error: Exception) -> bool:
        """Whether an error is only the consequence of the signal.

        A loader worker that heard the signal too, or a step that was interrupted.
        """
        if isinstance(error, Overdue):
            return True
        return bool(self.signal_number) and "DataLoader worker" in str(error)

    def _on_signal(self, number: int, _frame: object) -> None:
        """Remember the signal; a second Ctrl-C, some time later, is meant."""
        is_second = self.signal_number and number == signal.SIGINT
        if is_second and time.monotonic() > self._time + SAME_SIGNAL_S:
            raise KeyboardInterrupt
        if not self.signal_number:  # more of them do not put the end off
            self._time = time.monotonic()
            self._set_alarm(self._grace_s)
        self.signal_number = number

    def _set_alarm(self, seconds: float) -> None:
        """Interrupt the step after so many seconds; 0 cancels that."""
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def _on_alarm(self, _number: int, _frame: object) -> None:
        """Interrupt the step at work."""
        raise Overdue(
            f"the step did not end within {self._grace_s:.0f} s of the signal"
        )

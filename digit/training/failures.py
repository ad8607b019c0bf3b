"""What an error that ends a training means, and which changed setting avoids it.

`digit.training.loop` puts the explanation into the one line that a failed run ends
with.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from digit.training.settings import Settings


class Fault(NamedTuple):
    """A known kind of error.

    Attributes:
        pattern: Regular expression that its message matches, whatever the case.
        meaning: What it means, in a few words.
        change: The setting to change in the resumed run as `key=value`, by the present
            settings; None where no setting helps.
    """

    pattern: str
    meaning: str
    change: Callable[[Settings], str] | None = None


def _lower_rate(settings: Settings) -> str:
    """A third of the learning rate."""
    return f"learning_rate={settings.learning_rate / 3:.1g}"


def _smaller_batches(settings: Settings) -> str:
    """The same steps of twice as many batches of half the size."""
    return f"accumulate={settings.accumulate * 2}"


def _fewer_workers(settings: Settings) -> str:
    """Half the loader workers."""
    return f"workers={settings.workers // 2}"


FAULTS = (
    Fault("not finite", "the loss is not finite", _lower_rate),
    Fault("out of memory|allocate memory|bad_alloc", "out of memory", _smaller_batches),
    Fault(
        r"worker \(pid.* (exited|killed)",
        "a loader worker died, often out of memory",
        _fewer_workers,
    ),
    Fault("DataLoader timed out", "the data loader timed out", _fewer_workers),
    Fault(
        "No space|File too large|quota|failed writ|unexpected pos|make room",
        "the disk is full: make room",
    ),
    Fault(
        "gloo|nccl|TCPStore|closed by peer",
        "another process of the run was lost: see its log",
    ),
)


def explain(error: Exception, settings: Settings) -> tuple[str, str]:
    """Explain an error that ended a training.

    Returns:
        What it means, and the setting as `key=value` to change in the resumed run; each
        is empty where it is not known.
    """
    for fault in FAULTS:
        if re.search(fault.pattern, str(error), re.IGNORECASE):
            change = fault.change(settings) if fault.change else ""
            return fault.meaning, change
    return "", ""

"""Failures explained in one line."""

import re

from digit.training.settings import Settings

FAULTS = (  # what an error says → what it means, which setting to change in the resumed run
    ("not finite", "the loss is not finite", "learning_rate"),
    ("out of memory|allocate memory|bad_alloc", "out of memory", "accumulate"),
    (
        r"worker \(pid.* (exited|killed)",
        "a loader worker died, often out of memory",
        "workers",
    ),
    (
        "No space|File too large|quota|failed writ|unexpected pos",
        "the disk is full: make room",
        "",
    ),
    (
        "gloo|nccl|TCPStore|closed by peer",
        "another process of the run is lost: see its log",
        "",
    ),
)


def explained(error: Exception, settings: Settings) -> tuple[str, str]:
    """What an error means, "" if that is not known, and the `--set` that helps a resumed run."""
    new = {
        "learning_rate": f"{settings.learning_rate / 3:.1g}",
        "workers": settings.workers // 2,
        "accumulate": settings.accumulate * 2,
        "": "",
    }
    for pattern, meaning, key in FAULTS:
        if re.search(pattern, str(error), re.IGNORECASE):
            return meaning, f" --set {key}={new[key]}" if key else ""
    return "", ""

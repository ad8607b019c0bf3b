"""Files that appear whole or not at all, and the locks that keep two processes apart."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[Any]:
    """A file that appears under its name only when it is complete; OSError if it cannot be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, mode) as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        why = f"cannot be written ({error}); make room, or the folder writable"
        raise OSError(f"{path}: {why}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(path: Path, wait: bool) -> Iterator[None]:
    """Hold the lock file for the block; ValueError if another process has it and `wait` is off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ValueError(
                f"{path}: another preparation is at work; wait for its end"
            ) from None
        yield

"""Files that appear whole or not at all, and locks that keep two processes apart.

Every module that writes a file calls `atomic` (or `write_text`, `write_json`), and
every module that must be the only one at work on something calls `exclusive`.
"""

import contextlib
import json
import math
import os
import secrets
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import filelock

SPACE_HINT = "make room on the disk, or make the folder writable"
IN_THE_WAY_HINT = "a file stands where a folder should be: move it away"
LOCK_HINT = (
    "its file system offers no locks: put the data on a local disk, or mount it with "
    "locks"
)
IN_THE_WAY = (FileExistsError, NotADirectoryError)
# What these name is open already (as standard output), so it cannot be replaced.
OPEN_FILES = ("/dev/std", "/dev/fd/", "/proc/")


@contextlib.contextmanager
def atomic(path: Path | str, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that takes its name only if the whole block succeeds.

    The block writes to a temporary file in the same folder, whose name no other writer
    has; `file.name` is its path. If the block raises, the temporary file is removed and
    whatever stood at `path` stays as it was. A symbolic link is followed, the
    permissions of a file that is replaced are kept, and missing folders are made. What
    is no regular file (a pipe, a terminal) is written to directly.

    Args:
        path: Where the file shall appear.
        mode: "w" for text (UTF-8) or "wb" for bytes.

    Yields:
        The open file.

    Raises:
        OSError: If the file cannot be written; the message names `path`.
    """
    if _is_device(path):
        with _open(path, mode.replace("w", "a")) as file:
            yield file
        return

    # A short random name: the name of `path` may be as long as the file system allows.
    target = os.path.realpath(path) if os.path.islink(path) else os.fspath(path)
    folder, name = os.path.split(target)
    part = f".{name[:40]}.{secrets.token_hex(6)}.part"
    temporary = os.path.join(folder, part)
    try:
        os.makedirs(folder or ".", exist_ok=True)
        with _open(temporary, mode.replace("w", "x")) as file:
            yield file
        if os.path.exists(target):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
    except OSError as error:
        about = error.filename and str(error.filename)
        if about not in (None, temporary) and not Path(target).is_relative_to(about):
            # Not this file or a folder of it: the block failed to read something else.
            raise
        reason = error.strerror or str(error)
        hint = IN_THE_WAY_HINT if isinstance(error, IN_THE_WAY) else SPACE_HINT
        raise OSError(f"{path}: cannot be written ({reason}); {hint}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def make_way(folder: Path) -> str:
    """Move what stands in the place of a folder of derived files aside, if anything does.

    Returns:
        What was done, for the log; "" where there is a folder, or nothing.

    Raises:
        OSError: If it cannot be moved.
    """
    if folder.is_dir() or not os.path.lexists(folder):
        return ""
    aside = free_name(folder, "aside")
    try:
        os.replace(folder, aside)
    except OSError as error:
        message = f"{folder}: no folder, and cannot be moved ({error.strerror})"
        raise OSError(f"{message}; {IN_THE_WAY_HINT}") from None
    return f"{folder}: no folder; it is kept as {aside.name}"


def free_name(path: Path, word: str) -> Path:
    """A name beside a file for keeping it aside: `<name>.<word>-1`, or the next free one."""
    number = 1
    while os.path.lexists(path.with_name(f"{path.name}.{word}-{number}")):
        number += 1
    return path.with_name(f"{path.name}.{word}-{number}")


def write_text(path: Path | str, text: str) -> Path:
    """Write a text file, whole or not at all; returns its path, raises as `atomic`."""
    with atomic(path) as file:
        file.write(text)
    return Path(path)


def write_json(path: Path | str, value: Any, indent: int | None = 1) -> None:
    """Write a JSON file, whole or not at all.

    Args:
        path: Where the file shall appear.
        value: Dictionaries, lists, strings, numbers; NaN and infinity become null,
            which is all that JSON has for them.
        indent: Spaces a level; None for one line.

    Raises:
        OSError: If the file cannot be written.
    """
    write_text(path, json.dumps(_without_nan(value), indent=indent) + "\n")


def read_json_object(path: Path | str, hint: str) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Args:
        path: The file.
        hint: What an error message advises.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; {hint}") from None
    except (ValueError, RecursionError) as error:
        content = " ".join(str(error).split())[:100]
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged ({content!r:.120}); {hint}")
    return content


def is_whole_npz(path: Path) -> bool:
    """Whether there is an .npz file of this name that can be read, by its checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.namelist()) and archive.testzip() is None
    # zipfile and zlib raise exceptions of many kinds.
    except Exception:
        return False


@contextlib.contextmanager
def exclusive(path: Path, wait: bool) -> Iterator[None]:
    """Hold a lock file during the block; the lock ends with the process in any case.

    Args:
        path: The lock file; it is made where it is missing, and left there.
        wait: Whether to wait while another process holds the lock.

    Raises:
        ValueError: If another process holds the lock and `wait` is off.
        OSError: If the file cannot be made or locked.
    """
    lock = filelock.FileLock(path, timeout=-1 if wait else 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        message = f"{path}: another preparation is at work; wait for its end"
        raise ValueError(message) from None
    except (OSError, NotImplementedError) as error:
        hint = SPACE_HINT if isinstance(error, PermissionError) else LOCK_HINT
        if isinstance(error, IN_THE_WAY):
            hint = IN_THE_WAY_HINT
        raise OSError(f"{path}: cannot be locked ({error}); {hint}") from None
    try:
        yield
    finally:
        lock.release()


def _is_device(path: Path | str) -> bool:
    """Whether the path names something that is written to, not replaced."""
    return str(path).startswith(OPEN_FILES) or is_special(path)


def is_special(path: Path | str) -> bool:
    """Whether there is something that is neither a file nor a folder: a device or a pipe."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _open(path: Path | str, mode: str) -> IO[Any]:
    """Open a file; text is UTF-8 with \\n at the end of a line, on every machine."""
    if "b" in mode:
        return open(path, mode)
    return open(path, mode, encoding="utf-8", newline="\n")


def _without_nan(value: Any) -> Any:
    """The value with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

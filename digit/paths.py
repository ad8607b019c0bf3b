"""Where the package finds the files it ships with, and where it writes.

A checkout keeps the shipped files in `data/` and `notebooks/`; an installed wheel
carries copies of them in `digit/assets/`. Every module that reads or writes a file of
the project asks here for its place.
"""

import functools
import getpass
import hashlib
import os
import tempfile
from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parent
CHECKOUT_DIR = PACKAGE_DIR.parent
IS_CHECKOUT = (CHECKOUT_DIR / "data" / "hand").is_dir()

if IS_CHECKOUT:
    ASSETS_DIR = CHECKOUT_DIR / "data"
    NOTEBOOKS_DIR = CHECKOUT_DIR / "notebooks"
else:
    ASSETS_DIR = PACKAGE_DIR / "assets"
    NOTEBOOKS_DIR = ASSETS_DIR / "notebooks"

HAND_FILE = ASSETS_DIR / "hand" / "generic_hand.npz"
HAND_LOOK_FILE = ASSETS_DIR / "hand" / "generic_look.npz"
HAND_POSES_FILE = ASSETS_DIR / "hand" / "poses.json"
WEIGHTS_DIR = ASSETS_DIR / "weights"
SHIPPED_WEIGHTS = WEIGHTS_DIR / "small.ckpt"
DETECTOR_DIR = WEIGHTS_DIR / "mediapipe"


def workspace_dir() -> Path:
    """The folder that relative paths of runs and data sets start from.

    Returns:
        The checkout, where the package runs from one; else the working folder.
    """
    return CHECKOUT_DIR if IS_CHECKOUT else Path.cwd()


def workspace_path(path: str | Path) -> Path:
    """Resolve a path as notebooks give it: by the working folder, else by the
    workspace."""
    path = Path(path)
    if path.is_absolute() or path.exists():
        return path
    return workspace_dir() / path


def folder_of_variable(name: str) -> Path | None:
    """The folder that an environment variable names; it need not exist yet.

    Args:
        name: The variable, such as "DIGIT_RUNS".

    Returns:
        The folder; None where the variable is not set.

    Raises:
        ValueError: If the variable is empty, or a file stands in the folder's way.
    """
    value = os.environ.get(name)
    if value is None:
        return None
    if not value.strip():
        hint = f"name a folder, or remove it (unset {name})"
        raise ValueError(f"{name}: the environment variable is empty; {hint}")
    path = Path(value)
    for place in (path, *path.parents):
        if os.path.lexists(place) and not place.is_dir():
            hint = f"let {name} name a folder"
            raise ValueError(f"{name}={value}: {place} is no folder; {hint}")
    return path


def runs_dir() -> Path:
    """The folder of all runs: `$DIGIT_RUNS`, or `runs/` of the workspace.

    Raises:
        ValueError: If the variable names no folder.
    """
    folder = folder_of_variable("DIGIT_RUNS")
    return (folder or workspace_dir() / "runs").resolve()


def prepared_dir(dataset_dir: Path | str) -> Path:
    """The folder that derived files of a data set are written to.

    Returns:
        `<dataset_dir>/prepared` where it can be written; else a folder of
        `$DIGIT_CACHE` (by default `~/.cache/digit`), or a temporary one where that
        cannot be written either.
    """
    # Beside the data everyone who uses the data set shares the work.
    dataset_dir = Path(dataset_dir).resolve()
    beside_the_data = dataset_dir / "prepared"
    if _is_writable(beside_the_data):
        return beside_the_data
    return _cache_dir(dataset_dir)


def prepared_places(dataset_dir: Path | str, name: str) -> list[Path]:
    """Where a derived file or folder lies: beside the data, in the user's cache, or
    both.

    Both happens where another user, who may write there, has prepared the data set.

    Args:
        dataset_dir: The data set's folder.
        name: Path of the derived file, relative to `prepared/`.

    Returns:
        The places that exist, the one beside the data first.
    """
    dataset_dir = Path(dataset_dir).resolve()
    candidates = (dataset_dir / "prepared" / name, _cache_dir(dataset_dir) / name)
    return [path for path in candidates if path.exists()]


def find_prepared(dataset_dir: Path | str, name: str) -> Path | None:
    """The first of `prepared_places`; None where there is none."""
    return next(iter(prepared_places(dataset_dir, name)), None)


def digest(text: str) -> str:
    """A short fingerprint of a text, the same on every machine."""
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _is_writable(path: Path) -> bool:
    """Whether a folder can be made, judged by the nearest one that exists."""
    if os.path.lexists(path) and not path.is_dir():
        # A file, or a link to nothing, stands in its place.
        return False
    existing = next(place for place in (path, *path.parents) if place.exists())
    # The mode is asked as well, since os.access grants everything to the superuser.
    is_writable = bool(existing.stat().st_mode & 0o222)
    return existing.is_dir() and is_writable and os.access(existing, os.W_OK)


@functools.cache
def _cache_dir(dataset_dir: Path) -> Path:
    """The folder of one data set in the user's cache."""
    return cache_root() / f"{dataset_dir.name}-{digest(str(dataset_dir))}"


def cache_root() -> Path:
    """The user's cache, or a folder of the system's temporary one if that is not
    writable.

    The name depends on the user alone, so that worker processes find the same folder.

    Raises:
        ValueError: If `$DIGIT_CACHE` names no folder.
    """
    cache = folder_of_variable("DIGIT_CACHE") or Path.home() / ".cache/digit"
    if _is_writable(cache):
        return cache
    return Path(tempfile.gettempdir()) / f"digit-{getpass.getuser()}"

"""Where results may be written: nothing that a user already has is destroyed.

The commands, and functions that work for hours before they write, check their outputs
here first.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from digit.files import is_special

# Folders of a data set, beside `annotations`, whose files are never overwritten.
DATA_SET_FOLDERS = (
    "annotations",
    "images",
    "rootnet_output",
    "truth",
    "cache",
    "prepared",
    "labelling",
    "imported",
)
STANDARD_OUTPUT = Path("-")
STREAMED = ("json", "csv", "figure")  # results that may go to standard output


def check_outputs(
    outputs: Mapping[str, Path | str | None],
    inputs: Iterable[Path | str | None] = (),
) -> None:
    """Check, before any work, that results can be written and destroy nothing.

    Args:
        outputs: The files that will be written, by the argument that names each; None
            where one is not asked for, "-" for standard output.
        inputs: Files that are read.

    Raises:
        FileNotFoundError: If an output's folder is missing.
        ValueError: If an output is a folder, an input, a file of a data set, or the same
            file as another output; or "-" for a result that cannot go there.
    """
    kept = [Path(path).resolve() for path in inputs if path is not None]
    taken: dict[Path, str] = {}
    for argument, given in outputs.items():
        if given is None:
            continue
        if Path(given) == STANDARD_OUTPUT:
            if argument.lstrip("-") not in STREAMED:
                hint = "cannot go to standard output; give a file's name"
                raise ValueError(f"{argument} -: {hint}")
            continue
        path = Path(given)
        place = path.resolve()
        _check_place(argument, path)
        if any(_is_same(place, file) for file in kept):
            raise ValueError(
                f"{argument} {path}: this file is an input and would be overwritten; "
                "give another name"
            )
        if is_of_data_set(place):
            raise ValueError(
                f"{argument} {path}: this is a file of a data set; write elsewhere"
            )
        # Several results may go to a device or a pipe.
        if place in taken and not is_special(place):
            raise ValueError(
                f"{argument} {path}: the same file as {taken[place]}; give another name"
            )
        taken[place] = argument


def check_output_folder(
    argument: str, folder: Path, inputs: Iterable[Path | str]
) -> None:
    """Check that results in a folder, named as the inputs are, replace none of them.

    Args:
        argument: What names the folder.
        folder: The folder.
        inputs: Files that are read.

    Raises:
        ValueError: If an input lies in the folder, or the folder is one of a data set.
    """
    place = folder.resolve()
    for path in inputs:
        if Path(path).resolve().parent == place:
            raise ValueError(
                f"{argument} {folder}: {path} lies there, an input that could be "
                "overwritten; give another folder"
            )
    if is_of_data_set(place / "result"):
        raise ValueError(
            f"{argument} {folder}: this is a folder of a data set; write elsewhere"
        )


def is_of_data_set(path: Path) -> bool:
    """Whether a path lies in the folders of a data set (or is an LMDB of it)."""
    for dataset_dir in path.parents:
        if not (dataset_dir / "annotations").is_dir():
            continue
        top = path.relative_to(dataset_dir).parts[0]
        if top in DATA_SET_FOLDERS or top.endswith(".lmdb"):
            return True
    return False


def is_standard_output(path: Path | None) -> bool:
    """Whether a result goes where the command prints: "-", /dev/stdout and the like."""
    if path is None or path == STANDARD_OUTPUT:
        return path is not None
    try:
        return os.path.samestat(os.stat(path), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


def _check_place(argument: str, path: Path) -> None:
    """Raise if the path is a folder or its folder is missing."""
    if path.is_dir():
        raise ValueError(f"{argument} {path}: this is a folder; give a file's name")
    # A link may point to where a file is still to be made.
    folder = path.resolve().parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{argument} {path}: there is no folder {folder}; make it first"
        )


def _is_same(path: Path, other: Path) -> bool:
    """Whether two resolved paths are one file, by another hard link too."""
    if path == other:
        return True
    return path.exists() and other.exists() and path.samefile(other)

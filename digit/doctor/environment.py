"""The doctor for the environment: this Python, this machine, and the folders written to.

`digit doctor --environment` calls `examine_environment`; `digit prepare` and `digit
train` call `warn_of_folders` before they start anything.
"""

import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import torch
from packaging.requirements import Requirement

from digit.doctor.findings import Finding, Severity
from digit.files import exclusive
from digit.paths import (
    CHECKOUT_DIR,
    IS_CHECKOUT,
    cache_root,
    folder_of_variable,
    prepared_dir,
    runs_dir,
)
from digit.training.data import SHARED_MEMORY, check_shared_memory
from digit.training.settings import PRESETS, SettingError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Checkpoints of the paper's network have 500 MB, those of small 30 MB. By eye.
LITTLE_SPACE = 2_000_000_000
NO_SPACE = 20_000_000
VARIABLES = ("DIGIT_RUNS", "DIGIT_CACHE", "DIGIT_MANO")  # that name folders


def examine_environment(dataset_dir: Path | str | None = None) -> list[Finding]:
    """Look for faults of the environment.

    Args:
        dataset_dir: A data set whose folder is looked at as well; None for none.
    """
    findings = list(examine_folders(dataset_dir))
    for examine in EXAMINERS:
        findings += examine()
    return findings


def _finding(
    where: str, severity: Severity, what: str, hint: str = "", example: str = ""
) -> Finding:
    """A row of the table for this area."""
    return Finding("environment", where, severity, what, example=example, hint=hint)


# --- Folders ------------------------------------------------------------------------


def examine_folders(dataset_dir: Path | str | None = None) -> Iterator[Finding]:
    """Look at the folders that are written to: variables, locks, space."""
    # 1. Where they are
    broken = list(path_variables())
    yield from broken
    if broken:
        return
    folders = {"runs": runs_dir(), "cache": cache_root()}
    if dataset_dir is not None and Path(dataset_dir).is_dir():
        folders["prepared data"] = prepared_dir(dataset_dir)

    # 2. Whether each can be written, locked and filled
    for name, folder in folders.items():
        where = f"{name} ({folder})"
        existing = _nearest_folder(folder)
        yield from _locks(where, existing)
        yield from _space(where, existing)


def warn_of_folders(dataset_dir: Path | str | None = None) -> None:
    """Print what is wrong with the folders that are written to.

    Raises:
        ValueError: If there is an error, which would end the work later.
    """
    for found in examine_folders(dataset_dir):
        if found.severity == "error":
            raise ValueError(found.sentence())
        print(found.sentence(), file=sys.stderr)


def path_variables() -> Iterator[Finding]:
    """Variables that should name folders and name files, or nothing."""
    for name in VARIABLES:
        try:
            folder_of_variable(name)
        except ValueError as error:
            what, _, hint = str(error).removeprefix(f"{name}: ").rpartition("; ")
            yield _finding(name, "error", what, hint)


def _locks(where: str, folder: Path) -> Iterator[Finding]:
    """Whether a lock can be had in a folder."""
    trial = folder / f".doctor-{secrets.token_hex(4)}.lock"
    try:
        with exclusive(trial, wait=False):
            pass
    except OSError as error:
        reason, _, hint = str(error).removeprefix(f"{trial}: ").rpartition("; ")
        yield _finding(where, "error", reason or "cannot be locked", hint)
    finally:
        trial.unlink(missing_ok=True)


def _space(where: str, folder: Path) -> Iterator[Finding]:
    """Whether there is room on the disk."""
    free = shutil.disk_usage(folder).free
    if free < LITTLE_SPACE:
        severity: Severity = "error" if free < NO_SPACE else "warning"
        what = f"only {free / 1e9:.2f} GB are free on this disk"
        yield _finding(where, severity, what, "make room, or use another disk")


def _nearest_folder(path: Path) -> Path:
    """A folder, or the nearest above it that exists."""
    return next(place for place in (path, *path.parents) if place.is_dir())


# --- Python and its packages --------------------------------------------------------


def versions() -> Iterator[Finding]:
    """Packages that are missing, older than needed, or not the ones tested with."""
    try:
        requirements = [Requirement(line) for line in metadata.requires("digit") or ()]
    except metadata.PackageNotFoundError:
        hint = "pip install -e ."
        yield _finding(
            "digit", "warning", "is not installed: run from its folder", hint
        )
        return
    # 1. What digit needs
    for needed in requirements:
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        hint = f"pip install '{needed.name}{needed.specifier}'"
        found = _version(needed.name)
        if found is None:
            yield _finding(needed.name, "error", "is not installed", hint)
        elif not needed.specifier.contains(found, prereleases=True):
            what = f"{found} is installed, {needed.specifier} is needed"
            yield _finding(needed.name, "error", what, hint)

    # 2. What it was tested with
    others = [
        f"{name} {found} instead of {tested}"
        for name, tested in _constraints().items()
        if (found := _version(name)) is not None and found.partition("+")[0] != tested
    ]
    if others:
        yield Finding(
            area="environment",
            where="packages",
            severity="note",
            finding="another version than in constraints.txt",
            count=len(others),
            example=others[0],
            hint="pip install -c constraints.txt -e .",
        )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _constraints() -> dict[str, str]:
    """The versions that the project is tested with; {} outside a checkout."""
    path = CHECKOUT_DIR / "constraints.txt"
    if not (IS_CHECKOUT and path.is_file()):
        return {}
    tested: dict[str, str] = {}
    for line in path.read_text().splitlines():
        pinned = line.partition("#")[0].strip()
        if "==" not in pinned:
            continue
        requirement = Requirement(pinned)
        if requirement.marker is None or requirement.marker.evaluate():
            version = str(requirement.specifier).removeprefix("==")
            # The build of a wheel, as in 2.8.0+cpu, depends on the machine.
            tested[requirement.name] = version.partition("+")[0]
    return tested


def kernel() -> Iterator[Finding]:
    """Whether JupyterLab's kernel "python3" is this Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    # `digit train` starts this Python whatever is installed; JupyterLab does not.
    hint = f"{sys.executable} -m ipykernel install --sys-prefix"
    where = "Jupyter kernel python3"
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        yield _finding(where, "error", "is missing: no notebook opens", hint)
        return
    except (OSError, ValueError) as error:
        yield _finding(where, "error", f"cannot be read ({error!s:.100})", hint)
        return
    command = spec.argv[0] if spec.argv else ""
    # Jupyter starts its own Python for such a name without a path.
    if re.fullmatch(r"python(3(\.\d+)?)?", command):
        return
    program = shutil.which(command)
    if program is None:
        what = "starts a program that is not there"
        yield _finding(where, "error", what, hint, example=spec.resource_dir)
    elif not _is_this_python(Path(program)):
        what = f"is another Python, {program}, whose digit may be another"
        yield _finding(where, "warning", what, hint, example=spec.resource_dir)


def _is_this_python(program: Path) -> bool:
    """Whether a program is the interpreter of this environment."""
    # Not resolved: environments link to one interpreter.
    names = {path.name for path in Path(sys.executable).parent.glob("python*")}
    return program.parent == Path(sys.executable).parent and program.name in names


# --- The machine --------------------------------------------------------------------


def processors() -> Iterator[Finding]:
    """Whether torch uses the GPU that is there."""
    where = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        what = f"trains on {torch.cuda.device_count()} × {name}"
        yield _finding(where, "note", what)
    elif Path("/proc/driver/nvidia").is_dir() or shutil.which("nvidia-smi"):
        what = "does not use the NVIDIA GPU of this machine"
        hint = "install the CUDA build: see docs/install.md"
        yield _finding(where, "warning", what, hint)
    else:
        what = f"no GPU: {os.cpu_count()} CPU cores"
        yield _finding(where, "note", what, "--preset quick or small")


def shared_memory() -> Iterator[Finding]:
    """Whether the loader workers of each preset have room for their batches."""
    refused = {}
    for name, settings in PRESETS.items():
        try:
            check_shared_memory(settings)
        except SettingError as error:
            refused[name] = str(error).partition(": ")[2].partition("; ")[0]
    if refused:
        name, reason = next(iter(refused.items()))
        hint = "--set workers=0, or docker run --shm-size=4g"
        what = f"too small for the workers of {', '.join(refused)}"
        example = f"{name}: {reason}"
        yield _finding(str(SHARED_MEMORY), "warning", what, hint, example)


def browser() -> Iterator[Finding]:
    """Whether there is a browser for the tests that need one."""
    if not any(map(shutil.which, BROWSERS)):
        hint = "install Chromium, for the tests of the widgets only"
        yield _finding("browser", "note", "no Chromium: its tests are skipped", hint)


EXAMINERS: tuple[Callable[[], Iterator[Finding]], ...] = (
    versions,
    kernel,
    processors,
    shared_memory,
    browser,
)

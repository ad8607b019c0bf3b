"""Random damage to files, and what becomes of it.

`strike` damages one file, has it read as the workbench reads it, says what came of it, and
mends it. `tests/test_damage.py` does it some hundred times, `benchmarks/random_damage.py` as
long as one lets it; what there is to damage is in `damage_targets`.
"""

import contextlib
import hashlib
import io
import json
import logging
import random
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# What may come of damage. The last three are faults of the workbench.
OUTCOMES = (
    "named error",
    "finding",
    "accepted",
    "traceback",
    "wrong unnoticed",
    "lost",
)
FAULTS = OUTCOMES[3:]

# What a value of JSON may become. Some are right in another place, some nowhere.
VALUES = (
    None,
    True,
    0,
    -1,
    1.5,
    10**9,
    10**30,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "text",
    "7",
    "a\nb",
    "../../x",
    "\ud800",
    [],
    [[]],
    [1, 2, 3, 4],
    [None] * 4,
    {},
    {"a": None},
    [[[[[[[[[[1]]]]]]]]]],
)
LONGEST_SPAN = 40  # bytes that one damage overwrites, at most

Mutation = Callable[[random.Random, bytes], bytes]


class Reading(NamedTuple):
    """What reading a file gave.

    Attributes:
        value: What was read; equal for equal content.
        findings: What was said of it: rows of the doctor, log lines.
    """

    value: Hashable
    findings: tuple[str, ...] = ()


class Target(NamedTuple):
    """A kind of file that may be damaged.

    Attributes:
        name: What the table calls it.
        files: Gives the files of this kind, one of which is damaged.
        read: Reads them as the workbench does.
        folder: What an error message must name a file of.
        mutations: Ways to damage a file.
        watched: What reading must leave as it is, besides `files`.
        is_verified: Whether its bytes are vouched for by a checksum, so that nothing wrong
            may be read.
        is_users: Whether its content is the user's, or costs much, and must not be lost.
        repair: Brings back what the reading may have changed besides the file.
    """

    name: str
    files: Callable[[], Sequence[Path]]
    read: Callable[[], Reading]
    folder: Path
    mutations: tuple[Mutation, ...]
    watched: Sequence[Path] = ()
    is_verified: bool = False
    is_users: bool = True
    repair: Callable[[], None] = lambda: None


def file_target(
    name: str,
    path: Path,
    read: Callable[[], Reading],
    mutations: tuple[Mutation, ...],
    **more,
) -> Target:
    """A target of one file."""
    return Target(name, lambda: [path], read, path.parent, mutations, **more)


def digest(*arrays: np.ndarray) -> str:
    """A checksum of arrays."""
    found = hashlib.blake2b()
    for array in arrays:
        found.update(repr((array.shape, array.dtype.str)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


class Result(NamedTuple):
    """What came of one damage."""

    outcome: str
    detail: str


def mutated_json(rng: random.Random, data: bytes) -> bytes:
    """The document with one value replaced, removed, repeated, or wrapped in a list."""
    changed = changed_somewhere(rng, json.loads(data), VALUES)
    return json.dumps(changed).encode()


def changed_somewhere(rng: random.Random, value: Any, others: Sequence) -> Any:
    """One value within dictionaries and lists replaced, removed, repeated, or wrapped.

    Args:
        rng: Where, and how.
        value: What is changed, in place where it is a dictionary or list.
        others: What a value may be replaced by.
    """
    holder = {"root": value}
    # 1. Walk down to some value
    parent: dict | list = holder
    key: str | int = "root"
    while isinstance(parent[key], dict | list) and parent[key] and rng.random() < 0.85:
        parent = parent[key]
        places = list(parent) if isinstance(parent, dict) else range(len(parent))
        key = rng.choice(places)
    # 2. Change it
    action = rng.choice(["replace", "replace", "remove", "repeat", "wrap"])
    if action == "replace":
        parent[key] = rng.choice(others)
    elif action == "wrap":
        parent[key] = [parent[key]]
    elif action == "remove":
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(key, parent[key])
    else:
        parent[f"0{key}"] = parent[key]
    return holder.get("root")


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """The file cut, or some of its bytes changed, zeroed, removed or repeated."""
    if not data:
        return b"text"
    start = rng.randrange(len(data))
    end = min(start + rng.randint(1, LONGEST_SPAN), len(data))
    span = data[start:end]
    same_length = [bytes(len(span)), rng.randbytes(len(span))]
    middle = rng.choice([b"", *same_length, span + span, b"\xff", b"{", b"]"])
    if rng.random() < 0.2:
        return data[:start]
    return data[:start] + middle + data[end:]


def mutated_lines(rng: random.Random, data: bytes) -> bytes:
    """A text with one line removed, repeated, moved to the end, or cut."""
    lines = data.split(b"\n")
    number = rng.randrange(len(lines))
    line = lines.pop(number)
    action = rng.choice(["remove", "repeat", "move", "cut"])
    if action == "repeat":
        lines[number:number] = [line, line]
    elif action == "move":
        lines.append(line)
    elif action == "cut" and line:
        lines.insert(number, line[: rng.randrange(len(line))])
    return b"\n".join(lines)


JSON_MUTATIONS = (mutated_json, mutated_json, mutated_bytes)
TEXT_MUTATIONS = (mutated_lines, mutated_bytes)
BYTE_MUTATIONS = (mutated_bytes,)


class _LogLines(logging.Handler):
    """Warnings, as findings."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def observed(read: Callable[[], Reading]) -> Reading:
    """A reading, with what it logs and prints among its findings."""
    handler = _LogLines()
    logger = logging.getLogger("digit")
    logger.addHandler(handler)
    propagates, logger.propagate = logger.propagate, False
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            reading = read()
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
    said = (*handler.lines, *printed.getvalue().splitlines())
    return reading._replace(findings=(*reading.findings, *said))


def strike(target: Target, baseline: Reading, seed: int) -> Result:
    """Damage one file of a target, read it, and mend it.

    Args:
        target: What is damaged.
        baseline: What `observed(target.read)` gives of the undamaged files.
        seed: Of which file is damaged, and how.
    """
    # 1. Damage
    rng = random.Random(f"{target.name} {seed}")
    path = rng.choice(target.files())
    whole = path.read_bytes()
    mutate = rng.choice(target.mutations)
    damaged = mutate(rng, whole)
    what = f"{path.name}, {mutate.__name__}"
    path.write_bytes(damaged)
    others = _stamps(target, path)

    # 2. Read
    try:
        try:
            reading = observed(target.read)
        except (ValueError, OSError) as error:
            outcome, detail = _judge_error(target, error)
        except Exception as error:
            outcome, detail = "traceback", repr(error)
        else:
            outcome, detail = _judge_reading(target, baseline, reading)
            if damaged == whole and outcome in FAULTS:
                outcome = "accepted"

        # 3. Is anything lost?
        if target.is_users and not _is_kept(path, damaged):
            outcome, detail = "lost", "the damaged file's own bytes are nowhere"
        if _stamps(target, path) != others:
            outcome, detail = "lost", "another file has changed"
    finally:
        target.repair()
        if not path.is_file() or path.read_bytes() == damaged or target.is_users:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(whole)
    return Result(outcome, f"{what}: {detail}"[:300])


def _judge_error(target: Target, error: Exception) -> tuple[str, str]:
    """A named error has one line and a file in it; others are as bad as a traceback."""
    message = str(error)
    is_named = str(target.folder) in message and "\n" not in message
    return ("named error" if is_named else "traceback"), message


def _judge_reading(
    target: Target, baseline: Reading, reading: Reading
) -> tuple[str, str]:
    """Whether the damage was noticed, did nothing, or was taken for content."""
    new = [line for line in reading.findings if line not in baseline.findings]
    if new or len(reading.findings) != len(baseline.findings):
        return "finding", (new or ["a finding less"])[0]
    if reading.value != baseline.value and target.is_verified:
        return "wrong unnoticed", "another content was read"
    return "accepted", "" if reading.value == baseline.value else "taken as it stands"


def _stamps(target: Target, but: Path) -> dict[Path, tuple[int, ...]]:
    """Size, time of change and number of the files beside the damaged one that must stay;
    of a file that is gone, nothing."""
    paths = {*target.watched, *(target.files() if target.is_users else ())} - {but}
    stamps = {}
    for path in paths:
        if path.is_file():
            status = path.stat()
            stamps[path] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return stamps


def _is_kept(path: Path, content: bytes) -> bool:
    """Whether a content is still in its file, or in one beside it."""
    beside = [path, *path.parent.glob(f"{path.name}.*")]
    return any(file.is_file() and file.read_bytes() == content for file in beside)

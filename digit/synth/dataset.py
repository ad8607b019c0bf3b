"""A synthetic data set: many captures, gathered into InterHand2.6M's annotation files.

`digit synth`, `digit demo` and the tests call `synthesize`.
"""

import json
import multiprocessing.connection
import os
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from digit.data.parquet import write_table
from digit.data.tree import write_tree
from digit.files import atomic, read_json_object
from digit.synth.capture import Job, make_capture
from digit.synth.profiles import PROFILES, Profile, WebcamProfile

# This file is written last: a data set that has it is complete.
LAST_FILE = "truth/test.parquet"
SETTINGS_FILE = "synth.json"
FEWEST_FRAMES = 3
MOST_FRAMES = 100_000_000  # more are taken for a mistake: even their plan fills memory
TRUTH_COLUMNS = ["image_id", "family", "hands_distance_mm", "penetration_mm"]

AnyProfile = Profile | WebcamProfile


def synthesize(
    dataset_dir: Path | str,
    frames: int,
    seed: int = 0,
    profile: str | AnyProfile = "studio",
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> dict[str, int]:
    """Write a synthetic data set, or finish one that was stopped.

    The same seed, frames and profile give the same bytes for any number of workers.

    Args:
        dataset_dir: A folder that is empty, does not exist, or holds a part of this
            data set.
        frames: The number of frames of all splits together.
        seed: Of everything random.
        profile: A name of `PROFILES`, several joined by "+" which captures take in
            turn, or a profile of your own.
        workers: The number of worker processes; all cores by default.
        executor: Runs the captures instead of worker processes; its workers must see
            the folder.
        progress: Whether a progress bar is shown.

    Returns:
        The number of frames of each split.

    Raises:
        ValueError: if the profile is unknown, there are fewer than 3 frames or more than
            a hundred million, seed or workers are negative, or the folder holds other data.

    Example:
        >>> digit.synthesize("data/small", frames=60, seed=1)
        {'train': 48, 'val': 6, 'test': 6}
    """
    dataset_dir = Path(dataset_dir)
    profiles = _find_profiles(profile)
    _check_numbers(frames, seed, workers)
    settings = {
        "frames": frames,
        "seed": seed,
        "profiles": [asdict(one) for one in profiles],
    }
    _check_folder(dataset_dir, settings)

    # 1. Plan the captures.
    jobs = plan(dataset_dir, frames, seed, profiles)
    totals: dict[str, int] = {}
    for job in jobs:
        totals[job.split] = totals.get(job.split, 0) + job.frames
    if (dataset_dir / LAST_FILE).is_file():
        return totals
    with atomic(dataset_dir / SETTINGS_FILE) as file:
        file.write(json.dumps(settings, indent=1) + "\n")

    # 2. Make them, in any order.
    _make_captures(jobs, workers, executor, progress)

    # 3. Gather their annotations.
    for split in totals:
        parts = [make_capture(job) for job in jobs if job.split == split]
        _gather(dataset_dir, split, parts)
    shutil.rmtree(dataset_dir / "parts", ignore_errors=True)
    return totals


def plan(
    dataset_dir: Path | str,
    frames: int,
    seed: int,
    profiles: Sequence[AnyProfile],
) -> list[Job]:
    """The captures of a data set: 80 % train, 10 % val, 10 % test.

    No subject is in two splits. The captures of a split take the profiles in turn.

    Args:
        dataset_dir: Where the data set will be.
        frames: The number of frames of all splits together.
        seed: Of everything random.
        profiles: What captures look like.
    """
    tenth = max(round(frames / 10), 1)
    frames_of_split = {"train": frames - 2 * tenth, "val": tenth, "test": tenth}
    largest = min(profile.frames_per_capture for profile in profiles)
    jobs: list[Job] = []
    for split, count in frames_of_split.items():
        captures = -(-count // largest)
        for k in range(captures):
            # Captures of a split differ by one frame at most.
            share = count * (k + 1) // captures - count * k // captures
            job = Job(
                dataset_dir=str(dataset_dir),
                split=split,
                capture=len(jobs),
                frames=share,
                seed=seed,
                profile=profiles[k % len(profiles)],
            )
            jobs.append(job)
    return jobs


def _check_numbers(frames: int, seed: int, workers: int | None) -> None:
    """Raise ValueError for numbers that no data set can be made with."""
    if frames < FEWEST_FRAMES:
        raise ValueError(
            f"frames {frames} are too few for train, val and test: "
            f"use {FEWEST_FRAMES} or more"
        )
    if frames > MOST_FRAMES:
        raise ValueError(f"frames {frames} are too many: use {MOST_FRAMES:,} at most")
    if seed < 0:
        raise ValueError(f"seed {seed}: use a number from 0 on")
    if workers is not None and workers < 0:
        raise ValueError(f"workers {workers}: use 1 or more, or 0 for all cores")


def _find_profiles(profile: str | AnyProfile) -> list[AnyProfile]:
    """The profiles that a text names; ValueError if one is unknown."""
    if not isinstance(profile, str):
        return [profile]
    names = profile.split("+")
    for name in names:
        if name not in PROFILES:
            known = ", ".join(PROFILES)
            raise ValueError(f"profile {name!r} is unknown: use one of {known}")
    return [PROFILES[name] for name in names]


def _check_folder(dataset_dir: Path, settings: dict[str, Any]) -> None:
    """Raise ValueError if a folder holds anything but a part of this data set."""
    note = dataset_dir / SETTINGS_FILE
    if os.path.lexists(dataset_dir) and not dataset_dir.is_dir():
        raise ValueError(f"{dataset_dir}: this is no folder; give another name")
    if not note.is_file():
        # A run that was killed at its first write leaves an unfinished note.
        unfinished = f".{SETTINGS_FILE}."
        entries = dataset_dir.iterdir() if dataset_dir.is_dir() else []
        if any(not entry.name.startswith(unfinished) for entry in entries):
            raise ValueError(
                f"{dataset_dir} holds other data: "
                "use a folder that is empty or does not exist"
            )
        return
    hint = "remove the folder to make the data anew, or use another"
    found = read_json_object(note, hint)
    # JSON has no tuples, so compare what JSON makes of the settings.
    for key, wanted in json.loads(json.dumps(settings)).items():
        if found.get(key) != wanted:
            raise ValueError(f"{note}: {_difference(key, found.get(key), wanted)}")


def _difference(key: str, found: Any, wanted: Any) -> str:
    """Why a folder that was begun cannot be finished, and what to do."""
    use = "use another folder"
    if key != "profiles":
        hint = f"{use}, or these settings to finish what is there"
        return f"{key} is {found!r:.100}, not {wanted!r}: {hint}"
    # Each profile is a record of numbers, which other versions may have changed.
    names = [one.get("name") for one in found or () if isinstance(one, dict)]
    if names == [one["name"] for one in wanted]:
        return f"its profiles are those of another version: {use}"
    named = "+".join(map(str, names)) or f"{found!r:.100}"
    return f"profile is {named}: {use}, or this profile to finish what is there"


def _make_captures(
    jobs: list[Job],
    workers: int | None,
    executor: Executor | None,
    progress: bool,
) -> None:
    """Run all jobs, on the executor or on processes of our own."""
    count = min(workers or os.cpu_count() or 1, len(jobs))
    pool = executor or ProcessPoolExecutor(count, initializer=_begin_worker)
    try:
        futures = {pool.submit(make_capture, job): job for job in jobs}
        frames = sum(job.frames for job in jobs)
        with tqdm(total=frames, unit="frame", disable=not progress) as bar:
            for future in as_completed(futures):
                future.result()
                bar.update(futures[future].frames)
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Prepare a worker process: one thread, and an end with the main process."""
    cv2.setNumThreads(0)
    watch = threading.Thread(target=_end_with_parent, daemon=True)
    watch.start()


def _end_with_parent() -> None:
    """Wait until the main process has ended, however that was, and end this one.

    A killed process cannot tell its workers, which would wait for work for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Ready once the main process' end of a pipe is closed, by the system if need be.
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _gather(
    dataset_dir: Path,
    split: str,
    parts: list[Path],
) -> None:
    """Write a split's annotations and truth, from the files of its captures."""
    # 1. Join the columns of all captures.
    joined: dict[str, dict[str, list]] = {"frames": {}, "instants": {}, "cameras": {}}
    for part in parts:
        with np.load(part) as file:
            for name in file.files:
                table, _, column = name.partition("/")
                arrays = joined[table].setdefault(column, [])
                arrays.append(file[name])
    captures = [int(part.stem) for part in parts]
    frames = _with_captures(joined["frames"], captures)
    instants = _with_captures(joined["instants"], captures)
    cameras = _with_captures(joined["cameras"], captures)

    # 2. The columns that only a whole split has.
    cameras["camera"] = cameras.pop("name")
    frames["image_id"] = np.arange(len(frames["capture"]))
    frames["subject"] = frames["capture"]
    write_tree(dataset_dir, split, frames, instants, cameras, hand_model="generic")

    # 3. The truth.
    columns = list(TRUTH_COLUMNS)
    for name in frames:
        if "_hidden" in name:
            columns.append(name)
    truth = pd.DataFrame({name: list(frames[name]) for name in columns})
    path = dataset_dir / "truth" / f"{split}.parquet"
    write_table(path, truth, index=False)


def _with_captures(
    table: dict[str, list[np.ndarray]],
    captures: list[int],
) -> dict[str, np.ndarray]:
    """A table with its columns joined, and the capture of each row."""
    any_column = next(iter(table.values()))
    rows_of_capture = [len(array) for array in any_column]
    result = {name: np.concatenate(arrays) for name, arrays in table.items()}
    result["capture"] = np.repeat(captures, rows_of_capture)
    return result

"""A synthetic data set from many captures."""

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from digit.data.tree import write_tree
from digit.files import atomic
from digit.synth.capture import Job, make_capture
from digit.synth.profiles import FRAMES_PER_CAPTURE, PROFILES, Profile


def plan(
    root: Path | str, frames: int, seed: int, profiles: Sequence[Profile]
) -> list[Job]:
    """The captures of a data set, 80 % train, 10 % val, 10 % test; no subject is in two splits.

    The captures of a split take the profiles in turn.
    """
    tenth, jobs = max(round(frames / 10), 1), []
    for split, count in (
        ("train", frames - 2 * tenth),
        ("val", tenth),
        ("test", tenth),
    ):
        n = -(-count // FRAMES_PER_CAPTURE)
        for k in range(n):
            share = count * (k + 1) // n - count * k // n
            profile = profiles[k % len(profiles)]
            jobs.append(Job(str(root), split, len(jobs), share, seed, profile))
    return jobs


def synthesize(
    root: Path | str,
    frames: int,
    seed: int = 0,
    profile: str | Profile = "studio",
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> dict[str, int]:
    """Write a synthetic data set of so many frames in all, or finish one that was stopped; returns
    the frames of each split. The same seed, frames and profile give the same bytes for any number
    of workers (default: all cores), and on any executor whose workers see `root`. With several
    profiles, "studio+wild", captures take them in turn.

    ValueError for an unknown profile, fewer than 3 frames, or a root that holds other data.
    """
    names = profile.split("+") if isinstance(profile, str) else []
    for name in names:
        if name not in PROFILES:
            raise ValueError(
                f"profile {name!r} is unknown: use one of {', '.join(PROFILES)}"
            )
    profiles = [PROFILES[name] for name in names] or [profile]
    if frames < 3:
        raise ValueError(
            f"frames {frames} are too few for train, val and test: use 3 or more"
        )
    root, note = Path(root), Path(root) / "synth.json"
    settings = {
        "frames": frames,
        "seed": seed,
        "profiles": [asdict(p) for p in profiles],
    }
    settings = json.loads(json.dumps(settings))
    there = json.loads(note.read_text()) if note.is_file() else settings
    for key in settings:
        if there.get(key) != settings[key]:
            raise ValueError(
                f"{note}: {key} is {there.get(key)!r}, not {settings[key]!r}: use another folder, "
                "or these settings to finish what is there"
            )
    if not note.is_file() and root.is_dir() and any(root.iterdir()):
        raise ValueError(
            f"{root} holds other data: use a folder that is empty or does not exist"
        )
    jobs = plan(root, frames, seed, profiles)
    totals = {j.split: sum(k.frames for k in jobs if k.split == j.split) for j in jobs}
    if (root / "truth/test.parquet").is_file():  # it is written last
        return totals
    with atomic(note) as file:
        file.write(json.dumps(settings, indent=1) + "\n")
    pool = executor or ProcessPoolExecutor(
        min(workers or os.cpu_count() or 1, len(jobs)),
        initializer=cv2.setNumThreads,
        initargs=(0,),
    )
    try:
        futures = {pool.submit(make_capture, job): job for job in jobs}
        with tqdm(total=frames, unit="frame", disable=not progress) as bar:
            for future in as_completed(futures):
                future.result()
                bar.update(futures[future].frames)
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    for split in totals:
        _gather(root, split, [make_capture(job) for job in jobs if job.split == split])
    shutil.rmtree(root / "parts", ignore_errors=True)
    return totals


def _gather(root, split, parts):
    """A split's annotation files and truth, from its captures' parts."""
    tables = {"frames": {}, "instants": {}, "cameras": {}}
    for part in parts:
        with np.load(part) as file:
            for name in file.files:
                group, _, key = name.partition("/")
                tables[group].setdefault(key, []).append(file[name])
    for table in tables.values():
        sizes = [len(array) for array in next(iter(table.values()))]
        table["capture"] = [np.repeat([int(part.stem) for part in parts], sizes)]
        table.update({key: np.concatenate(arrays) for key, arrays in table.items()})
    frames, instants, cameras = tables.values()
    cameras["camera"] = cameras.pop("name")
    frames |= {
        "image_id": np.arange(len(frames["capture"])),
        "subject": frames["capture"],
    }
    write_tree(root, split, frames, instants, cameras, hand_model="generic")
    names = ["image_id", "family", "hands_distance_mm", "penetration_mm"]
    truth = {
        key: list(frames[key]) for key in names + [k for k in frames if "_hidden" in k]
    }
    with atomic(root / "truth" / f"{split}.parquet", "wb") as file:
        pd.DataFrame(truth).to_parquet(file, index=False)

"""Planning, refusing, finishing: the same bytes whatever happens on the way."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from inline import InlineExecutor, file_contents

from digit.synth.capture import Job, make_capture
from digit.synth.dataset import plan, synthesize
from digit.synth.profiles import PROFILES

FRAMES = 24
SEED = 3
# The writes of a small data set that are the last ones of a killed run.
KILL_AT = (1, 2, 4, 3, 2, 9, 20)


def test_splits_share_no_capture():
    jobs = plan("any", 1000, SEED, [PROFILES["studio"]])
    assert [job.capture for job in jobs] == list(range(len(jobs)))
    frames = {"train": 0, "val": 0, "test": 0}
    for job in jobs:
        frames[job.split] += job.frames
    assert frames == {"train": 800, "val": 100, "test": 100}
    assert max(job.frames for job in jobs) <= PROFILES["studio"].frames_per_capture


def test_captures_take_the_profiles_in_turn():
    profiles = [PROFILES["studio"], PROFILES["webcam"]]
    jobs = plan("any", 1000, SEED, profiles)
    names = [job.profile.name for job in jobs if job.split == "train"]
    assert names[:4] == ["studio", "webcam", "studio", "webcam"]


def test_two_workers_write_the_same_bytes_after_a_stop(small_tree, tmp_path):
    dataset_dir = tmp_path / "again"
    jobs = plan(dataset_dir, FRAMES, SEED, [PROFILES["studio"]])
    make_capture(jobs[0])
    # One capture is done; of the next there is a broken picture.
    expected = file_contents(small_tree.dataset_dir)
    of_val = next(name for name in expected if name.startswith("images/val"))
    broken = dataset_dir / of_val
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"half")
    (dataset_dir / "synth.json").write_bytes(expected["synth.json"])

    synthesize(dataset_dir, FRAMES, SEED, workers=2, progress=False)
    found = file_contents(dataset_dir)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


def synthesize_small(dataset_dir: Path) -> None:
    """Six frames: three captures, one picture or more each."""
    synthesize(dataset_dir, 6, seed=9, executor=InlineExecutor(), progress=False)


def synthesize_until_killed(dataset_dir: Path, last_write: int) -> None:
    """The same in a process that kills itself in the middle of the n-th write."""
    cv2.setNumThreads(0)
    writes = 0
    write_bytes = Path.write_bytes
    replace = os.replace

    def is_last() -> bool:
        nonlocal writes
        writes += 1
        return writes == last_write

    def dying_write_bytes(path, data):
        if is_last():
            write_bytes(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write_bytes(path, data)

    def dying_replace(source, target):
        if is_last():
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(source, target)

    Path.write_bytes = dying_write_bytes
    os.replace = dying_replace
    synthesize_small(dataset_dir)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_runs_finish_with_the_same_bytes(tmp_path):
    synthesize_small(tmp_path / "calm")
    context = multiprocessing.get_context("fork")
    for last_write in KILL_AT:
        arguments = (tmp_path / "killed", last_write)
        process = context.Process(target=synthesize_until_killed, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    synthesize_small(tmp_path / "killed")
    found = file_contents(tmp_path / "killed")
    left_over = [name for name in found if Path(name).name.startswith(".")]
    for name in left_over:
        del found[name]
    assert found == file_contents(tmp_path / "calm")


def test_finished_data_set_stays_as_it_is(small_tree):
    before = file_contents(small_tree.dataset_dir)
    counts = synthesize(small_tree.dataset_dir, FRAMES, SEED, progress=False)
    assert counts == small_tree.counts
    assert file_contents(small_tree.dataset_dir) == before


@pytest.mark.parametrize(
    ("frames", "seed", "message"),
    [
        (FRAMES, 4, "synth.json: seed is 3, not 4: use another folder"),
        (30, SEED, "frames is 24, not 30"),
    ],
)
def test_other_settings_are_refused(small_tree, frames, seed, message):
    with pytest.raises(ValueError, match=message):
        synthesize(small_tree.dataset_dir, frames, seed)


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(ValueError, match="holds other data"):
        synthesize(tmp_path, FRAMES, SEED)


def test_unknown_profile_is_refused(tmp_path):
    with pytest.raises(ValueError, match="profile 'moon' is unknown"):
        synthesize(tmp_path / "new", FRAMES, SEED, profile="studio+moon")
    assert not (tmp_path / "new").exists()


def test_too_few_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="too few"):
        synthesize(tmp_path / "new", 2, SEED)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("profile", ["wild", "webcam"])
def test_bright_profiles_show_bright_pictures(tmp_path, profile):
    job = Job(str(tmp_path), "train", 0, 4, 0, PROFILES[profile])
    make_capture(job)
    paths = sorted(tmp_path.rglob("*.jpg"))
    pictures = [cv2.imread(str(path)) for path in paths]
    assert len(pictures) == 4
    assert np.mean([picture.mean() for picture in pictures]) > 30


def test_a_folder_begun_by_another_version_is_named_so(tmp_path):
    synthesize_small(tmp_path)
    note = tmp_path / "synth.json"
    settings = json.loads(note.read_text())
    settings["profiles"][0]["views"] = 1000
    note.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="profiles are those of another version"):
        synthesize_small(tmp_path)
    settings["profiles"][0]["name"] = "wild"
    note.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="profile is wild: use another folder"):
        synthesize_small(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 5000])
def test_a_damaged_note_is_named(content, tmp_path):
    note = tmp_path / "synth.json"
    note.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{note}: damaged .*remove the folder"):
        synthesize_small(tmp_path)
    assert note.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"text"])
def test_a_damaged_part_of_a_former_run_is_made_anew(content, tmp_path):
    jobs = plan(tmp_path, 6, 9, [PROFILES["studio"]])
    part = make_capture(jobs[0])
    expected = part.read_bytes()
    part.write_bytes(content)
    assert make_capture(jobs[0]).read_bytes() == expected
    cut = expected[:-100]
    part.write_bytes(cut)
    assert make_capture(jobs[0]).read_bytes() == expected


MAIN_PROCESS = """
import sys, time
from digit.synth import dataset

def report(job):
    print(__import__("os").getpid(), flush=True)
    time.sleep(600)

dataset.make_capture = report
dataset.synthesize(sys.argv[1], 40, workers=2, progress=False)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_main_process_that_is_ended(number, tmp_path):
    main = subprocess.Popen(
        [sys.executable, "-c", MAIN_PROCESS, str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        text=True,
    )
    workers = [psutil.Process(int(main.stdout.readline())) for _ in range(2)]
    main.send_signal(number)
    main.wait()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    for process in alive:
        process.kill()
    assert len(gone) == 2

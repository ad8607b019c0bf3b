"""Packing images: bytes as they are, resumed after any death, unusable frames
listed."""

import multiprocessing
import os
import random
import resource
import signal

import cv2
import lmdb
import numpy as np
import pytest
from trees import HEIGHT, WIDTH, jpeg, write_columns_tree, write_lmdb

from digit.data import packing, store
from digit.data.build_index import prepare_index
from digit.data.packing import pack, pack_images
from digit.data.store import Store, image_store
from digit.files import exclusive
from digit.paths import _cache_dir, prepared_dir


@pytest.fixture
def tree(tmp_path):
    """A tree with a picture for each frame, and an index."""
    dataset_dir = write_columns_tree(tmp_path / "tree")
    for i, key in enumerate(prepare_index(dataset_dir).keys()):
        path = dataset_dir / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(i))
    return dataset_dir


def content(path):
    place = Store(path)
    found = {key: place.read(key) for key in place.keys()}  # noqa: SIM118
    store.close_handle(path)
    return found


def image_path(dataset_dir, i):
    return dataset_dir / "images" / prepare_index(dataset_dir).keys()[i]


def forked(work, *arguments):
    """Run a function in a child process; returns its exit code."""
    child = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    child.start()
    child.join()
    return child.exitcode


# ------------------------------------------------------------------ whole data sets


def test_the_bytes_are_kept_as_they_are(tree):
    plain = content(tree / "images")
    assert pack_images(tree)["train"] == (30, 0, {})
    assert pack_images(tree)["train"] == (0, 30, {})
    assert content(prepared_dir(tree) / "images.lmdb") == plain
    size = (prepared_dir(tree) / "images.lmdb/data.mdb").stat().st_size
    pages = sum(-(-(len(data) + 16) // 4096) for data in plain.values())
    assert size <= 4096 * (pages + 6)


def test_a_split_without_images_is_passed_over(tmp_path):
    write_columns_tree(tmp_path, "val")
    assert pack_images(tmp_path) == {}


FAULTS = {
    "missing": lambda path: path.unlink(),
    "zero bytes": lambda path: path.write_bytes(b""),
    "truncated JPEG": lambda path: path.write_bytes(path.read_bytes()[:-2000]),
    "neither JPEG nor PNG": lambda path: path.write_bytes(b"<html>" * 99),
    "its size is 512 × 334, not 334 × 512 as annotated": lambda path: path.write_bytes(
        jpeg(0, HEIGHT, WIDTH)
    ),
}


def test_unusable_frames_are_listed_and_the_rest_is_packed(tree):
    for i, harm in enumerate(FAULTS.values()):
        harm(image_path(tree, i))
    packed, index = pack_images(tree)["train"], prepare_index(tree)
    assert packed.added == 25
    assert packed.unusable == dict(zip(index.keys(), FAULTS, strict=False))
    assert index.excluded()[:6].tolist() == [*FAULTS, ""]
    assert len(index.usable()) == 25

    # What is corrected is taken in by the next run.
    image_path(tree, 0).write_bytes(jpeg(0))
    assert pack_images(tree)["train"].added == 1
    assert len(prepare_index(tree).usable()) == 26


def test_it_stops_at_the_first_unusable_frame_when_asked(tree):
    image_path(tree, 3).write_bytes(b"")
    message = r"image\d+.jpg: zero bytes; correct the file or exclude"
    with pytest.raises(ValueError, match=message):
        pack_images(tree, stop=True)


def test_what_the_owner_has_prepared_is_not_packed_again(tree, tmp_path, monkeypatch):
    image_path(tree, 3).write_bytes(b"")
    pack_images(tree)
    monkeypatch.setenv("DIGIT_CACHE", str(tmp_path / "cache"))
    _cache_dir.cache_clear()
    (tree / "prepared").chmod(0o555)
    assert prepared_dir(tree).is_relative_to(tmp_path / "cache")
    assert len(prepare_index(tree).usable()) == 29
    packed = pack_images(tree)["train"]
    assert packed.added == packed.kept == 0
    assert len(packed.unusable) == 1
    assert len(image_store(tree)) == 30
    assert len(prepare_index(tree).usable()) == 29
    (tree / "prepared").chmod(0o755)
    _cache_dir.cache_clear()


# ------------------------------------------------------------------ one LMDB


def test_the_file_grows_and_readers_follow(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MAP_BYTES", 1 << 16)
    monkeypatch.setattr(packing, "BATCH_BYTES", 1 << 18)
    values = {f"k{i:03}": os.urandom(20_000) for i in range(100)}
    pack(tmp_path / "a.lmdb", list(values.items())[:3])
    reader = Store(tmp_path / "a.lmdb")
    assert reader.read("k001") == values["k001"]
    assert forked(pack, tmp_path / "a.lmdb", list(values.items())) == 0
    assert reader.read("k099") == values["k099"]
    assert content(tmp_path / "a.lmdb") == values


def numbered_items(n=40):
    """Items of 20 kB whose bytes follow from their number."""
    for i in range(n):
        yield f"k{i:03}", lambda i=i: random.Random(i).randbytes(20_000)


def pack_until_killed(path, commits, in_transaction):
    """Pack; the process is killed at the n-th commit, in its middle or behind it."""
    packing.BATCH_BYTES, packing.READ_AHEAD = 60_000, 4
    commit = packing._commit
    done = []

    def kill(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(env, place, batch):
        done.append(batch)
        if len(done) == commits and in_transaction:
            with env.begin(write=True) as transaction:
                transaction.cursor().putmulti(batch)
                kill()
        added = commit(env, place, batch)
        if len(done) == commits:
            kill()
        return added

    packing._commit = counted
    pack(path, numbered_items())


@pytest.mark.parametrize("in_transaction", [True, False])
@pytest.mark.parametrize("commits", [1, 2, 5])
def test_a_killed_packing_goes_on_where_it_was(tmp_path, commits, in_transaction):
    path = tmp_path / "a.lmdb"
    exit_code = forked(pack_until_killed, path, commits, in_transaction)
    assert exit_code == -signal.SIGKILL
    whole = commits - in_transaction
    kept = len(content(path))
    assert kept == 4 * whole

    # Killed once more, then left alone.
    exit_code = forked(pack_until_killed, path, 1, in_transaction)
    assert exit_code == -signal.SIGKILL
    packed = pack(path, numbered_items())
    assert packed.kept == kept + (0 if in_transaction else 4)
    pack(tmp_path / "undisturbed.lmdb", numbered_items())
    assert content(path) == content(tmp_path / "undisturbed.lmdb")
    assert len(content(path)) == 40


def test_two_at_once_are_refused(tree):
    lock = prepared_dir(tree) / "images.lmdb.lock"
    message = r"images.lmdb.lock: another preparation is at work; wait"
    with exclusive(lock, wait=False), pytest.raises(ValueError, match=message):
        pack_images(tree)
    assert pack_images(tree)["train"].added == 30


def test_a_full_disk_is_named_and_what_is_written_stays(tmp_path):
    """The operating system refuses to write beyond a size, as it does on a full
    disk."""
    items = [(f"k{i:03}", bytes(20_000)) for i in range(200)]

    def fill(answer):
        packing.BATCH_BYTES, packing.READ_AHEAD = 100_000, 8
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
        try:
            pack(tmp_path / "a.lmdb", items)
        except OSError as error:
            answer.send(str(error))

    here, there = multiprocessing.Pipe()
    forked(fill, there)
    assert here.poll(0)
    message = here.recv()
    assert message.startswith(f"{tmp_path}/a.lmdb: ")
    assert "make room and prepare again" in message
    kept = len(content(tmp_path / "a.lmdb"))
    packed = pack(tmp_path / "a.lmdb", items[:100])
    assert 0 < packed.kept == kept
    assert packed.added == 100 - kept


@pytest.mark.parametrize("keep", [0.3, 0.999])
def test_a_damaged_lmdb_is_made_anew(tree, keep, caplog):
    pack_images(tree)
    whole = content(prepared_dir(tree) / "images.lmdb")
    file = prepared_dir(tree) / "images.lmdb/data.mdb"
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    assert pack_images(tree)["train"].added == 30
    assert "images.lmdb: cut short" in caplog.text
    assert "it is made anew" in caplog.text
    assert content(prepared_dir(tree) / "images.lmdb") == whole


@pytest.mark.parametrize("error", [lmdb.LockError, lmdb.ReadonlyError, lmdb.Error])
def test_a_systems_refusal_is_no_damage(tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise error("No locks available")

    write_lmdb(tmp_path / "a.lmdb", {"k": b"v"})
    monkeypatch.setattr(store.lmdb, "open", refuse)
    message = r"a\.lmdb: No locks available; make the folder writable, on a file system"
    with pytest.raises(OSError, match=message):
        pack(tmp_path / "a.lmdb", [("l", b"v")])
    assert (tmp_path / "a.lmdb/data.mdb").exists()


def test_pictures_of_one_colour_are_packed(tmp_path):
    """A picture need not be worth its pixels to be packed."""
    black = cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes()
    assert pack(tmp_path / "a.lmdb", [("k", black)]).added == 1

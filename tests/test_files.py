"""The atomic writer and the lock."""

import errno
import json
import os
import stat
import threading

import filelock._unix
import numpy as np
import pytest

from digit.files import (
    atomic,
    exclusive,
    free_name,
    is_whole_npz,
    make_way,
    read_json_object,
    write_json,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "error", [ValueError("no"), OSError("no"), KeyboardInterrupt()]
)
def test_a_failed_write_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), atomic(path) as file:
        file.write("new")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_missing_folders_are_made(tmp_path):
    assert write_text(tmp_path / "b/c/a.txt", "é\n") == tmp_path / "b/c/a.txt"
    assert (tmp_path / "b/c/a.txt").read_bytes() == "é\n".encode()


def test_permissions_are_kept(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.txt").symlink_to("elsewhere/a.txt")
    for text in ("first", "second"):
        write_text(tmp_path / "link.txt", text)
        assert (tmp_path / "link.txt").is_symlink()
        assert (tmp_path / "elsewhere/a.txt").read_text() == text


def test_a_pipe_is_written_to_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    received = []
    reader = threading.Thread(target=lambda: received.append(path.read_text()))
    reader.start()
    write_text(path, "text")
    reader.join(60)
    assert received == ["text"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_each_writer_has_its_own_temporary_file(tmp_path):
    path = tmp_path / "a.txt"
    with atomic(path) as first, atomic(path) as second:
        first.write("first")
        second.write("second")
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("é" * 127)
    write_text(path, "text")
    assert path.read_text() == "text"


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        ("file/a.txt", "a file stands"),
        ("file/b/c/a.txt", "a file stands"),
        ("folder", "make room"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, place, hint):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=rf"{place}: cannot be written .*; {hint}"):
        write_text(tmp_path / place, "text")


def test_an_error_about_another_file_is_passed_on(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), atomic(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()


def test_json_has_null_for_what_is_not_finite(tmp_path):
    value = {"a": [float("nan"), 1.5, {"b": float("inf")}], "c": "text"}
    write_json(tmp_path / "a.json", value)
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == {"a": [None, 1.5, {"b": None}], "c": "text"}


def test_a_lock_is_held_by_one(tmp_path):
    path = tmp_path / "new/a.lock"
    with (
        exclusive(path, wait=False),
        pytest.raises(ValueError, match=r"a\.lock: another preparation is at work"),
        exclusive(path, wait=False),
    ):
        pass
    with exclusive(path, wait=True):
        pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(filelock._unix.fcntl, "flock", refuse)
    message = r"a\.lock: cannot be locked .*No locks available.*; its file system"
    with (
        pytest.raises(OSError, match=message),
        exclusive(tmp_path / "a.lock", wait=True),
    ):
        pass


@pytest.mark.parametrize("content", [b"", b"[1]", b"null", b"\xff", b"[" * 5000])
def test_what_is_no_json_object_is_named(content, tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(FileNotFoundError, match=f"{path}: no such file; make it"):
        read_json_object(path, "make it")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path}: damaged .*; make it$"):
        read_json_object(path, "make it")
    path.write_text('{"a": 1}')
    assert read_json_object(path, "make it") == {"a": 1}


def test_whole_npz_files_are_told_by_their_checksums(tmp_path):
    path = tmp_path / "x.npz"
    assert not is_whole_npz(path)
    np.savez(path, a=np.arange(1000))
    whole = path.read_bytes()
    assert is_whole_npz(path)
    for damaged in (b"", whole[:-30], whole[:300] + b"\xff" + whole[301:]):
        path.write_bytes(damaged)
        assert not is_whole_npz(path)


def test_names_for_keeping_aside_are_free(tmp_path):
    path = tmp_path / "a.txt"
    assert free_name(path, "damaged").name == "a.txt.damaged-1"
    (tmp_path / "a.txt.damaged-1").symlink_to(tmp_path / "nowhere")
    assert free_name(path, "damaged").name == "a.txt.damaged-2"


def test_what_stands_in_a_folders_place_is_kept_aside(tmp_path):
    folder = tmp_path / "folder"
    assert make_way(folder) == ""
    folder.write_text("text")
    assert make_way(folder) == f"{folder}: no folder; it is kept as folder.aside-1"
    assert (tmp_path / "folder.aside-1").read_text() == "text"
    folder.mkdir()
    assert make_way(folder) == ""

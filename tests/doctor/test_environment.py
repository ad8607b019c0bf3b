"""The doctor for the environment: folders, locks, space, packages, the kernel."""

import json
import sys

import filelock
import pytest

from digit.cli import main
from digit.doctor import environment
from digit.doctor.environment import examine_environment, examine_folders
from digit.doctor.findings import is_serious
from digit.paths import folder_of_variable, runs_dir


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DIGIT_CACHE", str(tmp_path / "cache"))


def test_this_environment_has_no_errors():
    assert not is_serious(examine_environment())


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_refused(value, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", value)
    with pytest.raises(
        ValueError, match="DIGIT_RUNS: the environment variable is empty"
    ):
        runs_dir()
    [found] = examine_folders()
    assert found.severity == "error" and found.where == "DIGIT_RUNS"


@pytest.mark.parametrize("name", ["DIGIT_RUNS", "DIGIT_CACHE", "DIGIT_MANO"])
@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_a_folders_place_is_named(name, below, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("mine")
    monkeypatch.setenv(name, str(file / below))
    with pytest.raises(ValueError, match=rf"^{name}=.*{file} is no folder"):
        folder_of_variable(name)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("words", [["runs"], ["train", "--resume", "x"]])
def test_commands_name_the_variable(words, monkeypatch, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    monkeypatch.setenv("DIGIT_RUNS", str(file))
    assert main(words) == 2
    assert "DIGIT_RUNS" in capsys.readouterr().err


def test_missing_locks_are_found(monkeypatch):
    def refuse(*_, **__):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    found = list(examine_folders())
    assert [row.severity for row in found] == ["error", "error"]
    assert "No locks available" in found[0].finding
    assert "local disk" in found[0].hint


def test_little_space_is_found(monkeypatch):
    monkeypatch.setattr(environment, "LITTLE_SPACE", 10**18)
    assert {row.severity for row in examine_folders()} == {"warning"}
    monkeypatch.setattr(environment, "NO_SPACE", 10**18)
    assert {row.severity for row in examine_folders()} == {"error"}


def test_nothing_is_left_behind(tmp_path):
    list(examine_folders())
    assert list(tmp_path.iterdir()) == []


def test_missing_and_old_packages_are_found(monkeypatch):
    needed = ["torch>=99", "nothing-of-this-name>=1", "numpy>=1", "x>=1; extra == 'y'"]
    monkeypatch.setattr(environment.metadata, "requires", lambda _: needed)
    found = {
        row.where: row for row in environment.versions() if row.severity == "error"
    }
    assert set(found) == {"torch", "nothing-of-this-name"}
    assert found["torch"].hint == "pip install 'torch>=99'"


@pytest.mark.parametrize(
    ("program", "severity"),
    [("python3", None), ("/nowhere/python", "error"), ("/bin/sh", "warning")],
)
def test_a_foreign_kernel_is_found(program, severity, tmp_path, monkeypatch):
    folder = tmp_path / "kernels/python3"
    folder.mkdir(parents=True)
    spec = {"argv": [program, "-f"], "display_name": "x", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    found = list(environment.kernel())
    assert [row.severity for row in found] == ([severity] if severity else [])


def test_this_python_is_no_foreign_kernel(tmp_path, monkeypatch):
    folder = tmp_path / "kernels/python3"
    folder.mkdir(parents=True)
    spec = {"argv": [sys.executable], "display_name": "x", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert list(environment.kernel()) == []


def test_small_shared_memory_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr("digit.training.data.SHARED_MEMORY", tmp_path)
    status = type("Status", (), {"f_bavail": 1, "f_frsize": 400_000})
    monkeypatch.setattr("digit.training.data.os.statvfs", lambda _: status)
    [found] = environment.shared_memory()
    assert "too small for the workers of" in found.finding and "full" in found.finding
    assert "--set workers=0" in found.hint


def test_the_command_gives_one_table(tmp_path, capsys):
    out = tmp_path / "findings.json"
    assert main(["doctor", "--environment", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())
    keys = {"area", "where", "severity", "finding", "count", "example", "hint"}
    assert all(keys <= set(row) for row in rows)
    assert {row["area"] for row in rows} == {"environment"}
    assert "torch" in capsys.readouterr().out

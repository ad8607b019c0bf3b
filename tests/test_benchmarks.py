"""The scripts under benchmarks/ find what they import."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(FOLDER.rglob("*.py"))


def load_script(path):
    """A script under benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_can_be_imported(path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    module = load_script(path)
    assert path.stem == "plain_path" or callable(module.main)


def test_listed_photographs_are_gathered_at_their_commit(tmp_path, monkeypatch):
    # A repository whose listed picture has changed since the listed commit
    repository = tmp_path / "host/someone/hands"
    repository.mkdir(parents=True)
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    for content in (b"listed", b"later"):
        (repository / "one.jpg").write_bytes(content)
        subprocess.run([*git, "add", "one.jpg"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "picture"], check=True)
    revision = [*git, "rev-parse", "HEAD~1"]
    commit = subprocess.run(revision, check=True, capture_output=True, text=True).stdout
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "sources.tsv").write_text(
        "use\tsource\trepository\tcommit\tlicence\n"
        f"measurement\tsomeone\tsomeone/hands\t{commit.strip()}\tMIT\n"
    )
    (lists / "pictures.tsv").write_text("picture\tpath\nsomeone/0000.jpg\tone.jpg\n")

    # Gathered twice: the second time nothing is left to do
    script = load_script(FOLDER / "public_photos/gather.py")
    monkeypatch.setattr(script, "HERE", lists)
    options = ["--out", tmp_path / "out", "--clones", tmp_path / "clones"]
    options += ["--from", f"file://{tmp_path}/host/"]
    monkeypatch.setattr(sys, "argv", ["gather", "measurement", *map(str, options)])
    for _ in range(2):
        script.main()
        assert (tmp_path / "out/someone/0000.jpg").read_bytes() == b"listed"

"""The doctor for runs: every kind of damage to a run folder is a finding."""

import json
import shutil

import pytest
import torch
import yaml

from digit.cli import main
from digit.doctor.findings import is_serious
from digit.doctor.run_folders import examine_run, examine_runs

NAME = "20260101-000000-copy-aaaa"


@pytest.fixture
def run(tiny_run, tmp_path, monkeypatch):
    """A copy of a finished run."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    return shutil.copytree(tiny_run, tmp_path / NAME)


def severities(run):
    return {row.finding: row.severity for row in examine_run(run)}


def test_a_finished_run_has_no_findings(run):
    assert examine_runs() == []


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"root: x", b"\x00\xff", b"{root: [1}"]
)
def test_unreadable_parameters(run, content):
    (run / "parameters.yaml").write_bytes(content)
    [found] = examine_run(run)
    assert found.severity == "error" and found.finding.startswith("unreadable: ")


def test_a_folder_that_lost_its_parameters_is_found(run):
    (run / "parameters.yaml").unlink()
    [found] = examine_runs()
    assert found.where == NAME and "no parameters.yaml" in found.finding


def test_an_unknown_setting(run):
    path = run / "parameters.yaml"
    content = yaml.safe_load(path.read_text())
    content["settings"]["network"] = "nothing"
    path.write_text(yaml.safe_dump(content))
    [found] = [row for row in examine_run(run) if row.severity == "error"]
    assert "nothing" in found.finding


def test_a_cut_last_checkpoint(run):
    last = run / "checkpoints/last.ckpt"
    shutil.copy(last, run / "checkpoints/previous.ckpt")
    last.write_bytes(last.read_bytes()[:1000])
    assert severities(run) == {"last.ckpt is damaged": "warning"}
    (run / "checkpoints/previous.ckpt").unlink()
    assert severities(run) == {"last.ckpt is damaged": "error"}


def test_flipped_bytes_in_checkpoints(run):
    for name in ("last.ckpt", "best.ckpt"):
        path = run / "checkpoints" / name
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(64)
        path.write_bytes(content)
    (run / "checkpoints/previous.ckpt").unlink(missing_ok=True)
    found = severities(run)
    assert found == {"last.ckpt is damaged": "error", "best.ckpt is damaged": "error"}


def test_a_checkpoint_of_nan(run):
    path = run / "checkpoints/best.ckpt"
    content = torch.load(path, weights_only=True)
    weights = content["ema"] if content.get("ema") else content["state_dict"]
    next(iter(weights.values())).fill_(float("nan"))
    torch.save(content, path)
    [found] = examine_run(run)
    assert found.finding == "best.ckpt is damaged" and "NaN" in found.example


def test_no_checkpoint(run):
    shutil.rmtree(run / "checkpoints")
    found = severities(run)
    assert found["no best.ckpt, though it is finished"] == "error"
    assert found["no checkpoint to resume from"] == "note"


def test_a_process_that_is_gone(run):
    (run / "result.json").unlink()
    (run / "process").write_text("running 999999999 elsewhere\n")
    [found] = examine_run(run)
    assert found.finding == "not finished: its process is gone"
    assert found.hint == f"digit train --resume {NAME}"
    (run / "process").write_text("stopped 999999999 elsewhere\n")
    assert severities(run) == {"not finished: it was stopped": "warning"}


def test_garbage_in_metrics(run):
    with (run / "metrics.csv").open("ab") as file:
        file.write(b"\xff\xfe,,,\nnot a row\n1,2,3\n")
    [found] = examine_run(run)
    assert found.count == 3 and "metrics.csv" in found.finding


@pytest.mark.parametrize("name", ["result.json", "progress.json", "x.notes.json"])
def test_damaged_json(run, name):
    (run / name).write_text("[1")
    assert f"{name} is damaged" in severities(run)


@pytest.mark.parametrize("name", ["errors_test.parquet", "errors_test.npz"])
def test_damaged_evaluations(run, name):
    (run / name).write_bytes(b"PAR1 nothing")
    assert severities(run) == {f"{name} is damaged": "warning"}


def test_a_data_set_that_was_moved(run):
    path = run / "parameters.yaml"
    content = yaml.safe_load(path.read_text())
    content["root"] = "/nowhere/data"
    path.write_text(yaml.safe_dump(content))
    [found] = examine_run(run)
    assert found.severity == "warning" and found.example == "/nowhere/data"
    assert found.hint == f"digit train --resume {NAME} --root NEW_PLACE"
    (run / "result.json").unlink()
    assert is_serious(examine_run(run))


def test_labels_that_have_changed(run):
    path = run / "environment.json"
    record = json.loads(path.read_text())
    record["data"]["train"] = "another"
    path.write_text(json.dumps(record))
    assert severities(run) == {
        "the labels of train have changed since it began": "warning"
    }
    path.write_text("")
    assert any("environment.json is damaged" in what for what in severities(run))


def test_examining_changes_nothing(run):
    def contents():
        return {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}

    (run / "checkpoints/last.ckpt").write_bytes(b"x")
    (run / "metrics.csv").write_bytes(b"\xff\n\xff\n\xff\n")
    before = contents()
    examine_run(run)
    assert contents() == before


def test_the_command_names_one_run(run, capsys):
    (run / "checkpoints/best.ckpt").write_bytes(b"")
    assert main(["doctor", "--runs", "aaaa"]) == 1
    out = capsys.readouterr().out
    assert "best.ckpt is damaged" in out and f"digit train --resume {NAME}" in out
    assert main(["doctor", "--runs", "bbbb"]) == 2

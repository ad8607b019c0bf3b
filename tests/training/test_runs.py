"""Run folders: found, listed, recorded; notebook 05 executed through `digit train`."""

import json
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
import yaml

from digit.cli import main
from digit.paths import NOTEBOOKS_DIR, runs_dir
from digit.training import runs
from digit.training.papermill import execute_notebook
from digit.training.settings import make_settings


def test_a_run_is_found_by_the_end_of_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    for name in ("20260101-000000-quick-aaaa", "20260102-000000-quick-bbbb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "parameters.yaml").write_text("{root: x, settings: {}}")
    bound = tmp_path / "20260103-000000-true-1-dddd"
    bound.mkdir()
    (bound / "parameters.yaml").write_text("{root: x, settings: {parts: 'true'}}")
    for run in ("20260101-000000-quick-aaaa", bound.name):
        (tmp_path / run / "result.json").write_text("{}")
    assert runs.find_run("bbbb").name.endswith("bbbb")
    assert runs.find_run("latest").name.endswith("aaaa")  # with a result, and parts
    with pytest.raises(
        FileNotFoundError, match=r"no run 'cccc'; there are: .*aaaa.*bbbb"
    ):
        runs.find_run("cccc")


def test_record_of_a_run(tiny_run):
    content = yaml.safe_load((tiny_run / "parameters.yaml").read_text())
    assert content["settings"]["steps"] == 6 and content["preset"] == "quick"
    record = json.loads((tiny_run / "environment.json").read_text())
    assert record["packages"]["torch"] and "commit" in record["git"] and record["data"]
    table = runs.curves(tiny_run)
    assert {
        "loss",
        "joints",
        "parts",
        "bones",
        "samples_per_s",
        "val_mpjpe_all",
    } <= set(table)
    assert {2, 4, 6} <= set(table["loss"].dropna().index)
    row = runs.list_runs().set_index("run").loc[tiny_run.name]
    assert row["state"] == "finished" and row["step"] == 6 and row["best_mpjpe_mm"] > 0
    assert runs.progress_line(tiny_run).startswith("epoch ")


HOLD = """
import sys, time
from pathlib import Path
from digit.training.runs import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    {what}
"""


def hold(run, what="time.sleep(600)"):
    """A process that has claimed a run, as its training does."""
    command = [sys.executable, "-c", HOLD.format(what=what), str(run)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.read(4) == b"held"
    return process


def test_the_state_of_a_run_is_what_became_of_its_process(
    tiny_root, tmp_path, monkeypatch
):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    settings = make_settings("quick", {"seed": 5})
    run = runs.create_run(tiny_root, "quick", settings, "states")
    assert runs.state(run) == "new" and runs.trainer(run) is None
    process = hold(run)
    assert runs.state(run) == "running" and runs.trainer(run) == process.pid
    with pytest.raises(ValueError, match="being trained already"), runs.claimed(run):
        pass
    with pytest.raises(ValueError, match=f"already, by process {process.pid}"):
        runs.train(run)
    assert runs.launch(run) is None, "a restarted kernel watches on and starts nothing"
    assert runs.state(run) == "running", "asking leaves the training its lock"
    runs.stop(run)
    assert process.wait() != 0 and runs.state(run) == "stopped"
    process = hold(run)
    process.kill()
    process.wait()
    assert runs.state(run) == "failed" and runs.trainer(run) is None
    assert hold(run, "raise ValueError").wait() == 1 and runs.state(run) == "failed"
    assert hold(run, "pass").wait() == 0
    (run / "result.json").write_text("{}")
    assert runs.list_runs()["state"].tolist() == ["finished"]


def test_settings_change_of_runs_at_rest_only(tiny_root, tmp_path, monkeypatch, capsys):
    """Of a run at work the record stays as it is; a finished one is to be gone on with."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    run = runs.create_run(
        tiny_root, "quick", make_settings("quick", {"epochs": 20}), "more"
    )
    before = (run / "parameters.yaml").read_text()
    process = hold(run)
    assert main(["train", "--resume", run.name, "--set", "epochs=40"]) == 2
    assert "being trained already" in capsys.readouterr().err
    assert (run / "parameters.yaml").read_text() == before
    process.kill()
    process.wait()
    (run / "result.json").write_text("{}")
    monkeypatch.setattr(runs, "train", lambda run: {"state": runs.state(run)})
    assert main(["train", "--resume", run.name]) == 0
    assert '"finished"' in capsys.readouterr().out
    assert main(["train", "--resume", run.name, "--set", "seed=7"]) == 2
    assert runs.state(run) == "finished"
    assert main(["train", "--resume", run.name, "--set", "epochs=40"]) == 0
    assert '"failed"' in capsys.readouterr().out  # that is, to be resumed
    assert runs.parameters(run)[1].epochs == 40


def test_a_signal_goes_to_processes_of_this_machine_only(
    tiny_root, tmp_path, monkeypatch
):
    """The first process may be another machine's; its number here is a stranger's, or nobody's."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    run = runs.create_run(tiny_root, "quick", make_settings("quick"), "far")
    process = hold(run)
    said = (run / "process").read_text()
    (run / "process").write_text(f"running {process.pid} elsewhere")
    with pytest.raises(ValueError, match="on another machine: stop it there"):
        runs.stop(run)
    assert process.poll() is None
    (run / "launcher").write_text(
        f"{process.pid} {said.split()[-1]}"
    )  # torchrun, started here
    runs.stop(run)
    assert process.wait() != 0


def test_runs_may_lie_in_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGIT_RUNS", "mine")
    assert runs_dir() == tmp_path.resolve() / "mine"


def test_a_run_does_not_go_on_with_other_labels(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    run = runs.create_run(tiny_root, "quick", make_settings("quick", {}), "labels")
    record = json.loads((run / "environment.json").read_text())
    assert record["seed"] == 1 and set(record["data"]) == {"train", "val"}
    record["data"]["val"] = "another"
    (run / "environment.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"val has changed since {run.name} began"):
        runs.train(run)


def test_the_view_of_runs_leaves_figures_without_a_front_end(tiny_run, tmp_path):
    values = {"names": [str(tiny_run)], "every_s": 0.1}
    notebook = NOTEBOOKS_DIR / "06_runs.ipynb"
    read = nbformat.read(execute_notebook(notebook, tmp_path / "09.ipynb", values), 4)
    outputs = [
        o for cell in read.cells if cell.cell_type == "code" for o in cell.outputs
    ]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 1
    closing = outputs[-1]["data"]["text/plain"]
    assert closing.count("True") == 3, closing
    assert sum(len(o.get("data", {}).get("text/plain", "")) for o in outputs) < 5000


def test_a_failed_training_keeps_its_notebook_and_says_how_to_go_on(
    tiny_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    status = main(
        [
            "train",
            "--root",
            str(tiny_root),
            "--set",
            "steps=4",
            "batch_size=8",
            "workers=0",
            "learning_rate=1e30",
            "clip_norm=0",
            "warmup=0",
            "log_every=1",
            "--name",
            "bad",
        ]
    )
    assert status == 1
    run = runs.find_run("-bad-????")
    error = capsys.readouterr().err
    assert "loss is not finite" in error and f"digit train --resume {run.name}" in error
    assert not (run / "result.json").exists()
    cells = nbformat.read(run / "05_training.ipynb", 4).cells
    assert any(
        o.output_type == "error"
        for c in cells
        if c.cell_type == "code"
        for o in c.outputs
    )
    assert isinstance(runs.list_runs(), pd.DataFrame)

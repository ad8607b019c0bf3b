"""Run folders: made, found, listed, claimed; notebook 05 executed through `digit train`."""

import json
import shutil
import signal
import socket
import subprocess
import sys

import nbformat
import pandas as pd
import psutil
import pytest
import yaml

from digit.cli import main
from digit.paths import NOTEBOOKS_DIR, runs_dir
from digit.training import runs
from digit.training.papermill import execute_notebook
from digit.training.runs.folder import check_labels
from digit.training.runs.process import session
from digit.training.runs.session import keep_earlier_session
from digit.training.settings import make_settings


@pytest.fixture
def new_run(tiny_root, tmp_path, monkeypatch):
    """Makes runs in a folder of the test."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))

    def make(name, **changes):
        settings = make_settings("quick", changes)
        return runs.create_run(tiny_root, "quick", settings, name)

    return make


def test_run_is_found_by_the_end_of_its_name(tmp_path, monkeypatch):
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


def test_damaged_result_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="digit train --resume"):
        runs.result(tmp_path)
    (tmp_path / "result.json").write_text("[1, ")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/result.json: damaged"):
        runs.result(tmp_path)


def test_what_a_run_records(tiny_run):
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
import signal, sys, time
from pathlib import Path
from digit.training.runs.process import claimed, session
with {how}(Path(sys.argv[1])):
    print("held", flush=True)
    {what}
"""


def hold(run, what="time.sleep(3600)", how="claimed"):
    """A process that has claimed a run, as its training does, or `digit train` around it."""
    command = [sys.executable, "-c", HOLD.format(what=what, how=how), str(run)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_state_of_a_run(tiny_root, tmp_path, monkeypatch):
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


def test_second_train_leaves_the_first_alone(new_run, monkeypatch):
    """From the first line of `digit train`, before its training has started."""
    run = new_run("twice")
    process = hold(run, how="session")
    monkeypatch.setattr("digit.training.runs.process.CLAIM_WAIT_S", 0.1)
    with pytest.raises(ValueError, match="being trained already: see digit runs"):
        runs.train(run)
    with pytest.raises(ValueError, match="being trained already: see digit runs"):
        runs.launch(run)
    assert process.poll() is None and not (run / "log.txt").exists()
    process.kill()
    process.wait()
    with session(run):
        pass


def test_stop_ends_what_has_not_claimed_the_run_yet(new_run):
    run = new_run("early")
    waiting = [sys.executable, "-c", "import time; time.sleep(3600)"]
    process = subprocess.Popen(waiting)
    started = psutil.Process(process.pid).create_time()
    record = f"{process.pid} {socket.gethostname()} {started}"
    (run / "launcher").write_text(record)
    runs.stop(run)
    assert process.wait() == -signal.SIGTERM


def test_stop_kills_what_does_not_stop(new_run, capsys):
    run = new_run("deaf")
    process = hold(
        run, "signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(3600)"
    )
    process.stdout.readline()
    runs.stop(run, limit_s=0.1)
    assert process.wait() == -signal.SIGKILL
    assert "did not stop in time" in capsys.readouterr().out
    assert runs.state(run) == "failed"


def test_unreadable_run_is_one_row(new_run):
    good = new_run("good")
    empty = new_run("empty")
    (empty / "parameters.yaml").write_text("")
    table = runs.list_runs().set_index("run")
    assert table.loc[empty.name, "state"] == "unreadable"
    assert table.loc[good.name, "state"] == "new"
    with pytest.raises(ValueError, match=r"parameters\.yaml: damaged"):
        runs.parameters(empty)
    with pytest.raises(FileNotFoundError, match="no run"):
        runs.parameters(good / "parameters.yaml")


DAMAGED_PARAMETERS = [
    "",
    "[]",
    "null",
    "{",
    "root: 3",
    "{root: x, settings: []}",
    "{root: x, settings: {seed: many}}",
    "{root: x, settings: {surprise: 1}}",
    "[" * 5000,
    "!!python/object/apply:os.system [ls]",
    "\0",
]


@pytest.mark.parametrize("text", DAMAGED_PARAMETERS)
def test_damaged_parameters_are_named(text, tmp_path):
    (tmp_path / "parameters.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"parameters\.yaml: "):
        runs.parameters(tmp_path)


@pytest.mark.parametrize("damage", ["", "[]", "null", '{"data": 3}', "{"])
def test_damaged_record_does_not_end_a_run(damage, new_run, tiny_root, capsys):
    run = new_run("record")
    (run / "environment.json").write_text(damage)
    check_labels(run, {"train": "x"}, tiny_root)
    assert "is not checked" in capsys.readouterr().out


def test_full_disk_keeps_the_record(new_run, monkeypatch):
    """The new environment is written before the old one is given up."""
    run = new_run("record")
    executed = run / "05_training.ipynb"
    executed.write_text("{}")
    before = (run / "environment.json").read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("digit.training.runs.session.write_json", full)
    with pytest.raises(OSError, match="No space"):
        keep_earlier_session(run, executed, {})
    assert (run / "environment.json").read_text() == before
    assert executed.exists()

    monkeypatch.undo()
    keep_earlier_session(run, executed, {"data": {}})
    assert (run / "earlier" / "2" / "environment.json").read_text() == before
    assert (run / "earlier" / "2" / "05_training.ipynb").exists()


@pytest.mark.parametrize(
    "name", ["../../../x", "{run.__class__}", "a/b", "a[1]", "a b", "ä"]
)
def test_other_names_are_refused(name, tiny_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    settings = make_settings("quick")
    with pytest.raises(ValueError, match=r"name .*: only letters, digits"):
        runs.create_run(tiny_root, "quick", settings, name)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "foo"}, "^network=foo: unknown; choose one of full"),
        ({"image_size": 10**9 // 32 * 32}, "^image_size=.*from 32 to"),
        ({"weights": "/etc/passwd"}, "/etc/passwd: refused"),
        ({"weights": "SMALL"}, "for a efficientnet_lite0 network|has shape"),
    ],
)
def test_faulty_start_leaves_no_folder(
    changes, message, tiny_root, tmp_path, monkeypatch
):
    from digit.paths import SHIPPED_WEIGHTS

    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    if changes.get("weights") == "SMALL":
        changes = {"weights": str(SHIPPED_WEIGHTS)}
    settings = make_settings("quick", changes)
    with pytest.raises(ValueError, match=message):
        runs.create_run(tiny_root, "quick", settings)
    assert not (tmp_path / "runs").exists()


def test_run_follows_its_data(new_run, tiny_root, tmp_path, capsys):
    run = new_run("moved")
    moved = tmp_path / "elsewhere"
    shutil.copytree(tiny_root, moved)
    runs.move_data(run, moved)
    assert runs.parameters(run)[0] == moved
    record = json.loads((run / "environment.json").read_text())
    record["data"]["train"] = "another"
    (run / "environment.json").write_text(json.dumps(record))
    assert main(["train", "--resume", run.name, "--root", str(tiny_root)]) == 2
    assert "train has changed since" in capsys.readouterr().err
    assert main(["train", "--resume", run.name, "--preset", "full"]) == 2
    assert "leave out --preset and --name" in capsys.readouterr().err


def test_kernel_is_this_python(tmp_path, monkeypatch):
    """Whatever a kernelspec "python3" on Jupyter's path says; braces in paths are plain."""
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    content = {"argv": ["/nowhere/python"], "display_name": "x", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(content))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("import sys; sys.executable")]
    nbformat.write(notebook, tmp_path / "in.ipynb")
    folder = tmp_path / "{run.__class__} {x}"
    out = execute_notebook(tmp_path / "in.ipynb", folder / "out.ipynb", {})
    [cell] = nbformat.read(out, 4).cells
    assert cell.outputs[0]["data"]["text/plain"] == repr(sys.executable)


def test_dead_kernel_is_named(tmp_path):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("import os; os.kill(os.getpid(), 9)")]
    nbformat.write(notebook, tmp_path / "in.ipynb")
    with pytest.raises(RuntimeError, match="its kernel died"):
        execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {})


def test_session_with_a_dead_kernel_says_how_to_go_on(new_run, monkeypatch):
    run = new_run("dead")

    def dies(*_):
        raise RuntimeError("05_training.ipynb: its kernel died")

    monkeypatch.setattr("digit.training.runs.session.execute_notebook", dies)
    message = f"its kernel died; continue with: digit train --resume {run.name}"
    with pytest.raises(RuntimeError, match=message):
        runs.train(run)
    with session(run):
        pass  # the lock is free again


def test_settings_change_only_at_rest(tiny_root, tmp_path, monkeypatch, capsys):
    """A run that is trained keeps its settings; a finished one is then to be resumed."""
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


def test_signals_stay_on_this_machine(tiny_root, tmp_path, monkeypatch):
    """The first process may be another machine's; its number here is of no use."""
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    run = runs.create_run(tiny_root, "quick", make_settings("quick"), "far")
    process = hold(run)
    (run / "process").write_text(f"running {process.pid} elsewhere")
    with pytest.raises(ValueError, match="on another machine: stop it there"):
        runs.stop(run)
    assert process.poll() is None

    # torchrun, launched here; first under the number of a process that is long gone.
    started = psutil.Process(process.pid).create_time()
    for time, message in ((started - 100, "on another machine"), (started, "")):
        record = f"{process.pid} {socket.gethostname()} {time}"
        (run / "launcher").write_text(record)
        if message:
            with pytest.raises(ValueError, match=message):
                runs.stop(run)
            assert process.poll() is None
    runs.stop(run)
    assert process.wait() != 0


def test_runs_dir_may_be_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGIT_RUNS", "mine")
    assert runs_dir() == tmp_path.resolve() / "mine"


def test_changed_labels_are_refused(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    run = runs.create_run(tiny_root, "quick", make_settings("quick", {}), "labels")
    record = json.loads((run / "environment.json").read_text())
    assert record["seed"] == 1 and set(record["data"]) == {"train", "val"}
    record["data"]["val"] = "another"
    (run / "environment.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"val has changed since {run.name} began"):
        runs.train(run)


def test_notebook_of_runs_has_figures_without_a_browser(tiny_run, tmp_path):
    values = {"names": [str(tiny_run)], "every_s": 0.1}
    notebook = NOTEBOOKS_DIR / "06_runs.ipynb"
    read = nbformat.read(execute_notebook(notebook, tmp_path / "09.ipynb", values), 4)
    outputs = [
        o for cell in read.cells if cell.cell_type == "code" for o in cell.outputs
    ]
    # Curves, draws of the bootstrap, intervals, differences
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 4
    closing = outputs[-1]["data"]["text/plain"]
    assert closing.count("True") == 3, closing
    assert sum(len(o.get("data", {}).get("text/plain", "")) for o in outputs) < 5000


def test_failed_training_keeps_its_notebook(tiny_root, tmp_path, monkeypatch, capsys):
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

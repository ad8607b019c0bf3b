"""Run folders: found, listed, recorded; notebook 04 executed through `digit train`."""

import json

import nbformat
import pandas as pd
import pytest
import yaml

from digit import runs
from digit.__main__ import main


def test_a_run_is_found_by_the_end_of_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    for name in ("20260101-000000-quick-aaaa", "20260102-000000-quick-bbbb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "parameters.yaml").write_text("{}")
    (tmp_path / "20260101-000000-quick-aaaa" / "result.json").write_text("{}")
    assert runs.find_run("bbbb").name.endswith("bbbb")
    assert runs.find_run("latest").name.endswith("aaaa")  # the only one with a result
    with pytest.raises(FileNotFoundError, match=r"no run 'cccc'; there are: .*aaaa.*bbbb"):
        runs.find_run("cccc")


def test_record_of_a_run(tiny_run):
    content = yaml.safe_load((tiny_run / "parameters.yaml").read_text())
    assert content["settings"]["steps"] == 6 and content["preset"] == "quick"
    record = json.loads((tiny_run / "environment.json").read_text())
    assert record["packages"]["torch"] and "commit" in record["git"] and record["data"]
    table = runs.curves(tiny_run)
    assert {"loss", "joints", "parts", "bones", "samples_per_s", "val_mpjpe_all"} <= set(table)
    assert table["loss"].dropna().index.tolist() == [2, 4, 6]
    row = runs.list_runs().set_index("run").loc[tiny_run.name]
    assert row["state"] == "finished" and row["step"] == 6 and row["best_mpjpe_mm"] > 0
    assert runs.progress_line(tiny_run).startswith("epoch ")


def test_digit_train_keeps_the_executed_notebook(tiny_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    status = main([
        "train", "--root", str(tiny_root), "--set", "steps=3", "batch_size=8", "workers=0",
        "val_frames=4", "log_every=1", "--name", "short",
    ])  # fmt: skip
    assert status == 0, capsys.readouterr().err
    run = runs.find_run("-short-????")
    assert json.loads((run / "result.json").read_text())["steps"] == 3
    notebook = nbformat.read(run / "04_training.ipynb", 4)
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert sum(len(json.dumps(o)) for o in outputs if o.output_type == "stream") < 5000


def test_a_failed_training_keeps_its_notebook_and_says_how_to_go_on(
    tiny_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    status = main([
        "train", "--root", str(tiny_root), "--set", "steps=4", "batch_size=8", "workers=0",
        "learning_rate=1e30", "clip_norm=0", "warmup=0", "log_every=1", "--name", "bad",
    ])  # fmt: skip
    assert status == 1
    run = runs.find_run("-bad-????")
    error = capsys.readouterr().err
    assert "loss is not finite" in error and f"digit train --resume {run.name}" in error
    assert not (run / "result.json").exists()
    cells = nbformat.read(run / "04_training.ipynb", 4).cells
    assert any(o.output_type == "error" for c in cells if c.cell_type == "code" for o in c.outputs)
    assert isinstance(runs.list_runs(), pd.DataFrame)

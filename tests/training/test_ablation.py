"""The ablation: its variants, its members found again, and the whole from one command."""

import json
import os
import re

import nbformat
import pytest

from digit.cli import main
from digit.data.dataset import InterHandDataset
from digit.data.index import open_index
from digit.evaluation.error_table import error_table
from digit.inference.evaluate import predict_dataset
from digit.model.network import build_network
from digit.paths import CHECKOUT_DIR
from digit.training import ablation, runs
from digit.training.ablation import VARIANTS, find_member, make_members, sweep
from digit.training.settings import make_settings

QUICK = {"steps": 2, "batch_size": 4, "workers": 0, "val_frames": 2, "log_every": 1}


def test_true_parts_are_given_in_evaluation(tiny_root):
    index = open_index(tiny_root, "val").usable().take(range(3))
    network = build_network("quick", parts="true", pretrained=False)
    table = error_table(index, predict_dataset(network, InterHandDataset(index, 128)))
    assert (table["part_iou"] == 1).all() and (table["wrong_hand_share"] == 0).all()
    blind = build_network("quick", parts="none", pretrained=False)
    table = error_table(index, predict_dataset(blind, InterHandDataset(index, 128)))
    assert (table["part_iou"] == 0).all()


def test_member_is_found_by_labels_and_settings(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    root, settings = tiny_root.resolve(), make_settings("quick", QUICK)
    assert find_member(root, settings) is None
    first, second = (runs.create_run(root, "quick", settings, name) for name in "ab")
    assert find_member(root, settings) == max(first, second)
    (first / "result.json").write_text("{}")
    assert find_member(root, settings) == first, (
        "a finished one before one to be resumed"
    )
    for changes, known in (
        ({"workers": 3}, True),
        ({"seed": 2}, False),
        ({"parts": "none"}, False),
    ):
        changed = make_settings("quick", QUICK | changes)
        assert (find_member(root, changed) is not None) == known, changes
    record = json.loads((first / "environment.json").read_text())
    record["data"]["train"] = "other labels"
    (first / "environment.json").write_text(json.dumps(record))
    assert find_member(root, settings) == second


def finish(run, note=str):
    """What `runs.train` leaves, as far as a sweep looks."""
    assert "to follow" in note()
    said = {
        "seconds": 60.0,
        "seconds_left": 0.0,
        "best": {},
        "epoch": 1,
        "step": 1,
        "steps": 1,
    }
    (run / "progress.json").write_text(json.dumps(said))
    (run / "result.json").write_text("{}")
    (run / "errors_test.npz").touch()


def test_interrupted_sweep_continues(tiny_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    members = {
        f"m-{seed}": make_settings("quick", {"seed": seed}) for seed in (1, 2, 3)
    }
    begun = []

    def train(run, note):
        begun.append((run.name.split("-", 2)[2][:3], note()))
        if len(begun) == 2:
            raise KeyboardInterrupt
        if len(begun) == 3:
            raise RuntimeError("the loss is not finite")
        finish(run, note)

    monkeypatch.setattr(ablation, "train", train)
    with pytest.raises(KeyboardInterrupt):
        sweep(tiny_root, "quick", members)
    assert begun[1][1] == "m-2 · 1 to follow, 0:02:00 in all · ", "each takes a minute"
    with pytest.raises(
        RuntimeError, match="failed: m-2; the same command tries them again"
    ):
        sweep(tiny_root, "quick", members)
    assert "m-2: the loss is not finite" in capsys.readouterr().err
    found = sweep(tiny_root, "quick", members)
    assert [name for name, _ in begun] == ["m-1", "m-2", "m-2", "m-3", "m-2"]
    assert len(runs.list_runs()) == 3 and set(found) == set(members)
    assert all(runs.state(run) == "finished" for run in found.values())


def test_ablation_from_one_command(tiny_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    words = [f"{key}={value}" for key, value in QUICK.items()]
    command = [
        "ablation",
        "--root",
        str(tiny_root),
        "--seeds",
        "1",
        "--out",
        str(tmp_path),
    ]
    command += ["--set", *words]
    assert main(command) == 0, capsys.readouterr().err
    text = (tmp_path / "ablation.md").read_text()
    assert text in capsys.readouterr().out
    assert "2 steps of 4 frames" in text and "| all | 6 |" in text
    assert "*true* against *none*, all: **" in text and "synthetic set; test;" in text
    assert (tmp_path / "ablation.png").stat().st_size > 10_000
    executed = nbformat.read(tmp_path / "runs/ablation/10_ablation.ipynb", as_version=4)
    closing = executed.cells[-1].outputs[-1]["data"]["text/plain"]
    assert [line.split()[-1] for line in closing.splitlines()[-5:-2]] == ["True"] * 3, (
        closing
    )

    member = runs.find_run("-predicted-1-????")
    cells = [
        c
        for c in nbformat.read(member / "05_training.ipynb", 4).cells
        if "outputs" in c
    ]
    printed = [
        o for c in cells for o in c.outputs if o.output_type in ("stream", "error")
    ]
    assert sum(len(json.dumps(o)) for o in printed) < 2000, (
        "no flood in the saved notebook"
    )
    monkeypatch.setattr(
        ablation, "train", lambda *_: pytest.fail("nothing is left to train")
    )
    monkeypatch.setattr(ablation, "execute_notebook", lambda *_: None)
    assert main(command) == 0


def test_unknown_variant_is_refused(tiny_root, capsys):
    assert main(["ablation", "--root", str(tiny_root), "--arms", "half"]) == 2
    assert "--variants half: unknown; choose from none" in capsys.readouterr().err
    assert main(["ablation", "--root", str(tiny_root), "--seeds", "0"]) == 2
    assert "--seeds 0: give at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["seed", "parts"])
def test_what_members_differ_in_is_not_set_for_all(name):
    with pytest.raises(ValueError, match=f"^{name}: set by variants and seeds"):
        make_members("quick", {name: "1"}, ["none"], seeds=1)


def test_errors_older_than_the_checkpoint_are_measured_again(
    tiny_root, tmp_path, monkeypatch
):
    measured = []
    monkeypatch.setattr(
        "digit.inference.evaluate.evaluate", lambda *_, **more: measured.append(more)
    )
    (tmp_path / "checkpoints").mkdir()
    for name, time_s in (("checkpoints/best.ckpt", 100), ("errors_test.npz", 200)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time_s, time_s))
    settings = make_settings("quick")
    ablation._predict_test(tiny_root, tmp_path, settings)
    assert not measured
    os.utime(tmp_path / "checkpoints/best.ckpt", (300, 300))
    ablation._predict_test(tiny_root, tmp_path, settings)
    assert len(measured) == 1


def test_variants_differ_in_the_parts_alone():
    varied = {"parts", "weight_parts", "weight_part_iou"}
    assert all(set(changes) <= varied for changes in VARIANTS.values())
    members = make_members("quick", {}, ["none", "untaught"], seeds=2)
    assert list(members) == ["none-1", "unsupervised-1", "none-2", "unsupervised-2"]


def test_docs_show_the_outcome():
    """The page includes the table as it was made, and its text has the same number."""
    outcome = (CHECKOUT_DIR / "figures" / "ablation.md").read_text()
    page = (CHECKOUT_DIR / "docs" / "ablation.md").read_text()
    assert "{include} ../figures/ablation.md" in page
    gain_mm = re.search(
        r"\*predicted\* against \*none\*, all: .*?−([\d.]+) mm", outcome
    )[1]
    assert f"{float(gain_mm):.1f} mm" in page

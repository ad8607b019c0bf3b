"""The health report: every fault is found, and what cannot be used is excluded."""

import json

import numpy as np
import pytest
from trees import annotation_paths, columns, edit_json, write_columns_tree

from digit.cli import main
from digit.data import health
from digit.data.build_index import prepare_index
from digit.data.health import (
    COLUMNS,
    check,
    first_look,
)
from digit.data.tree import write_tree
from digit.doctor.data import findings_of
from digit.doctor.findings import format_findings, is_serious
from digit.paths import prepared_dir


def findings(dataset_dir, **options):
    return check(dataset_dir, **options).set_index("finding")


def test_a_healthy_data_set_excludes_nothing(tmp_path):
    write_columns_tree(tmp_path)
    report = check(tmp_path)
    assert list(report.columns) == list(COLUMNS)
    assert not report["excluded"].any()
    assert not (report["severity"] == "error").any()
    assert len(prepare_index(tmp_path).usable()) == 30
    what = "label version unknown: v1.0 has another number of frames"
    assert report["finding"][0] == what


def test_frames_without_splits_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no annotations/<split>"):
        check(tmp_path)


def test_every_fault_of_labels_is_found(tmp_path, monkeypatch):
    frames, instants, cameras, _ = columns()
    frames["bbox_xywh"][0] = [50, 50, -3, 20]
    frames["bbox_xywh"][1] = [50, 50, 0, 0]
    frames["bbox_xywh"][2] = [np.nan, 50, 10, 10]
    frames["bbox_xywh"][3] = [400, 50, 100, 100]
    frames["bbox_xywh"][4] = [-20, 50, 300, 300]
    frames["joint_valid"][6:9, :2] = 1
    instants["joints_world_mm"][2, 0] = np.inf  # frames 6, 7, 8
    instants["joints_world_mm"][3, 0] += 500  # frames 9, 10, 11: a right thumb's tip
    cameras["focal"][3, 0] = np.nan  # camera 40000 of capture 1: frames 15, 18, …, 27
    # Camera 40001 of capture 1 turns its back: frames 16, 19, …
    cameras["campos_mm"][4] *= -1
    cameras["princpt"][5] += 200  # camera 40002 of capture 1: frames 17, 20, …
    for name in ("file_name", "capture", "camera", "frame_idx", "seq_name"):
        frames[name] = [*frames[name][:14], frames[name][13], *frames[name][15:]]
    write_tree(tmp_path, "test", frames, instants, cameras)
    pictures = np.array(["black"] + [""] * 29, object)
    monkeypatch.setattr(health, "examine_images", lambda index: pictures)

    found = findings(tmp_path, examine_pixels=True)
    counted = {
        "a valid joint is not finite": 3,
        "its camera is not finite": 5,
        "its box is empty": 3,
        "a valid joint lies behind the camera": 5,
        "box wholly outside the image": 1,
        "capture, camera and moment seen twice": 2,
        "bone length beyond human": 3,
        "image: black": 1,
    }
    assert {name: found.loc[name, "frames"] for name in counted} == counted
    assert found.loc[list(counted), "excluded"].all()
    misfit = found.loc["camera does not fit: most joints project outside the box"]
    assert misfit["frames"] >= 5
    assert misfit["worst_camera"].startswith("40002")

    index = prepare_index(tmp_path, "test")
    assert index["fault"].tolist()[6:9] == [1, 1, 1]
    assert index["fault"][15] == 2
    assert index.usable().rows.tolist() == [4, 5, 12]
    reasons = index.excluded()
    assert reasons[14] == "capture, camera and moment seen twice"
    assert reasons[0] != ""
    listed = (prepared_dir(tmp_path) / "exclude/test_check.tsv").read_text()
    assert listed.count("\n") == 26


def test_an_interacting_frame_with_an_empty_hand_is_found(tmp_path):
    frames, instants, cameras, _ = columns()
    frames["joint_valid"][6, 21:] = 0  # of an interacting frame
    write_tree(tmp_path, "train", frames, instants, cameras)
    row = findings(tmp_path).loc["interacting, but a hand has no valid joint"]
    assert row["frames"] == 1
    assert row["severity"] == "warning"
    assert not row["excluded"]
    assert row["known_issue"] == "InterHand2.6M #99, #113"


def test_a_scaled_world_is_found_by_its_bones(tmp_path):
    frames, instants, cameras, _ = columns()
    instants["joints_world_mm"] = instants["joints_world_mm"] / 1000  # metres
    write_tree(tmp_path, "train", frames, instants, cameras)
    found = findings(tmp_path)
    assert found.loc["bone length beyond human", "frames"] == 30


def test_the_report_says_what_to_do(tmp_path):
    frames, instants, cameras, _ = columns()
    frames["joint_valid"][6, 21:] = 0
    frames["bbox_xywh"][1] = [50, 50, 0, 0]
    write_tree(tmp_path, "train", frames, instants, cameras)
    report = check(tmp_path)
    found = findings_of(report)
    text = format_findings(found)
    assert "interacting, but a hand has no valid joint, as in train/Capture0" in text
    assert "Known as InterHand2.6M #99, #113." in text
    assert text.count("To do: ") == 2
    # Excluding the frame settles the empty box.
    assert not is_serious(found)


def test_the_command_gives_findings_and_a_status(tmp_path, capsys):
    write_columns_tree(tmp_path / "tree", "val")
    root = ["--root", str(tmp_path / "tree")]
    out = tmp_path / "findings.json"
    # All images are missing.
    assert main(["doctor", *root, "--json", str(out)]) == 1
    rows = json.loads(out.read_text())
    assert {row["area"] for row in rows} == {"data"}
    missing = [row for row in rows if row["finding"] == "image: missing"]
    assert missing[0]["count"] == 30 and missing[0]["where"] == "val"
    assert missing[0]["share"] == 1 and not missing[0]["is_settled"]
    assert "To do: put the images there" in capsys.readouterr().out


def test_a_first_look_at_labels_names_what_is_wrong_and_writes_nothing(tmp_path):
    frames, instants, cameras, _ = columns()
    frames["bbox_xywh"][1] = [50, 50, 0, 0]
    write_tree(tmp_path, "train", frames, instants, cameras)
    lines = first_look(prepare_index(tmp_path))
    assert "its box is empty (1)" in lines
    assert not any("label version" in line for line in lines), "notes are left out"
    assert not (prepared_dir(tmp_path) / "exclude").exists()


def test_masks_and_rootnet_that_are_missing_are_said(tmp_path):
    write_columns_tree(tmp_path, "val")
    found = findings(tmp_path)
    assert found.loc["part masks not rendered yet", "hint"].startswith(
        "render them: digit"
    )
    edit_json(annotation_paths(tmp_path, "val")["rootnet"], lambda rows: rows.pop())
    assert findings(tmp_path).loc["frame without RootNet's depth", "frames"] == 1
    annotation_paths(tmp_path, "val")["rootnet"].unlink()
    annotation_paths(tmp_path, "val")["MANO_NeuralAnnot"].unlink()
    found = findings(tmp_path)
    assert found.loc["no depths of RootNet", "severity"] == "note"
    assert "digit fit-hands" in found.loc["no hand fits, so no part masks", "hint"]

"""The commands as a user types them.

A mistake is one line on standard error, exit status 2, and nothing is left behind.
"""

import argparse
import dataclasses
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trees import make_tree

from digit import cli
from digit.cli import main
from digit.data.build_index import prepare_index
from digit.evaluation.predictions import Predictions
from digit.model.checkpoints import save_checkpoint
from digit.model.network import build_network
from digit.training.settings import Settings

BOX = "20,20,300,300"
CAMERA = ["--bbox", BOX, "--focal", "9,9", "--princpt", "1,1", "--wrist-depth", "9"]


def run(*words) -> int:
    """Run a command; words may be paths and numbers."""
    return main([str(word) for word in words])


@pytest.fixture
def image(tiny_root) -> Path:
    return min((tiny_root / "images" / "test").rglob("*.jpg"))


@pytest.fixture
def checkpoint(tiny_run) -> Path:
    return tiny_run / "checkpoints" / "best.ckpt"


@pytest.fixture
def broken(tiny_root, tmp_path) -> Path:
    """A copy of the small data set to break."""
    dataset_dir = tmp_path / "broken"
    for name in ("annotations", "images"):
        shutil.copytree(tiny_root / name, dataset_dir / name)
    return dataset_dir


@pytest.fixture
def scored(reference, tmp_path, monkeypatch) -> tuple[Path, Path]:
    """The reference tree, without images and never prepared, and predictions for it."""
    monkeypatch.setenv("DIGIT_CACHE", str(tmp_path / "cache"))
    dataset_dir = tmp_path / "tree"
    shutil.copytree(reference / "protocol_seed11", dataset_dir)
    return dataset_dir, reference_predictions(dataset_dir, "gt", tmp_path / "mine.npz")


def reference_predictions(dataset_dir: Path, root_depth: str, path: Path) -> Path:
    """The reference's predictions as a file."""
    expected = np.load(dataset_dir / f"expected_{root_depth}.npz")
    np.savez(
        path,
        image_id=expected["image_id"],
        joints_25d=expected["pred_joint_coord"],
        relative_root_depth=expected["pred_rel_root_depth"].reshape(-1),
        hand_type=expected["pred_hand_type"],
    )
    return path


# --- The parser ---------------------------------------------------------------------


def test_every_option_has_help():
    [subparsers] = [
        action
        for action in cli.parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    for name, command in subparsers.choices.items():
        for action in command._actions:
            assert action.help, f"{name}: {action.option_strings or action.dest}"


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("digit ")


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["--bbox", "-10,20,3,4"], ["--bbox=-10,20,3,4"]),
        (["--princpt", "-.5,2"], ["--princpt=-.5,2"]),
        (["--json", "-"], ["--json", "-"]),
        (["--flip-test", "--bbox", "1,2,3,4"], ["--flip-test", "--bbox", "1,2,3,4"]),
    ],
)
def test_values_may_begin_with_a_minus_sign(words, joined):
    assert cli.join_negative_values(words) == joined


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bbox_xywh 1,2: give four", "--bbox 1,2: give four"),
        ("focal, princpt and wrist_depth_mm: all", None),
        ("x.npz: holds no wrist_depth_mm", "x.npz: holds no --wrist-depth"),
        ("a_camera.json: focal is null", "a_camera.json: focal is null"),
        ("/data/focal/x.json: missing", "/data/focal/x.json: missing"),
        ("bbox_xywh.json: missing", "bbox_xywh.json: missing"),
        ("--errors x: a folder", "--errors x: a folder"),
    ],
)
def test_errors_speak_of_options(text, expected):
    expected = expected or "--focal, --princpt and --wrist-depth: all"
    assert cli.with_option_names(text, cli.OPTIONS) == expected


# --- digit evaluate -----------------------------------------------------------------


def test_evaluate_a_checkpoint(tiny_root, checkpoint, tmp_path, capsys):
    out = tmp_path / "metrics.json"
    errors = tmp_path / "errors.parquet"
    words = ["--root", tiny_root, "--split", "test", "--root-depth", "rootnet"]
    words += ["--checkpoint", checkpoint, "--json", out, "--errors", errors]
    assert run("evaluate", *words) == 0
    result = json.loads(out.read_text())
    assert np.isfinite(result["mpjpe_all"])
    assert 0 <= result["handedness_accuracy"] <= 1
    assert {"mpjpe_sh", "mpjpe_ih", "mrrpe", "r_thumb4_all", "l_wrist_ih"} <= set(
        result
    )
    printed = capsys.readouterr().out
    assert "RootNet's" in printed
    assert "14.82" in printed, "the published row stands beside"
    assert errors.exists()


@pytest.mark.parametrize("root_depth", ["gt", "rootnet"])
def test_evaluate_predictions_needs_annotations_only(root_depth, scored, tmp_path):
    dataset_dir, _ = scored
    predictions = reference_predictions(dataset_dir, root_depth, tmp_path / "p.npz")
    words = ["--root", dataset_dir, "--split", "val", "--root-depth", root_depth]
    words += ["--predictions", predictions, "--json", tmp_path / "m.json"]
    assert run("evaluate", *words) == 0
    ours = json.loads((tmp_path / "m.json").read_text())
    theirs = json.loads((dataset_dir / f"metrics_{root_depth}.json").read_text())
    theirs["handedness_accuracy"] = theirs.pop("handness_acc")
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-3), name


def test_evaluate_names_frames_left_out(broken, checkpoint, tmp_path, capsys):
    exclude = broken / "prepared" / "exclude"
    exclude.mkdir(parents=True)
    key = prepare_index(broken, "val").keys()[0]
    (exclude / "val_mine.tsv").write_text(f"{key}\tblurred\n")
    words = ["--root", broken, "--split", "val", "--root-depth", "gt"]
    words += ["--checkpoint", checkpoint, "--json", tmp_path / "m.json"]
    assert run("evaluate", *words) == 0
    assert "1 frames are left out" in capsys.readouterr().out
    result = json.loads((tmp_path / "m.json").read_text())
    assert result["protocol"].endswith("; 1 of 6 frames are left out")


@pytest.mark.parametrize("option", ["--flip-test", "--turn-test"])
def test_evaluate_names_options_that_need_a_network(scored, capsys, option):
    dataset_dir, predictions = scored
    words = ["--root", dataset_dir, "--split", "val", "--root-depth", "gt"]
    words += ["--predictions", predictions, option]
    assert run("evaluate", *words) == 2
    error = capsys.readouterr().err
    assert option in error and "mine.npz" in error


def test_evaluate_never_overwrites_what_it_reads(scored, capsys):
    dataset_dir, predictions = scored
    annotations = dataset_dir / "annotations/val/InterHand2.6M_val_data.json"
    kept = {path: path.read_bytes() for path in (annotations, predictions)}
    words = ["--root", dataset_dir, "--split", "val", "--root-depth", "gt"]
    words += ["--predictions", predictions]
    for option in ("--json", "--errors"):
        for path, content in kept.items():
            assert run("evaluate", *words, option, path) == 2
            assert option in capsys.readouterr().err
            assert path.read_bytes() == content
    assert run("evaluate", *words, "--errors", predictions.with_suffix(".parquet")) == 0
    assert predictions.read_bytes() == kept[predictions]


def test_evaluate_writes_json_to_standard_output(scored, capsys):
    dataset_dir, predictions = scored
    words = ["--root", dataset_dir, "--split", "val", "--root-depth", "gt"]
    assert run("evaluate", *words, "--predictions", predictions, "--json", "-") == 0
    printed = capsys.readouterr()
    assert "mpjpe_all" in json.loads(printed.out)
    assert "14.82" in printed.err


def remove_camera(dataset_dir: Path) -> None:
    """Take all cameras out of the first frame's capture."""
    data = dataset_dir / "annotations/val/InterHand2.6M_val_data.json"
    image = json.loads(data.read_text())["images"][0]

    def change(content):
        for cameras in content[str(image["capture"])].values():
            cameras.clear()

    edit(dataset_dir, "camera", change)


def edit(dataset_dir: Path, kind: str, change) -> None:
    """Change the content of an annotation file."""
    path = dataset_dir / f"annotations/val/InterHand2.6M_val_{kind}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def set_unknown_hand_types(dataset_dir: Path) -> None:
    edit(
        dataset_dir,
        "data",
        lambda content: [
            label.update(hand_type="three") for label in content["annotations"]
        ],
    )


def empty_split(dataset_dir: Path) -> None:
    edit(
        dataset_dir,
        "data",
        lambda content: content.update(images=[], annotations=[]),
    )


FAULTS = {
    "missing annotation file": (
        lambda d: (d / "annotations/val/InterHand2.6M_val_joint_3d.json").unlink(),
        ["InterHand2.6M_val_joint_3d.json"],
    ),
    "truncated annotation file": (
        lambda d: cut(d / "annotations/val/InterHand2.6M_val_data.json"),
        ["InterHand2.6M_val_data.json"],
    ),
    "frame without its camera": (remove_camera, ["InterHand2.6M_val_camera.json"]),
    "unknown hand types": (
        set_unknown_hand_types,
        ["InterHand2.6M_val_data.json", "three"],
    ),
    "empty split": (empty_split, ["val"]),
    "missing data set": (shutil.rmtree, ["broken"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_data_are_named_in_one_line(fault, broken, checkpoint, tmp_path, capsys):
    damage, words = FAULTS[fault]
    damage(broken)
    out = tmp_path / "out.json"
    options = ["--root", broken, "--split", "val", "--root-depth", "gt"]
    options += ["--checkpoint", checkpoint, "--json", out]
    assert run("evaluate", *options) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("digit: ")
    assert "\n" not in error and "Traceback" not in error
    assert all(word in error for word in words), error
    assert not out.exists()
    assert not list(tmp_path.rglob("*.part"))
    # An index counts as whole by this file alone, which is written last.
    assert not list(tmp_path.rglob("made.json"))


def test_broken_and_missing_images_are_named(broken, checkpoint, capsys):
    victim = min((broken / "images" / "val").rglob("*.jpg"))
    words = ["--root", broken, "--split", "val", "--root-depth", "gt"]
    words += ["--checkpoint", checkpoint]
    cut(victim)
    assert run("evaluate", *words) == 2
    error = capsys.readouterr().err
    assert victim.name in error and "truncated JPEG" in error
    assert "Traceback" not in error

    victim.unlink()
    assert run("evaluate", *words) == 2
    error = capsys.readouterr().err
    assert victim.name in error and "digit: val/" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_missing_rootnet_boxes_are_named_first(
    command, broken, checkpoint, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    shutil.rmtree(broken / "rootnet_output", ignore_errors=True)
    options = {
        "evaluate": ["--split", "val", "--root-depth", "rootnet", "--checkpoint"],
        "train": ["--preset", "paper"],
    }
    words = options[command] + [checkpoint] * (command == "evaluate")
    assert run(command, "--root", broken, *words) == 2
    error = capfd.readouterr().err
    assert "have no box in rootnet_output" in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["prepare", "check", "train"])
def test_folder_without_a_data_set_is_refused(command, tmp_path, capsys):
    assert run(command, "--root", tmp_path / "nowhere") == 2
    assert "nowhere: no such data set folder" in capsys.readouterr().err
    assert run(command, "--root", tmp_path) == 2
    assert "put InterHand2.6M's annotations there" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# --- digit predict ------------------------------------------------------------------


def test_predict_one_image(image, checkpoint, tmp_path, capsys):
    words = [image, "--bbox", "-10,20,300,300", "--checkpoint", checkpoint]
    words += ["--focal", "1270,1270", "--princpt", "160,250", "--wrist-depth", "900"]
    words += ["--json", tmp_path / "p.json", "--figure", tmp_path / "p.png"]
    assert run("predict", *words) == 0
    result = json.loads((tmp_path / "p.json").read_text())
    assert np.shape(result["joints_px"]) == (42, 2)
    assert np.shape(result["joints_cam_mm"]) == (42, 3)
    assert (tmp_path / "p.png").stat().st_size > 10_000
    assert "p.json" in capsys.readouterr().out


def test_predict_takes_the_weights_that_ship(image, capsys):
    assert run("predict", image, "--bbox", "60,60,200,200") == 0
    assert "joints_px" in json.loads(capsys.readouterr().out)


def test_predict_with_flip_and_turn_test_differs(
    image, checkpoint, capsys, always_turned
):
    results = []
    for extra in ([], ["--flip-test"], ["--flip-test", "--turn-test"]):
        words = [image, "--bbox", BOX, "--checkpoint", checkpoint, *extra]
        assert run("predict", *words) == 0
        results.append(json.loads(capsys.readouterr().out)["joints_px"])
    assert results[0] != results[1] != results[2]


def test_network_that_needs_true_parts_predicts_no_photo(image, tmp_path, capsys):
    checkpoint = tmp_path / "bound.ckpt"
    network = build_network("quick", parts="true", pretrained=False)
    save_checkpoint(checkpoint, network)
    for extra in ([], ["--flip-test"]):
        words = [image, "--bbox", BOX, "--checkpoint", checkpoint, *extra]
        assert run("predict", *words) == 2
        assert "true parts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.jpg", "--bbox", "1,2,3,4"], "nowhere.jpg"),
        (["IMAGE", "--bbox", "1,2,3"], "--bbox 1,2,3: give 4 numbers"),
        (["IMAGE", "--bbox", "1,2,0,4"], "--bbox 1,2,0,4"),
        (["IMAGE", "--bbox", "5000,5000,10,10"], "--bbox 5000,5000,10,10"),
        (["IMAGE", "--bbox", "1,2,nan,4"], "--bbox 1,2,nan,4"),
        (["IMAGE", "--bbox", "0,0,1e-300,1e-300"], "--bbox 0,0,1e-300"),
        (
            ["IMAGE", "--bbox", BOX, "--focal", "9,9"],
            "--focal, --princpt and --wrist-depth: give all three of them, or none",
        ),
        (["IMAGE", *CAMERA, "--focal", "0,0"], "--focal 0,0"),
        (["IMAGE", *CAMERA, "--princpt", "1,inf"], "--princpt 1,inf"),
        (["IMAGE", *CAMERA, "--wrist-depth", "nan"], "--wrist-depth nan"),
        (
            ["IMAGE", *CAMERA, "--hand-length", "170"],
            "--wrist-depth and --hand-length: give one of them",
        ),
        (
            ["IMAGE", "--smoothing", "1,0.1", "--no-smoothing"],
            "--smoothing and --no-smoothing: give one of them",
        ),
        (["IMAGE", "--bbox", BOX, "--figure", "nowhere/a.png"], "no folder nowhere"),
        (["IMAGE", "--bbox", BOX, "--json", "."], "--json .: this is a folder"),
        (["IMAGE", "--bbox", BOX, "--figure", "IMAGE"], "is an input"),
        (["IMAGE", "--bbox", BOX, "--figure", "a.xyz"], "xyz"),
    ],
)
def test_predict_names_what_is_wrong(
    words, message, image, checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    photo = tmp_path / "photo.jpg"
    shutil.copy(image, photo)
    before = photo.read_bytes()
    words = ["photo.jpg" if word == "IMAGE" else word for word in words]
    words = ["--checkpoint", checkpoint, "--json", tmp_path / "p.json", *words]
    assert run("predict", *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert photo.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("inputs", ["photos", "photos/*.jpg", "photos/photo.jpg"])
@pytest.mark.parametrize("figure", ["photos", "photos/photo.jpg"])
def test_predict_never_draws_over_its_photos(
    inputs, figure, image, checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    photo = tmp_path / "photos/photo.jpg"
    photo.parent.mkdir()
    shutil.copy(image, photo)
    before = photo.read_bytes()
    words = ["--checkpoint", checkpoint, "--bbox", BOX, "--figure", figure]
    assert run("predict", inputs, *words) == 2
    assert f"digit: --figure {figure}: " in capsys.readouterr().err
    assert photo.read_bytes() == before
    assert os.listdir(photo.parent) == ["photo.jpg"]


@pytest.mark.parametrize("name", ["pipe.mp4", "pipe.jpg", "/dev/zero", "pipe*"])
def test_predict_waits_for_no_pipe(name, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.mp4")
    os.mkfifo("pipe.jpg")
    assert run("predict", name, "--checkpoint", checkpoint) == 2
    assert capsys.readouterr().err.startswith(f"digit: {name}: ")


@pytest.mark.parametrize("place", ["/dev/null", ".", "-", "link"])
def test_export_writes_a_file_or_nothing(
    place, checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    os.symlink("/dev/null", "link")
    assert run("export", checkpoint, "--out", place) == 2
    error = capsys.readouterr().err
    assert place in error and error.count("\n") == 1
    assert os.listdir() == ["link"]


def test_damaged_checkpoint_is_named(image, tmp_path, capsys):
    fake = tmp_path / "fake.ckpt"
    fake.write_bytes(b"not a checkpoint")
    assert run("predict", image, "--bbox", BOX, "--checkpoint", fake) == 2
    assert "fake.ckpt" in capsys.readouterr().err


def test_export_never_overwrites_the_checkpoint(checkpoint, tmp_path, capsys):
    copy = tmp_path / "copy.ckpt"
    shutil.copy(checkpoint, copy)
    before = copy.read_bytes()
    assert run("export", copy, "--out", copy) == 2
    assert "--out" in capsys.readouterr().err
    assert copy.read_bytes() == before


# --- Where results go ---------------------------------------------------------------


def test_links_are_followed(scored, tmp_path):
    dataset_dir, predictions = scored
    target = tmp_path / "target.json"
    target.write_text("{}")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    words = ["--root", dataset_dir, "--split", "val", "--root-depth", "gt"]
    assert run("evaluate", *words, "--predictions", predictions, "--json", link) == 0
    assert link.is_symlink()
    assert "mpjpe_all" in json.loads(target.read_text())


def run_apart(*words, **options) -> subprocess.CompletedProcess:
    """Run a command in a process of its own, with files for its streams."""
    command = [sys.executable, "-m", "digit", *map(str, words)]
    return subprocess.run(command, capture_output=True, check=False, **options)


def test_devices_are_written_to(image, tmp_path):
    """A pipe as standard output is the device that shells give."""
    done = run_apart("predict", image, "--bbox", BOX, "--json", "/dev/stdout")
    assert done.returncode == 0, done.stderr
    assert np.shape(json.loads(done.stdout)["joints_px"]) == (42, 2)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

    done = run_apart("predict", image, "--bbox", BOX, "--figure", "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\x89PNG")


def test_terminal_of_ascii_alone_is_enough(scored):
    dataset_dir, predictions = scored
    words = ["--root", dataset_dir, "--split", "val", "--root-depth", "gt"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    words += ["--predictions", predictions]
    done = run_apart("evaluate", *words, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"14.82" in done.stdout


# --- Training -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "huge"], "preset 'huge' is unknown"),
        (["--set", "learningrate=1"], "unknown key"),
        (["--set", "seed"], "seed"),
        (["--set", "network=foo"], "unknown; choose one of full"),
        (["--set", "weights=nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
    ],
)
def test_train_names_what_is_wrong_before_it_starts(
    words, message, tiny_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    assert run("train", "--root", tiny_root, *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_presets_list_every_setting(capsys):
    assert run("presets") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["paper", "full", "quick", "small", "what"]
    names = {line.split()[0] for line in lines[1:]}
    assert names == {field.name for field in dataclasses.fields(Settings)}
    assert all(line.split()[4] for line in lines[1:])


def test_runs_are_none_at_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    assert run("runs") == 0
    assert "no runs yet" in capsys.readouterr().out


def test_real_frames_from_their_folder_alone(real_frames, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    data = ["--root", real_frames]
    assert run("prepare", *data) == 0
    assert run("check", *data) == 0
    settings = ["steps=3", "batch_size=4", "evaluate_every=3", "workers=0"]
    assert run("train", *data, "--preset", "quick", "--set", *settings) == 0
    [checkpoint] = (tmp_path / "runs").glob("*/checkpoints/best.ckpt")
    words = ["--split", "test", "--root-depth", "gt", "--checkpoint", checkpoint]
    assert run("evaluate", *data, *words) == 0

    photo = next((real_frames / "images/test/Capture3").rglob("*.jpg"))
    words = [photo, "--bbox", "33,165,185,143", "--checkpoint", checkpoint]
    words += ["--figure", tmp_path / "f.png", "--json", tmp_path / "p.json"]
    assert run("predict", *words) == 0
    result = json.loads((tmp_path / "p.json").read_text())
    assert "assumed" in result["camera"]["source"], "no camera was given"
    assert np.isfinite(result["joints_cam_mm"]).all()


def test_predictions_that_are_no_npz_are_named(scored, tmp_path, capsys):
    dataset_dir, _ = scored
    (tmp_path / "p.npz").write_text("hello")
    words = ["--root", dataset_dir, "--split", "val", "--root-depth", "gt"]
    assert run("evaluate", *words, "--predictions", tmp_path / "p.npz") == 2
    error = capsys.readouterr().err
    assert "p.npz" in error and Predictions._fields[1] in error


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["synth", "--frames", "1000000000000", "--seed", "1"],
            "--frames 1000000000000",
        ),
        (["synth", "--frames", "2", "--seed", "1"], "--frames 2 are too few"),
        (["synth", "--frames", "9", "--seed", "-1"], "--seed -1: use a number from 0"),
        (
            ["synth", "--frames", "9", "--seed", "1", "--workers", "-3"],
            "--workers -3: use 1 or more",
        ),
        (["demo", "--minutes", "nan"], "--minutes nan: give a number above 0"),
        (["demo", "--minutes", "-1"], "--minutes -1.0: give a number above 0"),
        (["ablation", "--root", "x", "--seeds", "1000000000"], "give at most 1000"),
        (["doctor", "--weights", "a\0b"], "a null character"),
    ],
)
def test_numbers_that_cannot_be_are_refused_at_once(words, reason, tmp_path, capsys):
    if words[0] == "synth":
        words = [*words, "--out", str(tmp_path / "data")]
    assert main(words) == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_synth_never_takes_a_file_for_its_folder(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    words = ["synth", "--frames", "9", "--seed", "1", "--out", str(file)]
    assert main(words) == 2
    assert f"{file}: this is no folder" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_cut_outs_need_a_training_split(tmp_path, capsys):
    make_tree(tmp_path / "tree")  # val alone
    root = str(tmp_path / "tree")
    assert main(["prepare", "--root", root, "--cut-outs"]) == 2
    assert "--cut-outs: " in (err := capsys.readouterr().err) and "here: val" in err
    assert main(["prepare", "--root", root]) == 0

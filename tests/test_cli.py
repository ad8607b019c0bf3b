"""The commands as a user types them; a mistake is one line, status 2, and nothing left
behind."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from digit.cli import main
from digit.data.build_index import prepare_index
from digit.model.checkpoints import save_checkpoint
from digit.model.network import build_network
from digit.training.settings import Settings


def test_evaluate_a_checkpoint(tiny_root, tiny_run, tmp_path, capsys):
    out, errors = tmp_path / "metrics.json", tmp_path / "errors.parquet"
    status = main(
        [
            "evaluate",
            "--root",
            str(tiny_root),
            "--split",
            "test",
            "--root-depth",
            "rootnet",
            "--checkpoint",
            str(tiny_run / "checkpoints/best.ckpt"),
            "--json",
            str(out),
            "--errors",
            str(errors),
        ]
    )
    assert status == 0
    result = json.loads(out.read_text())
    assert {"mpjpe_sh", "mpjpe_ih", "mrrpe"} <= set(
        result
    )  # None where no frame is such
    assert np.isfinite(result["mpjpe_all"]) and 0 <= result["handedness_accuracy"] <= 1
    assert {"r_thumb4_all", "l_wrist_ih"} <= set(result)
    printed = capsys.readouterr().out
    assert (
        "rootnet" in printed.lower() and "14.82" in printed
    )  # the published row stands beside
    assert errors.exists()


def test_evaluate_predictions_needs_annotations_only(reference, tmp_path, monkeypatch):
    """The reference tree has no images and was never prepared."""
    monkeypatch.setenv("DIGIT_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    shutil.copytree(reference / "protocol_seed11", root)
    for depth in ("gt", "rootnet"):
        expected = np.load(root / f"expected_{depth}.npz")
        np.savez(
            tmp_path / "predictions.npz",
            image_id=expected["image_id"],
            joints_25d=expected["pred_joint_coord"],
            relative_root_depth=expected["pred_rel_root_depth"].reshape(-1),
            hand_type=expected["pred_hand_type"],
        )
        status = main(
            [
                "evaluate",
                "--root",
                str(root),
                "--split",
                "val",
                "--root-depth",
                depth,
                "--predictions",
                str(tmp_path / "predictions.npz"),
                "--json",
                str(tmp_path / "m.json"),
            ]
        )
        assert status == 0
        ours = json.loads((tmp_path / "m.json").read_text())
        theirs = json.loads((root / f"metrics_{depth}.json").read_text())
        theirs["handedness_accuracy"] = theirs.pop("handness_acc")
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, abs=1e-3), key


def test_predict_one_image(tiny_root, tiny_run, tmp_path):
    image = next((tiny_root / "images" / "test").rglob("*.jpg"))
    status = main(
        [
            "predict",
            str(image),
            "--bbox",
            "-10,20,300,300",
            "--checkpoint",
            str(tiny_run / "checkpoints/best.ckpt"),
            "--focal",
            "1270,1270",
            "--princpt",
            "160,250",
            "--wrist-depth",
            "900",
            "--json",
            str(tmp_path / "p.json"),
            "--figure",
            str(tmp_path / "p.png"),
        ]
    )
    assert status == 0
    result = json.loads((tmp_path / "p.json").read_text())
    assert np.asarray(result["joints_px"]).shape == (42, 2)
    assert np.asarray(result["joints_cam_mm"]).shape == (42, 3)
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_the_four_real_frames_by_nothing_but_root(
    real_frames, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DIGIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    root = real_frames
    assert main(["prepare", "--root", str(root)]) == 0
    assert main(["check", "--root", str(root)]) == 0
    assert (
        main(
            [
                "train",
                "--root",
                str(root),
                "--preset",
                "quick",
                "--set",
                "steps=3",
                "batch_size=4",
                "evaluate_every=3",
                "workers=0",
            ]
        )
        == 0
    )
    [checkpoint] = (tmp_path / "runs").glob("*/checkpoints/best.ckpt")
    assert (
        main(
            [
                "evaluate",
                "--root",
                str(root),
                "--split",
                "test",
                "--root-depth",
                "gt",
                "--checkpoint",
                str(checkpoint),
            ]
        )
        == 0
    )
    image = next((root / "images/test/Capture3").rglob("*.jpg"))
    assert (
        main(
            [
                "predict",
                str(image),
                "--bbox",
                "33,165,185,143",
                "--checkpoint",
                str(checkpoint),
                "--figure",
                str(tmp_path / "f.png"),
                "--json",
                str(tmp_path / "p.json"),
            ]
        )
        == 0
    )
    assert "joints_cam_mm" not in json.loads(
        (tmp_path / "p.json").read_text()
    )  # no camera given


@pytest.fixture
def broken(tiny_root, tmp_path):
    """A copy of the small data set to break."""
    root = tmp_path / "broken"
    shutil.copytree(tiny_root / "annotations", root / "annotations")
    shutil.copytree(tiny_root / "images", root / "images")
    return root


def edit(root, kind, change):
    path = root / "annotations" / "val" / f"InterHand2.6M_val_{kind}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def remove_camera(root):
    path = root / "annotations" / "val" / "InterHand2.6M_val_data.json"
    image = json.loads(path.read_text())["images"][0]

    def change(content):
        for cameras in content[str(image["capture"])].values():
            cameras.clear()

    edit(root, "camera", change)


FAULTS = {
    "missing annotation file": (
        lambda root: (
            root / "annotations/val/InterHand2.6M_val_joint_3d.json"
        ).unlink(),
        ["InterHand2.6M_val_joint_3d.json"],
    ),
    "truncated annotation file": (
        lambda root: _cut(root / "annotations/val/InterHand2.6M_val_data.json"),
        ["InterHand2.6M_val_data.json"],
    ),
    "frame without its camera": (remove_camera, ["InterHand2.6M_val_camera.json"]),
    "unknown hand types": (
        lambda root: edit(
            root,
            "data",
            lambda c: [a.update(hand_type="three") for a in c["annotations"]],
        ),
        ["InterHand2.6M_val_data.json", "three"],
    ),
    "empty split": (
        lambda root: edit(root, "data", lambda c: c.update(images=[], annotations=[])),
        ["val"],
    ),
    "missing root": (shutil.rmtree, ["broken"]),
}


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_data_is_one_clear_line(fault, broken, tiny_run, tmp_path, capsys):
    damage, words = FAULTS[fault]
    damage(broken)
    out = tmp_path / "out.json"
    status = main(
        [
            "evaluate",
            "--root",
            str(broken),
            "--split",
            "val",
            "--root-depth",
            "gt",
            "--checkpoint",
            str(tiny_run / "checkpoints/best.ckpt"),
            "--json",
            str(out),
        ]
    )
    said = capsys.readouterr().err.strip()
    assert status == 2
    assert said.startswith("digit: ") and "\n" not in said and "Traceback" not in said
    assert all(word in said for word in words), said
    assert not out.exists() and not list(tmp_path.rglob("*.part"))
    if broken.exists():
        index = broken / "prepared" / "index" / "val"
        assert not index.exists() or not list(index.glob("*.arrow"))


def test_a_broken_jpeg_is_named(broken, tiny_run, capsys):
    victim = next((broken / "images" / "val").rglob("*.jpg"))
    _cut(victim)
    words = ["evaluate", "--root", str(broken), "--split", "val", "--root-depth", "gt"]
    words += ["--checkpoint", str(tiny_run / "checkpoints/best.ckpt")]
    status = main(words)
    said = capsys.readouterr().err
    assert status == 2
    assert victim.name in said and "truncated JPEG" in said and "Traceback" not in said
    victim.unlink()
    assert main(words) == 2
    said = capsys.readouterr().err
    assert victim.name in said and "Traceback" not in said and "digit: val/" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--preset", "huge"], "preset 'huge' is unknown"),
        (["--set", "learningrate=1"], "unknown key"),
        (["--set", "seed"], "--set seed"),
        (["--set", "network=foo"], "--set network=foo: unknown; choose one of full"),
        (["--set", "weights=nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
    ],
)
def test_train_says_what_is_wrong_before_it_starts(
    words, said, tiny_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    assert main(["train", "--root", str(tiny_root), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.jpg", "--bbox", "1,2,3,4"], "nowhere.jpg"),
        (["IMAGE", "--bbox", "1,2,3"], "--bbox 1,2,3"),
        (["IMAGE", "--bbox", "1,2,0,4"], "--bbox"),
        (["IMAGE", "--bbox", "5000,5000,10,10"], "--bbox"),
        (["IMAGE", "--bbox", "1,2,nan,4"], "--bbox"),
        (
            ["IMAGE", "--bbox", "1,2,90,90", "--focal", "9,9"],
            "give all three of them, or none",
        ),
        (
            ["IMAGE", "--bbox", "1,2,90,90", "--figure", "nowhere/a.png"],
            "no folder nowhere",
        ),
    ],
)
def test_predict_says_what_is_wrong(words, said, tiny_root, tiny_run, tmp_path, capsys):
    image = next((tiny_root / "images" / "test").rglob("*.jpg"))
    words = [str(image) if word == "IMAGE" else word for word in words]
    out = tmp_path / "p.json"
    checkpoint = str(tiny_run / "checkpoints/best.ckpt")
    assert (
        main(["predict", *words, "--checkpoint", checkpoint, "--json", str(out)]) == 2
    )
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("command", ["prepare", "check", "train"])
def test_a_root_that_is_none_is_said(command, tmp_path, capsys):
    assert main([command, "--root", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such data set folder" in capsys.readouterr().err
    assert main([command, "--root", str(tmp_path)]) == 2
    assert "put InterHand2.6M's annotations there" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_rootnets_depth_is_missed_before_any_work(broken, tiny_run, capfd):
    shutil.rmtree(broken / "rootnet_output", ignore_errors=True)
    words = ["--split", "val", "--root-depth", "rootnet", "--checkpoint"]
    checkpoint = str(tiny_run / "checkpoints/best.ckpt")
    assert main(["evaluate", "--root", str(broken), *words, checkpoint]) == 2
    error = capfd.readouterr().err
    assert "have no box in rootnet_output" in error and "Traceback" not in error


def test_training_misses_rootnets_boxes_before_it_starts(
    broken, tmp_path, monkeypatch, capsys
):
    shutil.rmtree(broken / "rootnet_output", ignore_errors=True)
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    assert main(["train", "--root", str(broken), "--preset", "paper"]) == 2
    assert "have no box in rootnet_output" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_frames_left_out_are_part_of_the_protocol(broken, tiny_run, tmp_path, capsys):
    out, exclude = tmp_path / "m.json", broken / "prepared" / "exclude"
    words = ["evaluate", "--root", str(broken), "--split", "val", "--root-depth", "gt"]
    words += [
        "--checkpoint",
        str(tiny_run / "checkpoints/best.ckpt"),
        "--json",
        str(out),
    ]
    assert main(words) == 0
    whole = json.loads(out.read_text())["protocol"]
    key = prepare_index(broken, "val").keys()[0]
    exclude.mkdir(parents=True, exist_ok=True)
    (exclude / "val_mine.tsv").write_text(f"{key}\tblurred\n")
    assert main(words) == 0
    assert (
        json.loads(out.read_text())["protocol"]
        == f"{whole}; 1 of 6 frames are left out"
    )


def test_a_network_fed_true_parts_predicts_no_picture(tiny_root, tmp_path, capsys):
    checkpoint = tmp_path / "bound.ckpt"
    save_checkpoint(checkpoint, build_network("quick", parts="true", pretrained=False))
    image = next((tiny_root / "images" / "test").rglob("*.jpg"))
    for extra in ([], ["--flip-test"]):
        words = [
            str(image),
            "--bbox",
            "1,2,90,90",
            "--checkpoint",
            str(checkpoint),
            *extra,
        ]
        assert main(["predict", *words]) == 2
        assert "wants the true parts" in capsys.readouterr().err


def test_presets_and_runs_are_listed(tmp_path, monkeypatch, capsys):
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["paper", "full", "quick", "small", "what"]
    names = {line.split()[0] for line in lines[1:]}
    assert names == {field.name for field in dataclasses.fields(Settings)}
    assert all(line.split()[4] for line in lines[1:])
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    assert main(["runs"]) == 0
    assert "no runs yet" in capsys.readouterr().out


def test_a_checkpoint_that_is_none(tiny_root, tmp_path, capsys):
    fake = tmp_path / "fake.ckpt"
    fake.write_bytes(b"not a checkpoint")
    image = next((tiny_root / "images" / "test").rglob("*.jpg"))
    assert (
        main(["predict", str(image), "--bbox", "1,2,90,90", "--checkpoint", str(fake)])
        == 2
    )
    assert "fake.ckpt" in capsys.readouterr().err

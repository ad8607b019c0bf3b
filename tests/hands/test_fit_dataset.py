"""Fits for data sets without any: written beside, resumed, read by the index."""

import json
import os
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_mano import write_mano
from hand_trees import Fits, make_tree
from posed_hands import draw_hands

from digit.cli import main
from digit.data.build_index import prepare_index
from digit.hands import fit_dataset as module
from digit.hands.fit_dataset import fit_dataset
from digit.hands.fitting import MIN_JOINTS
from digit.hands.model import generic_hands, load_hand
from digit.hands.part_masks import prepare
from digit.hands.part_rendering import load_hands
from digit.paths import prepared_dir
from digit.skeleton import HAND_TYPE_FLAGS, SIDES

INSTANTS = 12
USERS = "annotations/train/InterHand2.6M_train_MANO_NeuralAnnot.json"
OURS = "fits/InterHand2.6M_train_MANO_fitted.json"


def one_person(n: int, hands=None) -> Fits:
    """Hands of one person, within their joints' limits, about the world's origin."""
    betas = np.clip(np.random.default_rng(5).normal(0, 1, 10), -2, 2)
    drawn = [
        draw_hands(hand, n, seed=side, shape=np.tile(betas, (n, 1)))
        for side, hand in enumerate(hands or generic_hands())
    ]
    pose, shape = (
        np.stack([getattr(d, name) for d in drawn], 1) for name in ("pose", "shape")
    )
    trans = np.stack([d.trans_m for d in drawn], 1) - np.float32([0, 0, 1])
    return pose, shape, trans * np.float32(0.4)


@pytest.fixture
def tree(tmp_path) -> Path:
    """Twelve moments of right, left and both hands, seen by two cameras; no fits."""
    root = make_tree(
        tmp_path / "tree", generic_hands(), INSTANTS, fits=one_person(INSTANTS)
    )
    (root / USERS).rename(tmp_path / "true_fits.json")
    return root


@pytest.fixture(autouse=True)
def no_mano(monkeypatch, tmp_path):
    monkeypatch.delenv("DIGIT_MANO", raising=False)
    monkeypatch.setattr("digit.hands.mano_files.ASSETS_DIR", tmp_path / "none")
    monkeypatch.setattr(module, "SHARD", 5)


def errors(root: Path) -> pd.DataFrame:
    name = "fits/InterHand2.6M_train_MANO_fitted_error.tsv"
    return pd.read_csv(prepared_dir(root) / name, sep="\t")


def test_each_hand_with_joints_gets_a_fit(tree):
    [report] = fit_dataset(tree)
    assert (report.fitted, report.left_out, report.had_fits) == (16, 0, 0)
    assert report.hand_model == "generic"
    assert report.median_residual_mm < 1
    index = prepare_index(tree, "train")
    present = HAND_TYPE_FLAGS[index["hand_type"]] > 0
    np.testing.assert_array_equal(np.isfinite(index["mano_trans"]).all(-1), present)
    np.testing.assert_array_equal(index["fitted_by_digit"], present)
    assert not (tree / USERS).exists()
    table = errors(tree)
    assert len(table) == 16
    assert (table["status"] == "fitted").all()
    assert table["mean_mm"].max() < 1


def test_masks_are_rendered_from_the_fits(tree, capsys):
    prepare(tree)
    assert "digit fit-hands" in capsys.readouterr().out
    assert not prepare_index(tree, "train")["parts_valid"].any()
    list(fit_dataset(tree))
    prepare(tree)
    said = capsys.readouterr().out
    assert "16 fits of digit fit-hands with the generic hand model" in said
    index = prepare_index(tree, "train")
    assert index["parts_valid"].all()
    assert np.nanmax(index["fit_error_mm"]) < 1


def test_the_users_fits_stay_and_count_first(tree, tmp_path):
    true_fits = json.loads((tmp_path / "true_fits.json").read_text())
    # The user has fits of the first six moments, and one of them is wide of its joints.
    [capture] = true_fits
    moments = true_fits[capture]
    for moment in list(moments):
        if int(moment) >= 6:
            del moments[moment]
    moments["0"]["right"]["trans"] = [0.5, 0.0, 0.0]
    (tree / USERS).write_text(json.dumps(true_fits))
    before = (tree / USERS).read_bytes()
    [report] = fit_dataset(tree)
    assert (report.fitted, report.had_fits) == (8, 8)
    assert (tree / USERS).read_bytes() == before
    index = prepare_index(tree, "train")
    np.testing.assert_allclose(index["mano_trans"][0, 0], [0.5, 0, 0])
    assert not index["fitted_by_digit"][index["frame_idx"] < 6].any()
    assert np.isfinite(index["mano_trans"]).all(-1).sum() == 2 * 16


def test_a_second_run_does_nothing(tree, monkeypatch):
    [first] = fit_dataset(tree)
    written = (prepared_dir(tree) / OURS).stat().st_mtime_ns
    monkeypatch.setattr(module, "fit_shard", lambda _: pytest.fail("fitted again"))
    [second] = fit_dataset(tree)
    assert second == first
    assert (prepared_dir(tree) / OURS).stat().st_mtime_ns == written


def test_changed_joints_are_fitted_anew(tree):
    list(fit_dataset(tree))
    before = (prepared_dir(tree) / OURS).read_text()
    path = tree / "annotations/train/InterHand2.6M_train_joint_3d.json"
    joints = json.loads(path.read_text())
    world = np.array(joints["0"]["0"]["world_coord"])
    joints["0"]["0"]["world_coord"] = (world + [5, 0, 0]).tolist()
    path.write_text(json.dumps(joints))
    list(fit_dataset(tree))
    assert (prepared_dir(tree) / OURS).read_text() != before


def fit_until_killed(root: Path, last_write: int) -> None:
    """Fit in this process, and kill it behind its n-th file that takes its name."""
    module.SHARD = 5
    count = 0
    replace = os.replace

    def killing(*args, **kwargs):
        nonlocal count
        replace(*args, **kwargs)
        count += 1
        if count == last_write:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = killing
    list(fit_dataset(root))


def test_killed_behind_any_write_it_resumes_to_the_same(tree, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(tree, whole)
    list(fit_dataset(whole))
    killed = 0
    for last_write in range(1, 60):
        child = os.fork()
        if child == 0:
            try:
                fit_until_killed(tree, last_write)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        killed += 1
    assert killed > 5
    assert (prepared_dir(tree) / OURS).read_bytes() == (
        prepared_dir(whole) / OURS
    ).read_bytes()
    pd.testing.assert_frame_equal(errors(tree), errors(whole))


def test_processes_make_the_same_as_threads(tree, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tree, other)
    list(fit_dataset(tree))
    with ProcessPoolExecutor(1) as pool:
        list(fit_dataset(other, executor=pool))
    assert (prepared_dir(tree) / OURS).read_bytes() == (
        prepared_dir(other) / OURS
    ).read_bytes()


def test_joints_of_no_hand_are_left_out_with_a_reason(tmp_path):
    def spoil(joints):
        joints[2, :21] = joints[2, :1]  # coincident
        joints[5] = joints[5, ::-1]  # in any order
        joints[8, 21:] = np.nan  # both hands, the left one unknown

    def unsee(valid):
        valid[3, MIN_JOINTS - 2 :] = False  # a right hand of six joints

    changes = {"joints_world_mm": spoil, "joint_valid": unsee}
    fits = one_person(INSTANTS)
    root = make_tree(tmp_path / "t", generic_hands(), INSTANTS, fits=fits, **changes)
    (root / USERS).unlink()
    [report] = fit_dataset(root)
    table = errors(root).set_index(["frame_idx", "hand"])
    assert "15 mm off" in table.loc[(2, "right"), "status"]
    assert "15 mm off" in table.loc[(5, "right"), "status"]
    assert "fewer than" in table.loc[(3, "right"), "status"]
    assert (8, "left") not in table.index
    assert table.loc[(8, "right"), "status"] == "fitted"
    assert report.left_out == (table["status"] != "fitted").sum()
    written = json.loads((prepared_dir(root) / OURS).read_text())["0"]
    assert written["2"]["right"] is None
    assert len(written["8"]["right"]["pose"]) == 48


def test_joints_without_depths_are_not_fitted(tree):
    (tree / "annotations/labels.txt").write_text("flat")
    with pytest.raises(ValueError, match=r"labels\.txt: says flat"):
        list(fit_dataset(tree))
    assert not (tree / "prepared/fits").exists()


def test_one_person_has_one_shape_and_many_have_their_own(tree, tmp_path):
    list(fit_dataset(tree))
    index = prepare_index(tree, "train")
    betas = index["mano_shape"][np.isfinite(index["mano_trans"]).all(-1)]
    assert np.ptp(betas, axis=0).max() < 1e-5

    pose, _, trans = one_person(INSTANTS)
    shape = np.random.default_rng(0).normal(0, 2, (INSTANTS, 2, 10))
    fits = (pose, shape.clip(-3, 3).astype(np.float32), trans)
    crowd = make_tree(tmp_path / "crowd", generic_hands(), INSTANTS, fits=fits)
    (crowd / USERS).unlink()
    [report] = fit_dataset(crowd)
    assert report.median_residual_mm < 1
    index = prepare_index(crowd, "train")
    betas = index["mano_shape"][np.isfinite(index["mano_trans"]).all(-1)]
    assert np.ptp(betas, axis=0).max() > 1


def test_mano_is_fitted_where_its_files_are(tmp_path):
    folder = write_mano(tmp_path / "files")
    hands = tuple(load_hand(side, "mano", folder) for side in SIDES)
    fits = one_person(INSTANTS, hands)
    root = make_tree(tmp_path / "t", hands, INSTANTS, "mano", fits=fits)
    # The user's fits are MANO's: without its files nothing can be added to them.
    with pytest.raises(FileNotFoundError, match=r"MANO_RIGHT\.pkl.*DIGIT_MANO"):
        list(fit_dataset(root))
    (root / USERS).unlink()
    [report] = fit_dataset(root)
    assert report.hand_model == "generic"
    assert load_hands(root)[0].name == "generic"
    shutil.copytree(folder, root / "mano")
    [report] = fit_dataset(root)
    assert (report.hand_model, report.fitted) == ("mano", 16)
    assert load_hands(root)[0].name == "mano"


def test_generic_fits_do_not_mix_with_manos(tree, tmp_path):
    (tree / "annotations/hand_model.txt").unlink()  # as in InterHand2.6M itself
    [report] = fit_dataset(tree)
    assert report.hand_model == "generic"
    shutil.copy(tmp_path / "true_fits.json", tree / USERS)  # said to be MANO's
    index = prepare_index(tree, "train")
    assert "fitted_by_digit" not in index.columns()
    with pytest.raises(FileNotFoundError, match=r"MANO_RIGHT\.pkl"):
        load_hands(tree)


def test_the_command_names_hands_residuals_and_files(tree, capsys):
    assert main(["fit-hands", "--root", str(tree), "--split", "train"]) == 0
    said = capsys.readouterr().out
    assert "16 hands fitted with the generic hand model" in said
    assert OURS in said and "digit prepare" in said
    assert main(["fit-hands", "--root", str(tree / "nothing")]) == 2

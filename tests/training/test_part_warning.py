"""Training says so where parts are to be learnt and no part mask counts."""

import pytest
from trees import make_tree, write_lmdb

from digit.training.data import open_data
from digit.training.loop import check_start
from digit.training.settings import make_settings

BASE = {"train_split": "val", "val_split": "val", "workers": 0, "batch_size": 2}


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "tree")


def warning(tree, **changes):
    return open_data(tree, make_settings("quick", {**BASE, **changes})).part_warning()


def test_masks_that_count_are_not_spoken_of(tree):
    assert warning(tree) == ""


def test_the_originals_masks_without_their_meta_dict(tree, capsys):
    (tree / "cache/meta_dict_val.pkl").unlink()
    text = warning(tree)
    assert str(tree) in text and "no part mask of val counts" in text
    assert f"digit prepare --root {tree}" in text and "weight_parts=0" in text
    check_start(tree, make_settings("quick", BASE))
    assert text in capsys.readouterr().err


def test_a_meta_dict_without_masks(tree):
    for path in (tree / "segm_32.lmdb").iterdir():
        path.unlink()
    (tree / "segm_32.lmdb").rmdir()
    assert warning(tree) != ""


def test_silent_where_no_parts_are_learnt(tree):
    (tree / "cache/meta_dict_val.pkl").unlink()
    assert warning(tree, parts="none") == ""
    assert warning(tree, weight_parts=0) == ""
    assert warning(tree, weight_parts=0, weight_part_iou=1) != ""
    assert warning(tree, weight_parts=0, parts="true") != ""


def test_masks_of_a_further_data_set_count(tree, tmp_path):
    other = make_tree(tmp_path / "other", seed=1)
    (tree / "cache/meta_dict_val.pkl").unlink()
    write_lmdb(tree / "segm_32.lmdb", {})
    assert warning(tree, also=f"{other}:0.5") == ""

"""Where results may go: nothing that a user already has is destroyed."""

import os

import pytest
from trees import make_tree

from digit.outputs import check_output_folder, check_outputs, is_of_data_set


def test_plain_names_are_fine(tmp_path):
    check_outputs(
        {"json": tmp_path / "a.json", "figure": tmp_path / "a.png", "errors": None},
        inputs=[tmp_path / "a.jpg", None],
    )


def test_earlier_results_may_be_replaced(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    check_outputs({"json": tmp_path / "a.json"})


def test_standard_output_and_devices_are_fine():
    check_outputs({"json": "-", "figure": "-"})
    check_outputs({"json": "/dev/null", "figure": "/dev/null"})


@pytest.mark.parametrize("argument", ["npz", "--errors", "--out", "mesh"])
def test_arrays_and_tables_do_not_go_to_standard_output(argument):
    with pytest.raises(ValueError, match=f"{argument} -: cannot go to standard output"):
        check_outputs({argument: "-"})


def test_a_folder_of_inputs_takes_no_results(tmp_path):
    photo = tmp_path / "photos" / "p.jpg"
    dataset_dir = make_tree(tmp_path / "tree")
    check_output_folder("figure", tmp_path, inputs=[photo])
    with pytest.raises(ValueError, match=r"figure .*p\.jpg lies there"):
        check_output_folder("figure", tmp_path / "x" / ".." / "photos", inputs=[photo])
    with pytest.raises(ValueError, match="a folder of a data set"):
        check_output_folder("figure", dataset_dir / "images" / "val", inputs=[photo])


def test_inputs_are_kept(tmp_path):
    photo = tmp_path / "p.jpg"
    photo.write_bytes(b"photo")
    link = tmp_path / "link.png"
    link.symlink_to(photo)
    hard = tmp_path / "hard.png"
    os.link(photo, hard)
    for output in (photo, tmp_path / "." / "p.jpg", link, hard):
        with pytest.raises(ValueError, match="is an input"):
            check_outputs({"figure": output}, inputs=[photo])


def test_files_of_a_data_set_are_kept(tmp_path):
    dataset_dir = make_tree(tmp_path / "tree")
    for name in (
        "annotations/val/InterHand2.6M_val_data.json",
        "images/val/new.png",
        "rootnet_output/x.json",
        "segm_32.lmdb/data.mdb",
    ):
        (dataset_dir / name).parent.mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="a file of a data set"):
            check_outputs({"json": dataset_dir / name})
    link = tmp_path / "metrics.json"
    link.symlink_to(dataset_dir / "annotations" / "skeleton.txt")
    with pytest.raises(ValueError, match="a file of a data set"):
        check_outputs({"json": link})
    assert not is_of_data_set(dataset_dir / "metrics.json")
    assert not is_of_data_set(dataset_dir / "runs" / "metrics.json")


def test_two_outputs_are_two_files(tmp_path):
    with pytest.raises(ValueError, match="the same file as json"):
        check_outputs({"json": tmp_path / "a", "figure": tmp_path / "." / "a"})


def test_folders_and_missing_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="this is a folder"):
        check_outputs({"figure": tmp_path})
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        check_outputs({"figure": tmp_path / "nowhere" / "a.png"})
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere" / "a.png")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        check_outputs({"figure": dangling})

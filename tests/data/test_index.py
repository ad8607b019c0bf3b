"""The index: what it says, and when it is built."""

import json
import multiprocessing
import os
import pickle
import resource
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
from trees import (
    annotation_paths,
    columns,
    edit_json,
    write_columns_tree,
)

from digit.data import build_index
from digit.data.annotations import find_rows
from digit.data.build_index import prepare_index
from digit.data.columns import write_columns
from digit.data.health import check
from digit.data.index import open_index
from digit.data.layout import hand_model_name, splits_of
from digit.data.tree import write_tree
from digit.paths import _cache_dir, prepared_dir


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing is left in the user's cache."""
    monkeypatch.setenv("DIGIT_CACHE", str(tmp_path / "cache"))
    _cache_dir.cache_clear()
    yield
    _cache_dir.cache_clear()


@pytest.fixture
def tree(tmp_path):
    return write_columns_tree(tmp_path / "tree")


@pytest.fixture
def builds(monkeypatch):
    """A list that gets an entry whenever an index is built."""
    done = []
    build = build_index.build_index

    def counted(*arguments):
        done.append(arguments)
        build(*arguments)

    monkeypatch.setattr(build_index, "build_index", counted)
    return done


# ------------------------------------------------------------------ what it says


def test_rows_are_found_by_all_keys():
    rng = np.random.default_rng(0)
    pairs = np.array([(i, j) for i in range(20) for j in range(0, 20, 2)])
    pairs = pairs[rng.permutation(len(pairs))]
    wanted = rng.integers(-1, 21, (1000, 2))
    row_of = {tuple(pair): row for row, pair in enumerate(pairs.tolist())}
    expected = [row_of.get(tuple(pair), -1) for pair in wanted.tolist()]
    for second in (np.asarray, lambda column: column.astype(str).astype(object)):
        table = {"a": pairs[:, 0], "b": second(pairs[:, 1])}
        of = {"a": wanted[:, 0], "b": second(wanted[:, 1])}
        assert find_rows(table, of, ("a", "b")).tolist() == expected


def test_what_was_written_is_read(tree):
    frames, instants, cameras, true = columns()
    index = prepare_index(tree)
    assert len(index) == len(frames["image_id"])
    assert splits_of(tree) == ["train"]
    for name, column in frames.items():
        np.testing.assert_array_equal(index[name], column, err_msg=name)
    for name in ("joints_world_mm", "mano_pose", "mano_shape", "mano_trans"):
        np.testing.assert_allclose(index[name], instants[name][true["of"]], rtol=1e-6)
    for name in ("camrot", "campos_mm", "focal", "princpt"):
        np.testing.assert_array_equal(index[name], cameras[name][true["camera_row"]])
    np.testing.assert_allclose(index["joints_cam_mm"], true["cam"], atol=1e-3)
    np.testing.assert_allclose(index["joints_px"], true["px"], atol=1e-3)
    assert not index["fault"].any()
    assert hand_model_name(tree) == index.hand_model == "generic"


def test_a_part_of_an_index_is_that_part(tree):
    index = prepare_index(tree)
    part = index.take([7, 2, 2]).take(slice(0, 2))
    for name in index.columns():
        np.testing.assert_array_equal(part[name], index[name][[7, 2]], err_msg=name)
    frame = index.frame(7)
    assert frame.key == f"train/{index['file_name'][7]}"
    assert isinstance(frame.width, int)
    np.testing.assert_array_equal(frame.joints_px, part["joints_px"][0])
    again = pickle.loads(pickle.dumps(part))
    assert again["image_id"].tolist() == part["image_id"].tolist()
    with pytest.raises(KeyError, match=r"'bbox' is no column; there are .*bbox_xywh"):
        index["bbox"]


def test_whole_columns_are_views_of_the_file(tree):
    index = prepare_index(tree)
    for name in ("bbox_xywh", "joint_valid", "image_id", "rootnet_depth_mm"):
        assert not index[name].flags.owndata
        assert not index[name].flags.writeable


def test_order_and_spelling_of_the_json_do_not_matter(tree):
    true = prepare_index(tree)

    def shuffle(data):
        data["annotations"].reverse()
        for annotation in data["annotations"][::2]:
            valid = annotation["joint_valid"]
            annotation["joint_valid"] = [float(flag) for (flag,) in valid]
        data["images"] = data.pop("images")  # now after the annotations
        data["images"].append(data["images"][0] | {"id": 1})  # without annotation
        for image in data["images"]:
            image["file_name"] = image["file_name"].replace("/", "\\")
        data["info"] = {"made": [1, 2]}

    edit_json(annotation_paths(tree)["data"], shuffle)
    index = prepare_index(tree)
    names = ("image_id", "annot_id", "joint_valid", "bbox_xywh", "camera_row")
    for name in (*names, "hand_type", "file_name"):
        np.testing.assert_array_equal(index[name], true[name])
    assert "image without annotation" in set(check(tree)["finding"])


def test_a_generators_truth_is_joined_by_image(tree):
    index = prepare_index(tree)
    (tree / "truth").mkdir()
    hidden = np.arange(len(index))
    truth = pd.DataFrame({"image_id": index["image_id"][::-1], "hidden": hidden})
    truth.to_parquet(tree / "truth/train.parquet")
    index = prepare_index(tree)
    assert index["hidden"].tolist() == hidden.tolist()[::-1]


def test_frames_as_a_table(tree):
    index = prepare_index(tree)
    table = index.take([0, 1]).to_pandas()
    assert {"image_id", "camera", "width"} <= set(table.columns)
    assert "bbox_xywh" not in table
    assert index.to_pandas(["bbox_xywh"])["bbox_xywh"][3].shape == (4,)


def test_masks_count_for_the_labels_they_were_made_from(tree):
    index = prepare_index(tree)
    n = len(index)
    made = {
        "parts_valid": np.arange(n) % 2 == 0,
        "fit_error_mm": np.ones((n, 2), np.float32),
    }
    folder = prepared_dir(tree) / "index/train"
    write_columns(folder / f"masks-{index.fingerprint}", made)
    index = open_index(tree)
    assert index["parts_valid"].sum() == (n + 1) // 2
    assert index["fit_error_mm"].max() == 1

    (folder / f"masks-{index.fingerprint}").rename(folder / "masks-of-other-labels")
    other = open_index(tree)
    assert not other["parts_valid"].any()
    assert np.isnan(other["fit_error_mm"]).all()
    # What was opened before stays as it was.
    assert index.take([0, 1])["parts_valid"].tolist() == [True, False]


def test_subsets_by_name(tree):
    whole, small = prepare_index(tree), open_index(tree, "smalltrain")
    assert len(small) == len(whole) // 10
    assert set(small["image_id"]) < set(whole["image_id"])
    assert len(open_index(tree, "minitrain")) == len(whole)  # fewer than 1,000 there
    for opener in (open_index, prepare_index):
        with pytest.raises(ValueError, match="'huge' is no split; choose one of train"):
            opener(tree, "huge")


def test_a_subset_of_nothing_is_refused(tmp_path):
    frames, instants, cameras, _ = columns()
    some = {name: column[:3] for name, column in frames.items()}
    write_tree(tmp_path, "val", some, instants, cameras)
    message = r"smallval is an empty split, 0.25 of 3 frames; take val"
    with pytest.raises(ValueError, match=message):
        prepare_index(tmp_path, "smallval")


# ------------------------------------------------------------------ the original's files


def test_the_originals_pickles(tree):
    true = prepare_index(tree)
    path = annotation_paths(tree)["data"]
    data = json.loads(path.read_text())
    by_image = {label["image_id"]: label for label in data["annotations"]}
    both = {
        image["id"]: image | {"anno": by_image[image["id"]]} for image in data["images"]
    }
    path.with_suffix(".pkl").write_bytes(pickle.dumps(both))
    path.unlink()
    # The first three frames are of a right hand.
    right_hand = {
        "right_fit_err": np.float64(2.5),
        "left_fit_err": None,
        "imsize": (1, 2),
    }
    errors = {f"train/{name}": right_hand for name in true["file_name"][:3]}
    (tree / "cache").mkdir()
    (tree / "cache/meta_dict_train.pkl").write_bytes(pickle.dumps(errors))

    index = prepare_index(tree)
    for name in ("image_id", "bbox_xywh", "joint_valid", "hand_type", "joints_px"):
        np.testing.assert_array_equal(index[name], true[name])
    assert index["parts_valid"].tolist() == [True] * 3 + [False] * (len(index) - 3)
    expected = [[2.5, np.nan], [np.nan, np.nan]]
    np.testing.assert_array_equal(index["fit_error_mm"][2:4], expected)


@pytest.mark.parametrize("name", ["all_train", "machine_annot_train"])
def test_rootnets_published_names(tree, name):
    true = prepare_index(tree)["rootnet_depth_mm"]
    path = annotation_paths(tree)["rootnet"]
    renamed = path.with_name(path.name.replace("train", name))
    path.rename(renamed)
    edit_json(renamed, lambda records: records.pop(4))
    found = prepare_index(tree)["rootnet_depth_mm"]
    assert np.isnan(found[4]).all()
    np.testing.assert_array_equal(np.delete(found, 4, 0), np.delete(true, 4, 0))


def test_the_real_frames(real_frames, tmp_path):
    """Their joints lie in their boxes; their folder is read-only and stays so."""
    index = prepare_index(real_frames, "test")
    assert len(index) == 4
    assert index.folder.is_relative_to(tmp_path)
    assert not (real_frames / "prepared").exists()
    low, extent = np.split(index["bbox_xywh"][:, None], 2, axis=2)
    joints_px = index["joints_px"]
    inside = ((joints_px > low - 1) & (joints_px < low + extent + 1)).all(2)
    assert inside[index["joint_valid"]].all()
    assert not index["fault"].any()
    assert check(real_frames, ["test"], examine_pixels=True)["excluded"].sum() == 0


def test_joints_in_the_originals_numbers(reference, tmp_path):
    tree = shutil.copytree(reference / "protocol_seed11", tmp_path / "tree")
    expected, index = np.load(tree / "expected_gt.npz"), prepare_index(tree, "val")
    row_of = {image_id: row for row, image_id in enumerate(index["image_id"])}
    index = index.take([row_of[image_id] for image_id in expected["image_id"]])
    np.testing.assert_allclose(index["joints_cam_mm"], expected["cam_coord"], atol=2e-3)


# ------------------------------------------------------------------ when it is built


def test_opening_does_not_build(tree):
    message = (
        "index/train: the index is missing; prepare the data set first: digit prep"
    )
    with pytest.raises(FileNotFoundError, match=message):
        open_index(tree)
    assert not (tree / "prepared").exists()


def test_it_is_built_once(tree, builds):
    prepare_index(tree)
    prepare_index(tree, "minitrain")
    open_index(tree)
    assert len(builds) == 1


def test_touched_and_copied_files_do_not_make_it_stale(tree, builds, tmp_path):
    prepare_index(tree)
    for path in annotation_paths(tree).values():
        os.utime(path, ns=(1, 1))
    open_index(tree)
    copied = shutil.copytree(tree, tmp_path / "copy", copy_function=shutil.copyfile)
    assert len(prepare_index(copied)) == 30
    assert len(builds) == 1


def test_a_changed_file_makes_it_stale(tree):
    prepare_index(tree)

    def change(data):
        data["annotations"][0]["bbox"] = [1, 2, 3, 4]

    edit_json(annotation_paths(tree)["data"], change)
    with pytest.raises(FileNotFoundError, match=r"is out of date \(data has changed\)"):
        open_index(tree)
    assert prepare_index(tree)["bbox_xywh"][0].tolist() == [1, 2, 3, 4]


def test_a_removed_file_makes_it_stale(tree):
    prepare_index(tree)
    annotation_paths(tree)["rootnet"].unlink()
    with pytest.raises(FileNotFoundError, match="is out of date"):
        open_index(tree)
    assert np.isnan(prepare_index(tree)["rootnet_depth_mm"]).all()


def test_a_killed_build_does_not_count(tree, tmp_path, monkeypatch):
    """After each of the files that a build writes, it may be killed."""
    done = build_index.write_columns

    def kill(folder, columns):
        done(folder, columns)
        if folder.name == "instants":
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(build_index, "write_columns", kill)
        child = multiprocessing.get_context("fork").Process(
            target=prepare_index, args=(tree,)
        )
        child.start()
        child.join()
    assert child.exitcode == -signal.SIGKILL
    with pytest.raises(FileNotFoundError):
        open_index(tree)
    ignored = shutil.ignore_patterns("prepared")
    other = shutil.copytree(tree, tmp_path / "other", ignore=ignored)
    again, undisturbed = (
        {
            path.relative_to(index.folder): path.read_bytes()
            for path in index.folder.glob("*/*.npy")
        }
        for index in (prepare_index(tree), prepare_index(other))
    )
    assert again == undisturbed
    assert len(again) > 20


def test_a_full_disk_is_named(tree):
    def build(answer):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        try:
            prepare_index(tree)
        except OSError as error:
            answer.send(str(error))

    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=build, args=(there,))
    child.start()
    child.join()
    assert here.poll(0)
    message = here.recv()
    assert message.startswith(f"{tree}/prepared/index/train/")
    assert "cannot be written" in message
    assert len(prepare_index(tree)) == 30


def test_two_at_once_build_one_index(tree):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        both = pool.map(prepare_index, [tree, tree], chunksize=1)
    assert [len(index) for index in both] == [30, 30]
    assert not list(tree.glob("prepared/index/train/.*"))


def test_a_read_only_data_set_is_indexed_in_the_cache(tree, tmp_path):
    tree.chmod(0o555)
    assert prepare_index(tree).folder.is_relative_to(tmp_path / "cache")
    assert not (tree / "prepared").exists()
    tree.chmod(0o755)


def test_a_read_only_cache_gives_way_to_a_temporary_folder(tree, tmp_path):
    tree.chmod(0o555)
    (tmp_path / "cache").mkdir(mode=0o555)
    folder = prepare_index(tree).folder
    assert not folder.is_relative_to(tmp_path)
    shutil.rmtree(_cache_dir(tree).parent)
    tree.chmod(0o755)

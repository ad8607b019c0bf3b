"""The index: what it says, when it is made anew, what it refuses; the health report."""

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
from trees import columns

from digit.data import index as index_module
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
    frames, instants, cameras, _ = columns()
    write_tree(
        tmp_path / "tree", "train", frames, instants, cameras, hand_model="generic"
    )
    return tmp_path / "tree"


def files(root, split="train"):
    return {
        role: root / f"annotations/{split}/InterHand2.6M_{split}_{role}.json"
        for role in ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
    }


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# ---------------------------------------------------------------- what it says


def test_what_was_written_is_read(tree):
    frames, instants, cameras, true = columns()
    index = open_index(tree)
    assert len(index) == len(frames["image_id"]) and splits_of(tree) == ["train"]
    for name, column in frames.items():
        np.testing.assert_array_equal(index[name], column, err_msg=name)
    for name in ("joints_world_mm", "mano_pose", "mano_shape", "mano_trans"):
        np.testing.assert_allclose(index[name], instants[name][true["of"]], rtol=1e-6)
    for name in ("camrot", "campos_mm", "focal", "princpt"):
        np.testing.assert_array_equal(index[name], cameras[name][true["camera_row"]])
    np.testing.assert_allclose(index["joints_cam_mm"], true["cam"], atol=1e-3)
    np.testing.assert_allclose(index["joints_px"], true["px"], atol=1e-3)
    assert not index["fault"].any() and hand_model_name(tree) == "generic"


def test_a_part_of_an_index_is_that_part(tree):
    index = open_index(tree)
    part = index.take([7, 2, 2]).take(slice(0, 2))
    for name in index.columns():
        np.testing.assert_array_equal(part[name], index[name][[7, 2]], err_msg=name)
    frame = index.frame(7)
    assert frame.key == f"train/{index['file_name'][7]}" and isinstance(
        frame.width, int
    )
    np.testing.assert_array_equal(frame.joints_px, part["joints_px"][0])
    again = pickle.loads(pickle.dumps(part))
    assert again["image_id"].tolist() == part["image_id"].tolist()
    with pytest.raises(KeyError, match=r"'bbox' is no column; there are .*bbox_xywh"):
        index["bbox"]


def test_whole_columns_are_views_of_the_file(tree):
    index = open_index(tree)
    for name in ("bbox_xywh", "joint_valid", "image_id", "rootnet_depth_mm"):
        assert not index[name].flags.owndata and not index[name].flags.writeable


def test_order_spelling_and_ids_of_the_json_do_not_matter(tree):
    true = open_index(tree)

    def shuffle(data):
        data["annotations"].reverse()
        for annotation in data["annotations"][::2]:
            annotation["joint_valid"] = [
                float(valid) for (valid,) in annotation["joint_valid"]
            ]
        data["images"] = data.pop("images")  # now after the annotations
        data["images"].append(data["images"][0] | {"id": 1})  # not annotated
        data["info"] = {"made": [1, 2]}

    edit(files(tree)["data"], shuffle)
    index = open_index(tree)
    for name in (
        "image_id",
        "annot_id",
        "joint_valid",
        "bbox_xywh",
        "hand_type",
        "camera_row",
    ):
        np.testing.assert_array_equal(index[name], true[name])
    assert "image without annotation" in set(check(tree)["finding"])


def test_frames_as_a_table_with_the_truth_beside(tree):
    index = open_index(tree)
    (tree / "truth").mkdir()
    truth = pd.DataFrame(
        {"image_id": index["image_id"][::-1], "hidden": np.arange(len(index))}
    )
    truth.to_parquet(tree / "truth/train.parquet")
    index = open_index(tree)
    assert index["hidden"].tolist() == list(range(len(index)))[::-1]
    assert {"hidden", "camera", "width"} <= set(index.take([0, 1]).to_pandas().columns)
    assert index.to_pandas(["bbox_xywh"])["bbox_xywh"][3].shape == (4,)


def test_masks_count_for_the_labels_they_were_made_from(tree):
    n = len(open_index(tree))
    made = {
        "parts_valid": np.arange(n) % 2 == 0,
        "fit_error_mm": np.ones((n, 2), np.float32),
    }
    folder, labels = prepared_dir(tree) / "index/train", open_index(tree).fingerprint
    write_columns(folder / f"masks-{labels}", made)
    index = open_index(tree)
    assert (
        index["parts_valid"].sum() == (n + 1) // 2 and index["fit_error_mm"].max() == 1
    )
    (folder / f"masks-{labels}").rename(folder / "masks-of-other-labels")
    other = open_index(tree)
    assert not other["parts_valid"].any() and np.isnan(other["fit_error_mm"]).all()
    assert index.take([0, 1])["parts_valid"].tolist() == [
        True,
        False,
    ]  # what was opened stays


def test_subsets_by_name(tree):
    whole, small = open_index(tree), open_index(tree, "smalltrain")
    assert len(small) == len(whole) // 10 and set(small["image_id"]) < set(
        whole["image_id"]
    )
    assert len(open_index(tree, "minitrain")) == len(whole)  # fewer than 1,000 there
    with pytest.raises(ValueError, match="'huge' is no split; take one of train"):
        open_index(tree, "huge")


# ---------------------------------------------------------------- the original's files


def test_the_originals_pickles_serve(tree):
    true = open_index(tree)
    data = json.loads(files(tree)["data"].read_text())
    annotations = {a["image_id"]: a for a in data["annotations"]}
    both = {
        image["id"]: image | {"anno": annotations[image["id"]]}
        for image in data["images"]
    }
    files(tree)["data"].with_suffix(".pkl").write_bytes(pickle.dumps(both))
    files(tree)["data"].unlink()
    errors = {  # the first three frames are of a right hand
        f"train/{name}": {
            "right_fit_err": np.float64(2.5),
            "left_fit_err": None,
            "imsize": (1, 2),
        }
        for name in true["file_name"][:3]
    }
    (tree / "cache").mkdir()
    (tree / "cache/meta_dict_train.pkl").write_bytes(pickle.dumps(errors))
    index = open_index(tree)
    for name in ("image_id", "bbox_xywh", "joint_valid", "hand_type", "joints_px"):
        np.testing.assert_array_equal(index[name], true[name])
    assert index["parts_valid"].tolist() == [True] * 3 + [False] * (len(index) - 3)
    np.testing.assert_array_equal(
        index["fit_error_mm"][2:4], [[2.5, np.nan], [np.nan, np.nan]]
    )


@pytest.mark.parametrize("name", ["all_train", "machine_annot_train"])
def test_rootnet_by_its_published_names(tree, name):
    true, stem = open_index(tree)["rootnet_depth_mm"], "rootnet_interhand2.6m_output"
    folder = tree / "rootnet_output"
    (folder / f"{stem}_train.json").rename(folder / f"{stem}_{name}.json")
    edit(folder / f"{stem}_{name}.json", lambda records: records.pop(4))
    found = open_index(tree)["rootnet_depth_mm"]
    assert np.isnan(found[4]).all()
    np.testing.assert_array_equal(np.delete(found, 4, 0), np.delete(true, 4, 0))


def test_the_real_frames(real_frames, tmp_path):
    """Joints of the real frames lie in their boxes; their folder is read-only and stays so."""
    root = real_frames
    index = open_index(root, "test")
    assert index.folder.is_relative_to(tmp_path) and not (root / "prepared").exists()
    low, extent = np.split(index["bbox_xywh"][:, None], 2, axis=2)
    inside = (
        (index["joints_px"] > low - 1) & (index["joints_px"] < low + extent + 1)
    ).all(2)
    assert inside[index["joint_valid"]].all() and len(index) == 4
    assert check(root, ["test"])["excluded"].sum() == 0


def test_the_reference_in_the_originals_numbers(reference):
    root = reference / "protocol_seed11"
    expected, index = np.load(root / "expected_gt.npz"), open_index(root, "val")
    row_of = {image_id: row for row, image_id in enumerate(index["image_id"])}
    index = index.take([row_of[image_id] for image_id in expected["image_id"]])
    np.testing.assert_allclose(index["joints_cam_mm"], expected["cam_coord"], atol=2e-3)


# ---------------------------------------------------------------- made anew when, and only when


def test_made_anew_only_when_a_source_has_changed(tree, monkeypatch):
    builds = []
    build = index_module._build
    monkeypatch.setattr(
        index_module, "_build", lambda *a: (builds.append(1), build(*a))
    )
    open_index(tree), open_index(tree, "minitrain")
    assert len(builds) == 1
    for path in files(tree).values():  # only touched
        os.utime(path, ns=(1, 1))
    open_index(tree), open_index(tree, build=False)
    assert len(builds) == 1
    edit(
        files(tree)["data"],
        lambda data: data["annotations"][0].update(bbox=[1, 2, 3, 4]),
    )
    with pytest.raises(FileNotFoundError, match="missing or stale; run digit prepare"):
        open_index(tree, build=False)
    assert (
        open_index(tree)["bbox_xywh"][0].tolist() == [1, 2, 3, 4] and len(builds) == 2
    )
    (
        tree / "rootnet_output/rootnet_interhand2.6m_output_train.json"
    ).unlink()  # one gone
    assert np.isnan(open_index(tree)["rootnet_depth_mm"]).all() and len(builds) == 3


@pytest.mark.parametrize(
    "name", ["frames/bbox_xywh.npy", "cameras/focal.npy", "made.json"]
)
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_damaged_index_is_made_anew(tree, name, keep):
    path = open_index(tree).folder / name
    true, data = open_index(tree)["joints_px"], path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    np.testing.assert_array_equal(open_index(tree)["joints_px"], true)


def test_a_build_that_is_killed_leaves_nothing_that_counts(tree, tmp_path, monkeypatch):
    done = write_columns

    def kill(folder, columns):
        done(folder, columns)
        if folder.name == "instants":
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(index_module, "write_columns", kill)
    child = multiprocessing.get_context("fork").Process(target=open_index, args=(tree,))
    child.start(), child.join()
    assert child.exitcode == -signal.SIGKILL
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        open_index(tree, build=False)
    shutil.copytree(tree, tmp_path / "other", ignore=shutil.ignore_patterns("prepared"))
    again, undisturbed = open_index(tree).folder, open_index(tmp_path / "other").folder
    files = [
        {p.relative_to(folder): p.read_bytes() for p in folder.glob("*/*.npy")}
        for folder in (again, undisturbed)
    ]
    assert files[0] == files[1] and len(files[0]) > 20


def test_a_full_disk_is_named(tree):
    def build(said):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        with pytest.raises(OSError, match="cannot be written") as caught:
            open_index(tree)
        said.send(str(caught.value))

    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=build, args=(there,))
    child.start(), child.join()
    assert here.poll(0)
    assert (
        here.recv().startswith(f"{tree}/prepared/index/train/")
        and len(open_index(tree)) == 30
    )


def test_two_at_once_make_one_index(tree):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        both = pool.map(open_index, [tree, tree], chunksize=1)
    assert [len(index) for index in both] == [30, 30]
    assert not list(tree.glob("prepared/index/train/.*"))


def test_a_data_set_that_cannot_be_written(tree, tmp_path):
    tree.chmod(0o555)
    assert open_index(tree).folder.is_relative_to(tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").mkdir(mode=0o555)
    _cache_dir.cache_clear()
    assert not open_index(tree).folder.is_relative_to(
        tmp_path
    )  # but in a temporary folder
    shutil.rmtree(_cache_dir(tree).parent)
    tree.chmod(0o755)
    assert not (tree / "prepared").exists()


# ---------------------------------------------------------------- what it refuses


def lack(role, change):
    return lambda root: edit(files(root)[role], change)


def cut(role):
    return lambda root: files(root)[role].write_bytes(
        files(root)[role].read_bytes()[:-500]
    )


REFUSALS = {
    "no root": (shutil.rmtree, "no such data set folder"),
    "no annotations": (
        lambda root: files(root)["data"].unlink(),
        "data.json: missing; put",
    ),
    "no cameras": (
        lambda root: files(root)["camera"].unlink(),
        "camera.json: missing; put",
    ),
    "data cut": (cut("data"), "data.json: cut in the middle.*fetch"),
    "cameras cut": (cut("camera"), "camera.json: cut in the middle.*fetch"),
    "joints cut": (cut("joint_3d"), "joint_3d.json: cut in the middle.*fetch"),
    "fits cut": (cut("MANO_NeuralAnnot"), "NeuralAnnot.json: cut in the middle.*fetch"),
    "RootNet's cut": (
        lambda root: next(root.glob("rootnet_output/*")).write_text(
            '[{"annot_id": 5000, "bb'
        ),
        "output_train.json: cut in the middle.*fetch",
    ),
    "a frame without its camera": (
        lack("camera", lambda c: [c["1"][key].pop("40001") for key in c["1"]]),
        r"camera.json: capture 1, camera 40001 missing; Capture1/\S+ and 4 other frames need it",
    ),
    "a camera without focal": (
        lack("camera", lambda c: c["0"]["focal"].pop("40000")),
        "camera.json: focal = None",
    ),
    "a frame without joints": (
        lack("joint_3d", lambda j: j["1"].pop("10")),
        "joint_3d.json: capture 1, frame_idx 10",
    ),
    "too few joints": (
        lack("joint_3d", lambda j: j["0"]["10"]["world_coord"].pop()),
        "world_coord = .*mend",
    ),
    "an unknown hand type": (
        lack("data", lambda d: d["annotations"][3].update(hand_type="both")),
        "data.json: hand_type = 'both' of .*none of right, left, interacting; mend or drop",
    ),
    "too few validities": (
        lack("data", lambda d: d["annotations"][3]["joint_valid"].pop()),
        "joint_valid = .*mend",
    ),
    "a missing key": (
        lack("data", lambda d: d["images"][3].pop("camera")),
        "camera = None of .*KeyError",
    ),
    "a record that is none": (
        lack("data", lambda d: d["images"].append(7)),
        "data.json: .*mend or drop",
    ),
    "an empty split": (
        lack("data", lambda d: d.update(images=[], annotations=[])),
        "data.json: an empty split",
    ),
    "a fit of the wrong size": (
        lack("MANO_NeuralAnnot", lambda m: m["0"]["0"]["left"]["pose"].pop()),
        "pose = .*mend",
    ),
    "no dictionary": (
        lambda root: files(root)["joint_3d"].write_text('{"0": 5}'),
        "no record under capture",
    ),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_what_is_wrong_is_named_in_one_line(tree, fault):
    harm, message = REFUSALS[fault]
    harm(tree)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        open_index(tree)
    assert "\n" not in str(caught.value) and str(tree) in str(caught.value)
    left = [path for path in tree.glob("prepared/**/*") if path.is_file()]
    assert all(path.suffix == ".lock" for path in left)  # nothing half-written


def test_a_subset_of_nothing(tmp_path):
    frames, instants, cameras, _ = columns()
    some = {name: column[:3] for name, column in frames.items()}
    write_tree(tmp_path, "val", some, instants, cameras)
    with pytest.raises(
        ValueError, match=r"smallval is an empty split, 0.25 of 3 frames; take val"
    ):
        open_index(tmp_path, "smallval")


# ---------------------------------------------------------------- health


def test_a_healthy_data_set_has_no_findings_that_exclude(tree):
    report = check(tree)
    assert not report["excluded"].any() and len(open_index(tree).usable()) == 30
    assert (
        report["finding"][0]
        == "label version unknown: v1.0 has another number of frames"
    )


def test_every_fault_is_found_and_kept_out(tmp_path):
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
    cameras["campos_mm"][
        4
    ] *= -1  # camera 40001 of capture 1 turns its back: frames 16, 19, …
    cameras["princpt"][5] += 200  # camera 40002 of capture 1: frames 17, 20, …
    for name in ("file_name", "capture", "camera", "frame_idx", "seq_name"):
        frames[name] = [*frames[name][:14], frames[name][13], *frames[name][15:]]
    write_tree(tmp_path, "test", frames, instants, cameras)
    report = check(
        tmp_path, examine=lambda index: np.array(["black"] + [""] * 29, object)
    )
    found = report.set_index("finding")
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
    misfit = found.loc["camera does not fit: most joints project outside the box"]
    assert misfit["frames"] >= 5 and misfit["worst_camera"].startswith("40002")
    index = open_index(tmp_path, "test")
    assert index["fault"].tolist()[6:9] == [1, 1, 1] and index["fault"][15] == 2
    usable, reasons = index.usable(), index.excluded()
    assert usable.rows.tolist() == [4, 5, 12]
    assert reasons[14] == "capture, camera and moment seen twice" and reasons[0] != ""
    assert (prepared_dir(tmp_path) / "exclude/test_check.tsv").read_text().count(
        "\n"
    ) == 26

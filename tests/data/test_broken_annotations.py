"""Broken annotation files: a few broken records are left out and listed, a broken file
is refused with its name, the place, what was expected and what was found."""

import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from trees import N_FRAMES, annotation_paths, edit_json, write_columns_tree

from digit.data.build_index import prepare_index
from digit.data.health import check
from digit.data.index import FAULTS


@pytest.fixture
def tree(tmp_path):
    return write_columns_tree(tmp_path / "tree")


def change(role, edit):
    """A function that edits the JSON file of a role in place."""
    return lambda tree: edit_json(annotation_paths(tree)[role], edit)


def replace(role, text):
    """A function that writes another text into the file of a role."""
    return lambda tree: annotation_paths(tree)[role].write_text(text)


def cut(role):
    """A function that cuts off the end of the file of a role."""

    def work(tree):
        path = annotation_paths(tree)[role]
        path.write_bytes(path.read_bytes()[:-500])

    return work


# ------------------------------------------------------------------ files that are refused


REFUSED = {
    "no folder": (shutil.rmtree, "no such data set folder"),
    "no annotations": (
        lambda tree: annotation_paths(tree)["data"].unlink(),
        "data.json: missing; put",
    ),
    "no cameras": (
        lambda tree: annotation_paths(tree)["camera"].unlink(),
        "camera.json: missing; put",
    ),
    "data cut": (cut("data"), "data.json: cut in the middle.*download"),
    "cameras cut": (cut("camera"), "camera.json: cut in the middle.*download"),
    "joints cut": (cut("joint_3d"), "joint_3d.json: cut in the middle.*download"),
    "fits cut": (
        cut("MANO_NeuralAnnot"),
        "NeuralAnnot.json: cut in the middle.*download",
    ),
    "RootNet's cut": (
        replace("rootnet", '[{"annot_id": 5000, "bb'),
        "output_train.json: cut in the middle.*download",
    ),
    "a camera missing": (
        change("camera", lambda doc: [doc["1"][key].pop("40001") for key in doc["1"]]),
        r"camera.json: capture 1, camera 40001 missing; Capture1/\S+ and 4 other frames",
    ),
    "a camera without focal": (
        change("camera", lambda doc: doc["0"]["focal"].pop("40000")),
        "0/40000/focal: expected 2 numbers, found null",
    ),
    "all focals null": (
        change("camera", lambda doc: doc["0"].update(focal=None)),
        "camera.json: 0/focal: expected an object by camera, found null|camera missing",
    ),
    "an empty split": (
        change("data", lambda doc: doc.update(images=[], annotations=[])),
        "data.json: an empty split",
    ),
    "all hand types unknown": (
        change(
            "data",
            lambda doc: [a.update(hand_type="both") for a in doc["annotations"]],
        ),
        "annotations/0/hand_type: expected one of right, left, interacting, found 'both'",
    ),
    "captures that are numbers": (
        replace("joint_3d", '{"0": 5, "1": 6}'),
        "joint_3d.json: capture 0, frame_idx 0 missing.*0: expected an object, found 5",
    ),
    "no image of any annotation": (
        change(
            "data",
            lambda doc: [a.update(image_id=-1) for a in doc["annotations"]],
        ),
        "no annotation is of any image",
    ),
    "data nested deeply": (
        replace("data", '{"images": ' + "[" * 5000 + "]" * 5000 + "}"),
        "data.json: .*(nested|empty split|expected)",
    ),
}
TOP_LEVELS = ("null", "5", '"text"', "[]", "{}", "[1, 2]", "true", '{"images": null}')


def assert_refused(tree, message=""):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        prepare_index(tree)
    assert "\n" not in str(caught.value)
    assert str(tree) in str(caught.value)
    left = [path for path in tree.glob("prepared/**/*") if path.is_file()]
    assert all(path.suffix == ".lock" for path in left)  # nothing half-written


@pytest.mark.parametrize("fault", REFUSED)
def test_a_broken_file_is_refused_in_one_line(tree, fault):
    harm, message = REFUSED[fault]
    harm(tree)
    assert_refused(tree, message)


@pytest.mark.parametrize("role", ["data", "camera", "joint_3d"])
@pytest.mark.parametrize("text", TOP_LEVELS)
def test_a_document_of_another_shape_is_refused(tree, role, text):
    replace(role, text)(tree)
    assert_refused(tree, f"{role}.json: ")


@pytest.mark.parametrize("text", ["null", "5", '"text"', '{"a": 1}', '[["a"]]'])
def test_rootnet_of_another_shape_is_refused_or_left_out(tree, text):
    replace("rootnet", text)(tree)
    try:
        index = prepare_index(tree)
    except ValueError as error:
        assert "output_train.json: " in str(error)
    else:
        assert np.isnan(index["rootnet_depth_mm"]).all()
        assert index.left_out["broken record"] == 1


@pytest.mark.parametrize("value", [None, [], "text", 7, {"a": None}, {1: {"anno": 2}}])
def test_a_pickle_of_another_shape_is_refused(tree, value):
    path = annotation_paths(tree)["data"]
    path.unlink()
    path.with_suffix(".pkl").write_bytes(pickle.dumps(value))
    assert_refused(tree, r"data\.pkl: ")


@pytest.mark.parametrize("value", [None, [], "text", 7])
def test_a_meta_dict_of_another_shape_is_refused(tree, value):
    (tree / "cache").mkdir()
    (tree / "cache/meta_dict_train.pkl").write_bytes(pickle.dumps(value))
    assert_refused(tree, r"meta_dict_train\.pkl: top level: expected a dictionary")


# ------------------------------------------------------------------ records that are left out


NAMES = (
    "../../../etc/passwd",
    "/etc/passwd",
    "Capture0/../../x.jpg",
    "..\\..\\x.jpg",
    "C:\\x.jpg",
    "Capture0//x.jpg",
    "",
    ".",
    "a\nb.jpg",
    "a\tb.jpg",
    "a\u2028b.jpg",
    "a\0b.jpg",
    "a\ud800b.jpg",
    "é" * 300 + ".jpg",
    7,
    None,
    ["a.jpg"],
)
SIZES = (0, -5, 10**9, 1.5, "wide", None, [334], {"px": 334}, True, 1e400)
LEFT_OUT = {
    "a null box": ("annotations", {"bbox": None}),
    "three numbers of a box": ("annotations", {"bbox": [1, 2, 3]}),
    "a box of text": ("annotations", {"bbox": ["a", "b", "c", "d"]}),
    "a nested box": ("annotations", {"bbox": [[1, 2], [3, 4]]}),
    "a capital hand type": ("annotations", {"hand_type": "Right"}),
    "a hand type that is a list": ("annotations", {"hand_type": ["right"]}),
    "too few validities": ("annotations", {"joint_valid": [1] * 41}),
    "an id that is text": ("annotations", {"image_id": "first"}),
    "an id of many digits": ("annotations", {"id": 10**30}),
    "a camera that is a list": ("images", {"camera": [1]}),
    **{f"name {name!r:.20}": ("images", {"file_name": name}) for name in NAMES},
    **{f"width {size!r}": ("images", {"width": size}) for size in SIZES},
}


@pytest.mark.parametrize("fault", LEFT_OUT)
def test_a_broken_record_is_left_out_and_listed(tree, fault):
    table, values = LEFT_OUT[fault]
    (key,) = values
    change("data", lambda doc: doc[table][3].update(values))(tree)
    index = prepare_index(tree)
    assert len(index) == N_FRAMES - 1
    listed = (index.folder / "left_out.txt").read_text().splitlines()
    assert len(listed) == 1
    assert f"data.json: {table}/3/{key}: expected" in listed[0]
    report = check(tree).set_index("finding")
    assert report.loc["broken record", "frames"] == 1
    assert report.loc["broken record", "example"] == listed[0]


@pytest.mark.parametrize("record", [None, 7, "text", [1], {}])
@pytest.mark.parametrize("table", ["images", "annotations"])
def test_what_is_no_record_is_left_out(tree, table, record):
    change("data", lambda doc: doc[table].__setitem__(3, record))(tree)
    index = prepare_index(tree)
    assert len(index) == N_FRAMES - 1
    assert index.left_out["broken record"] == 1


def test_a_missing_key_is_named(tree):
    change("data", lambda doc: doc["images"][3].pop("camera"))(tree)
    index = prepare_index(tree)
    listed = (index.folder / "left_out.txt").read_text()
    assert "images/3: expected the key 'camera', found only 'id'" in listed


def test_more_than_a_tenth_stops(tree):
    def edit(doc):
        for label in doc["annotations"][:4]:
            label["bbox"] = None

    change("data", edit)(tree)
    assert_refused(tree, r"annotations/0/bbox: .* and 3 more like it, of 30 records")


def test_frames_without_joints_are_left_out(tree):
    change("joint_3d", lambda doc: doc["1"].pop("10"))(tree)
    index = prepare_index(tree)
    assert len(index) == N_FRAMES - 3
    assert index.left_out["frame without its joints"] == 3


@pytest.mark.parametrize("value", [None, 5, "x", [], {"world_coord": [[1, 2, 3]]}])
def test_a_broken_moment_is_left_out(tree, value):
    change("joint_3d", lambda doc: doc["1"].update({"10": value}))(tree)
    index = prepare_index(tree)
    assert len(index) == N_FRAMES - 3
    assert "joint_3d.json: 1/10" in (index.folder / "left_out.txt").read_text()


@pytest.mark.parametrize("value", ["text", [1], 5, {"pose": [1] * 48}, True])
def test_a_broken_fit_counts_as_none(tree, value):
    change("MANO_NeuralAnnot", lambda doc: doc["0"]["0"].update(left=value))(tree)
    index = prepare_index(tree)
    assert len(index) == N_FRAMES
    assert np.isnan(index["mano_trans"][0, 1]).all()
    assert np.isfinite(index["mano_trans"][0, 0]).all()
    assert "NeuralAnnot.json: 0/0/left" in (index.folder / "left_out.txt").read_text()


def test_a_capture_spelled_twice_counts_once(tree):
    true = prepare_index(tree)["joints_world_mm"]
    change("joint_3d", lambda doc: doc.update({"00": {"0": doc["0"]["10"]}}))(tree)
    index = prepare_index(tree)
    np.testing.assert_array_equal(index["joints_world_mm"], true)
    assert index.left_out["broken record"] == 1


@pytest.mark.parametrize("entry", [None, [], "x", {"right_fit_err": "small"}])
def test_a_broken_fit_error_counts_as_none(tree, entry):
    names = prepare_index(tree)["file_name"]
    fine = {"right_fit_err": 1.0, "left_fit_err": None}
    entries = {f"train/{name}": fine for name in names}
    entries[f"train/{names[0]}"] = entry
    (tree / "cache").mkdir()
    (tree / "cache/meta_dict_train.pkl").write_bytes(pickle.dumps(entries))
    index = prepare_index(tree)
    assert np.isnan(index["fit_error_mm"][0]).all()
    assert index["fit_error_mm"][1, 0] == 1


# ------------------------------------------------------------------ cameras


CAMERAS = {
    "focal zero": ("focal", lambda value: [0, value[1]], 5),
    "focal negative": ("focal", lambda value: [-v for v in value], 5),
    "focal null": ("focal", lambda value: [None, value[1]], 2),
    "focal infinite": ("focal", lambda value: [float("inf"), value[1]], 2),
    "rotation scaled": ("camrot", lambda value: (3 * np.array(value)).tolist(), 6),
    "rotation mirrored": ("camrot", lambda value: (-np.array(value)).tolist(), None),
    "rotation flat": ("camrot", lambda value: [[0] * 3] * 3, None),
}


@pytest.mark.parametrize("fault", CAMERAS)
def test_an_impossible_camera_excludes_its_frames(tree, fault):
    key, edit, number = CAMERAS[fault]

    def spoil(doc):
        doc["0"][key]["40000"] = edit(doc["0"][key]["40000"])

    change("camera", spoil)(tree)
    index = prepare_index(tree)
    is_of_camera = (index["capture"] == 0) & (index["camera"] == "40000")
    assert (index["fault"][is_of_camera] > 0).all()
    if number:
        assert set(index["fault"][is_of_camera]) == {number}
    assert not index["fault"][~is_of_camera].any()
    assert len(index.usable()) == N_FRAMES - is_of_camera.sum()


# ------------------------------------------------------------------ names near the right ones


def rename(old, new):
    def work(tree):
        (tree / new).parent.mkdir(parents=True, exist_ok=True)
        (tree / old).rename(tree / new)

    return work


DATA = "annotations/train/InterHand2.6M_train_data.json"
CAMERA = "annotations/train/InterHand2.6M_train_camera.json"
NEAR_MISSES = {
    "in all": rename(DATA, "annotations/all/InterHand2.6M_train_data.json"),
    "30 fps": rename(DATA, "annotations/train/InterHand2.6M_train_data_30fps.json"),
    "camera": rename(CAMERA, "annotations/train/InterHand2.6M_train_camera_30fps.json"),
    "no folder": rename(DATA, "annotations/InterHand2.6M_train_data.json"),
}


@pytest.mark.parametrize("fault", NEAR_MISSES)
def test_a_file_of_a_similar_name_is_hinted_at(tree, fault):
    NEAR_MISSES[fault](tree)
    message = r"missing; there is /.*train.*\.json: did you mean it\?"
    with pytest.raises(FileNotFoundError, match=message):
        prepare_index(tree)


def test_fits_of_a_similar_name_are_hinted_at(tree):
    path = annotation_paths(tree)["MANO_NeuralAnnot"]
    path.rename(path.with_name("InterHand2.6M_train_MANO.json"))
    row = check(tree).set_index("finding").loc["no MANO fits by their name"]
    assert row["example"].endswith("train_MANO.json")
    assert "InterHand2.6M_train_MANO_NeuralAnnot.json" in row["hint"]


@pytest.mark.parametrize("folder", ["train/images/train", "batch1/images/train"])
def test_images_too_deep_are_hinted_at(tree, folder):
    (tree / "images" / folder / "Capture0").mkdir(parents=True)
    row = check(tree).set_index("finding").loc["images in another folder"]
    assert row["severity"] == "error"
    assert row["example"] == str(tree / "images" / folder)


# ------------------------------------------------------------------ a generator's truth


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "instant_row", "bbox_xywh", "a b"]
)
def test_a_truth_column_cannot_be_a_path_or_replace_another(tree, name):
    image_id = prepare_index(tree)["image_id"]
    (tree / "truth").mkdir()
    table = pd.DataFrame({"image_id": image_id, name: np.zeros(len(image_id))})
    table.to_parquet(tree / "truth/train.parquet")
    before = {path for path in tree.rglob("*")}
    with pytest.raises(ValueError, match=r"train\.parquet: a column cannot be called"):
        prepare_index(tree)
    assert {path for path in tree.rglob("*")} == before


@pytest.mark.parametrize("data", [b"", b"PAR1", b"text", json.dumps({}).encode()])
def test_a_broken_truth_file_is_refused(tree, data):
    (tree / "truth").mkdir()
    (tree / "truth/train.parquet").write_bytes(data)
    assert_refused(tree, r"train\.parquet: cannot be read")


def test_truth_without_image_ids_is_refused(tree):
    (tree / "truth").mkdir()
    pd.DataFrame({"a": [1]}).to_parquet(tree / "truth/train.parquet")
    assert_refused(tree, r"train\.parquet: cannot be read")


def test_a_focal_length_beyond_all_measure_is_a_fault(tree):
    """Finite itself, it gives pixels that are not."""
    cameras = annotation_paths(tree)["camera"]

    def make_huge(content):
        next(iter(content["0"]["focal"].values()))[0] = 1e300

    edit_json(cameras, make_huge)
    index = prepare_index(tree)
    assert (index["fault"] == FAULTS.index("its camera is not finite")).sum() == 5
    usable = index.usable()
    assert np.isfinite(usable["joints_px"][usable["joint_valid"]]).all()

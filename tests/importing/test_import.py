"""`digit import`: made miniature data of each kind, with values computed by hand."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from digit.cli import main
from digit.commands.import_data import ORDERS
from digit.conventions import HAND_ORDERS, opencv_from_opengl
from digit.data.build_index import prepare_index
from digit.data.dataset import InterHandDataset
from digit.data.store import image_store, read_image
from digit.importing import tree
from digit.importing.plan import ImportOptions
from digit.importing.tree import import_data
from digit.skeleton import HAND_JOINTS, HAND_TYPES
from digit.training.data import _training_frames
from digit.training.settings import make_settings

OPENPOSE = HAND_ORDERS["openpose"]


def run(*words) -> int:
    return main([str(word) for word in words])


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A smooth picture, BGR."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(40, 220, (8, 8, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def write_image(path: Path, width: int, height: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(width, height, seed))


def flat_hand(left: float, top: float, step: float = 4.0) -> np.ndarray:
    """21 points (px) in OpenPose's order: five columns of a finger each, the wrist below."""
    points = [[left + 2 * step, top + 5 * step]]
    for finger in range(5):
        points += [[left + finger * step, top + (3 - k) * step] for k in range(4)]
    return np.array(points)


def made_hands_mm(n: int = 4) -> np.ndarray:
    """n hands before a camera (mm, OpenPose's order), 500 mm away, 120 mm high."""
    points = flat_hand(-40, -60, 20.0)
    depth_mm = 500 + 5.0 * np.arange(21)
    hand = np.column_stack([points, depth_mm])
    return np.stack([hand + [3 * k, 2 * k, 10 * k] for k in range(n)])


# --- COCO-WholeBody -----------------------------------------------------------------


def person(number: int, image_id: int, right=None, left=None) -> dict:
    """An annotation as COCO-WholeBody has it."""
    record = {
        "id": number,
        "image_id": image_id,
        "bbox": [0, 0, 200, 200],
        "iscrowd": 0,
    }
    for name, hand in (("right", right), ("left", left)):
        points = np.zeros((21, 3))
        if hand is not None:
            points[:, :2], points[:, 2] = hand, 1
        record[f"{name}hand_kpts"] = points.ravel().tolist()
        record[f"{name}hand_valid"] = hand is not None
        record[f"{name}hand_box"] = [0.0, 0, 0, 0]
    return record


@pytest.fixture
def coco(tmp_path) -> Path:
    """Three pictures: one hand; two hands side by side, and one apart; none."""
    folder = tmp_path / "coco"
    images = []
    for number in (1, 2, 3):
        name = f"{number:012d}.jpg"
        write_image(folder / "val2017" / name, 400, 300, number)
        images.append({"id": number, "file_name": name, "width": 400, "height": 300})
    document = {
        "info": {"year": 2020},
        "images": images,
        "annotations": [
            person(11, 1, left=flat_hand(100, 80, 10)),
            person(21, 2, right=flat_hand(20, 40, 8), left=flat_hand(60, 40, 8)),
            person(22, 2, right=flat_hand(200, 200, 8), left=flat_hand(330, 20, 8)),
            person(23, 2, right=flat_hand(300, 200, 2)),
            person(31, 3),
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    path = folder / "annotations/coco_wholebody_val.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document))
    return path


def import_coco(coco: Path, out: Path, *words) -> int:
    images = coco.parents[1] / "val2017"
    return run(
        "import", coco, "--from", "coco", "--images", images, "--out", out, *words
    )


def test_coco_hands_are_cut_out_by_person(coco, tmp_path, capsys):
    assert import_coco(coco, tmp_path / "out", "--split", "val") == 0
    printed = capsys.readouterr().out
    assert "4 frames (4 val; 2 left, 1 interacting, 1 right)" in printed
    assert "left out: 1 × hand too small" in printed
    assert "no depths, by labels.txt" in printed
    index = prepare_index(tmp_path / "out", "val")
    kinds = [HAND_TYPES[kind] for kind in index["hand_type"]]
    assert sorted(kinds) == ["interacting", "left", "left", "right"]
    assert index.label_kind == "flat"
    assert len(index.usable()) == 4


def test_coco_joints_keep_their_pixels(coco, tmp_path):
    """The hand of the first picture: its joints, its cut, its pixels."""
    import_coco(coco, tmp_path / "out", "--split", "val")
    index = prepare_index(tmp_path / "out", "val")
    frame = index.frame(0)
    # The hand spans 40 × 50 px from (100, 80); its box is 5 px wider all around, and
    # half of the box's 60 px are left as room.
    assert (frame.width, frame.height) == (40 + 2 * 5 + 2 * 30, 50 + 2 * 5 + 2 * 30)
    hand = dict(zip(OPENPOSE, flat_hand(100, 80, 10), strict=True))
    expected = np.array([hand[name] for name in HAND_JOINTS]) - (65, 45)
    np.testing.assert_allclose(frame.joints_px[21:], expected, atol=0.02)
    assert frame.joint_valid[21:].all() and not frame.joint_valid[:21].any()
    # By hand: the wrist below the fingers, the thumb's tip at the top left
    np.testing.assert_allclose(frame.joints_px[41], [120 - 65, 130 - 45], atol=0.02)
    np.testing.assert_allclose(frame.joints_px[21], [100 - 65, 80 - 45], atol=0.02)
    image = read_image(image_store(tmp_path / "out"), frame.key)
    whole = cv2.imread(str(coco.parents[1] / "val2017/000000000001.jpg"))[..., ::-1]
    apart = np.abs(image.astype(int) - whole[45:165, 65:175]).mean()
    assert apart < 3


def test_data_without_depths_say_so_to_training_and_protocol(coco, tmp_path):
    out = tmp_path / "out"
    import_coco(coco, out, "--val-share", "0")
    settings = make_settings("quick", {"batch_size": 4, "workers": 0})
    batch = InterHandDataset(prepare_index(out, "train")).batch([0])
    assert batch.depth_weight.tolist() == [1]
    frames = _training_frames(out, settings, 64, label_kind=None)
    batch = frames.batch([0, 1])
    assert batch.depth_weight.tolist() == [0, 0] == batch.root_valid.tolist()
    words = ["evaluate", "--root", out, "--split", "train", "--root-depth", "gt"]
    words += ["--method", "mediapipe", "--json", tmp_path / "result.json"]
    assert run(*words) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert "2D metrics only" in result["protocol"] and result["mpjpe_all"] is None


def test_orders_are_those_of_the_conventions():
    assert tuple(HAND_ORDERS) == ORDERS


def test_coco_faults_are_listed_and_left_out(coco, tmp_path, capsys):
    document = json.loads(coco.read_text())
    document["annotations"] += [
        person(41, 9, right=flat_hand(10, 10, 8)),  # no such image
        {"id": 42, "image_id": 1},  # no hands
    ]
    partly = person(43, 1, right=flat_hand(250, 100, 10))
    partly["righthand_kpts"][2::3] = [1] * 7 + [0] * 14  # seven joints are annotated
    document["annotations"].append(partly)
    document["images"][1]["width"] = 401
    coco.write_text(json.dumps(document))
    assert import_coco(coco, tmp_path / "out", "--split", "val") == 0
    printed = capsys.readouterr().out
    for reason in (
        "its image is not listed",
        "broken record",
        "fewer than 8 joints",
        "not of the annotated size",
    ):
        assert f"1 × {reason}" in printed.replace("its picture is ", "")
    listed = (tmp_path / "out/imported/val_left_out.tsv").read_text()
    assert "annotations/6" in listed and "annotation 41" in listed


@pytest.mark.parametrize("other", ["few joints", "no wrist", "not valid", "box alone"])
def test_unusable_hands_crowd_a_cut_as_well(coco, tmp_path, capsys, other):
    """The picture shows two hands, so it is no frame of one hand."""
    document = json.loads(coco.read_text())
    shown = person(12, 1, right=flat_hand(105, 85, 10))
    visible = shown["righthand_kpts"]
    if other == "few joints":
        visible[2::3] = [1] * 7 + [0] * 14
    elif other == "no wrist":
        visible[2] = 0
    else:
        shown["righthand_valid"] = False
    if other == "box alone":
        visible[:] = [0] * 63
        shown["righthand_box"] = [105, 85, 40, 50]
    document["annotations"].append(shown)
    coco.write_text(json.dumps(document))
    assert import_coco(coco, tmp_path / "out", "--split", "val") == 0
    printed = capsys.readouterr().out
    assert "3 frames (3 val;" in printed
    assert "1 × another hand in the crop" in printed


def test_coco_without_boxes_is_read(coco, tmp_path):
    document = json.loads(coco.read_text())
    for record in document["annotations"]:
        del record["lefthand_box"], record["righthand_box"]
    coco.write_text(json.dumps(document))
    assert import_coco(coco, tmp_path / "out", "--split", "val") == 0
    assert len(prepare_index(tmp_path / "out", "val")) == 4


def test_a_name_that_leads_out_is_not_read(coco, tmp_path):
    document = json.loads(coco.read_text())
    document["images"][0]["file_name"] = "../../secret.jpg"
    write_image(tmp_path / "secret.jpg", 400, 300)
    coco.write_text(json.dumps(document))
    import_coco(coco, tmp_path / "out", "--split", "val")
    listed = (tmp_path / "out/imported/val_left_out.tsv").read_text()
    assert "images/0/file_name" in listed
    assert len(prepare_index(tmp_path / "out", "val")) == 3


def test_coco_without_hands_is_refused(coco, tmp_path, capsys):
    document = json.loads(coco.read_text())
    for record in document["annotations"]:
        for name in [name for name in record if "hand" in name]:
            del record[name]
    coco.write_text(json.dumps(document))
    assert import_coco(coco, tmp_path / "out") == 2
    assert "lefthand_valid" in capsys.readouterr().err.replace("righthand", "lefthand")
    assert not (tmp_path / "out").exists()


# --- FreiHAND -----------------------------------------------------------------------

CAMERA = [[480.0, 0, 112], [0, 470, 110], [0, 0, 1]]


@pytest.fixture
def freihand(tmp_path) -> Path:
    """Ten hands, each in two pictures, and two hands for evaluation."""
    folder = tmp_path / "freihand"
    for name, n, versions in (("training", 10, 2), ("evaluation", 2, 1)):
        hands_m = made_hands_mm(n) / 1000
        for number in range(n * versions):
            write_image(folder / name / f"rgb/{number:08d}.jpg", 224, 224, number)
        (folder / f"{name}_xyz.json").write_text(json.dumps(hands_m.tolist()))
        (folder / f"{name}_K.json").write_text(json.dumps([CAMERA] * n))
    return folder


def test_freihand_is_imported_with_its_splits(freihand, tmp_path, capsys):
    words = ["import", freihand, "--from", "freihand", "--out", tmp_path / "out"]
    assert run(*words) == 0
    printed = capsys.readouterr().out
    assert "22 frames (18 train, 2 val, 2 test; 22 right)" in printed
    index = prepare_index(tmp_path / "out", "train")
    assert index.label_kind == "3d" and len(index.usable()) == 18
    # The first picture and the eleventh show the same hand.
    row = index["image_id"].tolist().index(11)
    for frame in (index.frame(0), index.frame(row)):
        hand = dict(zip(OPENPOSE, made_hands_mm(1)[0], strict=True))
        expected = np.array([hand[name] for name in HAND_JOINTS])
        np.testing.assert_allclose(frame.joints_cam_mm[:21], expected, atol=1e-3)
        # The wrist by hand: (0, 40, 500) mm → 480 · 0 / 500 + 112, 470 · 40 / 500 + 110
        np.testing.assert_allclose(frame.joints_px[20], [112, 147.6], atol=1e-3)
    key = index.keys()[row]
    data = (freihand / "training/rgb/00000010.jpg").read_bytes()
    assert (tmp_path / "out/images" / key).read_bytes() == data
    # No hand of the validation is in training, in whatever version.
    val = prepare_index(tmp_path / "out", "val")
    assert sorted(val["image_id"].tolist()) == [10, 20]


def test_freihand_mistakes_are_named(freihand, tmp_path, capsys):
    words = ["import", freihand, "--from", "freihand", "--out", tmp_path / "out"]
    xyz, cameras = freihand / "training_xyz.json", freihand / "training_K.json"
    good = xyz.read_text()
    for text, message in (
        (json.dumps((1000 * np.array(json.loads(good))).tolist()), "no metres"),
        (
            json.dumps([[[0, 0, 1]] * 20]),
            "training_xyz.json: 0: expected 21 × 3 numbers",
        ),
        (good[:100], "training_xyz.json"),
        ("[]", "an empty list"),
        (json.dumps(json.loads(good)[:-1]), "10 cameras for 9 hands"),
    ):
        xyz.write_text(text)
        assert run(*words) == 2
        assert message in capsys.readouterr().err
    xyz.write_text(good)
    cameras.unlink()
    assert run(*words) == 2
    assert "training_K.json: missing" in capsys.readouterr().err
    assert run("import", tmp_path, *words[2:]) == 2
    assert "give the folder with FreiHAND's" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_pictures_are_listed(freihand, tmp_path, capsys):
    (freihand / "training/rgb/00000003.jpg").unlink()
    (freihand / "training/rgb/00000004.jpg").write_bytes(b"no picture")
    words = ["import", freihand, "--from", "freihand", "--out", tmp_path / "out"]
    assert run(*words) == 0
    printed = capsys.readouterr().out
    assert "20 frames" in printed
    assert "1 × its picture is missing" in printed
    assert "1 × its picture is neither JPEG nor PNG" in printed


# --- Arrays -------------------------------------------------------------------------


def in_order(hands: np.ndarray, order: str) -> np.ndarray:
    """Hands of OpenPose's order in another one, joint by joint by their names."""
    places = [OPENPOSE.index(name) for name in HAND_ORDERS[order]]
    return hands[:, places]


def save_arrays(path: Path, **changes) -> Path:
    """Four pictures with a left hand each."""
    arrays = {
        "image": np.stack([picture(200, 160, k) for k in range(4)]),
        "joints_cam_mm": in_order(made_hands_mm(), "interhand"),
        "side": np.array(["left"] * 4),
        "focal_px": np.array([300.0, 310]),
        "princpt_px": np.array([100.0, 80]),
    }
    arrays = {**arrays, **changes}
    np.savez(path, **{name: one for name, one in arrays.items() if one is not None})
    return path


@pytest.mark.parametrize("order", ["interhand", "openpose", "mano", "mano16"])
def test_arrays_of_each_order_are_one(tmp_path, order):
    hands = in_order(made_hands_mm(), order)
    path = save_arrays(tmp_path / "mine.npz", joints_cam_mm=hands)
    out = tmp_path / "out"
    words = ["import", path, "--from", "arrays", "--order", order, "--out", out]
    assert run(*words, "--split", "train") == 0
    index = prepare_index(out, "train")
    valid = index["joint_valid"][:, 21:]
    tips = np.array([name.endswith("4") for name in HAND_JOINTS])
    assert (valid == ~tips).all() if order == "mano16" else valid.all()
    expected = in_order(made_hands_mm(), "interhand")
    found = index["joints_cam_mm"][:, 21:]
    np.testing.assert_allclose(found[valid], expected[valid], atol=1e-3)
    # By hand: the wrist (0, 40, 500) → 300 · 0 / 500 + 100, 310 · 40 / 500 + 80
    np.testing.assert_allclose(index["joints_px"][0, 41], [100, 104.8], atol=1e-3)
    assert {HAND_TYPES[kind] for kind in index["hand_type"]} == {"left"}


def test_units_and_axes_are_brought_to_ours(tmp_path):
    hands = in_order(made_hands_mm(), "interhand")
    save_arrays(tmp_path / "a.npz")
    metres = opencv_from_opengl(hands) / 1000
    save_arrays(tmp_path / "b.npz", joints_cam_mm=None, joints_cam_m=metres)
    import_data("arrays", tmp_path / "a.npz", tmp_path / "a", progress=False)
    options = ImportOptions(axes="opengl")
    import_data("arrays", tmp_path / "b.npz", tmp_path / "b", options, progress=False)
    one, other = (prepare_index(tmp_path / name, "train") for name in "ab")
    np.testing.assert_allclose(one["joints_cam_mm"], other["joints_cam_mm"], atol=2e-3)


def test_both_hands_and_unknown_joints(tmp_path):
    hand = in_order(made_hands_mm(), "interhand")
    both = np.concatenate([hand - [60, 0, 0], hand + [60, 0, 0]], axis=1)
    both[0, 21:] = np.nan  # no left hand
    both[1, 2] = np.nan  # a joint
    both[2] = np.nan  # nothing
    path = save_arrays(tmp_path / "mine.npz", joints_cam_mm=both, side=None)
    options = ImportOptions(split="train")
    report = import_data("arrays", path, tmp_path / "out", options, progress=False)
    assert report.left_out == {"no joint, or no wrist, is known": 1}
    index = prepare_index(tmp_path / "out", "train")
    kinds = [HAND_TYPES[kind] for kind in index["hand_type"]]
    assert kinds == ["right", "interacting", "interacting"]
    assert index["joint_valid"].sum(1).tolist() == [21, 41, 42]


def test_arrays_of_pixels_have_no_depths(tmp_path, capsys):
    """Nor a camera: one is assumed, and the joints' pixels are kept."""
    hand = np.stack([flat_hand(60, 40, 12 + k) for k in range(4)])
    for number in range(4):
        write_image(tmp_path / f"pictures/{number}.png", 300, 200, number)
    path = save_arrays(
        tmp_path / "mine.npz",
        image=None,
        image_path=np.array([f"pictures/{k}.png" for k in range(4)]),
        joints_cam_mm=None,
        joints_px=hand,
        focal_px=None,
        princpt_px=None,
    )
    words = ["import", path, "--from", "arrays", "--order", "openpose"]
    assert run(*words, "--out", tmp_path / "out", "--val-share", "0.25") == 0
    assert "joints in the image only" in capsys.readouterr().out
    index = prepare_index(tmp_path / "out", "train")
    assert index.label_kind == "flat" and len(index.usable()) == 3
    expected = in_order(hand, "interhand")[:3]
    np.testing.assert_allclose(index["joints_px"][:, 21:], expected, atol=0.02)
    np.testing.assert_allclose(index["focal"], 150 / np.tan(np.radians(30)), rtol=1e-4)
    depths_mm = index["joints_cam_mm"][:, 21:, 2]
    assert (np.ptp(depths_mm, axis=1) == 0).all()


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"joints_cam_mm": None},
            "needs one of joints_cam_mm, joints_cam_m, joints_px",
        ),
        ({"image": None}, "needs one of image, image_path"),
        ({"side": None}, "need side"),
        ({"side": np.array(["up"] * 4)}, "give 'right' or 'left'"),
        ({"focal_px": None}, "needs focal_px"),
        ({"focal_px": np.array([0.0, 1])}, "no camera has"),
        ({"focal_px": np.ones((3, 2))}, "focal_px has 3 rows"),
        ({"image": np.zeros((4, 8, 8), np.uint8)}, "expected (n, h, w, 3) of uint8"),
        ({"joints_cam_mm": np.zeros((4, 20, 3))}, "21 joints a hand"),
        ({"joints_cam_mm": np.zeros((4, 21, 2))}, "joints_cam_mm is (4, 21, 2)"),
        ({"joint_valid": np.ones((4, 42))}, "joint_valid is (4, 42)"),
        ({"split": np.array(["dev"] * 4)}, "give train, val or test"),
        ({"joints_cam_mm": np.zeros((4, 21, 3))}, "no frame can be used (row 0"),
        (
            {"image": None, "image_path": np.array(["../a.jpg"] * 4)},
            "image_path, row 0: expected a path",
        ),
    ],
)
def test_mistakes_in_arrays_are_named(tmp_path, capsys, changes, message):
    path = save_arrays(tmp_path / "mine.npz", **changes)
    assert run("import", path, "--from", "arrays", "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/annotations").exists()


def test_a_file_that_is_none_is_named_and_runs_no_code(tmp_path, capsys):
    path = tmp_path / "mine.npz"
    words = ["import", path, "--from", "arrays", "--out", tmp_path / "out"]
    assert run(*words) == 2
    assert "mine.npz: no such file" in capsys.readouterr().err
    np.save(tmp_path / "mine.npy", np.zeros(3))
    assert run("import", tmp_path / "mine.npy", *words[2:]) == 2
    assert "mine.npy: cannot be read as arrays (a single array)" in (
        capsys.readouterr().err
    )
    path.write_bytes(b"not a zip")
    assert run(*words) == 2
    assert "cannot be read as arrays" in capsys.readouterr().err
    np.savez(path, joints_px=np.array([print], object))
    assert run(*words) == 2
    assert "allow_pickle=False" in capsys.readouterr().err


# --- The folder ---------------------------------------------------------------------


def files_of(folder: Path) -> dict[str, bytes]:
    parts = [*folder.glob("annotations/**/*"), *folder.glob("images/**/*")]
    return {str(path): path.read_bytes() for path in parts if path.is_file()}


def test_nothing_is_overwritten(freihand, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["import", freihand, "--from", "freihand", "--out", out]
    assert run(*words, "--split", "train") == 0
    before = files_of(out)
    for split in ("train", None):
        options = ["--split", split] if split else []
        assert run(*words, *options) == 2
        assert "holds the split train already" in capsys.readouterr().err
    assert files_of(out) == before
    # Another split beside it
    path = save_arrays(tmp_path / "mine.npz")
    words = ["import", path, "--from", "arrays", "--out", out, "--split", "val"]
    assert run(*words) == 0
    assert files_of(out).items() >= before.items()
    # A folder of something else
    assert run("import", path, "--from", "arrays", "--out", freihand) == 2
    assert "exists already" in capsys.readouterr().err


def test_labels_of_two_kinds_are_not_mixed(freihand, coco, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("import", freihand, "--from", "freihand", "--out", out) == 0
    (out / "annotations/val").rename(out / "annotations/gone")
    assert import_coco(coco, out, "--split", "val") == 2
    assert "the labels there are 3d, the new ones flat" in capsys.readouterr().err


def test_an_interrupted_import_goes_on(freihand, tmp_path, monkeypatch, capsys):
    class Stop:
        count = 0

        def __call__(self, item, dataset_dir):
            Stop.count += 1
            if Stop.count == 6:
                raise KeyboardInterrupt
            return copy_one(item, dataset_dir)

    copy_one = tree._copy_one
    out = tmp_path / "out"
    words = ["import", freihand, "--from", "freihand", "--out", out]
    with monkeypatch.context() as patched:
        patched.setattr(tree, "_copy_one", Stop())
        assert run(*words) == 130
    assert "after 5 frames; the same command goes on" in capsys.readouterr().err
    first = next(out.glob("images/train/**/image1.jpg"))
    stamp = first.stat().st_mtime_ns
    assert run(*words, "--val-share", "0.2") == 2
    assert "val_share was 0.1" in capsys.readouterr().err.replace(
        "--val-share", "val_share"
    )
    assert run(*words) == 0
    assert first.stat().st_mtime_ns == stamp
    run("import", freihand, "--from", "freihand", "--out", tmp_path / "whole")
    names = [
        str(path).replace("/whole/", "/out/") for path in files_of(tmp_path / "whole")
    ]
    assert set(names) == set(files_of(out))


@pytest.mark.parametrize("kind", ["arrays", "freihand"])
def test_a_changed_source_is_no_continuation(
    freihand, tmp_path, monkeypatch, capsys, kind
):
    """Pictures of the former source would get labels of the new one."""
    source = save_arrays(tmp_path / "mine.npz") if kind == "arrays" else freihand
    out = tmp_path / "out"
    words = ["import", source, "--from", kind, "--out", out]
    with monkeypatch.context() as patched:
        patched.setattr(tree, "_write_left_out", interrupt)
        assert run(*words) == 130
    before = files_of(out)
    assert before
    if kind == "arrays":
        save_arrays(source, side=np.array(["right"] * 4))
    else:
        hands_m = made_hands_mm(10)[::-1] / 1000
        (source / "training_xyz.json").write_text(json.dumps(hands_m.tolist()))
    capsys.readouterr()
    assert run(*words) == 2
    message = capsys.readouterr().err
    assert "has changed since its import was begun" in message
    assert "give another folder" in message
    assert files_of(out) == before


def interrupt(*_) -> None:
    raise KeyboardInterrupt


def test_wrong_data_give_a_status_of_doctor(tmp_path, capsys):
    """Metres called millimetres: bones that no hand has, and so no frame to train on."""
    hands = in_order(made_hands_mm(), "interhand") / 1000
    path = save_arrays(tmp_path / "mine.npz", joints_cam_mm=hands)
    run("import", path, "--from", "arrays", "--out", tmp_path / "out")
    printed = capsys.readouterr().out
    assert "bone length beyond human" in printed

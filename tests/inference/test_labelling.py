"""`digit label`: photographs with the landmark model's joints as a data set."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from digit.cli import main
from digit.data.build_index import prepare_index
from digit.data.health import check
from digit.data.index import open_index
from digit.data.layout import label_kind
from digit.data.photo_tree import Cut, cut_around
from digit.doctor.data import findings_of
from digit.doctor.findings import is_serious
from digit.inference import label_dataset
from digit.inference.detection import FoundHand, HandDetector
from digit.inference.label_dataset import (
    JOURNAL,
    NOT_LABELLED,
    PhotoOptions,
    label_photos,
    read_journal,
    splits_of_photos,
)
from digit.inference.labelling import (
    CROWDED,
    CUT_OFF,
    NO_HAND,
    NO_PLACE,
    SAME_SIDE,
    TOO_SMALL,
    UNSURE,
    LabelledCrop,
    LabelOptions,
    label_hands,
    place_hand,
)
from digit.inference.photo import read_photo
from digit.inference.placement import lens_of, palm_length_mm
from digit.inference.sources import Source
from digit.paths import DETECTOR_DIR
from digit.skeleton import SIDES

FILES = ("data", "camera", "joint_3d")
LENS = lens_of(640, 480)
SIZE = (640, 480)


@pytest.fixture(scope="module")
def photos(tiny_root, tmp_path_factory) -> Path:
    """Two folders of made pictures, in about a third of which hands are found."""
    folder = tmp_path_factory.mktemp("photos")
    files = sorted((tiny_root / "images/train").rglob("*.jpg"))[:24]
    for k, path in enumerate(files):
        place = folder / ("kitchen" if k % 2 else "desk") / f"photo{k}.jpg"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(path, place)
    return folder


@pytest.fixture(scope="module")
def options() -> PhotoOptions:
    return PhotoOptions(min_score=0.5, val_share=0.25)


@pytest.fixture(scope="module")
def labelled(photos, options, tmp_path_factory) -> Path:
    """The photographs, labelled in one go."""
    dataset_dir = tmp_path_factory.mktemp("labelled") / "mine"
    label_photos([photos], dataset_dir, options, progress=False)
    return dataset_dir


def made_hand(rng, distance_mm: float = 500.0) -> np.ndarray:
    """A stretched hand (mm) before the camera, with a palm of 90 mm."""
    hand = np.zeros((21, 3))
    for finger in range(5):
        for k in range(4):  # from the tip to the base
            length = 90 + 22 * (3 - k)
            angle = np.radians(20 * (finger - 2))
            hand[4 * finger + k] = [length * np.sin(angle), -length * np.cos(angle), 0]
    hand += rng.normal(0, 2, (21, 3))
    hand *= 90 / np.linalg.norm(hand[11] - hand[20])
    turn, _ = cv2.Rodrigues(rng.normal(0, 0.3, 3))
    return hand @ turn.T + [20, 30, distance_mm]


def found_hand(joints_mm: np.ndarray, side: str = "right", **changes) -> FoundHand:
    """A hand as the landmark model would find it: its shape known up to size and place."""
    values = {
        "side": side,
        "side_probability": 0.95,
        "presence": 0.95,
        "joints_px": joints_mm[:, :2] / joints_mm[:, 2:] * LENS.focal_px
        + LENS.princpt_px,
        "depth_px": np.zeros(21),
        "joints_metric_mm": 0.8 * (joints_mm - joints_mm.mean(0)),
    }
    return FoundHand(**{**values, **changes})


def labels_of(*hands: FoundHand, **options) -> list:
    return list(label_hands(hands, SIZE, LENS, LabelOptions(**options)))


def documents(dataset_dir: Path, split: str) -> dict[str, bytes]:
    """The annotation files of a split."""
    stem = dataset_dir / f"annotations/{split}/InterHand2.6M_{split}"
    return {name: Path(f"{stem}_{name}.json").read_bytes() for name in FILES}


# --- One hand -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_hand_is_placed_where_it_was(seed):
    joints_mm = made_hand(np.random.default_rng(seed))
    hand = found_hand(joints_mm)
    placement = place_hand(hand.joints_px, hand.joints_metric_mm, LENS)
    assert placement.residual < 1e-4
    np.testing.assert_allclose(placement.joints_cam_mm, joints_mm, atol=0.05)


def test_a_longer_hand_is_farther_away():
    hand = found_hand(made_hand(np.random.default_rng(0)))
    near = place_hand(hand.joints_px, hand.joints_metric_mm, LENS, hand_length_mm=150)
    far = place_hand(hand.joints_px, hand.joints_metric_mm, LENS, hand_length_mm=200)
    assert palm_length_mm(near.joints_cam_mm) == pytest.approx(75)
    np.testing.assert_allclose(far.joints_cam_mm, near.joints_cam_mm * 4 / 3, rtol=1e-6)


def test_a_labelled_hand_keeps_its_pixels():
    hand = found_hand(made_hand(np.random.default_rng(1)), side="left")
    [label] = labels_of(hand, longest_px=100)
    joints_mm = label.joints_cam_mm[21:]
    pixels = joints_mm[:, :2] / joints_mm[:, 2:] * label.focal_px + label.princpt_px
    np.testing.assert_allclose(
        label.cut.photo_points(pixels), hand.joints_px, atol=1e-6
    )
    assert max(label.cut.size) == 100
    assert label.joint_valid.tolist() == [False] * 21 + [True] * 21


def test_touching_hands_share_a_crop():
    rng = np.random.default_rng(2)
    hands = [
        found_hand(made_hand(rng) + [x, 0, 0], side)
        for x, side in ((-90, "right"), (70, "left"))
    ]
    [label] = labels_of(*hands)
    assert label.joint_valid.all()
    far = found_hand(made_hand(rng) + [-400, 0, 500], "left")
    assert all(isinstance(one, LabelledCrop) for one in labels_of(hands[1], far))


def test_what_cannot_be_a_label_is_dropped_with_a_reason():
    rng = np.random.default_rng(3)
    joints_mm = made_hand(rng)
    good = found_hand(joints_mm)
    assert labels_of() == [NO_HAND]
    assert labels_of(found_hand(joints_mm, presence=0.7)) == [UNSURE]
    assert labels_of(found_hand(joints_mm, side_probability=0.7)) == [UNSURE]
    assert labels_of(found_hand(joints_mm * [1, 1, 20])) == [TOO_SMALL]
    assert labels_of(found_hand(joints_mm + [-400, 0, 0])) == [CUT_OFF]
    assert labels_of(good, found_hand(joints_mm + [90, 0, 0])) == [SAME_SIDE]
    wrong = found_hand(joints_mm, joints_metric_mm=rng.normal(0, 40, (21, 3)))
    assert labels_of(wrong) == [NO_PLACE]


def test_a_third_hand_in_the_crop_drops_it():
    rng = np.random.default_rng(4)
    joints_mm = made_hand(rng)
    hands = [
        found_hand(joints_mm + [x, 0, 0], side)
        for x, side in ((-60, "right"), (60, "left"), (0, "right"))
    ]
    assert CROWDED in labels_of(*hands)


def test_joints_outside_the_picture_are_not_valid():
    joints_mm = made_hand(np.random.default_rng(5))
    hand = found_hand(joints_mm)
    lift = hand.joints_px[:, 1].min() + 5
    hand = found_hand(joints_mm, joints_px=hand.joints_px - [0, lift])
    [label] = labels_of(hand)
    np.testing.assert_array_equal(label.joint_valid[:21], hand.joints_px[:, 1] >= 0)
    assert not label.joint_valid[:21].all()


# --- Cuts ---------------------------------------------------------------------------


def test_a_cut_has_half_a_box_of_room_within_the_picture():
    cut = cut_around(np.array([100.0, 10, 40, 80]), 640, 480, longest_px=512)
    assert (cut.left, cut.top, cut.width, cut.height) == (60, 0, 120, 130)
    assert cut.scale == 1


def test_pixel_centres_stay_at_integers():
    cut = Cut(left=10, top=20, width=100, height=50, scale=0.5)
    assert cut.size == (50, 25)
    # The first two pixels of the photograph make the first one of the cut.
    np.testing.assert_allclose(cut.points(np.array([[10.5, 20.5]])), [[0, 0]])
    photo = np.zeros((100, 200, 3), np.uint8)
    photo[40:42, 30:32] = 255
    row, column = np.unravel_index(cut.pixels(photo)[..., 0].argmax(), (25, 50))
    np.testing.assert_allclose(cut.points(np.array([[30.5, 40.5]])), [[column, row]])


# --- A data set ---------------------------------------------------------------------


def test_the_labels_are_the_detectors_joints(labelled, photos):
    """In pixels of the photograph, by way of the annotation files."""
    detector = HandDetector(DETECTOR_DIR)
    by_id = {}
    assert main(["prepare", "--root", str(labelled)]) == 0
    for split in ("train", "val"):
        index = open_index(labelled, split)
        assert index.label_kind == "2d" == label_kind(labelled)
        for row, image_id in enumerate(index["image_id"].tolist()):
            by_id[image_id] = index.frame(row)
    apart = []
    for entry in read_journal(labelled):
        image, _ = read_photo(entry.place[0])
        hands = detector.find(image)
        for frame, cut in zip(entry.frames, entry.cuts, strict=True):
            stored = by_id[frame.image_id]
            assert (stored.width, stored.height) == cut.size
            for side in np.flatnonzero(stored.joint_valid.reshape(2, 21).any(1)):
                joints_px = stored.joints_px.reshape(2, 21, 2)[side].astype(float)
                joints_px = cut.photo_points(joints_px)
                same_side = [hand for hand in hands if hand.side == SIDES[side]]
                apart.append(
                    min(abs(hand.joints_px - joints_px).max() for hand in same_side)
                )
    assert len(apart) >= 5
    assert max(apart) < 0.05


def test_labels_are_healthy(labelled):
    report = check(labelled, examine_pixels=True)
    assert set(report["severity"]) == {"note"} and not is_serious(findings_of(report))


def test_what_has_no_label_is_listed(labelled, photos):
    entries = read_journal(labelled)
    assert len(entries) == 24
    listed = (labelled / NOT_LABELLED).read_text().splitlines()[1:]
    without = {entry.place[0] for entry in entries if not entry.frames}
    assert without and without <= {line.split("\t")[0] for line in listed}
    assert sum(len(entry.dropped) for entry in entries) == len(listed)


def test_each_folder_is_a_capture(labelled):
    index = prepare_index(labelled, "train")
    names = dict(zip(index["seq_name"], index["capture"].tolist(), strict=True))
    assert names == {"desk": 0, "kitchen": 1}


def test_a_share_of_each_folder_is_for_validation():
    sources = [
        Source(Path(f"/{folder}/{k}.jpg"), is_video=False)
        for folder in ("a", "b", "c")
        for k in range(10)
    ]
    splits = splits_of_photos(sources, 0.25)
    counts = [
        sum(splits[Path(f"/{folder}/{k}.jpg")] == "val" for k in range(10))
        for folder in ("a", "b", "c")
    ]
    assert counts == [2, 3, 3]
    assert splits == splits_of_photos(sources, 0.25)
    assert set(splits_of_photos(sources, 1.0).values()) == {"val"}


def test_an_interrupted_labelling_goes_on(
    labelled, photos, options, tmp_path, monkeypatch
):
    class Tired(HandDetector):
        seen = 0

        def find(self, image, second_look=True):
            Tired.seen += 1
            if Tired.seen == 15:
                raise KeyboardInterrupt
            return super().find(image, second_look)

    out = tmp_path / "mine"
    with monkeypatch.context() as patched:
        patched.setattr(label_dataset, "HandDetector", Tired)
        with pytest.raises(KeyboardInterrupt, match="after 14 pictures"):
            label_photos([photos], out, options, progress=False)
    assert main(["doctor", "--root", str(out)]) == 0
    # The line that a killed process left half written is done again.
    journal = out / JOURNAL
    journal.write_bytes(journal.read_bytes() + b'{"place": ["/so')
    report = label_photos([photos], out, options, progress=False)
    assert report.pictures == 24
    for split in ("train", "val"):
        assert documents(out, split) == documents(labelled, split)
    # Once more: nothing is left to do.
    assert label_photos([photos], out, options, progress=False).pictures == 24
    assert documents(out, "train") == documents(labelled, "train")


def test_other_settings_and_other_folders_are_refused(
    labelled, photos, tmp_path, capsys
):
    words = ["label", str(photos), "--out"]
    assert main([*words, str(labelled), "--min-score", "0.9"]) == 2
    assert "min_score was 0.5" in capsys.readouterr().err.replace(
        "--min-score", "min_score"
    )
    (tmp_path / "notes.txt").write_text("mine")
    assert main([*words, str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert main([*words, str(tmp_path / "new"), "--val-share", "2"]) == 2
    assert "--val-share 2: give a number in 0 … 1" in capsys.readouterr().err
    assert main(["label", str(tmp_path / "none"), "--out", str(tmp_path / "new")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_unreadable_photographs_do_not_end_the_work(photos, tmp_path, capsys):
    shutil.copytree(photos / "desk", tmp_path / "desk")
    (tmp_path / "desk/broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    words = ["label", tmp_path / "desk", "--out", out, "--min-score", "0.5"]
    assert main([str(word) for word in words]) == 0
    found = capsys.readouterr()
    assert "broken.jpg: cannot be decoded" in found.err
    assert "12 pictures" in found.out
    assert "broken.jpg" in (out / NOT_LABELLED).read_text()


def test_the_focal_length_is_the_photographs(labelled, photos, tmp_path):
    """By EXIF where it tells it, else by the assumed field of view."""
    entry = next(entry for entry in read_journal(labelled) if entry.frames)
    frame, cut = entry.frames[0], entry.cuts[0]
    with Image.open(entry.place[0]) as photo:
        longer = max(photo.size)
        expected = longer / 2 / np.tan(np.radians(30)) * cut.scales
        np.testing.assert_allclose(frame.focal_px, expected, atol=1e-3)
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0xA405] = 50  # FocalLengthIn35mmFilm
        photo.save(tmp_path / "photo.jpg", exif=exif, quality=97)
        diagonal = np.hypot(*photo.size)
    options = PhotoOptions(min_score=0.5)
    label_photos([tmp_path / "photo.jpg"], tmp_path / "out", options, progress=False)
    [entry] = read_journal(tmp_path / "out")
    expected = 50 / 43.27 * diagonal * entry.cuts[0].scales
    np.testing.assert_allclose(entry.frames[0].focal_px, expected, atol=1e-3)


def test_the_end_of_a_video_is_for_validation(labelled, tmp_path):
    shown = next(entry for entry in read_journal(labelled) if entry.frames)
    image, _ = read_photo(shown.place[0])
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    with av.open(str(tmp_path / "wave.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(10))
        stream.height, stream.width = image.shape[:2]
        stream.bit_rate = 8_000_000
        for _ in range(20):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image))
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    options = PhotoOptions(min_score=0.5, val_share=0.25, every_nth=5)
    label_photos([tmp_path / "wave.mp4"], tmp_path / "out", options, progress=False)
    entries = read_journal(tmp_path / "out")
    assert [entry.place[1] for entry in entries] == [0, 5, 10, 15]
    splits = [frame.split for entry in entries for frame in entry.frames]
    assert splits == ["train", "train", "train", "val"]
    again = label_photos([tmp_path / "wave.mp4"], tmp_path / "out", options)
    assert again.pictures == 4


def test_labels_train_beside_another_data_set(
    labelled, tiny_root, tmp_path, monkeypatch
):
    """With `--also ROOT:SHARE` alone: the folder says itself that depths are doubtful."""
    from digit.training import runs
    from digit.training.loop import train_run
    from digit.training.settings import make_settings

    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path / "runs"))
    overrides = {"steps": 2, "batch_size": 8, "workers": 0, "also": f"{labelled}:0.25"}
    run = runs.create_run(tiny_root, "quick", make_settings("quick", overrides), "also")
    train_run(run)
    assert json.loads((run / "result.json").read_text())["step"] == 2
    assert torch.load(run / "checkpoints/best.ckpt", weights_only=False)


def test_crops_among_the_photographs_are_not_labelled_again(photos, options, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    out = tmp_path / "photos/labels"
    first = label_photos([tmp_path / "photos"], out, options, progress=False)
    again = label_photos([tmp_path / "photos"], out, options, progress=False)
    assert first.pictures == again.pictures == 24

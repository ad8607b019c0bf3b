"""The photo editor without a page: photos, boxes, cameras, errors shown in place."""

import base64
import io
import json

import cv2
import numpy as np
import pytest
import torch
from grey_videos import grey_of, write_video
from PIL import Image

from digit import geometry
from digit.data.build_index import prepare_index
from digit.inference.photo import read_photo
from digit.inference.placement import BONES_PER_LENGTH
from digit.inference.predict import Estimate, place_hands, predict
from digit.model.checkpoints import load_network
from digit.model.network import NETWORKS, Digit
from digit.paths import SHIPPED_WEIGHTS
from digit.skeleton import BONES, WRISTS
from digit.widgets import photo_editor
from digit.widgets.photo_editor import PhotoEditor


@pytest.fixture(scope="module")
def network() -> Digit:
    torch.manual_seed(0)
    return Digit(**NETWORKS["quick"]).eval()


@pytest.fixture(scope="module")
def index(tiny_root):
    return prepare_index(tiny_root, "test")


@pytest.fixture
def editor(network, index) -> PhotoEditor:
    return PhotoEditor(network, index)


@pytest.fixture
def photo() -> bytes:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return encoded(cv2.resize(pixels, (600, 400)))


def encoded(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


# Placing hands


def perfect_estimate(frame) -> Estimate:
    """What a perfect network would predict for a frame of two hands."""
    joints_mm = frame.joints_cam_mm.astype(float)
    wrists_mm = joints_mm[[WRISTS[0]] * 21 + [WRISTS[1]] * 21, 2]
    relative_mm = torch.from_numpy(joints_mm[:, 2] - wrists_mm)
    joints_25d = np.zeros((42, 3))
    joints_25d[:, 2] = geometry.depth_to_cells(relative_mm).numpy()
    return Estimate(
        hand_type=np.ones(2),
        joints_px=frame.joints_px.astype(float),
        joints_25d=joints_25d,
        joints_cam_mm=None,
        relative_root_depth_mm=float(joints_mm[41, 2] - joints_mm[20, 2]),
        crop=np.zeros((8, 8, 3), np.uint8),
        parts=np.zeros((8, 8), np.uint8),
    )


@pytest.fixture
def two_hands(index):
    """A frame of two hands, and the length of a hand that belongs to its bones."""
    frame = index.frame(int(np.flatnonzero(index["hand_type"] == 2)[0]))
    bones_mm = frame.joints_cam_mm[BONES[:, 0]] - frame.joints_cam_mm[BONES[:, 1]]
    total_mm = np.linalg.norm(bones_mm, axis=1).sum() / 2
    return frame, float(total_mm / BONES_PER_LENGTH)


def test_focal_length_and_hand_length_give_the_distance(two_hands):
    frame, hand_mm = two_hands
    estimate = perfect_estimate(frame)
    focal = frame.focal.tolist()
    placed_mm = place_hands(estimate, focal, frame.princpt.tolist(), hand_mm)
    assert np.abs(placed_mm - frame.joints_cam_mm).max() < 2


def test_twice_the_focal_length_is_twice_the_distance_and_the_same_picture(two_hands):
    frame, hand_mm = two_hands
    estimate = perfect_estimate(frame)
    focal, princpt = frame.focal, frame.princpt
    near_mm = place_hands(estimate, focal.tolist(), princpt.tolist(), hand_mm)
    far_mm = place_hands(estimate, (2 * focal).tolist(), princpt.tolist(), hand_mm)
    assert far_mm[20, 2] == pytest.approx(2 * near_mm[20, 2], rel=0.1)
    projected_px = geometry.project(
        torch.from_numpy(far_mm),
        torch.from_numpy(2 * focal),
        torch.from_numpy(princpt),
    )
    assert np.abs(projected_px.numpy() - frame.joints_px).max() < 0.01


# The widget


def test_the_widget_shows_what_predict_returns(editor, network, index):
    frame = index.frame(0)
    image, _ = read_photo(index.dataset_dir / "images" / frame.key)
    expected = predict(network, image, frame.bbox_xywh.tolist())
    assert np.abs(editor.estimate.joints_px - expected.joints_px).max() < 1e-6


def test_the_widget_comes_with_a_static_picture(editor, published):
    editor._repr_mimebundle_()
    assert base64.b64decode(published[0]["image/jpeg"])[:2] == b"\xff\xd8"
    assert "digit-static" in published[0]["text/html"]
    editor.move([5000.0, 0.0, 10.0, 10.0])
    editor._repr_mimebundle_()
    assert len(published) == 1


def test_a_moved_box_is_predicted_and_answered(editor):
    before_px = editor.estimate.joints_px
    parts = editor.parts.picture
    editor.canvas.box = [10.0, 20.0, 150.0, 150.0]
    editor.canvas.asked = 1  # as the page does
    assert editor.canvas.answered == 1
    assert editor.box.value == "10.0, 20.0, 150.0, 150.0"
    assert np.abs(editor.estimate.joints_px - before_px).max() > 1
    assert editor.parts.picture != parts


def test_the_camera_is_annotated_or_assumed_or_typed(editor, photo):
    assert "annotated" in editor.about.value
    focal_px = float(editor.camera.value.split(",")[0])
    half_width_px = editor.image.shape[1] / 2
    expected_deg = 2 * np.degrees(np.arctan(half_width_px / focal_px))
    assert editor.angle.value == pytest.approx(expected_deg, abs=0.6)

    editor.take(photo)
    assert "assumed from a field of view of 60°" in editor.about.value
    editor.camera.value = "900 900 300 200"
    assert "as typed" in editor.about.value
    assert editor.angle.value == 37  # 2 atan(300 / 900)


def test_a_narrower_field_of_view_is_farther_away(index, photo):
    editor = PhotoEditor(load_network(SHIPPED_WEIGHTS), index)
    editor.take(photo)
    editor.hands.value = "both hands"
    near_mm = editor.joints_cam_mm
    editor.angle.value = 30
    assert "30°" in editor.about.value
    assert editor.joints_cam_mm[:, 2].mean() > 1.5 * near_mm[:, 2].mean()


@pytest.mark.parametrize("text", ["0, 0, 300, 200", "-900 900 300 200"])
def test_a_focal_length_that_is_not_positive_is_refused_by_name(editor, text):
    editor.camera.value = text
    assert "focal, centre (px): the focal length" in editor.note.value
    assert "must be positive" in editor.note.value
    assert "nan" not in editor.about.value
    assert editor.joints_cam_mm is None
    assert editor.space.stale


@pytest.mark.parametrize("text", ["long", "1 2 3", "nan 900 300 200", "1e999 9 9 9"])
def test_a_camera_that_is_not_four_numbers_is_refused_by_name(editor, text):
    editor.camera.value = text
    assert "focal, centre (px)" in editor.note.value
    assert "give four numbers" in editor.note.value
    editor.camera.value = "900 900 300 200"
    assert editor.note.value == ""
    assert not editor.space.stale


NO_PHOTOS = {
    "no picture": b"hello",
    "empty": b"",
    "cut short": encoded(np.full((400, 600, 3), 128, np.uint8))[:200],
}


@pytest.mark.parametrize("case", NO_PHOTOS)
def test_what_is_no_photo_is_refused_and_the_last_one_stays(editor, case):
    picture = editor.canvas.picture
    estimate = editor.estimate
    editor.take(NO_PHOTOS[case])
    assert "cannot be decoded" in editor.note.value
    assert "Traceback" not in editor.note.value
    assert editor.canvas.picture == picture
    assert editor.estimate is estimate
    editor.example.value = 1
    assert "cannot be decoded" not in editor.note.value


def test_an_invalid_box_is_named_and_greys_out_the_last_prediction(editor):
    for box, message in {
        (5000.0, 0.0, 10.0, 10.0): "lies outside the",
        (10.0, 10.0, 0.0, 10.0): "width and height must be positive",
    }.items():
        editor.move(box)
        assert "box x, y, w, h (px)" in editor.note.value
        assert message in editor.note.value
        assert "--bbox" not in editor.note.value
        assert editor.estimate is None
        assert editor.joints_cam_mm is None
        assert editor.canvas.strokes == []
        assert editor.parts.stale
        assert editor.space.stale
    editor.move([40.0, 40.0, 200.0, 200.0])
    assert not editor.parts.stale
    assert not editor.space.stale


def test_a_typed_box_that_is_not_four_numbers_is_refused_by_name(editor):
    editor.box.value = "1, 2, three, 4"
    assert "box x, y, w, h (px)" in editor.note.value
    assert "give four numbers" in editor.note.value


def test_a_box_that_is_odd_is_predicted_with_a_warning(editor):
    editor.move([-20.0, 40.0, 200.0, 200.0])
    assert "beyond the picture" in editor.note.value
    assert editor.estimate is not None
    editor.move([40.0, 40.0, 12.0, 12.0])
    assert "too few" in editor.note.value
    assert editor.estimate is not None


def test_a_missing_file_is_named(editor, tmp_path):
    editor.source.path.value = str(tmp_path / "nowhere.jpg")
    assert "nowhere.jpg: no such file or folder" in editor.note.value


def test_the_first_box_of_a_photo_is_marked_as_a_guess(editor, photo):
    assert "first guess" not in editor.about.value
    editor.take(photo)
    assert "first guess" in editor.about.value
    editor.move([40.0, 40.0, 200.0, 200.0])
    assert "first guess" not in editor.about.value


def test_the_hands_shown_can_be_chosen(editor):
    for choice, has_right, has_left in (
        ("one left hand", False, True),
        ("one right hand", True, False),
        ("both hands", True, True),
    ):
        editor.hands.value = choice
        right_mm, left_mm = editor.joints_cam_mm.reshape(2, 21, 3)
        assert np.isfinite(right_mm).all() == has_right
        assert np.isfinite(left_mm).all() == has_left
        assert ("the left wrist" in editor.about.value) == has_left


def test_the_probabilities_stand_in_figure_and_line(editor):
    right, left = editor.estimate.hand_type
    expected = f"right {right:.0%}, left {left:.0%}"
    assert expected in editor.parts_caption.value
    assert expected in editor.about.value


@pytest.mark.parametrize("shape", [(1, 1), (1, 40_000), (5773, 8660)])
def test_tiny_long_and_huge_photos_are_predicted(editor, shape):
    editor.take(encoded(np.full((*shape, 3), 128, np.uint8), compress_level=1))
    assert editor.estimate is not None
    assert editor.canvas.size == [shape[1], shape[0]]
    assert len(editor.canvas.picture) < 1e6


def test_an_upload_comes_in_pieces(editor, photo):
    size = len(photo)
    cuts = [0, size // 3, size // 2, size]
    for i in range(3):
        piece = memoryview(photo[cuts[i] : cuts[i + 1]])
        about = {"name": "a.png", "size": size, "i": i, "count": 3}
        editor._receive(about, [piece])
    assert editor.canvas.size == [600, 400]


def test_an_upload_that_is_too_large_is_refused(editor):
    about = {"name": "b.png", "size": 10**9, "i": 0, "count": 1}
    with pytest.raises(ValueError, match=r"b\.png: over 200 MB"):
        editor._receive(about, [memoryview(b"")])


def test_without_examples_it_waits_for_a_photo(network, photo):
    editor = PhotoEditor(network)
    assert editor.estimate is None
    assert editor.note.value == ""
    editor.angle.value = 40
    editor.take(photo)
    assert editor.estimate is not None


def test_real_frames_are_predicted(real_frames, network):
    index = prepare_index(real_frames, "test")
    editor = PhotoEditor(network, index)
    for i in range(len(index)):
        editor.example.value = i
        assert editor.estimate is not None
        assert editor.note.value == ""


def test_the_button_moves_the_box_from_hands_to_hands(network, photo, monkeypatch):
    boxes = [(10.0, 20.0, 200.0, 210.0), (300.0, 50.0, 250.0, 240.04)]
    monkeypatch.setattr(photo_editor, "find_boxes", lambda image: boxes)
    editor = PhotoEditor(network)
    editor.take(photo)
    visited = [editor.canvas.box]
    for _ in range(2):
        editor.find.click()
        visited.append(editor.canvas.box)
    assert visited == [[10, 20, 200, 210], [300, 50, 250, 240], [10, 20, 200, 210]]
    assert not editor.note.value and editor.estimate is not None


def test_a_picture_without_hands_is_said_to_have_none(network, photo):
    editor = PhotoEditor(network)
    editor.take(photo)
    box = editor.canvas.box
    editor.find.click()
    assert "no hand is found in this picture" in editor.note.value
    assert editor.canvas.box == box


# Folders, videos, cameras


@pytest.fixture
def folder(tmp_path, photo):
    """Two photos, one that is broken, and a video of twelve frames."""
    for name in ("a.png", "c.png"):
        (tmp_path / name).write_bytes(photo)
    (tmp_path / "b.png").write_bytes(b"none")
    write_video(tmp_path / "d.mp4", frames=12)
    return tmp_path


def test_a_folder_is_gone_through_file_by_file(network, folder):
    editor = PhotoEditor(network)
    editor.source.path.value = str(folder)
    assert editor.picture.source.endswith("a.png")
    assert [name for name, _ in editor.source.file.options] == [
        "1 of 4: a.png",
        "2 of 4: b.png",
        "3 of 4: c.png",
        "4 of 4: d.mp4",
    ]
    editor.source.next.click()
    assert "b.png" in editor.note.value
    assert editor.picture.source.endswith("a.png")
    editor.source.next.click()
    assert editor.picture.source.endswith("c.png")
    assert editor.note.value == ""
    editor.source.file.value = 3
    assert editor.picture.frame == 0
    editor.source.previous.click()
    assert editor.picture.source.endswith("c.png")


def test_a_video_is_gone_through_frame_by_frame(network, folder):
    editor = PhotoEditor(network)
    editor.take(folder / "d.mp4")
    assert editor.source.frame.max == 11
    visited = []
    for number in (7, 3, 11):
        editor.source.frame.value = number
        visited.append((editor.picture.frame, grey_of(editor.image)))
    assert visited == [(7, 7), (3, 3), (11, 11)]
    editor.source.next.click()
    assert editor.picture.frame == 11
    editor.source.previous.click()
    assert (editor.picture.frame, grey_of(editor.image)) == (10, 10)


def test_an_example_closes_the_folder(editor, folder):
    editor.take(folder)
    assert editor.source.has_several
    editor.example.value = 1
    assert not editor.source.has_several
    assert editor.source.path.value == ""


def test_an_empty_folder_is_named(editor, tmp_path):
    editor.source.path.value = str(tmp_path)
    assert f"{tmp_path}: no pictures or videos in this folder" in editor.note.value


def test_a_picture_is_taken_with_a_camera(network, photo, monkeypatch):
    bgr = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: FakeCamera(number, bgr))
    editor = PhotoEditor(network)
    editor.source.take.click()
    assert (editor.image == bgr[..., ::-1]).all()
    assert editor.canvas.title == "camera 0"
    editor.source.camera.value = 1
    editor.source.take.click()
    assert "camera 1: there is none on the machine" in editor.note.value
    assert editor.canvas.title == "camera 0"


# Meshes


def test_the_mesh_gives_way_to_the_skeleton(editor):
    editor.hands.value = "both hands"
    assert [mesh["left"] for mesh in editor.space.meshes] == [False, True]
    assert editor.space.strokes == []
    editor.shows_mesh.value = False
    assert editor.space.meshes == []
    assert len(editor.space.strokes) == 12


def test_hands_that_reach_into_each_other_are_named(editor, index, two_hands):
    frame, _ = two_hands
    joints_mm = frame.joints_cam_mm.astype(float)
    joints_mm[21:] += joints_mm[11] - joints_mm[32]  # one palm in the other
    editor.joints_cam_mm = joints_mm
    editor.hands.value = "both hands"
    editor.joints_cam_mm = joints_mm
    editor.perform(editor._draw_space)
    assert "mm into each other" in editor.mesh_note.value


# Results


def test_results_are_saved_under_free_names(network, photo, tmp_path):
    editor = PhotoEditor(network, results_dir=tmp_path / "results")
    (tmp_path / "two.png").write_bytes(photo)
    editor.take(tmp_path / "two.png")
    editor.hands.value = "one left hand"
    for kind in ("JSON", "JSON", "picture", "mesh"):
        editor.save[kind].click()
        assert editor.note.value == ""
        assert "saved: " in editor.saved.value
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == ["two.glb", "two.jpg", "two.json", "two_2.json"]

    result = json.loads((tmp_path / "results/two.json").read_text())
    assert result["hands"] == ["left"]
    assert result["bbox_xywh"] == editor.canvas.box
    joints_px = editor.estimate.joints_px.round(3)
    assert np.abs(np.array(result["joints_px"]) - joints_px).max() < 0.01
    saved_mm = np.array(result["joints_cam_mm"])[21:]
    assert np.abs(saved_mm - editor.joints_cam_mm[21:]).max() < 1


def test_nothing_is_saved_of_an_invalid_box(network, photo, tmp_path):
    editor = PhotoEditor(network, results_dir=tmp_path / "results")
    editor.take(photo)
    editor.move([5000.0, 0.0, 10.0, 10.0])
    editor.save["JSON"].click()
    assert "there is nothing to save" in editor.note.value
    assert not (tmp_path / "results").exists()


# Found hands, keys


def test_a_found_box_is_chosen_by_a_click(network, photo, monkeypatch):
    boxes = [(10.0, 20.0, 200.0, 210.0), (300.0, 50.0, 250.0, 240.0)]
    monkeypatch.setattr(photo_editor, "find_boxes", lambda image: boxes)
    editor = PhotoEditor(network)
    editor.take(photo)
    assert editor.canvas.box == [10, 20, 200, 210]
    assert editor.canvas.strokes[-1]["label"] == "2: click"
    editor.canvas.clicked = [400, 100, 1]
    assert editor.canvas.box == [300, 50, 250, 240]
    assert editor.canvas.strokes[-1]["label"] == "1: click"


def test_keys_do_what_buttons_do(network, folder, tmp_path):
    editor = PhotoEditor(network, results_dir=tmp_path / "results")
    editor.take(folder / "d.mp4")
    for count, key in enumerate(["j", "j", "k", "J", "m", "s", "f", "c"]):
        editor.shortcuts.pressed = [key, count]
        assert editor.shortcuts.handled == count
    assert editor.picture.frame == 11
    assert not editor.shows_mesh.value
    assert (tmp_path / "results/d_000011.json").exists()
    assert "camera 0: there is none" in editor.note.value


class FakeCamera:
    """A capture device that only number 0 is."""

    def __init__(self, number: int, bgr: np.ndarray) -> None:
        self.number = number
        self.bgr = bgr

    def isOpened(self) -> bool:
        return self.number == 0

    def read(self) -> tuple[bool, np.ndarray]:
        return True, self.bgr

    def release(self) -> None:
        pass

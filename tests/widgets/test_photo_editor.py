"""Photos of any kind, hands placed in space, widgets that say what is wrong and live on."""

import io
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from digit import geometry
from digit.data.index import open_index
from digit.inference.photo import read_photo
from digit.inference.predict import Estimate, predict
from digit.model.network import NETWORKS, Digit
from digit.plots import charts
from digit.plots import hands as hand_plots
from digit.skeleton import BONES
from digit.widgets.canvas import Canvas
from digit.widgets.data_browser import DataBrowser
from digit.widgets.photo_editor import BONES_PER_LENGTH, OwnPhoto, place_hands


@pytest.fixture(scope="module")
def network() -> Digit:
    torch.manual_seed(0)
    return Digit(**NETWORKS["quick"]).eval()


@pytest.fixture(scope="module")
def index(tiny_root):
    return open_index(tiny_root, "test")


@pytest.fixture
def desk(network, index) -> OwnPhoto:
    return OwnPhoto(network, index)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def rgb() -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    pixels[:20] //= 4  # the upper half is dark
    return pixels


def test_photos_of_any_kind_are_read_as_they_are_meant_to_be_seen(rgb):
    image, focal = read_photo(encoded(rgb))
    assert (image == rgb).all() and focal is None
    grey, _ = read_photo(encoded(rgb[..., 0]))
    assert (grey == rgb[..., :1]).all() and grey.shape == rgb.shape
    deep, _ = read_photo(encoded(rgb[..., 0].astype(np.uint16) * 257))
    assert (deep == rgb[..., :1]).all()
    deep_rgb = cv2.imencode(".png", rgb[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    assert (read_photo(deep_rgb)[0] == rgb).all()
    clear = np.dstack([rgb, np.full((40, 60), 255, np.uint8)])
    clear[:, :30, 3] = 0
    image, _ = read_photo(encoded(clear))
    assert (image[:, 30:] == rgb[:, 30:]).all() and (image[:, :30] == 255).all()


def test_a_photo_stands_upright_and_brings_its_focal_length(rgb):
    exif = Image.Exif()
    exif[0x112] = 6  # the camera was turned: rotate by 90° to see it upright
    exif.get_ifd(0x8769)[0xA405] = 26
    image, focal_px = read_photo(encoded(rgb, "JPEG", exif=exif, quality=95))
    assert image.shape == (60, 40, 3)
    assert (
        image[:, 20:].mean() < 0.5 * image[:, :20].mean()
    )  # the dark upper half is now right
    assert focal_px == pytest.approx(26 / 43.27 * np.hypot(60, 40))


def test_a_large_box_is_averaged_down_and_not_sampled(network):
    stripes = np.zeros((3000, 4000, 3), np.uint8)
    stripes[:, ::2] = (
        200  # nothing but the mean, 100, is left of them at a tenth of the size
    )
    crop = predict(network, stripes, [500.0, 500.0, 1500.0, 1500.0]).crop
    assert np.abs(crop.astype(int) - 100).max() <= 16  # a sample is 100 off
    marked = np.zeros((3000, 4000, 3), np.uint8)
    cv2.circle(marked, (1700, 1400), 60, (255, 255, 255), -1)
    crop = predict(network, marked, [500.0, 500.0, 1500.0, 1500.0]).crop[..., 0]
    side, corner = 1500 * 1.25, 1250 - 1500 * 1.25 / 2
    expected = (np.array([1700, 1400]) - corner) * len(crop) / side
    centre = np.array(np.nonzero(crop > 127)).mean(1)[::-1]
    assert np.abs(centre - expected).max() < 0.5


def estimate_of(frame) -> Estimate:
    """What a perfect network would say of a frame."""
    joints_px, mm = frame.joints_px.astype(float), frame.joints_cam_mm.astype(float)
    relative = mm[:, 2] - mm[[20] * 21 + [41] * 21, 2]
    cells = np.zeros((42, 3))
    cells[:, 2] = geometry.depth_to_cells(torch.from_numpy(relative)).numpy()
    both, empty = np.ones(2), np.zeros((8, 8), np.uint8)
    crop = np.zeros((8, 8, 3), np.uint8)
    return Estimate(
        both, joints_px, cells, None, float(mm[41, 2] - mm[20, 2]), crop, empty
    )


def test_a_focal_length_and_a_hands_length_give_the_distance(index):
    frame = index.frame(int(np.flatnonzero(index["hand_type"] == 2)[0]))
    focal, centre = frame.focal.tolist(), frame.princpt.tolist()
    bones = frame.joints_cam_mm[BONES[:, 0]] - frame.joints_cam_mm[BONES[:, 1]]
    length = np.linalg.norm(bones, axis=1).sum() / 2 / BONES_PER_LENGTH
    found = place_hands(estimate_of(frame), focal, centre, float(length))
    assert np.abs(found - frame.joints_cam_mm).max() < 2  # of a metre
    longer = place_hands(
        estimate_of(frame), [2 * f for f in focal], centre, float(length)
    )
    assert longer[20, 2] == pytest.approx(2 * found[20, 2], rel=0.1)
    px = geometry.project(
        *(torch.from_numpy(v) for v in (longer, 2 * frame.focal, frame.princpt))
    )
    assert np.abs(px.numpy() - frame.joints_px).max() < 0.01  # the same picture


def test_the_widget_says_what_the_function_says_and_follows_the_box(
    desk, network, index
):
    frame = index.frame(0)
    image, _ = read_photo(index.root / "images" / frame.key)
    expected = predict(network, image, frame.bbox_xywh.tolist())
    assert np.abs(desk.estimate.joints_px - expected.joints_px).max() < 1e-6
    before, parts = desk.estimate.joints_px, desk.parts.picture
    desk.canvas.box, desk.canvas.asked = (
        [10.0, 20.0, 150.0, 150.0],
        1,
    )  # as the mouse does
    assert desk.canvas.answered == 1 and desk.box.value == "10.0, 20.0, 150.0, 150.0"
    assert (
        np.abs(desk.estimate.joints_px - before).max() > 1
        and desk.parts.picture != parts
    )
    assert "does not tell how far" in desk.said.value and "Type" not in desk.note.value


def test_the_camera_is_annotated_assumed_or_typed(desk, rgb):
    assert "annotated" in desk.said.value
    focal, width = float(desk.camera.value.split(",")[0]), desk.image.shape[1]
    assert desk.angle.value == pytest.approx(
        2 * np.degrees(np.arctan(width / 2 / focal)), abs=0.6
    )
    desk.take(encoded(cv2.resize(rgb, (600, 400))))
    assert "assumed from a field of view of 60°" in desk.said.value
    near = desk.joints_cam_mm
    desk.angle.value = 30
    assert "30°" in desk.said.value
    assert (
        np.nanmean(desk.joints_cam_mm[:, 2]) > 1.5 * np.nanmean(near[:, 2])
        or np.isnan(near).all()
    )
    desk.camera.value = "900 900 300 200"
    assert "as typed" in desk.said.value and desk.angle.value == 37  # 2 atan(300 / 900)
    desk.camera.value = "long"
    assert "give four numbers" in desk.note.value


SAID = {
    "no picture": (b"hello", "its kind is unknown"),
    "empty": (b"", "its kind is unknown"),
    "cut short": (None, "cannot be decoded"),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_no_photo_is_said_and_the_last_one_stays(case, desk, rgb):
    data, said = SAID[case]
    before = desk.canvas.picture
    desk.take(encoded(rgb)[:1500] if data is None else data)
    assert said in desk.note.value and "Traceback" not in desk.note.value
    assert desk.canvas.picture == before
    desk.example.value = 1
    assert said not in desk.note.value and desk.estimate is not None


def test_boxes_and_paths_that_do_not_fit_are_said(desk, tmp_path):
    desk.move([5000.0, 0.0, 10.0, 10.0])
    assert (
        "outside" in desk.note.value
        and desk.estimate is None
        and not desk.canvas.strokes
    )
    desk.move([10.0, 10.0, 0.0, 10.0])
    assert "width" in desk.note.value
    desk.box.value = "1, 2, three, 4"
    assert "give four numbers" in desk.note.value
    desk.path.value = str(tmp_path / "nowhere.jpg")
    assert "nowhere.jpg: no such image" in desk.note.value
    desk.move([-20.0, 40.0, 200.0, 200.0])
    assert "beyond the picture" in desk.note.value and desk.estimate is not None
    desk.move([40.0, 40.0, 12.0, 12.0])
    assert "too few" in desk.note.value and desk.estimate is not None


@pytest.mark.parametrize("shape", [(1, 1), (1, 40_000), (5773, 8660)])
def test_tiny_long_and_huge_photos_are_looked_at(shape, desk):
    desk.take(encoded(np.full((*shape, 3), 128, np.uint8), "PNG", compress_level=1))
    assert desk.estimate is not None and desk.canvas.size == [shape[1], shape[0]]
    assert len(desk.canvas.picture) < 1e6


def test_an_upload_comes_in_pieces(desk, rgb):
    data = encoded(rgb)
    for i in range(3):
        piece = data[i * 3000 : (i + 1) * 3000 if i < 2 else None]
        about = {"name": "a.png", "size": len(data), "i": i, "count": 3}
        desk._do(
            lambda about=about, piece=piece: desk._receive(about, [memoryview(piece)])
        )
    assert desk.canvas.size == [60, 40] and "kind" not in desk.note.value
    about = {"name": "b.png", "size": 10**9, "i": 0, "count": 1}
    desk._do(lambda: desk._receive(about, [memoryview(b"")]))
    assert "b.png: over 200 MB" in desk.note.value


def test_without_examples_it_waits_for_a_photo(network, rgb):
    desk = OwnPhoto(network)
    assert desk.estimate is None and not desk.note.value
    desk.angle.value = 40
    desk.take(encoded(rgb))
    assert desk.estimate is not None


def test_strokes_go_out_as_json_knows_them():
    joints = np.full((42, 2), 1.23456)
    joints[:5] = np.nan
    canvas = Canvas()
    canvas.show(np.zeros((30, 20, 3), np.uint8), hand_plots.hand_strokes(joints))
    assert canvas.strokes[0]["points"][0] == [None, None]
    assert canvas.strokes[1]["points"][1] == [1.2, 1.2] and canvas.strokes[6]["left"]


def test_the_browser_of_a_data_set_goes_by_capture_sequence_instant_and_camera(
    tiny_root,
):
    index = open_index(tiny_root, "train")
    browser = DataBrowser(index)
    assert not browser.note.value and "joints annotated" in browser.said.value
    first = browser.canvas.title
    browser.steps[1].click()
    assert browser.canvas.title != first and not browser.note.value
    browser.choices[1].value = browser.choices[1].options[-1]
    views = browser.choices[3].options
    assert len(browser.tiles) == len(views) > 1
    browser.strip.clicked = [browser.edges[0] + 3.0, 5.0, 1.0]  # the second view
    assert browser.choices[3].value == views[1] in browser.canvas.title
    browser.space.clicked = views[0]
    assert browser.choices[3].value == views[0]
    browser.space.clicked = "none"
    assert "no picture of this instant" in browser.note.value
    painted = browser.canvas.picture
    browser.layers["parts"].value = False
    assert browser.canvas.picture != painted
    browser.layers["joints"].value = False
    assert browser.canvas.strokes == []
    browser.layers["box"].value = True
    assert len(browser.canvas.strokes) == 1


def test_a_missing_picture_is_said_and_its_annotation_still_drawn(tiny_root, tmp_path):
    shutil.copytree(tiny_root / "annotations", tmp_path / "bare/annotations")
    browser = DataBrowser(open_index(tmp_path / "bare", "test"))
    assert "not in" in browser.note.value and browser.canvas.strokes
    assert browser.space.strokes and "no part mask" in browser.said.value


def test_real_frames_are_browsed_and_tried_where_they_lie(real_frames, network):
    index = open_index(real_frames, "test")
    browser, desk = DataBrowser(index), OwnPhoto(network, index)
    for capture in browser.choices[0].options:
        browser.choices[0].value = capture
        assert not browser.note.value and "no part mask" in browser.said.value
    for i in range(len(index)):
        desk.example.value = i
        assert desk.estimate is not None and not desk.note.value


def test_ranges_and_few_values_beside_many():
    rng = np.random.default_rng(0)
    figure = charts.ranges(
        {"index1 bend": rng.random(99)}, {"index1 bend": (-1.0, 2.0)}, "rad"
    )
    [axes] = figure.axes
    assert (
        axes.get_ylabel() == "rad"
        and axes.get_ylim()[0] < -1
        and axes.get_ylim()[1] > 2
    )
    groups = {"many": rng.random(500), "few": np.array([0.2, np.nan, 0.7])}
    [axes] = charts.distributions({"share": groups}).axes
    [ticks] = axes.lines
    assert ticks.get_xdata().tolist() == [0.2, 0.7] and ticks.get_label() == "few"

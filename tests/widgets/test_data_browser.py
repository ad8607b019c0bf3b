"""The data browser and the canvases without a page."""

import shutil
from html import unescape

import numpy as np
import pytest

from digit.data.build_index import prepare_index
from digit.plots import hands as hand_plots
from digit.widgets.canvas import Canvas
from digit.widgets.data_browser import CAMERA, UNSEEING_COLOR, DataBrowser

SEQUENCE = 1


@pytest.fixture
def browser(tiny_root) -> DataBrowser:
    return DataBrowser(prepare_index(tiny_root, "train"))


def test_strokes_go_to_the_page_without_nan():
    joints_px = np.full((42, 2), 1.23456)
    joints_px[:5] = np.nan
    canvas = Canvas()
    image = np.zeros((30, 20, 3), np.uint8)
    canvas.show(image, hand_plots.hand_strokes(joints_px))
    assert canvas.strokes[0]["points"][0] == [None, None]
    assert canvas.strokes[1]["points"][1] == [1.2, 1.2]
    assert canvas.strokes[6]["left"]


def test_the_next_instant_is_another_picture(browser):
    assert browser.note.value == ""
    assert "joints annotated" in browser.about.value
    first = browser.canvas.title
    browser.next_instant.click()
    assert browser.canvas.title != first
    browser.previous_instant.click()
    assert browser.canvas.title == first
    assert browser.note.value == ""


def test_the_browser_comes_with_a_static_picture(browser, published):
    browser._repr_mimebundle_()
    assert len(published) == 1


def test_a_view_or_a_camera_is_chosen_by_a_click(browser):
    browser.choices[SEQUENCE].value = browser.choices[SEQUENCE].options[-1]
    camera = browser.choices[CAMERA]
    assert len(browser.tile_rows) == len(camera.options) > 1

    second_view_px = browser.tile_ends_px[0] + 3.0
    browser.strip.clicked = [second_view_px, 5.0, 1.0]
    assert camera.value == camera.options[1]
    assert camera.value in browser.canvas.title

    browser.space.clicked = camera.options[0]
    assert camera.value == camera.options[0]


def test_a_camera_without_a_picture_is_refused(browser):
    browser.space.clicked = "none"
    assert "no picture of this instant" in browser.note.value


def test_cameras_without_a_picture_are_grey_and_say_so(browser):
    seeing = set(browser.choices[CAMERA].options)
    grey = {
        stroke["label"]
        for stroke in browser.space.strokes
        if stroke["color"] == UNSEEING_COLOR
    }
    assert grey
    assert not grey & seeing
    assert browser.space.notes == dict.fromkeys(grey, "no picture of this instant")
    assert browser.space.named == browser.choices[CAMERA].value


def test_words_narrow_the_frames_down(browser):
    index = browser.index
    family = str(index["family"][-1])
    camera = str(index["camera"][index["family"] == family][0])
    browser.words.value = f"{family.upper()[:-1]} cam{camera}"
    expected = (index["family"] == family) & (index["camera"] == camera)
    assert len(browser.rows[0]) == expected.sum()
    assert browser.frame.camera == camera
    assert f"{expected.sum()} of {len(index)} frames" in browser.passing.value
    browser.words.value = ""
    assert len(browser.rows[0]) == len(index)
    assert browser.passing.value == ""


def test_words_that_nothing_has_are_named_and_the_frame_stays(browser):
    shown = browser.canvas.title
    browser.words.value = "nowhere"
    assert "no frame has 'nowhere' in its" in unescape(browser.note.value)
    assert browser.canvas.title == shown
    assert len(browser.rows[0]) == len(browser.index)


def test_keys_choose_what_lists_choose(browser):
    browser.choices[SEQUENCE].value = browser.choices[SEQUENCE].options[-1]
    camera = browser.choices[CAMERA]
    first = camera.value
    keys = ("ArrowDown", "b", "ArrowRight", "[", "+", "Shift+ArrowLeft", "0", "s")
    for count, key in enumerate(keys):
        browser.shortcuts.pressed = [key, count]
        assert browser.note.value == ""
        if count == 0:
            assert camera.value == camera.options[1] != first
    assert browser.layers["box"].value
    assert browser.choices[SEQUENCE].value == browser.choices[SEQUENCE].options[-2]


def test_layers_are_switched(browser):
    painted = browser.canvas.picture
    browser.layers["parts"].value = False
    assert browser.canvas.picture != painted
    browser.layers["joints"].value = False
    assert browser.canvas.strokes == []
    browser.layers["box"].value = True
    assert len(browser.canvas.strokes) == 1


def test_a_missing_picture_is_noted_and_its_annotation_drawn(tiny_root, tmp_path):
    shutil.copytree(tiny_root / "annotations", tmp_path / "bare/annotations")
    browser = DataBrowser(prepare_index(tmp_path / "bare", "test"))
    assert "not in" in browser.note.value
    assert browser.canvas.strokes
    assert browser.space.strokes
    assert "no part mask" in browser.about.value


def test_real_frames_are_browsed(real_frames):
    browser = DataBrowser(prepare_index(real_frames, "test"))
    for capture in browser.choices[0].options:
        browser.choices[0].value = capture
        assert browser.note.value == ""
        assert "no part mask" in browser.about.value

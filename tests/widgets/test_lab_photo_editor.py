"""Chapters 01 and 02 in JupyterLab: data browser and photo editor used with the mouse."""

import os
import urllib.error
import urllib.request

import numpy as np
import pytest
from lab import Lab
from PIL import Image

pytestmark = pytest.mark.browser
IS_CHANGED = "([canvas, before]) => canvas.toDataURL() !== before"
EXIF_ORIENTATION = 0x112


def pixels_of(canvas) -> str:
    """What a canvas shows, as text."""
    return canvas.evaluate("canvas => canvas.toDataURL()")


def changed_by(lab: Lab, canvas, act) -> str:
    """Act, wait until the canvas shows something else, and return what it shows."""
    before = pixels_of(canvas)
    act()
    lab.page.wait_for_function(IS_CHANGED, arg=[canvas.element_handle(), before])
    return pixels_of(canvas)


def drag(lab: Lab, canvas, start, end) -> None:
    """Move the pressed mouse between two places, given in shares of the canvas."""
    canvas.scroll_into_view_if_needed()
    box = lab.box(canvas)
    places = []
    for u, v in (start, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), end):
        places.append((box["x"] + u * box["width"], box["y"] + v * box["height"]))
    lab.page.mouse.move(*places[0])
    lab.page.mouse.down()
    lab.page.mouse.move(*places[1], steps=4)
    lab.page.mouse.move(*places[2], steps=4)
    lab.page.mouse.up()


def test_the_server_asks_for_a_token(lab):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{lab.address}/api/kernels")


# Chapter 02


@pytest.fixture(scope="module")
def data_browser(lab, tiny_root) -> Lab:
    """Chapter 02, run, with the data browser in view."""
    lab.open("02_data_inspection", root=str(tiny_root), real="none", n=4)
    lab.run_all()
    lab.page.locator("canvas.digit-space").scroll_into_view_if_needed()
    return lab


def test_instants_and_layers_change_the_picture(data_browser):
    page = data_browser.page
    output = page.locator(".jp-OutputArea-output")
    picture = page.locator("canvas.digit-picture").first
    title = picture.get_attribute("title")
    next_instant = page.get_by_role("button", name="instant ▶")
    changed_by(data_browser, picture, next_instant.click)
    assert picture.get_attribute("title") != title
    changed_by(data_browser, picture, output.get_by_label("parts").uncheck)
    changed_by(data_browser, picture, output.get_by_label("joints").uncheck)
    changed_by(data_browser, picture, output.get_by_label("joints").check)
    assert data_browser.errors() == []


def test_a_view_is_chosen_by_a_click(data_browser):
    page = data_browser.page
    picture, views = (page.locator("canvas.digit-picture").nth(k) for k in (0, 1))
    title = picture.get_attribute("title")
    last_view = {"x": data_browser.box(views)["width"] - 9, "y": 50}
    changed_by(data_browser, picture, lambda: views.click(position=last_view))
    assert picture.get_attribute("title") != title
    assert data_browser.errors() == []


def test_the_dome_marks_its_camera_and_turns(data_browser):
    page = data_browser.page
    space = page.locator("canvas.digit-space")
    camera = page.locator(".widget-dropdown:has-text('camera') select")
    changed_by(data_browser, space, lambda: camera.select_option(index=0))
    turned = changed_by(
        data_browser, space, lambda: drag(data_browser, space, (0.5, 0.5), (0.8, 0.4))
    )
    zoomed = changed_by(data_browser, space, lambda: page.mouse.wheel(0, -300))
    assert turned != zoomed
    assert data_browser.errors() == []


# Chapter 01


@pytest.fixture(scope="module")
def editor(lab, tiny_root, tiny_run) -> Lab:
    """Chapter 01, run."""
    checkpoint = str(tiny_run / "checkpoints/best.ckpt")
    lab.open("01_own_photo", checkpoint=checkpoint, real=str(tiny_root), n=2)
    lab.run_all()
    return lab


def box_of(lab: Lab) -> list[float]:
    field = lab.page.locator(".widget-text:has-text('box') input")
    return [float(value) for value in field.input_value().split(",")]


def test_the_prediction_follows_the_box(editor):
    picture, parts = (
        editor.page.locator("canvas.digit-picture").nth(k) for k in (0, 1)
    )
    space = editor.page.locator("canvas.digit-space")
    box = box_of(editor)
    hands = pixels_of(space)
    changed_by(editor, parts, lambda: drag(editor, picture, (0.05, 0.05), (0.5, 0.4)))
    editor.wait_idle()
    assert box_of(editor) != box
    assert pixels_of(space) != hands
    assert editor.errors() == []


def test_arrow_keys_move_and_resize_the_box(editor):
    picture, parts = (
        editor.page.locator("canvas.digit-picture").nth(k) for k in (0, 1)
    )
    x, _, _, h = box_of(editor)
    changed_by(editor, parts, lambda: picture.press("ArrowRight"))
    editor.wait_idle()
    assert box_of(editor)[0] > x
    changed_by(editor, parts, lambda: picture.press("Shift+ArrowDown"))
    editor.wait_idle()
    assert box_of(editor)[3] > h


def test_a_click_is_no_box(editor):
    picture = editor.page.locator("canvas.digit-picture").first
    box = box_of(editor)
    drag(editor, picture, (0.9, 0.9), (0.9, 0.9))
    editor.wait_idle()
    assert box_of(editor) == box


def test_the_hands_are_turned_with_the_mouse(editor):
    space = editor.page.locator("canvas.digit-space")
    changed_by(editor, space, lambda: drag(editor, space, (0.5, 0.5), (0.2, 0.6)))
    assert editor.errors() == []


def test_a_focal_length_of_zero_is_named_and_greys_out_the_hands(editor):
    page = editor.page
    space = page.locator("canvas.digit-space")
    field = page.locator(".widget-text:has-text('focal') input")
    valid = field.input_value()

    def type_camera(text: str) -> None:
        field.fill(text)
        page.keyboard.press("Enter")

    changed_by(editor, space, lambda: type_camera("0, 0, 300, 200"))
    page.get_by_text("focal, centre (px): the focal length is 0").wait_for()
    assert page.get_by_text("nan mm").count() == 0
    changed_by(editor, space, lambda: type_camera(valid))
    assert editor.errors() == []


def test_a_photo_is_uploaded_in_pieces_and_turned_upright(editor, tmp_path):
    page = editor.page
    picture = page.locator("canvas.digit-picture").first
    pixels = np.random.default_rng(0).integers(0, 255, (1500, 2400, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6  # 1500 wide when upright
    path = tmp_path / "turned.jpg"
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    assert os.path.getsize(path) > 2**21  # more than one piece

    choose = page.locator("input[type=file]").set_input_files
    changed_by(editor, picture, lambda: choose(path))
    editor.wait_idle()
    box = editor.box(picture)
    assert box["height"] / box["width"] == pytest.approx(2400 / 1500, rel=0.01)
    page.get_by_text("assumed from a field of view of 60°").wait_for()
    page.get_by_text("first guess").wait_for()


def test_what_cannot_be_shown_is_explained(editor, tmp_path):
    page = editor.page
    picture = page.locator("canvas.digit-picture").first
    (tmp_path / "none.jpg").write_text("no picture")
    before = pixels_of(picture)
    page.locator("input[type=file]").set_input_files(tmp_path / "none.jpg")
    page.get_by_text("cannot be decoded as an image").wait_for()
    assert pixels_of(picture) == before

    page.locator(".widget-text:has-text('box') input").fill("9000, 0, 10, 10")
    page.keyboard.press("Enter")
    page.get_by_text("lies outside the 1500×2400 image").wait_for()
    example = page.locator(".widget-dropdown:has-text('example') select")
    example.select_option(index=1)
    page.get_by_text("Focal length: annotated").wait_for()
    assert editor.errors() == []

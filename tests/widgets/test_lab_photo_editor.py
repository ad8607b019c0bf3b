"""Chapters 01 and 02 in JupyterLab: data browser and photo editor used with the mouse."""

import contextlib
import json
import os
import urllib.error
import urllib.request

import numpy as np
import pytest
from grey_videos import write_video
from lab import Lab
from PIL import Image
from random_actions import act_at_random

from digit.inference.photo import read_photo
from digit.inference.predict import find_boxes

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


def test_words_narrow_the_frames_down(data_browser):
    page = data_browser.page
    search = page.get_by_placeholder("sequence, camera …")
    cameras = page.locator(".widget-dropdown:has-text('camera') select option")
    everything = cameras.count()
    some = cameras.last.inner_text()

    search.fill(some)
    search.press("Enter")
    page.locator(".digit-live").get_by_text(" frames").wait_for()
    data_browser.wait_idle()
    assert cameras.all_inner_texts() == [some]
    search.fill("nowhere")
    search.press("Enter")
    page.get_by_text("no frame has 'nowhere'").wait_for()
    search.fill("")
    search.press("Enter")
    data_browser.wait_idle()
    assert cameras.count() > 1 or everything == 1
    assert data_browser.errors() == []


def test_keys_choose_instants_cameras_and_layers(data_browser):
    page = data_browser.page
    picture = page.locator("canvas.digit-picture").first
    first = picture.get_attribute("title")
    page.get_by_role("button", name="? keys").click()
    page.get_by_text("previous camera").wait_for()
    page.keyboard.press("?")
    page.get_by_text("previous camera").wait_for(state="hidden")

    changed_by(data_browser, picture, lambda: page.keyboard.press("ArrowRight"))
    assert picture.get_attribute("title") != first
    changed_by(data_browser, picture, lambda: page.keyboard.press("ArrowLeft"))
    page.locator(".widget-dropdown:has-text('camera') select").focus()
    changed_by(data_browser, picture, lambda: page.keyboard.press("j"))
    changed_by(data_browser, picture, lambda: page.keyboard.press("j"))
    assert data_browser.errors() == []


def test_the_picture_is_enlarged_and_moved(data_browser):
    page = data_browser.page
    picture = page.locator("canvas.digit-picture").first
    picture.click()
    zoomed = changed_by(data_browser, picture, lambda: page.mouse.wheel(0, -400))
    assert float(picture.get_attribute("data-zoom")) > 2
    moved = changed_by(
        data_browser,
        picture,
        lambda: drag(data_browser, picture, (0.6, 0.6), (0.4, 0.5)),
    )
    assert moved != zoomed
    corner = picture.get_attribute("data-corner")
    changed_by(data_browser, picture, lambda: page.keyboard.press("Shift+ArrowRight"))
    assert picture.get_attribute("data-corner") != corner
    changed_by(data_browser, picture, lambda: page.keyboard.press("0"))
    assert picture.get_attribute("data-zoom") == "1.00"
    assert data_browser.errors() == []


def test_a_camera_is_named_on_hover(data_browser):
    page = data_browser.page
    space = page.locator("canvas.digit-space")
    space.dblclick()
    box = space.bounding_box()
    names = set()
    for u in range(10, 95, 3):
        for v in range(15, 90, 6):
            x = box["x"] + u / 100 * box["width"]
            page.mouse.move(x, box["y"] + v / 100 * box["height"])
            names.add(space.get_attribute("data-hovered"))
    cameras = page.locator(".widget-dropdown:has-text('camera') select option")
    assert set(cameras.all_inner_texts()) <= names
    assert data_browser.errors() == []


def test_two_hundred_random_actions_on_the_data_browser(data_browser):
    keys = [
        "ArrowRight",
        "ArrowLeft",
        "ArrowUp",
        "ArrowDown",
        "[",
        "]",
        "j",
        "p",
        "b",
        "+",
        "-",
        "0",
        "?",
        "s",
    ]
    texts = ("", "cup", "cam400", "interacting", "nowhere", "a b")
    act_at_random(data_browser, ".digit-live", keys, texts=texts)


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


# Files, videos and results, with the weights that ship

DESK = """
from pathlib import Path
import digit
desk = digit.PhotoEditor(digit.load_network(), results_dir={results!r})
desk.take(Path({photos!r}))
desk
"""


@pytest.fixture(scope="module")
def photos(tiny_root, tmp_path_factory):
    """A photo with two hands far apart, one with a hand, and a video of six frames."""
    folder = tmp_path_factory.mktemp("photos")
    found = []
    for path in sorted((tiny_root / "images").rglob("*.jpg")):
        image, _ = read_photo(path)
        if image.shape != (334, 512, 3):
            continue
        with contextlib.suppress(ValueError):
            if len(find_boxes(image)) == 1:
                found.append(image)
        if len(found) == 3:
            break
    Image.fromarray(np.hstack(found[:2])).save(folder / "a.png")
    Image.fromarray(found[2]).save(folder / "b.png")
    write_video(folder / "c.mp4", frames=6)
    return folder


@pytest.fixture(scope="module")
def desk(lab, photos) -> Lab:
    """The editor over a folder."""
    results = str(photos / "results")
    lab.open_cells(DESK.format(results=results, photos=str(photos)), name="desk")
    lab.run_all()
    return lab


def title_of(desk: Lab) -> str:
    return desk.page.locator("canvas.digit-picture").first.get_attribute("title")


def wait_for_title(desk: Lab, words: str) -> None:
    picture = "document.querySelector('canvas.digit-picture')"
    desk.page.wait_for_function(f"words => {picture}.title.includes(words)", arg=words)
    desk.wait_idle()


def test_hands_are_found_and_chosen_by_button_key_and_click(desk):
    page = desk.page
    picture, parts = (page.locator("canvas.digit-picture").nth(k) for k in (0, 1))
    first = box_of(desk)
    changed_by(desk, parts, page.get_by_role("button", name="find hands").click)
    desk.wait_idle()
    second = box_of(desk)
    assert abs(second[0] - first[0]) > 100
    changed_by(desk, parts, lambda: page.keyboard.press("f"))
    desk.wait_idle()
    assert box_of(desk) == first

    shown = picture.bounding_box()
    width_px = 2 * 512
    place = {
        "x": (second[0] + second[2] / 2) / width_px * shown["width"],
        "y": (second[1] + second[3] / 2) / 334 * shown["height"],
    }
    changed_by(desk, parts, lambda: picture.click(position=place))
    desk.wait_idle()
    assert box_of(desk) == second
    assert desk.errors() == []


def test_a_folder_and_a_video_are_gone_through_by_keys_and_slider(desk):
    page = desk.page
    page.locator("canvas.digit-picture").first.focus()
    page.keyboard.press("j")
    wait_for_title(desk, "b.png")
    page.get_by_role("button", name="next ▶").click()
    wait_for_title(desk, "c.mp4, frame 0")
    page.get_by_text("No hand is found").wait_for()
    slider = page.locator(".widget-hslider:has-text('frame') [role=slider]")
    slider.press("ArrowRight")
    wait_for_title(desk, "c.mp4, frame 1")
    page.keyboard.press("ArrowRight")
    wait_for_title(desk, "c.mp4, frame 2")
    page.keyboard.press("k")
    wait_for_title(desk, "c.mp4, frame 1")
    files = page.locator(".widget-dropdown:has-text('file') select")
    files.select_option(index=0)
    wait_for_title(desk, "a.png")
    assert desk.errors() == []


def test_results_are_saved_and_offered_as_downloads(desk, photos):
    page = desk.page
    desk.page.locator("canvas.digit-picture").first.focus()
    for key, name in (("s", "a.json"), ("i", "a.jpg"), ("g", "a.glb")):
        page.keyboard.press(key)
        page.get_by_text(name).wait_for()
        with page.expect_download() as download:
            page.get_by_role("link", name="download").click()
        assert download.value.suggested_filename == name
        saved = (photos / "results" / name).read_bytes()
        assert download.value.path().read_bytes() == saved
    result = json.loads((photos / "results/a.json").read_text())
    assert result["bbox_xywh"] == box_of(desk)
    assert desk.errors() == []


def test_the_mesh_is_turned_and_gives_way_to_the_skeleton(desk):
    page = desk.page
    space = page.locator("canvas.digit-space")
    assert int(space.get_attribute("data-triangles")) > 500
    changed_by(desk, space, lambda: drag(desk, space, (0.5, 0.5), (0.7, 0.6)))
    space.focus()
    changed_by(desk, space, lambda: page.keyboard.press("ArrowLeft"))
    changed_by(desk, space, lambda: page.keyboard.press("m"))
    assert space.get_attribute("data-triangles") == "0"
    changed_by(desk, space, page.get_by_label("mesh", exact=True).check)
    assert int(space.get_attribute("data-triangles")) > 500
    assert desk.errors() == []


def test_an_absent_camera_is_named(desk):
    page = desk.page
    number = page.locator(".widget-text:has-text('or camera') input")
    number.fill("99")
    number.press("Enter")
    page.get_by_role("button", name="take a picture").click()
    page.get_by_text("camera 99: there is none on the machine").wait_for()
    assert desk.errors() == []


def test_two_hundred_random_actions_on_the_photo_editor(desk, photos):
    keys = [
        "j",
        "k",
        "J",
        "K",
        "f",
        "m",
        "c",
        "s",
        "i",
        "g",
        "+",
        "-",
        "0",
        "?",
        "ArrowLeft",
        "Shift+ArrowDown",
    ]
    texts = ("", "long", "1, 2, 3", "-5 0 9 9", "40 40 90 90", str(photos / "b.png"))
    act_at_random(desk, ".digit-live", keys, texts=texts)

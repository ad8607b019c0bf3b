"""Notebooks 01 and 02 in JupyterLab: the crop editor and the data browser, used with the mouse."""

import numpy as np
import pytest
from lab import Lab
from PIL import Image

pytestmark = pytest.mark.browser
CHANGED = "([canvas, before]) => canvas.toDataURL() !== before"


def drawn(canvas) -> str:
    """What a canvas shows, as text."""
    return canvas.evaluate("canvas => canvas.toDataURL()")


def changes(lab: Lab, canvas, act) -> str:
    """Act and wait until the canvas shows something else, which is returned."""
    before = drawn(canvas)
    act()
    lab.page.wait_for_function(CHANGED, arg=[canvas.element_handle(), before])
    return drawn(canvas)


def drag(lab: Lab, canvas, start, end) -> None:
    """Draw with the mouse from one place to another, in shares of the canvas."""
    canvas.scroll_into_view_if_needed()
    at = canvas.bounding_box()
    (a, b), (c, d) = (
        (at["x"] + u * at["width"], at["y"] + v * at["height"]) for u, v in (start, end)
    )
    lab.page.mouse.move(a, b)
    lab.page.mouse.down()
    lab.page.mouse.move((a + c) / 2, (b + d) / 2, steps=4)
    lab.page.mouse.move(c, d, steps=4)
    lab.page.mouse.up()


def test_notebook_01_is_run_and_the_data_set_looked_through(lab, tiny_root):
    lab.open("02_data_inspection", root=str(tiny_root), real="none", n=4)
    lab.run_all(600)
    page, out = lab.page, lab.page.locator(".jp-OutputArea-output")
    picture, views = (page.locator("canvas.digit-picture").nth(k) for k in (0, 1))
    space = page.locator("canvas.digit-space")
    space.scroll_into_view_if_needed()
    title, room = picture.get_attribute("title"), drawn(space)
    changes(lab, picture, page.get_by_role("button", name="instant ▶").click)
    assert picture.get_attribute("title") != title
    changes(lab, picture, out.get_by_label("parts").uncheck)
    changes(lab, picture, out.get_by_label("joints").uncheck)
    changes(lab, picture, out.get_by_label("joints").check)

    title, box = picture.get_attribute("title"), views.bounding_box()
    changes(
        lab, picture, lambda: views.click(position={"x": box["width"] - 9, "y": 50})
    )
    assert picture.get_attribute("title") != title, "the last view's camera is taken"
    camera = out.locator(".widget-dropdown:has-text('camera') select")
    shown = drawn(space)
    changes(lab, space, lambda: camera.select_option(index=0))
    assert room != shown, "another camera is the coloured one"
    turned = changes(lab, space, lambda: drag(lab, space, (0.5, 0.5), (0.8, 0.4)))
    zoomed = changes(lab, space, lambda: page.mouse.wheel(0, -300))
    assert turned != zoomed and lab.errors() == []


@pytest.fixture(scope="module")
def desk(lab, tiny_root, tiny_run) -> Lab:
    """Notebook 01, run."""
    checkpoint = str(tiny_run / "checkpoints/best.ckpt")
    lab.open("01_own_photo", checkpoint=checkpoint, real=str(tiny_root), n=2)
    lab.run_all(600)
    return lab


def box_of(lab: Lab) -> str:
    return lab.page.locator(".widget-text:has-text('box') input").input_value()


def test_notebook_08_follows_the_box(desk):
    picture, parts = (desk.page.locator("canvas.digit-picture").nth(k) for k in (0, 1))
    space = desk.page.locator("canvas.digit-space")
    before, seen = box_of(desk), drawn(space)
    changes(desk, parts, lambda: drag(desk, picture, (0.05, 0.05), (0.5, 0.4)))
    desk.wait_idle()
    moved = box_of(desk)
    assert moved != before and drawn(space) != seen, "the network was run anew"
    x, y, w, h = (float(v) for v in moved.split(","))
    changes(desk, parts, lambda: picture.press("ArrowRight"))
    desk.wait_idle()
    assert float(box_of(desk).split(",")[0]) > x
    picture.press("Shift+ArrowDown")
    desk.wait_idle()
    assert float(box_of(desk).split(",")[3]) > h
    drag(desk, picture, (0.3, 0.3), (0.3, 0.3))  # a click is no box
    changes(desk, space, lambda: drag(desk, space, (0.5, 0.5), (0.2, 0.6)))
    assert desk.errors() == []


def test_notebook_08_takes_photos_and_says_what_is_none(desk, tmp_path):
    page, picture = desk.page, desk.page.locator("canvas.digit-picture").first
    pixels = np.random.default_rng(0).integers(0, 255, (1500, 2400, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x112] = 6  # turned: 1500 wide when upright
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert (tmp_path / "turned.jpg").stat().st_size > 2**21, "goes in several pieces"
    (tmp_path / "none.jpg").write_text("no picture")
    choose = page.locator("input[type=file]").set_input_files
    changes(desk, picture, lambda: choose(tmp_path / "turned.jpg"))
    desk.wait_idle()
    at = picture.bounding_box()
    assert at["height"] / at["width"] == pytest.approx(2400 / 1500, rel=0.01)
    page.get_by_text("assumed from a field of view of 60°").wait_for()
    stays = drawn(picture)
    choose(tmp_path / "none.jpg")
    page.get_by_text("cannot be decoded as an image").wait_for()
    assert drawn(picture) == stays
    page.locator(".widget-text:has-text('box') input").fill("9000, 0, 10, 10")
    page.keyboard.press("Enter")
    page.get_by_text("lies outside the 1500×2400 image").wait_for()
    page.locator(".widget-dropdown:has-text('example') select").select_option(index=1)
    page.get_by_text("Focal length: annotated").wait_for()
    assert desk.errors() == []

"""Notebook 08 in JupyterLab: the failure browser as a reader uses it."""

import json
import shutil

import pytest
from lab import Lab

from digit.inference.evaluate import evaluate

pytestmark = pytest.mark.browser
SHOWN = ".digit[data-drawn]"


@pytest.fixture(scope="module")
def two_runs(tiny_root, tiny_run, tmp_path_factory):
    """Two runs with error tables of the small training split (the largest)."""
    folder = tmp_path_factory.mktemp("two")
    errors = tiny_run / "errors_train.parquet"
    evaluate(
        tiny_root, "train", "gt", tiny_run / "checkpoints/best.ckpt", errors=errors
    )
    return [shutil.copytree(tiny_run, folder / name) for name in ("first", "second")]


@pytest.fixture(scope="module")
def shown(lab, two_runs, tiny_root) -> Lab:
    """The notebook, run, its browser in view."""
    lab.open(
        "08_error_analysis",
        run=str(two_runs[0]),
        root=str(tiny_root),
        split="train",
        n=1,
    )
    show(lab)
    return lab


def show(lab: Lab) -> None:
    lab.run_all(600)
    lab.page.locator(".digit").scroll_into_view_if_needed()
    lab.page.wait_for_selector(SHOWN)


def number(lab: Lab, name: str) -> int:
    return int(lab.page.locator(".digit").get_attribute(f"data-{name}") or -1)


def until(lab: Lab, condition: str) -> None:
    """Wait until a condition on the widget's element `d` holds."""
    lab.page.wait_for_function(
        f"() => {{ const d = document.querySelector('.digit'); return {condition} }}"
    )


def test_all_cells_run_and_the_worst_frame_is_drawn(shown):
    page = shown.page
    assert (
        number(shown, "shown") == 48 and page.locator(".digit-thumbs img").count() == 18
    )
    assert page.locator(".digit-crops img").count() == 1
    assert page.locator(".digit-hands canvas").count() >= 1, "3D"
    assert shown.errors() == []


def test_filters_slices_and_order(shown):
    page = shown.page
    page.locator(".digit-query").fill("hand_type == 'interacting'")
    page.keyboard.press("Enter")
    until(shown, "d.dataset.shown < 48")
    two = number(shown, "shown")
    page.locator(".digit").get_by_role("button", name="clear").click()
    until(shown, "d.dataset.shown == 48")
    page.locator(".digit").get_by_role("button", name="interacting", exact=True).click()
    until(shown, f"d.dataset.shown == {two}")
    page.locator(".digit").get_by_role("button", name="clear").click()
    until(shown, "d.dataset.shown == 48")
    page.locator(".digit-sort").select_option("image_id")
    page.locator(".digit").get_by_role("button", name="largest first").click()
    until(shown, "d.querySelector('.digit-order').textContent == 'smallest first'")
    shown.wait_idle()
    assert page.locator(".digit-thumbs button").first.inner_text() == "0"
    page.locator(".digit-query").fill("speed > 3")
    page.keyboard.press("Enter")
    until(shown, "d.querySelector('.digit-say').textContent.includes('speed')")
    page.locator(".digit-query").fill("mpjpe > 100000")
    page.keyboard.press("Enter")
    until(shown, "d.dataset.shown == 0")
    assert "No frame passes" in page.locator(".digit-fault").inner_text()
    page.locator(".digit").get_by_role("button", name="clear").click()
    until(shown, "d.dataset.shown == 48 && d.dataset.row")


def test_points_chosen_in_the_plot_are_the_frames_shown(shown):
    page = shown.page
    for plot in (".digit-scatter", ".digit-histogram"):
        box = page.locator(f"{plot} .nsewdrag").first.bounding_box()
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        page.mouse.down()
        page.mouse.move(
            box["x"] + box["width"] / 2, box["y"] + box["height"] - 3, steps=6
        )
        page.mouse.up()
        until(shown, "d.dataset.shown < 48 && d.dataset.shown > 0")
        shown.wait_idle()
        page.locator(".digit").get_by_role("button", name="clear").click()
        until(shown, "d.dataset.shown == 48")
        shown.wait_idle()


def test_keys_layers_and_turning_in_3d(shown):
    page = shown.page
    first = number(shown, "row")
    page.locator(".digit").focus()
    page.keyboard.press("ArrowRight")
    until(shown, f"d.dataset.row != {first}")
    second = number(shown, "row")
    page.keyboard.press("k")
    until(shown, f"d.dataset.row == {first}")
    page.keyboard.press("j")
    until(shown, f"d.dataset.drawn == {second}")
    pictures = set()
    for layer in page.locator(".digit-layer option").all_inner_texts():
        page.locator(".digit-layer").select_option(layer)
        shown.wait_idle()
        source = page.locator(".digit-crops img").get_attribute("src")
        pictures.add(
            page.evaluate(f"fetch('{source}').then(r => r.blob()).then(b => b.text())")
        )
    assert len(pictures) == 7
    joints = page.locator(".digit-crops circle").count()
    page.locator(".digit-shows input").first.uncheck()
    assert 0 < page.locator(".digit-crops circle").count() < joints
    page.locator(".digit-shows input").first.check()
    camera = (
        "document.querySelector('.digit-hands')._fullLayout.scene._scene.getCamera()"
    )
    eye = f"JSON.stringify({camera}.eye)"
    before, box = page.evaluate(eye), page.locator(".digit-hands").bounding_box()
    page.mouse.move(box["x"] + 150, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 230, box["y"] + 170, steps=5)
    page.mouse.up()
    page.wait_for_function(f"() => {eye} != {before!r}")
    page.locator(".digit-camera").select_option(index=1)
    shown.wait_idle()
    assert shown.errors() == []


def test_tags_and_notes_outlive_the_kernel(shown, two_runs):
    page, notes = shown.page, two_runs[0] / "errors_train.notes.json"
    page.locator(".digit").focus()
    page.keyboard.press("2")
    until(shown, "d.dataset.marked == 1")
    page.keyboard.press("n")
    page.keyboard.type("both wrists out of the picture")
    page.keyboard.press("Escape")
    shown.wait_idle()
    (mark,) = json.loads(notes.read_text()).values()
    assert mark == {"tags": ["hidden"], "note": "both wrists out of the picture"}
    page.keyboard.press("1")
    shown.wait_idle()
    page.keyboard.press("u")
    shown.wait_idle()
    assert json.loads(notes.read_text()) and "wrong hand" not in notes.read_text()
    row = number(shown, "row")
    shown.restart()
    show(shown)
    page.locator(".digit").get_by_role("button", name="tagged").click()
    until(shown, f"d.dataset.shown == 1 && d.dataset.row == {row}")
    assert page.locator(".digit-note").input_value() == "both wrists out of the picture"
    assert page.locator(".digit-tags .on").all_inner_texts() == ["2 hidden"]
    page.locator(".digit").get_by_role("button", name="clear").click()
    until(shown, "d.dataset.shown == 48")
    assert shown.errors() == []


def test_a_second_run_stands_beside_the_first(shown, two_runs):
    page = shown.page
    page.locator(".digit-second").fill(str(two_runs[1]))
    page.locator(".digit").get_by_role("button", name="compare").click()
    until(shown, "d.querySelectorAll('.digit-crops img').length == 2")
    assert "of 48 frames" in page.locator(".digit-verdict").inner_text()
    assert (
        page.locator(".digit").get_by_role("button", name="changed most").count() == 1
    )
    shown.wait_idle()
    assert shown.errors() == []


def test_the_exported_page_opens_alone(shown, two_runs):
    shown.page.locator(".digit").get_by_role("button", name="page", exact=True).click()
    until(shown, "d.querySelector('.digit-say').textContent.includes('frames.html')")
    alone, faults = shown.context.new_page(), []
    alone.on("pageerror", lambda error: faults.append(str(error)))
    alone.on("request", lambda r: r.url[:4] == "http" and faults.append(r.url))
    alone.goto((two_runs[0] / "exports/frames.html").as_uri())
    first = alone.locator("article h2").first.inner_text()
    assert (
        alone.locator("article").count() == 48
        and alone.locator("article img").count() == 96
    )
    alone.locator("#descending").uncheck()
    assert alone.locator("article h2").first.inner_text() != first
    assert alone.locator("article img").first.evaluate("i => i.naturalWidth") == 384
    assert faults == []
    alone.close()
    assert shown.errors() == []

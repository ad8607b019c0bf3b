"""Chapter 08 in JupyterLab: the failure browser as a reader uses it."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from browser_lab import FRAMES, clear, number, press, run, type_filter, until
from lab import WINDOW, Lab
from random_actions import act_at_random

pytestmark = pytest.mark.browser


@pytest.fixture
def shown(opened) -> Lab:
    """The browser without a filter, at the worst frame."""
    clear(opened)
    opened.page.locator(".digit-sort").select_option("mpjpe")
    if opened.page.locator(".digit-order").inner_text() == "ascending":
        opened.page.locator(".digit-order").click()
    opened.wait_idle()
    return opened


# First view


def test_all_cells_run_and_the_worst_frame_is_drawn(opened):
    page = opened.page
    assert number(opened, "shown") == FRAMES
    assert page.locator(".digit-thumbs img").count() == 18
    assert page.locator(".digit-crops img").count() == 1
    assert page.locator(".digit-hands canvas").count() >= 1
    assert opened.errors() == []


# Filters


def test_a_condition_and_a_slice_filter_alike(shown):
    type_filter(shown, "hand_type == 'interacting'")
    until(shown, f"d.dataset.shown < {FRAMES}")
    two = number(shown, "shown")
    clear(shown)
    press(shown, "interacting")
    until(shown, f"d.dataset.shown == {two}")


def test_the_order_is_turned_round(shown):
    shown.page.locator(".digit-sort").select_option("image_id")
    press(shown, "descending")
    until(shown, "d.querySelector('.digit-order').textContent == 'ascending'")
    first = "d.querySelector('.digit-thumbs button').innerText.trim()"
    until(shown, f"{first} == '0'")


def test_an_invalid_filter_is_explained_under_its_box(shown):
    type_filter(shown, "mpje > 3")
    until(
        shown, "d.querySelector('.digit-filterfault').textContent.includes('mean mpj')"
    )
    box = shown.box(shown.page.locator(".digit-query"))
    fault = shown.box(shown.page.locator(".digit-filterfault"))
    assert 0 <= fault["y"] - box["y"] - box["height"] < 40
    assert number(shown, "shown") == FRAMES
    type_filter(shown, "mpjpe > 3")
    until(shown, "d.querySelector('.digit-filterfault').textContent == ''")


def test_an_empty_filter_is_explained_and_keys_go_on(shown):
    type_filter(shown, "mpjpe > 100000")
    until(shown, "d.dataset.shown == 0")
    fault = "d.querySelector('.digit-fault').innerText"
    until(shown, f"{fault}.includes('No frame passes')")
    shown.page.locator(".digit").focus()
    shown.page.keyboard.press("t")
    until(shown, "d.querySelector('.digit-say').textContent == 'No frame is shown.'")
    assert shown.errors() == []


def test_columns_and_words_are_completed(shown):
    page = shown.page
    query = page.locator(".digit-query")
    query.click()
    page.keyboard.type("hand_ty")
    page.keyboard.press("Tab")
    assert query.input_value() == "hand_type"
    page.keyboard.type(" == inter")
    page.keyboard.press("Tab")
    assert query.input_value() == "hand_type == 'interacting'"
    page.keyboard.press("Enter")
    until(shown, f"d.dataset.shown < {FRAMES}")


@pytest.mark.parametrize("column", ["hidden", "probability_right"])
def test_a_range_with_untouched_ends_drops_nothing(shown, column):
    page = shown.page
    page.locator(".digit-column").select_option(column)
    press(shown, "add")
    page.locator(".digit-chips button").wait_for()
    shown.wait_idle()
    assert number(shown, "shown") == FRAMES
    clear(shown)

    # The ends that are offered, typed in
    for end in page.locator(".digit-ends input").all():
        end.fill(end.get_attribute("title").split(";")[0].split(" ")[1])
    press(shown, "add")
    page.locator(".digit-chips button").wait_for()
    shown.wait_idle()
    assert number(shown, "shown") == FRAMES


def test_a_range_that_is_empty_is_explained(shown):
    low, high = shown.page.locator(".digit-ends input").all()
    low.fill("9")
    high.fill("3")
    press(shown, "add")
    until(shown, "d.querySelector('.digit-filterfault').textContent.includes('swap')")
    assert number(shown, "shown") == FRAMES


@pytest.mark.parametrize("plot", [".digit-scatter", ".digit-histogram"])
def test_points_chosen_in_a_plot_are_the_frames_shown(shown, plot):
    page = shown.page
    until(shown, "d.dataset.charts == 'drawn'")
    box = shown.box(page.locator(f"{plot} .nsewdrag"))
    middle = box["x"] + box["width"] / 2
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.down()
    page.mouse.move(middle, box["y"] + box["height"] - 3, steps=6)
    page.mouse.up()
    until(shown, f"d.dataset.shown < {FRAMES} && d.dataset.shown > 0")
    assert shown.errors() == []


# Keys


def test_keys_step_through_the_frames(shown):
    page = shown.page
    first = number(shown, "row")
    page.locator(".digit").focus()
    page.keyboard.press("ArrowRight")
    until(shown, f"d.dataset.row != {first}")
    page.keyboard.press("k")
    until(shown, f"d.dataset.row == {first}")


def test_keys_work_after_a_click_on_a_button(shown):
    page = shown.page
    press(shown, "interacting")
    until(shown, f"d.dataset.shown < {FRAMES}")
    shown.wait_idle()
    first = number(shown, "row")
    page.keyboard.press("ArrowRight")
    until(shown, f"d.dataset.row != {first}")
    page.locator(".digit-tags button").first.click()
    shown.wait_idle()
    page.keyboard.press("ArrowLeft")
    until(shown, f"d.dataset.row == {first}")
    page.keyboard.press("u")  # takes the tag back
    shown.wait_idle()
    assert number(shown, "marked") == 0


def test_keys_step_after_a_layer_was_chosen(shown):
    page = shown.page
    first = number(shown, "row")
    layer = page.locator(".digit-layer")
    layer.select_option("wrong pixels")
    until(shown, "d.dataset.layer == 'wrong pixels'")
    page.locator(".digit-layer").focus()
    page.keyboard.press("ArrowRight")
    until(shown, f"d.dataset.row != {first}")
    assert layer.input_value() == "wrong pixels"
    layer.select_option("picture")


def test_keys_are_text_in_text_fields(shown):
    page = shown.page
    first = number(shown, "row")
    page.locator(".digit-query").click()
    page.keyboard.type("jk")
    page.keyboard.press("ArrowLeft")
    shown.wait_idle()
    assert page.locator(".digit-query").input_value() == "jk"
    assert number(shown, "row") == first


def test_the_keys_are_listed(shown):
    page = shown.page
    page.locator(".digit").focus()
    page.keyboard.press("?")
    page.get_by_text("previous, next frame").wait_for()
    page.keyboard.press("?")
    page.get_by_text("previous, next frame").wait_for(state="hidden")


# The frame


def test_layers_change_the_picture(shown):
    page = shown.page
    before = page.locator(".digit-crops img").get_attribute("src")
    page.locator(".digit-layer").select_option("part probability")
    until(shown, "d.dataset.layer == 'part probability'")
    shown.wait_idle()
    assert page.locator(".digit-crops img").get_attribute("src") != before
    assert page.locator(".digit-part").is_enabled()
    assert page.locator(".digit-joint").is_disabled()
    page.locator(".digit-layer").select_option("picture")
    shown.wait_idle()


def test_a_joint_tells_its_name_and_error(shown):
    title = shown.page.locator(".digit-crops circle title").last
    assert "mm" in title.text_content() or "measurable" in title.text_content()


def test_the_plots_offer_files_and_no_server(shown):
    buttons = shown.page.locator(".digit .modebar-btn")
    titles = buttons.evaluate_all("nodes => nodes.map(n => n.dataset.title)")
    assert any("SVG" in title for title in titles)
    assert any("png" in title.lower() for title in titles)
    for word in ("share", "cloud", "chart studio"):
        assert not any(word in title.lower() for title in titles)


# Tags and notes


def test_tags_and_notes_are_saved_and_found_again(shown, two_runs):
    page = shown.page
    notes = two_runs[0] / "errors_train.notes.json"
    page.locator(".digit").focus()
    page.keyboard.press("2")
    until(shown, "d.dataset.marked == 1")
    page.keyboard.press("n")
    page.keyboard.type("both wrists out of the picture")
    page.keyboard.press("Escape")
    shown.wait_idle()
    [mark] = json.loads(notes.read_text()).values()
    assert mark == {"tags": ["hidden"], "note": "both wrists out of the picture"}

    row = number(shown, "row")
    shown.restart()
    run(shown)
    press(shown, "tagged")
    until(shown, f"d.dataset.shown == 1 && d.dataset.row == {row}")
    assert page.locator(".digit-note").input_value() == mark["note"]
    assert page.locator(".digit-tags .on").all_inner_texts() == ["2 hidden"]


def test_the_list_of_tagged_frames_follows_the_tags(shown):
    press(shown, "tagged")
    until(shown, "d.dataset.shown == 1")
    shown.page.keyboard.press("2")
    until(shown, "d.dataset.shown == 0")
    shown.page.keyboard.press("u")
    until(shown, "d.dataset.shown == 1")
    assert shown.errors() == []


# Anything


def test_two_hundred_random_actions_leave_no_error(shown, two_runs):
    keys = ["ArrowRight", "j", "k", "t", "2", "u", "r", "l", "w", "p", "+", "?", "n"]
    # Small changes of the picture take seconds each: they have their own test.
    clickable = "button:not(.digit-foot button, .digit-whybutton), input[type=checkbox]"
    try:
        act_at_random(shown, ".digit", [*keys, "Escape"], clickable)
    finally:  # the tests that follow find the widget as it was
        shown.page.locator(".digit").focus()
        shown.page.keyboard.press("Escape")  # closes the whole picture
        press(shown, "joints")  # ends a film
        press(shown, "plots")
        clear(shown)
    # Forget what it has tagged: the next change reads the file again.
    (two_runs[0] / "errors_train.notes.json").write_text("{}")
    for _ in range(2):
        shown.page.locator(".digit").focus()
        shown.page.keyboard.press("t")
        shown.wait_idle()
    until(shown, "d.dataset.marked == 0")


# Export


@pytest.mark.parametrize("ending", ["list", "CSV"])
def test_an_export_is_offered_as_a_download(shown, ending):
    page = shown.page
    type_filter(shown, "mpjpe > 0")
    press(shown, ending)
    with page.expect_download() as download:
        page.locator(".digit-say a").click()
    name = download.value.suggested_filename
    assert name.startswith("train_mpjpe-0_")
    text = download.value.path().read_text()
    assert len(text.splitlines()) >= FRAMES


def test_the_exported_page_opens_alone(shown, two_runs):
    press(shown, "page (first 200)")
    shown.page.locator(".digit-say a").wait_for()
    [path] = (two_runs[0] / "exports").glob("*.html")
    alone = shown.context.new_page()
    faults = []
    alone.on("pageerror", lambda error: faults.append(str(error)))
    alone.on("request", lambda r: r.url[:4] == "http" and faults.append(r.url))
    alone.goto(path.as_uri())
    first = alone.locator("article h2").first.inner_text()
    assert alone.locator("article").count() == FRAMES
    assert alone.locator("article img").count() == FRAMES
    alone.locator("#descending").uncheck()
    assert alone.locator("article h2").first.inner_text() != first
    assert alone.locator("article img").first.evaluate("i => i.naturalWidth") == 384
    assert faults == []
    alone.close()
    assert shown.errors() == []


# 3D


def half_of(lab: Lab, half: int) -> list[int]:
    """The pixels of the left or the right half of the 3D view, coarsely."""
    code = """(canvas, half) => {
        const [w, h] = [canvas.width / 2, canvas.height];
        const image = canvas.getContext('2d').getImageData(half * w, 0, w, h);
        return [...image.data.filter((_, i) => i % 40 === 0)];
    }"""
    return lab.page.locator(".digit-hands canvas").evaluate(code, half)


def box_of_3d(lab: Lab) -> dict[str, float]:
    """Where the 3D view is on the screen."""
    lab.page.mouse.move(1, 1)
    lab.page.locator(".digit-hands").scroll_into_view_if_needed()
    return lab.box(lab.page.locator(".digit-hands canvas"))


def turn(lab: Lab) -> None:
    """Turn the 3D view by a drag in its left half."""
    box = box_of_3d(lab)
    x, y = box["x"] + box["width"] / 5, box["y"] + box["height"] / 2
    lab.page.mouse.move(x, y)
    lab.page.mouse.down()
    lab.page.mouse.move(x + 70, y + 30, steps=3)
    lab.page.mouse.up()
    lab.page.evaluate("() => new Promise(requestAnimationFrame)")


def test_a_joint_in_3d_is_named_and_marked_in_the_crop(shown):
    page = shown.page
    box = box_of_3d(shown)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    # Along rays from the middle until a joint is met
    for x, y in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0.5), (1, 0.5), (0.5, 0)):
        page.mouse.move(*middle)
        end = box["x"] + x * box["width"], box["y"] + y * box["height"]
        for share in np.linspace(0, 0.9, 25):
            page.mouse.move(*(np.add(middle, share * np.subtract(end, middle))))
            if page.locator(".digit").get_attribute("data-joint"):
                break
        else:
            continue
        break
    joint = number(shown, "joint")
    hot = page.locator(".digit-crops circle.hot").first
    hot.wait_for(state="attached")
    assert hot.get_attribute("data-joint") == str(joint)
    assert page.locator(".digit-hotjoint").inner_text()
    page.mouse.move(1, 1)
    until(shown, "d.dataset.joint == ''")


@pytest.mark.parametrize("ending", ["PNG", "SVG"])
def test_the_3d_view_is_saved_as_a_file(shown, ending):
    button = shown.page.locator(".digit-files").get_by_text(ending)
    with shown.page.expect_download() as download:
        button.click(force=True)
    data = download.value.path().read_bytes()
    if ending == "PNG":
        assert data[:4] == b"\x89PNG"
    else:
        drawn = ElementTree.fromstring(data)
        assert len(drawn.findall("{*}g/{*}path")) > 42
        assert "x (mm)" in [text.text for text in drawn.findall("{*}g/{*}text")]


def test_the_frame_that_is_shown_is_ringed_in_the_plot(shown):
    page = shown.page
    until(shown, "d.dataset.charts == 'drawn'")
    ring = page.locator(".digit-current")
    before = shown.box(ring)
    first = number(shown, "row")
    page.locator(".digit").focus()
    page.keyboard.press("ArrowRight")
    until(shown, f"d.dataset.row != {first}")
    assert shown.box(ring) != before
    plot = shown.box(page.locator(".digit-scatter .nsewdrag"))
    after = shown.box(ring)
    assert plot["x"] < after["x"] < plot["x"] + plot["width"]
    assert plot["y"] - 10 < after["y"] < plot["y"] + plot["height"]


@pytest.mark.parametrize("size", [(1400, 900), (1100, 800)])
def test_the_table_of_groups_is_not_cut(shown, size):
    page = shown.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    press(shown, "groups")
    page.locator(".digit-groupby").select_option("seq_name")
    table = "d.querySelector('.digit-grouptable')"
    until(shown, f"{table}.querySelectorAll('td').length > 5")
    until(shown, f"{table}.scrollWidth <= {table}.clientWidth")
    press(shown, "plots")
    page.set_viewport_size(WINDOW)


# Two models; last, as the second one stays


def test_a_second_run_is_shown_beside_the_first(shown, two_runs):
    page = shown.page
    page.locator(".digit-second").fill(str(two_runs[1]))
    press(shown, "compare")
    until(shown, "d.querySelectorAll('.digit-crops img').length == 2")
    verdict = "d.querySelector('.digit-verdict').innerText"
    until(shown, f"{verdict}.includes('of {FRAMES} frames')")
    browser = page.locator(".digit")
    assert browser.get_by_role("button", name="changed most").count() == 1
    shown.wait_idle()
    assert shown.errors() == []


def halves_when(lab: Lab, holds) -> list[list[int]]:
    """Both halves of the 3D view, once they are as wanted; a frame or two later."""
    for _ in range(200):
        halves = [half_of(lab, half) for half in (0, 1)]
        if all(map(holds, (0, 1), halves)):
            return halves
        lab.page.wait_for_timeout(50)
    raise AssertionError("a half of the 3D view is not as wanted")


def first_view(lab: Lab) -> list[list[int]]:
    """Both halves after a double click, once they stand still; the mouse is elsewhere."""
    lab.page.locator(".digit-hands canvas").dblclick(position={"x": 5, "y": 5})
    box_of_3d(lab)
    before = None
    for _ in range(200):
        halves = [half_of(lab, half) for half in (0, 1)]
        if halves == before:
            return halves
        before = halves
        lab.page.wait_for_timeout(200)
    raise AssertionError("the 3D view does not stand still")


def test_both_3d_views_are_turned_by_one_camera_and_back(shown):
    until(shown, "d.querySelectorAll('.digit-crops img').length == 2")
    before = first_view(shown)
    turn(shown)
    turned = halves_when(shown, lambda half, pixels: pixels != before[half])
    again = first_view(shown)
    for half in (0, 1):  # the browser smooths edges anew once a canvas has been read
        by_turning = np.abs(np.subtract(turned[half], before[half])).sum()
        left = np.abs(np.subtract(again[half], before[half])).sum()
        assert left < by_turning / 4

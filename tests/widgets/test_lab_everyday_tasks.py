"""Ten everyday tasks in the failure browser, each in six actions at most.

docs/failure_browser.md lists them. An action is a click, a key, a choice in a list, or a
line typed in.
"""

import json

import pandas as pd
import pytest
from browser_lab import FRAMES, clear, number, press, until
from lab import Lab

pytestmark = pytest.mark.browser
MOST_ACTIONS = 6


class Reader:
    """Acts in the browser and counts the actions."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.browser = lab.page.locator(".digit")
        self.actions = 0

    def _acted(self) -> None:
        self.lab.wait_idle()
        self.actions += 1
        assert self.actions <= MOST_ACTIONS

    def press(self, name: str) -> None:
        self.browser.get_by_role("button", name=name, exact=True).first.click()
        self._acted()

    def click(self, selector: str, number: int = 0, **how) -> None:
        self.browser.locator(selector).nth(number).click(**how)
        self._acted()

    def key(self, key: str) -> None:
        self.browser.focus()
        self.lab.page.keyboard.press(key)
        self._acted()

    def choose(self, selector: str, value: str) -> None:
        self.browser.locator(selector).select_option(value)
        self._acted()

    def type(self, selector: str, text: str) -> None:
        """Type a line and end it with Enter."""
        self.browser.locator(selector).fill(text)
        self.browser.locator(selector).press("Enter")
        self._acted()


@pytest.fixture
def reader(opened) -> Reader:
    clear(opened)
    for tab in ("plots", "joints"):
        press(opened, tab)
    opened.page.locator(".digit-sort").select_option("mpjpe")
    opened.wait_idle()
    return Reader(opened)


@pytest.fixture(scope="module")
def errors(two_runs) -> pd.DataFrame:
    return pd.read_parquet(two_runs[0] / "errors_train.parquet")


def shown_rows(lab: Lab) -> list[int]:
    rows = "cells => cells.map(cell => Number(cell.dataset.row))"
    return lab.page.locator(".digit-thumbs button").evaluate_all(rows)


def test_the_worst_left_hands_seen_from_behind(reader, errors):
    reader.type(".digit-query", "hand_type != 'right' and palm_view_left_deg > 90")
    reader.choose(".digit-sort", "mpjpe_left")
    of_left = errors["hand_type"] != "right"
    wanted = errors[of_left & (errors["palm_view_left_deg"] > 90)]
    until(reader.lab, f"d.dataset.shown == {len(wanted)}")
    assert shown_rows(reader.lab)[0] == wanted["mpjpe_left"].idxmax()


def test_which_camera_is_worst(reader, errors):
    reader.press("groups")
    reader.choose(".digit-groupby", "camera")
    means = errors.groupby("camera")["mpjpe"].mean()
    until(reader.lab, f"d.dataset.groups == {len(means)}")
    first = reader.browser.locator(".digit-grouptable td").first.inner_text()
    assert first == means.idxmax()
    reader.click(".digit-grouptable td")  # only its frames
    until(reader.lab, f"d.dataset.shown == {(errors['camera'] == first).sum()}")
    reader.press("plots")


def test_frames_like_this_one(reader):
    row = number(reader.lab, "row")
    reader.choose(".digit-space", "pose")
    reader.key("l")
    until(reader.lab, "d.querySelector('.digit-chips').innerText.includes('like')")
    assert shown_rows(reader.lab)[0] == row
    assert number(reader.lab, "shown") == FRAMES


def test_what_failures_have_in_common(reader, errors):
    reader.press("groups")
    reader.choose(".digit-groupby", "clusters by features")
    head = "d.querySelector('.digit-grouptable th').innerText"
    until(reader.lab, f"{head}.includes('cluster')")
    count = int(reader.browser.locator(".digit-grouptable td").nth(1).inner_text())
    reader.click(".digit-grouptable td")
    until(reader.lab, f"d.dataset.shown == {count}")
    worst = errors["mpjpe"].nlargest(FRAMES // 4).index
    assert set(shown_rows(reader.lab)) <= set(worst)
    reader.press("plots")


def test_a_map_of_all_frames(reader):
    reader.choose(".digit-map", "features")
    until(reader.lab, "d.querySelector('.digit-x').value == 'map_features_1'")
    until(reader.lab, "d.dataset.charts == 'drawn'")
    reader.choose(".digit-color", "hand_type")
    until(reader.lab, "d.dataset.charts == 'drawn'")
    traces = "d.querySelector('.digit-scatter').data"
    until(reader.lab, f"{traces}.some(trace => trace.name == 'interacting')")


def test_twenty_frames_are_tagged_and_exported(reader, two_runs):
    reader.click(".digit-thumbs button", 0, modifiers=["Control"])
    reader.press("page ▸")
    until(reader.lab, "d.querySelector('.digit-jump').value == 2")
    reader.click(".digit-thumbs button", 1, modifiers=["Shift"])
    until(reader.lab, "d.dataset.chosen == 20")
    reader.press("look again")
    until(reader.lab, "d.dataset.marked == 20")
    with reader.lab.page.expect_download() as download:
        reader.press("export them")
        reader.browser.locator(".digit-say a").click()
    table = pd.read_csv(download.value.path())
    assert (table["tags"] == "look again").sum() == len(table) == 20
    # All at once, back again
    reader.key("u")
    until(reader.lab, "d.dataset.marked == 0")
    notes = two_runs[0] / "errors_train.notes.json"
    assert json.loads(notes.read_text()) == {}
    reader.browser.get_by_role("button", name="none", exact=True).click()


def test_what_small_changes_do(reader, errors):
    row = number(reader.lab, "row")
    reader.press("why")
    reader.press("try small changes")
    until(reader.lab, f"d.dataset.why == {row}")
    words = reader.browser.locator(".digit-whywords").inner_text()
    assert words.startswith(f"Error as it is {errors['mpjpe'][row]:.1f} mm")
    assert reader.browser.locator(".digit-whypicture img").count() == 1
    assert reader.browser.locator(".digit-whycurves .main-svg").count() >= 1
    reader.press("joints")


def test_a_sequence_is_played(reader, errors):
    film = errors.groupby(["capture", "seq_name", "camera"])["image_id"]
    row = int(film.transform("count").to_numpy().argmax())
    image_id = errors["image_id"][row]
    count = int(film.transform("count").max())
    reader.type(".digit-query", f"image_id == {image_id}")
    until(reader.lab, f"d.dataset.row == {row}")
    reader.key("p")  # opens the tab
    until(reader.lab, f"d.dataset.film == {count}")
    if count > 1:
        reader.key("p")
        until(reader.lab, f"d.dataset.row != {row} && d.dataset.row")
        reader.key("p")
    reader.press("joints")


def test_another_camera_at_the_same_instant(reader, errors):
    instant = ["capture", "seq_name", "frame_idx"]
    counts = errors.groupby(instant)["image_id"].transform("count").to_numpy()
    row = int(counts.argmax())
    assert counts[row] > 1
    reader.type(".digit-query", f"image_id == {errors['image_id'][row]}")
    until(reader.lab, f"d.dataset.row == {row}")
    reader.key("w")
    views = reader.browser.locator(".digit-instant button")
    views.first.wait_for()
    assert views.count() == counts[row] - 1
    reader.click(".digit-instant button")
    until(reader.lab, f"d.dataset.row != {row}")
    other = number(reader.lab, "row")
    assert (errors.loc[row, instant] == errors.loc[other, instant]).all()


def test_a_view_is_saved_and_opened_again(reader):
    reader.press("interacting")
    reader.choose(".digit-layer", "predicted parts")
    reader.type(".digit-viewname", "parts of two hands")
    two = number(reader.lab, "shown")
    reader.press("clear")
    reader.choose(".digit-layer", "picture")
    until(reader.lab, f"d.dataset.shown == {FRAMES}")
    reader.choose(".digit-viewlist", "parts of two hands")
    until(reader.lab, f"d.dataset.shown == {two}")
    until(reader.lab, "d.dataset.layer == 'predicted parts'")
    reader.lab.page.locator(".digit-layer").select_option("picture")


def test_zoom_and_the_joint_under_the_mouse(reader):
    reader.key("+")
    until(reader.lab, "d.dataset.zoom == 1.25")
    reader.key("0")
    until(reader.lab, "d.dataset.zoom == 1")
    reader.browser.locator(".digit-crops circle").last.hover(force=True)
    until(reader.lab, "d.querySelector('.digit-hotjoint')")
    assert reader.browser.locator(".digit-crops circle.hot").count() >= 1
    assert reader.lab.errors() == []


# Last, as the second model stays until it is dropped


def test_whether_b_is_better_where_much_is_hidden(reader):
    reader.type(".digit-second", "second")
    until(reader.lab, "d.querySelectorAll('.digit-crops figure').length == 2")
    reader.type(".digit-query", "hidden > hidden.median()")
    words = "d.querySelector('.digit-verdict').innerText"
    until(reader.lab, f"{words}.includes('frames that pass the filter')")
    passing = number(reader.lab, "shown")
    assert 0 < passing < FRAMES
    until(reader.lab, f"{words}.includes('Of the {passing} frames')")
    until(reader.lab, f"{words}.includes('+0.00 mm')")  # B is a copy of A
    reader.press("drop B")
    until(reader.lab, "d.querySelectorAll('.digit-crops figure').length == 1")
    assert reader.lab.errors() == []

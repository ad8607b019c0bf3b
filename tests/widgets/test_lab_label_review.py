"""Labels looked through in JupyterLab, by keys and buttons."""

import pytest
from lab import Lab
from trees import label_copy

from digit.data.review import read_review

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def mine(tiny_root, tmp_path_factory):
    return label_copy(tiny_root, tmp_path_factory.mktemp("review") / "mine")


@pytest.fixture(scope="module")
def review(lab, mine) -> Lab:
    """The widget in a notebook of two cells."""
    lab.open_cells("import digit", f"digit.LabelReview({str(mine)!r}, 'val')")
    lab.run_all()
    return lab


def shown_title(lab: Lab) -> str:
    return lab.page.locator("canvas.digit-picture").get_attribute("title")


def wait_for_title(lab: Lab, other_than: str) -> None:
    code = "before => document.querySelector('canvas.digit-picture').title !== before"
    lab.page.wait_for_function(code, arg=other_than)


def test_keys_decide_and_leave_the_notebook_alone(review, mine):
    page = review.page
    titles = [shown_title(review)]
    page.locator("canvas.digit-picture").click()
    # Twice d deletes a cell where the notebook gets the keys.
    for key in ("d", "d", "k"):
        page.keyboard.press(key)
        wait_for_title(review, titles[-1])
        titles.append(shown_title(review))
    found = read_review(mine)
    verdicts = [found.of(title).verdict for title in titles[:3]]
    assert verdicts == ["drop", "drop", "keep"]
    assert page.locator(".jp-CodeCell").count() == 2
    assert review.errors() == []


def test_a_long_path_is_wrapped(review):
    """No text of the widget is cut off."""
    cut = """() => [...document.querySelectorAll('.jp-OutputArea .widget-html-content')]
        .filter(text => text.scrollWidth > text.clientWidth)
        .map(text => text.innerText)"""
    assert review.page.evaluate(cut) == []
    assert review.errors() == []


def test_keys_go_on_after_a_click_on_a_button(review, mine):
    page = review.page
    title = shown_title(review)
    page.get_by_role("button", name="swap side (s)").click()
    page.get_by_text("swaps to apply: 1").wait_for()
    page.keyboard.press("k")
    wait_for_title(review, title)
    assert read_review(mine).of(title).swap
    assert review.errors() == []

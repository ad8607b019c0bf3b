"""The widget that labels are looked through with, without a page."""

from pathlib import Path

import pytest
from trees import label_copy

from digit.data.build_index import prepare_index
from digit.data.review import FILE, read_review
from digit.widgets.label_review import HANDS, LabelReview


@pytest.fixture
def dataset_dir(tiny_root, tmp_path) -> Path:
    return label_copy(tiny_root, tmp_path / "mine")


@pytest.fixture
def review(dataset_dir) -> LabelReview:
    widget = LabelReview(dataset_dir, "val")
    assert widget.note.value == ""
    return widget


def press(widget: LabelReview, *keys: str) -> None:
    for key in keys:
        widget.shortcuts.pressed = [key, widget.shortcuts.handled + 1]


def test_keys_decide_and_go_on(review, dataset_dir):
    keys = review.keys_of_frames
    press(review, "k", "d", "s", "k")
    assert review.position == 3
    found = read_review(dataset_dir)
    assert found.of(keys[0]).verdict == "keep"
    assert found.of(keys[1]).verdict == "drop"
    assert found.of(keys[2]).swap and found.of(keys[2]).verdict == "keep"
    assert "3 of" in review.about.value and "swaps to apply: 1" in review.about.value
    assert len(prepare_index(dataset_dir, "val").usable()) == len(keys) - 2


def test_buttons_do_what_keys_do(review, dataset_dir):
    review.buttons["drop"].click()
    review.buttons["back"].click()
    assert review.position == 0 and "dropped" in review.about.value
    review.buttons["keep"].click()
    assert read_review(dataset_dir).of(review.keys_of_frames[0]).verdict == "keep"


def test_a_swap_is_seen_at_once_and_can_be_taken_back(review):
    before = review.canvas.strokes
    shown = review.about.value.partition("<br>")[0]
    press(review, "s")
    assert review.canvas.strokes != before
    assert not review.about.value.startswith(shown)
    assert review.position == 0
    press(review, "s")
    assert review.canvas.strokes == before
    assert review.about.value.startswith(shown)


def test_it_goes_on_where_it_stopped(review, dataset_dir):
    press(review, "k", "d")
    assert LabelReview(dataset_dir, "val").position == 2


def test_frames_are_chosen_by_their_decision(review):
    press(review, "d", "k", "d")
    review.shown.value = "dropped"
    assert review.rows.tolist() == [0, 2]
    press(review, "n")
    assert review.position == 1
    press(review, "n")
    assert "last frame" in review.note.value
    review.shown.value = "swapped"
    assert "no frame is swapped" in review.about.value
    press(review, "d")
    assert review.note.value == ""


def test_shared_joints_are_not_swapped(review, dataset_dir):
    """Frames of several cameras: the mistake is told, nothing is written."""
    press(review, "s")
    review.apply.click()
    assert "shares its joints" in review.note.value


def test_a_damaged_file_is_told(review, dataset_dir):
    (dataset_dir / FILE).write_text("[]")
    press(review, "d")
    assert FILE in review.note.value
    assert (dataset_dir / FILE).read_text() == "[]"


def test_it_comes_with_a_static_picture(review, published):
    review._repr_mimebundle_()
    assert len(published) == 1
    assert HANDS[review.index["hand_type"][0]] in review.about.value

"""Warnings about boxes, and the clues of a hand's score."""

import numpy as np
import pytest

from digit.inference.confidence import (
    Clues,
    box_warnings,
    clues_of,
    hand_pixels,
    score,
    share_near,
)
from digit.skeleton import LABELS, PARTS

SIZE = 100
RIGHT_PALM = 1 + PARTS.index("palm")
LEFT_PALM = RIGHT_PALM + len(PARTS)
RIGHT_TIP = LABELS.index("r_index3")
INSIDE = np.ones(4, bool)
ONE_HAND = np.array([True, False])


def a_hand(low: float = 0.2, high: float = 0.8) -> np.ndarray:
    """Joints of both hands on a diagonal of the crop."""
    line = np.linspace(low, high, 21)
    return np.tile(np.stack([line, line], -1), (2, 1))


def parts_of(label: int, low: int = 20, high: int = 80) -> np.ndarray:
    """A square of one part."""
    parts = np.zeros((SIZE, SIZE), np.uint8)
    parts[low:high, low:high] = label
    return parts


def warnings_for(parts, joints=None, edges=INSIDE, seen=ONE_HAND) -> list[str]:
    joints = a_hand() if joints is None else joints
    return box_warnings(parts, edges, joints, seen, box_share=0.8)


def test_a_good_box_is_not_warned_about():
    assert warnings_for(parts_of(RIGHT_PALM)) == []


@pytest.mark.parametrize(
    ("label", "width", "warns"),
    [
        (RIGHT_TIP, 5, True),
        (RIGHT_TIP, 1, False),
        (RIGHT_PALM, 20, False),
        (LEFT_PALM, 20, False),
        (RIGHT_PALM, 40, True),
    ],
)
def test_fingers_at_the_edge_are_cut_and_a_wrist_may_leave(label, width, warns):
    parts = parts_of(RIGHT_PALM)
    parts[-1, 30 : 30 + width] = label
    found = warnings_for(parts)
    assert bool(found) == warns
    if warns:
        assert "bottom" in found[0]


def test_the_pictures_own_edge_is_no_fault_of_the_box():
    parts = parts_of(RIGHT_PALM)
    parts[:, 0] = RIGHT_TIP
    assert "left" in warnings_for(parts)[0]
    edges = np.array([True, True, True, False])
    assert warnings_for(parts, edges=edges) == []


def test_hands_that_are_small_in_the_box_are_named_with_their_share():
    parts = parts_of(RIGHT_PALM, 40, 60)
    [warning] = warnings_for(parts, a_hand(0.4, 0.6))
    assert "25%" in warning


def test_joints_off_their_hand_are_named():
    [warning] = warnings_for(parts_of(LEFT_PALM))
    assert "right hand's joints" in warning


def test_a_box_without_a_hand_says_only_that():
    nothing = np.zeros((SIZE, SIZE), np.uint8)
    [warning] = warnings_for(nothing, seen=np.array([False, False]))
    assert "no hand" in warning


def test_joints_near_the_pixels_count_as_on_them():
    pixels = hand_pixels(parts_of(RIGHT_PALM, 50, 60), side=0)
    joints = np.array([(0.55, 0.55), (0.48, 0.55), (0.4, 0.55), (1.2, 0.55)])
    assert share_near(pixels, joints) == 0.5
    assert share_near(np.zeros_like(pixels), joints) == 0


def test_clues_are_those_of_the_side():
    joints = a_hand()[:21]
    entropy = np.full(21, np.log(64 * 64) / 2)
    parts = parts_of(RIGHT_PALM)
    right = clues_of(0, joints, entropy, 64, parts, joints + 0.03)
    assert right.entropy == pytest.approx(0.5)
    assert right.on_own_parts == 1
    assert right.from_landmarks == pytest.approx(0.03 * np.sqrt(2))
    left = clues_of(1, joints, entropy, 64, parts, None)
    assert (left.on_own_parts, left.from_landmarks) == (0, None)


def test_a_score_falls_with_doubt():
    sure = score(Clues(0.3, 1.0, 0.02))
    assert 0 < score(Clues(0.7, 1.0, 0.02)) < sure < 1
    assert score(Clues(0.3, 0.2, 0.02)) < sure
    assert score(Clues(0.3, 1.0, 0.2)) < sure
    assert score(Clues(0.3, 1.0, 0.5)) == score(Clues(0.3, 1.0, 0.2))
    assert 0 < score(Clues(0.7, 0.2, None)) < score(Clues(0.3, 1.0, None)) < 1

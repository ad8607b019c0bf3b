"""Strokes: the one rule that tells right hands from left ones, and their painting."""

import subprocess
import sys

import numpy as np
from matplotlib.colors import to_rgb

from digit.plots.painting import paint_strokes
from digit.plots.strokes import finger_color, hand_strokes, rgb, side_strokes
from digit.skeleton import FINGER_COLORS

HAND = np.stack([np.linspace(20, 180, 21), np.linspace(30, 150, 21)], -1)


def test_left_strokes_are_dashed_hollow_and_paler():
    right, left = (side_strokes(HAND, side)[0] for side in (0, 1))
    assert (right.look.line_style, right.look.filled) == ("-", True)
    assert (left.look.line_style, left.look.filled) == ("--", False)
    assert sum(rgb(left.color)) > sum(rgb(right.color))


def test_both_hands_are_six_strokes_each():
    strokes = hand_strokes(np.concatenate([HAND, HAND + 5]))
    assert [stroke.left for stroke in strokes] == [False] * 6 + [True] * 6
    np.testing.assert_array_equal(strokes[0].points, HAND[[0, 1, 2, 3, 20]])


def test_colours_are_mixed_as_shares():
    assert finger_color(1, side=0) == FINGER_COLORS[1].lower()
    assert finger_color(1, side=0, shade=1) == "#ffffff"
    assert finger_color(1, side=0, shade=-1) == "#000000"
    half = np.array(to_rgb(FINGER_COLORS[2])) / 2 + 0.5
    np.testing.assert_allclose(to_rgb(finger_color(2, 0, 0.5)), half, atol=0.003)


def test_a_painted_left_hand_has_gaps():
    covered = []
    for side in (0, 1):
        image = np.zeros((200, 200, 3), np.uint8)
        paint_strokes(image, side_strokes(HAND, side)[:1], thickness=2)
        # Along the last bone, away from the marks at its ends
        row = np.linspace(0.2, 0.8, 200)[:, None]
        path = (HAND[3] + (HAND[20] - HAND[3]) * row).round().astype(int)
        covered.append((image[path[:, 1], path[:, 0]].max(-1) > 60).mean())
    assert covered[0] == 1
    assert 0.3 < covered[1] < 0.8


def test_joints_that_are_unknown_are_not_painted():
    image = np.zeros((200, 200, 3), np.uint8)
    paint_strokes(image, side_strokes(np.full((21, 2), np.nan), 0), thickness=2)
    assert not image.any()


def test_strokes_need_no_drawing_library():
    code = "import sys, digit.plots.strokes; print('matplotlib' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert result.stdout.strip() == "False", result.stderr

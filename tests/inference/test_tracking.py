"""Hands followed through frames, and the filter that smooths them."""

from dataclasses import replace

import numpy as np
import pytest

from digit.inference.assembly import Smoother
from digit.inference.detection import FoundHand, HandDetector, TurnedBox
from digit.inference.tracking import (
    KEEP,
    LOOK_AGAIN,
    HandTracker,
    OneEuro,
    smoothed_sequence,
)

IMAGE = np.zeros((400, 600, 3), np.uint8)
RATE = 30


def hand_at(x: float, y: float, side: str = "right", size: float = 80.0) -> FoundHand:
    angles = np.linspace(0, 2 * np.pi, 21, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    return FoundHand(
        side=side,
        side_probability=0.9,
        presence=0.9,
        joints_px=np.array([x, y]) + size / 2 * circle,
        depth_px=np.zeros(21),
        joints_metric_mm=np.zeros((21, 3)),
    )


class Scene(HandDetector):
    """A detector of hands whose places are known; counts its looks."""

    def __init__(self, *hands: FoundHand):
        self.hands = list(hands)
        self.looks = 0

    def find(self, image, second_look=True) -> list[FoundHand]:
        self.looks += 1
        return list(self.hands)

    def landmarks(self, image, box: TurnedBox) -> FoundHand | None:
        """The hand nearest to the box's centre, if it is in the box."""
        for hand in self.hands:
            apart = np.linalg.norm(hand.joints_px.mean(0) - box.center_px)
            if apart < box.side_px / 3:
                return hand
        return None


def moved(hand: FoundHand, by) -> FoundHand:
    return replace(hand, joints_px=hand.joints_px + by)


def test_the_detector_runs_only_now_and_then_while_hands_are_in_sight():
    scene = Scene(hand_at(100, 100), hand_at(400, 200, "left"))
    tracker = HandTracker(scene)
    frames = 5 * LOOK_AGAIN
    for _ in range(frames):
        scene.hands = [moved(hand, [2, 1]) for hand in scene.hands]
        found = tracker.step(IMAGE)
    assert sorted(hand.track for hand in found) == [1, 2]
    assert scene.looks <= frames / LOOK_AGAIN + 1


def test_identities_are_kept_while_hands_pass_each_other():
    scene = Scene(hand_at(100, 100), hand_at(500, 200, "left"))
    tracker = HandTracker(scene)
    first = {hand.track: hand.side for hand in tracker.step(IMAGE)}
    for _ in range(80):
        scene.hands = [
            moved(scene.hands[0], [5, 0]),
            moved(scene.hands[1], [-5, 0]),
        ]
        found = tracker.step(IMAGE)
    assert {hand.track: hand.side for hand in found} == first
    by_track = {hand.track: hand.joints_px.mean(0)[0] for hand in found}
    right = next(track for track, side in first.items() if side == "right")
    assert by_track[right] > 450


def test_a_side_is_not_changed_by_a_single_frame():
    scene = Scene(hand_at(100, 100, "right"))
    tracker = HandTracker(scene)
    for _ in range(10):
        tracker.step(IMAGE)
    scene.hands = [replace(scene.hands[0], side="left")]
    assert tracker.step(IMAGE)[0].side == "right"
    for _ in range(40):
        found = tracker.step(IMAGE)
    assert found[0].side == "left"


def test_a_lost_hand_stays_for_some_frames_and_comes_back_as_itself():
    scene = Scene(hand_at(100, 100))
    tracker = HandTracker(scene)
    [before] = tracker.step(IMAGE)
    hidden, scene.hands = scene.hands, []
    for _ in range(KEEP):
        assert len(tracker.step(IMAGE)) == 1
    scene.hands = hidden
    assert tracker.step(IMAGE)[0].track == before.track
    scene.hands = []
    for _ in range(KEEP + 1):
        found = tracker.step(IMAGE)
    assert found == []


def test_a_hand_that_comes_in_is_found():
    scene = Scene(hand_at(100, 100))
    tracker = HandTracker(scene)
    tracker.step(IMAGE)
    scene.hands.append(hand_at(400, 200, "left"))
    for _ in range(LOOK_AGAIN + 1):
        found = tracker.step(IMAGE)
    assert [hand.track for hand in found] == [1, 2]


def clip(seed: int, frames: int = 300):
    """Joints that move and rest, in box sides, and a noisy observation of them."""
    rng = np.random.default_rng(seed)
    keys = np.cumsum(rng.normal(0, 0.2, (frames // 20 + 2, 1, 2)), axis=0)
    keys = keys + rng.normal(0, 0.1, (len(keys), 21, 2))
    keys[::3] = keys[1::3][: len(keys[::3])]  # rests
    position = np.arange(frames) / 20
    start = position.astype(int)
    ease = (1 - np.cos(np.pi * (position - start))) / 2
    ease = ease[:, None, None]
    true = keys[start] * (1 - ease) + keys[start + 1] * ease
    return true, true + rng.normal(0, 0.03, true.shape)


def jitter(joints: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1).mean())


@pytest.mark.parametrize("seed", range(5))
def test_smoothing_halves_jitter_at_no_cost_of_accuracy(seed):
    true, seen = clip(seed)
    smooth = smoothed_sequence(seen, np.arange(len(seen)) / RATE)
    assert jitter(smooth) < 0.5 * jitter(seen)
    error = np.linalg.norm(smooth - true, axis=-1).mean()
    assert error < 1.03 * np.linalg.norm(seen - true, axis=-1).mean()


def test_a_resting_hand_is_held_and_a_moving_one_followed():
    rest = np.zeros((90, 1, 2))
    rest += np.random.default_rng(0).normal(0, 0.02, rest.shape)
    times = np.arange(90) / RATE
    assert jitter(smoothed_sequence(rest, times)) < 0.3 * jitter(rest)
    motion = np.zeros((90, 1, 2))
    motion[:, 0, 0] = 2.0 * times  # two box sides a second
    lag = np.abs(smoothed_sequence(motion, times) - motion)[60:].max()
    assert lag < 0.25


def test_a_constant_passes_and_a_repeated_time_starts_anew():
    one_euro = OneEuro()
    value = np.ones((3, 2))
    assert np.allclose(one_euro(value, 0.0), value)
    assert np.allclose(one_euro(value, 0.1), value)
    assert np.allclose(one_euro(5 * value, 0.1), 5 * value)


@pytest.mark.parametrize("numbers", [(0.0, 1.0), (1.0, -1.0), (np.nan, 1.0)])
def test_numbers_that_make_no_filter_are_refused(numbers):
    with pytest.raises(ValueError, match="One-Euro"):
        OneEuro(*numbers)


def test_a_hand_keeps_the_unit_that_it_began_with():
    smoother = Smoother(1.0, 4.0)
    value = np.full((21, 2), 100.0)
    first = smoother.smooth((1, 0, "px"), value, unit=50.0, time_s=0.0)
    second = smoother.smooth((1, 0, "px"), value, unit=500.0, time_s=0.1)
    assert np.allclose(first, value) and np.allclose(second, value)
    assert smoother.units[(1, 0, "px")] == 50.0

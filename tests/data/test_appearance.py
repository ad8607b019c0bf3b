"""Changes of a crop's look: they move no pixel, and they depend on their generator
alone."""

import numpy as np
import pytest

from digit.data import appearance
from digit.data.appearance import change_appearance

CHANGES = (
    appearance.change_tone,
    appearance.change_colour,
    appearance.add_light_gradient,
    appearance.blur,
    appearance.blur_by_motion,
    appearance.record,
    appearance.hide_patches,
    appearance.change_appearance,
)


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    """A bright square on a dark ground."""
    crop = np.full((96, 96, 3), (40, 30, 20), np.uint8)
    crop[24:60, 36:84] = (220, 170, 140)
    return crop


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_shape_and_type_are_kept(crop, change):
    for seed in range(30):
        changed = change(crop, np.random.default_rng(seed))
        assert changed.shape == crop.shape
        assert changed.dtype == np.uint8


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_given_crop_is_not_written_to(crop, change):
    before = crop.copy()
    for seed in range(30):
        change(crop, np.random.default_rng(seed))
    np.testing.assert_array_equal(crop, before)


def test_the_same_generator_gives_the_same_crop(crop):
    first = change_appearance(crop, np.random.default_rng(3))
    again = change_appearance(crop, np.random.default_rng(3))
    other = change_appearance(crop, np.random.default_rng(4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_nothing_moves(crop):
    """The bright square stays where it is: its outline is where the grey level changes
    most."""
    changes = (
        appearance.change_tone,
        appearance.blur,
        appearance.blur_by_motion,
        appearance.record,
    )
    inside = np.zeros((96, 96), bool)
    inside[24:60, 36:84] = True
    for change in changes:
        for seed in range(20):
            grey = change(crop, np.random.default_rng(seed)).mean(-1)
            middle = (grey[inside].mean() + grey[~inside].mean()) / 2
            assert ((grey > middle) == inside).mean() > 0.94


def test_a_share_of_crops_becomes_grey(crop):
    changed = [
        appearance.change_colour(crop, np.random.default_rng(seed))
        for seed in range(600)
    ]
    grey = [np.ptp(one.astype(int), axis=-1).max() <= 1 for one in changed]
    assert np.mean(grey) == pytest.approx(appearance.GREY_PROBABILITY, abs=0.05)

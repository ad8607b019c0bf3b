"""The chapter on one's own photo: its checkpoint, and the lenses that it assumes."""

import numpy as np
import pytest

from digit.chapters import photo
from digit.inference.placement import lens_of
from digit.inference.predict import Estimate
from digit.paths import SHIPPED_WEIGHTS


def an_estimate() -> Estimate:
    """A right hand with its joints in a row."""
    joints_25d = np.full((42, 3), 32.0)
    joints_25d[:, 0] = np.linspace(10, 50, 42)
    joints_px = np.full((42, 2), 100.0)
    joints_px[:, 0] = np.linspace(50, 150, 42)
    return Estimate(
        hand_type=np.array([1.0, 0.0]),
        joints_px=joints_px,
        joints_25d=joints_25d,
        joints_cam_mm=None,
        relative_root_depth_mm=0.0,
        crop=np.zeros((64, 64, 3), np.uint8),
        parts=np.zeros((64, 64), np.uint8),
    )


@pytest.mark.parametrize("size", [(512, 334), (334, 512)])
def test_field_of_view_is_that_of_the_longer_side(size):
    assumed = photo.assume(an_estimate(), *size)
    for angle, focal_px in assumed.focals_px.items():
        lens = lens_of(*size, field_of_view_deg=angle)
        assert (focal_px, focal_px) == lens.focal_px
        assert assumed.centre_px == lens.princpt_px
    assert assumed.focals_px[60] == pytest.approx(256 * np.sqrt(3))


def test_shipped_names_the_weights_that_ship():
    assert photo.find_checkpoint("shipped") == SHIPPED_WEIGHTS

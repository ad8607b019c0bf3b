"""What small changes do to an error, for networks whose behaviour is known."""

import numpy as np
import pytest
import torch

from digit.data.dataset import InterHandDataset
from digit.data.index import open_index
from digit.evaluation.error_table import error_table
from digit.inference.evaluate import predict_dataset
from digit.inference.sensitivity import FrameProbe
from digit.model.network import Prediction, build_network
from digit.skeleton import N_JOINTS, N_LABELS

SIZE_PX = 64


class KnownNetwork(torch.nn.Module):
    """Predicts given joints, moved by what `push` makes of the picture (cells)."""

    image_size = SIZE_PX

    def __init__(self, joints_25d, push):
        super().__init__()
        self.joints_25d = joints_25d
        self.push = push

    def forward(self, image, true_parts=None):
        count = len(image)
        joints = self.joints_25d.repeat(count, 1, 1).clone()
        # Fingertips and all other joints but the wrists, so that poses change
        moved = [joint for joint in range(N_JOINTS) if joint not in (20, 41)]
        joints[:, moved, 0] += self.push(image)[:, None]
        return Prediction(
            joints_25d=joints,
            relative_root_depth=torch.full((count,), 32.0),
            hand_type_logits=torch.zeros(count, 2),
            part_logits=torch.zeros(count, N_LABELS, 32, 32),
            heatmaps=torch.zeros(count, N_JOINTS, 16, 16),
        )


@pytest.fixture(scope="module")
def index(tiny_root):
    return open_index(tiny_root, "train").usable()


@pytest.fixture(scope="module")
def crop(index):
    return InterHandDataset(index, SIZE_PX).batch([0])


def probe_of(index, crop, push) -> FrameProbe:
    return FrameProbe(KnownNetwork(crop.joints_25d, push), index, 0)


def test_the_plain_error_is_the_tables(tiny_root, index):
    network = build_network("quick", pretrained=False).eval()
    predictions = predict_dataset(network, InterHandDataset(index, 128))
    table = error_table(index, predictions)
    for row in (0, 5, 9):
        plain_mm = FrameProbe(network, index, row).plain_mm
        assert plain_mm == pytest.approx(table["mpjpe"][row], abs=0.02)


def test_occlusion_is_found_where_the_network_looks(index, crop):
    patch = (slice(None), slice(None), slice(32, 40), slice(8, 16))
    expected = crop.images()[patch].mean()

    def push(image):
        return 200 * (image[patch].mean((1, 2, 3)) - expected).abs()

    probe = probe_of(index, crop, push)
    assert probe.plain_mm == pytest.approx(0, abs=0.5)
    calls = []
    found = probe.occlusion_map(
        8, square=1 / 8, progress=lambda done, count: calls.append((done, count))
    )
    assert found.errors_mm.shape == (8, 8)
    row, column = np.unravel_index(found.errors_mm.argmax(), (8, 8))
    assert (row, column) == (4, 1)
    elsewhere = np.delete(found.errors_mm.ravel(), 8 * row + column)
    np.testing.assert_allclose(elsewhere, found.plain_mm, atol=1e-3)
    assert calls == [(16, 64), (32, 64), (48, 64), (64, 64)]


def test_a_network_that_ignores_the_picture_errs_with_the_scale_of_the_box(index, crop):
    curve = probe_of(index, crop, lambda image: torch.zeros(len(image))).scaled_box()
    errors = dict(zip(curve.amounts, curve.errors_mm, strict=True))
    assert errors[1.0] == pytest.approx(0, abs=0.5)
    assert errors[0.8] > errors[0.9] > 1
    # The prediction grows with the box, and so does its distance from the truth.
    assert errors[1.2] == pytest.approx(2 * errors[1.1], rel=0.1)


def test_moving_the_box_hardly_changes_what_is_relative_to_the_wrist(index, crop):
    probe = probe_of(index, crop, lambda image: torch.zeros(len(image)))
    for axis in (0, 1):
        curve = probe.moved_box(axis=axis)
        assert max(curve.errors_mm) < 6
        assert min(curve.errors_mm) == pytest.approx(probe.plain_mm, abs=0.5)


def test_taking_colour_away_is_a_straight_line_for_a_network_that_reads_colour(
    index, crop
):
    def push(image):  # by how colourful the picture is
        return 40 * (image[:, 0] - image[:, 2]).abs().mean((1, 2))

    curve = probe_of(index, crop, push).greyed()
    assert curve.errors_mm[0] > 1
    assert curve.errors_mm[-1] == pytest.approx(0, abs=0.6)
    middle = (curve.errors_mm[0] + curve.errors_mm[-1]) / 2
    assert curve.errors_mm[2] == pytest.approx(middle, rel=0.15)


def test_a_mirrored_picture_tells_a_network_that_knows_one_side_only(index, crop):
    """It always predicts the joints of the picture as it is."""
    probe = probe_of(index, crop, lambda image: torch.zeros(len(image)))
    assert probe.mirrored_mm() > probe.plain_mm + 5

"""Half precision: close to single precision, and single precision comes out."""

import pytest
import torch

from digit.inference.networks import load_network
from digit.model.precision import InBfloat16


@pytest.fixture(scope="module")
def network():
    return load_network()


@torch.inference_mode()
def test_bfloat16_is_close(network):
    torch.manual_seed(0)
    size = network.image_size
    image = torch.nn.functional.interpolate(torch.rand(2, 3, 9, 9), size)
    exact = network(image)
    close = InBfloat16(network)(image)
    assert {output.dtype for output in close} == {torch.float32}
    # A part of a cell, where the joints of these pictures of nothing are spread widely
    difference = (close.joints_25d - exact.joints_25d).abs()
    assert 0 < difference.mean() < 0.5
    assert torch.equal(close.hand_type_logits > 0, exact.hand_type_logits > 0)


def test_it_takes_the_size_of_its_network(network):
    assert InBfloat16(network).image_size == network.image_size

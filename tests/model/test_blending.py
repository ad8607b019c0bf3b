"""The weighted mean of two checkpoints."""

import pytest
import torch

from digit.model.blending import blend, blend_checkpoints
from digit.model.checkpoints import load_network, save_checkpoint
from digit.model.network import build_network


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Checkpoints of two networks of the same make."""
    folder = tmp_path_factory.mktemp("blending")
    paths = [folder / "first.ckpt", folder / "second.ckpt"]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        network = build_network("quick", pretrained=False, image_size=96 + 32 * seed)
        save_checkpoint(path, network)
    return paths


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_weights_lie_between(pair, share):
    first, second = (load_network(path).state_dict() for path in pair)
    blended = blend(*pair, share=share).state_dict()
    for name, tensor in blended.items():
        if tensor.dtype.is_floating_point:
            expected = (1 - share) * first[name] + share * second[name]
            torch.testing.assert_close(tensor, expected)


def test_the_blend_is_a_checkpoint_of_the_seconds_crop_size(pair, tmp_path):
    blend_checkpoints(*pair, share=0.5, out=tmp_path / "blend.ckpt", half=True)
    network = load_network(tmp_path / "blend.ckpt")
    assert network.image_size == 128
    crops = torch.zeros(1, 3, 128, 128)
    assert network.float()(crops).joints_25d.isfinite().all()


def test_different_networks_are_refused(pair, tmp_path):
    other = tmp_path / "other.ckpt"
    save_checkpoint(other, build_network("small", pretrained=False))
    with pytest.raises(ValueError, match="different networks"):
        blend(pair[0], other, share=0.5)
    with pytest.raises(ValueError, match=r"share 1\.5"):
        blend(*pair, share=1.5)

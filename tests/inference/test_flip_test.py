"""The flip test: its mirror is that of the training crops, and it has no preferred side."""

import pytest
import torch
from trees import FLIPPED, perfect_prediction

from digit.data.dataset import InterHandDataset
from digit.data.index import open_index
from digit.inference.flip_test import FlipTest, mirrored, unmirrored
from digit.model.network import Prediction, build_network
from digit.skeleton import SWAP_LABELS


@pytest.fixture(scope="module")
def pair(tiny_root):
    """Twelve training crops, as they are and flipped."""
    index = open_index(tiny_root, "train").usable()
    straight = InterHandDataset(index, 128).batch(range(12))
    flipped = InterHandDataset(index, 128, FLIPPED).batch(range(12))
    return straight, flipped


def test_mirror_is_that_of_training_crops(pair):
    straight, flipped = pair

    def difference(image):
        """Grey levels: OpenCV's warp rounds positions to 1/32 pixel."""
        return (image[..., 1:].float() - flipped.image[..., 1:]).abs().mean()

    assert difference(mirrored(straight.image)) < 0.01
    assert difference(straight.image.flip(-1)) > 1
    assert torch.equal(mirrored(mirrored(straight.image)), straight.image)


def test_unmirroring_restores_the_targets(pair):
    straight, flipped = pair
    ours = perfect_prediction(straight)
    theirs = unmirrored(perfect_prediction(flipped))
    valid = straight.joint_valid.bool()
    assert valid.sum() > 300
    torch.testing.assert_close(theirs.joints_25d[valid], ours.joints_25d[valid])
    root = straight.root_valid.bool()
    assert root.any()
    torch.testing.assert_close(
        theirs.relative_root_depth[root], ours.relative_root_depth[root]
    )
    assert torch.equal(theirs.hand_type_logits, ours.hand_type_logits)
    labels = theirs.part_logits[..., 1:].argmax(1)
    true = ours.part_logits[..., 1:].argmax(1)
    assert (true > 0).sum() > 1000
    assert (labels == true)[true > 0].float().mean() > 0.99


@pytest.mark.parametrize("parts", ["predicted", "true"])
def test_prediction_is_the_same_from_both_sides_of_the_mirror(parts):
    torch.manual_seed(0)
    network = FlipTest(build_network("quick", parts=parts, pretrained=False).eval())
    image = torch.rand(2, 3, 128, 128)
    labels = torch.randint(0, 33, (2, 64, 64)).byte()
    swapped = torch.tensor(SWAP_LABELS)[mirrored(labels).long()]
    with torch.no_grad():
        straight = network(image, labels)
        single = network.network(image, labels)
        around = unmirrored(network(mirrored(image), swapped))
    for name, ours, theirs in zip(Prediction._fields, straight, around, strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)
    assert not torch.equal(straight.joints_25d, single.joints_25d)

"""The turn test: its quarter turn is that of turned crops, and no position is preferred."""

import pytest
import torch
from trees import perfect_prediction

from digit.data.augmentation import View
from digit.data.dataset import InterHandDataset
from digit.data.index import open_index
from digit.inference.features import pooled_features
from digit.inference.flip_test import FlipTest
from digit.inference.turn_test import (
    TurnTest,
    doubt_nats,
    turned,
    turned_back,
    unturned,
)
from digit.model.network import Prediction, build_network

SIZE = 128


@pytest.fixture(scope="module")
def straight(tiny_root):
    return crops(tiny_root, turn_deg=0)


def crops(dataset_dir, turn_deg):
    """Twelve crops of the training frames, turned."""
    index = open_index(dataset_dir, "train").usable()
    view = View(crop=1.6, turn_deg=turn_deg)
    return InterHandDataset(index, SIZE, view).batch(range(12))


def test_quarter_turn_is_that_of_turned_crops(tiny_root, straight):
    by_crop = crops(tiny_root, turn_deg=90)
    ours = turned(straight.image)
    inner = (..., slice(1, -1), slice(1, -1))  # edges come from outside
    assert (ours[inner].float() - by_crop.image[inner].float()).abs().mean() < 0.1
    assert (straight.image.float() - by_crop.image.float()).abs().mean() > 1


@pytest.mark.parametrize(("quarters", "turn_deg"), [(1, 90), (2, 180), (3, -90)])
def test_turning_back_restores_the_targets(tiny_root, straight, quarters, turn_deg):
    ours = perfect_prediction(straight)
    theirs = unturned(perfect_prediction(crops(tiny_root, turn_deg)), quarters)
    valid = straight.joint_valid.bool()
    assert valid.sum() > 300
    torch.testing.assert_close(
        theirs.joints_25d[valid], ours.joints_25d[valid], atol=1e-3, rtol=0
    )
    torch.testing.assert_close(theirs.relative_root_depth, ours.relative_root_depth)
    assert torch.equal(theirs.hand_type_logits, ours.hand_type_logits)
    inner = (..., slice(1, -1), slice(1, -1))
    true = ours.part_logits[inner].argmax(1)
    labels = theirs.part_logits[inner].argmax(1)
    assert (true > 0).sum() > 1000
    assert (labels == true)[true > 0].float().mean() > 0.99


def test_turning_back_undoes_turning():
    values = torch.rand(2, 3, 8, 8)
    assert torch.equal(turned_back(turned(values)), values)


@pytest.mark.parametrize("parts", ["predicted", "true"])
def test_prediction_turns_with_the_picture(parts):
    torch.manual_seed(0)
    network = build_network("quick", parts=parts, pretrained=False).eval()
    network = TurnTest(network, margin_nats=0)
    image, labels = torch.rand(3, 3, SIZE, SIZE), torch.randint(0, 33, (3, 64, 64))
    # Four turns give the very picture back only where nothing comes from outside.
    image[..., 0, :] = image[..., 0] = 0
    labels[..., 0, :] = labels[..., 0] = 0
    with torch.no_grad():
        upright = network(image, labels.byte())
        around = unturned(network(turned(image), turned(labels.byte())), 1)
    for name, ours, theirs in zip(Prediction._fields, upright, around, strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


class SureOfTurn(torch.nn.Module):
    """Says which turn it was called with, and is surer of one of them by 1 nat."""

    image_size = 8

    def __init__(self, sure_of):
        super().__init__()
        self.sure_of = sure_of
        self.calls = 0

    def forward(self, image):
        # Uniform over 256 cells, or over e times fewer.
        heatmaps = torch.zeros(1, 42, 16, 16)
        if self.calls == self.sure_of:
            heatmaps.flatten(2)[..., round(256 / 2.718) :] = -1e4
        prediction = Prediction(
            joints_25d=torch.zeros(1, 42, 3),
            relative_root_depth=torch.full((1,), float(self.calls)),
            hand_type_logits=torch.zeros(1, 2),
            part_logits=torch.zeros(1, 33, 4, 4),
            heatmaps=heatmaps,
        )
        self.calls += 1
        return prediction


@pytest.mark.parametrize("sure_of", range(4))
def test_the_surest_is_kept(sure_of):
    found = TurnTest(SureOfTurn(sure_of))(torch.zeros(1, 3, 8, 8))
    assert found.relative_root_depth.item() == sure_of


def test_a_turn_that_is_hardly_surer_is_not_kept():
    found = TurnTest(SureOfTurn(2), margin_nats=1.1)(torch.zeros(1, 3, 8, 8))
    assert found.relative_root_depth.item() == 0


def test_doubt_is_that_of_the_hands_seen():
    heatmaps = torch.zeros(1, 42, 4, 4)
    heatmaps[:, :21, 0, 0] = 1e4  # the right hand is sure, the left one uniform
    prediction = SureOfTurn(0)(None)._replace(heatmaps=heatmaps)
    right = prediction._replace(hand_type_logits=torch.tensor([[9.0, -9.0]]))
    left = prediction._replace(hand_type_logits=torch.tensor([[-9.0, 9.0]]))
    uniform = torch.tensor(16.0).log().item()
    assert doubt_nats(right).item() == pytest.approx(0, abs=0.01)
    assert doubt_nats(left).item() == pytest.approx(uniform, abs=0.01)


def test_features_are_those_of_the_picture_as_it_is():
    network = build_network("quick", pretrained=False).eval()
    image = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        with pooled_features(network) as alone:
            network(image)
        with pooled_features(TurnTest(FlipTest(network))) as found:
            TurnTest(FlipTest(network))(image)
    assert len(found) == 8
    torch.testing.assert_close(found[0], alone[0])

"""A crop made for one hand, in which the network sees two."""

import numpy as np
import pytest
import torch
from PIL import Image

from digit.data.photo_tree import annotated_box
from digit.inference.assembly import PredictOptions
from digit.inference.crops import cut_crop, joints_in_picture
from digit.inference.detection import FoundHand, HandDetector
from digit.inference.pipeline import predict_sources
from digit.inference.records import PictureRecord
from digit.inference.sources import Source
from digit.model.network import Prediction

# In cells of the crop: the right hand in its middle, the left hand at its right edge
RIGHT_CELLS = np.linspace((20, 20), (40, 44), 21)
LEFT_CELLS = np.linspace((50, 20), (63, 44), 21)
ONE = FoundHand(
    side="right",
    side_probability=0.9,
    presence=0.9,
    joints_px=np.linspace((150.0, 100.0), (190.0, 150.0), 21),
    depth_px=np.zeros(21),
    joints_metric_mm=np.zeros((21, 3)),
)


class OneHandDetector(HandDetector):
    """Finds one hand in every picture."""

    def __init__(self):
        pass

    def find(self, image, second_look=True):
        return [ONE]


class Network(torch.nn.Module):
    """Sees the same joints in every crop; two hands as often as it is told."""

    image_size = 64

    def __init__(self, *logits: tuple[float, float]):
        super().__init__()
        self.logits = list(logits)
        self.crops = 0

    def forward(self, image) -> Prediction:
        count = len(image)
        self.crops += count
        joints = np.concatenate([RIGHT_CELLS, LEFT_CELLS])
        joints = np.concatenate([joints, np.full((42, 1), 32.0)], -1)
        hand_type = torch.tensor(self.logits.pop(0)).expand(count, 2)
        return Prediction(
            joints_25d=torch.from_numpy(joints).float().expand(count, 42, 3),
            relative_root_depth=torch.full((count,), 32.0),
            hand_type_logits=hand_type,
            part_logits=torch.zeros(count, 33, 32, 32),
            heatmaps=torch.zeros(count, 42, 16, 16),
        )


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((300, 400, 3), 90, np.uint8)).save(path)
    return path


def record_of(photo, network, **changes) -> PictureRecord:
    sources = [Source(photo, is_video=False)]
    options = PredictOptions(**changes)
    [record] = predict_sources(sources, network, options, OneHandDetector)
    assert isinstance(record, PictureRecord), record
    return record


def test_the_crop_is_cut_again_around_both(photo):
    network = Network((3.0, 3.0), (3.0, 3.0))
    record = record_of(photo, network)
    assert network.crops == 2
    # The box of what was seen in the first crop
    image = np.full((300, 400, 3), 90, np.uint8)
    first = cut_crop(image, annotated_box(ONE.joints_px), 64)
    joints = np.concatenate([RIGHT_CELLS, LEFT_CELLS])
    joints = np.concatenate([joints, np.zeros((42, 1))], -1)
    expected = annotated_box(joints_in_picture(joints, first))
    np.testing.assert_allclose(record.crops[0].bbox_xywh, expected, atol=1e-3)


def test_what_is_seen_once_only_does_not_count(photo):
    network = Network((3.0, 3.0), (3.0, -3.0))
    record = record_of(photo, network)
    assert network.crops == 2
    expected = annotated_box(ONE.joints_px)
    np.testing.assert_allclose(record.crops[0].bbox_xywh, expected)


def test_one_hand_and_a_given_box_are_left_alone(photo):
    network = Network((3.0, -3.0))
    record_of(photo, network)
    assert network.crops == 1
    network = Network((3.0, 3.0))
    record_of(photo, network, bbox_xywh=(100.0, 80.0, 120.0, 100.0))
    assert network.crops == 1

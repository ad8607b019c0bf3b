"""Predicting one image: results, their frames, and arguments that are refused."""

import numpy as np
import pytest
import torch

from digit import geometry
from digit.inference.networks import load_network
from digit.inference.predict import draw_hands, predict
from digit.paths import SHIPPED_WEIGHTS

BOX = [20, 30, 200, 180]
CAMERA = {"focal": [1270, 1250], "princpt": [160, 250], "wrist_depth_mm": 900}


@pytest.fixture(scope="module")
def network():
    return load_network()


@pytest.fixture(scope="module")
def image(tiny_root):
    """The file of a synthetic frame."""
    return min((tiny_root / "images" / "test").rglob("*.jpg"))


def test_path_bytes_and_array_give_the_same(network, image):
    from digit.inference.photo import read_photo

    expected = predict(network, read_photo(image)[0], BOX).joints_px
    for source in (image, str(image), image.read_bytes()):
        np.testing.assert_array_equal(predict(network, source, BOX).joints_px, expected)


def test_joints_in_mm_project_onto_their_pixels(network, image):
    estimate = predict(network, image, BOX, **CAMERA)
    joints_mm = torch.from_numpy(estimate.joints_cam_mm)
    focal = torch.tensor(CAMERA["focal"], dtype=torch.float64)
    princpt = torch.tensor(CAMERA["princpt"], dtype=torch.float64)
    pixels = geometry.project(joints_mm, focal, princpt).numpy()
    np.testing.assert_allclose(pixels, estimate.joints_px, atol=1e-6)
    assert predict(network, image, BOX).joints_cam_mm is None


def test_wrist_depth_is_that_of_the_first_predicted_hand(network, image):
    estimate = predict(network, image, BOX, **CAMERA)
    first = 20 if estimate.hand_type[0] > 0.5 else 41
    own_mm = geometry.cells_to_depth(torch.tensor(estimate.joints_25d[first, 2]))
    assert estimate.joints_cam_mm[first, 2] == pytest.approx(900 + own_mm.item())


def test_box_beyond_the_picture_is_fine(network, image):
    estimate = predict(network, image, [-50, -20, 500, 700])
    assert np.isfinite(estimate.joints_px).all()


def test_large_picture_is_averaged_down(network, image):
    """Noise of single pixels, in a box of ten crops, leaves a nearly even grey crop."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2700, 2700, 3), np.uint8)
    crop = predict(network, noise, [326, 326, 2048, 2048]).crop
    assert crop.std() < 20
    assert abs(crop.mean() - 127.5) < 2


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([1, 2, 3], "bbox_xywh has 3 numbers"),
        ([1, 2, 0, 4], "bbox_xywh 1,2,0,4"),
        ([1, 2, 30, -4], "bbox_xywh 1,2,30,-4"),
        ([1, 2, float("nan"), 4], "bbox_xywh 1,2,nan,4"),
        ([1, 2, float("inf"), 4], "bbox_xywh 1,2,inf,4"),
        ([1, 2, 1e-300, 1e-300], "bbox_xywh 1,2,1e-300"),
        ([0, 0, 1e6, 1e6], "over 20 times as large"),
        ([5000, 5000, 10, 10], "outside the"),
        ([-50, 2, 50, 50], "outside the"),
    ],
)
def test_impossible_boxes_are_refused(box, message, network, image):
    with pytest.raises(ValueError, match=message):
        predict(network, image, box)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"focal": None}, "give all three of them, or none"),
        ({"wrist_depth_mm": None}, "give all three of them, or none"),
        ({"focal": [0, 0]}, "focal 0,0"),
        ({"focal": [1000, -1000]}, "focal 1000,-1000"),
        ({"focal": [float("nan"), 1]}, "focal nan,1"),
        ({"focal": [1000]}, "focal 1000: give two"),
        ({"princpt": [float("inf"), 1]}, "princpt inf,1"),
        ({"wrist_depth_mm": 0}, "wrist_depth_mm 0"),
        ({"wrist_depth_mm": -5}, "wrist_depth_mm -5"),
        ({"wrist_depth_mm": float("nan")}, "wrist_depth_mm nan"),
        ({"wrist_depth_mm": float("inf")}, "wrist_depth_mm inf"),
    ],
)
def test_impossible_cameras_are_refused(changes, message, network, image):
    with pytest.raises(ValueError, match=message):
        predict(network, image, BOX, **(CAMERA | changes))


def test_missing_photo_is_refused(network):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        predict(network, "nowhere.jpg", BOX)


def test_damaged_weights_give_no_result(image):
    network = load_network()
    with torch.no_grad():
        network.conv_hm.bias[0] = torch.nan
    with pytest.raises(ValueError, match="output is not finite"):
        predict(network, image, BOX)


def test_drawing_shows_predicted_hands_alone(network, image, tmp_path):
    estimate = predict(network, image, BOX)
    none = estimate._replace(hand_type=np.zeros(2))
    assert none.hands() == []
    assert "no hand" in draw_hands(none).get_suptitle()
    both = estimate._replace(hand_type=np.ones(2))
    assert "right and left hand" in draw_hands(both).get_suptitle()
    draw_hands(both).savefig(tmp_path / "hands.png")
    assert (tmp_path / "hands.png").stat().st_size > 10_000


def test_weights_that_ship_are_the_default(network):
    assert SHIPPED_WEIGHTS.is_file()
    assert not network.training
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx"):
        load_network("nowhere.onnx")

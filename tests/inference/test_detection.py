"""Palms, landmarks and crops: the decoding, the boxes, and real hands where they lie."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from digit.cli import main
from digit.data.index import open_index
from digit.evaluation.predictions import Predictions
from digit.inference import tflite
from digit.inference.crops import cut_crop
from digit.inference.detection import (
    PALM_FILE,
    FoundHand,
    HandDetector,
    Palm,
    TurnedBox,
    anchor_centers,
    crops_of,
    decode_palms,
    hand_box,
    next_box,
    suppress,
)
from digit.inference.photo import read_photo
from digit.paths import DETECTOR_DIR

REAL_PHOTOS = Path(__file__).resolve().parents[3] / "shared/data/real_photos"


@pytest.fixture(scope="module")
def detector() -> HandDetector:
    return HandDetector(DETECTOR_DIR)


def hand_at(x: float, y: float, size: float = 100.0, track: int | None = None):
    """A hand whose joints fill a square."""
    grid = np.linspace(0, 1, 21)
    joints = np.column_stack([x + size * grid, y + size * grid[::-1]])
    return FoundHand(
        side="right",
        side_probability=0.9,
        presence=0.9,
        joints_px=joints,
        depth_px=np.zeros(21),
        joints_metric_mm=np.zeros((21, 3)),
        track=track,
    )


def test_anchors_cover_the_input_cell_by_cell():
    centers = anchor_centers()
    assert centers.shape == (2016, 2)
    assert np.allclose(centers[0], 0.5 / 24) and np.allclose(centers[1], 0.5 / 24)
    assert np.allclose(centers[2], [1.5 / 24, 0.5 / 24])
    assert np.allclose(centers[-1], 1 - 0.5 / 12)


def test_a_palm_is_decoded_relative_to_its_anchor():
    boxes = np.zeros((2016, 18), np.float32)
    scores = np.full(2016, -10, np.float32)
    scores[2] = 2.0
    boxes[2, :4] = [4, -2, 40, 30]
    boxes[2, 4:6] = [10, 20]
    [palm] = decode_palms(boxes, scores, min_score=0.5)
    center = np.array([12.0, 4.0]) + [4, -2]
    assert np.allclose(palm.bbox_xywh, [*(center - [20, 15]), 40, 30])
    assert np.allclose(palm.points_px[0], [22, 24])
    assert palm.score == pytest.approx(1 / (1 + np.exp(-2)))


def test_overlapping_palms_become_their_weighted_mean():
    points = np.zeros((7, 2))
    one = Palm(0.9, np.array([0.0, 0, 10, 10]), points)
    other = Palm(0.6, np.array([2.0, 0, 10, 10]), points)
    far = Palm(0.7, np.array([50.0, 0, 10, 10]), points)
    first, second = suppress([other, far, one])
    assert first.score == 0.9 and first.bbox_xywh[0] == pytest.approx(0.8)
    assert second.bbox_xywh[0] == 50


@pytest.mark.parametrize("angle_deg", [0, 30, -120, 180])
def test_a_hand_stands_upright_in_its_box(angle_deg):
    angle = np.radians(angle_deg)
    fingers = np.array([np.sin(angle), -np.cos(angle)])
    points = np.tile([100.0, 100.0], (7, 1))
    points[2] += 30 * fingers
    box = hand_box(Palm(1.0, np.array([80.0, 80, 40, 40]), points))
    to_image = box.to_image(224)
    up = to_image[:, :2] @ [0.0, -1.0]
    assert np.allclose(up / np.linalg.norm(up), fingers)
    assert np.allclose(to_image[:, :2] @ [112, 112] + to_image[:, 2], box.center_px)
    assert np.allclose(box.center_px, [100, 100] + 20 * fingers)


def test_the_next_box_holds_the_hand():
    rng = np.random.default_rng(0)
    joints = hand_at(50, 50).joints_px + rng.normal(0, 5, (21, 2))
    box = next_box(joints)
    to_image = box.to_image(1)
    linear = np.linalg.inv(to_image[:, :2])
    inside = (joints - to_image[:, 2]) @ linear.T
    assert (inside > 0).all() and (inside < 1).all()


def test_touching_hands_share_a_crop_and_far_ones_do_not():
    left, right = hand_at(0, 0), hand_at(105, 0)
    [pair] = crops_of([left, right])
    assert len(pair.hands) == 2
    crops = crops_of([left, hand_at(160, 0)])
    assert [len(crop.hands) for crop in crops] == [1, 1]


def test_two_people_are_two_pairs():
    hands = [hand_at(x, y) for y in (0, 400) for x in (0, 90)]
    crops = crops_of(hands)
    assert sorted(len(crop.hands) for crop in crops) == [2, 2]
    assert {tuple(sorted(h.tight_xyxy[1] for h in c.hands)) for c in crops} == {
        (0, 0),
        (400, 400),
    }


def test_a_pair_of_the_frame_before_stays_until_well_apart():
    hands = [hand_at(0, 0, track=1), hand_at(120, 0, track=2)]
    assert len(crops_of(hands)) == 2
    assert len(crops_of(hands, [frozenset({1, 2})])) == 1
    hands = [hand_at(0, 0, track=1), hand_at(140, 0, track=2)]
    assert len(crops_of(hands, [frozenset({1, 2})])) == 2


def test_a_crop_is_the_tight_box_with_a_tenth_around():
    [crop] = crops_of([hand_at(100, 200)])
    assert np.allclose(crop.bbox_xywh, [90, 190, 120, 120])


def test_litert_and_opencv_give_the_same(monkeypatch):
    image = np.random.default_rng(0).random((192, 192, 3), dtype=np.float32)
    names = ["Identity", "Identity_1"]
    first = tflite.load_tflite(DETECTOR_DIR / PALM_FILE, names)(image)
    second = tflite._OpenCvModel(DETECTOR_DIR / PALM_FILE, names)(image)
    for one, other in zip(first, second, strict=True):
        assert np.abs(one - other).max() < 1e-2


def test_missing_and_damaged_models_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"palm_detection_full\.tflite"):
        HandDetector(tmp_path)
    (tmp_path / PALM_FILE).write_bytes(b"not a model at all, but long enough")
    with pytest.raises(
        ValueError, match=r"palm_detection_full\.tflite: not a readable"
    ):
        HandDetector(tmp_path)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (7, 3), (480, 640)])
def test_a_picture_without_hands_has_none(detector, shape):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (*shape, 3), dtype=np.uint8)
    assert detector.find(image) == []


def test_hands_of_rendered_frames_are_found(detector, tiny_root):
    """Synthetic hands are harder for this detector than real ones: half are found."""
    index = open_index(tiny_root, "train")
    errors = []
    for row in range(12):
        frame = index.frame(row)
        image, _ = read_photo(tiny_root / "images" / frame.key)
        hands = detector.find(image)
        for side in np.flatnonzero(frame.joint_valid.reshape(2, 21).all(1)):
            joints = frame.joints_px[side * 21 : side * 21 + 21]
            length = (joints.max(0) - joints.min(0)).max()
            apart = [
                np.linalg.norm(hand.joints_px - joints, axis=-1).mean() / length
                for hand in hands
            ]
            errors.append(min(apart, default=np.inf))
    found = np.array(errors) < 0.15
    assert found.mean() > 0.3


def test_an_empty_landmark_crop_is_no_hand(detector):
    black = np.zeros((100, 100, 3), np.uint8)
    box = TurnedBox(np.array([50.0, 50.0]), 80.0, 0.3)
    assert detector.landmarks(black, box) is None


def annotated(split: str):
    """Pictures of the real photographs with their valid joints (px) and hand type."""
    folder = REAL_PHOTOS / "annotations" / split
    parts = {
        name: json.loads((folder / f"InterHand2.6M_{split}_{name}.json").read_text())
        for name in ("data", "camera", "joint_3d")
    }
    by_image = {a["image_id"]: a for a in parts["data"]["annotations"]}
    for image in parts["data"]["images"]:
        capture = str(image["capture"])
        lens = parts["camera"][capture]
        name = str(image["camera"])
        instant = parts["joint_3d"][capture][str(image["frame_idx"])]
        world = np.array(instant["world_coord"])
        valid = np.array(by_image[image["id"]]["joint_valid"], float).reshape(-1) > 0
        camera = (world - lens["campos"][name]) @ np.array(lens["camrot"][name]).T
        camera = camera[valid]
        pixels = camera[:, :2] / camera[:, 2:] * lens["focal"][name]
        yield (
            REAL_PHOTOS / "images" / split / image["file_name"],
            pixels + lens["princpt"][name],
            by_image[image["id"]]["hand_type"],
        )


def test_crops_hold_the_hands_of_real_photographs(detector):
    if not REAL_PHOTOS.is_dir():
        pytest.skip("the photographs are not beside this checkout")
    frames = list(annotated("val"))[::6]
    whole = []
    for path, joints, _ in frames:
        image, _ = read_photo(path)
        held = np.zeros(len(joints), bool)
        for crop in crops_of(detector.find(image)):
            inside = cut_crop(image, crop.bbox_xywh, 192).crop_share(joints)
            held |= ((inside >= 0) & (inside <= 1)).all(-1)
        whole.append(held.all())
    assert len(whole) > 50 and np.mean(whole) >= 0.95


def test_a_mirrored_photograph_shows_the_other_hand(detector):
    if not REAL_PHOTOS.is_dir():
        pytest.skip("the photographs are not beside this checkout")
    sides = []
    for path, _, hand_type in list(annotated("val"))[::30]:
        image, _ = read_photo(path)
        if hand_type == "interacting":
            continue
        hands = detector.find(image)
        mirrored = detector.find(cv2.flip(image, 1))
        if hands and mirrored:
            other = "left" if hand_type == "right" else "right"
            sides.append(hands[0].side == hand_type and mirrored[0].side == other)
    assert len(sides) >= 8 and np.mean(sides) > 0.8


def test_the_landmark_model_is_evaluated_like_any_method(tiny_root, tmp_path, capsys):
    out, errors = tmp_path / "m.json", tmp_path / "e.parquet"
    words = ["evaluate", "--root", tiny_root, "--split", "test", "--root-depth", "gt"]
    words += ["--method", "mediapipe", "--json", out, "--errors", errors]
    assert main([str(word) for word in words]) == 0
    result = json.loads(out.read_text())
    assert result["mrrpe"] is None and np.isfinite(result["mpjpe_all"])
    assert "MediaPipe Hands on whole pictures" in result["protocol"]
    predictions = Predictions.load(tmp_path / "e.npz")
    assert predictions.joints_25d.shape[1:] == (42, 3)
    assert (predictions.hand_type.max(1) > 0.5).any()
    assert main([*map(str, words), "--flip-test"]) == 2
    assert "leave out checkpoint, predictions" in capsys.readouterr().err

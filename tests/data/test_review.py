"""Labels looked through: decisions, exclude list, swapped sides."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from digit.data.build_index import prepare_index
from digit.data.photo_tree import make_frame, write_photo_tree
from digit.data.review import (
    FILE,
    SWAPPED,
    apply_swaps,
    read_review,
    swapped_frame,
)
from digit.skeleton import HAND_TYPES, SWAP_JOINTS


def made_frame(image_id: int, hands: tuple[int, ...], split: str = "train"):
    """A frame with these hands (0 right, 1 left), its joints told apart by depth."""
    valid = np.zeros((2, 21), bool)
    valid[list(hands)] = True
    depth_mm = 400.0 + np.arange(42) + 100 * image_id
    x, y = np.linspace(-40, 40, 42), np.linspace(30, -30, 42)
    return make_frame(
        image_id=image_id,
        split=split,
        capture=0,
        sequence="desk",
        size=(320, 240),
        focal_px=np.array([300.0, 300]),
        princpt_px=np.array([160.0, 120]),
        joints_cam_mm=np.stack([x, y, depth_mm], -1),
        joint_valid=valid.ravel(),
    )


def without_marks(path: Path):
    """An annotation file without the marks of swaps."""

    def plain(record: dict) -> dict:
        return {name: value for name, value in record.items() if name != SWAPPED}

    return json.loads(path.read_text(), object_hook=plain)


@pytest.fixture
def frames():
    kinds = [(0,), (1,), (0, 1), (0,)]
    return [made_frame(k, hands) for k, hands in enumerate(kinds, 1)]


@pytest.fixture
def dataset_dir(frames, tmp_path) -> Path:
    write_photo_tree(tmp_path / "mine", frames, "2d")
    return tmp_path / "mine"


def test_a_dropped_frame_is_excluded_until_it_is_kept(dataset_dir, frames):
    review = read_review(dataset_dir)
    review.decide(frames[1].key, "drop")
    index = prepare_index(dataset_dir, "train")
    assert index.usable()["image_id"].tolist() == [1, 3, 4]
    assert "looking the labels through" in index.excluded()[1]
    read_review(dataset_dir).decide(frames[1].key, "keep")
    assert len(index.usable()) == 4


def test_a_swap_is_excluded_until_it_is_applied(dataset_dir, frames):
    read_review(dataset_dir).decide(frames[0].key, swap=True)
    index = prepare_index(dataset_dir, "train")
    assert index.usable()["image_id"].tolist() == [2, 3, 4]
    assert apply_swaps(dataset_dir) == 1
    assert len(prepare_index(dataset_dir, "train").usable()) == 4
    assert apply_swaps(dataset_dir) == 0


def test_swapped_hands_change_places(dataset_dir, frames):
    before = prepare_index(dataset_dir, "train")
    joints_px = before["joints_px"].copy()
    review = read_review(dataset_dir)
    for frame in frames[:3]:
        review.decide(frame.key, swap=True)
    assert apply_swaps(dataset_dir) == 3
    after = prepare_index(dataset_dir, "train")
    names = [HAND_TYPES[kind] for kind in after["hand_type"]]
    assert names == ["left", "right", "interacting", "right"]
    for row, swapped in enumerate((True, True, True, False)):
        expected = before["joint_valid"][row]
        expected = expected[SWAP_JOINTS] if swapped else expected
        np.testing.assert_array_equal(after["joint_valid"][row], expected)
        pixels = joints_px[row][SWAP_JOINTS] if swapped else joints_px[row]
        np.testing.assert_allclose(after["joints_px"][row][expected], pixels[expected])
    np.testing.assert_array_equal(after["bbox_xywh"], before["bbox_xywh"])


def test_swapping_twice_changes_nothing(dataset_dir, frames):
    stem = dataset_dir / "annotations/train/InterHand2.6M_train"
    names = [Path(f"{stem}_{name}.json") for name in ("data", "joint_3d")]
    before = [without_marks(path) for path in names]
    for swap in (True, False):
        read_review(dataset_dir).decide(frames[0].key, swap=swap)
        assert apply_swaps(dataset_dir) == 1
        changed = [without_marks(path) for path in names] != before
        assert changed == swap


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("writes", range(7))
def test_a_swap_ended_anywhere_is_finished(
    dataset_dir, frames, monkeypatch, swap, writes
):
    """One hand or two; and a swap that is taken back likewise."""
    stem = dataset_dir / "annotations/train/InterHand2.6M_train"
    names = [Path(f"{stem}_{name}.json") for name in ("data", "joint_3d")]
    states = {False: [without_marks(path) for path in names]}
    for wanted in (True, not swap, swap):
        for frame in frames[:3]:
            read_review(dataset_dir).decide(frame.key, swap=wanted)
        if wanted == swap:
            # Ended before a write, the first to the last
            with monkeypatch.context() as patched:
                end_before(patched, writes)
                with contextlib.suppress(KeyboardInterrupt):
                    apply_swaps(dataset_dir)
        apply_swaps(dataset_dir)
        states.setdefault(wanted, [without_marks(path) for path in names])
        assert [without_marks(path) for path in names] == states[wanted]
        assert len(prepare_index(dataset_dir, "train").usable()) == 4
    assert states[True] != states[False]


def test_a_swap_taken_back_when_half_done_is_undone(dataset_dir, frames, monkeypatch):
    stem = dataset_dir / "annotations/train/InterHand2.6M_train"
    names = [Path(f"{stem}_{name}.json") for name in ("data", "joint_3d")]
    before = [without_marks(path) for path in names]
    read_review(dataset_dir).decide(frames[2].key, swap=True)
    with monkeypatch.context() as patched:
        end_before(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            apply_swaps(dataset_dir)
    assert without_marks(names[1]) != before[1]
    read_review(dataset_dir).forget(frames[2].key)
    assert len(prepare_index(dataset_dir, "train").usable()) == 3
    apply_swaps(dataset_dir)
    assert [without_marks(path) for path in names] == before


def end_before(patched: pytest.MonkeyPatch, writes: int) -> None:
    """Let the process end after so many files."""
    left = iter(range(writes))
    replace = os.replace

    def replace_or_end(*paths) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        replace(*paths)

    patched.setattr(os, "replace", replace_or_end)


def test_a_swapped_frame_is_the_frame_that_is_written(dataset_dir, frames):
    swapped = swapped_frame(frames[0])
    assert HAND_TYPES[swapped.hand_type] == "left"
    np.testing.assert_array_equal(
        swapped.joints_cam_mm[21:], frames[0].joints_cam_mm[:21]
    )
    assert swapped.joint_valid[21:].all() and not swapped.joint_valid[:21].any()
    assert swapped.key == frames[0].key


def test_forgotten_decisions_are_gone(dataset_dir, frames):
    review = read_review(dataset_dir)
    review.decide(frames[0].key, "drop")
    review.forget(frames[0].key)
    assert read_review(dataset_dir).of(frames[0].key) is None
    assert len(prepare_index(dataset_dir, "train").usable()) == 4


@pytest.mark.parametrize("text", ["[]", "{", '{"a": {"verdict": "burn"}}', '{"a": 1}'])
def test_damaged_decisions_are_named_and_never_overwritten(dataset_dir, frames, text):
    (dataset_dir / FILE).write_text(text)
    with pytest.raises(ValueError, match=FILE):
        read_review(dataset_dir)
    with pytest.raises(ValueError, match=FILE):
        apply_swaps(dataset_dir)
    assert (dataset_dir / FILE).read_text() == text


def test_fits_of_the_other_side_are_refused(dataset_dir, frames):
    fits = dataset_dir / "annotations/train/InterHand2.6M_train_MANO_NeuralAnnot.json"
    fits.write_text("{}")
    read_review(dataset_dir).decide(frames[0].key, swap=True)
    with pytest.raises(ValueError, match="NeuralAnnot"):
        apply_swaps(dataset_dir)


def test_a_moment_of_several_cameras_is_refused(dataset_dir, frames):
    path = dataset_dir / "annotations/train/InterHand2.6M_train_data.json"
    data = json.loads(path.read_text())
    data["images"][1]["frame_idx"] = data["images"][0]["frame_idx"]
    path.write_text(json.dumps(data))
    read_review(dataset_dir).decide(frames[0].key, swap=True)
    with pytest.raises(ValueError, match="shares its joints"):
        apply_swaps(dataset_dir)

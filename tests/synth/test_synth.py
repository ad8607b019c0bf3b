"""A synthetic tree: right to the pixel, the same from any number of workers, after any stop."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from digit.data.index import open_index
from digit.hands.model import load_hand
from digit.hands.part_masks import fit_vertices_mm, load_hands, render_masks
from digit.skeleton import JOINTS_PER_HAND
from digit.synth import capture
from digit.synth.anatomy import LIMITS, joint_angles
from digit.synth.capture import Job, _hidden, make_capture
from digit.synth.dataset import plan, synthesize
from digit.synth.families import families, shapes
from digit.synth.profiles import PROFILES

FRAMES, SEED = 24, 3


class Here(Executor):
    """An executor that works at once, where it is called: any will do."""

    def submit(self, function, job):
        future = Future()
        future.set_result(function(job))
        return future


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small tree, and for each of its pictures which face every pixel shows, and of whom."""
    root, seen = tmp_path_factory.mktemp("synth") / "tree", []
    plain = _hidden

    def spy(camera, shown, body, *rest):
        seen.append(np.append(body.owner, -1)[shown[0]])
        return plain(camera, shown, body, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "_hidden", spy)
        counts = synthesize(root, FRAMES, SEED, executor=Here(), progress=False)
    return root, counts, seen


@pytest.fixture(scope="module")
def indices(made):
    return [open_index(made[0], split) for split in ("train", "val", "test")]


def test_splits_have_their_frames_and_subjects(made, indices):
    assert made[1] == {"train": 20, "val": 2, "test": 2}
    assert [len(index) for index in indices] == [20, 2, 2]
    subjects = [set(index["subject"]) for index in indices]
    assert not set.intersection(*subjects) and all(subjects)
    assert (made[0] / "annotations/hand_model.txt").read_text().strip() == "generic"
    assert not (made[0] / "parts").exists()


def test_joints_fits_and_boxes_agree(indices):
    models = [load_hand("right"), load_hand("left")]
    for index in indices:
        joints, valid = index["joints_world_mm"], index["joint_valid"]
        for side, model in enumerate(models):
            fit = [
                torch.from_numpy(np.array(index[f"mano_{k}"][:, side], np.float32))
                for k in ("pose", "shape", "trans")
            ]
            own = slice(side * JOINTS_PER_HAND, (side + 1) * JOINTS_PER_HAND)
            here = valid[:, own].all(1)
            assert np.array_equal(here, np.isfinite(fit[2][:, 0].numpy()))
            assert np.array_equal(here, valid[:, own].any(1))
            if not here.any():
                continue
            from_fit = model.joints(model.skin(*fit) * 1000).numpy()
            assert abs(from_fit - joints[:, own])[here].max() < 0.01  # mm
            assert (joints[:, own][~here] == 1).all()
        px, box = index["joints_px"], index["bbox_xywh"]
        for i in range(len(index)):
            low, high = px[i][valid[i]].min(0), px[i][valid[i]].max(0)
            assert np.allclose(box[i][2:], 1.2 * (high - low), atol=0.1)
            assert np.allclose(box[i][:2] + box[i][2:] / 2, (low + high) / 2, atol=0.1)
        types = np.array([[1, 0], [0, 1], [1, 1]])[index["hand_type"]]
        assert np.array_equal(types > 0, valid[:, [20, 41]])


def test_rootnet_is_near_the_truth(indices):
    index = indices[0]
    side = 1.25 * index["bbox_xywh"][:, 2:].max(1, keepdims=True)
    assert (abs(index["rootnet_bbox_xywh"][:, 2:] / side - 1) < 0.05).all()
    depth = index["joints_cam_mm"][:, [20, 41], 2]
    error = (index["rootnet_depth_mm"] - depth)[index["joint_valid"][:, [20, 41]]]
    assert 3 < error.std() < 80 and abs(error).max() < 200


def test_pictures_show_the_masks(made, indices):
    """Where the picture shows a hand, the fits' mask shows that hand; else, an arm or cloth is
    before it."""
    root, _, seen = made
    hands, at = load_hands(root), 0
    for index in indices:
        for i, (mask, errors, _) in enumerate(render_masks(hands, index)):
            frame = index.frame(i)
            picture = cv2.imread(str(root / "images" / frame.key))
            assert picture.shape[:2] == mask.shape == (frame.height, frame.width)
            of_mask = np.where(mask == 0, -1, (mask.astype(int) - 1) // 16)
            shown = seen[at]
            on_hand = np.isin(shown, [0, 1])
            assert (of_mask[on_hand] == shown[on_hand]).mean() > 0.999
            unseen = (of_mask >= 0) & ~on_hand
            assert (shown[unseen] == 2).mean() > 0.999 if unseen.any() else True
            assert np.nanmax(errors) < 0.01
            at += 1


def test_pictures_have_edges_where_hands_end(made, indices):
    """The JPEG itself, not only the renderer's arrays: hands differ from what is round them."""
    root, _, seen = made
    contrast = []
    frames = [index.frame(i) for index in indices for i in range(len(index))]
    for frame, shown in zip(frames, seen):
        picture = cv2.imread(str(root / "images" / frame.key)).astype(float)
        hand = np.isin(shown, [0, 1]).astype(np.uint8)
        inner = cv2.erode(hand, np.ones((7, 7))) > 0
        near = (cv2.dilate(hand, np.ones((15, 15))) > 0) & (
            cv2.dilate(hand, np.ones((5, 5))) == 0
        )
        if inner.sum() > 200 and near.sum() > 200:
            contrast.append(
                np.linalg.norm(picture[inner].mean(0) - picture[near].mean(0))
            )
    assert np.median(contrast) > 15


def test_truth_is_sane(made, indices):
    for index in indices:
        hidden, valid = np.stack(index["joint_hidden"]), index["joint_valid"]
        px, size = index["joints_px"], np.stack([index["width"], index["height"]], 1)
        inside = ((px.round() >= 0) & (px.round() < size[:, None])).all(-1)
        assert (hidden[valid & ~inside] == 3).all() and (
            hidden[valid & inside] < 3
        ).all()
        two = index["hand_type"] == 2
        assert np.isfinite(index["hands_distance_mm"][two]).all()
        assert np.isnan(index["hands_distance_mm"][~two]).all()
        assert (index["penetration_mm"][two] < 5).all()
        for side in ("right", "left"):
            for what in ("other", "itself", "frame"):
                share = index[f"{side}_hidden_by_{what}"]
                assert ((share >= -1e-6) & (share <= 1))[np.isfinite(share)].all()
    names = set(np.concatenate([index["family"] for index in indices]))
    one = [name.partition(":")[2] for name in names - set(families())]
    assert set(one) <= set(shapes())


def test_angles_of_a_tree_keep_the_limits(indices):
    low, high = LIMITS[..., 0] - 1e-3, LIMITS[..., 1] + 1e-3
    for side in (0, 1):
        fits = indices[0]["mano_pose"][:, side]
        angles = joint_angles(fits[np.isfinite(fits).all(1)], side)
        assert ((angles >= low) & (angles <= high)).all()


def test_same_bytes_from_two_workers_and_after_a_stop(made, tmp_path):
    root = tmp_path / "again"
    jobs = plan(root, FRAMES, SEED, [PROFILES["studio"]])
    make_capture(jobs[0])  # one capture is done, of the next a broken picture
    half = root / next(k for k in contents(made[0]) if k.startswith("images/val"))
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    (root / "synth.json").write_text((made[0] / "synth.json").read_text())
    synthesize(root, FRAMES, SEED, workers=2, progress=False)
    a, b = contents(made[0]), contents(root)
    a = {k: v for k, v in a.items() if not k.startswith("prepared")}
    assert a.keys() == b.keys()
    assert [k for k in a if a[k] != b[k]] == []


def test_killed_anywhere_it_goes_on_to_the_same_bytes(tmp_path):
    """SIGKILL to the command and its workers at ten random moments, then left to finish."""

    def start(root):
        words = [
            "synth",
            "--out",
            str(root),
            "--frames",
            "60",
            "--seed",
            "9",
            "--workers",
            "2",
        ]
        command = [sys.executable, "-m", "digit", *words]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            command, stdout=quiet, stderr=quiet, start_new_session=True
        )

    began = time.monotonic()
    assert start(tmp_path / "calm").wait(120) == 0
    whole_s = time.monotonic() - began
    rng = np.random.default_rng(0)
    for moment in rng.uniform(0.3, 1, 10) * whole_s:
        process = start(tmp_path / "hurt")
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert start(tmp_path / "hurt").wait(120) == 0
    assert contents(tmp_path / "hurt") == contents(tmp_path / "calm")


def test_finished_trees_stay_and_others_are_refused(made, tmp_path):
    root, counts, _ = made
    before = contents(root)
    assert synthesize(root, FRAMES, SEED, progress=False) == counts
    assert contents(root) == before
    with pytest.raises(
        ValueError, match=r"synth.json: seed is 3, not 4: use another folder"
    ):
        synthesize(root, FRAMES, 4)
    with pytest.raises(ValueError, match="frames is 24, not 30"):
        synthesize(root, 30, SEED)
    (tmp_path / "note").write_text("mine")
    with pytest.raises(ValueError, match="holds other data"):
        synthesize(tmp_path, FRAMES, SEED)
    with pytest.raises(ValueError, match="profile 'moon' is unknown"):
        synthesize(tmp_path / "new", FRAMES, SEED, profile="moon")
    with pytest.raises(ValueError, match="too few"):
        synthesize(tmp_path / "new", 2, SEED)
    assert not (tmp_path / "new").exists()


def test_penetration_is_as_ray_casting_says(indices):
    trimesh = pytest.importorskip("trimesh")
    index = indices[0].take(np.flatnonzero(indices[0]["hand_type"] == 2)[::3])
    if not len(index):
        pytest.skip("no two hands in this small tree")
    hands = load_hands(index.root)
    fits = [
        torch.from_numpy(np.array(index[f"mano_{k}"], np.float32))
        for k in ("pose", "shape", "trans")
    ]
    world = fit_vertices_mm(hands, *fits).numpy()
    for i in range(len(index)):
        deepest = 0.0
        for side in (0, 1):
            mesh = trimesh.Trimesh(world[i, side], hands[side].faces, process=False)
            inside = mesh.contains(world[i, 1 - side])
            if inside.any():
                near = np.linalg.norm(
                    world[i, 1 - side][inside][:, None] - world[i, side], axis=-1
                )
                deepest = max(deepest, near.min(1).max())
        assert deepest < 5 and abs(deepest - index["penetration_mm"][i]) < 3


def test_profiles_differ(tmp_path):
    job = Job(str(tmp_path), "train", 0, 2, 0, PROFILES["wild"])
    make_capture(job)
    pictures = [cv2.imread(str(p)) for p in tmp_path.rglob("*.jpg")]
    assert len(pictures) == 2 and {p.shape for p in pictures} <= {
        (334, 512, 3),
        (512, 334, 3),
    }
    assert (
        np.mean([p.mean() for p in pictures]) > 30
    )  # a bright room, not a dark studio

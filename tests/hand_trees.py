"""InterHand2.6M trees of posed hand models, with fits, for tests of masks and fitting."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from digit.data.tree import write_tree
from digit.hands.part_rendering import Hands, fit_vertices_mm
from digit.skeleton import HAND_TYPE_FLAGS

WIDTH, HEIGHT, CAMERAS = 256, 192, 2
Fits = tuple[np.ndarray, np.ndarray, np.ndarray]  # pose, shape, trans of both hands


def random_fits(instants: int) -> Fits:
    """Fits of any pose, two hands at each instant."""
    rng = np.random.default_rng(instants)
    pose = rng.normal(0, 0.3, (instants, 2, 48)).astype(np.float32)
    pose[..., :3] = rng.normal(0, 1.5, (instants, 2, 3))
    shape = rng.normal(0, 1, (instants, 2, 10)).astype(np.float32)
    trans = rng.normal(0, 0.04, (instants, 2, 3)).astype(np.float32)
    return pose, shape, trans


def make_tree(
    root: Path,
    hands: Hands,
    instants: int = 20,
    name: str = "generic",
    cameras: int = CAMERAS,
    sizes: Sequence[tuple[int, int]] = ((WIDTH, HEIGHT),),
    fits: Fits | None = None,
    **changes,
) -> Path:
    """A tree of random hands seen by cameras round about.

    The frames of a camera are in a row, of size `sizes[c % …]` for camera c. `fits`
    (pose, shape, trans) take the place of the random ones; `changes` map an instant's
    column to a function that changes it in place.
    """
    pose, shape, trans = fits or random_fits(instants)
    vertices = fit_vertices_mm(hands, *map(torch.from_numpy, (pose, shape, trans)))
    joints = torch.cat(
        [hand.joints(vertices[:, k]) for k, hand in enumerate(hands)], 1
    ).numpy()
    hand_type = np.arange(instants) % 3
    present = HAND_TYPE_FLAGS[hand_type] > 0
    for fit in (pose, shape, trans):
        fit[~present] = np.nan
    labels = {
        "capture": np.zeros(instants, int),
        "frame_idx": np.arange(instants),
        "hand_type": hand_type,
        "joint_valid": present.repeat(21, 1),
        "hand_type_valid": np.ones(instants, bool),
    }
    columns = labels | {
        "joints_world_mm": joints,
        "mano_pose": pose,
        "mano_shape": shape,
        "mano_trans": trans,
    }
    for key, change in changes.items():
        change(columns[key])
    angle, size = np.arange(cameras) * np.arccos(0.8), np.resize(sizes, (cameras, 2))
    camrot = np.zeros((cameras, 3, 3))
    camrot[:, 1, 1], camrot[:, 0, 0], camrot[:, 2, 2] = 1, np.cos(angle), np.cos(angle)
    camrot[:, 0, 2], camrot[:, 2, 0] = -np.sin(angle), np.sin(angle)
    focal = (
        np.resize([[600.0, 610], [640, 620]], (cameras, 2))
        * size.min(1, keepdims=True)
        / 192
    )
    names = [f"{400001 + c}" for c in range(cameras)]
    views = {
        "capture": [0] * cameras,
        "camera": names,
        "camrot": camrot,
        "focal": focal,
        "campos_mm": -900 * camrot[:, 2],
        "princpt": size / 2 - [3, 0],
    }
    cam = np.einsum("cij,tkj->ctki", camrot, columns["joints_world_mm"]) + [0, 0, 900]
    px = (
        cam[..., :2] / cam[..., 2:] * focal[:, None, None]
        + views["princpt"][:, None, None]
    )
    seen = labels["joint_valid"][..., None] & np.isfinite(px)
    low, high = np.where(seen, px, np.inf).min(2), np.where(seen, px, -np.inf).max(2)
    which, at = np.divmod(np.arange(cameras * instants), instants)
    frames = {key: column[at] for key, column in labels.items()} | {
        "image_id": np.arange(len(at)),
        "width": size[which, 0],
        "height": size[which, 1],
        "subject": np.zeros(len(at), int),
        "seq_name": ["s"] * len(at),
        "camera": [names[c] for c in which],
        "file_name": [
            f"Capture0/s/cam{names[c]}/image{t}.jpg"
            for c, t in zip(which, at, strict=True)
        ],
        "bbox_xywh": np.concatenate([low, high - low], -1).reshape(-1, 4).round(3),
    }
    write_tree(root, "train", frames, columns, views, name)
    return root

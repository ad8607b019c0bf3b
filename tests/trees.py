"""Small InterHand2.6M trees that the tests read: made from columns, with or without
pictures."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import lmdb
import numpy as np
import torch

from digit.data.augmentation import NO_AUGMENTATION, Augmentation
from digit.data.dataset import Batch
from digit.data.tree import write_tree
from digit.model.network import Prediction
from digit.skeleton import BONES, HAND_TYPE_FLAGS, N_JOINTS

FOCAL, PRINCPT = np.array([1000.0, 1100.0]), np.array([167.0, 256.0])
WIDTH, HEIGHT = 334, 512
STILL = NO_AUGMENTATION
FLIPPED = Augmentation(
    translate=0.0,
    scale=0.0,
    rotation_deg=0.0,
    rotation_probability=0.0,
    rotation_clip=0.0,
    flip=1.0,
    colour=0.0,
)

# ------------------------------------------------------------- one camera, plain images


def make_tree(
    dataset_dir: Path, n: int = 6, seed: int = 0, pictures: bool = True, **changes
) -> Path:
    """A val split of n frames as the original leaves it: plain images, segm_32.lmdb,
    meta_dict.

    `changes` replace columns of the frames (N …), or `joints_world_mm` of the instants.
    """
    rng = np.random.default_rng(seed)
    hand_type = np.arange(n) % 3
    joints = rng.normal(0, 40, (n, 42, 3)) + [0, 0, 900]
    pixels = joints[..., :2] / joints[..., 2:] * FOCAL + PRINCPT
    low, high = pixels.min(1), pixels.max(1)
    common = {
        "capture": np.zeros(n, int),
        "frame_idx": np.arange(n),
        "hand_type": hand_type,
        "joint_valid": np.repeat(HAND_TYPE_FLAGS[hand_type] > 0, 21, axis=1),
        "hand_type_valid": np.ones(n, bool),
    }
    frames = {
        **common,
        "image_id": np.arange(n) + 100,
        "file_name": [f"Capture0/seq/cam400/image{i}.jpg" for i in range(n)],
        "width": np.full(n, WIDTH),
        "height": np.full(n, HEIGHT),
        "subject": np.zeros(n, int),
        "seq_name": ["seq"] * n,
        "camera": ["400"] * n,
        "bbox_xywh": np.concatenate([low, high - low], -1),
    }
    instants = {**common, "joints_world_mm": changes.pop("joints_world_mm", joints)}
    cameras = {
        "capture": [0],
        "camera": ["400"],
        "camrot": np.eye(3)[None],
        "campos_mm": np.zeros((1, 3)),
        "focal": FOCAL[None],
        "princpt": PRINCPT[None],
    }
    write_tree(dataset_dir, "val", frames | changes, instants, cameras)
    if pictures:
        keys = [f"val/{name}" for name in frames["file_name"]]
        write_pictures(dataset_dir, keys, hand_type, rng)
    return dataset_dir


def write_pictures(
    dataset_dir: Path, keys: list[str], hand_type, rng: np.random.Generator
) -> None:
    """Plain images, the original's masks, and its fitting errors."""
    masks, meta = {}, {}
    for key, kind in zip(keys, hand_type, strict=True):
        noise = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8 + 1, 3), np.uint8)
        smooth = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        path = dataset_dir / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), smooth)
        labels = rng.integers(0, 33, (HEIGHT // 4, WIDTH // 4 + 1), np.uint8)
        labels = cv2.resize(labels, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        masks[key.replace(".jpg", ".png")] = png(labels)
        right, left = (1.0 if flag else None for flag in HAND_TYPE_FLAGS[kind])
        meta[key] = {
            "right_fit_err": right,
            "left_fit_err": left,
            "imsize": (HEIGHT, WIDTH),
        }
    write_lmdb(dataset_dir / "segm_32.lmdb", masks)
    (dataset_dir / "cache").mkdir()
    (dataset_dir / "cache/meta_dict_val.pkl").write_bytes(pickle.dumps(meta))


def label_copy(source: Path, target: Path) -> Path:
    """A copy of a data set without fits, as labels of photographs are."""
    for name in ("annotations", "images"):
        shutil.copytree(source / name, target / name)
    for path in target.rglob("*NeuralAnnot.json"):
        path.unlink()
    return target


# ------------------------------------------------- two captures, three cameras, MANO fits

CAMERAS, MOMENTS = 3, 5
CAPTURES = 2
N_FRAMES = CAPTURES * MOMENTS * CAMERAS


def hands(rng) -> np.ndarray:
    """Joints of two hands (mm) with bones of human length about the world's origin."""
    joints = np.zeros((N_JOINTS, 3))
    joints[20], joints[41] = rng.normal(0, 20, (2, 3))
    for child, parent in BONES[::-1]:
        step = rng.normal(size=3)
        length_mm = rng.uniform(20, 45)
        joints[child] = joints[parent] + step / np.linalg.norm(step) * length_mm
    return joints


def rotations(rng, n: int) -> np.ndarray:
    """Random rotation matrices, (n, 3, 3)."""
    found = []
    for _ in range(n):
        matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        found.append(matrix * np.linalg.det(matrix))
    return np.stack(found)


def columns(seed=0, captures=CAPTURES, n_moments=MOMENTS, n_cameras=CAMERAS):
    """The columns of a small data set as `write_tree` takes them, and its true joints.

    What is odd in the real one is odd here: image ids are not the annotations', there are
    frames of every hand type, one hand has no fit.
    """
    rng = np.random.default_rng(seed)
    moments = [
        (capture, 10 * i) for capture in range(captures) for i in range(n_moments)
    ]
    m, k = len(moments), captures * n_cameras
    hand_type = np.arange(m) % 3
    right_left = np.repeat([[1, 0], [0, 1], [1, 1]], 21, axis=1)

    # 1. Moments
    instants = {
        "capture": [c for c, _ in moments],
        "frame_idx": [f for _, f in moments],
        "joints_world_mm": np.stack([hands(rng) for _ in moments]).astype(np.float32),
        "joint_valid": right_left[hand_type],
        "hand_type": hand_type,
        "hand_type_valid": np.ones(m),
        "mano_pose": rng.normal(size=(m, 2, 48)),
        "mano_shape": rng.normal(size=(m, 2, 10)),
        "mano_trans": rng.normal(size=(m, 2, 3)),
    }
    for name in ("mano_pose", "mano_shape", "mano_trans"):
        instants[name][1, 0] = np.nan

    # 2. Cameras; each looks at the origin from 0.9 m away
    cameras = {
        "capture": np.repeat(np.arange(captures), n_cameras),
        "camera": [f"4000{i}" for i in range(n_cameras)] * captures,
        "camrot": rotations(rng, k),
        "focal": rng.uniform(1200, 1300, (k, 2)),
        "princpt": rng.uniform(150, 180, (k, 2)),
    }
    cameras["campos_mm"] = -900 * cameras["camrot"][:, 2]

    # 3. Frames: each camera sees each moment of its capture
    rows = [(i, c) for i in range(m) for c in range(n_cameras)]
    of = np.array([i for i, _ in rows])
    camera_row = np.array([moments[i][0] * n_cameras + c for i, c in rows])
    offset = instants["joints_world_mm"][of] - cameras["campos_mm"][camera_row][:, None]
    cam = np.einsum("nij,nkj->nki", cameras["camrot"][camera_row], offset)
    px = cam[..., :2] / cam[..., 2:] * cameras["focal"][camera_row][:, None]
    px += cameras["princpt"][camera_row][:, None]
    valid = instants["joint_valid"][of]
    low = np.where(valid[..., None] > 0, px, np.inf).min(1)
    high = np.where(valid[..., None] > 0, px, -np.inf).max(1)
    n = len(rows)
    names = [cameras["camera"][c] for _, c in rows]
    frames = {
        "image_id": 1000 + rng.permutation(n),
        "annot_id": 5000 + np.arange(n),
        "file_name": [
            f"Capture{moments[i][0]}/0001_seq/cam{c}/image{moments[i][1]}.jpg"
            for i, c in zip(of, names, strict=True)
        ],
        "width": np.full(n, WIDTH),
        "height": np.full(n, HEIGHT),
        "camera": names,
        "capture": [moments[i][0] for i in of],
        "frame_idx": [moments[i][1] for i in of],
        "subject": np.zeros(n, int),
        "seq_name": ["0001_seq"] * n,
        "bbox_xywh": np.concatenate([low, high - low], 1).astype(np.float32),
        "joint_valid": valid,
        "hand_type": hand_type[of],
        "hand_type_valid": np.ones(n),
        "rootnet_bbox_xywh": rng.uniform(50, 90, (n, 4)).astype(np.float32),
        "rootnet_depth_mm": rng.uniform(700, 900, (n, 2)).astype(np.float32),
    }
    true = {"cam": cam, "px": px, "of": of, "camera_row": camera_row}
    return frames, instants, cameras, true


def write_columns_tree(dataset_dir: Path, split: str = "train") -> Path:
    """The tree of `columns`, without pictures; its fits are of the generic hand."""
    frames, instants, cameras, _ = columns()
    write_tree(dataset_dir, split, frames, instants, cameras, hand_model="generic")
    return dataset_dir


def annotation_paths(dataset_dir: Path, split: str = "train") -> dict[str, Path]:
    """The annotation files of such a tree, by the end of their names."""
    folder = dataset_dir / "annotations" / split
    paths = {
        name: folder / f"InterHand2.6M_{split}_{name}.json"
        for name in ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
    }
    name = f"rootnet_interhand2.6m_output_{split}.json"
    paths["rootnet"] = dataset_dir / "rootnet_output" / name
    return paths


def edit_json(path: Path, change: Callable) -> None:
    """Rewrite a JSON file after a change of its content in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# ------------------------------------------------------------------ pictures and LMDBs


def jpeg(seed: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A smooth picture of random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 6, 3), np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", image)[1].tobytes()


def png(picture: np.ndarray) -> bytes:
    """A picture as a PNG file; of three channels, blue is the first."""
    return cv2.imencode(".png", picture)[1].tobytes()


def write_lmdb(path: Path, values: dict[str, bytes]) -> None:
    """An LMDB with these values, and no more, as the original's scripts write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        lmdb.open(str(path), map_size=1 << 30) as env,
        env.begin(write=True) as transaction,
    ):
        for key, value in values.items():
            transaction.put(key.encode(), value)


def perfect_prediction(batch: Batch) -> Prediction:
    """What a network without fault would predict for a batch of crops."""
    logits = torch.nn.functional.one_hot(batch.parts.long(), 33).movedim(-1, 1).float()
    b, _, h, _ = logits.shape
    return Prediction(
        joints_25d=batch.joints_25d,
        relative_root_depth=batch.relative_root_depth,
        hand_type_logits=batch.hand_type,
        part_logits=logits,
        heatmaps=torch.zeros(b, 42, h // 2, h // 2),
    )

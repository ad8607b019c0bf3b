"""Small InterHand2.6M trees that the tests read: made from columns, with or without
pictures."""

import pickle
from pathlib import Path

import cv2
import lmdb
import numpy as np

from digit.data.dataset import Augmentation
from digit.data.tree import write_tree
from digit.skeleton import BONES, HAND_TYPE_FLAGS, N_JOINTS

FOCAL, PRINCPT = np.array([1000.0, 1100.0]), np.array([167.0, 256.0])
WIDTH, HEIGHT = 334, 512
STILL = Augmentation(*[0.0] * 7)
FLIPPED = Augmentation(*[0.0] * 5, flip=1.0, colour=0.0)


def make_tree(
    root: Path, n: int = 6, seed: int = 0, pictures: bool = True, **changes
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
    valid = np.repeat(HAND_TYPE_FLAGS[hand_type] > 0, 21, axis=1)
    common = {
        "capture": np.zeros(n, int),
        "frame_idx": np.arange(n),
        "hand_type": hand_type,
    }
    common |= {"joint_valid": valid, "hand_type_valid": np.ones(n, bool)}
    frames = common | {
        "image_id": np.arange(n) + 100,
        "file_name": [f"Capture0/seq/cam400/image{i}.jpg" for i in range(n)],
        "width": np.full(n, WIDTH),
        "height": np.full(n, HEIGHT),
        "subject": np.zeros(n, int),
        "seq_name": ["seq"] * n,
        "camera": ["400"] * n,
        "bbox_xywh": np.concatenate([low, high - low], -1),
    }
    instants = common | {"joints_world_mm": changes.pop("joints_world_mm", joints)}
    cameras = {
        "capture": [0],
        "camera": ["400"],
        "camrot": np.eye(3)[None],
        "campos_mm": np.zeros((1, 3)),
        "focal": FOCAL[None],
        "princpt": PRINCPT[None],
    }
    write_tree(root, "val", frames | changes, instants, cameras)
    if pictures:
        write_pictures(
            root, [f"val/{name}" for name in frames["file_name"]], hand_type, rng
        )
    return root


def write_pictures(
    root: Path, keys: list[str], hand_type, rng: np.random.Generator
) -> None:
    masks, meta = {}, {}
    for key, kind in zip(keys, hand_type):
        noise = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8 + 1, 3), np.uint8)
        smooth = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        path = root / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), smooth)
        labels = rng.integers(0, 33, (HEIGHT // 4, WIDTH // 4 + 1), np.uint8)
        labels = cv2.resize(labels, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        masks[key.replace(".jpg", ".png")] = cv2.imencode(".png", labels)[1].tobytes()
        errors = [1.0 if flag else None for flag in HAND_TYPE_FLAGS[kind]]
        meta[key] = dict(
            zip(("right_fit_err", "left_fit_err"), errors), imsize=(HEIGHT, WIDTH)
        )
    with (
        lmdb.open(str(root / "segm_32.lmdb"), map_size=2**28) as env,
        env.begin(write=True) as txn,
    ):
        for key, value in masks.items():
            txn.put(key.encode(), value)
    (root / "cache").mkdir()
    (root / "cache/meta_dict_val.pkl").write_bytes(pickle.dumps(meta))


CAMERAS, MOMENTS = 3, 5


def hands(rng) -> np.ndarray:
    """Joints of two hands (mm) with bones of human length about the world's origin."""
    joints = np.zeros((N_JOINTS, 3))
    joints[20], joints[41] = rng.normal(0, 20, (2, 3))
    for child, parent in BONES[::-1]:
        step = rng.normal(size=3)
        joints[child] = joints[parent] + step / np.linalg.norm(step) * rng.uniform(
            20, 45
        )
    return joints


def columns(seed=0, captures=2):
    """The columns of a small data set, as `write_tree` takes them; what is odd in the
    real one too: image ids that are not the annotations', frames of every hand type,
    one hand without a fit."""
    rng = np.random.default_rng(seed)
    moments = [(capture, 10 * i) for capture in range(captures) for i in range(MOMENTS)]
    m, k = len(moments), captures * CAMERAS
    hand_type = np.arange(m) % 3
    right_left = np.repeat([[1, 0], [0, 1], [1, 1]], 21, axis=1)
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
    cameras = {
        "capture": np.repeat(np.arange(captures), CAMERAS),
        "camera": [f"4000{i}" for i in range(CAMERAS)] * captures,
        "camrot": np.stack(
            [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(k)]
        ),
        "focal": rng.uniform(1200, 1300, (k, 2)),
        "princpt": rng.uniform(150, 180, (k, 2)),
    }
    back = -900 * cameras["camrot"][:, 2]  # each looks at the origin from 0.9 m away
    cameras["campos_mm"] = back
    rows = [(i, c) for i in range(m) for c in range(CAMERAS)]
    of = np.array([i for i, _ in rows])
    camera_row = np.array([moments[i][0] * CAMERAS + c for i, c in rows])
    world = instants["joints_world_mm"][of] - back[camera_row][:, None]
    cam = np.einsum("nij,nkj->nki", cameras["camrot"][camera_row], world)
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
            for i, c in zip(of, names)
        ],
        "width": np.full(n, 334),
        "height": np.full(n, 512),
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
    return (
        frames,
        instants,
        cameras,
        {"cam": cam, "px": px, "of": of, "camera_row": camera_row},
    )

"""What the data path is measured against: straightforward, frame by frame and joint by
joint."""

import json
from pathlib import Path

import cv2
import lmdb
import numpy as np
import torch

from digit.skeleton import JOINT_WRIST, SWAP_JOINTS, SWAP_LABELS


def recode(path: Path, files: list[Path], keys: list[str]) -> None:
    """Each JPEG decoded, coded as PNG and put into an LMDB: the original's packing."""
    with (
        lmdb.open(str(path), map_size=1 << 36) as env,
        env.begin(write=True) as transaction,
    ):
        for file, key in zip(files, keys, strict=True):
            image = cv2.imencode(".png", cv2.imread(str(file)))[1].tobytes()
            transaction.put(key.encode(), image)


class PlainSamples:
    """A straightforward path to a sample, frame by frame: dictionaries, PNGs, masks of
    three channels, image and mask each cropped at full size by the same function,
    joints one by one."""

    def __init__(self, root: Path, stores: list[Path]):
        parts = (
            f"{root}/annotations/train/InterHand2.6M_train_{part}.json"
            for part in ("data", "camera", "joint_3d")
        )
        data, self.cameras, self.joints = (
            json.loads(Path(part).read_text()) for part in parts
        )
        self.frames = list(zip(data["images"], data["annotations"], strict=True))
        self.stores = [
            lmdb.open(str(path), readonly=True, lock=False) for path in stores
        ]

    def crop(self, which: int, key: str, flip: bool, box: tuple, how: int) -> tuple:
        """The crop (256, 256, 3) and the affine that made it."""
        with self.stores[which].begin() as transaction:
            data = np.frombuffer(transaction.get(key.encode()), np.uint8)
        picture = (
            cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1].copy().astype(np.float32)
        )
        picture = picture[:, ::-1].copy() if flip else picture
        centre, side, angle = box
        x, y = np.cos(angle) * side / 2, np.sin(angle) * side / 2
        corners = np.float32([centre, centre + [-y, x], centre + [x, y]])
        target = np.float32([[128, 128], [128, 256], [256, 128]])
        affine = cv2.getAffineTransform(corners, target)
        return cv2.warpAffine(picture, affine, (256, 256), flags=how), affine

    def __getitem__(self, i: int) -> tuple[torch.Tensor, ...]:
        image, label = self.frames[i]
        capture, flip = str(image["capture"]), np.random.rand() < 0.5  # noqa: NPY002
        camera = {
            k: np.array(v[image["camera"]]) for k, v in self.cameras[capture].items()
        }
        world = np.array(self.joints[capture][str(image["frame_idx"])]["world_coord"])
        joints, valid = (
            np.zeros((42, 3), np.float32),
            np.float32(label["joint_valid"]).ravel(),
        )
        for j in range(42):
            cam = camera["camrot"] @ (world[j] - camera["campos"])
            joints[j] = [
                *(cam[:2] / cam[2] * camera["focal"] + camera["princpt"]),
                cam[2],
            ]
        x, y, w, h = label["bbox"]
        side, (move_x, move_y, *colour) = 1.25 * max(w, h), np.random.uniform(-1, 1, 5)  # noqa: NPY002
        size, turn = np.random.randn(2).clip([-1, -2], [1, 2])  # noqa: NPY002
        centre = np.array(
            [x + w / 2 + 0.15 * side * move_x, y + h / 2 + 0.15 * side * move_y]
        )
        if flip:
            joints, valid = joints[SWAP_JOINTS], valid[SWAP_JOINTS]
            joints[:, 0], centre[0] = (
                image["width"] - 1 - v for v in (joints[:, 0], centre[0])
            )
        box = centre, side * (1 + 0.25 * size), np.pi / 4 * turn
        key = f"train/{image['file_name'][:-4]}"
        picture, affine = self.crop(0, f"{key}.jpg", flip, box, cv2.INTER_LINEAR)
        picture = np.clip(picture * (1 + 0.2 * np.array(colour)), 0, 255).astype(
            np.float32
        )
        parts, _ = self.crop(1, f"{key}.png", flip, box, cv2.INTER_NEAREST)
        parts = cv2.resize(
            parts[..., 0], (128, 128), interpolation=cv2.INTER_NEAREST
        ).astype(np.uint8)
        depth = joints[:, 2].copy()
        for j in range(42):
            joints[j, :2] = affine @ [*joints[j, :2], 1] / 256 * 64
            joints[j, 2] = ((depth[j] - depth[JOINT_WRIST[j]]) / 200 + 1) / 2 * 64
            valid[j] *= (
                valid[JOINT_WRIST[j]] * ((joints[j] >= 0) & (joints[j] < 64)).all()
            )
        picture = torch.from_numpy(picture.transpose(2, 0, 1)) / 255
        return (
            picture,
            torch.from_numpy(SWAP_LABELS[parts] if flip else parts),
            joints,
            valid,
        )


def evaluate(joints, affine, depth, true, valid, focal, princpt) -> float:
    """MPJPE, frame by frame and joint by joint."""
    errors: list[list[float]] = [[] for _ in range(42)]
    for i in range(len(joints)):
        predicted = np.zeros((42, 3))
        for j in range(42):
            z = (joints[i, j, 2] / 64 * 2 - 1) * 200 + depth[i, j // 21]
            px = affine[i] @ [*(joints[i, j, :2] * 4), 1]
            predicted[j] = [*((px - princpt[i]) / focal[i] * z), z]
        for j, wrist in enumerate(JOINT_WRIST):
            if valid[i, j] and valid[i, wrist]:
                offset = (predicted[j] - predicted[wrist]) - (
                    true[i, j] - true[i, wrist]
                )
                errors[j].append(np.sqrt((offset**2).sum()))
    return float(np.mean([np.mean(of) for of in errors]))

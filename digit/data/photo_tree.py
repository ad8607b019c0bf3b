"""Data sets whose every frame is a picture of its own: labelled photographs, other data.

`digit label` and `digit import` collect a `PhotoFrame` for each picture and write them
with `write_photo_tree`. Each frame has its own camera and its own moment, since a cut of
a photograph has a principal point of its own.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from digit.data.layout import LABELS_NAME, annotation_names
from digit.data.tree import write_tree
from digit.files import atomic, write_text
from digit.skeleton import HAND_TYPE_FLAGS, JOINTS_PER_HAND

Picture = UInt8[np.ndarray, "_ _ 3"]
Joints2 = Float[np.ndarray, "n 2"]

BOX_MARGIN = 0.1  # of the tight box's longer side, around it; as annotated boxes have
ROOM = 0.5  # of the box's longer side, around it in the cut; as much as crops ever show
JPEG_QUALITY = 95
DECIMALS = 3  # of mm and px in the files


@dataclass(frozen=True)
class Cut:
    """A rectangle of a photograph, made smaller."""

    left: int
    top: int
    width: int  # of the cut in the photograph, px
    height: int
    scale: float  # pixels of the cut by pixels of the photograph

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture that is cut out, px."""
        width = max(1, round(self.width * self.scale))
        height = max(1, round(self.height * self.scale))
        return width, height

    @property
    def scales(self) -> Float[np.ndarray, "2"]:
        """How x and y are scaled, by the whole pixels of `size`."""
        return np.array(self.size) / (self.width, self.height)

    def points(self, points_px: Joints2) -> Joints2:
        """Points of the photograph in pixels of the cut; centres are at integers."""
        return (points_px - (self.left, self.top) + 0.5) * self.scales - 0.5

    def photo_points(self, points_px: Joints2) -> Joints2:
        """Points of the cut in pixels of the photograph."""
        return (points_px + 0.5) / self.scales - 0.5 + (self.left, self.top)

    def pixels(self, photo: Picture) -> Picture:
        """The picture that is cut out."""
        rows = slice(self.top, self.top + self.height)
        columns = slice(self.left, self.left + self.width)
        way = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        return cv2.resize(photo[rows, columns], self.size, interpolation=way)


@dataclass(frozen=True, eq=False)
class PhotoFrame:
    """One frame: a picture and the hands in it.

    `joints_cam_mm` lies in the frame of the picture's camera, zeros where a joint is not
    annotated.
    """

    image_id: int
    split: str
    capture: int
    sequence: str
    suffix: str  # of the picture's file, ".jpg"
    width: int
    height: int
    focal_px: Float[np.ndarray, "2"]
    princpt_px: Float[np.ndarray, "2"]
    joints_cam_mm: Float[np.ndarray, "42 3"]
    joint_valid: Bool[np.ndarray, "42"]
    hand_type: int  # position in HAND_TYPES

    @property
    def file_name(self) -> str:
        """The picture's name below `images/<split>`."""
        folder = f"Capture{self.capture}/{self.sequence}/cam{self.image_id}"
        return f"{folder}/image{self.image_id}{self.suffix}"

    @property
    def key(self) -> str:
        """The frame's key in the image store."""
        return f"{self.split}/{self.file_name}"

    @property
    def joints_px(self) -> Float[np.ndarray, "42 2"]:
        """The joints in the picture; of no meaning where they are not valid."""
        depth_mm = self.joints_cam_mm[:, 2:]
        depth_mm = np.where(depth_mm > 0, depth_mm, 1.0)
        return self.joints_cam_mm[:, :2] / depth_mm * self.focal_px + self.princpt_px

    def to_dict(self) -> dict[str, Any]:
        """The frame as JSON takes it."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "PhotoFrame":
        """The inverse of `to_dict`; raises ValueError or TypeError if it is none."""
        dtypes = {"focal_px": float, "princpt_px": float, "joints_cam_mm": float}
        dtypes["joint_valid"] = bool
        arrays = {name: np.array(record[name], dtypes[name]) for name in dtypes}
        return cls(**{**record, **arrays})


def make_frame(
    *,
    image_id: int,
    split: str,
    capture: int,
    sequence: str,
    size: tuple[int, int],
    focal_px: Float[np.ndarray, "2"],
    princpt_px: Float[np.ndarray, "2"],
    joints_cam_mm: Float[np.ndarray, "42 3"],
    joint_valid: Bool[np.ndarray, "42"],
    suffix: str = ".jpg",
) -> PhotoFrame:
    """Make a frame of arrays; its hand type is that of the hands with a valid joint."""
    # 1 for the right hand, 2 for the left, 3 for both
    has_hand = joint_valid.reshape(2, JOINTS_PER_HAND).any(1)
    [hand_type] = np.flatnonzero((HAND_TYPE_FLAGS > 0) @ [1, 2] == has_hand @ [1, 2])
    joints_mm = np.where(joint_valid[:, None], joints_cam_mm, 0.0)
    return PhotoFrame(
        image_id=image_id,
        split=split,
        capture=capture,
        sequence=plain_name(sequence),
        suffix=suffix,
        width=size[0],
        height=size[1],
        focal_px=np.round(np.array(focal_px, float), DECIMALS),
        princpt_px=np.round(np.array(princpt_px, float), DECIMALS),
        joints_cam_mm=np.round(joints_mm, DECIMALS),
        joint_valid=joint_valid,
        hand_type=int(hand_type),
    )


def annotated_box(joints_px: Joints2) -> Float[np.ndarray, "4"]:
    """The box (x, y, width, height) of some joints, with a tenth of its side around."""
    low = joints_px.min(0)
    high = joints_px.max(0)
    margin = BOX_MARGIN * (high - low).max()
    return np.concatenate([low - margin, high - low + 2 * margin])


def cut_around(
    box_xywh: Float[np.ndarray, "4"], width: int, height: int, longest_px: int
) -> Cut:
    """Find what to cut out of a photograph: a box with room around it.

    Args:
        box_xywh: The box of the hands, px; part of it lies in the photograph.
        width: Of the photograph, px.
        height: Of the photograph, px.
        longest_px: Longer side of the cut at most; it is made smaller, never larger.
    """
    # 1. Whole pixels of the photograph
    room = ROOM * box_xywh[2:].max()
    low = np.floor(box_xywh[:2] - room)
    high = np.ceil(box_xywh[:2] + box_xywh[2:] + room)
    left, top = np.clip(low, 0, (width - 1, height - 1)).astype(int).tolist()
    right, bottom = np.clip(high, (left + 1, top + 1), (width, height)).astype(int)
    cut_width, cut_height = int(right) - left, int(bottom) - top
    # 2. Made smaller where it is too large
    scale = min(1.0, longest_px / max(cut_width, cut_height))
    return Cut(left, top, cut_width, cut_height, scale)


def encode_picture(picture: Picture) -> bytes:
    """An RGB picture as a JPEG file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), options)
    return data.tobytes()


def write_picture(dataset_dir: Path, frame: PhotoFrame, data: bytes) -> None:
    """Write a frame's picture: the bytes of an image file."""
    with atomic(picture_file(dataset_dir, frame), "wb") as file:
        file.write(data)


def picture_file(dataset_dir: Path, frame: PhotoFrame) -> Path:
    """Where a frame's picture lies; whole, if it is there."""
    return Path(dataset_dir) / "images" / frame.key


def write_photo_tree(
    dataset_dir: Path, frames: Iterable[PhotoFrame], label_kind: str
) -> dict[str, int]:
    """Write the annotations of frames whose pictures are written.

    Args:
        dataset_dir: The data set's folder.
        frames: Of one split or several.
        label_kind: "2d" where depths are not to be trusted, "flat" where there are none,
            "3d" else.

    Returns:
        The number of frames of each split.

    Raises:
        OSError: If a file cannot be written.
    """
    by_split: dict[str, list[PhotoFrame]] = {}
    for frame in frames:
        by_split.setdefault(frame.split, []).append(frame)
    # What the labels are worth stands there before the labels do.
    write_text(Path(dataset_dir) / LABELS_NAME, f"{label_kind}\n")
    for split, some in by_split.items():
        write_tree(dataset_dir, split, *_columns(some))
    return {split: len(some) for split, some in by_split.items()}


def has_split(dataset_dir: Path, split: str) -> bool:
    """Whether a split's annotations are there, whole."""
    return (Path(dataset_dir) / annotation_names(split)["data"][0]).exists()


def begin_folder(dataset_dir: Path, note: Path, settings: dict[str, Any]) -> bool:
    """Begin a data set's folder, or go on in one that the same call has begun.

    Args:
        dataset_dir: The folder; it may be missing or empty.
        note: Where the settings are kept, relative to the folder.
        settings: What must be the same for two calls to work on one data set.

    Returns:
        Whether the folder had been begun.

    Raises:
        ValueError: If the folder holds something else, or was begun with other settings.
        OSError: If it cannot be written.
    """
    dataset_dir = Path(dataset_dir)
    path = dataset_dir / note
    # 1. A folder that has been begun: the same settings go on with it
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = None
        if before != settings:
            raise ValueError(
                f"{path}: this folder was made with other settings "
                f"({_difference(before, settings)}); give another folder"
            )
        return True
    # 2. A folder that is new, empty, or begun for something else of this kind
    is_begun = note.parent != Path() and path.parent.is_dir()
    if os.path.lexists(dataset_dir) and not (is_begun or _is_empty(dataset_dir)):
        raise ValueError(
            f"{dataset_dir}: exists already and was not made this way; "
            "give a new folder"
        )
    write_text(path, json.dumps(settings, indent=1) + "\n")
    return False


def plain_name(text: str) -> str:
    """A name of letters, digits, "-", "_" and "." for files, of at most 80 characters."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")
    return name[:80] or "photos"


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _difference(before: Any, settings: dict[str, Any]) -> str:
    """Which settings differ, in words."""
    if not isinstance(before, dict):
        return "they cannot be read"
    names = [name for name in settings if before.get(name) != settings[name]]
    return ", ".join(f"{name} was {before.get(name)!r:.60}" for name in names)


def _columns(frames: Sequence[PhotoFrame]) -> tuple[dict, dict, dict]:
    """Frames, moments and cameras as `write_tree` takes them."""
    # 1. What frames and moments have in common
    n = len(frames)
    joints_mm = np.stack([frame.joints_cam_mm for frame in frames])
    valid = np.stack([frame.joint_valid for frame in frames])
    boxes = [
        annotated_box(frame.joints_px[of_frame])
        for frame, of_frame in zip(frames, valid, strict=True)
    ]
    common = {
        "capture": [frame.capture for frame in frames],
        "frame_idx": [frame.image_id for frame in frames],
        "joint_valid": valid,
        "hand_type": [frame.hand_type for frame in frames],
        "hand_type_valid": np.ones(n, bool),
    }
    # 2. The three tables; each frame has a camera of its own
    names = [str(frame.image_id) for frame in frames]
    table = {
        **common,
        "image_id": [frame.image_id for frame in frames],
        "file_name": [frame.file_name for frame in frames],
        "width": [frame.width for frame in frames],
        "height": [frame.height for frame in frames],
        "subject": [frame.capture for frame in frames],
        "seq_name": [frame.sequence for frame in frames],
        "camera": names,
        "bbox_xywh": np.round(boxes, DECIMALS),
    }
    instants = {**common, "joints_world_mm": joints_mm}
    cameras = {
        "capture": common["capture"],
        "camera": names,
        "camrot": np.tile(np.eye(3), (n, 1, 1)),
        "campos_mm": np.zeros((n, 3)),
        "focal": [frame.focal_px for frame in frames],
        "princpt": [frame.princpt_px for frame in frames],
    }
    return table, instants, cameras

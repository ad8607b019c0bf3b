"""What a reader of other data hands over: frames in order, and what is left out.

`coco`, `freihand` and `arrays` each make a `Plan`; `tree.import_data` carries it out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from digit.data.fields import FileName
from digit.data.images import image_size
from digit.data.photo_tree import PhotoFrame
from digit.inference.placement import BONES_PER_LENGTH, HAND_LENGTH_MM, Lens
from digit.skeleton import BONES

HEADER_BYTES = 1 << 16  # of an image file, in which its size mostly stands
MEAN_BONE_MM = HAND_LENGTH_MM * BONES_PER_LENGTH / 20
FLAT_DEPTH_MM = 600.0  # of a hand without a bone, where there are no depths; by eye

SUFFIXES = (".jpg", ".jpeg", ".png")
NO_PICTURE = "its picture is missing"
NO_KIND = "its picture is neither JPEG nor PNG"
OTHER_SIZE = "its picture is not of the annotated size"


@dataclass(frozen=True)
class ImportOptions:
    """How data are imported.

    Attributes:
        split: The split of all frames; None for train and val, by `val_share`.
        val_share: The share of pictures, at the end of the data, that goes to val.
        images: Where pictures are looked for; None for where the data lie.
        order: The joints' order in arrays, of `conventions.HAND_ORDERS`.
        axes: "opencv" or "opengl", of joints in arrays.
        longest_px: Longer side of a cut of a photograph at most.
    """

    split: str | None = None
    val_share: float = 0.1
    images: Path | None = None
    order: str = "interhand"
    axes: str = "opencv"
    longest_px: int = 512


class Imported(NamedTuple):
    """A frame, and what gives its picture as bytes of a JPEG or PNG file."""

    frame: PhotoFrame
    read: Callable[[], bytes]


class LeftOut(NamedTuple):
    """Something that makes no frame."""

    what: str
    reason: str


class Plan(NamedTuple):
    """All there is to import."""

    total: int  # of items, about
    items: Iterator[Imported | LeftOut]
    splits: set[str]  # that the frames are of
    label_kind: str  # see `layout.label_kind`


def splits_in_order(count: int, options: ImportOptions) -> list[str]:
    """The split of each picture: the last ones are for validation."""
    if options.split is not None:
        return [options.split] * count
    in_val = round(options.val_share * count)
    return ["train"] * (count - in_val) + ["val"] * in_val


def header_size(path: Path) -> tuple[int, int] | None:
    """Width and height that a JPEG or PNG file's header names; None if it is none.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    with open(path, "rb") as file:
        start = file.read(HEADER_BYTES)
        # Pictures with large thumbnails name their size later.
        return image_size(start) or image_size(start + file.read())


def plain_file(folder: Path, name: str, place: str) -> Path:
    """The file that a name in the data stands for; nothing outside the folder is read.

    Args:
        folder: Where files are looked for.
        name: As the data have it.
        place: Where it stands, for the message.

    Raises:
        ValueError: If the name leads out of the folder, or is no name.
    """
    kind = FileName()
    try:
        [plain] = kind.convert([name])
    except (TypeError, ValueError):
        raise ValueError(
            f"{place}: expected {kind.expected}, found {name!r:.80}"
        ) from None
    return folder / plain


def flat_joints(
    joints_px: Float[np.ndarray, "21 2"], valid: Bool[np.ndarray, "21"], lens: Lens
) -> Float[np.ndarray, "21 3"]:
    """Joints (mm) of a hand without depths, in a plane before the camera.

    The plane is as far away as gives the bones their usual mean length.

    Args:
        joints_px: The hand in the image.
        valid: Which joints are known.
        lens: The image's.
    """
    # How long the known bones look
    child, parent = BONES[: len(BONES) // 2].T
    known = valid[child] & valid[parent]
    bones_px = np.linalg.norm(joints_px[child] - joints_px[parent], axis=1)[known]
    focal = np.array(lens.focal_px)
    # How far away such bones are
    depth_mm = FLAT_DEPTH_MM
    if len(bones_px) and bones_px.mean() > 0:
        depth_mm = focal.mean() * MEAN_BONE_MM / bones_px.mean()
    joints_xy = (joints_px - lens.princpt_px) / focal * depth_mm
    return np.column_stack([joints_xy, np.full(len(joints_px), depth_mm)])

"""FreiHAND's layout: right hands on pictures of 224 px, joints in metres.

    training_K.json  training_xyz.json  training/rgb/00000000.jpg …
    evaluation_K.json  evaluation_xyz.json  evaluation/rgb/00000000.jpg …

The training pictures may be there several times over, with other backgrounds: picture
number i + k·N shows the same hand as number i of N.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from digit.conventions import reorder_hand
from digit.data.fields import broken
from digit.data.json_stream import walk_json
from digit.data.photo_tree import make_frame
from digit.importing.plan import (
    NO_KIND,
    NO_PICTURE,
    Imported,
    ImportOptions,
    LeftOut,
    Plan,
    header_size,
    splits_in_order,
)
from digit.skeleton import JOINTS_PER_HAND, N_JOINTS

# FreiHAND's name for a set, and the split it is imported as ("": by the options).
SETS = {"training": "", "evaluation": "test"}
FARTHEST_M = 10.0  # of a hand; numbers beyond are no metres
BEHIND = "a joint lies behind the camera, or is not finite"


class Labels(NamedTuple):
    """The labels of one of FreiHAND's sets."""

    name: str
    camera: Float[np.ndarray, "n 3 3"]
    joints_m: Float[np.ndarray, "n 21 3"]
    pictures: list[Path | None]  # by number; several times n where there are versions


def plan_freihand(source: Path, options: ImportOptions) -> Plan:
    """Read a folder in FreiHAND's layout.

    Args:
        source: The folder.
        options: `split` makes all of it one split.

    Returns:
        Frames of right hands in 3D.

    Raises:
        FileNotFoundError: If the folder or its files are missing.
        ValueError: If a file cannot be read as FreiHAND's.
    """
    sets = [_read(source, name) for name in SETS if _file(source, name, "xyz").exists()]
    if not sets:
        place = _file(source, "training", "xyz")
        raise FileNotFoundError(
            f"{place}: missing; give the folder with FreiHAND's training_xyz.json, "
            "training_K.json and training/rgb"
        )

    splits_of_sets = [_splits(labels, options) for labels in sets]

    def items() -> Iterator[Imported | LeftOut]:
        image_id = 0
        for capture, labels in enumerate(sets):
            n = len(labels.joints_m)
            splits = splits_of_sets[capture]
            for number, path in enumerate(labels.pictures):
                image_id += 1
                row = number % n
                yield _item(labels, row, path, capture, splits[row], image_id)

    total = sum(len(labels.pictures) for labels in sets)
    return Plan(total, items(), set().union(*splits_of_sets), "3d")


def _splits(labels: Labels, options: ImportOptions) -> list[str]:
    """The split of each hand of a set."""
    n = len(labels.joints_m)
    fixed = options.split or SETS[labels.name]
    return [fixed] * n if fixed else splits_in_order(n, options)


def _item(
    labels: Labels,
    row: int,
    path: Path | None,
    capture: int,
    split: str,
    image_id: int,
) -> Imported | LeftOut:
    """The frame of one picture."""
    # 1. The picture, by its header
    what = f"{labels.name}, number {row}" if path is None else str(path)
    if path is None:
        return LeftOut(what, NO_PICTURE)
    size = header_size(path)
    if size is None:
        return LeftOut(what, NO_KIND)

    # 2. The right hand, in mm and in our order
    joints_mm = 1000 * reorder_hand(labels.joints_m[row], "openpose")
    if not np.isfinite(joints_mm).all() or (joints_mm[:, 2] <= 0).any():
        return LeftOut(what, BEHIND)
    nothing = np.zeros((JOINTS_PER_HAND, 3))
    camera = labels.camera[row]
    frame = make_frame(
        image_id=image_id,
        split=split,
        capture=capture,
        sequence=labels.name,
        size=size,
        focal_px=camera[[0, 1], [0, 1]],
        princpt_px=camera[:2, 2],
        joints_cam_mm=np.concatenate([joints_mm, nothing]),
        joint_valid=np.arange(N_JOINTS) < JOINTS_PER_HAND,
        suffix=path.suffix,
    )
    return Imported(frame, path.read_bytes)


def _read(source: Path, name: str) -> Labels:
    """The labels of a set, and the pictures that are there."""
    joints_m = _numbers(_file(source, name, "xyz"), (JOINTS_PER_HAND, 3))
    camera = _numbers(_file(source, name, "K"), (3, 3))
    if len(camera) != len(joints_m):
        raise ValueError(
            f"{_file(source, name, 'K')}: has {len(camera)} cameras for "
            f"{len(joints_m)} hands; download both files again"
        )
    # The most likely mistake: millimetres
    farthest_m = np.median(np.abs(joints_m[..., 2])) if len(joints_m) else 0.0
    if farthest_m > FARTHEST_M:
        raise ValueError(
            f"{_file(source, name, 'xyz')}: hands are {farthest_m:.0f} m away, so these "
            "are no metres; divide millimetres by 1000"
        )
    return Labels(name, camera, joints_m, _pictures(source / name / "rgb", len(camera)))


def _pictures(folder: Path, n: int) -> list[Path | None]:
    """The pictures by their numbers; None where one is missing of versions begun."""
    # Names are numbers of eight digits.
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("*.*")):
        if path.stem.isdigit():
            found[int(path.stem)] = path
    if not found:
        raise FileNotFoundError(
            f"{folder}: no pictures such as 00000000.jpg; put them there"
        )
    versions = max(1, -(-(max(found) + 1) // n))
    return [found.get(number) for number in range(versions * n)]


def _file(source: Path, name: str, kind: str) -> Path:
    return source / f"{name}_{kind}.json"


def _numbers(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A list of arrays of one shape; ValueError shows the first that is not."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; FreiHAND has it beside its pictures")
    values = []
    for keys, value in walk_json(path, 1):
        try:
            array = np.array(value, float)
        except (TypeError, ValueError):
            array = np.zeros(0)
        if array.shape != shape or not keys:
            size = " × ".join(map(str, shape))
            raise ValueError(
                f"{broken(path, keys, f'{size} numbers', value)}; "
                "download the file again"
            )
        values.append(array)
    if not values:
        raise ValueError(f"{path}: an empty list; download the file again")
    return np.stack(values)

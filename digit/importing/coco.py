"""COCO-WholeBody's hands: 2D joints of both hands of each person.

A picture may show many hands. Each person's hands are cut out of it, both together
where they are near each other, as `digit label` cuts photographs.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from digit.conventions import reorder_hand
from digit.data.annotations import json_groups
from digit.data.fields import (
    LONGEST_SIDE,
    FileName,
    Integer,
    Kind,
    Numbers,
    Place,
    Table,
    read_table,
)
from digit.data.images import decode_image
from digit.data.photo_tree import (
    Cut,
    PhotoFrame,
    annotated_box,
    cut_around,
    encode_picture,
    make_frame,
)
from digit.importing.plan import (
    NO_KIND,
    NO_PICTURE,
    OTHER_SIZE,
    Imported,
    ImportOptions,
    LeftOut,
    Plan,
    flat_joints,
    header_size,
    splits_in_order,
)
from digit.inference.detection import gap_of_boxes
from digit.inference.labelling import CROWDED, MIN_HAND_PX, NEAR, TOO_SMALL
from digit.inference.placement import Lens, lens_of
from digit.skeleton import HAND_WRIST, JOINTS_PER_HAND, N_JOINTS, SIDES

MIN_JOINTS = 8  # of a hand; by eye
IMAGE: dict[str, Kind] = {
    "id": Integer(),
    "file_name": FileName(),
    "width": Integer(low=1, high=LONGEST_SIDE),
    "height": Integer(low=1, high=LONGEST_SIDE),
}
PERSON: dict[str, Kind] = {
    "id": Integer(),
    "image_id": Integer(),
    **{f"{side}hand_valid": Numbers(()) for side in SIDES},
    # x, y and visibility of 21 joints, in the order of OpenPose
    **{f"{side}hand_kpts": Numbers((3 * JOINTS_PER_HAND,)) for side in SIDES},
    # x, y, width and height; zeros where there is none
    **{f"{side}hand_box": Numbers((4,)) for side in SIDES},
}
NO_BOXES = {f"{side}hand_box": [0.0] * 4 for side in SIDES}
FEW_JOINTS = f"fewer than {MIN_JOINTS} joints of a hand, or no wrist"
NO_IMAGE = "its image is not listed"


class Hand(NamedTuple):
    """A hand of a picture."""

    person: int  # the annotation's id
    side: int  # 0 right, 1 left
    joints_px: Float[np.ndarray, "21 2"]
    valid: Bool[np.ndarray, "21"]

    @property
    def tight_xyxy(self) -> Float[np.ndarray, "4"]:
        """The box of the known joints."""
        known = self.joints_px[self.valid]
        return np.concatenate([known.min(0), known.max(0)])


class SeenHand(NamedTuple):
    """Where a hand of a picture is, whether or not its labels can be used."""

    person: int
    side: int
    middles_px: Float[np.ndarray, "m 2"]  # of its known joints, and of its box


def plan_coco(source: Path, options: ImportOptions) -> Plan:
    """Read COCO-WholeBody's annotations.

    Args:
        source: The JSON file, such as `coco_wholebody_train_v1.0.json`.
        options: `images` is the folder of the pictures.

    Returns:
        Frames of 2D joints, whose depths are a plane's.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it cannot be read, or too many of its records are broken.
    """
    # 1. Both tables
    fields = {"images": IMAGE, "annotations": PERSON}
    tables: dict[str, Table] = {}
    left_out: list[LeftOut] = []
    for name, records in json_groups(source):
        if name in fields and name not in tables:
            records = _with_boxes(records)
            tables[name], faults = read_table(source, fields[name], records)
            left_out += [LeftOut(str(fault), "broken record") for fault in faults]
    for name in fields:
        if name not in tables or not len(tables[name]["id"]):
            raise ValueError(
                f"{source}: no {name}; give COCO-WholeBody's JSON file, with "
                "lefthand_kpts and righthand_kpts"
            )

    # 2. The hands of each picture
    images, persons = tables["images"], tables["annotations"]
    of_image: dict[int, list[int]] = {}
    for row, image_id in enumerate(persons["image_id"].tolist()):
        of_image.setdefault(image_id, []).append(row)
    known = set(images["id"].tolist())
    for image_id, rows in of_image.items():
        if image_id not in known:
            left_out += [LeftOut(_name(persons, row), NO_IMAGE) for row in rows]

    # 3. Picture by picture
    splits = splits_in_order(len(images["id"]), options)

    def items() -> Iterator[Imported | LeftOut]:
        yield from left_out
        for row, split in enumerate(splits):
            rows = of_image.get(images["id"][row].item(), [])
            hands, missing = _hands_of(persons, rows)
            yield from missing
            seen = _seen_hands(persons, rows)
            yield from _frames_of(source, images, row, hands, seen, split, options)

    with_hands = sum(persons[f"{side}hand_valid"] > 0 for side in SIDES) > 0
    return Plan(int(with_hands.sum()), items(), set(splits), "flat")


def _with_boxes(
    records: Iterator[tuple[Place, Any]],
) -> Iterator[tuple[Place, Any]]:
    """Records with empty boxes of hands where there are none."""
    for place, record in records:
        if isinstance(record, dict):
            for name, box in NO_BOXES.items():
                record.setdefault(name, box)
        yield place, record


def _name(persons: Table, row: int) -> str:
    return f"annotation {persons['id'][row]}"


def _hands_of(persons: Table, rows: Sequence[int]) -> tuple[list[Hand], list[LeftOut]]:
    """The usable hands of some persons."""
    hands = []
    missing = []
    for row in rows:
        for side, name in enumerate(SIDES):
            if not persons[f"{name}hand_valid"][row] > 0:
                continue
            joints, valid = _joints_of(persons, row, name)
            if valid.sum() < MIN_JOINTS or not valid[HAND_WRIST]:
                missing.append(LeftOut(f"{_name(persons, row)}, {name}", FEW_JOINTS))
                continue
            person = int(persons["id"][row])
            hands.append(Hand(person, side, joints, valid))
    return hands, missing


def _seen_hands(persons: Table, rows: Sequence[int]) -> list[SeenHand]:
    """All hands of some persons that have a joint or a box."""
    seen = []
    for row in rows:
        for side, name in enumerate(SIDES):
            middles = []
            joints, valid = _joints_of(persons, row, name)
            if valid.any():
                middles.append(joints[valid].mean(0))
            box_xywh = persons[f"{name}hand_box"][row].astype(float)
            if np.isfinite(box_xywh).all() and (box_xywh[2:] > 0).all():
                middles.append(box_xywh[:2] + box_xywh[2:] / 2)
            if middles:
                person = int(persons["id"][row])
                seen.append(SeenHand(person, side, np.array(middles)))
    return seen


def _joints_of(
    persons: Table, row: int, name: str
) -> tuple[Float[np.ndarray, "21 2"], Bool[np.ndarray, "21"]]:
    """The joints (px) of a person's hand, and which of them are known."""
    values = persons[f"{name}hand_kpts"][row].reshape(JOINTS_PER_HAND, 3)
    joints = reorder_hand(values.astype(float), "openpose")
    valid = (joints[:, 2] > 0) & np.isfinite(joints).all(1)
    return joints[:, :2], valid


def _frames_of(
    source: Path,
    images: Table,
    row: int,
    hands: Sequence[Hand],
    seen: Sequence[SeenHand],
    split: str,
    options: ImportOptions,
) -> Iterator[Imported | LeftOut]:
    """The frames of one picture."""
    if not hands:
        return
    # 1. The picture, by its header
    name = images["file_name"][row]
    path = (options.images or source.parent) / name
    size = int(images["width"][row]), int(images["height"][row])
    reason = _picture_fault(path, size)
    if reason:
        yield LeftOut(name, reason)
        return

    # 2. A cut for each hand or pair
    lens = lens_of(*size)
    for group in _groups(hands):
        what = f"{name}, annotation {group[0].person}"
        joints_px = np.concatenate([hand.joints_px[hand.valid] for hand in group])
        box = annotated_box(joints_px)
        sides_px = [np.ptp(hand.tight_xyxy.reshape(2, 2), axis=0) for hand in group]
        if min(side.max() for side in sides_px) < MIN_HAND_PX:
            yield LeftOut(what, TOO_SMALL)
        elif _is_crowded(box, group, seen):
            yield LeftOut(what, CROWDED)
        else:
            cut = cut_around(box, *size, options.longest_px)
            frame = _frame(group, cut, lens, split, source.stem)
            yield Imported(frame, partial(_cut_bytes, path, cut))


def _picture_fault(path: Path, size: tuple[int, int]) -> str:
    """Why a picture cannot be used, by its header; "" if it can."""
    try:
        found = header_size(path)
    except OSError:
        return NO_PICTURE
    if found is None:
        return NO_KIND
    return "" if found == size else OTHER_SIZE


def _groups(hands: Sequence[Hand]) -> list[list[Hand]]:
    """Each person's hands: both together where they are near each other."""
    # Hands of two people never share a frame: the network knows one person's.
    by_person: dict[int, list[Hand]] = {}
    for hand in hands:
        by_person.setdefault(hand.person, []).append(hand)
    groups = []
    for mine in by_person.values():
        is_pair = len(mine) == 2
        if is_pair and gap_of_boxes(mine[0].tight_xyxy, mine[1].tight_xyxy) <= NEAR:
            groups.append(mine)
        else:
            groups += [[hand] for hand in mine]
    return groups


def _is_crowded(
    box_xywh: Float[np.ndarray, "4"], group: Sequence[Hand], seen: Sequence[SeenHand]
) -> bool:
    """Whether the middle of a hand that is not of the group lies in its box."""
    own = {(hand.person, hand.side) for hand in group}
    low, high = box_xywh[:2], box_xywh[:2] + box_xywh[2:]
    others = [hand.middles_px for hand in seen if (hand.person, hand.side) not in own]
    return any(((low < middles) & (middles < high)).all(1).any() for middles in others)


def _frame(
    group: Sequence[Hand], cut: Cut, lens: Lens, split: str, sequence: str
) -> PhotoFrame:
    """The labels of a cut."""
    # 1. Each hand in a plane of its own
    joints_mm = np.zeros((N_JOINTS, 3))
    valid = np.zeros(N_JOINTS, bool)
    for hand in group:
        start = hand.side * JOINTS_PER_HAND
        joints = slice(start, start + JOINTS_PER_HAND)
        joints_mm[joints] = flat_joints(hand.joints_px, hand.valid, lens)
        valid[joints] = hand.valid
    # 2. The cut has a lens of its own: scaled, with another principal point
    return make_frame(
        # The same at every call: by the person, and whether it is the left hand alone
        image_id=2 * group[0].person + int(not valid[:JOINTS_PER_HAND].any()),
        split=split,
        capture=0,
        sequence=sequence,
        size=cut.size,
        focal_px=np.array(lens.focal_px) * cut.scales,
        princpt_px=cut.points(np.array([lens.princpt_px]))[0],
        joints_cam_mm=joints_mm,
        joint_valid=valid,
    )


def _cut_bytes(path: Path, cut: Cut) -> bytes:
    """A cut of a picture, as a JPEG file; ValueError names the picture."""
    try:
        picture = decode_image(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return encode_picture(cut.pixels(picture))

"""Hands cut out of photographs: a soft mask of one hand, from its joints and its colour.

`digit prepare --cut-outs` writes them for a data set; `digit.data.composites` lays the hands
over others, so that a network sees touching hands in real pictures.
"""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Integer, UInt8
from tqdm.auto import tqdm

from digit.data.index import Index
from digit.data.store import image_store, read_image
from digit.files import atomic
from digit.paths import find_prepared, prepared_dir
from digit.skeleton import HAND_JOINTS, HAND_PARENTS, JOINTS_PER_HAND, SIDES

CUT_OUT_SPLIT = "train"  # composites are made for training alone
Mask = UInt8[np.ndarray, "h w"]

# Longer side of the hand at which it is cut, so that widths are comparable.
HAND_PX = 160
ROOM = 1.0  # of the hand's longer side, around its joints: what is looked at; by eye
FINGER_WIDTH = 0.22  # of the palm; it and the factors below were chosen by eye
SURE, NEAR, FAR = 0.55, 0.6, 1.5  # widths of what is hand for sure, probably, perhaps
GRAB_CUT_ROUNDS = 3
EDGE_PX = 1.2  # softness of the edge, at `HAND_PX`
# A cut that leaves the joints uncovered, or that has flooded the background, is dropped.
MIN_COVERED = 0.9
MIN_GROWTH, MAX_GROWTH = 0.95, 3.2  # area of the cut over that of the skeleton

PALM_CORNERS = [
    HAND_JOINTS.index(name)
    for name in ("thumb1", "index1", "middle1", "ring1", "pinky1", "wrist")
]


def cut_out(
    picture: UInt8[np.ndarray, "h w 3"], joints_px: Float[np.ndarray, "21 2"]
) -> Mask | None:
    """Find the pixels of a hand: GrabCut (Rother et al. 2004), started from the skeleton.

    Args:
        picture: RGB picture with one hand.
        joints_px: Its joints, in pixels of the picture.

    Returns:
        How much of each pixel is hand, 0 to 255; None where no plausible cut was found.
    """
    # 1. Leave out what is far from the hand: the picture may be large, the hand small.
    extent = max(np.ptp(joints_px, axis=0).max(), 1.0)
    low = np.floor(joints_px.min(0) - ROOM * extent).clip(0).astype(int)
    high = np.ceil(joints_px.max(0) + ROOM * extent).clip(0).astype(int)
    part = (slice(low[1], high[1]), slice(low[0], high[0]))
    near = picture[part]
    height, width = near.shape[:2]
    if not near.size:  # the hand lies outside the picture
        return None

    # 2. Bring the hand to a common size.
    scale = HAND_PX / extent
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(near, size, interpolation=cv2.INTER_AREA)

    # 3. What the skeleton says: hand, probably hand, probably not, not.
    skeleton, finger_px = draw_skeleton((joints_px - low) * scale, size)
    labels = np.full(skeleton.shape, cv2.GC_BGD, np.uint8)
    labels[grown(skeleton, FAR * finger_px)] = cv2.GC_PR_BGD
    labels[grown(skeleton, NEAR * finger_px)] = cv2.GC_PR_FGD
    labels[skeleton] = cv2.GC_FGD

    # 4. What the colours say.
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)  # the same hand is always cut out alike
    try:
        cv2.grabCut(
            small, labels, None, *models, GRAB_CUT_ROUNDS, cv2.GC_INIT_WITH_MASK
        )
    except cv2.error:  # too few pixels of one kind
        return None
    hand = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    hand = largest_component(hand)

    # 5. Keep plausible cuts, with a soft edge.
    growth = hand.sum() / skeleton.sum()
    if hand[skeleton].mean() < MIN_COVERED or not MIN_GROWTH <= growth <= MAX_GROWTH:
        return None
    soft = cv2.GaussianBlur(hand.astype(np.uint8) * 255, (0, 0), EDGE_PX)
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[part] = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
    return mask


def draw_skeleton(
    joints_px: Float[np.ndarray, "21 2"], size: tuple[int, int]
) -> tuple[np.ndarray, float]:
    """Draw the bones and the palm of a hand.

    Args:
        joints_px: The hand's joints.
        size: Width and height of the drawing.

    Returns:
        Which pixels (height, width) are bones or palm; the width of a finger (px).
    """
    index1, middle1, pinky1 = (
        joints_px[HAND_JOINTS.index(name)] for name in ("index1", "middle1", "pinky1")
    )
    wrist = joints_px[-1]
    palm_px = max(
        np.linalg.norm(index1 - pinky1), 0.8 * np.linalg.norm(middle1 - wrist)
    )
    finger_px = float(max(4.0, FINGER_WIDTH * palm_px))

    drawing = np.zeros(size[::-1], np.uint8)
    thickness = max(1, int(SURE * finger_px))
    points = np.rint(joints_px).astype(np.int32)
    for joint, parent in enumerate(HAND_PARENTS):
        if parent >= 0:
            cv2.line(
                drawing, points[joint].tolist(), points[parent].tolist(), 1, thickness
            )
    cv2.fillConvexPoly(drawing, cv2.convexHull(points[PALM_CORNERS]), 1)
    return drawing > 0, finger_px


def grown(mask: np.ndarray, diameter_px: float) -> np.ndarray:
    """A mask grown by a disc of the given diameter."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(diameter_px) | 1,) * 2)
    return cv2.dilate(mask.astype(np.uint8), disc) > 0


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask, without threads of a pixel's width."""
    opened = cv2.morphologyEx(
        mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
    )
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(opened)
    if count < 2:
        return np.zeros_like(mask)
    return labels == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()


def write_cut_outs(index: Index) -> int:
    """Cut the hand out of every picture with a single, wholly annotated hand.

    Files go to `prepared/cut_outs/<split>/<image_id>.png`; one that is there already is kept,
    and an empty file says that no plausible cut was found, so that an interrupted call goes on.

    Args:
        index: Frames of a data set of photographs.

    Returns:
        The number of cut-outs there are.
    """
    folder = prepared_dir(index.dataset_dir) / "cut_outs" / index.split
    images = image_store(index.dataset_dir)
    for row in tqdm(single_hands(index), f"cutting hands of {index.split}"):
        path = folder / f"{index['image_id'][row]}.png"
        if _is_whole(path):
            continue
        frame = index.take([row])
        joints_px = hand_joints_px(frame)[0]
        mask = cut_out(read_image(images, frame.keys()[0]), joints_px)
        png = b"" if mask is None else cv2.imencode(".png", mask)[1].tobytes()
        with atomic(path, "wb") as file:
            file.write(png)
    return len(rows_with_cut_outs(index))


def single_hands(index: Index) -> Integer[np.ndarray, "m"]:
    """Rows of the frames that show one hand, with all of its joints annotated."""
    of_hand = index["joint_valid"].reshape(-1, len(SIDES), JOINTS_PER_HAND).all(-1)
    side = index["hand_type"]
    single = side < len(SIDES)
    whole = np.take_along_axis(of_hand, np.where(single, side, 0)[:, None], axis=1)
    return np.flatnonzero(single & whole[:, 0])


def hand_joints_px(index: Index) -> Float[np.ndarray, "n 21 2"]:
    """The joints of the hand of each frame, which must all be of single hands."""
    joints_px = index["joints_px"].reshape(len(index), len(SIDES), JOINTS_PER_HAND, 2)
    return joints_px[np.arange(len(index)), index["hand_type"]]


def rows_with_cut_outs(index: Index) -> Integer[np.ndarray, "m"]:
    """Rows of the frames whose hand has been cut out."""
    folder = cut_out_folder(index)
    if folder is None:
        return np.empty(0, np.int64)
    found = [
        int(path.stem)
        for path in folder.glob("*.png")
        if path.stem.isdecimal() and path.stat().st_size > 0
    ]
    return np.flatnonzero(np.isin(index["image_id"], found))


def cut_out_folder(index: Index) -> Path | None:
    """Where the cut-outs of a split are; None before they are made."""
    return find_prepared(index.dataset_dir, f"cut_outs/{index.split}")


def read_cut_out(index: Index, row: int) -> Mask:
    """The soft mask of a frame's hand, at the size of its picture.

    Raises:
        ValueError: If its file is damaged.
    """
    path = cut_out_folder(index) / f"{index['image_id'][row]}.png"
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    size = (index["height"][row], index["width"][row])
    if mask is None or mask.shape != size:
        found = "no picture" if mask is None else f"of {mask.shape}, not {size}"
        hint = "digit prepare --cut-outs makes it anew"
        raise ValueError(f"{path}: damaged, {found}; {hint}")
    return mask


def _is_whole(path: Path) -> bool:
    """Whether a hand was cut out before, or found impossible to cut (an empty file)."""
    if not path.is_file():
        return False
    return path.stat().st_size == 0 or cv2.imread(str(path)) is not None

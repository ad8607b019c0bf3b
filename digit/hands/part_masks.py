"""Fits → part masks and fitting errors of whole data sets: `digit prepare`.

A mask holds labels 0–32 (`skeleton.LABELS`) and has the image's size; masks are
PNG-coded in masks.lmdb. The index gets one `ROW` a frame: `fit_error_mm` (right, left;
NaN for none), `parts_valid`, and `mask_status`, a position in `MASK_STATUS`.
"""

import functools
import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from digit.data import packing, store
from digit.data.build_index import prepare_index
from digit.data.columns import write_columns
from digit.data.health import first_look
from digit.data.index import Index, fits_match_type, open_index
from digit.data.layout import fit_hand_model, splits_of
from digit.files import atomic
from digit.geometry import world_to_camera
from digit.hands.part_rendering import (
    Hands,
    fit_vertices_mm,
    load_hands,
    render_part_mask,
)
from digit.paths import prepared_dir, prepared_places
from digit.skeleton import JOINTS_PER_HAND, PARTS_PER_HAND

# A mask of a fit that is farther off its joints is doubtful; by eye.
DOUBTFUL_FIT_MM = 20.0
MASK_STATUS = (
    "rendered",
    "no fit",
    "its fits are not those of its hand type",
    "a fit is not finite",
    "nothing of its hands is in the image",
    "doubtful: a hand of its type is not seen",
    f"doubtful: a fit is more than {DOUBTFUL_FIT_MM:.0f} mm off its joints",
)
RENDERED, NO_FIT, OTHER_HANDS, NOT_FINITE, EMPTY, UNSEEN, DOUBTFUL = range(
    len(MASK_STATUS)
)
ROW = np.dtype([("fit_error_mm", "f4", 2), ("parts_valid", "?"), ("mask_status", "i1")])

SHARD = 256  # frames of one task
WINDOW = 256  # tasks handed out at a time
BATCH = 64  # frames skinned at once
# zlib's fastest level without filters: of what OpenCV writes in the least time, this is
# the fastest to read.
PNG = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_NONE,
)
WITHOUT_MASKS = "training goes without the part loss, evaluation without part metrics"

FrameMask = tuple[UInt8[np.ndarray, "h w"] | None, Float32[np.ndarray, "2"], int]


# ------------------------------------------------------------ frames


class PosedFits(NamedTuple):
    """The fits of n frames, right and left."""

    vertices_cam_mm: Float32[np.ndarray, "n 2 v 3"]
    error_mm: Float32[np.ndarray, "n 2"]  # NaN for no fit, or no valid joint
    is_given: Bool[np.ndarray, "n 2"]
    is_finite: Bool[np.ndarray, "n 2"]


def render_masks(hands: Hands, index: Index) -> Iterator[FrameMask]:
    """Render the masks of an index's frames.

    Args:
        hands: The hand models that the fits are for.
        index: The frames.

    Yields:
        Per frame its mask (None where it cannot be used), the fitting error of its
        right and its left hand (mm), and its position in MASK_STATUS.
    """
    for start in range(0, len(index), BATCH):
        frames = index.take(slice(start, start + BATCH))
        fits = _pose_fits(hands, frames)
        status, usable = _judge_fits(fits, frames)
        for i in range(len(frames)):
            mask = None
            if usable[i]:
                mask = render_part_mask(
                    hands,
                    fits.vertices_cam_mm[i],
                    focal=frames["focal"][i],
                    princpt=frames["princpt"][i],
                    width=int(frames["width"][i]),
                    height=int(frames["height"][i]),
                )
                status[i] = _judge_mask(mask, fits.is_finite[i], int(status[i]))
                if status[i] == EMPTY:
                    mask = None
            yield mask, fits.error_mm[i], int(status[i])


def _pose_fits(hands: Hands, frames: Index) -> PosedFits:
    """Skin the fits of frames, and measure how far they are off the joints.

    The error of a hand is the mean distance between the joints found in its mesh and
    the annotated ones, over valid joints.
    """
    # 1. Vertices in the world and in the camera frame
    pose, shape, trans = (
        np.array(frames[f"mano_{name}"], np.float32)
        for name in ("pose", "shape", "trans")
    )
    parameters = np.concatenate([pose, shape, trans], -1)
    is_finite = np.isfinite(parameters).all(-1)
    is_given = ~np.isnan(parameters).all(-1)
    world_mm = fit_vertices_mm(hands, *map(torch.from_numpy, (pose, shape, trans)))
    camrot = torch.from_numpy(np.float32(frames["camrot"]))
    campos_mm = torch.from_numpy(np.float32(frames["campos_mm"]))
    cam_mm = world_to_camera(world_mm.flatten(1, 2), camrot, campos_mm)
    cam_mm = cam_mm.unflatten(1, world_mm.shape[1:3])

    # 2. Joints of the meshes against the annotated ones
    found_mm = [hand.joints(world_mm[:, side]) for side, hand in enumerate(hands)]
    found_mm = torch.stack(found_mm, 1).numpy()
    true_mm = frames["joints_world_mm"].reshape(found_mm.shape)
    valid = frames["joint_valid"].reshape(-1, 2, JOINTS_PER_HAND)
    counted = valid & np.isfinite(true_mm).all(-1) & is_finite[..., None]
    distance_mm = np.linalg.norm(found_mm - true_mm, axis=-1)
    with np.errstate(invalid="ignore"):  # 0 / 0 where there is none
        error_mm = np.sum(distance_mm, -1, where=counted) / counted.sum(-1)
    return PosedFits(
        vertices_cam_mm=cam_mm.numpy(),
        error_mm=error_mm.astype(np.float32),
        is_given=is_given,
        is_finite=is_finite,
    )


def _judge_fits(
    fits: PosedFits, frames: Index
) -> tuple[Int[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Each frame's status before it is rendered, and whether it is to be rendered."""
    usable = fits_match_type(np.where(fits.is_finite, 0.0, np.nan), frames["hand_type"])
    conditions = {
        NOT_FINITE: (fits.is_given & ~fits.is_finite).any(1),
        NO_FIT: ~fits.is_given.any(1),
        OTHER_HANDS: ~usable,
        DOUBTFUL: (fits.error_mm > DOUBTFUL_FIT_MM).any(1),
    }
    # The first that is true
    status = np.select(list(conditions.values()), list(conditions), RENDERED)
    return status, usable


def _judge_mask(
    mask: UInt8[np.ndarray, "h w"], is_fitted: Bool[np.ndarray, "2"], status: int
) -> int:
    """A frame's status after it is rendered: are its hands in the image?"""
    # Labels are 1–16 and 17–32; 0 − 1 wraps around to 255.
    right_is_seen = bool((mask - np.uint8(1) < PARTS_PER_HAND).any())
    left_is_seen = bool(mask.max() > PARTS_PER_HAND)
    seen = np.array([right_is_seen, left_is_seen])
    if not seen.any():
        return EMPTY
    if (is_fitted & ~seen).any():
        return UNSEEN
    return status


# ------------------------------------------------------------ data sets


def prepare_masks(
    dataset_dir: Path | str, split: str, executor: Executor | None = None
) -> dict[str, int]:
    """Render a split's masks into masks.lmdb and the index.

    Shards of 256 frames go to the executor and come back to be written here, each with
    its rows as a last entry. A run that was killed continues: shards that are whole are
    kept. Masks made from other annotations or another hand model are made anew. Every
    frame that has no mask, or a doubtful one, is listed with its reason in
    `prepared/index/<split>/masks.tsv`.

    Args:
        dataset_dir: The data set's folder.
        split: "train", "val" or "test".
        executor: Where shards are rendered; by default threads on all cores.

    Returns:
        How many frames have each status.

    Raises:
        FileNotFoundError: if the files of the hand model are missing.
        ValueError: if another process is preparing this data set.
    """
    # 1. Which shards are whole already?
    index = prepare_index(dataset_dir, split)
    folder = prepared_dir(dataset_dir) / "index" / split
    target = prepared_dir(dataset_dir) / "masks.lmdb"
    packing.discard_damaged(target)
    key = f"__{split}/{_digest(index.fingerprint, load_hands(dataset_dir))}/"
    starts = range(0, len(index), SHARD)
    # Another user may have prepared a data set that is read-only for this one.
    packed = store.Store(target, *prepared_places(dataset_dir, "masks.lmdb"))
    rows_of_shard = {}
    for start in starts:
        if f"{key}{start}" in packed:
            rows_of_shard[start] = np.frombuffer(packed.read(f"{key}{start}"), ROW)

    # 2. None: what is there was made from something else.
    missing = [start for start in starts if start not in rows_of_shard]
    if len(missing) == len(starts):
        packing.forget(target, f"{split}/", f"__{split}/")
        for old in folder.glob("masks-*"):
            shutil.rmtree(old)

    # 3. Render and pack the others.
    keys = [f"{split}/{name[:-4]}.png" for name in index["file_name"]]
    if missing:
        with _executor(executor) as pool:
            items = _rendered_items(index, missing, keys, key, rows_of_shard, pool)
            total = SHARD * len(missing)
            packing.pack(target, tqdm(items, f"masks of {split}", total, unit="frame"))

    # 4. Their rows go into the index.
    rows = np.concatenate([rows_of_shard[start] for start in starts])
    columns = {name: rows[name] for name in ROW.names}
    write_columns(folder / f"masks-{index.fingerprint}", columns)
    with atomic(folder / "masks.tsv") as file:
        for i in np.flatnonzero(rows["mask_status"]):
            file.write(f"{keys[i]}\t{MASK_STATUS[rows['mask_status'][i]]}\n")
    counts = np.bincount(rows["mask_status"], minlength=len(MASK_STATUS)).tolist()
    by_status = zip(MASK_STATUS, counts, strict=True)
    return {status: count for status, count in by_status if count}


def _rendered_items(
    index: Index,
    missing: Sequence[int],
    keys: Sequence[str],
    row_key: str,
    rows_of_shard: dict[int, np.ndarray],
    pool: Executor,
) -> Iterator[tuple[str, bytes]]:
    """Entries for the LMDB: the masks of each shard, then its rows, which are also
    added to `rows_of_shard`."""
    render = functools.partial(
        _render_shard, index.dataset_dir, index.split, index.fingerprint
    )
    for first in range(0, len(missing), WINDOW):
        starts = missing[first : first + WINDOW]
        for start, shard in zip(starts, pool.map(render, starts), strict=True):
            images, rows = shard
            for key, image in zip(keys[start : start + SHARD], images, strict=True):
                if image:
                    yield key, image
            rows_of_shard[start] = rows
            yield f"{row_key}{start}", rows.tobytes()


@contextmanager
def _executor(given: Executor | None) -> Iterator[Executor]:
    """The executor that is given, or threads on all cores, each with a core for
    itself."""
    if given is not None:
        yield given
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(
            os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _render_shard(
    dataset_dir: Path, split: str, fingerprint: str, start: int
) -> tuple[list[bytes], np.ndarray]:
    """PNGs (empty where there is no mask) and index rows of the frames from `start`."""
    index, hands = _open_in_worker(dataset_dir, split, fingerprint)
    images, rows = [], []
    frames = index.take(slice(start, start + SHARD))
    for mask, error_mm, status in render_masks(hands, frames):
        image = b""
        if mask is not None:
            image = cv2.imencode(".png", mask, PNG)[1].tobytes()
        images.append(image)
        rows.append((error_mm, mask is not None, status))
    return images, np.array(rows, ROW)


@functools.lru_cache(maxsize=4)
def _open_in_worker(
    dataset_dir: Path, split: str, fingerprint: str
) -> tuple[Index, Hands]:
    """A worker's index and hands; the fingerprint tells one state of the data from the
    next."""
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # the processes share the cores already
    return open_index(dataset_dir, split), load_hands(dataset_dir)


def _digest(fingerprint: str, hands: Hands) -> str:
    """A checksum of all that masks depend on."""
    settings = repr((fingerprint, MASK_STATUS, PNG, SHARD))
    digest = hashlib.blake2b(settings.encode(), digest_size=6)
    for hand in hands:
        for value in vars(hand).values():
            if isinstance(value, Tensor | np.ndarray):
                digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def prepare(
    dataset_dir: Path | str,
    splits: Sequence[str] | None = None,
    executor: Executor | None = None,
) -> None:
    """Make the index, the image LMDB and the mask LMDB of a data set.

    It continues where it stopped, and prints a line for each split, with another where
    a first look finds something wrong with its labels. Masks are left out, with the
    reason, where a split has no fits or the fits' hand model is missing, and where the
    original's masks lie there already.

    Args:
        dataset_dir: The data set's folder.
        splits: Which splits; by default all that are there.
        executor: Where images are read and masks rendered; by default threads.

    Raises:
        FileNotFoundError: if the data set is missing.
        ValueError: if annotations are invalid, or another process is preparing it.
        OSError: if the disk is full.

    Example:
        >>> digit.prepare("data/demo")
    """
    for split in splits or splits_of(dataset_dir):
        index = prepare_index(dataset_dir, split)
        packed = packing.pack_images(dataset_dir, [split], executor=executor)
        images = _image_line(packed.get(split))
        masks = _mask_line(index, executor)
        print(f"{split}: {len(index):,} frames; {images}; {masks}")
        faults = first_look(index)
        if faults:
            more = f"see digit doctor --root {dataset_dir}"
            print(f"{split}: a first look finds {'; '.join(faults)}: {more}")


def _image_line(packed: packing.Packed | None) -> str:
    """What became of a split's images, in words."""
    if packed is None:
        return "no image folder"
    line = f"{packed.added:,} images packed, {packed.kept:,} were in already"
    if packed.unusable:
        line += f", {len(packed.unusable):,} cannot be used (listed)"
    return line


def _mask_line(index: Index, executor: Executor | None) -> str:
    """Make a split's masks where they can be made; what became of them, in words."""
    split = index.split
    original = index.dataset_dir / "segm_32.lmdb"
    if original.exists():
        line = f"the masks are the original's, {original}"
        if not index["parts_valid"].any():
            line += f", but none counts without cache/meta_dict_{split}.pkl"
            line += f": {WITHOUT_MASKS}"
        return line
    if not np.isfinite(index["mano_trans"]).any():
        hint = "digit fit-hands makes fits from joints"
        return f"no masks, as it has no MANO fits ({hint}): {WITHOUT_MASKS}"
    try:
        counts = prepare_masks(index.dataset_dir, split, executor)
    except FileNotFoundError as error:
        return f"no masks: {error}; until then {WITHOUT_MASKS}"
    line = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    return f"masks: {line}{_whose_fits(index)}"


def _whose_fits(index: Index) -> str:
    """Which of a split's fits are `digit fit-hands`'; "" if none is."""
    if "fitted_by_digit" not in index.columns():
        return ""
    of_moment = np.unique(index["instant_row"], return_index=True)[1]
    moments = index.take(of_moment)
    ours = int(moments["fitted_by_digit"].sum())
    all_fits = int(np.isfinite(moments["mano_trans"]).all(-1).sum())
    model = fit_hand_model(index.dataset_dir)
    line = f" (from {ours:,} fits of digit fit-hands with the {model} hand model"
    return f"{line}, {all_fits - ours:,} of the data set)"

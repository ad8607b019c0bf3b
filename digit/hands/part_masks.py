"""MANO fits → part masks and fitting errors, for a frame or for whole data sets.

A mask holds labels 0–32 (`skeleton.LABELS`), the image's size, PNG-coded in masks.lmdb. The index
takes one `ROW` a frame: `fit_error_mm` (right, left; NaN none), `parts_valid`, and `mask_status`,
which counts in `MASK_STATUS`.
"""

import contextlib
import functools
import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from tqdm.auto import tqdm

from digit.data import packing, store
from digit.data.build_index import prepare_index
from digit.data.columns import write_columns
from digit.data.index import Index, fits_match_type, open_index
from digit.data.layout import hand_model_name, splits_of
from digit.files import atomic
from digit.geometry import world_to_camera
from digit.hands.mano_files import find_mano
from digit.hands.model import HandModel, load_hand
from digit.hands.rasterizer import draw
from digit.paths import prepared_dir, prepared_places
from digit.skeleton import PARTS_PER_HAND, SIDES

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
SHARD, WINDOW, BATCH = (
    256,
    256,
    64,
)  # frames of one task, tasks handed out, frames skinned at once
Hands = tuple[HandModel, HandModel]  # right, left
# Without filters at zlib's fastest level: the fastest to read of what cv2 writes in the least time.
PNG = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_NONE,
)


def load_hands(root: Path | str) -> Hands:
    """The hand models that a data set's fits are for; FileNotFoundError without MANO's files."""
    name, folder = hand_model_name(root), find_mano(root)
    if name == "mano" and folder is None:
        raise FileNotFoundError(
            f"{Path(root) / 'mano'}: MANO_RIGHT.pkl and MANO_LEFT.pkl are missing; get them from "
            "mano.is.tue.mpg.de and put them there, or name their folder in DIGIT_MANO"
        )
    return load_hand(SIDES[0], name, folder), load_hand(SIDES[1], name, folder)


def fit_vertices_mm(
    hands: Hands,
    pose: Float[Tensor, "*b 2 48"],
    shape: Float[Tensor, "*b 2 10"],
    trans: Float[Tensor, "*b 2 3"],
) -> Float[Tensor, "*b 2 v 3"]:
    """World vertices, mm, of right and left fits (rad; m); NaN where a fit is."""
    fits = zip(hands, pose.unbind(-2), shape.unbind(-2), trans.unbind(-2))
    return torch.stack([hand.skin(*fit) for hand, *fit in fits], -3) * 1000


def render_part_mask(
    hands: Hands,
    vertices_cam_mm: Float[np.ndarray, "2 v 3"],
    focal: Float[np.ndarray, "2"],
    princpt: Float[np.ndarray, "2"],
    width: int,
    height: int,
) -> UInt8[np.ndarray, "h w"]:
    """Labels of the nearest face at each pixel; a hand of NaN vertices is not drawn."""
    vertices = vertices_cam_mm.astype(np.float64).reshape(-1, 3)
    depth = vertices[:, 2].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        vertices_px = vertices[:, :2] / depth[:, None] * focal + princpt
    mask = np.zeros((height, width), np.uint8)
    nearness = np.zeros(mask.shape, np.float32)
    draw(vertices_px, depth, *_faces_and_labels(hands), mask, nearness, True)
    return mask


@functools.lru_cache(maxsize=4)
def _faces_and_labels(hands: Hands) -> tuple[np.ndarray, np.ndarray]:
    faces = [
        hand.faces + side * len(hand.v_template) for side, hand in enumerate(hands)
    ]
    labels = [
        hand.face_part + 1 + side * PARTS_PER_HAND for side, hand in enumerate(hands)
    ]
    return np.concatenate(faces), np.concatenate(labels).astype(np.uint8)


def render_masks(
    hands: Hands, index: Index
) -> Iterator[tuple[UInt8[np.ndarray, "h w"] | None, Float32[np.ndarray, "2"], int]]:
    """Per frame: mask (None where it cannot be used), fitting errors (mm), number in MASK_STATUS.

    The error of a hand is the mean distance between the joints found in its mesh and the annotated
    ones, over valid joints; NaN where it has no fit, or no valid joint.
    """
    for start in range(0, len(index), BATCH):
        part = index.take(slice(start, start + BATCH))
        fits = [
            np.array(part[f"mano_{name}"], np.float32)
            for name in ("pose", "shape", "trans")
        ]
        values = np.concatenate(fits, -1)  # (n, 2, 61)
        fitted, given = np.isfinite(values).all(-1), ~np.isnan(values).all(-1)
        world = fit_vertices_mm(hands, *map(torch.from_numpy, fits))
        joints = torch.stack(
            [hand.joints(world[:, side]) for side, hand in enumerate(hands)], 1
        )
        camera = (
            torch.from_numpy(np.float32(part[name])) for name in ("camrot", "campos_mm")
        )
        cam = (
            world_to_camera(world.flatten(1, 2), *camera)
            .unflatten(1, world.shape[1:3])
            .numpy()
        )

        truth = part["joints_world_mm"].reshape(joints.shape)
        valid = part["joint_valid"].reshape(joints.shape[:3]) & np.isfinite(truth).all(
            -1
        )
        distance = np.linalg.norm(joints.numpy() - truth, axis=-1)
        counted = valid & fitted[..., None]
        with np.errstate(invalid="ignore"):  # 0 / 0 where there is none
            error = np.sum(distance, -1, where=counted) / counted.sum(-1)
        error = error.astype(np.float32)
        usable = fits_match_type(np.where(fitted, 0.0, np.nan), part["hand_type"])
        status = np.select(
            [
                (given & ~fitted).any(1),
                ~given.any(1),
                ~usable,
                (error > DOUBTFUL_FIT_MM).any(1),
            ],
            [NOT_FINITE, NO_FIT, OTHER_HANDS, DOUBTFUL],
            RENDERED,
        )
        views = zip(
            part["focal"],
            part["princpt"],
            part["width"].tolist(),
            part["height"].tolist(),
        )
        for i, view in enumerate(views):
            mask = render_part_mask(hands, cam[i], *view) if usable[i] else None
            if mask is not None:
                seen = np.array(
                    [(mask - 1 < PARTS_PER_HAND).any(), mask.max() > PARTS_PER_HAND]
                )
                if not seen.any():
                    mask, status[i] = None, EMPTY
                elif (fitted[i] & ~seen).any():
                    status[i] = UNSEEN
            yield mask, error[i], int(status[i])


def prepare_masks(
    root: Path | str, split: str, executor: Executor | None = None
) -> dict[str, int]:
    """Render a split's masks into masks.lmdb and the index; how many frames have each status.

    Shards of 256 frames go to any executor (default: threads on all cores) and come back to be
    written here, each with its rows as a last entry. It may be killed and run again: shards that
    are whole are kept. Masks made from other annotations or another hand model are made anew. Every
    frame that has no mask, or a doubtful one, stands with its reason in
    `prepared/index/<split>/masks.tsv`.

    Raises FileNotFoundError without the files of the hand model, ValueError while another
    preparation of this data set is at work.
    """
    prepared, index = prepared_dir(root), prepare_index(root, split)
    folder, target = prepared / "index" / split, prepared / "masks.lmdb"
    packing.discard_damaged(target)
    # Another user may have prepared a data set that is read-only for this one.
    packed = store.Store(target, *prepared_places(root, "masks.lmdb"))
    keys = [f"{split}/{name[:-4]}.png" for name in index["file_name"]]
    note = f"__{split}/{_digest(index.fingerprint, load_hands(root))}/"
    shards = dict.fromkeys(range(0, len(index), SHARD))
    for start in shards:
        if f"{note}{start}" in packed:
            shards[start] = np.frombuffer(packed.read(f"{note}{start}"), ROW)
    missing = [start for start, rows in shards.items() if rows is None]
    if len(missing) == len(shards):
        packing.forget(target, f"{split}/", f"__{split}/")
        for old in folder.glob("masks-*"):
            shutil.rmtree(old)
    task = functools.partial(_render_shard, index.root, split, index.fingerprint)

    def rendered(pool: Executor) -> Iterator[tuple[str, bytes]]:
        for some in (missing[i : i + WINDOW] for i in range(0, len(missing), WINDOW)):
            for start, (images, shards[start]) in zip(some, pool.map(task, some)):
                yield from (
                    (key, image) for key, image in zip(keys[start:], images) if image
                )
                yield f"{note}{start}", shards[start].tobytes()

    with contextlib.ExitStack() as stack:
        if missing:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            one = {
                "initializer": torch.set_num_threads,
                "initargs": (1,),
            }  # a core is one task's
            pool = executor or stack.enter_context(
                ThreadPoolExecutor(os.cpu_count(), **one)
            )
            total = SHARD * len(missing)
            packing.pack(
                target, tqdm(rendered(pool), f"masks of {split}", total, unit="frame")
            )
    rows = np.concatenate(list(shards.values()))
    columns = {name: rows[name] for name in ROW.names}
    write_columns(folder / f"masks-{index.fingerprint}", columns)
    with atomic(folder / "masks.tsv") as file:
        for i in np.flatnonzero(rows["mask_status"]):
            file.write(f"{keys[i]}\t{MASK_STATUS[rows['mask_status'][i]]}\n")
    counts = np.bincount(rows["mask_status"], minlength=len(MASK_STATUS)).tolist()
    return {status: n for status, n in zip(MASK_STATUS, counts) if n}


def _render_shard(
    root: Path, split: str, fingerprint: str, start: int
) -> tuple[list[bytes], np.ndarray]:
    """PNGs (empty where there is no mask) and rows for the index of the frames from `start`."""
    index, hands = _open_in_worker(root, split, fingerprint)
    images, rows = [], []
    for mask, error, status in render_masks(
        hands, index.take(slice(start, start + SHARD))
    ):
        images.append(
            b"" if mask is None else cv2.imencode(".png", mask, PNG)[1].tobytes()
        )
        rows.append((error, mask is not None, status))
    return images, np.array(rows, ROW)


@functools.lru_cache(maxsize=4)
def _open_in_worker(root: Path, split: str, fingerprint: str) -> tuple[Index, Hands]:
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # the processes share the cores already
    return open_index(root, split), load_hands(root)


def _digest(fingerprint: str, hands: Hands) -> str:
    """Of all that masks depend on."""
    digest = hashlib.blake2b(
        repr((fingerprint, MASK_STATUS, PNG, SHARD)).encode(), digest_size=6
    )
    for value in (value for hand in hands for value in vars(hand).values()):
        if isinstance(value, Tensor | np.ndarray):
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def prepare(
    root: Path | str,
    splits: Sequence[str] | None = None,
    executor: Executor | None = None,
) -> None:
    """Index, image LMDB and mask LMDB of a data set; continues where it stopped; says what it did.

    Masks are left out, with a line that says why and what that changes, where a split has no fits
    or the fits' hand model is missing, and where the original's masks lie there already.
    """
    without = "training goes without the part loss, evaluation without part metrics"
    for split in splits or splits_of(root):
        index = prepare_index(root, split)
        images = packing.pack_images(root, [split], executor=executor).get(split)
        state = "no image folder"
        if images is not None:
            state = f"{images.added:,} images packed, {images.kept:,} were in already"
            state += f", {len(images.unusable):,} cannot be used (listed)" * bool(
                images.unusable
            )
        original = index.root / "segm_32.lmdb"
        if original.exists():
            masks = f"the masks are the original's, {original}"
            if not index["parts_valid"].any():
                masks += (
                    f", but none counts without cache/meta_dict_{split}.pkl: {without}"
                )
        elif not np.isfinite(index["mano_trans"]).any():
            masks = f"no masks, as it has no MANO fits: {without}"
        else:
            try:
                counts = prepare_masks(root, split, executor)
                masks = "masks: " + ", ".join(
                    f"{n:,} {status}" for status, n in counts.items()
                )
            except FileNotFoundError as error:
                masks = f"no masks: {error}; until then {without}"
        print(f"{split}: {len(index):,} frames; {state}; {masks}")

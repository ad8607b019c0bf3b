"""Looking at every picture and part mask of a split, by all cores.

`health.check` lists what these functions find.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Shaped
from tqdm.auto import tqdm

from digit.data.images import decode_image, image_fault, image_size
from digit.data.index import Index
from digit.data.store import Store, image_store, mask_store, read_mask

FRAMES_AT_ONCE = 256
# Grey level that some part of a picture of hands exceeds; chosen by eye.
BLACK = 20


def examine_images(index: Index, reduce: int = 8) -> Shaped[np.ndarray, "n"]:
    """What is wrong with each frame's picture, "" for nothing.

    Pictures may be missing, broken, black, or of another size than annotated.

    Args:
        index: The frames.
        reduce: Decode at this fraction of the size (1, 2, 4, 8): 8 is fast and finds
            the same.
    """
    store = image_store(index.dataset_dir)

    def examine(key: str, width: int, height: int) -> str:
        return _image_fault(store, key, width, height, reduce)

    return _of_each_frame(index, examine, f"pictures of {index.name}")


def examine_masks(index: Index) -> Shaped[np.ndarray, "n"]:
    """What is wrong with each frame's part mask, "" for nothing or where none counts.

    Masks may be missing, broken, of another size than their picture, hold values that
    are no labels, or show nothing.
    """
    store = mask_store(index.dataset_dir)
    if store is None:
        return np.full(len(index), "", object)
    # Masks that do not count may be missing.
    counts = dict(zip(index.keys(), index["parts_valid"].tolist(), strict=True))

    def examine(key: str, width: int, height: int) -> str:
        return _mask_fault(store, key, width, height) if counts[key] else ""

    return _of_each_frame(index, examine, f"part masks of {index.name}")


def _image_fault(store: Store, key: str, width: int, height: int, reduce: int) -> str:
    try:
        data = store.read(key)
    except KeyError:
        return "missing"
    except (ValueError, OSError):
        return "cannot be read"
    fault = image_fault(data)
    if fault:
        return fault
    # By the header: a decoder at an eighth rounds JPEG up and PNG down.
    if image_size(data) not in (None, (width, height)):
        return "its size is not the annotated one"
    try:
        picture = decode_image(data, reduce)
    except ValueError:
        return "broken"
    return "black" if picture.max() < BLACK else ""


def _mask_fault(store: Store, key: str, width: int, height: int) -> str:
    try:
        mask = read_mask(store, key)
    except KeyError:
        return "missing"
    except (ValueError, OSError) as error:
        return "values above 32" if "labels end" in str(error) else "broken"
    if mask.shape != (height, width):
        return "not of its picture's size"
    return "" if mask.any() else "shows no hand"


def _of_each_frame(
    index: Index, examine: Callable[[str, int, int], str], title: str
) -> Shaped[np.ndarray, "n"]:
    """Call a function for each frame's key, width and height, by threads on all
    cores."""
    found: list[str] = []
    starts = range(0, len(index), FRAMES_AT_ONCE)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        # Decoding releases Python's lock, so threads use all cores.
        for start in tqdm(starts, desc=title):
            some = index.take(slice(start, start + FRAMES_AT_ONCE))
            widths, heights = some["width"].tolist(), some["height"].tolist()
            found.extend(threads.map(examine, some.keys(), widths, heights))
    return np.array(found, object)

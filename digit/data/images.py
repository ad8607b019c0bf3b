"""Image files as bytes: whether they are whole, how large they are, and their pixels.

`packing` looks at headers only; `store.read_image` and `store.read_mask` decode.
"""

import struct

import cv2
import numpy as np
from jaxtyping import UInt8

# Larger pictures are refused before memory is asked for. Chosen by eye: frames of
# InterHand2.6M have 0.17 megapixels, its raw recordings 12.
MAX_PIXELS = 100_000_000
REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
JPEG_START = b"\xff\xd8"
JPEG_END = b"\xff\xd9"
PNG_START = b"\x89PNG"
# Markers of a JPEG file: those that carry its size, and those that carry nothing.
FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
EMPTY_MARKERS = {0x01, *range(0xD0, 0xDA)}


def image_fault(data: bytes) -> str:
    """Why bytes cannot be a whole JPEG or PNG file; "" if they can. Does not decode."""
    if not data:
        return "zero bytes"
    if data.startswith(JPEG_START):
        return "" if JPEG_END in data[-64:] else "truncated JPEG"
    if data.startswith(PNG_START):
        return "" if data[-8:-4] == b"IEND" else "truncated PNG"
    return "neither JPEG nor PNG"


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG or PNG file's header names; None if it names
    none."""
    if data.startswith(PNG_START) and data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if data.startswith(JPEG_START):
        return _jpeg_size(data)
    return None


def size_fault(data: bytes, width: int, height: int) -> str:
    """How the size in a file's header differs from the annotated one; "" if it does
    not."""
    size = image_size(data)
    if size is None or size == (width, height):
        return ""
    return f"its size is {size[0]} × {size[1]}, not {width} × {height} as annotated"


def decode_image(data: bytes, reduce: int = 1) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image, RGB, pixels as stored (the camera's orientation is ignored).

    Args:
        data: A JPEG or PNG file.
        reduce: 1, 2, 4 or 8: decode at this fraction of the size, rounded up for JPEG.

    Raises:
        ValueError: With the reason, if the file is broken or too large.
    """
    flags = cv2.IMREAD_COLOR_RGB | REDUCED[reduce] | cv2.IMREAD_IGNORE_ORIENTATION
    return _decode(data, flags)


def decode_mask(data: bytes) -> UInt8[np.ndarray, "h w"]:
    """Decode a part mask; of three channels (the original's) the red one.

    Raises:
        ValueError: With the reason, if the file is broken or too large.
    """
    mask = _decode(data, cv2.IMREAD_UNCHANGED)
    if mask.dtype != np.uint8:
        raise ValueError(f"{mask.dtype} pixels instead of 8-bit ones")
    # OpenCV's channels are blue, green, red.
    return mask if mask.ndim == 2 else np.ascontiguousarray(mask[..., 2])


def _decode(data: bytes, flags: int) -> np.ndarray:
    fault = image_fault(data)
    if fault:
        raise ValueError(fault)
    size = image_size(data)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"{size[0]} × {size[1]} pixels are too many")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"cannot be decoded ({error.err})") from None
    if image is None:
        raise ValueError("cannot be decoded")
    return image


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walk over a JPEG file's segments to the one that names its size."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif marker in EMPTY_MARKERS:
            at += 2
        elif marker in FRAME_MARKERS:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        else:
            (length,) = struct.unpack(">H", data[at + 2 : at + 4])
            at += 2 + length
    return None

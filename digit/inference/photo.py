"""Reading a photograph as a person would see it.

`predict` and the photo editor read files through here; frames of a data set, which are
stored as they are meant, are read by `digit.data.store`.
"""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

EXIF_IFD = 0x8769
FOCAL_LENGTH_35MM = 0xA405  # FocalLengthIn35mmFilm
# The diagonal of 35 mm film, to which such a focal length refers (EXIF 2.3, annex).
FILM_DIAGONAL_MM = 43.27


def read_photo(
    source: Path | str | bytes,
) -> tuple[UInt8[np.ndarray, "height width 3"], float | None]:
    """Read a photograph, upright by its EXIF orientation.

    Grey and 16-bit pictures are brought to 8 bits a channel, transparency is laid on
    white.

    Args:
        source: A file, or a file's bytes.

    Returns:
        The RGB picture, and the focal length in pixels where EXIF tells it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no complete picture of a known kind, or has more than 178
            megapixels.
    """
    name = "the photo" if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        file = io.BytesIO(source)
    elif Path(source).is_file():
        file = Path(source)
    else:
        raise FileNotFoundError(
            f"{name}: no such image; give the path of a JPEG or PNG file"
        )
    try:
        with Image.open(file) as photo:
            focal_35mm = _focal_length_35mm(photo)
            image = np.array(_as_rgb(ImageOps.exif_transpose(photo)))
    # Pillow's decoders raise exceptions of many kinds.
    except Exception as error:
        if isinstance(error, UnidentifiedImageError):
            reason = "its kind is unknown"
        else:
            reason = f"{error!s:.120}"
        raise ValueError(
            f"{name}: cannot be decoded as an image: {reason}; give a complete JPEG or "
            "PNG file"
        ) from None
    diagonal_px = float(np.hypot(*image.shape[:2]))
    focal_px = focal_35mm / FILM_DIAGONAL_MM * diagonal_px
    return image, focal_px or None


def _focal_length_35mm(photo: Image.Image) -> float:
    """The focal length (mm) that EXIF gives for 35 mm film; 0 if it does not."""
    return float(photo.getexif().get_ifd(EXIF_IFD).get(FOCAL_LENGTH_35MM) or 0)


def _as_rgb(photo: Image.Image) -> Image.Image:
    """The picture with 8 bits a channel, on white where it is transparent."""
    if photo.mode.startswith(("I", "F")):
        # 16 bits a channel, unless no more than 8 are used.
        values = np.asarray(photo, np.float32)
        levels = 257 if values.max() > 255 else 1
        values = np.clip(values / levels, 0, 255)
        photo = Image.fromarray(values.round().astype(np.uint8))
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        white = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(white, photo)
    return photo.convert("RGB")

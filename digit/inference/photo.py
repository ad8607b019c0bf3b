"""Reading a photograph."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError


def read_photo(
    source: Path | bytes,
) -> tuple[UInt8[np.ndarray, "height width 3"], float | None]:
    """A photo as it is meant to be seen, RGB: upright by its EXIF orientation, grey and 16 bits a
    channel made plain, transparency on white; and its focal length (px) where EXIF tells it.

    Raises FileNotFoundError, or ValueError for what is no whole picture or beyond 178 megapixels.
    """
    name = "the photo" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes) and not source.is_file():
        raise FileNotFoundError(
            f"{name}: no such image; give the path of a JPEG or PNG file"
        )
    try:
        with Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source
        ) as photo:
            mm35 = float(
                photo.getexif().get_ifd(0x8769).get(0xA405) or 0
            )  # FocalLengthIn35mmFilm
            photo = ImageOps.exif_transpose(photo)
            if photo.mode.startswith(
                ("I", "F")
            ):  # 16 bits a channel, if more than 8 are used
                values = np.asarray(photo, np.float32)
                values = np.clip(values / (257 if values.max() > 255 else 1), 0, 255)
                photo = Image.fromarray(values.round().astype(np.uint8))
            if photo.has_transparency_data:
                photo = photo.convert("RGBA")
                photo = Image.alpha_composite(
                    Image.new("RGBA", photo.size, "white"), photo
                )
            image = np.array(photo.convert("RGB"))
    except Exception as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "of no kind that is known" if unknown else f"{error!s:.120}"
        cure = "give a whole JPEG or PNG file"
        raise ValueError(
            f"{name}: cannot be decoded as an image: {reason}; {cure}"
        ) from None
    return image, mm35 / 43.27 * float(
        np.hypot(*image.shape[:2])
    ) or None  # by the diagonal

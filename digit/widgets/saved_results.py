"""What the photo editor shows, as files: by the writers of `digit predict`."""

import base64
from html import escape
from pathlib import Path

from digit.inference.outputs import JsonWriter, MeshWriter, OverlayWriter, Writer
from digit.inference.records import PictureRecord

# What is saved: the ending of its file, and the writer.
KINDS: dict[str, tuple[str, type[Writer]]] = {
    "JSON": (".json", JsonWriter),
    "picture": (".jpg", OverlayWriter),
    "mesh": (".glb", MeshWriter),
}
LARGEST_DOWNLOAD_BYTES = 3_000_000  # that is offered in the page


def save_result(kind: str, record: PictureRecord, folder: Path) -> Path:
    """Write a picture's result into a folder, under a name that is free.

    Args:
        kind: One of `KINDS`.
        record: The result; with its pixels for a picture.
        folder: Made where it does not exist.

    Returns:
        The file: named by the picture, and by the frame of a video.

    Raises:
        ValueError: If there is no hand to make a mesh of.
        OSError: If the file cannot be written.
    """
    # 1. A name that is free
    ending, writer_class = KINDS[kind]
    stem = Path(record.image).stem or "photo"
    if record.frame is not None:
        stem += f"_{record.frame:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}{ending}"
    number = 2
    while path.exists():
        path = folder / f"{stem}_{number}{ending}"
        number += 1

    # 2. The result
    writer = writer_class(path)
    writer.add(record)
    writer.close()
    return path


def saved_line(path: Path) -> str:
    """Where a file is, and a link to download it, as HTML."""
    line = f"saved: <code style='overflow-wrap:anywhere'>{escape(str(path))}</code>"
    if path.stat().st_size > LARGEST_DOWNLOAD_BYTES:
        return line
    data = base64.b64encode(path.read_bytes()).decode()
    address = f"data:application/octet-stream;base64,{data}"
    return f'{line} <a download="{escape(path.name)}" href="{address}">download</a>'

"""Results into files: JSON, JSON lines, CSV, NPZ, overlay pictures and videos.

The command `digit predict` opens one writer for each option. Text files are readable
after every picture, so an interrupted run leaves what is done; the others are completed
when their writer is closed.
"""

import csv
import json
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from digit.files import atomic, write_json
from digit.geometry import depth_to_cells
from digit.inference.records import CSV_COLUMNS, PictureRecord, csv_rows
from digit.outputs import is_standard_output
from digit.plots.painting import paint_box, paint_strokes, write_text
from digit.plots.strokes import side_strokes
from digit.skeleton import HAND_WRIST

Image = UInt8[np.ndarray, "height width 3"]

SHEET_COLUMNS = 4
SHEET_TILE_PX = 320
SHEET_TILES = 48  # a longer folder or video is thinned out
VIDEO_RATE = 30  # frames/s of an overlay video where the source does not tell


def paint_record(image: Image, record: PictureRecord) -> Image:
    """A copy of the picture with its boxes, hands and scores drawn in."""
    # Lines that are seen as well in a large picture as in a small one.
    painted = image.copy()
    longest_px = max(image.shape[:2])
    thickness = max(2, round(longest_px / 350))
    for crop in record.crops:
        paint_box(painted, crop.bbox_xywh, thickness)
        for hand in crop.hands:
            side = int(hand.side == "left")
            strokes = side_strokes(hand.joints_px, side)
            paint_strokes(painted, strokes, thickness)
            label = f"{hand.side} {hand.score:.0%}"
            if hand.track is not None:
                label = f"{hand.track} {label}"
            wrist_px = hand.joints_px[HAND_WRIST]
            write_text(painted, label, wrist_px, longest_px / 1000)
    return painted


@runtime_checkable
class Writer(Protocol):
    """Takes each picture's result in turn."""

    def add(self, record: PictureRecord) -> None:
        """One more picture."""

    def close(self) -> None:
        """No more pictures."""


def open_text(path: Path) -> IO[str]:
    """A text file, or standard output for "-", which stays open."""
    if is_standard_output(path):
        return open(sys.stdout.fileno(), "w", closefd=False)
    return open(path, "w", newline="")


class JsonWriter:
    """One object, for one photo."""

    def __init__(self, path: Path):
        self._path = path

    def add(self, record: PictureRecord) -> None:
        result = record.to_flat_dict()
        if is_standard_output(self._path):
            print(json.dumps(result, indent=1, allow_nan=False))
        else:
            write_json(self._path, result)

    def close(self) -> None:
        pass


class JsonLinesWriter:
    """One line for each picture."""

    def __init__(self, path: Path):
        self._file = open_text(path)

    def add(self, record: PictureRecord) -> None:
        self._file.write(json.dumps(record.to_dict(), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class CsvWriter:
    """One row for each hand."""

    def __init__(self, path: Path):
        self._file = open_text(path)
        self._rows = csv.writer(self._file)
        self._rows.writerow(CSV_COLUMNS)

    def add(self, record: PictureRecord) -> None:
        self._rows.writerows(csv_rows(record))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class NpzWriter:
    """Arrays over all crops.

    2.5D joints are cells of the crop that was predicted. docs/predict.md turns them into
    those of the annotated crop, which `digit evaluate --predictions` takes.
    """

    def __init__(self, path: Path):
        self._path = path
        self._columns: dict[str, list] = {
            name: []
            for name in (
                "image",
                "frame",
                "bbox_xywh",
                "hand_type",
                "joints_25d",
                "relative_root_depth",
                "joints_px",
                "joints_cam_mm",
            )
        }

    def add(self, record: PictureRecord) -> None:
        for crop in record.crops:
            depth_mm = np.array([crop.relative_root_depth_mm])
            joints_mm = crop.joints_cam_mm
            row = {
                "image": record.image,
                "frame": -1 if record.frame is None else record.frame,
                "bbox_xywh": crop.bbox_xywh,
                "hand_type": crop.hand_type,
                "joints_25d": crop.joints_25d.astype(np.float32),
                "relative_root_depth": depth_to_cells(depth_mm)[0],
                "joints_px": crop.joints_px.astype(np.float32),
                "joints_cam_mm": np.full((42, 3), np.nan, np.float32)
                if joints_mm is None
                else joints_mm.astype(np.float32),
            }
            for name, value in row.items():
                self._columns[name].append(value)

    def close(self) -> None:
        arrays = {name: np.array(values) for name, values in self._columns.items()}
        arrays["crop"] = np.arange(len(arrays["frame"]))
        with atomic(self._path, "wb") as file:
            np.savez(file, **arrays)


class CropFigureWriter:
    """The figure of the first crop: its joints, its parts, the hands in 3D."""

    def __init__(self, path: Path):
        self._path = path

    def add(self, record: PictureRecord) -> None:
        if not record.crops:
            return
        figure = record.crops[0].estimate().figure()
        if is_standard_output(self._path):
            figure.savefig(sys.stdout.buffer, format="png")
            return
        with atomic(self._path, "wb") as file:
            figure.savefig(file, format=self._path.suffix[1:].lower() or "png")

    def close(self) -> None:
        pass


class MeshWriter:
    """The hands of the first crop as meshes."""

    def __init__(self, path: Path):
        self._path = path

    def add(self, record: PictureRecord) -> None:
        from digit.hands.meshes import fit_meshes, mesh_warnings, write_meshes
        from digit.hands.model import generic_hands

        if not record.crops:
            raise ValueError(f"{self._path}: no hand is found, so there is no mesh")
        crop = record.crops[0]
        meshes = fit_meshes(generic_hands(), crop.joints_cam_mm, crop.hand_type > 0.5)
        crop.warnings += mesh_warnings(meshes)
        write_meshes(self._path, meshes)

    def close(self) -> None:
        pass


class OverlayWriter:
    """One picture with all its hands drawn in."""

    def __init__(self, path: Path):
        self._path = path

    def add(self, record: PictureRecord) -> None:
        save_picture(self._path, paint_record(record.pixels, record))

    def close(self) -> None:
        pass


class OverlayFolderWriter:
    """The same for many, into a folder; names keep the source's, made unique."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._names: set[str] = set()

    def add(self, record: PictureRecord) -> None:
        stem = Path(record.image).stem
        if record.frame is not None:
            stem = f"{stem}_{record.frame:06d}"
        name = stem
        number = 2
        while name in self._names:
            name = f"{stem}_{number}"
            number += 1
        self._names.add(name)
        painted = paint_record(record.pixels, record)
        save_picture(self._folder / f"{name}.jpg", painted)

    def close(self) -> None:
        pass


class OverlayVideoWriter:
    """A video with all hands drawn in, in the size of its first frame."""

    def __init__(self, path: Path, rate: Fraction | None = None):
        self._container = av.open(str(path), "w")
        self._stream = None
        self._rate = rate or Fraction(VIDEO_RATE)
        self._size = (0, 0)

    def add(self, record: PictureRecord) -> None:
        # The first frame decides the size.
        painted = paint_record(record.pixels, record)
        if self._stream is None:
            height, width = painted.shape[:2]
            self._size = (
                width + width % 2,
                height + height % 2,
            )  # H.264 wants even sizes
            self._stream = self._container.add_stream("libx264", rate=self._rate)
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"preset": "veryfast", "crf": "21"}
        fitted = fit_into(painted, *self._size)
        frame = av.VideoFrame.from_ndarray(fitted, format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()


class ContactSheetWriter:
    """Small overlays on one sheet; many pictures are thinned out evenly."""

    def __init__(self, path: Path):
        self._path = path
        self._tiles: list[Image] = []
        self._every = 1
        self._count = 0

    def add(self, record: PictureRecord) -> None:
        if self._count % self._every == 0:
            painted = paint_record(record.pixels, record)
            self._tiles.append(fit_into(painted, SHEET_TILE_PX, SHEET_TILE_PX))
        self._count += 1
        # Too many: every second tile, from now on every second picture only.
        if len(self._tiles) > SHEET_TILES:
            self._tiles = self._tiles[::2]
            self._every *= 2

    def close(self) -> None:
        if self._tiles:
            save_picture(self._path, contact_sheet(self._tiles))


def contact_sheet(
    tiles: Sequence[Image],
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Tiles of one size, row by row."""
    columns = min(SHEET_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    blank = np.zeros_like(tiles[0])
    filled = [*tiles, *[blank] * (rows * columns - len(tiles))]
    stripes = [np.hstack(filled[i * columns : (i + 1) * columns]) for i in range(rows)]
    return np.vstack(stripes)


def fit_into(
    image: Image, width: int, height: int
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """The picture scaled into a size, with black margins."""
    # 1. The picture at its new size
    old_height, old_width = image.shape[:2]
    if (old_width, old_height) == (width, height):
        return image
    scale = min(width / old_width, height / old_height)
    size = (max(1, round(old_width * scale)), max(1, round(old_height * scale)))
    size = (min(size[0], width), min(size[1], height))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    inner = cv2.resize(image, size, interpolation=way)
    # 2. In the middle of the margins
    fitted = np.zeros((height, width, 3), np.uint8)
    left = (width - size[0]) // 2
    top = (height - size[1]) // 2
    fitted[top : top + size[1], left : left + size[0]] = inner
    return fitted


def save_picture(path: Path, image: Image) -> None:
    """Write a picture in the format of its suffix.

    Raises:
        ValueError: if the suffix is of no known format.
        OSError: if the file cannot be written.
    """
    try:
        encoded, code = cv2.imencode(path.suffix, image[..., ::-1])
    except cv2.error:
        encoded = False
    if not encoded:
        raise ValueError(f"{path}: give a name that ends in .jpg or .png")
    with atomic(path, "wb") as file:
        file.write(code.tobytes())

"""What a user points at, as a stream of pictures: photos, folders, patterns and videos.

`digit.inference.pipeline` reads pictures from here. What cannot be read is part of the
stream as a `Failure`, so that one broken file does not end the work on the others.
"""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import UInt8
from PIL import Image as PillowImage

from digit.inference.photo import read_photo

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
)
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ogv"}
)


@dataclass(frozen=True)
class Picture:
    """One picture of a source.

    `frame` and `time_s` are those of a video's frame and None for a photo; `focal_px`
    is what a photo's EXIF entry tells.
    """

    source: str
    image: UInt8[np.ndarray, "height width 3"]
    frame: int | None = None
    time_s: float | None = None
    focal_px: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A source that could not be read, and why, in one line that names it."""

    source: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A file to read, and how many pictures it holds where that is known."""

    path: Path
    is_video: bool
    pictures: int | None = 1


def expand_inputs(inputs: Sequence[str | Path]) -> tuple[list[Source], list[Failure]]:
    """The files that a user's inputs name, in order, each once.

    Args:
        inputs: photo or video files, folders (searched with their subfolders, in the
            order of names) and patterns such as `photos/*.jpg`.

    Returns:
        The sources, and a failure for each input without any picture.
    """
    sources: dict[Path, Source] = {}
    failures = []
    for given in inputs:
        paths, problem = _paths_of(given)
        if problem:
            failures.append(Failure(str(given), f"{given}: {problem}"))
        for path in paths:
            sources.setdefault(path, _as_source(path))
    return list(sources.values()), failures


def _paths_of(given: str | Path) -> tuple[list[Path], str]:
    """The files of one input, and what is wrong with it, if anything."""
    path = Path(given)
    # A name that exists is taken as it is, even if it looks like a pattern.
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if _is_picture_file(p)]
        return found, "" if found else "no pictures or videos in this folder"
    if path.is_file():
        return [path], ""
    if path.exists():
        return [], "a device or a pipe; save it as a file first"
    if glob.has_magic(str(given)):
        found = [Path(p) for p in sorted(glob.glob(str(given), recursive=True))]
        found = [p for p in found if p.is_file()]
        return found, "" if found else "no file fits this pattern"
    return [], "no such file or folder; check the path"


def _is_picture_file(path: Path) -> bool:
    suffix = path.suffix.lower()
    known = suffix in PHOTO_SUFFIXES or suffix in VIDEO_SUFFIXES
    return known and not path.name.startswith(".") and path.is_file()


def _as_source(path: Path) -> Source:
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return Source(path, is_video=False)
    return Source(path, is_video=True, pictures=count_frames(path))


def count_frames(path: Path) -> int | None:
    """The number of a video's frames by its header, or None where it does not tell."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # Some containers hold the number, others a duration and a rate.
            if stream.frames:
                return stream.frames
            if stream.duration and stream.average_rate and stream.time_base:
                return int(stream.duration * stream.time_base * stream.average_rate)
    except (av.error.FFmpegError, IndexError, OSError):
        return None
    return None


def frame_rate(path: Path) -> Fraction | None:
    """A video's frames per second, or None where it does not tell."""
    try:
        with av.open(str(path)) as container:
            return container.streams.video[0].average_rate
    except (av.error.FFmpegError, IndexError, OSError):
        return None


def read_sources(sources: Sequence[Source]) -> Iterator[Picture | Failure]:
    """All pictures of the sources, in order."""
    for source in sources:
        if source.is_video:
            yield from read_video(source.path)
        else:
            yield read_one_photo(source.path)


def read_one_photo(path: Path) -> Picture | Failure:
    """A photo file as a picture; an animated one by its first frame, with a note."""
    try:
        image, focal_px = read_photo(path)
        notes = _animation_note(path)
    except (ValueError, OSError) as error:
        return Failure(str(path), str(error))
    return Picture(str(path), image, focal_px=focal_px, notes=notes)


def _animation_note(path: Path) -> tuple[str, ...]:
    with PillowImage.open(path) as photo:
        frames = getattr(photo, "n_frames", 1)
    if frames > 1:
        return (f"animated, {frames} frames: only the first is used",)
    return ()


def read_video(path: Path) -> Iterator[Picture | Failure]:
    """The frames of a video, upright by its rotation entry, as they are decoded.

    Frames may change their size. A video that is damaged gives its readable frames and
    then a failure; so does one without a video stream or without frames.
    """
    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                yield Failure(str(path), f"{path}: has no video stream")
                return
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                yield picture_of_frame(path, frame, count)
                count += 1
    except (av.error.FFmpegError, OSError) as error:
        # What was readable has been given; the rest is named.
        reason = f"ends or is damaged after {count} frames: {error.strerror}"
        if count == 0:
            reason = f"cannot be read as a video: {error.strerror}"
        yield Failure(str(path), f"{path}: {reason}")
        return
    if count == 0:
        yield Failure(str(path), f"{path}: a video without frames")


def picture_of_frame(path: Path, frame: VideoFrame, number: int) -> Picture:
    """A decoded frame of a video as an upright picture."""
    # Phones store frames as the sensor lies, with the turn beside them.
    image = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
    time_s = None if frame.time is None else float(frame.time)
    return Picture(str(path), np.ascontiguousarray(image), number, time_s)

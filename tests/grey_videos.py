"""Videos whose frames are as grey as their number tells, for the tests."""

from pathlib import Path

import av
import numpy as np


def write_video(path: Path, frames: int) -> None:
    """Write a video whose frames are as grey as their number tells."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = 320, 240
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            pixels = np.full((240, 320, 3), 20 * number + 10, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def grey_of(image: np.ndarray) -> int:
    """The number of a frame of `write_video`."""
    return round((float(image.mean()) - 10) / 20)

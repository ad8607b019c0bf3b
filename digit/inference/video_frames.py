"""Single frames of a video, in any order, and single pictures of a camera.

The photo editor reads them one by one; whole videos are read in order by
`digit.inference.sources`.
"""

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
from av.video.frame import VideoFrame

from digit.inference.sources import Picture, picture_of_frame

# A camera sets exposure and white balance during its first pictures; by eye.
PICTURES_TO_SETTLE = 5


class VideoFrames:
    """The frames of a video file.

    Args:
        path: The file.

    Raises:
        ValueError: If it cannot be read as a video, or has no frames.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._coming: Iterator[VideoFrame] = iter(())
        self._next = -1  # number of the frame that `_coming` gives next
        try:
            self._container = av.open(str(path))
            self._stream = next(iter(self._container.streams.video), None)
            self._times = self._frame_times()
        except (av.error.FFmpegError, OSError) as error:
            reason = error.strerror or error
            raise ValueError(f"{path}: cannot be read as a video: {reason}") from None
        if not self._times:
            raise ValueError(f"{path}: a video without frames")

    def __len__(self) -> int:
        return len(self._times)

    def read(self, number: int) -> Picture:
        """One frame, upright by the video's rotation entry.

        Args:
            number: Its number, from 0.

        Raises:
            ValueError: If it cannot be decoded.
        """
        try:
            # The decoder goes on from frame to frame, and jumps to any other.
            if number != self._next:
                self._jump(self._times[number])
            frame = self._frame_at(self._times[number])
            if frame is None:
                # The jump went too far, as it can where frames are stored out of order.
                self._jump(self._times[0])
                frame = self._frame_at(self._times[number])
        except (av.error.FFmpegError, OSError) as error:
            reason = error.strerror or error
            raise ValueError(f"{self.path}: frame {number}: {reason}") from None
        if frame is None:
            raise ValueError(f"{self.path}: frame {number} cannot be decoded")
        self._next = number + 1
        return picture_of_frame(self.path, frame, number)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _frame_times(self) -> list[int]:
        """When each frame is shown, in the stream's units; without decoding."""
        if self._stream is None:
            return []
        times = set()
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None and packet.size:
                    times.add(packet.pts)
        except av.error.FFmpegError:
            pass  # a damaged file has the frames up to there
        return sorted(times)

    def _jump(self, time: int) -> None:
        """Go to the last frame at or before a time that is stored by itself."""
        self._next = -1
        self._container.seek(time, stream=self._stream)
        self._coming = self._container.decode(self._stream)

    def _frame_at(self, time: int) -> VideoFrame | None:
        """Decode up to the frame of a time; None where it does not come any more."""
        for frame in self._coming:
            if frame.pts == time:
                return frame
            if frame.pts is not None and frame.pts > time:
                return None
        return None


def camera_picture(number: int) -> Picture:
    """Take a picture with a camera.

    Args:
        number: Of the camera, from 0, on the machine that runs this.

    Raises:
        ValueError: If there is no such camera, or it gives no picture.
    """
    # OpenCV would print warnings of its own about a missing camera.
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise ValueError(
                f"camera {number}: there is none on the machine that runs the kernel, "
                "or another program uses it"
            )
        for _ in range(PICTURES_TO_SETTLE):
            capture.read()
        was_taken, bgr = capture.read()
    finally:
        capture.release()
        cv2.utils.logging.setLogLevel(level)
    if not was_taken:
        raise ValueError(f"camera {number}: it gives no picture")
    return Picture(f"camera {number}", cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))

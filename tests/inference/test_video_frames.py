"""Single frames of a video: the same as in order, whatever the order."""

import numpy as np
import pytest
from grey_videos import write_video

from digit.inference.sources import read_video
from digit.inference.video_frames import VideoFrames


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "grey.mp4"
    write_video(path, frames=12)
    return path


def test_frames_in_any_order_are_those_in_order(video):
    in_order = list(read_video(video))
    frames = VideoFrames(video)
    assert len(frames) == len(in_order) == 12
    for number in (5, 6, 2, 11, 0, 11):
        frame = frames.read(number)
        assert (frame.frame, frame.time_s) == (number, in_order[number].time_s)
        assert np.array_equal(frame.image, in_order[number].image)
    frames.close()


def test_a_file_that_is_no_video_is_named(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(ValueError, match=r"text\.mp4: cannot be read as a video"):
        VideoFrames(path)

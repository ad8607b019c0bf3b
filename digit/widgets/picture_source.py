"""Where the photo editor's pictures come from: files, folders, videos and cameras.

`PictureSource` is a column of controls; whatever is chosen there goes to its owner as a
`Picture`.
"""

import os
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets

from digit.inference.sources import (
    Failure,
    Picture,
    Source,
    expand_inputs,
    read_one_photo,
)
from digit.inference.video_frames import VideoFrames, camera_picture
from digit.paths import workspace_path
from digit.widgets.controls import NARROW, ReportingBox, column, row


class PictureSource(widgets.VBox):
    """A path to type, the files of a folder, a slider over the frames of a video.

    Args:
        owner: The box that the controls are part of; it shows their errors.
        show: Called with each picture that is chosen.
    """

    def __init__(self, owner: ReportingBox, show: Callable[[Picture], object]) -> None:
        self._show = show
        self._sources: list[Source] = []  # that the path names
        self._frames: VideoFrames | None = None  # of the file that is shown

        # 1. Widgets
        self.path = widgets.Text(
            description="or a path",
            placeholder="photo, folder or video",
            continuous_update=False,
            **NARROW,
        )
        self.file = widgets.Dropdown(description="file", **NARROW)
        self.frame = widgets.IntSlider(
            description="frame", min=0, max=0, continuous_update=False, **NARROW
        )
        half = {"width": "151px"}
        self.previous = widgets.Button(description="◀ previous", layout=half)
        self.next = widgets.Button(description="next ▶", layout=half)
        self.camera = widgets.BoundedIntText(
            0, 0, 99, description="or camera", **NARROW
        )
        self.camera.layout.width = "185px"
        self.take = widgets.Button(
            description="take a picture",
            tooltip="with a camera of the machine that runs the kernel",
            layout={"width": "117px"},
        )
        self.steps = row(self.previous, self.next)
        from_camera = row(self.camera, self.take)
        self._offer_steps()
        rows = [self.path, self.file, self.frame, self.steps, from_camera]
        super().__init__([column(*rows)])

        # 2. Callbacks
        owner.on_change(self.path, "value", self._open_path)
        owner.on_change(self.file, "value", lambda: self._open_file(self.file.value))
        owner.on_change(self.frame, "value", lambda: self.go_to(self.frame.value))
        self.previous.on_click(lambda _: owner.perform(lambda: self.step(-1)))
        self.next.on_click(lambda _: owner.perform(lambda: self.step(1)))
        self.take.on_click(lambda _: owner.perform(self.take_picture))

    @property
    def has_several(self) -> bool:
        """Whether there is another picture to step to."""
        return len(self._sources) > 1 or self._frames is not None

    def show_path(self, path: Path | str) -> None:
        """Show the first picture of a photo, a folder, a pattern or a video.

        Raises:
            ValueError: If there is none, or it cannot be read.
        """
        sources, failures = expand_inputs([workspace_path(path)])
        if failures:
            raise ValueError(failures[0].reason)
        self._sources = sources
        self._list_files()
        self._open_file(0)

    def step(self, by: int) -> None:
        """Go to another frame, from the ends of a video to another file.

        Raises:
            ValueError: If there is nothing to step through, or the picture cannot be
                read.
        """
        if not self.has_several:
            raise ValueError("give the path of a folder or of a video to step through")
        if self._frames is not None:
            number = self.frame.value + by
            is_alone = len(self._sources) == 1
            if is_alone or 0 <= number < len(self._frames):
                self.go_to(min(max(number, 0), len(self._frames) - 1))
                return
        number = (self.file.value + by) % len(self._sources)
        self.file.value = number  # also where that file cannot be read
        self._open_file(number)

    def go_to(self, number: int) -> None:
        """Show a frame of the video."""
        if self._frames is None:
            return
        picture = self._frames.read(number)
        self.frame.value = number
        self._show(picture)

    def take_picture(self) -> None:
        """Show a new picture of the camera."""
        picture = camera_picture(self.camera.value)
        self.forget()
        self._show(picture)

    def forget(self) -> None:
        """Another picture is shown, from elsewhere."""
        self.path.value = ""
        self._sources = []
        self._close_video()
        self._offer_steps()

    def _open_path(self) -> None:
        path = self.path.value.strip()
        if path:
            self.show_path(path)

    def _open_file(self, number: int | None) -> None:
        """Show a file of the list, a video by its first frame."""
        if number is None:
            return
        source = self._sources[number]
        self._close_video()
        if source.is_video:
            self._frames = VideoFrames(source.path)
            self.frame.value = 0
            self.frame.max = len(self._frames) - 1
            picture = self._frames.read(0)
        else:
            picture = read_one_photo(source.path)
        self._offer_steps()
        if isinstance(picture, Failure):
            raise ValueError(picture.reason)
        self._show(picture)

    def _close_video(self) -> None:
        if self._frames is not None:
            self._frames.close()
        self._frames = None

    def _list_files(self) -> None:
        """Offer the files of the path, by their names in its folder."""
        paths = [source.path for source in self._sources]
        folder = os.path.commonpath([path.parent for path in paths])
        names = [os.path.relpath(path, folder) for path in paths]
        self.file.options = [
            (f"{number + 1} of {len(names)}: {name}", number)
            for number, name in enumerate(names)
        ]
        self.file.value = 0

    def _offer_steps(self) -> None:
        """Show the controls that have something to choose."""
        _set_shown(self.file, len(self._sources) > 1)
        _set_shown(self.frame, self._frames is not None)
        _set_shown(self.steps, self.has_several)


def _set_shown(widget: widgets.Widget, shown: bool) -> None:
    widget.layout.display = None if shown else "none"


def name_of(picture: Picture) -> str:
    """A picture's file, and its frame in a video."""
    name = Path(picture.source).name
    return name if picture.frame is None else f"{name}, frame {picture.frame}"

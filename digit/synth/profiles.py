"""The looks that a synthetic data set can have, as ranges and shares.

`dataset.synthesize` looks a profile up by its name; `capture`, `cameras` and
`viewpoints` draw from its numbers. All of them were chosen by eye unless a comment says
otherwise.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Profile:
    """A person in the middle of a dome of cameras, as InterHand2.6M was recorded.

    Ranges are (low, high). Angles are in degrees, lengths in mm, image sizes in px. The
    fields are written into `synth.json` in this order.
    """

    name: str = "studio"
    # Where a camera stands; azimuth 0 is in front of the person.
    azimuth: tuple[float, float] = (-65.0, 65.0)
    elevation: tuple[float, float] = (-20.0, 40.0)
    distance: tuple[float, float] = (850.0, 1150.0)
    # Focal length in px per mm of distance.
    focal: tuple[float, float] = (1.18, 1.36)
    # Standard deviations of a camera's roll and of the point it looks at.
    roll: float = 5.0
    aim: float = 24.0
    # Share of cameras at the person's own head.
    head: float = 0.0
    # Cameras of a capture, views of an instant, instants of a sequence.
    cameras: int = 12
    views: int = 3
    instants: int = 6
    # Share of sequences with one hand, and of cameras without colour.
    single: float = 0.45
    grey: float = 0.2
    # Share of captures with frames of 512 × 334 px; the others have 334 × 512 px.
    landscape: float = 0.25
    # Share of captures in a bright room; the others are in a dark studio.
    rooms: float = 0.0
    # Strength of the lamps against the light from everywhere.
    contrast: tuple[float, float] = (0.5, 1.4)
    # Gaussian blur (px), sensor noise (of 255) and JPEG quality.
    blur: tuple[float, float] = (0.45, 0.8)
    noise: tuple[float, float] = (0.8, 3.0)
    quality: tuple[int, int] = (88, 94)

    frames_per_capture: ClassVar[int] = 144


@dataclass(frozen=True)
class WebcamProfile:
    """Hands held up to webcams, phones and other people's cameras.

    Every frame has a camera of its own. Shares were set beside
    `statistics.REAL_PHOTOS`.
    """

    name: str = "webcam"
    # A capture is one person in one outfit.
    frames_per_capture: int = 72
    # Views of an instant, instants of a sequence.
    views: int = 2
    instants: int = 4
    # Share of sequences with one hand.
    single: float = 0.65
    # Share of sequences that show hands and arms without head and torso.
    arms_only: float = 0.4
    # Share of pictures without colour, and of captures seen in near-infrared light.
    grey: float = 0.12
    infrared: float = 0.05


PROFILES: dict[str, Profile | WebcamProfile] = {
    "studio": Profile(),
    "wild": Profile(
        name="wild",
        azimuth=(-105.0, 105.0),
        elevation=(-35.0, 75.0),
        distance=(450.0, 1300.0),
        focal=(0.9, 1.7),
        roll=15.0,
        aim=36.0,
        head=0.2,
        grey=0.1,
        rooms=0.85,
        contrast=(0.2, 3.0),
        blur=(0.4, 1.6),
        noise=(0.8, 7.0),
        quality=(60, 95),
    ),
    "webcam": WebcamProfile(),
}

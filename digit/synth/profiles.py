"""What a synthetic data set looks like."""

from dataclasses import dataclass

FRAMES_PER_CAPTURE = 144


@dataclass(frozen=True)
class Profile:
    """What a data set of synthetic hands looks like: ranges; degrees, mm, px."""

    name: str = "studio"
    azimuth: tuple[float, float] = (
        -65.0,
        65.0,
    )  # of a camera; 0 is in front of the person
    elevation: tuple[float, float] = (-20.0, 40.0)
    distance: tuple[float, float] = (850.0, 1150.0)
    focal: tuple[float, float] = (1.18, 1.36)  # px per mm of distance
    roll: float = 5.0  # standard deviation
    aim: float = 24.0  # standard deviation of what a camera looks at
    head: float = 0.0  # share of cameras at the person's own head
    cameras: int = 12  # of a capture
    views: int = 3  # of an instant
    instants: int = 6  # of a sequence
    single: float = 0.45  # share of sequences with one hand
    grey: float = 0.2  # share of grey cameras
    landscape: float = 0.25  # share of captures with frames 512 × 334, else 334 × 512
    rooms: float = (
        0.0  # share of captures before a bright background, else in a dark studio
    )
    contrast: tuple[float, float] = (0.5, 1.4)  # of the lamps
    blur: tuple[float, float] = (0.45, 0.8)
    noise: tuple[float, float] = (0.8, 3.0)
    quality: tuple[int, int] = (88, 94)  # of the JPEGs


PROFILES = {
    "studio": Profile(),
    "wild": Profile(
        "wild",
        (-105.0, 105.0),
        (-35.0, 75.0),
        (450.0, 1300.0),
        (0.9, 1.7),
        15.0,
        36.0,
        0.2,
        grey=0.1,
        rooms=0.85,
        contrast=(0.2, 3.0),
        blur=(0.4, 1.6),
        noise=(0.8, 7.0),
        quality=(60, 95),
    ),
}

"""Cameras and lights of a capture."""

import numpy as np

from digit.synth.anatomy import rotation, unit
from digit.synth.profiles import Profile
from digit.synth.renderer import Camera, Lights

MIDDLE = np.array([0, 0, 1000.0])  # of a dome, mm


def _direction(azimuth, elevation):
    """Unit vectors from the person; 0, 0 is to the front."""
    flat = np.cos(elevation)
    return np.stack(
        [np.sin(azimuth) * flat, -np.sin(elevation), -np.cos(azimuth) * flat], -1
    )


def draw_cameras(
    rng: np.random.Generator, profile: Profile, width: int, height: int
) -> list[Camera]:
    """The dome of a capture; each camera looks about where hands are held."""
    raw = np.array([0.95, 1.0, 0.6]) ** rng.uniform(
        0, 1.3
    )  # sensors see green before balancing
    cast, cameras = raw * np.exp(rng.normal(0, 0.06, 3)) * rng.uniform(0.55, 1.15), []
    for k in range(profile.cameras):
        ranges = profile.azimuth, profile.elevation, profile.distance
        if rng.random() < profile.head:
            ranges = (150.0, 210.0), (56.0, 75.0), (380.0, 520.0)
        azimuth, elevation, distance = (rng.uniform(*r) for r in ranges)
        toward, roll = (
            _direction(*np.radians([azimuth, elevation])),
            rng.normal(0, profile.roll),
        )
        x = unit(np.cross([0, 1, 0], -toward))
        level = np.stack([x, np.cross(-toward, x), -toward])
        camrot = rotation(np.array([0, 0, -np.radians(roll)])) @ level
        grey = bool(rng.random() < profile.grey)
        cameras.append(
            Camera(
                f"{'41' if grey else '40'}{k:04d}",
                camrot,
                MIDDLE + rng.normal(0, profile.aim, 3) + toward * distance,
                rng.uniform(*profile.focal) * distance + rng.normal(0, 0.3, 2),
                np.array([width, height]) / 2 + rng.normal(0, 12, 2),
                cast * rng.uniform(0.85, 1.2),
                rng.uniform(*profile.blur),
                rng.uniform(*profile.noise),
                grey,
            )
        )
    return cameras


def draw_lights(rng: np.random.Generator, profile: Profile) -> Lights:
    """Two or three lamps before and above the person, and light from everywhere."""
    n = rng.integers(2, 4)
    place = MIDDLE + 1600 * _direction(rng.uniform(-2, 2, n), rng.uniform(0.1, 1.3, n))
    lamps, sky = rng.dirichlet(np.full(n, 2.0)) * rng.uniform(*profile.contrast), 0.38
    level = rng.uniform(0.75, 1.05) / (
        0.6 * lamps.sum() + sky
    )  # white skin stays below white
    tint = level * np.exp(rng.normal(0, 0.05, (n + 2, 3)))
    ground = sky * rng.uniform(0.3, 0.8)
    return Lights(place, lamps[:, None] * tint[2:], sky * tint[0], ground * tint[1])

"""The dome of cameras and the lights of a capture, for `studio` and `wild`.

`capture` draws both once a capture.
"""

import numpy as np

from digit.synth.anatomy import normalize, rotation_matrix
from digit.synth.arrays import Rng, Rotation, Vector, Vectors
from digit.synth.profiles import Profile
from digit.synth.renderer import Camera, Lights, Sensor

# The middle of a dome, where hands are held.
MIDDLE = np.array([0, 0, 1000.0])
# Lamps stand at this distance from it.
LAMP_DISTANCE_MM = 1600
# Light from everywhere, before it is levelled with that of the lamps.
SKY = 0.38
# Azimuth and elevation (degrees) and distance (mm) of a camera at the person's own
# head.
HEAD_RANGES = ((150.0, 210.0), (56.0, 75.0), (380.0, 520.0))
# What a sensor sees of white light: less blue, and green most, before it is balanced.
RAW_BALANCE = np.array([0.95, 1.0, 0.6])


def direction(azimuth: float | np.ndarray, elevation: float | np.ndarray) -> Vectors:
    """Unit vectors away from the person; azimuth and elevation 0 (rad) is in front."""
    flat = np.cos(elevation)
    x = np.sin(azimuth) * flat
    y = -np.sin(elevation)
    z = -np.cos(azimuth) * flat
    return np.stack([x, y, z], -1)


def draw_cameras(
    rng: Rng,
    profile: Profile,
    width: int,
    height: int,
) -> tuple[list[Camera], dict[str, Sensor]]:
    """Draw the dome of a capture; each camera looks about where hands are held.

    Args:
        rng: The source of randomness.
        profile: Where cameras stand and what they do to light.
        width: Of the frames, in px.
        height: Likewise.

    Returns:
        The cameras, and the sensor of each by the camera's name.
    """
    # All cameras of a dome have much the same sensor.
    raw = RAW_BALANCE ** rng.uniform(0, 1.3)
    tint = np.exp(rng.normal(0, 0.06, 3))
    cast = raw * tint * rng.uniform(0.55, 1.15)
    middle_px = np.array([width, height]) / 2

    cameras = []
    sensors = {}
    for k in range(profile.cameras):
        # 1. Where it stands.
        ranges = (profile.azimuth, profile.elevation, profile.distance)
        if rng.random() < profile.head:
            ranges = HEAD_RANGES
        azimuth, elevation, distance = (rng.uniform(*limits) for limits in ranges)
        toward = direction(*np.radians([azimuth, elevation]))
        camrot = _level_rotation(-toward)

        # 2. How it is turned about its axis, and what it looks at.
        roll = rng.normal(0, profile.roll)
        about_axis = np.array([0, 0, -np.radians(roll)])
        camrot = rotation_matrix(about_axis) @ camrot
        grey = bool(rng.random() < profile.grey)
        target = MIDDLE + rng.normal(0, profile.aim, 3)

        # 3. Lens and sensor. Grey cameras have names that begin with 41.
        focal = rng.uniform(*profile.focal) * distance
        camera = Camera(
            name=f"{'41' if grey else '40'}{k:04d}",
            camrot=camrot,
            campos_mm=target + toward * distance,
            focal=focal + rng.normal(0, 0.3, 2),
            princpt=middle_px + rng.normal(0, 12, 2),
        )
        cameras.append(camera)
        sensors[camera.name] = Sensor(
            exposure=cast * rng.uniform(0.85, 1.2),
            blur_px=rng.uniform(*profile.blur),
            noise=rng.uniform(*profile.noise),
            grey=grey,
        )
    return cameras, sensors


def _level_rotation(axis: Vector) -> Rotation:
    """World → camera for a level camera that looks along the axis."""
    right = normalize(np.cross([0, 1, 0], axis))
    down = np.cross(axis, right)
    return np.stack([right, down, axis])


def draw_lights(rng: Rng, profile: Profile) -> Lights:
    """Draw two or three lamps before and above the person, and ambient light."""
    # 1. The lamps.
    count = rng.integers(2, 4)
    azimuth = rng.uniform(-2, 2, count)
    elevation = rng.uniform(0.1, 1.3, count)
    toward = direction(azimuth, elevation)
    shares = rng.dirichlet(np.full(count, 2.0))
    strength = shares * rng.uniform(*profile.contrast)

    # 2. Levels are such that light skin stays below white.
    total = 0.6 * strength.sum() + SKY
    level = rng.uniform(0.75, 1.05) / total
    noise = rng.normal(0, 0.05, (count + 2, 3))
    tint = level * np.exp(noise)
    ground = SKY * rng.uniform(0.3, 0.8)
    return Lights(
        place_mm=MIDDLE + LAMP_DISTANCE_MM * toward,
        colour=strength[:, None] * tint[2:],
        sky=SKY * tint[0],
        ground=ground * tint[1],
    )

"""Shoulders, elbows, and how comfortably a pair of hands can be held somewhere.

`motion` and `held_motion` choose comfortable poses with it, `body` draws the arms where
it puts the elbows. World and hand order are those of `anatomy`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from digit.synth.anatomy import hand_frame, normalize
from digit.synth.arrays import HandRotations, HandVectors, Rng, Vector

# Lengths of an average person's upper arm and forearm.
UPPER_ARM_MM = 285
FOREARM_MM = 250
# Directions in which the elbows of the right and of the left arm hang by themselves.
ELBOW_DOWN = np.array([[-0.35, 1, 0], [0.35, 1, 0]])
# Angles that an elbow is tried at, about the line from shoulder to wrist, away from
# hanging down.
SWIVELS_RAD = np.linspace(-1.9, 1.9, 15)
# Comfortable ranges, chosen by eye: flexion and deviation of the wrist (rad), and the
# cosine between the elbow's axis and the back of the hand, which is what the forearm's
# roll allows.
WRIST_FLEXION = (-1.0, 1.0)
WRIST_DEVIATION = (-0.6, 0.35)
FOREARM_ROLL = (0.05, 1.0)
# How sharply the best of the tried elbows wins; small enough to choose, large enough to
# be smooth.
SWIVEL_SOFTNESS = 0.01


class Person(NamedTuple):
    """Where a person's arms hang, in mm in the world."""

    shoulders: Float[np.ndarray, "2 3"]
    upper_arm: float  # length
    forearm: float  # length
    chest: Vector  # middle of the torso
    girth: Float[np.ndarray, "2"]  # half the torso's width and depth


def draw_person(rng: Rng, size: float) -> Person:
    """Draw a person who stands so that the hands are held about (0, 0, 1000).

    Args:
        rng: The source of randomness.
        size: 1 for a person of average height.
    """
    z = 1000 + rng.uniform(190, 290)
    y = rng.uniform(-290, -190)
    half_width = rng.uniform(165, 205) * size
    torso_width = half_width * rng.uniform(0.8, 1.0)
    torso_depth = rng.uniform(95, 140) * size
    return Person(
        shoulders=np.array([[-half_width, y, z], [half_width, y, z]]),
        upper_arm=UPPER_ARM_MM * size,
        forearm=FOREARM_MM * size,
        chest=np.array([0, y + 60, z + 20]),
        girth=np.array([torso_width, torso_depth]),
    )


def reach(
    person: Person,
    orientation: HandRotations,
    wrist_mm: HandVectors,
) -> tuple[HandVectors, Float[np.ndarray, "*b 2"]]:
    """Elbows for hands held as given, and how strained the arms are.

    Args:
        person: Whose arms they are.
        orientation: Rotation of each hand from its rest pose.
        wrist_mm: Where the wrists are.

    Returns:
        The elbows (mm), a forearm's length from the wrists, and the strain of wrist,
        forearm and
        reach: 0 is comfort, about 1 is out of reach.
    """
    # 1. Try elbows on the circle that the lengths of upper arm and forearm leave open.
    span = wrist_mm - person.shoulders
    distance = np.linalg.norm(span, axis=-1)
    longest = 0.98 * (person.upper_arm + person.forearm)
    elbow, swivel = _tried_elbows(person, span, np.clip(distance, 60, longest))

    # 2. The strain of each of them.
    strain = _wrist_strain(person, orientation, wrist_mm, elbow)
    too_far = np.maximum(distance / longest - 1, 0)
    strain += 0.02 * swivel[..., 0] ** 2 + 9 * too_far**2
    for point in (elbow, 0.5 * elbow + 0.5 * wrist_mm, wrist_mm):
        strain += _inside_torso(person, point)

    # 3. Blend the best ones, so that elbows move smoothly when wrists do.
    least = strain.min(0)
    share = np.exp((least - strain) / SWIVEL_SOFTNESS)[..., None]
    elbow = (share * elbow).sum(0) / share.sum(0)
    return wrist_mm + person.forearm * normalize(elbow - wrist_mm), least


def _tried_elbows(
    person: Person,
    span: HandVectors,
    distance: Float[np.ndarray, "*b 2"],
) -> tuple[Float[np.ndarray, "k *b 2 3"], np.ndarray]:
    """Elbows at each of `SWIVELS_RAD`, by the law of cosines, and these angles."""
    axis = normalize(span)
    squares = distance**2 + person.upper_arm**2 - person.forearm**2
    along = squares / (2 * distance)
    height = np.sqrt(np.maximum(person.upper_arm**2 - along**2, 0))[..., None]
    across = (ELBOW_DOWN * axis).sum(-1, keepdims=True)
    down = normalize(ELBOW_DOWN - across * axis)
    swivel = SWIVELS_RAD.reshape(-1, *[1] * span.ndim)
    outward = np.cos(swivel) * down + np.sin(swivel) * np.cross(axis, down)
    return person.shoulders + along[..., None] * axis + height * outward, swivel


def _wrist_strain(
    person: Person,
    orientation: HandRotations,
    wrist_mm: HandVectors,
    elbow: Float[np.ndarray, "k *b 2 3"],
) -> Float[np.ndarray, "k *b 2"]:
    """How far wrist and forearm are bent beyond comfort."""
    frame = hand_frame(orientation)
    forearm = normalize(wrist_mm - elbow)
    in_hand = (forearm[..., None, :] @ frame)[..., 0, :]
    ahead, back, little = np.moveaxis(in_hand, -1, 0)
    hinge = normalize(np.cross(elbow - person.shoulders, forearm))
    hinge = hinge * np.array([[1.0], [-1.0]])

    strain = _beyond(np.arctan2(back, ahead), *WRIST_FLEXION)
    deviation = np.arcsin(np.clip(little, -1, 1))
    strain += 2 * _beyond(deviation, *WRIST_DEVIATION)
    strain += _beyond((hinge * frame[..., 1]).sum(-1), *FOREARM_ROLL)
    return strain


def _beyond(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Squared distance of values from an interval."""
    return np.maximum(value - high, 0) ** 2 + np.maximum(low - value, 0) ** 2


def _inside_torso(person: Person, point: np.ndarray) -> np.ndarray:
    """How deep points lie in the torso, a cylinder: 0 outside, 1 at its axis."""
    offset = (point - person.chest)[..., [0, 2]]
    radius = ((offset / (person.girth + 35)) ** 2).sum(-1)
    return np.maximum(1 - radius, 0)

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
        forearm and reach: 0 is comfort, about 1 is out of reach.
    """
    # 1. Try elbows on the circle that the lengths of upper arm and forearm leave open.
    span = wrist_mm - person.shoulders
    distance = np.linalg.norm(span, axis=-1)
    longest = 0.98 * (person.upper_arm + person.forearm)
    reached = np.clip(distance, 60, longest)
    elbow, swivel = _tried_elbows(person, span, reached)

    # 2. The strain of each of them; no part of an arm should be in the body.
    strain = _wrist_strain(person, orientation, wrist_mm, elbow)
    too_far = np.maximum(distance / longest - 1, 0)
    raised = 0.02 * swivel[..., 0] ** 2
    strain += raised + 9 * too_far**2
    middle_of_forearm = 0.5 * elbow + 0.5 * wrist_mm
    for point in (elbow, middle_of_forearm, wrist_mm):
        strain += _inside_torso(person, point)

    # 3. Blend the best ones, so that elbows move smoothly when wrists do.
    least = strain.min(0)
    share = np.exp((least - strain) / SWIVEL_SOFTNESS)[..., None]
    blended = (share * elbow).sum(0) / share.sum(0)
    from_wrist = normalize(blended - wrist_mm)
    return wrist_mm + person.forearm * from_wrist, least


def _tried_elbows(
    person: Person,
    span: HandVectors,
    distance: Float[np.ndarray, "*b 2"],
) -> tuple[Float[np.ndarray, "k *b 2 3"], np.ndarray]:
    """Elbows at each of `SWIVELS_RAD`, by the law of cosines, and these angles."""
    # 1. How far along the line to the wrist, and how far aside.
    axis = normalize(span)
    upper2 = person.upper_arm**2
    squares = distance**2 + upper2 - person.forearm**2
    along = squares / (2 * distance)
    height2 = np.maximum(upper2 - along**2, 0)
    height = np.sqrt(height2)[..., None]

    # 2. Directions aside, from the one that hangs down.
    along_axis = (ELBOW_DOWN * axis).sum(-1, keepdims=True)
    down = normalize(ELBOW_DOWN - along_axis * axis)
    forward = np.cross(axis, down)
    swivel = SWIVELS_RAD.reshape(-1, *[1] * span.ndim)
    outward = np.cos(swivel) * down + np.sin(swivel) * forward
    middle = person.shoulders + along[..., None] * axis
    return middle + height * outward, swivel


def _wrist_strain(
    person: Person,
    orientation: HandRotations,
    wrist_mm: HandVectors,
    elbow: Float[np.ndarray, "k *b 2 3"],
) -> Float[np.ndarray, "k *b 2"]:
    """How far wrist and forearm are bent beyond comfort."""
    # 1. The forearm's direction in the hand's axes.
    frame = hand_frame(orientation)
    forearm = normalize(wrist_mm - elbow)
    in_hand = (forearm[..., None, :] @ frame)[..., 0, :]
    ahead = in_hand[..., 0]
    back = in_hand[..., 1]
    little = in_hand[..., 2]

    # 2. The elbow's axis against the back of the hand.
    upper_arm = elbow - person.shoulders
    hinge = normalize(np.cross(upper_arm, forearm))
    of_right = [1.0]
    of_left = [-1.0]
    hinge = hinge * np.array([of_right, of_left])
    roll = (hinge * frame[..., 1]).sum(-1)

    # 3. What is beyond comfort.
    flexion = np.arctan2(back, ahead)
    deviation = np.arcsin(np.clip(little, -1, 1))
    strain = _beyond(flexion, *WRIST_FLEXION)
    strain += 2 * _beyond(deviation, *WRIST_DEVIATION)
    strain += _beyond(roll, *FOREARM_ROLL)
    return strain


def _beyond(
    value: np.ndarray,
    low: float,
    high: float,
) -> np.ndarray:
    """Squared distance of values from an interval."""
    above = np.maximum(value - high, 0)
    below = np.maximum(low - value, 0)
    return above**2 + below**2


def _inside_torso(person: Person, point: np.ndarray) -> np.ndarray:
    """How deep points lie in the torso, a cylinder: 0 outside, 1 at its axis."""
    # The torso is wider by the thickness of an arm.
    radii = person.girth + 35
    offset = point - person.chest
    scaled = offset[..., [0, 2]] / radii
    square = (scaled**2).sum(-1)
    return np.maximum(1 - square, 0)

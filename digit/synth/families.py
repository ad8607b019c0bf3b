"""Named shapes of a hand and families of two hands, from `data/hand/poses.json`.

`motion` draws from `shapes` and `families`, `held_motion` from those that the file
keeps under `held_shapes` and `held_families`, with `stances` that say where palm and
fingers point in the camera's view. Angles are those of `anatomy`: (15, 3) radians of
flexion, abduction and twist of MANO's joints 1–15.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from digit.paths import HAND_POSES_FILE
from digit.synth.anatomy import clip_to_limits
from digit.synth.arrays import Angles

# First MANO row of index, middle, ring and pinky; the thumb has rows 12–14.
FINGER_ROWS = (0, 3, 9, 6)
THUMB_ROW = 12
# Abduction in degrees from index to pinky: at rest, and per unit of spread. Chosen by
# eye.
REST_FAN = np.array([-2, 0, 6, 9])
SPREAD_FAN = np.array([14, 3, -9, -18])
# A finger's last joint bends by this share of its middle joint.
LAST_JOINT_SHARE = 0.6
# Share of two-hand sequences of `webcam` whose family faces the camera. Chosen by eye.
FACING_SHARE = 0.55


class Role(NamedTuple):
    """What one hand does in a family of two hands."""

    shape: str  # a name of `shapes`; "" for any
    fingers: tuple[float, float, float]  # direction: outward, up, to the front
    palm: tuple[float, float, float]  # likewise
    wraps: bool  # closes around the other hand


@dataclass(frozen=True)
class Family:
    """How two hands meet.

    Directions of a role count outward from the body's midline, up, and to the front.
    """

    right: Role
    left: Role
    # Pairs of landmarks that touch: of the right hand, of the left hand.
    contacts: tuple[tuple[str, str], ...]
    # How often the family is drawn, relative to the others.
    weight: int = 1
    # Whether right and left may change their roles.
    swappable: bool = False
    # Whether one hand is placed before the other, without contact.
    overlapping: bool = False

    def swapped(self) -> "Family":
        """The family with the roles of right and left exchanged."""
        return Family(
            right=self.left,
            left=self.right,
            contacts=tuple((left, right) for right, left in self.contacts),
            weight=self.weight,
            swappable=self.swappable,
            overlapping=self.overlapping,
        )


class WeightedNames(NamedTuple):
    """Names to draw from, and the probability of each."""

    names: list[str]
    probability: Float[np.ndarray, "n"]


@functools.lru_cache(1)
def pose_file() -> dict[str, Any]:
    """The content of `data/hand/poses.json`."""
    return json.loads(HAND_POSES_FILE.read_text())


def shape_angles(
    thumb: Sequence[float | int],
    knuckles: Sequence[float | int],
    middles: Sequence[float | int],
    spread: float | int,
) -> Angles:
    """The angles of a shape as `poses.json` describes it, in degrees.

    Args:
        thumb: Flexion, abduction and twist of the thumb's base; flexion of its other
            joints.
        knuckles: Flexion of the knuckles from index to pinky.
        middles: Flexion of the middle joints from index to pinky.
        spread: From −1, fingers together, to 1, fingers spread.

    Returns:
        Radians within the joint limits.
    """
    degrees = np.zeros((15, 3), np.float32)
    fan = REST_FAN + spread * SPREAD_FAN
    for finger, row in enumerate(FINGER_ROWS):
        knuckle = knuckles[finger]
        middle = middles[finger]
        degrees[row, 0] = knuckle
        degrees[row + 1, 0] = middle
        degrees[row + 2, 0] = LAST_JOINT_SHARE * middle
        # A bent finger cannot fan out.
        degrees[row, 1] = fan[finger] * (1 - np.clip(knuckle / 90, 0, 1))
    degrees[THUMB_ROW] = thumb[:3]
    degrees[THUMB_ROW + 1 :, 0] = thumb[3:]
    return clip_to_limits(np.radians(degrees))


@functools.lru_cache(1)
def shapes() -> dict[str, Angles]:
    """Angles of the named shapes that hands take in a dome of cameras."""
    thumbs = pose_file()["thumbs"]
    return {
        name: shape_angles(thumbs[thumb], knuckles, middles, spread)
        for name, (thumb, knuckles, middles, spread) in pose_file()["shapes"].items()
    }


@functools.lru_cache(1)
def held_shapes() -> dict[str, Angles]:
    """Angles of the named shapes that people hold up to a camera."""
    thumbs = pose_file()["thumbs"] | pose_file()["held_thumbs"]
    result = {}
    for name, entry in pose_file()["held_shapes"].items():
        thumb, knuckles, middles, spread, _ = entry
        result[name] = shape_angles(thumbs[thumb], knuckles, middles, spread)
    return result


@functools.lru_cache(1)
def held_shape_names() -> WeightedNames:
    """The names of `held_shapes`, each with its probability."""
    entries = pose_file()["held_shapes"]
    weight = np.array([entry[-1] for entry in entries.values()], float)
    return WeightedNames(list(entries), weight / weight.sum())


@functools.lru_cache(1)
def families() -> dict[str, Family]:
    """How two hands meet in a dome of cameras, by name."""
    return _read_families("families")


@functools.lru_cache(1)
def held_families() -> dict[str, Family]:
    """How two hands are shown to a camera: `families` and those that face it."""
    return families() | _read_families("held_families")


@functools.lru_cache(1)
def held_family_names() -> WeightedNames:
    """The names of `held_families`, each with its probability."""
    everything = held_families()
    facing_names = pose_file()["held_families"]
    probability = np.array([f.weight for f in everything.values()], float)
    faces_camera = np.array([name in facing_names for name in everything])
    probability[faces_camera] *= FACING_SHARE / probability[faces_camera].sum()
    others = ~faces_camera
    probability[others] *= (1 - FACING_SHARE) / probability[others].sum()
    return WeightedNames(list(everything), probability)


def _read_families(key: str) -> dict[str, Family]:
    """The families under a key of `poses.json`."""
    wrapping_shapes = pose_file()["wrapping"]

    def read_role(entry: list) -> Role:
        shape, fingers, palm = entry
        return Role(
            shape=shape,
            fingers=tuple(fingers),
            palm=tuple(palm),
            wraps=shape in wrapping_shapes,
        )

    result = {}
    for name, entry in pose_file()[key].items():
        # Where the left hand is not described it mirrors the right one.
        right = read_role(entry["right"])
        left = read_role(entry.get("left", entry["right"]))
        pairs = [tuple(pair.split("-")) for pair in entry["contacts"].split()]
        result[name] = Family(
            right=right,
            left=left,
            contacts=tuple(pairs),
            weight=entry.get("often", 1),
            swappable="left" in entry,
            overlapping=entry.get("overlapping", False),
        )
    return result

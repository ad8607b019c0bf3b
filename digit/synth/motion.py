"""Sequences of poses that move between key poses, for a person in a dome of cameras.

`capture` calls `draw_motion`. A sequence is drawn in four phases: key poses of the
hands, how the hands lie to each other, where the pair is held, and the instants between
the keys.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from digit.synth.anatomy import (
    Rig,
    axis_angle,
    clip_to_limits,
    frame_from_directions,
    hand_frame,
    jitter,
    normalize,
    pose_rig,
    rotation_matrix,
    to_tensor,
)
from digit.synth.arms import Person, reach
from digit.synth.arrays import LandmarkPairs, PresentOverTime, Rng
from digit.synth.contact import Start, bring_into_contact
from digit.synth.families import Family, Role, families, shapes

# Family contacts are padded to this many pairs.
MAX_CONTACTS = 10
# Directions of a role (outward, up, to the front) in the world, for the right and the
# left hand.
ROLE_TO_WORLD = np.array([[[-1, -1, -1]], [[1, -1, -1]]])
# How far hands start from each other along the skin's normals, and palm first if one
# wraps.
RETREAT_MM = 14
WRAPPING_RETREAT_MM = 32
# From the wrist to about the middle of a hand.
HAND_MIDDLE_MM = 70
# Candidate placements of a pair of hands, and how random the choice among them is.
CANDIDATES = 96
CHOICE_RANDOMNESS = 0.03
# Of the key poses; right hand first.
KeyRotations = Float[np.ndarray, "k 2 3 3"]
KeyVectors = Float[np.ndarray, "k 2 3"]
KeyPoints = Float[np.ndarray, "k 3"]


class Motion(NamedTuple):
    """T instants of a capture, two hands each."""

    name: list[str]  # a family, or "right:<shape>" or "left:<shape>"
    sequence: Int[np.ndarray, "t"]
    present: PresentOverTime
    angles: Float32[np.ndarray, "t 2 15 3"]
    orientation: Float[np.ndarray, "t 2 3 3"]
    wrist_mm: Float[np.ndarray, "t 2 3"]


class Keys(NamedTuple):
    """K key poses of a sequence, two hands each."""

    angles: Float32[np.ndarray, "k 2 15 3"]
    orientation: KeyRotations
    wrist_mm: KeyVectors
    retreat_mm: KeyVectors


def draw_motion(
    rng: Rng,
    rig: Rig,
    person: Person,
    names: list[str],
    instants: int,
) -> Motion:
    """Draw a sequence for each name.

    Args:
        rng: The source of randomness.
        rig: The subject's right hand.
        person: The subject's arms.
        names: A name of `families` for two hands; "right:<shape>" or "left:<shape>" for
            one.
        instants: The number of instants of each sequence.
    """
    starts = []
    for name in names:
        starts.append(_draw_sequence(rng, rig, person, name, instants))
    return close_in(rig, starts, names, instants)


def close_in(
    rig: Rig,
    starts: list[Start],
    names: list[str],
    instants: int,
) -> Motion:
    """Join sequences into one motion and bring their hands into contact."""
    # 1. One row for every instant.
    columns = zip(*starts, strict=True)
    start = Start(*[np.concatenate(column) for column in columns])
    name_of_instant = np.repeat(names, instants).tolist()
    present = []
    for name in name_of_instant:
        has_right = not name.startswith("left:")
        has_left = not name.startswith("right:")
        present.append([has_right, has_left])
    present = np.array(present)

    # 2. Contact, of all instants at once.
    posed = bring_into_contact(rig, start, present)
    return Motion(
        name=name_of_instant,
        sequence=np.arange(len(name_of_instant)) // instants,
        present=present,
        angles=posed.angles,
        orientation=posed.orientation,
        wrist_mm=posed.wrist_mm,
    )


def contact_rows(rig: Rig, family: Family) -> LandmarkPairs:
    """The rows of `Rig.points` that touch: of the right hand, of the left hand."""
    rows = [
        [rig.landmarks[right], rig.landmarks[left]] for right, left in family.contacts
    ]
    return np.array(rows, int).reshape(-1, 2)


def padded_contacts(rows: LandmarkPairs, instants: int) -> Int[np.ndarray, "t 10 2"]:
    """The same contacts for every instant, with −1 for none."""
    contacts = np.full((instants, MAX_CONTACTS, 2), -1)
    contacts[:, : len(rows)] = rows
    return contacts


def role_directions(
    rng: Rng,
    roles: tuple[Role, Role],
    sigma: float,
) -> Float[np.ndarray, "2 2 3"]:
    """Where fingers and palm of both hands point in the world, with noise."""
    directions = []
    for role in roles:
        directions.append([role.fingers, role.palm])
    noise = rng.normal(0, sigma, (2, 2, 3))
    in_body = np.array(directions, float) + noise
    return in_body * ROLE_TO_WORLD


def meet_at_contacts(
    rig: Rig,
    family: Family,
    rows: LandmarkPairs,
    angles: Float[np.ndarray, "k 2 15 3"],
    orientation: KeyRotations,
) -> tuple[KeyPoints, KeyVectors]:
    """Where the left wrist must be for the contacts to meet, with the right wrist at 0.

    Args:
        rig: The subject's right hand.
        family: How the hands meet.
        rows: The landmarks that touch.
        angles: Joint angles of the key poses.
        orientation: Rotation of each hand from its rest pose.

    Returns:
        The left wrist (mm), and from where both hands close in: along the skin's
        normals, or palm first for a hand that wraps around the other.
    """
    # 1. The skin points that should meet, with both wrists at the origin.
    at_origin = np.zeros((len(angles), 2, 3))
    points = pose_rig(
        rig,
        to_tensor(angles),
        to_tensor(orientation),
        to_tensor(at_origin),
    ).numpy()
    of_right = points[:, 0, rows[:, 0]]
    of_left = points[:, 1, rows[:, 1]]
    skin = np.stack([of_right, of_left], 1)
    left_wrist = (skin[:, 0] - skin[:, 1]).mean(1)

    wraps = np.array([family.right.wraps, family.left.wraps])
    if wraps.any():
        back = hand_frame(orientation)[..., 1]
        return left_wrist, WRAPPING_RETREAT_MM * back * wraps[:, None]

    # 2. The skin's normal there points away from the nearest sphere's centre.
    centres = points[:, :, None, : len(rig.radii)]
    distance = np.linalg.norm(skin[..., None, :] - centres, axis=-1)
    nearest = distance.argmin(-1)
    core = np.take_along_axis(centres[:, :, 0], nearest[..., None], 2)
    normal = normalize(skin - core).mean(2)
    from_left = normal[:, 1] - normal[:, 0]
    away = RETREAT_MM * normalize(from_left)
    return left_wrist, np.stack([away, -away], 1)


def place_comfortably(
    rng: Rng,
    person: Person,
    keys: Keys,
    turns: Float[np.ndarray, "n 3 3"],
    centre_mm: Float[np.ndarray, "n 1 1 3"],
    shown: list[int],
    randomness: float,
) -> Keys:
    """Rotate and place all key poses as a whole, in a way that the arms like.

    Args:
        rng: The source of randomness.
        person: The subject's arms.
        keys: Key poses around the right wrist.
        turns: Candidate rotations of the whole.
        centre_mm: Candidate places of its middle.
        shown: The sides that are there.
        randomness: Mean of the exponential noise that is added to the strain.
    """
    # 1. The middle of the hands, over all keys.
    fingers = hand_frame(keys.orientation)[..., 0]
    middles = keys.wrist_mm + HAND_MIDDLE_MM * fingers
    middle = middles[:, shown].mean((0, 1))

    # 2. All candidates: (n, k, 2, ...).
    orientation = turns[:, None, None] @ keys.orientation
    from_middle = keys.wrist_mm - middle
    wrist = from_middle @ turns.mT[:, None] + centre_mm

    # 3. The one that strains the arms least at its worst key, nearly.
    _, strain = reach(person, orientation, wrist)
    of_key = strain[..., shown].sum(-1)
    noise = rng.exponential(randomness, len(turns))
    best = (of_key.max(1) + noise).argmin()
    return keys._replace(
        orientation=orientation[best],
        wrist_mm=wrist[best],
        retreat_mm=keys.retreat_mm @ turns[best].T,
    )


def interpolate(
    keys: Keys,
    before: Int[np.ndarray, "t"],
    weight: Float[np.ndarray, "t 1 1"],
) -> Keys:
    """Poses between key `before` and the next one.

    Args:
        keys: The key poses.
        before: The key that precedes each instant.
        weight: 0 at that key, 1 at the next.
    """
    after = before + 1

    def between(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        difference = values[after] - values[before]
        return values[before] + weight * difference

    # Orientations turn about the axis that leads from one key to the next.
    start = keys.orientation[before]
    turn = axis_angle(start.mT @ keys.orientation[after])
    angles = between(keys.angles, weight[..., None])
    return Keys(
        angles=clip_to_limits(angles),
        orientation=start @ rotation_matrix(weight * turn),
        wrist_mm=between(keys.wrist_mm, weight),
        retreat_mm=between(keys.retreat_mm, weight),
    )


def _draw_sequence(
    rng: Rng,
    rig: Rig,
    person: Person,
    name: str,
    instants: int,
) -> Start:
    """Draw a sequence before its hands touch."""
    # 1. What is shown.
    side, _, shape = name.partition(":")
    if shape:
        family = _upright(shape)
        shown = [int(side == "left")]
    else:
        family = families()[name]
        shown = [0, 1]
    if family.swappable and rng.random() < 0.5:
        family = family.swapped()
    rows = contact_rows(rig, family)

    # 2. Key poses.
    n_keys = 2 if instants < 6 else 3
    keys = _draw_keys(rng, rig, family, rows, n_keys)
    keys = _place_in_dome(rng, person, keys, shown, is_single=bool(shape))

    # 3. Instants lie anywhere between the keys, and move smoothly (3t² − 2t³).
    at = np.sort(rng.random(instants)) * (n_keys - 1)
    before = np.minimum(at.astype(int), n_keys - 2)
    passed = at - before
    weight = passed**2 * (3 - 2 * passed)
    poses = interpolate(keys, before, weight[:, None, None])
    return Start(*poses, padded_contacts(rows, instants))


def _upright(shape: str) -> Family:
    """A family for one hand: fingers up, palm to the front."""
    role = Role(shape=shape, fingers=(0, 1, 0), palm=(0, 0, 1), wraps=False)
    return Family(right=role, left=role, contacts=())


def _draw_keys(
    rng: Rng,
    rig: Rig,
    family: Family,
    rows: LandmarkPairs,
    n_keys: int,
) -> Keys:
    """Key poses of a family, with the right wrist at 0."""
    roles = (family.right, family.left)

    # 1. Shapes of the hands.
    angles = []
    for _ in range(n_keys):
        of_key = []
        for role in roles:
            shape = role.shape or rng.choice(list(shapes()))
            of_key.append(shapes()[shape])
        angles.append(of_key)
    angles = np.array(angles)

    # 2. Noise on all angles and on whole joints.
    of_angles = rng.normal(0, 0.13, angles.shape)
    of_joints = rng.normal(0, 0.08, (*angles.shape[:-1], 1))
    angles = clip_to_limits(angles + (of_angles + of_joints))

    # 3. Orientations, in the body's axes.
    directions = role_directions(rng, roles, sigma=0.12)
    orientation = frame_from_directions(
        fingers=directions[:, 0],
        palm=directions[:, 1],
    )
    orientation = np.stack([jitter(rng, orientation, 0.1) for _ in range(n_keys)])

    # 4. The left hand meets the right one at the contacts, or is held beside it.
    wrist = np.zeros((n_keys, 2, 3))
    retreat = np.zeros((n_keys, 2, 3))
    if family.contacts:
        left_wrist, retreat = meet_at_contacts(rig, family, rows, angles, orientation)
        wrist[:, 1] = left_wrist
        # Some begin before the hands touch.
        distance = rng.uniform(15, 70)
        begins_apart = rng.random() < 0.15
        wrist[0, 1, 0] += distance * begins_apart
    else:
        distance = rng.uniform(90, 240)
        noise = rng.normal(0, [15, 30, 30], (n_keys, 3))
        wrist[:, 1] = [distance, 0, 0] + noise
    return Keys(angles, orientation, wrist, retreat)


def _place_in_dome(
    rng: Rng,
    person: Person,
    keys: Keys,
    shown: list[int],
    is_single: bool,
) -> Keys:
    """Place key poses about (0, 0, 1000); one hand alone is turned any way."""
    sigma = 1.6 if is_single else np.array([0.3, 0.35, 0.25])
    turns = jitter(rng, np.broadcast_to(np.eye(3), (CANDIDATES, 3, 3)), sigma)
    spread = rng.normal(0, 1, (CANDIDATES, 1, 1, 3)) * [22, 28, 20]
    centre = np.array([0, 0, 1000]) + spread
    return place_comfortably(
        rng, person, keys, turns, centre, shown, randomness=CHOICE_RANDOMNESS
    )

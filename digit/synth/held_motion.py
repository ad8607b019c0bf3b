"""Sequences of hands that are held up to one camera, for the profile `webcam`.

`capture` calls `draw_held_motion`. The camera's place comes first: where palm and
fingers point is drawn in its view, and of many places the hand is held where the arm
likes it. Numbers were chosen by eye, beside `statistics.REAL_PHOTOS`.
"""

import numpy as np
from jaxtyping import Float

from digit.synth.anatomy import (
    REST_FRAME,
    Rig,
    clip_to_limits,
    frame_from_directions,
    hand_frame,
    jitter,
    normalize,
    rotation_matrix,
)
from digit.synth.arms import Person, reach
from digit.synth.arrays import Angles, LandmarkPairs, Points, Rng, Rotation
from digit.synth.contact import Start
from digit.synth.families import (
    THUMB_ROW,
    Family,
    held_families,
    held_family_names,
    held_shape_names,
    held_shapes,
    pose_file,
    shapes,
)
from digit.synth.motion import (
    HAND_MIDDLE_MM,
    KeyPoints,
    KeyRotations,
    Keys,
    Motion,
    close_in,
    contact_rows,
    interpolate,
    meet_at_contacts,
    padded_contacts,
    place_comfortably,
    role_directions,
)
from digit.synth.randomness import choose, log_uniform
from digit.synth.viewpoints import Viewpoint, view_frame

CANDIDATES = 128
KEYS = 2
CHOICE_RANDOMNESS = 0.05
# Share of right hands among single ones.
RIGHT_SHARE = 0.58
# How much a hand is tilted in the picture, rolled about the forearm and leant to or
# from the camera; standard deviations.
TILT_RAD = 0.34
ROLL_RAD = 0.33
LEAN_RAD = 0.25
# Share of own palms that are turned to show the back instead.
OWN_BACK_SHARE = 0.2
# Share of two hands before a camera that are turned to it, not to where the body faces.
TURNED_TO_CAMERA_SHARE = 0.8
# Share of two hands of any shape that have the same one.
SAME_SHAPE_SHARE = 0.4
# Distance of two hands apart, and how far a pair is turned; standard deviation.
APART_MM = (80.0, 560.0)
PAIR_TURN_RAD = 0.3
# From the wrist to the middle of a hand that overlaps another.
HAND_MIDDLE_MM_OF_PAIR = 75


def draw_name(rng: Rng, single: bool) -> str:
    """Draw a sequence's name: "right:<shape>", "left:<shape>", or a family."""
    if single:
        names, probability = held_shape_names()
        side = rng.choice(["right", "left"], p=[RIGHT_SHARE, 1 - RIGHT_SHARE])
        return f"{side}:{rng.choice(names, p=probability)}"
    names, probability = held_family_names()
    return str(rng.choice(names, p=probability))


def draw_held_motion(
    rng: Rng,
    rig: Rig,
    person: Person,
    viewpoints: list[Viewpoint],
    names: list[str],
    instants: int,
    evenly: bool = False,
) -> Motion:
    """Draw a sequence for each name, seen from its viewpoint.

    Args:
        rng: The source of randomness.
        rig: The subject's right hand.
        person: The subject's arms.
        viewpoints: From where each sequence is seen.
        names: Names as from `draw_name`.
        instants: The number of instants of each sequence.
        evenly: Whether instants follow each other evenly, as the frames of a film, or at
            random times, as the frames of a data set.
    """
    starts = []
    for viewpoint, name in zip(viewpoints, names, strict=True):
        side, _, shape = name.partition(":")
        rows = np.zeros((0, 2), int)
        if shape:
            keys = _draw_single(rng, person, viewpoint, int(side == "left"), shape)
        else:
            keys, rows = _draw_pair(rng, rig, person, viewpoint, held_families()[name])
        at = np.linspace(0, 1, instants) if evenly else np.sort(rng.random(instants))
        at = at[:, None, None]
        first = np.zeros(instants, int)
        poses = interpolate(keys, first, at)
        starts.append(Start(*poses, padded_contacts(rows, instants)))
    return close_in(rig, starts, names, instants)


def _draw_single(
    rng: Rng,
    person: Person,
    viewpoint: Viewpoint,
    side: int,
    shape: str,
) -> Keys:
    """Key poses of one hand; the absent hand has the same ones."""
    # 1. Shapes.
    of_keys = [_draw_angles(rng, shape) for _ in range(KEYS)]
    angles = np.stack([[one, one] for one in of_keys])

    # 2. Candidate places, each with an orientation in the camera's view from there.
    centre = _draw_places(rng, person, viewpoint, CANDIDATES, side)
    toward = normalize(viewpoint.eye_mm - centre)
    stances = _draw_stances(rng, viewpoint, shape, side, CANDIDATES)
    orientation = view_frame(toward) @ stances
    candidates = np.stack([orientation, orientation], 1)
    fingers = hand_frame(candidates)[..., 0]
    wrists = centre[:, None] - HAND_MIDDLE_MM * fingers

    # 3. The one that the arm likes best, nearly.
    _, strain = reach(person, candidates, wrists)
    noise = rng.exponential(CHOICE_RANDOMNESS, CANDIDATES)
    best = (strain[:, side] + noise).argmin()

    # 4. It moves a little between the keys.
    turns = rotation_matrix(rng.normal(0, 0.12, (KEYS, 1, 3)))
    moves = rng.normal(0, 25, (KEYS, 1, 3))
    return Keys(
        angles=angles,
        orientation=turns @ candidates[best],
        wrist_mm=wrists[best] + moves,
        retreat_mm=np.zeros((KEYS, 2, 3)),
    )


def _draw_angles(rng: Rng, name: str) -> Angles:
    """Joint angles of a named shape as people make it."""
    if name in held_shapes():
        shape = held_shapes()[name]
    else:
        shape = shapes()[name]

    # 1. Noise on all angles and on whole joints; few people hold their fingers
    # straight.
    of_angles = rng.normal(0, 0.11, shape.shape)
    of_joints = rng.normal(0, 0.09, (15, 1))
    angles = shape + of_angles + of_joints
    angles[:THUMB_ROW, 0] += abs(rng.normal(0, 0.13))

    # 2. One finger does something else.
    if rng.random() < 0.15:
        other = _draw_shape(rng)
        row = 3 * rng.integers(5)
        finger = slice(row, row + 3)
        angles[finger] = other[finger]

    # 3. The hand is between two shapes.
    if rng.random() < 0.12:
        share = rng.uniform(0.15, 0.7)
        other = _draw_shape(rng)
        angles += share * (other - shape)
    return clip_to_limits(angles)


def _draw_shape(rng: Rng) -> Angles:
    """Angles of any shape that people hold up."""
    names, probability = held_shape_names()
    name = rng.choice(names, p=probability)
    return held_shapes()[name]


def _draw_stances(
    rng: Rng,
    viewpoint: Viewpoint,
    shape: str,
    side: int,
    count: int,
) -> Float[np.ndarray, "n 3 3"]:
    """Much the same orientation in the camera's view (right, up, towards it)."""
    stance = _draw_stance_name(rng, viewpoint, shape)
    if stance == "any":
        axis = normalize(rng.normal(0, 1, (1, 3)))
        turn = rotation_matrix(axis * rng.uniform(0, np.pi))
        return rotation_matrix(rng.normal(0, 0.25, (count, 3))) @ turn

    # 1. The right hand of a person who is seen from the front is at the left in the
    # picture, so outward is to the left.
    outward = 1 if side else -1
    if viewpoint.kind == "own":
        outward = -outward
    to_view = np.array([outward, 1, 1])
    fingers, palm = np.array(pose_file()["stances"][stance], float)
    fingers = fingers * to_view
    palm = palm * to_view

    # 2. Tilted in the picture's plane, and leant to or from the camera.
    tilt, roll, lean = rng.normal(0, [TILT_RAD, ROLL_RAD, LEAN_RAD])
    in_plane = rotation_matrix(np.array([0, 0, tilt]))
    fingers = in_plane @ fingers
    palm = in_plane @ palm
    leaning = np.tan(np.clip(lean, -0.9, 0.9))
    fingers = normalize(fingers + [0, 0, leaning])

    # 3. Rolled about the forearm.
    along_fingers = palm @ fingers
    back = -normalize(palm - along_fingers * fingers)
    little = np.cross(fingers, back)
    little = little * (-1 if side else 1)
    frame = np.stack([fingers, back, little], -1)
    orientation = frame @ REST_FRAME[side].T
    orientation = rotation_matrix(fingers * roll) @ orientation
    noise = rotation_matrix(rng.normal(0, 0.12, (count, 3)))
    return noise @ orientation


def _draw_stance_name(rng: Rng, viewpoint: Viewpoint, shape: str) -> str:
    """Draw how a shape is held: a name of the stances in `poses.json`, or "any"."""
    all_shares = pose_file()["stance_shares"]
    shares = all_shares.get(shape) or all_shares[""]
    stance = choose(rng, shares)
    shows_own_palm = viewpoint.kind == "own" and stance == "palm"
    if shows_own_palm and rng.random() < OWN_BACK_SHARE:
        return "back"
    return stance


def _draw_places(
    rng: Rng,
    person: Person,
    viewpoint: Viewpoint,
    count: int,
    side: int | None,
) -> Points:
    """Places (mm) where one hand of a side, or a pair of hands (None), can be held."""
    if side is None:
        across = rng.normal(0, 70, count)
        down = rng.uniform(-200, 260, count)
    else:
        outward = 1 if side else -1
        across = rng.uniform(-60, 360, count) * outward
        down = rng.uniform(-290, 230, count)
    ahead = rng.uniform(150, 470, count)
    if viewpoint.kind == "own":
        across = 0.6 * across
        down = down + 40
        ahead = ahead + 40
    return person.shoulders.mean(0) + np.stack([across, down, -ahead], -1)


def _draw_pair(
    rng: Rng,
    rig: Rig,
    person: Person,
    viewpoint: Viewpoint,
    family: Family,
) -> tuple[Keys, LandmarkPairs]:
    """Key poses of two hands, and the landmarks that touch (rows of `Rig.points`)."""
    if family.swappable and rng.random() < 0.5:
        family = family.swapped()
    rows = contact_rows(rig, family)

    # 1. Shapes, much the same at all keys.
    shape_of_hand = _draw_pair_shapes(rng, family)
    base = np.stack([_draw_angles(rng, shape) for shape in shape_of_hand])
    angles = []
    for _ in range(KEYS):
        noise = rng.normal(0, 0.06, base.shape)
        angles.append(clip_to_limits(base + noise))
    angles = np.stack(angles)

    # 2. Orientations, with "front" along the world's.
    roles = (family.right, family.left)
    directions = role_directions(rng, roles, sigma=0.14)
    orientation = frame_from_directions(
        fingers=directions[:, 0],
        palm=directions[:, 1],
    )
    of_keys = np.broadcast_to(orientation, (KEYS, 2, 3, 3))
    orientation = jitter(rng, of_keys, 0.1)

    # 3. The hands touch, one hides part of the other, or they are apart.
    wrist = np.zeros((KEYS, 2, 3))
    retreat = np.zeros((KEYS, 2, 3))
    if family.contacts:
        left_wrist, retreat = meet_at_contacts(rig, family, rows, angles, orientation)
        wrist[:, 1] = left_wrist
    elif family.overlapping:
        wrist[:, 1] = _overlapping_wrist(rng, orientation)
    else:
        distance = log_uniform(rng, *APART_MM)
        offset = np.array([distance, 0, 0]) + rng.normal(0, [25, 55, 60])
        moving = rng.normal(0, 12, (KEYS, 3))
        wrist[:, 1] = offset + moving

    # 4. The pair is turned to the camera or to the body's front, and placed.
    front = _draw_front(rng, person, viewpoint, family)
    noise = rng.normal(0, 1, (CANDIDATES, 3)) * PAIR_TURN_RAD
    centre = _draw_places(rng, person, viewpoint, CANDIDATES, side=None)
    keys = place_comfortably(
        rng,
        person,
        Keys(angles, orientation, wrist, retreat),
        turns=rotation_matrix(noise) @ front,
        centre_mm=centre[:, None, None],
        shown=[0, 1],
        randomness=CHOICE_RANDOMNESS,
    )
    return keys, rows


def _draw_pair_shapes(rng: Rng, family: Family) -> list[str]:
    """The shapes of both hands; where a family takes any, they are often the same."""
    names, probability = held_shape_names()
    common = str(rng.choice(names, p=probability))
    chosen = []
    for role in (family.right, family.left):
        shape = role.shape
        if not shape and rng.random() < SAME_SHAPE_SHARE:
            shape = common
        elif not shape:
            shape = str(rng.choice(names, p=probability))
        chosen.append(shape)
    return chosen


def _overlapping_wrist(
    rng: Rng,
    orientation: KeyRotations,
) -> KeyPoints:
    """The left wrist (mm) where one hand hides a part of the other."""
    fingers = hand_frame(orientation)[..., 0]
    middle = HAND_MIDDLE_MM_OF_PAIR * fingers
    same_place = middle[:, 0] - middle[:, 1]
    nearer = rng.uniform(35, 150) * rng.choice([-1, 1])
    aside = rng.normal(0, [48, 40, 0])
    aside = aside + [rng.uniform(-20, 60), 0, nearer]
    moving = rng.normal(0, 10, (KEYS, 3))
    return same_place + aside + moving


def _draw_front(
    rng: Rng,
    person: Person,
    viewpoint: Viewpoint,
    family: Family,
) -> Rotation:
    """The rotation from the body's front to where the pair of hands is shown."""
    # From a point before the chest.
    toward = viewpoint.eye_mm - person.shoulders.mean(0) - [0, 0, -250]
    view = view_frame(normalize(toward))
    # Right, down and away from the camera, as the world's axes are for a camera in
    # front.
    to_camera = view @ np.diag([1.0, -1, -1])
    is_before_camera = viewpoint.kind in ("webcam", "other")
    if is_before_camera and rng.random() < TURNED_TO_CAMERA_SHARE:
        return to_camera
    if viewpoint.kind == "own" and family.overlapping:
        return to_camera
    return np.eye(3)

"""A person's body as a mesh: the model's hands, arms with sleeves, torso and head.

`capture` builds one body a person and one mesh an instant. Arms, and torso with head,
are tubes: rings of vertices around a line. All measures were chosen by eye.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from digit.hands.model import HandModel, load_hand
from digit.synth.anatomy import hand_frame, normalize
from digit.synth.arms import Person, reach
from digit.synth.arrays import Faces, Indices, Points, Present, Rng, Rotation, Vector
from digit.synth.renderer import Surface
from digit.synth.shading import CLOTH, HAND, HEAD, SKIN
from digit.synth.textures import TILE, draw_cloth, draw_skin

# Arm: share of the way from wrist to shoulder, half width and half depth (mm).
ARM_PROFILE = np.array(
    [
        [0, 27, 19],
        [0.05, 30, 22],
        [0.12, 30, 24],
        [0.22, 35, 31],
        [0.34, 42, 38],
        [0.46, 43, 41],
        [0.54, 42, 42],
        [0.62, 42, 44],
        [0.74, 47, 48],
        [0.87, 52, 52],
        [1, 50, 52],
    ]
)
# Rings of an arm's skin and of its sleeve.
SKIN_RINGS, SLEEVE_RINGS = 8, 10
# Vertices around torso and head, and repeats of the tile around it.
TORSO_AROUND = 24
TRUNK_REPEATS = 4
# Head and torso: height against the shoulders (mm, down is positive), half width and
# half depth as shares of the torso's.
PLAIN_HEAD = np.array(
    [
        [-330, 0.02, 0.03],
        [-300, 0.42, 0.8],
        [-220, 0.46, 0.95],
        [-120, 0.4, 0.8],
        [-90, 0.32, 0.5],
        [-45, 0.33, 0.5],
    ]
)
FACE_HEAD = np.array(
    [
        [-342, 0.02, 0.03],
        [-334, 0.2, 0.38],
        [-318, 0.33, 0.62],
        [-295, 0.42, 0.8],
        [-262, 0.465, 0.92],
        [-225, 0.46, 0.95],
        [-190, 0.44, 0.92],
        [-155, 0.4, 0.84],
        [-128, 0.34, 0.72],
        [-112, 0.31, 0.55],
        [-90, 0.31, 0.48],
        [-45, 0.33, 0.5],
    ]
)
TORSO = np.array(
    [
        [-45, 0.35, 0.55],
        [-25, 0.7, 0.62],
        [10, 1, 0.75],
        [80, 1.05, 0.95],
        [200, 1, 1],
        [420, 0.97, 1],
        [900, 1, 1],
    ]
)
# How far a nose stands out: heights (as above) and mm.
NOSE_HEIGHT = [-230, -200, -180, -160]
NOSE_MM = [0, 10, 16, 0]
# Rows of a head's tile from the crown to the neck.
FACE_TILE_HEIGHT = [-345, -40]
# The column of a torso's ring that lies in front.
FRONT_COLUMN = 3 * TORSO_AROUND // 4
# Shares of an arm: half a step for its tangents, and where it has turned from the hand's
# axes to those of the elbow.
TANGENT_STEP = 0.008
TURNED_AT = 0.45
# Where the arm of an absent hand hangs behind the back: aside and down, mm.
ABSENT_ASIDE_MM = 60
ABSENT_DOWN_MM = 260
# What `Body.limb` says of a face.
TRUNK = 2
# Texture coordinates of a tube; vertices of both hands.
TubeCoordinates = Float[np.ndarray, "r a 2"]
BothHands = Float[np.ndarray, "2 v 3"]


class Figure(NamedTuple):
    """The rings of head and torso."""

    rings: Float[np.ndarray, "r 3"]  # height, half width, half depth
    head_rings: int
    has_face: bool  # the head has a nose, and a tile that wraps it once


PLAIN_FIGURE = Figure(np.concatenate([PLAIN_HEAD, TORSO]), len(PLAIN_HEAD), False)
FACE_FIGURE = Figure(np.concatenate([FACE_HEAD, TORSO]), len(FACE_HEAD), True)


class Body(NamedTuple):
    """A person's mesh without its places: both hands, both arms, trunk."""

    models: tuple[HandModel, HandModel]
    figure: Figure
    surface: Surface
    owner: Indices  # 0 right hand, 1 left hand, 2 the rest
    limb: Indices  # 0 right hand and arm, 1 left ones, TRUNK
    shares_normal_with: Indices  # see `shading.vertex_normals`
    cuff: float  # where sleeves end, share of the way from wrist to shoulder
    bulk: float  # of the arms; 1 is average


class Tube(NamedTuple):
    """A part of the mesh that consists of rings."""

    rings: Float[np.ndarray, "r a 3"]  # places, mm; the last column lies upon the first
    along_mm: Float[np.ndarray, "r"]  # texture coordinate
    repeats: int  # of the tile around the tube


class _Topology(NamedTuple):
    """Faces of the whole body, in the order hands, arms, trunk."""

    faces: Faces
    material: Indices
    limb: Indices
    shares_normal_with: Indices


def build_body(rng: Rng, figure: Figure = PLAIN_FIGURE) -> Body:
    """Draw a person's skin, clothes and sleeves, and connect the mesh.

    Args:
        rng: The source of randomness.
        figure: The shape of head and torso.
    """
    models = (load_hand("right"), load_hand("left"))
    # The hand's mesh is closed behind the wrist; the arm needs it open.
    seals_wrist = np.isin(models[0].faces, models[0].rim).all(1)
    hand_faces = np.flatnonzero(~seals_wrist)
    topology = _connect(models, hand_faces, figure)

    # 1. Which faces are hands, and the texels that they show.
    count = len(topology.material)
    owner = np.full(count, 2)
    texture = np.zeros(count, int)
    both_hands = slice(0, 2 * len(hand_faces))
    owner[both_hands] = np.repeat([0, 1], len(hand_faces))
    texture[both_hands] = np.append(hand_faces, -1 - hand_faces)

    # 2. Long, short or rolled-up sleeves; skin and cloth.
    long = rng.uniform(0.1, 0.2)
    rolled_up = rng.uniform(0.3, 0.55)
    short = rng.uniform(0.68, 0.8)
    cuff = rng.choice([long, rolled_up, short])
    hand, arm = draw_skin(rng)
    surface = Surface(
        faces=topology.faces,
        material=topology.material,
        texture=texture,
        hand=hand,
        tiles=np.stack([arm, draw_cloth(rng)]),
    )
    return Body(
        models=models,
        figure=figure,
        surface=surface,
        owner=owner,
        limb=topology.limb,
        shares_normal_with=topology.shares_normal_with,
        cuff=cuff,
        bulk=rng.uniform(0.85, 1.12),
    )


def _connect(
    models: tuple[HandModel, HandModel],
    hand_faces: Indices,
    figure: Figure,
) -> _Topology:
    """Connect hands, arms and trunk."""
    # 1. Hands.
    rim = models[0].rim
    vertices_per_hand = len(models[0].v_template)
    faces = []
    for side, model in enumerate(models):
        first_vertex = side * vertices_per_hand
        faces.append(model.faces[hand_faces] + first_vertex)
    material = [np.full(2 * len(hand_faces), HAND)]
    limb = [np.repeat([0, 1], len(hand_faces))]
    start = 2 * vertices_per_hand
    shares_normal_with = [np.arange(start)]

    # 2. What the rings of arms and trunk are made of.
    arm_material = np.full(SKIN_RINGS + SLEEVE_RINGS - 1, CLOTH)
    arm_material[: SKIN_RINGS - 1] = SKIN
    trunk_material = np.full(len(figure.rings) - 1, CLOTH)
    trunk_material[: figure.head_rings] = SKIN
    if figure.has_face:
        trunk_material[: figure.head_rings - 1] = HEAD
    tubes = [
        (len(rim), 1, arm_material),
        (len(rim), -1, arm_material),
        (TORSO_AROUND, -1, trunk_material),
    ]

    # 3. Arms and trunk.
    for tube, (around, winding, ring_material) in enumerate(tubes):
        rings = len(ring_material) + 1
        triangles = _tube_faces(start, rings, around)
        faces.append(triangles[:, ::winding])
        material.append(ring_material.repeat(2 * around))
        limb.append(np.full(len(triangles), tube))

        # The last column lies upon the first; an arm's first ring upon the hand's rim.
        count = rings * (around + 1)
        shared = start + np.arange(count).reshape(rings, -1)
        shared[:, -1] = shared[:, 0]
        if tube != TRUNK:
            closed_rim = np.append(rim, rim[0])
            shared[0] = closed_rim + tube * vertices_per_hand
        shares_normal_with.append(shared.ravel())
        start += count
    return _Topology(
        faces=np.concatenate(faces),
        material=np.concatenate(material),
        limb=np.concatenate(limb),
        shares_normal_with=np.concatenate(shares_normal_with),
    )


def _tube_faces(start: int, rings: int, around: int) -> Faces:
    """Two triangles between neighbours of neighbouring rings.

    Args:
        start: The number of the tube's first vertex.
        rings: How many rings it has.
        around: How many faces lie around it; rings have a vertex more.
    """
    first_column = start + np.arange(rings - 1)[:, None] * (around + 1)
    a = first_column + np.arange(around)
    b = a + around + 1
    corners = [a, a + 1, b, a + 1, b + 1, b]
    return np.stack(corners, -1).reshape(-1, 3)


def only_arms(body: Body, present: Present) -> Body:
    """The body without head and torso, and without the arm of an absent hand."""
    side = np.minimum(body.limb, 1)
    keep = (body.limb != TRUNK) & present[side]
    surface = body.surface._replace(
        faces=np.ascontiguousarray(body.surface.faces[keep]),
        material=body.surface.material[keep],
        texture=body.surface.texture[keep],
    )
    return body._replace(surface=surface, owner=body.owner[keep], limb=body.limb[keep])


def build_mesh(
    body: Body,
    person: Person,
    hands_mm: BothHands,
    orientation: Float[np.ndarray, "2 3 3"],
    wrist_mm: Float[np.ndarray, "2 3"],
    present: Present,
) -> tuple[Float32[np.ndarray, "u 3"], Float32[np.ndarray, "u 2"]]:
    """Place the vertices of a body.

    Args:
        body: The mesh.
        person: Where its arms hang.
        hands_mm: Vertices of both hands.
        orientation: Rotation of each hand from its rest pose.
        wrist_mm: Where the wrists are.
        present: Which hands are there; an absent one shrinks to a point behind the back.

    Returns:
        Vertices (mm, world) and texture coordinates (mm).
    """
    # 1. Hands and arms.
    hands = list(hands_mm.copy())
    elbows = reach(person, orientation, wrist_mm)[0]
    frames = hand_frame(orientation)
    tubes = []
    for side, outward in enumerate((-1, 1)):
        shoulder = person.shoulders[side]
        wrist = wrist_mm[side]
        elbow = elbows[side]
        if not present[side]:
            aside = outward * ABSENT_ASIDE_MM
            behind = person.girth[1] + 40
            hands[side][:] = person.chest + [aside, ABSENT_DOWN_MM, behind]
            wrist = hands[side][0]
            elbow = shoulder + [aside, 0.96 * person.upper_arm, 30]
        joints = np.stack([wrist, elbow, shoulder])
        tubes.append(_arm(body, side, hands[side], frames[side], joints))

    # 2. Head and torso.
    tubes.append(_trunk(body.figure, person))

    # 3. Texture coordinates: along the tube and around it. Hands need none.
    vertices = list(hands)
    vertices_of_hands = 2 * hands_mm.shape[1]
    uv = [np.zeros((vertices_of_hands, 2))]
    for tube in tubes:
        vertices.append(tube.rings.reshape(-1, 3))
        uv.append(_texture_coordinates(tube, body.figure).reshape(-1, 2))
    return (
        np.concatenate(vertices, dtype=np.float32),
        np.concatenate(uv, dtype=np.float32),
    )


def _texture_coordinates(tube: Tube, figure: Figure) -> TubeCoordinates:
    """Texture coordinates of a tube's vertices: along it and around it, in texels."""
    columns = tube.rings.shape[1]
    around = np.linspace(0, tube.repeats * TILE, columns)
    along = tube.along_mm[:, None]
    grid = np.stack(np.broadcast_arrays(along, around), -1)
    is_trunk = tube.repeats == TRUNK_REPEATS
    if is_trunk and figure.has_face:
        grid = _with_face_coordinates(grid, figure)
    return grid


def _trunk(figure: Figure, person: Person) -> Tube:
    """Head and torso, upright."""
    angle = np.linspace(0, 2 * np.pi, TORSO_AROUND + 1)
    height, half_width, half_depth = figure.rings.T
    half_width = half_width * person.girth[0]
    half_depth = half_depth * person.girth[1]
    y = person.shoulders[0, 1] + height
    x = np.cos(angle) * half_width[:, None]
    z = np.sin(angle) * half_depth[:, None] + person.chest[2]
    rings = np.stack(np.broadcast_arrays(x, y[:, None], z), -1)
    if figure.has_face:
        head = slice(0, figure.head_rings)
        nose_mm = np.interp(height[head], NOSE_HEIGHT, NOSE_MM)
        rings[head, FRONT_COLUMN, 2] -= nose_mm
    return Tube(rings, along_mm=y, repeats=TRUNK_REPEATS)


def _with_face_coordinates(
    grid: TubeCoordinates,
    figure: Figure,
) -> TubeCoordinates:
    """Texture coordinates of a trunk whose head is wrapped once by its own tile."""
    grid = grid.copy()
    head = slice(0, figure.head_rings)
    rows = np.interp(figure.rings[head, 0], FACE_TILE_HEIGHT, [0, TILE - 2])
    grid[head, :, 0] = rows[:, None]
    grid[head, :, 1] = np.linspace(0, TILE, TORSO_AROUND + 1)
    return grid


def _arm(
    body: Body,
    side: int,
    hand_mm: Float[np.ndarray, "v 3"],
    frame: Rotation,
    joints_mm: Rotation,
) -> Tube:
    """An arm from the hand's rim up.

    Args:
        body: The mesh.
        side: 0 right, 1 left.
        hand_mm: Vertices of the hand.
        frame: Where the hand's fingers, back and little finger's side point.
        joints_mm: Wrist, elbow and shoulder.
    """
    ahead, back, little = frame.T
    rim_of_hand = body.models[side].rim
    closed_rim = np.append(rim_of_hand, rim_of_hand[0])
    rim = hand_mm[closed_rim]
    middle = rim[:-1].mean(0)
    from_middle = rim - middle
    around = np.arctan2(from_middle @ back, from_middle @ little)[:, None]

    # 1. The rings' middles, and where the tube goes there.
    line = _arm_line(middle, ahead, joints_mm)
    skin = np.linspace(0, body.cuff, SKIN_RINGS)
    sleeve = np.linspace(body.cuff, 1, SLEEVE_RINGS)
    at = np.append(skin, sleeve)
    middles, length = _places_along(line, at)
    ahead_of_it, _ = _places_along(line, np.minimum(at + TANGENT_STEP, 1))
    behind_it, _ = _places_along(line, np.maximum(at - TANGENT_STEP, 0))
    tangent = normalize(ahead_of_it - behind_it)

    # 2. Across each ring: from the hand's axes to those of the elbow.
    wrist, elbow, shoulder = joints_mm
    hinge = normalize(np.cross(shoulder - elbow, wrist - elbow))
    hinge = hinge * (1 if hinge @ little > 0 else -1)
    turned = np.clip(at / TURNED_AT, 0, 1)[:, None]
    wide = (1 - turned) * little + turned * hinge
    along_tangent = (wide * tangent).sum(1, keepdims=True)
    wide = normalize(wide - along_tangent * tangent)[:, None]
    deep = np.cross(wide, tangent[:, None])
    deep = deep * (1 if side else -1)

    # 3. How thick the arm is there; sleeves are wider and have folds.
    is_skin = np.arange(len(at)) < SKIN_RINGS
    folds_mm = 6 + 5 * np.sin(9 * at)
    cloth_mm = np.where(is_skin, 0, folds_mm)
    share, half_width, half_depth = ARM_PROFILE.T
    half_width = np.interp(at, share, body.bulk * half_width)
    half_depth = np.interp(at, share, body.bulk * half_depth)
    half_width = (half_width + cloth_mm)[:, None, None]
    half_depth = (half_depth + cloth_mm)[:, None, None]

    rings = middles[:, None] + np.cos(around) * half_width * wide
    rings = rings + np.sin(around) * half_depth * deep
    rings[0] = rim
    return Tube(rings, along_mm=at * length, repeats=1)


def _places_along(
    line: Float[np.ndarray, "n 3"],
    share: Float[np.ndarray, "r"],
) -> tuple[Float[np.ndarray, "r 3"], np.floating]:
    """Points at shares of the way along a line, and its length (mm)."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    passed = np.append(0, np.cumsum(steps))
    length = passed[-1]
    coordinates = []
    for coordinate in line.T:
        coordinates.append(np.interp(share * length, passed, coordinate))
    return np.stack(coordinates, 1), length


def _arm_line(
    middle: Vector,
    ahead: Vector,
    joints_mm: Rotation,
) -> Points:
    """A smooth line from the middle of the hand's rim to the shoulder.

    Args:
        middle: Of the hand's rim.
        ahead: Where the fingers point.
        joints_mm: Wrist, elbow and shoulder.
    """
    wrist, elbow, shoulder = joints_mm
    line = np.stack(
        [
            middle,
            middle - 18 * ahead,
            wrist + 75 * normalize(elbow - wrist),
            (wrist + elbow) / 2,
            elbow,
            (elbow + shoulder) / 2,
            shoulder,
        ]
    )
    # Corner cutting (Chaikin 1974); the ends stay.
    for _ in range(3):
        first = 0.75 * line[:-1] + 0.25 * line[1:]
        second = 0.25 * line[:-1] + 0.75 * line[1:]
        cut = np.stack([first, second], 1).reshape(-1, 3)
        line = np.concatenate([line[:1], cut[1:-1], line[-1:]])
    return line

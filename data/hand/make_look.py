"""Make generic_look.npz: what posing and painting the generic hand need beyond the mesh
itself.

    python data/hand/make_look.py [generic_look.npz]

From generic_hand.npz (the right hand; the left mirrors it) and the shapes of
poses.json:

axes (15, 3, 3)      rest axes of MANO's joints 1–15: flexion, abduction, twist
ball_ends (n, 2)     pairs of opposite vertices; a ball about their middle fills the hand,
ball_scale (n,)      its radius this share of half their distance
point_names, points  vertices with names: `<finger><k>` is the palmar skin of a phalanx,
                     with `_d` the dorsal, `_r` the thumb's, `_u` the little finger's side;
                     `<finger>_tip`; palm, heel and wrist likewise
ball_kin (n, n)      balls that bones join so closely that their overlap means nothing
marks (F, t, 8)      uint8 per face and texel (t of a triangular grid of 8 cells an edge):
                     palm side, crease, wrinkle, redness (128 is none), nail, nail's rim,
                     tendon, band
shape_names, shapes  (s, 15, 3) radians: flexion, abduction, twist of a named shape

A shape in poses.json: the thumb's name (there: flexion, abduction, twist of its base,
flexion of its next joints); flexion of the knuckles and of the middle joints from index
to pinky (the last joints bend by 0.6 of those); spread, −1 … 1; degrees.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

GRID = 8
MARKS = ("palmar", "crease", "wrinkle", "red", "nail", "rim", "tendon", "band")
FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # MANO's order
HERE = Path(__file__).parent


def unit(v):
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def bump(x, width):
    return np.exp(-0.5 * (x / width) ** 2)


def step(x, low, high):
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def vertex_normals(vertices, faces):
    corners = vertices[faces]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], face)
    return unit(normals)


def rest_axes(joints, ends):
    """Fingers flex about an axis across the palm, the thumb about WebXR's own axis of
    it."""
    along = unit(ends - joints[1:])
    across = np.cross([0, 1.0, 0], 0.6 * along + 0.4 * along[3])
    across[12:] = [0.48, -0.87, 0.0]
    across = unit(across - (across * along).sum(-1, keepdims=True) * along)
    return np.stack([across, np.cross(along, across), along], -1)


def balls(vertices, normals, n=112, largest=17.0):
    """Pairs of vertices that span the balls. Medial balls touch the skin at v and reach
    another vertex u: radius |u − v|² / (2 (v − u)·n); greedily, those that cover most
    of the skin."""
    delta = vertices[:, None] - vertices[None]
    inside = np.einsum("vuc,vc->vu", delta, normals)
    radius = np.where(
        inside > 1e-3, (delta**2).sum(-1) / np.maximum(2 * inside, 1e-9), np.inf
    )
    radius = np.minimum(radius.min(1), largest)
    centre = vertices - normals * radius[:, None]
    # A pair stands for a ball: the vertex that lies most nearly opposite; what keeps the ball
    # about their middle within the skin is its scale.
    opposite = np.linalg.norm(
        2 * centre[:, None] - vertices[:, None] - vertices[None], axis=-1
    )
    partner = opposite.argmin(1)
    centre = 0.5 * (vertices + vertices[partner])
    span = np.linalg.norm(vertices - centre, axis=1)
    away = np.linalg.norm(centre[:, None] - vertices[None], axis=-1)
    scale = np.minimum(away.min(1) / span, 1) + 0.02
    covers = away < (span * scale)[:, None] + 1.2
    open_, chosen = np.ones(len(vertices), bool), []
    while open_.any() and len(chosen) < n:
        best = int(((covers & open_).sum(1) * (scale > 0.75)).argmax())
        chosen.append(best)
        open_ &= ~covers[best]
    print("balls", len(chosen), "skin left uncovered", open_.mean())
    return np.stack([chosen, partner[chosen]], 1), scale[chosen]


def named_points(vertices, bone, joints, ends, marks, axes):
    def farthest(j, centre, direction):
        offset = vertices - centre
        depth = offset @ direction
        aside = np.linalg.norm(offset - depth[:, None] * direction, axis=1)
        return int(np.argmin(aside - 0.2 * depth + 1e3 * ((depth < 0) | (bone != j))))

    def around(name, j, centre, across, up):
        ways = {"": -up, "_d": up, "_r": across, "_u": -across}
        return {name + s: farthest(j, centre, way) for s, way in ways.items()}

    points = {}
    for j in range(15):
        name = f"{FINGERS[j // 3]}{j % 3 + 1}"
        points |= around(
            name, j + 1, (joints[j + 1] + ends[j]) / 2, axes[j, :, 0], axes[j, :, 1]
        )
    for finger, mark in zip(FINGERS, marks, strict=True):
        points[f"{finger}_tip"] = int(np.linalg.norm(vertices - mark, axis=1).argmin())
    for name, at in (("wrist", 0.0), ("heel", 0.25), ("palm", 0.65)):
        centre = (1 - at) * joints[0] + at * joints[4]
        points |= around(name, 0, centre, np.array([0, 0, 1.0]), np.array([0, 1.0, 0]))
    return points


def skin_marks(vertices, faces, weights, joints, ends, axes):
    """What marks each texel of the skin (see the file's docstring), uint8."""
    corner = np.array(
        [(i, j, GRID - i - j) for i in range(GRID + 1) for j in range(GRID + 1 - i)]
    )

    def spread(values):
        """Values at vertices, interpolated to the texels of each face."""
        at_texels = np.einsum("tk,fkc->ftc", corner / GRID, values[faces])
        return at_texels.reshape(-1, values.shape[-1])

    points = spread(vertices)
    weight = spread(weights)
    normals = unit(spread(vertex_normals(vertices, faces)))
    marks = {name: np.zeros(len(points)) for name in MARKS}

    # 1. Creases, wrinkles, redness and nails of the fingers.
    for j in range(15):
        mark_phalanx(marks, j, points, normals, weight, joints, ends, axes)

    # 2. The lines of the palm, and the tendons on the back of the hand.
    palm = np.clip(weight[:, 0] + weight[:, [1, 4, 7, 10, 13]].sum(1), 0, 1)
    under = step(-normals[:, 1], 0.0, 0.5)
    marks["crease"] += 0.9 * palm_lines(points, joints) * palm * under
    over = step(normals[:, 1], 0.3, 0.8)
    marks["tendon"] += tendons(points, joints) * palm * over

    # 3. Which side is the palm's; at the wrist like the arm that joins there.
    ups = np.concatenate([[[0, 1, 0]], axes[:, :, 1]])
    palmar = step(-(normals * (weight @ ups)).sum(1), -0.25, 0.35)
    marks["palmar"] += palmar * (1 - 0.85 * step(points[:, 0], 65, 100))

    marks["red"] = marks["red"] * 0.5 + 128 / 255
    values = np.clip(np.stack([marks[name] for name in MARKS], -1), 0, 1) * 255
    return np.round(values).astype(np.uint8).reshape(len(faces), -1, len(MARKS))


def mark_phalanx(marks, j, points, normals, weight, joints, ends, axes):
    """Add what one finger joint and the bone behind it leave on the skin."""
    level = j % 3
    length = np.linalg.norm(ends[j] - joints[j + 1])
    side, _, along = ((points - joints[j + 1]) @ axes[j]).T
    own = weight[:, 1 + 3 * (j // 3) : 4 + 3 * (j // 3)].sum(1)  # of this finger
    facing = normals @ axes[j, :, 1]
    palmar = step(-facing, 0.1, 0.6) * own
    dorsal = step(facing, 0.2, 0.7) * own
    is_knuckle = level == 0 and j < 12

    at = 0.42 * length if is_knuckle else 0.0
    for line in (-1.3, 1.3) if level < 2 else (0.0,):
        marks["crease"] += palmar * bump(along - at - line + 0.02 * side**2, 0.6)
    lines = 0.5 + 0.5 * np.cos(along * 2 * np.pi / 2.2 + 0.06 * side**2)
    width = (7.0, 4.2, 2.6)[level]
    strength = 0.25 if level == 0 else 1.0
    marks["wrinkle"] += dorsal * lines * bump(along, width) * strength
    marks["red"] += dorsal * bump(along, 1.5 * width) * (1.0, 0.8, 0.5)[level]
    if is_knuckle:
        marks["band"] += (own > 0.6) * bump((along - 0.62 * length) / 1.5, 1.0) ** 4
    if level == 2:
        mark_fingertip(marks, along / length, side, own, facing, along)


def mark_fingertip(marks, share, side, own, facing, along):
    """Add redness, nail and the nail's rim to the last bone of a finger."""
    marks["red"] += own * step(share, 0.35, 0.9) * 0.9
    half = abs(side[(own > 0.9) & (share > 0.4)]).max()
    shape = abs((share - 0.68) / 0.3) ** 3 + abs(side / (0.66 * half)) ** 3
    shape = shape + 9 * (facing < 0.15) + 9 * (own < 0.5)
    nail = step(-shape, -1.15, -0.85) * (along > 0)
    marks["nail"] = np.maximum(marks["nail"], nail)
    rim = bump(shape - 1.15, 0.16) * (along > 0)
    marks["rim"] = np.maximum(marks["rim"], rim)
    marks["red"] -= 1.2 * step(share, 0.9, 0.94) * marks["nail"]


def palm_lines(points, joints):
    """How near a point is to the heart, the head or the life line, added up."""
    index, middle, ring, pinky = joints[[1, 4, 10, 7]]
    lines = (
        [
            pinky + [18, 0, -9],
            ring + [20, 0, 0],
            middle + [17, 0, 0],
            middle + [6, 0, 9],
        ],
        [
            index + [24, 0, 9],
            index + [34, 0, -6],
            middle + [42, 0, -8],
            pinky + [40, 0, 0],
        ],
        [
            index + [24, 0, 9],
            middle + [34, 0, 12],
            middle + [56, 0, 4],
            middle + [80, 0, 5],
        ],
    )
    total = np.zeros(len(points))
    for line in lines:
        away = np.full(len(points), 99.0)
        for start, end in pairwise(line):
            direction = (end - start) * [1, 0, 1]
            offset = (points - start) * [1, 0, 1]
            share = np.clip(offset @ direction / (direction @ direction), 0, 1)
            distance = np.linalg.norm(offset - share[:, None] * direction, axis=1)
            away = np.minimum(away, distance)
        total += bump(away, 0.8)
    return total


def tendons(points, joints):
    """How near a point is to a line from the wrist to a knuckle, added up."""
    total = np.zeros(len(points))
    for knuckle in joints[[1, 4, 10, 7]]:
        direction = knuckle - joints[0]
        offset = points - joints[0]
        share = np.clip(offset @ direction / (direction @ direction), 0.25, 0.95)
        total += bump((offset - share[:, None] * direction)[:, 2], 1.8)
    return total


def kin(bone):
    finger, level = (bone + 2) // 3, np.where(bone == 0, 0, (bone - 1) % 3 + 1)
    related = (finger[:, None] == finger) | (level[:, None] + level <= 1)
    return related & (abs(level[:, None] - level) <= 1)


def shape_angles():
    text = json.loads((HERE / "poses.json").read_text())
    shapes = np.zeros((len(text["shapes"]), 15, 3), np.float32)
    for angles, (thumb, knuckles, middles, spread) in zip(
        shapes, text["shapes"].values(), strict=True
    ):
        fans = np.array([-2, 0, 6, 9]) + spread * np.array([14, 3, -9, -18])
        for finger, row in enumerate(
            (0, 3, 9, 6)
        ):  # index, middle, ring, pinky in MANO's order
            bend, middle = knuckles[finger], middles[finger]
            angles[row : row + 3, 0] = bend, middle, 0.6 * middle
            angles[row, 1] = fans[finger] * (
                1 - np.clip(bend / 90, 0, 1)
            )  # bent, they cannot fan
        angles[12], angles[13:, 0] = (
            text["thumbs"][thumb][:3],
            text["thumbs"][thumb][3:],
        )
    return np.array(list(text["shapes"])), np.radians(shapes)


def build():
    with np.load(HERE / "generic_hand.npz") as file:
        hand = {key: file[key] for key in file.files}
    vertices, faces = hand["v_template"].astype(float) * 1000, hand["faces"].astype(int)
    joints = hand["J_regressor"] @ vertices
    annotated = hand["joint_regressor"] @ vertices  # thumb 4 … pinky 1, wrist
    marks = annotated[[4, 8, 16, 12, 0]]  # tips in MANO's order of fingers
    ends = np.stack([marks[j // 3] if j % 3 == 2 else joints[j + 2] for j in range(15)])
    axes, normals = rest_axes(joints, ends), vertex_normals(vertices, faces)
    points = named_points(
        vertices, hand["weights"].argmax(1), joints, ends, marks, axes
    )
    ends_of_balls, scale = balls(vertices, normals)
    names, shapes = shape_angles()
    return {
        "axes": axes.astype("f4"),
        "ball_ends": ends_of_balls.astype("u2"),
        "ball_scale": scale.astype("f4"),
        "ball_kin": kin(hand["weights"][ends_of_balls].mean(1).argmax(1)),
        "shape_names": names,
        "shapes": shapes,
        "point_names": np.array(list(points)),
        "points": np.array(list(points.values()), "u2"),
        "marks": skin_marks(vertices, faces, hand["weights"], joints, ends, axes),
    }


if __name__ == "__main__":
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "generic_look.npz"
    np.savez_compressed(output, **build())
    print(output, output.stat().st_size, "bytes")

"""How a person at a webcam looks: a face with hair, a watch, painted nails.

`capture` dresses a body with it for the profile `webcam`. All numbers were chosen by
eye.
"""

import cv2
import numpy as np
from jaxtyping import Float32

from digit.synth.arrays import Rng, Tile, Vector
from digit.synth.body import Body
from digit.synth.filters import blurred, fill_ellipse
from digit.synth.shading import SKIN, WATCH
from digit.synth.textures import TILE, hand_texels, linear, tile_noise

# Black, dark brown, brown, fair and grey hair, and their shares.
HAIR_SRGB = np.array(
    [[25, 20, 18], [60, 40, 28], [110, 78, 50], [190, 160, 110], [150, 150, 150]],
    float,
)
HAIR_SHARES = [0.38, 0.28, 0.14, 0.1, 0.1]
BEARD_SHARE = 0.25
HAIRY_SHARE = 0.88
GLASSES_SHARE = 0.25
PAINTED_NAILS_SHARE = 0.1
WATCH_SHARE = 0.18
# The column of a head's tile that shows the middle of the face.
FRONT = 3 * TILE // 4
# Places on the face: columns from its middle, rows of the tile.
EYE_X, EYE_Y = 15, 101
CHEEK_X = 19
BROW_Y = 88
NOSTRIL_Y = 136
MOUTH_Y = 160
WHITE_OF_EYE = [0.75, 0.72, 0.68]

Picture = Float32[np.ndarray, "s s 3"]


def dress(rng: Rng, body: Body) -> Body:
    """The body with a face and hair, and some with a watch or painted nails."""
    surface = body.surface

    # 1. Nails.
    hand = surface.hand.copy()
    if rng.random() < PAINTED_NAILS_SHARE:
        colour = linear(rng.uniform(10, 245, 3))
        nail = hand_texels().marks.nail[..., None] > 0.4
        hand[..., :3] = np.where(nail, colour, hand[..., :3])

    # 2. A watch on the second ring of a forearm.
    material = surface.material.copy()
    if rng.random() < WATCH_SHARE:
        side = rng.integers(2)
        is_arm = (body.limb == side) & (material == SKIN)
        arm = np.flatnonzero(is_arm)
        faces_per_ring = 2 * len(body.models[0].rim)
        second_ring = arm[faces_per_ring : 2 * faces_per_ring]
        material[second_ring] = WATCH
    strap = _draw_strap(rng)

    # 3. A head; its tile's rows go around it, its columns from the crown to the neck.
    arm_tile = surface.tiles[0]
    skin_colour = arm_tile[..., :3].mean((0, 1))
    head = _draw_head(rng, skin_colour)
    head = head.transpose(1, 0, 2)
    tiles = np.concatenate([surface.tiles, head[None], strap[None]])
    dressed = surface._replace(material=material, hand=hand, tiles=tiles)
    return body._replace(surface=dressed)


def _draw_strap(rng: Rng) -> Tile:
    """A tile of one colour, raised above the skin."""
    strap = np.full((TILE, TILE, 5), 0.05, np.float32)
    tint = rng.uniform(5, 220) * np.exp(rng.normal(0, 0.2, 3))
    strap[..., :3] = linear(tint)
    strap[..., 3] = 1.0
    strap[..., 4] = rng.uniform(0.1, 0.8)
    return strap


def _draw_head(rng: Rng, skin: Vector) -> Tile:
    """A tile that wraps a head once: columns go around it, rows down to the neck."""
    # 1. Skin, with soft shadows.
    skin = np.asarray(skin)
    picture = np.ones((TILE, TILE, 3), np.float32)
    picture = picture * skin.astype("f4")
    mottle = 0.05 * tile_noise(rng, 8.0) + 0.02 * tile_noise(rng, 1.0)
    picture *= np.exp(mottle)[..., None]
    blush = skin * [1.05, 0.9, 0.88]
    for side in (-1, 1):
        _dot(picture, side * CHEEK_X, 137, (10, 14), blush)
        _dot(picture, side * EYE_X, 100, (11, 9), skin * 0.72)
    bridge_of_nose = skin * 1.12
    _dot(picture, 0, 122, (4, 26), bridge_of_nose)
    picture[:] = blurred(picture, 3.0)

    # 2. Features.
    hair = linear(HAIR_SRGB)[rng.choice(len(HAIR_SRGB), p=HAIR_SHARES)]
    for side in (-1, 1):
        eye_x = side * EYE_X
        _dot(picture, eye_x, EYE_Y, (7, 4), WHITE_OF_EYE)
        iris = rng.uniform(0.01, 0.12, 3)
        _dot(picture, eye_x, EYE_Y, (3.4, 4), iris)
        _dot(picture, eye_x, BROW_Y, (10, 2.2), hair)
    for side in (-1, 1):
        _dot(picture, side * 4, NOSTRIL_Y, (3, 2), skin * 0.45)
    width = rng.uniform(10, 14)
    height = rng.uniform(3, 6)
    lips = skin * [0.85, 0.5, 0.5]
    _dot(picture, 0, MOUTH_Y, (width, height), lips)
    _dot(picture, 0, MOUTH_Y, (10, 1), skin * 0.3)

    # 3. What covers them.
    if rng.random() < BEARD_SHARE:
        _draw_beard(rng, picture, hair)
    if rng.random() < HAIRY_SHARE:
        _draw_hair(rng, picture, hair)
    if rng.random() < GLASSES_SHARE:
        _draw_glasses(rng, picture)
    colour = np.clip(picture, 0.004, 0.95)
    gloss = np.full((TILE, TILE), 0.25, np.float32)
    no_height = 0 * gloss
    return np.dstack([colour, no_height, gloss]).astype("f4")


def _dot(
    picture: Picture,
    x: float | int,
    y: float | int,
    radii: tuple[float | int, float | int],
    colour: Vector | list[float],
) -> None:
    """Fill an ellipse; x counts from the middle of the face."""
    middle = (FRONT + x, y)
    axes = (2 * radii[0], 2 * radii[1])
    value = [float(channel) for channel in colour]
    fill_ellipse(picture, middle, axes, value)


def _draw_beard(
    rng: Rng,
    picture: Picture,
    hair: Vector,
) -> None:
    """Draw a beard around the mouth."""
    mask = np.zeros((TILE, TILE), np.float32)
    fill_ellipse(mask, (FRONT, 172), (84, 64), 1.0, smooth=False)
    fill_ellipse(mask, (FRONT, 162), (28, 16), 0.0, smooth=False)
    # Little grows above the mouth.
    mask[:150] *= 0.2
    density = rng.uniform(0.3, 0.95)
    density = blurred(mask, 2)[..., None] * density
    picture += density * (hair.astype("f4") - picture)


def _draw_hair(
    rng: Rng,
    picture: Picture,
    hair: Vector,
) -> None:
    """Draw hair down to a line that is higher over the face."""
    # 1. The line.
    columns = np.arange(TILE)[None]
    half = TILE // 2
    from_front = np.abs((columns - FRONT + half) % TILE - half)
    forehead = rng.uniform(52, 76)
    nape = rng.uniform(110, 250)
    line = np.where(from_front < 34, forehead, nape)
    line = np.broadcast_to(line, (TILE, TILE)).astype("f4")
    line = blurred(line, 4)
    ragged_line = line + 4 * tile_noise(rng, 3.0)
    rows = np.arange(TILE)[:, None]
    mask = (rows < ragged_line).astype("f4")[..., None]

    # 2. Strands, along the rows' direction.
    strands = rng.standard_normal((TILE, TILE), np.float32)
    strands = cv2.GaussianBlur(strands, (0, 0), 1, sigmaY=9)
    brightness = np.exp(0.35 * strands * 5)[..., None]
    coloured = hair.astype("f4") * brightness
    picture += mask * (coloured - picture)


def _draw_glasses(rng: Rng, picture: Picture) -> None:
    """Draw the dark rims of a pair of glasses."""
    dark = [0.02, 0.02, 0.02]
    for side in (-1, 1):
        middle = (FRONT + side * 16, EYE_Y)
        axes = (24, rng.uniform(16, 22))
        ellipse = (middle, axes, 0)
        cv2.ellipse(picture, ellipse, dark, 2, cv2.LINE_AA)
    left = (FRONT - 5, 99)
    right = (FRONT + 5, 99)
    cv2.line(picture, left, right, dark, 2)

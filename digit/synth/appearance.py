"""How a person at a webcam looks: a face with hair, a watch, painted nails.

`capture` dresses a body with it for the profile `webcam`. All numbers were chosen by
eye.
"""

import cv2
import numpy as np
from jaxtyping import Float32

from digit.synth.arrays import Rng, Tile, Vector
from digit.synth.body import Body
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

Picture = Float32[np.ndarray, "s s 3"]


def dress(rng: Rng, body: Body) -> Body:
    """The body with a face and hair, and some with a watch or painted nails."""
    surface = body.surface
    material = surface.material.copy()
    hand = surface.hand.copy()
    if rng.random() < PAINTED_NAILS_SHARE:
        colour = linear(rng.uniform(10, 245, 3))
        nail = hand_texels().marks.nail[..., None] > 0.4
        hand[..., :3] = np.where(nail, colour, hand[..., :3])
    if rng.random() < WATCH_SHARE:
        side = rng.integers(2)
        arm = np.flatnonzero((body.limb == side) & (material == SKIN))
        # The second ring of the forearm.
        faces_per_ring = 2 * len(body.models[0].rim)
        material[arm[faces_per_ring : 2 * faces_per_ring]] = WATCH
    strap = _draw_strap(rng)
    skin_colour = surface.tiles[0, ..., :3].mean((0, 1))
    # The tile's rows go around the head, its columns from the crown to the neck.
    head = _draw_head(rng, skin_colour).transpose(1, 0, 2)
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
    picture = np.ones((TILE, TILE, 3), np.float32) * skin.astype("f4")
    mottle = 0.05 * tile_noise(rng, 8.0) + 0.02 * tile_noise(rng, 1.0)
    picture *= np.exp(mottle)[..., None]
    for side in (-1, 1):
        _dot(picture, side * 19, 137, (10, 14), skin * [1.05, 0.9, 0.88])  # cheek
        _dot(picture, side * 15, 100, (11, 9), skin * 0.72)  # socket
    _dot(picture, 0, 122, (4, 26), skin * 1.12)  # bridge of the nose
    picture[:] = cv2.GaussianBlur(picture, (0, 0), 3.0)

    # 2. Features.
    hair = linear(HAIR_SRGB)[rng.choice(len(HAIR_SRGB), p=HAIR_SHARES)]
    for side in (-1, 1):
        _dot(picture, side * 15, 101, (7, 4), [0.75, 0.72, 0.68])  # eye
        _dot(picture, side * 15, 101, (3.4, 4), rng.uniform(0.01, 0.12, 3))  # iris
        _dot(picture, side * 15, 88, (10, 2.2), hair)  # brow
    for side in (-1, 1):
        _dot(picture, side * 4, 136, (3, 2), skin * 0.45)  # nostril
    lips = (rng.uniform(10, 14), rng.uniform(3, 6))
    _dot(picture, 0, 160, lips, skin * [0.85, 0.5, 0.5])
    _dot(picture, 0, 160, (10, 1), skin * 0.3)

    # 3. What covers them.
    if rng.random() < BEARD_SHARE:
        _draw_beard(rng, picture, hair)
    if rng.random() < HAIRY_SHARE:
        _draw_hair(rng, picture, hair)
    if rng.random() < GLASSES_SHARE:
        _draw_glasses(rng, picture)
    gloss = np.full((TILE, TILE), 0.25, np.float32)
    return np.dstack([np.clip(picture, 0.004, 0.95), 0 * gloss, gloss]).astype("f4")


def _dot(
    picture: Float32[np.ndarray, "s s 3"],
    x: float | int,
    y: float | int,
    radii: tuple[float | int, float | int],
    colour: Vector | list[float],
) -> None:
    """Fill an ellipse; x counts from the middle of the face."""
    axes = (2 * radii[0], 2 * radii[1])
    values = [float(c) for c in colour]
    cv2.ellipse(picture, ((FRONT + x, y), axes, 0), values, -1, cv2.LINE_AA)


def _draw_beard(rng: Rng, picture: Picture, hair: Vector) -> None:
    """Draw a beard around the mouth."""
    mask = np.zeros((TILE, TILE), np.float32)
    cv2.ellipse(mask, ((FRONT, 172), (84, 64), 0), 1.0, -1)
    cv2.ellipse(mask, ((FRONT, 162), (28, 16), 0), 0.0, -1)
    mask[:150] *= 0.2
    density = cv2.GaussianBlur(mask, (0, 0), 2)[..., None] * rng.uniform(0.3, 0.95)
    picture += density * (hair.astype("f4") - picture)


def _draw_hair(rng: Rng, picture: Picture, hair: Vector) -> None:
    """Draw hair down to a line that is higher over the face."""
    x = np.arange(TILE)[None]
    y = np.arange(TILE)[:, None]
    from_front = np.abs((x - FRONT + TILE // 2) % TILE - TILE // 2)
    line = np.where(from_front < 34, rng.uniform(52, 76), rng.uniform(110, 250))
    line = np.broadcast_to(line, (TILE, TILE)).astype("f4")
    line = cv2.GaussianBlur(line, (0, 0), 4)
    mask = (y < line + 4 * tile_noise(rng, 3.0)).astype("f4")[..., None]
    strands = rng.standard_normal((TILE, TILE), np.float32)
    strands = cv2.GaussianBlur(strands, (0, 0), 1, sigmaY=9)
    coloured = hair.astype("f4") * np.exp(0.35 * strands * 5)[..., None]
    picture += mask * (coloured - picture)


def _draw_glasses(rng: Rng, picture: Picture) -> None:
    """Draw the dark rims of a pair of glasses."""
    dark = [0.02] * 3
    for side in (-1, 1):
        axes = (24, rng.uniform(16, 22))
        cv2.ellipse(picture, ((FRONT + side * 16, 101), axes, 0), dark, 2, cv2.LINE_AA)
    cv2.line(picture, (FRONT - 5, 99), (FRONT + 5, 99), dark, 2)

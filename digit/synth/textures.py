"""Textures of skin and cloth."""

import functools

import cv2
import numpy as np
from jaxtyping import Float, Float32

from digit.hands.model import load_hand
from digit.paths import HAND_LOOK_FILE

GRID = 8  # cells along each edge of a hand face
TILE = 256  # texels along a tile of arm skin or cloth, 1 mm each
TONES_SRGB = np.array(  # light to dark: back of the hand, palm
    [
        [[243, 205, 182], [246, 196, 178]],
        [[230, 184, 154], [238, 186, 164]],
        [[212, 160, 124], [228, 172, 146]],
        [[188, 134, 98], [216, 158, 130]],
        [[150, 101, 70], [202, 146, 118]],
        [[108, 70, 48], [184, 130, 104]],
        [[72, 46, 34], [160, 110, 90]],
    ],
    float,
)


def linear(srgb: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """sRGB 0–255 → linear light 0–1."""
    return (srgb / 255) ** 2.2


@functools.lru_cache(1)
def _marks():
    """The hand's texels (F, t, 3), mm in the rest pose, and what marks them (see make_look.py)."""
    with np.load(HAND_LOOK_FILE) as file:
        marks = np.moveaxis(file["marks"].astype(np.float32) / 255, -1, 0)
    corner = np.array(
        [(i, j, GRID - i - j) for i in range(GRID + 1) for j in range(GRID + 1 - i)]
    )
    hand = load_hand("right")
    corners = hand.v_template.numpy()[hand.faces] * 1000
    part = np.broadcast_to(hand.face_part[:, None], marks.shape[1:])
    return np.einsum("tk,fkc->ftc", corner / GRID, corners), marks, part


def _noise(rng, points, size_mm):
    """Smooth noise in space, its variance about one."""
    lattice = rng.standard_normal((32, 32, 32), np.float32)
    cell = np.floor(points / size_mm).astype(int)
    w = points / size_mm - cell
    w, total = w * w * (3 - 2 * w), 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, w, 1 - w), -1)
        total = (
            total + weight * lattice[tuple(np.moveaxis((cell + corner) % 32, -1, 0))]
        )
    return total * 1.6


def _tile_noise(rng, sigma):
    noise = np.tile(rng.standard_normal((TILE, TILE), np.float32), (3, 3))
    noise = cv2.GaussianBlur(noise, (0, 0), sigma)[TILE:-TILE, TILE:-TILE]
    return noise / noise.std()


def draw_skin(
    rng: np.random.Generator,
) -> tuple[Float32[np.ndarray, "h t 5"], Float32[np.ndarray, "s s 5"]]:
    """Texels of a subject's hands and the tile of the arms; all tones alike likely."""
    points, (palmar, crease, wrinkle, red, nail, rim, tendon, band), part = _marks()
    tone = rng.uniform(0, len(TONES_SRGB) - 1.001)
    k, dark = int(tone), tone / (len(TONES_SRGB) - 1)
    back, palm = linear(
        TONES_SRGB[k] + (tone - k) * (TONES_SRGB[k + 1] - TONES_SRGB[k])
    )
    back, palm = (colour * np.exp(rng.normal(0, 0.04, 3)) for colour in (back, palm))
    age, ruddy = rng.uniform(0.3, 1.0), rng.uniform(0.4, 1.0)
    mottle, fine = _noise(rng, points, 9.0), _noise(rng, points, 1.3)
    ridge = abs(_noise(rng, points * [0.5, 1, 1], 11.0) + 0.2 * mottle)
    vein = (
        np.exp(-62 * ridge**2)
        * (1 - palmar)
        * (points[..., 0] > 0)
        * rng.uniform(0, 0.8)
    )
    blush = np.clip(
        ruddy * (2 * red - 256 / 255 + 0.18 * mottle + 0.25 * palmar), -0.4, 1.2
    )
    lines = (crease + 0.45 * age * wrinkle) * (0.7 + 0.6 * dark)
    depth = {  # how much of red, green and blue light each absorbs
        (-0.05, 0.30, 0.26): blush * (1 - 0.6 * dark),
        (1, 1, 1): -0.05 * mottle - 0.07 * fine,
        (0.35, 0.6, 0.6): lines,
        (0.20, 0.06, 0.02): vein,
        (0.5, 0.5, 0.501): rim,
    }
    absorbed = sum(
        amount[..., None] * np.array(colour) for colour, amount in depth.items()
    )
    colour = (back + palmar[..., None] * (palm - back)) * np.exp(-absorbed)
    pale = 0.7 * palm + 0.3 * linear(np.array([236.0, 190, 178]))
    colour += 0.5 * nail[..., None] * (pale - colour)
    height = 0.5 * tendon + 0.25 * vein + 0.06 * fine + 0.35 * nail - 0.3 * rim
    height = height - 0.35 * crease - 0.28 * age * wrinkle
    gloss = rng.uniform(0.25, 0.35) + 0.5 * nail
    if rng.random() < 0.25:  # a ring about the proximal part of a finger
        metal = band * (part == rng.choice([0, 3, 10])) > 0.3
        gold, silver = linear(np.array([[212.0, 175, 85], [190, 190, 195]]))
        colour[metal], gloss[metal] = gold if rng.random() < 0.6 else silver, 1.0
        height[metal] += 1.0
    hand = np.concatenate(
        [np.minimum(colour, 0.95), height[..., None], gloss[..., None]], -1
    )

    hair = np.zeros((TILE, TILE), np.float32)
    for _ in range(int(rng.uniform(0, 900)) * rng.integers(0, 2)):
        at, length = rng.integers(0, TILE, 2), rng.normal([6, 4], [3, 3])
        cv2.line(
            hair, at.tolist(), (at + length).astype(int).tolist(), 1.0, 1, cv2.LINE_AA
        )
    mottle, fine = _tile_noise(rng, 9.0), _tile_noise(rng, 1.0)
    arm = np.exp(0.05 * mottle + 0.04 * fine - 0.35 * hair)[..., None] * back
    return hand.astype("f4"), np.dstack(
        [arm, 0.05 * fine, np.full_like(fine, 0.28)]
    ).astype("f4")


def draw_cloth(rng: np.random.Generator) -> Float32[np.ndarray, "s s 5"]:
    """A tile of cloth: plain, striped, chequered or printed, mostly in muted colours."""
    tint = 12 + 213 * rng.random((2, 1)) ** 1.4 + rng.normal(0, 28, (2, 3))
    base, other = linear(np.clip(tint, 4, 240))
    y, x = np.mgrid[:TILE, :TILE] * 2 * np.pi / TILE
    across, along = (
        np.sin(a * rng.integers(3, 12)) > rng.uniform(-0.3, 0.8) for a in (x, y)
    )
    spots = _tile_noise(rng, rng.uniform(5, 14)) > 0.8
    share = (0 * x, 0 * x, along, 0.5 * across + 0.5 * along, spots)[rng.integers(5)]
    weave, folds = _tile_noise(rng, 0.8), _tile_noise(rng, 18.0)
    colour = (base + share[..., None] * (other - base)) * np.exp(0.06 * weave)[
        ..., None
    ]
    return np.dstack([colour, 0.08 * weave + 3 * folds, 0.03 + 0 * weave]).astype("f4")

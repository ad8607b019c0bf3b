"""Textures of skin and cloth.

`body` draws them for a person; `shading` reads them. A texel holds red, green, blue
(linear light, 0–1), height (mm, for relief) and gloss. The hand carries its texels per
face, on a triangular grid of `GRID` cells along each edge (mesh colors, Yuksel et al.
2010), so nothing is unwrapped. Arms and clothes repeat square tiles of 1 mm texels.
"""

import functools
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from digit.hands.model import load_hand
from digit.paths import HAND_LOOK_FILE
from digit.synth.arrays import HandTexture, Rng, Tile, Vector, Vectors
from digit.synth.filters import blurred

# Cells along each edge of a hand face.
GRID = 8
# Texels along a tile of skin or cloth, 1 mm each.
TILE = 256
# Light to dark: the back of the hand, the palm. Chosen by eye from photographs.
TONES_SRGB = np.array(
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
NAIL_SRGB = np.array([236.0, 190, 178])
GOLD_AND_SILVER_SRGB = np.array([[212.0, 175, 85], [190, 190, 195]])
# How much of red, green and blue light each mark of the skin absorbs; chosen by eye.
BLUSH_ABSORBS = (-0.05, 0.30, 0.26)
GREY_ABSORBS = (1, 1, 1)
LINES_ABSORB = (0.35, 0.6, 0.6)
VEINS_ABSORB = (0.20, 0.06, 0.02)
NAIL_RIM_ABSORBS = (0.5, 0.5, 0.501)
# Parts (DIGIT's numbers) that may carry a ring: proximal ring, middle and index finger.
RING_PARTS = [0, 3, 10]
RING_SHARE = 0.25
# Of every texel of the hand.
PerTexel = Float32[np.ndarray, "f t"]
PerTexel64 = Float[np.ndarray, "f t"]


class SkinMarks(NamedTuple):
    """The marks of the generic hand's skin, 0–1 per texel (data/hand/make_look.py)."""

    palmar: PerTexel
    crease: PerTexel
    wrinkle: PerTexel
    red: PerTexel  # 128 / 255 is neutral
    nail: PerTexel
    nail_rim: PerTexel
    tendon: PerTexel
    band: PerTexel  # where a ring sits


class HandTexels(NamedTuple):
    """The texels of the generic right hand, without colour."""

    place_mm: Float[np.ndarray, "f t 3"]  # in the rest pose
    marks: SkinMarks
    part: Int[np.ndarray, "f t"]


class Tone(NamedTuple):
    """A subject's skin colour, in linear light."""

    back: Vector
    palm: Vector
    darkness: float  # 0 light, 1 dark


def linear(srgb: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """sRGB 0–255 → linear light 0–1."""
    return (srgb / 255) ** 2.2


@functools.lru_cache(1)
def hand_texels() -> HandTexels:
    """The hand's texels and what marks them."""
    # 1. Marks.
    with np.load(HAND_LOOK_FILE) as file:
        marks = file["marks"].astype(np.float32) / 255
    marks = np.moveaxis(marks, -1, 0)

    # 2. Places: a triangular grid in barycentric coordinates, on every face.
    steps = []
    for i in range(GRID + 1):
        for j in range(GRID + 1 - i):
            steps.append((i, j, GRID - i - j))
    barycentric = np.array(steps) / GRID
    hand = load_hand("right")
    corners_mm = hand.v_template.numpy()[hand.faces] * 1000
    place = np.einsum("tk,fkc->ftc", barycentric, corners_mm)

    part = np.broadcast_to(hand.face_part[:, None], marks.shape[1:])
    return HandTexels(place, SkinMarks(*marks), part)


def tile_noise(rng: Rng, sigma: float | int) -> Float32[np.ndarray, "s s"]:
    """Blurred noise of a tile that repeats without a seam; sigma in texels."""
    noise = rng.standard_normal((TILE, TILE), np.float32)
    # Three by three copies, so that the blur goes on beyond the edge.
    around = blurred(np.tile(noise, (3, 3)), sigma)
    noise = around[TILE:-TILE, TILE:-TILE]
    return noise / noise.std()


def draw_skin(rng: Rng) -> tuple[HandTexture, Tile]:
    """Draw a subject's skin; every tone is as likely as any other.

    Returns:
        The texels of the hands, and a tile for the arms.
    """
    texels = hand_texels()
    marks = texels.marks
    place = texels.place_mm
    tone = _draw_tone(rng)

    # 1. What varies over the skin of this subject.
    age = rng.uniform(0.3, 1.0)
    ruddy = rng.uniform(0.4, 1.0)
    mottle = _space_noise(rng, place, 9.0)
    fine = _space_noise(rng, place, 1.3)
    vein = _draw_veins(rng, texels, mottle)

    # 2. Colour: the tone of back or palm, less what each mark absorbs.
    redness = 2 * marks.red - 256 / 255
    redness = redness + 0.18 * mottle + 0.25 * marks.palmar
    blush = np.clip(ruddy * redness, -0.4, 1.2)
    lines = marks.crease + 0.45 * age * marks.wrinkle
    lines = lines * (0.7 + 0.6 * tone.darkness)
    absorbing = [
        (BLUSH_ABSORBS, blush * (1 - 0.6 * tone.darkness)),
        (GREY_ABSORBS, -0.05 * mottle - 0.07 * fine),
        (LINES_ABSORB, lines),
        (VEINS_ABSORB, vein),
        (NAIL_RIM_ABSORBS, marks.nail_rim),
    ]
    absorbed = 0
    for of_rgb, amount in absorbing:
        absorbed = absorbed + amount[..., None] * np.array(of_rgb)
    from_back_to_palm = tone.palm - tone.back
    plain = tone.back + marks.palmar[..., None] * from_back_to_palm
    colour = plain * np.exp(-absorbed)
    pale = 0.7 * tone.palm + 0.3 * linear(NAIL_SRGB)
    colour += 0.5 * marks.nail[..., None] * (pale - colour)

    # 3. Relief and gloss.
    height = 0.5 * marks.tendon + 0.25 * vein
    height = height + 0.06 * fine
    height = height + 0.35 * marks.nail
    height = height - 0.3 * marks.nail_rim
    height = height - 0.35 * marks.crease
    height = height - 0.28 * age * marks.wrinkle
    gloss = rng.uniform(0.25, 0.35) + 0.5 * marks.nail

    if rng.random() < RING_SHARE:
        _put_on_ring(rng, texels, colour, height, gloss)
    colour = np.minimum(colour, 0.95)
    hand = np.concatenate([colour, height[..., None], gloss[..., None]], -1)
    return hand.astype("f4"), _draw_arm_skin(rng, tone)


def _draw_veins(
    rng: Rng,
    texels: HandTexels,
    mottle: PerTexel64,
) -> PerTexel64:
    """Draw the veins of the back of the hand, 0–1: ridges of a noise along the hand."""
    stretched = texels.place_mm * [0.5, 1, 1]
    ridge = _space_noise(rng, stretched, 11.0) + 0.2 * mottle
    line = np.exp(-62 * abs(ridge) ** 2)
    is_back = 1 - texels.marks.palmar
    beyond_knuckles = texels.place_mm[..., 0] > 0
    return line * is_back * beyond_knuckles * rng.uniform(0, 0.8)


def _draw_tone(rng: Rng) -> Tone:
    """Draw a skin colour between two neighbours of `TONES_SRGB`."""
    last = len(TONES_SRGB) - 1
    tone = rng.uniform(0, len(TONES_SRGB) - 1.001)
    k = int(tone)
    darker = TONES_SRGB[k + 1]
    lighter = TONES_SRGB[k]
    between = lighter + (tone - k) * (darker - lighter)
    back, palm = linear(between)
    back_tint = np.exp(rng.normal(0, 0.04, 3))
    palm_tint = np.exp(rng.normal(0, 0.04, 3))
    return Tone(
        back=back * back_tint,
        palm=palm * palm_tint,
        darkness=tone / last,
    )


def _space_noise(
    rng: Rng,
    points_mm: Vectors,
    size_mm: float,
) -> Float[np.ndarray, "*b"]:
    """Value noise in space, of variance about 1, on a lattice of that size."""
    lattice = rng.standard_normal((32, 32, 32), np.float32)
    scaled = points_mm / size_mm
    cell = np.floor(scaled).astype(int)
    passed = scaled - cell
    smooth = passed * passed * (3 - 2 * passed)
    total = 0.0
    for corner in np.ndindex(2, 2, 2):
        weights = np.where(corner, smooth, 1 - smooth)
        weight = np.prod(weights, -1)
        at = np.moveaxis((cell + corner) % 32, -1, 0)
        total = total + weight * lattice[tuple(at)]
    return total * 1.6


def _put_on_ring(
    rng: Rng,
    texels: HandTexels,
    colour: Float[np.ndarray, "f t 3"],
    height: PerTexel64,
    gloss: PerTexel64,
) -> None:
    """Change texels to a ring around the proximal part of a finger."""
    part = rng.choice(RING_PARTS)
    on_finger = texels.part == part
    metal = texels.marks.band * on_finger > 0.3
    gold, silver = linear(GOLD_AND_SILVER_SRGB)
    is_gold = rng.random() < 0.6
    colour[metal] = gold if is_gold else silver
    gloss[metal] = 1.0
    height[metal] += 1.0


def _draw_arm_skin(rng: Rng, tone: Tone) -> Tile:
    """Draw a tile of arm skin, half of them with hair."""
    # 1. Hair.
    hair = np.zeros((TILE, TILE), np.float32)
    density = int(rng.uniform(0, 900))
    is_hairy = rng.integers(0, 2)
    for _ in range(density * is_hairy):
        begin = rng.integers(0, TILE, 2)
        length = rng.normal([6, 4], [3, 3])
        end = (begin + length).astype(int)
        cv2.line(hair, begin.tolist(), end.tolist(), 1.0, 1, cv2.LINE_AA)

    # 2. Skin.
    mottle = tile_noise(rng, 9.0)
    fine = tile_noise(rng, 1.0)
    shade = np.exp(0.05 * mottle + 0.04 * fine - 0.35 * hair)
    colour = shade[..., None] * tone.back
    height = 0.05 * fine
    gloss = np.full_like(fine, 0.28)
    return np.dstack([colour, height, gloss]).astype("f4")


def draw_cloth(rng: Rng) -> Tile:
    """Draw a tile of cloth: plain, striped, chequered or printed."""
    # 1. Two colours, mostly muted.
    brightness = 12 + 213 * rng.random((2, 1)) ** 1.4
    tint = brightness + rng.normal(0, 28, (2, 3))
    base, other = linear(np.clip(tint, 4, 240))

    # 2. The share of the second one.
    y, x = np.mgrid[:TILE, :TILE] * 2 * np.pi / TILE
    across = _draw_stripes(rng, x)
    along = _draw_stripes(rng, y)
    spots = tile_noise(rng, rng.uniform(5, 14)) > 0.8
    plain = 0 * x
    chequered = 0.5 * across + 0.5 * along
    patterns = (plain, plain, along, chequered, spots)
    share = patterns[rng.integers(len(patterns))]

    # 3. Weave and folds.
    weave = tile_noise(rng, 0.8)
    folds = tile_noise(rng, 18.0)
    colour = base + share[..., None] * (other - base)
    colour = colour * np.exp(0.06 * weave)[..., None]
    height = 0.08 * weave + 3 * folds
    gloss = 0.03 + 0 * weave
    return np.dstack([colour, height, gloss]).astype("f4")


def _draw_stripes(rng: Rng, angle: Float[np.ndarray, "s s"]) -> Bool[np.ndarray, "s s"]:
    """Draw stripes of any width; the angle goes once around over the tile."""
    count = rng.integers(3, 12)
    wave = np.sin(angle * count)
    return wave > rng.uniform(-0.3, 0.8)

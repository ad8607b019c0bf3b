"""Skin, cloth, light and lenses: a posed mesh → an RGB picture.

Light is linear RGB, about 0–1 before exposure. A texel holds red, green, blue, height (mm, for
relief) and gloss. The hand carries its texels per face, `GRID` cells along each edge (mesh colours,
Yuksel et al. 2010), so nothing is unwrapped; arms and clothes repeat square tiles of 1 mm texels.
"""

import functools
from typing import NamedTuple, no_type_check

import cv2
import numba
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from digit_data.hand import ASSET, load_hand
from digit_data.raster import COMPILED, rasterize

FAST = numba.njit(nogil=True, cache=True, fastmath=True)
INLINE = numba.njit(nogil=True, cache=True, inline="always")
GRID, TILE, SHADOW_PX = 8, 256, 384
HAND, SKIN, CLOTH = 0, 1, 2  # materials of faces
NEAR_MM = 220.0
TONES_SRGB = np.array(  # light to dark: back of the hand, palm
    [
        [[243, 205, 182], [246, 196, 178]], [[230, 184, 154], [238, 186, 164]],
        [[212, 160, 124], [228, 172, 146]], [[188, 134, 98], [216, 158, 130]],
        [[150, 101, 70], [202, 146, 118]], [[108, 70, 48], [184, 130, 104]],
        [[72, 46, 34], [160, 110, 90]],
    ], float,
)  # fmt: skip


class Lights(NamedTuple):
    """Lamps (mm, world) and the light from above and below."""

    place: Float[np.ndarray, "l 3"]
    colour: Float[np.ndarray, "l 3"]
    sky: Float[np.ndarray, "3"]
    ground: Float[np.ndarray, "3"]


class Surface(NamedTuple):
    """Faces of a scene, their materials and textures: the hand face whose texels one shows (−1 −
    that where two corners are swapped, as in the left hand); texels of the hand; tiles of the arms'
    skin and of cloth."""

    faces: Int[np.ndarray, "f 3"]
    material: Int[np.ndarray, "f"]
    texture: Int[np.ndarray, "f"]
    hand: Float32[np.ndarray, "h t 5"]
    tiles: Float32[np.ndarray, "2 s s 5"]


class Camera(NamedTuple):
    """A camera (mm, world; px) and what its lens and sensor do to light."""

    name: str
    camrot: Float[np.ndarray, "3 3"]
    campos_mm: Float[np.ndarray, "3"]
    focal: Float[np.ndarray, "2"]
    princpt: Float[np.ndarray, "2"]
    exposure: Float[np.ndarray, "3"]
    blur_px: float
    noise: float  # standard deviation, of 255
    grey: bool

    def project(
        self, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
        """Pixels and depths (mm) of world points."""
        cam = (points.astype(float) - self.campos_mm) @ self.camrot.T
        return cam[:, :2] / np.maximum(cam[:, 2:], 1) * self.focal + self.princpt, cam[:, 2]


# ---------------------------------------------------------------- skin and cloth


def linear(srgb: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """sRGB 0–255 → linear light 0–1."""
    return (srgb / 255) ** 2.2


@functools.lru_cache(1)
def _marks():
    """The hand's texels (F, t, 3), mm in the rest pose, and what marks them (see make_look.py)."""
    with np.load(ASSET.with_name("generic_look.npz")) as file:
        marks = np.moveaxis(file["marks"].astype(np.float32) / 255, -1, 0)
    corner = np.array([(i, j, GRID - i - j) for i in range(GRID + 1) for j in range(GRID + 1 - i)])
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
        total = total + weight * lattice[tuple(np.moveaxis((cell + corner) % 32, -1, 0))]
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
    back, palm = linear(TONES_SRGB[k] + (tone - k) * (TONES_SRGB[k + 1] - TONES_SRGB[k]))
    back, palm = (colour * np.exp(rng.normal(0, 0.04, 3)) for colour in (back, palm))
    age, ruddy = rng.uniform(0.3, 1.0), rng.uniform(0.4, 1.0)
    mottle, fine = _noise(rng, points, 9.0), _noise(rng, points, 1.3)
    ridge = abs(_noise(rng, points * [0.5, 1, 1], 11.0) + 0.2 * mottle)
    vein = np.exp(-62 * ridge**2) * (1 - palmar) * (points[..., 0] > 0) * rng.uniform(0, 0.8)
    blush = np.clip(ruddy * (2 * red - 256 / 255 + 0.18 * mottle + 0.25 * palmar), -0.4, 1.2)
    lines = (crease + 0.45 * age * wrinkle) * (0.7 + 0.6 * dark)
    depth = {  # how much of red, green and blue light each absorbs
        (-0.05, 0.30, 0.26): blush * (1 - 0.6 * dark), (1, 1, 1): -0.05 * mottle - 0.07 * fine,
        (0.35, 0.6, 0.6): lines, (0.20, 0.06, 0.02): vein, (0.5, 0.5, 0.501): rim,
    }  # fmt: skip
    absorbed = sum(amount[..., None] * np.array(colour) for colour, amount in depth.items())
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
    hand = np.concatenate([np.minimum(colour, 0.95), height[..., None], gloss[..., None]], -1)

    hair = np.zeros((TILE, TILE), np.float32)
    for _ in range(int(rng.uniform(0, 900)) * rng.integers(0, 2)):
        at, length = rng.integers(0, TILE, 2), rng.normal([6, 4], [3, 3])
        cv2.line(hair, at.tolist(), (at + length).astype(int).tolist(), 1.0, 1, cv2.LINE_AA)
    mottle, fine = _tile_noise(rng, 9.0), _tile_noise(rng, 1.0)
    arm = np.exp(0.05 * mottle + 0.04 * fine - 0.35 * hair)[..., None] * back
    return hand.astype("f4"), np.dstack([arm, 0.05 * fine, np.full_like(fine, 0.28)]).astype("f4")


def draw_cloth(rng: np.random.Generator) -> Float32[np.ndarray, "s s 5"]:
    """A tile of cloth: plain, striped, chequered or printed, mostly in muted colours."""
    tint = 12 + 213 * rng.random((2, 1)) ** 1.4 + rng.normal(0, 28, (2, 3))
    base, other = linear(np.clip(tint, 4, 240))
    y, x = np.mgrid[:TILE, :TILE] * 2 * np.pi / TILE
    across, along = (np.sin(a * rng.integers(3, 12)) > rng.uniform(-0.3, 0.8) for a in (x, y))
    spots = _tile_noise(rng, rng.uniform(5, 14)) > 0.8
    share = (0 * x, 0 * x, along, 0.5 * across + 0.5 * along, spots)[rng.integers(5)]
    weave, folds = _tile_noise(rng, 0.8), _tile_noise(rng, 18.0)
    colour = (base + share[..., None] * (other - base)) * np.exp(0.06 * weave)[..., None]
    return np.dstack([colour, 0.08 * weave + 3 * folds, 0.03 + 0 * weave]).astype("f4")


# ---------------------------------------------------------------- light


@INLINE
@no_type_check
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@INLINE
@no_type_check
def _from_to(a, b):
    return b[0] - a[0], b[1] - a[1], b[2] - a[2]


@INLINE
@no_type_check
def _unit(a):
    size = max(np.sqrt(_dot(a, a)), np.float32(1e-6))
    return a[0] / size, a[1] / size, a[2] / size


@COMPILED
@no_type_check
def vertex_normals(vertices, faces, weld):
    """Unit normals (V, 3), outwards; vertices of one weld share the sum of their faces' normals."""
    normals = np.zeros_like(vertices)
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            n = (b[i] - a[i]) * (c[j] - a[j]) - (b[j] - a[j]) * (c[i] - a[i])
            for corner in range(3):
                normals[weld[faces[f, corner]], k] += n
    for v in range(len(normals)):
        normals[v, 0], normals[v, 1], normals[v, 2] = _unit(normals[v])
    return normals[weld]


@COMPILED
@no_type_check
def openness(vertices, normals, balls, radii):
    """Share of the sky that balls leave to each vertex (V,), 0–1, by their solid angles."""
    result = np.ones(len(vertices), np.float32)
    for v in range(len(vertices)):
        for b in range(len(balls)):
            ray = _from_to(vertices[v], balls[b])
            square, facing = _dot(ray, ray), _dot(ray, normals[v])
            if square < 90000.0 and facing > 0:
                r2 = radii[b] ** 2
                share = facing / np.sqrt(square) * r2 / max(square, r2)
                result[v] *= 1 - 0.55 * min(share, 1.0)
    return result


def cast_shadows(
    vertices: Float32[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], lights: Lights,
    target: Float[np.ndarray, "3"], reach_mm: float = 420.0,
) -> tuple[Float32[np.ndarray, "l s s"], Float32[np.ndarray, "l 3 4"]]:  # fmt: skip
    """Shadow maps of what lies within `reach_mm` of the target: nearness (1 / mm) of what a lamp
    sees first, and world → (u·w, v·w, w) of its map."""
    maps, cameras = [], []
    for place in lights.place:
        away = np.linalg.norm(target - place)
        z = (target - place) / away
        x = np.cross(z, [0.31, 0.2, 0.93]) / np.linalg.norm(np.cross(z, [0.31, 0.2, 0.93]))
        rotation, focal = np.stack([x, np.cross(z, x), z]), SHADOW_PX / 2 * away / reach_mm
        lens = np.array([[focal, 0, SHADOW_PX / 2], [0, focal, SHADOW_PX / 2], [0, 0, 1]])
        cameras.append(lens @ np.c_[rotation, -(rotation @ place)])
        u, v, w = cameras[-1][:, :3] @ vertices.T + cameras[-1][:, 3:]
        px = np.stack([u, v], 1) / np.maximum(w, 1)[:, None]
        maps.append(1 / rasterize(px, w, faces, SHADOW_PX, SHADOW_PX)[1])
    return np.stack(maps), np.stack(cameras).astype(np.float32)


def render(
    surface: Surface, attributes: Float32[np.ndarray, "v 9"], lights: Lights, shadows: tuple,
    camera: Camera, background: Float32[np.ndarray, "h w 3"],
) -> tuple[Float32[np.ndarray, "h w 3"], tuple]:  # fmt: skip
    """The picture in linear light, and what each pixel shows: its face (−1: background) and depth
    (mm). A vertex's attributes: place (mm, world), normal, openness, texture coordinates (mm);
    shadows as from `cast_shadows`."""
    px, depth = camera.project(attributes[:, :3])
    height, width = background.shape[:2]
    drawn = np.where(depth < NEAR_MM, 0, depth)  # a camera at the head must not see the neck
    face, depth_map = rasterize(px, drawn, surface.faces, width, height)
    values, texels = (np.zeros((height, width, n), np.float32) for n in (7, 5))
    _look_up(face, px, depth, attributes, *surface, values, texels)
    singles = *lights, *shadows, camera.camrot, camera.campos_mm, camera.focal[0]
    picture = background.copy()
    _shade(face, values, texels, surface.material, *map(np.float32, singles), picture)
    return picture, (face, depth_map)


@FAST
@no_type_check
def _look_up(face, px, depth, attributes, faces, material, texture, hand, tiles, values, texels):
    """Attributes and texels of what each pixel shows, perspective-correct."""
    share = np.zeros(3)
    for y in range(face.shape[0]):
        for x in range(face.shape[1]):
            f = face[y, x]
            if f < 0:
                continue
            for k in range(3):
                a, b = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
                cross = (px[a, 0] - x) * (px[b, 1] - y) - (px[b, 0] - x) * (px[a, 1] - y)
                share[k] = cross / depth[faces[f, k]]
            share /= share[0] + share[1] + share[2]
            u = v = 0.0
            for k in range(3):
                corner = attributes[faces[f, k]]
                for c in range(7):
                    values[y, x, c] += share[k] * corner[c]
                u, v = u + share[k] * corner[7], v + share[k] * corner[8]
            row, texel = texture[f], texels[y, x]
            if material[f] == HAND:  # linear in a small triangle of the face's grid
                row, second = (row, share[1]) if row >= 0 else (-1 - row, share[2])
                u, v = min(max(share[0], 0.0), 1.0) * GRID, min(max(second, 0.0), 1.0) * GRID
                i = min(int(u), GRID - 1)
                j = min(int(v), GRID - 1 - i)
                u, v = min(u - i, 1.0), min(v - j, 1.0)
                at = i * (GRID + 1) - i * (i - 1) // 2 + j
                right, top = at + GRID + 1 - i, at + 1
                if u + v > 1 and i + j < GRID - 1:
                    at, u, v = right + 1, 1 - v, 1 - u
                for c in range(5):
                    t = hand[row, at, c]
                    texel[c] = t + u * (hand[row, right, c] - t) + v * (hand[row, top, c] - t)
            else:
                i, j = int(np.floor(v)), int(np.floor(u))
                v, u, tile = v - i, u - j, tiles[material[f] - 1]
                i0, i1, j0, j1 = i % TILE, (i + 1) % TILE, j % TILE, (j + 1) % TILE
                for c in range(5):
                    top = (1 - u) * tile[i0, j0, c] + u * tile[i0, j1, c]
                    low = (1 - u) * tile[i1, j0, c] + u * tile[i1, j1, c]
                    texel[c] = (1 - v) * top + v * low


@FAST
@no_type_check
def _shade(
    face, values, texels, material, place, colour, sky, ground, nearness, maps, camrot, campos,
    focal, picture,
):  # fmt: skip
    """Wrapped diffuse light that reddens where it fades (for skin), soft shadows, gloss."""
    height, width = face.shape
    light, shine = np.zeros((2, 3), np.float32)
    wrap = np.array([0.32, 0.16, 0.12], np.float32)
    for y in range(height):
        for x in range(width):
            if face[y, x] < 0:
                continue
            skin, at, gloss = material[face[y, x]] != CLOTH, values[y, x], texels[y, x, 4]
            eye = _from_to(at, campos)
            scale, eye = 0.5 * focal / np.sqrt(_dot(eye, eye)), _unit(eye)
            across = down = np.float32(0)
            inside = 0 < x < width - 1 and 0 < y < height - 1
            if inside and min(face[y, x - 1], face[y, x + 1], face[y - 1, x], face[y + 1, x]) >= 0:
                # The relief tilts the normal by its slope along the picture's axes.
                across = (texels[y, x + 1, 3] - texels[y, x - 1, 3]) * scale
                down = (texels[y + 1, x, 3] - texels[y - 1, x, 3]) * scale
                across, down = min(max(across, -0.5), 0.5), min(max(down, -0.5), 0.5)
            n = _unit((
                at[3] - across * camrot[0, 0] - down * camrot[1, 0],
                at[4] - across * camrot[0, 1] - down * camrot[1, 1],
                at[5] - across * camrot[0, 2] - down * camrot[1, 2],
            ))  # fmt: skip
            edge = 1 - max(_dot(n, eye), np.float32(0))
            fresnel = (0.04 + 0.5 * edge * edge * edge * edge) * gloss
            up, free = 0.5 - 0.5 * n[1], at[6]
            for c in range(3):
                around = sky[c] * up + ground[c] * (1 - up)
                light[c] = around * (free * (1.3 - 0.3 * free) if skin and c == 0 else free)
                shine[c] = 0.5 * fresnel * free * sky[c]
            for k in range(len(place)):
                ray = _unit(_from_to(at, place[k]))
                cosine = _dot(n, ray)
                if cosine < -0.32:
                    continue
                m, lit = maps[k], np.float32(1)
                w = _dot(m[2], at) + m[2, 3]
                u, v = (_dot(m[0], at) + m[0, 3]) / w + 0.5, (_dot(m[1], at) + m[1, 3]) / w + 0.5
                if 2 <= u < SHADOW_PX - 2 and 2 <= v < SHADOW_PX - 2:
                    limit, blocked, i, j = 1 / (w - 5), 0, int(v), int(u)
                    for di in range(-2, 3, 2):
                        for dj in range(-2, 3, 2):
                            blocked += nearness[k, i + di, j + dj] > limit
                    lit = 1 - np.float32(blocked) / 9
                h = max(_dot(n, _unit((ray[0] + eye[0], ray[1] + eye[1], ray[2] + eye[2]))), 0.0)
                power = 12 + 50 * gloss  # Schlick's h / (p − p h + h) stands for h ** p
                glint = h / (power - power * h + h) * (power + 8) / 25 * max(cosine, 0.0) * lit
                for c in range(3):
                    bent = (cosine + wrap[c]) / (1 + wrap[c]) if skin else cosine
                    soft = lit * (1.3 - 0.3 * lit) if skin and c == 0 else lit
                    light[c] += colour[k, c] * max(bent, np.float32(0)) * soft
                    shine[c] += colour[k, c] * glint * fresnel
            for c in range(3):
                picture[y, x, c] = texels[y, x, c] * light[c] + shine[c]


# ---------------------------------------------------------------- backgrounds and lenses


def studio(
    lamps: Float[np.ndarray, "n 3"], camera: Camera, width: int, height: int
) -> Float32[np.ndarray, "h w 3"]:
    """A dark room with a dome's lamps (mm, world), each a spot with the lens's star about it."""
    picture = np.full((height + 52, width + 52, 3), 0.0015, np.float32)  # with the stars' margin
    px, depth = camera.project(lamps)
    for x, y in px[depth > 300].astype(int):
        if -26 <= x < width + 26 and -26 <= y < height + 26:
            spot = picture[max(y, 0) : y + 53, max(x, 0) : x + 53]
            spot += _star()[max(-y, 0) :, max(-x, 0) :][: spot.shape[0], : spot.shape[1]]
    return picture[26:-26, 26:-26]


@functools.lru_cache(1)
def _star():
    y, x = np.mgrid[-26:27, -26:27]
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    rays = 0.16 * np.exp(-r / 6) * np.maximum(np.cos(4 * angle), 0) ** 12 + 0.05 * np.exp(-r / 5)
    return ((1.6 / (1 + np.exp(3 * (r - 5.5))) + rays)[..., None] * [1, 1, 0.92]).astype(np.float32)


def room(rng: np.random.Generator, width: int, height: int) -> Float32[np.ndarray, "h w 3"]:
    """A cluttered background out of focus: muted colours, boxes, grain."""

    def colours(*size):
        grey = rng.uniform(0.03, 0.9, (*size, 1)) ** 1.8
        return (grey * np.exp(rng.normal(0, 0.22, (*size, 3)))).astype(np.float32)

    picture = cv2.resize(colours(*rng.integers(2, 7, 2)), (width, height))
    for colour in colours(rng.integers(0, 16)):
        middle, size = rng.uniform(-60, (width, height)).tolist(), rng.uniform(12, 240, 2).tolist()
        corners = cv2.boxPoints((middle, size, rng.normal(0, 12))).astype(np.int32)
        cv2.fillPoly(picture, [corners], colour.tolist())
    cells = rng.integers(4, 120, 2)  # grain when both are many, stripes when one is few
    grain = rng.standard_normal(tuple(cells), np.float32) * np.float32(rng.uniform(0, 0.4))
    picture *= np.exp(cv2.resize(grain, (width, height)))[..., None]
    return np.clip(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 6)), 0, 2)


def develop(
    picture: Float32[np.ndarray, "h w 3"], camera: Camera, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Linear light → sRGB 0–255: exposure, blur, tone curve, grain."""
    picture = cv2.GaussianBlur(picture * np.float32(camera.exposure), (0, 0), camera.blur_px)
    if camera.grey:
        picture = picture @ np.array([[0.3], [0.6], [0.1]], np.float32)
    tones, grain = _film()
    y, x = rng.integers(0, len(grain) - np.array(picture.shape[:2]))
    grain = grain[y:, x:, : picture.shape[2]][: picture.shape[0], : picture.shape[1]]
    toned = tones[np.minimum(picture * 1023, len(tones) - 1).astype(np.int32)]
    developed = np.clip(toned + np.float32(camera.noise) * grain, 0, 255).astype(np.uint8)
    return developed.repeat(3 // developed.shape[2], -1)


@functools.lru_cache(1)
def _film():
    """sRGB of light in steps of 1/1023 up to 1.5, bright light compressed; a field of grain."""
    light = np.arange(1536) / 1023
    soft = np.where(light < 0.7, light, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.3))
    grain = np.random.default_rng(0).standard_normal((1024, 1024, 3), np.float32)
    return (255 * soft ** (1 / 2.2)).astype(np.float32) + 0.5, grain

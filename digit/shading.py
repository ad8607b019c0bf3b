"""Skin, cloth, light and cameras' marks: a posed scene → an RGB picture.

Light is linear RGB, about 0–1 before exposure. The hand carries its texture per face: `GRID` cells
along each edge, interpolated between their corners (as mesh colours, Yuksel et al. 2010), so that
no unwrapping is needed; arms and clothes repeat square tiles of 1 mm texels.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from .hand import load_hand
from .poses import build_rig, vertex_normals
from .raster import draw
from .skeleton import MANO_JOINTS

GRID = 8
TEXELS = (GRID + 1) * (GRID + 2) // 2  # of a face
TILE = 256
SKINS_SRGB = np.array(  # from light to dark: the back of the hand, and the palm
    [
        [[243, 205, 182], [246, 196, 178]], [[230, 184, 154], [238, 186, 164]],
        [[212, 160, 124], [228, 172, 146]], [[188, 134, 98], [216, 158, 130]],
        [[150, 101, 70], [202, 146, 118]], [[108, 70, 48], [184, 130, 104]],
        [[72, 46, 34], [160, 110, 90]],
    ], np.float64,
)  # fmt: skip
HAND, SKIN, CLOTH = 0, 1, 2  # materials of faces
SHADOW_PX = 384


class Look(NamedTuple):
    """How a subject's skin and clothes look. Channels: red, green, blue, height (mm), gloss."""

    hand: Float32[np.ndarray, "f t 5"]
    tiles: Float32[np.ndarray, "2 s s 5"]  # skin of the arms, cloth


class Lights(NamedTuple):
    """Lamps at finite places (mm, world), and what comes from everywhere."""

    place: Float[np.ndarray, "l 3"]
    colour: Float[np.ndarray, "l 3"]
    sky: Float[np.ndarray, "3"]
    ground: Float[np.ndarray, "3"]


class Scene(NamedTuple):
    """One instant: a mesh in the world (mm) with all that does not depend on the camera."""

    vertices: Float32[np.ndarray, "v 3"]
    normals: Float32[np.ndarray, "v 3"]
    openness: Float32[np.ndarray, "v"]  # share of the sky that a vertex sees
    faces: Int[np.ndarray, "f 3"]
    material: Int[np.ndarray, "f"]
    texture: Int[np.ndarray, "f"]  # row of `Look.hand` of a hand's face
    uv_mm: Float32[np.ndarray, "v 2"]
    look: Look
    lights: Lights
    shadows: Float32[np.ndarray, "l s s"]  # nearness, 1 / mm, seen from each lamp
    shadow_cameras: Float[np.ndarray, "l 3 4"]  # world → (u·w, v·w, w)


def linear(srgb: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """sRGB 0–255 → linear light 0–1."""
    return (np.asarray(srgb) / 255) ** 2.2


def _noise(rng, points, size_mm):
    """Smooth noise of unit variance in space."""
    lattice = rng.standard_normal((32, 32, 32)).astype(np.float32)
    at = points / size_mm + 7.3
    cell = np.floor(at).astype(int)
    w = at - cell
    w = w * w * (3 - 2 * w)
    total = 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, w, 1 - w), -1)
        total = total + weight * lattice[tuple(((cell + corner) % 32).T)]
    return total * 1.6


def _bump(x, width):
    return np.exp(-0.5 * (x / width) ** 2)


def _step(x, low, high):
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@lru_cache(2)
def _marks(name: str):
    """Where on the hand's texels nails, creases, knuckles and veins may be; the same for all."""
    model = load_hand("right", name)
    rig = build_rig(model, np.zeros(10))
    vertices = model.v_template.numpy() * 1000
    corner = np.array([(i, j, GRID - i - j) for i in range(GRID + 1) for j in range(GRID + 1 - i)])
    corner = corner / GRID
    spread = lambda a: np.einsum("tk,fkc->ftc", corner, a[model.faces]).reshape(-1, a.shape[-1])
    points, normals = spread(vertices), spread(vertex_normals(vertices, model.faces))
    weights = spread(model.weights.numpy())
    joints, axes = rig.joints.numpy(), rig.axes.numpy()
    crease = np.zeros(len(points))
    wrinkle, red, nail, rim = (np.zeros(len(points)) for _ in range(4))
    for j in range(15):
        name, level = MANO_JOINTS[j + 1], j % 3
        tip = rig.spots[rig.points[name[:-1] + "_tip"]].numpy()
        end = tip if level == 2 else joints[j + 2]
        length = np.linalg.norm(end - joints[j + 1])
        side, up, along = ((points - joints[j + 1]) @ axes[j]).T
        own = weights[:, 1 + 3 * (j // 3) : 4 + 3 * (j // 3)].sum(1)  # of this finger
        facing = normals @ axes[j, :, 1]
        palmar, dorsal = _step(-facing, 0.1, 0.6) * own, _step(facing, 0.2, 0.7) * own
        at = 0.42 * length if level == 0 and j < 12 else 0.0
        for line in (-1.3, 1.3) if level < 2 else (0.0,):
            crease += palmar * _bump(along - at - line + 0.02 * side**2, 0.6)
        lines = 0.5 + 0.5 * np.cos(along * 2 * np.pi / 2.2 + 0.06 * side**2)
        width = (7.0, 4.2, 2.6)[level]
        wrinkle += dorsal * lines * _bump(along, width) * (0.25 if level == 0 else 1.0)
        red += dorsal * _bump(along, 1.5 * width) * (1.0, 0.8, 0.5)[level]
        if level == 2:
            red += own * _step(along / length, 0.35, 0.9) * 0.9
            half = abs(side[(own > 0.9) & (along > 0.4 * length)]).max()
            shape = abs((along / length - 0.7) / 0.3) ** 3.5 + abs(side / (0.62 * half)) ** 3.5
            shape = shape + 9 * (facing < 0.15) + 9 * (own < 0.5)
            nail = np.maximum(nail, _step(-shape, -1.15, -0.85) * (along > 0))
            rim = np.maximum(rim, _bump(shape - 1.15, 0.16) * (along > 0))
            white = _step(along / length, 0.9, 0.94) * nail
            red -= 1.2 * white
    palm = np.clip(weights[:, 0] + weights[:, [1, 4, 7, 10, 13]].sum(1), 0, 1)
    under = _step(-normals[:, 1], 0.0, 0.5)
    k = joints[[1, 4, 10, 7]]  # knuckles
    lines = (
        [k[3] + [18, 0, -9], k[2] + [20, 0, 0], k[1] + [17, 0, 0], k[1] + [6, 0, 9]],
        [k[0] + [24, 0, 9], k[0] + [34, 0, -6], k[1] + [42, 0, -8], k[3] + [40, 0, 0]],
        [k[0] + [24, 0, 9], k[1] + [34, 0, 12], k[1] + [56, 0, 4], k[1] + [80, 0, 5]],
    )
    for line in lines:
        away = np.full(len(points), 99.0)
        for a, b in zip(line[:-1], line[1:]):
            d = ((b - a) * [1, 0, 1])
            p = (points - a) * [1, 0, 1]
            t = np.clip(p @ d / (d @ d), 0, 1)
            away = np.minimum(away, np.linalg.norm(p - t[:, None] * d, axis=1))
        crease += 0.9 * _bump(away, 0.8) * palm * under
    tendon = sum(
        _bump((points - joints[0] - np.clip(((points - joints[0]) @ (b - joints[0]))
            / ((b - joints[0]) @ (b - joints[0])), 0.25, 0.95)[:, None] * (b - joints[0]))[:, 2], 1.8)
        for b in k
    ) * palm * _step(normals[:, 1], 0.3, 0.8)  # fmt: skip
    palmar = _step(-_smooth_facing(points, normals, weights, axes), -0.25, 0.35)
    palmar = palmar * (1 - 0.85 * _step(points[:, 0], 65, 100))  # like the arm where they meet
    return points, palmar, np.clip(crease, 0, 1), wrinkle, red, nail, rim, tendon


def _smooth_facing(points, normals, weights, axes):
    """How far each texel faces the back of its own bone, −1 … 1."""
    ups = np.concatenate([[[0, 1, 0]], axes[:, :, 1]])
    return (normals * (weights @ ups)).sum(1)


def draw_look(rng: np.random.Generator, model_name: str = "generic") -> Look:
    """A subject's skin, from light to dark with even odds, and clothes."""
    points, palmar, crease, wrinkle, red, nail, rim, tendon = _marks(model_name)
    tone = rng.uniform(0, len(SKINS_SRGB) - 1)
    k = min(int(tone), len(SKINS_SRGB) - 2)
    back, palm = linear(SKINS_SRGB[k] + (tone - k) * (SKINS_SRGB[k + 1] - SKINS_SRGB[k]))
    tint = np.exp(rng.normal(0, 0.06, 3) * [1, 0.6, 1])
    back, palm = back * tint, palm * tint
    age, ruddy = rng.uniform(0.3, 1.0), rng.uniform(0.4, 1.0)
    mottle, fine = _noise(rng, points, 9.0), _noise(rng, points, 1.3)
    ridge = abs(_noise(rng, points * [0.5, 1, 1.0], 11.0) + 0.2 * mottle)
    vein = _bump(ridge, 0.09) * (1 - palmar) * _step(points[:, 0], -10, 20) * rng.uniform(0, 0.8)
    dark = tone / 6
    colour = back + palmar[:, None] * (palm - back)
    blush = np.clip(ruddy * (0.5 * red + 0.18 * mottle + 0.25 * palmar), -0.4, 1.2)[:, None]
    colour = colour * np.exp(blush * (np.array([0.05, -0.30, -0.26]) * (1 - 0.6 * dark)))
    colour = colour * np.exp(0.05 * mottle + 0.07 * fine)[:, None]
    lines = np.clip(crease + 0.45 * age * wrinkle, 0, 1.3)[:, None]
    colour = colour * np.exp(lines * np.array([-0.35, -0.62, -0.62]) * (0.7 + 0.6 * dark))
    colour = colour * np.exp(vein[:, None] * np.array([-0.20, -0.06, -0.02]))
    pale = 0.7 * palm + 0.3 * linear([236, 190, 178])
    colour = colour + (0.5 * nail)[:, None] * (pale - colour)
    colour = colour * np.exp(-0.5 * rim)[:, None]
    height = -0.35 * crease - 0.28 * age * wrinkle + 0.5 * tendon + 0.25 * vein + 0.06 * fine
    height = height + 0.35 * nail - 0.3 * rim
    gloss = 0.25 + 0.1 * rng.random() + 0.5 * nail
    hand = np.concatenate([colour, height[:, None], gloss[:, None]], 1)
    hand = hand.reshape(-1, TEXELS, 5).astype(np.float32)
    return Look(hand, np.stack([_skin_tile(rng, back, dark), _cloth_tile(rng)]))


def _tile_noise(rng, sigma):
    noise = rng.standard_normal((TILE, TILE)).astype(np.float32)
    wrapped = np.tile(noise, (2, 2))
    k = int(4 * sigma) | 1
    wrapped = cv2.GaussianBlur(wrapped, (k, k), sigma, borderType=cv2.BORDER_REFLECT)
    part = np.roll(wrapped[TILE // 2 : 3 * TILE // 2, TILE // 2 : 3 * TILE // 2], 1)
    return part / part.std()


def _skin_tile(rng, back, dark):
    hair = np.zeros((TILE, TILE), np.float32)
    for _ in range(int(rng.uniform(0, 900) * (rng.random() < 0.6))):
        x, y = rng.integers(0, TILE, 2)
        dx, dy = int(rng.normal(6, 3)), int(rng.normal(4, 3))
        cv2.line(hair, (int(x), int(y)), (int(x) + dx, int(y) + dy), 1.0, 1, cv2.LINE_AA)
    mottle, fine = _tile_noise(rng, 9.0), _tile_noise(rng, 1.0)
    tile = np.exp(0.05 * mottle + 0.04 * fine - 0.35 * hair)[..., None] * back
    height, gloss = 0.05 * fine, np.full_like(fine, 0.28)
    return np.concatenate([tile, height[..., None], gloss[..., None]], -1).astype(np.float32)


def _cloth_tile(rng):
    base = linear(rng.uniform(8, 235, 3)) * rng.uniform(0.2, 1)
    other = linear(rng.uniform(8, 235, 3))
    y, x = np.mgrid[:TILE, :TILE].astype(np.float32)
    kind, period = rng.choice(["plain", "plain", "stripes", "plaid", "print"]), TILE / rng.integers(3, 12)
    share = np.zeros((TILE, TILE))
    if kind in ("stripes", "plaid"):
        share = 0.5 * (np.sin(2 * np.pi * y / period) > rng.uniform(-0.3, 0.8))
    if kind == "plaid":
        share = share + 0.5 * (np.sin(2 * np.pi * x / period) > rng.uniform(-0.3, 0.8))
    if kind == "print":
        share = (_tile_noise(rng, rng.uniform(5, 14)) > 0.8) * 1.0
    weave = _tile_noise(rng, 0.8)
    folds = _tile_noise(rng, 18.0)
    colour = (base + share[..., None] * (other - base)) * np.exp(0.06 * weave)[..., None]
    height = 0.08 * weave + 3.0 * folds
    return np.concatenate(
        [colour, height[..., None], np.full((TILE, TILE, 1), 0.03)], -1
    ).astype(np.float32)


# --- light ------------------------------------------------------------------------------------


@numba.njit(nogil=True, cache=True)
def openness(vertices, normals, balls, radii):
    """Share of the sky that balls leave to each vertex (V,), 0–1, by their solid angles."""
    result = np.ones(len(vertices), np.float32)
    for v in range(len(vertices)):
        free = 1.0
        for b in range(len(balls)):
            dx, dy, dz = balls[b, 0] - vertices[v, 0], balls[b, 1] - vertices[v, 1], balls[b, 2] - vertices[v, 2]
            square = dx * dx + dy * dy + dz * dz
            if square < 90000:
                distance = np.sqrt(square)
                cosine = (dx * normals[v, 0] + dy * normals[v, 1] + dz * normals[v, 2]) / max(distance, 1e-6)
                if cosine > 0.02:
                    r2 = radii[b] * radii[b]
                    free *= 1 - 0.55 * min(cosine * r2 / max(square, r2), 1.0)
        result[v] = free
    return result


def shadow_camera(place: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], reach_mm: float):
    """World → shadow map (3, 4): a lamp that looks at the target and sees `reach_mm` about it."""
    z = (target - place) / np.linalg.norm(target - place)
    x = np.cross(z, [0.31, 0.2, 0.93])
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z])
    focal = SHADOW_PX / 2 * np.linalg.norm(target - place) / reach_mm
    k = np.array([[focal, 0, SHADOW_PX / 2], [0, focal, SHADOW_PX / 2], [0, 0, 1]])
    return k @ np.concatenate([rotation, -(rotation @ place)[:, None]], 1)


def shadow_map(vertices, faces, camera) -> Float32[np.ndarray, "s s"]:
    """Nearness (1 / mm) of what the lamp sees first."""
    seen = vertices @ camera[:, :3].T + camera[:, 3]
    pixels = seen[:, :2] / np.maximum(seen[:, 2:], 1)
    face, nearness = np.zeros((SHADOW_PX, SHADOW_PX), np.int32), np.zeros((SHADOW_PX, SHADOW_PX), np.float32)
    draw(pixels, seen[:, 2], faces, np.arange(len(faces), dtype=np.int32), face, nearness, True)
    return nearness


def render(
    scene: Scene, camrot: Float[np.ndarray, "3 3"], campos: Float[np.ndarray, "3"],
    focal: Float[np.ndarray, "2"], princpt: Float[np.ndarray, "2"],
    background: Float32[np.ndarray, "h w 3"],
) -> tuple[Float32[np.ndarray, "h w 3"], Int[np.ndarray, "h w"]]:  # fmt: skip
    """The picture in linear light, and the face that each pixel shows (−1: background)."""
    height, width = background.shape[:2]
    cam = (scene.vertices - campos) @ camrot.T
    pixels = cam[:, :2] / np.maximum(cam[:, 2:], 1) * focal + princpt
    face, nearness = np.full((height, width), -1, np.int32), np.zeros((height, width), np.float32)
    draw(pixels, cam[:, 2].astype(np.float64), scene.faces,
         np.arange(len(scene.faces), dtype=np.int32), face, nearness, True)  # fmt: skip
    picture = background.copy()
    lights = scene.lights
    _shade(
        face, pixels, cam[:, 2].astype(np.float64), scene.faces, scene.vertices, scene.normals, scene.openness,
        scene.material, scene.texture, scene.uv_mm, scene.look.hand, scene.look.tiles,
        lights.place, lights.colour, lights.sky, lights.ground, scene.shadows, scene.shadow_cameras,
        camrot, campos, float(focal[0]), picture,
    )  # fmt: skip
    return picture, face


@numba.njit(nogil=True, cache=True, inline="always")
def _texel(hand, row, a, b, out):
    """Linear in the micro-triangle of the face's grid at barycentric (a, b, 1 − a − b)."""
    x, y = min(max(a, 0.0), 1.0) * GRID, min(max(b, 0.0), 1.0) * GRID
    i, j = min(int(x), GRID - 1), min(int(y), GRID - 1)
    if i + j > GRID - 1:
        j = GRID - 1 - i
    fx, fy = min(x - i, 1.0), min(y - j, 1.0)
    at = i * (GRID + 1) - i * (i - 1) // 2 + j
    right = at + GRID + 1 - i  # (i + 1, j)
    if fx + fy <= 1 or i + j == GRID - 1:
        for c in range(5):
            t0 = hand[row, at, c]
            out[c] = t0 + fx * (hand[row, right, c] - t0) + fy * (hand[row, at + 1, c] - t0)
    else:
        for c in range(5):
            t0 = hand[row, right + 1, c]
            out[c] = t0 + (1 - fy) * (hand[row, right, c] - t0) + (1 - fx) * (hand[row, at + 1, c] - t0)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _shade(
    face, px, depth, faces, vertices, normals, openness, material, texture, uv_mm, hand, tiles,
    place, colour, sky, ground, shadows, shadow_cameras, camrot, campos, focal, picture,
):  # fmt: skip
    height, width = face.shape
    n_lights = place.shape[0]
    relief = np.zeros((height, width), np.float32)
    texels = np.zeros((height, width, 5), np.float32)
    shares = np.zeros((height, width, 3), np.float32)
    texel = np.zeros(5, np.float32)
    for y in range(height):
        for x in range(width):
            f = face[y, x]
            if f < 0:
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            xa, ya, xb, yb = px[a, 0] - x, px[a, 1] - y, px[b, 0] - x, px[b, 1] - y
            xc, yc = px[c, 0] - x, px[c, 1] - y
            wa, wb = (xb * yc - xc * yb) / depth[a], (xc * ya - xa * yc) / depth[b]
            wc = (xa * yb - xb * ya) / depth[c]
            total = wa + wb + wc
            wa, wb, wc = wa / total, wb / total, wc / total
            shares[y, x, 0], shares[y, x, 1], shares[y, x, 2] = wa, wb, wc
            kind, row = material[f], texture[f]
            if kind == 0:
                if row >= 0:
                    _texel(hand, row, wa, wb, texel)
                else:  # the left hand's faces have two corners swapped
                    _texel(hand, -row - 1, wa, wc, texel)
            else:
                u = wa * uv_mm[a, 0] + wb * uv_mm[b, 0] + wc * uv_mm[c, 0]
                v = wa * uv_mm[a, 1] + wb * uv_mm[b, 1] + wc * uv_mm[c, 1]
                iu, iv = int(np.floor(u)), int(np.floor(v))
                fu, fv = u - iu, v - iv
                for k in range(5):
                    t00, t01 = tiles[kind - 1, iv % TILE, iu % TILE, k], tiles[kind - 1, iv % TILE, (iu + 1) % TILE, k]
                    t10, t11 = tiles[kind - 1, (iv + 1) % TILE, iu % TILE, k], tiles[kind - 1, (iv + 1) % TILE, (iu + 1) % TILE, k]
                    texel[k] = (1 - fv) * (t00 + fu * (t01 - t00)) + fv * (t10 + fu * (t11 - t10))
            for k in range(5):
                texels[y, x, k] = texel[k]
            relief[y, x] = texel[3]
    wrap = (0.32, 0.16, 0.12)
    for y in range(height):
        for x in range(width):
            f = face[y, x]
            if f < 0:
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            wa, wb, wc = shares[y, x, 0], shares[y, x, 1], shares[y, x, 2]
            skin = material[f] != 2
            nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
            ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
            nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
            vx = wa * vertices[a, 0] + wb * vertices[b, 0] + wc * vertices[c, 0]
            vy = wa * vertices[a, 1] + wb * vertices[b, 1] + wc * vertices[c, 1]
            vz = wa * vertices[a, 2] + wb * vertices[b, 2] + wc * vertices[c, 2]
            ex, ey, ez = campos[0] - vx, campos[1] - vy, campos[2] - vz
            away = np.sqrt(ex * ex + ey * ey + ez * ez)
            ex, ey, ez = ex / away, ey / away, ez / away
            # The relief tilts the normal by its slope along the picture's axes.
            slope_x = slope_y = 0.0
            if 0 < x < width - 1 and 0 < y < height - 1:
                if face[y, x - 1] >= 0 and face[y, x + 1] >= 0 and face[y - 1, x] >= 0 and face[y + 1, x] >= 0:
                    per_mm = 0.5 * focal / away
                    slope_x = min(max((relief[y, x + 1] - relief[y, x - 1]) * per_mm, -0.5), 0.5)
                    slope_y = min(max((relief[y + 1, x] - relief[y - 1, x]) * per_mm, -0.5), 0.5)
            nx -= slope_x * camrot[0, 0] + slope_y * camrot[1, 0]
            ny -= slope_x * camrot[0, 1] + slope_y * camrot[1, 1]
            nz -= slope_x * camrot[0, 2] + slope_y * camrot[1, 2]
            size = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-6)
            nx, ny, nz = nx / size, ny / size, nz / size
            free = wa * openness[a] + wb * openness[b] + wc * openness[c]
            up = 0.5 - 0.5 * ny
            facing = max(nx * ex + ny * ey + nz * ez, 0.0)
            gloss = texels[y, x, 4]
            fresnel = 0.04 + 0.5 * (1 - facing) ** 5
            red = green = blue = shine = shine_g = shine_b = 0.0
            for l in range(n_lights):
                lx, ly, lz = place[l, 0] - vx, place[l, 1] - vy, place[l, 2] - vz
                size = np.sqrt(lx * lx + ly * ly + lz * lz)
                lx, ly, lz = lx / size, ly / size, lz / size
                cosine = nx * lx + ny * ly + nz * lz
                if cosine < -0.32:
                    continue
                m = shadow_cameras[l]
                w = m[2, 0] * vx + m[2, 1] * vy + m[2, 2] * vz + m[2, 3]
                u = (m[0, 0] * vx + m[0, 1] * vy + m[0, 2] * vz + m[0, 3]) / w
                v = (m[1, 0] * vx + m[1, 1] * vy + m[1, 2] * vz + m[1, 3]) / w
                iu, iv = int(u + 0.5), int(v + 0.5)
                lit = 1.0
                if 3 <= iu < SHADOW_PX - 3 and 3 <= iv < SHADOW_PX - 3:
                    limit = 1 / (w - 5.0)
                    lit = 0.0
                    for dv in range(-2, 3):
                        for du in range(-2, 3):
                            if shadows[l, iv + dv, iu + du] <= limit:
                                lit += 1 / 25
                if skin:
                    red += colour[l, 0] * max((cosine + wrap[0]) / (1 + wrap[0]), 0.0) * lit**0.75
                    green += colour[l, 1] * max((cosine + wrap[1]) / (1 + wrap[1]), 0.0) * lit
                    blue += colour[l, 2] * max((cosine + wrap[2]) / (1 + wrap[2]), 0.0) * lit
                else:
                    direct = max(cosine, 0.0) * lit
                    red += colour[l, 0] * direct
                    green += colour[l, 1] * direct
                    blue += colour[l, 2] * direct
                if cosine > 0 and lit > 0:
                    hx, hy, hz = lx + ex, ly + ey, lz + ez
                    size = np.sqrt(hx * hx + hy * hy + hz * hz)
                    half = max((nx * hx + ny * hy + nz * hz) / size, 0.0)
                    power = 12 + 50 * gloss
                    glint = half**power * (power + 8) / 25 * fresnel * gloss * cosine * lit
                    shine += colour[l, 0] * glint
                    shine_g += colour[l, 1] * glint
                    shine_b += colour[l, 2] * glint
            open_red = free**0.7 if skin else free
            picture[y, x, 0] = texels[y, x, 0] * (red + open_red * (sky[0] * up + ground[0] * (1 - up))) + shine
            picture[y, x, 1] = texels[y, x, 1] * (green + free * (sky[1] * up + ground[1] * (1 - up))) + shine_g
            picture[y, x, 2] = texels[y, x, 2] * (blue + free * (sky[2] * up + ground[2] * (1 - up))) + shine_b
            rim = fresnel * gloss * free * 0.5
            for k in range(3):
                picture[y, x, k] += rim * sky[k]


# --- behind the person, and the camera --------------------------------------------------------


def studio(
    lamps: Float[np.ndarray, "n 3"], camrot: Float[np.ndarray, "3 3"], campos: Float[np.ndarray, "3"],
    focal: Float[np.ndarray, "2"], princpt: Float[np.ndarray, "2"], width: int, height: int,
) -> Float32[np.ndarray, "h w 3"]:  # fmt: skip
    """A dark room with the dome's lamps (mm, world), each a spot with the lens's star about it."""
    picture = np.full((height, width, 3), 0.0015, np.float32)
    star = _star()
    r = len(star) // 2
    cam = (lamps - campos) @ camrot.T
    for x, y, z in cam:
        if z > 300:
            u, v = int(x / z * focal[0] + princpt[0]), int(y / z * focal[1] + princpt[1])
            x0, y0, x1, y1 = max(u - r, 0), max(v - r, 0), min(u + r + 1, width), min(v + r + 1, height)
            if x0 < x1 and y0 < y1:
                picture[y0:y1, x0:x1] += star[y0 - v + r : y1 - v + r, x0 - u + r : x1 - u + r]
    return picture


@lru_cache(1)
def _star():
    y, x = np.mgrid[-26:27, -26:27].astype(np.float32)
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    disc = 1.6 * _step(-r, -7, -4.5)
    rays = 0.16 * np.exp(-r / 6) * np.maximum(np.cos(4 * angle), 0) ** 12 + 0.05 * np.exp(-r / 5)
    return (disc + rays)[..., None] * np.array([1.0, 1.0, 0.92], np.float32)


def room(rng: np.random.Generator, width: int, height: int) -> Float32[np.ndarray, "h w 3"]:
    """A cluttered background out of focus: soft colours, boxes, stripes, grain."""
    small = rng.uniform(0.02, 0.7, (rng.integers(2, 7), rng.integers(2, 7), 3)) ** 1.5
    picture = cv2.resize(small.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(0, 14)):
        colour = tuple(float(c) for c in rng.uniform(0, 0.8, 3) ** 1.5)
        corner = rng.integers(-60, (width, height), 2)
        size = rng.integers(15, 220, 2)
        points = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size - size / 2
        turn = cv2.getRotationMatrix2D((0, 0), float(rng.normal(0, 12)), 1)[:, :2]
        cv2.fillPoly(picture, [(points @ turn.T + corner + size / 2).astype(np.int32)], colour)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if rng.random() < 0.4:
        a, period = rng.uniform(0, np.pi), rng.uniform(8, 60)
        wave = np.sin((x * np.cos(a) + y * np.sin(a)) * 2 * np.pi / period)
        picture *= (1 + rng.uniform(0.1, 0.5) * (wave > 0))[..., None]
    picture *= np.exp(0.3 * cv2.resize(rng.standard_normal((height // 8, width // 8)).astype(np.float32), (width, height)))[..., None]
    return np.clip(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 6)), 0, 2).astype(np.float32)


class Lens(NamedTuple):
    """What a camera does to light."""

    exposure: Float[np.ndarray, "3"]
    blur_px: float
    noise: float  # standard deviation in dark tones, of 255
    grey: bool


@lru_cache(1)
def _grain():
    return np.random.default_rng(0).standard_normal((1024, 1024, 3), np.float32)


def develop(
    picture: Float32[np.ndarray, "h w 3"], lens: Lens, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Linear light → sRGB 0–255 through a lens: exposure, blur, tone curve, grain."""
    picture = cv2.GaussianBlur(picture * lens.exposure.astype(np.float32), (0, 0), lens.blur_px)
    if lens.grey:
        picture = np.repeat(picture @ np.array([[0.3], [0.6], [0.1]], np.float32), 3, -1)
    code = np.minimum(picture * 1023, 1535).astype(np.int32)
    tone = _tone()[code]
    height, width = picture.shape[:2]
    y, x = rng.integers(0, 1024 - np.array([height, width]))
    grain = _grain()[y : y + height, x : x + width]
    grain = grain[..., :1] if lens.grey else grain
    return np.clip(tone + lens.noise * grain + 0.5, 0, 255).astype(np.uint8)


@lru_cache(1)
def _tone():
    light = np.arange(1536) / 1023
    soft = np.where(light < 0.7, light, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.3))
    return (255 * soft ** (1 / 2.2)).astype(np.float32)

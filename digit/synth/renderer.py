"""Rendering a posed mesh as an RGB picture."""

import functools
from typing import NamedTuple, no_type_check

import cv2
import numba
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from digit.hands.rasterizer import COMPILED, rasterize
from digit.synth.textures import GRID, TILE

FAST = numba.njit(nogil=True, cache=True, fastmath=True)
INLINE = numba.njit(nogil=True, cache=True, inline="always")
HAND, SKIN, CLOTH = 0, 1, 2  # materials of faces
NEAR_MM = 220.0
SHADOW_PX = 384


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
        return cam[:, :2] / np.maximum(cam[:, 2:], 1) * self.focal + self.princpt, cam[
            :, 2
        ]


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
    vertices: Float32[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    lights: Lights,
    target: Float[np.ndarray, "3"],
    reach_mm: float = 420.0,
) -> tuple[Float32[np.ndarray, "l s s"], Float32[np.ndarray, "l 3 4"]]:
    """Shadow maps of what lies within `reach_mm` of the target: nearness (1 / mm) of what a lamp
    sees first, and world → (u·w, v·w, w) of its map."""
    maps, cameras = [], []
    for place in lights.place:
        away = np.linalg.norm(target - place)
        z = (target - place) / away
        x = np.cross(z, [0.31, 0.2, 0.93]) / np.linalg.norm(
            np.cross(z, [0.31, 0.2, 0.93])
        )
        rotation, focal = (
            np.stack([x, np.cross(z, x), z]),
            SHADOW_PX / 2 * away / reach_mm,
        )
        lens = np.array(
            [[focal, 0, SHADOW_PX / 2], [0, focal, SHADOW_PX / 2], [0, 0, 1]]
        )
        cameras.append(lens @ np.c_[rotation, -(rotation @ place)])
        u, v, w = cameras[-1][:, :3] @ vertices.T + cameras[-1][:, 3:]
        px = np.stack([u, v], 1) / np.maximum(w, 1)[:, None]
        maps.append(1 / rasterize(px, w, faces, SHADOW_PX, SHADOW_PX)[1])
    return np.stack(maps), np.stack(cameras).astype(np.float32)


def render(
    surface: Surface,
    attributes: Float32[np.ndarray, "v 9"],
    lights: Lights,
    shadows: tuple,
    camera: Camera,
    background: Float32[np.ndarray, "h w 3"],
) -> tuple[Float32[np.ndarray, "h w 3"], tuple]:
    """The picture in linear light, and what each pixel shows: its face (−1: background) and depth
    (mm). A vertex's attributes: place (mm, world), normal, openness, texture coordinates (mm);
    shadows as from `cast_shadows`."""
    px, depth = camera.project(attributes[:, :3])
    height, width = background.shape[:2]
    drawn = np.where(
        depth < NEAR_MM, 0, depth
    )  # a camera at the head must not see the neck
    face, depth_map = rasterize(px, drawn, surface.faces, width, height)
    values, texels = (np.zeros((height, width, n), np.float32) for n in (7, 5))
    _look_up(face, px, depth, attributes, *surface, values, texels)
    singles = *lights, *shadows, camera.camrot, camera.campos_mm, camera.focal[0]
    picture = background.copy()
    _shade(face, values, texels, surface.material, *map(np.float32, singles), picture)
    return picture, (face, depth_map)


@FAST
@no_type_check
def _look_up(
    face, px, depth, attributes, faces, material, texture, hand, tiles, values, texels
):
    """Attributes and texels of what each pixel shows, perspective-correct."""
    share = np.zeros(3)
    for y in range(face.shape[0]):
        for x in range(face.shape[1]):
            f = face[y, x]
            if f < 0:
                continue
            for k in range(3):
                a, b = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
                cross = (px[a, 0] - x) * (px[b, 1] - y) - (px[b, 0] - x) * (
                    px[a, 1] - y
                )
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
                u, v = (
                    min(max(share[0], 0.0), 1.0) * GRID,
                    min(max(second, 0.0), 1.0) * GRID,
                )
                i = min(int(u), GRID - 1)
                j = min(int(v), GRID - 1 - i)
                u, v = min(u - i, 1.0), min(v - j, 1.0)
                at = i * (GRID + 1) - i * (i - 1) // 2 + j
                right, top = at + GRID + 1 - i, at + 1
                if u + v > 1 and i + j < GRID - 1:
                    at, u, v = right + 1, 1 - v, 1 - u
                for c in range(5):
                    t = hand[row, at, c]
                    texel[c] = (
                        t + u * (hand[row, right, c] - t) + v * (hand[row, top, c] - t)
                    )
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
    face,
    values,
    texels,
    material,
    place,
    colour,
    sky,
    ground,
    nearness,
    maps,
    camrot,
    campos,
    focal,
    picture,
):
    """Wrapped diffuse light that reddens where it fades (for skin), soft shadows, gloss."""
    height, width = face.shape
    light, shine = np.zeros((2, 3), np.float32)
    wrap = np.array([0.32, 0.16, 0.12], np.float32)
    for y in range(height):
        for x in range(width):
            if face[y, x] < 0:
                continue
            skin, at, gloss = (
                material[face[y, x]] != CLOTH,
                values[y, x],
                texels[y, x, 4],
            )
            eye = _from_to(at, campos)
            scale, eye = 0.5 * focal / np.sqrt(_dot(eye, eye)), _unit(eye)
            across = down = np.float32(0)
            inside = 0 < x < width - 1 and 0 < y < height - 1
            if (
                inside
                and min(face[y, x - 1], face[y, x + 1], face[y - 1, x], face[y + 1, x])
                >= 0
            ):
                # The relief tilts the normal by its slope along the picture's axes.
                across = (texels[y, x + 1, 3] - texels[y, x - 1, 3]) * scale
                down = (texels[y + 1, x, 3] - texels[y - 1, x, 3]) * scale
                across, down = min(max(across, -0.5), 0.5), min(max(down, -0.5), 0.5)
            n = _unit(
                (
                    at[3] - across * camrot[0, 0] - down * camrot[1, 0],
                    at[4] - across * camrot[0, 1] - down * camrot[1, 1],
                    at[5] - across * camrot[0, 2] - down * camrot[1, 2],
                )
            )
            edge = 1 - max(_dot(n, eye), np.float32(0))
            fresnel = (0.04 + 0.5 * edge * edge * edge * edge) * gloss
            up, free = 0.5 - 0.5 * n[1], at[6]
            for c in range(3):
                around = sky[c] * up + ground[c] * (1 - up)
                light[c] = around * (
                    free * (1.3 - 0.3 * free) if skin and c == 0 else free
                )
                shine[c] = 0.5 * fresnel * free * sky[c]
            for k in range(len(place)):
                ray = _unit(_from_to(at, place[k]))
                cosine = _dot(n, ray)
                if cosine < -0.32:
                    continue
                m, lit = maps[k], np.float32(1)
                w = _dot(m[2], at) + m[2, 3]
                u, v = (
                    (_dot(m[0], at) + m[0, 3]) / w + 0.5,
                    (_dot(m[1], at) + m[1, 3]) / w + 0.5,
                )
                if 2 <= u < SHADOW_PX - 2 and 2 <= v < SHADOW_PX - 2:
                    limit, blocked, i, j = 1 / (w - 5), 0, int(v), int(u)
                    for di in range(-2, 3, 2):
                        for dj in range(-2, 3, 2):
                            blocked += nearness[k, i + di, j + dj] > limit
                    lit = 1 - np.float32(blocked) / 9
                h = max(
                    _dot(n, _unit((ray[0] + eye[0], ray[1] + eye[1], ray[2] + eye[2]))),
                    0.0,
                )
                power = 12 + 50 * gloss  # Schlick's h / (p − p h + h) stands for h ** p
                glint = (
                    h
                    / (power - power * h + h)
                    * (power + 8)
                    / 25
                    * max(cosine, 0.0)
                    * lit
                )
                for c in range(3):
                    bent = (cosine + wrap[c]) / (1 + wrap[c]) if skin else cosine
                    soft = lit * (1.3 - 0.3 * lit) if skin and c == 0 else lit
                    light[c] += colour[k, c] * max(bent, np.float32(0)) * soft
                    shine[c] += colour[k, c] * glint * fresnel
            for c in range(3):
                picture[y, x, c] = texels[y, x, c] * light[c] + shine[c]


def studio(
    lamps: Float[np.ndarray, "n 3"], camera: Camera, width: int, height: int
) -> Float32[np.ndarray, "h w 3"]:
    """A dark room with a dome's lamps (mm, world), each a spot with the lens's star about it."""
    picture = np.full(
        (height + 52, width + 52, 3), 0.0015, np.float32
    )  # with the stars' margin
    px, depth = camera.project(lamps)
    for x, y in px[depth > 300].astype(int):
        if -26 <= x < width + 26 and -26 <= y < height + 26:
            spot = picture[max(y, 0) : y + 53, max(x, 0) : x + 53]
            spot += _star()[max(-y, 0) :, max(-x, 0) :][
                : spot.shape[0], : spot.shape[1]
            ]
    return picture[26:-26, 26:-26]


@functools.lru_cache(1)
def _star():
    y, x = np.mgrid[-26:27, -26:27]
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    rays = 0.16 * np.exp(-r / 6) * np.maximum(
        np.cos(4 * angle), 0
    ) ** 12 + 0.05 * np.exp(-r / 5)
    return (
        (1.6 / (1 + np.exp(3 * (r - 5.5))) + rays)[..., None] * [1, 1, 0.92]
    ).astype(np.float32)


def room(
    rng: np.random.Generator, width: int, height: int
) -> Float32[np.ndarray, "h w 3"]:
    """A cluttered background out of focus: muted colours, boxes, grain."""

    def colours(*size):
        grey = rng.uniform(0.03, 0.9, (*size, 1)) ** 1.8
        return (grey * np.exp(rng.normal(0, 0.22, (*size, 3)))).astype(np.float32)

    picture = cv2.resize(colours(*rng.integers(2, 7, 2)), (width, height))
    for colour in colours(rng.integers(0, 16)):
        middle, size = (
            rng.uniform(-60, (width, height)).tolist(),
            rng.uniform(12, 240, 2).tolist(),
        )
        corners = cv2.boxPoints((middle, size, rng.normal(0, 12))).astype(np.int32)
        cv2.fillPoly(picture, [corners], colour.tolist())
    cells = rng.integers(4, 120, 2)  # grain when both are many, stripes when one is few
    grain = rng.standard_normal(tuple(cells), np.float32) * np.float32(
        rng.uniform(0, 0.4)
    )
    picture *= np.exp(cv2.resize(grain, (width, height)))[..., None]
    return np.clip(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 6)), 0, 2)


def develop(
    picture: Float32[np.ndarray, "h w 3"], camera: Camera, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Linear light → sRGB 0–255: exposure, blur, tone curve, grain."""
    picture = cv2.GaussianBlur(
        picture * np.float32(camera.exposure), (0, 0), camera.blur_px
    )
    if camera.grey:
        picture = picture @ np.array([[0.3], [0.6], [0.1]], np.float32)
    tones, grain = _film()
    y, x = rng.integers(0, len(grain) - np.array(picture.shape[:2]))
    grain = grain[y:, x:, : picture.shape[2]][: picture.shape[0], : picture.shape[1]]
    toned = tones[np.minimum(picture * 1023, len(tones) - 1).astype(np.int32)]
    developed = np.clip(toned + np.float32(camera.noise) * grain, 0, 255).astype(
        np.uint8
    )
    return developed.repeat(3 // developed.shape[2], -1)


@functools.lru_cache(1)
def _film():
    """sRGB of light in steps of 1/1023 up to 1.5, bright light compressed; a field of grain."""
    light = np.arange(1536) / 1023
    soft = np.where(light < 0.7, light, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.3))
    grain = np.random.default_rng(0).standard_normal((1024, 1024, 3), np.float32)
    return (255 * soft ** (1 / 2.2)).astype(np.float32) + 0.5, grain

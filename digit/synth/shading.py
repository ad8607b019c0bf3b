"""The compiled loops of the renderer: normals, ambient occlusion, textures, light.

`renderer` calls them; `contact` uses the normals. A texel holds red, green, blue,
height (mm) and gloss. A vertex has nine attributes: place (mm, world), normal,
openness, texture coordinates (mm).
"""

from typing import no_type_check

import numba
import numpy as np

from digit.hands.rasterizer import COMPILED
from digit.synth.textures import GRID, TILE

# Sums in FAST loops may be reordered, so to rewrite an expression there may change
# the last bit of some pixels of a seed.
FAST = numba.njit(nogil=True, cache=True, fastmath=True)
INLINE = numba.njit(nogil=True, cache=True, inline="always")

# Materials of faces. A face that is neither a hand's nor one of these shows tile
# `material − 1`.
HAND, SKIN, CLOTH, HEAD, WATCH = 0, 1, 2, 3, 4
# Edge of a shadow map.
SHADOW_PX = 384
# Spheres within this distance darken a vertex: 300 mm, squared.
OCCLUDERS_WITHIN_MM2 = 90000.0
OCCLUSION = 0.55
# Light wraps around skin by so much in red, green and blue, and ends at −0.32.
WRAP = (0.32, 0.16, 0.12)
DARK_COSINE = -0.32
# Depth (mm) that a surface may lie behind its own shadow map.
SHADOW_BIAS_MM = 5
# Red light bleeds into shadows of skin: f(x) = x (BLEED − (BLEED − 1) x).
BLEED = 1.3


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
def vertex_normals(vertices, faces, shares_normal_with):
    """Unit normals (V, 3) that point outwards, weighted by the area of the faces.

    Args:
        vertices: (V, 3) places.
        faces: (F, 3) counter-clockwise from outside.
        shares_normal_with: (V,) the vertex that collects the normal of each vertex, so
            that seams of the mesh are not seen; itself where there is no seam.
    """
    normals = np.zeros_like(vertices)
    for f in range(len(faces)):
        a = vertices[faces[f, 0]]
        b = vertices[faces[f, 1]]
        c = vertices[faces[f, 2]]
        for k in range(3):
            i = (k + 1) % 3
            j = (k + 2) % 3
            # Component k of the cross product of two edges.
            n = (b[i] - a[i]) * (c[j] - a[j]) - (b[j] - a[j]) * (c[i] - a[i])
            for corner in range(3):
                vertex = faces[f, corner]
                normals[shares_normal_with[vertex], k] += n
    for v in range(len(normals)):
        x, y, z = _unit(normals[v])
        normals[v, 0] = x
        normals[v, 1] = y
        normals[v, 2] = z
    return normals[shares_normal_with]


@COMPILED
@no_type_check
def openness(vertices, normals, centres, radii):
    """The share of ambient light (V,), 0–1, that spheres leave to each vertex.

    Args:
        vertices: (V, 3) places, mm.
        normals: (V, 3) unit normals.
        centres: (S, 3) of the spheres, mm.
        radii: (S,) likewise.
    """
    result = np.ones(len(vertices), np.float32)
    for v in range(len(vertices)):
        for s in range(len(centres)):
            ray = _from_to(vertices[v], centres[s])
            square = _dot(ray, ray)
            facing = _dot(ray, normals[v])
            if square < OCCLUDERS_WITHIN_MM2 and facing > 0:
                # The sphere's solid angle, seen at the angle of the ray.
                radius2 = radii[s] ** 2
                share = facing / np.sqrt(square) * radius2 / max(square, radius2)
                result[v] *= 1 - OCCLUSION * min(share, 1.0)
    return result


@INLINE
@no_type_check
def _corner_shares(f, x, y, px, depth, faces, share):
    """Set the shares of a face's corners in pixel (x, y), perspective-correct."""
    for k in range(3):
        a = faces[f, (k + 1) % 3]
        b = faces[f, (k + 2) % 3]
        forward = (px[a, 0] - x) * (px[b, 1] - y)
        backward = (px[b, 0] - x) * (px[a, 1] - y)
        share[k] = (forward - backward) / depth[faces[f, k]]
    share /= share[0] + share[1] + share[2]


@INLINE
@no_type_check
def _hand_texel(row, share, hand, texel):
    """Set a texel of the hand, linear in a small triangle of the face's grid.

    A negative row, −1 − r, is row r with two corners swapped, as the left hand's faces
    are.
    """
    if row >= 0:
        second = share[1]
    else:
        row = -1 - row
        second = share[2]
    u = min(max(share[0], 0.0), 1.0) * GRID
    v = min(max(second, 0.0), 1.0) * GRID
    i = min(int(u), GRID - 1)
    j = min(int(v), GRID - 1 - i)
    u = min(u - i, 1.0)
    v = min(v - j, 1.0)
    # Row i of the grid has GRID + 1 − i texels.
    at = i * (GRID + 1) - i * (i - 1) // 2 + j
    right = at + GRID + 1 - i
    top = at + 1
    if u + v > 1 and i + j < GRID - 1:
        at = right + 1
        u, v = 1 - v, 1 - u
    for c in range(5):
        t = hand[row, at, c]
        along = u * (hand[row, right, c] - t)
        texel[c] = t + along + v * (hand[row, top, c] - t)


@INLINE
@no_type_check
def _tile_texel(u, v, tile, texel):
    """Set a texel of a repeating tile, bilinear; u and v in texels."""
    i = int(np.floor(v))
    j = int(np.floor(u))
    v = v - i
    u = u - j
    i0 = i % TILE
    i1 = (i + 1) % TILE
    j0 = j % TILE
    j1 = (j + 1) % TILE
    for c in range(5):
        top = (1 - u) * tile[i0, j0, c] + u * tile[i0, j1, c]
        low = (1 - u) * tile[i1, j0, c] + u * tile[i1, j1, c]
        texel[c] = (1 - v) * top + v * low


@FAST
@no_type_check
def look_up(
    face, px, depth, attributes, faces, material, texture, hand, tiles, values, texels
):
    """Interpolate attributes and texels of what each pixel shows.

    Args:
        face: (H, W) the face of each pixel, −1 for none.
        px: (V, 2) vertices in the picture.
        depth: (V,) their depths, mm.
        attributes: (V, 9) see above.
        faces: (F, 3) vertices of each face.
        material: (F,) its material.
        texture: (F,) its row in `hand`; −1 − row where two corners are swapped.
        hand: (R, T, 5) texels of the hand.
        tiles: (K, TILE, TILE, 5) tiles of the other materials.
        values: (H, W, 7) zeros, set to place, normal and openness.
        texels: (H, W, 5) zeros, set to the texels.
    """
    share = np.zeros(3)
    for y in range(face.shape[0]):
        for x in range(face.shape[1]):
            f = face[y, x]
            if f < 0:
                continue
            _corner_shares(f, x, y, px, depth, faces, share)
            u = v = 0.0
            for k in range(3):
                corner = attributes[faces[f, k]]
                for c in range(7):
                    values[y, x, c] += share[k] * corner[c]
                u = u + share[k] * corner[7]
                v = v + share[k] * corner[8]
            if material[f] == HAND:
                _hand_texel(texture[f], share, hand, texels[y, x])
            else:
                _tile_texel(u, v, tiles[material[f] - 1], texels[y, x])


@INLINE
@no_type_check
def _relief_normal(face, texels, at, camrot, scale, x, y):
    """The normal in pixel (x, y), tilted by the slope of the relief in the picture.

    The relief is left out at the edges of the picture and of what it shows.
    """
    height, width = face.shape
    across = down = np.float32(0)
    inside = 0 < x < width - 1 and 0 < y < height - 1
    if inside:
        in_row = min(face[y, x - 1], face[y, x + 1])
        in_column = min(face[y - 1, x], face[y + 1, x])
        if min(in_row, in_column) >= 0:
            across = (texels[y, x + 1, 3] - texels[y, x - 1, 3]) * scale
            down = (texels[y + 1, x, 3] - texels[y - 1, x, 3]) * scale
            across = min(max(across, -0.5), 0.5)
            down = min(max(down, -0.5), 0.5)
    return _unit(
        (
            at[3] - across * camrot[0, 0] - down * camrot[1, 0],
            at[4] - across * camrot[0, 1] - down * camrot[1, 1],
            at[5] - across * camrot[0, 2] - down * camrot[1, 2],
        )
    )


@INLINE
@no_type_check
def _unshadowed(at, to_map, nearness):
    """The share of a lamp, 0–1, that reaches a place: nine taps of its shadow map."""
    w = _dot(to_map[2], at) + to_map[2, 3]
    u = (_dot(to_map[0], at) + to_map[0, 3]) / w + 0.5
    v = (_dot(to_map[1], at) + to_map[1, 3]) / w + 0.5
    lit = np.float32(1)
    if 2 <= u < SHADOW_PX - 2 and 2 <= v < SHADOW_PX - 2:
        limit = 1 / (w - SHADOW_BIAS_MM)
        blocked = 0
        i = int(v)
        j = int(u)
        for di in range(-2, 3, 2):
            for dj in range(-2, 3, 2):
                blocked += nearness[i + di, j + dj] > limit
        lit = 1 - np.float32(blocked) / 9
    return lit


@INLINE
@no_type_check
def _glint(n, ray, eye, gloss, cosine, lit):
    """The highlight of a lamp (Blinn 1977), its power approximated (Schlick 1994)."""
    half = _unit((ray[0] + eye[0], ray[1] + eye[1], ray[2] + eye[2]))
    h = max(_dot(n, half), 0.0)
    power = 12 + 50 * gloss
    peak = h / (power - power * h + h)
    return peak * (power + 8) / 25 * max(cosine, 0.0) * lit


@FAST
@no_type_check
def shade(
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
    """Light what each pixel shows: diffuse light, wrapped around skin; shadows; gloss.

    Args:
        face: (H, W) the face of each pixel, −1 for the background, which stays as it
            is.
        values: (H, W, 7) place (mm, world), normal and openness.
        texels: (H, W, 5) see above.
        material: (F,) of the faces.
        place: (L, 3) lamps, mm.
        colour: (L, 3) their light.
        sky: (3,) light from above.
        ground: (3,) light from below.
        nearness: (L, S, S) shadow maps: 1 / depth of what each lamp sees.
        maps: (L, 3, 4) world → shadow map.
        camrot: (3, 3) world → camera.
        campos: (3,) the camera's place, mm.
        focal: Focal length, px.
        picture: (H, W, 3) the background, painted over.
    """
    light, shine = np.zeros((2, 3), np.float32)
    wrap = np.array(WRAP, np.float32)
    for y in range(face.shape[0]):
        for x in range(face.shape[1]):
            if face[y, x] < 0:
                continue
            is_skin = material[face[y, x]] != CLOTH
            at = values[y, x]
            gloss = texels[y, x, 4]

            # 1. The normal, with relief, and the reflectance towards the eye.
            to_eye = _from_to(at, campos)
            scale = 0.5 * focal / np.sqrt(_dot(to_eye, to_eye))
            eye = _unit(to_eye)
            n = _relief_normal(face, texels, at, camrot, scale, x, y)
            edge = 1 - max(_dot(n, eye), np.float32(0))
            fresnel = (0.04 + 0.5 * edge * edge * edge * edge) * gloss

            # 2. Light from everywhere.
            up = 0.5 - 0.5 * n[1]
            free = at[6]
            for c in range(3):
                around = sky[c] * up + ground[c] * (1 - up)
                bleeds = is_skin and c == 0
                seen = free * (BLEED - (BLEED - 1) * free) if bleeds else free
                light[c] = around * seen
                shine[c] = 0.5 * fresnel * free * sky[c]

            # 3. Light of the lamps.
            for k in range(len(place)):
                ray = _unit(_from_to(at, place[k]))
                cosine = _dot(n, ray)
                if cosine < DARK_COSINE:
                    continue
                lit = _unshadowed(at, maps[k], nearness[k])
                glint = _glint(n, ray, eye, gloss, cosine, lit)
                for c in range(3):
                    bent = (cosine + wrap[c]) / (1 + wrap[c]) if is_skin else cosine
                    bleeds = is_skin and c == 0
                    soft = lit * (BLEED - (BLEED - 1) * lit) if bleeds else lit
                    light[c] += colour[k, c] * max(bent, np.float32(0)) * soft
                    shine[c] += colour[k, c] * glint * fresnel

            # 4. What the surface sends to the camera.
            for c in range(3):
                picture[y, x, c] = texels[y, x, c] * light[c] + shine[c]

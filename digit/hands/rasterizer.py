"""The z-buffer: projected triangles → what each pixel sees.

Masks, synthetic pictures and meshes over photographs are drawn with it. Pixel centres
lie at integer coordinates (x column, y row). Depth is measured along the camera's z
axis; between vertices its inverse is linear in the image, so that depths are
perspective-correct. The loops are compiled by numba and release the GIL: threads run
in parallel.
"""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Float32, Int, Shaped

# A face with a vertex nearer than this, or behind the camera, is not drawn.
NEAR_MM = 1.0
# Twice the area (px²) below which a triangle is a line.
SMALLEST_AREA = 1e-9
# Pixel centres this close to an edge (px) belong to both of its faces: closes seams.
SEAM_PX = 1e-9

# "numpy" leaves out checks of divisors.
COMPILED = numba.njit(nogil=True, cache=True, error_model="numpy")


def rasterize(
    vertices_px: Float[np.ndarray, "v 2"],
    depth: Float[np.ndarray, "v"],
    faces: Int[np.ndarray, "f 3"],
    width: int,
    height: int,
    face_value: Shaped[np.ndarray, "f"] | None = None,
    cull: bool = True,
) -> tuple[Shaped[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """What each pixel sees of a mesh, and how deep it lies.

    Args:
        vertices_px: Projected vertices.
        depth: Their depths, mm. Faces with a vertex that is not finite or nearer than
            1 mm are left out.
        faces: Counter-clockwise as seen from outside.
        width: Of the picture, px.
        height: Of the picture, px.
        face_value: What a pixel gets from the face that it sees; by default the face's
            number.
        cull: Leave out faces seen from behind, which a closed mesh hides anyhow.

    Returns:
        The value of the nearest face at each pixel, where there is none −1 (or 0 where
        `face_value` is given); and its depth, mm, infinite where there is none.
    """
    if face_value is None:
        seen = np.full((height, width), -1, np.int32)
        face_value = np.arange(len(faces), dtype=np.int32)
    else:
        seen = np.zeros((height, width), face_value.dtype)
    nearness = np.zeros((height, width), np.float32)
    draw(vertices_px, depth, faces, face_value, seen, nearness, cull)
    with np.errstate(divide="ignore"):
        return seen, 1 / nearness


@COMPILED
@no_type_check
def draw(vertices_px, depth, faces, face_value, seen, nearness, cull):
    """Draw faces into `seen` and `nearness`, which are changed.

    Args:
        vertices_px, depth, faces, face_value, cull: As of `rasterize`.
        seen: (height, width), values of the nearest faces so far.
        nearness: (height, width) float32, 1 / depth; 0 is empty.

    Returns:
        The box (x0, y0, x1, y1), upper ends excluded, that holds all changes.
    """
    height, width = seen.shape
    left = width
    top = height
    right = 0
    bottom = 0
    for f in range(faces.shape[0]):
        # 1. The corners, in a plain order; y is down, so a front face has area > 0.
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = depth[a], depth[b], depth[c]
        if not (za > NEAR_MM and zb > NEAR_MM and zc > NEAR_MM):
            continue
        xa, ya = np.float64(vertices_px[a, 0]), np.float64(vertices_px[a, 1])
        xb, yb = np.float64(vertices_px[b, 0]), np.float64(vertices_px[b, 1])
        xc, yc = np.float64(vertices_px[c, 0]), np.float64(vertices_px[c, 1])
        area = (xc - xa) * (yb - ya) - (xb - xa) * (yc - ya)
        if area < 0 and not cull:
            xb, yb, zb, xc, yc, zc, area = xc, yc, zc, xb, yb, zb, -area
        if not SMALLEST_AREA < area < np.inf:
            continue

        # 2. The pixels that may lie inside.
        x_low, x_high = max(min(xa, xb, xc), 0.0), min(max(xa, xb, xc), width - 1.0)
        y_low, y_high = max(min(ya, yb, yc), 0.0), min(max(ya, yb, yc), height - 1.0)
        if not (x_low <= x_high and y_low <= y_high):
            continue
        x0, x1 = int(np.ceil(x_low)), int(x_high) + 1
        y0, y1 = int(np.ceil(y_low)), int(y_high) + 1
        left, top = min(left, x0), min(top, y0)
        right, bottom = max(right, x1), max(bottom, y1)

        # 3. A corner's share of a point (barycentric coordinate) is linear in x and y:
        #    its value at (x0, y0), and its slopes.
        of_a = _share(x0, y0, xb, yb, xc, yc, area)
        of_b = _share(x0, y0, xc, yc, xa, ya, area)
        of_c = _share(x0, y0, xa, ya, xb, yb, area)
        corner_depth = (za, zb, zc)
        _fill(
            seen,
            nearness,
            face_value[f],
            (x0, y0, x1, y1),
            of_a,
            of_b,
            of_c,
            corner_depth,
        )
    return left, top, right, bottom


@COMPILED
@no_type_check
def _share(x0, y0, x_next, y_next, x_last, y_last, area):
    """A corner's share at (x0, y0), and its slopes along x and y; the corner faces the
    edge from "next" to "last"."""
    dx = (y_last - y_next) / area
    dy = (x_next - x_last) / area
    return (x0 - x_next) * dx + (y0 - y_next) * dy, dx, dy


@COMPILED
@no_type_check
def _fill(seen, nearness, value, box, of_a, of_b, of_c, corner_depth):
    """Draw one triangle, row by row."""
    x0, y0, x1, y1 = box
    share_a, a_dx, a_dy = of_a
    share_b, b_dx, b_dy = of_b
    share_c, c_dx, c_dy = of_c
    za, zb, zc = corner_depth
    near_row = share_a / za + share_b / zb + share_c / zc
    near_dx = a_dx / za + b_dx / zb + c_dx / zc
    near_dy = a_dy / za + b_dy / zb + c_dy / zc
    for y in range(y0, y1):
        # The part of the row where no share is negative
        first, last = _clip_span(0.0, x1 - 1.0 - x0, share_a, a_dx)
        first, last = _clip_span(first, last, share_b, b_dx)
        first, last = _clip_span(first, last, share_c, c_dx)
        if first <= last + 2 * SEAM_PX:
            for k in range(int(np.ceil(first - SEAM_PX)), int(last + SEAM_PX) + 1):
                near = np.float32(near_row + k * near_dx)
                if near > nearness[y, x0 + k]:
                    nearness[y, x0 + k] = near
                    seen[y, x0 + k] = value
        share_a += a_dy
        share_b += b_dy
        share_c += c_dy
        near_row += near_dy


@COMPILED
@no_type_check
def _clip_span(first, last, share, slope):
    """The part of first…last where share + slope · k ≥ 0; last < first if empty."""
    if slope > 0:
        return max(first, -share / slope), last
    if slope < 0:
        return first, min(last, -share / slope)
    return first, last if share >= 0 else -1.0

"""The z-buffer: triangles in the image → what each pixel sees.

Pixel centres lie at integer coordinates (x column, y row). Depth is measured along the camera's z
axis; between vertices its inverse is linear in the image, so depths are perspective-correct. All
loops are compiled by numba without the GIL: threads run in parallel.
"""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Float32, Int, Shaped

NEAR_MM = (
    1.0  # a face with a vertex nearer than this, or behind the camera, is not drawn
)
COMPILED = numba.njit(
    nogil=True, cache=True, error_model="numpy"
)  # no check of divisors


def rasterize(
    vertices_px: Float[np.ndarray, "v 2"],
    depth: Float[np.ndarray, "v"],
    faces: Int[np.ndarray, "f 3"],
    width: int,
    height: int,
    face_value: Shaped[np.ndarray, "f"] | None = None,
    cull: bool = True,
) -> tuple[Shaped[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """What each pixel sees of a mesh, and how deep it lies (mm; inf where nothing is seen).

    The first array holds the number of the nearest face, −1 where there is none; or, given
    `face_value`, that face's value, 0 where there is none. Faces are counter-clockwise from
    outside; `cull` leaves out those seen from behind, which a closed mesh hides anyhow. Faces with
    a vertex that is not finite or nearer than 1 mm are left out.
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
    """Draw faces into `seen` and `nearness` (1 / depth; 0 is empty), which it changes; the box
    (x0, y0, x1, y1), upper ends excluded, that holds all changes is returned."""
    height, width = seen.shape
    left, top, right, bottom = width, height, 0, 0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = depth[a], depth[b], depth[c]
        if not (za > NEAR_MM and zb > NEAR_MM and zc > NEAR_MM):
            continue
        xa, ya = np.float64(vertices_px[a, 0]), np.float64(vertices_px[a, 1])
        xb, yb = np.float64(vertices_px[b, 0]), np.float64(vertices_px[b, 1])
        xc, yc = np.float64(vertices_px[c, 0]), np.float64(vertices_px[c, 1])
        area = (xc - xa) * (yb - ya) - (xb - xa) * (
            yc - ya
        )  # > 0 for a front face: y is down
        if area < 0 and not cull:
            xb, yb, zb, xc, yc, zc, area = xc, yc, zc, xb, yb, zb, -area
        if not 1e-9 < area < np.inf:
            continue
        x_low, x_high = max(min(xa, xb, xc), 0.0), min(max(xa, xb, xc), width - 1.0)
        y_low, y_high = max(min(ya, yb, yc), 0.0), min(max(ya, yb, yc), height - 1.0)
        if not (x_low <= x_high and y_low <= y_high):
            continue
        x0, x1 = int(np.ceil(x_low)), int(x_high) + 1
        y0, y1 = int(np.ceil(y_low)), int(y_high) + 1
        left, top, right, bottom = (
            min(left, x0),
            min(top, y0),
            max(right, x1),
            max(bottom, y1),
        )

        # A corner's share of a point is linear in x and y: its value at (x0, y0) and its slopes.
        a_dx, a_dy = (yc - yb) / area, (xb - xc) / area
        b_dx, b_dy = (ya - yc) / area, (xc - xa) / area
        c_dx, c_dy = (yb - ya) / area, (xa - xb) / area
        share_a = (x0 - xb) * a_dx + (y0 - yb) * a_dy
        share_b = (x0 - xc) * b_dx + (y0 - yc) * b_dy
        share_c = (x0 - xa) * c_dx + (y0 - ya) * c_dy
        near_row = share_a / za + share_b / zb + share_c / zc
        near_dx = a_dx / za + b_dx / zb + c_dx / zc
        near_dy = a_dy / za + b_dy / zb + c_dy / zc
        value = face_value[f]
        for y in range(y0, y1):
            first, last = _clip_span(0.0, x1 - 1.0 - x0, share_a, a_dx)
            first, last = _clip_span(first, last, share_b, b_dx)
            first, last = _clip_span(first, last, share_c, c_dx)
            if first <= last + 2e-9:  # the margin closes seams between faces
                for k in range(int(np.ceil(first - 1e-9)), int(last + 1e-9) + 1):
                    near = np.float32(near_row + k * near_dx)
                    if near > nearness[y, x0 + k]:
                        nearness[y, x0 + k] = near
                        seen[y, x0 + k] = value
            share_a += a_dy
            share_b += b_dy
            share_c += c_dy
            near_row += near_dy
    return left, top, right, bottom


@COMPILED
@no_type_check
def _clip_span(first, last, share, slope):
    """The part of first…last where share + slope · k ≥ 0; last < first where there is none."""
    if slope > 0:
        return max(first, -share / slope), last
    if slope < 0:
        return first, min(last, -share / slope)
    return first, last if share >= 0 else -1.0

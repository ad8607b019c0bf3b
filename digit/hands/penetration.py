"""How deep two hand meshes reach into each other. Called for fitted predictions."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int

from digit.hands.rasterizer import COMPILED

# About half the distance between neighbouring vertices of a hand mesh: a point that is
# farther to the side of its nearest vertex is not judged by that vertex's normal.
NEIGHBOURHOOD_MM = 2.5


def penetration_mm(
    first_mm: Float[np.ndarray, "v 3"],
    first_faces: Int[np.ndarray, "f 3"],
    second_mm: Float[np.ndarray, "w 3"],
    second_faces: Int[np.ndarray, "g 3"],
) -> float:
    """The greatest depth (mm) of a vertex of either closed mesh inside the other.

    Depth is measured along the normal of the other mesh's nearest vertex; 0 where no
    vertex is inside.
    """
    if not (np.isfinite(first_mm).all() and np.isfinite(second_mm).all()):
        return float("nan")
    first_normals = vertex_normals(first_mm, first_faces)
    second_normals = vertex_normals(second_mm, second_faces)
    first_in_second = _depth_inside(first_mm, second_mm, second_normals)
    second_in_first = _depth_inside(second_mm, first_mm, first_normals)
    return float(max(first_in_second, second_in_first))


def vertex_normals(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "v 3"]:
    """Unit normals of vertices, outwards: means of their faces', by area."""
    first, second, third = vertices[faces].swapaxes(0, 1)
    of_face = np.cross(second - first, third - first)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], of_face)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return normals / np.maximum(length, 1e-12)


@COMPILED
@no_type_check
def _depth_inside(points, vertices, normals):
    """The greatest depth of points inside a mesh, 0 for none."""
    deepest = 0.0
    for i in range(len(points)):
        # The nearest vertex
        nearest = 0
        smallest = np.inf
        for j in range(len(vertices)):
            x = points[i, 0] - vertices[j, 0]
            y = points[i, 1] - vertices[j, 1]
            z = points[i, 2] - vertices[j, 2]
            square = x * x + y * y + z * z
            if square < smallest:
                smallest = square
                nearest = j
        # How far the point lies below the surface there, and how far to the side
        below = 0.0
        for axis in range(3):
            offset = points[i, axis] - vertices[nearest, axis]
            below -= offset * normals[nearest, axis]
        aside = np.sqrt(max(smallest - below * below, 0.0))
        if below > deepest and aside < 2 * NEIGHBOURHOOD_MM:
            deepest = below
    return deepest

"""How near two hand meshes come to each other, and how deep one reaches into the other.

Called for the meshes of predictions, and by the generator, which parts hands.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int

from digit.hands.rasterizer import COMPILED


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
    _, first_in_second, _ = measure_contact(first_mm, second_mm, second_normals)
    _, second_in_first, _ = measure_contact(second_mm, first_mm, first_normals)
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
def measure_contact(vertices, other, other_normals):
    """How near a mesh's vertices come to another mesh, and how deep they lie inside.

    Args:
        vertices: (V, 3) vertices of a mesh, mm.
        other: (W, 3) vertices of the other mesh.
        other_normals: (W, 3) their unit normals.

    Returns:
        The smallest distance (mm; 0 if any vertex is inside), the greatest depth inside
        (mm), and the mean of the other's normals where vertices are inside, of length
        one.
    """
    # Vertices lie within this distance of a neighbour, so a nearest vertex may be off
    # by it.
    spacing = 2.5
    gap = np.inf
    depth = 0.0
    push = np.zeros(3)
    for i in range(len(vertices)):
        vertex = vertices[i]

        # 1. The nearest vertex of the other mesh.
        best = np.inf
        nearest = 0
        for j in range(len(other)):
            x = vertex[0] - other[j, 0]
            y = vertex[1] - other[j, 1]
            z = vertex[2] - other[j, 2]
            square = x * x + y * y + z * z
            if square < best:
                best = square
                nearest = j

        # 2. Distance along its normal, and aside from it.
        normal = other_normals[nearest]
        height = ((vertex - other[nearest]) * normal).sum()
        aside2 = max(best - height * height, 0.0)
        aside = np.sqrt(aside2) - spacing
        if height < 0 and aside < spacing:
            depth = max(depth, -height)
            push -= height * normal
        else:
            aside = max(aside, 0.0)
            distance = np.sqrt(height * height + aside**2)
            gap = min(gap, distance)

    # 3. The mean direction.
    size = np.sqrt((push * push).sum())
    if size > 0:
        gap = 0.0
    return gap, depth, push / max(size, 1e-9)

"""Hand meshes drawn over photographs, from the side, and to be turned with the mouse.

Called by notebooks and by `digit predict --figure` with the meshes of
`digit.hands.meshes`.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int
from matplotlib.figure import Figure

from digit.hands.meshes import SIDE_COLORS, HandMesh
from digit.hands.penetration import vertex_normals
from digit.hands.rasterizer import rasterize
from digit.plots.hands import contact_sheet
from digit.plots.interactive import InteractiveFigure
from digit.plots.style import PLOTLY, RGB, VIEW_DIRECTION

SUPERSAMPLING = 2  # pixels drawn per pixel shown, along each axis
# Light from behind the viewer's left shoulder, in camera axes, and what is left of it
# where it does not reach; by eye.
LIGHT_DIRECTION = np.array([-0.35, -0.45, -0.82])
AMBIENT = 0.35
HATCH_DARKNESS = 0.72  # of the left hand's hatching

# Rotations from the camera's axes (x right, y down, z forward) to those of a viewer.
FROM_CAMERA = np.eye(3)
FROM_RIGHT = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])  # z becomes x to the left
FROM_ABOVE = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # z becomes y upwards


def overlay_meshes(
    image: RGB,
    meshes: Sequence[HandMesh],
    focal: Float[np.ndarray, "2"],
    princpt: Float[np.ndarray, "2"],
    opacity: float = 0.8,
) -> RGB:
    """Draw shaded hand meshes over a photograph; the left hand is hatched.

    Args:
        image: The photograph.
        meshes: Hands in the camera frame.
        focal: Focal lengths of the photograph's camera, px.
        princpt: Its principal point, px.
        opacity: Of the meshes.

    Returns:
        A new picture.
    """
    if not meshes:
        return image.copy()
    points, _, _ = _joined(meshes)
    height, width = image.shape[:2]
    projected_px = points[:, :2] / points[:, 2:] * focal + princpt
    paint, cover = _render(meshes, points, projected_px, points[:, 2], width, height)
    alpha = cover[..., None] * opacity
    return np.round(image * (1 - alpha) + paint * alpha).astype(np.uint8)


def side_view(meshes: Sequence[HandMesh], size_px: int = 320) -> RGB:
    """Draw hand meshes as seen from the camera's right, without perspective.

    Args:
        meshes: Hands in the camera frame.
        size_px: Width and height of the picture.

    Returns:
        A picture on white: depth grows to the left, down is down.
    """
    return parallel_view(meshes, FROM_RIGHT, size_px)


def parallel_view(
    meshes: Sequence[HandMesh], to_viewer: Float[np.ndarray, "3 3"], size_px: int = 320
) -> RGB:
    """Draw hand meshes as a viewer sees them from afar, without perspective.

    Args:
        meshes: Hands in the camera frame.
        to_viewer: Rotation to the viewer's axes: x right, y down, z forward.
        size_px: Width and height of the picture.

    Returns:
        A picture on white; the hands fill nine tenths of it.
    """
    white = np.full((size_px, size_px, 3), 255.0)
    if not meshes:
        return white.astype(np.uint8)

    # 1. The hands in the viewer's axes, in the middle of the picture.
    turned = [_with_vertices(mesh, mesh.vertices_mm @ to_viewer.T) for mesh in meshes]
    points, _, _ = _joined(turned)
    low = points.min(0)
    extent_mm = (points.max(0) - low)[:2].max()
    scale = 0.9 * size_px / extent_mm
    middle = (points.max(0) + low)[:2] / 2
    projected_px = (points[:, :2] - middle) * scale + size_px / 2

    # 2. Painted on white.
    depth = points[:, 2] - low[2] + 100.0  # any depth before the eye
    paint, cover = _render(turned, points, projected_px, depth, size_px, size_px)
    alpha = cover[..., None]
    return np.round(white * (1 - alpha) + paint * alpha).astype(np.uint8)


def three_views(meshes: Sequence[HandMesh]) -> Figure:
    """Hand meshes from the camera, from its right and from above, side by side."""
    views = {
        "from the camera": FROM_CAMERA,
        "from the camera's right": FROM_RIGHT,
        "from above": FROM_ABOVE,
    }
    pictures = [parallel_view(meshes, to_viewer) for to_viewer in views.values()]
    return contact_sheet(pictures, list(views), columns=3)


def meshes_rotatable(meshes: Sequence[HandMesh]) -> InteractiveFigure:
    """Hand meshes as a plotly figure that is turned with the mouse.

    Args:
        meshes: Hands in the camera frame.

    Returns:
        The figure; its static picture is that of `three_views`.
    """
    figure = InteractiveFigure()
    for mesh in meshes:
        x, y, z = mesh.vertices_mm.T
        i, j, k = mesh.faces.T
        red, green, blue, _ = SIDE_COLORS[mesh.side]
        figure.add_mesh3d(
            x=x,
            y=y,
            z=z,
            i=i,
            j=j,
            k=k,
            color=f"rgb({red},{green},{blue})",
            name=mesh.name.replace("_", " "),
            showlegend=True,
            flatshading=False,
            hovertemplate="%{x:.0f}, %{y:.0f}, %{z:.0f} mm<extra></extra>",
        )
    eye = dict(zip("xyz", (2.2 * VIEW_DIRECTION).tolist(), strict=True))
    camera = {"eye": eye, "up": {"x": 0, "y": -1, "z": 0}}
    titles = {f"{axis}axis": {"title": f"{axis} (mm)"} for axis in "xyz"}
    figure.update_scenes(titles, aspectmode="data", camera=camera)
    figure.update_layout(PLOTLY, height=440)
    return figure.set_static_picture(three_views(meshes))


def _with_vertices(mesh: HandMesh, vertices_mm: Float[np.ndarray, "v 3"]) -> HandMesh:
    """The mesh with its vertices elsewhere."""
    return HandMesh(**{**vars(mesh), "vertices_mm": vertices_mm.astype(np.float32)})


def _joined(
    meshes: Sequence[HandMesh],
) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "m 3"], Int[np.ndarray, "m"]]:
    """All vertices and faces, and the mesh that each face belongs to."""
    first = 0
    points, faces, owner = [], [], []
    for number, mesh in enumerate(meshes):
        points.append(mesh.vertices_mm.astype(np.float64))
        faces.append(mesh.faces + first)
        owner.append(np.full(len(mesh.faces), number))
        first += len(mesh.vertices_mm)
    return np.concatenate(points), np.concatenate(faces), np.concatenate(owner)


def _render(
    meshes: Sequence[HandMesh],
    points: Float[np.ndarray, "n 3"],
    projected_px: Float[np.ndarray, "n 2"],
    depth: Float[np.ndarray, "n"],
    width: int,
    height: int,
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Shaded meshes, and the share of each pixel that they cover."""
    _, faces, owner = _joined(meshes)
    # 1. What each sample sees. Sample s of pixel x lies at x + (s + 0.5) / n − 0.5.
    samples_px = (projected_px + 0.5) * SUPERSAMPLING - 0.5
    wide, high = width * SUPERSAMPLING, height * SUPERSAMPLING
    face, _ = rasterize(samples_px, depth, faces, wide, high)
    seen = face >= 0

    # 2. Diffuse light on each face, its normal the mean of its corners'.
    normals = vertex_normals(points, faces)[faces].mean(1)
    light = LIGHT_DIRECTION / np.linalg.norm(LIGHT_DIRECTION)
    brightness = AMBIENT + (1 - AMBIENT) * np.clip(normals @ light, 0, 1)
    side_color = np.array([SIDE_COLORS[mesh.side][:3] for mesh in meshes], np.float32)
    color = side_color[owner] * brightness[:, None].astype(np.float32)

    # 3. Diagonal lines over the left hand.
    is_left = np.array([mesh.side == "left" for mesh in meshes])[owner]
    spacing = SUPERSAMPLING * max(4, height // 40)
    on_line = np.indices(face.shape).sum(0) % spacing < SUPERSAMPLING
    paint = np.where(seen[..., None], color[face], 0.0)
    paint[on_line & seen & is_left[face]] *= HATCH_DARKNESS

    # 4. Average the samples of each pixel; colour over those that are covered.
    cover = _averaged(seen.astype(np.float32))
    paint = _averaged(paint.astype(np.float32))
    return paint / np.maximum(cover, 1e-6)[..., None], cover


def _averaged(samples: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Means over the samples of each pixel."""
    size = (samples.shape[1] // SUPERSAMPLING, samples.shape[0] // SUPERSAMPLING)
    return cv2.resize(samples, size, interpolation=cv2.INTER_AREA)

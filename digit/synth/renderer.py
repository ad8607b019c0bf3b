"""From a posed mesh to a picture in linear light.

`capture` renders with it; `cameras` and `viewpoints` make its cameras and lights. Light
is linear RGB, about 0–1 before exposure. The loops over pixels are in `shading`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from digit.hands.rasterizer import rasterize
from digit.synth.arrays import (
    Faces,
    HandTexture,
    Indices,
    LinearRgb,
    Points,
    Rotation,
    Vector,
)
from digit.synth.shading import SHADOW_PX, look_up, shade

# Faces nearer than this are not drawn: a camera at the head must not see the neck.
NEAR_MM = 220.0
# A direction that no lamp's axis is parallel to; it fixes how shadow maps are turned.
_SIDEWAYS = [0.31, 0.2, 0.93]


class Lights(NamedTuple):
    """Lamps, and the light from above and below."""

    place_mm: Float[np.ndarray, "l 3"]  # world
    colour: Float[np.ndarray, "l 3"]
    sky: Vector
    ground: Vector


class Surface(NamedTuple):
    """Faces of a scene, their materials and textures."""

    faces: Faces
    material: Indices
    # The hand face whose texels a face shows; −1 − that where two corners are swapped,
    # as in the left hand.
    texture: Indices
    hand: HandTexture  # texels of the hand
    tiles: Float32[np.ndarray, "k s s 5"]  # of the other materials, from 1 on


class Camera(NamedTuple):
    """A pinhole camera in the world (mm; px)."""

    name: str
    camrot: Rotation
    campos_mm: Vector
    focal: Float[np.ndarray, "2"]
    princpt: Float[np.ndarray, "2"]

    def project(
        self,
        points_mm: Points,
    ) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
        """Pixels and depths (mm) of world points; depths under 1 mm count as 1 mm."""
        in_camera = (points_mm.astype(float) - self.campos_mm) @ self.camrot.T
        depth = in_camera[:, 2]
        flat = in_camera[:, :2] / np.maximum(in_camera[:, 2:], 1)
        return flat * self.focal + self.princpt, depth


class Sensor(NamedTuple):
    """What a camera's lens and sensor do to light, for `film.develop`."""

    exposure: Vector
    blur_px: float
    noise: float  # standard deviation, of 255
    grey: bool


class Shadows(NamedTuple):
    """The shadow map of each lamp."""

    nearness: Float32[np.ndarray, "l s s"]  # 1 / mm of what the lamp sees first
    world_to_map: Float32[np.ndarray, "l 3 4"]  # → (u·w, v·w, w)


class Seen(NamedTuple):
    """What each pixel of a picture shows."""

    face: Int[np.ndarray, "h w"]  # −1 for the background
    depth_mm: Float32[np.ndarray, "h w"]


def cast_shadows(
    vertices_mm: Float32[np.ndarray, "v 3"],
    faces: Faces,
    lights: Lights,
    target_mm: Vector,
    reach_mm: float = 420.0,
) -> Shadows:
    """Render the shadow map of each lamp.

    Args:
        vertices_mm: Vertices of the scene, in the world.
        faces: Its faces.
        lights: The lamps.
        target_mm: What the lamps look at.
        reach_mm: Half the edge of the square around the target that a map shows.
    """
    maps = []
    cameras = []
    centre = SHADOW_PX / 2
    for place in lights.place_mm:
        # 1. A camera at the lamp.
        away = np.linalg.norm(target_mm - place)
        z = (target_mm - place) / away
        x = np.cross(z, _SIDEWAYS)
        x = x / np.linalg.norm(x)
        y = np.cross(z, x)
        rotation = np.stack([x, y, z])
        translation = -(rotation @ place)
        focal = centre * away / reach_mm
        lens = np.array(
            [
                [focal, 0, centre],
                [0, focal, centre],
                [0, 0, 1],
            ]
        )
        camera = lens @ np.c_[rotation, translation]

        # 2. What it sees.
        u, v, w = camera[:, :3] @ vertices_mm.T + camera[:, 3:]
        px = np.stack([u, v], 1)
        px = px / np.maximum(w, 1)[:, None]
        _, depth = rasterize(px, w, faces, SHADOW_PX, SHADOW_PX)
        maps.append(1 / depth)
        cameras.append(camera)
    return Shadows(np.stack(maps), np.stack(cameras).astype(np.float32))


def render(
    surface: Surface,
    attributes: Float32[np.ndarray, "v 9"],
    lights: Lights,
    shadows: Shadows,
    camera: Camera,
    background: LinearRgb,
    near_mm: float = NEAR_MM,
) -> tuple[LinearRgb, Seen]:
    """Render a scene before a background.

    Args:
        surface: Its faces and textures.
        attributes: Of its vertices: place (mm, world), normal, openness, texture
            coordinates (mm).
        lights: The lamps.
        shadows: As from `cast_shadows`.
        camera: From where it is seen.
        background: What is seen where there is no face; gives the picture's size.
        near_mm: Faces nearer than this are not drawn.

    Returns:
        The picture in linear light, and what each pixel shows.
    """
    # 1. Which face each pixel shows.
    px, depth = camera.project(attributes[:, :3])
    height, width = background.shape[:2]
    is_near = depth < near_mm
    drawn_depth = np.where(is_near, 0, depth)
    face, depth_map = rasterize(
        px,
        drawn_depth,
        surface.faces,
        width,
        height,
    )

    # 2. Attributes and texels there.
    values = np.zeros((height, width, 7), np.float32)
    texels = np.zeros((height, width, 5), np.float32)
    look_up(
        face,
        px,
        depth,
        attributes,
        surface.faces,
        surface.material,
        surface.texture,
        surface.hand,
        surface.tiles,
        values,
        texels,
    )

    # 3. Light, in single precision.
    picture = background.copy()
    single = np.float32
    shade(
        face,
        values,
        texels,
        surface.material,
        single(lights.place_mm),
        single(lights.colour),
        single(lights.sky),
        single(lights.ground),
        single(shadows.nearness),
        single(shadows.world_to_map),
        single(camera.camrot),
        single(camera.campos_mm),
        single(camera.focal[0]),
        picture,
    )
    return picture, Seen(face, depth_map)

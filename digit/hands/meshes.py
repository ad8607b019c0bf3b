"""Meshes of the hands of one image, and the files that they are written to.

`fit_meshes` fits hand models to an image's joints; `write_meshes` writes GLB and OBJ
for other programs, and NPZ with the parameters. Called by `digit predict --mesh`,
the notebooks and the plots of meshes over photographs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Float32, Int
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from digit.files import atomic
from digit.hands.fitting import fit_joints
from digit.hands.model import HandModel
from digit.hands.penetration import penetration_mm
from digit.hands.solver import FitSettings
from digit.skeleton import JOINTS_PER_HAND, SIDES

# Joints that a network predicts are off by about a centimetre, those of a good frame by
# half of it: the priors count accordingly. By eye.
PREDICTED = FitSettings(joint_noise_mm=5.0)
# A greater mean distance between fitted and given joints is reported: joints of real
# hands are fitted to within 4 mm, mirrored ones rarely better than this. By eye.
MAX_RESIDUAL_MM = 12.0
# Skin gives way by a few millimetres where hands touch.
MAX_PENETRATION_MM = 5.0
# Orange and sky blue of Okabe and Ito's colours.
SIDE_COLORS = {"right": (230, 159, 0, 255), "left": (86, 180, 233, 255)}
SUFFIXES = (".glb", ".obj", ".npz")


@dataclass(frozen=True)
class HandMesh:
    """A fitted hand of one image, in the camera frame of its joints."""

    side: str
    hand_model: str
    pose: Float32[np.ndarray, "48"]  # axis-angle, rad
    shape: Float32[np.ndarray, "10"]
    trans_m: Float32[np.ndarray, "3"]
    vertices_mm: Float32[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    residual_mm: float  # mean distance of its joints from the given ones

    @property
    def name(self) -> str:
        """The mesh's name in files: "right_hand" or "left_hand"."""
        return f"{self.side}_hand"


def fit_meshes(
    hands: Sequence[HandModel],
    joints_cam_mm: Float[np.ndarray, "42 3"],
    present: Bool[np.ndarray, "2"] | Sequence[bool],
    settings: FitSettings = PREDICTED,
) -> list[HandMesh]:
    """Fit the hands of one image.

    Args:
        hands: Hand models of the right and the left hand.
        joints_cam_mm: Joints of both hands in the camera frame; NaN for unknown ones.
        present: Which of the hands are there.
        settings: What is expected of the joints.

    Returns:
        A mesh for each hand that is there and has enough joints, right before left.
    """
    meshes = []
    for side, hand in enumerate(hands):
        if not present[side]:
            continue
        joints = joints_cam_mm[side * JOINTS_PER_HAND :][:JOINTS_PER_HAND]
        fits = fit_joints(hand, joints[None], settings=settings)
        if np.isnan(fits.residual_mm[0]):
            continue
        parameters = (fits.pose[0], fits.shape[0], fits.trans_m[0])
        vertices = hand.skin(*map(torch.from_numpy, parameters))
        mesh = HandMesh(
            side=SIDES[side],
            hand_model=hand.name,
            pose=fits.pose[0],
            shape=fits.shape[0],
            trans_m=fits.trans_m[0],
            vertices_mm=(vertices * 1000).numpy(),
            faces=hand.faces,
            residual_mm=float(fits.residual_mm[0]),
        )
        meshes.append(mesh)
    return meshes


def mesh_warnings(meshes: Sequence[HandMesh]) -> list[str]:
    """What is wrong with an image's meshes, in words.

    Returns:
        A line for each hand whose joints no hand can have, and one for hands that
        reach into each other by more than `MAX_PENETRATION_MM`.
    """
    lines = []
    for mesh in meshes:
        if mesh.residual_mm > MAX_RESIDUAL_MM:
            lines.append(
                f"{mesh.name}: its joints are not those of a {mesh.side} hand; the mesh "
                f"is {mesh.residual_mm:.0f} mm off them on average"
            )
    if len(meshes) == 2:
        depth_mm = penetration_mm(
            meshes[0].vertices_mm,
            meshes[0].faces,
            meshes[1].vertices_mm,
            meshes[1].faces,
        )
        if depth_mm > MAX_PENETRATION_MM:
            lines.append(f"the hands reach {depth_mm:.0f} mm into each other")
    return lines


def write_meshes(path: Path | str, meshes: Sequence[HandMesh]) -> None:
    """Write an image's meshes into one file.

    Args:
        path: Its suffix is the format. ".glb" is in metres and ".obj" in millimetres,
            both with y up and z towards the viewer, as those formats' viewers expect;
            the hands are named "right_hand" and "left_hand". ".npz" holds parameters
            in MANO's layout, vertices and faces in the camera frame, see `read_meshes`.
        meshes: The hands.

    Raises:
        ValueError: if the suffix is another, or there is no hand.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: meshes are written as {', '.join(SUFFIXES)}")
    if not meshes:
        raise ValueError(f"{path}: there is no hand to write")
    if suffix == ".npz":
        with atomic(path, "wb") as file:
            np.savez(file, **_as_arrays(meshes))
        return
    if suffix == ".glb":
        content = _scene(meshes, scale=1e-3).export(file_type="glb")
    else:
        scene = _scene(meshes, scale=1.0)
        content = scene.export(file_type="obj", include_texture=False).encode()
    with atomic(path, "wb") as file:
        file.write(content)


def read_meshes(path: Path | str) -> list[HandMesh]:
    """The meshes of an .npz file that `write_meshes` wrote."""
    meshes = []
    with np.load(path) as file:
        for side in SIDES:
            if f"{side}_pose" not in file.files:
                continue
            mesh = HandMesh(
                side=side,
                hand_model=str(file["hand_model"]),
                pose=file[f"{side}_pose"],
                shape=file[f"{side}_shape"],
                trans_m=file[f"{side}_trans"],
                vertices_mm=file[f"{side}_vertices_mm"],
                faces=file[f"{side}_faces"],
                residual_mm=float(file[f"{side}_residual_mm"]),
            )
            meshes.append(mesh)
    return meshes


def _as_arrays(meshes: Sequence[HandMesh]) -> dict[str, np.ndarray]:
    """What an .npz file holds, by name."""
    arrays = {"hand_model": np.array(meshes[0].hand_model)}
    for mesh in meshes:
        arrays[f"{mesh.side}_pose"] = mesh.pose
        arrays[f"{mesh.side}_shape"] = mesh.shape
        arrays[f"{mesh.side}_trans"] = mesh.trans_m
        arrays[f"{mesh.side}_vertices_mm"] = mesh.vertices_mm
        arrays[f"{mesh.side}_faces"] = mesh.faces
        arrays[f"{mesh.side}_residual_mm"] = np.array(mesh.residual_mm)
    return arrays


def _scene(meshes: Sequence[HandMesh], scale: float) -> trimesh.Scene:
    """A scene of named meshes with y up and z towards the viewer."""
    scene = trimesh.Scene()
    for mesh in meshes:
        # From the camera's x right, y down, z forward: half a turn about x.
        vertices = mesh.vertices_mm.astype(np.float64) * [scale, -scale, -scale]
        material = PBRMaterial(
            name=mesh.name,
            baseColorFactor=SIDE_COLORS[mesh.side],
            metallicFactor=0.0,
            roughnessFactor=0.7,
        )
        geometry = trimesh.Trimesh(
            vertices=vertices,
            faces=mesh.faces,
            visual=TextureVisuals(material=material),
            process=False,
        )
        scene.add_geometry(geometry, node_name=mesh.name, geom_name=mesh.name)
    return scene

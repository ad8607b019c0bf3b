"""The hand model: linear blend skinning in MANO's layout, both sides.

"generic" is the freely licensed mesh in data/hand, "mano" the user's own MANO files. Lengths in
metres. Rest pose of the right hand: flat, fingers along −x, thumb towards +z, palm facing −y; the
left hand is its mirror image (x negated), so a pose mirrors as (x, −y, −z) of each joint's
axis-angle vector. Joints in the order of `MANO_JOINTS`, annotated joints in that of `HAND_JOINTS`.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from .geometry import axis_angle_to_matrix
from .skeleton import MANO_JOINT_PART, SIDES

ASSET = Path(__file__).resolve().parents[1] / "data" / "hand" / "generic_hand.npz"


@dataclass(frozen=True)
class HandModel:
    """One hand in MANO's layout (Romero et al. 2017): V vertices, F faces, 16 joints, metres."""

    side: str
    name: str
    v_template: Float[Tensor, "v 3"]
    faces: Int[np.ndarray, "f 3"]  # counter-clockwise seen from outside
    weights: Float[Tensor, "v 16"]
    J_regressor: Float[Tensor, "16 v"]
    shapedirs: Float[Tensor, "v 3 10"]
    posedirs: Float[Tensor, "v 3 135"]
    hands_mean: Float[Tensor, "45"]  # added to the pose of joints 1–15
    joint_regressor: Float[Tensor, "21 v"]
    face_part: UInt8[np.ndarray, "f"]  # 0-based part number of DIGIT

    @cached_property
    def _rest_joints(self) -> tuple[Tensor, Tensor]:
        """Rest joints (48,) and what each beta adds to them (10, 48)."""
        of_shape = torch.einsum("jv,vcs->sjc", self.J_regressor, self.shapedirs)
        return (self.J_regressor @ self.v_template).flatten(), of_shape.flatten(1)

    @cached_property
    def _flat(self) -> tuple[Tensor, Tensor]:
        """Shape and pose directions as matrices (10, 3V) and (135, 3V)."""
        return self.shapedirs.flatten(0, 1).T.contiguous(), self.posedirs.flatten(
            0, 1
        ).T.contiguous()

    def rest_joints(self, shape: Float[Tensor, "*b 10"]) -> Float[Tensor, "*b 16 3"]:
        """The joints about which `skin` turns, m, in the rest pose."""
        mean, of_shape = self._rest_joints
        return (mean + shape @ of_shape).unflatten(-1, (16, 3))

    def skin(
        self,
        pose: Float[Tensor, "*b 48"],
        shape: Float[Tensor, "*b 10"],
        trans: Float[Tensor, "*b 3"],
    ) -> Float[Tensor, "*b v 3"]:
        """Vertices, m, of poses (axis-angle, rad; the first turns the whole hand about its wrist
        joint; `hands_mean` is added to the others), shapes and translations (m). MANO, eq. 2–4."""
        shapedirs, posedirs = self._flat
        pose = torch.cat([pose[..., :3], pose[..., 3:] + self.hands_mean], -1)
        turn = axis_angle_to_matrix(pose.unflatten(-1, (16, 3)))  # (*b, 16, 3, 3)
        bend = (turn[..., 1:, :, :] - torch.eye(3).to(turn)).flatten(-3)  # (*b, 135)
        vertices = self.v_template.flatten() + shape @ shapedirs + bend @ posedirs
        vertices = vertices.unflatten(-1, (-1, 3))  # (*b, V, 3)
        joints = self.rest_joints(shape)

        # Chains of three: joints 1, 4, … hang on the wrist, 2, 5, … on those, 3, 6, … on these.
        rotation, position = turn[..., :1, :, :], joints[..., :1, :]
        rotations, positions = [rotation.expand_as(turn[..., 1::3, :, :])], [position]
        parent = joints[..., :1, :]
        for k in (1, 2, 3):
            offset = joints[..., k::3, :] - parent
            position = position + (rotations[-1] @ offset[..., None])[..., 0]
            rotations.append(rotations[-1] @ turn[..., k::3, :, :])
            positions.append(position)
            parent = joints[..., k::3, :]
        fingers = torch.stack(rotations[1:], -3).flatten(-4, -3)  # (*b, 15, 3, 3), by finger
        rotation = torch.cat([rotation, fingers], -3)
        position = torch.cat([positions[0], torch.stack(positions[1:], -2).flatten(-3, -2)], -2)
        offset = position - (rotation @ joints[..., None])[..., 0] + trans[..., None, :]
        affine = self.weights @ torch.cat([rotation, offset[..., None]], -1).flatten(-2)
        affine = affine.unflatten(-1, (3, 4))  # (*b, V, 3, 4)
        return (affine[..., :3] @ vertices[..., None])[..., 0] + affine[..., 3]

    def joints(self, vertices: Float[Tensor, "*b v 3"]) -> Float[Tensor, "*b 21 3"]:
        """The annotated joints of skinned vertices, in the vertices' unit and frame."""
        return self.joint_regressor @ vertices

    def mirrored(self) -> "HandModel":
        """The hand of the other side: x negated, two corners of each face swapped."""
        flip = torch.tensor([-1.0, 1.0, 1.0])
        posedirs = self.posedirs.unflatten(-1, (15, 3, 3)) * flip[:, None] * flip
        return replace(
            self,
            side=SIDES[1 - SIDES.index(self.side)],
            v_template=self.v_template * flip,
            faces=self.faces[:, [0, 2, 1]].copy(),
            shapedirs=self.shapedirs * flip[:, None],
            posedirs=posedirs.flatten(-3) * flip[:, None],
            hands_mean=self.hands_mean * torch.tensor([1.0, -1.0, -1.0]).repeat(15),
        )


def part_of_faces(
    weights: Float[np.ndarray, "v 16"], faces: Int[np.ndarray, "f 3"]
) -> UInt8[np.ndarray, "f"]:
    """DIGIT's part of each face: that of the joint with most of its skinning weight."""
    return MANO_JOINT_PART[weights[faces].sum(1).argmax(1)]


def load_hand(side: str, name: str = "generic", mano_dir: Path | str | None = None) -> HandModel:
    """The hand model of a side ("right" or "left"): "generic" (ships) or "mano".

    Raises ValueError for an unknown side or name, FileNotFoundError where a file is missing.
    """
    if side not in SIDES:
        raise ValueError(f"side {side!r} is unknown: use one of {', '.join(SIDES)}")
    if name != "generic":
        raise ValueError(f"hand model {name!r} is unknown: use generic or mano")
    if not ASSET.is_file():
        raise FileNotFoundError(
            f"{ASSET} is missing: run data/hand/make_hand.py, or check out anew"
        )
    with np.load(ASSET) as file:
        arrays = {key: file[key] for key in file.files}
    faces = arrays.pop("faces").astype(np.int64)
    tensors = {key: torch.from_numpy(value.astype(np.float32)) for key, value in arrays.items()}
    tensors.setdefault("posedirs", torch.zeros(len(tensors["v_template"]), 3, 135))
    part = part_of_faces(arrays["weights"], faces)
    hand = HandModel(
        "right", name, faces=faces, hands_mean=torch.zeros(45), face_part=part, **tensors
    )
    return hand if side == "right" else hand.mirrored()

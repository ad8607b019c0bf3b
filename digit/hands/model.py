"""The hand model: linear blend skinning in MANO's layout, for both sides.

The fitting, the mask renderer and the generator of synthetic data pose hands with it,
in four immutable stages:

    hand = load_hand("right")                  # HandModel
    shaped = hand.with_shape(shape)            # ShapedHand: rest vertices and joints
    posed = shaped.with_pose(pose, trans)      # PosedHand: joints in the world
    vertices = posed.skin()                    # (…, V, 3)

or all at once by `hand.skin(pose, shape, trans)`.

"generic" is the freely licensed mesh in data/hand, "mano" the user's own MANO files.
Lengths are metres. The right hand's rest pose is flat: fingers along −x, thumb towards
+z, palm facing −y. The left hand is its mirror image (x negated), so a pose mirrors as
(x, −y, −z) of each joint's axis-angle vector. MANO's 16 joints are in the order of
`MANO_JOINTS`, the 21 annotated joints in that of `HAND_JOINTS`.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from digit.geometry import axis_angle_to_matrix
from digit.hands.mano_files import find_mano, read_mano
from digit.paths import ASSETS_DIR, HAND_FILE
from digit.skeleton import MANO_JOINT_PART, SIDES

HAND_MODELS = ("generic", "mano")

Shape = Float[Tensor, "*#b 10"]  # betas
Pose = Float[Tensor, "*#b 48"]  # axis-angle, rad, of the 16 joints
Trans = Float[Tensor, "*#b 3"]  # m


@dataclass(frozen=True, eq=False)
class HandModel:
    """One hand in MANO's layout (Romero et al. 2017): V vertices, F faces, 16 joints."""

    side: str  # "right" or "left"
    name: str  # one of HAND_MODELS
    v_template: Float[Tensor, "v 3"]
    faces: Int[np.ndarray, "f 3"]  # counter-clockwise seen from outside
    weights: Float[Tensor, "v 16"]
    J_regressor: Float[Tensor, "16 v"]
    shapedirs: Float[Tensor, "v 3 10"]
    posedirs: Float[Tensor, "v 3 135"]
    hands_mean: Float[Tensor, "45"]  # added to the pose of joints 1–15
    joint_regressor: Float[Tensor, "21 v"]
    face_part: UInt8[np.ndarray, "f"]  # 0-based part number of DIGIT
    rim: Int[np.ndarray, "r"]  # vertices around the wrist's stub, in turn

    def with_shape(self, shape: Shape) -> "ShapedHand":
        """Give the hand a shape (MANO, eq. 4).

        Args:
            shape: Betas, any leading dimensions.

        Returns:
            The hand in its rest pose.
        """
        shapedirs, _ = self._directions
        vertices = self.v_template.flatten() + shape @ shapedirs
        return ShapedHand(
            model=self,
            vertices=vertices.unflatten(-1, (-1, 3)),
            joints=self.rest_joints(shape),
        )

    def skin(self, pose: Pose, shape: Shape, trans: Trans) -> Float[Tensor, "*b v 3"]:
        """Vertices of posed hands: `with_shape`, `with_pose` and `PosedHand.skin`.

        Args:
            pose: Axis-angle vectors, rad. The first turns the whole hand about its
                wrist joint; `hands_mean` is added to the others.
            shape: Betas.
            trans: Translations, m.

        Returns:
            Vertices, m.
        """
        return self.with_shape(shape).with_pose(pose, trans).skin()

    def rest_joints(self, shape: Shape) -> Float[Tensor, "*#b 16 3"]:
        """The joints about which `skin` turns, m, in the rest pose."""
        mean, of_shape = self._joint_directions
        return (mean + shape @ of_shape).unflatten(-1, (16, 3))

    def joints(self, vertices: Float[Tensor, "*b v 3"]) -> Float[Tensor, "*b 21 3"]:
        """The annotated joints of skinned vertices, in the vertices' unit and frame."""
        return self.joint_regressor @ vertices

    def mirrored(self) -> "HandModel":
        """The hand of the other side: x negated, two corners of each face swapped."""
        flip = torch.tensor([-1.0, 1.0, 1.0])
        # Axis-angle vectors mirror as (x, −y, −z), rotation matrices as F R F.
        rotvec_flip = torch.tensor([1.0, -1.0, -1.0]).repeat(15)
        posedirs = self.posedirs.unflatten(-1, (15, 3, 3)) * flip[:, None] * flip
        other_side = SIDES[1 - SIDES.index(self.side)]
        return replace(
            self,
            side=other_side,
            v_template=self.v_template * flip,
            faces=self.faces[:, [0, 2, 1]].copy(),
            shapedirs=self.shapedirs * flip[:, None],
            posedirs=posedirs.flatten(-3) * flip[:, None],
            hands_mean=self.hands_mean * rotvec_flip,
        )

    @cached_property
    def _directions(self) -> tuple[Float[Tensor, "10 v3"], Float[Tensor, "135 v3"]]:
        """Shape and pose directions as matrices over all coordinates of vertices."""
        shapedirs = self.shapedirs.flatten(0, 1)
        posedirs = self.posedirs.flatten(0, 1)
        return shapedirs.T.contiguous(), posedirs.T.contiguous()

    @cached_property
    def _joint_directions(self) -> tuple[Float[Tensor, "48"], Float[Tensor, "10 48"]]:
        """Rest joints of the mean shape, and what each beta adds to them."""
        mean = (self.J_regressor @ self.v_template).flatten()
        of_shape = torch.einsum("jv,vcs->sjc", self.J_regressor, self.shapedirs)
        return mean, of_shape.flatten(1)


@dataclass(frozen=True, eq=False)
class ShapedHand:
    """A hand model with a shape, in the rest pose."""

    model: HandModel
    vertices: Float[Tensor, "*#b v 3"]
    joints: Float[Tensor, "*#b 16 3"]

    def with_pose(self, pose: Pose, trans: Trans) -> "PosedHand":
        """Turn the joints, and move the whole hand (MANO, eq. 2 and 3).

        Args:
            pose: As of `HandModel.skin`.
            trans: Translations, m.

        Returns:
            The posed hand.
        """
        # 1. The joints' own rotations; one shape may have many poses, and vice versa.
        pose = torch.cat([pose[..., :3], pose[..., 3:] + self.model.hands_mean], -1)
        batch = torch.broadcast_shapes(pose.shape[:-1], self.joints.shape[:-2])
        local = axis_angle_to_matrix(pose.unflatten(-1, (16, 3)))
        local = local.expand(*batch, 16, 3, 3)
        joints = self.joints.expand(*batch, 16, 3)

        # 2. Rotations and positions along the chains of three: joints 1, 4, … hang on
        #    the wrist, 2, 5, … on those and 3, 6, … on these.
        rotation = local[..., :1, :, :]
        parent = joints[..., :1, :]
        position = parent
        rotations = []
        positions = []
        for level in (1, 2, 3):
            joint = joints[..., level::3, :]
            position = position + (rotation @ (joint - parent)[..., None])[..., 0]
            rotation = rotation @ local[..., level::3, :, :]
            parent = joint
            rotations.append(rotation)
            positions.append(position)

        # 3. Back in MANO's order: finger by finger
        fingers = torch.stack(rotations, -3).flatten(-4, -3)
        rotation = torch.cat([local[..., :1, :, :], fingers], -3)
        fingers = torch.stack(positions, -2).flatten(-3, -2)
        position = torch.cat([joints[..., :1, :], fingers], -2)
        return PosedHand(
            shaped=self, local=local, rotation=rotation, position=position, trans=trans
        )


@dataclass(frozen=True, eq=False)
class PosedHand:
    """A shaped hand whose joints are turned; `position` is still without `trans`."""

    shaped: ShapedHand
    local: Float[Tensor, "*#b 16 3 3"]  # rotations relative to the parents
    rotation: Float[Tensor, "*#b 16 3 3"]  # in the world
    position: Float[Tensor, "*#b 16 3"]
    trans: Trans

    def skin(self) -> Float[Tensor, "*b v 3"]:
        """Vertices, m, by linear blend skinning with pose correctives."""
        model = self.shaped.model
        # 1. Pose correctives, linear in the rotations of the finger joints
        _, posedirs = model._directions
        identity = torch.eye(3).to(self.local)
        bend = (self.local[..., 1:, :, :] - identity).flatten(-3)  # (…, 135)
        vertices = self.shaped.vertices.flatten(-2) + bend @ posedirs
        vertices = vertices.unflatten(-1, (-1, 3))

        # 2. Each joint moves a point x to R x + offset; vertices blend these maps.
        turned = (self.rotation @ self.shaped.joints[..., None])[..., 0]
        offset = self.position - turned + self.trans[..., None, :]
        maps = torch.cat([self.rotation, offset[..., None]], -1)  # (…, 16, 3, 4)
        blended = (model.weights @ maps.flatten(-2)).unflatten(-1, (3, 4))
        return (blended[..., :3] @ vertices[..., None])[..., 0] + blended[..., 3]


def load_hand(
    side: str, name: str = "generic", mano_dir: Path | str | None = None
) -> HandModel:
    """Load a hand model.

    Args:
        side: "right" or "left".
        name: "generic", which ships, or "mano".
        mano_dir: The folder of MANO's files; by default where `find_mano` finds them.

    Returns:
        The model.

    Raises:
        ValueError: if side or name is unknown, or a file is not MANO's.
        FileNotFoundError: if a file is missing.
    """
    if side not in SIDES or name not in HAND_MODELS:
        raise ValueError(
            f"no {side!r} hand in model {name!r}: use right or left of generic or mano"
        )
    if name == "mano":
        folder = mano_dir or find_mano() or ASSETS_DIR / "mano"
        return _from_arrays(side, name, read_mano(side, Path(folder)))
    if not HAND_FILE.is_file():
        raise FileNotFoundError(
            f"{HAND_FILE} is missing: make it with data/hand/make_hand.py"
        )
    with np.load(HAND_FILE) as file:
        arrays = {key: file[key] for key in file.files}
    arrays["hands_mean"] = np.zeros(45)
    right = _from_arrays("right", name, arrays)
    return right if side == "right" else right.mirrored()


@lru_cache(maxsize=1)
def generic_hands() -> tuple[HandModel, HandModel]:
    """The right and the left hand that ship, loaded once."""
    return load_hand(SIDES[0]), load_hand(SIDES[1])


def _from_arrays(side: str, name: str, arrays: dict[str, np.ndarray]) -> HandModel:
    """A hand model of arrays named as its fields, and maybe `vertex_part`."""
    faces = arrays.pop("faces").astype(np.int64)
    rim = arrays.pop("rim").astype(np.int64)
    if "vertex_part" in arrays:
        face_part = _majority(arrays.pop("vertex_part")[faces])
    else:
        # The part of the joint that carries most of the corners' skinning weight
        weight_of_joint = arrays["weights"][faces].sum(1)
        face_part = MANO_JOINT_PART[weight_of_joint.argmax(1)]
    tensors = {}
    for key, array in arrays.items():
        tensors[key] = torch.from_numpy(array.astype(np.float32))
    return HandModel(
        side=side, name=name, faces=faces, face_part=face_part, rim=rim, **tensors
    )


def _majority(corner_part: UInt8[np.ndarray, "f 3"]) -> UInt8[np.ndarray, "f"]:
    """The part that two corners of a face share; the first corner's where none do."""
    first, second, third = corner_part.T
    return np.where(second == third, second, first)

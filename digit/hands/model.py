"""The hand model: linear blend skinning in MANO's layout, both sides.

"generic" is the freely licensed mesh in data/hand, "mano" the user's own MANO files. Lengths in
metres. Rest pose of the right hand: flat, fingers along −x, thumb towards +z, palm facing −y; the
left hand is its mirror image (x negated), so a pose mirrors as (x, −y, −z) of each joint's
axis-angle vector. Joints in the order of `MANO_JOINTS`, annotated joints in that of `HAND_JOINTS`.
"""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from digit.data.safe_pickle import NUMPY_ALLOWED, OBJECT_ALLOWED, load_pickle
from digit.geometry import axis_angle_to_matrix
from digit.paths import ASSETS_DIR, HAND_FILE
from digit.skeleton import (
    HAND_JOINTS,
    MANO_JOINT_PART,
    MANO_JOINTS,
    MANO_PARENTS,
    SIDES,
)

MANO_FILES = {"right": "MANO_RIGHT.pkl", "left": "MANO_LEFT.pkl"}
MANO_REGRESSOR = (
    "J_regressor_mano_ih26m.npy"  # InterHand2.6M's, tool/MANO_world_to_camera
)
MANO_TIPS = {"thumb4": 745, "index4": 317, "middle4": 444, "ring4": 556, "pinky4": 673}
MANO_RIM = (108, 79, 78, 121, 214, 215, 279, 239, 234, 92, 38, 122, 118, 117, 119, 120)
Vector = Float[Tensor, "*b 3"]


@dataclass(frozen=True, eq=False)
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
    rim: Int[
        np.ndarray, "r"
    ]  # the vertices around the wrist's stub, in the same order both sides

    @cached_property
    def _rest_joints(self) -> tuple[Tensor, Tensor]:
        """Rest joints (48,) and what each beta adds to them (10, 48)."""
        of_shape = torch.einsum("jv,vcs->sjc", self.J_regressor, self.shapedirs)
        return (self.J_regressor @ self.v_template).flatten(), of_shape.flatten(1)

    @cached_property
    def _flat(self) -> tuple[Tensor, Tensor]:
        """Shape and pose directions as matrices (10, 3V) and (135, 3V)."""
        shapedirs, posedirs = self.shapedirs.flatten(0, 1), self.posedirs.flatten(0, 1)
        return shapedirs.T.contiguous(), posedirs.T.contiguous()

    def rest_joints(self, shape: Float[Tensor, "*b 10"]) -> Float[Tensor, "*b 16 3"]:
        """The joints about which `skin` turns, m, in the rest pose."""
        mean, of_shape = self._rest_joints
        return (mean + shape @ of_shape).unflatten(-1, (16, 3))

    def skin(
        self, pose: Float[Tensor, "*b 48"], shape: Float[Tensor, "*b 10"], trans: Vector
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
        rotation, position, parent = (
            turn[..., :1, :, :],
            joints[..., :1, :],
            joints[..., :1, :],
        )
        rotations, positions = [], []
        for k in (1, 2, 3):
            offset, parent = joints[..., k::3, :] - parent, joints[..., k::3, :]
            position = position + (rotation @ offset[..., None])[..., 0]
            rotation = rotation @ turn[..., k::3, :, :]
            rotations.append(rotation)
            positions.append(position)
        fingers = torch.stack(rotations, -3).flatten(
            -4, -3
        )  # (*b, 15, 3, 3), by finger
        rotation = torch.cat([turn[..., :1, :, :], fingers], -3)
        fingers = torch.stack(positions, -2).flatten(-3, -2)
        position = torch.cat([joints[..., :1, :], fingers], -2)
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


def load_hand(
    side: str, name: str = "generic", mano_dir: Path | str | None = None
) -> HandModel:
    """The hand model of a side ("right" or "left"): "generic" (ships), or "mano" from `mano_dir`.

    Raises ValueError for an unknown side or name or a file that is not MANO's, FileNotFoundError
    where one is missing.
    """
    if side not in SIDES or name not in ("generic", "mano"):
        raise ValueError(
            f"no hand {side!r} of {name!r}: use right or left of generic or mano"
        )
    if name == "mano":
        return _load_mano(side, Path(mano_dir or find_mano() or ASSETS_DIR / "mano"))
    if not HAND_FILE.is_file():
        raise FileNotFoundError(
            f"{HAND_FILE} is missing: make it with data/hand/make_hand.py"
        )
    with np.load(HAND_FILE) as file:
        arrays = {key: file[key] for key in file.files}
    hand = _of_arrays("right", name, arrays | {"hands_mean": np.zeros(45)})
    return hand if side == "right" else hand.mirrored()


def _of_arrays(side: str, name: str, arrays: dict[str, np.ndarray]) -> HandModel:
    faces, rim = (arrays.pop(key).astype(np.int64) for key in ("faces", "rim"))
    part = MANO_JOINT_PART[
        arrays["weights"][faces].sum(1).argmax(1)
    ]  # of most skinning weight
    tensors = {
        key: torch.from_numpy(value.astype(np.float32)) for key, value in arrays.items()
    }
    return HandModel(side, name, faces=faces, face_part=part, rim=rim, **tensors)


def find_mano(root: Path | str | None = None) -> Path | None:
    """The folder that holds both MANO files: $DIGIT_MANO, `<root>/mano` or data/mano, itself or
    its "models" or "mano"; None where there is none."""
    places = [
        os.environ.get("DIGIT_MANO"),
        root and Path(root) / "mano",
        ASSETS_DIR / "mano",
    ]
    for place in [
        Path(p) / below for p in places if p for below in ("", "models", "mano")
    ]:
        if all((place / file).is_file() for file in MANO_FILES.values()):
            return place
    return None


# Stand for chumpy.ch.Ch (array `x`) and chumpy.reordering.Select (`a` at flat `idxs`); csc_matrix.
_Chumpy, _Sparse = type("_Chumpy", (), {}), type("_Sparse", (), {})
_MANO_ALLOWED = {
    **NUMPY_ALLOWED,
    **OBJECT_ALLOWED,
    **dict.fromkeys(("chumpy.ch.Ch", "chumpy.Ch", "chumpy.reordering.Select"), _Chumpy),
    **dict.fromkeys((f"scipy.sparse.{m}.csc_matrix" for m in ("csc", "_csc")), _Sparse),
    "__builtin__.set": lambda items=(): items,  # chumpy's notes on what has changed
}


def _dense(stored) -> np.ndarray:
    if isinstance(stored, _Chumpy) and hasattr(stored, "x"):
        return _dense(stored.x)
    if isinstance(stored, _Chumpy):
        return (
            _dense(stored.a)
            .ravel()[np.asarray(stored.idxs)]
            .reshape(stored.preferred_shape)
        )
    if isinstance(stored, _Sparse):
        dense = np.zeros(stored._shape)
        columns = np.repeat(np.arange(dense.shape[1]), np.diff(stored.indptr))
        np.add.at(dense, (stored.indices, columns), stored.data)
        return dense
    return np.asarray(stored, np.float64)


def _load_mano(side: str, folder: Path) -> HandModel:
    """MANO's own file, its wrist sealed by a vertex 778.

    InterHand2.6M's fits were made with smplx's `flat_hand_mean=False`: `hands_mean` is added to
    their pose. Their joints come from InterHand2.6M's regressor where it lies beside the files,
    else from MANO's joints and five fingertip vertices.
    """
    shapes = {
        "v_template": (778, 3),
        "f": (1538, 3),
        "weights": (778, 16),
        "J_regressor": (16, 778),
        "shapedirs": (778, 3, 10),
        "posedirs": (778, 3, 135),
        "hands_mean": (45,),
        "kintree_table": (2, 16),
    }

    def read(path):
        file = load_pickle(path, _MANO_ALLOWED, encoding="latin1")
        try:
            arrays = {key: _dense(file[key]) for key in shapes}
            wrong = [
                f"{k} {arrays[k].shape}"
                for k, s in shapes.items()
                if arrays[k].shape != s
            ]
            if wrong or tuple(arrays.pop("kintree_table")[0, 1:]) != MANO_PARENTS[1:]:
                raise ValueError(wrong or "kintree_table")
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise ValueError(
                f"{path}: not a MANO model ({error!r}); get it from MANO"
            ) from None
        return arrays

    arrays = read(folder / MANO_FILES[side])
    if side == "left":
        gap = (
            arrays["shapedirs"][:, 0]
            - read(folder / MANO_FILES["right"])["shapedirs"][:, 0]
        )
        if abs(gap).sum() < 1:  # the official left model's fault
            arrays["shapedirs"][:, 0] *= -1
    faces, rim = arrays.pop("f"), np.array(MANO_RIM)
    regressors = dict(zip(MANO_JOINTS, arrays["J_regressor"]))
    regressors |= {joint: np.eye(778)[tip] for joint, tip in MANO_TIPS.items()}
    annotated = np.stack([regressors[joint] for joint in HAND_JOINTS])
    if (folder / MANO_REGRESSOR).is_file():
        annotated = np.load(folder / MANO_REGRESSOR)
        if annotated.shape != (21, 778):
            raise ValueError(
                f"{folder / MANO_REGRESSOR}: {annotated.shape}, not (21, 778)"
            )
    if ((faces == rim[0]) & (np.roll(faces, -1, 1) == rim[1])).any():
        rim = rim[::-1]  # the seal's edges run against the mesh's
    seal = np.stack([rim, np.roll(rim, -1), np.full(len(rim), 778)], -1)
    for key in ("v_template", "weights", "shapedirs", "posedirs"):
        arrays[key] = np.concatenate(
            [arrays[key], arrays[key][rim].mean(0, keepdims=True)]
        )
    for key, regressor in (
        ("J_regressor", arrays["J_regressor"]),
        ("joint_regressor", annotated),
    ):
        arrays[key] = np.pad(regressor, ((0, 0), (0, 1)))
    arrays |= {"faces": np.concatenate([faces, seal]), "rim": rim}
    return _of_arrays(side, "mano", arrays)

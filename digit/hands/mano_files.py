"""The user's own MANO files: where they lie, and their arrays, read without chumpy.

MANO is licensed to each user and never ships. `digit.hands.model.load_hand` calls this
module and makes a hand model of the arrays.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from digit.data.safe_pickle import NUMPY_ALLOWED, OBJECT_ALLOWED, load_pickle
from digit.paths import ASSETS_DIR, folder_of_variable
from digit.skeleton import HAND_JOINTS, MANO_JOINTS, MANO_PARENTS, PARTS_PER_HAND

MANO_FILES = {"right": "MANO_RIGHT.pkl", "left": "MANO_LEFT.pkl"}
# InterHand2.6M's regressor of its 21 joints, from its tool/MANO_world_to_camera.
MANO_REGRESSOR = "J_regressor_mano_ih26m.npy"
# Part number of each vertex and of the seal, from DIGIT's original repository.
MANO_VERTEX_PARTS = "vertex_segments_right_seal.json"
# Vertices at the fingertips, as in smplx.
MANO_TIPS = {"thumb4": 745, "index4": 317, "middle4": 444, "ring4": 556, "pinky4": 673}
# The vertices around the open wrist.
MANO_RIM = (108, 79, 78, 121, 214, 215, 279, 239, 234, 92, 38, 122, 118, 117, 119, 120)
N_VERTICES = 778  # of MANO; the seal becomes vertex 778

# What is read of a file, and its shape.
_SHAPES = {
    "v_template": (N_VERTICES, 3),
    "f": (1538, 3),
    "weights": (N_VERTICES, 16),
    "J_regressor": (16, N_VERTICES),
    "shapedirs": (N_VERTICES, 3, 10),
    "posedirs": (N_VERTICES, 3, 135),
    "hands_mean": (45,),
    "kintree_table": (2, 16),
}


def find_mano(dataset_dir: Path | str | None = None) -> Path | None:
    """Find the folder that holds both MANO files.

    Args:
        dataset_dir: A data set's folder, in whose `mano/` they may lie.

    Returns:
        The first of `$DIGIT_MANO`, `<dataset_dir>/mano` and `data/mano` that has them,
        directly or in a folder "models" or "mano"; None where there is none.

    Raises:
        ValueError: If `$DIGIT_MANO` names no folder.
    """
    places = [folder_of_variable("DIGIT_MANO"), ASSETS_DIR / "mano"]
    if dataset_dir is not None:
        places.insert(1, Path(dataset_dir) / "mano")
    for place in places:
        if not place:
            continue
        for below in ("", "models", "mano"):
            folder = Path(place) / below
            if all((folder / file).is_file() for file in MANO_FILES.values()):
                return folder
    return None


def read_mano(side: str, folder: Path) -> dict[str, np.ndarray]:
    """The arrays of one side's hand model, its wrist sealed by a vertex 778.

    The joints come from InterHand2.6M's regressor where it lies beside the files, else
    from MANO's joints and five fingertip vertices. InterHand2.6M's fits were made with
    smplx's `flat_hand_mean=False`: `hands_mean` is added to their pose.

    Args:
        side: "right" or "left".
        folder: Where both files are.

    Returns:
        Arrays under the names of `HandModel`'s fields, and `vertex_part` (779) where
        `MANO_VERTEX_PARTS` lies beside the files.

    Raises:
        ValueError: if a file is not what its name says.
        FileNotFoundError: if a file is missing.
    """
    arrays = _read_file(folder / MANO_FILES[side])
    if side == "left":
        right = _read_file(folder / MANO_FILES["right"])
        _repair_left_shapes(arrays["shapedirs"], right["shapedirs"])
    arrays["joint_regressor"] = _joint_regressor(folder, arrays["J_regressor"])
    arrays["faces"] = arrays.pop("f")
    _seal_wrist(arrays)
    path = folder / MANO_VERTEX_PARTS
    if path.is_file():
        arrays["vertex_part"] = _read_vertex_parts(path)
    return arrays


def _read_file(path: Path) -> dict[str, np.ndarray]:
    """A MANO file's arrays; ValueError if it holds something else."""
    content = load_pickle(path, _ALLOWED, encoding="latin1")
    try:
        arrays = {key: _dense(content[key]) for key in _SHAPES}
        for key, shape in _SHAPES.items():
            if arrays[key].shape != shape:
                raise ValueError(f"{key} has shape {arrays[key].shape}, not {shape}")
        parents = arrays.pop("kintree_table")[0, 1:]
        if tuple(parents) != MANO_PARENTS[1:]:
            raise ValueError("kintree_table names other parents")
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        message = f"{path}: not a MANO model ({error!r}); get it from MANO"
        raise ValueError(message) from None
    return arrays


def _repair_left_shapes(
    left: Float[np.ndarray, "778 3 10"], right: Float[np.ndarray, "778 3 10"]
) -> None:
    """Negate x of the left shape directions where they were not mirrored.

    A fault of the official left model, known from smplx's issue 48.
    """
    difference = np.abs(left[:, 0] - right[:, 0]).sum()
    if difference < 1:
        left[:, 0] *= -1


def _joint_regressor(
    folder: Path, mano_regressor: Float[np.ndarray, "16 778"]
) -> Float[np.ndarray, "21 778"]:
    """The matrix that finds the 21 annotated joints in the mesh."""
    path = folder / MANO_REGRESSOR
    if path.is_file():
        return _read_regressor(path)

    rows = dict(zip(MANO_JOINTS, mano_regressor, strict=True))
    for tip, vertex in MANO_TIPS.items():
        rows[tip] = np.eye(N_VERTICES)[vertex]
    return np.stack([rows[joint] for joint in HAND_JOINTS])


def _read_regressor(path: Path) -> Float[np.ndarray, "21 778"]:
    """InterHand2.6M's regressor; ValueError for other content."""
    expected = (len(HAND_JOINTS), N_VERTICES)
    hint = "fetch it again from InterHand2.6M's repository, or remove it"
    try:
        regressor = np.load(path, allow_pickle=False)
    # numpy raises exceptions of many kinds for damaged files.
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"{path}: cannot be read ({reason}); {hint}") from None
    shape = getattr(regressor, "shape", None)
    if shape != expected or regressor.dtype.kind != "f":
        raise ValueError(f"{path}: has shape {shape}, not {expected}; {hint}")
    if not np.isfinite(regressor).all():
        raise ValueError(f"{path}: holds NaN or infinity; {hint}")
    return regressor


def _seal_wrist(arrays: dict[str, np.ndarray]) -> None:
    """Close the mesh at the wrist by a vertex in the middle of the rim."""
    # 1. Faces from the rim to the new vertex. An edge that two faces share must run in
    #    opposite directions in them.
    faces = arrays["faces"]
    rim = np.array(MANO_RIM)
    runs_along = (faces == rim[0]) & (np.roll(faces, -1, axis=1) == rim[1])
    if runs_along.any():
        rim = rim[::-1]
    seal = np.full(len(rim), N_VERTICES)
    seal_faces = np.stack([rim, np.roll(rim, -1), seal], axis=-1)
    arrays["faces"] = np.concatenate([faces, seal_faces])
    arrays["rim"] = rim

    # 2. The new vertex is the rim's mean in all respects; no joint is found from it.
    for key in ("v_template", "weights", "shapedirs", "posedirs"):
        middle = arrays[key][rim].mean(0, keepdims=True)
        arrays[key] = np.concatenate([arrays[key], middle])
    for key in ("J_regressor", "joint_regressor"):
        arrays[key] = np.pad(arrays[key], ((0, 0), (0, 1)))


def _read_vertex_parts(path: Path) -> UInt8[np.ndarray, "779"]:
    """The original's part number of each vertex; ValueError for other content."""
    try:
        parts: Int[np.ndarray, n] = np.asarray(json.loads(path.read_text()))
        is_right = parts.shape == (N_VERTICES + 1,) and parts.dtype.kind == "i"
        is_right = is_right and parts.min() >= 0 and parts.max() < PARTS_PER_HAND
    except ValueError:
        is_right = False
    if not is_right:
        raise ValueError(
            f"{path}: not a list of {N_VERTICES + 1} part numbers from 0 to 15; fetch "
            "it again from DIGIT's repository, or remove it"
        )
    return parts.astype(np.uint8)


# ------------------------------------------------------------ pickled objects


class _Chumpy:
    """Stands for chumpy.Ch (array `x`) and chumpy's Select (`a` at flat `idxs`)."""


class _Sparse:
    """Stands for scipy's csc_matrix."""


# Classes and functions that MANO's pickles name, and what takes their place.
_ALLOWED: dict[str, Any] = {
    **NUMPY_ALLOWED,
    **OBJECT_ALLOWED,
    "chumpy.ch.Ch": _Chumpy,
    "chumpy.Ch": _Chumpy,
    "chumpy.reordering.Select": _Chumpy,
    "scipy.sparse.csc.csc_matrix": _Sparse,
    "scipy.sparse._csc.csc_matrix": _Sparse,
    "__builtin__.set": lambda items=(): items,  # chumpy's notes on what has changed
}


def _dense(stored: Any) -> np.ndarray:
    """A pickled object of any of these kinds as an array."""
    if isinstance(stored, _Chumpy) and hasattr(stored, "x"):
        return _dense(stored.x)
    if isinstance(stored, _Chumpy):
        chosen = _dense(stored.a).ravel()[np.asarray(stored.idxs)]
        return chosen.reshape(stored.preferred_shape)
    if isinstance(stored, _Sparse):
        dense = np.zeros(stored._shape)
        columns = np.repeat(np.arange(dense.shape[1]), np.diff(stored.indptr))
        np.add.at(dense, (stored.indices, columns), stored.data)
        return dense
    return np.asarray(stored, np.float64)

"""Files in the exact layout of MANO's own, made from the free mesh.

778 vertices and 1,538 faces, open at the wrist with the rim and the fingertips at
MANO's vertex numbers; Python 2 pickles of chumpy arrays and a scipy matrix, without
either library.
"""

import pickle
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import ClassVar

import numpy as np

from digit.hands.mano_files import MANO_FILES, MANO_RIM, MANO_TIPS
from digit.hands.model import load_hand
from digit.skeleton import HAND_JOINTS, MANO_PARENTS

ROOT = np.uint32(4294967295)  # MANO's parent of the wrist


class ShrinkingMesh:
    """Faces around each vertex, of a mesh whose edges are collapsed one by one."""

    def __init__(self, faces: list[tuple], n_vertices: int):
        self.into = np.arange(n_vertices)  # the vertex that each one collapsed into
        self.around: dict[int, set] = {v: set() for v in range(n_vertices)}
        for face in faces:
            for v in face:
                self.around[v].add(face)

    def neighbours(self, v: int) -> set[int]:
        return {u for face in self.around[v] for u in face} - {v}

    def collapse(self, gone: int, kept: int) -> None:
        """Move a vertex into another, and drop the faces that become lines."""
        self.into[self.into == gone] = kept
        for face in list(self.around[gone]):
            for v in face:
                self.around[v].discard(face)
            new = tuple(kept if v == gone else v for v in face)
            if len(set(new)) == 3:
                for v in new:
                    self.around[v].add(new)
        del self.around[gone]

    def may_collapse(self, gone: int, kept: int) -> bool:
        """Whether the mesh stays a surface."""
        if gone not in self.around or kept not in self.neighbours(gone):
            return False
        shared = self.neighbours(gone) & self.neighbours(kept)
        return len(shared) == 2 and all(len(self.around[v]) > 3 for v in shared)

    def shrink(self, position: np.ndarray, n_vertices: int, fixed: set[int]) -> None:
        """Collapse the shortest edges until so many vertices are left."""

        def length(edge: tuple[int, int]) -> float:
            return np.linalg.norm(position[edge[0]] - position[edge[1]])

        while len(self.around) > n_vertices:
            free = [v for v in self.around if v not in fixed]
            edges = [(v, u) for v in free for u in self.neighbours(v)]
            for gone, kept in sorted(edges, key=length):
                if len(self.around) == n_vertices:
                    return
                if self.may_collapse(gone, kept):
                    self.collapse(gone, kept)


@cache
def open_mesh() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mesh without the wrist's cap, shrunk to MANO's size and renumbered.

    Returns:
        The right hand's vertices (778,) that are kept, faces (1538, 3) in the new numbers,
        and the new number of every old vertex, or of the one that it collapsed into.
    """
    hand = load_hand("right")
    position = hand.v_template.numpy()
    nearest = hand.joint_regressor.argmax(1).numpy()
    tips = {name: nearest[HAND_JOINTS.index(name)] for name in MANO_TIPS}

    # 1. Open the wrist; the rim's 20 vertices become 16.
    faces = [tuple(f) for f in hand.faces.tolist() if not np.isin(f, hand.rim).all()]
    mesh = ShrinkingMesh(faces, len(position))
    rim = hand.rim.tolist()
    for k in (17, 12, 7, 2):
        mesh.collapse(rim.pop(k), rim[k - 1])

    # 2. As many vertices as MANO has; rim and fingertips stay.
    mesh.shrink(position, 778, fixed=set(rim) | set(tips.values()))

    # 3. MANO's numbers for rim and fingertips, any for the rest.
    number = np.full(len(position), -1)
    number[rim] = MANO_RIM
    for name, v in tips.items():
        number[v] = MANO_TIPS[name]
    rest = [v for v in mesh.around if number[v] < 0]
    number[rest] = np.setdiff1d(np.arange(778), number)
    kept = np.empty(778, int)
    kept[number[list(mesh.around)]] = list(mesh.around)
    left = {face for of_vertex in mesh.around.values() for face in of_vertex}
    return kept, number[np.array(sorted(left))], number[mesh.into]


def mano_arrays(side: str, signs_as_shipped: bool = True) -> dict[str, np.ndarray]:
    """A MANO file's arrays; the left's shapedirs with the official fault, unless told
    otherwise."""
    kept, faces, number = open_mesh()
    hand = load_hand(side)
    regressor = np.zeros((16, 778))
    np.add.at(regressor.T, number, hand.J_regressor.numpy().T)
    shapedirs = hand.shapedirs.numpy()[kept].astype(np.float64)
    if side == "left" and signs_as_shipped:
        shapedirs[:, 0] *= -1
    mean = np.random.default_rng(3).normal(0, 0.2, (15, 3)) * (
        1 if side == "right" else [1, -1, -1]
    )
    vertices = hand.v_template.numpy()[kept].astype(np.float64)
    return {
        "v_template": vertices,
        "f": (faces if side == "right" else faces[:, [0, 2, 1]]).astype(np.uint32),
        "weights": hand.weights.numpy()[kept].astype(np.float64),
        "J_regressor": regressor,
        "J": regressor @ vertices,
        "kintree_table": np.array([[ROOT, *MANO_PARENTS[1:]], range(16)], np.uint32),
        "shapedirs": shapedirs,
        "posedirs": hand.posedirs.numpy()[kept].astype(np.float64),
        "hands_mean": mean.ravel(),
        "hands_components": np.eye(45),
    }


class _Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did, and classes by name, whether they exist or
    not."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def _save_string(self, value):
        data = value.encode("ascii") if isinstance(value, str) else value
        if self.proto == 0:
            self.write(b"S" + repr(data).encode()[1:] + b"\n")
        else:
            self.write(b"T" + len(data).to_bytes(4, "little") + data)
        self.memoize(value)

    def save_global(self, obj, name=None):
        old = {"builtins": "__builtin__", "copyreg": "copy_reg"}
        module = old.get(obj.__module__, obj.__module__).replace(
            "numpy._core", "numpy.core"
        )
        self.write(f"c{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[bytes] = dispatch[str] = _save_string
    dispatch[type] = dispatch[FunctionType] = save_global


def _instance(module: str, name: str, state: dict):
    """An instance of another library's class."""
    value = type(name, (), {"__module__": module})()
    value.__dict__.update(state)
    return value


def write_mano(
    folder: Path,
    signs_as_shipped: bool = True,
    protocol: int = 2,
    **changes: np.ndarray | None,
) -> Path:
    """Both files of MANO in a folder; `changes` replace arrays of both (None leaves one
    out)."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, file in MANO_FILES.items():
        arrays = mano_arrays(side, signs_as_shipped) | changes
        if (
            arrays["shapedirs"] is not None
        ):  # a selection: the first ten of more directions
            shape = arrays["shapedirs"].shape
            wide = np.concatenate([arrays["shapedirs"], np.ones(shape)], -1)
            some = np.arange(wide.size).reshape(wide.shape)[..., : shape[-1]].ravel()
            notes = {"_dirty_vars": set(), "_itr": None, "_parents": {}, "_cache": {}}
            wide = _instance("chumpy.ch", "Ch", {"x": wide, **notes})
            state = {"a": wide, "idxs": some, "preferred_shape": shape, **notes}
            arrays["shapedirs"] = _instance("chumpy.reordering", "Select", state)
        if arrays["J_regressor"] is not None:
            regressor = arrays["J_regressor"]
            columns, rows = np.nonzero(regressor.T)
            state = {
                "_shape": regressor.shape,
                "data": regressor[rows, columns],
                "indices": rows.astype(np.int32),
                "indptr": np.append(0, np.cumsum((regressor != 0).sum(0))).astype(
                    np.int32
                ),
                "maxprint": 50,
            }
            arrays["J_regressor"] = _instance("scipy.sparse.csc", "csc_matrix", state)
        arrays = {key: value for key, value in arrays.items() if value is not None}
        with open(folder / file, "wb") as out:
            _Python2Pickler(out, protocol).dump(
                {**arrays, "bs_style": "lbs", "bs_type": "lrotmin"}
            )
    return folder

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


@cache
def open_mesh() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mesh without the wrist's cap, short edges collapsed to MANO's size,
    renumbered.

    Returns the right hand's vertices (778,) that are kept, faces (1538, 3) in the new
    numbers, and the new number of every old vertex, or of the one that it collapsed
    into.
    """
    hand = load_hand("right")
    position = hand.v_template.numpy()
    tips = hand.joint_regressor.argmax(1).numpy()
    tips = {name: tips[HAND_JOINTS.index(name)] for name in MANO_TIPS}
    faces = [tuple(f) for f in hand.faces.tolist() if not np.isin(f, hand.rim).all()]
    rim, into = hand.rim.tolist(), np.arange(len(position))
    around: dict[int, set] = {v: set() for v in range(len(position))}
    for face in faces:
        for v in face:
            around[v].add(face)

    def neighbours(v):
        return {u for face in around[v] for u in face} - {v}

    def collapse(gone, kept):
        into[into == gone] = kept
        for face in list(around[gone]):
            for v in face:
                around[v].discard(face)
            new = tuple(kept if v == gone else v for v in face)
            if len(set(new)) == 3:
                for v in new:
                    around[v].add(new)
        del around[gone]

    for k in (17, 12, 7, 2):  # the rim's 20 vertices become 16
        collapse(rim.pop(k), rim[k - 1])
    fixed = set(rim) | set(tips.values())
    while len(around) > 778:
        size = lambda edge: np.linalg.norm(position[edge[0]] - position[edge[1]])  # noqa: E731
        edges = sorted(
            ((v, u) for v in around if v not in fixed for u in neighbours(v)), key=size
        )
        for gone, kept in edges:
            if len(around) == 778:
                break
            if gone in around and kept in neighbours(gone):
                shared = neighbours(gone) & neighbours(kept)
                if len(shared) == 2 and all(len(around[v]) > 3 for v in shared):
                    collapse(gone, kept)
    number = np.full(len(position), -1)
    number[rim] = MANO_RIM
    for name, v in tips.items():
        number[v] = MANO_TIPS[name]
    rest = [v for v in around if number[v] < 0]
    number[rest] = np.setdiff1d(np.arange(778), number)
    kept = np.empty(778, int)
    kept[number[list(around)]] = list(around)
    faces = {face for of_vertex in around.values() for face in of_vertex}
    return kept, number[np.array(sorted(faces))], number[into]


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

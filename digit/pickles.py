"""Other people's pickles, read without running anything of theirs.

A pickle is a program for a small stack machine. This is the standard library's reader in Python,
cut down: names come from the caller's allow-list, and only what stands there is called or filled
in. Claimed sizes cost nothing before their bytes are there (the C reader, faster, trusts them).
"""

import io
import math
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

DTYPE = re.compile(r"[<>|=]?(\?|bool|[biufcSU]\d{0,9})")  # no objects, no records


def _dtype(name: str, align: bool = False, copy: bool = True) -> np.dtype:
    if not DTYPE.fullmatch(name):
        raise ValueError("it holds an array of objects or records")
    return np.dtype(name, copy=True)  # a copy: BUILD fills it in


def _encode(text: str, encoding: str) -> bytes:  # bytes, as Python 3 writes them for Python 2
    return text.encode({"latin1": "latin1"}[encoding])


NUMPY_ALLOWED: dict[str, Callable] = {"numpy.dtype": _dtype, "_codecs.encode": _encode} | {
    f"numpy.{core}.{name}": make
    for core in ("core", "_core")
    for name, make in {
        "multiarray._reconstruct": lambda subtype, shape, code: np.empty(0, np.uint8),
        "multiarray.scalar": lambda dtype, raw: np.frombuffer(
            raw.encode("latin1") if isinstance(raw, str) else raw, dtype, 1
        )[0],
        "numeric._frombuffer": lambda raw, dtype, shape, order: np.frombuffer(raw, dtype).reshape(
            shape, order=order
        ),
    }.items()
}
NUMPY_ALLOWED["numpy.ndarray"] = type("ndarray", (), {})  # only named, for _reconstruct
OBJECT_ALLOWED: dict[str, Callable] = {  # instances as protocols 0 and 1 write them
    f"{module}.{name}": make
    for module in ("copy_reg", "copyreg", "__builtin__", "builtins")
    for name, make in {
        "_reconstructor": lambda cls, *_: object.__new__(cls),
        "object": object,
    }.items()
}


def load_pickle(path: str | Path, allowed: Mapping[str, Callable], encoding: str = "ASCII") -> Any:
    """The object in a pickle file of containers, numbers, and what `allowed` names.

    `allowed` maps "module.name", as the file spells it, to what takes its place; `NUMPY_ALLOWED`
    are arrays and scalars without objects, `OBJECT_ALLOWED` what Python 2 instances need beside
    their class. `encoding` is that of Python 2's strings ("latin1" where they hold arrays).
    Raises ValueError with the file and the reason for anything else, broken files included.
    """
    try:
        return _Reader(Path(path).read_bytes(), allowed, encoding).load()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such pickle file; check the path") from None
    except Exception as error:
        reason = str(error) if type(error) is ValueError else repr(error)
        raise ValueError(
            f"{path}: refused, this pickle is broken or not plain data: {reason[:200]}; "
            "get the file again from its source"
        ) from None


class _Reader(pickle._Unpickler):
    dispatch: ClassVar = {  # without sets, persistent ids, extensions, old-style instances, buffers
        code: load for code, load in pickle._Unpickler.dispatch.items()
        if code not in b"ioPQ\x82\x83\x84\x8f\x90\x91\x92\x97\x98"
    }  # fmt: skip

    def __init__(self, data: bytes, allowed: Mapping[str, Callable], encoding: str):
        super().__init__(io.BytesIO(data), encoding=encoding)
        self.allowed, self.known = allowed, {id(value) for value in allowed.values()}

    def find_class(self, module: str, name: str) -> Callable:
        if f"{module}.{name}" not in self.allowed:
            raise ValueError(f"it names {module}.{name}, which is not read here")
        return self.allowed[f"{module}.{name}"]

    def call_is_known(self) -> bool:
        return id(self.stack[-2]) in self.known

    def state_fits(self) -> bool:
        target, state = self.stack[-2:]
        if isinstance(target, np.dtype):
            return state[1:] == target.newbyteorder(state[1]).__reduce__()[2][1:]
        if type(target) is np.ndarray:
            size = math.prod(state[1]) * state[2].itemsize
            return (
                min(state[1], default=0) >= 0 and "O" not in state[2].str and len(state[4]) == size
            )
        return type(state) is dict and id(type(target)) in self.known

    def keys_are_plain(self) -> bool:  # a deep tuple's hash would overflow the stack
        return {type(key) for key in self.stack[-2::-2]} <= {
            str,
            int,
            float,
            bytes,
            bool,
            type(None),
        }


def _guarded(load: Callable, guard: Callable) -> Callable:
    def guarded(reader: _Reader) -> None:
        if not guard(reader):
            raise ValueError(f"{load.__name__} is asked for more than plain data")
        load(reader)

    return guarded


for _guard, _names in {
    _Reader.call_is_known: ("REDUCE", "NEWOBJ"),
    _Reader.state_fits: ("BUILD",),
    _Reader.keys_are_plain: ("DICT", "SETITEMS", "SETITEM"),
}.items():
    for _name in _names:
        _code = getattr(pickle, _name)[0]
        _Reader.dispatch[_code] = _guarded(_Reader.dispatch[_code], _guard)

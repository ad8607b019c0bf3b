"""Other people's pickles, read without running anything of theirs.

A pickle is a program for a small stack machine. This is the standard library's reader
in Python, cut down: names come from the caller's allow-list, only what stands there is
called or filled in, and claimed sizes cost nothing before their bytes are there.
"""

import io
import math
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

DTYPE = re.compile(r"[<>|=]?(\?|[biufcSU]\d{0,9})")  # no objects, no records
KEYS = {
    str,
    int,
    float,
    bytes,
    bool,
    type(None),
}  # a deep tuple's hash would overflow the stack
UNUSED = b"ioPQ\x82\x83\x84\x8f\x90\x91\x92\x97\x98"  # sets, extensions, old instances, buffers
NUMPY_ALLOWED: dict[str, Callable] = {  # arrays and scalars of numbers and strings
    "numpy.dtype": lambda name, *_: _dtype(name),
    "numpy.ndarray": type("ndarray", (), {}),  # only named, for _reconstruct
    "numpy.core.multiarray._reconstruct": lambda *_: np.empty(0, np.uint8),
    "numpy.core.multiarray.scalar": lambda dtype, raw: np.frombuffer(
        _bytes(raw), dtype, 1
    )[0],
    "numpy.core.numeric._frombuffer": lambda raw, dtype, shape, order: np.reshape(
        np.frombuffer(raw, dtype), shape, order
    ),
    "_codecs.encode": lambda text, _: _bytes(
        text
    ),  # Python 3's bytes, written for Python 2
    "__builtin__.bytes": lambda: b"",
}
OBJECT_ALLOWED: dict[
    str, Callable
] = {  # what Python 2's instances name beside their class
    "copy_reg._reconstructor": lambda cls, *_: object.__new__(cls),
    "__builtin__.object": object,
}


def load_pickle(
    path: str | Path, allowed: Mapping[str, Callable], encoding: str = "ASCII"
) -> Any:
    """The object in a pickle file of containers, numbers, and what `allowed` names.

    `allowed` maps "module.name" (with numpy 1's name of its core) to what takes its
    place; `NUMPY_ALLOWED` serves arrays. `encoding` is for Python 2's strings: "latin1"
    for its arrays. Raises ValueError with file and reason for all else, broken files
    included.
    """
    try:
        reader = _Reader(io.BytesIO(Path(path).read_bytes()), encoding=encoding)
        reader.allowed, reader.known = (
            allowed,
            {id(value) for value in allowed.values()},
        )
        return reader.load()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such pickle file; check the path"
        ) from None
    except Exception as error:
        reason = f"{path}: refused, broken or more than plain data: {repr(error)[:200]}"
        raise ValueError(f"{reason}; get the file again from its source") from None


def _dtype(name: str) -> np.dtype:
    if not DTYPE.fullmatch(name):
        raise ValueError("it holds an array of objects or records")
    return np.dtype(name, copy=True)  # a copy, since BUILD fills it in


def _bytes(text: bytes | str) -> bytes:
    return text.encode("latin1") if isinstance(text, str) else text


class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Callable:
        name = f"{module}.{name}".replace("numpy._core", "numpy.core")
        if name not in self.allowed:
            raise ValueError(
                f"it names {name}, which is not on the list of what may be read"
            )
        return self.allowed[name]

    def call(self):  # REDUCE, and NEWOBJ
        args, target = self.stack.pop(), self.stack[-1]
        if id(target) not in self.known:
            raise ValueError(f"it calls a {type(target).__name__}")
        self.stack[-1] = target(*args)

    def build(self):  # BUILD
        target, state = self.stack[-2:]
        if isinstance(target, np.dtype):
            fits = state[1:] == target.newbyteorder(state[1]).__reduce__()[2][1:]
        elif type(target) is np.ndarray:
            _, shape, dtype, _, raw = state
            fits = (
                min(shape, default=0) >= 0
                and len(raw) == math.prod(shape) * dtype.itemsize
            )
        else:
            fits = type(state) is dict and id(type(target)) in self.known
        if not fits:
            raise ValueError(
                f"it fills a {type(target).__name__} with what does not fit"
            )
        self.load_build()

    def fill(self, items: list) -> None:
        if not {type(key) for key in items[::2]} <= KEYS:
            raise ValueError("it has a dictionary whose keys are not plain")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    dispatch: ClassVar = {
        **{
            code: load
            for code, load in pickle._Unpickler.dispatch.items()
            if code not in UNUSED
        },
        **{ord("R"): call, 0x81: call, ord("b"): build},
        ord("s"): lambda self: self.fill(
            [self.stack.pop(-2), self.stack.pop()]
        ),  # SETITEM
        ord("u"): lambda self: self.fill(self.pop_mark()),  # SETITEMS
        ord("d"): lambda self: self.fill([self.pop_mark(), self.append({})][0]),  # DICT
    }

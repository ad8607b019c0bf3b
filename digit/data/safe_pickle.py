"""Other people's pickles, read without running anything of theirs.

`annotations` reads the original's pickled annotations with `load_pickle`, and the hand
model MANO's files. A pickle is a program for a small stack machine. This is the
standard library's reader in Python, cut down: names come from the caller's list, only
what is on it is called or filled in, and claimed sizes cost nothing before their bytes
are there.
"""

import io
import math
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

# Numbers, flags and texts: no arrays of objects, no records.
PLAIN_DTYPE = re.compile(r"[<>|=]?(\?|[biufcSU]\d{0,9})")
# Types of a dictionary's keys. A deeply nested tuple's hash would overflow the stack.
PLAIN_KEYS = {str, int, float, bytes, bool, type(None)}
# Opcodes that plain data have no use for: sets, extensions, old instances, buffers.
REFUSED_OPCODES = b"ioPQ\x82\x83\x84\x8f\x90\x91\x92\x97\x98"
LONGEST_REASON = 200  # characters of an error that a message shows


def load_pickle(
    path: str | Path, allowed: Mapping[str, Callable], encoding: str = "ASCII"
) -> Any:
    """Read the object in a pickle file of containers, numbers, and what is allowed.

    Args:
        path: The file.
        allowed: "module.name" (with numpy 1's name of its core) → what takes its place.
            `NUMPY_ALLOWED` serves arrays.
        encoding: Of texts that Python 2 has written; "latin1" for its arrays.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: With the reason, for everything else: broken files, and pickles that
            hold or do more.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        message = f"{path}: no such pickle file; check the path"
        raise FileNotFoundError(message) from None
    other_kind = _other_kind(data)
    if other_kind:
        hint = "download the file itself from its source"
        raise ValueError(f"{path}: refused, it is {other_kind}, no pickle; {hint}")
    try:
        reader = _Reader(io.BytesIO(data), encoding=encoding)
        reader.allowed = allowed
        reader.callable_ids = {id(value) for value in allowed.values()}
        return reader.load()
    except Exception as error:
        reason = f"{path}: refused, broken or more than plain data"
        detail = repr(error)[:LONGEST_REASON]
        hint = "download the file again from its source"
        raise ValueError(f"{reason}: {detail}; {hint}") from None


def _other_kind(data: bytes) -> str:
    """What a file is that is often saved in a pickle's place; "" for none of these."""
    start = data[:200].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page"
    if start.startswith(b"pk\x03\x04"):
        return "a zip archive"
    return ""


def _plain_dtype(name: str, *_) -> np.dtype:
    """What stands for `numpy.dtype`; a copy, since the pickle fills it in."""
    if not PLAIN_DTYPE.fullmatch(name):
        raise ValueError("it holds an array of objects or records")
    return np.dtype(name, copy=True)


def _bytes(text: bytes | bytearray | str) -> bytes | bytearray:
    return text.encode("latin1") if isinstance(text, str) else text


def _scalar(dtype: np.dtype, raw: bytes | bytearray | str) -> np.generic:
    return np.frombuffer(_bytes(raw), dtype, 1)[0]


def _from_buffer(
    raw: bytes | bytearray, dtype: np.dtype, shape: tuple, order: str
) -> np.ndarray:
    return np.reshape(np.frombuffer(raw, dtype), shape, order)


class _ArrayName:
    """What stands for `numpy.ndarray`, which is only named."""


# Arrays and scalars of numbers and texts.
NUMPY_ALLOWED: dict[str, Callable] = {
    "numpy.dtype": _plain_dtype,
    "numpy.ndarray": _ArrayName,
    "numpy.core.multiarray._reconstruct": lambda *_: np.empty(0, np.uint8),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    # Python 3's bytes, written for Python 2.
    "_codecs.encode": lambda text, _: _bytes(text),
    "__builtin__.bytes": lambda: b"",
}
# What Python 2's instances name beside their class.
OBJECT_ALLOWED: dict[str, Callable] = {
    "copy_reg._reconstructor": lambda cls, *_: object.__new__(cls),
    "__builtin__.object": object,
}


class _Reader(pickle._Unpickler):
    """The standard library's reader, with the dangerous opcodes replaced."""

    allowed: Mapping[str, Callable]
    callable_ids: set[int]  # of what may be called

    def find_class(self, module: str, name: str) -> Callable:
        name = f"{module}.{name}".replace("numpy._core", "numpy.core")
        if name not in self.allowed:
            raise ValueError(f"it names {name}, which may not be read")
        return self.allowed[name]

    def call(self) -> None:
        """REDUCE and NEWOBJ: call what lies on the stack."""
        arguments = self.stack.pop()
        target = self.stack[-1]
        if id(target) not in self.callable_ids:
            raise ValueError(f"it calls a {type(target).__name__}")
        self.stack[-1] = target(*arguments)

    def build(self) -> None:
        """BUILD: fill an object with its state."""
        target, state = self.stack[-2:]
        if isinstance(target, np.dtype):
            expected = target.newbyteorder(state[1]).__reduce__()[2]
            fits = state[1:] == expected[1:]
        elif type(target) is np.ndarray:
            _, shape, dtype, _, raw = state
            size = math.prod(shape) * dtype.itemsize
            fits = min(shape, default=0) >= 0 and len(raw) == size
        else:
            fits = type(state) is dict and id(type(target)) in self.callable_ids
        if not fits:
            raise ValueError(
                f"it fills a {type(target).__name__} with what does not fit"
            )
        self.load_build()

    def set_item(self) -> None:
        """SETITEM: one entry of a dictionary."""
        value = self.stack.pop()
        key = self.stack.pop()
        self._fill([key, value])

    def set_items(self) -> None:
        """SETITEMS: several entries of a dictionary."""
        self._fill(self.pop_mark())

    def make_dict(self) -> None:
        """DICT: a dictionary of several entries."""
        items = self.pop_mark()
        self.append({})
        self._fill(items)

    def _fill(self, items: list) -> None:
        keys, values = items[::2], items[1::2]
        if not {type(key) for key in keys} <= PLAIN_KEYS:
            raise ValueError("it has a dictionary whose keys are not plain")
        self.stack[-1].update(zip(keys, values, strict=True))

    dispatch: ClassVar = {
        **{
            opcode: load
            for opcode, load in pickle._Unpickler.dispatch.items()
            if opcode not in REFUSED_OPCODES
        },
        pickle.REDUCE[0]: call,
        pickle.NEWOBJ[0]: call,
        pickle.BUILD[0]: build,
        pickle.SETITEM[0]: set_item,
        pickle.SETITEMS[0]: set_items,
        pickle.DICT[0]: make_dict,
    }

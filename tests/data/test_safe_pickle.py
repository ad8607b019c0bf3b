"""Pickles: plain data comes back as it was; everything else is refused, and nothing
runs."""

import os
import pickle
import struct
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from digit.data.safe_pickle import NUMPY_ALLOWED, OBJECT_ALLOWED, load_pickle

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
)
PLAIN = st.recursive(
    SCALARS | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)
ARRAYS = npst.arrays(
    st.sampled_from(["f4", "f8", ">i2", "u1", "?", "S3", "U2"]),
    npst.array_shapes(min_dims=0, min_side=0),
)


@settings(max_examples=60, deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_plain_data_comes_back(tmp_path_factory, value, protocol):
    path = tmp_path_factory.mktemp("plain") / "x.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert load_pickle(path, NUMPY_ALLOWED) == value


@settings(max_examples=60, deadline=None)
@given(ARRAYS, st.integers(0, 5), st.booleans())
def test_arrays_and_scalars_come_back(tmp_path_factory, array, protocol, fortran):
    path = tmp_path_factory.mktemp("arrays") / "x.pkl"
    array = np.asfortranarray(array) if fortran and array.ndim > 1 else array
    value = {
        "array": array,
        "again": array,
        "item": np.float32(2),
        "flag": np.bool_(True),
    }
    path.write_bytes(pickle.dumps(value, protocol))
    back, expected = (
        load_pickle(path, NUMPY_ALLOWED),
        pickle.loads(pickle.dumps(value, protocol)),
    )
    assert (
        back["array"] is back["again"]
        and back["array"].dtype == expected["array"].dtype
    )
    np.testing.assert_array_equal(back["array"], array)
    assert type(back["item"]) is np.float32 and back["item"] == 2 and back["flag"]


def test_a_python_2_instance_is_filled_into_its_stand_in(tmp_path):
    class Chumpy:
        pass

    state = (
        b"(dS'x'\ncnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR"
    )
    state += (
        b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf8?'\ntRs"
    )
    text = (
        b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR"
        + state
        + b"b."
    )
    path = tmp_path / "two.pkl"
    path.write_bytes(text)
    allowed = {**NUMPY_ALLOWED, **OBJECT_ALLOWED, "chumpy.ch.Ch": Chumpy}
    back = load_pickle(path, allowed, encoding="latin1")
    assert type(back) is Chumpy and back.x == 1.5
    with pytest.raises(ValueError, match=r"two\.pkl.*chumpy\.ch\.Ch"):
        load_pickle(path, {**NUMPY_ALLOWED, **OBJECT_ALLOWED}, encoding="latin1")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pkl"):
        load_pickle(tmp_path / "gone.pkl", {})


class Evil:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


ARRAY = pickle.dumps(np.arange(6.0), 2)
DTYPE = b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR"
EMPTY_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"


def hostile(mark) -> dict[str, bytes]:
    """Pickles that would touch the file `mark`, eat memory, or break the reader."""
    command = f"touch {mark}"
    shell = f"(S'{command}'\ntR.".encode()
    system = b"cposix\nsystem\n"
    return {
        "reduce os.system": pickle.dumps(Evil(os.system, command)),
        "reduce subprocess": pickle.dumps(
            Evil(subprocess.check_call, ["touch", str(mark)])
        ),
        "eval": pickle.dumps(Evil(eval, f"open({str(mark)!r}, 'w')")),
        "nested deep in plain data": pickle.dumps(
            {"a": [1, ({"b": Evil(os.system, command)},)]}
        ),
        "in an object array": pickle.dumps(
            np.array([Evil(os.system, command)], object)
        ),
        "object array of plain things": pickle.dumps(np.array([{}, None], object)),
        "as a key": b"(" + system + b"(S'" + command.encode() + b"'\ntRI1\nd.",
        "old-style instance": b"(S'" + command.encode() + b"'\niposix\nsystem\n.",
        "class from the stack": b"(" + system + b"S'" + command.encode() + b"'\no.",
        "getattr chain": b"c__builtin__\ngetattr\n(cos\nsystem\nS'__call__'\ntR"
        + shell,
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x09os.system\x93" + shell,
        "through an allowed module": b"cnumpy.core.multiarray\nos.system\n" + shell,
        "numpy's own exec": b"cnumpy.testing._private.utils\nrunstring\n" + shell,
        "calling a string": b"S'posix.system'\n" + shell,
        "calling what was built": DTYPE + shell,
        "keyword construction": b"\x80\x04" + system + b")}\x92.",
        "newobj of a function": b"\x80\x02" + system + b")\x81.",
        "state of a function": b"cnumpy\ndtype\n}S'__code__'\nI1\nsb.",
        "state of a class": b"cnumpy\nndarray\n}S'__setstate__'\nI1\nsb.",
        "slots of an instance": b"cnumpy\nndarray\n)\x81N}S'a'\nI1\ns\x86b.",
        "setstate smuggled in": b"cnumpy\nndarray\n)R(dS'__setstate__'\n"
        + system
        + b"sb(dS'a'\nNsb.",
        "extension code": b"\x80\x02\x82\x01.",
        "persistent id": b"Pevil\n.",
        "array without its bytes": EMPTY_ARRAY
        + b"(I1\n(I9\nt"
        + DTYPE
        + b"I0\nS'short'\ntb.",
        "array of negative size": EMPTY_ARRAY
        + b"(I1\n(I-1\nt"
        + DTYPE
        + b"I0\nS''\ntb.",
        "array of objects by state": EMPTY_ARRAY
        + b"(I1\n(I9\ntcnumpy\ndtype\n(S'O'\ntRI0\n(ltb.",
        "dtype of objects by state": DTYPE + b"(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb.",
        "record dtype": b"cnumpy\ndtype\n(S'i4,O'\ntR.",
        "string of 8 exabytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**63 - 1) + b"x.",
        "bytes of 1 terabyte": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
        "bytearray of 1 terabyte": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
        "frame of 1 terabyte": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"]",
        "negative long": b"\x80\x02\x8b" + struct.pack("<i", -5) + b".",
        "number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
        "tuple a million deep as key": b"}" + b")" + b"\x85" * 1_000_000 + b"I1\ns.",
        "set a million deep": b"\x80\x04\x8f(" + b")" + b"\x85" * 1_000_000 + b"\x90.",
        "protocol 250": b"\x80\xfa].",
        "empty": b"",
        "no end": b"\x80\x02]q\x00",
        "cut short": ARRAY[:-20],
        "stack underflow": b"R.",
        "web page": b"\n<!DOCTYPE html><html>404 not found</html>",
        "text": b"404 not found",
        "LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a",
        "odd dictionary": b"(I1\nI2\nI3\nd.",
        "zip": b"PK\x03\x04" + bytes(40),
    }


@pytest.mark.parametrize("name", hostile("x"))
def test_hostile_pickles_are_refused_and_nothing_runs(tmp_path, name):
    mark, path = tmp_path / "evil", tmp_path / "bad.pkl"
    path.write_bytes(hostile(mark)[name])
    with pytest.raises(ValueError, match=r"bad\.pkl: refused") as refusal:
        load_pickle(path, {**NUMPY_ALLOWED, **OBJECT_ALLOWED})
    assert not mark.exists()
    assert len(str(refusal.value)) < 500 + len(str(path))


def test_a_memo_index_of_4_billion_costs_nothing(tmp_path):
    path = tmp_path / "memo.pkl"
    path.write_bytes(b"\x80\x02]r\xff\xff\xff\xff.")
    assert load_pickle(path, {}) == []


def test_the_refused_name_is_shown(tmp_path):
    path = tmp_path / "bad.pkl"
    path.write_bytes(hostile(tmp_path / "evil")["reduce os.system"])
    with pytest.raises(ValueError, match=rf"{os.system.__module__}\.system"):
        load_pickle(path, NUMPY_ALLOWED)


def test_the_hostile_pickles_would_run_elsewhere(tmp_path):
    """The standard reader runs the same bytes: the refusals are worth something."""
    for name in ("reduce os.system", "in an object array", "old-style instance"):
        pickle.loads(hostile(tmp_path / name.replace(" ", "-"))[name])
        assert (tmp_path / name.replace(" ", "-")).exists()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_pickles_raise_value_errors_only(tmp_path_factory, data):
    good = pickle.dumps({"a": np.arange(4.0), "b": [1, "two", (None, True)]}, 2)
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path = tmp_path_factory.mktemp("damaged") / "x.pkl"
    path.write_bytes(damaged)
    try:
        load_pickle(path, NUMPY_ALLOWED)
    except ValueError as error:
        assert "x.pkl" in str(error)


@pytest.mark.parametrize(
    "name, kind", [("web page", "a web page"), ("LFS pointer", "a pointer of Git LFS")]
)
def test_what_was_saved_instead_is_named(tmp_path, name, kind):
    path = tmp_path / "MANO_LEFT.pkl"
    path.write_bytes(hostile(tmp_path / "evil")[name])
    with pytest.raises(ValueError, match=rf"MANO_LEFT\.pkl: refused, it is {kind}"):
        load_pickle(path, NUMPY_ALLOWED)

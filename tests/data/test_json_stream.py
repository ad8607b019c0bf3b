"""Reading JSON in pieces gives what reading it whole gives, and refuses what is
broken."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digit.data import json_stream
from digit.data.json_stream import walk_json

NUMBERS = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_leaves=20,
)


def walk_parsed(value, depth):
    """What `walk_json` must yield, from the parsed document."""
    if depth == 0 or not isinstance(value, (dict, list)):
        return [((), value)]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in items:
        for keys, leaf in walk_parsed(inner, depth - 1):
            found.append(((key, *keys), leaf))
    return found


@settings(max_examples=150, deadline=None)
@given(
    value=VALUES,
    depth=st.integers(0, 3),
    block=st.integers(1, 9),
    indent=st.sampled_from([None, 1]),
)
def test_pieces_give_what_parsing_gives(tmp_path_factory, value, depth, block, indent):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(value, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "BLOCK", block)
        assert list(walk_json(path, depth)) == walk_parsed(value, depth)


def test_nan_and_infinity_are_numbers(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [NaN, -Infinity]}')
    ((_, value),) = walk_json(tmp_path / "a.json", 1)
    assert np.isnan(value[0])
    assert value[1] == -np.inf


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert list(walk_json(tmp_path / "a.json", 1)) == [(("a",), 1)]


@pytest.mark.parametrize("keep", [0, 1, 7, 20, 41, 60])
def test_a_cut_file_is_refused(tmp_path, keep):
    document = {"images": [{"id": 12345}], "annotations": [{"id": 1, "bbox": [1.5]}]}
    text = json.dumps(document)
    (tmp_path / "cut.json").write_text(text[: min(keep, len(text) - 1)])
    with pytest.raises(ValueError, match=r"cut\.json: cut in the middle.*download"):
        list(walk_json(tmp_path / "cut.json", 2))


NOT_JSON = ('{"a" 1}', "[1 2]", '{"a": [tru]}', "[1, {]", "\xff\xfe", "{1: 2}", "[1}")


@pytest.mark.parametrize("text", [*NOT_JSON, "[1] 2", "[" * 100_000, '{"a": 1}}'])
def test_what_is_not_json_is_refused(tmp_path, text):
    (tmp_path / "bad.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ValueError, match=r"bad\.json: "):
        list(walk_json(tmp_path / "bad.json", 2))


def test_a_value_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "BLOCK", 100)
    monkeypatch.setattr(json_stream, "LONGEST", 1000)
    (tmp_path / "bad.json").write_text('{"a": [tru' + " " * 100_000)
    with pytest.raises(ValueError, match="not JSON"):
        list(walk_json(tmp_path / "bad.json", 1))

"""The annotation files: streaming, strictness, the original's subsets, writing and reading back."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digit.data import json_stream
from digit.data.json_stream import walk_json
from digit.data.subsets import mersenne_words, subset_rows

numbers = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_leaves=20,
)


def unwalk(value, depth):
    """What `walk_json` is to say, from the parsed file."""
    if depth == 0 or not isinstance(value, (dict, list)):
        return [((), value)]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [
        ((key, *keys), v)
        for key, inner in items
        for keys, v in unwalk(inner, depth - 1)
    ]


@settings(max_examples=150, deadline=None)
@given(values, st.integers(0, 3), st.integers(1, 9), st.sampled_from([None, 1]))
def test_streaming_says_what_parsing_says(
    tmp_path_factory, value, depth, block, indent
):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(value, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "BLOCK", block)
        assert list(walk_json(path, depth)) == unwalk(value, depth)


@pytest.mark.parametrize("keep", [0, 1, 7, 20, 41, 60])
def test_a_cut_file_is_refused_by_name(tmp_path, keep):
    text = json.dumps(
        {"images": [{"id": 12345}], "annotations": [{"id": 1, "bbox": [1.5]}]}
    )
    (tmp_path / "cut.json").write_text(text[: min(keep, len(text) - 1)])
    with pytest.raises(ValueError, match=r"cut\.json: cut in the middle.*fetch"):
        list(walk_json(tmp_path / "cut.json", 2))


@pytest.mark.parametrize(
    "text", ['{"a" 1}', "[1 2]", '{"a": [tru]}', "[1, {]", "\xff\xfe"]
)
def test_what_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "bad.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ValueError, match=r"bad\.json: "):
        list(walk_json(tmp_path / "bad.json", 2))


def test_no_value_is_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "BLOCK", 100)
    monkeypatch.setattr(json_stream, "LONGEST", 1000)
    (tmp_path / "bad.json").write_text('{"a": [tru' + " " * 100_000)
    with pytest.raises(ValueError, match="no JSON"):
        list(walk_json(tmp_path / "bad.json", 1))


def test_not_a_number_is_a_number(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [NaN, -Infinity]}')
    ((_, value),) = walk_json(tmp_path / "a.json", 1)
    assert np.isnan(value[0]) and value[1] == -np.inf


def test_our_twister_is_the_reference():
    """The first words for init_by_array([1]), as Python's own generator gives them today."""
    words, python = mersenne_words(1), random.Random(1)
    assert [next(words) for _ in range(2000)] == [
        python.getrandbits(32) for _ in range(2000)
    ]
    assert next(mersenne_words(1)) == 577090037


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6000), st.sampled_from([1000, 0.1, 0.25, 0.05]))
def test_subsets_are_the_originals(n, part):
    python = random.Random(1)
    assert python.randint(0, 100) == 17
    k = min(part, n) if isinstance(part, int) else int(part * n)
    assert subset_rows(n, part).tolist() == sorted(python.sample(range(n), k))


def test_a_subset_of_the_real_size_is_fixed():
    """smalltrain of v1.0, pinned: neither Python's nor numpy's generator can change it."""
    rows = subset_rows(1_361_062, 0.1)
    assert len(rows) == 136_106 and rows[:5].tolist() == [8, 19, 38, 49, 52]
    assert rows.sum() == 92_561_823_245

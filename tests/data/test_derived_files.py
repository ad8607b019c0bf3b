"""Damaged derived files are made anew; what a user wrote is kept and reported by
line."""

import json
import os
import shutil

import numpy as np
import pytest
from trees import N_FRAMES, write_columns_tree

from digit.data.build_index import prepare_index
from digit.data.columns import (
    DamagedTable,
    read_checked_json,
    read_columns,
    write_checked_json,
    write_columns,
)
from digit.data.exclude import read_exclude_lists, write_exclude_list
from digit.data.health import check
from digit.data.index import open_index
from digit.paths import _cache_dir, prepared_dir


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing is left in the user's cache."""
    monkeypatch.setenv("DIGIT_CACHE", str(tmp_path / "cache"))
    _cache_dir.cache_clear()
    yield
    _cache_dir.cache_clear()


@pytest.fixture
def tree(tmp_path):
    return write_columns_tree(tmp_path / "tree")


# ------------------------------------------------------------------ the index


@pytest.mark.parametrize("place", ["index", "index/train"])
def test_a_file_in_the_place_of_a_folder_is_kept_aside(tree, place, caplog):
    true = prepare_index(tree)["joints_px"]
    folder = tree / "prepared" / place
    shutil.rmtree(folder)
    folder.write_text("mine")
    np.testing.assert_array_equal(prepare_index(tree)["joints_px"], true)
    aside = folder.with_name(f"{folder.name}.aside-1")
    assert aside.read_text() == "mine"
    assert caplog.text.count("no folder; it is kept as") == 1


def test_a_file_in_the_place_of_the_exclude_lists_is_named(tree):
    prepare_index(tree)
    (tree / "prepared/exclude").write_text("mine")
    with pytest.raises(
        OSError, match=r"train_check\.tsv: cannot be written .*; a file"
    ):
        check(tree)
    assert (tree / "prepared/exclude").read_text() == "mine"


MADE = ("[]", "null", "{}", "", "text", "[" * 5000, '{"version": 4}', "\xff")


@pytest.mark.parametrize("text", MADE)
def test_a_damaged_made_json_is_made_anew(tree, text, caplog):
    index = prepare_index(tree)
    true = index["joints_px"]
    (index.folder / "made.json").write_bytes(text.encode("latin1"))
    with pytest.raises(FileNotFoundError, match=r"index is damaged .*digit prepare"):
        open_index(tree)
    np.testing.assert_array_equal(prepare_index(tree)["joints_px"], true)
    assert "it is built anew" in caplog.text


@pytest.mark.parametrize(("version", "age"), [(3, "an older"), (10**6, "a newer")])
@pytest.mark.parametrize("has_checksum", [True, False])
def test_an_index_of_another_version_is_not_called_damaged(
    tree, version, age, has_checksum, caplog
):
    index = prepare_index(tree)
    path = index.folder / "made.json"
    made = read_checked_json(path) | {"version": version}
    if has_checksum:
        write_checked_json(path, made)
    else:
        path.write_text(json.dumps(made))
    reason = f"was made by {age} version"
    with pytest.raises(FileNotFoundError, match=f"the index {reason}; prepare"):
        open_index(tree)
    prepare_index(tree)
    assert f"{reason}; it is built anew" in caplog.text
    assert "damaged" not in caplog.text
    assert open_index(tree).fingerprint == index.fingerprint


@pytest.mark.parametrize(
    "key", ["version", "stamps", "hashes", "left_out", "fingerprint"]
)
@pytest.mark.parametrize("value", [None, [], "missing"])
def test_made_json_without_a_key_is_made_anew(tree, key, value):
    path = prepare_index(tree).folder / "made.json"
    made = json.loads(path.read_text())
    if value == "missing":
        made.pop(key)
    elif not (key == "fingerprint" and value == "missing"):
        made[key] = value
    path.write_text(json.dumps(made))
    assert len(prepare_index(tree)) == N_FRAMES
    assert json.loads(path.read_text()) != made


COLUMNS = ("frames/bbox_xywh", "cameras/focal", "instants/joints_world_mm")
DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: path.write_bytes(
        path.read_bytes()[: path.stat().st_size // 2]
    ),
    "cut by a byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a byte changed": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f"),
    "missing": lambda path: path.unlink(),
    "shorter than its table": lambda path: np.save(path, np.load(path)[1:]),
    "another type": lambda path: np.save(path, np.load(path).astype(str)),
    "a pickle": lambda path: np.save(path, np.array([{}, None], object)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_column_is_made_anew(tree, name, damage, caplog):
    index = prepare_index(tree)
    true = index["joints_px"].copy()
    path = index.folder / f"{name}.npy"
    DAMAGES[damage](path)
    np.testing.assert_array_equal(prepare_index(tree)["joints_px"], true)
    assert "it is built anew" in caplog.text


@pytest.mark.parametrize("name", ["frames", "instants", "cameras"])
@pytest.mark.parametrize("instead", ["nothing", "a file", "a link"])
def test_a_missing_folder_is_made_anew(tree, name, instead):
    index = prepare_index(tree)
    true = index["joints_px"].copy()
    shutil.rmtree(index.folder / name)
    if instead == "a file":
        (index.folder / name).write_text("")
    if instead == "a link":
        (index.folder / name).symlink_to("nowhere")
    np.testing.assert_array_equal(prepare_index(tree)["joints_px"], true)


def test_a_changed_byte_under_an_old_date_is_found_by_the_report(tree):
    index = prepare_index(tree)
    true = index["bbox_xywh"].copy()
    path = index.folder / "frames/bbox_xywh.npy"
    date = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    os.utime(path, ns=(date, date))
    assert (prepare_index(tree)["bbox_xywh"] != true).any()
    check(tree)
    np.testing.assert_array_equal(prepare_index(tree)["bbox_xywh"], true)


@pytest.mark.parametrize(
    "damage", ["empty", "cut by a byte", "missing", "a byte changed"]
)
def test_damaged_columns_of_masks_do_not_count(tree, damage, caplog):
    index = prepare_index(tree)
    folder = index.folder / f"masks-{index.fingerprint}"
    write_columns(folder, {"parts_valid": np.ones(N_FRAMES, bool)})
    assert open_index(tree)["parts_valid"].all()
    DAMAGES[damage](folder / "parts_valid.npy")
    assert not open_index(tree)["parts_valid"].any()
    assert "no mask counts until then; prepare the data set again" in caplog.text


def test_columns_of_masks_of_another_length_do_not_count(tree):
    index = prepare_index(tree)
    folder = index.folder / f"masks-{index.fingerprint}"
    for n in (0, N_FRAMES - 1, N_FRAMES + 1):
        write_columns(folder, {"parts_valid": np.ones(n, bool)})
        assert not open_index(tree)["parts_valid"].any()


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a b", "", "columns.json", "ä", "1"]
)
def test_a_columns_name_is_a_plain_word(tmp_path, name):
    with pytest.raises(ValueError, match="a column cannot be called"):
        write_columns(tmp_path / "table", {name: np.zeros(3)})
    assert not list(tmp_path.rglob("*.npy"))


def test_a_table_without_a_manifest_is_taken_as_it_is(tmp_path):
    """Older versions wrote none."""
    write_columns(tmp_path, {"a": np.arange(3), "b": np.zeros((3, 2))})
    (tmp_path / "columns.json").unlink()
    assert read_columns(tmp_path, rows=3)["a"].tolist() == [0, 1, 2]
    np.save(tmp_path / "c.npy", np.zeros(4))
    with pytest.raises(DamagedTable, match="4 rows instead of 3"):
        read_columns(tmp_path)


# ------------------------------------------------------------------ the folder `prepared`


PLACES = {
    "a file": lambda path: path.write_text("mine"),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to a file": lambda path: path.symlink_to(__file__),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_stands_in_the_place_of_prepared_is_left_alone(tree, tmp_path, place):
    PLACES[place](tree / "prepared")
    assert prepare_index(tree).folder.is_relative_to(tmp_path / "cache")
    assert not (tree / "prepared").is_dir()
    assert "excluded" in check(tree)


def test_a_link_to_a_folder_is_followed(tree, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tree / "prepared").symlink_to(tmp_path / "elsewhere")
    prepare_index(tree)
    assert (tmp_path / "elsewhere/index/train/made.json").exists()


# ------------------------------------------------------------------ exclude lists


def write_list(tree, content, name="train_mine.tsv"):
    path = prepared_dir(tree) / "exclude" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


LISTS = {
    "a reason": b"{key}\tblurred\n",
    "no end of line": b"{key}\tblurred",
    "Windows lines": b"{key}\tblurred\r\n",
    "blank lines": b"\n\n{key}\tblurred\n\n  \n",
    "a comment": b"# mine\n{key}\tblurred\n",
    "a byte-order mark": b"\xef\xbb\xbf{key}\tblurred\n",
    "another key in Latin-1": b"train/caf\xe9.jpg\tblurred\n{key}\tblurred\n",
    "a reason in Latin-1": b"{key}\tblurred\xe9\n",
    "another key of zeros": b"\0\0\0\n{key}\tblurred\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_exclude_lists_are_read_as_people_write_them(tree, kind):
    key = prepare_index(tree).keys()[3]
    content = LISTS[kind].replace(b"{key}", key.encode())
    path = write_list(tree, content)
    index = open_index(tree)
    assert index.excluded()[3].startswith("blurred")
    assert len(index.usable()) == N_FRAMES - 1
    check(tree)
    assert path.read_bytes() == content


def test_a_key_without_a_reason_counts(tree):
    index = prepare_index(tree)
    write_list(tree, index.keys()[3].encode() + b"\n")
    assert index.excluded()[3] == "listed in train_mine.tsv"


def test_a_line_that_names_no_frame_is_reported(tree, caplog):
    index = prepare_index(tree)
    path = write_list(tree, b"\ntrain/nothing.jpg\tblurred\nval/x.jpg\n")
    assert len(index.usable()) == N_FRAMES
    expected = f"{path}, line 2: 'train/nothing.jpg' is the key of no frame"
    assert f"{expected} (and 1 more such lines)" in caplog.text
    row = check(tree).set_index("finding")
    row = row.loc["line of an exclude list that names no frame"]
    assert row["frames"] == 2
    assert row["example"] == expected


def test_a_frame_outside_a_subset_is_no_fault_of_the_list(tree, caplog):
    index = prepare_index(tree)
    write_list(
        tree,
        "".join(f"{key}\tx\n" for key in index.keys()).encode(),  # noqa: SIM118
    )
    assert not len(open_index(tree, "smalltrain").usable())
    assert not caplog.text


def test_of_two_lists_of_one_name_the_younger_counts(tree, tmp_path):
    """The owner's, beside the data, and the cache's of a user who may not write
    there."""
    keys = prepare_index(tree).keys()
    write_exclude_list(tree, "train", "check", {keys[0]: "old"})
    write_exclude_list(tree, "train", "other", {keys[1]: "kept"})
    (tree / "prepared").chmod(0o555)
    write_exclude_list(tree, "train", "check", {keys[2]: "new"})
    (tree / "prepared").chmod(0o755)
    reasons = read_exclude_lists(tree, "train", keys).reasons
    assert reasons == {keys[1]: "kept", keys[2]: "new"}

"""Random damage to files: a value of a JSON document changed, or bytes of any file.

`tests/data/test_damage.py` does it some hundred times, `benchmarks/random_damage.py` as long
as one lets it.
"""

import json
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from trees import annotation_paths, columns, write_lmdb

from digit.data.build_index import prepare_index
from digit.data.columns import write_columns
from digit.data.health import check
from digit.data.tree import write_tree

# What a value may become. Some are right in another place, some nowhere.
VALUES = (
    None,
    True,
    0,
    -1,
    1.5,
    10**9,
    10**30,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "text",
    "7",
    "a\nb",
    "../../x",
    "\ud800",
    [],
    [[]],
    [1, 2, 3, 4],
    [None] * 4,
    {},
    {"a": None},
    [[[[[[[[[[1]]]]]]]]]],
)
LONGEST_SPAN = 40  # bytes that one damage overwrites, at most


def mutated_json(rng: random.Random, text: str) -> str:
    """The document with one value replaced, removed, repeated, or wrapped in a list."""
    holder = {"root": json.loads(text)}
    # 1. Walk down to some value
    parent: dict | list = holder
    key: str | int = "root"
    while isinstance(parent[key], dict | list) and parent[key] and rng.random() < 0.85:
        parent = parent[key]
        places = list(parent) if isinstance(parent, dict) else range(len(parent))
        key = rng.choice(places)
    # 2. Change it
    action = rng.choice(["replace", "replace", "remove", "repeat", "wrap"])
    if action == "replace":
        parent[key] = rng.choice(VALUES)
    elif action == "wrap":
        parent[key] = [parent[key]]
    elif action == "remove":
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(key, parent[key])
    else:
        parent[f"0{key}"] = parent[key]
    return json.dumps(holder.get("root"))


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """The file cut, or some of its bytes changed, zeroed, removed or repeated."""
    if not data:
        return b"text"
    start = rng.randrange(len(data))
    end = min(start + rng.randint(1, LONGEST_SPAN), len(data))
    span = data[start:end]
    middle = rng.choice(
        [
            b"",
            bytes(len(span)),
            rng.randbytes(len(span)),
            span + span,
            b"\xff",
            b"{",
            b"]",
        ]
    )
    if rng.random() < 0.2:
        return data[:start]
    return data[:start] + middle + data[end:]


def make_small_tree(dataset_dir: Path) -> Path:
    """A tree of fifteen frames with every kind of annotation file, prepared."""
    frames, instants, cameras, _ = columns(captures=1)
    write_tree(dataset_dir, "train", frames, instants, cameras)
    errors = {"right_fit_err": 1.5, "left_fit_err": None, "imsize": (512, 334)}
    keys = [f"train/{name}" for name in frames["file_name"]]
    (dataset_dir / "cache").mkdir()
    meta_dict = pickle.dumps({key: errors for key in keys})
    (dataset_dir / "cache/meta_dict_train.pkl").write_bytes(meta_dict)
    index = prepare_index(dataset_dir)
    parts_valid = np.ones(len(index), bool)
    write_columns(
        index.folder / f"masks-{index.fingerprint}", {"parts_valid": parts_valid}
    )
    mine = dataset_dir / "prepared/exclude/train_mine.tsv"
    mine.parent.mkdir()
    mine.write_text(f"{keys[0]}\tblurred\n")
    write_lmdb(dataset_dir / "segm_32.lmdb", {})
    return dataset_dir


def is_source(path: Path, dataset_dir: Path) -> bool:
    """Whether a file is the user's: all but what preparation has made."""
    parts = path.relative_to(dataset_dir).parts
    return parts[0] != "prepared" or path.name == "train_mine.tsv"


def sources(dataset_dir: Path) -> dict[Path, bytes]:
    """The content of the user's files."""
    paths = [path for path in dataset_dir.rglob("*") if path.is_file()]
    return {
        path: path.read_bytes()
        for path in paths
        if is_source(path, dataset_dir) and path.suffix != ".mdb"
    }


def targets(dataset_dir: Path) -> list[Path]:
    """The files that may be damaged."""
    found = [
        *annotation_paths(dataset_dir).values(),
        dataset_dir / "cache/meta_dict_train.pkl",
        dataset_dir / "prepared/exclude/train_mine.tsv",
    ]
    folder = dataset_dir / "prepared/index/train"
    made = [path for path in folder.rglob("*") if path.is_file()]
    return [*found * 3, *sorted(made)]


def damage_one(rng: random.Random, dataset_dir: Path) -> str:
    """Damage one file; returns which, and how."""
    path = rng.choice(targets(dataset_dir))
    data = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.7:
        how: Callable = mutated_json
        path.write_text(mutated_json(rng, data.decode()))
    else:
        how = mutated_bytes
        path.write_bytes(mutated_bytes(rng, data))
    return f"{how.__name__} of {path.relative_to(dataset_dir)}"


def survive(seed: int, template: Path, scratch: Path) -> None:
    """Damage a copy of a data set, prepare and check it.

    Raises:
        AssertionError: If something else than a named error or a report comes of it, or if
            one of the user's files changes.
    """
    rng = random.Random(seed)
    dataset_dir = scratch / "tree"
    shutil.copytree(template, dataset_dir)
    try:
        what = f"seed {seed}: {damage_one(rng, dataset_dir)}"
        before = sources(dataset_dir)
        try:
            index = prepare_index(dataset_dir)
            usable = index.usable()
            assert len(usable) <= len(index) <= 15, what
            check(dataset_dir)
            sound = index.take(index["fault"] == 0)
            assert np.isfinite(sound["joints_px"][sound["joint_valid"]]).all(), what
        except (ValueError, OSError) as error:
            message = str(error)
            assert str(dataset_dir) in message, f"{what}: no file in {message!r}"
            assert "\n" not in message, f"{what}: {message!r}"
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
        assert sources(dataset_dir) == before, f"{what}: a file of the user's changed"
    finally:
        shutil.rmtree(dataset_dir)

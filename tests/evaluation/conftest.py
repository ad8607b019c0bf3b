"""Frames that the tests of metrics share."""

import shutil

import pytest
from trees import make_tree

from digit.data.build_index import prepare_index
from digit.data.index import Index


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Index:
    """Six frames: right, left, interacting, twice."""
    dataset_dir = tmp_path_factory.mktemp("metrics") / "tree"
    return prepare_index(make_tree(dataset_dir, pictures=False), "val")


@pytest.fixture(scope="module")
def original(reference, tmp_path_factory) -> Index:
    """The thirty frames that the original implementation was run on."""
    dataset_dir = tmp_path_factory.mktemp("reference") / "tree"
    shutil.copytree(reference / "protocol_seed11", dataset_dir)
    return prepare_index(dataset_dir, "val")

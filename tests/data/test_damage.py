"""Whatever is damaged in a data set: an error that names a file, or a report of it."""

import pytest
from damage import make_small_tree, survive

MUTATIONS_A_TEST = 60


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make_small_tree(tmp_path_factory.mktemp("damage") / "template")


@pytest.mark.parametrize("part", range(9))
def test_damage_is_named_or_reported(template, tmp_path, part):
    for number in range(MUTATIONS_A_TEST):
        survive(part * MUTATIONS_A_TEST + number, template, tmp_path)

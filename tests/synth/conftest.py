"""A small synthetic tree that several test files read."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from inline import InlineExecutor

from digit.data.build_index import prepare_index
from digit.data.index import Index
from digit.synth import scene
from digit.synth.dataset import synthesize

FRAMES = 24
SEED = 3
SPLITS = ("train", "val", "test")


class SmallTree(NamedTuple):
    """A synthetic tree, its indices, and what its pictures show."""

    dataset_dir: Path
    counts: dict[str, int]
    indices: dict[str, Index]
    # Per picture and pixel: 0 right hand, 1 left hand, 2 other things, −1 background.
    owners: list[np.ndarray]


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory) -> SmallTree:
    """24 frames of the profile studio."""
    dataset_dir = tmp_path_factory.mktemp("synth") / "tree"
    owners = []
    plain_occlusion = scene.occlusion

    def spying_occlusion(frame):
        owners.append(np.append(frame.owner, -1)[frame.seen.face])
        return plain_occlusion(frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, "occlusion", spying_occlusion)
        counts = synthesize(
            dataset_dir, FRAMES, SEED, executor=InlineExecutor(), progress=False
        )
    indices = {split: prepare_index(dataset_dir, split) for split in SPLITS}
    return SmallTree(dataset_dir, counts, indices, owners)

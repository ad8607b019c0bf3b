"""A tree as the original scripts leave it gives the samples that our own preparation
gives."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from trees import png, write_lmdb

from digit.data.augmentation import Augmentation
from digit.data.build_index import prepare_index
from digit.data.dataset import InterHandDataset
from digit.data.store import image_store, mask_store, read_image, read_mask


def write_packed(path, values):
    """The values, and the two entries that the original's packer adds."""
    extra = {
        "__keys__": pickle.dumps(list(values)),
        "__len__": pickle.dumps(len(values)),
    }
    write_lmdb(path, values | extra)


def originals_tree(root, ours, split):
    """The same data as the original's scripts leave them: PNG-coded images, 3-channel
    masks, pickles instead of data.json, no fits."""
    index = prepare_index(ours, split)
    keys = index.keys()

    # 1. Images and masks, re-coded
    images, masks = image_store(ours), mask_store(ours)
    pictures = {key: png(read_image(images, key)[..., ::-1]) for key in keys}
    write_packed(root / "images/interhand.lmdb", pictures)
    coded = {}
    for key, is_valid in zip(keys, index["parts_valid"], strict=True):
        if is_valid:
            labels = read_mask(masks, key)
            coded[key.replace(".jpg", ".png")] = png(np.dstack([labels] * 3))
    write_packed(root / "segm_32.lmdb", coded)

    # 2. Annotations, with a pickle in the place of data.json
    source, place = ours / "annotations" / split, root / "annotations" / split
    place.mkdir(parents=True)
    for kind in ("camera", "joint_3d"):
        shutil.copy(source / f"InterHand2.6M_{split}_{kind}.json", place)
    shutil.copy(ours / "annotations/skeleton.txt", root / "annotations")
    data = json.loads((source / f"InterHand2.6M_{split}_data.json").read_text())
    by_id = {label["image_id"]: label for label in data["annotations"]}
    records = {
        image["id"]: {**image, "anno": by_id[image["id"]]} for image in data["images"]
    }
    (place / f"InterHand2.6M_{split}_data.pkl").write_bytes(pickle.dumps(records))

    # 3. Fitting errors
    meta = {}
    for row, key in enumerate(keys):
        right, left = index["fit_error_mm"][row]
        meta[key] = {
            "right_fit_err": None if np.isnan(right) else float(right),
            "left_fit_err": None if np.isnan(left) else float(left),
            "imsize": (int(index["width"][row]), int(index["height"][row])),
        }
    (root / "cache").mkdir()
    (root / f"cache/meta_dict_{split}.pkl").write_bytes(pickle.dumps(meta))
    return root


@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_samples_are_the_same(tiny_root, tmp_path, augmentation):
    theirs = originals_tree(tmp_path / "original", tiny_root, "train")
    ours_dataset, their_dataset = (
        InterHandDataset(prepare_index(root, "train"), 256, augmentation, seed=3)
        for root in (tiny_root, theirs)
    )
    ours = ours_dataset.batch(range(len(ours_dataset)))
    original = their_dataset.batch(range(len(their_dataset)))
    assert ours.parts_valid.sum() > 10
    assert ours.parts.any()
    for name in ours._fields:
        assert torch.equal(getattr(ours, name), getattr(original, name)), name

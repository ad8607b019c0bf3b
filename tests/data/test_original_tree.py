"""A tree as the original scripts leave it gives the samples that our own preparation gives."""

import json
import pickle
import shutil

import cv2
import lmdb
import numpy as np
import torch

from digit.data.dataset import Augmentation, InterHandDataset
from digit.data.index import open_index
from digit.data.store import image_store, mask_store, read_image, read_mask


def write_lmdb(path, values):
    """The values, and the two entries that the original's packer adds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    extra = {
        "__keys__": pickle.dumps(list(values)),
        "__len__": pickle.dumps(len(values)),
    }
    with lmdb.open(str(path), map_size=1 << 30) as env, env.begin(write=True) as txn:
        for key, value in (values | extra).items():
            txn.put(key.encode(), value)


def png(picture):
    return cv2.imencode(".png", picture)[1].tobytes()


def originals_tree(root, ours, split):
    """PNG-coded images, 3-channel masks, pickles instead of data.json, no fits: nothing of ours."""
    index = open_index(ours, split)
    images, masks = image_store(ours), mask_store(ours)
    keys = index.keys()
    write_lmdb(
        root / "images/interhand.lmdb",
        {k: png(read_image(images, k)[..., ::-1]) for k in keys},
    )
    labels = {k: read_mask(masks, k) for k, ok in zip(keys, index["parts_valid"]) if ok}
    coded = {
        k.replace(".jpg", ".png"): png(np.dstack([v] * 3)) for k, v in labels.items()
    }
    write_lmdb(root / "segm_32.lmdb", coded)
    source, place = ours / "annotations" / split, root / "annotations" / split
    place.mkdir(parents=True)
    for kind in ("camera", "joint_3d"):
        shutil.copy(source / f"InterHand2.6M_{split}_{kind}.json", place)
    shutil.copy(ours / "annotations/skeleton.txt", root / "annotations")
    data = json.loads((source / f"InterHand2.6M_{split}_data.json").read_text())
    by_id = {annotation["image_id"]: annotation for annotation in data["annotations"]}
    records = {
        image["id"]: {**image, "anno": by_id[image["id"]]} for image in data["images"]
    }
    (place / f"InterHand2.6M_{split}_data.pkl").write_bytes(pickle.dumps(records))
    sizes = zip(index["width"].tolist(), index["height"].tolist())
    names = ("right_fit_err", "left_fit_err")
    meta = {
        key: {n: None if np.isnan(e) else float(e) for n, e in zip(names, error)}
        | {"imsize": size}
        for key, error, size in zip(keys, index["fit_error_mm"], sizes)
    }
    (root / "cache").mkdir()
    (root / f"cache/meta_dict_{split}.pkl").write_bytes(pickle.dumps(meta))
    return root


def test_samples_are_the_same(tiny_root, tmp_path):
    theirs = originals_tree(tmp_path / "original", tiny_root, "train")
    for augmentation in (None, Augmentation()):
        batches = []
        for root in (tiny_root, theirs):
            frames = InterHandDataset(
                open_index(root, "train"), 256, augmentation, seed=3
            )
            batches.append(frames.batch(range(len(frames))))
        ours, original = batches
        assert ours.parts_valid.sum() > 10 and ours.parts.any()
        for name, a, b in zip(ours._fields, ours, original):
            assert torch.equal(a, b), name

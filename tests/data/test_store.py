"""The LMDBs: bytes as they are, resumed after any death, faults named, the original's read."""

import contextlib
import json
import multiprocessing
import os
import pickle
import random
import resource
import signal
import time

import cv2
import lmdb
import numpy as np
import pytest
from trees import columns

from digit.data import store
from digit.data.health import check
from digit.data.index import open_index
from digit.data.store import (
    Store,
    image_store,
    mask_store,
    pack,
    pack_images,
    read_image,
    read_mask,
    verify,
)
from digit.data.tree import write_tree
from digit.files import exclusive
from digit.paths import prepared_dir


def jpeg(seed, width=334, height=512) -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (8, 6, 3), np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", image)[1].tobytes()


@pytest.fixture
def tree(tmp_path):
    frames, instants, cameras, _ = columns()
    write_tree(tmp_path / "tree", "train", frames, instants, cameras)
    for i, name in enumerate(frames["file_name"]):
        path = tmp_path / "tree/images/train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(i))
    return tmp_path / "tree"


def content(path):
    place = Store(path)
    return {key: place.read(key) for key in place.keys()}  # noqa: SIM118


def image_path(root, i):
    return root / "images" / open_index(root).keys()[i]


# ---------------------------------------------------------------- packing and reading


def test_the_bytes_are_kept_as_they_are(tree):
    plain = {
        key: (tree / "images" / key).read_bytes() for key in open_index(tree).keys()
    }  # noqa: SIM118
    assert content(tree / "images") == plain  # unpacked, by the same interface
    assert pack_images(tree)["train"] == (30, 0, {})
    assert pack_images(tree)["train"] == (0, 30, {})
    assert content(prepared_dir(tree) / "images.lmdb") == plain
    packed = (prepared_dir(tree) / "images.lmdb/data.mdb").stat().st_size
    assert (
        packed
        <= sum(4096 * -(-(len(data) + 16) // 4096) for data in plain.values())
        + 6 * 4096
    )
    images, key = image_store(tree), min(plain)
    true = cv2.imdecode(np.frombuffer(plain[key], np.uint8), cv2.IMREAD_COLOR)[
        ..., ::-1
    ]
    np.testing.assert_array_equal(read_image(images, key), true)
    assert read_image(images, key, reduce=4).shape == (128, 84, 3)
    assert len(images) == 30 and key in images and "train/none.jpg" not in images
    with pytest.raises(
        KeyError, match=r"train/none.jpg: not in .*images.lmdb.*digit prepare"
    ):
        images.read("train/none.jpg")


def test_a_store_goes_along_to_other_processes(tree):
    pack_images(tree)
    images, key = image_store(tree), open_index(tree).keys()[0]
    true = images.read(key)
    for method, workers in (("fork", 2), ("spawn", 1)):
        with multiprocessing.get_context(method).Pool(workers) as pool:
            assert pool.map(images.read, [key] * 4) == [true] * 4
    assert pickle.loads(pickle.dumps(images)).read(key) == true


def test_the_file_grows_and_readers_follow(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MAP_BYTES", 1 << 16)
    monkeypatch.setattr(store, "BATCH_BYTES", 1 << 18)
    values = {f"k{i:03}": os.urandom(20_000) for i in range(100)}
    pack(tmp_path / "a.lmdb", list(values.items())[:3])
    reader = Store(tmp_path / "a.lmdb")
    assert reader.read("k001") == values["k001"]
    child = forked(pack, tmp_path / "a.lmdb", list(values.items()))
    child.join()
    assert reader.read("k099") == values["k099"]
    assert content(tmp_path / "a.lmdb") == values


def test_masks_and_the_originals_lmdbs(tree):
    assert mask_store(tree) is None
    index = open_index(tree)
    labels = np.random.default_rng(0).integers(0, 33, (512, 334), np.uint8)
    picture = cv2.imdecode(np.frombuffer(jpeg(0), np.uint8), cv2.IMREAD_COLOR)
    code = lambda image: cv2.imencode(".png", image)[1].tobytes()  # noqa: E731
    foreign = {"__keys__": b"a pickle", "__len__": b"30"}
    pack(
        tree / "images/interhand.lmdb",
        ({index.keys()[0]: code(picture)} | foreign).items(),
    )
    three = code(
        np.stack([labels + 2, labels + 1, labels], 2)
    )  # as BGR: red is the first
    masks = {
        index.keys()[0].replace(".jpg", ".png"): three,
        index.keys()[1][:-4] + ".png": b"",
    }
    pack(tree / "segm_32.lmdb", (masks | foreign).items())
    assert len(mask_store(tree)) == 2 and len(image_store(tree)) == 30
    np.testing.assert_array_equal(read_mask(mask_store(tree), index.keys()[0]), labels)
    np.testing.assert_array_equal(
        read_image(image_store(tree), index.keys()[0]), picture[..., ::-1]
    )
    assert (
        pack_images(tree)["train"].added == 29
    )  # the first need not be prepared twice
    pack(
        prepared_dir(tree) / "masks.lmdb",
        [(index.keys()[0][:-4] + ".png", code(labels // 2))],
    )
    np.testing.assert_array_equal(
        read_mask(mask_store(tree), index.keys()[0]), labels // 2
    )
    with pytest.raises(
        ValueError, match=r"no mask can be decoded in .*render the masks again"
    ):
        read_mask(mask_store(tree), index.keys()[1])


# ---------------------------------------------------------------- frames that cannot be used


FAULTS = {
    "missing": lambda path: path.unlink(),
    "zero bytes": lambda path: path.write_bytes(b""),
    "truncated JPEG": lambda path: path.write_bytes(path.read_bytes()[:-2000]),
    "neither JPEG nor PNG": lambda path: path.write_bytes(b"<html>" * 99),
}


def test_frames_that_cannot_be_used_are_listed_and_the_rest_is_packed(tree):
    for i, harm in enumerate(FAULTS.values()):
        harm(image_path(tree, i))
    packed, index = pack_images(tree)["train"], open_index(tree)
    listed = dict(zip(index.keys(), FAULTS))
    assert packed.added == 26 and packed.unusable == listed
    assert index.excluded()[:5].tolist() == [*FAULTS, ""] and len(index.usable()) == 26
    assert verify(index).tolist() == [*FAULTS, *[""] * 26]
    for key, fault in list(listed.items())[1:]:
        with pytest.raises(ValueError, match=f"{fault} in .*leave the frame out"):
            read_image(image_store(tree), key)
    image_path(tree, 0).write_bytes(jpeg(0))  # mended: taken in by the next run
    assert (
        pack_images(tree)["train"].added == 1 and len(open_index(tree).usable()) == 27
    )


def test_stopping_for_one_frame_when_asked(tree):
    image_path(tree, 3).write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"image\d+.jpg: zero bytes; mend the file or leave"
    ):
        pack_images(tree, stop=True)


def test_sizes_and_black_frames_are_seen_at_any_scale(tree):
    image_path(tree, 0).write_bytes(jpeg(0, 512, 334))
    black = np.full((512, 334, 3), 9, np.uint8)
    image_path(tree, 1).write_bytes(cv2.imencode(".jpg", black)[1].tobytes())
    for reduce in (1, 8):
        found = verify(open_index(tree), reduce)
        assert found.tolist() == [
            "its size is not the annotated one",
            "black",
            *[""] * 28,
        ]


def test_a_tree_without_images_is_passed_over(tmp_path):
    frames, instants, cameras, _ = columns()
    write_tree(tmp_path, "val", frames, instants, cameras)
    assert pack_images(tmp_path) == {} and set(verify(open_index(tmp_path, "val"))) == {
        "missing"
    }
    report = check(tmp_path, examine=verify).set_index(
        "finding"
    )  # the tree has no images at all
    assert report.loc["image: missing", "frames"] == 30 and not report["excluded"].any()
    assert len(open_index(tmp_path, "val").usable()) == 30


# ---------------------------------------------------------------- deaths and damages


def forked(work, *arguments):
    child = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    child.start()
    return child


def pack_slowly(path):
    store.BATCH_BYTES, store.READ_AHEAD = 60_000, 4

    def value(i):
        time.sleep(0.02)
        return random.Random(i).randbytes(20_000)

    pack(path, ((f"k{i:03}", lambda i=i: value(i)) for i in range(120)))


def test_killed_at_random_moments_and_resumed_it_is_the_same(tmp_path):
    rng, kept, kills, longest = np.random.default_rng(0), [], 0, 0.07
    while kills < 10 or not any(
        kept
    ):  # on a loaded machine the first may have done nothing
        child = forked(pack_slowly, tmp_path / "a.lmdb")
        kills, longest = kills + 1, longest * (1 if any(kept) else 1.3)
        time.sleep(rng.uniform(0.005, longest))
        child.kill()
        child.join()
        with contextlib.suppress(ValueError):  # killed before anything was there
            kept.append(len(content(tmp_path / "a.lmdb")))
        store._open.clear()
    assert (
        child.exitcode == -signal.SIGKILL
        and 0 < kept[-1] < 120
        and kept == sorted(kept)
    )
    for name in ("a.lmdb", "b.lmdb"):
        child = forked(pack_slowly, tmp_path / name)
        child.join()
        assert child.exitcode == 0
    assert content(tmp_path / "a.lmdb") == content(tmp_path / "b.lmdb")
    assert len(content(tmp_path / "a.lmdb")) == 120


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_an_lmdb_cut_short_is_refused_not_read(tree, keep):
    pack_images(tree)
    store._open.clear()
    file = prepared_dir(tree) / "images.lmdb/data.mdb"
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(ValueError, match=r"images.lmdb: .*delete it and prepare again"):
        image_store(tree).read(open_index(tree).keys()[0])
    if keep:
        with pytest.raises(ValueError, match=r"cut short, .* bytes; delete it"):
            pack_images(tree)


def test_two_packings_at_once_are_refused(tree):
    with (
        exclusive(prepared_dir(tree) / "images.lmdb.lock", wait=False),
        pytest.raises(
            ValueError, match=r"images.lmdb.lock: another preparation is at work; wait"
        ),
    ):
        pack_images(tree)
    assert pack_images(tree)["train"].added == 30


def test_a_full_disk_is_named_and_what_is_written_stays(tmp_path):
    """The operating system refuses to write beyond a size, as it does on a full disk."""

    def fill(said):
        store.BATCH_BYTES, store.READ_AHEAD = 100_000, 8
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
        try:
            pack(tmp_path / "a.lmdb", ((f"k{i:03}", bytes(20_000)) for i in range(200)))
        except OSError as error:
            said.send(str(error))

    here, there = multiprocessing.Pipe()
    forked(fill, there).join()
    assert here.poll(0)
    said = here.recv()
    assert (
        said.startswith(f"{tmp_path}/a.lmdb: ")
        and "make room and prepare again" in said
    )
    kept = content(tmp_path / "a.lmdb")
    done = pack(tmp_path / "a.lmdb", ((f"k{i:03}", bytes(20_000)) for i in range(100)))
    assert 0 < done.kept == len(kept) and done.added == 100 - len(kept)


def test_what_is_no_lmdb_is_refused(tmp_path):
    (tmp_path / "images/interhand.lmdb").mkdir(parents=True)
    (tmp_path / "images/interhand.lmdb/data.mdb").write_bytes(b"something else" * 999)
    with pytest.raises(ValueError, match=r"interhand.lmdb: no LMDB"):
        image_store(tmp_path).read("k")


def test_the_real_frames_are_packed_as_they_are(real_frames, tmp_path):
    root = real_frames
    files = {
        path.relative_to(root / "images").as_posix(): path.read_bytes()
        for path in root.glob("images/train/**/*.jpg")
    }
    pack(tmp_path / "images.lmdb", files.items())
    with (
        lmdb.open(str(tmp_path / "images.lmdb"), readonly=True) as env,
        env.begin() as txn,
    ):
        assert (
            txn.get(min(files).encode()) == files[min(files)]
        )  # anyone's reader serves
    assert content(tmp_path / "images.lmdb") == files
    index = json.loads(
        (root / "annotations/train/InterHand2.6M_train_data.json").read_text()
    )
    for image in index["images"]:
        picture = read_image(
            Store(tmp_path / "images.lmdb"), f"train/{image['file_name']}"
        )
        assert picture.shape == (image["height"], image["width"], 3)

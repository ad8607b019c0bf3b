"""Reading images and masks: from plain files, our LMDBs and the original's."""

import multiprocessing
import pickle
import struct
import zlib

import cv2
import numpy as np
import pytest
from trees import (
    HEIGHT,
    WIDTH,
    jpeg,
    png,
    write_columns_tree,
    write_lmdb,
)

from digit.data import store
from digit.data.build_index import prepare_index
from digit.data.health import check
from digit.data.images import decode_image, image_fault, image_size
from digit.data.packing import pack, pack_images
from digit.data.pixels import examine_images, examine_masks
from digit.data.store import Store, image_store, mask_store, read_image, read_mask
from digit.paths import prepared_dir


@pytest.fixture
def tree(tmp_path):
    """A tree with a picture for each frame, and an index."""
    dataset_dir = write_columns_tree(tmp_path / "tree")
    for i, key in enumerate(prepare_index(dataset_dir).keys()):
        path = dataset_dir / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(i))
    return dataset_dir


def image_path(dataset_dir, i):
    return dataset_dir / "images" / prepare_index(dataset_dir).keys()[i]


def png_of_size(width, height):
    """A PNG file of 69 bytes that claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        data += struct.pack(">I", len(content)) + name + content + checksum
    return data


# ------------------------------------------------------------------ headers


@pytest.mark.parametrize("size", [(1, 1), (334, 512), (512, 334), (1000, 3)])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_sizes_are_read_from_headers(size, extension):
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    data = cv2.imencode(extension, picture)[1].tobytes()
    assert image_size(data) == size
    assert image_fault(data) == ""


def test_progressive_and_commented_headers(tmp_path):
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    picture = np.zeros((20, 30, 3), np.uint8)
    data = cv2.imencode(".jpg", picture, options)[1].tobytes()
    comment = b"\xff\xfe" + struct.pack(">H", 12) + b"0123456789"
    assert image_size(data) == (30, 20)
    assert image_size(data[:2] + b"\xff" + comment + data[2:]) == (30, 20)


@pytest.mark.parametrize("keep", range(0, 60, 3))
def test_a_cut_header_names_no_size(keep):
    for data in (jpeg(0), png(np.zeros((9, 9), np.uint8))):
        assert image_size(data[:keep]) in (None, image_size(data))


def test_a_picture_of_impossible_size_is_refused_before_memory_is_asked_for():
    with pytest.raises(ValueError, match="100000 × 100000 pixels are too many"):
        decode_image(png_of_size(100_000, 100_000))
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_image(png_of_size(9_000, 9_000))


# ------------------------------------------------------------------ stores


def test_plain_files_and_lmdbs_have_one_interface(tree):
    plain = Store(tree / "images")
    values = {key: plain.read(key) for key in plain.keys()}  # noqa: SIM118
    write_lmdb(tree / "packed.lmdb", values)
    packed = Store(tree / "packed.lmdb")
    assert {key: packed.read(key) for key in packed.keys()} == values  # noqa: SIM118
    assert len(packed) == len(plain) == 30
    for some in (plain, packed):
        assert min(values) in some
        assert "train/none.jpg" not in some
        with pytest.raises(KeyError, match=r"train/none.jpg: not in .*digit prepare"):
            some.read("train/none.jpg")


@pytest.mark.parametrize("key", ["../secret", "/etc/hostname", "a/../../secret", ""])
def test_a_key_leads_to_nothing_outside(tmp_path, key):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "images/a").mkdir(parents=True)
    write_lmdb(tmp_path / "a.lmdb", {"k": b"v"})
    with pytest.raises(KeyError):
        Store(tmp_path / "a.lmdb", tmp_path / "images").read(key)


def test_a_store_goes_along_to_other_processes(tree):
    pack_images(tree)
    images, key = image_store(tree), prepare_index(tree).keys()[0]
    true = images.read(key)
    for method, workers in (("fork", 2), ("spawn", 1)):
        with multiprocessing.get_context(method).Pool(workers) as pool:
            assert pool.map(images.read, [key] * 4) == [true] * 4
    assert pickle.loads(pickle.dumps(images)).read(key) == true


def test_pixels_are_those_of_the_file(tree):
    images, key = image_store(tree), prepare_index(tree).keys()[0]
    data = np.frombuffer(images.read(key), np.uint8)
    true = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(read_image(images, key), true)
    assert read_image(images, key, reduce=4).shape == (128, 84, 3)


def test_the_originals_images(tree):
    """PNG-coded, with two entries that are no frames."""
    picture = cv2.imdecode(np.frombuffer(jpeg(0), np.uint8), cv2.IMREAD_COLOR)
    key = prepare_index(tree).keys()[0]
    values = {key: png(picture), "__keys__": b"a pickle", "__len__": b"1"}
    write_lmdb(tree / "images/interhand.lmdb", values)
    assert len(image_store(tree)) == 30
    np.testing.assert_array_equal(
        read_image(image_store(tree), key), picture[..., ::-1]
    )
    # It need not be prepared twice.
    assert pack_images(tree)["train"].added == 29


def test_the_originals_masks(tree):
    """Three channels, of which red is the label; ours come first."""
    assert mask_store(tree) is None
    keys = prepare_index(tree).keys()
    labels = np.random.default_rng(0).integers(0, 33, (HEIGHT, WIDTH), np.uint8)
    three = np.stack([labels + 2, labels + 1, labels], 2)  # blue, green, red
    name = keys[0].replace(".jpg", ".png")
    values = {name: png(three), "__keys__": b"a pickle", "__len__": b"1"}
    write_lmdb(tree / "segm_32.lmdb", values)
    assert len(mask_store(tree)) == 1
    np.testing.assert_array_equal(read_mask(mask_store(tree), keys[0]), labels)
    write_lmdb(prepared_dir(tree) / "masks.lmdb", {name: png(labels // 2)})
    np.testing.assert_array_equal(read_mask(mask_store(tree), keys[0]), labels // 2)


MASKS = {
    "empty": (b"", "zero bytes"),
    "text": (b"text", "neither JPEG nor PNG"),
    "cut": (png(np.ones((9, 9), np.uint8))[:-20], "truncated PNG"),
    "16 bits": (png(np.ones((9, 9), np.uint16)), "uint16 pixels"),
    "33": (png(np.full((9, 9), 33, np.uint8)), "81 pixels of value up to 33"),
}


@pytest.mark.parametrize("fault", MASKS)
def test_what_is_no_mask_is_named(tmp_path, fault):
    data, message = MASKS[fault]
    write_lmdb(tmp_path / "a.lmdb", {"val/a.png": data})
    with pytest.raises(ValueError, match=rf"val/a\.png: no part mask \({message}"):
        read_mask(Store(tmp_path / "a.lmdb"), "val/a.jpg")


def test_what_is_no_lmdb_is_refused(tmp_path):
    (tmp_path / "images/interhand.lmdb").mkdir(parents=True)
    (tmp_path / "images/interhand.lmdb/data.mdb").write_bytes(b"something else" * 999)
    with pytest.raises(ValueError, match=r"interhand.lmdb: no LMDB"):
        image_store(tmp_path).read("k")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_an_lmdb_cut_short_is_not_read(tmp_path, keep):
    write_lmdb(tmp_path / "a.lmdb", {f"k{i}": bytes(9999) for i in range(30)})
    file = tmp_path / "a.lmdb/data.mdb"
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(ValueError, match=r"a.lmdb: .*delete it and prepare again"):
        Store(tmp_path / "a.lmdb").read("k1")


def test_a_damaged_page_is_named(tmp_path):
    """Whatever page is damaged, values are right, missing, or an error names the
    file."""
    values = {f"k{i:02}": bytes([i]) * 900 for i in range(60)}
    write_lmdb(tmp_path / "good.lmdb", values)
    data = (tmp_path / "good.lmdb/data.mdb").read_bytes()
    refused = 0
    for page in range(2, len(data) // 4096):
        folder = tmp_path / f"bad{page}.lmdb"
        folder.mkdir()
        head, tail = data[: 4096 * page], data[4096 * (page + 1) :]
        (folder / "data.mdb").write_bytes(head + bytes(4096) + tail)
        damaged = Store(folder)
        for key, value in values.items():
            try:
                assert damaged.read(key) == value
            except ValueError as error:
                assert str(folder) in str(error)
                refused += 1
            except KeyError:
                refused += 1
    assert refused


# ------------------------------------------------------------------ examining pixels


FAULTS = {
    "missing": lambda path: path.unlink(),
    "zero bytes": lambda path: path.write_bytes(b""),
    "truncated JPEG": lambda path: path.write_bytes(path.read_bytes()[:-2000]),
    "neither JPEG nor PNG": lambda path: path.write_bytes(b"<html>" * 99),
}


def test_unusable_pictures_are_found(tree):
    for i, harm in enumerate(FAULTS.values()):
        harm(image_path(tree, i))
    images, index = image_store(tree), prepare_index(tree)
    assert examine_images(index).tolist() == [*FAULTS, *[""] * 26]
    for key, fault in list(zip(index.keys(), FAULTS, strict=False))[1:]:
        with pytest.raises(ValueError, match=f"{fault} in .*exclude the frame"):
            read_image(images, key)


@pytest.mark.parametrize("coder", [png, lambda image: cv2.imencode(".jpg", image)[1]])
@pytest.mark.parametrize("reduce", [1, 8])
def test_sizes_and_black_frames_are_seen_at_any_scale(tree, coder, reduce):
    """A PNG at an eighth of 334 pixels is 41 wide, a JPEG 42."""
    pictures = {
        "": np.full((HEIGHT, WIDTH, 3), 99, np.uint8),
        "its size is not the annotated one": np.full((WIDTH, HEIGHT, 3), 99, np.uint8),
        "black": np.full((HEIGHT, WIDTH, 3), 9, np.uint8),
    }
    for i, picture in enumerate(pictures.values()):
        image_path(tree, i).write_bytes(bytes(coder(picture)))
    found = examine_images(prepare_index(tree), reduce)
    assert found.tolist() == [*pictures, *[""] * 27]


def test_a_tree_without_images_excludes_nothing(tmp_path):
    write_columns_tree(tmp_path, "val")
    index = prepare_index(tmp_path, "val")
    assert set(examine_images(index)) == {"missing"}
    report = check(tmp_path, examine_pixels=True).set_index("finding")
    assert report.loc["image: missing", "frames"] == 30
    assert not report["excluded"].any()
    assert len(index.usable()) == 30


def test_unusable_masks_are_found(tree):
    labels = np.ones((HEIGHT, WIDTH), np.uint8)
    masks = {
        "": png(labels),
        "values above 32": png(33 * labels),
        "shows no hand": png(0 * labels),
        "not of its picture's size": png(labels[:9]),
        "broken": b"text",
    }
    keys = prepare_index(tree).keys()
    values = {
        key.replace(".jpg", ".png"): data
        for key, data in zip(keys, masks.values(), strict=False)
    }
    write_lmdb(tree / "segm_32.lmdb", values)
    right, left, both = (True, False), (False, True), (True, True)
    errors = {}
    for key, kind in zip(keys, prepare_index(tree)["hand_type"], strict=True):
        has = (right, left, both)[kind]
        errors[key] = {
            "right_fit_err": 1.0 if has[0] else None,
            "left_fit_err": 1.0 if has[1] else None,
        }
    (tree / "cache").mkdir()
    (tree / "cache/meta_dict_train.pkl").write_bytes(pickle.dumps(errors))
    index = prepare_index(tree)
    found = examine_masks(index)
    assert found.tolist() == [*masks, *["missing"] * 25]
    report = check(tree, examine_pixels=True).set_index("finding")
    row = report.loc["part mask: values above 32"]
    assert row["frames"] == 1
    assert row["example"] == keys[1]
    assert row["known_issue"] == "digit-interacting #5"
    assert not row["excluded"]


def test_masks_without_their_errors_are_a_finding(tree):
    key = prepare_index(tree).keys()[0]
    labels = np.ones((HEIGHT, WIDTH), np.uint8)
    write_lmdb(tree / "segm_32.lmdb", {key.replace(".jpg", ".png"): png(labels)})
    row = check(tree).set_index("finding").loc["part masks of which none counts"]
    assert "cache/meta_dict_train.pkl" in row["hint"]


def test_the_real_frames_are_packed_as_they_are(real_frames, tmp_path):
    folder = real_frames / "images"
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.glob("train/**/*.jpg")
    }
    pack(tmp_path / "images.lmdb", files.items())
    packed = Store(tmp_path / "images.lmdb")
    assert {key: packed.read(key) for key in packed.keys()} == files  # noqa: SIM118
    store.close_handle(tmp_path / "images.lmdb")

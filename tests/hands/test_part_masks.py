"""Fits → masks for whole trees: right, complete, and the same after any interruption."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fake_mano import write_mano
from hand_trees import HEIGHT, WIDTH, make_tree

from digit.data import packing, store
from digit.data.build_index import prepare_index
from digit.files import exclusive
from digit.hands import part_masks
from digit.hands.model import load_hand
from digit.hands.part_masks import (
    MASK_STATUS,
    Hands,
    _open_in_worker,
    load_hands,
    prepare,
    prepare_masks,
    render_masks,
)
from digit.paths import prepared_dir
from digit.skeleton import HAND_TYPE_FLAGS

SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(
    ["digit.hands.part_masks", "pytest", "hypothesis.extra.numpy"]
)


@pytest.fixture(scope="module")
def generic() -> Hands:
    return (load_hand("right"), load_hand("left"))


@pytest.fixture(autouse=True)
def one_thread():
    """Batches here are too small to share between threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(part_masks, "SHARD", 8)


def contents(root: Path) -> tuple:
    """All that preparation made of masks and images."""
    prepared = prepared_dir(root)
    stores = [store.Store(prepared / f"{name}.lmdb") for name in ("masks", "images")]
    made = [{key: place.read(key) for key in place.keys()} for place in stores]  # noqa: SIM118
    names = (
        "index/train/masks-*/*.npy",
        "index/train/masks.tsv",
        "exclude/train_images.tsv",
    )
    return (
        *made,
        *(
            [file.read_bytes() for file in sorted(prepared.glob(name))]
            for name in names
        ),
    )


def add_pictures(root: Path) -> Path:
    """A plain file for each frame, the second of them without bytes, the third not there."""
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    image = cv2.imencode(".jpg", cv2.resize(small, (WIDTH, HEIGHT)))[1].tobytes()
    for i, key in enumerate(prepare_index(root).keys()):
        path = root / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if i != 2:
            path.write_bytes(b"" if i == 1 else image + b"%d" % i)
    return root


def test_a_tree_gets_its_masks_and_errors(tmp_path, generic):
    shift = np.array([3.0, 0, 4])

    def move_left_joints(joints):
        joints[:, 21:] += shift

    root = make_tree(tmp_path, generic, joints_world_mm=move_left_joints)
    counts = prepare_masks(root, "train")
    index = prepare_index(root, "train")
    assert sum(counts.values()) == len(index) == 40
    assert index["parts_valid"].all() and counts.get("rendered", 0) > 30
    present = HAND_TYPE_FLAGS[index["hand_type"]] > 0
    np.testing.assert_allclose(index["fit_error_mm"][present[:, 0], 0], 0, atol=1e-3)
    np.testing.assert_allclose(index["fit_error_mm"][present[:, 1], 1], 5, atol=1e-3)
    assert np.isnan(index["fit_error_mm"][~present]).all()
    made = store.mask_store(root)
    keys = index.keys()
    assert sorted(made.keys()) == sorted(key.replace(".jpg", ".png") for key in keys)
    for i, key in enumerate(keys):
        mask = store.read_mask(made, key)
        assert mask.shape == (HEIGHT, WIDTH)
        again, *_ = next(render_masks(generic, index.take([i])))
        np.testing.assert_array_equal(mask, again)
        sides = {int(label) > 16 for label in np.unique(mask[mask > 0])}
        assert sides <= {side == 1 for side in np.flatnonzero(present[i])}
        # The mask lies where the annotations are: most joints of a present hand are on it.
        x, y = np.round(index["joints_px"][i][np.repeat(present[i], 21)]).astype(int).T
        inside = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
        assert (mask[y[inside], x[inside]] > 0).mean() > 0.6


def test_validity_follows_the_fits_and_everything_odd_is_listed(tmp_path, generic):
    def spoil(trans):
        trans[0] = trans[2]  # a right hand with a second fit
        trans[1] = np.nan  # no fit
        trans[2, 0] = np.nan  # interacting with one fit
        trans[3, 0] = [9, 0, 0]  # beside the image
        trans[4, 1] = [0, 0, -5]  # behind the cameras
        trans[5, 1] = [9, 0, 0]  # one of two beside the image
        trans[6, 0, 0] = np.inf
        trans[7, 1] += 0.03  # off its joints

    def fill(values):
        values[0] = values[2]

    root = make_tree(
        tmp_path, generic, mano_trans=spoil, mano_pose=fill, mano_shape=fill
    )
    prepare_masks(root, "train")
    index = prepare_index(root, "train")
    reasons = [MASK_STATUS[s] for s in index["mask_status"][:20]]
    unusable = ["its fits are not those of its hand type", "no fit"]
    unusable += [unusable[0]] + ["nothing of its hands is in the image"] * 2
    assert reasons[:5] == unusable
    assert (
        "is not seen" in reasons[5]
        and "not finite" in reasons[6]
        and "20 mm" in reasons[7]
    )
    valid = index["parts_valid"]
    np.testing.assert_array_equal(valid[:9], [0, 0, 0, 0, 0, 1, 0, 1, 1])
    assert len(store.mask_store(root)) == valid.sum()
    listed = (prepared_dir(root) / "index/train/masks.tsv").read_text().splitlines()
    listed = dict(line.split("\t") for line in listed)
    for i, key in enumerate(index.keys()):
        status = index["mask_status"][i]
        assert listed.get(key.replace(".jpg", ".png")) == (
            MASK_STATUS[status] if status else None
        )


def test_mano_fits_through_to_masks(tmp_path, generic, monkeypatch, capsys):
    monkeypatch.delenv("DIGIT_MANO", raising=False)
    monkeypatch.setattr("digit.hands.mano_files.ASSETS_DIR", tmp_path / "no data")
    folder = write_mano(tmp_path / "elsewhere")
    hands = tuple(load_hand(side, "mano", folder) for side in ("right", "left"))
    root = make_tree(tmp_path / "tree", hands, name="mano")
    with pytest.raises(
        FileNotFoundError, match=r"MANO_RIGHT\.pkl and MANO_LEFT\.pkl are missing"
    ):
        prepare_masks(root, "train")
    prepare(root)  # goes on without, and says so
    said = capsys.readouterr().out
    assert "no masks" in said and "mano.is.tue.mpg.de" in said and "part loss" in said
    assert not prepare_index(root, "train")["parts_valid"].any()
    shutil.copytree(folder, root / "mano")
    prepare(root)
    assert "rendered" in capsys.readouterr().out
    index = prepare_index(root, "train")
    assert index["parts_valid"].all()
    assert np.nanmax(index["fit_error_mm"]) < 1e-3
    made = store.mask_store(root)
    seen = [np.unique(store.read_mask(made, key)) for key in index.keys()]  # noqa: SIM118
    assert set(np.concatenate(seen)) == set(range(33))


def test_the_originals_masks_are_left_alone(tmp_path, generic, capsys):
    root = make_tree(tmp_path, generic, instants=3)
    (root / "segm_32.lmdb").mkdir()
    prepare(root)
    assert "the masks are the original's" in capsys.readouterr().out
    assert not (prepared_dir(root) / "masks.lmdb").exists()


def test_a_second_run_renders_nothing_and_lost_masks_come_back(
    tmp_path, generic, monkeypatch
):
    root = make_tree(tmp_path, generic)
    counts = prepare_masks(root, "train")
    before = contents(root)
    monkeypatch.setattr(
        part_masks, "_render_shard", lambda *_: pytest.fail("rendered again")
    )
    assert prepare_masks(root, "train") == counts
    monkeypatch.undo()
    shutil.rmtree(prepared_dir(root) / "masks.lmdb")
    store._open_handles.clear()
    assert prepare_masks(root, "train") == counts
    assert contents(root) == before


def test_masks_follow_the_fits_and_the_hand(tmp_path, generic, monkeypatch):
    root = make_tree(tmp_path, generic, instants=4)
    prepare_masks(root, "train")
    before = contents(root)

    def bend(pose):
        pose[..., 3:] *= 0.5

    make_tree(root, generic, instants=4, mano_pose=bend)
    prepare_masks(root, "train")
    bent = contents(root)
    assert bent[0].keys() == before[0].keys() and bent[0] != before[0]
    other = tuple(replace(hand, v_template=hand.v_template * 1.1) for hand in generic)
    monkeypatch.setattr(part_masks, "load_hands", lambda root: other)
    _open_in_worker.cache_clear()
    prepare_masks(root, "train")
    assert contents(root)[0] != bent[0]
    _open_in_worker.cache_clear()


def test_any_executor_makes_the_same(tmp_path, generic, small_shards):
    roots = [
        add_pictures(make_tree(tmp_path / kind, generic))
        for kind in ("threads", "processes")
    ]
    prepare(roots[0])
    with ProcessPoolExecutor(
        2, mp_context=SPAWN, initializer=_set_shard, initargs=(8,)
    ) as pool:
        prepare(roots[1], executor=pool)
    assert contents(roots[0]) == contents(roots[1])
    assert len(contents(roots[0])[0]) == 40 and len(contents(roots[0])[1]) == 38


def _set_shard(size: int, batch_bytes: int = 1 << 26) -> None:
    torch.set_num_threads(1)
    part_masks.SHARD, part_masks.WINDOW = size, 2
    packing.BATCH_BYTES, packing.READ_AHEAD = batch_bytes, 8


def _prepare_until_killed(root: Path, last_write: int) -> None:
    """Prepare masks in a process of its own, which is killed behind a write: a commit
    of the LMDB, or a file that takes its name."""
    _set_shard(4, 4_000)
    count = 0

    def killing(write):
        def written(*args, **kwargs):
            nonlocal count
            result = write(*args, **kwargs)
            count += 1
            if count == last_write:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return written

    packing._commit = killing(packing._commit)
    os.replace = killing(os.replace)
    prepare_masks(root, "train")


def test_killed_behind_any_write_it_resumes_to_the_same(tmp_path, generic, monkeypatch):
    whole = make_tree(tmp_path / "whole", generic, instants=20)
    root = make_tree(tmp_path / "killed", generic, instants=20)
    monkeypatch.setattr(part_masks, "SHARD", 4)
    prepare_masks(whole, "train")
    prepare_index(root, "train")
    masks_left = []
    # Each run starts anew, and gets one write further than the one before it.
    for last_write in range(1, 100):
        shutil.rmtree(prepared_dir(root) / "masks.lmdb", ignore_errors=True)
        process = SPAWN.Process(target=_prepare_until_killed, args=(root, last_write))
        process.start()
        process.join()
        store._open_handles.clear()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        masks_left.append(len(store.Store(prepared_dir(root) / "masks.lmdb")))
        store._open_handles.clear()
        prepare_masks(root, "train")
        assert contents(root) == contents(whole)
    assert last_write > 5
    assert any(0 < left < 40 for left in masks_left)  # killed in the middle of packing
    assert contents(root) == contents(whole)


def test_two_preparations_at_once_are_refused(tmp_path, generic):
    root = make_tree(tmp_path, generic, instants=3)
    with (
        exclusive(prepared_dir(root) / "masks.lmdb.lock", wait=False),
        pytest.raises(ValueError, match="another preparation"),
    ):
        prepare_masks(root, "train")
    prepare_masks(root, "train")


def _prepare_and_say(root: Path, barrier, said, limit: int | None = None) -> None:
    _set_shard(8, 20_000)
    if limit:  # the operating system refuses to write beyond it, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    barrier.wait()
    try:
        prepare(root)
        said.put("done")
    except (ValueError, OSError) as error:
        said.put(str(error))


def test_two_at_once_harm_nothing_and_a_full_disk_is_named(
    tmp_path, generic, small_shards
):
    whole, two, full = (
        make_tree(tmp_path / n, generic, 40) for n in ("whole", "two", "full")
    )
    prepare(whole)
    barrier, said = SPAWN.Barrier(3), SPAWN.Queue()
    jobs = [(two, barrier, said), (two, barrier, said), (full, barrier, said, 150_000)]
    processes = [SPAWN.Process(target=_prepare_and_say, args=job) for job in jobs]
    for process in processes:
        process.start()
    answers = sorted(said.get(timeout=300).split(": ")[-1] for _ in jobs)
    for process in processes:
        process.join()
    allowed = {"done", "another preparation is at work; wait for its end"}
    assert "it continues" in answers and set(answers) <= {*allowed, "it continues"}
    for root in (two, full):
        prepare(root)
        assert contents(root) == contents(whole)


def test_a_data_set_that_cannot_be_written_is_prepared_elsewhere(tmp_path, generic):
    root = add_pictures(make_tree(tmp_path / "tree", generic))
    shutil.rmtree(root / "prepared")
    root.chmod(0o555)
    prepare(root)
    index = prepare_index(root)
    assert not (root / "prepared").exists() and index["parts_valid"].all()
    assert len(store.mask_store(root)) == 40 and len(index.usable()) == 38
    shutil.rmtree(prepared_dir(root))
    root.chmod(0o755)


def test_an_lmdb_of_masks_cut_short_is_rendered_again(tmp_path, generic, caplog):
    root = make_tree(tmp_path, generic)
    counts = prepare_masks(root, "train")
    whole = contents(root)
    store.close_handle(prepared_dir(root) / "masks.lmdb")
    file = prepared_dir(root) / "masks.lmdb/data.mdb"
    file.write_bytes(file.read_bytes()[:-5000])
    assert prepare_masks(root, "train") == counts
    assert "masks.lmdb: cut short" in caplog.text
    assert contents(root) == whole


def test_numbers_that_are_none_make_no_mask(tmp_path, generic):
    """A camera, and joints, that are not finite: listed, and nothing of it in what is used."""

    def spoil(joints):
        joints[2, :5], joints[5] = np.nan, np.inf

    root = make_tree(tmp_path, generic, joints_world_mm=spoil)
    file = root / "annotations/train/InterHand2.6M_train_camera.json"
    cameras = json.loads(file.read_text())
    cameras["0"]["focal"]["400002"] = [float("nan"), 600.0]
    file.write_text(json.dumps(cameras))
    counts, index = prepare_masks(root, "train"), prepare_index(root, "train")
    assert counts["nothing of its hands is in the image"] == 20
    assert not index["parts_valid"][20:].any() and index["parts_valid"][:20].all()
    error = index["fit_error_mm"]
    assert (
        np.isnan(error[5]).all()
        and np.nanmax(error) < 1e-3
        and np.isfinite(error[2]).all()
    )
    assert index.usable().rows.tolist() == [i for i in range(20) if i not in (2, 5)]


def test_the_root_says_which_hand(tmp_path, generic):
    root = make_tree(tmp_path, generic, instants=3)
    assert [hand.name for hand in load_hands(root)] == ["generic", "generic"]
    assert [hand.side for hand in load_hands(root)] == ["right", "left"]


def test_a_dask_cluster_makes_the_same(tmp_path, generic, small_shards):
    distributed = pytest.importorskip("distributed")
    roots = [
        add_pictures(make_tree(tmp_path / kind, generic))
        for kind in ("threads", "dask")
    ]
    prepare(roots[0])
    with (
        distributed.LocalCluster(
            2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.run(_set_shard, 8)
        prepare(roots[1], executor=client.get_executor())
    assert contents(roots[0]) == contents(roots[1])

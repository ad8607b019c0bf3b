"""Fits → masks for whole trees: right, complete, and the same after any interruption."""

import json
import multiprocessing
import resource
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fake_mano import write_mano

from digit.data import packing, store
from digit.data.build_index import prepare_index
from digit.data.tree import write_tree
from digit.files import exclusive
from digit.hands import part_masks
from digit.hands.model import load_hand
from digit.hands.part_masks import (
    MASK_STATUS,
    Hands,
    _open_in_worker,
    fit_vertices_mm,
    load_hands,
    prepare,
    prepare_masks,
    render_masks,
)
from digit.paths import prepared_dir
from digit.skeleton import HAND_TYPE_FLAGS

WIDTH, HEIGHT, CAMERAS = 256, 192, 2
SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(
    ["digit.hands.part_masks", "pytest", "hypothesis.extra.numpy"]
)


def make_tree(
    root: Path,
    hands: Hands,
    instants: int = 20,
    name: str = "generic",
    cameras: int = CAMERAS,
    sizes: Sequence[tuple[int, int]] = ((WIDTH, HEIGHT),),
    **changes,
) -> Path:
    """A tree of random hands seen by cameras round about, camera c's frames of sizes[c % …] and its
    frames in a row; `changes` map an instant's column to a function that changes it in place."""
    rng = np.random.default_rng(instants)
    pose = rng.normal(0, 0.3, (instants, 2, 48)).astype(np.float32)
    pose[..., :3] = rng.normal(0, 1.5, (instants, 2, 3))
    shape = rng.normal(0, 1, (instants, 2, 10)).astype(np.float32)
    trans = rng.normal(0, 0.04, (instants, 2, 3)).astype(np.float32)
    vertices = fit_vertices_mm(hands, *map(torch.from_numpy, (pose, shape, trans)))
    joints = torch.cat(
        [hand.joints(vertices[:, k]) for k, hand in enumerate(hands)], 1
    ).numpy()
    hand_type = np.arange(instants) % 3
    present = HAND_TYPE_FLAGS[hand_type] > 0
    for fit in (pose, shape, trans):
        fit[~present] = np.nan
    labels = {
        "capture": np.zeros(instants, int),
        "frame_idx": np.arange(instants),
        "hand_type": hand_type,
        "joint_valid": present.repeat(21, 1),
        "hand_type_valid": np.ones(instants, bool),
    }
    columns = labels | {
        "joints_world_mm": joints,
        "mano_pose": pose,
        "mano_shape": shape,
        "mano_trans": trans,
    }
    for key, change in changes.items():
        change(columns[key])
    angle, size = np.arange(cameras) * np.arccos(0.8), np.resize(sizes, (cameras, 2))
    camrot = np.zeros((cameras, 3, 3))
    camrot[:, 1, 1], camrot[:, 0, 0], camrot[:, 2, 2] = 1, np.cos(angle), np.cos(angle)
    camrot[:, 0, 2], camrot[:, 2, 0] = -np.sin(angle), np.sin(angle)
    focal = (
        np.resize([[600.0, 610], [640, 620]], (cameras, 2))
        * size.min(1, keepdims=True)
        / 192
    )
    names = [f"{400001 + c}" for c in range(cameras)]
    views = {
        "capture": [0] * cameras,
        "camera": names,
        "camrot": camrot,
        "focal": focal,
        "campos_mm": -900 * camrot[:, 2],
        "princpt": size / 2 - [3, 0],
    }
    cam = np.einsum("cij,tkj->ctki", camrot, columns["joints_world_mm"]) + [0, 0, 900]
    px = (
        cam[..., :2] / cam[..., 2:] * focal[:, None, None]
        + views["princpt"][:, None, None]
    )
    seen = labels["joint_valid"][..., None] & np.isfinite(px)
    low, high = np.where(seen, px, np.inf).min(2), np.where(seen, px, -np.inf).max(2)
    which, at = np.divmod(np.arange(cameras * instants), instants)
    frames = {key: column[at] for key, column in labels.items()} | {
        "image_id": np.arange(len(at)),
        "width": size[which, 0],
        "height": size[which, 1],
        "subject": np.zeros(len(at), int),
        "seq_name": ["s"] * len(at),
        "camera": [names[c] for c in which],
        "file_name": [
            f"Capture0/s/cam{names[c]}/image{t}.jpg" for c, t in zip(which, at)
        ],
        "bbox_xywh": np.concatenate([low, high - low], -1).reshape(-1, 4).round(3),
    }
    write_tree(root, "train", frames, columns, views, name)
    return root


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


def _prepare_in_pieces(root: Path, begun) -> None:
    _set_shard(4, 20_000)
    begun.set()
    prepare_masks(root, "train")


def test_killed_at_any_moment_it_resumes_to_the_same(tmp_path, generic, monkeypatch):
    whole, root = (
        make_tree(tmp_path / name, generic, instants=100) for name in ("a", "b")
    )
    folder = prepared_dir(root)
    monkeypatch.setattr(part_masks, "SHARD", 4)
    prepare_masks(whole, "train")
    rng, killed, seconds, left_over = np.random.default_rng(0), 0, 60.0, []
    while killed < 10:
        begun = SPAWN.Event()
        process = SPAWN.Process(target=_prepare_in_pieces, args=(root, begun))
        process.start()
        assert begun.wait(300)
        start = time.perf_counter()
        process.join(rng.uniform(0.2, 1) * seconds)
        process.kill()
        process.join()
        if process.exitcode == 0:  # it was through: once more from the start
            seconds = min(seconds, time.perf_counter() - start)
            assert contents(root) == contents(whole)
            shutil.rmtree(folder / "masks.lmdb")
            shutil.rmtree(next(folder.glob("index/train/masks-*")))
            store._open_handles.clear()
        else:
            killed += 1
            store._open_handles.clear()
            left_over.append(len(store.Store(folder / "masks.lmdb")))
    assert any(0 < n < 200 for n in left_over)  # some were killed in the middle
    prepare_masks(root, "train")
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

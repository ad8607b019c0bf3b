"""Batches of several data sets: shares, streams, doubtful depths, composites."""

from collections import Counter
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from trees import make_tree

from digit.data.cut_outs import single_hands, write_cut_outs
from digit.data.index import open_index
from digit.model.checkpoints import save_checkpoint
from digit.model.network import build_network
from digit.training.data import open_data
from digit.training.loop import check_start
from digit.training.mixture import batch_counts, parse_other_data_sets
from digit.training.settings import SettingError, make_settings

NO_PROCESSES = {"batch_size": 8, "workers": 0, "val_split": "val"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A data set with a train split, no masks, and labels that say 2d of themselves."""
    dataset_dir = make_tree(tmp_path_factory.mktemp("mixture") / "photos", n=9)
    for folder in ("annotations", "images"):
        (dataset_dir / folder / "val").rename(dataset_dir / folder / "train")
    for path in (dataset_dir / "annotations/train").iterdir():
        path.rename(path.with_name(path.name.replace("_val_", "_train_")))
    (dataset_dir / "annotations/labels.txt").write_text("2d")
    return dataset_dir


def batches(dataset_dir, settings, count, rank=0, world_size=1):
    """The first batches of a run on these data."""
    data = open_data(dataset_dir, settings)
    data.last_step = count
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)
    return data, list(islice(data.train_dataloader(), count))


@pytest.mark.parametrize(
    "shares, counts", [([], [16]), ([0.5], [8, 8]), ([0.25, 0.1], [10, 4, 2])]
)
def test_shares_become_samples_of_a_batch(shares, counts):
    assert batch_counts(16, shares) == counts


def test_shares_of_the_whole_batch_are_refused():
    with pytest.raises(SettingError, match="leaves nothing to the first data set"):
        batch_counts(16, [0.5, 0.5])


def test_shares_too_small_for_the_batch_are_refused():
    with pytest.raises(SettingError, match="batch_size=4: too small"):
        batch_counts(4, [0.1])


def test_other_data_sets_are_read():
    roots = parse_other_data_sets("/data/a:0.3:2d;/data/b:0.2")
    assert [(str(r.dataset_dir), r.share, r.label_kind) for r in roots] == [
        ("/data/a", 0.3, "2d"),
        ("/data/b", 0.2, None),
    ]
    assert parse_other_data_sets("") == []


@pytest.mark.parametrize(
    "text", ["/data/a", "/data/a:2d", ":0.3", "/data/a:1.2", "a:x"]
)
def test_malformed_other_data_sets_are_refused(text):
    with pytest.raises(SettingError, match="give FOLDER:SHARE"):
        parse_other_data_sets(text)


def test_shares_that_leave_nothing_are_refused():
    with pytest.raises(SettingError, match="add up to 1 or more"):
        parse_other_data_sets("a:0.6;b:0.4")


def test_a_batch_holds_each_data_sets_share(tiny_root, photos):
    also = f"{photos}:0.25"
    settings = make_settings("quick", {**NO_PROCESSES, "also": also})
    data, found = batches(tiny_root, settings, count=20)
    assert data.samples_per_epoch == len(data.train_frames) * 8 // 6
    for batch in found:
        assert batch.image.is_contiguous(memory_format=torch.channels_last)
        doubtful = batch.depth_weight < 1
        assert doubtful.sum() == 2
        assert (batch.depth_weight[doubtful] == 0.25).all()
        assert not batch.root_valid[doubtful].any()
        assert not batch.parts_valid[doubtful].any()
        assert batch.parts_valid[~doubtful].all()


def test_an_epoch_sees_every_frame_of_each_data_set_equally(tiny_root, photos):
    settings = make_settings("quick", {**NO_PROCESSES, "also": f"{photos}:0.25"})
    _, found = batches(tiny_root, settings, count=9)
    rows = Counter(
        int(row) for batch in found for row in batch.row[batch.depth_weight < 1]
    )
    assert set(rows) == set(range(9)) and set(rows.values()) == {2}


def test_accumulation_changes_no_step(tiny_root, photos):
    """Resuming with smaller batches goes on with the same samples."""
    settings = {**NO_PROCESSES, "batch_size": 16, "also": f"{photos}:0.4"}
    whole, found = batches(tiny_root, make_settings("quick", settings), count=2)
    halves, parts = batches(
        tiny_root, make_settings("quick", {**settings, "accumulate": 2}), count=2
    )
    assert halves.batch_counts == whole.batch_counts
    assert halves.samples_per_epoch == whole.samples_per_epoch
    together = torch.cat([part.row for part in parts])
    assert sorted(together.tolist()) == sorted(found[0].row.tolist())


def test_processes_share_each_batch(tiny_root, photos):
    settings = make_settings("quick", {**NO_PROCESSES, "also": f"{photos}:0.25"})
    _, alone = batches(tiny_root, settings, count=2)
    parts = [
        batches(tiny_root, settings, count=2, rank=rank, world_size=2)[1]
        for rank in (0, 1)
    ]
    for step in range(2):
        together = sorted(torch.cat([part[step].row for part in parts]).tolist())
        assert together == sorted(alone[step].row.tolist())


def test_a_first_data_set_without_depths_is_refused(tiny_root, photos):
    """Before a run is made: no evaluation in mm could tell which checkpoint is best."""
    settings = make_settings("quick", {**NO_PROCESSES, "val_split": "train"})
    with pytest.raises(ValueError, match="says 2d"):
        check_start(photos, settings)
    check_start(tiny_root, make_settings("quick", {**NO_PROCESSES}))


def test_other_crops_than_those_of_the_weights_are_said(tiny_root, tmp_path, capsys):
    weights = tmp_path / "weights.ckpt"
    save_checkpoint(weights, build_network("quick", pretrained=False, image_size=96))
    for size, is_said in ((0, True), (96, False)):
        changes = {**NO_PROCESSES, "weights": str(weights), "image_size": size}
        check_start(tiny_root, make_settings("quick", changes))
        said = capsys.readouterr().err
        assert ("on crops of 96 px, this run has 128 px; image_size=96" in said) == (
            is_said
        )


def test_labels_can_be_called_doubtful_by_hand(tiny_root):
    """A data set that says nothing of itself is trusted, unless the setting says 2d."""
    for suffix, weight in (("", 1.0), (":2d", 0.5)):
        also = f"{tiny_root}:0.5{suffix}"
        settings = make_settings(
            "quick", {**NO_PROCESSES, "also": also, "doubtful_depth": 0.5}
        )
        _, (batch,) = batches(tiny_root, settings, count=1)
        assert sorted(batch.depth_weight.tolist()) == sorted([1.0] * 4 + [weight] * 4)


def test_composites_take_their_share(tiny_root):
    index = open_index(tiny_root, "train")
    write_cut_outs(index.take(single_hands(index)[:4]))
    settings = make_settings("quick", {**NO_PROCESSES, "composites": 0.25})
    _, found = batches(tiny_root, settings, count=2)
    for batch in found:
        composite = batch.parts_valid == 0
        assert composite.sum() == 2 and batch.hand_type[composite].all()


def test_composites_without_cut_outs_are_refused(photos, tmp_path):
    settings = make_settings(
        "quick", {**NO_PROCESSES, "composites": 0.25, "val_split": "train"}
    )
    with pytest.raises(SettingError, match="prepare --cut-outs"):
        open_data(photos, settings)


def test_a_run_keeps_absolute_folders(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = make_settings("small", {"also": "photos:0.4:2d;more:0.1"})
    assert settings.also == f"{tmp_path}/photos:0.4:2d;{tmp_path}/more:0.1"


def test_presets_vary_crops_but_the_papers_does_not():
    for name in ("quick", "small", "full"):
        settings = make_settings(name)
        assert settings.widest_crop > settings.narrowest_crop >= 1
        assert settings.appearance > 0 and settings.turned > 0
    paper = make_settings("paper")
    off = (paper.widest_crop, paper.appearance, paper.turned, paper.composites)
    np.testing.assert_array_equal(off, 0)


def test_a_range_of_crops_upside_down_is_refused():
    with pytest.raises(SettingError, match="must be at least narrowest_crop"):
        make_settings("small", {"narrowest_crop": 2.0, "widest_crop": 1.5})

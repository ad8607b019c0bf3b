"""The checkpoints of a run: the newest whole one is resumed from, damaged ones are kept."""

import pytest
import torch

from digit.model.checkpoints import save_checkpoint
from digit.model.network import build_network
from digit.training.checkpoint_files import CheckpointFiles
from digit.training.settings import EVALUATION, Settings

WIDTHS = {
    "features": 8,
    "part_widths": (4, 4),
    "part_features": (4, 4),
    "unet": (4, 4, 4, 4),
    "head": (4, 4, 4, 4, 8, 8),
}


@pytest.fixture(scope="module")
def network():
    """The quick network with the least widths."""
    return build_network("quick", pretrained=False, **WIDTHS)


def state_of(network, step):
    """What a training saves after a step."""
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {
        "step": step,
        "seconds": 1.5,
        "best": {"step": 2, "mpjpe_all": 30.0},
        "optimizer": optimizer.state_dict(),
        "scaler": {},
    }


@pytest.fixture
def files(network, tmp_path):
    """Two checkpoints, of steps 2 and 4."""
    files = CheckpointFiles(tmp_path)
    for step in (2, 4):
        files.save_last(network, **state_of(network, step))
    return files


CHANGES = (
    {"step": -1},
    {"step": 1e30},
    {"step": float("nan")},
    {"seconds": float("inf")},
    {"seconds": "text"},
    {"best": {"step": 2}},
    {"best": {"mpjpe_all": "30"}},
    {"best": {"mpjpe_all": -1.0}},
    {"scaler": {"scale": 65536.0}},
    {"optimizer": {"lr": None}},
    {"optimizer": {"betas": 0.9}},
    {"optimizer": {"betas": (0.9, 0.9, 0.9)}},
    {"optimizer": {"maximize": True}},
    {"optimizer": {"amsgrad": True}},
    {"optimizer": {"params": [0]}},
    {"optimizer": {"params": torch.zeros(2)}},
    {"moments": {"step": 1.0}},
    {"moments": {"step": torch.tensor(float("nan"))}},
    {"moments": {"exp_avg": torch.zeros(1)}},
)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_state_that_no_training_leaves_is_not_resumed(files, network, change, capsys):
    state = state_of(network, 6)
    optimizer = state["optimizer"]
    change = dict(change)
    optimizer["param_groups"][0].update(change.pop("optimizer", {}))
    optimizer["state"][0].update(change.pop("moments", {}))
    save_checkpoint(files.last, network, **(state | change))
    assert newest_step(files, network) == 2
    assert "going on from an earlier checkpoint" in capsys.readouterr().out


@pytest.mark.parametrize(
    "damage",
    [
        lambda optimizer: optimizer["state"].clear(),
        lambda optimizer: optimizer["state"].update({0: torch.zeros(4)}),
        lambda optimizer: optimizer["param_groups"].insert(0, {}),
        lambda optimizer: optimizer.update(param_groups=[torch.zeros(4)]),
    ],
    ids=["no moments", "a tensor for moments", "two groups", "a tensor for options"],
)
def test_an_optimiser_of_another_shape_is_not_resumed(files, network, damage, capsys):
    state = state_of(network, 6)
    damage(state["optimizer"])
    save_checkpoint(files.last, network, **state)
    assert newest_step(files, network) == 2
    assert "going on from an earlier checkpoint" in capsys.readouterr().out


def newest_step(files, network):
    state = files.read_newest(network, has_average=False)
    return None if state is None else state.step


def flip_middle(path):
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 2048)
    content[middle] = bytes(255 - byte for byte in content[middle])
    path.write_bytes(content)


def as_folder(path):
    path.unlink()
    path.mkdir()


def of_another_network(path):
    other = build_network("quick", pretrained=False, **{**WIDTHS, "unet": (4, 4, 4, 8)})
    save_checkpoint(path, other, **state_of(other, 4))


def without_optimizer(path):
    save_checkpoint(path, build_network("quick", pretrained=False, **WIDTHS), step=4)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "flipped": flip_middle,
    "a folder": as_folder,
    "of another network": of_another_network,
    "without an optimiser": without_optimizer,
}


def test_newest_is_resumed_from(files, network):
    assert newest_step(files, network) == 4
    assert files.read_newest(network, has_average=False).best["mpjpe_all"] == 30


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_last_falls_back_and_is_kept(damage, files, network, capsys):
    DAMAGES[damage](files.last)
    assert newest_step(files, network) == 2
    message = capsys.readouterr().out
    assert "last.ckpt" in message and "going on from an earlier checkpoint" in message

    assert files.last.exists(), "nothing is moved before the training begins"
    files.set_damaged_aside()
    assert (files.folder / "last.ckpt.damaged-1").exists() and not files.last.exists()
    assert newest_step(files, network) == 2


def test_both_damaged_is_a_new_start_with_the_best_kept(files, network):
    files.save_best(network, **state_of(network, 4))
    DAMAGES["cut"](files.last)
    DAMAGES["zeros"](files.previous)
    assert newest_step(files, network) is None
    best = files.best_so_far(network, resumed=None, settings=Settings())
    assert best == {"step": 2, "mpjpe_all": 30.0}
    files.set_damaged_aside()
    names = sorted(path.name for path in files.folder.iterdir())
    assert names == ["best.ckpt", "last.ckpt.damaged-1", "previous.ckpt.damaged-1"]


@pytest.mark.parametrize("name", [*EVALUATION, "learning_rate"])
def test_best_of_another_evaluation_does_not_count(name, files, network):
    before = {name: "another"}
    files.save_best(network, **state_of(network, 4), settings=before)
    files.save_last(network, **state_of(network, 6), settings=before)
    resumed = files.read_newest(network, has_average=False)
    for state in (resumed, None):
        best = files.best_so_far(network, state, Settings())
        assert bool(best) == (name not in EVALUATION)


def test_killed_between_the_two_renames(files, network):
    """last.ckpt has become previous.ckpt, and the new one has no name yet."""
    files.last.replace(files.previous)
    assert newest_step(files, network) == 4


def test_missing_average_is_noticed(files, network):
    assert files.read_newest(network, has_average=True) is None

"""Files of a run with random damage: named, or read rightly; never a traceback."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digit.model.network import build_network
from digit.training import runs
from digit.training.checkpoint_files import CheckpointFiles
from digit.training.progress_log import COLUMNS, read_metrics, trim_metrics

IN_A_FOLDER = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def damages(draw, size: int):
    """A function that cuts, overwrites or inserts bytes at a place of a file's content."""
    place = draw(st.integers(0, size - 1))
    kind = draw(st.sampled_from(["cut", "overwrite", "insert", "remove"]))
    some = draw(st.binary(min_size=1, max_size=40))

    def damage(content: bytes) -> bytes:
        if kind == "cut":
            return content[:place]
        if kind == "insert":
            return content[:place] + some + content[place:]
        if kind == "remove":
            return content[:place] + content[place + len(some) :]
        return content[:place] + some + content[place + len(some) :]

    return damage


@pytest.fixture(scope="module")
def parameters_text(tiny_run) -> bytes:
    return (tiny_run / "parameters.yaml").read_bytes()


@IN_A_FOLDER
@given(data=st.data())
def test_damaged_parameters(data, parameters_text, tmp_path, monkeypatch):
    """Read as settings that keep the rules, or an error that names the file."""
    damage = data.draw(damages(len(parameters_text)))
    run = tmp_path / "20260101-000000-x-aaaa"
    run.mkdir(exist_ok=True)
    (run / "parameters.yaml").write_bytes(damage(parameters_text))
    try:
        _, found = runs.parameters(run)
    except ValueError as error:
        assert str(error).startswith(f"{run / 'parameters.yaml'}: ")
    else:
        assert found.batch_size > 0
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    assert len(runs.list_runs()) == 1


@IN_A_FOLDER
@given(content=st.binary(max_size=200))
def test_any_bytes_as_small_files(content, tmp_path):
    """progress.json, environment.json, process and launcher."""
    for name in ("progress.json", "environment.json", "process", "launcher"):
        (tmp_path / name).write_bytes(content)
    assert isinstance(runs.progress(tmp_path), dict)
    assert runs.state(tmp_path) in ("failed", "stopped")
    runs.stop(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner)
    ),
    max_leaves=5,
)


@IN_A_FOLDER
@given(
    content=st.dictionaries(
        st.sampled_from(["seconds", "step", "best", "epoch", "loss"]), JSON
    )
)
def test_any_progress_is_one_line(content, tmp_path):
    (tmp_path / "progress.json").write_text(json.dumps(content))
    assert "\n" not in runs.progress_line(tmp_path)


@IN_A_FOLDER
@given(data=st.data())
def test_damaged_metrics(data, tiny_run, tmp_path):
    """Whole rows are kept; a resumed run begins with a table that can be read."""
    content = (tiny_run / "metrics.csv").read_bytes()
    damage = data.draw(damages(len(content)))
    path = tmp_path / "metrics.csv"
    path.write_bytes(damage(content))
    whole = len(read_metrics(path)[0])
    trim_metrics(path, 10**9)
    assert path.read_text().startswith(",".join(COLUMNS))
    assert len(read_metrics(path)[0]) == whole
    runs.curves(tmp_path)


@pytest.fixture(scope="module")
def network():
    """The quick network with the least widths."""
    return build_network(
        "quick",
        pretrained=False,
        features=8,
        part_widths=(4, 4),
        part_features=(4, 4),
        unet=(4, 4, 4, 4),
        head=(4, 4, 4, 4, 8, 8),
    )


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory) -> Path:
    """A checkpoint that a training can go on from."""
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.rand_like(parameter)
    optimizer.step()
    files = CheckpointFiles(tmp_path_factory.mktemp("run"))
    files.save_last(
        network,
        step=4,
        seconds=1.5,
        best={},
        optimizer=optimizer.state_dict(),
        scaler={},
    )
    return files.last


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_checkpoint(data, network, checkpoint, tmp_path):
    """Not resumed from, or nothing of what it holds has changed."""
    content = checkpoint.read_bytes()
    damage = data.draw(damages(len(content)))
    files = CheckpointFiles(tmp_path)
    files.folder.mkdir(exist_ok=True)
    shutil.copy(checkpoint, files.previous)
    files.last.write_bytes(damage(content))
    found = files.read_newest(network, has_average=False)
    assert found is not None
    assert found.step == 4 and found.seconds == 1.5
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.weights[name], tensor)

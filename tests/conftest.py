"""Shape checks on for every call in the tests; paths of the optional reference data."""

import itertools
import os
import shutil

if (
    "DIGIT_CUDA" not in os.environ
):  # test_cuda.py wants it; all others are of the processor
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook(["digit"], "type_checker.checked")

os.environ["DIGIT_CACHE"] = tempfile.mkdtemp(prefix="digit-cache-")  # never the user's
torch.set_num_threads(1)  # two workers share two cores
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
REAL_FRAMES = Path(__file__).resolve().parents[2] / "shared/data/InterHand2.6M_sample"


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Path:
    """Inputs and outputs of the original implementation, copied (see
    reference/README.md)."""
    folder = tmp_path_factory.mktemp("original") / "reference"
    shutil.copytree(Path(__file__).parent / "reference", folder)
    return folder


@pytest.fixture(scope="session")
def real_frames() -> Path:
    """Four real InterHand2.6M frames, which may not be shipped with the project."""
    if not REAL_FRAMES.is_dir():
        pytest.skip("the real frames are not beside this checkout")
    return REAL_FRAMES


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator:
    """JupyterLab in a browser, of one module: playwright's event loop must end with its
    tests."""
    from lab import open_lab

    with open_lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory) -> Path:
    """A small synthetic data set, prepared: 40 frames or so, all splits, both hand
    counts."""
    from digit.hands.part_masks import prepare
    from digit.synth.dataset import synthesize

    root = tmp_path_factory.mktemp("data") / "tiny"
    synthesize(root, 60, seed=5, workers=1)
    prepare(root)
    return root


@pytest.fixture(scope="session")
def tiny_run(tiny_root, tmp_path_factory) -> Path:
    """A run of a few steps on the small data set, with its checkpoint and result."""
    from digit.training import runs
    from digit.training.loop import train_run
    from digit.training.settings import make_settings

    os.environ["DIGIT_RUNS"] = str(tmp_path_factory.mktemp("runs"))
    overrides = {
        "steps": 6,
        "batch_size": 8,
        "workers": 0,
        "log_every": 2,
        "evaluate_every": 0.5,
    }
    run = runs.create_run(tiny_root, "quick", make_settings("quick", overrides), "tiny")
    train_run(run)
    return run


@pytest.fixture
def published(monkeypatch) -> list[dict]:
    """The pictures that widgets publish for when there is no kernel."""
    from digit.widgets import static_picture

    bundles = []
    monkeypatch.setattr(static_picture, "get_ipython", lambda: "a notebook")
    monkeypatch.setattr(
        static_picture, "display", lambda bundle, raw: bundles.append(bundle)
    )
    return bundles


@pytest.fixture
def always_turned(monkeypatch) -> None:
    """The turn test takes the last of the four positions for the surest."""
    from digit.inference import turn_test

    less_and_less = itertools.count(0, -1)
    monkeypatch.setattr(
        turn_test,
        "doubt_nats",
        lambda prediction: torch.full(
            prediction.relative_root_depth.shape, float(next(less_and_less))
        ),
    )

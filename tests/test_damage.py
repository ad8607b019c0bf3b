"""Whatever is damaged: a named error, a finding, or content that stands; nothing is lost."""

import pytest
from damage import FAULTS, observed, strike
from damage_runs import smallest_network
from damage_targets import make_targets

MUTATIONS = 20  # of each kind of file; benchmarks/random_damage.py does more
NAMES = (
    "data.json",
    "camera.json",
    "joint_3d.json",
    "MANO_NeuralAnnot.json",
    "rootnet.json",
    "meta_dict.pkl",
    "exclude list",
    "made.json",
    "columns.json",
    "columns",
    "data.pkl",
    "truth.parquet",
    "parameters.yaml",
    "environment.json",
    "result.json",
    "progress.json",
    "process",
    "launcher",
    "metrics.csv",
    "last.ckpt",
    "last.ckpt, content",
    "best.ckpt",
    "notes",
    "predictions.npz",
    "predictions.npz, arrays",
    "errors.parquet",
    "MANO_RIGHT.pkl",
    "J_regressor_mano_ih26m.npy",
    "vertex_segments_right_seal.json",
)


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, smallest_network():
        patch.setenv("DIGIT_RUNS", "")
        folder = tmp_path_factory.mktemp("damage")
        found = make_targets(folder, with_onnx=False)
        yield {target.name: target for target in found}


def test_every_kind_of_file_is_damaged(targets):
    assert tuple(targets) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_named_or_found(name, targets):
    target = targets[name]
    baseline = observed(target.read)
    results = {seed: strike(target, baseline, seed) for seed in range(MUTATIONS)}
    faults = {seed: it for seed, it in results.items() if it.outcome in FAULTS}
    assert faults == {}
    assert observed(target.read) == baseline, "every damage was mended"


def test_damage_is_noticed_at_all(targets):
    """Of files with checksums, hardly any damage is without effect."""
    for name in ("last.ckpt", "columns", "made.json"):
        target = targets[name]
        baseline = observed(target.read)
        outcomes = [strike(target, baseline, seed).outcome for seed in range(100, 106)]
        assert set(outcomes) - {"accepted"}, name

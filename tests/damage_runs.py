"""What `damage.strike` damages of a run: its files and its checkpoints.

`damage_targets` collects the targets.
"""

import contextlib
import functools
import io
import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch
import yaml
from damage import (
    BYTE_MUTATIONS,
    JSON_MUTATIONS,
    TEXT_MUTATIONS,
    VALUES,
    Reading,
    Target,
    changed_somewhere,
    digest,
    file_target,
)
from torch import nn

from digit.doctor.run_folders import _metrics, examine_run
from digit.inference.networks import load_network
from digit.model.network import NETWORKS, Digit, build_network
from digit.training import runs
from digit.training.checkpoint_files import CheckpointFiles
from digit.training.progress_log import COLUMNS, read_metrics, trim_metrics
from digit.training.settings import make_settings
from digit.widgets.notes import FrameNotes

RUN = "20260101-000000-small-aaaa"
SMALLEST = {
    "backbone": "efficientnet_lite0",
    "image_size": 32,
    "features": 4,
    "part_widths": (2, 2),
    "part_features": (2, 2),
    "unet": (2, 2, 2, 2),
    "head": (2, 2, 2, 2, 4, 4),
}


@contextlib.contextmanager
def smallest_network() -> Iterator[None]:
    """Within the block, networks have a backbone of a few numbers, to be quick."""

    class Backbone(nn.Module):
        def __init__(self, features: int):
            super().__init__()
            self.conv = nn.Conv2d(3, features, 4, stride=4)

        def forward(self, image):
            return [self.conv(image)]

    def build(name, features, pretrained):
        return Backbone(features), 0

    with (
        mock.patch("digit.model.network.build_backbone", build),
        mock.patch.dict(NETWORKS, {"quick": SMALLEST}),
    ):
        yield


class TrainedNetwork(Digit):
    """What a checkpoint needs of a network: few tensors are read in no time."""

    def __init__(self):
        nn.Module.__init__(self)
        self.arguments = {"backbone": "small"}
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)


def make_run(folder: Path, dataset_dir: Path) -> Path:
    """A run of a few steps as a training leaves it; no training takes place."""
    run = folder / RUN
    settings = make_settings("quick", {"val_split": "train", "ema": 0})
    # 1. Checkpoints: the best is of a whole network
    torch.manual_seed(0)
    network = TrainedNetwork()
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.rand_like(parameter)
    optimizer.step()
    state = {"step": 4, "seconds": 1.5, "best": {"mpjpe_all": 20.0, "step": 4}}
    files = CheckpointFiles(run)
    for _ in range(2):
        files.save_last(network, **state, optimizer=optimizer.state_dict(), scaler={})
    files.save_best(build_network("quick", pretrained=False), **state)
    # 2. Everything else
    runs.folder._write_parameters(
        run,
        {
            "root": str(dataset_dir),
            "preset": "quick",
            "settings": runs.folder.dataclasses.asdict(settings),
        },
    )
    record = {"data": runs.fingerprints(dataset_dir, settings), "seed": 1, "cpus": 2}
    (run / "environment.json").write_text(json.dumps(record))
    (run / "result.json").write_text(json.dumps({"mpjpe_all": 20.0, "steps": 4}))
    progress = {"state": "done", "step": 4, "seconds": 1.5, "best": state["best"]}
    (run / "progress.json").write_text(json.dumps(progress))
    (run / "process").write_text("ended 999999999 nowhere\n")
    (run / "launcher").write_text("999999999 nowhere 1.5\n")
    lines = [",".join(COLUMNS), *(f"{k},0.1,1.5,loss,{k / 7}" for k in range(30))]
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    notes = FrameNotes(run / "errors_test.notes.json")
    notes.toggle_tag(["train/a.jpg"], "blurred")
    notes.toggle_tag(["train/b.jpg"], "depth")
    return run


def read_run(run: Path, with_data: bool = False) -> Reading:
    """List, examine and describe a run, but for its checkpoints and curves.

    Args:
        run: Its folder.
        with_data: Whether to open its data set as well.
    """
    left_out = ["_checkpoints"] if with_data else ["_checkpoints", "_data_set"]
    nothing = dict.fromkeys(left_out, lambda *_: ())
    with (
        mock.patch.multiple("digit.doctor.run_folders", **nothing),
        mock.patch.object(yaml, "safe_load", parsed_yaml),
    ):
        findings = tuple(f"{row.finding} {row.example}" for row in examine_run(run))
        rows = runs.list_runs()
        assert len(rows) == 1
        try:
            settings = repr(runs.parameters(run))
        except ValueError as error:
            settings = ""
            assert str(run) in str(error)
    return Reading((rows.to_json(), runs.progress_line(run), settings), findings)


# Equal texts, of which a reading parses three, are parsed once.
parsed_yaml = functools.lru_cache(maxsize=8)(yaml.safe_load)


def run_targets(run: Path) -> Iterator[Target]:
    """The files of a run folder."""
    small = {
        "parameters.yaml": TEXT_MUTATIONS,
        "environment.json": JSON_MUTATIONS,
        "result.json": JSON_MUTATIONS,
        "progress.json": JSON_MUTATIONS,
        "process": BYTE_MUTATIONS,
        "launcher": BYTE_MUTATIONS,
    }
    every_file = [path for path in run.rglob("*") if path.is_file()]
    targets = []
    for name, mutations in small.items():
        with_data = name in ("parameters.yaml", "environment.json")
        read = functools.partial(read_run, run, with_data)
        targets.append(file_target(name, run / name, read, mutations))
    targets.append(_metrics_target(run))
    targets.extend(_checkpoint_targets(run))
    notes = run / "errors_test.notes.json"
    read = functools.partial(_read_notes, notes)
    targets.append(file_target("notes", notes, read, JSON_MUTATIONS))
    for target in targets:
        yield target._replace(watched=every_file)


def _metrics_target(run: Path) -> Target:
    """metrics.csv as a resumed training takes it up, in a copy."""
    path = run / "metrics.csv"

    def read() -> Reading:
        findings = tuple(f"{row.finding} {row.count}" for row in _metrics(run))
        curves = runs.curves(run)
        copy = run / "copy" / path.name
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
        rows, others = read_metrics(copy)
        trim_metrics(copy, 10**9)
        assert read_metrics(copy) == (rows, 0), "a row is lost"
        aside = copy.with_name(f"{copy.name}.damaged-1")
        assert not others or aside.read_bytes() == path.read_bytes(), "it is not kept"
        shutil.rmtree(copy.parent)
        return Reading(curves.to_json(), findings)

    return file_target("metrics.csv", path, read, TEXT_MUTATIONS)


def _checkpoint_targets(run: Path) -> Iterator[Target]:
    """last.ckpt as a training resumes from it, best.ckpt as it is used."""
    files = CheckpointFiles(run)
    network = TrainedNetwork()

    def weights(state: dict[str, torch.Tensor]) -> str:
        return digest(*(tensor.numpy() for tensor in state.values()))

    def read_last() -> Reading:
        state = files.read_newest(network, has_average=False)
        files.set_damaged_aside()
        # What comes next in a resumed training
        for group in state.optimizer["param_groups"]:
            group.update(weight_decay=0.0, fused=False)
        optimizer = torch.optim.Adam(network.parameters())
        optimizer.load_state_dict(state.optimizer)
        optimizer.step()
        assert math.isfinite(state.seconds)
        assert state.best.get("mpjpe_all", math.inf) > 0
        moments = [
            moments["exp_avg"].numpy() for moments in state.optimizer["state"].values()
        ]
        value = (state.step, state.seconds, weights(state.weights), digest(*moments))
        return Reading(value)

    def read_best() -> Reading:
        return Reading(weights(load_network(files.best).state_dict()))

    def repair() -> None:
        for aside in files.folder.glob("*.damaged-*"):
            aside.unlink()

    last = file_target(
        "last.ckpt", files.last, read_last, BYTE_MUTATIONS, is_verified=True
    )
    yield last._replace(repair=repair)
    # Whole by its checksums, and with another content.
    yield last._replace(
        name="last.ckpt, content",
        mutations=(mutated_checkpoint,),
        is_verified=False,
        repair=repair,
    )
    yield file_target(
        "best.ckpt", files.best, read_best, BYTE_MUTATIONS, is_verified=True
    )


def mutated_checkpoint(rng: random.Random, data: bytes) -> bytes:
    """A checkpoint with one value replaced, removed, repeated, or wrapped in a list."""
    content = torch.load(io.BytesIO(data), weights_only=True)
    tensors = (
        torch.tensor(float("nan")),
        torch.full((4,), float("inf")),
        torch.zeros(0),
        torch.zeros(4, 3, 3, 3, dtype=torch.complex64),
        torch.zeros(4, 3, 3, 3, dtype=torch.float16),
        torch.zeros(4, dtype=torch.int64),
        torch.eye(4).to_sparse(),
    )
    changed = changed_somewhere(rng, content, (*VALUES, *tensors))
    out = io.BytesIO()
    torch.save(changed, out)
    return out.getvalue()


def _read_notes(path: Path) -> Reading:
    """Tags and notes, to which another is added in a copy."""
    notes = FrameNotes(path)
    notes.read()
    before = {key: note for key, note in notes.notes.items() if not note.is_empty()}
    copy = path.with_name("copy.json")
    shutil.copy(path, copy)
    added = FrameNotes(copy)
    added.toggle_tag(["new"], "tag")
    after = FrameNotes(copy)
    after.read()
    copy.unlink()
    assert before.items() <= after.notes.items(), "a note is lost"
    return Reading(json.dumps(sorted(before.items())))

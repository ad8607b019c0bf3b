"""`quick` trained by the workbench, beside the plainest loop and beside a bare
Lightning loop.

    chrt -f 1 python benchmarks/training.py --root ROOT [--turns 3] [--steps 24]

Wall time, by turns in one run: each turn trains the same batches in each way, in a fresh
process of its own; a sample is the time of four steps, the first four left out; medians of all
turns. `chrt -f 1` (as root) lets other work of a shared machine wait for these short turns.
Prints a Markdown table. The ways:

    workbench   `digit train`: notebook 05 through papermill, log, TensorBoard, progress
    lightning   the same network, loss, loader and precision, a bare Trainer, no record
    plain       eager, contiguous, fp32, no loader workers, an unfused Adam, no Trainer
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from digit.model.network import build_network
from digit.training import runs

# isort: split
import pytorch_lightning as pl

from digit.data.dataset import loader
from digit.model.losses import losses
from digit.training.data import open_data
from digit.training.loop import precision_here
from digit.training.sampler import StreamSampler
from digit.training.settings import Settings, make_settings

EVERY = 4  # steps a sample


class Bare(pl.LightningModule):
    """The training step and nothing else; the time after every fourth step."""

    def __init__(self, settings: Settings):
        super().__init__()
        network = build_network(settings.network)
        self.network = network.to(memory_format=torch.channels_last)
        self.settings = settings
        self.times = []

    def training_step(self, batch, _batch_idx):
        terms = losses(
            self.network(batch.images()), batch, **self.settings.loss_options()
        )
        return torch.stack(list(terms.values())).sum()

    def configure_optimizers(self):
        return torch.optim.Adam(
            self.network.parameters(), self.settings.learning_rate, fused=True
        )

    def configure_gradient_clipping(self, *_, **__):
        torch.nn.utils.clip_grad_norm_(
            self.network.parameters(), self.settings.clip_norm
        )

    def on_train_batch_end(self, *_):
        if self.trainer.global_step % EVERY == 0:
            self.times.append(time.monotonic())


def workbench(dataset_dir: Path, settings: Settings) -> dict:
    """`digit train` into a folder that goes again: seconds a step, and what else it took."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DIGIT_RUNS"] = folder
        run = runs.create_run(dataset_dir, "quick", settings, "bench")
        start = time.monotonic()
        result = runs.train(run)
        around = time.monotonic() - start - result["seconds"]
        rates = runs.curves(run)["samples_per_s"].dropna().tolist()[1:]
    return {"steps": [settings.batch_size / rate for rate in rates], "around": around}


def lightning(dataset_dir: Path, settings: Settings) -> dict:
    """A bare Trainer over the same stream of batches."""
    data = open_data(dataset_dir, settings)
    data.last_step = settings.steps
    module = Bare(settings)
    pl.Trainer(
        accelerator="cpu",
        precision=precision_here(settings.precision),
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    ).fit(module, data)
    return {"steps": [(b - a) / EVERY for a, b in itertools.pairwise(module.times)]}


def plain(dataset_dir: Path, settings: Settings) -> dict:
    """A loop as in a first script."""
    data = open_data(dataset_dir, settings)
    network = build_network(settings.network)
    stream = StreamSampler(
        [len(data.train_frames)],
        [settings.batch_size],
        settings,
        first_step=0,
        last_step=settings.steps,
        rank=0,
        world_size=1,
    )
    positions = [position for batch in stream for _, position in batch]
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    times = []
    batches = loader(data.train_frames, settings.batch_size, sampler=positions)
    for step, batch in enumerate(batches, 1):
        prediction = network(batch.images().contiguous())
        terms = losses(prediction, batch, **settings.loss_options())
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        optimizer.step()
        if step % EVERY == 0:
            times.append(time.monotonic())
    return {"steps": [(b - a) / EVERY for a, b in itertools.pairwise(times)]}


WAYS = {"workbench": workbench, "lightning": lightning, "plain": plain}


def one_turn(way: str, args) -> dict:
    """One way in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--root",
        str(args.root),
        "--steps",
        str(args.steps),
    ]
    done = subprocess.run(
        [*command, "--way", way], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the table, or measure one way for it."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--root", type=Path, required=True)
    options.add_argument("--turns", type=int, default=3)
    options.add_argument("--steps", type=int, default=24)
    options.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = options.parse_args()
    changes = {"steps": args.steps, "log_every": EVERY, "val_frames": 8}
    settings = make_settings("quick", changes)
    if args.way:
        print(json.dumps(WAYS[args.way](args.root, settings)))
        return
    orders = [args.ways, args.ways[::-1]]  # each way is first as often as last
    turns = [
        {way: one_turn(way, args) for way in orders[i % 2]} for i in range(args.turns)
    ]
    step = {
        way: statistics.median(s for t in turns for s in t[way]["steps"])
        for way in args.ways
    }
    precision = precision_here(settings.precision)
    threads = torch.get_num_threads()
    print(f"| `quick`, {threads} threads, {precision} | measured | our target | met |")
    print("| --- | --- | --- | --- |")
    for way in args.ways:
        print(f"| {way} | {settings.batch_size / step[way]:.1f} images/s | | |")
    if {"workbench", "plain"} <= {*step}:
        faster = step["plain"] / step["workbench"]
        met = "yes" if faster >= 1.3 else "no"
        print(f"| workbench over plain | {faster:.2f}× | ≥ 1.3× | {met} |")
    if {"workbench", "lightning"} <= {*step}:
        overhead = step["workbench"] / step["lightning"] - 1
        met = "yes" if overhead <= 0.03 else "no"
        print(
            f"| notebook, log over Lightning | {100 * overhead:+.1f} % | ≤ 3 % | {met} |"
        )
    if "workbench" in step:
        around = statistics.median(t["workbench"]["around"] for t in turns)
        print(f"| notebook around the training, once a run | {around:.0f} s | | |")


if __name__ == "__main__":
    main()

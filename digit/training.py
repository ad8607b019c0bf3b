"""The Lightning module and data module, and `fit`: one run, resumable at any step.

Training is a stream of samples: epoch 0's permutation, then epoch 1's, … Position p of the stream
and its augmentation depend on the seed alone, so a run stopped after any optimiser step goes on, on
any number of workers or processes, as if it had never stopped.
"""

import csv
import dataclasses
import json
import logging
import math
import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.utils.data import DataLoader

from .network import NETWORKS, build_network  # first: it makes torchvision load beside CPU torch

# isort: split
import pytorch_lightning as pl

from .dataset import Augmentation, Batch, InterHandDataset, single_threaded
from .inference import load_state, predict_dataset, save_checkpoint
from .interhand import Index, open_index
from .losses import losses
from .metrics import error_table, protocol
from .settings import HEADLINE, Settings

IMAGENET = Path(__file__).parents[1] / "data" / "weights" / "hrnet_w32-36af842e.pth"


class StreamSampler:
    """The batches of one process, from an optimiser step onward, as lists of stream positions."""

    def __init__(self, n: int, settings: Settings, steps: int, start: int, rank: int, world: int):
        assert n > 0, "an empty data set has no stream"
        self.n, self.settings, self.rank, self.world = n, settings, rank, world
        self.steps, self.start = steps, start

    def __len__(self) -> int:
        return (self.steps - self.start) * self.settings.accumulate

    def __iter__(self):
        batch = self.settings.batch_size // self.settings.accumulate
        order, current = np.empty(0, np.int64), -1
        for k in range(
            self.start * self.settings.accumulate, self.steps * self.settings.accumulate
        ):
            positions = []
            for p in range(k * batch + self.rank, (k + 1) * batch, self.world):
                epoch, i = divmod(p, self.n)
                if epoch != current:
                    rng = np.random.default_rng([self.settings.seed, epoch])
                    order, current = rng.permutation(self.n), epoch
                positions.append(epoch * self.n + int(order[i]))
            yield positions


class HandData(pl.LightningDataModule):
    """The training stream and the evaluation frames of one data set.

    Raises ValueError for an empty split, and what `open_index` raises for a faulty data set.
    """

    def __init__(self, root: Path, settings: Settings, size_px: int):
        super().__init__()
        train = open_index(root, settings.train_split).usable()
        val = open_index(root, settings.val_split).usable()
        for index in (train, val):
            if not len(index):
                raise ValueError(f"{root}: no frame of {index.name} is usable: see digit check")
        if settings.val_frames and settings.val_frames < len(val):
            val = val.take(np.linspace(0, len(val) - 1, settings.val_frames).round().astype(int))
        augmentation = None
        if settings.augment:
            names = ("flip", "rotation_deg", "translate", "scale")
            augmentation = Augmentation(**{name: getattr(settings, name) for name in names})
        box = "rootnet" if settings.root_depth == "rootnet" else "truth"
        self.settings, self.steps, self.start = settings, 0, 0
        self.train_frames = InterHandDataset(train, size_px, augmentation, settings.seed)
        self.val_frames = InterHandDataset(val, size_px, bbox=box)

    @property
    def val_index(self) -> Index:
        """Frames the evaluation of this run sees."""
        return self.val_frames.index

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        n, settings = len(self.train_frames), self.settings
        sampler = StreamSampler(
            n, settings, self.steps, self.start, trainer.global_rank, trainer.world_size
        )
        return DataLoader(
            self.train_frames,
            batch_sampler=sampler,
            num_workers=settings.workers,
            pin_memory=torch.cuda.is_available(),
            collate_fn=Batch._make,
            worker_init_fn=single_threaded,
        )


def open_data(root: Path, settings: Settings) -> HandData:
    """The data of a run, with crops of the size its network wants."""
    return HandData(root, settings, settings.image_size or NETWORKS[settings.network]["image_size"])


class HandTraining(pl.LightningModule):
    """The network under training: losses, schedule, averaged weights, evaluation, checkpoints."""

    def __init__(self, network: torch.nn.Module, settings: Settings, run: Path):
        super().__init__()
        self.network, self.settings, self.run = network, settings, run
        self.forward_network = torch.compile(network) if settings.compile else network

        def average(averaged, current, _) -> None:  # the untrained start is soon forgotten
            decay = min(settings.ema, (1 + self.step) / (10 + self.step))
            torch.optim.swa_utils.get_ema_multi_avg_fn(decay)(averaged, current, 0)

        self.ema = None
        if settings.ema:
            self.ema = torch.optim.swa_utils.AveragedModel(
                network, multi_avg_fn=average, use_buffers=True
            )
        self.steps = self.start = self.step = 0
        self.steps_per_epoch = 1.0
        self.resume_state: dict | None = None
        self.best: dict = {}
        self.latest: dict = {}  # what was last measured, by name
        self.sums: dict[str, torch.Tensor] = {}
        self.stop_signal = 0
        self.elapsed = 0.0  # seconds of training in earlier sessions of this run

    def training_step(self, batch, _batch_idx: int) -> torch.Tensor:
        prediction = self.forward_network(batch.images(), batch.parts)
        terms = losses(prediction, batch, self.settings.loss_weights())
        total = torch.stack(list(terms.values())).sum()
        for name, value in (*terms.items(), ("loss", total)):
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        return total

    def configure_optimizers(self):
        settings = self.settings
        optimizer = torch.optim.Adam(
            self.network.parameters(),
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            # a fused step unscales by itself, which Lightning cannot clip under mixed precision
            fused=not settings.clip_norm or settings.precision == "32-true",
        )
        if self.resume_state:
            optimizer.load_state_dict(self.resume_state["optimizer"])
        return optimizer

    def learning_rate(self, step: int) -> float:
        """Learning rate of an optimiser step: warm-up, then the schedule's shape."""
        done = step / max(1, self.steps)
        if self.settings.minutes:
            done = max(done, self.seconds() / 60 / self.settings.minutes)
        rate = self.settings.learning_rate
        if done < self.settings.warmup:
            return rate * max(done / self.settings.warmup, 0.01)
        if self.settings.schedule == "cosine":
            return rate * max(0.5 * (1 + math.cos(math.pi * min(done, 1.0))), 1e-3)
        return rate * (0.1 if done >= self.settings.drop_at else 1.0)

    def seconds(self) -> float:
        """Training time of this run so far, all its sessions together."""
        return self.elapsed + time.monotonic() - self.session_start

    def on_train_start(self) -> None:
        self.session_start = self.last_log = time.monotonic()
        self.logged_step = self.step = self.start
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._on_signal)
        if self.resume_state and self.trainer.scaler_state:
            self.trainer.precision_plugin.load_state_dict(self.trainer.scaler_state)

    def _on_signal(self, number: int, _frame) -> None:
        if not self.stop_signal:
            self.stop_signal, self.stop_time = number, time.monotonic()
        elif time.monotonic() > self.stop_time + 10:
            raise KeyboardInterrupt  # meant: not an echo of the first, as schedulers send

    def on_train_batch_start(self, _batch, _batch_idx: int) -> None:
        for group in self.optimizers().param_groups:
            group["lr"] = self.learning_rate(self.step)

    def on_train_batch_end(self, _outputs, _batch, _batch_idx: int) -> None:
        step = self.start + self.trainer.global_step
        if step == self.step:  # gradients are still being accumulated
            return
        self.step = step
        if self.ema is not None:
            self.ema.update_parameters(self.network)
        settings = self.settings
        out_of_time = settings.minutes and self.seconds() > settings.minutes * 60
        last = step >= self.steps or bool(out_of_time)
        stop = self._any_rank(self.stop_signal) if step % 5 == 0 or self.stop_signal else 0
        if step % settings.log_every == 0 or last or stop:
            self._log()
        if last or step % max(1, round(settings.evaluate_every * self.steps_per_epoch)) == 0:
            self._evaluate()
        if last or stop or step % settings.checkpoint_every == 0:
            self.save("last")
        if last or stop:
            self.trainer.should_stop = True

    def _any_rank(self, value: int) -> int:
        if self.trainer.world_size == 1:
            return value
        flag = torch.tensor(value, device=self.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return int(flag)

    def _log(self) -> None:
        now, count = time.monotonic(), max(1, self.step - self.logged_step)
        row = {k: float(v) / count / self.settings.accumulate for k, v in self.sums.items()}
        if not math.isfinite(row["loss"]):
            bad = ", ".join(k for k, v in row.items() if not math.isfinite(v))
            raise ValueError(
                f"{self.run.name}: the loss is not finite since step {self.logged_step} ({bad}); "
                "the last good checkpoint is kept; resume with a lower learning_rate or clip_norm"
            )
        rate = count * self.settings.batch_size / (now - self.last_log)
        self.sums, self.last_log, self.logged_step = {}, now, self.step
        row |= {"learning_rate": self.learning_rate(self.step), "samples_per_s": rate}
        self._record(row)

    def _record(self, row: dict[str, float]) -> None:
        """One row of metrics.csv (long format), TensorBoard, and the state others can watch."""
        if not self.trainer.is_global_zero:
            return
        epoch = self.step / self.steps_per_epoch
        self.latest |= row
        with (self.run / "metrics.csv").open("a", newline="") as file:
            csv.writer(file).writerows(
                [self.step, f"{epoch:.4f}", f"{self.seconds():.1f}", name, f"{value:.6g}"]
                for name, value in row.items()
            )
        self.logger.log_metrics(row, self.step)
        left = (self.steps - self.step) * self.seconds() / max(1, self.step)
        if self.settings.minutes:
            left = min(left, self.settings.minutes * 60 - self.seconds())
        state = {
            "state": "running", "step": self.step, "steps": self.steps, "epoch": epoch,
            "seconds": self.seconds(), "seconds_left": max(0.0, left), "best": self.best,
            **self.latest,
        }  # fmt: skip
        write_json(self.run / "progress.json", state)

    def evaluated_network(self) -> torch.nn.Module:
        """The weights that are evaluated and shipped: averaged ones where there are any."""
        return self.network if self.ema is None else self.ema.module

    @torch.no_grad()
    def _evaluate(self) -> None:
        """Errors of the val frames, each predicted once whatever the number of processes."""
        data, rank, world = (
            self.trainer.datamodule,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        mine = np.arange(len(data.val_index))[rank::world]
        with self.trainer.precision_plugin.forward_context():
            predictions = predict_dataset(
                self.evaluated_network(), data.val_frames, mine, device=self.device,
                batch_size=max(8, self.settings.batch_size), workers=self.settings.workers,
            )  # fmt: skip
        self.network.train()
        if world > 1:
            gathered: list = [None] * world
            torch.distributed.all_gather_object(gathered, predictions)
            predictions = type(predictions).concatenate(gathered)
        table = error_table(data.val_index, predictions, root_depth=self.settings.root_depth)
        result = protocol(table, intervals=False)
        row = {k: v for k, v in result.items() if k in HEADLINE and v is not None}
        if row["mpjpe_all"] < self.best.get("mpjpe_all", math.inf):
            self.best = {"step": self.step, **row}
            self.save("best")
        self._record({f"val_{k}": float(v) for k, v in row.items()})
        self.last_log = time.monotonic()

    def save(self, name: str) -> None:
        """Checkpoint `name`, replaced in one move: what it held before survives any failure."""
        if not self.trainer.is_global_zero:
            return
        extra = {
            "step": self.step, "best": self.best, "settings": dataclasses.asdict(self.settings),
            "seconds": self.seconds(),
        }  # fmt: skip
        if name == "last":
            extra["optimizer"] = self.optimizers(use_pl_optimizer=False).state_dict()
            extra["scaler"] = self.trainer.precision_plugin.state_dict()
        ema = None if self.ema is None else self.ema.module.state_dict()
        save_checkpoint(self.run / "checkpoints" / f"{name}.ckpt", self.network, ema=ema, **extra)


def write_json(path: Path, content: dict) -> None:
    """JSON written aside and moved into place, NaN as null."""
    clean = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in content.items()
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(clean, indent=1))
    temporary.replace(path)


def fit(run: Path) -> dict:
    """Train the run of `<run>/parameters.yaml`, from its last checkpoint if it has one.

    Writes metrics.csv, progress.json, TensorBoard events, checkpoints/{best,last}.ckpt and, when
    the whole training is done, result.json, which it returns. Raises ValueError for a loss that is
    not finite and KeyboardInterrupt after a signal; both leave a checkpoint to resume from.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    parameters = yaml.safe_load((run / "parameters.yaml").read_text())
    settings = Settings(**parameters["settings"])
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    network = build_network(settings.network, parts=settings.parts)
    weights = settings.weights or (IMAGENET if settings.network == "full" else "")
    if weights and (settings.weights or IMAGENET.exists()):
        load_state(network, weights)
    elif weights:
        print(f"{weights} is not there: HRNet starts from random weights, learning takes longer")
    network = network.to(memory_format=torch.channels_last)
    data = open_data(Path(parameters["root"]), settings)
    module = HandTraining(network, settings, run)
    n = len(data.train_frames)
    module.steps_per_epoch = n / settings.batch_size
    module.steps = data.steps = settings.steps or max(
        1, round(settings.epochs * module.steps_per_epoch)
    )
    last = run / "checkpoints" / "last.ckpt"
    last.parent.mkdir(exist_ok=True)
    scaler = None
    if last.exists():
        state = torch.load(last, weights_only=True, map_location="cpu")
        network.load_state_dict(state["state_dict"])
        if module.ema is not None:
            module.ema.module.load_state_dict(state["ema"])
            module.ema.n_averaged += state["step"]
        module.resume_state, module.best, scaler = state, state["best"], state["scaler"]
        module.start = module.step = data.start = state["step"]
        module.elapsed = state["seconds"]
    precision = settings.precision
    if precision == "16-mixed" and not torch.cuda.is_available():
        print("fp16 needs a GPU: training in bf16 here")
        precision = "bf16-mixed"
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        trim_metrics(run / "metrics.csv", module.start)
    trainer = pl.Trainer(
        accelerator="auto", devices=settings.devices, num_nodes=settings.nodes,
        strategy="ddp" if settings.devices * settings.nodes > 1 else "auto",
        precision=precision, max_epochs=1, accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip_norm or None, use_distributed_sampler=False,
        sync_batchnorm=settings.devices * settings.nodes > 1 and torch.cuda.is_available(),
        logger=pl.loggers.TensorBoardLogger(run, name="", version="tensorboard"),
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, limit_val_batches=0,
    )  # fmt: skip
    trainer.scaler_state = scaler
    if module.start < module.steps:
        trainer.fit(module, data)
    if module.stop_signal:
        raise KeyboardInterrupt(f"stopped at step {module.step} of {module.steps}")
    result = {**module.best, "steps": module.step, "frames": n, "network": settings.network}
    result |= {"seconds": module.seconds() if module.step > module.start else module.elapsed}
    if trainer.is_global_zero:
        write_json(run / "result.json", result)
    return result


def trim_metrics(path: Path, step: int) -> None:
    """Start metrics.csv, or drop the rows after the step that a resumed run goes on from."""
    header = ["step", "epoch", "seconds", "name", "value"]
    rows = []
    if path.exists():
        with path.open(newline="") as file:
            rows = [r for r in list(csv.reader(file))[1:] if len(r) == 5 and int(r[0]) <= step]
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    temporary.replace(path)

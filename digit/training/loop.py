"""The Lightning module and data module, and `fit`: one run, resumable at any step.

Training is a stream of samples: epoch 0's permutation, then epoch 1's, … Position p of the stream
and its augmentation depend on the seed alone, so a run stopped after any optimiser step goes on, on
any number of workers or processes, as if it had never stopped.
"""

import contextlib
import csv
import dataclasses
import logging
import math
import signal
import time
import traceback
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from digit.evaluation.error_table import error_table
from digit.evaluation.predictions import Predictions
from digit.evaluation.protocol import protocol
from digit.files import atomic, write_json
from digit.inference.evaluate import predict_dataset
from digit.model.checkpoints import load_state, save_checkpoint
from digit.model.losses import losses
from digit.model.network import build_network
from digit.paths import WEIGHTS_DIR
from digit.training.data import crop_size, open_data
from digit.training.distributed import mean_over_processes, share_norms
from digit.training.failures import explained
from digit.training.settings import HEADLINE, Settings

IMAGENET = WEIGHTS_DIR / "hrnet_w32-36af842e.pth"
SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGUSR1,
)  # the last is SLURM's, if asked


class HandTraining(pl.LightningModule):
    """The network under training: losses, schedule, averaged weights, evaluation, checkpoints."""

    def __init__(self, network: torch.nn.Module, settings: Settings, run: Path):
        super().__init__()
        self.network, self.settings, self.run = network, settings, run
        self.forward_network = torch.compile(network) if settings.compile else network

        def average(
            averaged, current, _
        ) -> None:  # the untrained start is soon forgotten
            decay = min(settings.ema, (1 + self.step) / (10 + self.step))
            torch.optim.swa_utils.get_ema_multi_avg_fn(decay)(averaged, current, 0)

        self.ema = None
        if settings.ema:
            self.ema = torch.optim.swa_utils.AveragedModel(
                network, None, None, average, True
            )
            self.ema.requires_grad_(False)
        self.start = self.step = self.saved = (
            0  # optimiser steps: of the session, done, on disk
        )
        self.steps, self.steps_per_epoch = 0, 1.0
        self.resume_state, self.best, self.state = (
            {},
            {},
            {},
        )  # the last is what progress.json says
        self.sums: dict[str, Tensor] = {}
        self.stop_signal, self.signal_time, self.stopping, self.done = 0, 0.0, 0, False
        self.elapsed = self.clock = (
            0.0  # seconds of training: of earlier sessions, of all
        )
        self.session_start = time.monotonic()
        self.amid = self.updating = (
            False  # a step is under way; the optimiser is at work
        )
        self.buffers_before: list[
            Tensor
        ] = []  # the norms' statistics at the last whole step

    def training_step(self, batch, _batch_idx: int) -> torch.Tensor:
        prediction = self.forward_network(batch.images(), batch.parts)
        terms = losses(prediction, batch, **self.settings.loss_options())
        total = torch.stack(list(terms.values())).sum()
        for name, value in (*terms.items(), ("loss", total)):
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        return total

    def configure_optimizers(self):
        # a fused step unscales fp16's gradients by itself, too late for clipping
        fused = not (self.settings.clip_norm and self.trainer.precision == "16-mixed")
        options = {"weight_decay": self.settings.weight_decay, "fused": fused}
        optimizer = torch.optim.Adam(
            self.network.parameters(), **options
        )  # a step sets its rate
        if self.resume_state:
            for group in self.resume_state["optimizer"]["param_groups"]:
                group.update(options)
            optimizer.load_state_dict(self.resume_state["optimizer"])
        return optimizer

    def configure_gradient_clipping(self, *_, **__) -> None:
        """Lightning's own refuses a fused optimiser under bf16 too, where nothing is scaled."""
        if self.settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(
                self.network.parameters(), self.settings.clip_norm
            )

    def on_before_optimizer_step(self, _optimizer) -> None:
        self.updating = True

    def learning_rate(self, step: int) -> float:
        """Learning rate of an optimiser step: warm-up, then the schedule's shape."""
        done = step / max(1, self.steps)
        if self.settings.minutes:
            done = max(done, self.clock / 60 / self.settings.minutes)
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
        self.logged_step = self.step = self.saved = self.start
        self.buffers_before = [buffer.clone() for buffer in self.network.buffers()]
        for number in SIGNALS:  # again: Lightning has put its own handlers over ours
            signal.signal(number, self._on_signal)
        if self.resume_state and self.resume_state["scaler"]:
            self.trainer.precision_plugin.load_state_dict(self.resume_state["scaler"])
        self._agree()

    @contextlib.contextmanager
    def heeding_signals(self):
        """Within, a signal ends the run after the step at work, and a failed run can still save."""
        before = [signal.signal(number, self._on_signal) for number in SIGNALS]
        try:
            yield
        finally:
            for number, handler in zip(SIGNALS, before):
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame) -> None:
        # a second Ctrl-C is meant, unless it comes with the first, as launchers send them
        if (
            self.stop_signal
            and number == signal.SIGINT
            and time.monotonic() > self.signal_time + 9
        ):
            raise KeyboardInterrupt
        self.stop_signal, self.signal_time = number, time.monotonic()

    def on_train_batch_start(self, _batch, _batch_idx: int) -> None:
        for group in self.optimizers().param_groups:
            group["lr"] = self.learning_rate(self.step)
        if not self.amid:
            torch._foreach_copy_(self.buffers_before, list(self.network.buffers()))
            self.amid = True

    def on_train_batch_end(self, _outputs, _batch, _batch_idx: int) -> None:
        step, settings = self.start + self.trainer.global_step, self.settings
        if step == self.step:  # gradients are still being accumulated
            return
        self.step = step
        if self.ema is not None:
            self.ema.update_parameters(self.network)
        self.amid = self.updating = False
        if self.trainer.world_size == 1 or step % 5 == 0:
            self._agree()
        self.done = step >= self.steps or 0 < settings.minutes * 60 < self.clock
        leave = self.done or self.stopping
        every = max(1, round(settings.evaluate_every * self.steps_per_epoch))
        evaluate = self.done or step % every == 0
        # with each evaluation: what is resumed must know of the best checkpoint
        save = leave or evaluate or step % settings.checkpoint_every == 0
        if save or step % settings.log_every == 0:
            self._log()
        if save:
            finite = [
                tensor.isfinite().all() for tensor in self.network.state_dict().values()
            ]
            if not torch.stack(finite).all():
                raise FloatingPointError("not finite: the weights")
        if evaluate:
            self._evaluate()
        if save:
            self.save("last")
            self.trainer.strategy.barrier()  # who leaves first must not have the others ended
        if leave:
            self.trainer.should_stop = True

    def _agree(self) -> None:
        """Signals and the clock as all processes see them: they must do the same at each step."""
        self.stopping, self.clock = self.stop_signal, self.seconds()
        if self.trainer.world_size > 1:
            state = torch.tensor([self.stopping, self.clock], device=self.device)
            torch.distributed.all_reduce(state, torch.distributed.ReduceOp.MAX)
            self.stopping, self.clock = int(state[0]), float(state[1])

    def _log(self) -> None:
        now, count = time.monotonic(), max(1, self.step - self.logged_step)
        values = (
            torch.stack(list(self.sums.values())) / count / self.settings.accumulate
        )
        values = mean_over_processes(values, self.trainer.world_size)
        row = dict(zip(self.sums, values.tolist()))
        if not math.isfinite(row["loss"]):
            bad = ", ".join(k for k, v in row.items() if not math.isfinite(v))
            raise FloatingPointError(
                f"not finite: {bad}, since step {self.logged_step}"
            )
        rate = count * self.settings.batch_size / (now - self.last_log)
        self.sums, self.last_log, self.logged_step = {}, now, self.step
        self._record(
            row
            | {"learning_rate": self.learning_rate(self.step), "samples_per_s": rate}
        )

    def _record(self, row: dict[str, float]) -> None:
        """One row of metrics.csv (long format), TensorBoard, and the state others can watch."""
        if not self.trainer.is_global_zero:
            return
        epoch, seconds = self.step / self.steps_per_epoch, self.seconds()
        with (self.run / "metrics.csv").open("a", newline="") as file:
            head = [self.step, f"{epoch:.4f}", f"{seconds:.1f}"]
            csv.writer(file).writerows(
                [*head, name, f"{v:.6g}"] for name, v in row.items()
            )
        self.logger.log_metrics(row, self.step)
        left = (self.steps - self.step) * seconds / max(1, self.step)
        if self.settings.minutes:
            left = min(left, self.settings.minutes * 60 - seconds)
        state = {
            "state": "running",
            "step": self.step,
            "steps": self.steps,
            "epoch": epoch,
        }
        times = {"seconds": seconds, "seconds_left": max(0.0, left)}
        self.tell(**state, **times, best=self.best, **row)

    def tell(self, **news: object) -> None:
        """Bring progress.json up to date."""
        self.state |= news
        write_json(self.run / "progress.json", self.state)

    @torch.no_grad()
    def _evaluate(self) -> None:
        """Errors of the val frames, each predicted once whatever the number of processes."""
        trainer, data, found = self.trainer, self.trainer.datamodule, None
        rank, world = trainer.global_rank, trainer.world_size
        mine = np.arange(rank, len(data.val_index), world)
        size = max(8, self.settings.batch_size // world)
        if len(mine):
            network = self.network if self.ema is None else self.ema.module
            options = {"workers": self.settings.workers, "device": self.device}
            with trainer.precision_plugin.forward_context():
                found = predict_dataset(network, data.val_frames, mine, size, **options)
        self.network.train()
        everyone = [found] * world
        if world > 1:
            torch.distributed.gather_object(found, None if rank else everyone)
        if rank:
            return
        predictions = Predictions.concatenate(
            [part for part in everyone if part is not None]
        )
        table = error_table(
            data.val_index, predictions, root_depth=self.settings.root_depth
        )
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
            self.saved = self.step if name == "last" else self.saved
            return
        extra = {"step": self.step, "best": self.best, "seconds": self.seconds()}
        extra["settings"] = dataclasses.asdict(self.settings)
        if name == "last":
            extra["optimizer"] = self.optimizers(use_pl_optimizer=False).state_dict()
            extra["scaler"] = self.trainer.precision_plugin.state_dict()
        ema = None if self.ema is None else self.ema.module.state_dict()
        save_checkpoint(
            self.run / "checkpoints" / f"{name}.ckpt", self.network, ema=ema, **extra
        )
        self.saved = self.step if name == "last" else self.saved

    def failure(self, error: Exception) -> RuntimeError:
        """The error in one line with its cure; saves the last whole step first, if one is there."""
        if (
            self.step > self.saved
            and not self.updating
            and not isinstance(error, ArithmeticError)
        ):
            if (
                self.amid
            ):  # the step that failed has touched the norms' statistics alone
                for buffer, before in zip(self.network.buffers(), self.buffers_before):
                    buffer.data.copy_(before)
            with contextlib.suppress(Exception):  # on a full disk, say
                self.save("last")
        detail = (str(error).strip() or type(error).__name__).splitlines()[-1]
        meaning, change = explained(error, self.settings)
        if not meaning:
            traceback.print_exception(error)
        kept = f"checkpoint of step {self.saved}" if self.saved else "no checkpoint yet"
        line = f"{self.run.name}: {meaning or 'an error'} (step {self.step + 1}: {detail:.200}); "
        line += f"{kept}; continue with: digit train --resume {self.run.name}{change}"
        if self.trainer.is_global_zero:
            with contextlib.suppress(OSError):
                self.tell(state="failed", error=line)
        return RuntimeError(line)


def precision_here(wanted: str) -> str:
    """The precision this machine trains in; "auto": half where its processor computes in it."""
    cuda = torch.cuda.is_available()
    if wanted != "auto":
        return (
            "bf16-mixed" if wanted == "16-mixed" and not cuda else wanted
        )  # fp16 needs a GPU
    if cuda:
        return (
            "bf16-mixed" if torch.cuda.get_device_capability() >= (8, 0) else "16-mixed"
        )
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


def fit(run: Path) -> dict:
    """Train the run of `<run>/parameters.yaml`, from its last checkpoint if it has one.

    Writes metrics.csv, progress.json, TensorBoard events, checkpoints/{best,last}.ckpt and, when
    the whole training is done, result.json, which it returns. Raises RuntimeError, one line with
    the cure, for what ends a training early, and KeyboardInterrupt after a signal; both leave a
    checkpoint to resume from, of the last whole step where that is possible.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    parameters = yaml.safe_load((run / "parameters.yaml").read_text())
    settings, last = (
        Settings(**parameters["settings"]),
        run / "checkpoints" / "last.ckpt",
    )
    cuda, world = torch.cuda.is_available(), settings.devices * settings.nodes
    if cuda and settings.devices > torch.cuda.device_count():
        raise ValueError(
            f"--set devices={settings.devices}: {torch.cuda.device_count()} GPUs here"
        )
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    size = crop_size(settings)
    network = build_network(settings.network, parts=settings.parts, image_size=size)
    weights = settings.weights or (IMAGENET if settings.network == "full" else "")
    if weights and (settings.weights or IMAGENET.exists()):
        load_state(network, weights)
    elif weights:
        print(
            f"{weights} is not there: HRNet starts from random weights, learning takes longer"
        )
    network = network.to(memory_format=torch.channels_last)
    network = share_norms(network, cuda) if world > 1 else network
    data = open_data(Path(parameters["root"]), settings)
    module = HandTraining(network, settings, run)
    module.steps_per_epoch = len(data.train_frames) / settings.batch_size
    steps = settings.steps or max(1, round(settings.epochs * module.steps_per_epoch))
    module.steps = data.steps = steps
    last.parent.mkdir(exist_ok=True)
    if last.exists():
        state = torch.load(last, weights_only=True, map_location="cpu")
        network.load_state_dict(state["state_dict"])
        if module.ema is not None:
            module.ema.module.load_state_dict(state["ema"])
            module.ema.n_averaged += state["step"]
        module.resume_state, module.best, module.elapsed = (
            state,
            state["best"],
            state["seconds"],
        )
        module.start = module.step = module.saved = data.start = state["step"]
    trainer = pl.Trainer(
        accelerator="cuda" if cuda else "cpu",
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=DDPStrategy(
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            timeout=timedelta(minutes=10),
            find_unused_parameters=not (
                settings.weight_root and settings.weight_hand_type
            ),
        )
        if world > 1
        else "auto",
        precision=precision_here(settings.precision),
        max_epochs=1,
        accumulate_grad_batches=settings.accumulate,
        use_distributed_sampler=False,
        benchmark=cuda,
        logger=pl.loggers.TensorBoardLogger(run, name="", version="tensorboard"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    if trainer.is_global_zero:
        trim_metrics(run / "metrics.csv", module.start)
        for left_over in last.parent.glob(
            ".*.ckpt.*"
        ):  # of a process killed while it saved
            left_over.unlink()
    if module.start < steps:
        with module.heeding_signals():
            try:
                trainer.fit(module, data)
            except Exception as error:
                failure = module.failure(error)
                # a loader worker that heard the stop signal too is no failure
                if not (module.stop_signal and "DataLoader worker" in str(error)):
                    raise failure from error
        if not module.done:
            if trainer.is_global_zero:
                module.tell(state="stopped", error=None)
            raise KeyboardInterrupt(f"stopped at step {module.step} of {steps}")
    result = {**module.best, "steps": module.step, "network": settings.network}
    seconds = module.seconds() if module.step > module.start else module.elapsed
    result |= {"frames": len(data.train_frames), "precision": trainer.precision}
    result |= {"processes": world, "seconds": seconds}
    if trainer.is_global_zero:
        write_json(run / "result.json", result)
    return result


def trim_metrics(path: Path, step: int) -> None:
    """Start metrics.csv, or drop the rows after the step that a resumed run goes on from."""
    header = ["step", "epoch", "seconds", "name", "value"]
    rows = []
    if path.exists():
        with path.open(newline="") as file:
            rows = [
                r
                for r in list(csv.reader(file))[1:]
                if len(r) == 5 and int(r[0]) <= step
            ]
    with atomic(path) as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])

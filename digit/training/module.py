"""One training step after another: the Lightning module of a run.

`digit.training.loop` builds a `HandTraining` and hands it to Lightning's Trainer. The
state of a run lives in small objects with one job each: `Clock`, `StopRequest`,
`WeightAverage`, `LossWindow`, `ProgressLog`, `CheckpointFiles`, `LastWholeStep`.
"""

import contextlib
import dataclasses
import math
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from digit.data.dataset import Batch
from digit.model.losses import losses
from digit.model.network import Digit
from digit.training.checkpoint_files import CheckpointFiles, ResumeState
from digit.training.clock import Clock, Plan, learning_rate, share_done
from digit.training.progress_log import LossWindow, ProgressLog
from digit.training.settings import Settings
from digit.training.signals import StopRequest
from digit.training.validation import evaluate_val
from digit.training.weight_average import WeightAverage, evaluated_network

# Processes of one run agree on signals and the clock after so many steps.
AGREE_EVERY = 5


class LastWholeStep:
    """The network as it was after the last whole step, so that a failed run can save it.

    A step changes the batch-norm statistics in its forward passes, and the weights at
    its end. Until the optimiser begins, the statistics alone need to be brought back.
    """

    def __init__(self, network: Digit):
        self._network = network
        self._statistics: list[Tensor] = []
        self._amid_step = False
        self._amid_update = False

    def start_session(self) -> None:
        """Remember the network as it is, on its device."""
        self._statistics = [buffer.clone() for buffer in self._network.buffers()]

    def begin_batch(self) -> None:
        """Before each batch; the first of a step remembers the statistics."""
        if not self._amid_step:
            torch._foreach_copy_(self._statistics, list(self._network.buffers()))
            self._amid_step = True

    def begin_update(self) -> None:
        """Before the optimiser changes the weights."""
        self._amid_update = True

    def complete(self) -> None:
        """After the whole step."""
        self._amid_step = False
        self._amid_update = False

    def restore(self) -> bool:
        """Bring the network back to the last whole step; False where that cannot be."""
        if self._amid_update:
            return False
        if self._amid_step:
            buffers = self._network.buffers()
            for buffer, before in zip(buffers, self._statistics, strict=True):
                buffer.data.copy_(before)
        return True


class HandTraining(pl.LightningModule):
    """A network under training.

    Args:
        network: The network, with the weights to go on from.
        settings: The run's settings.
        plan: Its steps.
        run: Its folder.
        average: The averaged weights, where they are on.
        resumed: What an earlier session left; None for a new run.
        stop: Signals that ask for an end.
    """

    def __init__(
        self,
        network: Digit,
        settings: Settings,
        plan: Plan,
        run: Path,
        average: WeightAverage | None,
        resumed: ResumeState | None,
        stop: StopRequest,
    ):
        super().__init__()
        self.network = network
        self.average = average
        self.forward_network = torch.compile(network) if settings.compile else network
        self.settings = settings
        self.plan = plan
        self.resumed = resumed
        self.stop = stop

        self.clock = Clock(resumed.seconds if resumed else 0.0)
        self.progress = ProgressLog(run, plan, settings, self.clock)
        self.window = LossWindow(settings, plan.first_step)
        self.checkpoints = CheckpointFiles(run)
        self.last_whole_step = LastWholeStep(network)

        self.step = plan.first_step  # optimiser steps done
        self.saved_step = plan.first_step  # the step of last.ckpt
        self.best: dict = self.checkpoints.best_so_far(network, resumed, settings)
        self.done = False

    # One step.

    def training_step(self, batch: Batch, _batch_idx: int) -> Tensor:
        """Predict a batch and return its loss."""
        prediction = self.forward_network(batch.images(), batch.parts)
        terms = losses(prediction, batch, **self.settings.loss_options())
        total = torch.stack(list(terms.values())).sum()
        self.window.add(terms, total)
        return total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, where an earlier session left it; `on_train_batch_start` sets its rate."""
        settings = self.settings
        # A fused step unscales fp16's gradients by itself, too late for clipping.
        clips_fp16 = settings.clip_norm and self.trainer.precision == "16-mixed"
        options = {"weight_decay": settings.weight_decay, "fused": not clips_fp16}
        optimizer = torch.optim.Adam(self.network.parameters(), **options)
        if self.resumed:
            # The settings may have been changed since.
            for group in self.resumed.optimizer["param_groups"]:
                group.update(options)
            optimizer.load_state_dict(self.resumed.optimizer)
        return optimizer

    def configure_gradient_clipping(self, *_, **__) -> None:
        """Clip the gradients' norm.

        Lightning's own refuses a fused optimiser under bf16 too, where nothing is
        scaled.
        """
        if self.settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(
                self.network.parameters(), self.settings.clip_norm
            )

    def on_train_start(self) -> None:
        """Begin the session, once Lightning has set up devices and processes."""
        self.clock.start_session()
        self.window.restart_time()
        self.last_whole_step.start_session()
        self.stop.install()  # again: Lightning has put its own handlers over these
        if self.resumed and self.resumed.scaler:
            self.trainer.precision_plugin.load_state_dict(self.resumed.scaler)
        if self.trainer.is_global_zero:
            self.checkpoints.set_damaged_aside()
        self._agree()

    def on_train_batch_start(self, _batch: Batch, _batch_idx: int) -> None:
        """Set the learning rate of the step."""
        rate = self._learning_rate()
        for group in self.optimizers().param_groups:
            group["lr"] = rate
        self.last_whole_step.begin_batch()

    def on_before_optimizer_step(self, _optimizer: torch.optim.Optimizer) -> None:
        """From here on the weights change."""
        self.last_whole_step.begin_update()

    def on_train_batch_end(self, _outputs, _batch: Batch, _batch_idx: int) -> None:
        """After the last batch of a step: average, log, evaluate, save, and perhaps stop."""
        step = self.plan.first_step + self.trainer.global_step
        if step == self.step:
            return  # gradients are still being accumulated
        self.step = step
        if self.average is not None:
            self.average.update(self.network, step)
        self.last_whole_step.complete()
        if self.trainer.world_size == 1 or step % AGREE_EVERY == 0:
            self._agree()

        # 1. What is due after this step.
        settings = self.settings
        time_is_up = 0 < settings.minutes * 60 < self.clock.agreed_s
        self.done = step >= self.plan.last_step or time_is_up
        leave = self.done or bool(self.stop.agreed)
        evaluate = self.done or self.plan.is_evaluated(step, settings)
        # With each evaluation: a resumed run must know of the best checkpoint.
        save = leave or evaluate or step % settings.checkpoint_every == 0

        # 2. Do it; weights that are not finite are neither evaluated nor saved.
        if save or step % settings.log_every == 0:
            self._log_losses()
        if save:
            self._check_weights_are_finite()
        if evaluate:
            self._evaluate()
        if save:
            self.save_last()
            # Wait here: if one process exited early, the launcher would kill the others.
            self.trainer.strategy.barrier()
        if leave:
            self.trainer.should_stop = True

    # What a step may be followed by.

    def _learning_rate(self) -> float:
        """The rate of the next step, by steps done and the agreed clock."""
        seconds = self.clock.agreed_s
        share = share_done(self.settings, self.plan, self.step, seconds)
        return learning_rate(self.settings, share)

    def _agree(self) -> None:
        """Signals and clock as all processes see them: they must do the same at each step."""
        signal_number = self.stop.signal_number
        seconds = self.clock.seconds()
        if self.trainer.world_size > 1:
            state = torch.tensor([signal_number, seconds], device=self.device)
            torch.distributed.all_reduce(state, torch.distributed.ReduceOp.MAX)
            signal_number = int(state[0])
            seconds = float(state[1])
        self.stop.agreed = signal_number
        self.clock.agreed_s = seconds

    def _log_losses(self) -> None:
        """Write the mean losses since the last row; raises where they are not finite."""
        row = self.window.close(self.step, self.trainer.world_size)
        optimizer = self.optimizers(use_pl_optimizer=False)
        row["learning_rate"] = optimizer.param_groups[0]["lr"]  # of this step
        self._record(row)

    def _record(self, row: dict[str, float]) -> None:
        """Write a row to metrics.csv, progress.json and TensorBoard, by the first process."""
        if self.trainer.is_global_zero:
            self.progress.record(self.step, row, self.best)
            self.logger.log_metrics(row, self.step)

    def _check_weights_are_finite(self) -> None:
        """Raise FloatingPointError for weights that are spoilt by a last step."""
        tensors = self.network.state_dict().values()
        finite = torch.stack([tensor.isfinite().all() for tensor in tensors])
        if not finite.all():
            raise FloatingPointError("not finite: the weights")

    def _evaluate(self) -> None:
        """Evaluate on val; the weights with the lowest MPJPE so far become best.ckpt."""
        data = self.trainer.datamodule
        network = evaluated_network(self.network, self.average)
        metrics = evaluate_val(network, data, self.settings, self.trainer)
        self.network.train()
        if metrics is not None:
            if metrics["mpjpe_all"] < self.best.get("mpjpe_all", math.inf):
                self.best = {"step": self.step, **metrics}
                self.checkpoints.save_best(self.network, **self._weights_and_progress())
            self._record({f"val_{name}": value for name, value in metrics.items()})
        self.window.restart_time()

    def save_last(self) -> None:
        """Save last.ckpt, by the first process alone."""
        if self.trainer.is_global_zero:
            optimizer = self.optimizers(use_pl_optimizer=False)
            self.checkpoints.save_last(
                self.network,
                **self._weights_and_progress(),
                optimizer=optimizer.state_dict(),
                scaler=self.trainer.precision_plugin.state_dict(),
            )
        self.saved_step = self.step

    def _weights_and_progress(self) -> dict[str, object]:
        """What last.ckpt and best.ckpt hold besides the network."""
        average = self.average
        return {
            "ema": None if average is None else average.module.state_dict(),
            "step": self.step,
            "best": self.best,
            "seconds": self.clock.seconds(),
            "settings": dataclasses.asdict(self.settings),
        }

    def save_last_whole_step(self, error: Exception) -> None:
        """After an error: save the last whole step, unless that is on disk already.

        Weights may be spoilt where numbers were not finite: those are not saved.
        """
        if self.step <= self.saved_step or isinstance(error, ArithmeticError):
            return
        if self.last_whole_step.restore():
            # Saving may fail as well, as on a full disk.
            with contextlib.suppress(Exception):
                self.save_last()

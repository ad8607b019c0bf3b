"""`train_run`: one run, from its folder's settings to its result, resumable at any step.

`digit fit RUN` calls it in a process of its own. Training is a stream of samples: epoch
0's permutation, then epoch 1's, … Position p of the stream and its augmentation depend
on the seed alone, so a run stopped after any optimiser step goes on, on any number of
workers or processes, as if it had never stopped.
"""

import contextlib
import logging
import sys
import traceback
import warnings
from datetime import timedelta
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy

from digit.data.index import Index
from digit.files import write_json
from digit.model.checkpoints import load_state, matching_state, read_checkpoint
from digit.model.network import Digit, build_network
from digit.model.precision import cpu_computes_bfloat16
from digit.paths import WEIGHTS_DIR
from digit.skeleton import WRISTS
from digit.training.checkpoint_files import CheckpointFiles, ResumeState
from digit.training.clock import Plan
from digit.training.data import HandData, check_shared_memory, crop_size, open_data
from digit.training.distributed import share_norms
from digit.training.failures import explain
from digit.training.module import HandTraining
from digit.training.progress_log import trim_metrics
from digit.training.runs.folder import parameters
from digit.training.settings import SettingError, Settings
from digit.training.signals import StopRequest
from digit.training.weight_average import WeightAverage

# The official ImageNet weights of HRNet-W32, if the user has put them there.
IMAGENET_WEIGHTS = WEIGHTS_DIR / "hrnet_w32-36af842e.pth"

PROCESS_TIMEOUT = timedelta(minutes=10)  # chosen by eye: no step takes longer


def train_run(run: Path) -> dict:
    """Train a run, from its last checkpoint if it has one.

    Writes metrics.csv, progress.json, TensorBoard events and checkpoints into the run's
    folder and, once the whole training is done, result.json.

    Args:
        run: The run's folder, with `parameters.yaml`.

    Returns:
        The content of result.json: the best evaluation, steps, frames, seconds, ….

    Raises:
        RuntimeError: For what ends a training early: one line with the remedy.
        KeyboardInterrupt: After a signal. Both leave a checkpoint to resume from, of
            the last whole step where that is possible.
        FileNotFoundError, ValueError: For faulty settings, weights or data.
    """
    # 1. Data and network, by the settings.
    _quiet_lightning()
    dataset_dir, settings = parameters(run)
    _check_machine(settings)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    network = starting_network(settings)
    data = open_data(dataset_dir, settings)
    warning = data.part_warning()
    if warning:
        print(f"warning: {warning}", flush=True)

    # 2. Where earlier sessions left off.
    average = WeightAverage(network, settings.ema) if settings.ema else None
    resumed = _resume(run, network, average)
    first_step = resumed.step if resumed else 0
    plan = Plan.of(settings, data.samples_per_epoch, first_step)
    data.first_step = plan.first_step
    data.last_step = plan.last_step

    # 3. Train what is left.
    stop = StopRequest()
    training = HandTraining(network, settings, plan, run, average, resumed, stop)
    trainer = _trainer(run, settings)
    if trainer.is_global_zero:
        trim_metrics(run / "metrics.csv", plan.first_step)
    if plan.first_step < plan.last_step:
        _train(training, trainer, data, run)

    # 4. The result.
    result = {
        **training.best,
        "steps": training.step,
        "network": settings.network,
        "frames": len(data.train_frames),
        "precision": trainer.precision,
        "processes": settings.devices * settings.nodes,
        "seconds": _training_seconds(training),
    }
    if trainer.is_global_zero:
        write_json(run / "result.json", result)
    return result


def check_start(dataset_dir: Path, settings: Settings) -> None:
    """Raise what would end a run at its start, at no cost, before a folder is made for it.

    What would only make it worse is printed as a warning.

    Raises:
        SettingError: If the network or the image size cannot be.
        FileNotFoundError, ValueError: For faulty data, data by which no checkpoint can
            be told to be the best, and weights of another network.
    """
    data = open_data(dataset_dir, settings)
    check_val_has_depths(data.val_index)
    warning = data.part_warning()
    if warning:
        _warn(warning)
    check_shared_memory(settings)
    if settings.weights:
        content = read_checkpoint(settings.weights)
        _warn_of_other_crops(content, settings)
        with torch.device("meta"):  # the shapes alone
            outline = build_network(
                settings.network,
                parts=settings.parts,
                pretrained=False,
                image_size=crop_size(settings),
            )
        matching_state(content, outline, settings.weights)


def check_val_has_depths(index: Index) -> None:
    """Raise ValueError where no checkpoint could be told to be the best, in millimetres."""
    if index.label_kind != "3d":
        raise ValueError(
            f"{index.dataset_dir}: the depths of its labels are not to be trusted "
            f"(annotations/labels.txt says {index.label_kind}), so that {index.name} "
            "cannot tell which checkpoint is the best; train on a data set with depths, "
            "and on this one too by the setting also"
        )
    if not index["joint_valid"][:, WRISTS].any():
        raise ValueError(
            f"{index.dataset_dir}: no hand of {index.name} has a valid wrist, so that no "
            "error can be measured; see digit doctor"
        )


def _warn_of_other_crops(content: dict[str, object], settings: Settings) -> None:
    """Say so where weights were trained on crops of another size."""
    arguments = content.get("network", {})
    former_px = arguments.get("image_size") if isinstance(arguments, dict) else None
    size_px = crop_size(settings)
    if former_px and former_px != size_px:
        _warn(
            f"{settings.weights}: trained on crops of {former_px} px, this run has "
            f"{size_px} px; image_size={former_px} keeps them"
        )


def _warn(text: str) -> None:
    """Print a warning where it does not mix with results."""
    print(f"warning: {text}", file=sys.stderr)


def starting_network(settings: Settings) -> Digit:
    """The network that a run begins with, its weights loaded.

    Raises:
        SettingError: If the network or the image size cannot be.
        FileNotFoundError, ValueError: If the weights cannot be loaded.
    """
    network = build_network(
        settings.network, parts=settings.parts, image_size=crop_size(settings)
    )
    if settings.weights:
        load_state(network, settings.weights)
    elif settings.network == "full" and IMAGENET_WEIGHTS.exists():
        load_state(network, IMAGENET_WEIGHTS)
    elif settings.network == "full":
        where = f"{IMAGENET_WEIGHTS} is not there"
        print(f"{where}: HRNet starts from random weights, learning takes longer")
    network = network.to(memory_format=torch.channels_last)
    if settings.devices * settings.nodes > 1:
        network = share_norms(network, torch.cuda.is_available())
    return network


def precision_here(wanted: str) -> str:
    """The precision that this machine trains in.

    Args:
        wanted: A setting `precision`. "auto" is half precision where the processor
            computes in it; fp16 needs a GPU, without one bfloat16 is taken.
    """
    cuda = torch.cuda.is_available()
    if wanted == "16-mixed" and not cuda:
        return "bf16-mixed"
    if wanted != "auto":
        return wanted
    if cuda:
        has_bfloat16 = torch.cuda.get_device_capability() >= (8, 0)
        return "bf16-mixed" if has_bfloat16 else "16-mixed"
    return "bf16-mixed" if cpu_computes_bfloat16() else "32-true"


def _quiet_lightning() -> None:
    """No tips and no warnings about what is done here on purpose."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")


def _check_machine(settings: Settings) -> None:
    """Raise SettingError for what this machine does not have."""
    gpus = torch.cuda.device_count()
    if torch.cuda.is_available() and settings.devices > gpus:
        raise SettingError(f"devices={settings.devices}: {gpus} GPUs on this machine")
    check_shared_memory(settings)


def _resume(
    run: Path, network: Digit, average: WeightAverage | None
) -> ResumeState | None:
    """Load what the newest good checkpoint of a run holds; None for a run without."""
    files = CheckpointFiles(run)
    files.folder.mkdir(exist_ok=True)
    state = files.read_newest(network, has_average=average is not None)
    if state is None:
        return None
    network.load_state_dict(state.weights)
    if average is not None:
        average.resume(state.average, state.step)
    return state


def _trainer(run: Path, settings: Settings) -> pl.Trainer:
    """Lightning's Trainer for one pass over the stream of batches; the rest is ours."""
    strategy = "auto"
    if settings.devices * settings.nodes > 1:
        # Layers of a loss term with weight 0 get no gradient; joints and bones are the
        # only terms of the depth maps.
        teaches_depth = settings.weight_joints or settings.weight_bones
        all_used = teaches_depth and settings.weight_root and settings.weight_hand_type
        strategy = DDPStrategy(
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            timeout=PROCESS_TIMEOUT,
            find_unused_parameters=not all_used,
        )
    cuda = torch.cuda.is_available()
    return pl.Trainer(
        accelerator="cuda" if cuda else "cpu",
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=strategy,
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


def _train(
    training: HandTraining, trainer: pl.Trainer, data: HandData, run: Path
) -> None:
    """Run Lightning's loop; an early end becomes one line, with a checkpoint on disk."""
    with training.stop.heeded():
        try:
            trainer.fit(training, data)
        except Exception as error:
            training.save_last_whole_step(error)
            if not training.stop.explains(error):
                raise _failure(training, trainer, error, run) from error
    if not training.done:
        if trainer.is_global_zero:
            training.progress.tell(state="stopped", error=None)
        steps = training.plan.last_step
        raise KeyboardInterrupt(f"stopped at step {training.step} of {steps}")


def _failure(
    training: HandTraining, trainer: pl.Trainer, error: Exception, run: Path
) -> RuntimeError:
    """The error in one line: what it means, what is saved, and how to go on."""
    # 1. What it means; an error that is not known shows its traceback.
    meaning, change = explain(error, training.settings)
    if not meaning:
        traceback.print_exception(error)
    detail = (str(error).strip() or type(error).__name__).splitlines()[-1]

    # 2. What is saved, and the command that goes on from it.
    saved = "no checkpoint yet"
    if training.saved_step:
        saved = f"checkpoint of step {training.saved_step}"
    command = f"digit train --resume {run.name}"
    if change:
        command += f" --set {change}"
    line = (
        f"{run.name}: {meaning or 'an error'} (step {training.step + 1}: {detail:.200}); "
        f"{saved}; continue with: {command}"
    )
    if trainer.is_global_zero:
        with contextlib.suppress(OSError):
            training.progress.tell(state="failed", error=line)
    return RuntimeError(line)


def _training_seconds(training: HandTraining) -> float:
    """Training time of all sessions; nothing is added where none was needed any more."""
    if training.step > training.plan.first_step:
        return training.clock.seconds()
    return training.clock.earlier_s

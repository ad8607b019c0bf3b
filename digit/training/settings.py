"""What a run is: its settings, the presets, and their check against typing errors."""

import dataclasses
import inspect
import math
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from digit.files import atomic

FIXED = (
    "network",
    "parts",
    "train_split",
    "seed",
    "batch_size",
    "ema",
)  # what a run goes on with
POSITIVE = (
    "batch_size",
    "accumulate",
    "learning_rate",
    "checkpoint_every",
    "log_every",
    "devices",
    "nodes",
)
HEADLINE = (
    "mpjpe_all",
    "mpjpe_sh",
    "mpjpe_ih",
    "mrrpe",
    "handedness_accuracy",
    "part_miou",
)


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on besides its data; `--set KEY=VALUE` changes any field."""

    network: str = "full"  # a name of digit.model.network.NETWORKS
    weights: str = ""  # checkpoint to start from: original, ImageNet HRNet, or our own
    parts: str = "predicted"  # predicted | none | true: the ablation of notebook 10
    train_split: str = "train"  # or one of digit.data.layout.SPLITS, as "smalltrain"
    val_split: str = (
        "val"  # evaluated during training; decides which checkpoint is best
    )
    val_frames: int = 0  # evaluate on this many frames, evenly drawn; 0 means all
    root_depth: str = "gt"  # gt | rootnet, for the evaluation of val
    augment: bool = True  # or else the crops of evaluation
    flip: float = 0.5  # share of crops mirrored
    rotation_deg: float = 45.0  # deviation, of six crops in ten
    translate: float = 0.15  # of a crop, ± share of its side
    scale: float = 0.25  # of a crop, deviation
    image_size: int = (
        0  # px of crops, a multiple of 32, which checkpoints keep; 0: the network's
    )
    epochs: float = 50.0  # times the training frames
    steps: int = 0  # optimiser steps; overrides epochs when positive
    minutes: float = (
        0.0  # stop after this much training time, learning rate following the clock
    )
    batch_size: int = (
        64  # samples an optimiser step, over all devices and accumulated batches
    )
    accumulate: int = 1  # batches that make an optimiser step
    learning_rate: float = 1e-4  # of Adam
    schedule: str = "step"  # step: ×0.1 at `drop_at` of the run | cosine: down to 0
    drop_at: float = 0.8
    warmup: float = 0.0  # share of the run over which the learning rate rises
    weight_decay: float = 0.0  # of Adam
    clip_norm: float = 0.0  # norm that gradients are clipped to; 0 is off
    ema: float = (
        0.0  # decay of averaged weights, which are then the ones evaluated; 0 is off
    )
    weight_joints: float = 1.0  # of a loss term, as the others
    weight_root: float = 1.0  # the depth from wrist to wrist
    weight_hand_type: float = 1.0
    weight_parts: float = 10.0
    weight_hand_pixels: float = 1.0  # in the part loss, against 1 of the background
    weight_part_iou: float = (
        0.0  # not in the paper: the parts' overlap, see losses.part_iou_error
    )
    weight_bones: float = 0.1
    weight_heatmaps: float = (
        0.0  # not in the paper: the heat maps' shape, see losses.heatmap_error
    )
    precision: str = (
        "32-true"  # or bf16-mixed, 16-mixed; auto: as the machine computes fastest
    )
    compile: bool = False  # torch.compile
    evaluate_every: float = 2.0  # epochs
    checkpoint_every: int = 500  # steps
    log_every: int = 20  # steps
    seed: int = 1
    workers: int = 2  # loader processes a device
    devices: int = 1  # GPUs (or processes, without any) of a machine
    nodes: int = 1  # machines

    def loss_weights(self) -> dict[str, float]:
        """Weight of each loss term by its name."""
        fields = (
            "joints",
            "root",
            "hand_type",
            "parts",
            "part_iou",
            "bones",
            "heatmaps",
        )
        names = ("joints", "relative_root_depth", *fields[2:])
        return {
            name: getattr(self, f"weight_{field}") for name, field in zip(names, fields)
        }

    def loss_options(self) -> dict[str, object]:
        """What `losses.losses` takes besides prediction and batch."""
        return {"weights": self.loss_weights(), "hand_pixels": self.weight_hand_pixels}


LIGHT = Settings(  # what small networks learn most from in minutes and hours
    batch_size=16,
    learning_rate=1e-3,
    schedule="cosine",
    clip_norm=10.0,
    precision="auto",
    rotation_deg=10.0,
    translate=0.08,
    scale=0.15,
    weight_hand_type=3.0,
    weight_heatmaps=7.0,
    weight_parts=50.0,
    weight_hand_pixels=4.0,
)
PRESETS: dict[str, Settings] = {
    "paper": Settings(
        accumulate=2, precision="16-mixed", root_depth="rootnet", workers=8
    ),
    "full": Settings(
        precision="auto",
        schedule="cosine",
        warmup=0.02,
        learning_rate=3e-4,
        clip_norm=10.0,
        ema=0.999,
        workers=8,
    ),
    "quick": dataclasses.replace(
        LIGHT,
        network="quick",
        epochs=8.0,
        warmup=0.05,
        evaluate_every=4.0,
        val_frames=300,
    ),
    "small": dataclasses.replace(
        LIGHT,
        network="small",
        epochs=20.0,
        warmup=0.02,
        ema=0.999,
        evaluate_every=0.5,
        val_frames=500,
    ),
}


def make_settings(preset: str, overrides: dict[str, object] | None = None) -> Settings:
    """A preset with fields replaced; text is converted to the field's type.

    Raises ValueError, naming what there is, for an unknown preset, key or an unfit value, and
    FileNotFoundError for weights that are not there.
    """
    if preset not in PRESETS:
        raise ValueError(
            f"preset {preset!r} is unknown; choose one of {', '.join(PRESETS)}"
        )
    return changed(PRESETS[preset], overrides or {})


def changed(
    settings: Settings, overrides: dict, fixed: tuple[str, ...] = ()
) -> Settings:
    """Settings with fields replaced; errors as `make_settings`'s, and for what is `fixed`."""
    types = {field.name: field.type for field in dataclasses.fields(Settings)}
    changes: dict[str, object] = {}
    for key, value in overrides.items():
        if key not in types:
            raise ValueError(
                f"--set {key}: unknown key; choose one of {', '.join(types)}"
            )
        changes[key] = _convert(key, value, types[key])
        if key in fixed and changes[key] != getattr(settings, key):
            raise ValueError(
                f"--set {key}: fixed once a run has begun; start a new run"
            )
    if changes.get("weights"):
        path = Path(
            changes["weights"]
        ).resolve()  # runs are trained in folders of their own
        if not path.is_file():
            raise FileNotFoundError(
                f"--set weights={path}: no such checkpoint; check the path"
            )
        changes["weights"] = str(path)
    return _validated(dataclasses.replace(settings, **changes))


def table() -> pd.DataFrame:
    """Every setting, a row each: its value in each preset, and what it is."""
    notes = re.findall(
        r"^    (\w+): [^#\n]*# (.*)$", inspect.getsource(Settings), re.MULTILINE
    )
    values = {name: vars(settings) for name, settings in PRESETS.items()}
    return (
        pd.DataFrame(values, dtype=object)
        .assign(what=pd.Series(dict(notes)))
        .fillna("")
    )


def change_run(run: Path, overrides: dict[str, object]) -> None:
    """Change settings of a run to be resumed; `parameters.yaml` keeps the former ones in order."""
    content = yaml.safe_load((run / "parameters.yaml").read_text())
    new = dataclasses.asdict(changed(Settings(**content["settings"]), overrides, FIXED))
    content["former_settings"] = [
        *content.get("former_settings", []),
        content["settings"],
    ]
    with atomic(run / "parameters.yaml") as file:
        yaml.safe_dump(content | {"settings": new}, file, sort_keys=False)


def _convert(key: str, value: object, kind: type) -> object:
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[
                str(value).lower()
            ]
        whole = kind is int and float(value) == int(float(value))
        return kind(float(value)) if whole else kind(value)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--set {key}={value}: needs a value of type {kind.__name__}"
        ) from error


def _validated(settings: Settings) -> Settings:
    choices = {
        "parts": ("predicted", "none", "true"),
        "root_depth": ("gt", "rootnet"),
        "schedule": ("step", "cosine"),
        "precision": ("32-true", "16-mixed", "bf16-mixed", "auto"),
    }
    for key, allowed in choices.items():
        if getattr(settings, key) not in allowed:
            value = getattr(settings, key)
            raise ValueError(f"--set {key}={value}: choose one of {', '.join(allowed)}")
    numbers = {k: v for k, v in vars(settings).items() if isinstance(v, int | float)}
    for key, value in numbers.items():
        if not 0 <= value < math.inf:  # nor NaN
            raise ValueError(f"--set {key}={value}: must be a number from 0 on")
        if not value and key in POSITIVE:
            raise ValueError(f"--set {key}={value}: must be above 0")
    if settings.image_size % 32:
        what = "must be a multiple of 32, or 0 for the network's own size"
        raise ValueError(f"--set image_size={settings.image_size}: {what}")
    parts = settings.accumulate * settings.devices * settings.nodes
    if settings.batch_size % parts:
        what = f"must be a multiple of accumulate × devices × nodes = {parts}"
        raise ValueError(f"--set batch_size={settings.batch_size}: {what}")
    return settings

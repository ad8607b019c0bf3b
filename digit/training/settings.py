"""What a run is: its settings, the presets, and the rules that every setting must keep.

`digit train` and notebook 05 make `Settings` from a preset and changes by
`make_settings`; a run folder keeps them in `parameters.yaml`. To add a setting: add a
field with its help here, and read it where it acts.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


class SettingError(ValueError):
    """A setting that is unknown or invalid; the message begins with `key=value`."""


def setting(default: Any, help: str) -> Any:
    """A field of `Settings` with its default and a sentence for `digit presets`."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Settings:
    """Everything that a run depends on besides its data."""

    # What is trained, and from which weights.
    network: str = setting("full", "a name of digit.model.network.NETWORKS")
    weights: str = setting(
        "", "checkpoint to start from: original, ImageNet HRNet, or our own"
    )
    parts: str = setting("predicted", "predicted | none | true: notebook 10's ablation")
    image_size: int = setting(
        0, "px of crops, a multiple of 32, kept in checkpoints; 0: the network's"
    )

    # On which frames.
    train_split: str = setting(
        "train", "or one of digit.data.layout.SPLITS, as smalltrain"
    )
    val_split: str = setting(
        "val", "evaluated during training; decides which checkpoint is best"
    )
    val_frames: int = setting(
        0, "evaluate on this many frames, evenly drawn; 0 means all"
    )
    root_depth: str = setting("gt", "gt | rootnet, for the evaluation of val")
    also: str = setting(
        "", "further data sets, FOLDER:SHARE or FOLDER:SHARE:2d, separated by ;"
    )
    composites: float = setting(
        0.0, "share of a batch: cut-out hands laid over others (prepare --cut-outs)"
    )
    doubtful_depth: float = setting(
        0.25, "weight of depths in the loss where the labels are 2d"
    )

    # Augmentation.
    augment: bool = setting(True, "or else the crops of evaluation")
    flip: float = setting(0.5, "share of crops mirrored")
    rotation_deg: float = setting(45.0, "standard deviation, of six crops in ten")
    translate: float = setting(0.15, "of a crop, ± share of its side")
    scale: float = setting(
        0.25, "of a crop, standard deviation; only without widest_crop"
    )
    narrowest_crop: float = setting(
        1.0, "side of a crop, times the tight box; only with widest_crop"
    )
    widest_crop: float = setting(
        0.0, "as narrowest_crop; 0: the evaluation crop, varied by scale"
    )
    turned: float = setting(0.0, "share of crops turned by any angle")
    appearance: float = setting(0.0, "share of crops whose look is changed")

    # How long.
    epochs: float = setting(50.0, "times the number of training frames")
    steps: int = setting(0, "optimiser steps; overrides epochs when positive")
    minutes: float = setting(
        0.0, "end after this much training time, learning rate following the clock"
    )

    # Optimisation.
    batch_size: int = setting(
        64, "samples an optimiser step, over all devices and accumulated batches"
    )
    accumulate: int = setting(1, "batches that make an optimiser step")
    learning_rate: float = setting(1e-4, "of Adam")
    schedule: str = setting("step", "step: ×0.1 at drop_at | cosine: down to 0")
    drop_at: float = setting(0.8, "share of the run after which the step comes")
    warmup: float = setting(0.0, "share of the run over which the learning rate rises")
    weight_decay: float = setting(0.0, "of Adam")
    clip_norm: float = setting(0.0, "norm that gradients are clipped to; 0 is off")
    ema: float = setting(
        0.0, "decay of averaged weights, which are then the ones evaluated; 0 is off"
    )

    # The loss, see digit.model.losses.
    weight_joints: float = setting(1.0, "of the 2.5D joints in the loss")
    weight_root: float = setting(1.0, "of the depth from wrist to wrist")
    weight_hand_type: float = setting(1.0, "of the hand type")
    weight_parts: float = setting(10.0, "of the part segmentation")
    weight_hand_pixels: float = setting(
        1.0, "of a hand's pixel in the part loss, against 1 of the background"
    )
    weight_part_iou: float = setting(
        0.0, "not in the paper: the parts' overlap, see losses.part_iou_error"
    )
    weight_bones: float = setting(0.1, "of the bone vectors")
    weight_heatmaps: float = setting(
        0.0, "not in the paper: the heatmaps' shape, see losses.heatmap_error"
    )

    # Computation.
    precision: str = setting(
        "32-true", "or bf16-mixed, 16-mixed; auto: as the machine computes fastest"
    )
    compile: bool = setting(False, "torch.compile")
    evaluate_every: float = setting(2.0, "epochs; 0: at the end only")
    checkpoint_every: int = setting(500, "steps")
    log_every: int = setting(20, "steps")
    seed: int = setting(1, "of weights, order and augmentation")
    workers: int = setting(2, "loader processes a device")
    devices: int = setting(1, "GPUs (or processes, without any) of a machine")
    nodes: int = setting(1, "machines")

    def loss_weights(self) -> dict[str, float]:
        """Weight of each loss term by its name in `digit.model.losses.LOSS_TERMS`."""
        return {
            "joints": self.weight_joints,
            "relative_root_depth": self.weight_root,
            "hand_type": self.weight_hand_type,
            "parts": self.weight_parts,
            "part_iou": self.weight_part_iou,
            "bones": self.weight_bones,
            "heatmaps": self.weight_heatmaps,
        }

    def loss_options(self) -> dict[str, object]:
        """Arguments of `digit.model.losses.losses` besides prediction and batch."""
        return {"weights": self.loss_weights(), "hand_pixels": self.weight_hand_pixels}


# Changes of crop and look that keep a network from leaning on one camera's pictures; not
# in the paper, whose preset has none of them. Chosen by eye.
ROBUST = {
    "rotation_deg": 20.0,
    "translate": 0.1,
    "widest_crop": 2.1,
    "turned": 0.2,
    "appearance": 0.7,
}
# What small networks learn most from in minutes and hours; found by trial on synthetic
# frames, not by a systematic search.
LIGHT = Settings(
    batch_size=16,
    learning_rate=1e-3,
    schedule="cosine",
    clip_norm=10.0,
    precision="auto",
    weight_hand_type=3.0,
    weight_heatmaps=7.0,
    weight_parts=50.0,
    weight_hand_pixels=4.0,
    **ROBUST,
)
PRESETS: dict[str, Settings] = {
    # The paper's recipe: Adam 1e-4, ×0.1 at epoch 40 of 50, batch 2 × 32, fp16.
    "paper": Settings(
        accumulate=2, precision="16-mixed", root_depth="rootnet", workers=8
    ),
    # The paper's network with a schedule that needs fewer epochs.
    "full": Settings(
        precision="auto",
        schedule="cosine",
        warmup=0.02,
        learning_rate=3e-4,
        clip_norm=10.0,
        ema=0.999,
        workers=8,
        **ROBUST,
    ),
    # Minutes on two CPU cores.
    "quick": dataclasses.replace(
        LIGHT,
        network="quick",
        epochs=8.0,
        warmup=0.05,
        evaluate_every=4.0,
        val_frames=300,
    ),
    # Hours on two CPU cores; its weights ship.
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

# What a run that has begun cannot change.
FIXED = (
    "network",
    "weights",
    "parts",
    "train_split",
    "also",
    "composites",
    "seed",
    "batch_size",
    "ema",
)
# What decides by which frames, crops and depths a run is judged. Where one of these is
# changed, the best checkpoint is looked for anew.
EVALUATION = ("val_split", "val_frames", "root_depth", "image_size")
DATA_SETS_SEPARATOR = ";"  # of the setting `also`

CHOICES = {
    "parts": ("predicted", "none", "true"),
    "root_depth": ("gt", "rootnet"),
    "schedule": ("step", "cosine"),
    "precision": ("32-true", "16-mixed", "bf16-mixed", "auto"),
}
POSITIVE = (
    "batch_size",
    "accumulate",
    "learning_rate",
    "narrowest_crop",
    "checkpoint_every",
    "log_every",
    "devices",
    "nodes",
)
MAX_WHOLE_NUMBER = 2**31 - 1
MAX_SEED = 2**32 - 1  # of numpy's and torch's generators


def make_settings(
    preset: str, overrides: Mapping[str, object] | None = None
) -> Settings:
    """Make the settings of a run.

    Args:
        preset: A name of `PRESETS`.
        overrides: Settings to replace. Text, as from a command line, is converted to
            the field's type.

    Raises:
        SettingError: For an unknown setting or an invalid value; it names what there
            is.
        ValueError: For an unknown preset.
    """
    if preset not in PRESETS:
        known = ", ".join(PRESETS)
        raise ValueError(f"preset {preset!r} is unknown; choose one of {known}")
    return changed(PRESETS[preset], overrides or {})


def changed(
    settings: Settings,
    overrides: Mapping[str, object],
    fixed: tuple[str, ...] = (),
) -> Settings:
    """Replace settings.

    Args:
        settings: The former ones.
        overrides: Settings to replace, as in `make_settings`.
        fixed: Settings that must keep their value.

    Raises:
        SettingError: For an unknown setting, an invalid value, or another value for one
            that is fixed.
    """
    # 1. Convert, and refuse what is unknown.
    types = {field.name: field.type for field in dataclasses.fields(Settings)}
    changes: dict[str, object] = {}
    for key, value in overrides.items():
        if key not in types:
            known = ", ".join(types)
            raise SettingError(f"{key}: unknown key; choose one of {known}")
        changes[key] = _convert(key, value, types[key])

    # 2. Runs are trained in another working folder: a relative path would be lost.
    if changes.get("weights"):
        path = _absolute(str(changes["weights"]), key="weights")
        if not path.is_file():
            raise SettingError(f"weights={path}: no such checkpoint; check the path")
        changes["weights"] = str(path)
    if changes.get("also"):
        entries = str(changes["also"]).split(DATA_SETS_SEPARATOR)
        resolved = [_with_absolute_folder(entry) for entry in entries if entry]
        changes["also"] = DATA_SETS_SEPARATOR.join(resolved)

    # 3. Refuse what is fixed, and check all rules.
    for key, value in changes.items():
        if key in fixed and value != getattr(settings, key):
            raise SettingError(f"{key}: fixed once a run has begun; start a new run")
    new = dataclasses.replace(settings, **changes)
    for rule in RULES:
        rule(new)
    return new


def _with_absolute_folder(entry: str) -> str:
    """An entry of the setting `also` with its folder's absolute path."""
    folder, colon, rest = entry.partition(":")
    return f"{_absolute(folder, key='also')}{colon}{rest}"


def _absolute(path: str, key: str) -> Path:
    """An absolute path; SettingError, naming the setting, for text that can be none."""
    try:
        return Path(path).resolve()
    except ValueError as error:  # a null character, say
        raise SettingError(f"{key}={path!r:.100}: no path: {error}") from None


def settings_of_record(values: Mapping[str, object]) -> Settings:
    """Settings as a run's parameters.yaml keeps them; missing ones have their defaults.

    Raises:
        SettingError: For an unknown setting or an invalid value.
    """
    types = {field.name: field.type for field in dataclasses.fields(Settings)}
    unknown = [str(key) for key in values if key not in types]
    if unknown:
        raise SettingError(f"{unknown[0]:.100}: unknown key")
    converted = {key: _convert(key, value, types[key]) for key, value in values.items()}
    settings = Settings(**converted)
    for rule in RULES:
        rule(settings)
    return settings


def table() -> pd.DataFrame:
    """Every setting, one row each: its value in each preset, and what it is."""
    columns = {name: vars(settings) for name, settings in PRESETS.items()}
    rows = pd.DataFrame(columns, dtype=object)
    rows["what"] = pd.Series(
        {field.name: field.metadata["help"] for field in dataclasses.fields(Settings)}
    )
    return rows


def _convert(key: str, value: object, kind: type) -> object:
    """Convert a value, perhaps text, to a field's type."""
    booleans = {"true": True, "1": True, "false": False, "0": False}
    try:
        if kind is bool:
            return booleans[str(value).lower()]
        if kind is int:
            number = float(value)
            if number != int(number):
                raise ValueError("not a whole number")
            # Large integers lose digits as floats.
            return int(value) if isinstance(value, int) else int(number)
        return kind(value)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise SettingError(
            f"{key}={value}: needs a value of type {kind.__name__}"
        ) from error


def _check_choices(settings: Settings) -> None:
    """Settings with a list of choices have one of them."""
    for key, allowed in CHOICES.items():
        value = getattr(settings, key)
        if value not in allowed:
            raise SettingError(f"{key}={value}: choose one of {', '.join(allowed)}")


def _check_numbers_are_finite(settings: Settings) -> None:
    """No number is negative, infinite or NaN."""
    for key, value in vars(settings).items():
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise SettingError(f"{key}={value}: must be finite and not negative")


def _check_positive(settings: Settings) -> None:
    """What is divided by, or counted with, is not 0."""
    for key in POSITIVE:
        value = getattr(settings, key)
        if not value:
            raise SettingError(f"{key}={value}: must be above 0")


def _check_whole_numbers(settings: Settings) -> None:
    """Whole numbers are as small as the libraries need them."""
    if settings.seed > MAX_SEED:
        raise SettingError(f"seed={settings.seed}: must be at most {MAX_SEED}")
    for key, value in vars(settings).items():
        is_whole = isinstance(value, int) and key != "seed"
        if is_whole and value > MAX_WHOLE_NUMBER:
            raise SettingError(f"{key}={value}: must be at most {MAX_WHOLE_NUMBER}")


def _check_shares(settings: Settings) -> None:
    """Shares and probabilities are at most 1."""
    shares = (
        "flip",
        "drop_at",
        "warmup",
        "ema",
        "turned",
        "appearance",
        "composites",
        "doubtful_depth",
    )
    for key in shares:
        value = getattr(settings, key)
        if value > 1:
            raise SettingError(f"{key}={value}: must be from 0 to 1")


def _check_crops(settings: Settings) -> None:
    if settings.widest_crop and settings.widest_crop < settings.narrowest_crop:
        raise SettingError(
            f"widest_crop={settings.widest_crop}: must be at least narrowest_crop = "
            f"{settings.narrowest_crop}, or 0"
        )


def _check_image_size(settings: Settings) -> None:
    """The image can be halved five times."""
    if settings.image_size % 32:
        wanted = "must be a multiple of 32, or 0 for the network's own size"
        raise SettingError(f"image_size={settings.image_size}: {wanted}")


def _check_batch_size(settings: Settings) -> None:
    """Every process has as many samples of every accumulated batch."""
    parts = settings.accumulate * settings.devices * settings.nodes
    if settings.batch_size % parts:
        wanted = f"must be a multiple of accumulate × devices × nodes = {parts}"
        raise SettingError(f"batch_size={settings.batch_size}: {wanted}")


def _check_loss(settings: Settings) -> None:
    """There is something to minimise."""
    if not any(settings.loss_weights().values()):
        raise SettingError("weight_joints=0: the weights of all loss terms are 0")


RULES: tuple[Callable[[Settings], None], ...] = (
    _check_choices,
    _check_numbers_are_finite,
    _check_positive,
    _check_whole_numbers,
    _check_shares,
    _check_crops,
    _check_image_size,
    _check_batch_size,
    _check_loss,
)

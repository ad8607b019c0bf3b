"""The command `digit predict`: one loop over the pictures, every output written.

`digit.cli` parses the options and calls `options_of` and `predict_command`.
"""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

from digit.inference.assembly import Method, PredictOptions
from digit.inference.background import core_for_the_detector
from digit.inference.networks import load_network
from digit.inference.outputs import (
    ContactSheetWriter,
    CropFigureWriter,
    CsvWriter,
    JsonLinesWriter,
    JsonWriter,
    MeshWriter,
    NpzWriter,
    OverlayFolderWriter,
    OverlayVideoWriter,
    OverlayWriter,
    Writer,
)
from digit.inference.pipeline import predict_sources
from digit.inference.placement import HAND_LENGTH_MM, Lens, given_lens
from digit.inference.records import PictureRecord
from digit.inference.sources import (
    VIDEO_SUFFIXES,
    Failure,
    Source,
    expand_inputs,
    frame_rate,
)
from digit.inference.tracking import BETA, MIN_CUTOFF_HZ
from digit.outputs import (
    check_output_folder,
    check_outputs,
    is_standard_output,
)
from digit.paths import SHIPPED_WEIGHTS

Precision = Literal["auto", "32"]


@dataclass(frozen=True)
class Outputs:
    """Where results go; None for what is not asked for, "-" for standard output."""

    json: Path | None = None
    csv: Path | None = None
    npz: Path | None = None
    figure: Path | None = None
    mesh: Path | None = None

    def files(self) -> dict[str, Path]:
        """The files that will be written, by name; a folder for figures is none."""
        return {
            name: path
            for name, path in asdict(self).items()
            if path is not None and not (name == "figure" and path.is_dir())
        }


@dataclass
class Progress:
    """How far the loop over the pictures is."""

    done: int = 0
    last: PictureRecord | None = None
    failed: Failure | None = None


def options_of(
    method: Method,
    bbox_xywh: Sequence[float] | None,
    focal: Sequence[float] | None,
    princpt: Sequence[float] | None,
    wrist_depth_mm: float | None,
    hand_length_mm: float | None,
    smoothing: Sequence[float] | None,
    smooth: bool,
) -> PredictOptions:
    """The options of the command as the library takes them.

    Args:
        method: "small" or "mediapipe".
        bbox_xywh: one box for every picture, or None.
        focal: focal lengths, px; with `princpt`.
        princpt: principal point, px.
        wrist_depth_mm: distance of the wrist; with `focal` and `princpt`.
        hand_length_mm: None for an adult's; not beside `wrist_depth_mm`.
        smoothing: lowest cutoff (Hz) and beta; None for the usual ones.
        smooth: whether videos are smoothed at all; True where `smoothing` is given.

    Raises:
        ValueError: if a value is invalid, or values do not go together.
    """
    if smoothing is not None and not smooth:
        raise ValueError("smoothing and no_smoothing: give one of them")
    if wrist_depth_mm is not None and hand_length_mm is not None:
        raise ValueError(
            "wrist_depth_mm and hand_length_mm: give one of them; either tells how far "
            "away the hand is"
        )
    lens = _lens_of(focal, princpt, wrist_depth_mm)
    hand_length_mm = HAND_LENGTH_MM if hand_length_mm is None else hand_length_mm
    for name, value in (
        ("wrist_depth_mm", wrist_depth_mm),
        ("hand_length_mm", hand_length_mm),
    ):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} {value:g}: give a length above 0, in mm")
    filtering = (MIN_CUTOFF_HZ, BETA) if smoothing is None else tuple(smoothing)
    if not (filtering[0] > 0 and filtering[1] >= 0):
        raise ValueError(
            f"smoothing {filtering[0]:g},{filtering[1]:g}: give a cutoff above 0 and a "
            "beta of at least 0"
        )
    return PredictOptions(
        method=method,
        bbox_xywh=None if bbox_xywh is None else tuple(bbox_xywh),
        lens=lens,
        wrist_depth_mm=wrist_depth_mm,
        hand_length_mm=hand_length_mm,
        smoothing=filtering if smooth else None,
    )


def _lens_of(
    focal: Sequence[float] | None,
    princpt: Sequence[float] | None,
    wrist_depth_mm: float | None,
) -> Lens | None:
    """The camera that is given, None where none is; raises as `options_of`."""
    if (focal is None) != (princpt is None) or (wrist_depth_mm and focal is None):
        raise ValueError(
            "focal, princpt and wrist_depth_mm: give all three of them, or none, or "
            "focal and princpt alone"
        )
    if focal is None or princpt is None:
        return None
    if not all(map(math.isfinite, focal)) or min(focal) <= 0:
        raise ValueError(f"focal {focal[0]:g},{focal[1]:g}: give numbers above 0, px")
    if not all(map(math.isfinite, princpt)):
        raise ValueError(
            f"princpt {princpt[0]:g},{princpt[1]:g}: give finite numbers, px"
        )
    return given_lens(focal, princpt)


def predict_command(
    inputs: Sequence[str | Path],
    options: PredictOptions,
    outputs: Outputs,
    *,
    checkpoint: Path | None,
    flip_test: bool,
    turn_test: bool,
    precision: Precision = "auto",
    tell: Callable[[str], None],
) -> None:
    """Predict all inputs, write the outputs, and print what was done.

    Args:
        inputs: photos, folders, patterns or videos.
        options: what is asked for.
        outputs: where results go.
        checkpoint: the network's file; None for the weights that ship.
        flip_test: whether the mirrored crop is predicted as well.
        turn_test: whether the crop is predicted in four quarter turns.
        precision: "32" for single precision; "auto" for bfloat16 where the processor
            computes in it, which is twice as fast.
        tell: shows one line, for each picture that cannot be predicted.

    Raises:
        ValueError: if options do not go together, or no picture could be predicted.
        FileNotFoundError: if the checkpoint is missing.
        KeyboardInterrupt: if interrupted; what is done has been written.
    """
    if options.method == "mediapipe" and (checkpoint or flip_test or turn_test):
        raise ValueError(
            "--method mediapipe goes without --checkpoint, --flip-test and --turn-test"
        )

    # 1. The network and the inputs
    network = open_network(options, checkpoint, flip_test, turn_test, precision)
    sources, failures = expand_inputs(inputs)
    if not sources:
        raise ValueError(failures[0].reason)
    for failure in failures:
        tell(failure.reason)
    _check_outputs(outputs, [source.path for source in sources])
    writers = open_writers(outputs, options, sources)
    options = with_needs_of(options, outputs)

    # 2. Each picture to each writer
    progress = Progress()
    with contextlib.ExitStack() as closing:
        closing.enter_context(core_for_the_detector())
        for writer in writers:
            closing.callback(writer.close)
        results = predict_sources(sources, network, options)
        closing.enter_context(contextlib.closing(results))
        _loop(results, writers, sources, progress, tell)

    # 3. In words
    if progress.last is None:
        reason = progress.failed.reason if progress.failed else "nothing to predict"
        raise ValueError(reason)
    _report(progress, sources, outputs)


def _check_outputs(outputs: Outputs, pictures: Sequence[Path]) -> None:
    """Raise ValueError where an output would replace a picture, found in a folder too."""
    check_outputs(outputs.files(), inputs=pictures)
    if outputs.figure is not None and outputs.figure.is_dir():
        check_output_folder("figure", outputs.figure, inputs=pictures)


def _loop(
    results: Iterator[PictureRecord | Failure],
    writers: Sequence[Writer],
    sources: Sequence[Source],
    progress: Progress,
    tell: Callable[[str], None],
) -> None:
    """Write every result, and keep `progress` up to date."""
    counts = [source.pictures for source in sources]
    total = None if None in counts else sum(counts)
    is_one = is_one_photo(sources)
    with tqdm(total=total, unit="picture", disable=is_one, leave=False) as bar:
        try:
            for result in results:
                if isinstance(result, Failure):
                    progress.failed = result
                    if not is_one:
                        with tqdm.external_write_mode(sys.stderr):
                            tell(result.reason)
                else:
                    for writer in writers:
                        writer.add(result)
                    progress.last = result
                    progress.done += 1
                bar.update()
        except KeyboardInterrupt:
            text = (
                f"interrupted after {progress.done} pictures; what is done is written"
            )
            raise KeyboardInterrupt(text) from None


def _report(progress: Progress, sources: Sequence[Source], outputs: Outputs) -> None:
    """Print what was done, or the result itself where no output was asked for."""
    last = progress.last
    paths = [path for path in asdict(outputs).values() if path is not None]
    if any(map(is_standard_output, paths)):
        return
    written = ", ".join(map(str, paths))
    if is_one_photo(sources):
        if not written:
            print(json.dumps(last.to_flat_dict(), indent=1))
            return
        hands = " and ".join(hand.side for hand in last.hands) or "no"
        print(f"{hands} hand → {written}")
    else:
        arrow = f" → {written}" if written else ""
        print(f"{progress.done} pictures{arrow}")


def open_network(
    options: PredictOptions,
    checkpoint: Path | None,
    flip_test: bool,
    turn_test: bool,
    precision: Precision = "auto",
) -> torch.nn.Module | None:
    """The network, made fast for inference; None for the method "mediapipe"."""
    if options.method == "mediapipe":
        return None
    network = load_network(checkpoint or SHIPPED_WEIGHTS)
    if hasattr(network, "arguments"):  # a torch network of ours, not an exported one
        from digit.model.network import optimized_for_inference

        network = optimized_for_inference(network)
        if precision == "auto":
            from digit.model.precision import InBfloat16, cpu_computes_bfloat16

            if cpu_computes_bfloat16():
                network = InBfloat16(network)
    if flip_test or turn_test:
        from digit.inference.turn_test import with_test_time_options

        network = with_test_time_options(network, flip_test, turn_test)
    return network


def open_writers(
    outputs: Outputs, options: PredictOptions, sources: Sequence[Source]
) -> list[Writer]:
    """A writer for each output.

    Raises:
        ValueError: if an output does not fit the inputs.
    """
    is_one = is_one_photo(sources)
    writers: list[Writer] = []
    if outputs.figure:
        writers.append(_figure_writer(outputs.figure, options, sources))
    if outputs.mesh:
        if not is_one:
            raise ValueError(f"{outputs.mesh}: meshes are made of one photo only")
        writers.append(MeshWriter(outputs.mesh))
    if outputs.csv:
        writers.append(CsvWriter(outputs.csv))
    if outputs.npz:
        writers.append(NpzWriter(outputs.npz))
    # The result last: it stands for a command that did all it was asked.
    if outputs.json:
        writers.append(
            JsonWriter(outputs.json) if is_one else JsonLinesWriter(outputs.json)
        )
    return writers


def with_needs_of(options: PredictOptions, outputs: Outputs) -> PredictOptions:
    """The options with what the outputs need: pictures to draw in, meshes compared."""
    return replace(
        options,
        keep_pixels=outputs.figure is not None,
        contradictions=outputs.mesh is not None,
    )


def _figure_writer(
    path: Path, options: PredictOptions, sources: Sequence[Source]
) -> Writer:
    """The drawing that fits the inputs and the name of the output."""
    if path.is_dir():
        return OverlayFolderWriter(path)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        if len(sources) != 1 or not sources[0].is_video:
            raise ValueError(f"{path}: a video is drawn from one video only")
        return OverlayVideoWriter(path, frame_rate(sources[0].path))
    if not is_one_photo(sources):
        return ContactSheetWriter(path)
    if options.bbox_xywh is not None and options.method != "mediapipe":
        return CropFigureWriter(path)
    return OverlayWriter(path)


def is_one_photo(sources: Sequence[Source]) -> bool:
    """Whether the result is that of a single photo."""
    return len(sources) == 1 and not sources[0].is_video

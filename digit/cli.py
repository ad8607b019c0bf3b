"""The commands: each parses its options, calls the library once, and prints.

`digit` and `python -m digit` come here. The library's errors speak of its arguments;
`main` puts the options' names in their place. The file is long because all options of
all commands stand here, in the order of `digit --help`.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import digit
from digit.commands import import_data as import_command
from digit.commands import label as label_command
from digit.files import write_json
from digit.outputs import check_outputs, is_standard_output

# The options that stand for the library's arguments, for error messages.
OPTIONS = {
    "dataset_dir": "--root",
    "root_depth": "--root-depth",
    "flip_test": "--flip-test",
    "turn_test": "--turn-test",
    "label_kind": "--labels",
    "views": "--views",
    "errors": "--errors",
    "figure": "--figure",
    "json": "--json",
    "bbox_xywh": "--bbox",
    "focal": "--focal",
    "princpt": "--princpt",
    "wrist_depth_mm": "--wrist-depth",
    "hand_length_mm": "--hand-length",
    "smoothing": "--smoothing",
    "no_smoothing": "--no-smoothing",
    "split": "--split",
    "variants": "--variants",
    "seeds": "--seeds",
    "seed": "--seed",
    "frames": "--frames",
    "workers": "--workers",
    "minutes": "--minutes",
    **label_command.OPTIONS,
}

DEFAULT_PRESET = "quick"

FAILED = 1
CANNOT_START = 2  # errors the user can fix
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE


# --- Data ---------------------------------------------------------------------------


def add_synth(commands: "Commands") -> None:
    """Declare `digit synth`."""
    command = commands.add(
        "synth", synth, "make a synthetic data set, in InterHand2.6M's layout"
    )
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="ROOT",
        help="the data set's folder; made, or finished where it was stopped",
    )
    command.add_argument(
        "--frames", type=int, required=True, help="number of frames over all splits"
    )
    command.add_argument(
        "--seed", type=int, required=True, help="the same seed gives the same bytes"
    )
    command.add_argument(
        "--profile",
        default="studio",
        help="studio, wild, webcam, or several, as in studio+webcam, for captures of "
        "each in turn; default: studio",
    )
    command.add_argument(
        "--workers", type=int, default=None, help="processes; default: all cores"
    )


def synth(args: argparse.Namespace) -> None:
    """Make a synthetic data set."""
    from digit.synth.dataset import synthesize

    synthesize(
        args.out,
        frames=args.frames,
        seed=args.seed,
        profile=args.profile,
        workers=args.workers,
    )


def add_prepare(commands: "Commands") -> None:
    """Declare `digit prepare`."""
    command = commands.add(
        "prepare", prepare, "index, image LMDB, mask LMDB; continues where it stopped"
    )
    add_root(command)
    command.add_argument(
        "--cut-outs",
        action="store_true",
        help="also cut the hands out of the training split's photographs of single "
        "hands, for composites (a tenth of a second each)",
    )


def prepare(args: argparse.Namespace) -> None:
    """Prepare a data set for training."""
    from digit.data.cut_outs import CUT_OUT_SPLIT, write_cut_outs
    from digit.data.index import open_index
    from digit.data.layout import splits_of
    from digit.doctor.environment import warn_of_folders
    from digit.hands.part_masks import prepare as prepare_data_set

    warn_of_folders(args.root)
    splits = splits_of(args.root)
    if args.cut_outs and CUT_OUT_SPLIT not in splits:
        there = ", ".join(splits)
        raise ValueError(
            f"--cut-outs: {args.root} has no training split, which composites are made "
            f"for (splits here: {there}); leave it out"
        )
    prepare_data_set(args.root)
    if args.cut_outs:
        count = write_cut_outs(open_index(args.root, CUT_OUT_SPLIT).usable())
        print(f"{CUT_OUT_SPLIT}: {count:,} hands cut out")


def add_fit_hands(commands: "Commands") -> None:
    """Declare `digit fit-hands`."""
    command = commands.add(
        "fit-hands",
        fit_hands,
        "fits for hands that have 3D joints but no fit, for digit prepare to render",
    )
    add_root(command)
    command.add_argument(
        "--split",
        nargs="+",
        metavar="SPLIT",
        choices=("train", "val", "test"),
        help="train, val, test; default: all that are there",
    )


def fit_hands(args: argparse.Namespace) -> None:
    """Fit hand models to the joints of a data set."""
    from digit.hands.fit_dataset import fit_dataset

    for report in fit_dataset(args.root, args.split):
        print(report)
    print(f"render their masks with: digit prepare --root {args.root}")


def add_doctor(commands: "Commands") -> None:
    """Declare `digit doctor`, and `digit check`, its older name."""
    for name in ("doctor", "check"):
        command = commands.add(
            name,
            doctor,
            "findings on a data set, predictions for it, runs, weights and the "
            "environment, and how to fix them; without options: on all runs, the weights "
            "that ship and the environment; status 1 if there are errors",
        )
        add_root(command, required=False)
        command.add_argument(
            "--predictions",
            type=Path,
            metavar="FILE.npz",
            help="look for the usual mistakes in these predictions: order of joints, "
            "mirrored or exchanged hands, units, crops; with --root",
        )
        command.add_argument(
            "--split", help="which split the predictions are for; default: by their ids"
        )
        command.add_argument(
            "--root-depth",
            choices=("gt", "rootnet"),
            default="gt",
            help="whose boxes and wrist depths they are made for; default: gt",
        )
        command.add_argument(
            "--runs",
            nargs="*",
            metavar="RUN",
            help="look at these runs: files, checkpoints, processes, data; without a "
            "name: at all",
        )
        command.add_argument(
            "--weights",
            nargs="*",
            type=Path,
            metavar="FILE",
            help="look at these checkpoints, .onnx or .tflite files; without a name: at "
            "those that ship",
        )
        command.add_argument(
            "--environment",
            action="store_true",
            help="look at packages, the Jupyter kernel, GPU, locks, space, folders",
        )
        command.add_argument(
            "--json",
            type=Path,
            metavar="OUT",
            help="the findings, as a list; - for standard output",
        )


def doctor(args: argparse.Namespace) -> int:
    """Look for faults in a data set, predictions, runs, weights and the environment.

    Returns:
        The exit status: 1 where there are errors that excluding frames does not settle.
    """
    from digit.doctor.examination import examine
    from digit.doctor.findings import format_findings, is_serious

    inputs = [args.predictions, *(args.weights or ())]
    check_outputs({"--json": args.json}, inputs=inputs)
    findings = examine(
        dataset_dir=args.root,
        predictions=args.predictions,
        split=args.split,
        root_depth=args.root_depth,
        runs=args.runs,
        weights=args.weights,
        environment=args.environment,
    )
    if not is_standard_output(args.json):
        if args.predictions is not None and not findings:
            print("none of the usual mistakes is found")
        else:
            print(format_findings(findings))
    if args.json is not None:
        write_result(args.json, [found.record() for found in findings])
    return FAILED if is_serious(findings) else 0


# --- Training -----------------------------------------------------------------------


def add_train(commands: "Commands") -> None:
    """Declare `digit train`."""
    command = commands.add("train", train, "train through notebook 05 into runs/<id>/")
    add_root(command, required=False)
    add_settings(command)
    command.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="ROOT:SHARE",
        help="train on this data set too, for this share of every batch; ROOT:SHARE:2d "
        "if its depths are not to be trusted; may be given several times",
    )
    command.add_argument("--name", default="", help="part of the run's folder name")
    command.add_argument(
        "--resume", metavar="RUN", help="continue this run from its last checkpoint"
    )


def train(args: argparse.Namespace) -> None:
    """Train a new run, or continue one."""
    from digit.doctor.environment import warn_of_folders
    from digit.training import runs
    from digit.training.settings import DATA_SETS_SEPARATOR, make_settings

    warn_of_folders(args.root)
    overrides = parse_settings(args.set)
    if args.also:
        overrides["also"] = DATA_SETS_SEPARATOR.join(args.also)
    if args.resume:
        if args.preset or args.name:
            raise ValueError(
                "--resume goes on with a run: leave out --preset and --name"
            )
        run = runs.find_run(args.resume)
        if args.root:
            runs.move_data(run, args.root)
        if overrides:
            runs.change(run, overrides)
    elif args.root is None:
        raise ValueError(
            "digit train: give --root ROOT, or --resume RUN to continue a run"
        )
    else:
        preset = args.preset or DEFAULT_PRESET
        settings = make_settings(preset, overrides)
        run = runs.create_run(args.root, preset, settings, args.name)
    print(f"run {run}")
    print(json.dumps(runs.train(run), indent=1))


def add_fit(commands: "Commands") -> None:
    """Declare `digit fit`."""
    command = commands.add(
        "fit",
        fit,
        "the training process of a run (started by notebook 05, torchrun or SLURM)",
    )
    command.add_argument("run", type=Path, help="the run's folder")


def fit(args: argparse.Namespace) -> None:
    """Be the training process of a run."""
    from digit.training import runs
    from digit.training.distributed import launch_command

    _, settings = runs.parameters(args.run)
    command = launch_command(args.run, settings)
    if command:
        os.execvp(command[0], command)
    with runs.claimed(args.run):
        from digit.training.loop import train_run

        train_run(args.run)


def add_runs(commands: "Commands") -> None:
    """Declare `digit runs`."""
    commands.add("runs", list_runs, "list the runs: state, epoch, best error, time")


def list_runs(_args: argparse.Namespace) -> None:
    """List the runs."""
    from digit.paths import runs_dir
    from digit.training.runs import list_runs as table_of_runs

    table = table_of_runs()
    if len(table):
        print(table.to_string(index=False))
    else:
        print(f"no runs yet in {runs_dir()}: start one with digit train")


def add_presets(commands: "Commands") -> None:
    """Declare `digit presets`."""
    commands.add(
        "presets", presets, "the presets, setting by setting, and what each setting is"
    )


def presets(_args: argparse.Namespace) -> None:
    """Show the settings of all presets."""
    from digit.training.settings import table

    print(table().to_string(formatters={"what": "  {:<72}".format}))


def add_ablation(commands: "Commands") -> None:
    """Declare `digit ablation`."""
    command = commands.add(
        "ablation",
        ablation,
        "train the ablation for notebook 10: do the parts help? Resumes an interrupted sweep",
    )
    add_root(command)
    add_settings(command)
    command.add_argument(
        "--seeds", type=int, default=3, help="seeds 1 to N of each variant; default: 3"
    )
    command.add_argument(
        "--variants",
        "--arms",
        nargs="+",
        default=["none", "predicted", "true"],
        help="what the part features see: none, predicted, true, or unsupervised for "
        "DIGIT's size without part supervision; default: the first three",
    )
    command.add_argument(
        "--out", type=Path, help="for ablation.md and .png; default: runs/ablation/"
    )


def ablation(args: argparse.Namespace) -> None:
    """Train the variants of the ablation, and execute notebook 10 on them."""
    from digit.training.ablation import run_ablation

    report = run_ablation(
        args.root,
        preset=args.preset or DEFAULT_PRESET,
        overrides=parse_settings(args.set),
        variants=args.variants,
        seeds=args.seeds,
        out=args.out,
    )
    print(report)


# --- Inference ----------------------------------------------------------------------


def add_evaluate(commands: "Commands") -> None:
    """Declare `digit evaluate`."""
    command = commands.add("evaluate", evaluate, "errors by the paper's protocol")
    add_root(command)
    command.add_argument(
        "--split", required=True, help="train, val, test, or a subset such as minival"
    )
    command.add_argument(
        "--root-depth",
        choices=("gt", "rootnet"),
        required=True,
        help="whose boxes and absolute wrist depths: annotated, or RootNet's",
    )
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--checkpoint", type=Path, metavar="CKPT", help="a network to predict with"
    )
    source.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE.npz",
        help="any method's: image_id (N), joints_25d (N, 42, 3) in cells of "
        "the annotated crop, relative_root_depth (N), hand_type (N, 2)",
    )
    source.add_argument(
        "--method",
        choices=("small", "mediapipe"),
        help="the network that ships, or MediaPipe's landmark model on whole pictures",
    )
    command.add_argument(
        "--json", type=Path, metavar="OUT", help="the metrics; - for standard output"
    )
    command.add_argument(
        "--errors", type=Path, metavar="OUT.parquet", help="the table, a row a frame"
    )
    add_test_time_options(command, note="; not in the paper")
    command.add_argument(
        "--labels",
        choices=("2d", "3d"),
        help="2d: the labels' depths are not to be trusted, so that only metrics in the "
        "image count; default: what annotations/labels.txt says, else 3d",
    )
    command.add_argument(
        "--views",
        action="store_true",
        help="measure other crops, turned and grey pictures as well",
    )


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate a checkpoint or a file of predictions."""
    from digit.evaluation.protocol import format_report
    from digit.inference.evaluate import evaluate as evaluate_data_set

    check_outputs(
        {"--json": args.json, "--errors": args.errors},
        inputs=[args.checkpoint, args.predictions],
    )
    result = evaluate_data_set(
        args.root,
        split=args.split,
        root_depth=args.root_depth,
        checkpoint=args.checkpoint,
        predictions=args.predictions,
        method=args.method,
        errors=args.errors,
        flip_test=args.flip_test,
        turn_test=args.turn_test,
        label_kind=args.labels,
        views=args.views,
    )
    # Where the metrics themselves go to standard output, the report stands aside.
    report_to = sys.stderr if is_standard_output(args.json) else sys.stdout
    if result["n_left_out"]:
        print(
            f"{result['n_left_out']} frames are left out, see "
            f"{args.root}/prepared/exclude",
            file=report_to,
        )
    print(format_report(result), file=report_to)
    if args.json:
        write_result(args.json, result)


def add_predict(commands: "Commands") -> None:
    """Declare `digit predict`."""
    command = commands.add("predict", predict, "hands of photos, folders and videos")
    command.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="photos, folders, patterns such as 'photos/*.jpg', or videos",
    )
    command.add_argument(
        "--bbox", metavar="X,Y,W,H", help="around the hands, px; default: find them"
    )
    command.add_argument(
        "--method",
        choices=("small", "mediapipe"),
        default="small",
        help="small: the network; mediapipe: the landmark model that finds the hands, "
        "alone; default: small",
    )
    command.add_argument(
        "--checkpoint",
        type=Path,
        metavar="CKPT",
        help="a checkpoint or .onnx file; default: the weights that ship",
    )
    add_test_time_options(command)
    command.add_argument(
        "--precision",
        choices=("auto", "32"),
        default="auto",
        help="auto: bfloat16 where the processor computes in it, twice as fast and "
        "nearly as exact; 32: single precision, whatever the processor supports; "
        "default: auto",
    )
    add_camera(command)
    command.add_argument(
        "--smoothing",
        metavar="CUTOFF,BETA",
        help="One-Euro filter of videos: its lowest cutoff (Hz) and the cutoff's growth "
        "with speed",
    )
    command.add_argument(
        "--no-smoothing", action="store_true", help="leave every frame as it is"
    )
    add_results(command)


def add_camera(command: argparse.ArgumentParser) -> None:
    """Add the options that give `digit predict` its millimetres."""
    command.add_argument(
        "--focal",
        metavar="FX,FY",
        help="focal lengths (px); default: by EXIF, else by an assumed field of view",
    )
    command.add_argument(
        "--princpt", metavar="CX,CY", help="principal point (px); with --focal"
    )
    command.add_argument(
        "--wrist-depth",
        type=float,
        metavar="MM",
        help="of the right wrist, or of the only one, from the camera; with --focal "
        "and --princpt",
    )
    command.add_argument(
        "--hand-length",
        type=float,
        metavar="MM",
        help="wrist to the middle finger's tip, stretched, which gives the distance "
        "where there is no --wrist-depth; default: 180",
    )


def add_results(command: argparse.ArgumentParser) -> None:
    """Add the outputs of `digit predict`."""
    command.add_argument(
        "--json",
        type=Path,
        metavar="OUT",
        help="one object for one photo, else JSON lines, one picture a line; - for "
        "standard output",
    )
    command.add_argument(
        "--csv", type=Path, metavar="OUT.csv", help="a row for each hand"
    )
    command.add_argument(
        "--npz",
        type=Path,
        metavar="OUT.npz",
        help="arrays, a row for each crop; docs/predict.md turns them into those of "
        "digit evaluate --predictions",
    )
    command.add_argument(
        "--figure",
        type=Path,
        metavar="OUT",
        help="OUT.png: a drawing of the hands, a contact sheet for many pictures; "
        "OUT.mp4: a video with its hands; a folder: a picture for each",
    )
    command.add_argument(
        "--mesh",
        type=Path,
        metavar="OUT.glb",
        help="the hands of one photo as meshes: .glb, .obj or .npz",
    )


def predict(args: argparse.Namespace) -> None:
    """Predict the hands of photos, folders and videos."""
    from digit.inference.command import Outputs, options_of, predict_command

    outputs = Outputs(
        json=args.json,
        csv=args.csv,
        npz=args.npz,
        figure=args.figure,
        mesh=args.mesh,
    )
    named = {f"--{name}": path for name, path in outputs.files().items()}
    check_outputs(named, inputs=[*args.inputs, args.checkpoint])
    options = options_of(
        method=args.method,
        bbox_xywh=parse_numbers(args.bbox, count=4, option="--bbox"),
        focal=parse_numbers(args.focal, count=2, option="--focal"),
        princpt=parse_numbers(args.princpt, count=2, option="--princpt"),
        wrist_depth_mm=args.wrist_depth,
        hand_length_mm=args.hand_length,
        smoothing=parse_numbers(args.smoothing, count=2, option="--smoothing"),
        smooth=not args.no_smoothing,
    )

    def tell(text: str) -> None:
        """A picture's failure, beside the progress bar."""
        print(f"digit: {with_option_names(text, OPTIONS)}", file=sys.stderr)

    predict_command(
        args.inputs,
        options,
        outputs,
        checkpoint=args.checkpoint,
        flip_test=args.flip_test,
        turn_test=args.turn_test,
        precision=args.precision,
        tell=tell,
    )


def add_export(commands: "Commands") -> None:
    """Declare `digit export`."""
    command = commands.add(
        "export", export, "a checkpoint as ONNX, for digit predict and other programs"
    )
    command.add_argument("checkpoint", type=Path, help="a checkpoint of this workbench")
    command.add_argument(
        "--out", type=Path, required=True, metavar="OUT.onnx", help="the ONNX file"
    )


def export(args: argparse.Namespace) -> None:
    """Export a checkpoint as ONNX."""
    from digit.model.onnx import export as export_checkpoint

    check_outputs({"--out": args.out}, inputs=[args.checkpoint])
    difference = export_checkpoint(args.checkpoint, args.out)
    print(f"{args.out}: as torch to within {difference:.1g}")


def add_blend(commands: "Commands") -> None:
    """Declare `digit blend`."""
    command = commands.add("blend", blend, "the weighted mean of two checkpoints")
    command.add_argument("first", type=Path, help="a checkpoint")
    command.add_argument("second", type=Path, help="another of the same network")
    command.add_argument(
        "--share", type=float, default=0.5, help="of the second; default: 0.5"
    )
    command.add_argument("--half", action="store_true", help="write half precision")
    command.add_argument(
        "--out", type=Path, required=True, metavar="OUT.ckpt", help="their mean"
    )


def blend(args: argparse.Namespace) -> None:
    """Average two checkpoints."""
    from digit.model.blending import blend_checkpoints

    check_outputs({"--out": args.out}, inputs=[args.first, args.second])
    blend_checkpoints(args.first, args.second, args.share, args.out, half=args.half)
    print(f"{args.out}: {args.share:g} of {args.second}, the rest of {args.first}")


def add_demo(commands: "Commands") -> None:
    """Declare `digit demo`."""
    command = commands.add(
        "demo", demo, "data, masks, training, evaluation and their notebooks in minutes"
    )
    command.add_argument(
        "--frames", type=int, default=3000, help="synthetic frames; default: 3000"
    )
    command.add_argument(
        "--minutes", type=float, default=5.0, help="training time; default: 5"
    )


def demo(args: argparse.Namespace) -> None:
    """Run the whole workbench on a small synthetic data set."""
    from digit.demo import demo as run_demo

    run_demo(args.frames, args.minutes)


# --- The command line ---------------------------------------------------------------


class Commands:
    """The commands of a parser, as the functions above declare them."""

    def __init__(self, top: argparse.ArgumentParser):
        self._subparsers = top.add_subparsers(required=True, metavar="COMMAND")

    def add(
        self, name: str, run: Callable[[argparse.Namespace], int | None], text: str
    ) -> argparse.ArgumentParser:
        """Add a command; `run` takes its options and may return an exit status."""
        command = self._subparsers.add_parser(name, help=text, description=text)
        command.set_defaults(command=run)
        return command


def add_root(command: argparse.ArgumentParser, required: bool = True) -> None:
    """Add `--root`, the data set's folder."""
    command.add_argument(
        "--root", type=Path, required=required, help="the data set's folder"
    )


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add `--preset` and `--set`."""
    command.add_argument(
        "--preset",
        help=f"quick, small, full or paper; default: {DEFAULT_PRESET}",
    )
    command.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change settings of the preset; digit presets lists them",
    )


def add_test_time_options(command: argparse.ArgumentParser, note: str = "") -> None:
    """Add `--flip-test` and `--turn-test`."""
    command.add_argument(
        "--flip-test",
        action="store_true",
        help="predict the mirrored picture as well and take the mean: better, twice "
        f"the time{note}",
    )
    command.add_argument(
        "--turn-test",
        action="store_true",
        help="predict the picture turned by 90, 180 and 270 degrees as well and keep what "
        "the network is surest of: for cameras held sideways or above a table; four times "
        f"the time{note}",
    )


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="digit", description=digit.__doc__.split("\n")[0]
    )
    top.add_argument(
        "--version", action="version", version=f"digit {digit.__version__}"
    )
    commands = Commands(top)
    for declare in (
        add_synth,
        add_prepare,
        add_fit_hands,
        add_doctor,
        label_command.add_label,
        import_command.add_import,
        add_train,
        add_fit,
        add_ablation,
        add_presets,
        add_runs,
        add_evaluate,
        add_predict,
        add_export,
        add_blend,
        add_demo,
    ):
        declare(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words of the command line; the process's own by default.

    Returns:
        The exit status: 0; 2, with one line on standard error, for what the user can
        mend; 1 for a run that failed or a doctor's finding; 130 where it was
        interrupted.
    """
    tolerate_any_terminal()
    words = list(sys.argv[1:] if argv is None else argv)
    if any("\0" in word for word in words):
        print("digit: a word holds a null character, as no path can", file=sys.stderr)
        return CANNOT_START
    args = parser().parse_args(join_negative_values(words))
    try:
        status = args.command(args)
    except BrokenPipeError:
        # The reader, such as head, has seen enough; nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ValueError, OSError, KeyError) as error:
        text = error_text(error)
        if text is None:
            raise
        print(f"digit: {text}", file=sys.stderr)
        return CANNOT_START
    except RuntimeError as error:
        print(f"digit: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt as stop:
        print(f"digit: {stop or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    return status or 0


def tolerate_any_terminal() -> None:
    """Print a question mark for a letter that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def join_negative_values(words: list[str]) -> list[str]:
    """Join an option and its value by "=" where the value begins with a minus sign.

    argparse would take "-10,20,300,300" after "--bbox" for another option.
    """
    joined: list[str] = []
    for word in words:
        follows_option = joined and re.fullmatch(r"--[a-z-]+", joined[-1])
        if follows_option and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def error_text(error: Exception) -> str | None:
    """An error in one line, in the words of the command line.

    Returns:
        None for an error of the program's own, whose traceback is wanted.
    """
    text = str(error)
    if text.startswith("Caught "):
        # Of a process that loads data: its traceback stands before the last line.
        last_line = text.strip().splitlines()[-1]
        text = last_line.partition(": ")[2].strip("'\"")
    elif isinstance(error, KeyError):
        return None
    if type(error).__name__ == "SettingError":
        # Of digit.training.settings, not imported for the sake of commands without torch.
        # A setting keeps its name, though there may be an option called alike.
        return f"--set {text}"
    return with_option_names(text, OPTIONS)


def with_option_names(text: str, options: Mapping[str, str]) -> str:
    """Put options in the place of the library's arguments in an error message.

    A name with an underscore is replaced wherever it stands by itself; a plain word only
    before the first colon, where messages name the argument they are about.
    """
    subject, colon, rest = text.partition(":")
    for argument, option in options.items():
        # Not within a path or a longer name.
        name = re.compile(rf"(?<![\w./-]){argument}(?![\w/-]|\.\w)")
        subject = name.sub(option, subject)
        if "_" in argument:
            rest = name.sub(option, rest)
    return subject + colon + rest


def parse_settings(pairs: list[str]) -> dict[str, str]:
    """The settings of `--set KEY=VALUE …`; a word without "=" has an empty value."""
    return dict(pair.partition("=")[::2] for pair in pairs)


def parse_numbers(text: str | None, count: int, option: str) -> list[float] | None:
    """Numbers separated by commas; ValueError names the option if they are not."""
    if text is None:
        return None
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise ValueError(f"{option} {text}: give {count} numbers separated by commas")
    return values


def write_result(path: Path, result: Any) -> None:
    """Write a result as JSON, into a file or to standard output."""
    if is_standard_output(path):
        print(json.dumps(result, indent=1, allow_nan=False))
    else:
        write_json(path, result)

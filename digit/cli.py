"""The commands: each a few lines over the module (`digit --help`)."""

import argparse
import json
import os
import sys
from pathlib import Path

from digit.files import write_text
from digit.paths import SHIPPED_WEIGHTS

UNTAUGHT = {"weight_parts": 0, "weight_part_iou": 0}
ARMS = {  # of the ablation: what the part features see, all else equal
    "none": {"parts": "none", **UNTAUGHT},  # there are none: the image's features alone
    "predicted": {"parts": "predicted"},  # DIGIT
    "true": {"parts": "true", **UNTAUGHT},  # the truth, in evaluation too: a bound
    "untaught": {"parts": "predicted", **UNTAUGHT},  # DIGIT's size without a part loss
}

PRESETS = "quick, small, full or paper; default: quick"
SETTINGS = {
    "nargs": "+",
    "action": "extend",
    "default": [],
    "metavar": "KEY=VALUE",
    "help": "change settings of the preset; digit presets lists them",
}
PREDICTIONS = (
    "any method's: image_id (N), joints_25d (N, 42, 3) in heat-map units of the crop, "
)
PREDICTIONS += "relative_root_depth (N), hand_type (N, 2)"
DEPTH = "of the right wrist, or of the only one, from the camera; with --focal and --princpt"


def synth(args) -> None:
    from digit.synth.dataset import synthesize

    synthesize(
        args.out, args.frames, args.seed, workers=args.workers, profile=args.profile
    )


def prepare(args) -> None:
    from digit.hands.part_masks import prepare as prepare_root

    prepare_root(args.root)


def check(args) -> None:
    from functools import partial

    from digit.data import store
    from digit.data.health import check as check_root

    found = check_root(args.root, examine=partial(store.verify, reduce=8))
    print(found.to_string(index=False))


def train(args) -> None:
    from digit.training import runs
    from digit.training.data import open_data
    from digit.training.settings import make_settings

    overrides = dict(pair.partition("=")[::2] for pair in args.set)
    if args.resume:
        run = runs.find_run(args.resume)
        if overrides:
            runs.change(run, overrides)
    else:
        if args.root is None:
            raise ValueError(
                "digit train: give --root ROOT, or --resume RUN to continue a run"
            )
        settings = make_settings(args.preset, overrides)
        open_data(args.root, settings)  # bad data is said before anything starts
        run = runs.create_run(args.root, args.preset, settings, args.name)
    print(f"run {run}")
    print(json.dumps(runs.train(run), indent=1))


def fit(args) -> None:
    from digit.training import runs
    from digit.training.distributed import launch_command

    _, settings = runs.parameters(args.run)
    if command := launch_command(args.run, settings):
        os.execvp(command[0], command)
    with runs.claimed(args.run):
        from digit.training.loop import fit as fit_run

        fit_run(args.run)


def list_runs(_args) -> None:
    from digit.paths import runs_dir
    from digit.training.runs import list_runs as table

    found = table()
    none = f"no runs yet in {runs_dir()}: start one with digit train"
    print(found.to_string(index=False) if len(found) else none)


def presets(_args) -> None:
    from digit.training.settings import table

    print(table().to_string(formatters={"what": "  {:<72}".format}))


def ablation(args) -> None:
    from digit.training.settings import make_settings

    overrides = dict(pair.partition("=")[::2] for pair in args.set)
    members = {
        f"{arm}-{seed}": make_settings(
            args.preset, {**overrides, **ARMS[arm], "seed": seed}
        )
        for seed in range(1, args.seeds + 1)
        for arm in args.arms
    }
    from digit.paths import NOTEBOOKS_DIR, runs_dir
    from digit.training.ablation import sweep
    from digit.training.papermill import execute_notebook

    found = sweep(args.root, args.preset, members)
    out = (args.out or runs_dir() / "ablation").resolve()
    out.mkdir(parents=True, exist_ok=True)
    values = {
        "members": {name: str(run) for name, run in found.items()},
        "out": str(out),
    }
    name = "07_ablation.ipynb"
    execute_notebook(NOTEBOOKS_DIR / name, runs_dir() / "ablation" / name, values)
    print((out / "ablation.md").read_text())


def evaluate(args) -> None:
    from digit.evaluation.protocol import format_report
    from digit.inference.evaluate import evaluate as evaluate_root

    _folders(args.json, args.errors)
    files = args.checkpoint, args.predictions, args.errors
    result = evaluate_root(
        args.root, args.split, args.root_depth, *files, args.flip_test
    )
    print(format_report(result))
    if args.json:
        write_text(args.json, json.dumps(result, indent=1) + "\n")


def predict(args) -> None:
    from digit.inference.flip_test import FlipTest
    from digit.inference.predict import predict_file
    from digit.model.checkpoints import load_network

    _folders(args.json, args.figure)
    camera = [
        _numbers(args.focal, 2, "--focal"),
        _numbers(args.princpt, 2, "--princpt"),
    ]
    if len({value is None for value in (*camera, args.wrist_depth)}) > 1:
        raise ValueError(
            "--focal, --princpt and --wrist-depth: give all three of them, or none"
        )
    bbox = _numbers(args.bbox, 4, "--bbox")
    if args.checkpoint.suffix == ".onnx":
        from digit.model.onnx import OnnxNetwork as load_network
    network = load_network(args.checkpoint)
    network = FlipTest(network) if args.flip_test else network
    result = predict_file(
        network, args.image, bbox, *camera, args.wrist_depth, args.figure
    )
    text = json.dumps(result, indent=1)
    if args.json:
        write_text(args.json, text + "\n")
    if written := [str(path) for path in (args.json, args.figure) if path]:
        text = f"{' and '.join(result['hands']) or 'no'} hand → {', '.join(written)}"
    print(text)


def export(args) -> None:
    from digit.model.onnx import export as export_checkpoint

    _folders(args.out)
    difference = export_checkpoint(args.checkpoint, args.out)
    print(f"{args.out}: as torch to within {difference:.1g}")


def demo(args) -> None:
    from digit.demo import demo as run_demo

    run_demo(args.frames, args.minutes)


def _folders(*paths: Path | None) -> None:
    """Before hours of work: FileNotFoundError where a result could not be written."""
    for path in paths:
        if path and not path.parent.is_dir():
            raise FileNotFoundError(
                f"{path}: there is no folder {path.parent}; make it first"
            )


def _numbers(text: str | None, count: int, option: str) -> list[float] | None:
    if text is None:
        return None
    try:
        values = [float(v) for v in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise ValueError(f"{option} {text}: give {count} numbers separated by commas")
    return values


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="digit", description=sys.modules[__package__].__doc__
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=run)
        return sub

    sub = command(
        "synth", synth, "make the embedded data set, in InterHand2.6M's layout"
    )
    sub.add_argument("--out", type=Path, required=True, metavar="ROOT")
    sub.add_argument("--frames", type=int, required=True)
    sub.add_argument("--seed", type=int, required=True)
    sub.add_argument("--profile", default="studio", help="studio, wild, or studio+wild")
    sub.add_argument(
        "--workers", type=int, default=None, help="processes; default: all cores"
    )
    sub = command(
        "prepare", prepare, "index, image LMDB, mask LMDB; continues where it stopped"
    )
    sub.add_argument("--root", type=Path, required=True)
    sub = command("check", check, "health report of a data set")
    sub.add_argument("--root", type=Path, required=True)
    sub = command("train", train, "train through notebook 04 into runs/<id>/")
    sub.add_argument("--root", type=Path)
    sub.add_argument("--preset", default="quick", help=PRESETS)
    sub.add_argument("--set", **SETTINGS)
    sub.add_argument("--name", default="", help="part of the run's folder name")
    sub.add_argument(
        "--resume", metavar="RUN", help="continue this run from its last checkpoint"
    )
    sub = command(
        "fit",
        fit,
        "the training process of a run (started by notebook 04, torchrun or SLURM)",
    )
    sub.add_argument("run", type=Path)
    sub = command(
        "ablation", ablation, "a sweep for notebook 07: what do parts bring? continues"
    )
    sub.add_argument("--root", type=Path, required=True)
    sub.add_argument("--preset", default="quick", help=PRESETS)
    sub.add_argument("--set", **SETTINGS)
    sub.add_argument("--seeds", type=int, default=3)
    sub.add_argument(
        "--arms", nargs="+", default=["none", "predicted", "true"], choices=ARMS
    )
    sub.add_argument(
        "--out", type=Path, help="for ablation.md and .png; default: runs/ablation/"
    )
    command(
        "presets", presets, "the presets, setting by setting, and what each setting is"
    )
    command("runs", list_runs, "list the runs: state, epoch, best error, time")
    sub = command("evaluate", evaluate, "errors by the paper's protocol")
    sub.add_argument("--root", type=Path, required=True)
    sub.add_argument("--split", required=True)
    sub.add_argument("--root-depth", choices=("gt", "rootnet"), required=True)
    source = sub.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path)
    source.add_argument(
        "--predictions", type=Path, metavar="FILE.npz", help=PREDICTIONS
    )
    sub.add_argument("--json", type=Path, metavar="OUT")
    sub.add_argument(
        "--errors", type=Path, metavar="OUT.parquet", help="the table, a row a frame"
    )
    twice = "look twice, once in the mirror, and take the mean: better, twice the time"
    sub.add_argument(
        "--flip-test", action="store_true", help=twice + "; not in the paper"
    )
    sub = command("predict", predict, "joints and parts of one image")
    sub.add_argument("image", type=Path)
    sub.add_argument(
        "--bbox", required=True, metavar="X,Y,W,H", help="around the hands, px"
    )
    sub.add_argument(
        "--checkpoint", type=Path, default=SHIPPED_WEIGHTS, help="default: what ships"
    )
    sub.add_argument(
        "--focal", metavar="FX,FY", help="focal lengths (px), for joints in mm"
    )
    sub.add_argument(
        "--princpt", metavar="CX,CY", help="principal point (px), for joints in mm"
    )
    sub.add_argument("--wrist-depth", type=float, metavar="MM", help=DEPTH)
    sub.add_argument("--flip-test", action="store_true", help=twice)
    sub.add_argument("--json", type=Path, metavar="OUT")
    sub.add_argument("--figure", type=Path, metavar="OUT.png")
    sub = command(
        "export", export, "a checkpoint as ONNX, for digit predict and other programs"
    )
    sub.add_argument("checkpoint", type=Path)
    sub.add_argument("--out", type=Path, required=True, metavar="OUT.onnx")
    sub = command(
        "demo", demo, "data, masks, training, evaluation and their notebooks in minutes"
    )
    sub.add_argument("--frames", type=int, default=3000)
    sub.add_argument("--minutes", type=float, default=5.0, help="training time")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command. Status 2 and one line for what the user can mend, 1 for a failed run."""
    words = list(sys.argv[1:] if argv is None else argv)
    for i, word in enumerate(words[:-1]):  # a box may begin with a minus sign
        if word == "--bbox":
            words[i : i + 2] = [f"--bbox={words[i + 1]}"]
            break
    args = parser().parse_args(words)
    try:
        args.command(args)
    except (ValueError, OSError, KeyError) as error:
        text = str(error)
        if text.startswith(
            "Caught "
        ):  # in a loader worker, whose traceback stands before
            text = text.strip().splitlines()[-1].partition(": ")[2].strip("'\"")
        elif isinstance(error, KeyError):
            raise
        print(f"digit: {text}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"digit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"digit: {stop or 'interrupted'}", file=sys.stderr)
        return 130
    return 0

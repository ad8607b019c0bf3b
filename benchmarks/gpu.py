"""What the workbench claims of GPUs, measured on one: a Markdown table and trained weights.

    python benchmarks/gpu.py run --out DIR [--minutes 10] [--frames 8000] [--root ROOT] [--dry]
    python benchmarks/gpu.py split WEIGHTS DIR     pieces of at most 16 MiB, with a checksum
    python benchmarks/gpu.py join DIR WEIGHTS

`run` runs the tests on CUDA, measures `full` (images/s, peak memory, share of the bf16 peak;
training and inference; eager and compiled), trains it for some minutes on synthetic frames (or
`--root`), and writes DIR/gpu.md, DIR/result.json and DIR/weights/, the best weights in half
precision. A step that fails is a row that says so, and the others still run. `--dry`: tiny
sizes, on the CPU.
"""

import argparse
import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from digit.model.network import Digit, build_network, optimized_for_inference

# isort: split
from digit.model.checkpoints import load_network, save_checkpoint
from digit.training.validation import VALIDATION_METRICS

PROJECT = Path(__file__).resolve().parents[1]
PIECE = 16 * 2**20  # bytes
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
UNMEASURED = 3  # repeats that warm up

# Dense bf16 rates by NVIDIA's data sheets, without sparsity.
DENSE_BF16_TFLOPS = {
    "H200": 989,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "RTX 4090": 165,
    "A10": 125,
}
GFLOP_FORWARD = {"full": 47.7}  # of 256 × 256 pixels, by torch's counter
TRAINING_FACTOR = 3  # a step's arithmetic over that of its forward pass


def synchronize(device: str) -> None:
    """Wait for the GPU, if there is one."""
    if device == "cuda":
        torch.cuda.synchronize()


def random_images(network: Digit, batch: int, device: str) -> torch.Tensor:
    """A fixed batch of random images of the network's size, channels last."""
    size = getattr(network, "_orig_mod", network).image_size
    image = torch.rand(batch, 3, size, size, device=device)
    return image.contiguous(memory_format=torch.channels_last)


def training_step(
    network: Digit, batch: int, dtype: torch.dtype | None, device: str
) -> Callable[[], None]:
    """A function that makes one step on random images: forward, loss, backward, Adam."""
    image = random_images(network, batch, device)
    half = image.shape[-1] // 2
    labels = torch.randint(0, 33, (batch, half, half)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=True)
    scales = dtype == torch.float16 and device == "cuda"
    scaler = torch.amp.GradScaler(device, enabled=scales)

    def step() -> None:
        # 1. Forward, with a loss that reaches every output.
        with torch.autocast(device, dtype, enabled=dtype is not None):
            prediction = network(image)
        loss = (prediction.joints_25d - 32).abs().mean()
        loss = loss + prediction.relative_root_depth.mean()
        loss = loss + prediction.hand_type_logits.square().mean()
        part_logits = prediction.part_logits.float()
        loss = loss + torch.nn.functional.cross_entropy(part_logits, labels)

        # 2. Backward and update.
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def inference_step(
    network: Digit, batch: int, dtype: torch.dtype | None, device: str
) -> Callable[[], None]:
    """A function that predicts random images."""
    image = random_images(network, batch, device)

    @torch.no_grad()
    def step() -> None:
        with torch.autocast(device, dtype, enabled=dtype is not None):
            network(image)

    return step


def speed(
    step: Callable[[], None], batch: int, device: str, repeats: int
) -> dict[str, float | None]:
    """Images a second (median over the repeats) and peak memory in GiB."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(UNMEASURED + repeats):
        start = time.perf_counter()
        step()
        synchronize(device)
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times[UNMEASURED:])
    peak_gib = None
    if device == "cuda":
        peak_gib = torch.cuda.max_memory_allocated() / 2**30
    return {"images_per_s": batch / seconds, "peak_gib": peak_gib}


def peak_tflops(device: str) -> float | None:
    """The data sheet's dense bf16 rate of this GPU; None where it is not known here."""
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    for key, rate in DENSE_BF16_TFLOPS.items():
        if key in name:
            return rate
    return None


def speeds(
    network: str, batches: list[int], device: str, repeats: int, compiled: bool
) -> list[dict]:
    """Measure every job, way, precision and batch size.

    Args:
        network: A name of `digit.model.network.NETWORKS`.
        batches: Batch sizes.
        device: "cpu" or "cuda".
        repeats: Measured steps each.
        compiled: Whether to measure torch.compile as well.

    Returns:
        One row each; a failure is a row too.
    """
    rows = []
    ways = ("eager", "compiled") if compiled else ("eager",)
    for job, way, precision in itertools.product(
        ("training", "inference"), ways, DTYPES
    ):
        model = prepared_network(network, job, way, device)
        for batch in batches:
            row = {"job": job, "way": way, "precision": precision, "batch": batch}
            try:
                make = training_step if job == "training" else inference_step
                step = make(model, batch, DTYPES[precision], device)
                row.update(speed(step, batch, device, repeats))
                row.update(share_of_peak(row, network, device))
            except Exception as error:  # out of memory, or no compiler
                row["failed"] = (str(error).strip() or repr(error)).splitlines()[0][:80]
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def prepared_network(network: str, job: str, way: str, device: str) -> Digit:
    """A network as a run or a prediction would have it on this device."""
    model = build_network(network, pretrained=False).to(device)
    model = model.to(memory_format=torch.channels_last)
    if job == "inference":
        model = optimized_for_inference(model)
    torch._dynamo.reset()
    # As a run meets it: a graph for each size.
    return torch.compile(model, dynamic=False) if way == "compiled" else model


def share_of_peak(row: dict, network: str, device: str) -> dict[str, float]:
    """The share of the GPU's bf16 peak that a row reaches; {} where it cannot be told."""
    peak = peak_tflops(device)
    gflop = GFLOP_FORWARD.get(network)
    if peak is None or gflop is None or row["precision"] != "bf16":
        return {}
    if row["job"] == "training":
        gflop *= TRAINING_FACTOR
    return {"share_of_bf16_peak": row["images_per_s"] * gflop / 1000 / peak}


def table(rows: list[dict]) -> str:
    """The speeds in Markdown."""
    titles = (
        "job",
        "way",
        "precision",
        "batch",
        "images/s",
        "peak GiB",
        "of bf16 peak",
    )
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    for row in rows:
        speed = row.get("images_per_s")
        peak_gib = row.get("peak_gib")
        share = row.get("share_of_bf16_peak")
        cells = [
            row["job"],
            row["way"],
            row["precision"],
            str(row["batch"]),
            f"{speed:.1f}" if speed else f"failed: {row['failed']}",
            f"{peak_gib:.1f}" if peak_gib else "",
            f"{100 * share:.0f} %" if share else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def split(path: Path, folder: Path) -> list[Path]:
    """Cut a file into pieces of at most 16 MiB, with a SHA256 to check what is joined."""
    folder.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes()
    pieces = []
    for number, start in enumerate(range(0, len(content), PIECE)):
        piece = folder / f"part{number:03}"
        piece.write_bytes(content[start : start + PIECE])
        pieces.append(piece)
    (folder / "SHA256").write_text(hashlib.sha256(content).hexdigest() + "\n")
    return pieces


def join(folder: Path, path: Path) -> None:
    """Join what `split` made; ValueError where a piece is missing or damaged."""
    content = b"".join(piece.read_bytes() for piece in sorted(folder.glob("part*")))
    expected = (folder / "SHA256").read_text().strip()
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(
            f"{folder}: a piece is missing or damaged: bring them all again"
        )
    path.write_bytes(content)


def halve(checkpoint: Path, out: Path) -> None:
    """Save a checkpoint's best weights alone, in half precision; it loads as any other."""
    save_checkpoint(out, load_network(checkpoint).half())


def train(args: argparse.Namespace, out: Path) -> dict:
    """Train `full` by `digit train`, evaluate it on unseen subjects, bring the weights."""
    # 1. Data.
    root = args.root or out / "data"
    if args.root is None:
        run_digit(out, "synth", "--out", root, "--frames", args.frames, "--seed", 1)
    run_digit(out, "prepare", "--root", root)

    # 2. Training.
    changes = [f"minutes={args.minutes}", "epochs=100000", "batch_size=64"]
    changes += ["evaluate_every=20", "workers=12", "val_frames=1000"]
    if args.dry:
        changes = ["network=quick", "steps=2", "batch_size=2"]
        changes += ["workers=0", "val_frames=2"]
    options = ["--root", root, "--preset", "full", "--name", "gpu"]
    run_digit(out, "train", *options, "--set", *changes)
    run = max((out / "runs").glob("*-gpu-*"))
    best = run / "checkpoints" / "best.ckpt"

    # 3. Evaluation and weights.
    test_file = out / "test.json"
    options = ["--root", root, "--split", "test", "--root-depth", "gt"]
    run_digit(out, "evaluate", *options, "--checkpoint", best, "--json", test_file)
    halve(best, out / "half.ckpt")
    split(out / "half.ckpt", out / "weights")
    test = json.loads(test_file.read_text())
    return {
        "run": json.loads((run / "result.json").read_text()),
        "test": {name: test[name] for name in VALIDATION_METRICS if name in test},
    }


def run_digit(out: Path, *words: object) -> None:
    """Run a command of the workbench, its runs under DIR/runs."""
    command = [sys.executable, "-m", "digit", *map(str, words)]
    environment = {**os.environ, "DIGIT_RUNS": str(out / "runs")}
    subprocess.run(command, check=True, env=environment, cwd=PROJECT)


def run_tests(dry: bool) -> str:
    """Run the tests on CUDA (nothing in a dry run); returns their last line."""
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-rs"]
    command.append("tests/test_cuda.py")
    if dry:
        command = [sys.executable, "--version"]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        text=True,
        env={**os.environ, "DIGIT_CUDA": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    print(done.stdout)
    return done.stdout.strip().splitlines()[-1]


def run(args: argparse.Namespace) -> None:
    """All of it, in order; result.json and gpu.md are written anew after each part."""
    # 1. Where it runs.
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    cuda = torch.cuda.is_available() and not args.dry
    if not cuda and not args.dry:
        raise SystemExit("there is no GPU here: try the script with --dry")
    device = "cuda" if cuda else "cpu"
    result: dict[str, object] = {
        "device": torch.cuda.get_device_name() if cuda else "processor (dry run)",
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda},
    }

    # 2. The parts; one that fails is recorded.
    network = "quick" if args.dry else "full"
    batches = [1] if args.dry else [32, 64, 128, 256]
    repeats = 1 if args.dry else 10
    parts = {
        "tests": lambda: run_tests(args.dry),
        "speeds": lambda: speeds(network, batches, device, repeats, not args.dry),
        "training": lambda: train(args, out),
    }
    for name, part in parts.items():
        try:
            result[name] = part()
        except Exception as error:
            result[name] = []
            result[f"{name}_failed"] = f"{type(error).__name__}: {error}"
        (out / "result.json").write_text(json.dumps(result, indent=1))
        (out / "gpu.md").write_text(report(network, result))
    print((out / "gpu.md").read_text())


def report(network: str, result: dict) -> str:
    """The results in Markdown."""
    rest = {k: v for k, v in result.items() if k not in ("speeds", "device")}
    paragraphs = [
        f"# `{network}` on {result['device']}",
        table(result.get("speeds") or []),
        "```json",
        json.dumps(rest, indent=1),
        "```",
    ]
    return "\n\n".join(paragraphs) + "\n"


def main() -> None:
    """The command line at the top of this file."""
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = top.add_subparsers(required=True)
    sub = commands.add_parser("run")
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--minutes", type=float, default=10)
    sub.add_argument("--frames", type=int, default=8000)
    sub.add_argument("--root", type=Path)
    sub.add_argument("--dry", action="store_true")
    sub.set_defaults(command=run)
    sub = commands.add_parser("split")
    sub.add_argument("weights", type=Path)
    sub.add_argument("folder", type=Path)
    sub.set_defaults(command=lambda args: split(args.weights, args.folder))
    sub = commands.add_parser("join")
    sub.add_argument("folder", type=Path)
    sub.add_argument("weights", type=Path)
    sub.set_defaults(command=lambda args: join(args.folder, args.weights))
    args = top.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()

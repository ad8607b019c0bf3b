"""Everything the workbench claims of GPUs, measured on one: a Markdown table and
trained weights.

    python benchmarks/gpu.py run --out DIR [--minutes 10] [--frames 8000] [--root ROOT] [--dry]
    python benchmarks/gpu.py split WEIGHTS DIR       pieces of at most 16 MiB, with a checksum
    python benchmarks/gpu.py join DIR WEIGHTS

`run` tests on CUDA, measures `full` (images/s, peak memory, share of the bf16 peak;
training and inference; eager and compiled), trains it for some minutes on synthetic
frames (or `--root`), and writes DIR/gpu.md, DIR/result.json and DIR/weights/, the best
weights in half precision. Every step that fails is a row that says so, and the others
still run. `--dry`: tiny sizes, on the processor.
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
from pathlib import Path

import torch

from digit.model.network import Digit, build_network, optimized_for_inference

# isort: split
from digit.model.checkpoints import load_network, save_checkpoint
from digit.training.settings import HEADLINE

PROJECT = Path(__file__).resolve().parents[1]
PIECE = 16 * 2**20
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
DENSE_BF16_TFLOPS = {  # data sheets, without sparsity; of other GPUs no share is told
    "H200": 989,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "RTX 4090": 165,
    "A10": 125,
}
GFLOP_FORWARD = {"full": 47.7}  # of 256 × 256 pixels; training costs three times that


def synchronize(device: str) -> None:
    """Wait for the GPU, if there is one."""
    if device == "cuda":
        torch.cuda.synchronize()


def training_step(network: Digit, batch: int, dtype: torch.dtype | None, device: str):
    """A function that makes one step on fixed random pictures: forward, loss, backward,
    Adam."""
    plain = getattr(network, "_orig_mod", network)
    image = torch.rand(batch, 3, plain.image_size, plain.image_size, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 33, (batch, plain.image_size // 2, plain.image_size // 2))
    labels, optimizer = (
        labels.to(device),
        torch.optim.Adam(network.parameters(), 1e-4, fused=True),
    )
    scaler = torch.amp.GradScaler(
        device, enabled=dtype == torch.float16 and device == "cuda"
    )

    def step() -> None:
        with torch.autocast(device, dtype, enabled=dtype is not None):
            prediction = network(image)
        loss = (
            prediction.joints_25d - 32
        ).abs().mean() + prediction.relative_root_depth.mean()
        loss = loss + prediction.hand_type_logits.square().mean()
        loss = loss + torch.nn.functional.cross_entropy(
            prediction.part_logits.float(), labels
        )
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def inference_step(network: Digit, batch: int, dtype: torch.dtype | None, device: str):
    """A function that predicts fixed random pictures."""
    size = getattr(network, "_orig_mod", network).image_size
    image = torch.rand(batch, 3, size, size, device=device)
    image = image.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def step() -> None:
        with torch.autocast(device, dtype, enabled=dtype is not None):
            network(image)

    return step


def speed(step, batch: int, device: str, repeats: int) -> dict[str, float | None]:
    """Images a second (median over repeats, after three unmeasured) and peak memory,
    GiB."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(3 + repeats):
        start = time.perf_counter()
        step()
        synchronize(device)
        times.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    return {"images_per_s": batch / statistics.median(times[3:]), "peak_gib": peak}


def peak_tflops(device: str) -> float | None:
    """The data sheet's dense bf16 rate of this GPU, if it is known here."""
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return next((rate for key, rate in DENSE_BF16_TFLOPS.items() if key in name), None)


def speeds(
    network: str, batches: list[int], device: str, repeats: int, compiled: bool
) -> list:
    """One row for each job, precision, batch and way; a failure is a row too."""
    rows = []
    for job, way in itertools.product(("training", "inference"), ("eager", "compiled")):
        if way == "compiled" and not compiled:
            continue
        for precision, dtype in DTYPES.items():
            model = build_network(network, pretrained=False).to(device)
            model = model.to(memory_format=torch.channels_last)
            if job == "inference":
                model = optimized_for_inference(model)
            torch._dynamo.reset()
            # as a run meets it: a graph for each size
            model = torch.compile(model, dynamic=False) if way == "compiled" else model
            make = training_step if job == "training" else inference_step
            for batch in batches:
                row = {"job": job, "way": way, "precision": precision, "batch": batch}
                try:
                    row |= speed(
                        make(model, batch, dtype, device), batch, device, repeats
                    )
                    work = GFLOP_FORWARD.get(network, 0) * (
                        3 if job == "training" else 1
                    )
                    peak = peak_tflops(device)
                    if peak and work and precision == "bf16":
                        row["share_of_bf16_peak"] = (
                            row["images_per_s"] * work / 1000 / peak
                        )
                except Exception as error:  # out of memory, or no compiler
                    row["failed"] = (str(error).strip() or repr(error)).splitlines()[0][
                        :80
                    ]
                rows.append(row)
                print(json.dumps(row), flush=True)
    return rows


def table(rows: list[dict]) -> str:
    """The speeds in Markdown."""
    head = (
        "| job | way | precision | batch | images/s | peak memory, GiB | of bf16 peak |"
    )
    lines = [head, "| --- " * 7 + "|"]
    for row in rows:
        share = row.get("share_of_bf16_peak")
        speed, peak = row.get("images_per_s"), row.get("peak_gib")
        cells = [row["job"], row["way"], row["precision"], str(row["batch"])]
        cells += [f"{speed:.1f}" if speed else f"failed: {row['failed']}"]
        cells += [
            f"{peak:.1f}" if peak else "",
            f"{100 * share:.0f} %" if share else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def split(path: Path, folder: Path) -> list[Path]:
    """A file in pieces of at most 16 MiB, and SHA256 to check what is joined."""
    folder.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes()
    pieces = []
    for i, start in enumerate(range(0, len(content), PIECE)):
        pieces.append(folder / f"part{i:03}")
        pieces[-1].write_bytes(content[start : start + PIECE])
    (folder / "SHA256").write_text(hashlib.sha256(content).hexdigest() + "\n")
    return pieces


def join(folder: Path, path: Path) -> None:
    """What `split` made, whole again; ValueError where a piece is missing or
    damaged."""
    content = b"".join(piece.read_bytes() for piece in sorted(folder.glob("part*")))
    if hashlib.sha256(content).hexdigest() != (folder / "SHA256").read_text().strip():
        raise ValueError(
            f"{folder}: a piece is missing or damaged: bring them all again"
        )
    path.write_bytes(content)


def halve(checkpoint: Path, out: Path) -> None:
    """A checkpoint's best weights alone, in half precision; it loads as any other."""
    save_checkpoint(out, load_network(checkpoint).half())


def train(args, out: Path) -> dict:
    """Train `full` through `digit train`, evaluate it on unseen subjects, bring the
    weights."""
    root, digit = args.root or out / "data", [sys.executable, "-m", "digit"]
    environment = os.environ | {"DIGIT_RUNS": str(out / "runs")}
    dry = ["network=quick", "steps=2", "batch_size=2", "workers=0", "val_frames=2"]
    real = [
        f"minutes={args.minutes}",
        "epochs=100000",
        "batch_size=64",
        "evaluate_every=20",
    ]
    real += ["workers=12", "val_frames=1000"]
    commands = [
        [*digit, "prepare", "--root", str(root)],
        [
            *digit,
            "train",
            "--root",
            str(root),
            "--preset",
            "full",
            "--name",
            "gpu",
            "--set",
        ]
        + (dry if args.dry else real),
    ]
    if args.root is None:
        commands.insert(
            0, [*digit, "synth", "--out", str(root), "--frames", str(args.frames)]
        )
        commands[0] += ["--seed", "1"]
    for command in commands:
        subprocess.run(command, check=True, env=environment, cwd=PROJECT)
    run = max((out / "runs").glob("*-gpu-*"))
    best, found = run / "checkpoints" / "best.ckpt", out / "test.json"
    evaluate = [
        *digit,
        "evaluate",
        "--root",
        str(root),
        "--split",
        "test",
        "--root-depth",
        "gt",
    ]
    evaluate += ["--checkpoint", str(best), "--json", str(found)]
    subprocess.run(evaluate, check=True, env=environment, cwd=PROJECT)
    halve(best, out / "half.ckpt")
    split(out / "half.ckpt", out / "weights")
    return {"run": json.loads((run / "result.json").read_text())} | {
        "test": {
            k: v for k, v in json.loads(found.read_text()).items() if k in HEADLINE
        }
    }


def run(args) -> None:
    """All of it, in order; result.json and gpu.md are written anew after each part."""
    out, result = args.out.resolve(), {}
    out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() and not args.dry else "cpu"
    if device == "cpu" and not args.dry:
        raise SystemExit("there is no GPU here: try the script with --dry")
    result["device"] = (
        torch.cuda.get_device_name() if device == "cuda" else "processor (dry run)"
    )
    result["versions"] = {"torch": torch.__version__, "cuda": torch.version.cuda}

    def tests() -> str:
        files = [] if args.dry else ["tests/test_cuda.py"]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-o",
            "addopts=",
            "-q",
            "-rs",
            *files,
        ]
        done = subprocess.run(
            command if files else [sys.executable, "--version"],
            cwd=PROJECT,
            text=True,
            env=os.environ | {"DIGIT_CUDA": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        print(done.stdout)
        return done.stdout.strip().splitlines()[-1]

    network, batches = ("quick", [1]) if args.dry else ("full", [32, 64, 128, 256])
    parts = {
        "tests": tests,
        "speeds": lambda: speeds(
            network, batches, device, 1 if args.dry else 10, not args.dry
        ),
        "training": lambda: train(args, out),
    }
    for name, part in parts.items():
        try:
            result[name] = part()
        except Exception as error:
            result[name] = []
            result[f"{name}_failed"] = f"{type(error).__name__}: {error}"
        (out / "result.json").write_text(json.dumps(result, indent=1))
        rest = {k: v for k, v in result.items() if k not in ("speeds", "device")}
        lines = [
            f"# `{network}` on {result['device']}",
            table(result.get("speeds") or []),
        ]
        lines += ["```json", json.dumps(rest, indent=1), "```"]
        (out / "gpu.md").write_text("\n\n".join(lines) + "\n")
    print((out / "gpu.md").read_text())


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

"""The data path beside its alternatives, measured in one run (`make bench`).

Every measure runs ours and the alternative by turns and shows medians: CPU time, which
other processes on the machine disturb least, and ours in wall time; all on one thread
but the mask job. Pictures are real sample frames where they lie beside the checkout,
else made up. `--full` makes the index of as many frames as InterHand2.6M has for
training, about a gigabyte of JSON.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import cv2
import numpy as np
import torch

from digit import geometry
from digit.data import packing, store
from digit.data.build_index import prepare_index
from digit.data.dataset import (
    Augmentation,
    InterHandDataset,
    evaluation_targets,
    loader,
)
from digit.data.layout import FRAMES_OF_V1
from digit.evaluation.error_table import error_table
from digit.evaluation.predictions import Predictions
from digit.evaluation.protocol import protocol
from digit.hands.model import load_hand
from digit.hands.part_masks import prepare_masks
from digit.hands.part_rendering import fit_vertices_mm, render_part_mask
from digit.paths import prepared_dir

HERE = Path(__file__).resolve().parents[1]
sys.path += [str(HERE / "tests"), str(HERE / "tests/hands")]
from hand_trees import make_tree  # noqa: E402
from plain_path import PlainSamples, evaluate, recode  # noqa: E402
from test_rasterizer import cast_rays  # noqa: E402
from trees import jpeg  # noqa: E402

SAMPLE = HERE.parent / "shared/data/InterHand2.6M_sample/images/train"
CAMERAS, MOMENTS, CORES = 80, 1251, os.cpu_count()  # of a capture: 100,080 frames
HEADS = ("what", "ours", "alternative", "ratio", "our target", "met", "ours, wall time")
lines = [HEADS, ("---",) * len(HEADS)]


def report(
    what: str, ours: float, other: float, unit: str, bar: str, met: bool, wall=0.0
) -> None:
    """A line of the table: ours, the alternative (0: none), how many times ours that
    is."""
    mine, *others = (f"{x:,.4g} {unit}".strip() for x in (ours, other, wall))
    other_, wall_ = (
        text if x else "" for text, x in zip(others, (other, wall), strict=True)
    )
    ratio = f"{other / ours:,.{int(other < 10 * ours)}f}×" if other else ""
    lines.append((what, mine, other_, ratio, bar, "yes" if met else "**no**", wall_))
    print(" | ".join(lines[-1]), flush=True)


def once(work: Callable, count: int) -> tuple[float, float]:
    """CPU and wall seconds of the work, for one of the things that it does so many
    of."""
    cpu, wall = process_time(), perf_counter()
    work()
    return (process_time() - cpu) / count, (perf_counter() - wall) / count


def by_turns(rounds: int, *works: tuple[Callable, int]) -> np.ndarray:
    """Median CPU and wall seconds of each work; a first turn warms up."""
    return np.median(
        [[once(*work) for work in works] for _ in range(rounds + 1)][1:], axis=0
    )


def repeat_captures(root: Path, captures: int) -> None:
    """The tree's one capture again and again, with image ids of their own."""
    file = (root / "annotations/train/InterHand2.6M_train_{}.json").as_posix().format
    for role in ("camera", "joint_3d", "MANO_NeuralAnnot"):
        capture = json.loads(Path(file(role)).read_text())["0"]
        Path(file(role)).write_text(json.dumps(dict.fromkeys(range(captures), capture)))
    images, middle, labels = (
        Path(file("data")).read_text()[12:-2].partition('], "annotations": [')
    )

    def copy(k: int, text: str) -> str:
        text = text.replace('"capture": 0', f'"capture": {k}').replace(
            "Capture0/", f"Capture{k}/"
        )
        return re.sub(
            r'id": (\d+)', lambda m: f'id": {int(m[1]) + k * CAMERAS * MOMENTS}', text
        )

    with open(file("data"), "w") as out:
        for head, text in (('{"images": [', images), (middle, labels)):
            for k in range(captures):
                out.write((", " if k else head) + copy(k, text))
        out.write("]}")


def make_large_tree(scratch: Path, hands: tuple, sizes: list, full: bool) -> Path:
    """Labels of one capture's frames, or of fourteen captures'."""
    large = make_tree(scratch / "large", hands, MOMENTS, cameras=CAMERAS, sizes=sizes)
    if full:
        repeat_captures(large, 14)
    return large


def measure_packing(
    root: Path, images: list[bytes], scratch: Path, few: int = 48
) -> None:
    index, number = prepare_index(root), itertools.count()
    keys = index.keys()
    files = [root / "images" / key for key in keys]
    for file, camera in zip(files, index["camera_row"], strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(images[camera % len(images)])
    items = [(key, file.read_bytes) for key, file in zip(keys, files, strict=True)]

    def ours() -> None:
        packing.pack(scratch / f"jpeg{next(number)}", items)

    def other() -> None:
        recode(scratch / f"png{next(number)}", files[:few], keys[:few])

    (cpu, wall), (png, _) = 1e3 * by_turns(5, (ours, len(keys)), (other, few))
    what = "packing a JPEG frame; re-coding it as PNG"
    report(what, cpu, png, "ms", "≥ 40×", png >= 40 * cpu, wall)
    made = (scratch / name / "data.mdb" for name in ("jpeg0", "png1"))
    mine, theirs = (
        file.stat().st_size / sum(f.stat().st_size for f in files[:n])
        for file, n in zip(made, (len(files), few), strict=True)
    )
    report("LMDB file by the JPEGs' bytes", mine, theirs, "", "≤ 1.1", mine <= 1.1)


def measure_masks(root: Path, scenes: int = 40) -> None:
    hands, index = (load_hand("right"), load_hand("left")), prepare_index(root)
    two = index.take((index["hand_type"] == 2) & (index["camera_row"] == 0)).take(
        slice(scenes)
    )
    fits = (torch.tensor(two[f"mano_{name}"]) for name in ("pose", "shape", "trans"))
    camera = (torch.tensor(two[name]).float() for name in ("camrot", "campos_mm"))
    world = fit_vertices_mm(hands, *fits)
    cam = geometry.world_to_camera(world.flatten(1, 2), *camera).numpy()  # (n, 2 V, 3)
    faces = np.concatenate(
        [hand.faces + side * world.shape[2] for side, hand in enumerate(hands)]
    )
    labels = np.concatenate(
        [hand.face_part + 1 + 16 * side for side, hand in enumerate(hands)]
    )
    view = [two[name][0] for name in ("focal", "princpt")] + [
        two["width"][0],
        two["height"][0],
    ]

    def draw() -> list:
        return [render_part_mask(hands, v.reshape(2, -1, 3), *view) for v in cam]

    def cast() -> list:
        return [cast_rays(vertices, faces, labels, *view) for vertices in cam]

    (cpu, wall), (rays, _) = 1e3 * by_turns(3, (draw, len(cam)), (cast, len(cam)))
    what = "rasteriser; embreex, a two-hand scene"
    report(what, cpu, rays, "ms", "≥ 20×", rays >= 20 * cpu, wall)
    other = 1e6 * np.mean(np.array(draw()) != np.array(cast()))
    report(
        "their labels differ, of a million pixels",
        other,
        0,
        "",
        "≤ 1,000",
        other <= 1000,
    )
    cpu, wall = once(lambda: prepare_masks(root, "train"), len(index))
    what = f"fits → mask LMDB, {len(index):,} frames, {CORES} cores"
    report(what, CORES / cpu, 0, "frames/s", "≥ 500", CORES / cpu >= 500, 1 / wall)


def measure_samples(root: Path, scratch: Path) -> None:
    packing.pack_images(root)
    index = prepare_index(root).usable()
    index = index.take(np.flatnonzero(index["parts_valid"])[:96])
    keys, masks, n = index.keys(), store.mask_store(root), len(index)
    recode(scratch / "images", [root / "images" / key for key in keys], keys)
    coded = (
        cv2.imencode(".png", cv2.merge([store.read_mask(masks, key)] * 3))[1]
        for key in keys
    )
    packing.pack(
        scratch / "masks",
        ((f"{k[:-4]}.png", c.tobytes()) for k, c in zip(keys, coded, strict=True)),
    )
    plain = PlainSamples(root, [scratch / "images", scratch / "masks"])
    dataset, epoch = InterHandDataset(index, 256, Augmentation()), itertools.count()
    batches = [slice(start, start + 32) for start in range(0, n, 32)]

    def ours() -> list:
        positions = np.arange(n) + next(epoch) * n
        return [dataset.batch(positions[some]) for some in batches]

    def other() -> list:
        collate = torch.utils.data.default_collate
        return [collate([plain[i] for i in index.rows[some]]) for some in batches]

    (cpu, wall), (slow, _) = 1e3 * by_turns(5, (ours, n), (other, n))
    met = cpu <= 3 and slow >= 6 * cpu
    report(
        "a training sample with mask, one core",
        cpu,
        slow,
        "ms",
        "≤ 3 ms, ≥ 6×",
        met,
        wall,
    )


def child(root: Path, before: str, work: str) -> list[float]:
    """CPU s, wall s and peak memory (MB) of some work in a process of its own."""
    code = f"""if 1:
        import json, pathlib, time; root = pathlib.Path({str(root)!r}); {before}
        cpu, wall = time.process_time(), time.perf_counter(); {work}
        print(time.process_time() - cpu, time.perf_counter() - wall)
        print(int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1e3)"""
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    return [float(number) for number in output.split()]


def worker_memory(root: Path, image: bytes, step: int) -> float:
    """MB that the greediest of four loader workers has to itself after 2,048 samples."""
    index = prepare_index(root)
    rows = np.flatnonzero(index["camera_row"] % step == 0)
    rows = np.random.default_rng(0).choice(rows, 2048, replace=False)
    items = [(f"train/{name}", image) for name in index.take(rows)["file_name"]]
    packing.pack(prepared_dir(root) / "images.lmdb", items)
    samples = loader(
        InterHandDataset(index, 256, Augmentation()), 32, 4, sampler=rows.tolist()
    )
    assert sum(len(batch.row) for batch in samples) == 2048
    pages = (
        Path(f"/proc/{worker.pid}/smaps_rollup").read_text()
        for worker in multiprocessing.active_children()
    )
    return (
        max(sum(map(int, re.findall(r"Private\w*: +(\d+)", text))) for text in pages)
        / 1e3
    )


def measure_index(root: Path, images: list[bytes], rounds: int) -> None:
    load = (
        "x = [json.loads(p.read_text()) for p in root.glob('annotations/train/*.json')]"
    )
    build, imports = (
        "prepare_index(root)",
        "from digit.data.build_index import prepare_index",
    )
    turns = []
    for _ in range(rounds):
        shutil.rmtree(root / "prepared", ignore_errors=True)
        turns.append([child(root, imports, build), child(root, "pass", load)])
    (cpu, wall, mb), (slow, _, many) = np.median(turns, axis=0)
    gb = (
        sum(path.stat().st_size for path in (root / "annotations/train").iterdir())
        / 1e9
    )
    n = len(prepare_index(root))
    bar = 300 * min(n / FRAMES_OF_V1["train"], 1)
    what = f"index of {n:,} frames, {gb:.2f} GB of JSON; json.load of it"
    report(what, cpu, slow, "s", f"≤ {bar:.0f} s", cpu <= bar, wall)
    report("peak memory of that, with torch", mb, many, "MB", "≤ 4,000 MB", mb <= 4000)
    cpu, wall, _ = np.median([child(root, imports, build) for _ in range(5)], axis=0)
    report("opening it", cpu, slow, "s", "≤ 1 s", cpu <= 1, wall)
    mb = worker_memory(root, images[0], len(images))
    report(
        "own memory of a loader worker, four open",
        mb,
        many,
        "MB",
        "≤ 300 MB",
        mb <= 300,
    )


def measure_evaluation(root: Path, few: int = 1000) -> None:
    index = prepare_index(root).take(slice(0, 100_000))
    rng, n, targets = np.random.default_rng(0), len(index), evaluation_targets(index)
    joints = targets.joints_25d.numpy() + rng.normal(0, 1, (n, 42, 3)).astype(
        np.float32
    )
    found = Predictions(
        index["image_id"], joints, rng.uniform(20, 40, n), rng.random((n, 2))
    )
    affine, true = (
        geometry.invert_affine(targets.image_to_crop).numpy(),
        index["joints_cam_mm"],
    )
    columns = [index[name] for name in ("joint_valid", "focal", "princpt")]
    some = [
        array[:few] for array in (joints, affine, true[:, [20, 41], 2], true, *columns)
    ]
    first = error_table(index.take(slice(0, few)), found.take(slice(0, few)))
    assert abs(protocol(first, intervals=False)["mpjpe_all"] - evaluate(*some)) < 0.01
    works = (
        (lambda: protocol(error_table(index, found)), 1),
        (lambda: evaluate(*some), few),
    )
    (cpu, wall), (slow, _) = by_turns(3, *works)
    what = f"evaluation of {n:,} predictions; a loop over frames and joints, MPJPE only"
    report(what, cpu, slow * n, "s", "≤ 2 s", min(cpu, wall) <= 2, wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="14 captures: 1,401,120 frames"
    )
    parser.add_argument(
        "--only", choices=("index",), help="one part of it, printed and not written"
    )
    parser.add_argument("--out", type=Path, default=HERE / "figures/bench_data_path.md")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        scratch, files = Path(folder), sorted(SAMPLE.rglob("*.jpg"))
        images = [file.read_bytes() for file in files] or [jpeg(0), jpeg(1)]
        hands = load_hand("right"), load_hand("left")
        sizes = [
            cv2.imdecode(np.frombuffer(image, np.uint8), -1).shape[1::-1]
            for image in images
        ]
        if args.only:
            large = make_large_tree(scratch, hands, sizes, args.full)
            measure_index(large, images, rounds=1 if args.full else 3)
            return
        small = make_tree(scratch / "small", hands, 300, cameras=8, sizes=sizes)
        large = make_large_tree(scratch, hands, sizes, args.full)
        measure_packing(small, images, scratch)
        measure_masks(small)
        measure_samples(small, scratch)
        measure_index(large, images, rounds=1 if args.full else 3)
        measure_evaluation(large)
    turns = "medians of turns (the index: of one)" if args.full else "medians of turns"
    about = f"CPU time, {turns}; {CORES} cores, load {before:.1f} at the start and "
    kind = "real" if SAMPLE.is_dir() else "synthetic"
    about += f"{os.getloadavg()[0]:.1f} at the end; {kind} pictures."
    args.out.write_text(
        "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", about, ""])
    )


if __name__ == "__main__":
    main()

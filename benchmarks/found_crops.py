"""Whether the crops that `digit predict` cuts by itself hold the annotated hands.

    python benchmarks/found_crops.py ROOT:SPLIT [ROOT:SPLIT …] [--frames N]
        [--interacting] [--out figures/bench_found_crops.md]

For each data set: in how many frames one crop holds all annotated joints, in how many the
crops together do, and in how many no hand is found at all.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from tqdm import tqdm

from digit import geometry
from digit.data.build_index import prepare_index
from digit.inference.networks import load_network
from digit.inference.pipeline import predict_files
from digit.inference.records import PictureRecord
from digit.model.network import optimized_for_inference
from digit.paths import SHIPPED_WEIGHTS


def inside(
    joints_px: Float[np.ndarray, "n 2"], bbox_xywh: Float[np.ndarray, "4"]
) -> Bool[np.ndarray, "n"]:
    """Which joints lie in the crop of a box."""
    square = geometry.square_bbox(torch.from_numpy(bbox_xywh)).numpy()
    offset = joints_px - square[:2]
    return ((offset > 0) & (offset < square[2:])).all(-1)


def count(dataset_dir: Path, split: str, frames: int, interacting: bool, network):
    """Counts of a data set's frames, evenly drawn."""
    index = prepare_index(dataset_dir, split)
    if interacting:
        index = index.take(index["hand_type"] == 2)
    if frames:
        rows = np.linspace(0, len(index) - 1, min(frames, len(index))).round()
        index = index.take(np.unique(rows.astype(int)))
    keys = index.keys()
    paths = [dataset_dir / "images" / key for key in keys]
    row = {"frames": len(index), "in one crop": 0, "in all crops": 0, "none found": 0}
    records = predict_files(paths, network)
    for number, record in enumerate(tqdm(records, dataset_dir.name, len(paths))):
        assert isinstance(record, PictureRecord), record
        frame = index.frame(number)
        joints_px = frame.joints_px[frame.joint_valid]
        held = [inside(joints_px, np.asarray(c.bbox_xywh)) for c in record.crops]
        row["in one crop"] += any(crop.all() for crop in held)
        row["in all crops"] += bool(held) and bool(np.any(held, axis=0).all())
        row["none found"] += not held
    return row


def main() -> None:
    """Print a row for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="+", metavar="ROOT:SPLIT")
    parser.add_argument("--frames", type=int, default=0, help="evenly drawn; 0: all")
    parser.add_argument("--interacting", action="store_true", help="two hands only")
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED_WEIGHTS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    network = optimized_for_inference(load_network(args.checkpoint))
    rows = {}
    for data in args.data:
        folder, _, split = data.rpartition(":")
        path = Path(folder)
        name = f"{path.name}, {split}"
        rows[name] = count(path, split, args.frames, args.interacting, network)
    text = pd.DataFrame(rows).T.to_markdown()
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

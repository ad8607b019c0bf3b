"""How often `digit predict` warns about a box: of right boxes, and of wrong ones.

    python benchmarks/box_warnings.py --real data/real_photos --synthetic data/synthetic
        [--split val] [--every N] [--out figures/bench_box_warnings.md]

Each frame is predicted with its annotated box, and with boxes that a hurried user might
draw: half as large, four times as large, moved aside by six tenths of its side. The
thresholds that the rates belong to are constants of `digit.inference.confidence`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from tqdm import tqdm

from digit.data.build_index import prepare_index
from digit.inference.assembly import PredictOptions
from digit.inference.networks import load_network
from digit.inference.pipeline import predict_files
from digit.inference.sources import Failure
from digit.model.network import optimized_for_inference
from digit.paths import SHIPPED_WEIGHTS

Box = Float[np.ndarray, "4"]


def resized(bbox_xywh: Box, by: float) -> Box:
    """The box with other sides about the same middle."""
    middle = bbox_xywh[:2] + bbox_xywh[2:] / 2
    size = bbox_xywh[2:] * by
    return np.concatenate([middle - size / 2, size])


def moved(bbox_xywh: Box, by: float) -> Box:
    """The box to the right by a share of its width."""
    return bbox_xywh + np.array([by * bbox_xywh[2], 0, 0, 0])


BOXES: dict[str, Callable[[Box], Box]] = {
    "annotated": lambda box: box,
    "half as large": lambda box: resized(box, 0.5),
    "four times as large": lambda box: resized(box, 4.0),
    "moved by 0.6 of its width": lambda box: moved(box, 0.6),
}
REFUSED = "the box is refused"
# A kind of warning by words that only it has.
KINDS = {
    "cut": "cuts a hand",
    "small": "of the box's side",
    "parts against joints": "classified as that hand",
    "no hand": "sees no hand",
    "refused": REFUSED,
}


def warnings_of(path: Path, bbox_xywh: Box, network) -> list[str]:
    """The warnings of the crop that is cut by a box."""
    options = PredictOptions(bbox_xywh=tuple(bbox_xywh.tolist()))
    [record] = predict_files([path], network, options)
    if isinstance(record, Failure):  # such as a box outside the picture
        return [REFUSED]
    return [warning for crop in record.crops for warning in crop.warnings]


def rates(dataset_dir: Path, split: str, every: int, network) -> pd.DataFrame:
    """The share of frames with each kind of warning, a row for each kind of box."""
    index = prepare_index(dataset_dir, split)
    chosen = index.take(np.arange(0, len(index), every))
    keys = chosen.keys()
    paths = [dataset_dir / "images" / key for key in keys]
    rows = {}
    for name, change in BOXES.items():
        found = []
        for path, box in zip(tqdm(paths, name), chosen["bbox_xywh"], strict=True):
            warnings = warnings_of(path, change(np.asarray(box, float)), network)
            kinds = {
                kind: any(words in warning for warning in warnings)
                for kind, words in KINDS.items()
            }
            found.append({"any": any(kinds.values()), **kinds})
        rows[name] = pd.DataFrame(found).mean()
    return pd.DataFrame(rows).T


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--every", type=int, default=4, help="one frame in so many")
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED_WEIGHTS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    network = optimized_for_inference(load_network(args.checkpoint))
    text = ""
    folders = {"real photographs": args.real, "synthetic frames": args.synthetic}
    for name, folder in folders.items():
        table = rates(folder, args.split, args.every, network)
        text += f"\nShare of {name} with a warning, by the box that was given:\n\n"
        text += (100 * table).round(0).astype(int).astype(str).add(" %").to_markdown()
        text += "\n"
    print(text)
    if args.out:
        args.out.write_text(text.lstrip())


if __name__ == "__main__":
    main()

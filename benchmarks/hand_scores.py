"""Fits and checks the score that `digit predict` gives each hand.

    python benchmarks/hand_scores.py --real data/real_photos --synthetic data/synthetic

Pictures go through the whole of `digit predict`. A hand counts as right where its joints'
mean error is under a tenth of the frame's tight box. Half of each data set's frames fit
the coefficients of `digit.inference.confidence`, the other half gives the reliability
curve: printed as a table, and drawn with --figure.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float

from digit.data.build_index import prepare_index
from digit.data.index import Index
from digit.data.layout import splits_of
from digit.inference.assembly import HANDS, PredictOptions
from digit.inference.confidence import FAR_FROM_LANDMARKS, Clues, score
from digit.inference.networks import load_network
from digit.inference.pipeline import predict_sources
from digit.inference.records import PictureRecord
from digit.inference.sources import Source
from digit.model.network import optimized_for_inference
from digit.paths import SHIPPED_WEIGHTS
from digit.skeleton import SIDES

FOUND = 0.1  # of the tight box's longer side
PENALTY = 0.01  # on the coefficients, so that a clue that never varies gets none
STEPS = 50
BINS = np.linspace(0, 1, 6)


class Judged(NamedTuple):
    """One predicted hand and whether it is right."""

    clues: Clues
    right: bool


def judged_hands(
    dataset_dir: Path, split: str, every: int, network
) -> Iterator[Judged]:
    """The predicted hands of a split's frames, one frame in `every`."""
    index = prepare_index(dataset_dir, split)
    rows = np.arange(0, len(index), every)
    keys = index.take(rows).keys()
    paths = [dataset_dir / "images" / key for key in keys]
    sources = [Source(path, is_video=False) for path in paths]
    options = PredictOptions()
    records = predict_sources(sources, network, options)
    for row, record in zip(rows, records, strict=True):
        if isinstance(record, PictureRecord):
            yield from _judge(index, int(row), record)


def _judge(index: Index, row: int, record: PictureRecord) -> Iterator[Judged]:
    """The hands of the crop that holds most of a frame's joints."""
    frame = index.frame(row)
    joints = frame.joints_px[frame.joint_valid]
    if not record.crops or not len(joints):
        return
    held = []
    for crop in record.crops:
        low = crop.bbox_xywh[:2]
        inside = (joints > low) & (joints < low + crop.bbox_xywh[2:])
        held.append(inside.all(-1).mean())
    crop = record.crops[int(np.argmax(held))]
    length = (joints.max(0) - joints.min(0)).max()
    for hand in crop.hands:
        own = HANDS[SIDES.index(hand.side)]
        valid = frame.joint_valid[own]
        apart = np.linalg.norm(hand.joints_px - frame.joints_px[own], axis=-1)
        right = bool(valid.any() and apart[valid].mean() < FOUND * length)
        yield Judged(hand.clues, right)


def fit(
    features: Float[np.ndarray, "n d"], right: Bool[np.ndarray, "n"]
) -> Float[np.ndarray, "d"]:
    """Logistic regression by Newton's method; the first feature is the constant."""
    weights = np.zeros(features.shape[1])
    penalty = np.full(features.shape[1], PENALTY)
    penalty[0] = 1e-6
    for _ in range(STEPS):
        probability = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (right - probability) - penalty * weights
        spread = probability * (1 - probability)
        hessian = (features * spread[:, None]).T @ features + np.diag(penalty)
        weights += np.linalg.solve(hessian, gradient)
    return weights


def features_of(hands: list[Judged], with_landmarks: bool) -> Float[np.ndarray, "n d"]:
    """Constant and clues, a row for each hand."""
    rows = []
    for hand in hands:
        row = [1.0, hand.clues.entropy, hand.clues.on_own_parts]
        if with_landmarks:
            row.append(min(hand.clues.from_landmarks, FAR_FROM_LANDMARKS))
        rows.append(row)
    return np.array(rows)


def print_coefficients(hands: list[Judged]) -> None:
    """What belongs into `digit.inference.confidence`."""
    for name, with_landmarks in (("WITH", True), ("WITHOUT", False)):
        chosen = hands  # few lack the clue: without it, all are fitted
        if with_landmarks:
            chosen = [h for h in hands if h.clues.from_landmarks is not None]
        right = np.array([hand.right for hand in chosen])
        weights = fit(features_of(chosen, with_landmarks), right)
        listed = ", ".join(f"{w:.2f}" for w in weights)
        print(f"{name}_LANDMARKS = ({listed})  # {len(chosen)} hands")


def print_reliability(name: str, hands: list[Judged], axes) -> None:
    """The share of right hands for scores in each interval."""
    scores = np.array([score(hand.clues) for hand in hands])
    right = np.array([hand.right for hand in hands])
    print(f"\n{name}: {len(hands)} hands, {right.mean():.0%} of them right")
    print("| score | hands | mean score | right |\n| --- | ---: | ---: | ---: |")
    points = []
    for low, high in itertools.pairwise(BINS):
        inside = (scores >= low) & ((scores < high) | (high == 1))
        if inside.any():
            mean, share = scores[inside].mean(), right[inside].mean()
            points.append((mean, share))
            count = inside.sum()
            print(f"| {low:.1f}–{high:.1f} | {count} | {mean:.2f} | {share:.2f} |")
    axes.plot(*np.transpose(points), marker="o", label=f"{name} ({len(hands)} hands)")


def main() -> None:
    """Print coefficients and reliability."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, required=True)
    parser.add_argument("--every", type=int, default=4, help="one frame in so many")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED_WEIGHTS)
    args = parser.parse_args()
    network = optimized_for_inference(load_network(args.checkpoint))
    folders = {"real photographs": args.real, "synthetic frames": args.synthetic}
    hands: dict[str, list[Judged]] = {}
    for name, folder in folders.items():
        hands[name] = []
        for split in splits_of(folder):
            hands[name] += judged_hands(folder, split, args.every, network)
    print_coefficients([hand for some in hands.values() for hand in some[::2]])
    figure, axes = plt.subplots(figsize=(4, 4))
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1)
    for name, some in hands.items():
        print_reliability(name, some[1::2], axes)
    axes.set(xlabel="score", ylabel="share of hands that are right")
    axes.legend()
    if args.figure:
        figure.savefig(args.figure)


if __name__ == "__main__":
    main()

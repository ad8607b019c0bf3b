"""How far two sets of labels of the same photographs agree.

    python benchmarks/label_agreement.py --reference data/real_photos --split val --out FOLDER

labels the pictures of the reference's split by `digit label` into a new folder and
prints, against the reference's labels: hands found, sides, and distances in the image by
the longer side of the reference hand's tight box.
"""

import argparse
from pathlib import Path

import numpy as np

from digit.data.build_index import prepare_index
from digit.inference.label_dataset import PhotoOptions, label_photos, read_journal
from digit.skeleton import SIDES


def main() -> None:
    """Label, match hand by hand, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    # 1. Label the pictures, all of them for one split
    pictures = args.reference / "images" / args.split
    print(label_photos([pictures], args.out, PhotoOptions(val_share=1.0)))
    labels = labels_by_picture(args.out, pictures)

    # 2. Each reference hand with the nearest label of its picture
    index = prepare_index(args.reference, args.split)
    kinds = index["joint_valid"].reshape(-1, 2, 21)
    joints_px = index["joints_px"].reshape(-1, 2, 21, 2)
    distances, same_side = [], []
    for row, name in enumerate(index["file_name"]):
        found = labels.get(name, [])
        for side in np.flatnonzero(kinds[row].any(1)):
            valid = kinds[row, side]
            joints = joints_px[row, side][valid]
            extent = np.ptp(joints, axis=0).max()
            apart = [
                np.linalg.norm(other[valid] - joints, axis=1).mean() / extent
                for _, other in found
            ]
            distances.append(min(apart, default=np.inf))
            nearest = found[int(np.argmin(apart))][0] if apart else None
            same_side.append(nearest == SIDES[side])

    # 3. In numbers
    distances, same_side = np.array(distances), np.array(same_side)
    labelled = np.isfinite(distances)
    same = distances < 0.5
    print(
        f"{len(distances)} reference hands, {labelled.mean():.1%} in labelled pictures"
    )
    print(f"labelled within half of the box: {same.mean():.1%}")
    print(f"  of these the same side: {same_side[same].mean():.1%}")
    print(f"  median distance: {np.median(distances[same]):.2%} of the tight box")
    print(f"  within 5 %: {(distances[same] < 0.05).mean():.1%}")


def labels_by_picture(dataset_dir: Path, pictures: Path) -> dict[str, list]:
    """Side and joints (px of the picture) of each labelled hand, by the picture's name."""
    found: dict[str, list] = {}
    for entry in read_journal(dataset_dir):
        name = Path(entry.place[0]).relative_to(pictures.resolve()).as_posix()
        hands = found.setdefault(name, [])
        for frame, cut in zip(entry.frames, entry.cuts, strict=True):
            joints_px = cut.photo_points(frame.joints_px).reshape(2, 21, 2)
            has_hand = frame.joint_valid.reshape(2, 21).any(1)
            for side in np.flatnonzero(has_hand):
                hands.append((SIDES[side], joints_px[side]))
    return found


if __name__ == "__main__":
    main()

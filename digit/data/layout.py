"""InterHand2.6M's folders, file names and record fields."""

from pathlib import Path

from digit.skeleton import HAND_TYPES, N_JOINTS

# name → (split of the tree, what part of it: everything, a fraction, or a number of frames)
SPLITS: dict[str, tuple[str, float | int | None]] = {
    "train": ("train", None),
    "val": ("val", None),
    "test": ("test", None),
    "minitrain": ("train", 1000),
    "minival": ("val", 1000),
    "minitest": ("test", 1000),
    "smalltrain": ("train", 0.1),
    "smallval": ("val", 0.25),
    "smalltest": ("test", 0.25),
    "tinytrain": ("train", 0.05),
}
CURE = "put InterHand2.6M's annotations there"
LABEL_KINDS = ("2d", "3d")
MOMENT = {"capture": int, "frame_idx": int}
IMAGE = {
    "id": int,
    "file_name": str,
    "width": int,
    "height": int,
    **MOMENT,
    "subject": int,
    "seq_name": str,
    "camera": str,
}
ANNOTATION = {
    "id": int,
    "image_id": int,
    "bbox": (4,),
    "joint_valid": (N_JOINTS,),
    "hand_type": HAND_TYPES.index,
    "hand_type_valid": (),
}
ROOTNET = {"annot_id": int, "bbox": (4,), "abs_depth": (2,)}
CAMERA = {"campos": (3,), "camrot": (3, 3), "focal": (2,), "princpt": (2,)}
FIT = {"pose": (48,), "shape": (10,), "trans": (3,)}


def splits_of(root: Path | str) -> list[str]:
    """The splits whose annotations the tree holds, of train, val, test.

    Raises FileNotFoundError where there is no such tree, or none of them in it.
    """
    found = _splits_there(Path(root))
    if not found:
        place = "annotations/<split>/InterHand2.6M_<split>_data.json"
        raise FileNotFoundError(f"{root}: no {place}; {CURE}")
    return found


def _splits_there(root: Path) -> list[str]:
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root}: no such data set folder; say where it lies by --root"
        )
    folders = {
        split: root / "annotations" / split for split in ("train", "val", "test")
    }
    return [
        s
        for s, folder in folders.items()
        if any(folder.glob(f"InterHand2.6M_{s}_data.*"))
    ]


def hand_model_name(root: Path | str) -> str:
    """Which hand the fits are for: "generic" if `annotations/hand_model.txt` says so, or "mano"."""
    path = Path(root) / "annotations/hand_model.txt"
    return (
        "generic"
        if path.is_file() and path.read_text().strip() == "generic"
        else "mano"
    )


def label_kind(dataset_dir: Path | str) -> str:
    """Whether a data set's joints can be trusted in depth.

    Args:
        dataset_dir: The data set's folder.

    Returns:
        "2d" if `annotations/labels.txt` holds this word: the joints are good in the image,
        their depths are not to be trusted (labels made by a detector, say). Else "3d".

    Raises:
        ValueError: If the file holds anything else.
    """
    path = Path(dataset_dir) / "annotations/labels.txt"
    if not path.is_file():
        return "3d"
    kind = path.read_text().strip()
    if kind not in LABEL_KINDS:
        raise ValueError(f"{path}: holds {kind!r:.40}; write 2d or 3d")
    return kind


def annotation_files(root: Path, split: str) -> dict[str, Path]:
    """The files that tell of a split, by role; FileNotFoundError for one that must be there."""
    stem = f"annotations/{split}/InterHand2.6M_{split}"
    rootnet = "rootnet_output/rootnet_interhand2.6m_output"
    names = {
        "data": [f"{stem}_data.json", f"{stem}_data.pkl"],
        "camera": [f"{stem}_camera.json"],
        "joint_3d": [f"{stem}_joint_3d.json"],
        "mano": [f"{stem}_MANO_NeuralAnnot.json"],
        "rootnet": [
            f"{rootnet}_{part}{split}.json" for part in ("", "all_", "machine_annot_")
        ],
        "meta_dict": [f"cache/meta_dict_{split}.pkl"],
        "truth": [f"truth/{split}.parquet"],
    }
    found = {
        r: root / n for r in names for n in reversed(names[r]) if (root / n).is_file()
    }
    for role in ("data", "camera", "joint_3d"):
        if role not in found:
            there = ", ".join(_splits_there(root)) or "none"
            cure = f"{CURE} (splits here: {there})"
            raise FileNotFoundError(f"{root / names[role][0]}: missing; {cure}")
    return found

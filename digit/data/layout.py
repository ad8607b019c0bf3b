"""InterHand2.6M on disk: its splits, folders, file names and record fields.

Reader (`annotations`) and writer (`tree`) both take every name from here.
"""

from collections.abc import Iterator
from pathlib import Path

from digit.data.fields import (
    LONGEST_SIDE,
    FileName,
    HandType,
    Integer,
    Kind,
    Numbers,
    Text,
)
from digit.paths import find_prepared
from digit.skeleton import N_JOINTS

# name → (split of the tree, what part of it: everything, a fraction, or a number of
# frames)
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
WHOLE_SPLITS = ("train", "val", "test")
FRAMES_OF_V1 = {"train": 1_361_062, "val": 380_125, "test": 849_160}  # 5 fps

# Fields of the records, by file.
MOMENT: dict[str, Kind] = {"capture": Integer(), "frame_idx": Integer()}
# images[] of data.json
IMAGE: dict[str, Kind] = {
    "id": Integer(),
    "file_name": FileName(),
    "width": Integer(low=1, high=LONGEST_SIDE),
    "height": Integer(low=1, high=LONGEST_SIDE),
    "capture": Integer(),
    "frame_idx": Integer(),
    "subject": Integer(),
    "seq_name": Text(),
    "camera": Text(),
}
# annotations[] of data.json
ANNOTATION: dict[str, Kind] = {
    "id": Integer(),
    "image_id": Integer(),
    "bbox": Numbers((4,)),
    "joint_valid": Numbers((N_JOINTS,)),
    "hand_type": HandType(),
    "hand_type_valid": Numbers(()),
}
# joint_3d.json: capture → frame → record
INSTANT: dict[str, Kind] = {"world_coord": Numbers((N_JOINTS, 3))}
# RootNet's output: a list
ROOTNET: dict[str, Kind] = {
    "annot_id": Integer(),
    "bbox": Numbers((4,)),
    "abs_depth": Numbers((2,)),
}
# camera.json: capture → quantity → camera → value
CAMERA: dict[str, Kind] = {
    "campos": Numbers((3,), float),
    "camrot": Numbers((3, 3), float),
    "focal": Numbers((2,), float),
    "princpt": Numbers((2,), float),
}
# MANO_NeuralAnnot.json: capture → frame → side → fit
FIT: dict[str, Kind] = {
    "pose": Numbers((48,)),
    "shape": Numbers((10,)),
    "trans": Numbers((3,)),
}

LABEL_KINDS = ("flat", "2d", "3d")
LABELS_NAME = "annotations/labels.txt"  # one of them; 3d where it is missing
ANNOTATIONS_HINT = "put InterHand2.6M's annotations there"
# What each role's file is called by those who keep the data otherwise: a part of the
# name, in lower case.
SIMILAR_NAMES = {
    "data": ("data",),
    "camera": ("camera",),
    "joint_3d": ("joint_3d", "joint3d"),
    "mano": ("mano", "neuralannot"),
}


def annotation_stem(split: str) -> str:
    """How the annotation files of a split begin, relative to the data set's folder."""
    return f"annotations/{split}/InterHand2.6M_{split}"


def annotation_names(split: str) -> dict[str, list[str]]:
    """The names a split's files may have, by role, relative to the data set's folder.

    Where several are there, the first counts.
    """
    stem = annotation_stem(split)
    rootnet = "rootnet_output/rootnet_interhand2.6m_output"
    return {
        "data": [f"{stem}_data.json", f"{stem}_data.pkl"],
        "camera": [f"{stem}_camera.json"],
        "joint_3d": [f"{stem}_joint_3d.json"],
        "mano": [f"{stem}_MANO_NeuralAnnot.json"],
        "rootnet": [
            f"{rootnet}_{split}.json",
            f"{rootnet}_all_{split}.json",
            f"{rootnet}_machine_annot_{split}.json",
        ],
        "meta_dict": [f"cache/meta_dict_{split}.pkl"],
        "truth": [f"truth/{split}.parquet"],
    }


REQUIRED_ROLES = ("data", "camera", "joint_3d")


def annotation_files(dataset_dir: Path, split: str) -> dict[str, Path]:
    """Find the files that an index of a split is made from.

    Args:
        dataset_dir: The data set's folder.
        split: "train", "val" or "test".

    Returns:
        The path of each file that is there, by role; "fitted" are the fits that
        `digit fit-hands` wrote.

    Raises:
        FileNotFoundError: If the folder, or a file that an index needs, is missing.
    """
    found: dict[str, Path] = {}
    for role, names in annotation_names(split).items():
        paths = [dataset_dir / name for name in names]
        there = [path for path in paths if path.is_file()]
        if there:
            found[role] = there[0]
        elif role in REQUIRED_ROLES:
            splits = ", ".join(_splits_there(dataset_dir)) or "none"
            hint = f"{ANNOTATIONS_HINT} (splits here: {splits})"
            similar = find_similar(dataset_dir, split, role)
            if similar is not None:
                hint = f"there is {similar}: did you mean it? rename or move it"
            raise FileNotFoundError(f"{paths[0]}: missing; {hint}")
    fitted = fitted_file(dataset_dir, split)
    if fitted is not None:
        found["fitted"] = fitted
    return found


def find_similar(dataset_dir: Path, split: str, role: str) -> Path | None:
    """Find a file that may be meant for a role that has none, by an older name or
    place.

    InterHand2.6M has been published as `annotations/all/…`, `…_30fps.json`, and with
    `…_MANO.json` for the fits.
    """
    # Files under their right names are not meant for another role.
    known = [name for names in annotation_names(split).values() for name in names]
    taken = {dataset_dir / name for name in known}
    for path in _json_files(dataset_dir / "annotations"):
        name = path.name.lower()
        is_of_split = split in name or path.parent.name == split
        is_of_role = any(part in name for part in SIMILAR_NAMES.get(role, ()))
        if is_of_split and is_of_role and path not in taken:
            return path
    return None


def misplaced_images(dataset_dir: Path, split: str) -> Path | None:
    """Find a split's image folder that lies too deep, as it comes out of the archives.

    Returns:
        The folder that should be `images/<split>`; None if there is none, or if
        `images/<split>` is there with its captures.
    """
    images = dataset_dir / "images"
    # Where the captures are in place, nothing is misplaced.
    if any((images / split).glob("Capture*")):
        return None
    patterns = (
        f"{split}/*/Capture*",
        f"{split}/*/*/Capture*",
        f"*/{split}/Capture*",
        f"*/*/{split}/Capture*",
    )
    for pattern in patterns:
        for found in images.glob(pattern):
            return found.parent
    return None


def splits_of(dataset_dir: Path | str) -> list[str]:
    """The splits whose annotations a data set holds, of train, val, test.

    Raises:
        FileNotFoundError: If there is no such folder, or no split in it.
    """
    found = _splits_there(Path(dataset_dir))
    if not found:
        place = "annotations/<split>/InterHand2.6M_<split>_data.json"
        hint = ANNOTATIONS_HINT
        for split in WHOLE_SPLITS:
            similar = find_similar(Path(dataset_dir), split, "data")
            if similar is not None:
                hint = f"there is {similar}: did you mean it? rename or move it"
                break
        raise FileNotFoundError(f"{dataset_dir}: no {place}; {hint}")
    return found


def hand_model_name(dataset_dir: Path | str) -> str:
    """Which hand model the fits are for.

    Returns:
        "generic" if `annotations/hand_model.txt` says so, else "mano".
    """
    path = Path(dataset_dir) / "annotations/hand_model.txt"
    if path.is_file() and path.read_bytes().strip() == b"generic":
        return "generic"
    return "mano"


def has_own_fits(dataset_dir: Path | str) -> bool:
    """Whether some split has a file of fits among its annotations."""
    names = [name for split in WHOLE_SPLITS for name in annotation_names(split)["mano"]]
    return any((Path(dataset_dir) / name).is_file() for name in names)


def fitted_name(split: str) -> str:
    """The file of fits that `digit fit-hands` writes, relative to `prepared/`."""
    return f"fits/InterHand2.6M_{split}_MANO_fitted.json"


def fitted_error_name(split: str) -> str:
    """The table of their errors, relative to `prepared/`."""
    return f"fits/InterHand2.6M_{split}_MANO_fitted_error.tsv"


FITTED_MODEL_NAME = "fits/hand_model.txt"  # whose fits those are; as above


def fitted_file(dataset_dir: Path | str, split: str) -> Path | None:
    """Find the fits that `digit fit-hands` wrote for a split.

    Fits of the generic hand do not count any more once the data set has fits of MANO's
    among its annotations: a data set has fits of one hand model.
    """
    found = find_prepared(dataset_dir, fitted_name(split))
    if found is None or _fitted_model(dataset_dir) != fit_hand_model(dataset_dir):
        return None
    return found


def fit_hand_model(dataset_dir: Path | str) -> str:
    """The hand model of the fits that an index holds, the user's or `digit fit-hands`'.

    Returns:
        "generic" or "mano".
    """
    name = hand_model_name(dataset_dir)
    if name == "mano" and not has_own_fits(dataset_dir):
        return _fitted_model(dataset_dir) or name
    return name


def _fitted_model(dataset_dir: Path | str) -> str | None:
    """The hand model of `digit fit-hands`' fits; None where there are none."""
    path = find_prepared(dataset_dir, FITTED_MODEL_NAME)
    if path is None:
        return None
    return path.read_bytes().decode(errors="replace").strip()


def label_kind(dataset_dir: Path | str) -> str:
    """Whether a data set's joints can be trusted in depth.

    Args:
        dataset_dir: The data set's folder.

    Returns:
        "2d" if `annotations/labels.txt` holds this word: the joints are good in the
        image, their depths are not to be trusted (labels made by a detector, say).
        "flat" if it holds that: the joints are known in the image only, and their
        depths are a plane's. Else "3d".

    Raises:
        ValueError: If the file holds anything else.
    """
    path = Path(dataset_dir) / LABELS_NAME
    if not path.is_file():
        return "3d"
    kind = path.read_bytes().decode(errors="replace").strip()
    if kind not in LABEL_KINDS:
        raise ValueError(f"{path}: holds {kind!r:.40}; write 3d, 2d or flat")
    return kind


def _splits_there(dataset_dir: Path) -> list[str]:
    if not dataset_dir.is_dir():
        message = f"{dataset_dir}: no such data set folder; check the path"
        raise FileNotFoundError(message)
    return [
        split
        for split in WHOLE_SPLITS
        if any(
            (dataset_dir / name).is_file() for name in annotation_names(split)["data"]
        )
    ]


def _json_files(folder: Path) -> Iterator[Path]:
    """The JSON files of a folder and of those right below it."""
    yield from sorted(folder.glob("*.json"))
    yield from sorted(folder.glob("*/*.json"))

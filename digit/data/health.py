"""The health report of a data set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from digit.data.index import FAULTS, FRAMES_OF_V1, Index, open_index
from digit.data.layout import splits_of
from digit.files import atomic
from digit.paths import prepared_dir
from digit.skeleton import BONES, WRISTS

MIN_BONE_MM, MAX_BONE_MM, MAX_PALM_MM = 3, 80, 130  # beyond human; palm: wrist to base
MAX_FIT_ERROR_MM = 10  # of a fit that speaks for wrong 3D joints


def check(
    root: Path | str,
    splits: Sequence[str] | None = None,
    examine: Callable[[Index], Shaped[np.ndarray, "n"]] | None = None,
) -> pd.DataFrame:
    """The health of a data set, a row a finding: number and share of its frames, whether they go on
    the exclude list `prepared/exclude/<split>_check.tsv`, an example, and the camera that has most
    of it with the share of its frames. `examine` looks at the images: `store.verify`.

    Raises as `open_index` does.
    """
    report = []
    for split in splits or splits_of(root):
        index = open_index(root, split)
        n, keys, camera = len(index), np.array(index.keys(), object), index["camera"]
        known = (
            "v1.0, by its" if n == FRAMES_OF_V1[split] else "unknown: v1.0 has another"
        )
        counts = {f"label version {known} number of frames": n}
        counts |= index.made["left_out"]
        report += [
            (split, what, k, k / n, False, "", "") for what, k in counts.items() if k
        ]
        reasons = np.full(n, "", object)
        for what, wrong, exclude in _findings(index, examine):
            if wrong.any():
                where = pd.Series(wrong).groupby(camera).agg(["sum", "mean"])
                worst = where.sort_values("sum").iloc[-1]
                most, example = (
                    f"{worst.name}: {worst['mean']:.0%}",
                    keys[wrong.argmax()],
                )
                report += [
                    (split, what, wrong.sum(), wrong.mean(), exclude, example, most)
                ]
                reasons[wrong & (reasons == "") & exclude] = what
        bad = np.flatnonzero(reasons != "")
        write_exclude_list(root, split, "check", dict(zip(keys[bad], reasons[bad])))
    names = [
        "split",
        "finding",
        "frames",
        "share",
        "excluded",
        "example",
        "worst_camera",
    ]
    return pd.DataFrame(report, columns=names)


def _findings(
    index: Index, examine: Callable | None
) -> Iterator[tuple[str, np.ndarray, bool]]:
    """What may be wrong, which frames have it, and whether that makes them unusable."""
    for number, fault in enumerate(FAULTS[1:], 1):
        yield fault, index["fault"] == number, True
    sound = index["fault"] == 0
    if examine:
        images = examine(index)
        for reason in sorted(set(images) - {""}):
            wrong = images == reason
            yield (
                f"image: {reason}",
                wrong,
                not wrong.all(),
            )  # of all, the tree has no images
    names = index.to_pandas(["capture", "camera", "frame_idx"])
    yield (
        "capture, camera and moment seen twice",
        names.duplicated(keep=False).to_numpy(),
        True,
    )
    size = np.stack([index["width"], index["height"]], 1)
    low, extent = np.split(index["bbox_xywh"], 2, axis=1)
    high = low + extent
    yield "box wholly outside the image", ((high <= 0) | (low >= size)).any(1), True
    yield "box partly outside the image", ((low < -1) | (high > size + 1)).any(1), False
    valid, px = index["joint_valid"], index["joints_px"].transpose(1, 0, 2)
    outside = ((px < 0) | (px > size - 1)).any(2).T & valid
    yield "a valid joint outside the image", outside.any(1), False
    inside = ((px > low - 0.2 * extent) & (px < high + 0.2 * extent)).all(2).T & valid
    misfit = sound & (inside.sum(1) < valid.sum(1) / 2)
    yield "camera does not fit: most joints project outside the box", misfit, True
    world = index._tables["instants"]["joints_world_mm"]
    bones = np.linalg.norm(world[:, BONES[:, 0]] - world[:, BONES[:, 1]], axis=2)
    limit = np.where(np.isin(BONES[:, 1], WRISTS), MAX_PALM_MM, MAX_BONE_MM)
    wrong = ((bones > limit) | (bones < MIN_BONE_MM))[index["instant_row"]]
    wrong &= valid[:, BONES[:, 0]] & valid[:, BONES[:, 1]]
    yield "bone length beyond human", sound & wrong.any(1), True
    error, fits = index["fit_error_mm"], index["parts_valid"]
    yield (
        f"fit error over {MAX_FIT_ERROR_MM} mm",
        (error > MAX_FIT_ERROR_MM).any(1),
        True,
    )
    yield (
        "fits do not match the hand type: no part mask",
        ~fits & np.isfinite(error).any(),
        False,
    )


def write_exclude_list(
    root: Path | str, split: str, name: str, reasons: Mapping[str, str]
) -> None:
    """Write the list `prepared/exclude/<split>_<name>.tsv`: key, tab, reason."""
    with atomic(prepared_dir(root) / f"exclude/{split}_{name}.tsv") as file:
        file.writelines(f"{key}\t{reason}\n" for key, reason in reasons.items())

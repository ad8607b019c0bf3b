"""Any method's predictions for a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from digit import skeleton
from digit.data.index import Index
from digit.files import atomic
from digit.skeleton import N_JOINTS

RootDepth = Literal["gt", "rootnet"]
BBOX_OF = {
    "gt": "truth",
    "rootnet": "rootnet",
}  # the crop that goes with a source of depth


class Predictions(NamedTuple):
    """What a method says of N frames; the optional arrays come from networks of ours."""

    image_id: Int[np.ndarray, "n"]
    joints_25d: Float[
        np.ndarray, "n 42 3"
    ]  # heat-map units of the frame's evaluation crop
    relative_root_depth: Float[
        np.ndarray, "n"
    ]  # left wrist − right wrist, heat-map units
    hand_type: Float[np.ndarray, "n 2"]  # probabilities, right and left
    heatmap_entropy: Float[np.ndarray, "n 42"] | None = None  # nats
    part_pixels: Int[np.ndarray, "n 3 33"] | None = None  # see `part_statistics`
    hand_confusion: Int[np.ndarray, "n 3 3"] | None = None

    @classmethod
    def load(cls, path: Path | str) -> "Predictions":
        """Read an .npz of arrays named as here; ValueError says what is wrong."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file; write it with numpy.savez")
        try:
            with np.load(path) as file:
                found = cls(
                    **{name: file[name] for name in cls._fields if name in file.files}
                )
        except Exception as error:  # zip, zlib and numpy each have their own
            needed = ", ".join(cls._fields[:4])
            raise ValueError(f"{path}: {error}; give {needed} by numpy.savez") from None
        return found.checked(path)

    def save(self, path: Path | str) -> None:
        """Write what `load` reads."""
        with atomic(Path(path), "wb") as file:
            np.savez(file, **{k: v for k, v in self._asdict().items() if v is not None})

    def take(self, rows: Any) -> "Predictions":
        """The predictions at these positions (numbers, slice or mask)."""
        return Predictions(*(None if v is None else v[rows] for v in self))

    @classmethod
    def concatenate(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """All of them in turn; an optional array only where every one has it."""
        fields = zip(*parts)
        return cls(
            *(None if any(v is None for v in f) else np.concatenate(f) for f in fields)
        )

    def checked(self, source: Path | str = "predictions") -> "Predictions":
        """The same, or ValueError: wrong shapes, numbers not finite, an image_id given twice."""
        shapes = [
            (),
            (N_JOINTS, 3),
            (),
            (2,),
            (N_JOINTS,),
            (3, skeleton.N_LABELS),
            (3, 3),
        ]
        given = [
            field for field in zip(self._fields, self, shapes) if field[1] is not None
        ]
        for name, array, shape in given:
            shape = (*(self.image_id.shape[:1] or (1,)), *shape)
            if array.shape != shape or array.dtype.kind not in "iuf":
                raise ValueError(
                    f"{source}: {name} is {array.dtype} {array.shape}, not {shape}"
                )
            bad = ~np.isfinite(array).reshape(len(array), -1).all(1)
            self._refuse(
                bad, f"{source}: {name} is NaN or infinite", "predict them again"
            )
        outside, cure = (
            (abs(self.hand_type - 0.5) > 0.5).any(1),
            "give probabilities, not logits",
        )
        self._refuse(outside, f"{source}: hand_type is not in 0…1", cure)
        repeated = pd.Series(self.image_id).duplicated().to_numpy()
        self._refuse(
            repeated, f"{source}: image_id comes again", "give one prediction a frame"
        )
        return self

    def ordered(self, index: Index) -> "Predictions":
        """Those of the index's frames, in its order, without those of other frames of its split.

        ValueError for a frame without a prediction, or for predictions of unknown frames.
        """
        unknown = ~np.isin(self.checked().image_id, index.split_image_ids)
        self._refuse(unknown, f"predictions of no frame in {index.split}", "drop them")
        wanted = index["image_id"]
        rows = pd.Index(self.image_id).get_indexer(wanted)
        what = f"frames of {index.name} ({index.root}) without a prediction"
        self._replace(image_id=wanted)._refuse(rows < 0, what, "predict them too")
        return self.take(rows)

    def _refuse(self, bad: Bool[np.ndarray, "n"], what: str, cure: str) -> None:
        if bad.any():
            some = ", ".join(map(str, self.image_id[bad][:8])) + ", …" * int(
                bad.sum() > 8
            )
            raise ValueError(
                f"{what}: {bad.sum()} of {len(bad)} (image_id {some}); {cure}"
            )


def part_statistics(
    predicted: Integer[Tensor, "b h w"], true: Integer[Tensor, "b h w"], valid: Tensor
) -> dict[str, Int[np.ndarray, "b 3 n"]]:
    """Pixel counts of predicted against true part labels, as `Predictions` carries them.

    `part_pixels` (b, 3, 33): how many pixels each label truly has, is given, and has rightly;
    `hand_confusion` (b, 3, 3): true × predicted background, right, left. Zero where not `valid`.
    """
    n, frame = (
        skeleton.N_LABELS,
        torch.arange(len(true), device=true.device)[:, None, None],
    )
    cell = ((frame * n + true) * n + predicted).flatten()
    counts = torch.bincount(cell, minlength=len(true) * n * n).view(-1, n, n)
    counts = (
        (counts * (valid > 0)[:, None, None]).int().cpu().numpy()
    )  # (b, true, predicted)
    pixels = counts.sum(2), counts.sum(1), counts.diagonal(axis1=1, axis2=2)
    hands = [0, 1, 1 + skeleton.PARTS_PER_HAND]
    confusion = np.add.reduceat(np.add.reduceat(counts, hands, 1), hands, 2)
    return {
        "part_pixels": np.stack(pixels, 1).astype(np.int32),
        "hand_confusion": confusion,
    }

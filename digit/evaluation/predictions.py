"""Any method's predictions for frames of a data set, in memory and as an .npz file.

The network's come from `digit.inference.evaluate`; another method's are written with
`numpy.savez`. `error_table` scores both alike.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from digit.data.index import Index
from digit.evaluation.contradiction import COLUMNS as CONTRADICTION_COLUMNS
from digit.files import atomic
from digit.skeleton import N_JOINTS, N_LABELS

REQUIRED = ("image_id", "joints_25d", "relative_root_depth", "hand_type")
# The shape of one frame's share of each array.
FRAME_SHAPES = {
    "image_id": (),
    "joints_25d": (N_JOINTS, 3),
    "relative_root_depth": (),
    "hand_type": (2,),
    "heatmap_entropy": (N_JOINTS,),
    "part_pixels": (3, N_LABELS),
    "hand_confusion": (3, 3),
    "contradiction": (len(CONTRADICTION_COLUMNS),),
    "features": ("D",),  # as many as the network has
}
# Arrays in which NaN means that something does not apply.
MAY_BE_NAN = ("contradiction",)
WHOLE_NUMBERS = ("image_id", "part_pixels", "hand_confusion")
# Far beyond any unit mix-up, and small enough for errors in float32; chosen by eye.
LARGEST_NUMBER = 1e6
LISTED = 8  # image ids that an error message names


class Predictions(NamedTuple):
    """What a method predicts for n frames; the optional arrays are our networks' own.

    Attributes:
        image_id: The frames, by InterHand2.6M's image id; any order.
        joints_25d: x, y and z in cells of the frame's evaluation crop.
        relative_root_depth: Left wrist's depth minus the right's on the scale of z: 32
            cells for equal depths.
        hand_type: Probabilities of a right and of a left hand.
        heatmap_entropy: Entropy of each joint's heatmap, nats.
        part_pixels: See `digit.evaluation.metrics.part_statistics`.
        hand_confusion: See there.
        contradiction: How joints and parts contradict each other, in the order of
            `digit.evaluation.contradiction.COLUMNS`.
        features: What the network saw in each frame as a whole, see
            `digit.inference.features`.
    """

    image_id: Int[np.ndarray, "n"]
    joints_25d: Float[np.ndarray, "n 42 3"]
    relative_root_depth: Float[np.ndarray, "n"]
    hand_type: Float[np.ndarray, "n 2"]
    heatmap_entropy: Float[np.ndarray, "n 42"] | None = None
    part_pixels: Int[np.ndarray, "n 3 33"] | None = None
    hand_confusion: Int[np.ndarray, "n 3 3"] | None = None
    contradiction: Float[np.ndarray, "n 6"] | None = None
    features: Float[np.ndarray, "n d"] | None = None

    @classmethod
    def load(cls, path: Path | str) -> "Predictions":
        """Read an .npz file of arrays named as the fields.

        Args:
            path: The file. Numbers of any width and byte order are read.

        Returns:
            Checked predictions.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is a folder, or no .npz of such arrays, see `checked`. Nothing in
                the file is executed.
        """
        if Path(path).is_dir():
            raise ValueError(f"{path}: this is a folder; give an .npz file")
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file; write it with numpy.savez")
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in cls._fields if name in file}
        # The modules zipfile, zlib and numpy raise exceptions of many kinds.
        except Exception as error:
            raise ValueError(f"{path}: {_reason(error)}; {_HINT}") from None
        for name, array in arrays.items():
            # An entry that is no .npy file comes as bytes.
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{path}: {name} is no array; {_HINT}")
        missing = [name for name in REQUIRED if name not in arrays]
        if missing:
            message = f"{path}: there is no array {', '.join(missing)}; {_HINT}"
            raise ValueError(message)
        for name, array in arrays.items():
            arrays[name] = _plain_numbers(array, f"{path}: {name}")
        return cls(**arrays).checked(path)

    @classmethod
    def load_for(cls, path: Path | str, index: Index) -> "Predictions":
        """Read the predictions of an index's frames, in its order.

        Raises:
            FileNotFoundError, ValueError: As `load` and `ordered`, with the file's name.
        """
        return cls.load(path).ordered(index, source=path)

    def save(self, path: Path | str) -> None:
        """Write the .npz file that `load` reads; OSError if it cannot be written."""
        with atomic(Path(path), "wb") as file:
            np.savez(file, **self.arrays())

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by name."""
        return {k: v for k, v in self._asdict().items() if v is not None}

    def take(self, rows: Any) -> "Predictions":
        """The predictions at these positions (numbers, slice or mask)."""
        return Predictions(**{k: v[rows] for k, v in self.arrays().items()})

    @classmethod
    def concatenate(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """All of them in turn; an optional array only where every part has it."""
        arrays = {}
        for name in cls._fields:
            pieces = [getattr(part, name) for part in parts]
            if all(piece is not None for piece in pieces):
                arrays[name] = np.concatenate(pieces)
        return cls(**arrays)

    def checked(self, source: Path | str = "predictions") -> "Predictions":
        """Check shapes and values.

        Args:
            source: What an error message calls the predictions.

        Returns:
            The same predictions.

        Raises:
            ValueError: If there is no frame, an array has the wrong shape or type, a
                number is not finite or beyond ±10⁶, a hand type is no probability, or
                an image id is given twice.
        """
        # 1. Shapes and types.
        n = self.image_id.shape[0] if self.image_id.ndim else None
        for name, array in self.arrays().items():
            has_shape = _is_shaped(array, n, FRAME_SHAPES[name])
            if not has_shape or array.dtype.kind not in "iuf":
                wanted = ", ".join(map(str, ("N", *FRAME_SHAPES[name])))
                frames = "" if n is None else f" for the {n} frames of image_id"
                raise ValueError(
                    f"{source}: {name} is {array.dtype} of shape {array.shape}; it "
                    f"must hold numbers of shape ({wanted}){frames}"
                )
        if n == 0:
            raise ValueError(f"{source}: image_id is empty; predict some frames")

        # 2. Values.
        for name, array in self.arrays().items():
            rows = array.reshape(len(array), -1)
            if rows.dtype == np.float16:  # which ends below the largest number
                rows = rows.astype(np.float32)
            if name in MAY_BE_NAN:
                rows = np.nan_to_num(rows, nan=0.0, posinf=np.inf, neginf=-np.inf)
            self._refuse(
                ~np.isfinite(rows).all(1),
                problem=f"{source}: {name} is NaN or infinite",
                hint="predict them again",
            )
            if name not in WHOLE_NUMBERS:
                self._refuse(
                    (np.abs(rows) > LARGEST_NUMBER).any(1),
                    problem=f"{source}: {name} is beyond ±{LARGEST_NUMBER:.0e}",
                    hint="give cells, 0…64 within the crop",
                )
        self._refuse(
            (np.abs(self.hand_type - 0.5) > 0.5).any(1),
            problem=f"{source}: hand_type is not in 0…1",
            hint="give probabilities, not logits",
        )
        self._refuse(
            pd.Series(self.image_id).duplicated().to_numpy(),
            problem=f"{source}: image_id is repeated",
            hint="give one prediction a frame",
        )
        return self

    def ordered(self, index: Index, source: Path | str | None = None) -> "Predictions":
        """Select the predictions of an index's frames, in the index's order.

        Args:
            index: Frames of a split; predictions of other frames of that split may be
                there too and are left out.
            source: What an error message begins with; None for nothing.

        Returns:
            One prediction for each frame of the index.

        Raises:
            ValueError: If a frame has no prediction, or a prediction is of no frame of
                the split, or as `checked`.
        """
        self.checked(source or "predictions")
        prefix = "" if source is None else f"{source}: "
        self._refuse(
            ~np.isin(self.image_id, index.split_image_ids),
            problem=f"{prefix}predictions of no frame in {index.split}",
            hint="drop them",
        )
        wanted = np.asarray(index["image_id"])
        rows = pd.Index(self.image_id).get_indexer(wanted)
        frames = f"frames of {index.name} ({index.dataset_dir})"
        self._replace(image_id=wanted)._refuse(
            rows < 0,
            problem=f"{prefix}{frames} without a prediction",
            hint="predict them too",
        )
        return self.take(rows)

    def _refuse(self, bad: Bool[np.ndarray, "n"], problem: str, hint: str) -> None:
        """Raise ValueError that names the bad frames, if there are any."""
        if not bad.any():
            return
        some = ", ".join(map(str, self.image_id[bad][:LISTED]))
        if bad.sum() > LISTED:
            some += ", …"
        count = f"{bad.sum()} of {len(bad)}"
        raise ValueError(f"{problem}: {count} (image_id {some}); {hint}")


def _is_shaped(
    array: np.ndarray, n: int | None, frame_shape: tuple[int | str, ...]
) -> bool:
    """Whether an array holds n frames; a letter in the shape stands for any size."""
    if n is None or array.ndim != 1 + len(frame_shape) or len(array) != n:
        return False
    sizes = zip(array.shape[1:], frame_shape, strict=True)
    return all(size == wanted or isinstance(wanted, str) for size, wanted in sizes)


_HINT = f"give {', '.join(REQUIRED)} with numpy.savez"


def _reason(error: Exception) -> str:
    """What an exception says, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300]


def _plain_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """An array in the machine's own byte order, of a width that torch knows.

    Raises:
        ValueError: If a whole number does not fit 64 bits, or a real number 64-bit
            floating point.
    """
    if array.dtype.kind == "f":
        # Half and long double included.
        dtype = np.float32 if array.dtype.itemsize <= 4 else np.float64
    elif array.dtype.kind in "iu":
        dtype = np.int64
    else:
        return array
    with np.errstate(over="ignore"):
        plain = array.astype(dtype)
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(dtype).max:
        raise ValueError(f"{name} has numbers beyond 64 bits; {_HINT}")
    return plain

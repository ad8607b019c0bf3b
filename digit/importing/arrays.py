"""Plain arrays in an .npz file: pictures, cameras and joints of n frames.

image (n, h, w, 3) uint8 RGB, or image_path (n) below the file's folder
joints_cam_mm (n, j, 3), or joints_cam_m in metres, or joints_px (n, j, 2) without
    depths; j joints of a hand in the order named, or of both hands, right first; NaN
    where a joint is not known
side (n), "right" or "left", where there is one hand
focal_px (n, 2) or (2), princpt_px likewise; may be missing beside joints_px
joint_valid (n, j), sequence (n), split (n): optional
"""

import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from digit.conventions import HAND_ORDERS, opencv_from_opengl, reorder_hand
from digit.data.layout import WHOLE_SPLITS
from digit.data.photo_tree import encode_picture, make_frame
from digit.importing.plan import (
    NO_KIND,
    NO_PICTURE,
    Imported,
    ImportOptions,
    LeftOut,
    Plan,
    flat_joints,
    header_size,
    plain_file,
    splits_in_order,
)
from digit.inference.placement import Lens, lens_of
from digit.skeleton import JOINTS_PER_HAND, SIDES

# Names of the joints' array, and what brings its numbers to mm (0: pixels).
JOINT_ARRAYS = {"joints_cam_mm": 1.0, "joints_cam_m": 1000.0, "joints_px": 0.0}
NO_JOINTS = "no joint, or no wrist, is known"
BEHIND = "a joint lies behind the camera"

Arrays = Mapping[str, np.ndarray]


def plan_arrays(source: Path, options: ImportOptions) -> Plan:
    """Read an .npz file of pictures, cameras and joints.

    Args:
        source: The file; its arrays are listed at the top of this module.
        options: Order and axes of the joints, folder of the pictures, splits.

    Returns:
        Its frames.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If an array is missing or of another shape.
    """
    # 1. The arrays, of one length
    arrays = _load(source)
    kinds = [name for name in JOINT_ARRAYS if name in arrays]
    if len(kinds) != 1:
        wanted = ", ".join(JOINT_ARRAYS)
        raise ValueError(f"{source}: needs one of {wanted}; has {_names(arrays)}")
    if ("image" in arrays) == ("image_path" in arrays):
        raise ValueError(
            f"{source}: needs one of image, image_path; has {_names(arrays)}"
        )
    n = len(arrays[kinds[0]])
    for name, array in arrays.items():
        is_per_frame = name not in ("focal_px", "princpt_px") or array.ndim > 1
        if is_per_frame and len(array) != n:
            raise ValueError(f"{source}: {name} has {len(array)} rows, {kinds[0]} {n}")

    # 2. What they mean
    reader = _Reader(source, arrays, kinds[0], options)
    kind = "flat" if reader.is_flat else "3d"
    return Plan(n, reader.items(n), set(reader.splits), kind)


class _Reader:
    """Frames of arrays, row by row."""

    def __init__(
        self, source: Path, arrays: Arrays, joints_name: str, options: ImportOptions
    ):
        self.is_flat = joints_name == "joints_px"
        self._source = source
        self._arrays = arrays
        self._options = options
        # Everything is checked before the first frame is made.
        self._joints = self._in_our_order(joints_name)
        self._check_sides(joints_name)
        for name in ("focal_px", "princpt_px"):
            self._check_camera(name)
        if "image" in arrays:
            pictures = arrays["image"]
            if pictures.dtype != np.uint8 or pictures.shape[3:] != (3,):
                raise self._error("image", "(n, h, w, 3) of uint8", pictures)
        self.splits = self._read_splits(len(self._joints))

    def items(self, n: int) -> Iterator[Imported | LeftOut]:
        """A frame for each row."""
        # A capture for each sequence, in the order of their first frames
        sequences = [str(name) for name in self._arrays.get("sequence", [""] * n)]
        captures = {name: k for k, name in enumerate(dict.fromkeys(sequences))}
        for row in range(n):
            name = sequences[row]
            yield self._item(row, captures[name], name or self._source.stem)

    def _item(self, row: int, capture: int, sequence: str) -> Imported | LeftOut:
        # 1. The joints of both hands
        what = f"row {row}"
        joints = self._joints[row]
        valid = np.isfinite(joints).all(-1)
        # A hand counts with its wrist only.
        valid &= valid[:, -1:]
        if not valid.any():
            return LeftOut(what, NO_JOINTS)
        if not self.is_flat and (joints[..., 2][valid] <= 0).any():
            return LeftOut(what, BEHIND)

        # 2. Picture and camera
        if "image" in self._arrays:
            picture = self._arrays["image"][row]
            size = (picture.shape[1], picture.shape[0])
            read, suffix = partial(encode_picture, picture), ".jpg"
        else:
            path = self._path(row)
            if not path.is_file():
                return LeftOut(f"{what}, {path}", NO_PICTURE)
            size = header_size(path)
            if size is None:
                return LeftOut(f"{what}, {path}", NO_KIND)
            read, suffix = path.read_bytes, path.suffix
        lens = self._lens(row, size)

        # 3. The frame
        if self.is_flat:
            hands = [flat_joints(joints[k], valid[k], lens) for k in range(2)]
            joints = np.stack(hands)
        frame = make_frame(
            image_id=row + 1,
            split=self.splits[row],
            capture=capture,
            sequence=sequence,
            size=size,
            focal_px=np.array(lens.focal_px),
            princpt_px=np.array(lens.princpt_px),
            joints_cam_mm=joints.reshape(-1, 3),
            joint_valid=valid.ravel(),
            suffix=suffix,
        )
        return Imported(frame, read)

    def _in_our_order(self, name: str) -> Float[np.ndarray, "n 2 21 d"]:
        """The joints as right and left hand, NaN where there is none."""
        joints = self._arrays[name]
        order = self._options.order
        per_hand = len(HAND_ORDERS[order])
        d = 2 if self.is_flat else 3
        if joints.ndim != 3 or joints.shape[2] != d or joints.dtype.kind not in "fiu":
            raise self._error(name, f"(n, joints, {d}) of numbers", joints)
        if joints.shape[1] not in (per_hand, 2 * per_hand):
            wanted = (
                f"{per_hand} joints a hand, as the order {order} has, or both hands'"
            )
            raise self._error(name, wanted, joints)

        # 1. NaN for what is not known
        joints = joints.astype(float)
        if "joint_valid" in self._arrays:
            known = self._arrays["joint_valid"]
            if known.shape != joints.shape[:2]:
                raise self._error("joint_valid", f"{joints.shape[:2]}", known)
            joints[~(known > 0)] = np.nan

        # 2. Units, axes, order
        if not self.is_flat:
            joints *= JOINT_ARRAYS[name]
            if self._options.axes == "opengl":
                joints = opencv_from_opengl(joints)
        n = len(joints)
        hands = reorder_hand(joints.reshape(n, -1, per_hand, d), order)
        if hands.shape[1] == 2:
            return hands
        # 3. One hand a frame: the other one is not known
        both = np.full((n, 2, JOINTS_PER_HAND, d), np.nan)
        both[np.arange(n), self._sides(n)] = hands[:, 0]
        return both

    def _check_sides(self, name: str) -> None:
        """Raise where both hands are given and a side as well."""
        both = 2 * len(HAND_ORDERS[self._options.order])
        if "side" in self._arrays and self._arrays[name].shape[1] == both:
            raise ValueError(
                f"{self._source}: side is for single hands, but {name} has both hands"
            )

    def _sides(self, n: int) -> np.ndarray:
        """0 for right, 1 for left."""
        if "side" not in self._arrays:
            raise ValueError(
                f"{self._source}: joints of one hand a frame need side (n), each "
                "'right' or 'left'"
            )
        sides = [str(side) for side in self._arrays["side"]]
        for side in sides:
            if side not in SIDES:
                raise ValueError(
                    f"{self._source}: side {side!r:.40}: give 'right' or 'left'"
                )
        return np.array([SIDES.index(side) for side in sides], int).reshape(n)

    def _check_camera(self, name: str) -> None:
        array = self._arrays.get(name)
        if array is None:
            if not self.is_flat:
                raise ValueError(
                    f"{self._source}: needs {name}; has {_names(self._arrays)}"
                )
            return
        if array.shape[-1:] != (2,) or array.ndim > 2 or array.dtype.kind not in "fiu":
            raise self._error(name, "(n, 2) or (2) of numbers", array)
        if not np.isfinite(array).all() or (name == "focal_px" and array.min() <= 0):
            raise ValueError(f"{self._source}: {name} holds numbers that no camera has")

    def _lens(self, row: int, size: tuple[int, int]) -> Lens:
        """The camera of a row, or an assumed one."""
        # A camera may be given for all rows or for each.
        assumed = lens_of(*size)
        values = []
        for name, otherwise in (
            ("focal_px", assumed.focal_px),
            ("princpt_px", assumed.princpt_px),
        ):
            array = self._arrays.get(name, np.array(otherwise))
            one = array if array.ndim == 1 else array[row]
            values.append((float(one[0]), float(one[1])))
        return Lens(values[0], values[1], "given")

    def _path(self, row: int) -> Path:
        folder = self._options.images or self._source.parent
        name = str(self._arrays["image_path"][row])
        return plain_file(folder, name, f"{self._source}: image_path, row {row}")

    def _read_splits(self, n: int) -> list[str]:
        if self._options.split is not None or "split" not in self._arrays:
            return splits_in_order(n, self._options)
        splits = [str(split) for split in self._arrays["split"]]
        for split in splits:
            if split not in WHOLE_SPLITS:
                raise ValueError(
                    f"{self._source}: split {split!r:.40}: give train, val or test"
                )
        return splits

    def _error(self, name: str, wanted: str, array: Shaped[np.ndarray, "..."]):
        shape = f"{array.shape} of {array.dtype}"
        return ValueError(f"{self._source}: {name} is {shape}; expected {wanted}")


def _load(source: Path) -> dict[str, np.ndarray]:
    """All arrays of the file; no code of it runs."""
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file; check the path")
    # Without pickles no code of the file can run.
    try:
        file = np.load(source, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("a single array")
        with file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, TypeError, EOFError) as error:
        reason = f"{error!s:.100}"
        raise ValueError(
            f"{source}: cannot be read as arrays ({reason}); write it with numpy.savez"
        ) from None
    for name, array in arrays.items():
        if array.ndim == 0:
            raise ValueError(f"{source}: {name} is a single value; give a row a frame")
    return arrays


def _names(arrays: Arrays) -> str:
    return ", ".join(arrays) or "none"

"""The error table, one row a frame, then the protocol's aggregates of it.

The published protocol knows the true hand type: each hand's joints are placed at that hand's own
absolute wrist depth. The honest variant chooses the depth by the predicted type. Lengths mm.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Int, Integer, Num
from torch import Tensor

from digit_data import geometry, skeleton
from digit_data.annotations import atomic, hand_model_name
from digit_data.dataset import crop_boxes
from digit_data.interhand import FRAMES_OF_V1, Index, open_index
from digit_data.skeleton import HAND_TYPES, HEATMAP_CELLS, JOINT_SIDE, JOINTS, N_JOINTS, WRISTS

RootDepth = Literal["gt", "rootnet"]
BBOX_OF = {"gt": "truth", "rootnet": "rootnet"}  # the crop that goes with a source of depth
FRAMES_AT_ONCE = 8192
ERRORS = [f"error_{joint}" for joint in JOINTS]
PALM = [skeleton.HAND_JOINTS.index(joint) for joint in ("index1", "pinky1", "wrist")]
HEADLINE = ("mpjpe_all", "mpjpe_sh", "mpjpe_ih", "mrrpe", "handedness_accuracy")
EXTRAS = {
    "mpjpe_40": "MPJPE of the 40 joints that are no wrists, all / single / interacting",
    "mpjpe_honest": "MPJPE, depth by the predicted hand type",
    "pa_mpjpe": "MPJPE, each hand aligned by a similarity",
    "pck_auc": "PCK, area under the curve 0–50 mm, 40 joints",
    "part_miou": "part mIoU",
    "wrong_hand_share": "share of hand pixels called the other hand",
}
INTERHAND = "InterHand2.6M v1.0 5 fps"
PUBLISHED = (  # method, data, split, depth, then as `HEADLINE`
    ("DIGIT", INTERHAND, "val", "rootnet", 14.82, 13.15, 16.65, 31.33, 0.9879),
    ("DIGIT", INTERHAND, "test", "rootnet", 12.59, 10.73, 14.21, 29.04, 0.9915),
    ("InterNet in MMPose", INTERHAND, "test", "gt", 11.86, 9.69, 13.72, 29.27, None),
)


class Predictions(NamedTuple):
    """What a method says of N frames; the optional arrays come from networks of ours."""

    image_id: Int[np.ndarray, "n"]
    joints_25d: Float[np.ndarray, "n 42 3"]  # heat-map units of the frame's evaluation crop
    relative_root_depth: Float[np.ndarray, "n"]  # left wrist − right wrist, heat-map units
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
                found = cls(**{name: file[name] for name in cls._fields if name in file.files})
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
        return cls(*(None if any(v is None for v in f) else np.concatenate(f) for f in fields))

    def checked(self, source: Path | str = "predictions") -> "Predictions":
        """The same, or ValueError: wrong shapes, numbers not finite, an image_id given twice."""
        shapes = [(), (N_JOINTS, 3), (), (2,), (N_JOINTS,), (3, skeleton.N_LABELS), (3, 3)]
        given = [field for field in zip(self._fields, self, shapes) if field[1] is not None]
        for name, array, shape in given:
            shape = (*(self.image_id.shape[:1] or (1,)), *shape)
            if array.shape != shape or array.dtype.kind not in "iuf":
                raise ValueError(f"{source}: {name} is {array.dtype} {array.shape}, not {shape}")
            bad = ~np.isfinite(array).reshape(len(array), -1).all(1)
            self._refuse(bad, f"{source}: {name} is NaN or infinite", "predict them again")
        outside, cure = (abs(self.hand_type - 0.5) > 0.5).any(1), "give probabilities, not logits"
        self._refuse(outside, f"{source}: hand_type is not in 0…1", cure)
        repeated = pd.Series(self.image_id).duplicated().to_numpy()
        self._refuse(repeated, f"{source}: image_id comes again", "give one prediction a frame")
        return self

    def ordered(self, index: Index) -> "Predictions":
        """Those of the index's frames, in its order, without those of other frames of its split.

        ValueError for a frame without a prediction, or for predictions of unknown frames.
        """
        split = open_index(index.root, index.split, build=False)
        unknown = ~np.isin(self.checked().image_id, split["image_id"])
        self._refuse(unknown, f"predictions of no frame in {index.split}", "drop them")
        wanted = index["image_id"]
        rows = pd.Index(self.image_id).get_indexer(wanted)
        what = f"frames of {index.name} ({index.root}) without a prediction"
        self._replace(image_id=wanted)._refuse(rows < 0, what, "predict them too")
        return self.take(rows)

    def _refuse(self, bad: Bool[np.ndarray, "n"], what: str, cure: str) -> None:
        if bad.any():
            some = ", ".join(map(str, self.image_id[bad][:8])) + ", …" * int(bad.sum() > 8)
            raise ValueError(f"{what}: {bad.sum()} of {len(bad)} (image_id {some}); {cure}")


def part_statistics(
    predicted: Integer[Tensor, "b h w"], true: Integer[Tensor, "b h w"], valid: Tensor
) -> dict[str, Int[np.ndarray, "b 3 n"]]:
    """Pixel counts of predicted against true part labels, as `Predictions` carries them.

    `part_pixels` (b, 3, 33): how many pixels each label truly has, is given, and has rightly;
    `hand_confusion` (b, 3, 3): true × predicted background, right, left. Zero where not `valid`.
    """
    n, frame = skeleton.N_LABELS, torch.arange(len(true), device=true.device)[:, None, None]
    cell = ((frame * n + true) * n + predicted).flatten()
    counts = torch.bincount(cell, minlength=len(true) * n * n).view(-1, n, n)
    counts = (counts * (valid > 0)[:, None, None]).int().cpu().numpy()  # (b, true, predicted)
    pixels = counts.sum(2), counts.sum(1), counts.diagonal(axis1=1, axis2=2)
    hands = [0, 1, 1 + skeleton.PARTS_PER_HAND]
    confusion = np.add.reduceat(np.add.reduceat(counts, hands, 1), hands, 2)
    return {"part_pixels": np.stack(pixels, 1).astype(np.int32), "hand_confusion": confusion}


def aligned_error(
    predicted: Float[Tensor, "*b n 3"], true: Float[Tensor, "*b n 3"], valid: Bool[Tensor, "*b n"]
) -> Float[Tensor, "*b n"]:
    """Distances after the similarity that best maps the predicted on the true valid points."""
    weight = (valid.to(true.dtype) / valid.sum(-1, keepdim=True))[..., None]
    predicted, true = (torch.where(valid[..., None], points, 0) for points in (predicted, true))
    predicted = predicted - (weight * predicted).sum(-2, keepdim=True)
    true = true - (weight * true).sum(-2, keepdim=True)
    u, s, vh = torch.linalg.svd((weight * predicted).mT @ true)
    proper = torch.ones_like(s)
    proper[..., 2] = torch.linalg.det(u @ vh).sign()  # a rotation, never a mirror image
    scale = (s * proper).sum(-1) / (weight * predicted**2).sum((-1, -2)).clamp(1e-12)
    aligned = scale[..., None, None] * predicted @ (u * proper[..., None, :] @ vh)
    return (aligned - true).norm(dim=-1)


def _column(index: Index, name: str) -> Float32[Tensor, "b ..."]:
    return torch.tensor(index[name], dtype=torch.float32)


def _truth(index: Index) -> tuple[Float[Tensor, "b 42 3"], Bool[Tensor, "b 42"], Bool[Tensor, "b"]]:
    """Camera-frame joints; which count (their wrist does too); frames that have a wrist vector."""
    true = _column(index, "joints_cam_mm")
    valid = torch.tensor(index["joint_valid"]).bool() & true.isfinite().all(-1)
    valid &= valid[:, skeleton.JOINT_WRIST]
    return true, valid, valid[:, WRISTS].all(-1) & torch.tensor(index["hand_type"] == 2)


def _errors(index: Index, predictions: Predictions, root_depth: str) -> dict[str, np.ndarray]:
    """The measured columns of the error table; predictions in the index's order."""
    true, valid, linked = _truth(index)
    camera = _column(index, "focal"), _column(index, "princpt")
    depth = true[:, WRISTS, 2] if root_depth == "gt" else _column(index, "rootnet_depth_mm")
    joints, relative, probability = (torch.tensor(v).float() for v in predictions[1:4])
    z, relative = geometry.cells_to_depth(joints[..., 2]), geometry.cells_to_depth(relative)
    boxes = crop_boxes(index, BBOX_OF[root_depth])
    valid &= depth.isfinite()[:, JOINT_SIDE] & boxes.isfinite().all(-1, keepdim=True)
    crop_to_image = geometry.invert_affine(geometry.crop_affine(boxes, HEATMAP_CELLS)).float()
    joints_px = geometry.apply_affine(crop_to_image, joints[..., :2])
    predicted = geometry.place_hands(joints_px, z, depth, *camera)  # (b, 42, 3)
    true_relative = geometry.root_relative(true)
    difference = geometry.root_relative(predicted) - true_relative
    # From wrist to wrist: the left one by the right one's depth and the predicted relative depth.
    wrists = torch.stack([depth[:, 0], depth[:, 0] + relative], 1) + z[:, WRISTS]
    wrists = geometry.back_project(joints_px[:, WRISTS], wrists, *camera) - true[:, WRISTS]

    # Honest: only the depth of a hand that the prediction names is asked for.
    named = (probability > 0.5) | (probability == probability.amax(-1, keepdim=True))
    known = named & valid[:, WRISTS] if root_depth == "gt" else named
    right, left = torch.where(known | ~known.flip(-1), depth, depth.flip(-1)).T
    honest = torch.stack([right, torch.where(named.all(-1), right + relative, left)], -1)
    honest = geometry.root_relative(geometry.place_hands(joints_px, z, honest, *camera))
    honest = (honest - true_relative).norm(dim=-1)

    hands = [t.unflatten(1, (2, skeleton.JOINTS_PER_HAND)) for t in (predicted, true, valid)]
    enough, aligned = hands[2].sum(-1) >= 3, torch.full(hands[2].shape, torch.nan)
    aligned[enough] = aligned_error(*(t[enough] for t in hands))
    side_px = _column(index, "bbox_xywh")[:, 2:].amax(-1)
    true_px, both = geometry.project(true, *camera), valid & valid[:, skeleton.SWAP_JOINTS]
    own, other = (
        torch.where(both, (joints_px - hands_px).norm(dim=-1), 0).sum(1)
        for hands_px in (true_px, true_px[:, skeleton.SWAP_JOINTS])
    )

    index_mm, pinky_mm, wrist_mm = hands[1][:, :, PALM].unbind(2)  # (b, 2, 3) each
    normal = torch.linalg.cross(index_mm - wrist_mm, pinky_mm - wrist_mm)  # right: out of the palm
    palm_deg = torch.cosine_similarity(normal * torch.tensor([[1], [-1]]), -wrist_mm, -1)
    palm_deg = palm_deg.clamp(-1, 1).arccos().rad2deg()
    palm_deg = torch.where(hands[2][:, :, PALM].all(-1), palm_deg, torch.nan)

    flags = torch.tensor(skeleton.HAND_TYPE_FLAGS[index["hand_type"]]) > 0
    sure = torch.tensor(index["hand_type_valid"]).bool()
    correct = (torch.where(flags, probability, 1 - probability) > 0.5).all(-1)
    of_joint = {
        "mpjpe": difference.norm(dim=-1),
        "mpjpe_honest": honest,
        "mpjpe_camera": (predicted - true).norm(dim=-1),
        "pa_mpjpe": aligned.flatten(1),
        "error_in_plane": difference[..., :2].norm(dim=-1),
        "error_depth": difference[..., 2].abs(),
        "error_2d": (joints_px - true_px).norm(dim=-1) / side_px[:, None],
    }
    if predictions.heatmap_entropy is not None:
        of_joint["heatmap_entropy"] = torch.tensor(predictions.heatmap_entropy)
    of_joint = {name: torch.where(valid, v, torch.nan) for name, v in of_joint.items()}
    table = {name: values.nanmean(1) for name, values in of_joint.items() if name != "error_2d"}
    table["predicted_hand_type"] = (probability > 0.5).float() @ torch.tensor([1.0, 2.0]) - 1
    table["handedness_correct"] = torch.where(sure, correct * 1.0, torch.nan)
    table["mrrpe"] = torch.where(linked, wrists.diff(dim=1).norm(dim=-1)[:, 0], torch.nan)
    table["joints_swapped"] = torch.where(both.any(1), (own > other) * 1.0, torch.nan)
    table["bbox_side_px"] = side_px
    for side, name in enumerate(skeleton.SIDES):
        table[f"palm_view_{name}_deg"] = palm_deg[:, side]
        table[f"probability_{name}"] = probability[:, side]
        table[f"mpjpe_{name}"] = of_joint["mpjpe"][:, side == JOINT_SIDE].nanmean(1)
        table[f"error_2d_{name}"] = of_joint["error_2d"][:, side == JOINT_SIDE].nanmean(1)
        table[f"fit_error_{name}_mm"] = _column(index, "fit_error_mm")[:, side]
    table |= dict(zip(ERRORS, of_joint["mpjpe"].T))
    table["errors_honest"] = of_joint["mpjpe_honest"]  # (b, 42)
    return {name: values.numpy() for name, values in table.items()}


def _part_columns(pixels: Num[np.ndarray, "n 3 33"], confusion: Num[np.ndarray, "n 3 3"]) -> dict:
    """What `part_statistics` say, one number a row; NaN where the true parts are not known."""
    true, given, right = pixels[:, :, 1:].swapaxes(0, 1).astype(float)
    confusion = np.where(confusion.any((1, 2), keepdims=True), confusion, np.nan)
    swapped = confusion[:, (1, 2), (2, 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = np.where(true > 0, right / (true + given - right), 0)
        return {
            "part_iou": iou.sum(1) / (true > 0).sum(1),
            "wrong_hand_share": swapped.sum(1) / confusion[:, 1:, 1:].sum((1, 2)),
            "right_called_left_px": swapped[:, 0],
            "left_called_right_px": swapped[:, 1],
        }


def error_table(
    index: Index, predictions: Predictions, root_depth: RootDepth = "gt"
) -> pd.DataFrame:
    """One row a frame of the index: what it is, how wrong the prediction is, and what may say why.

    `root_depth`: whose wrist depths and crops, the truth's or RootNet's. Lengths in mm, NaN where
    something does not apply. `error_<joint>` are root-relative; means over the valid joints:
    `mpjpe` (also `_right`, `_left`; `_honest`: depth by predicted hand type; `_camera`: not
    root-relative), `pa_mpjpe` (similarity-aligned, each hand by itself), `error_in_plane`,
    `error_depth`, `error_2d_<side>` (share of the box's longer side), `heatmap_entropy` (nats).
    `joints_swapped`: 1 where the joints lie nearer to the other hand's true ones (2D, both hands
    annotated); `palm_view_<side>_deg`: 0 where the palm faces the camera, 180 where the back does.
    Parts: `part_iou` (mean over the frame's true parts), `wrong_hand_share` (of hand pixels called
    a hand). Columns of the index and of a synthetic tree's truth stand before; `errors_honest`,
    `part_pixels` and `hand_confusion` hold an array a frame. Errors: see `Predictions.ordered`.
    """
    predictions = predictions.ordered(index)
    chunks = (slice(n, n + FRAMES_AT_ONCE) for n in range(0, len(index), FRAMES_AT_ONCE))
    measured = [_errors(index.take(rows), predictions.take(rows), root_depth) for rows in chunks]
    measured = {name: np.concatenate([part[name] for part in measured]) for name in measured[0]}
    parts = {name: getattr(predictions, name) for name in ("part_pixels", "hand_confusion")}
    if all(counts is not None for counts in parts.values()):
        measured |= _part_columns(*parts.values())
        measured |= {name: counts.reshape(len(index), -1) for name, counts in parts.items()}
    measured = {name: v if v.ndim == 1 else list(v) for name, v in measured.items()}
    about_frames = index.to_pandas().drop(columns=["instant_row", "camera_row"])
    table = pd.concat([about_frames, pd.DataFrame(measured)], axis=1)
    for name in ("hand_type", "predicted_hand_type"):
        table[name] = np.array((*HAND_TYPES, "none"), object)[table[name].astype(int)]
    known = len(open_index(index.root, index.split, build=False)) == FRAMES_OF_V1[index.split]
    data = INTERHAND if known else "InterHand2.6M, label version unknown"
    data = "synthetic set" if hand_model_name(index.root) == "generic" else data
    table.attrs = {"data": data, "split": index.name, "root_depth": root_depth}
    return table


def _means(sums: Float[np.ndarray, "r 2 k"], counts: Float[np.ndarray, "r 2 k"]) -> pd.DataFrame:
    """Aggregates (r rows) of per-frame columns summed over single and over interacting frames.

    The columns: 42 errors, 42 honest errors, pa_mpjpe, mrrpe, handedness_correct.
    """
    with np.errstate(invalid="ignore"):
        every = sums.sum(1) / counts.sum(1)
        single, interacting = (sums / counts).swapaxes(0, 1)
    result = {"mrrpe": every[:, -2], "handedness_accuracy": every[:, -1]}
    for name, mean in (("all", every), ("sh", single), ("ih", interacting)):
        joints, honest = pd.DataFrame(mean[:, :N_JOINTS]), mean[:, N_JOINTS : 2 * N_JOINTS]
        result[f"mpjpe_{name}"] = joints.mean(axis=1)
        result[f"mpjpe_40_{name}"] = joints.drop(columns=list(WRISTS)).mean(axis=1)
        result[f"mpjpe_honest_{name}"] = pd.DataFrame(honest).mean(axis=1)
        result[f"pa_mpjpe_{name}"] = mean[:, -3]
        result |= {f"{joint}_{name}": joints[j] for j, joint in enumerate(JOINTS)}
    return pd.DataFrame(result)


def protocol(table: pd.DataFrame, intervals: bool = True, seed: int = 0) -> dict:
    """The metrics of the paper and ours, flat (None where nothing counts), and what they stand for.

    `mpjpe_all|sh|ih`, `<joint>_all|sh|ih`, `mrrpe`, `handedness_accuracy`; `mpjpe_40_…` without the
    wrists' zeros; `mpjpe_honest_…` with the depth by predicted hand type; `pa_mpjpe_…`, mean over
    frames; `pck_<mm>mm` and `pck_auc` (0…50 mm) of the 40 joints; `part_miou`, `wrong_hand_share`
    over all pixels. With `intervals`, `<name>_low` and `_high` for `HEADLINE`: 95 % of 1,000
    bootstrap resamples of the frames (of 2,000 random groups of frames where there are more).
    """
    groups, rng = min(len(table), 2000), np.random.default_rng(seed)
    cell = rng.permutation(len(table)) % groups
    cell += groups * (table["hand_type"] == "interacting").to_numpy()
    honest = pd.DataFrame(np.stack(table["errors_honest"]), table.index)
    rest = table[["pa_mpjpe", "mrrpe", "handedness_correct"]]
    grouped = pd.concat([table[ERRORS], honest, rest], axis=1).groupby(cell)
    sums, counts = (
        cells.reindex(range(2 * groups), fill_value=0).to_numpy(float).reshape(2, groups, -1)
        for cells in (grouped.sum(), grouped.count())
    )
    result = _means(sums.sum(1)[None], counts.sum(1)[None]).iloc[0].to_dict()
    if intervals:
        draws = rng.integers(groups, size=(1000, groups)) + groups * np.arange(1000)[:, None]
        times = np.bincount(draws.ravel(), minlength=1000 * groups).reshape(1000, groups)
        resampled = _means(*((times @ cells).swapaxes(0, 1) for cells in (sums, counts)))
        for end, share in (("low", 0.025), ("high", 0.975)):
            result |= resampled[list(HEADLINE)].quantile(share).add_suffix(f"_{end}").to_dict()
    limits = np.arange(5, 51, 5)
    result |= dict(zip((f"pck_{mm}mm" for mm in limits), pck_curve(table, limits)))
    result["pck_auc"] = pck_curve(table, np.arange(0.025, 50, 0.05)).mean()
    if "part_pixels" in table:
        totals = (np.sum(list(table[n]), 0) for n in ("part_pixels", "hand_confusion"))
        parts = _part_columns(*(counts.reshape(1, 3, -1) for counts in totals))
        result["part_miou"], result["wrong_hand_share"] = [v.item() for v in parts.values()][:2]
    result = {name: float(v) if np.isfinite(v) else None for name, v in result.items()}
    about = {name: table.attrs.get(name, "unknown") for name in ("data", "split", "root_depth")}
    scored = {"n_frames": len(table), "n_scored": int(table["mpjpe"].notna().sum())}
    return result | about | scored | {"protocol": _describe(**about)}


def _describe(data: str, split: str, root_depth: str) -> str:
    source = {"gt": "true", "rootnet": "RootNet's"}.get(root_depth, root_depth)
    return (
        f"{data}; {split}; {source} boxes and wrist depths, chosen by the true hand type; each "
        "hand minus its own wrist, no other alignment; mean of 42 joints with the wrists' zeros"
    )


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, column: str = "mpjpe", draws: int = 2000
) -> dict[str, float]:
    """How much larger a column is in the second of two error tables, over the frames of both.

    `difference`: mean of second − first; `low`, `high`: 95 % of resamples of whole sequences (of
    frames where these are under eight); `chance`: two-sided share of them on 0's other side; also
    `frames`, `groups`, in how many frames the second is `better`, `worse`. ValueError: no frame.
    """
    keys = ["capture", "seq_name"] if {"capture", "seq_name"} <= set(first) else ["image_id"]
    pair = first.drop_duplicates("image_id").set_index("image_id", drop=False).rename_axis(None)
    other = second.drop_duplicates("image_id").set_index("image_id")[column]
    change = (other - pair[column]).dropna()
    if change.empty:
        raise ValueError(f"no frame has {column} in both tables: evaluate both on the same split")
    group = pair.loc[change.index].groupby(keys).ngroup().to_numpy()
    if (groups := group.max() + 1) < 8:
        group, groups = np.arange(len(change)), len(change)
    sums, counts = np.bincount(group, change), np.bincount(group)
    times = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), draws)
    means = (times @ sums) / (times @ counts)
    low, high = np.quantile(means, (0.025, 0.975))
    chance = min(1.0, 2 * min((means <= 0).mean(), (means >= 0).mean()))
    found = {"difference": change.mean(), "low": low, "high": high, "chance": chance}
    found |= {"frames": len(change), "groups": groups}
    found |= {"better": (change < 0).sum(), "worse": (change > 0).sum()}
    return {name: float(value) for name, value in found.items()}


def pck_curve(table: pd.DataFrame, limits_mm: Num[np.ndarray, "t"]) -> Float[np.ndarray, "t"]:
    """The share of valid joints, wrists left out, whose error is at most each limit."""
    error = np.delete(table[ERRORS].to_numpy(), WRISTS, 1)
    error = np.sort(error[~np.isnan(error)])
    with np.errstate(invalid="ignore"):
        return np.searchsorted(error, limits_mm, side="right") / np.float64(len(error))


def format_report(result: Mapping, others: Mapping[str, Mapping] | None = None) -> str:
    """The metrics of `protocol` beside the published rows, each row with its protocol.

    `others`: further rows of ours by name, for instance the mean pose's.
    """
    rows = {"this": result, **(others or {})}
    for method, *about in PUBLISHED:
        row = dict(zip(HEADLINE, about[3:]), protocol=_describe(*about[:3]))
        rows[f"{method} {about[1]}"] = row
    heads = ["MPJPE all", "single", "interacting", "MRRPE", "handedness %"]
    table = pd.DataFrame(rows).T[[*HEADLINE]].set_axis(heads, axis=1).astype(float)
    table["handedness %"] *= 100
    lines = ["mm", table.to_string(float_format="{:.2f}".format, na_rep="–"), ""]
    for method, row in rows.items():
        ends = [(row.get(f"{name}_low"), row.get(f"{name}_high")) for name in HEADLINE[:4]]
        ends = [f"{head} {a:.1f}…{b:.1f}" for head, (a, b) in zip(heads, ends) if a and b]
        lines += [f"95 % of {method}: {', '.join(ends)}"] if ends else []
    for key, text in EXTRAS.items():
        keys = [f"{key}{hands}" for hands in ("", "_all", "_sh", "_ih")]
        numbers = [result[k] for k in keys if k in result]
        text += ": " + " / ".join("–" if v is None else f"{v:.3f}" for v in numbers)
        lines += [text] if any(v is not None for v in numbers) else []
    return "\n".join([*lines, "", *(f"{name}: {row['protocol']}" for name, row in rows.items())])


def mean_pose_predictions(train: Index, test: Index, root_depth: RootDepth = "gt") -> Predictions:
    """The baseline that sees no picture: each hand of `test` is the mean one of `train`.

    Means, over up to 50,000 frames spread over `train`, of the joints relative to their wrist
    (camera frame, mm), of the vector from right to left wrist, and of the hand types. Hands are
    put at their true wrists, the left one of a pair where the mean vector puts it: only
    root-relative numbers and MRRPE mean something.
    """
    train = train.take(np.unique(np.linspace(0, len(train) - 1, 50_000).astype(int)))
    true, valid, linked = _truth(train)
    vectors = true[:, WRISTS[1]] - true[:, WRISTS[0]]
    points = torch.cat([geometry.root_relative(true), vectors[:, None]], 1)  # (b, 43, 3)
    known = torch.cat([valid, linked[:, None]], 1)[..., None]
    means = torch.where(known, points, 0).sum(0) / known.sum(0).clamp(1)
    hand_type = skeleton.HAND_TYPE_FLAGS[train["hand_type"]].mean(0)

    true, _, linked = _truth(test)
    camera = _column(test, "focal"), _column(test, "princpt")
    wrists = true[:, WRISTS]  # (b, 2, 3)
    depth = wrists[..., 2] if root_depth == "gt" else _column(test, "rootnet_depth_mm")
    left = torch.where(linked[:, None], wrists[:, 0] + means[-1], wrists[:, 1])
    wrists_px = geometry.project(torch.stack([wrists[:, 0], left], 1), *camera)
    joints = geometry.back_project(wrists_px, depth, *camera)[:, JOINT_SIDE] + means[:-1]
    crop = geometry.crop_affine(crop_boxes(test, BBOX_OF[root_depth]), HEATMAP_CELLS).float()
    joints_px = geometry.apply_affine(crop, geometry.project(joints, *camera))
    joints_25d = geometry.to_25d(joints_px, joints[..., 2], HEATMAP_CELLS)
    joints_25d = joints_25d.nan_to_num(0, 0, 0).numpy()  # where no wrist is known nothing counts
    relative = geometry.depth_to_cells(means[-1, 2]).expand(len(test)).numpy()
    hand_type = np.tile(hand_type, (len(test), 1))
    return Predictions(test["image_id"], joints_25d, relative, hand_type)

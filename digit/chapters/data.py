"""Chapter "Data": frames, cameras, part masks, what is frequent and what is wrong."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from digit.chapters.closing_table import expected_and_measured
from digit.chapters.frames import spread
from digit.data import store
from digit.data.dataset import InterHandDataset, evaluation_targets
from digit.data.index import Index
from digit.hands.joint_angles import LIMITS
from digit.plots import charts, overlays
from digit.plots import hands as hand_plots
from digit.skeleton import (
    BONES,
    HAND_TYPE_FLAGS,
    HAND_TYPES,
    JOINTS_PER_HAND,
    MANO_JOINTS,
    WRISTS,
)
from digit.synth.anatomy import joint_angles
from digit.synth.statistics import (
    ANGLE_BINS,
    BOX_BINS,
    REAL_PHOTOS,
    bin_names,
    hand_statistics,
    overlap,
)

ANGLE_NAMES = ("bend", "spread", "twist")
FRAMES_FOR_CHECKS = 20_000


class JointAngles(NamedTuple):
    """Angles of the finger joints of fitted hands, and how far a finger can go."""

    degrees: dict[str, Float[np.ndarray, "_"]]  # by joint and axis, as "index1 bend"
    limits_degrees: dict[str, tuple[float, float]]


def frame_table(index: Index, n: int = 8) -> pd.DataFrame:
    """Some columns of at most n frames, evenly spread."""
    columns = ["capture", "seq_name", "frame_idx", "camera", "width", "height"]
    some = spread(index, n)
    table = some.to_pandas(columns)
    table["hand_type"] = np.array(HAND_TYPES)[some["hand_type"]]
    return table


def capture_table(index: Index) -> pd.DataFrame:
    """What each capture holds: sequences, instants, cameras, and frames of each hand
    type."""
    table = index.to_pandas(["capture", "seq_name", "frame_idx", "camera"])
    hand_type = np.array(HAND_TYPES)[index["hand_type"]]
    counts = table.groupby("capture")[["seq_name", "frame_idx", "camera"]].nunique()
    counts.columns = ["sequences", "instants", "cameras"]
    return counts.join(pd.crosstab(table["capture"], hand_type))


def interacting(index: Index) -> Index:
    """The frames of two interacting hands."""
    return index.take(index["hand_type"] == HAND_TYPES.index("interacting"))


def show_frames(index: Index, columns: int = 4) -> Figure:
    """Frames with their annotated joints."""
    images = store.image_store(index.dataset_dir)
    keys = index.keys()
    captions = [f"{key.split('/')[1]} {key.split('/')[3]}" for key in keys]
    joints_px = hand_plots.masked(index["joints_px"], index["joint_valid"])
    pictures = [store.read_image(images, key) for key in keys]
    return hand_plots.contact_sheet(pictures, captions, joints_px, columns)


def show_parts(index: Index) -> Figure:
    """Frames with their part masks painted over; frames without a mask as they are."""
    images = store.image_store(index.dataset_dir)
    masks = store.mask_store(index.dataset_dir)
    painted = []
    for key, has_mask in zip(index.keys(), index["parts_valid"], strict=True):
        picture = store.read_image(images, key)
        if masks is not None and has_mask:
            picture = overlays.paint_parts(picture, store.read_mask(masks, key))
        painted.append(picture)
    return hand_plots.contact_sheet(painted)


def most_seen_instant(index: Index) -> Index:
    """All views of the instant that most cameras saw, of two hands where there are
    any."""
    both = interacting(index)
    pool = both if len(both) else index
    instants, counts = np.unique(pool["instant_row"], return_counts=True)
    return pool.take(pool["instant_row"] == instants[counts.argmax()])


def dome(index: Index, views: Index) -> dict[str, list[hand_plots.Stroke]]:
    """The cameras of a capture around the hands of one instant.

    Args:
        index: Frames of the capture, among others.
        views: The frames of the instant.

    Returns:
        A scene for `hand_plots.space`, in the world frame, mm.
    """
    # 1. Every camera of the capture once.
    capture = views["capture"][0]
    of_capture = index.take(index["capture"] == capture)
    names, first = np.unique(of_capture["camera"].astype(str), return_index=True)
    placed = of_capture.take(first)
    cameras = hand_plots.camera_strokes(
        placed["camrot"], placed["campos_mm"], names.tolist()
    )

    # 2. The hands at that instant.
    joints_world_mm = hand_plots.masked(
        views["joints_world_mm"][0], views["joint_valid"][0]
    )
    return {f"capture {capture}": hand_plots.hand_strokes(joints_world_mm) + cameras}


def show_dome(index: Index, views: Index) -> Figure:
    """The dome, standing still."""
    return hand_plots.space(dome(index, views))


def show_dome_rotatable(index: Index, views: Index) -> go.Figure:
    """The dome, to be turned with the mouse."""
    return hand_plots.space_rotatable(dome(index, views))


def show_distributions(index: Index) -> Figure:
    """Hand types, distances of the wrists, sizes of the boxes."""
    hand_type = np.array(HAND_TYPES)[index["hand_type"]]
    joints_cam_mm = hand_plots.masked(index["joints_cam_mm"], index["joint_valid"])
    wrist_depth_mm = joints_cam_mm[:, WRISTS, 2]
    side_px = index["bbox_xywh"][:, 2:].max(-1)
    return charts.distributions(
        {
            "hand type": {"all": hand_type},
            "distance of the wrist (mm)": {
                "right": wrist_depth_mm[:, 0],
                "left": wrist_depth_mm[:, 1],
            },
            "longer side of the box (px)": {
                name: side_px[hand_type == name] for name in HAND_TYPES
            },
        }
    )


def show_against_photographs(index: Index) -> Figure:
    """How hands are held in this split, and in photographs of webcams and phones.

    The titles of the axes tell what the two histograms have in common, 1 for equal ones.
    """
    here = hand_statistics(index)
    bins = {
        "palm from the camera (°), single hands": bin_names(ANGLE_BINS),
        "bend of the fingers (°), single hands": bin_names(ANGLE_BINS),
        "tight box (px), single hands": bin_names(BOX_BINS),
        "hand type": HAND_TYPES,
    }
    panels = {}
    for (label, names), photos, own in zip(
        bins.items(), REAL_PHOTOS, here, strict=True
    ):
        title = f"{label}; in common: {overlap(photos, own):.2f}"
        panels[title] = (names, {"photographs": photos, "this split": own})
    return charts.binned_shares(panels)


def is_synthetic(index: Index) -> bool:
    """Whether the data set names its pose families, as made ones do."""
    return "family" in index.columns()


def show_families(index: Index, size_px: int = 192) -> Figure:
    """One crop of each family of two-hand poses, coloured and unclipped ones
    preferred."""
    # 1. Frames in colour first, and those whose hands are wholly in the picture.
    both = interacting(index)
    clipped = both["right_hidden_by_frame"] + both["left_hidden_by_frame"]
    grey = both["camera"].astype(str) >= "41"  # grey cameras are numbered 41…
    order = np.lexsort([clipped, grey])

    # 2. The first of each family, as the network would see it.
    families, first = np.unique(both["family"][order].astype(str), return_index=True)
    frames = both.take(order[first])
    batch = InterHandDataset(frames, size_px).batch(range(len(frames)))
    crops: UInt8[np.ndarray, "b s s 3"] = batch.image.permute(0, 2, 3, 1).numpy()
    captions = [family.replace("_", " ") for family in families]
    return hand_plots.contact_sheet(list(crops), captions, columns=6)


def measure_angles(index: Index) -> JointAngles:
    """Angles of the finger joints from the fits; zero is the flat hand."""
    poses = index["mano_pose"]  # (n, 2, 48)
    angles = np.stack([joint_angles(poses[:, side], side) for side in (0, 1)], axis=1)
    degrees, limits = {}, {}
    for axis, axis_name in enumerate(ANGLE_NAMES):
        for joint, joint_name in enumerate(MANO_JOINTS[1:]):
            low, high = np.degrees(LIMITS[joint, axis])
            if low == high:
                continue  # the joint cannot turn about this axis
            name = f"{joint_name} {axis_name}"
            degrees[name] = np.degrees(angles[:, :, joint, axis]).ravel()
            limits[name] = (float(low), float(high))
    return JointAngles(degrees, limits)


def show_angles(angles: JointAngles) -> Figure:
    """Ranges of the finger joints' angles with their limits."""
    return charts.ranges(angles.degrees, angles.limits_degrees, "angle (°)")


def bends_degrees(index: Index) -> Float[np.ndarray, "_"]:
    """Angles between neighbouring bones of each finger, from the annotated joints."""
    bones = _bone_vectors(index)
    fingers = bones.reshape(-1, 4, 3)  # a finger's bones, from its tip
    unit = fingers / np.linalg.norm(fingers, axis=-1, keepdims=True)
    cosine = (unit[:, :-1] * unit[:, 1:]).sum(-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1))).ravel()


def _bone_vectors(index: Index) -> Float[np.ndarray, "n 40 3"]:
    joints_mm = hand_plots.masked(index["joints_world_mm"], index["joint_valid"])
    return joints_mm[:, BONES[:, 0]] - joints_mm[:, BONES[:, 1]]


def show_comparison(groups: dict[str, Index]) -> Figure:
    """Bends, wrist distances and hand-to-hand distances of several data sets.

    Args:
        groups: Frames by the name that the legend shows.

    Returns:
        The histograms; with what only a made data set knows, where the first group is made.
    """
    # 1. What annotated joints tell, for every group.
    panels: dict[str, dict[str, np.ndarray]] = {
        "bend of finger joints (°)": {},
        "wrist from the camera (mm)": {},
        "wrist from wrist (mm)": {},
    }
    for name, index in groups.items():
        joints_mm = hand_plots.masked(index["joints_cam_mm"], index["joint_valid"])
        wrists_mm = joints_mm[:, WRISTS]
        panels["bend of finger joints (°)"][name] = bends_degrees(index)
        panels["wrist from the camera (mm)"][name] = wrists_mm[..., 2].ravel()
        apart = np.linalg.norm(wrists_mm[:, 0] - wrists_mm[:, 1], axis=-1)
        panels["wrist from wrist (mm)"][name] = apart

    # 2. What only a made data set knows.
    first = next(iter(groups.values()))
    if is_synthetic(first):
        panels["hidden share of a hand, where any"] = {
            "by the other hand": _of_both_hands(first, "hidden_by_other"),
            "by itself": _of_both_hands(first, "hidden_by_itself"),
        }
        panels["skin from skin (mm)"] = {"interacting": first["hands_distance_mm"]}
        panels["one hand in the other (mm)"] = {"interacting": first["penetration_mm"]}
    return charts.distributions(panels)


def _of_both_hands(index: Index, column: str) -> Float[np.ndarray, "_"]:
    values = np.concatenate([index[f"right_{column}"], index[f"left_{column}"]])
    return values[values > 0]


def checks(index: Index, angles: JointAngles | None = None) -> pd.DataFrame:
    """Expected and measured: crops keep the joints, bones keep their lengths, types
    match."""
    some = index.take(slice(None, None, max(1, len(index) // FRAMES_FOR_CHECKS)))

    # 1. The evaluation crop holds the annotated joints.
    kept = evaluation_targets(some).joint_valid.sum().item() / some["joint_valid"].sum()

    # 2. A person's bones do not change their lengths.
    lengths_mm = pd.DataFrame(np.linalg.norm(_bone_vectors(some), axis=-1))
    by_person = lengths_mm.groupby(some["capture"])
    variation = np.nanmedian(by_person.std(ddof=0) / by_person.mean())

    # 3. A hand that the type names has joints.
    named = HAND_TYPE_FLAGS[some["hand_type"]] > 0
    has_joints = some["joint_valid"].reshape(-1, 2, JOINTS_PER_HAND).any(-1)
    share = has_joints[named].mean()

    usable = len(index.usable())
    rows = [
        ("frames without a fault", len(index), usable, len(index) == usable),
        ("annotated joints inside the crop", "> 99 %", f"{kept:.2%}", kept > 0.99),
        (
            "a person's bones vary by (median)",
            "< 3 %",
            f"{variation:.2%}",
            variation < 0.03,
        ),
        ("hands named by the type have joints", "> 99 %", f"{share:.2%}", share > 0.99),
    ]
    if angles is not None:
        beyond = max(
            max(low - np.nanmin(values), np.nanmax(values) - high)
            for values, (low, high) in zip(
                angles.degrees.values(), angles.limits_degrees.values(), strict=True
            )
        )
        rows.append(
            (
                "joints beyond their limits, at most",
                "< 1°",
                f"{beyond:.2f}°",
                beyond < 1,
            )
        )
    return expected_and_measured(rows)

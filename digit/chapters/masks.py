"""Chapter "Part masks": from a fitted hand model to a label per pixel."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from digit import geometry
from digit.chapters.closing_table import expected_and_measured
from digit.chapters.frames import spread
from digit.data import store
from digit.data.index import Frame, Index
from digit.hands.part_masks import (
    Hands,
    fit_vertices_mm,
    render_masks,
    render_part_mask,
)
from digit.hands.rasterizer import rasterize
from digit.plots import charts, overlays
from digit.plots import hands as hand_plots
from digit.skeleton import N_LABELS, PARTS, PARTS_PER_HAND, SIDES, SWAP_LABELS

FLAT_WIDTH_PX, FLAT_HEIGHT_PX = 300, 330
FLAT_PX_PER_MM = 1.3


class Rendered(NamedTuple):
    """One frame, followed from its fits to its labels."""

    frame: Frame
    picture: UInt8[np.ndarray, "h w 3"]
    vertices_cam_mm: Float[np.ndarray, "2 v 3"]
    depth_mm: Float[np.ndarray, "h w"]  # NaN where no hand is seen
    labels: UInt8[np.ndarray, "h w"]


def fitted_frames(index: Index) -> Index:
    """The frames that have a part mask."""
    return index.take(index["parts_valid"])


def stored_masks(index: Index) -> list[UInt8[np.ndarray, "h w"]]:
    """The masks that `digit prepare` has stored."""
    masks = store.mask_store(index.dataset_dir)
    keys = index.keys()
    return [store.read_mask(masks, key) for key in keys]


def clearest_frame(index: Index, n: int = 100) -> Frame:
    """Of at most n frames the one that shows most of its less visible hand."""
    some = spread(index, n)
    visible = []
    for mask in stored_masks(some):
        right = ((mask > 0) & (mask <= PARTS_PER_HAND)).sum()
        left = (mask > PARTS_PER_HAND).sum()
        visible.append(min(right, left))
    return some.frame(int(np.argmax(visible)))


def draw_flat(
    hands: Hands, side: int, shape: Float[np.ndarray, "10"] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """The flat hand in the colours of its parts, seen from above.

    Args:
        hands: The models of the right and the left hand.
        side: 0 right, 1 left.
        shape: Shape coefficients; the mean shape by default.
    """
    # 1. The rest pose, mm.
    hand = hands[side]
    betas = (
        torch.zeros(10) if shape is None else torch.tensor(shape, dtype=torch.float32)
    )
    x, y, z = hand.skin(torch.zeros(48), betas, torch.zeros(3)).numpy().T * 1000

    # 2. Seen from above: the fingers point up on the page.
    turn = -1 if side else 1
    seen_px = turn * np.stack([-z, x], -1) * FLAT_PX_PER_MM + (FLAT_WIDTH_PX / 2, 0)
    seen_px[:, 1] += FLAT_HEIGHT_PX - 10 - seen_px[:, 1].max()

    # 3. The label of the nearest face at each pixel.
    labels = hand.face_part + np.uint8(1 + PARTS_PER_HAND * side)
    mask, _ = rasterize(
        seen_px, 500 - y, hand.faces, FLAT_WIDTH_PX, FLAT_HEIGHT_PX, labels
    )
    white = np.full((FLAT_HEIGHT_PX, FLAT_WIDTH_PX, 3), 255, np.uint8)
    return overlays.paint_parts(white, mask, opacity=1.0)


def show_models(hands: Hands) -> Figure:
    """Both hand models, flat, in the colours of their parts."""
    drawings = [draw_flat(hands, side=1), draw_flat(hands, side=0)]
    return hand_plots.contact_sheet(drawings, ["left hand", "right hand"])


def show_shapes(hands: Hands, components: int = 3, by: float = 3.0) -> Figure:
    """The first shape components, each at minus and plus so many standard
    deviations."""
    drawings, captions = [], []
    for component in range(components):
        for amount in (-by, by):
            shape = np.zeros(10)
            shape[component] = amount
            drawings.append(draw_flat(hands, side=0, shape=shape))
            captions.append(f"shape {component}: {amount:+.0f}")
    return hand_plots.contact_sheet(drawings, captions, columns=2 * components)


def fit_table(frame: Frame) -> pd.DataFrame:
    """Some of the numbers that a fit consists of."""
    rows = {
        "turn of the hand (rad)": frame.mano_pose[:, :3],
        "turn of index1 (rad)": frame.mano_pose[:, 3:6],
        "shape 0–2": frame.mano_shape[:, :3],
        "place (m)": frame.mano_trans,
    }
    rounded = {name: np.round(values, 3).tolist() for name, values in rows.items()}
    return pd.DataFrame(rounded, index=list(SIDES))


def render(index: Index, hands: Hands, frame: Frame) -> Rendered:
    """Skin, project and rasterise the fits of one frame."""
    # 1. Skinning: numbers → vertices in the world.
    fit = [
        torch.tensor(np.array(values))
        for values in (frame.mano_pose, frame.mano_shape, frame.mano_trans)
    ]
    vertices_world_mm = fit_vertices_mm(hands, *fit)

    # 2. World → camera.
    camrot = torch.tensor(frame.camrot).float()
    campos_mm = torch.tensor(frame.campos_mm).float()
    vertices_cam_mm = geometry.world_to_camera(
        vertices_world_mm, camrot, campos_mm
    ).numpy()

    # 3. Camera → labels: project, and let the nearest face win each pixel.
    labels = render_part_mask(
        hands, vertices_cam_mm, frame.focal, frame.princpt, frame.width, frame.height
    )
    depth_mm = _depth_map(hands, vertices_cam_mm, frame)
    picture = store.read_image(store.image_store(index.dataset_dir), frame.key)
    return Rendered(frame, picture, vertices_cam_mm, depth_mm, labels)


def _depth_map(
    hands: Hands, vertices_cam_mm: Float[np.ndarray, "2 v 3"], frame: Frame
) -> Float[np.ndarray, "h w"]:
    """Depth of the nearest surface per pixel, mm; NaN where there is none."""
    points = vertices_cam_mm.reshape(-1, 3).astype(float)
    points_px = points[:, :2] / points[:, 2:] * frame.focal + frame.princpt
    faces = np.concatenate(
        [
            hands[0].faces,
            hands[1].faces + len(hands[0].v_template),
        ]
    )
    _, depth_mm = rasterize(points_px, points[:, 2], faces, frame.width, frame.height)
    depth_mm[~np.isfinite(depth_mm)] = np.nan
    return depth_mm


def _window(frame: Frame) -> tuple[slice, slice]:
    """Rows and columns of the image about the square box."""
    box = geometry.square_bbox(torch.tensor(frame.bbox_xywh))
    x, y, width, height = box.int().tolist()
    return np.s_[max(y, 0) : y + height, max(x, 0) : x + width]


def show_steps(rendered: Rendered) -> Figure:
    """Photograph, depth of the surface, and parts."""
    window = _window(rendered.frame)
    painted = overlays.paint_parts(rendered.picture, rendered.labels)
    steps = [rendered.picture[window], rendered.depth_mm[window], painted[window]]
    captions = ["the photograph", "depth of the surface", "parts"]
    return hand_plots.contact_sheet(steps, captions, columns=3, unit="mm")


def fit_error_mm(
    hands: Hands, rendered: Rendered
) -> tuple[Float[np.ndarray, "2 21 3"], Float[np.ndarray, "2"]]:
    """The fits' own joints (camera frame) and their mean distance to the annotated
    ones, mm."""
    vertices = torch.from_numpy(rendered.vertices_cam_mm).float()
    joints = np.stack(
        [
            hand.joints(points).numpy()
            for hand, points in zip(hands, vertices, strict=True)
        ]
    )
    annotated = rendered.frame.joints_cam_mm.reshape(2, 21, 3)
    valid = rendered.frame.joint_valid.reshape(2, 21)
    distance = np.linalg.norm(joints - annotated, axis=-1)
    return joints, np.nanmean(np.where(valid, distance, np.nan), axis=1)


def show_fit_errors(index: Index) -> Figure:
    """Fitting errors of all frames, per hand."""
    errors_mm = index["fit_error_mm"]
    groups = {"right": errors_mm[:, 0], "left": errors_mm[:, 1]}
    return charts.distributions({"fitting error (mm)": groups})


def part_shares(masks: list[UInt8[np.ndarray, "h w"]]) -> pd.DataFrame:
    """Share of the hands' pixels that each part has, per hand; parts in finger
    order."""
    counts = np.zeros(N_LABELS)
    for mask in masks:
        counts += np.bincount(mask.ravel(), minlength=N_LABELS)
    shares = (counts[1:] / counts[1:].sum()).reshape(2, PARTS_PER_HAND)
    return pd.DataFrame(shares, index=list(SIDES), columns=PARTS)[sorted(PARTS)].T


def mirrored_masks(
    hands: Hands, rendered: Rendered
) -> tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """The mask of the mirrored picture, made in two ways that must agree.

    Returns:
        The mask flipped with the hands' labels swapped; and the mask of the mirrored
        hands, rendered.
    """
    frame = rendered.frame
    flipped = SWAP_LABELS[rendered.labels[:, ::-1]]
    # A mirrored right hand is a left hand: the meshes change places as well as signs.
    vertices_cam_mm = rendered.vertices_cam_mm[::-1] * np.array([-1, 1, 1], np.float32)
    princpt = np.array([frame.width - 1 - frame.princpt[0], frame.princpt[1]])
    again = render_part_mask(
        hands, vertices_cam_mm, frame.focal, princpt, frame.width, frame.height
    )
    return flipped, again


def show_mirrored(rendered: Rendered, masks: tuple[np.ndarray, np.ndarray]) -> Figure:
    """Both masks of the mirrored picture over it."""
    picture = rendered.picture[:, ::-1].copy()
    rows, _ = _window(rendered.frame)
    painted = [overlays.paint_parts(picture, mask)[rows] for mask in masks]
    captions = ["mask flipped, labels swapped", "hands mirrored, rendered"]
    return hand_plots.contact_sheet(painted, captions, columns=3)


def open_edges(faces: np.ndarray) -> int:
    """Edges of a mesh that belong to one face only; a closed mesh has none."""
    edges = np.sort(
        np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    )
    _, counts = np.unique(edges, axis=0, return_counts=True)
    return int((counts == 1).sum())


def checks(
    index: Index, hands: Hands, rendered: Rendered, n: int = 100
) -> pd.DataFrame:
    """Expected and measured: masks render the same again, meshes are closed, mirrors
    agree."""
    # 1. Stored masks against masks rendered now.
    some = spread(index, n)
    again = [mask for mask, *_ in render_masks(hands, some)]
    pairs = zip(again, stored_masks(some), strict=True)
    same = np.mean([(fresh == stored).mean() for fresh, stored in pairs])

    # 2. The two ways to a mirrored mask; the fitting error; holes in the meshes.
    flipped, mirrored = mirrored_masks(hands, rendered)
    mirror_same = (flipped == mirrored).mean()
    _, error_mm = fit_error_mm(hands, rendered)
    apart_mm = np.nanmax(np.abs(error_mm - rendered.frame.fit_error_mm))
    holes = sum(open_edges(hand.faces) for hand in hands)
    return expected_and_measured(
        [
            (
                "pixels of stored and rendered masks equal",
                "100 %",
                f"{same:.3%}",
                same == 1,
            ),
            (
                "fitting errors, now and stored, apart",
                "< 0.01 mm",
                f"{apart_mm:.4f} mm",
                apart_mm < 0.01,
            ),
            ("open edges of the meshes", 0, holes, holes == 0),
            (
                "pixels mirrored both ways equal",
                "> 99.9 %",
                f"{mirror_same:.3%}",
                mirror_same > 0.999,
            ),
        ]
    )

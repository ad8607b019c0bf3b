"""Chapter "Your own photo": a prediction from one image, and what its depth is
worth."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from digit import geometry
from digit.chapters.closing_table import expected_and_measured
from digit.chapters.frames import spread
from digit.data.build_index import prepare_index
from digit.data.index import Index
from digit.data.store import image_store, read_image
from digit.hands.part_masks import prepare
from digit.inference.photo import read_photo
from digit.inference.placement import lens_of
from digit.inference.predict import Estimate, place_hands, predict
from digit.paths import SHIPPED_WEIGHTS, workspace_path
from digit.plots import hands as hand_plots
from digit.skeleton import WRISTS
from digit.synth.dataset import synthesize
from digit.training import runs
from digit.widgets.photo_editor import PhotoEditor

HAND_LENGTHS_MM = (165, 180, 195)
FIELDS_OF_VIEW_DEG = (30, 45, 60, 75)


class Assumptions(NamedTuple):
    """One prediction, placed in space under several assumptions."""

    # By the field of view across the longer side, degrees.
    focals_px: dict[int, float]
    centre_px: tuple[float, float]
    joints_cam_mm: dict[tuple[int, int], Float[np.ndarray, "42 3"]]  # by length, angle
    wrist: int  # which joint the distances are of


def find_checkpoint(name: str) -> Path:
    """A checkpoint by its file, by its run, or "shipped" for the weights that ship."""
    if name == "shipped":
        return SHIPPED_WEIGHTS
    path = workspace_path(name)
    if path.is_file():
        return path
    return runs.find_run(name) / "checkpoints/best.ckpt"


def example_frames(real: str, split: str, n: int) -> Index:
    """Frames to try the network on: real ones where they are at hand, else made ones.

    Args:
        real: Folder of an InterHand2.6M tree.
        split: Split to take frames from.
        n: Number of frames.

    Returns:
        The frames, of the real data set, of the demo's, or of 60 frames made now.
    """
    for folder in (workspace_path(real), workspace_path("data/demo")):
        if (folder / "annotations").is_dir():
            return spread(prepare_index(folder, split), n)
    folder = workspace_path("data/examples")
    synthesize(folder, frames=60, seed=8)
    prepare(folder)
    return spread(prepare_index(folder, split), n)


def picture(index: Index, row: int) -> UInt8[np.ndarray, "h w 3"]:
    """The image of one frame."""
    return read_image(image_store(index.dataset_dir), index.frame(row).key)


def predict_frame(network: torch.nn.Module, index: Index, row: int) -> Estimate:
    """Predict the hands in the annotated box of one frame."""
    frame = index.frame(row)
    return predict(network, picture(index, row), bbox_xywh=frame.bbox_xywh.tolist())


def assume(estimate: Estimate, width_px: int, height_px: int) -> Assumptions:
    """Place a prediction in space for several hand lengths and fields of view.

    Args:
        estimate: The prediction.
        width_px: Width of the image.
        height_px: Its height.
    """
    # 1. A lens per field of view, across the longer side; all have the same centre.
    lenses = {
        angle: lens_of(width_px, height_px, field_of_view_deg=angle)
        for angle in FIELDS_OF_VIEW_DEG
    }
    focals_px = {angle: lens.focal_px[0] for angle, lens in lenses.items()}
    centre_px = lenses[FIELDS_OF_VIEW_DEG[0]].princpt_px

    # 2. The hands, placed for every combination.
    placed = {
        (length, angle): place_hands(estimate, [focal, focal], centre_px, length)
        for angle, focal in focals_px.items()
        for length in HAND_LENGTHS_MM
    }
    right_is_predicted = estimate.hand_type[0] > 0.5
    wrist = WRISTS[0] if right_is_predicted else WRISTS[1]
    return Assumptions(focals_px, centre_px, placed, wrist)


def distance_table(assumptions: Assumptions) -> pd.DataFrame:
    """Distance of the wrist, mm; a row per hand length, a column per field of view."""
    distances = pd.Series(
        {
            key: joints_mm[assumptions.wrist, 2]
            for key, joints_mm in assumptions.joints_cam_mm.items()
        }
    ).unstack()
    distances.index.name = "hand length (mm)"
    distances.columns.name = "field of view (°)"
    return distances.round(0)


def show_two(assumptions: Assumptions) -> Figure:
    """The same prediction for a wide and for a narrow field of view."""
    scenes = {
        f"{angle}° across, a hand of 180 mm": hand_plots.hand_strokes(
            assumptions.joints_cam_mm[180, angle]
        )
        for angle in (75, 45)
    }
    return hand_plots.space(scenes)


def same_pixel(depth_mm: float, focal_px: float) -> pd.DataFrame:
    """A case by hand: three hands that look the same.

    Args:
        depth_mm: Distance of the first hand.
        focal_px: Focal length of the first camera.

    Returns:
        Length in pixels of a hand of 180 mm; twice as large at twice the distance; and at
        twice the distance through a lens twice as long.
    """
    rows = {
        "a hand": (180.0, depth_mm, focal_px),
        "twice as large, twice as far": (360.0, 2 * depth_mm, focal_px),
        "twice as far, a lens twice as long": (180.0, 2 * depth_mm, 2 * focal_px),
    }
    columns = ["length (mm)", "distance (mm)", "focal (px)"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table["length (px)"] = (
        table["length (mm)"] / table["distance (mm)"] * table["focal (px)"]
    )
    return table


def checks(
    network: torch.nn.Module,
    index: Index,
    estimates: list[Estimate],
    assumed: Assumptions,
) -> pd.DataFrame:
    """Expected and measured: hands fall on their pixels, widget and function agree."""
    # 1. Whatever is assumed, the hands project to the pixels where they were seen.
    length, angle = 195, 30
    focal = torch.tensor([assumed.focals_px[angle]] * 2, dtype=torch.float64)
    princpt = torch.tensor(assumed.centre_px, dtype=torch.float64)
    joints_mm = torch.from_numpy(assumed.joints_cam_mm[length, angle])
    projected_px = geometry.project(joints_mm, focal, princpt).numpy()
    off_px = np.abs(projected_px - estimates[0].joints_px).max()

    # 2. The widget predicts what the function predicts.
    widget = PhotoEditor(network, index)
    apart_px = np.abs(widget.estimate.joints_px - estimates[0].joints_px).max()

    # 3. A photo read from its file is the frame that the data set reads.
    photo, _ = read_photo(image_store(index.dataset_dir).read(index.keys()[0]))
    differ = np.abs(photo.astype(int) - picture(index, 0)).max()
    return expected_and_measured(
        [
            (
                f"joints off their pixels, {length} mm at {angle}°",
                "< 0.01 px",
                f"{off_px:.4f} px",
                off_px < 0.01,
            ),
            (
                "widget and function apart",
                "< 0.01 px",
                f"{apart_px:.4f} px",
                apart_px < 0.01,
            ),
            ("grey levels between photo and frame", 0, differ, differ == 0),
        ]
    )

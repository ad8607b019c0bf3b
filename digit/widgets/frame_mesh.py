"""The hand meshes that fit a prediction, over the failure browser's crop and in 3D.

The layer "fitted mesh" shows them; they are fitted when a frame is looked at with it.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from digit.hands.meshes import SIDE_COLORS, HandMesh, fit_meshes, mesh_warnings
from digit.hands.model import generic_hands
from digit.plots.meshes import overlay_meshes
from digit.skeleton import SIDES, WRISTS
from digit.widgets.frame_view import FramePrediction, FrameView


class PaintedMesh(NamedTuple):
    """The crop under the meshes, and the meshes as JSON values."""

    picture: UInt8[np.ndarray, "s s 3"]
    caption: str
    meshes: list[dict[str, Any]]


def paint_mesh(
    view: FrameView, prediction: FramePrediction | None, camera: bool
) -> PaintedMesh:
    """Fit the hand models to a prediction and draw them over its crop.

    Args:
        view: The frame.
        prediction: What a model predicts for it; None for nothing.
        camera: Whether the meshes stand in camera space, or each with its wrist on the
            true one.

    Returns:
        The painted crop; the crop itself where there is no hand to fit.
    """
    # 1. Fit, where the prediction is seen in the picture
    if prediction is None:
        return PaintedMesh(view.picture, "There is no prediction of this frame.", [])
    joints_mm = prediction.joints_cam_mm
    present = np.isfinite(joints_mm[list(WRISTS)]).all(-1)
    meshes = fit_meshes(generic_hands(), joints_mm, present)
    if not meshes:
        text = "No hand is predicted whose place is known, so there is no mesh."
        return PaintedMesh(view.picture, text, [])

    # 2. Draw over the crop
    picture = overlay_meshes(view.picture, meshes, view.focal, view.princpt)
    residuals = [f"{mesh.side} {mesh.residual_mm:.0f} mm" for mesh in meshes]
    words = [
        "hand models fitted to the joints; left hand hatched",
        f"joints off the mesh: {', '.join(residuals)}",
        *mesh_warnings(meshes),
    ]

    # 3. For the 3D view
    records = [_record(mesh, prediction, camera) for mesh in meshes]
    return PaintedMesh(picture, "; ".join(words), records)


def _record(
    mesh: HandMesh, prediction: FramePrediction, camera: bool
) -> dict[str, Any]:
    """A mesh as the page's 3D view takes it."""
    vertices_mm = mesh.vertices_mm.astype(float)
    if not camera:
        wrist = WRISTS[SIDES.index(mesh.side)]
        shift_mm = prediction.joints_aligned_mm[wrist] - prediction.joints_cam_mm[wrist]
        vertices_mm = vertices_mm + shift_mm
    red, green, blue, _ = SIDE_COLORS[mesh.side]
    return {
        "name": f"{mesh.side} mesh",
        "color": f"rgb({red},{green},{blue})",
        "vertices": np.round(vertices_mm, 1).T.tolist(),
        "faces": mesh.faces.T.tolist(),
    }

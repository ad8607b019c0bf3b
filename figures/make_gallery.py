"""The pictures of the README's gallery: views of a data set, a run and the widgets.

    make gallery                                # data/demo, its latest evaluated run
    make gallery ARGS="--root ROOT --run RUN --weights CKPT --real ROOT"

The widgets are photographed in JupyterLab in headless Chromium at 1400×900; without
Chromium those pictures stay as they are. Only synthetic frames are shown: real ones may
not be passed on.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from digit.data.dataset import Batch, InterHandDataset
from digit.data.index import Index, open_index
from digit.evaluation.error_table import error_table
from digit.evaluation.predictions import Predictions
from digit.model.checkpoints import load_network
from digit.model.network import Prediction
from digit.paths import CHECKOUT_DIR, SHIPPED_WEIGHTS
from digit.plots import hands as hand_plots
from digit.plots import overlays
from digit.skeleton import HEATMAP_CELLS, SIDES
from digit.widgets.evaluated_model import find_evaluated_run

FIGURES_DIR = Path(__file__).parent
LARGEST_BYTES = 150_000  # of a picture
INTERACTING = 2  # hand type in the index
FIRST_GREY_CAMERA = "41"  # cameras from here on have no colour

# Notebook → the element that is scrolled to the top of the page
WIDGETS = {
    "02_data_inspection": "canvas.digit-space",
    "08_error_analysis": ".digit",
    "01_own_photo": "canvas.digit-space",
}
SCROLL_TO_TOP = (
    "element => element.closest('.jp-Cell').scrollIntoView({block: 'start'})"
)

Picture = UInt8[np.ndarray, "h w 3"]


def save_jpeg(picture: Picture, name: str) -> None:
    """Save a picture in this folder, in the best quality that is small enough."""
    for quality in range(88, 30, -6):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        _, data = cv2.imencode(".jpg", picture[..., ::-1], options)
        if len(data) <= LARGEST_BYTES:
            break
    (FIGURES_DIR / f"{name}.jpg").write_bytes(data)
    print(f"{name}.jpg: {len(data) // 1000} kB, quality {quality}")


def figure_pixels(figure: Figure) -> Picture:
    """A figure of `digit.plots` as RGB pixels."""
    data = np.frombuffer(figure._repr_png_(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


# Synthetic frames


def family_sheet(index: Index, columns: int = 6) -> Picture:
    """One frame of each family of two hands: in colour and with whole hands if any is."""
    interacting = index.take(index["hand_type"] == INTERACTING)
    outside = interacting["right_hidden_by_frame"] + interacting["left_hidden_by_frame"]
    is_grey = interacting["camera"].astype(str) >= FIRST_GREY_CAMERA

    # The best frame of each family: colour first, then the most of the hands
    best_first = np.lexsort([outside, is_grey])
    families = interacting["family"].astype(str)[best_first]
    _, first = np.unique(families, return_index=True)
    chosen = interacting.take(best_first[first])

    batch = InterHandDataset(chosen, 192).batch(range(len(chosen)))
    crops = batch.image.permute(0, 2, 3, 1).numpy()
    captions = [name.replace("_", " ") for name in chosen["family"]]
    sheet = hand_plots.contact_sheet(list(crops), captions, columns=columns)
    return figure_pixels(sheet)


# Real frames, without showing them


def real_hands(dataset_dir: Path, checkpoint: Path) -> Picture:
    """True joints, predicted joints and predicted parts of real frames, on white."""
    network = load_network(checkpoint)
    index = open_index(dataset_dir, "test")
    batch = InterHandDataset(index, network.image_size).batch(range(len(index)))
    with torch.no_grad():
        predicted = network(batch.images())

    # 1. A row each of true joints, predicted joints and parts
    panel_px = 2 * network.image_size
    cell_px = panel_px / HEATMAP_CELLS
    valid = batch.joint_valid.numpy() > 0
    true_px = batch.joints_25d[..., :2].numpy() * cell_px
    predicted_px = predicted.joints_25d[..., :2].numpy() * cell_px
    nothing = np.full_like(true_px, np.nan)
    joints_px = [
        hand_plots.masked(true_px, valid),
        hand_plots.masked(predicted_px, valid),
        nothing,
    ]
    white = np.full((panel_px, panel_px, 3), 255, np.uint8)
    labels = predicted.part_logits.argmax(1).byte().numpy().repeat(4, 1).repeat(4, 2)
    painted = [overlays.paint_parts(white, frame, 0.95) for frame in labels]
    pictures = [white] * (2 * len(index)) + painted

    # 2. Captions
    sequences = index["seq_name"].astype(str)
    captions = [f"true joints, {name[5:25]}" for name in sequences]
    captions += error_captions(index, batch, predicted)
    captions += ["parts"] * len(index)

    sheet = hand_plots.contact_sheet(
        pictures, captions, np.concatenate(joints_px), columns=len(index)
    )
    return figure_pixels(sheet)


def error_captions(index: Index, batch: Batch, predicted: Prediction) -> list[str]:
    """The 2D error of each hand as a share of the longer side of the box."""
    predictions = Predictions(
        image_id=index["image_id"],
        joints_25d=predicted.joints_25d.numpy(),
        relative_root_depth=predicted.relative_root_depth.numpy(),
        hand_type=predicted.hand_type_logits.sigmoid().numpy(),
    )
    table = error_table(index, predictions, "gt")
    captions = []
    for shares in table[[f"error_2d_{side}" for side in SIDES]].to_numpy():
        words = _share_words(shares)
        captions.append("off: " + ", ".join(words))
    return captions


def _share_words(shares: Float[np.ndarray, "2"]) -> list[str]:
    words = []
    for side, share in zip(SIDES, shares, strict=True):
        if np.isfinite(share):
            words.append(f"{side} {100 * share:.0f} %")
    return words


# Widgets


def photograph_widgets(parameters: dict[str, dict[str, str]]) -> None:
    """Run notebooks in JupyterLab and save a picture of each one's widget.

    Args:
        parameters: Notebook → its parameters.
    """
    sys.path.insert(0, str(CHECKOUT_DIR / "tests"))
    import lab

    if not any(map(shutil.which, lab.BROWSERS)):
        print("Chromium is missing: the pictures of the widgets stay as they are")
        return
    with tempfile.TemporaryDirectory() as folder, lab.open_lab(Path(folder)) as view:
        for name, given in parameters.items():
            view.open(name, **given)
            view.run_all()
            # Cells above take their height while the page moves: scroll several times.
            for _ in range(3):
                view.page.locator(WIDGETS[name]).first.evaluate(SCROLL_TO_TOP)
                view.page.wait_for_timeout(2000)
            data = np.frombuffer(view.page.screenshot(), np.uint8)
            picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
            save_jpeg(picture, f"gallery_{name}")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--root",
        type=Path,
        default=CHECKOUT_DIR / "data/demo",
        help="synthetic data set (default: data/demo)",
    )
    parser.add_argument(
        "--run", default="latest", help="a run evaluated on test (default: the newest)"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        default=SHIPPED_WEIGHTS,
        help="checkpoint for chapter 01 and the real frames (default: as shipped)",
    )
    parser.add_argument(
        "--real", type=Path, help="real frames in InterHand2.6M's layout"
    )
    parser.add_argument(
        "--only", default="01,02,08", help="numbers of the notebooks to photograph"
    )
    return parser.parse_args()


def main() -> None:
    """Make the pictures that the command line asks for."""
    arguments = parse_arguments()
    dataset_dir = arguments.root.resolve()
    weights = arguments.weights.resolve()
    save_jpeg(family_sheet(open_index(dataset_dir, "train")), "gallery_families")
    if arguments.real:
        save_jpeg(real_hands(arguments.real.resolve(), weights), "gallery_real")

    run = find_evaluated_run(arguments.run, "test")
    root = str(dataset_dir)
    parameters = {
        "02_data_inspection": {"root": root, "real": "none"},
        "08_error_analysis": {"run": str(run), "root": root},
        "01_own_photo": {"checkpoint": str(weights), "real": root},
    }
    numbers = arguments.only.split(",")
    wanted = {name: v for name, v in parameters.items() if name[:2] in numbers}
    photograph_widgets(wanted)


if __name__ == "__main__":
    main()

"""The gallery of the README: main views of a data set and a run, as small pictures in this folder.

    make gallery                                      # of data/demo and the latest run
    make gallery ARGS="--root ROOT --run RUN --weights CKPT"

The widgets are photographed in JupyterLab, in headless Chromium at 1400×900; without Chromium
those pictures stay as they are. Only synthetic frames are shown: the real ones are not ours to
give away.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from digit.data.dataset import InterHandDataset
from digit.data.index import Index, open_index
from digit.evaluation.error_table import error_table
from digit.evaluation.predictions import Predictions
from digit.model.checkpoints import load_network
from digit.paths import CHECKOUT_DIR
from digit.plots import hands as hand_plots
from digit.plots import overlays
from digit.plots.style import Picture
from digit.skeleton import SIDES
from digit.training import runs

HERE = Path(__file__).parent
LARGEST = 150_000  # bytes of a picture
VIEWS = {  # notebook → what is put at the top of the page
    "02_data_inspection": "canvas.digit-space",
    "08_error_analysis": ".digit",
    "01_own_photo": "canvas.digit-space",
}


def keep(picture: np.ndarray, name: str) -> None:
    """Write an RGB picture as a JPEG of at most `LARGEST` bytes."""
    for quality in range(88, 30, -6):
        code = cv2.imencode(
            ".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality]
        )[1]
        if len(code) <= LARGEST:
            break
    (HERE / f"{name}.jpg").write_bytes(code)
    print(f"{name}.jpg: {len(code) // 1000} kB, quality {quality}")


def of_figure(figure: Picture) -> np.ndarray:
    """A figure as RGB pixels."""
    data = np.frombuffer(figure._repr_png_(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def families(index: Index, columns: int = 6) -> np.ndarray:
    """A frame of each family of two hands, in colour, the hands wholly inside, as crops."""
    two = index.take(index["hand_type"] == 2)
    cut = two["right_hidden_by_frame"] + two["left_hidden_by_frame"]
    names, rows = (
        two["family"].astype(str),
        np.lexsort([cut, two["camera"].astype(str) >= "41"]),
    )
    _, first = np.unique(names[rows], return_index=True)
    each = two.take(rows[first])
    crops = (
        InterHandDataset(each, 192)
        .batch(range(len(each)))
        .image.permute(0, 2, 3, 1)
        .numpy()
    )
    captions = [name.replace("_", " ") for name in each["family"]]
    return of_figure(hand_plots.contact_sheet(list(crops), captions, columns=columns))


def real_hands(root: Path, weights: str) -> np.ndarray:
    """Real frames without the frames: true and predicted joints, predicted parts, on white."""
    network, frames = load_network(weights), open_index(root, "test")
    batch = InterHandDataset(frames, network.image_size).batch(range(len(frames)))
    with torch.no_grad():
        found = network(batch.images())
    valid = batch.joint_valid.numpy() > 0
    side = 2 * network.image_size  # px of a panel
    joints = [
        x[..., :2].numpy() * side / 64 for x in (batch.joints_25d, found.joints_25d)
    ]
    said = found.joints_25d, found.relative_root_depth, found.hand_type_logits.sigmoid()
    said = Predictions(frames["image_id"], *(x.numpy() for x in said))
    apart = error_table(frames, said, "gt")[[f"error_2d_{hand}" for hand in SIDES]]
    captions = []
    for shares in apart.to_numpy():  # of the box's longer side
        words = [f"{hand} {s:.0%}" for hand, s in zip(SIDES, shares) if np.isfinite(s)]
        captions.append("off: " + ", ".join(words).replace("%", " %"))
    labels = found.part_logits.argmax(1).byte().numpy().repeat(4, 1).repeat(4, 2)
    white = np.full((side, side, 3), 255, np.uint8)
    sheet = [white] * (2 * len(frames)) + [
        overlays.paint_parts(white, a, 0.95) for a in labels
    ]
    words = [
        f"true joints, {sequence[5:25]}" for sequence in frames["seq_name"].astype(str)
    ]
    drawn = [
        *(hand_plots.masked(x, valid) for x in joints),
        np.full_like(joints[0], np.nan),
    ]
    captions = [*words, *captions, *["parts"] * len(frames)]
    return of_figure(
        hand_plots.contact_sheet(sheet, captions, np.concatenate(drawn), len(frames))
    )


def photograph(given: dict[str, dict]) -> None:
    """Open the notebooks in JupyterLab, run them, and take a picture of each one's widget."""
    sys.path.insert(0, str(CHECKOUT_DIR / "tests"))
    import lab

    if not any(map(shutil.which, lab.BROWSERS)):
        print("no Chromium here: the pictures of the widgets stay as they are")
        return
    with tempfile.TemporaryDirectory() as folder, lab.open_lab(Path(folder)) as view:
        for name, parameters in given.items():
            view.open(name, **parameters)
            view.run_all(900)
            top = "element => element.closest('.jp-Cell').scrollIntoView({block: 'start'})"
            for _ in range(3):  # cells above take their height while the page moves
                view.page.locator(VIEWS[name]).first.evaluate(top)
                view.page.wait_for_timeout(2000)
            shot = np.frombuffer(view.page.screenshot(), np.uint8)
            keep(cv2.imdecode(shot, cv2.IMREAD_COLOR_RGB), f"gallery_{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=CHECKOUT_DIR / "data/demo")
    parser.add_argument(
        "--run", default="latest", help="with its errors: digit evaluate, or make demo"
    )
    parser.add_argument(
        "--weights", default="", help="a checkpoint for notebook 01; else the run's"
    )
    parser.add_argument(
        "--real", type=Path, help="real frames, InterHand2.6M's layout, for 08"
    )
    parser.add_argument("--only", default="01,06,08", help="these notebooks' widgets")
    args = parser.parse_args()
    root, run = args.root.resolve(), runs.find_run(args.run)
    index = open_index(root, "train")
    keep(families(index), "gallery_families")
    weights = str(Path(args.weights or run / "checkpoints/best.ckpt").resolve())
    if args.real:
        keep(real_hands(args.real.resolve(), weights), "gallery_real")
    given = {
        "02_data_inspection": {"root": str(root), "real": "none"},
        "08_error_analysis": {"run": str(run), "root": str(root)},
        "01_own_photo": {"checkpoint": weights, "real": str(root)},
    }
    photograph(
        {name: v for name, v in given.items() if name[:2] in args.only.split(",")}
    )


if __name__ == "__main__":
    main()

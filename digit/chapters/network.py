"""Chapter "The network": crops and targets, the parts of the network, one overfitted
batch."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from digit.chapters.closing_table import expected_and_measured
from digit.data.dataset import Batch, InterHandDataset
from digit.data.index import Index
from digit.model.losses import losses
from digit.model.network import Digit, Prediction, build_network
from digit.plots import charts, overlays
from digit.plots import hands as hand_plots
from digit.skeleton import HEATMAP_CELLS, LABELS

PAPER_PARAMETERS = 40_711_475
PAPER_GFLOP = 47.7


class Dissection(NamedTuple):
    """A network, what it predicted for one image, and what each of its parts did."""

    network: Digit
    prediction: Prediction
    parts: pd.DataFrame  # per part: output shape, parameters (M), GFLOP
    gflop: float


class Overfit(NamedTuple):
    """A small network after it has seen one batch again and again."""

    network: Digit
    batch: Batch
    history: pd.DataFrame  # a row per step, a column per weighted loss term


class AmbiguousPixel(NamedTuple):
    """A pixel whose part is in doubt."""

    frame: int  # position in the batch
    x: int  # column and row in the part map
    y: int
    probability: pd.Series  # of each label, the most probable first


def pictures(batch: Batch) -> UInt8[np.ndarray, "b s s 3"]:
    """The images of a batch, channels last, as figures take them."""
    return batch.image.permute(0, 2, 3, 1).contiguous().numpy()


def show_targets(batch: Batch, n: int = 4) -> Figure:
    """The first n crops of a batch with the annotated joints over them."""
    cell_px = batch.image.shape[-1] / HEATMAP_CELLS
    joints_px = hand_plots.masked(
        batch.joints_25d.numpy()[..., :2] * cell_px, batch.joint_valid.numpy() > 0
    )
    return hand_plots.contact_sheet(list(pictures(batch)[:n]), joints_px=joints_px[:n])


def dissect(image: Float[Tensor, "1 3 256 256"]) -> Dissection:
    """Run the paper's network, with random weights, and count what each part costs.

    Args:
        image: One image in [0, 1].

    Returns:
        The network, its prediction, and a table with a row per part.
    """
    network = build_network("full", pretrained=False).eval()
    modules = dict(network.named_children())
    outputs: dict[str, Tensor] = {}

    # 1. Remember what each part returns.
    def remember(name: str):
        def hook(_module, _inputs, output) -> None:
            outputs[name] = output[0] if isinstance(output, list) else output

        return hook

    for name, module in modules.items():
        module.register_forward_hook(remember(name))

    # 2. One forward pass, its operations counted.
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        prediction = network(image)
    operations = counter.get_flop_counts()

    # 3. A row per part, in the order in which they ran.
    rows = {}
    for name, output in outputs.items():
        parameters = sum(p.numel() for p in modules[name].parameters())
        flop = sum(operations[f"Digit.{name}"].values())
        rows[name] = (tuple(output.shape), parameters / 1e6, flop / 1e9)
    columns = ["output", "parameters (M)", "GFLOP"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return Dissection(network, prediction, table, counter.get_total_flops() / 1e9)


def output_shapes(prediction: Prediction) -> pd.DataFrame:
    """The fields of a prediction with their shapes and units."""
    units = {
        "joints_25d": "cells of a 64-cell heatmap",
        "relative_root_depth": "cells",
        "hand_type_logits": "logits: right, left",
        "part_logits": "logits of 33 labels per pixel",
        "heatmaps": "logits of 42 joints per cell",
    }
    shapes = {name: str(tuple(v.shape)) for name, v in prediction._asdict().items()}
    return pd.DataFrame({"shape": shapes, "unit": units})


def show_heatmap_means(picture: UInt8[np.ndarray, "s s 3"]) -> Figure:
    """A heatmap with one mode and one with two, and the joint that soft-argmax reads
    off."""
    cells_xy = np.indices((HEATMAP_CELLS, HEATMAP_CELLS))[::-1].transpose(1, 2, 0) + 0.5

    def mode(x: float, y: float) -> Float[np.ndarray, "64 64"]:
        squared_distance = ((cells_xy - (x, y)) ** 2).sum(-1)
        return np.exp(-squared_distance / 12)

    maps = {"one mode": mode(20, 30), "two modes": mode(14, 30) + mode(44, 26)}
    captions = []
    for name, heatmap in maps.items():
        x, y = np.average(cells_xy.reshape(-1, 2), axis=0, weights=heatmap.ravel())
        captions.append(f"{name}: joint at ({x:.0f}, {y:.0f})")
    painted = [overlays.paint_heatmap(picture, heatmap) for heatmap in maps.values()]
    return hand_plots.contact_sheet(painted, captions, columns=3)


def overfit_one_batch(
    index: Index, batch_size: int, steps: int, seed: int = 1
) -> Overfit:
    """Train the network `quick` on a single batch.

    Args:
        index: Frames to choose the batch from, evenly.
        batch_size: Frames of the batch.
        steps: Optimiser steps, Adam at 1e-3.
        seed: Of the initial weights.

    Returns:
        The network, the batch, and the loss terms of every step.
    """
    torch.manual_seed(seed)
    # Channels last is the faster memory format for convolutions on a CPU.
    network = build_network("quick").train().to(memory_format=torch.channels_last)
    rows = np.linspace(0, len(index) - 1, batch_size).astype(int)
    batch = InterHandDataset(index, network.image_size).batch(rows)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    history = []
    for _ in range(steps):
        terms = losses(network(batch.images()), batch)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        history.append({name: term.item() for name, term in terms.items()})
    return Overfit(network, batch, pd.DataFrame(history))


def show_history(overfit: Overfit) -> Figure:
    """The weighted loss terms over the steps."""
    terms = {name: overfit.history[name] for name in overfit.history}
    return charts.learning_curves({"loss, weighted": terms})


def predict_batch(overfit: Overfit) -> Prediction:
    """The overfitted network's prediction for its batch, in training mode as it was
    trained."""
    with torch.no_grad():
        return overfit.network(overfit.batch.images())


def show_joints(overfit: Overfit, prediction: Prediction, n: int = 4) -> Figure:
    """Annotated joints above, predicted ones below."""
    batch = overfit.batch
    cell_px = overfit.network.image_size / HEATMAP_CELLS
    joints_25d = torch.cat([batch.joints_25d[:n], prediction.joints_25d[:n]]).numpy()
    valid = np.tile(batch.joint_valid[:n].numpy() > 0, (2, 1))
    joints_px = hand_plots.masked(joints_25d[..., :2] * cell_px, valid)
    return hand_plots.contact_sheet(
        list(pictures(batch)[:n]) * 2, _captions(n), joints_px
    )


def show_parts(overfit: Overfit, prediction: Prediction, n: int = 4) -> Figure:
    """Annotated part masks above, predicted ones below."""
    batch = overfit.batch
    predicted = prediction.part_logits.argmax(1).byte()
    labels = torch.cat([batch.parts[:n], predicted[:n]]).numpy()
    labels = labels.repeat(2, axis=1).repeat(2, axis=2)  # half the image's size
    images = list(pictures(batch)[:n]) * 2
    painted = [
        overlays.paint_parts(image, mask)
        for image, mask in zip(images, labels, strict=True)
    ]
    return hand_plots.contact_sheet(painted, _captions(n))


def _captions(n: int) -> list[str]:
    return [f"{kind} {i}" for kind in ("annotated", "predicted") for i in range(n)]


def most_ambiguous_pixel(prediction: Prediction) -> AmbiguousPixel:
    """The pixel that is least decided between a right-hand and a left-hand part.

    Args:
        prediction: Of a batch.

    Returns:
        The pixel, in the part map of its frame, with the probabilities of all labels.
    """
    probability = prediction.part_logits.float().softmax(1)
    right = probability[:, 1:17].amax(1)
    left = probability[:, 17:].amax(1)
    doubt = torch.minimum(
        right, left
    )  # (b, h, h): high only where both hands are likely
    frame, y, x = np.unravel_index(int(doubt.argmax()), doubt.shape)
    labels = pd.Series(probability[frame, :, y, x].numpy(), index=LABELS)
    return AmbiguousPixel(
        int(frame), int(x), int(y), labels.sort_values(ascending=False)
    )


def show_ambiguous_pixel(batch: Batch, pixel: AmbiguousPixel) -> Figure:
    """The image with the pixel marked, and the probabilities of its likeliest
    labels."""
    return charts.pixel_probabilities(
        pictures(batch)[pixel.frame],
        mark_px=(2 * pixel.x, 2 * pixel.y),
        probability=pixel.probability.head(8),
    )


def harden_parts(overfit: Overfit) -> Float[Tensor, "b 42 3"]:
    """Joints when every pixel passes on its likeliest label alone, as if it were
    certain.

    Args:
        overfit: The network and the batch.

    Returns:
        2.5D joints, in cells.
    """

    def keep_the_winner(_module, inputs):
        (part_logits,) = inputs
        decided = torch.full_like(part_logits, float(part_logits.min()))
        winner = part_logits.argmax(1, keepdim=True)
        top = part_logits.amax(1, keepdim=True)
        return (decided.scatter(1, winner, top),)

    handle = overfit.network.conv_segm_feat.register_forward_pre_hook(keep_the_winner)
    try:
        return predict_batch(overfit).joints_25d
    finally:
        handle.remove()


def checks(dissection: Dissection, overfit: Overfit) -> pd.DataFrame:
    """Expected and measured: size and cost as in the paper; one batch is overfitted."""
    parameters = sum(p.numel() for p in dissection.network.parameters())
    joints = overfit.history["joints"]
    fell_to = joints.iloc[-1] / joints.iloc[0]
    return expected_and_measured(
        [
            (
                "parameters of the paper's network",
                f"{PAPER_PARAMETERS:,}",
                f"{parameters:,}",
                parameters == PAPER_PARAMETERS,
            ),
            (
                "its cost per image (GFLOP)",
                f"≤ {PAPER_GFLOP}",
                f"{dissection.gflop:.1f}",
                dissection.gflop < PAPER_GFLOP + 0.05,
            ),
            (
                "joint loss on the batch, end / start",
                "< 0.5",
                f"{fell_to:.2f}",
                fell_to < 0.5,
            ),
        ]
    )

"""Predicting and evaluating whole data sets."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from tqdm.auto import tqdm

from digit.data.dataset import InterHandDataset, loader
from digit.data.index import open_index
from digit.evaluation.error_table import error_table
from digit.evaluation.ground_truth import BBOX_OF
from digit.evaluation.metrics import part_statistics
from digit.evaluation.predictions import Predictions
from digit.evaluation.protocol import protocol
from digit.files import atomic
from digit.inference.flip_test import FlipTest
from digit.model.checkpoints import load_network
from digit.model.network import optimized_for_inference


@torch.inference_mode()
def predict_dataset(
    network: torch.nn.Module,
    dataset: InterHandDataset,
    rows: Int[np.ndarray, "n"] | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Predictions:
    """What a network says of frames of a data set (all, or these rows), with part statistics."""
    rows = np.arange(len(dataset)) if rows is None else rows
    batches = loader(dataset, batch_size, workers, sampler=rows.tolist())
    training, image_id = network.training, dataset.index["image_id"]
    network.eval()
    parts = []
    for batch in tqdm(batches, "predicting", disable=not progress, leave=False):
        prediction = network(batch.images().to(device), batch.parts.to(device))
        labels = prediction.part_logits.argmax(1).cpu()
        spread = prediction.heatmaps.float().flatten(2).log_softmax(-1)
        numbers = (
            prediction.joints_25d,
            prediction.relative_root_depth,
            prediction.hand_type_logits.float().sigmoid(),
            -(spread.exp() * spread).sum(-1),
        )
        numbers = (values.float().cpu().numpy() for values in numbers)
        statistics = part_statistics(labels, batch.parts.int(), batch.parts_valid)
        parts.append(Predictions(image_id[batch.row.numpy()], *numbers, **statistics))
    network.train(training)
    return Predictions.concatenate(parts)


def evaluate(
    root: Path,
    split: str,
    root_depth: str,
    checkpoint: Path | None = None,
    predictions: Path | None = None,
    errors: Path | None = None,
    flip_test: bool = False,
) -> dict:
    """`metrics.protocol` of a checkpoint or of a file of predictions; `errors`: its table, Parquet.

    `flip_test` has the checkpoint's network look twice, see `FlipTest`.

    Beside the table goes `<errors>.npz`, the predictions themselves. Frames on an exclude list are
    left out. Raises ValueError and FileNotFoundError for what is missing or does not fit.
    """
    if flip_test and checkpoint is None:
        raise ValueError(
            f"{predictions}: predictions cannot look twice; leave out --flip-test"
        )
    network = None if checkpoint is None else load_network(checkpoint)
    index = open_index(root, split)
    if left_out := len(index) - len(index.usable()):
        note = f"{left_out} of {len(index)} frames are left out"
        print(f"{note}, see {index.root}/prepared/exclude")
        index = index.usable()
    if network is None:
        found = Predictions.load(predictions)
    else:
        frames = InterHandDataset(index, network.image_size, bbox=BBOX_OF[root_depth])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = optimized_for_inference(network).to(device)
        network = FlipTest(network) if flip_test else network
        found = predict_dataset(
            network, frames, workers=2, device=device, progress=True
        )
    table = error_table(index, found, root_depth)
    if errors is not None:
        with atomic(errors, "wb") as file:
            table.to_parquet(file)
        found.save(
            errors.with_suffix(".npz")
        )  # last: a table is whole where this is there
    result = protocol(table)
    result["protocol"] += "; flip test" if flip_test else ""
    result["protocol"] += f"; {note}" if left_out else ""
    return result

"""The evaluation of a run's val frames during training, by the paper's protocol.

`digit.training.module` calls `evaluate_val` every few epochs; the result decides which
checkpoint is best.
"""

import numpy as np
import pytorch_lightning as pl
import torch

from digit.evaluation.error_table import error_table
from digit.evaluation.predictions import Predictions
from digit.evaluation.protocol import HEADLINE, protocol
from digit.inference.evaluate import predict_dataset
from digit.training.data import HandData
from digit.training.settings import Settings

# What training records of val, and what result.json holds.
VALIDATION_METRICS = (*HEADLINE, "part_miou")
MIN_BATCH_SIZE = 8  # small training batches need not slow the evaluation down


@torch.no_grad()
def evaluate_val(
    network: torch.nn.Module, data: HandData, settings: Settings, trainer: pl.Trainer
) -> dict[str, float] | None:
    """Evaluate a network on the val frames.

    Each process predicts its share of them, each frame once whatever their number.

    Args:
        network: The network; it is left in evaluation mode.
        data: Gives the val frames.
        settings: Depth source, workers and batch size are read.
        trainer: Gives rank, device and precision.

    Returns:
        The metrics of `VALIDATION_METRICS` that the frames have; None in all processes but the
        first.
    """
    # 1. Predict this process' share.
    rank = trainer.global_rank
    world_size = trainer.world_size
    rows = np.arange(rank, len(data.val_index), world_size)
    predictions = None
    if len(rows):
        with trainer.precision_plugin.forward_context():
            predictions = predict_dataset(
                network,
                data.val_frames,
                rows,
                batch_size=max(MIN_BATCH_SIZE, settings.batch_size // world_size),
                workers=settings.workers,
                device=trainer.strategy.root_device,
            )

    # 2. Gather all shares in the first process.
    shares = [predictions] * world_size
    if world_size > 1:
        torch.distributed.gather_object(predictions, None if rank else shares)
    if rank:
        return None
    predictions = Predictions.concatenate([s for s in shares if s is not None])

    # 3. Errors and their averages.
    table = error_table(data.val_index, predictions, root_depth=settings.root_depth)
    result = protocol(table, intervals=False)
    metrics = {}
    for name in VALIDATION_METRICS:
        if result.get(name) is not None:
            metrics[name] = float(result[name])
    return metrics

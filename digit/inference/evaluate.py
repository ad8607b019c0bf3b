"""Predicting and evaluating a whole data set.

`predict_dataset` runs a network over frames of an index, also during training;
`evaluate` is `digit evaluate`: a checkpoint or a file of predictions → the protocol's
numbers.
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from tqdm.auto import tqdm

from digit.data.build_index import prepare_index
from digit.data.dataset import Batch, InterHandDataset, loader
from digit.data.index import Index
from digit.data.parquet import write_table
from digit.evaluation.contradiction import (
    Contradictions,
    Views,
    find_contradictions,
)
from digit.evaluation.error_table import error_table
from digit.evaluation.ground_truth import BBOX_OF, LabelKind, RootDepth
from digit.evaluation.metrics import heatmap_entropy, part_statistics
from digit.evaluation.predictions import Predictions
from digit.evaluation.protocol import protocol
from digit.hands.model import generic_hands
from digit.inference.assembly import Method
from digit.inference.features import pooled_features
from digit.inference.landmark_dataset import predict_by_landmarks
from digit.inference.turn_test import with_test_time_options
from digit.inference.views import evaluate_views
from digit.model.checkpoints import load_network
from digit.model.network import Prediction, optimized_for_inference
from digit.outputs import check_outputs
from digit.paths import SHIPPED_WEIGHTS
from digit.skeleton import HEATMAP_CELLS

LOADER_PROCESSES = 2  # that decode images while the network runs


@torch.inference_mode()
def predict_dataset(
    network: torch.nn.Module,
    dataset: InterHandDataset,
    rows: Int[np.ndarray, "n"] | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
    contradictions: bool = False,
    features: bool = False,
) -> Predictions:
    """Run a network over frames of a data set.

    Args:
        network: It is left in the mode (training or evaluation) that it was in.
        dataset: Evaluation crops of the network's size.
        rows: Which frames of it; all by default.
        batch_size: Frames at a time.
        workers: Processes that load images.
        device: Where the network's weights are.
        progress: Whether to show a progress bar.
        contradictions: Whether to compare the predicted joints with the predicted parts
            as well, which takes some 15 ms a frame.
        features: Whether to keep the network's pooled features as well, in half
            precision.

    Returns:
        A prediction a frame, with heatmap entropy and part statistics.

    Raises:
        ValueError: If an image is broken or has not its annotated size.
        KeyError: If an image is missing.
        RuntimeError: If the workers hang, as on a file system that does.
    """
    if rows is None:
        rows = np.arange(len(dataset))
    image_ids = dataset.index["image_id"]
    batches = loader(dataset, batch_size, workers, sampler=rows.tolist())
    batches = _with_timeout_hint(batches, dataset.index)

    was_training = network.training
    network.eval()
    catching = pooled_features(network) if features else nullcontext([])
    parts = []
    total = -(-len(rows) // batch_size)
    shown = tqdm(batches, "predicting", total=total, disable=not progress, leave=False)
    with catching as caught:
        for batch in shown:
            caught.clear()
            prediction = network(batch.images().to(device), batch.parts.to(device))
            statistics = part_statistics(
                predicted=prediction.part_logits.argmax(1).cpu(),
                true=batch.parts.int(),
                valid=batch.parts_valid,
            )
            found = Predictions(
                image_id=image_ids[batch.row.numpy()],
                joints_25d=_as_array(prediction.joints_25d),
                relative_root_depth=_as_array(prediction.relative_root_depth),
                hand_type=_as_array(prediction.hand_type_logits.float().sigmoid()),
                heatmap_entropy=_as_array(heatmap_entropy(prediction.heatmaps)),
                **statistics,
            )
            if contradictions:
                compared = _contradictions(prediction, batch, dataset.index)
                found = found._replace(contradiction=compared.as_array())
            if features:  # of a flip or turn test, those of the picture as it is
                found = found._replace(features=caught[0].half().cpu().numpy())
            parts.append(found)
    network.train(was_training)
    return Predictions.concatenate(parts)


def _with_timeout_hint(batches: Iterable[Batch], index: Index) -> Iterator[Batch]:
    """The batches; where their loader times out, the error names the data set."""
    try:
        yield from batches
    except RuntimeError as error:
        if "timed out" not in str(error):
            raise
        hint = (
            "is its file system there, and is there shared memory for the workers "
            "(df /dev/shm)? workers=0 does without"
        )
        raise RuntimeError(f"{index.dataset_dir}: {error}; {hint}") from error


def evaluate(
    dataset_dir: Path | str,
    split: str,
    root_depth: RootDepth,
    checkpoint: Path | str | None = None,
    predictions: Path | str | None = None,
    errors: Path | str | None = None,
    flip_test: bool = False,
    turn_test: bool = False,
    label_kind: LabelKind | None = None,
    views: bool = False,
    method: Method | None = None,
) -> dict:
    """Evaluate a checkpoint, or any method's predictions, by the paper's protocol.

    Frames on an exclude list are left out, which the protocol's description then says.

    Args:
        dataset_dir: The data set's folder.
        split: "train", "val", "test" or a named subset such as "minival".
        root_depth: Whose wrist depths and boxes: "gt" (annotated) or "rootnet".
        checkpoint: A network to predict with; or else
        predictions: an .npz file of predictions (`Predictions.load`).
        errors: Where to write the error table (Parquet). A checkpoint's predictions and
            pooled features go beside it under the same name with `.npz`, for the
            failure browser.
        flip_test: Average the network's prediction with that for the mirrored image;
            not in the paper's protocol.
        turn_test: Predict the image in four quarter turns and keep what the network is
            surest of; not in the paper's protocol.
        label_kind: "2d" if the depths of the labels are not to be trusted, so that only
            metrics in the image count; by default what the data set says of itself in
            `annotations/labels.txt`.
        views: Measure other crops, turned and grey pictures as well
            (`digit.inference.views`).
        method: In the place of checkpoint and predictions: "small", the network that
            ships, or "mediapipe", MediaPipe's landmark model on whole pictures, which
            has no MRRPE.

    Returns:
        What `digit.evaluation.protocol.protocol` returns, `n_left_out`, the number
        of frames on an exclude list, and with `views` the keys `view_<name>_<metric>`.

    Raises:
        FileNotFoundError: If the data set, a file or an output's folder is missing.
        ValueError: If not exactly one of checkpoint and predictions is given, something
            does not fit together, or an output would overwrite an input or a file of a
            data set.

    Example:
        >>> result = digit.evaluate("data/demo", "test", "gt", "small.ckpt")
        >>> result["mpjpe_all"], result["protocol"]
    """
    # 1. Arguments.
    by_landmarks = method == "mediapipe"
    if by_landmarks:
        check_landmark_method(
            checkpoint, predictions, on_crops=flip_test or turn_test or views
        )
    else:
        checkpoint = _checkpoint_of(method, checkpoint, predictions)
        check_sources(checkpoint, predictions, flip_test, turn_test, views)
    if errors is not None:
        check_error_files(Path(errors), inputs=[checkpoint, predictions])

    # 2. Data and predictions. What fails at once comes first.
    network = _open_network(checkpoint, flip_test, turn_test)
    whole = prepare_index(dataset_dir, split)
    index = whole.usable()
    n_left_out = len(whole) - len(index)
    if len(index) == 0:
        raise ValueError(
            f"{whole.dataset_dir}: every frame of {split} is left out; see prepared/exclude"
        )
    if by_landmarks:
        found = predict_by_landmarks(index, BBOX_OF[root_depth], progress=True)
    else:
        for_table = errors is not None
        found = _predictions_of(network, predictions, index, root_depth, for_table)

    # 3. The error table and its averages.
    table = error_table(index, found, root_depth, label_kind)
    if by_landmarks:
        table["mrrpe"] = np.nan
    if errors is not None:
        write_table(errors, table)
        if predictions is None:
            # Written last: where this file is, the table is complete.
            found.save(companion_of(Path(errors)))
    result = protocol(table)
    result["n_left_out"] = n_left_out
    if views:
        predict = partial(_predict_frames, network)
        result.update(evaluate_views(predict, index, size_px=network.image_size))
    notes = {
        "flip test": flip_test,
        "turn test": turn_test,
        "MediaPipe Hands on whole pictures": by_landmarks,
        f"{n_left_out} of {len(whole)} frames are left out": n_left_out > 0,
    }
    applying = [note for note, applies in notes.items() if applies]
    result["protocol"] = "; ".join([result["protocol"], *applying])
    return result


def _predictions_of(
    network: torch.nn.Module | None,
    predictions: Path | str | None,
    index: Index,
    root_depth: RootDepth,
    for_table: bool,
) -> Predictions:
    """The network's predictions, or those of a file; for a table with all it shows."""
    if network is None:
        return Predictions.load_for(predictions, index)
    frames = InterHandDataset(index, network.image_size, bbox=BBOX_OF[root_depth])
    return _predict_frames(network, frames, for_table)


def _checkpoint_of(
    method: Method | None,
    checkpoint: Path | str | None,
    predictions: Path | str | None,
) -> Path | str | None:
    """The checkpoint that is given, or that of the method "small"."""
    if method is None:
        return checkpoint
    if checkpoint is not None or predictions is not None:
        raise ValueError(f"method {method!r}: leave out checkpoint and predictions")
    return SHIPPED_WEIGHTS


def check_sources(
    checkpoint: Path | str | None,
    predictions: Path | str | None,
    flip_test: bool,
    turn_test: bool,
    views: bool,
) -> None:
    """Check that there is one source, and one that can do what is asked for.

    Raises:
        ValueError: If not; see `evaluate`.
    """
    if (checkpoint is None) == (predictions is None):
        raise ValueError("checkpoint and predictions: give one of them")
    if checkpoint is not None:
        return
    if flip_test:
        raise ValueError(
            f"flip_test: {predictions} holds predictions, which cannot be mirrored; "
            "leave it out, or give a checkpoint"
        )
    if turn_test:
        raise ValueError(
            f"turn_test: {predictions} holds predictions, which cannot be turned; "
            "leave it out, or give a checkpoint"
        )
    if views:
        raise ValueError(
            f"views: {predictions} holds predictions of one crop only; leave it out, "
            "or give a checkpoint"
        )


def check_landmark_method(
    checkpoint: Path | str | None, predictions: Path | str | None, on_crops: bool
) -> None:
    """Raise ValueError for what the method "mediapipe" cannot be combined with."""
    if checkpoint is not None or predictions is not None or on_crops:
        raise ValueError(
            'method "mediapipe": leave out checkpoint, predictions, flip_test, '
            "turn_test and views"
        )


def companion_of(errors: Path) -> Path:
    """Where the predictions go that belong to an error table."""
    return errors.with_suffix(".npz")


def check_error_files(errors: Path, inputs: list[Path | str | None]) -> None:
    """Check that an error table and its predictions can be written.

    Raises:
        FileNotFoundError: If its folder is missing.
        ValueError: If the two would be one file, or either would overwrite an input or
            a file of a data set.
    """
    companion = companion_of(errors)
    if companion == errors:
        raise ValueError(
            f"errors {errors}: predictions go into this name; end it in .parquet"
        )
    check_outputs({"errors": errors}, inputs=inputs)
    checkpoint = inputs[0]
    if checkpoint is not None:
        check_outputs({"errors": companion}, inputs=inputs)


def _open_network(
    checkpoint: Path | str | None, flip_test: bool, turn_test: bool
) -> torch.nn.Module | None:
    """A checkpoint's network, made fast, on the GPU where there is one."""
    if checkpoint is None:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = optimized_for_inference(load_network(checkpoint)).to(device)
    return with_test_time_options(network, flip_test, turn_test)


def _predict_frames(
    network: torch.nn.Module, frames: InterHandDataset, for_table: bool = False
) -> Predictions:
    """Predict every frame of a data set, where the network's weights are.

    Contradictions and features, which take their time, come with tables alone.
    """
    device = next(network.parameters()).device
    return predict_dataset(
        network,
        frames,
        workers=LOADER_PROCESSES,
        device=device,
        progress=True,
        contradictions=for_table,
        features=for_table,
    )


def _contradictions(
    prediction: Prediction, batch: Batch, index: Index
) -> Contradictions:
    """Predicted joints against predicted parts, for a batch of frames."""
    rows = batch.row.numpy()
    # Heat-map units → pixels of the crop → pixels of the image.
    crop_px_per_cell = batch.image.shape[-1] / HEATMAP_CELLS
    cells_to_image = batch.crop_to_image.clone()
    cells_to_image[..., :2] *= crop_px_per_cell
    return find_contradictions(
        generic_hands(),
        joints_25d=prediction.joints_25d.float().cpu(),
        relative_root_depth=prediction.relative_root_depth.float().cpu(),
        hand_type=prediction.hand_type_logits.float().sigmoid().cpu(),
        labels=prediction.part_logits.argmax(1).byte().cpu().numpy(),
        views=Views(
            cells_to_image=cells_to_image,
            focal=torch.from_numpy(np.asarray(index["focal"][rows])),
            princpt=torch.from_numpy(np.asarray(index["princpt"][rows])),
        ),
    )


def _as_array(values: torch.Tensor) -> np.ndarray:
    """A tensor as a float32 array."""
    return values.float().cpu().numpy()

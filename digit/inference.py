"""Checkpoints in and out; what a network says of a picture, and of a data set."""

import io
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from matplotlib.figure import Figure
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm.auto import tqdm

from digit_data import figures, geometry
from digit_data.annotations import atomic
from digit_data.dataset import InterHandDataset, loader
from digit_data.interhand import open_index
from digit_data.skeleton import (
    HEATMAP_CELLS,
    JOINTS,
    JOINTS_PER_HAND,
    SIDES,
    SWAP_JOINTS,
    SWAP_LABELS,
)

from .metrics import BBOX_OF, Predictions, error_table, part_statistics, protocol
from .network import NETWORKS, Digit, Prediction, optimized_for_inference

PREFIXES = re.compile(r"^((model|module|network|pose_reg|_orig_mod)\.)+")
CLASSIFIER = re.compile(  # of the official HRNet file; the pose network has none of it
    r"^backbone\."
    r"(incre_modules|downsamp_modules|final_layer|classifier|stage4\.2\.fuse_layers\.[123])\."
)
LIGHTNING = [f"pytorch_lightning.{name}" for name in (
    "utilities.parsing.AttributeDict", "callbacks.model_checkpoint.ModelCheckpoint",
    "callbacks.early_stopping.EarlyStopping",
)]  # fmt: skip
# classes beside the weights in a Lightning checkpoint, read as dictionaries
BESIDE = [(OrderedDict, name) for name in ("argparse.Namespace", "easydict.EasyDict", *LIGHTNING)]
Source = str | Path | Mapping[str, object]


def load_network(source: Source) -> Digit:
    """The network of a checkpoint file or state dict, in evaluation mode, on the CPU.

    Read are our own checkpoints (averaged weights first), the original's (its state dict with any
    prefix, or inside a Lightning checkpoint) and the official ImageNet file of HRNet-W32, which
    fills the backbone alone. Nothing of a file is executed. Raises FileNotFoundError, or ValueError
    naming the file and its fault: code, damage, missing or unexpected keys, a wrong shape.
    """
    name, content = _read(source)
    arguments = content.get("network", NETWORKS["full"])
    try:
        with torch.device("meta"):  # whatever sizes the file claims cost nothing yet
            outline = Digit(**arguments)
    except Exception as error:
        raise ValueError(f"{name}: its network cannot be built: {error!r:.200}") from None
    state = _fit(content, outline, name)
    network = Digit(**arguments)
    network.load_state_dict(state, strict=False)
    return network.eval()


def load_state(network: Digit, source: Source) -> None:
    """Fill a network with the weights of a checkpoint; sources and errors as `load_network`'s."""
    name, content = _read(source)
    network.load_state_dict(_fit(content, network, name), strict=False)


def save_checkpoint(
    path: str | Path, network: Digit, ema: Mapping[str, Tensor] | None = None, **extra: object
) -> None:
    """Write a network, its averaged weights and plain extras; a file is replaced whole or not."""
    content = {"state_dict": network.state_dict(), "network": network.arguments, **extra}
    content |= {} if ema is None else {"ema": dict(ema)}
    with atomic(Path(path), "wb") as file:
        torch.save(content, file)


def _read(source: Source) -> tuple[str, dict[str, object]]:
    """What errors call the source, and its content; the weights are under "state_dict" or "ema"."""
    name, content = "the state dict", source
    if not isinstance(source, Mapping):
        name = str(source)
        if not Path(source).is_file():
            raise FileNotFoundError(f"{name}: no such checkpoint; check the path")
        try:
            if zipfile.is_zipfile(source):
                with zipfile.ZipFile(source) as archive:  # a bomb; torch itself never compresses
                    if any(entry.compress_type for entry in archive.infolist()):
                        raise ValueError("its entries are compressed")
            with torch.serialization.safe_globals(BESIDE):
                content = torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:
            text = str(error) or repr(error)
            reason = re.search(r"(?:WeightsUnpickler error: |Trying to load )([^\n]+)", text)
            reason = (reason[1] if reason else text).split(". ")[0]
            fault = f"refused, broken or more than weights: {reason:.300}"
            raise ValueError(f"{name}: {fault}; get the file again from its source") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{name}: holds a {type(content).__name__}, not weights by name")
    return name, dict(content) if "state_dict" in content else {"state_dict": content}


def _fit(content: Mapping[str, object], network: Digit, name: str) -> dict[str, Tensor]:
    """The content's weights under the network's names, once all names and shapes are right."""
    found = content["ema" if isinstance(content.get("ema"), Mapping) else "state_dict"]
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{name}: holds no weights")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ValueError(f"{name}: {key!r:.100} is a {kind}, not weights by name")
    state = {PREFIXES.sub("", key): value for key, value in found.items()}
    expected = network.state_dict()
    if "layer1.0.conv1.weight" in state:  # HRNet alone
        state = {f"backbone.{key}": value for key, value in state.items()}
        state = {key: value for key, value in state.items() if not CLASSIFIER.match(key)}
        expected = {key: value for key, value in expected.items() if key.startswith("backbone.")}
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    wrong = [
        f"{key} has shape {tuple(value.shape)}, the network needs {tuple(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    keys_for = f"keys for a {network.arguments['backbone']} network: "
    faults = {f"missing {keys_for}": missing, f"unexpected {keys_for}": unexpected, "": wrong}
    for fault, found in faults.items():
        if found:
            some = ", ".join(found[:8]) + f" and {len(found) - 8} more" * (len(found) > 8)
            raise ValueError(f"{name}: {fault}{some}; use a checkpoint of this network")
    return state


def read_photo(source: Path | bytes) -> tuple[UInt8[np.ndarray, "height width 3"], float | None]:
    """A photo as it is meant to be seen, RGB: upright by its EXIF orientation, grey and 16 bits a
    channel made plain, transparency on white; and its focal length (px) where EXIF tells it.

    Raises FileNotFoundError, or ValueError for what is no whole picture or beyond 178 megapixels.
    """
    name = "the photo" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes) and not source.is_file():
        raise FileNotFoundError(f"{name}: no such image; give the path of a JPEG or PNG file")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as photo:
            mm35 = float(photo.getexif().get_ifd(0x8769).get(0xA405) or 0)  # FocalLengthIn35mmFilm
            photo = ImageOps.exif_transpose(photo)
            if photo.mode.startswith(("I", "F")):  # 16 bits a channel, if more than 8 are used
                values = np.asarray(photo, np.float32)
                values = np.clip(values / (257 if values.max() > 255 else 1), 0, 255)
                photo = Image.fromarray(values.round().astype(np.uint8))
            if photo.has_transparency_data:
                photo = photo.convert("RGBA")
                photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
            image = np.array(photo.convert("RGB"))
    except Exception as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "of no kind that is known" if unknown else f"{error!s:.120}"
        cure = "give a whole JPEG or PNG file"
        raise ValueError(f"{name}: cannot be decoded as an image: {reason}; {cure}") from None
    return image, mm35 / 43.27 * float(np.hypot(*image.shape[:2])) or None  # by the diagonal


def mirrored(values: Shaped[Tensor, "*b s"]) -> Shaped[Tensor, "*b s"]:
    """A crop, or labels on it, in the mirror about column s/2: column x → s − x, as training crops
    are mirrored. Column 0, whose image lies outside, stays."""
    return torch.cat([values[..., :1], values[..., 1:].flip(-1)], -1)


class FlipTest(torch.nn.Module):
    """A network that looks twice, the second time in the mirror; the mean of what it says.

    Known as flip test; not in the paper's protocol. It takes twice the time.
    """

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network, self.image_size = network, network.image_size

    def forward(
        self, image: Float[Tensor, "b 3 s s"], true_parts: UInt8[Tensor, "b h h"] | None = None
    ) -> Prediction:
        given = [] if true_parts is None else [true_parts]
        labels = torch.as_tensor(SWAP_LABELS, device=image.device)
        swapped = [labels[mirrored(parts).long()] for parts in given]
        looks = self.network(image, *given), unmirrored(self.network(mirrored(image), *swapped))
        return Prediction(*((first + second) / 2 for first, second in zip(*looks)))


def unmirrored(prediction: Prediction) -> Prediction:
    """What a prediction for a mirrored crop says of the crop itself."""
    joints = prediction.joints_25d[:, SWAP_JOINTS]
    x = HEATMAP_CELLS - joints[..., :1]
    return Prediction(
        torch.cat([x, joints[..., 1:]], -1),
        HEATMAP_CELLS - prediction.relative_root_depth,  # the middle cell is depth zero
        prediction.hand_type_logits.flip(-1),
        mirrored(prediction.part_logits)[:, SWAP_LABELS.astype(int)],
        prediction.heatmaps.flip(-1)[:, SWAP_JOINTS],
    )


class Estimate(NamedTuple):
    """One image's hands, in numpy; s is the crop's size, the hands of a type not seen included."""

    hand_type: Float[np.ndarray, "2"]  # probabilities, right and left
    joints_px: Float[np.ndarray, "42 2"]  # pixels of the image given
    joints_25d: Float[np.ndarray, "42 3"]  # heat-map units of the crop
    joints_cam_mm: Float[np.ndarray, "42 3"] | None  # where camera and wrist depth are known
    relative_root_depth_mm: float  # left wrist − right wrist
    crop: UInt8[np.ndarray, "s s 3"]
    parts: UInt8[np.ndarray, "s s"]  # labels on the crop

    def hands(self) -> list[str]:
        """The hands the network sees: "right", "left", both or none."""
        return [side for side, p in zip(SIDES, self.hand_type) if p > 0.5]

    def figure(self) -> Figure:
        """The crop with joints, its parts, and the hands in 3D, camera or not."""
        joints_mm = self.joints_cam_mm
        if joints_mm is None:  # weak perspective: a cell counts as its depth's
            joints_mm = geometry.cells_to_depth(torch.from_numpy(self.joints_25d)).numpy()
            joints_mm[JOINTS_PER_HAND:, 2] += self.relative_root_depth_mm
        crop_px = self.joints_25d[:, :2] / HEATMAP_CELLS * len(self.crop)
        seen = np.repeat(self.hand_type > 0.5, JOINTS_PER_HAND)
        drawn = (figures.masked(crop_px, seen), self.parts, figures.masked(joints_mm, seen))
        title = f"{' and '.join(self.hands()) or 'no'} hand"
        return figures.frame_figure(self.crop, *({"predicted": v} for v in drawn), title)


@torch.inference_mode()
def predict(
    network: torch.nn.Module,
    image: UInt8[np.ndarray, "height width 3"],
    bbox_xywh: Sequence[float],
    focal: Sequence[float] | None = None,
    princpt: Sequence[float] | None = None,
    wrist_depth_mm: float | None = None,
) -> Estimate:
    """The hands in a box of an RGB image (px); the box is made square and ×1.25 as in evaluation.

    With a camera (focal, princpt, px) and the absolute depth of the right wrist, of the left one
    where only a left hand is seen, joints come in the camera frame too (mm). Raises ValueError for
    a box without area or outside the image, and for a network that is fed true parts.
    """
    x, y, w, h = bbox_xywh
    height, width = image.shape[:2]
    if not (np.abs(bbox_xywh).max() < 1e6 and w > 0 and h > 0):  # nor NaN
        raise ValueError(f"--bbox {x:g},{y:g},{w:g},{h:g}: give x, y, width > 0, height > 0 in px")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise ValueError(f"--bbox {x:g},{y:g},{w:g},{h:g} lies outside the {width}×{height} image")
    size = network.image_size
    box = geometry.square_bbox(torch.tensor([x, y, w, h], dtype=torch.float64))
    affine = geometry.crop_affine(box, size)
    crop = _cut(image, affine.numpy(), size)
    prediction = network(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255)
    joints = prediction.joints_25d[0].double()
    back = geometry.invert_affine(affine)
    hand_type = prediction.hand_type_logits[0].double().sigmoid().numpy()
    relative = geometry.cells_to_depth(prediction.relative_root_depth[0].double())
    joints_cam = None
    if focal is not None and princpt is not None and wrist_depth_mm is not None:
        depth = torch.full((2,), float(wrist_depth_mm), dtype=torch.float64)
        if hand_type[0] > 0.5:
            depth[1] += relative
        camera = (torch.tensor(v, dtype=torch.float64) for v in (focal, princpt))
        joints_cam = geometry.from_25d(joints, back, depth, *camera, size).numpy()
    labels = prediction.part_logits.argmax(1)[0].byte().numpy()
    joints_px = geometry.apply_affine(back, joints[:, :2] / HEATMAP_CELLS * size).numpy()
    parts = labels.repeat(2, 0).repeat(2, 1)
    return Estimate(hand_type, joints_px, joints.numpy(), joints_cam, float(relative), crop, parts)


def _cut(
    image: UInt8[np.ndarray, "height width 3"], affine: Float[np.ndarray, "2 3"], size: int
) -> UInt8[np.ndarray, "s s 3"]:
    """The crop; a box far larger than that is averaged down first, for a warp only samples."""
    scale, shift = affine[0, 0], affine[:, 2]
    if scale > 0.2 and max(image.shape) < 2**15 - 1:  # all of InterHand2.6M, as evaluation does
        return cv2.warpAffine(image, affine, (size, size))
    margin = int(1 / scale)
    low = np.maximum(np.floor(-shift / scale) - margin, 0).astype(int)
    high = np.ceil((size - shift) / scale).astype(int) + margin
    patch = image[low[1] : high[1], low[0] : high[0]]
    shape = np.array(patch.shape[1::-1])
    k = np.maximum(1, np.minimum(0.5 / scale, shape)).astype(int)
    (w, h), (whole_w, whole_h) = shape // k, shape // k * k
    small = cv2.resize(patch[:whole_h, :whole_w], (int(w), int(h)), interpolation=cv2.INTER_AREA)
    moved = np.column_stack([affine[:, :2] * k, shift + scale * (low + (k - 1) / 2)])
    return cv2.warpAffine(small, moved, (size, size))


def predict_file(
    network: torch.nn.Module,
    path: Path,
    bbox_xywh: Sequence[float],
    focal: Sequence[float] | None,
    princpt: Sequence[float] | None,
    wrist_depth_mm: float | None,
    figure: Path | None = None,
) -> dict:
    """`predict` on a picture file as plain lists; `figure` is where a drawing goes.

    Raises as `read_photo` and `predict` do.
    """
    image, _ = read_photo(path)
    estimate = predict(network, image, bbox_xywh, focal, princpt, wrist_depth_mm)
    result = {
        "image": str(path), "bbox_xywh": list(bbox_xywh), "hands": estimate.hands(),
        "hand_type": dict(zip(SIDES, estimate.hand_type.tolist())), "joints": list(JOINTS),
        "joints_px": estimate.joints_px.tolist(), "joints_25d": estimate.joints_25d.tolist(),
        "relative_root_depth_mm": estimate.relative_root_depth_mm,
    }  # fmt: skip
    if estimate.joints_cam_mm is not None:
        result["joints_cam_mm"] = estimate.joints_cam_mm.tolist()
    if figure is not None:
        estimate.figure().savefig(figure)
    return result


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
        raise ValueError(f"{predictions}: predictions cannot look twice; leave out --flip-test")
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
        found = predict_dataset(network, frames, workers=2, device=device, progress=True)
    table = error_table(index, found, root_depth)
    if errors is not None:
        with atomic(errors, "wb") as file:
            table.to_parquet(file)
        found.save(errors.with_suffix(".npz"))  # last: a table is whole where this is there
    result = protocol(table)
    result["protocol"] += "; flip test" if flip_test else ""
    result["protocol"] += f"; {note}" if left_out else ""
    return result

"""The result for one picture, and its form in files: one schema for JSON, CSV and NPZ.

`digit.inference.pipeline` fills these records, `digit.inference.outputs` writes them,
and `digit.predict` returns them. The schema is described in `docs/` under "Results of
digit predict"; a change of a name or of a unit raises `SCHEMA_VERSION`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from digit.inference.confidence import Clues
from digit.inference.predict import Estimate
from digit.skeleton import HAND_JOINTS, JOINTS, JOINTS_PER_HAND, SIDES

SCHEMA_VERSION = 1
DECIMALS = 3  # of lengths in files, px and mm


@dataclass
class HandRecord:
    """One hand that is seen."""

    side: str  # "right" or "left", the person's own
    probability: float  # of this side's hand being there, by the method
    score: float  # probability that its joints are right to a tenth of the hand's box
    joints_px: Float[np.ndarray, "21 2"]
    joints_cam_mm: Float[np.ndarray, "21 3"] | None = None
    track: int | None = None  # identity in a video
    palm_mm: float | None = None  # wrist to the middle finger's base
    wrist_distance_mm: float | None = None  # depth of the wrist before the camera
    clues: Clues | None = None  # that the score is made of

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and lists."""
        return {
            "side": self.side,
            "probability": round(self.probability, 4),
            "score": round(self.score, 4),
            "track": self.track,
            "palm_mm": _rounded(self.palm_mm),
            "wrist_distance_mm": _rounded(self.wrist_distance_mm),
            "joints_px": _rounded(self.joints_px),
            "joints_cam_mm": _rounded(self.joints_cam_mm),
        }


@dataclass
class CropRecord:
    """One crop: a hand, or two that are close together.

    The arrays of 42 joints hold both hands, also one that is not seen; `hands` holds
    those that are.
    """

    bbox_xywh: Float[np.ndarray, "4"]  # px of the picture, before it is made square
    hand_type: Float[np.ndarray, "2"]  # probabilities of right and left
    joints_px: Float[np.ndarray, "42 2"]
    joints_25d: Float[np.ndarray, "42 3"]  # cells of the evaluation crop
    relative_root_depth_mm: float  # left wrist minus right wrist
    hands: list[HandRecord]
    joints_cam_mm: Float[np.ndarray, "42 3"] | None = None
    # 1 − mean IoU of the hands' meshes, fitted to the joints, and the predicted parts:
    # 0 where the two agree; None unless `PredictOptions.contradictions` asks for it, in
    # videos and without parts.
    contradiction: float | None = None
    warnings: list[str] = field(default_factory=list)
    image: UInt8[np.ndarray, "s s 3"] | None = None  # the crop itself
    parts: UInt8[np.ndarray, "s s"] | None = None  # labels on it

    def estimate(self) -> Estimate:
        """The same as `digit.inference.predict.predict` gives it, for its figure.

        Raises:
            ValueError: if the record does not carry its crop.
        """
        if self.image is None or self.parts is None:
            raise ValueError("this record does not carry its crop")
        return Estimate(
            hand_type=self.hand_type,
            joints_px=self.joints_px,
            joints_25d=self.joints_25d,
            joints_cam_mm=self.joints_cam_mm,
            relative_root_depth_mm=self.relative_root_depth_mm,
            crop=self.image,
            parts=self.parts,
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and lists, without the crop's pixels."""
        return {
            "bbox_xywh": _rounded(self.bbox_xywh),
            "hands": [hand.side for hand in self.hands],
            "hand_type": {
                side: round(float(p), 4)
                for side, p in zip(SIDES, self.hand_type, strict=True)
            },
            "joints": list(JOINTS),
            "joints_px": _rounded(self.joints_px),
            "joints_25d": _rounded(self.joints_25d),
            "relative_root_depth_mm": _rounded(self.relative_root_depth_mm),
            "joints_cam_mm": _rounded(self.joints_cam_mm),
            "seen": [hand.to_dict() for hand in self.hands],
            "contradiction": _rounded(self.contradiction),
            "warnings": self.warnings,
        }


@dataclass
class PictureRecord:
    """Everything about one picture."""

    image: str  # the file
    width: int
    height: int
    method: str
    crops: list[CropRecord]
    camera: dict[str, Any]  # focal_px, princpt_px, source, distance
    frame: int | None = None  # of a video
    time_s: float | None = None
    warnings: list[str] = field(default_factory=list)
    pixels: UInt8[np.ndarray, "height width 3"] | None = None

    @property
    def hands(self) -> list[HandRecord]:
        """All hands of all crops."""
        return [hand for crop in self.crops for hand in crop.hands]

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and lists: a line of the JSON lines."""
        return {
            "schema_version": SCHEMA_VERSION,
            "image": self.image,
            "frame": self.frame,
            "time_s": _rounded(self.time_s),
            "width": self.width,
            "height": self.height,
            "method": self.method,
            "camera": self.camera,
            "crops": [crop.to_dict() for crop in self.crops],
            "warnings": self.warnings,
        }

    def to_flat_dict(self) -> dict[str, Any]:
        """As `to_dict`, with the entries of the first crop at top level too."""
        record = self.to_dict()
        # The crop's warnings stay with the crop: the picture has its own.
        first = record["crops"][0] if self.crops else {"hands": []}
        flat = {name: value for name, value in first.items() if name != "warnings"}
        if flat.get("joints_cam_mm") is None:
            flat.pop("joints_cam_mm", None)
        return {**record, **flat}


CSV_COLUMNS = (
    "image",
    "frame",
    "time_s",
    "crop",
    "side",
    "track",
    "probability",
    "score",
    "palm_mm",
    "wrist_distance_mm",
    *(f"{joint}_{axis}_px" for joint in HAND_JOINTS for axis in "xy"),
    *(f"{joint}_{axis}_mm" for joint in HAND_JOINTS for axis in "xyz"),
)


def csv_rows(record: PictureRecord) -> list[list[Any]]:
    """A row for each hand, in the order of `CSV_COLUMNS`; what is unknown is empty."""
    rows = []
    for number, crop in enumerate(record.crops):
        for hand in crop.hands:
            # Columns that are not known stay empty.
            joints_mm = hand.joints_cam_mm
            if joints_mm is None:
                millimetres: list[Any] = [None] * (3 * JOINTS_PER_HAND)
            else:
                millimetres = _rounded(joints_mm.reshape(-1))
            rows.append(
                [
                    record.image,
                    record.frame,
                    _rounded(record.time_s),
                    number,
                    hand.side,
                    hand.track,
                    round(hand.probability, 4),
                    round(hand.score, 4),
                    _rounded(hand.palm_mm),
                    _rounded(hand.wrist_distance_mm),
                    *_rounded(hand.joints_px.reshape(-1)),
                    *millimetres,
                ]
            )
    return rows


def _rounded(value: Any) -> Any:
    """Numbers and arrays with the decimals that files have."""
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return np.round(value.astype(float), DECIMALS).tolist()
    return round(float(value), DECIMALS)

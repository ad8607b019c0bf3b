"""Looking labels through: frames kept, dropped, or given the other side.

The widget `digit.widgets.label_review` decides frame by frame; decisions stand in
`labels_review.json` in the data set's folder. A dropped frame goes onto an exclude list
at once; `apply_swaps` changes the sides in the annotations.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from digit.data.exclude import write_exclude_list
from digit.data.layout import annotation_files, splits_of
from digit.data.photo_tree import PhotoFrame
from digit.files import exclusive, write_json, write_text
from digit.skeleton import HAND_TYPES, SWAP_JOINTS

FILE = "labels_review.json"
LIST = "review"  # the exclude list's name
DROPPED = "dropped while looking the labels through"
TO_SWAP = "its side is to be swapped: apply the swaps"
# In a record of the annotations: whether its sides have been swapped. Without it, that is
# as the decision says.
SWAPPED = "sides_swapped"
# The hand type after right and left have changed places.
SWAPPED_TYPES = ("left", "right", "interacting")

Verdict = Literal["keep", "drop"]


@dataclass(frozen=True)
class Decision:
    """What was decided on one frame."""

    verdict: Verdict = "keep"
    swap: bool = False  # whether the detector's side is wrong
    applied: bool = False  # whether the annotations have the other side by now
    begun: bool = False  # whether a change of the annotations may be half done

    @property
    def is_pending(self) -> bool:
        """Whether the annotations are still to be changed."""
        return self.begun or self.swap != self.applied


@dataclass
class Review:
    """All decisions on a data set, by the keys of its frames."""

    dataset_dir: Path
    decisions: dict[str, Decision]

    def of(self, key: str) -> Decision | None:
        """The decision on a frame; None where there is none yet."""
        return self.decisions.get(key)

    def is_swapped(self, key: str) -> bool:
        """Whether the annotations of a frame have been given the other side."""
        decision = self.decisions.get(key)
        return decision is not None and decision.applied

    def decide(self, key: str, verdict: Verdict = "keep", swap: bool = False) -> None:
        """Decide on a frame, save that, and keep the exclude list in step.

        Raises:
            ValueError: If the file of decisions cannot be read.
            OSError: If a file cannot be written.
        """
        # Another kernel may have decided in the meantime.
        self.decisions = read_review(self.dataset_dir).decisions
        before = self.decisions.get(key, Decision())
        self.decisions[key] = replace(before, verdict=verdict, swap=swap)
        self._save([key.partition("/")[0]])

    def forget(self, key: str) -> None:
        """Take a decision back, as `decide` does."""
        self.decisions = read_review(self.dataset_dir).decisions
        decision = self.decisions.pop(key, None)
        if decision is not None and (decision.applied or decision.begun):
            # The annotations are to go back to what they were.
            self.decisions[key] = replace(decision, verdict="keep", swap=False)
        self._save([key.partition("/")[0]])

    def _save(self, splits: list[str]) -> None:
        # 1. The decisions
        records = {key: asdict(made) for key, made in self.decisions.items()}
        write_json(self.dataset_dir / FILE, records)
        # 2. What must not be used for now
        for split in splits:
            reasons = {}
            for key, made in self.decisions.items():
                if key.partition("/")[0] != split:
                    continue
                if made.verdict == "drop":
                    reasons[key] = DROPPED
                elif made.is_pending:
                    reasons[key] = TO_SWAP
            write_exclude_list(self.dataset_dir, split, LIST, reasons)


def read_review(dataset_dir: Path | str) -> Review:
    """Read the decisions on a data set; none where there are none yet.

    Raises:
        ValueError: If the file cannot be read.
    """
    path = Path(dataset_dir) / FILE
    if not path.exists():
        return Review(Path(dataset_dir), {})
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        decisions = {}
        for key, record in found.items():
            decision = Decision(**record)
            if decision.verdict not in ("keep", "drop"):
                raise ValueError(f"{key}: verdict {decision.verdict!r:.40}")
            decisions[str(key)] = decision
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise ValueError(
            f"{path}: cannot be read as decisions on labels ({error!s:.100}); repair it "
            "or move it away"
        ) from None
    return Review(Path(dataset_dir), decisions)


def apply_swaps(dataset_dir: Path | str) -> int:
    """Give frames the other side in the annotations, as was decided.

    Joints, their validity and the hand type change places. The frames come off the
    exclude list. A call that was interrupted, wherever that was, is finished by the
    next one.

    Args:
        dataset_dir: The data set's folder.

    Returns:
        The number of frames that were changed.

    Raises:
        ValueError: If the data set has fits or RootNet's depths, which would be of the
            wrong side, or a frame shares its 3D joints with another frame.
        OSError: If a file cannot be written.
    """
    dataset_dir = Path(dataset_dir)
    with exclusive(dataset_dir / f".{FILE}.lock", wait=True):
        # Nobody else changes the annotations meanwhile.
        review = read_review(dataset_dir)
        count = 0
        for split in splits_of(dataset_dir):
            decided = {
                key: made
                for key, made in review.decisions.items()
                if key.partition("/")[0] == split
            }
            pending = {key: made for key, made in decided.items() if made.is_pending}
            if pending:
                changed = _swapped_files(dataset_dir, split, pending)
                # From here on the frames are pending until both files are written.
                for key, made in pending.items():
                    review.decisions[key] = replace(made, begun=True)
                review._save([split])
                for path, content in changed.items():
                    write_text(path, json.dumps(content))
                for key, made in pending.items():
                    review.decisions[key] = replace(
                        made, applied=made.swap, begun=False
                    )
                count += len(pending)
            if decided:
                # Also where an earlier call was ended before the exclude list.
                review._save([split])
    return count


def swapped_frame(frame: PhotoFrame) -> PhotoFrame:
    """A frame with its hands given the other side."""
    return replace(
        frame,
        joints_cam_mm=frame.joints_cam_mm[SWAP_JOINTS],
        joint_valid=frame.joint_valid[SWAP_JOINTS],
        hand_type=HAND_TYPES.index(SWAPPED_TYPES[frame.hand_type]),
    )


def _swapped_files(
    dataset_dir: Path, split: str, pending: dict[str, Decision]
) -> dict[Path, Any]:
    """The annotation files of a split with the sides of some frames as decided.

    Returns:
        The contents of joint_3d.json and data.json by their paths.
    """
    # 1. The documents; what else knows right from left is refused
    files = annotation_files(dataset_dir, split)
    for role in ("mano", "rootnet", "fitted"):
        if role in files:
            raise ValueError(
                f"{files[role]}: would be of the wrong side after a swap; remove it first"
            )
    if files["data"].suffix != ".json":
        raise ValueError(f"{files['data']}: sides are swapped in JSON files only")
    data = json.loads(files["data"].read_text(encoding="utf-8-sig"))
    joints = json.loads(files["joint_3d"].read_text(encoding="utf-8-sig"))

    # 2. The frames that are meant, and their moments, which must be their own
    images = {
        image["id"]: image
        for image in data["images"]
        if f"{split}/{image['file_name']}" in pending
    }
    moments = [_moment(image) for image in images.values()]
    everyone = [_moment(image) for image in data["images"]]
    if sum(moment in set(moments) for moment in everyone) > len(moments):
        raise ValueError(
            f"{files['joint_3d']}: a frame shares its joints with another camera's; "
            "swap the sides of the whole instant by hand"
        )

    # 3. Changed; what an earlier call has changed before it was ended stays
    for annotation in data["annotations"]:
        image = images.get(annotation["image_id"])
        if image is None:
            continue
        decision = pending[f"{split}/{image['file_name']}"]
        capture, frame = _moment(image)
        for record in (joints[capture][frame], annotation):
            if record.get(SWAPPED, decision.applied) != decision.swap:
                _swap_sides(record)
            record[SWAPPED] = decision.swap
    return {files["joint_3d"]: joints, files["data"]: data}


def _moment(image: dict[str, Any]) -> tuple[str, str]:
    """The keys of a frame's joints in joint_3d.json."""
    return str(image["capture"]), str(image["frame_idx"])


def _swap_sides(record: dict[str, Any]) -> None:
    """Let right and left change places in a record of either file."""
    record["joint_valid"] = [record["joint_valid"][joint] for joint in SWAP_JOINTS]
    record["hand_type"] = SWAPPED_TYPES[HAND_TYPES.index(record["hand_type"])]
    if "world_coord" in record:
        world_mm = np.array(record["world_coord"])
        record["world_coord"] = world_mm[SWAP_JOINTS].tolist()

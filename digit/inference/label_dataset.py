"""A user's photographs and videos as a data set, labelled by the landmark model.

`label_photos` is what `digit label` does: picture by picture, each noted in a journal as
soon as it is done, so that a call that was interrupted goes on where it stopped.
"""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from digit.data.photo_tree import (
    Cut,
    PhotoFrame,
    begin_folder,
    encode_picture,
    make_frame,
    write_photo_tree,
    write_picture,
)
from digit.data.review import read_review, swapped_frame
from digit.files import atomic, exclusive
from digit.inference.detection import HandDetector
from digit.inference.labelling import LabelledCrop, LabelOptions, label_hands
from digit.inference.placement import FIELD_OF_VIEW_DEG, lens_of
from digit.inference.sources import (
    Failure,
    Picture,
    Source,
    expand_inputs,
    read_sources,
)
from digit.paths import DETECTOR_DIR
from digit.skeleton import HAND_TYPES

FOLDER = Path("labelling")  # in the data set's folder: how it was made
SETTINGS = FOLDER / "settings.json"
JOURNAL = FOLDER / "pictures.jsonl"
NOT_LABELLED = FOLDER / "not_labelled.tsv"
LABEL_KIND = "2d"  # depths of the landmark model are not to be trusted
VAL_SHARE = 0.1
EVERY_NTH = 5  # frames of a video: neighbours are nearly the same

Place = tuple[str, int | None]  # of a picture: its file, and its frame in a video


@dataclass(frozen=True)
class PhotoOptions(LabelOptions):
    """What `label_photos` is asked for beside what `LabelOptions` holds."""

    val_share: float = VAL_SHARE
    field_of_view_deg: float = FIELD_OF_VIEW_DEG
    every_nth: int = EVERY_NTH

    def check(self) -> None:
        """Raise ValueError, naming the argument, if a value makes no sense."""
        limits = {
            "min_score": (0.5, 1),
            "hand_length_mm": (50, 400),
            "longest_px": (64, 4096),
            "val_share": (0, 1),
            "field_of_view_deg": (5, 170),
            "every_nth": (1, 100_000),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(
                    f"{name} {value:g}: give a number in {low:g} … {high:g}"
                )


class PictureEntry(NamedTuple):
    """What became of one picture: a line of the journal."""

    place: Place
    folder: str  # that the picture is from
    frames: list[PhotoFrame]
    cuts: list[Cut]  # of the picture, one a frame
    dropped: list[str]  # reasons, one a hand or pair of hands


@dataclass
class LabelReport:
    """What `label_photos` has done, of all calls together."""

    dataset_dir: Path
    pictures: int = 0
    frames: Counter = field(default_factory=Counter)  # by split
    hand_types: Counter = field(default_factory=Counter)
    dropped: Counter = field(default_factory=Counter)  # by reason
    failures: list[Failure] = field(default_factory=list)  # of this call
    not_labelled: int = 0  # pictures without any label

    def __str__(self) -> str:
        """The report in words, a line each."""
        splits = ", ".join(f"{n:,} {split}" for split, n in self.frames.items())
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in self.hand_types.items())
        total = self.frames.total()
        lines = [f"{self.pictures:,} pictures, {total:,} labelled crops of hands"]
        if total:
            lines[0] += f" ({splits}; {kinds})"
        for reason, count in self.dropped.most_common():
            lines.append(f"  dropped: {count:,} × {reason}")
        if self.not_labelled or self.failures:
            lines.append(
                f"{self.not_labelled:,} pictures without a label and "
                f"{len(self.failures):,} unreadable ones are listed in "
                f"{self.dataset_dir / NOT_LABELLED}"
            )
        return "\n".join(lines)


def label_photos(
    inputs: Sequence[str | Path],
    dataset_dir: Path | str,
    options: PhotoOptions | None = None,
    progress: bool = True,
) -> LabelReport:
    """Label photographs and videos, and write them in InterHand2.6M's layout.

    The hands of each picture are found by the landmark model, and cut out with room
    around them. The data set says of itself that its depths are not to be trusted. A
    call with the same options goes on where an earlier one stopped, and takes further
    inputs; pictures that are done are left as they are.

    Args:
        inputs: Photo or video files, folders, and patterns such as `photos/*.jpg`.
        dataset_dir: The data set's folder: a new one, or one of an earlier call.
        options: What is taken as a label.
        progress: Whether to show a progress bar.

    Returns:
        What was labelled and what was dropped.

    Raises:
        ValueError: If an option makes no sense, the folder holds something else, or no
            input is a picture.
        OSError: If a file cannot be written.
        KeyboardInterrupt: If interrupted; what is done is readable.
    """
    # 1. What there is to do
    options = options or PhotoOptions()
    options.check()
    dataset_dir = Path(dataset_dir)
    sources, failures = expand_inputs(inputs)
    # The crops of an earlier call are no photographs of the user's.
    own = dataset_dir.resolve()
    sources = [one for one in sources if own not in one.path.resolve().parents]
    if not sources:
        raise ValueError(failures[0].reason if failures else "no photographs are given")
    begin_folder(dataset_dir, SETTINGS, asdict(options))

    with exclusive(dataset_dir / FOLDER / "lock", wait=False):
        journal = _Journal(dataset_dir / JOURNAL)
        labeller = _Labeller(dataset_dir, sources, options, journal.entries)
        # 2. Picture by picture; what is done is written whatever happens
        interrupted = False
        try:
            with contextlib.closing(labeller.entries(progress)) as entries:
                for entry in entries:
                    if isinstance(entry, Failure):
                        failures.append(entry)
                    else:
                        journal.add(entry)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            report = _write(dataset_dir, journal.entries, failures)
    if interrupted:
        raise KeyboardInterrupt(
            f"interrupted after {report.pictures:,} pictures; what is done is written, "
            "and the same command goes on"
        )
    return report


class _Journal:
    """The pictures that are done, one JSON object a line."""

    def __init__(self, path: Path):
        """Read the journal; a last line that was cut short is taken away.

        Raises:
            ValueError: If another line cannot be read.
        """
        self.entries: list[PictureEntry] = []
        whole = 0  # bytes of whole lines
        data = path.read_bytes() if path.exists() else b""
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            # A process that is killed while it writes leaves half a line.
            if not line.endswith(b"\n"):
                break
            try:
                self.entries.append(_read_entry(json.loads(line)))
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{path}, line {number}: cannot be read ({error!s:.80}); remove the "
                    "line: its picture is labelled again"
                ) from None
            whole += len(line)
        self._path = path
        if whole < len(data):
            os.truncate(path, whole)

    def add(self, entry: PictureEntry) -> None:
        """Note a picture that is done, its cuts being written."""
        record = entry._asdict()
        record["frames"] = [frame.to_dict() for frame in entry.frames]
        record["cuts"] = [asdict(cut) for cut in entry.cuts]
        with open(self._path, "ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
        self.entries.append(entry)


def read_journal(dataset_dir: Path | str) -> list[PictureEntry]:
    """What has become of each picture so far.

    Raises:
        ValueError: If a line of the journal cannot be read.
    """
    return _Journal(Path(dataset_dir) / JOURNAL).entries


def _read_entry(record: Mapping[str, Any]) -> PictureEntry:
    source, number = record["place"]
    return PictureEntry(
        place=(source, number),
        folder=record["folder"],
        frames=[PhotoFrame.from_dict(values) for values in record["frames"]],
        cuts=[Cut(**values) for values in record["cuts"]],
        dropped=record["dropped"],
    )


class _Labeller:
    """Labels the pictures that are not done yet, and writes their cuts."""

    def __init__(
        self,
        dataset_dir: Path,
        sources: Sequence[Source],
        options: PhotoOptions,
        done: Sequence[PictureEntry],
    ):
        self._dataset_dir = dataset_dir
        self._sources = sources
        self._options = options
        self._done = {entry.place for entry in done}
        self._splits = splits_of_photos(sources, options.val_share)
        used = [frame.image_id for entry in done for frame in entry.frames]
        self._next_id = max(used, default=0) + 1
        # A capture is a folder, or a video; earlier calls have numbered theirs.
        self._captures: dict[str, int] = {}
        for entry in done:
            self._captures.setdefault(entry.folder, len(self._captures))

    def entries(self, progress: bool) -> Iterator[PictureEntry | Failure]:
        """An entry for each picture that is new, a failure for each unreadable one."""
        detector = HandDetector(DETECTOR_DIR)
        # Some videos do not tell how long they are.
        counts = [
            source.pictures and -(-source.pictures // self._every(source))
            for source in self._sources
        ]
        total = None if None in counts else sum(counts)
        with tqdm(total=total, unit="picture", disable=not progress) as bar:
            for source in self._sources:
                for picture in self._pictures(source):
                    if isinstance(picture, Failure):
                        yield picture
                    elif self._place(picture) not in self._done:
                        yield self._entry(source, picture, detector)
                    bar.update()

    def _pictures(self, source: Source) -> Iterator[Picture | Failure]:
        """A source's pictures: every one of a photo, some frames of a video."""
        # A photo that is done need not be read; videos are decoded for what is missing.
        place = (str(source.path.resolve()), None)
        if place in self._done:
            yield Picture(str(source.path), np.zeros((1, 1, 3), np.uint8))
            return
        for picture in read_sources([source]):
            is_failure = isinstance(picture, Failure)
            if is_failure or (picture.frame or 0) % self._every(source) == 0:
                yield picture

    def _every(self, source: Source) -> int:
        return self._options.every_nth if source.is_video else 1

    def _place(self, picture: Picture) -> Place:
        return str(Path(picture.source).resolve()), picture.frame

    def _entry(
        self, source: Source, picture: Picture, detector: HandDetector
    ) -> PictureEntry:
        """Label one picture, and write its cuts."""
        # 1. The hands
        height, width = picture.image.shape[:2]
        lens = lens_of(width, height, picture.focal_px, self._options.field_of_view_deg)
        labels = label_hands(
            detector.find(picture.image), (width, height), lens, self._options
        )

        # 2. A frame for each crop
        folder = folder_of(source)
        frames = []
        cuts = []
        dropped = []
        for label in labels:
            if isinstance(label, LabelledCrop):
                frame = self._frame(label, folder, self._split(source, picture))
                cut = encode_picture(label.cut.pixels(picture.image))
                write_picture(self._dataset_dir, frame, cut)
                frames.append(frame)
                cuts.append(label.cut)
            else:
                dropped.append(label)
        return PictureEntry(self._place(picture), folder, frames, cuts, dropped)

    def _frame(self, label: LabelledCrop, folder: str, split: str) -> PhotoFrame:
        capture = self._captures.setdefault(folder, len(self._captures))
        image_id = self._next_id
        self._next_id += 1
        return make_frame(
            image_id=image_id,
            split=split,
            capture=capture,
            sequence=Path(folder).name,
            size=label.cut.size,
            focal_px=label.focal_px,
            princpt_px=label.princpt_px,
            joints_cam_mm=label.joints_cam_mm,
            joint_valid=label.joint_valid,
        )

    def _split(self, source: Source, picture: Picture) -> str:
        """The split of a photo, or of a video's frame: its end is for validation."""
        if not source.is_video:
            return self._splits[source.path]
        # Neighbouring frames are alike: a split by lot would test on what was learnt.
        count = source.pictures
        share = self._options.val_share
        if count is None:
            return "val" if share == 1 else "train"
        return "val" if picture.frame >= round(count * (1 - share)) else "train"


def splits_of_photos(sources: Sequence[Source], val_share: float) -> dict[Path, str]:
    """Which photos are for training and which for validation.

    Of each folder the same share goes to validation, drawn by the names of the files:
    the same folders in the same order are always split in the same way. What a folder's
    share lacks to a whole photo is passed on to the next folder, so that folders of a
    few photos give some for validation as well.

    Args:
        sources: Photos; videos among them are left out.
        val_share: Share of validation.
    """
    # 1. The photos of each folder
    by_folder: dict[Path, list[Path]] = {}
    for source in sources:
        if not source.is_video:
            by_folder.setdefault(source.path.parent, []).append(source.path)
    # 2. So many of each that the share is kept over all folders so far
    splits: dict[Path, str] = {}
    seen = given = 0
    for paths in by_folder.values():
        seen += len(paths)
        count = round(val_share * seen) - given
        given += count
        for i, path in enumerate(sorted(paths, key=_drawn_by_name)):
            splits[path] = "val" if i < count else "train"
    return splits


def folder_of(source: Source) -> str:
    """What a picture is filed under: a photo's folder, or the video itself."""
    path = source.path.resolve()
    return str(path.with_suffix("") if source.is_video else path.parent)


def _drawn_by_name(path: Path) -> str:
    """A number for each file name that is as good as drawn by lot."""
    return hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()


def _write(
    dataset_dir: Path, entries: Sequence[PictureEntry], failures: Sequence[Failure]
) -> LabelReport:
    """Write the annotations and the list of what has none, and count."""
    # 1. Sides that were swapped while looking through the labels stay swapped
    review = read_review(dataset_dir)
    frames = [
        swapped_frame(frame) if review.is_swapped(frame.key) else frame
        for entry in entries
        for frame in entry.frames
    ]
    if frames:
        write_photo_tree(dataset_dir, frames, LABEL_KIND)

    # 2. What has no label, and why
    report = LabelReport(dataset_dir, len(entries), failures=list(failures))
    with atomic(dataset_dir / NOT_LABELLED) as file:
        file.write("picture\tframe\treason\n")
        for failure in failures:
            file.write(_line(failure.source, None, failure.reason))
        for entry in entries:
            for reason in entry.dropped:
                file.write(_line(*entry.place, reason))
            report.not_labelled += not entry.frames
            report.dropped.update(entry.dropped)
    report.frames.update(frame.split for frame in frames)
    report.hand_types.update(HAND_TYPES[frame.hand_type] for frame in frames)
    return report


def _line(source: str, frame: int | None, reason: str) -> str:
    """A line of the list; names with tabs or line breaks are written as Python does."""
    values = [source, "" if frame is None else str(frame), reason]
    plain = [value if value.isprintable() else repr(value) for value in values]
    return "\t".join(plain) + "\n"

"""The command `digit label`: a user's photographs as a data set to train on."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from digit.cli import Commands

# The options that stand for the library's arguments, for error messages.
OPTIONS = {
    "min_score": "--min-score",
    "longest_px": "--longest",
    "val_share": "--val-share",
    "field_of_view_deg": "--field-of-view",
    "every_nth": "--every",
}
NEXT_STEPS = """\
next: look them through in notebook 02 (LabelReview), then
  digit prepare --root {root} --cut-outs
  digit train --root SYNTHETIC --also {root}:0.4"""


def add_label(commands: "Commands") -> None:
    """Declare `digit label`."""
    command = commands.add(
        "label",
        label,
        "a user's photographs, labelled by the landmark model, in InterHand2.6M's "
        "layout; continues where it stopped",
    )
    command.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTOS",
        help="photos, folders, patterns such as 'photos/*.jpg', or videos",
    )
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="ROOT",
        help="the data set's folder: a new one, or one that this command has begun",
    )
    command.add_argument(
        "--val-share",
        type=float,
        metavar="SHARE",
        help="of each folder's photographs, and the end of each video, for the split "
        "val; default: 0.1",
    )
    command.add_argument(
        "--min-score",
        type=float,
        metavar="SCORE",
        help="how sure the landmark model must be of a hand and of its side; "
        "default: 0.8",
    )
    command.add_argument(
        "--field-of-view",
        type=float,
        metavar="DEGREES",
        help="across a picture's longer side, where EXIF tells no focal length; "
        "default: 60",
    )
    command.add_argument(
        "--hand-length",
        type=float,
        metavar="MM",
        help="wrist to the middle finger's tip, stretched; default: 180",
    )
    command.add_argument(
        "--longest",
        type=int,
        metavar="PX",
        help="longer side of a crop at most; default: 512",
    )
    command.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="every so many frames of a video; default: 5",
    )


def label(args: argparse.Namespace) -> None:
    """Label photographs, and print what was done."""
    from digit.inference.label_dataset import PhotoOptions, label_photos

    # What is not given is the library's default.
    given = {
        "val_share": args.val_share,
        "min_score": args.min_score,
        "field_of_view_deg": args.field_of_view,
        "hand_length_mm": args.hand_length,
        "longest_px": args.longest,
        "every_nth": args.every,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    report = label_photos(args.photos, args.out, PhotoOptions(**chosen))
    # Unreadable pictures do not end the work; each is named.
    for failure in report.failures:
        print(f"digit: {failure.reason}", file=sys.stderr)
    print(report)
    if report.frames:
        print(NEXT_STEPS.format(root=args.out))

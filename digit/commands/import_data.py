"""The command `digit import`: other data sets in InterHand2.6M's layout."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from digit.cli import Commands

KINDS = ("coco", "freihand", "arrays")
ORDERS = ("interhand", "openpose", "mano16", "mano")
FAILED = 1  # as `digit doctor`: something is wrong with the data


def add_import(commands: "Commands") -> None:
    """Declare `digit import`."""
    command = commands.add(
        "import",
        import_command,
        "other data in InterHand2.6M's layout, with doctor's findings; status 1 if "
        "something is wrong",
    )
    command.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="COCO-WholeBody's JSON file, FreiHAND's folder, or an .npz file",
    )
    command.add_argument(
        "--from",
        dest="kind",
        choices=KINDS,
        required=True,
        help="what the source is; arrays: image or image_path, joints_cam_mm or "
        "joints_px, focal_px, princpt_px, side",
    )
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="ROOT",
        help="the data set's folder: a new one, or one that lacks this split",
    )
    command.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="the pictures; default: beside SOURCE",
    )
    command.add_argument(
        "--split",
        choices=("train", "val", "test"),
        help="of all frames; default: train, and val for the last ones",
    )
    command.add_argument(
        "--val-share",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of the pictures, the last ones, for val; default: 0.1",
    )
    command.add_argument(
        "--order",
        choices=ORDERS,
        default="interhand",
        help="of the joints of arrays; openpose is also MediaPipe's and FreiHAND's; "
        "default: interhand",
    )
    command.add_argument(
        "--axes",
        choices=("opencv", "opengl"),
        default="opencv",
        help="of the 3D joints of arrays: y down and z forward, or y up and z backward",
    )


def import_command(args: argparse.Namespace) -> int:
    """Import a data set, and print what doctor finds.

    Returns:
        The exit status: 1 where something is wrong that excluding frames does not settle.
    """
    from digit.doctor.data import examine_data
    from digit.doctor.findings import format_findings, is_serious
    from digit.importing.plan import ImportOptions
    from digit.importing.tree import import_data

    options = ImportOptions(
        split=args.split,
        val_share=args.val_share,
        images=args.images,
        order=args.order,
        axes=args.axes,
    )
    report = import_data(args.kind, args.source, args.out, options)
    print(report)
    # What is wrong with the data is told at once, not when they are trained on.
    findings = examine_data(args.out)
    print(format_findings(findings))
    return FAILED if is_serious(findings) else 0

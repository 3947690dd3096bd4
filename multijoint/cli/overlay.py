"""`multijoint overlay`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands
from multijoint.cli.presenting import print_written

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "overlay",
        _overlay,
        help="draw a segmentation over its scan as a PNG, three planes",
        example="multijoint overlay scan.nii.gz out/scan_seg.nii.gz --output scan.png",
    )
    parser.add_argument("image", type=Path, metavar="SCAN", help="NIfTI file")
    parser.add_argument("segmentation", type=Path, metavar="SEGMENTATION", help="with its .json of names beside it")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="reference label map, outlined in white")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="the picture")


def _overlay(options: argparse.Namespace) -> None:
    from multijoint.clinic.pictures.overlays import draw_overlay

    draw_overlay(options.output, options.image, options.segmentation, reference=options.reference)
    print_written([options.output])

"""`multijoint report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands
from multijoint.cli.presenting import print_written

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "report",
        _report,
        help="write one HTML page of the results in a folder: table, pictures, flags, scores, training",
        example="multijoint report out --scans scans/ --references ankle/manifest.yaml",
    )
    parser.add_argument(
        "folder", type=Path, metavar="OUT", help="folder that segment wrote to, or a training's output_dir"
    )
    parser.add_argument(
        "--scans", nargs="+", type=Path, default=[], metavar="SCAN", help="the scans, as segment was given them"
    )
    parser.add_argument(
        "--references", type=Path, metavar="MANIFEST", help="manifest, or folder of label maps, to score against"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page (default OUT/report.html)")
    parser.add_argument(
        "--run", type=Path, dest="training", metavar="FOLDER", help="output_dir of the training that made the model"
    )


def _report(options: argparse.Namespace) -> None:
    from multijoint.clinic.report.report import write_report

    page = write_report(
        options.folder, output=options.output, scans=options.scans, references=options.references, run=options.training
    )
    print_written([page])

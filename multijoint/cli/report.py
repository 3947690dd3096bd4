"""`multijoint report`: its arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from multijoint.cli.presenting import record

__all__ = ["add_report"]


def add_report(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command.

    Args:
        add: makes the parser of a command from its name, the function that runs it, `help` and `example`.
    """
    report = add(
        "report",
        _report,
        help="write one HTML page of the results in a folder: table, pictures, flags, scores, training",
        example="multijoint report out --scans scans/ --references ankle/manifest.yaml",
    )
    report.add_argument(
        "folder", type=Path, metavar="OUT", help="folder that segment wrote to, or a training's output_dir"
    )
    report.add_argument(
        "--scans", nargs="+", type=Path, default=[], metavar="SCAN", help="the scans, as segment was given them"
    )
    report.add_argument(
        "--references", type=Path, metavar="MANIFEST", help="manifest, or folder of label maps, to score against"
    )
    report.add_argument("--output", type=Path, metavar="FILE", help="the page (default OUT/report.html)")
    report.add_argument(
        "--run", type=Path, dest="training", metavar="FOLDER", help="output_dir of the training that made the model"
    )


def _report(options: argparse.Namespace) -> None:
    from multijoint.clinic import write_report

    page = write_report(
        options.folder, output=options.output, scans=options.scans, references=options.references, run=options.training
    )
    record(written=[page])
    print(page)

"""`multijoint tables`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands
from multijoint.cli.presenting import print_written

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "tables",
        _tables,
        help="write tables 1 and 2 of an experiment from its saved rows",
        example="multijoint tables runs/exp",
        extra="experiments",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the experiment's --out")
    parser.add_argument(
        "--against", default="proposed", metavar="METHOD", help="the method that others are compared with"
    )


def _tables(options: argparse.Namespace) -> None:
    from multijoint.experiments import write_tables

    print_written(write_tables(options.folder, against=options.against))

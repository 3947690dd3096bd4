"""`multijoint figures`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands
from multijoint.cli.presenting import print_written

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "figures",
        _figures,
        help="draw figures 3 and 4 of an experiment from its saved rows",
        example="multijoint figures runs/exp",
        extra="experiments",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the experiment's --out")
    parser.add_argument("--curves", action="store_true", help="also losses and validation Dice over the epochs")


def _figures(options: argparse.Namespace) -> None:
    from multijoint.experiments import write_figures

    print_written(write_figures(options.folder, curves=options.curves))

"""`multijoint inspect`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from multijoint.cli.commands import Commands
from multijoint.cli.presenting import record

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "inspect",
        _inspect,
        help="look into a foreign bundle without running anything of it",
        example="multijoint inspect bundle.zip",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder or a zip")


def _inspect(options: argparse.Namespace) -> None:
    from custom_components.errors import InputError

    from multijoint.sharing import inspect_bundle

    report = inspect_bundle(options.bundle)
    record(**json.loads(report.to_json()))
    print(report.to_text(), end="")
    if refusal := report.refusal(most=1, remedy="do not run it"):
        raise InputError(refusal)

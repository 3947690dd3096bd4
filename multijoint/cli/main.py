"""The parser of `multijoint` and its entry point.

A command imports the code that it calls when it runs, so that `multijoint --help` answers at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import custom_components

from multijoint.cli import (
    adapt,
    bench,
    calibrate,
    check,
    dicom,
    experiment,
    figures,
    init,
    inspect,
    mesh,
    overlay,
    package,
    phantoms,
    quality_study,
    report,
    segment,
    tables,
    view,
)
from multijoint.cli.commands import Commands, Formatter
from multijoint.cli.presenting import present

__all__ = ["main", "make_parser"]

_MODULES = (
    init,
    phantoms,
    check,
    segment,
    overlay,
    dicom,
    mesh,
    view,
    report,
    experiment,
    tables,
    figures,
    calibrate,
    quality_study,
    package,
    inspect,
    adapt,
    bench,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `multijoint`; `None` takes them from the command line.

    Returns:
        Exit code: 0, 1 after an error printed in one line, 2 for wrong usage (by argparse), 130 if interrupted.
    """
    options = make_parser().parse_args(arguments)
    return present(options.run, options, debug=options.debug)


def make_parser() -> argparse.ArgumentParser:
    """The parser of `multijoint` with every command.

    Each module of a command has a function `add_command`, which adds its name, help and arguments.
    """
    parser = argparse.ArgumentParser(
        prog="multijoint",
        usage="multijoint [--version] [--debug] COMMAND ...",
        description="Segment bones in small, heterogeneous MR data sets with one network. Not a medical device.",
        formatter_class=Formatter,
    )
    parser.add_argument("--version", action="version", version=custom_components.__version__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = Commands(parser)
    for module in _MODULES:
        module.add_command(commands)
    parser.epilog = "\n".join(
        (
            commands.list_by_group(),
            "",
            "`multijoint COMMAND --help` says more, with an example.",
            "Training is `python -m monai.bundle run training ...`: see docs/tutorial.md.",
        )
    )
    return parser

"""The parser of `multijoint` and its entry point.

A command imports the code that it calls when it runs, so that `multijoint --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import textwrap
from collections.abc import Sequence

import custom_components

from multijoint.cli.commands import COMMANDS
from multijoint.cli.presenting import present

_GROUPS = {
    "start with your data": ["init", "check", "phantoms"],
    "segment, look, measure": ["segment", "dicom", "report", "view", "mesh", "overlay"],
    "train and compare": ["adapt", "calibrate", "experiment", "tables", "figures", "quality-study"],
    "share a model": ["package", "inspect"],
    "measure this program": ["bench"],
}
"""Each name is that of a module of this package, with "_" for "-"."""

_END = """
`multijoint COMMAND --help` says more, with an example.
Training is `python -m monai.bundle run training ...`: see docs/tutorial.md."""


class _Formatter(argparse.HelpFormatter):
    """Keeps the line breaks of an epilog that has several lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `multijoint`; `None` takes them from the command line.

    Returns:
        Exit code: 0, 1 after an error printed in one line, 2 for wrong usage (by argparse), 130 if interrupted.
    """
    try:
        return present(make_parser().parse_args(arguments))
    except KeyboardInterrupt:  # while modules are imported
        sys.stderr.write("interrupted\n")
        return 130


def make_parser() -> argparse.ArgumentParser:
    """The parser of `multijoint` with every command."""
    for names in _GROUPS.values():
        for name in names:
            importlib.import_module(f"multijoint.cli.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog="multijoint",
        usage="multijoint [--version] [--debug] COMMAND ...",
        description="Segment bones in small, heterogeneous MR data sets with one network. Not a medical device.",
        epilog=_list_by_group() + _END,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=custom_components.__version__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parsers = parser.add_subparsers(
        prog="multijoint", metavar="COMMAND", dest="command", required=True, help=argparse.SUPPRESS
    )
    for name, command in COMMANDS.items():
        own = parsers.add_parser(
            name,
            description=" ".join((inspect.getdoc(command.run) or "").split()),
            epilog=f"Example:\n  {command.example}",
            formatter_class=_Formatter,
        )
        output = own.add_argument_group("output")
        output.add_argument("--quiet", action="store_true", help="print nothing but errors")
        output.add_argument(
            "--json", action="store_true", help="print one JSON object instead of text: what was made, what failed"
        )
        for add in command.arguments:
            add(own)
    return parser


def _list_by_group() -> str:
    lines = []
    for title, names in _GROUPS.items():
        lines += ["", f"{title}:"]
        for name in names:
            line = f"  {name:<15}{COMMANDS[name].help}"
            lines += textwrap.wrap(line, 100, subsequent_indent=" " * 17)
    return "\n".join([*lines[1:], ""])

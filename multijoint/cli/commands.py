"""Commands of the parser, grouped by purpose, and options that several commands share."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from pathlib import Path

__all__ = ["Commands", "Formatter", "add_dataset_dir", "add_device", "add_log_paths"]

Run = Callable[[argparse.Namespace], None]

_GROUPS = {
    "start with your data": ["init", "check", "phantoms"],
    "segment, look, measure": ["segment", "dicom", "report", "view", "mesh", "overlay"],
    "train and compare": ["adapt", "calibrate", "experiment", "tables", "figures", "quality-study"],
    "share a model": ["package", "inspect"],
    "measure this program": ["bench"],
}


class Formatter(argparse.HelpFormatter):
    """Keeps the line breaks of an epilog that has several lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Commands:
    """The commands of a parser.

    Args:
        parser: the parser of `multijoint`.
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(
            prog="multijoint", metavar="COMMAND", dest="command", required=True, help=argparse.SUPPRESS
        )
        self._helps: dict[str, str] = {}

    def add(
        self, name: str, run: Run, *, help: str, example: str, more: str = "", extra: str | None = None
    ) -> argparse.ArgumentParser:
        """Add a command.

        Args:
            name: of the command.
            run: function of the parsed arguments.
            help: one line that begins in lower case.
            example: a call that runs.
            more: further sentences for the command's own help.
            extra: optional dependencies of the distribution that the command needs.

        Returns:
            The command's parser, for its arguments.
        """
        self._helps[name] = help
        parser = self._parsers.add_parser(
            name,
            description=f"{help[:1].upper()}{help[1:]}. {more}".rstrip(),
            epilog=f"Example:\n  {example}",
            formatter_class=Formatter,
        )
        output = parser.add_argument_group("output")
        output.add_argument("--quiet", action="store_true", help="print nothing but errors")
        output.add_argument(
            "--json", action="store_true", help="print one JSON object instead of text: what was made, what failed"
        )
        parser.set_defaults(run=run, extra=extra)
        return parser

    def add_hidden(self, name: str, run: Run) -> argparse.ArgumentParser:
        """Add a command that no help lists, for processes that another command starts."""
        parser = self._parsers.add_parser(name)
        parser.set_defaults(run=run, extra=None, quiet=False, json=False)
        return parser

    def list_by_group(self) -> str:
        """The commands under headings; a command without a group comes last, under "other"."""
        grouped = {name for names in _GROUPS.values() for name in names}
        groups = {**_GROUPS, "other": [name for name in self._helps if name not in grouped]}
        width = max(map(len, self._helps)) + 2
        lines = []
        for title, names in groups.items():
            listed = [name for name in names if name in self._helps]
            if listed:
                lines += ["", f"{title}:"]
            for name in listed:
                line = f"  {name:<{width}}{self._helps[name]}"
                lines += textwrap.wrap(line, 100, subsequent_indent=" " * (width + 2))
        return "\n".join(lines[1:])


def add_dataset_dir(parser: argparse.ArgumentParser, help: str = "where their paths start, if not beside each") -> None:
    """Add `--dataset-dir`, the folder that paths of manifests are relative to."""
    parser.add_argument("--dataset-dir", type=Path, metavar="FOLDER", help=help)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default auto)")


def add_log_paths(parser: argparse.ArgumentParser, files: str = "scans") -> None:
    """Add `--log-paths`, which `present` obeys.

    Args:
        parser: of the command.
        files: kind of files that messages of the command name.
    """
    parser.add_argument("--log-paths", action="store_true", help=f"show whole paths of {files}, not their names alone")

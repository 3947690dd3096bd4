"""The parser of `multijoint` and its entry point.

A command imports the code that it calls when it runs, so that `multijoint --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import custom_components
from custom_components.system.waiting import choose_waiting

from multijoint.cli.commands import COMMANDS
from multijoint.cli.presenting import present
from multijoint.cli.spelling import find_misspelling

_GROUPS = {
    "start with your data": ["init", "check", "phantoms"],
    "segment, look, measure": ["segment", "dicom", "report", "view", "mesh", "overlay"],
    "train": ["train", "evaluate", "adapt", "calibrate"],
    "compare methods": ["experiment", "tables", "figures", "quality-study"],
    "share a model": ["models", "package", "inspect", "bundles"],
    "measure this program, type less": ["bench", "completion"],
}
"""Each name is that of a module of this package, with "_" for "-"."""

_TRAINING = ("train", "adapt", "bench")  # which look how busy the machine is

_END = """
`multijoint COMMAND --help` says more, with an example."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as every other error is said."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with 2."""
        from custom_components.system.colours import write_error

        self.print_usage(sys.stderr)
        write_error(f"{message}; `{self.prog} --help` says more")
        self.exit(2)


class _Formatter(argparse.HelpFormatter):
    """Keeps the line breaks of an epilog that has several lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `multijoint`, of which none at all asks for the help; `None` takes them from the
            command line.

    Returns:
        Exit code: 0, 1 after an error, 2 for wrong usage (by `SystemExit`, as argparse does), 130 if interrupted.
    """
    try:
        words = sys.argv[1:] if arguments is None else list(arguments)
        parser = make_parser()
        if not words:
            parser.print_help()
            return 0
        commands = {name: _options(each) for name, each in parsers_of(parser).items()}
        wrong = find_misspelling(words, common=_options(parser), commands=commands, listed=listed_commands())
        if wrong:
            from custom_components.system.colours import write_error

            write_error(wrong)
            parser.exit(2)
        options = parser.parse_args(words)
        choose_waiting(look=options.command in _TRAINING)  # before PyTorch is imported
        from multijoint.cli.messages import colour_warnings

        colour_warnings()
        return present(options)
    except KeyboardInterrupt:  # while modules are imported
        sys.stderr.write("interrupted\n")
        return 130


def make_parser() -> argparse.ArgumentParser:
    """The parser of `multijoint` with every command."""
    for name in listed_commands():
        importlib.import_module(f"multijoint.cli.{name.replace('-', '_')}")
    parser = _Parser(
        prog="multijoint",
        usage="multijoint [--version] [--debug] [--quiet] [--json] COMMAND ...",
        description="Segment bones in small, heterogeneous MR data sets with one network. Not a medical device.",
        epilog=_list_by_group() + _END,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=custom_components.__version__)
    _add_common(parser, default=False)
    parsers = parser.add_subparsers(
        prog="multijoint", metavar="COMMAND", dest="command", required=True, help=argparse.SUPPRESS
    )
    for name, command in COMMANDS.items():
        own = parsers.add_parser(
            name,
            description=" ".join((command.run.__doc__ or "").split()),
            epilog=f"Example:\n  {command.example}",
            formatter_class=_Formatter,
        )
        # Without a default, so that an option that stands before the command is not forgotten.
        _add_common(own.add_argument_group("output"), default=argparse.SUPPRESS)
        for add in command.arguments:
            add(own)
    return parser


def parsers_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """The parser of each command in that of `multijoint`."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices


def listed_commands() -> list[str]:
    """The commands of the help, which leaves out those that only this program calls."""
    return [name for names in _GROUPS.values() for name in names]


def _add_common(parser: argparse._ActionsContainer, *, default: Any) -> None:
    """Add the options that may stand before the command and after it."""
    helps = {
        "--quiet": "print nothing but errors",
        "--json": "print one JSON object in place of text: what was made, what failed; messages go to standard error",
        "--debug": "show the traceback of an error",
    }
    for name, help in helps.items():
        parser.add_argument(name, action="store_true", default=default, help=help)


def _options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Every name of every option -> its first long one."""
    actions = [action for action in parser._actions if action.option_strings]
    first = {
        action: next((name for name in action.option_strings if name.startswith("--")), action.option_strings[0])
        for action in actions
    }
    return {name: first[action] for action in actions for name in action.option_strings}


def _list_by_group() -> str:
    lines = []
    for title, names in _GROUPS.items():
        lines += ["", f"{title}:"]
        for name in names:
            line = f"  {name:<15}{COMMANDS[name].help}"
            lines += textwrap.wrap(line, 100, subsequent_indent=" " * 17)
    return "\n".join([*lines[1:], ""])

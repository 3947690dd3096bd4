"""Commands as functions with a decorator that declares their arguments, and arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Argument = Callable[[argparse._ActionsContainer], object]
"""Adds itself to a parser or to a group of arguments."""


class Command(NamedTuple):
    """One command of `multijoint`.

    Args:
        run: called with the value of each argument, by name. Its docstring is the command's help.
        arguments: of the command alone.
        example: a call that runs.
        extra: optional dependencies of the distribution that the command needs.
    """

    run: Callable[..., None]
    arguments: Sequence[Argument]
    example: str
    extra: str | None

    @property
    def help(self) -> str:
        """The first line of the docstring as `multijoint --help` lists it: "segment NIfTI volumes"."""
        first = (self.run.__doc__ or "").partition("\n")[0].rstrip(".")
        return first[:1].lower() + first[1:]


COMMANDS: dict[str, Command] = {}
"""The commands of the modules imported so far, by name."""


def command(*arguments: Argument, example: str = "", extra: str | None = None) -> Callable:
    """Make a command of a function, which gives it name and help; see `Command`."""

    def add(run: Callable[..., None]) -> Callable[..., None]:
        COMMANDS[run.__name__.replace("_", "-")] = Command(run, arguments, example, extra)
        return run

    return add


def text(name: str, metavar: str | None, help: str, **more: Any) -> Argument:
    """An argument or option with a value; `more` is for argparse."""
    return lambda parser: parser.add_argument(name, metavar=metavar, help=help, **more)


def path(name: str, metavar: str, help: str, **more: Any) -> Argument:
    """A file or folder."""
    return text(name, metavar, help, type=Path, **more)


def out_path(metavar: str, help: str, **more: Any) -> Argument:
    """`--out`, where a command writes; `--output`, its earlier name, does the same."""
    return lambda parser: parser.add_argument("--out", "--output", metavar=metavar, help=help, type=Path, **more)


def number(name: str, metavar: str, help: str, **more: Any) -> Argument:
    """A whole number."""
    return text(name, metavar, help, type=int, **more)


def choice(name: str, choices: Sequence[str], help: str) -> Argument:
    """One of several words, of which the first is the default."""
    return text(name, None, help, choices=choices, default=choices[0])


def flag(name: str, help: str, **more: Any) -> Argument:
    """An option without a value."""
    return lambda parser: parser.add_argument(name, action="store_true", help=help, **more)


def either(*arguments: Argument) -> Argument:
    """Exactly one of several arguments; one without a dash before it needs `nargs="?"`."""

    def add(parser: argparse._ActionsContainer) -> None:
        group = parser.add_mutually_exclusive_group(required=True)
        for argument in arguments:
            argument(group)

    return add


def dataset_dir(help: str = "where their paths start, if not next to each") -> Argument:
    """`--dataset-dir`, the folder that paths of manifests are relative to."""
    return path("--dataset-dir", "FOLDER", help)


def log_paths(files: str = "scans") -> Argument:
    """`--log-paths`, which `present` obeys, of a command whose messages name such files."""
    return flag("--log-paths", f"show whole paths of {files}, not their names alone")


ADDRESS = text("--address", "HOST:PORT", "of a running Ray cluster that sees the same files")
DEVICE = text("--device", None, "auto, cpu, cuda, cuda:1, ... (default auto)", default="auto")
MANIFESTS = path("--manifests", "MANIFEST", "as for training", nargs="+", required=True)
MESH_FORMATS = ("stl", "ply", "glb")
TRUST = flag("--trust", "also take a bundle that inspect calls unsafe")

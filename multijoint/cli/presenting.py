"""Presentation of every command's results: `--quiet`, `--json`, errors in one line, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from custom_components.system.terminal import QUIET, PlainStream, escape_logs

from multijoint.cli.commands import COMMANDS

_COMMON = ("command", "debug", "quiet", "json", "log_paths")  # options that `present` obeys itself
_results: list[dict[str, Any]] = []


def record(**values: Any) -> None:
    """Add to the JSON object of the running command; without `--json` this has no effect.

    Paths become text. If a command records nothing, its object has the printed lines as `printed`.
    """
    if _results:
        _results[-1].update(values)


def print_written(paths: Iterable[Path]) -> None:
    """Record the files that a command wrote, and print a line for each."""
    written = list(paths)
    record(written=written)
    for path in written:
        print(path)


def present(options: argparse.Namespace) -> int:
    """Run the command that was parsed, and present its result as text, as JSON, or not at all.

    Returns:
        Exit code: 0; 1 after an error, which `--debug` raises instead; 3 if the machine is at fault (`ResourceError`);
        130 if interrupted.
    """
    found: dict[str, Any] = {}
    printed = io.StringIO()
    escape_logs()
    with contextlib.ExitStack() as stack:
        if sys.stdout is not None:  # as it is where it was closed
            stack.enter_context(contextlib.redirect_stdout(PlainStream(sys.stdout)))
        if options.quiet:
            stack.enter_context(_quiet())
        if options.quiet or options.json:
            stack.enter_context(contextlib.redirect_stdout(printed))
        if options.json:
            _results.append(found)
            stack.callback(_results.pop)
        code, error = _run(options)
    if options.json:
        result = found or ({"printed": printed.getvalue().splitlines()} if printed.getvalue() else {})
        whole = {"command": options.command, "ok": code == 0, "error": error, **result}
        sys.stdout.write(json.dumps(whole, indent=2, default=str, allow_nan=False) + "\n")
    return code


def _run(options: argparse.Namespace) -> tuple[int, str | None]:
    from custom_components.errors import LOG_PATHS, InputError, explain, needs_extra
    from custom_components.system.colours import write_error
    from custom_components.system.termination import ending_on_interrupt, ending_on_sigterm

    variables = {LOG_PATHS: getattr(options, "log_paths", False), "MULTIJOINT_DEBUG": options.debug}
    command = COMMANDS[options.command]
    extra = needs_extra(f"multijoint {options.command}", command.extra) if command.extra else contextlib.nullcontext()
    try:
        with (
            _switched_on([name for name, asked in variables.items() if asked]),
            ending_on_sigterm(),
            ending_on_interrupt(),
            extra,
        ):
            command.run(**{name: value for name, value in vars(options).items() if name not in _COMMON})
    except (InputError, OSError) as error:
        if options.debug:
            raise
        write_error(explain(error))
        return getattr(error, "exit_code", 1), explain(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130, "interrupted"
    return 0, None


@contextlib.contextmanager
def _switched_on(names: Sequence[str]) -> Iterator[None]:
    """Set environment variables for the command and its processes, and restore their earlier values."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Show only errors on the terminal, here and in child processes; log files stay complete."""
    import logging

    from custom_components.system.colours import MessageFormatter

    root = logging.getLogger()
    console = logging.StreamHandler()
    console.setLevel(logging.ERROR)
    console.setFormatter(MessageFormatter())
    others, level = [each for each in root.handlers if type(each) is logging.StreamHandler], root.level
    # `basicConfig` leaves a logger with a handler as it is.
    root.handlers = [*(each for each in root.handlers if each not in others), console]
    root.setLevel(logging.INFO)
    try:
        with _switched_on([QUIET]):
            yield
    finally:
        root.handlers = [*(each for each in root.handlers if each is not console), *others]
        root.setLevel(level)

"""What every command has in common: `--quiet`, `--json`, one line for an error, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from custom_components.system.terminal import QUIET

__all__ = ["common_options", "present", "record"]

_results: list[dict[str, Any]] = []


def common_options() -> argparse.ArgumentParser:
    """Options of every command, as a parent of its parser."""
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("output")
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")
    group.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text: what was made, what failed"
    )
    return common


def record(**values: Any) -> None:
    """Add to the JSON object of the command that runs; paths become text. Without `--json` nothing comes of it.

    A command that records nothing has the lines that it would have printed there, as `printed`.
    """
    if _results:
        _results[-1].update(values)


def present(run: Callable[[argparse.Namespace], None], options: argparse.Namespace, *, debug: bool) -> int:
    """Run a command and show what came of it as its options ask for.

    Args:
        run: the command.
        options: its arguments, among them those of `common_options`.
        debug: raise an error instead of printing it.

    Returns:
        Exit code: 0; 1 for what could not be used or failed; 130 if interrupted.
    """
    found: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.ExitStack() as stack:
        if options.quiet:
            stack.enter_context(_quiet())
        if options.quiet or options.json:
            stack.enter_context(contextlib.redirect_stdout(printed))
        if options.json:
            _results.append(found)
            stack.callback(_results.pop)
        code, error = _run(run, options, debug=debug)
    if options.json:
        result = found or ({"printed": printed.getvalue().splitlines()} if printed.getvalue() else {})
        whole = {"command": options.command, "ok": code == 0, "error": error, **result}
        sys.stdout.write(json.dumps(whole, indent=2, default=str, allow_nan=False) + "\n")
    return code


def _run(run: Callable[[argparse.Namespace], None], options: argparse.Namespace, *, debug: bool) -> tuple[int, Any]:
    from custom_components.errors import InputError, explain
    from custom_components.system.termination import ending_on_sigterm

    try:
        with ending_on_sigterm():
            run(options)
    except (InputError, OSError) as error:
        if debug:
            raise
        sys.stderr.write(f"error: {explain(error)}\n")
        return 1, explain(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130, "interrupted"
    return 0, None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No log lines on the terminal but errors, here and in processes that are started; logs in files stay whole."""
    import logging

    earlier, root = os.environ.get(QUIET), logging.getLogger()
    os.environ[QUIET] = "1"
    console = logging.StreamHandler()
    console.setLevel(logging.ERROR)
    others = [each for each in root.handlers if type(each) is logging.StreamHandler]
    for each in others:
        root.removeHandler(each)
    root.addHandler(console)  # `basicConfig` leaves a logger with a handler as it is
    level = root.level
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(console)
        root.setLevel(level)
        for each in others:
            root.addHandler(each)
        if earlier is None:
            os.environ.pop(QUIET, None)
        else:
            os.environ[QUIET] = earlier

"""SIGTERM for a command: actions that must not be left undone are done, then the process ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

_actions: list[Callable[[], object]] = []


@contextlib.contextmanager
def at_termination(action: Callable[[], object]) -> Iterator[None]:
    """While the block runs, SIGTERM calls `action` before the process ends; without SIGTERM nothing happens."""
    _actions.append(action)
    try:
        yield
    finally:
        _actions.remove(action)


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """While the block runs, SIGTERM ends the process with code 143 after the actions of `at_termination`, newest first.

    No exception is raised for it: one that came while Python calls a destructor would be swallowed. Only the main
    thread may catch signals; elsewhere, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _end(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    for action in reversed(list(_actions)):
        with contextlib.suppress(Exception):
            action()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.write("stopped by SIGTERM; the same command again does what is left\n")
        sys.stderr.flush()
    os._exit(128 + number)

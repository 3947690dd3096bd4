"""SIGTERM for a command: actions that must not be left undone are done, then the process ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_MOST_SECONDS = 10.0

_actions: list[Callable[[], object]] = []
_waiting: list[int] | None = None  # SIGTERM that came while `deferring_termination` held it back
_creating = threading.RLock()


@contextlib.contextmanager
def at_termination(action: Callable[[], object]) -> Iterator[None]:
    """While the block runs, SIGTERM calls `action` before the process ends; without SIGTERM nothing happens."""
    _actions.append(action)
    try:
        yield
    finally:
        _actions.remove(action)


@contextlib.contextmanager
def deferring_termination() -> Iterator[None]:
    """While the block runs, SIGTERM waits for its end: for what is made and handed to `at_termination` in two steps."""
    global _waiting
    waiting: list[int] = []
    _waiting = waiting
    try:
        yield
    finally:
        _waiting = None
        if waiting:
            _end(waiting[0], None)


@contextlib.contextmanager
def creating() -> Iterator[None]:
    """For making what an action of `at_termination` removes: SIGTERM waits for it, and no thread begins it later."""
    with _creating:
        yield


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """While the block runs, SIGTERM ends the process with code 143 after the actions of `at_termination`, newest first.

    No exception is raised for it: one that came while Python calls a destructor would be swallowed. Only the main
    thread may catch signals; elsewhere, this does nothing.
    """
    if not _is_main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


@contextlib.contextmanager
def ending_on_interrupt() -> Iterator[None]:
    """While the block runs, an error that follows Ctrl-C is raised as `KeyboardInterrupt`.

    A library that is interrupted while it is imported raises whatever it lacks then, such as an `ImportError`.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not _is_main_thread():
        yield
        return
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if asked:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _end(number: int, _: object) -> None:
    if _waiting is not None:
        _waiting.append(number)
        return
    signal.signal(number, signal.SIG_IGN)
    _creating.acquire(timeout=_MOST_SECONDS)  # and keeps it; a file system that hangs must not keep the process
    for action in reversed(list(_actions)):
        with contextlib.suppress(Exception):
            action()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.write("stopped by SIGTERM; the same command again does what is left\n")
        sys.stderr.flush()
    os._exit(128 + number)


def _renew_lock() -> None:
    global _creating
    _creating = threading.RLock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)

"""Processes that tests start. None waits for ever, and signals end them wherever the suite runs.

A process that a shell starts in the background ignores SIGINT, one under nohup ignores SIGHUP, and their children
inherit that: Ctrl-C could not end a test's processes. `catch_ignored_signals`, called once for the suite, gives the
children the default.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

__all__ = ["LIMIT_S", "Process", "catch_ignored_signals", "kill_session", "run"]

LIMIT_S = 300.0
_running: set[Process] = set()


def catch_ignored_signals() -> None:
    """Replace each ignored signal by a handler that does nothing.

    This process ignores the signal as before. Children do not: a handler, unlike SIG_IGN, ends with exec.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


class Process(subprocess.Popen[str]):
    """A process in its own session, which SIGKILL ends with all its children after a limit.

    So every wait for it ends: for a line, `wait`, `communicate` and the end of a `with` block, which kills it too.

    Args:
        command: program and arguments.
        limit: seconds from its start.
        how: what Popen takes. Input is empty unless given.
    """

    def __init__(self, command: Sequence[object], *, limit: float = LIMIT_S, **how: Any) -> None:
        how = {"stdin": subprocess.DEVNULL, "text": True, "start_new_session": True} | how
        super().__init__([str(word) for word in command], **how)
        self.limit = limit
        _running.add(self)
        self._timer = threading.Timer(limit, self.kill_all)
        self._timer.daemon = True
        self._timer.start()

    def kill_all(self) -> None:
        """Kill it and its children, unless all have ended."""
        kill_session(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        code = super().wait(timeout)
        self._timer.cancel()
        _running.discard(self)
        return code

    def __exit__(self, *error: Any) -> None:
        self.kill_all()
        super().__exit__(*error)


def kill_session(pid: int) -> None:
    """Kill the process that leads a session, and its children, unless all have ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def run(command: Sequence[object], *, check: bool = False, **how: Any) -> subprocess.CompletedProcess[str]:
    """Output and errors of a process that has ended.

    Args:
        command: program and arguments.
        check: fail, with its errors, unless its code is 0.
        how: what `Process` takes.
    """
    with Process(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how) as process:
        output, errors = process.communicate(timeout=process.limit + 10)
    assert process.returncode == 0 or not check, f"{command} ended with {process.returncode}: {errors}"
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@atexit.register
def _kill_what_runs() -> None:
    for process in list(_running):
        process.kill_all()

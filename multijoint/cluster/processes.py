"""Child processes with their output in a file and their failure in one line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_LOG_BYTES = 5 * 2**20  # a longer log is renamed before a new one starts
_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.RLock()  # a signal handler may interrupt the thread that holds it
_stopping = threading.Event()


class ProcessFailure(RuntimeError):
    """A child process that ended with an error; the message is its cause in one line."""


def run_process(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str], keep_open: Sequence[int] = ()
) -> None:
    """Run a command to its end.

    Args:
        command: program and arguments; no shell reads them.
        log: file that the output is appended to; a long one is renamed to `<name>.1` first.
        environment: variables added to those of this process; the output is for `describe_exit`, so without colour.
        keep_open: file descriptors that the child inherits, e.g. of a lock to hold until it ends.

    Raises:
        ProcessFailure: the process ended with an error or was stopped by `stop_processes`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.is_file() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("ab") as output:
        start = output.tell()
        with _lock:
            if _stopping.is_set():
                raise ProcessFailure("stopped before it began")
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"NO_COLOR": "1"} | dict(environment),
                pass_fds=tuple(keep_open),
            )
            _running.add(process)
        try:
            code = process.wait()
        finally:
            with _lock:
                _running.discard(process)
    if code:
        with log.open("rb") as printed:
            printed.seek(start)
            raise ProcessFailure(describe_exit(code, printed.read().decode(errors="replace")))


def run_command(payload: tuple[Sequence[str], Path], environment: Mapping[str, str]) -> str | None:
    """A task of `run_tasks` that imports little: a command of ours and its log; returns why it failed, or None."""
    arguments, log = payload
    try:
        run_process([sys.executable, "-m", "multijoint.cli", *arguments], log=log, environment=environment)
    except ProcessFailure as failure:
        return str(failure)
    return None


def stop_processes() -> None:
    """Terminate all running children and prevent new ones."""
    with _lock:
        _stopping.set()
        for process in _running:
            process.terminate()


def describe_exit(code: int, output: str) -> str:
    r"""One line about why a process ended.

    Args:
        code: exit code, negative for a signal.
        output: printed text.

    Example:
        >>> describe_exit(1, "epoch 1\nerror: fold must be 0..2, got 7\n")
        'fold must be 0..2, got 7'
        >>> describe_exit(-9, "epoch 1\n")
        'killed by SIGKILL (out of memory?)'
        >>> describe_exit(143, "stopped by SIGTERM in epoch 3 after step 12 of 40; continue with --resume true\n")
        'stopped by SIGTERM'
    """
    if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        return "stopped by SIGTERM"
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    stated = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
    return (stated or raised or lines or [f"exit code {code}, nothing printed"])[-1]

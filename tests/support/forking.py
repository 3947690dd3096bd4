"""Commands of `python -m` as forks of the process that runs the tests, which has imported everything already.

Such a command spends most of a small job's time on imports. A fork has its own process, session and children,
so it is killed, terminated and interrupted as any other. With `--faults` the commands that are killed are new Pythons,
and some always are: their files are compared with those of forks.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
import torch
from support.processes import LIMIT_S, Process, kill_session

from multijoint.cluster import processes

__all__ = ["Forked", "forked_jobs", "start"]


def start(command: Sequence[object], *, fork: bool, **how: Any) -> Forked | Process:
    """Start `python -m MODULE ARGUMENTS`, as a fork or anew; `how` is what `Forked` takes."""
    make = Forked if fork and not torch.cuda.is_available() else Process
    return make([sys.executable, "-m", *command], **how)


class Forked:
    """The part of `Process` that the tests use, for `python -m MODULE ARGUMENTS`.

    Args:
        command: program and arguments.
        limit: seconds after which it and its children are killed.
        stdout, stderr: PIPE or DEVNULL; PIPE and STDOUT for both in one.
        env, cwd: of the process; None keeps those of the tests.
        preexec_fn: called first in the child.
    """

    def __init__(
        self, command: Sequence[object], *, limit: float = LIMIT_S, stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL, env: Mapping[str, str] | None = None, cwd: Path | None = None,
        preexec_fn: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        words = [str(word) for word in command]
        assert words[:2] == [sys.executable, "-m"], words
        nowhere = os.open(os.devnull, os.O_WRONLY)
        read, output = os.pipe() if stdout == subprocess.PIPE else (-1, os.dup(nowhere))
        self.stdout = open(read, encoding="utf-8") if read >= 0 else None  # noqa: SIM115
        self.stderr = tempfile.TemporaryFile("w+", encoding="utf-8") if stderr == subprocess.PIPE else None  # noqa: SIM115
        errors = self.stderr.fileno() if self.stderr else output if stderr == subprocess.STDOUT else nowhere

        def work() -> None:
            os.setsid()
            if self.stdout:
                self.stdout.close()
            if preexec_fn:
                preexec_fn()
            if cwd:
                os.chdir(cwd)
            with forked_jobs():
                sys.exit(_become(words[2:], (output, errors), env or dict(os.environ)))

        sys.stdout.flush()
        self._process = multiprocessing.get_context("fork").Process(target=work)
        self._process.start()
        os.close(output), os.close(nowhere)
        self.pid: int = self._process.pid or 0
        self._timer = threading.Timer(limit, kill_session, [self.pid])
        self._timer.daemon = True
        self._timer.start()

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutError(f"a fork has not ended within {timeout} s")
        self._timer.cancel()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Its output that has not been read yet, once it has ended."""
        with self.stdout or contextlib.nullcontext(), self.stderr or contextlib.nullcontext():
            output = self.stdout.read() if self.stdout else ""
            self.wait(timeout)
            if self.stderr:
                self.stderr.seek(0)
            return output, self.stderr.read() if self.stderr else ""

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def forked_jobs() -> Iterator[None]:
    """While the block runs, `run_process` forks instead of starting a Python that imports everything anew.

    CUDA does not survive a fork: on a machine that has it, nothing changes.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not torch.cuda.is_available():
            names = {"DEVNULL": subprocess.DEVNULL, "STDOUT": subprocess.STDOUT}
            patch.setattr(processes, "subprocess", SimpleNamespace(Popen=_ForkedJob, **names))
        yield


class _ForkedJob:
    """What `run_process` uses of Popen, for `python -m MODULE ARGUMENTS`.

    Descriptors stay open, so the lock of a job lives as long as its process does.
    """

    def __init__(
        self, command: Sequence[str], *, stdin: int, stdout: BinaryIO, stderr: int, env: Mapping[str, str],
        pass_fds: Sequence[int],
    ) -> None:  # fmt: skip
        assert list(command[:2]) == [sys.executable, "-m"], command
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                code = _become(command[2:], (stdout.fileno(), stdout.fileno()), env)
            finally:
                os._exit(code)

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


def _become(arguments: Sequence[str], outputs: tuple[int, int], environment: Mapping[str, str]) -> int:
    """Be as good as a new process that runs a module; its exit code."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
    sys.stdout, sys.stderr = (open(each, "w", buffering=1, closefd=False) for each in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger().handlers.clear()
    logging.getLogger().setLevel(logging.WARNING)
    for name in logging.root.manager.loggerDict:  # what commands before have silenced
        if name.partition(".")[0] in ("custom_components", "ignite", "monai", "multijoint"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    warnings.resetwarnings()
    if environment.get("PYTHONWARNINGS") == "ignore":
        warnings.simplefilter("ignore")
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    sys.argv = list(arguments)
    sys.excepthook = sys.__excepthook__
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return _code_of(end)
    except BaseException:
        try:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]  # which a workflow may have replaced
        except SystemExit as end:
            return _code_of(end)
        return 1
    finally:
        sys.stdout.flush()
    return 0


def _code_of(end: SystemExit) -> int:
    return end.code if isinstance(end.code, int) else int(end.code is not None)

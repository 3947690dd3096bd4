"""Jobs of an experiment as forks of the process that runs the tests, which has imported everything already.

`python -m monai.bundle` spends most of a small job's time on imports. The tests that kill and terminate jobs start real
processes, and compare what these write with what the forks have written.
"""

from __future__ import annotations

import contextlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import BinaryIO

import pytest
import torch

from multijoint.cluster import processes

__all__ = ["forked_jobs"]


@contextlib.contextmanager
def forked_jobs() -> Iterator[None]:
    """While the block runs, `run_process` forks instead of starting a Python that imports everything anew.

    CUDA does not survive a fork: on a machine that has it, nothing changes.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not torch.cuda.is_available():
            names = {"DEVNULL": subprocess.DEVNULL, "STDOUT": subprocess.STDOUT}
            patch.setattr(processes, "subprocess", SimpleNamespace(Popen=Fork, **names))
        yield


class Fork:
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
                code = _become(command[2:], stdout.fileno(), env)
            finally:
                os._exit(code)

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


def _become(arguments: Sequence[str], output: int, environment: Mapping[str, str]) -> int:
    """Be as good as a new process that runs a module; its exit code."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (open(each, "w", buffering=1, closefd=False) for each in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger().handlers.clear()
    logging.getLogger().setLevel(logging.WARNING)
    warnings.resetwarnings()
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    sys.argv = list(arguments)
    sys.excepthook = sys.__excepthook__
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]  # which a workflow may have replaced
        return 1
    finally:
        sys.stdout.flush()
    return 0

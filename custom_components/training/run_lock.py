"""Lock of a run's folder, so that two trainings never write into one."""

from __future__ import annotations

import errno
import os
import weakref
from pathlib import Path

from custom_components.errors import InputError
from custom_components.system.locks import HAS_LOCKS, lock_for_process

LOCK = ".lock"
"""Name of the file, which is there while a training runs, or after one was killed, where it means nothing."""


class RunLock:
    """Lock of an existing folder for this process, until `release`, until nobody holds the object, or until the end.

    It goes with the process, however that ends. It does not hold back the process itself.

    Args:
        folder: of the run.

    Raises:
        InputError: another process has locked the folder.
    """

    def __init__(self, folder: Path) -> None:
        descriptor = _lock(folder / LOCK, folder)
        self._release = weakref.finalize(self, _unlock, folder / LOCK, descriptor, os.getpid())

    def release(self) -> None:
        """End the lock; again does nothing."""
        self._release()


def _lock(path: Path, folder: Path) -> int:
    # Neither flock nor filelock: processes forked from one that has such a lock have it too, so that a data
    # loader that outlives a killed training by seconds would keep the folder from the training that goes on.
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock_for_process(descriptor)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                raise InputError(
                    f"output_dir must be of one training at a time, got {folder}, where another one is running; "
                    "wait for its end or choose another folder"
                ) from error
            return descriptor  # a system or a file system without locks
        if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)  # removed by its owner between the two lines


def _unlock(path: Path, descriptor: int, owner: int) -> None:
    if not HAS_LOCKS:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        return
    if os.getpid() == owner:  # and not a process forked from it
        path.unlink(missing_ok=True)
    os.close(descriptor)

"""Locks of open files, which go with their process; only POSIX has them.

Elsewhere a lock is refused as by a file system without locks, with which all callers get on: runs that write to one
folder at the same time are then not kept apart, and temporary files of killed processes stay.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None
"""Whether this system has such locks. One without them neither opens folders nor moves or removes an open file."""


@contextlib.contextmanager
def wait_for_lock(path: Path) -> Iterator[IO[Any]]:
    """Lock a file, made anew, until the end; processes that inherit its descriptor hold the lock too.

    Without locks, of the system or the file system, it is only opened.
    """
    with path.open("w") as lock:
        with contextlib.suppress(OSError):
            lock_file(lock, wait=True)
        yield lock


def lock_file(file: int | IO[Any], *, wait: bool = False) -> None:
    """Lock an open file or folder until it is closed, here and in forked processes, or until `unlock_file`.

    Raises:
        BlockingIOError: it is locked, by this process too, and `wait` is false.
        OSError: the system or the file system has no locks.
    """
    _require_locks()
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def unlock_file(file: int | IO[Any]) -> None:
    """End a lock of `lock_file`, in forked processes too."""
    _require_locks()
    fcntl.flock(file, fcntl.LOCK_UN)


def lock_for_process(descriptor: int) -> None:
    """Lock an open file for this process, without those forked from it, until it closes the file.

    Raises:
        OSError: EACCES or EAGAIN if another process has locked it; else there are no locks.
    """
    _require_locks()
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _require_locks() -> None:
    if not HAS_LOCKS:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

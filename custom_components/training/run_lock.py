"""Lock of a run's folder, so that two trainings never write into one."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from custom_components.errors import InputError

_NAME = ".lock"


def lock_folder(folder: Path) -> int:
    """Lock an existing folder for this process until it closes the file descriptor that is returned, or ends.

    The lock goes with the process, however that ends; the file `.lock` that stays behind means nothing. It does not
    hold back the process itself.

    Raises:
        InputError: another process has locked the folder.
    """
    # lockf, neither flock nor filelock: processes forked from one that has such a lock have it too, so that a data
    # loader that outlives a killed training by seconds would keep the folder from the training that goes on.
    descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            os.close(descriptor)
            raise InputError(
                f"output_dir must be of one training at a time, got {folder}, where another one is running; "
                "wait for its end or choose another folder"
            ) from error
        # else a file system without locks
    return descriptor

"""Memory that PyTorch frees, and asks for again a moment later, kept in the process."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 2**28  # bytes of a block that is kept: activations of a batch of slices, but not a large volume
_KEPT = 2**30
_OWN_CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks of up to 256 MiB, and return the end of its heap above 1 GiB; whether it does.

    Left alone, it returns large blocks to the kernel, which hands each page out anew, filled with zeros: a million of
    them in a scan of 64 slices of 256 x 256 in the full network, an eighth of the time. This holds for the rest of the
    process, and for those forked from it. Other C libraries are left as they are, and so is a process whose environment
    says what malloc is to do.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_CHOICES):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return False
    # Older versions refuse so large a threshold with 0 and go on as before.
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))

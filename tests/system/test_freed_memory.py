"""Freed memory that stays in the process, seen by the pages that the kernel hands out."""

import os
import platform
import sys

import pytest
from support.processes import run

CODE = """
import ctypes, resource, sys
if sys.argv[1] == "kept":
    from custom_components.system.freed_memory import keep_freed_memory
    print(keep_freed_memory())
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
size = 2**26  # 64 MiB, which glibc alone returns to the kernel
def fill():
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc of another C library")


def pages(how: str, **variables: str) -> list[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    return run([sys.executable, "-c", CODE, how], env=env | variables, check=True).stdout.split()


@glibc
def test_a_freed_block_is_used_again() -> None:
    kept, asked_for = pages("kept")
    assert kept == "True"
    assert int(asked_for) < 1000 < int(pages("returned")[-1])


@glibc
def test_a_choice_in_the_environment_stays() -> None:
    assert pages("kept", MALLOC_MMAP_THRESHOLD_="65536")[0] == "False"

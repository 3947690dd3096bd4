"""A run's folder is of one process at a time; a killed one leaves nothing that holds back the next."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.training.run_lock import LOCK, RunLock


@contextmanager
def other_process(folder: Path, *, with_child: bool = False) -> Iterator[int]:
    """A process that holds the lock, and perhaps has a process of its own, which outlives it."""
    told, ready = os.pipe()
    if (child := os.fork()) == 0:
        try:
            lock = RunLock(folder)
            grandchild = os.fork() if with_child else 0
            if grandchild == 0 and with_child:
                os.write(ready, os.getpid().to_bytes(4, "little"))
            else:
                os.write(ready, grandchild.to_bytes(4, "little"))
            signal.pause()
            lock.release()
        finally:
            os._exit(0)
    found = {int.from_bytes(os.read(told, 4), "little") for _ in range(1 + with_child)}
    try:
        yield child
    finally:
        os.close(told)
        os.close(ready)
        for process in found - {0}:
            os.kill(process, signal.SIGKILL)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


@pytest.mark.parametrize("with_child", [False, True], ids=["alone", "outlived by its data loader"])
def test_a_folder_is_of_one_process_until_it_is_killed(with_child: bool, tmp_path: Path) -> None:
    with other_process(tmp_path, with_child=with_child) as process:
        for _ in range(2):  # trying takes nothing away
            with pytest.raises(InputError, match=r"output_dir must be of one training at a time, got .*; wait for its"):
                RunLock(tmp_path)
        kill(process)
        assert (tmp_path / LOCK).exists()
        lock = RunLock(tmp_path)
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_nobody_holds_is_released(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    assert (tmp_path / LOCK).exists()
    del lock
    assert not (tmp_path / LOCK).exists()

"""Output folders: one writer at a time, and no folder that is taken away unseen."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.system.folders import OutputFolder


def test_blocks_of_one_folder_never_overlap(tmp_path: Path) -> None:
    """Counted up by two processes and two threads, each of which reads, waits and writes."""
    number = tmp_path / "number"
    number.write_text("0")

    def count_up() -> None:
        folder = OutputFolder(tmp_path / "out")
        for _ in range(10):
            with folder.locked(), folder.locked():  # asked for again: as in a handler of SIGTERM
                value = int(number.read_text())
                time.sleep(0.001)
                number.write_text(str(value + 1))

    child = os.fork()
    if child == 0:
        count_up()
        os._exit(0)
    threads = [threading.Thread(target=count_up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert number.read_text() == "30"
    assert not list((tmp_path / "out").iterdir())


def test_a_lock_goes_with_its_process_and_not_with_a_copy_of_it(tmp_path: Path) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with OutputFolder(tmp_path).locked():
            os.write(write, b"1")
            time.sleep(60)
        os._exit(1)
    os.read(read, 1)
    rule = "must be written to by one run at a time, got a second one"
    with pytest.raises(InputError, match=rule), OutputFolder(tmp_path).locked(wait=False):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with OutputFolder(tmp_path).locked(wait=False):
        child = os.fork()  # it inherits the descriptor
        if child == 0:
            time.sleep(60)
            os._exit(1)
    with OutputFolder(tmp_path).locked(wait=False):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path, again: bool) -> None:
    folder = OutputFolder(tmp_path / "out")
    folder.check()
    with folder.locked():
        pass
    shutil.rmtree(tmp_path / "out")
    if again:
        (tmp_path / "out").mkdir()  # by another run
    rule = "output folder out must stay until the run ends, got it removed or replaced"
    with pytest.raises(InputError, match=rule):
        folder.check()
    with pytest.raises(InputError, match=rule), folder.locked():
        pass
    assert (tmp_path / "out").exists() == again

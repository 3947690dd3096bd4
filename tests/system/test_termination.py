import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from custom_components.system import files
from custom_components.system.termination import (
    at_termination,
    deferring_termination,
    ending_on_interrupt,
    ending_on_sigterm,
)


def test_sigterm_does_what_is_left_and_ends_even_in_a_destructor(tmp_path: Path) -> None:
    class Swallows:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    child = os.fork()
    if child == 0:
        try:
            with ending_on_sigterm(), at_termination((tmp_path / "outer").touch), at_termination(lambda: 1 / 0):
                with at_termination((tmp_path / "past").touch):
                    pass
                Swallows()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
    assert [path.name for path in tmp_path.iterdir()] == ["outer"]


def test_sigterm_waits_for_what_is_made_in_two_steps(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            with ending_on_sigterm(), contextlib.ExitStack() as stack:
                with deferring_termination():
                    os.kill(os.getpid(), signal.SIGTERM)
                    stack.enter_context(at_termination((tmp_path / "removed").touch))
                (tmp_path / "too late").touch()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
    assert [path.name for path in tmp_path.iterdir()] == ["removed"]


def test_sigterm_leaves_nothing_that_another_thread_is_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread's file is open and not yet locked when SIGTERM comes; other actions take longer than the thread."""
    written, ready = tmp_path / "label_map.nii", threading.Event()

    def lock_slowly(_: object) -> None:
        ready.set()
        time.sleep(1)

    child = os.fork()
    if child == 0:
        try:
            monkeypatch.setattr(files, "lock_file", lock_slowly)
            with ending_on_sigterm(), at_termination(lambda: time.sleep(1.5)):
                threading.Thread(target=lambda: files.write_atomically(written, b"voxels"), daemon=True).start()
                ready.wait()
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
    assert list(tmp_path.iterdir()) in ([], [written])


def test_without_a_signal_all_is_as_before(tmp_path: Path) -> None:
    earlier = signal.getsignal(signal.SIGTERM)
    with ending_on_sigterm(), at_termination((tmp_path / "never").touch):
        assert signal.getsignal(signal.SIGTERM) is not earlier
    assert signal.getsignal(signal.SIGTERM) is earlier
    assert not list(tmp_path.iterdir())


def test_an_error_after_ctrl_c_is_an_interruption() -> None:
    def interrupted_import() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("interrupted in the middle of an import") from None

    with pytest.raises(KeyboardInterrupt) as caught, ending_on_interrupt():
        interrupted_import()
    assert isinstance(caught.value.__cause__, ImportError)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ImportError), ending_on_interrupt():
        raise ImportError("another")

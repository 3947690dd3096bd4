"""SIGTERM, with which a cluster takes its machine back: save what there is and exit, even amid a step of a minute."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from custom_components.errors import explain

__all__ = ["EXIT_CODE", "Preemption"]

EXIT_CODE = 128 + signal.SIGTERM
"""What a process exits with after SIGTERM, as shells report it."""

_LONGEST_CHANGE = 7.0  # seconds to wait for a step or a save to end; clusters kill after 10 to 30
_END = 0  # no signal's number
_logger = logging.getLogger(__name__)


class Preemption:
    """From `start` to `end`, SIGTERM calls `save` in a thread of its own, then ends the process with code 143.

    Python runs a signal's handler between two lines of the main thread, and a backward pass is one line. So the signal
    wakes a thread, which works while the main thread computes. What must not be saved half changed, the main
    thread changes between `hold` and `release`; the thread waits for that and then keeps it from changing anything.
    A signal to a whole job ends data loading processes too: what PyTorch raises then is put off until `release`.

    Only the main thread may catch signals; elsewhere, `start` does nothing.

    Args:
        save: saves and returns one line that says what was done.
    """

    _active: Preemption | None = None

    def __init__(self, save: Callable[[], str]) -> None:
        self._save = save
        self._whole = threading.Lock()
        self._held = False
        self._broken = False
        self._interrupted = self._catches_interrupt = False
        self._asked = False  # no Event: its lock may be held by what the signal interrupts
        self._done = False
        self._child_handler: Any = None
        self._child_ended = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to catch SIGTERM."""
        if threading.current_thread() is not threading.main_thread() or self._thread is not None:
            return
        self._asked = self._done = self._broken = self._interrupted = False
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._earlier_wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._earlier_handler = signal.signal(signal.SIGTERM, self._note)
        self._catches_interrupt = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._catches_interrupt:
            signal.signal(signal.SIGINT, self._interrupt)
        self._thread = threading.Thread(target=self._watch, name="preemption", daemon=True)
        self._thread.start()
        Preemption._active = self

    def end(self) -> None:
        """Leave SIGTERM to whom it was left before; does not return if one has come."""
        self.release()
        if self._thread is None:
            return
        signal.signal(signal.SIGTERM, self._earlier_handler)
        if self._catches_interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(self._earlier_wakeup)
        Preemption._active = None
        os.write(self._writing, bytes([_END]))
        while not self._done:
            self.wait_if_asked()
            time.sleep(0.001)
        os.close(self._writing)
        os.close(self._reading)
        self._thread = None

    def hold(self) -> None:
        """The state begins to change; does not return if SIGTERM has come, or Ctrl-C that a destructor swallowed."""
        if self._interrupted:
            raise KeyboardInterrupt
        if not self._held:
            self.wait_if_asked()
            self._whole.acquire()
            self._held = True
            if self._thread is not None:
                self._child_handler = signal.signal(signal.SIGCHLD, self._note_child)

    def release(self, *, broken: bool = False) -> None:
        """The state is whole again; or never will be, after an error amid a change, and is not to be saved."""
        if self._held:
            self._broken = self._broken or broken
            self._held = False
            handler, self._child_handler = self._child_handler, None
            if handler is not None:
                signal.signal(signal.SIGCHLD, handler)
            self._whole.release()
            ended, self._child_ended = self._child_ended, False
            if ended and callable(handler):
                handler(signal.SIGCHLD, None)

    def wait_if_asked(self, seconds: float = 0.0) -> None:
        """Called on an error: if SIGTERM has come, or comes within some seconds, it is its consequence; never returns.

        A signal to all processes of a job ends data loading processes too, which is an error here.
        """
        if self._thread is None:
            return
        end = time.monotonic() + seconds
        while not self._asked and time.monotonic() < end:
            time.sleep(0.01)
        while self._asked:  # no join, which an error raised by another signal's handler would end for good
            with contextlib.suppress(BaseException):
                time.sleep(1.0)

    def _note_child(self, number: int, frame: FrameType | None) -> None:
        self._child_ended = True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def _watch(self) -> None:
        while signal.SIGTERM not in (numbers := os.read(self._reading, 64)):
            if _END in numbers:
                self._done = True
                return
        self._asked = True
        code = EXIT_CODE
        try:
            if not self._whole.acquire(timeout=_LONGEST_CHANGE):
                line = "stopped by SIGTERM amid a change that does not end; the last checkpoint is kept"
            elif self._broken:
                line = "stopped by SIGTERM after an error; the last checkpoint is kept"
            else:
                line = self._save()
            _logger.warning("%s", line)
        except Exception as error:  # whatever the saving met, this process ends now
            code = 1
            sys.stderr.write(f"error: stopped by SIGTERM, not saved: {explain(error)}; the last checkpoint is kept\n")
        finally:
            with contextlib.suppress(Exception):
                for child in multiprocessing.active_children():
                    child.kill()
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(code)


_forking = threading.local()


def _before_fork() -> None:
    """Hold the signal back, which in a new process that has our handler would wake its parent's thread."""
    if Preemption._active is not None:
        Preemption._active.wait_if_asked()  # begin no process that would outlive this one
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _in_child() -> None:
    if Preemption._active is not None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if Preemption._active._catches_interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(Preemption._active._reading)
        os.close(Preemption._active._writing)
        Preemption._active = None
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)

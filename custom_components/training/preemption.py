"""Save a training and exit within seconds of SIGTERM, with which a cluster takes its machine back."""

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

EXIT_CODE = 128 + signal.SIGTERM
"""Exit code of a process after SIGTERM, as shells report it."""

_LONGEST_CHANGE = 7.0  # seconds to wait for a step or a save to end; clusters kill after 10 to 30
_END = 0  # no signal's number
_FORKS = hasattr(os, "register_at_fork")
_logger = logging.getLogger(__name__)


class Preemption:
    """Call `save` in a separate thread on SIGTERM, then end the process with code 143; from `start` to `end`.

    The main thread changes the state to save between `hold` and `release` only. The thread waits for `release`, and
    then keeps the main thread from changing anything. `save` returns a report of one line. Only the main thread may
    catch signals; in others `start` does nothing, and nowhere where processes cannot fork (Windows, which has no
    SIGTERM from outside).
    """

    # Why a thread: Python runs a signal handler between two bytecodes of the main thread, and a backward pass, of up to
    # a minute on a CPU, is one call. `signal.set_wakeup_fd` writes the signal's number into a pipe at once, from C, and
    # a thread that reads the pipe works while the main thread computes.
    # Why `hold` puts SIGCHLD off: a signal to a whole job ends the data loading processes too. PyTorch's handler of
    # SIGCHLD then raises an error in the main thread, perhaps halfway through an optimizer step.

    _active: Preemption | None = None

    def __init__(self, save: Callable[[], str]) -> None:
        self._save = save
        self._whole = threading.Lock()
        self._held = self._broken = self._interrupted = self._catches_interrupt = self._done = False
        self._asked = False  # no Event: the code that the signal interrupts may hold its lock
        self._child_handler: Any = None
        self._child_ended = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to catch SIGTERM."""
        if threading.current_thread() is not threading.main_thread() or self._thread is not None or not _FORKS:
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
        """Restore the handlers from before `start`; does not return if SIGTERM has come."""
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
        """Begin a change of the state; does not return if SIGTERM has come, or Ctrl-C that a destructor swallowed."""
        if self._interrupted:
            raise KeyboardInterrupt
        if not self._held:
            self.wait_if_asked()
            self._whole.acquire()
            self._held = True
            if self._thread is not None:
                self._child_handler = signal.signal(signal.SIGCHLD, self._note_child)

    def release(self, *, broken: bool = False) -> None:
        """End a change of the state; `broken` after an error that left it half changed, so that it is not saved."""
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
        """Wait for ever if SIGTERM has come, or comes within some seconds, while the thread ends the process.

        An error may be a consequence: a signal to all processes of a job ends data loading processes first.
        """
        if self._thread is None:
            return
        end = time.monotonic() + seconds
        while not self._asked and time.monotonic() < end:
            time.sleep(0.01)
        while self._asked:  # no join: an error raised by another signal's handler would end it for good
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
                line = "stopped by SIGTERM during a change that does not end; the last checkpoint is kept"
            elif self._broken:
                line = "stopped by SIGTERM after an error; the last checkpoint is kept"
            else:
                line = self._save()
            _logger.warning("%s", line)
        except Exception as error:  # of any kind: this process ends now
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
    """Block SIGTERM during a fork: the child inherits the pipe, and would wake the thread of its parent."""
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


if _FORKS:
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)

import os
import signal
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE

import pytest
from custom_components.training.preemption import EXIT_CODE, Preemption
from support.processes import Process, run

BUSY = """
import hashlib, os, sys, threading, time
from custom_components.training.preemption import Preemption

def save():
    time.sleep(0.2)
    print("saved", state)
    {save}
    return "stopped"

state, preemption = 1, Preemption(save)
preemption.start()
{main}
"""
LONG_CALL = "print('ready', flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
HELD = "preemption.hold(); state = 2; print('ready', flush=True); time.sleep(0.5); state = 3; preemption.release(); "
LOOP = "while True: preemption.hold(); state += 1; preemption.release(); state == 2 and print('ready', flush=True)"


def stop(main: str, *, save: str = "", signals: int = 1) -> tuple[int, str, str, float]:
    """Exit code, output, errors and seconds of a process that gets SIGTERM once it is ready."""
    code = BUSY.format(main=main, save=save)
    process = Process([sys.executable, "-c", code], stdout=PIPE, stderr=PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    start = time.monotonic()
    for _ in range(signals):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors, time.monotonic() - start


def test_saves_and_exits_amid_a_call_that_takes_minutes() -> None:
    code, output, errors, seconds = stop(LONG_CALL, signals=3)
    assert (code, output, errors) == (143, "saved 1\n", "stopped\n")
    assert seconds < 5


def test_waits_for_a_change_to_end_and_lets_no_other_begin() -> None:
    code, output, _, _ = stop(HELD + "preemption.hold(); state = 4")
    assert (code, output) == (143, "saved 3\n")
    code, output, _, seconds = stop(LOOP)
    assert code == 143
    assert output.startswith("saved ")
    assert seconds < 5


def test_what_an_error_broke_is_not_saved() -> None:
    code, output, errors, _ = stop(
        "preemption.hold(); print('ready', flush=True); time.sleep(0.5)\n"
        "preemption.release(broken=True); preemption.wait_if_asked(); sys.exit('no')"
    )
    assert (code, output) == (143, "")
    assert errors == "stopped by SIGTERM after an error; the last checkpoint is kept\n"


def test_what_cannot_be_saved_is_said() -> None:
    code, _, errors, _ = stop(LONG_CALL, save="raise OSError(28, 'No space left on device')")
    assert code == 1
    assert errors == (
        "error: stopped by SIGTERM, not saved: [Errno 28] No space left on device; the last checkpoint is kept\n"
    )


def test_end_leaves_the_signal_to_whom_it_was_left_before() -> None:
    came: list[int] = []
    earlier = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        preemption = Preemption(lambda: pytest.fail("called"))
        preemption.start()
        preemption.start()
        preemption.hold()
        preemption.end()
        preemption.end()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert came == [signal.SIGTERM]
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGTERM, earlier)


def test_a_forked_process_is_ended_by_the_signal_and_wakes_nobody() -> None:
    preemption = Preemption(lambda: pytest.fail("called"))
    preemption.start()
    try:
        if (child := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
        preemption.wait_if_asked(0.1)  # returns
    finally:
        preemption.end()


def test_the_end_of_a_child_is_told_after_a_change() -> None:
    told: list[int] = []
    earlier = signal.signal(signal.SIGCHLD, lambda number, frame: told.append(number))
    preemption = Preemption(lambda: pytest.fail("called"))
    preemption.start()
    try:
        preemption.hold()
        run([sys.executable, "-c", "pass"], check=True)
        assert told == []
        preemption.release()
        assert told == [signal.SIGCHLD]
        preemption.hold()
        preemption.release()
        assert told == [signal.SIGCHLD]
    finally:
        preemption.end()
        signal.signal(signal.SIGCHLD, earlier)


def test_other_threads_leave_signals_alone() -> None:
    preemption = Preemption(lambda: "")
    thread = threading.Thread(target=preemption.start, daemon=True)
    thread.start()
    thread.join(timeout=30)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    preemption.end()
    assert EXIT_CODE == 143


def test_ctrl_c_that_a_destructor_swallows_is_raised_before_the_next_change() -> None:
    code = """
import os, signal
from custom_components.training.preemption import Preemption

class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

preemption = Preemption(str)
preemption.start()
Swallows()
print("swallowed")
try:
    preemption.hold()
except KeyboardInterrupt:
    print("raised")
preemption.end()
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    done = run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == ["swallowed", "raised", "True"]

"""What a terminal shows: lines stand whole above a bar, and nothing in a name controls the terminal."""

import fcntl
import io
import logging
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable

import pytest
from custom_components.errors import InputError, explain, show_path
from custom_components.system.terminal import PlainStream, attach_bar, escape_logs, track, write_line
from ignite.engine import Engine, Events

COLUMNS = 100


def on_terminal(work: Callable[[], None], *, delay: float, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines that a terminal shows after some work in a process of its own."""
    monkeypatch.setattr("custom_components.system.terminal._DELAY_S", delay)
    child, terminal = pty.fork()
    if child == 0:
        try:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("4H", 40, COLUMNS, 0, 0))
            streams = [os.fdopen(number, "w", buffering=1) for number in (1, 2)]
            sys.stdout, sys.stderr = streams
            logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s", force=True)
            logging.getLogger("ignite").setLevel(logging.WARNING)
            work()
        finally:
            os._exit(0)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        shown += part
    os.close(terminal)
    os.waitpid(child, 0)
    return [_overwritten(line) for line in shown.decode().split("\n")]


def _overwritten(line: str) -> str:
    """A line as it stands after its carriage returns."""
    cells: list[str] = []
    for part in line.split("\r"):
        cells[: len(part)] = part
    return "".join(cells).rstrip()


def train() -> None:
    engine = Engine(lambda _, batch: batch)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: logging.info("epoch %d ends", e.state.epoch))
    attach_bar(engine, "epoch")
    engine.add_event_handler(Events.EPOCH_STARTED, lambda e: logging.info("epoch %d begins", e.state.epoch))
    engine.run([0, 1, 2], max_epochs=2)
    logging.info("end")


def fail() -> None:
    engine = Engine(lambda _, batch: 1 // batch)
    remove = attach_bar(engine, "epoch")
    try:
        engine.run([1, 1, 0, 1])
    except ZeroDivisionError:
        remove()
        sys.stderr.write("error: one line\n")


def check() -> None:
    for number in track(range(2), "cases"):
        logging.info("log %d", number)
        write_line(f"line {number}")


@pytest.mark.parametrize("delay", [0.0, 60.0], ids=["bar", "too short for a bar"])
def test_lines_stand_whole_above_the_bar(delay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(train, delay=delay, monkeypatch=monkeypatch)
    assert [line for line in shown if line] == [
        *("epoch 1 begins", "epoch 1 ends", "epoch 2 begins", "epoch 2 ends", "end")
    ]
    shown = on_terminal(fail, delay=delay, monkeypatch=monkeypatch)
    assert [line for line in shown if line][-1] == "error: one line"
    shown = on_terminal(check, delay=delay, monkeypatch=monkeypatch)
    assert [line for line in shown if line] == ["log 0", "line 0", "log 1", "line 1"]


HOSTILE = "a\x1b[2J\x07\x9b31m\u202e\x7f\ud800\u2029b"
ESCAPED = r"a\x1b[2J\x07\x9b31m\u202e\x7f\ud800\u2029b"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_control_characters_are_escaped_in_every_way_to_the_terminal(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_line(HOSTILE)
    assert capsys.readouterr().out == f"{ESCAPED}\n"
    assert show_path(f"/clinic/{HOSTILE}.nii") == f"{ESCAPED}.nii"
    assert str(InputError(f"scan {HOSTILE}")) == f"scan {ESCAPED}".replace(r"\u2029", " ")
    assert "\x1b" not in explain(OSError(2, "none", HOSTILE[:6])) + explain(RuntimeError(HOSTILE))
    before = logging.getLogRecordFactory()
    try:
        escape_logs()
        logging.getLogger("x").error("%s\nand %d", HOSTILE + "\n", 3)
    finally:
        logging.setLogRecordFactory(before)
    assert caplog.records[-1].getMessage() == ESCAPED + r"\n" + "\nand 3"


def test_a_stream_keeps_layout_and_on_a_terminal_colours() -> None:
    for stream, colour in ((io.StringIO(), r"\x1b[31mred\x1b[0m"), (Terminal(), "\x1b[31mred\x1b[0m")):
        print("\x1b[31mred\x1b[0m\t1\n\x1b]0;title\x07", file=PlainStream(stream))
        assert stream.getvalue() == f"{colour}\t1\n\\x1b]0;title\\x07\n"


def test_a_stream_writes_what_its_encoding_has() -> None:
    raw = io.BytesIO()
    stream = PlainStream(io.TextIOWrapper(raw, encoding="ascii"))
    print("Müller", file=stream)
    stream.flush()
    assert raw.getvalue() == b"M\\xfcller\n"
    assert stream.encoding == "ascii"

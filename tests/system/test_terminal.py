"""Lines for a terminal: whatever is in a name, nothing in it controls the terminal."""

from __future__ import annotations

import io
import logging

import pytest
from custom_components.errors import InputError, explain, show_path
from custom_components.system.terminal import PlainStream, escape_logs, write_line

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

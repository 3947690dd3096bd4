import logging
import os
import pty
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest
from custom_components.system.colours import MessageFormatter, shows_colour, write_error

ASKED = ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """A terminal that is this process's standard error."""
    ours, theirs = pty.openpty()
    for name in ASKED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        yield stream


@pytest.mark.parametrize(
    ("environment", "on_terminal", "elsewhere"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),  # as if it were not set: no-color.org
        ({"TERM": "dumb"}, False, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, False),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb", "CLICOLOR": "0"}, True, True),
        ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colour_is_for_terminals_unless_the_environment_says_otherwise(
    environment: dict[str, str], on_terminal: bool, elsewhere: bool, terminal: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with open(os.devnull, "w") as file:
        assert (shows_colour(terminal), shows_colour(file)) == (on_terminal, elsewhere)


def test_errors_are_red_and_warnings_yellow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def messages() -> list[str]:
        levels = (logging.INFO, logging.WARNING, logging.ERROR)
        records = [logging.makeLogRecord({"msg": "scan %d", "args": (3,), "levelno": level}) for level in levels]
        return [MessageFormatter().format(record) for record in records]

    for name in ASKED:
        monkeypatch.delenv(name, raising=False)
    assert messages() == ["scan 3"] * 3
    write_error("no such file")
    assert capsys.readouterr().err == "error: no such file\n"
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert messages() == ["scan 3", "\033[33mscan 3\033[0m", "\033[31mscan 3\033[0m"]
    write_error("no such file")
    assert capsys.readouterr().err == "\033[31merror:\033[0m no such file\n"

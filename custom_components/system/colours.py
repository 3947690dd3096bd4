"""Colour where a terminal shows it: errors in red, warnings in yellow, and nothing else."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

_RED, _YELLOW = "31", "33"


def shows_colour(stream: TextIO | None) -> bool:
    """Whether text for a stream may be coloured: it is a terminal, and no variable of the environment says otherwise.

    `NO_COLOR` forbids colour (https://no-color.org); else `CLICOLOR_FORCE` asks for it wherever the text goes; else
    `CLICOLOR=0` and `TERM=dumb` forbid it (https://bixense.com/clicolors).
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    plain = os.environ.get("CLICOLOR") == "0" or os.environ.get("TERM") == "dumb"
    return not plain and stream is not None and stream.isatty()


def write_error(message: str) -> None:
    """Write `error: <message>` to standard error, its first word in red."""
    sys.stderr.write(f"{_paint('error:', _RED)} {message}\n")


class MessageFormatter(logging.Formatter):
    """Messages of the log for standard error: without time and level, warnings in yellow, errors in red."""

    def format(self, record: logging.LogRecord) -> str:
        """The message and its traceback, if it has one."""
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        return _paint(text, _RED if record.levelno >= logging.ERROR else _YELLOW)


def _paint(text: str, colour: str) -> str:
    return f"\033[{colour}m{text}\033[0m" if shows_colour(sys.stderr) else text

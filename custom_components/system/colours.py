"""Colour where a terminal shows it: errors in red, warnings in yellow, and nothing else."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

_COLOURS = {"error": "31", "warning": "33"}


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


def paint(text: str, level: str, *, stream: TextIO | None) -> str:
    """The text in the colour of an "error" or a "warning", if the stream that it is for shows colour."""
    colour = _COLOURS.get(level)
    return f"\033[{colour}m{text}\033[0m" if colour and shows_colour(stream) else text


def write_error(message: str) -> None:
    """Write `error: <message>` to standard error, its first word in red."""
    sys.stderr.write(f"{paint('error:', 'error', stream=sys.stderr)} {message}\n")


class MessageFormatter(logging.Formatter):
    """Messages of the log for standard error: without time and level, warnings in yellow, errors in red."""

    def format(self, record: logging.LogRecord) -> str:
        """The message and its traceback, if it has one."""
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        return paint(text, "error" if record.levelno >= logging.ERROR else "warning", stream=sys.stderr)

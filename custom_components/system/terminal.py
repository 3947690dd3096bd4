"""Progress bars for work of more than two seconds, on a terminal only; and columns of text."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from custom_components.errors import printable

QUIET = "MULTIJOINT_QUIET"
"""Environment variable; `1` keeps everything but errors from the terminal."""

_LAYOUT = "\n\t"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOTHING = re.compile(r"(?!)")
_DELAY_S = 2.0  # shorter work needs no bar
T = TypeVar("T")


def shows_bars() -> bool:
    """Whether standard error is a terminal and `QUIET` is not set."""
    first = os.environ.get("RANK", "0") == "0"  # of several processes of one training, see torchrun
    return first and os.environ.get(QUIET) != "1" and sys.stderr is not None and sys.stderr.isatty()


def track(items: Iterable[T], what: str | None, *, total: int | None = None) -> Iterator[T]:
    """The items, with a bar that says how many of them, `total` if they cannot tell, are done.

    The bar calls the items `what`, a word such as "cases"; with `None` there is no bar.

    Example:
        >>> list(track([1, 2], "cases"))  # a test is no terminal
        [1, 2]
    """
    if what is None or not shows_bars():
        yield from items
        return
    _log_above_bars()
    yield from _bar_class()(items, desc=what, total=total, delay=_DELAY_S, leave=False, dynamic_ncols=True)


def attach_bar(engine: Any, what: str) -> Callable[[], None]:
    """Show an engine's iterations; lines that are logged meanwhile stand above the bar.

    Returns:
        A function that removes the bar, for an engine that an exception ends; it may be called at any time.
    """
    if not shows_bars():
        return lambda: None
    from ignite.handlers import ProgressBar

    _log_above_bars()
    bar = ProgressBar(desc=what, persist=False, delay=_DELAY_S, dynamic_ncols=True)
    bar.pbar_cls = _bar_class()
    bar.attach(engine)
    return lambda: None if bar.pbar is None else bar.pbar.close()


def _log_above_bars() -> None:
    """From now on print the log's lines above a bar, not into it."""
    from tqdm.contrib import DummyTqdmFile

    # Not `logging_redirect_tqdm`: at its end it forgets the handlers, such as that of run.log, that came meanwhile.
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr):
            handler.setStream(DummyTqdmFile(handler.stream))


@functools.cache
def _bar_class() -> type:
    """Bar of tqdm that stays hidden until its delay is over, even if a line is printed or its text is set before.

    Then tqdm itself shows it, and leaves it behind if it ends before the delay.
    """
    from tqdm import tqdm

    class Bar(tqdm):
        def display(self, msg: str | None = None, pos: int | None = None) -> bool:
            now = self._time()
            if msg is None and now < getattr(self, "start_t", now) + self.delay:
                return True
            self.last_print_t = now
            return bool(super().display(msg, pos))

    return Bar


def write_line(text: str) -> None:
    """Print a line, above a bar if there is one."""
    if shows_bars():
        from tqdm import tqdm

        tqdm.write(printable(text, keep=_LAYOUT), file=sys.stdout)
    else:
        sys.stdout.write(f"{printable(text, keep=_LAYOUT)}\n")
    sys.stdout.flush()


def count(number: int, noun: str) -> str:
    """A number and what it counts.

    Example:
        >>> count(1, "scan"), count(2, "scan")
        ('1 scan', '2 scans')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


class PlainStream:
    r"""A text stream that escapes what would control the terminal, and what its encoding lacks; see `printable`.

    Line breaks and tabs stay, and on a terminal colours too.

    Args:
        stream: where the text goes.

    Example:
        >>> import io
        >>> stream = io.StringIO()
        >>> print("a" + chr(27) + "[2J", file=PlainStream(stream))
        >>> stream.getvalue()
        'a\\x1b[2J\n'
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, escaped."""
        from custom_components.system.colours import shows_colour

        colours = _COLOUR if shows_colour(self._stream) else _NOTHING
        plain, last = [], 0
        for found in colours.finditer(text):
            plain += [printable(text[last : found.start()], keep=_LAYOUT), found[0]]
            last = found.end()
        plain.append(printable(text[last:], keep=_LAYOUT))
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write("".join(plain).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts, escaped."""
        for line in lines:
            self.write(line)


class _PlainRecord(logging.LogRecord):
    def getMessage(self) -> str:
        """The message; names in it, which are its arguments, keep no line breaks."""
        if isinstance(self.args, tuple):
            self.args = tuple(printable(each) if isinstance(each, str) else each for each in self.args)
        return printable(super().getMessage(), keep=_LAYOUT)


def escape_logs() -> None:
    """From now on let log messages be `printable`, on the terminal and in files."""
    logging.setLogRecordFactory(_PlainRecord)


def log_lines(logger: logging.Logger, lines: Iterable[str]) -> None:
    """Log several lines, each as a record of its own: in one record's argument line breaks are escaped.

    Example:
        >>> log_lines(logging.getLogger("example"), ["bone   Dice", "talus  93.1"])
    """
    for line in lines:
        logger.info("%s", line)


def align_columns(rows: Sequence[Sequence[str]], *, num_left: int | None = None) -> list[str]:
    """Lines of a plain text table, two spaces between its columns.

    The first `num_left` columns are set to the left, the others, of numbers, to the right; `None` sets all to the left.

    Example:
        >>> align_columns([("bone", "Dice"), ("talus", "93.1"), ("tibia", "7")], num_left=1)
        ['bone   Dice', 'talus  93.1', 'tibia     7']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = len(widths) if num_left is None else num_left
    sides = [str.ljust if column < left else str.rjust for column in range(len(widths))]
    lines = (zip(sides, row, widths, strict=True) for row in rows)
    return ["  ".join(to_side(cell, width) for to_side, cell, width in line).rstrip() for line in lines]

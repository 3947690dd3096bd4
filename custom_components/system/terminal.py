"""Progress bars for work of more than two seconds, on a terminal only; and columns of text."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

QUIET = "MULTIJOINT_QUIET"
"""Environment variable; `1` keeps everything but errors from the terminal."""

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
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm():
        yield from tqdm(items, desc=what, total=total, delay=_DELAY_S, leave=False, dynamic_ncols=True)


def attach_bar(engine: Any, what: str) -> Callable[[], None]:
    """Show an engine's iterations; lines that are logged meanwhile stand above the bar.

    Returns:
        A function that removes the bar, for an engine that an exception ends; it may be called at any time.
    """
    if not shows_bars():
        return lambda: None
    from ignite.engine import Events
    from ignite.handlers import ProgressBar
    from tqdm.contrib.logging import logging_redirect_tqdm

    bar, above = ProgressBar(desc=what, persist=False, delay=_DELAY_S, dynamic_ncols=True), contextlib.ExitStack()

    def remove() -> None:
        if bar.pbar is not None:
            bar.pbar.close()
        above.close()

    engine.add_event_handler(Events.STARTED, lambda: above.enter_context(logging_redirect_tqdm()))
    bar.attach(engine)
    engine.add_event_handler(Events.COMPLETED, lambda: remove())
    return remove


def write_line(text: str) -> None:
    """Print a line, above a bar if there is one."""
    if shows_bars():
        from tqdm import tqdm

        tqdm.write(text, file=sys.stdout)
    else:
        sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def count(number: int, noun: str) -> str:
    """A number and what it counts.

    Example:
        >>> count(1, "scan"), count(2, "scan")
        ('1 scan', '2 scans')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


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

"""Tables of a report before they are HTML, and the flags that weigh most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from custom_components.system.pages import show_number

GRAVE = ("missing", "missed", "false-find")
"""Flags that make a result unusable as it is; drawn heavier."""

DASH = "\u2013"


class Cell(NamedTuple):
    """One cell.

    Args:
        note: small, behind the text.
        is_bad: whether it is drawn as something to act on.
        key: for sorting a column; a missing number counts as the worst.
    """

    text: str
    note: str = ""
    is_bad: bool = False
    key: str | float = ""


class Table(NamedTuple):
    """A table whose rows begin with their heading.

    Args:
        label: for screen readers.
        num_left: columns set to the left; the others, of numbers, to the right.
    """

    label: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    num_left: int


def number_cell(value: float, digits: int) -> Cell:
    """A rounded number, or a dash."""
    return Cell(show_number(value, digits))


def plain_text(value: Any) -> str:
    """A setting for a reader.

    Example:
        >>> plain_text(True), plain_text([]), plain_text(None), plain_text([16, 32])
        ('yes', 'none', 'none', '16, 32')
    """
    if isinstance(value, list):
        value = ", ".join(map(plain_text, value))
    if value is None or value == "":
        return "none"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)

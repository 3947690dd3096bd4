"""Names of subjects that may mean one person."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["similar_names"]

_SIDES = ("left", "right", "lt", "rt", "l", "r")


def similar_names(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that differ only in case, separators, leading zeros or a side.

    Returns:
        Groups of two and more, in order.

    Example:
        >>> similar_names(["Sub_007-left", "sub7", "s1-11", "s11-1", "s01L", "S1"])
        [['Sub_007-left', 'sub7'], ['s01L', 'S1']]
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        groups.setdefault(_key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _key(name: str) -> tuple[str, ...]:
    """Runs of letters and of digits, in any script, without the side; the name itself if nothing is left."""
    text = unicodedata.normalize("NFKC", name).casefold()
    runs = [run.lstrip("0") or "0" if run.isdecimal() else run for run in re.findall(r"\d+|[^\W\d_]+", text)]
    rest = [run for place, run in enumerate(runs) if run not in _SIDES or (place == 0 and len(run) < 3)]
    return tuple(rest) if any(map(str.isalnum, rest)) and rest else (name,)

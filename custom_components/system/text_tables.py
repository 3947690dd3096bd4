"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["align_columns"]


def align_columns(rows: Sequence[Sequence[str]], *, num_left: int | None = None) -> list[str]:
    """Lines of a plain text table, two spaces between its columns.

    Args:
        rows: cells, the same number in each row.
        num_left: columns set to the left; the others, of numbers, to the right. None sets all to the left.

    Example:
        >>> align_columns([("bone", "Dice"), ("talus", "93.1"), ("tibia", "7")], num_left=1)
        ['bone   Dice', 'talus  93.1', 'tibia     7']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = len(widths) if num_left is None else num_left
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

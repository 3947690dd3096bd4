"""Tables that several runs write to, a CSV file each: rows of others are kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from custom_components.errors import InputError, show_path


def read_table(path: Path, *, needed: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a table that rows are to be merged into; none of either if there is no such file.

    Args:
        path: CSV file.
        needed: columns that it must have; others may stand there too.

    Raises:
        InputError: it is no such table, for example because its end is missing; its rows would be lost.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
        table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows, columns = list(table), list(table.fieldnames or ())
    except FileNotFoundError:
        return [], []
    except (OSError, csv.Error) as error:
        raise _damaged(path, str(error)) from error
    if "\0" in text:  # what a file system leaves of a file after a crash
        raise _damaged(path, "zeros")
    missing = [name for name in needed if name not in columns]
    if missing:
        raise _damaged(path, f"none called {', '.join(missing)}")
    short = [number for number, row in enumerate(rows, start=1) if None in row or None in row.values()]
    if short:
        raise _damaged(path, f"row {short[0]} with more or fewer cells")
    return columns, rows


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        f"table {show_path(path)} must be whole, with the columns of an earlier run, got {found}; "
        "move it away, or restore it"
    )

"""Marks of a reviewer, a row a case in a CSV."""

from __future__ import annotations

import csv
import datetime
import threading
from collections.abc import Mapping
from pathlib import Path

from custom_components.errors import InputError, show_path
from custom_components.system.files import restored, write_csv

MARKS = ("good", "needs correction")
MARK_COLUMNS = ("case", "mark", "comment", "date")
"""Header of the CSV; a date is local time with its zone, ISO 8601."""

_MAX_COMMENT = 2000


class ReviewMarks:
    """A table with a row a case, written anew at each change, whole or not at all.

    It is read again before each change, so that changes by another viewer or a spreadsheet are kept, and so are rows of
    cases that are not shown. The first mark makes the file.

    Raises:
        InputError: there is a file of that name with other columns.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self.read()

    def read(self) -> dict[str, dict[str, str]]:
        """Rows by case."""
        if not self.path.exists():
            return {}
        with self.path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            table = csv.DictReader(file)
            if tuple(table.fieldnames or ()) != MARK_COLUMNS:
                raise InputError(
                    f"marks {show_path(self.path)} must have the columns {','.join(MARK_COLUMNS)}, "
                    f"got {','.join(table.fieldnames or ()) or 'none'}; name another file with --marks"
                )
            return {row["case"]: {column: row[column] or "" for column in MARK_COLUMNS} for row in restored(table)}

    def write(self, case: str, *, mark: str, comment: str = "") -> Mapping[str, str]:
        """Put down one of `MARKS`, or "" for none yet, and return the row.

        Line breaks of the comment become spaces. Without mark and comment, the case's row goes.

        Raises:
            InputError: another mark, or too long a comment.
        """
        comment = " ".join(comment.split())
        if mark not in ("", *MARKS):
            raise InputError(f"mark of {case} must be one of {', '.join(MARKS)}, got {mark!r}; choose one of them")
        if len(comment) > _MAX_COMMENT:
            rule = f"comment on {case} must have at most {_MAX_COMMENT} characters, got {len(comment)}"
            raise InputError(f"{rule}; shorten it")
        date = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        row = {"case": case, "mark": mark, "comment": comment, "date": date}
        with self._lock:
            rows = self.read()
            rows.pop(case, None)
            if mark or comment:
                rows[case] = row
            write_csv(self.path, MARK_COLUMNS, [rows[name] for name in sorted(rows)])
        return row

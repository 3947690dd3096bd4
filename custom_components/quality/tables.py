"""Tables of an output folder: `quality.csv`, a row a case and bone, made from the records; and how rows are merged."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.errors import InputError, show_path
from custom_components.io.records import label_map_path, read_record
from custom_components.quality.flags import UNLIKE_DOMAIN, FlagRules, count_components, find_flags
from custom_components.system.files import restored, write_csv

QUALITY_TABLE = "quality.csv"
QUALITY_COLUMNS = (
    *("case", "domain", "label", "bone", "volume_ml", "confidence", "components", "changed", "cut", "flags"),
    "expected_dice",
)
"""Header of `quality.csv`; unknown values are empty, `cut` is yes or no, flags are joined by ";"."""


def quality_rows(record: Mapping[str, Any], *, case: str, rules: FlagRules) -> list[dict[str, Any]]:
    """Rows of a case, with the keys `QUALITY_COLUMNS`; none if its record says nothing of quality."""
    fit = record.get("domain_fit")
    of_scan = [UNLIKE_DOMAIN] if isinstance(fit, Mapping) and fit.get("fits") is False else []
    return [
        {
            "case": case,
            "domain": record["domain"],
            "label": bone["label"],
            "bone": bone["bone"],
            "volume_ml": _number(bone["volume_ml"]),
            "confidence": _number(bone["confidence"]),
            "components": count_components(bone, rules),
            "changed": _number(bone["changed"]),
            "cut": "yes" if bone["cut"] else "no",
            "flags": ";".join([*find_flags(bone, rules), *of_scan]),
            "expected_dice": _number(bone["expected_dice"]),
        }
        for bone in record.get("quality", [])
    ]


def shorten_flags(rows: Iterable[Mapping[str, Any]]) -> str:
    """The flags of a case in one cell.

    Example:
        >>> shorten_flags([{"bone": "talus", "flags": "missing;low-confidence"}, {"bone": "tibia", "flags": ""}])
        'talus: missing, low-confidence'
    """
    return "; ".join(f"{row['bone']}: {row['flags'].replace(';', ', ')}" for row in rows if row["flags"])


def gather_quality(folder: Path, cases: Iterable[str], *, rules: FlagRules) -> dict[str, list[dict[str, Any]]]:
    """Rows by case, of those cases whose label map and finished record are in the folder."""
    found = {}
    for case in cases:
        path = label_map_path(folder, case)
        record = read_record(path)
        if path.is_file() and record.get("label_map_sha256"):
            found[case] = quality_rows(record, case=case, rules=rules)
    return found


def merge_quality(path: Path, bones: Mapping[str, Sequence[Mapping[str, Any]]], *, order: Sequence[str] = ()) -> None:
    """Put rows by case in place of those that the table has of these cases, whole or not at all; others stay.

    Cases of `order` come last, in that order.

    Raises:
        InputError: the table that is there is damaged.
    """
    columns, kept = read_table(path, needed=("case",))
    by_case: dict[str, list[Mapping[str, Any]]] = {}
    for row in kept:
        by_case.setdefault(row["case"], []).append(row)
    by_case |= {case: list(rows) for case, rows in bones.items()}
    last = dict.fromkeys(order)
    cases = [*(case for case in by_case if case not in last), *(case for case in last if case in by_case)]
    rows = [row for case in cases for row in by_case[case]]
    write_csv(path, tuple(dict.fromkeys([*QUALITY_COLUMNS, *columns])), rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


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
        rows, columns = restored(table), list(table.fieldnames or ())
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

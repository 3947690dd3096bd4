"""The table of scores `metrics.csv`: one row per case and bone, with the conventions of its distances."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from custom_components.errors import InputError
from custom_components.metrics.bone_scores import STATUSES, BoneScore
from custom_components.metrics.surface_distances import check_border
from custom_components.system.files import write_csv

_MEASURES = ("label", "dice", "assd_mm", "mssd_mm", "status")
COLUMNS = ("case", "subject", "domain", *_MEASURES, "border", "connectivity", "spacing_mm")
"""Header of `metrics.csv` and keys of a row; the last three state how the distances were measured."""

CONNECTIVITY = 6
"""Number of neighbours, those that share a face, that decide whether a voxel is surface; see `surface_voxels`."""

ALL_BONES = "all bones"
"""Label of the summary that pools the rows of a domain."""


def score_rows(
    scores: Iterable[BoneScore],
    *,
    case: str,
    subject: str,
    domain: str,
    spacing_mm: Sequence[float],
    border: str = "inside",
) -> list[dict[str, Any]]:
    """Turn the scores of one case into rows, with the spacing (along the axes of the file) and border of the scoring.

    Example:
        >>> score = BoneScore("talus", 7, 0.9, 0.5, 4.0, "ok")
        >>> list(score_rows([score], case="c1", subject="s1", domain="ankle", spacing_mm=(0.5, 0.5, 3.0))[0].values())
        ['c1', 's1', 'ankle', 'talus', 0.9, 0.5, 4.0, 'ok', 'inside', 6, '0.5x0.5x3']
    """
    spacing = "x".join(f"{step:.6g}" for step in spacing_mm)
    return [
        {"case": case, "subject": subject, "domain": domain}
        | {key: getattr(score, key) for key in _MEASURES}
        | {"border": border, "connectivity": CONNECTIVITY, "spacing_mm": spacing}
        for score in scores
    ]


def write_scores_csv(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, one per domain, case and bone, as CSV with the header `COLUMNS`, atomically; undefined is `nan`.

    Raises:
        InputError: a row is invalid, see `check_rows`; nothing is written then.
        OSError: the file cannot be written; an existing one is unchanged.
    """
    check_rows(rows)
    write_table(path, COLUMNS, [[row[key] for key in COLUMNS] for row in rows])


def write_table(path: Path | str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV table atomically; numbers get 6 significant digits."""
    shown = ([f"{value:.6g}" if isinstance(value, Real) else value for value in row] for row in rows)
    write_csv(Path(path), header, (dict(zip(header, row, strict=True)) for row in shown))


def check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse rows that cannot be averaged.

    Raises:
        InputError: a row has missing or unknown keys, appears twice, has numbers that contradict its status, or was
            scored with another convention than the first.
    """
    seen = set()
    for row in rows:
        if set(row) != set(COLUMNS):
            raise InputError(f"keys of a score row must be {', '.join(COLUMNS)}, got {', '.join(map(str, row))}")
        name = f"{row['label']} of case {row['case']} ({row['domain']})"
        if row["label"] == ALL_BONES:
            raise InputError(f"label of a score row must be a bone's name, got {ALL_BONES!r}; give rows, not summaries")
        if (row["domain"], row["case"], row["label"]) in seen:
            raise InputError(f"score of {name} must appear once, got it twice; pool runs only if their cases differ")
        seen.add((row["domain"], row["case"], row["label"]))
        check_border(row["border"])
        convention = (row["border"], row["connectivity"])
        if convention != (rows[0]["border"], rows[0]["connectivity"]):
            raise InputError(f"rows must be scored with one border and connectivity, got {convention} for {name}")
        _check_numbers(name, row)


def _check_numbers(name: str, row: Mapping[str, Any]) -> None:
    dice, *distances = numbers = [row[key] for key in ("dice", "assd_mm", "mssd_mm")]
    if not all(isinstance(number, Real) for number in numbers) or any(map(math.isinf, numbers)):
        raise InputError(f"dice, assd_mm and mssd_mm of {name} must be finite numbers or NaN, got {numbers}")
    undefined = [math.isnan(number) for number in distances]
    fits = {
        # A bone that fills the whole array has no surface: its distances are undefined although it was found.
        "ok": 0 <= dice <= 1 and (all(undefined) or all(distance >= 0 for distance in distances)),
        "missed": dice == 0 and all(undefined),
        "false_find": dice == 0 and all(undefined),
        "absent": math.isnan(dice) and all(undefined),
    }
    if row["status"] not in STATUSES.values() or not fits[row["status"]]:
        raise InputError(
            f"numbers of {name} must go with its status (one of {', '.join(fits)}), got {numbers} and "
            f"{row['status']!r}; score the case again"
        )

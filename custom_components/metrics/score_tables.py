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
"""Keys of a row and first columns of `metrics.csv`; the last three state how the distances were measured."""

NAMING = {"taken_for": "", "dice_as_one": math.nan}
"""Further columns of `metrics.csv` and their values in rows that lack them, such as those of earlier versions.

`taken_for` names the other bone as which most of this one was predicted, see `bone_scores.score_case`. `dice_as_one` is
the Dice of all bones as one, of the whole exam and so the same in each of its rows; NaN: naming was not scored, or
neither map has a bone.
"""

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
    dice_as_one: float = math.nan,
) -> list[dict[str, Any]]:
    """Turn the scores of one case into rows, with the spacing (along the axes of the file) and border of the scoring.

    `dice_as_one` is that of the exam, from `bone_scores.dice_as_one`; NaN if not measured.

    Example:
        >>> score = BoneScore("talus", 7, 0.9, 0.5, 4.0, "ok")
        >>> list(score_rows([score], case="c1", subject="s1", domain="ankle", spacing_mm=(0.5, 0.5, 3.0))[0].values())
        ['c1', 's1', 'ankle', 'talus', 0.9, 0.5, 4.0, 'ok', 'inside', 6, '0.5x0.5x3', '', nan]
    """
    spacing = "x".join(f"{step:.6g}" for step in spacing_mm)
    return [
        {"case": case, "subject": subject, "domain": domain}
        | {key: getattr(score, key) for key in _MEASURES}
        | {"border": border, "connectivity": CONNECTIVITY, "spacing_mm": spacing}
        | {"taken_for": score.taken_for, "dice_as_one": dice_as_one}
        for score in scores
    ]


def write_scores_csv(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, one per domain, case and bone, as CSV, atomically; undefined is `nan`.

    The columns are `COLUMNS` and then `NAMING`.

    Raises:
        InputError: a row is invalid, see `check_rows`; nothing is written then.
        OSError: the file cannot be written; an existing one is unchanged.
    """
    check_rows(rows)
    header = (*COLUMNS, *NAMING)
    write_table(path, header, [[(NAMING | dict(row))[key] for key in header] for row in rows])


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
        if set(row) - set(NAMING) != set(COLUMNS):
            raise InputError(f"keys of a score row must be {', '.join(COLUMNS)}, got {', '.join(map(str, row))}")
        name = f"{row['label']} of case {row['case']} ({row['domain']})"
        if row["label"] == ALL_BONES:
            raise InputError(f"label of a score row must be a bone's name, got {ALL_BONES!r}; give rows, not summaries")
        if (row["domain"], row["case"], row["label"]) in seen:
            raise InputError(f"score of {name} must appear once, got it twice; pool runs only if their cases differ")
        seen.add((row["domain"], row["case"], row["label"]))
        check_border(row["border"])
        if not isinstance(row.get("dice_as_one", 0.0), Real) or row.get("taken_for") == row["label"]:
            raise InputError(f"dice_as_one of {name} must be a number and taken_for another bone; score the case again")
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

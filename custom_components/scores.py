"""The table of scores: one row a bone of a case, written as CSV and summarised with every mean's count beside it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from custom_components.errors import InputError
from custom_components.files import write_atomically
from custom_components.metrics import STATUSES, BoneScore
from custom_components.surface_distances import BORDERS

__all__ = ["ALL_BONES", "COLUMNS", "ScoreSummary", "format_summary", "score_rows", "summarise", "write_scores_csv"]

COLUMNS = ("case", "subject", "domain", "label", "dice", "assd_mm", "mssd_mm", "status")
"""The header of `metrics.csv` and the keys of a row."""

ALL_BONES = "all bones"
"""Label of the summary that pools the rows of a domain."""


@dataclass(frozen=True)
class ScoreSummary:
    """Means and sample standard deviations (n - 1) of some rows; NaN where the rows are too few.

    Args:
        domain: name of the domain.
        label: name of the bone, or `ALL_BONES`.
        n: rows whose reference has the bone, missed ones included.
        missed: of these, rows whose prediction has not.
        false_finds: rows whose prediction has the bone and whose reference has not.
        absent: rows without the bone, in no mean.
        n_dice: rows in the Dice mean: `n + false_finds`; missed and false finds count as 0.
        n_distance: rows in the distance means: those whose distances are defined.
        dice_mean: 0..1.
        dice_sd: 0..1.
        assd_mean_mm: in mm.
        assd_sd_mm: in mm.
        mssd_mean_mm: in mm.
        mssd_sd_mm: in mm.
    """

    domain: str
    label: str
    n: int
    missed: int
    false_finds: int
    absent: int
    n_dice: int
    n_distance: int
    dice_mean: float
    dice_sd: float
    assd_mean_mm: float
    assd_sd_mm: float
    mssd_mean_mm: float
    mssd_sd_mm: float


def score_rows(scores: Iterable[BoneScore], *, case: str, subject: str, domain: str) -> list[dict[str, Any]]:
    """Turn the scores of one case into rows of the table.

    Example:
        >>> score = BoneScore("talus", 7, 0.9, 0.5, 4.0, "ok")
        >>> list(score_rows([score], case="c1", subject="s1", domain="ankle")[0].values())
        ['c1', 's1', 'ankle', 'talus', 0.9, 0.5, 4.0, 'ok']
    """
    return [
        {"case": case, "subject": subject, "domain": domain}
        | {key: getattr(score, key) for key in ("label", "dice", "assd_mm", "mssd_mm", "status")}
        for score in scores
    ]


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[ScoreSummary]:
    """Summarise rows by bone and by domain.

    Args:
        rows: dictionaries with the keys of `COLUMNS`; one row a domain, case and bone.

    Returns:
        For each domain, in order of appearance: one summary a bone, then one labelled `ALL_BONES` that pools its rows
        (a bone present in more cases weighs more). Empty for no rows.

    Raises:
        InputError: a row lacks a key or has another, appears twice, or its numbers do not go with its status.

    Example:
        >>> talus = BoneScore("talus", 7, 0.8, 0.5, 4.0, "ok")
        >>> tibia = BoneScore("tibia", 9, 0.0, math.nan, math.nan, "missed")
        >>> rows = score_rows([talus, tibia], case="c1", subject="s1", domain="ankle")
        >>> [(each.label, each.dice_mean, each.n_dice, each.missed, each.assd_mean_mm) for each in summarise(rows)]
        [('talus', 0.8, 1, 0, 0.5), ('tibia', 0.0, 1, 1, nan), ('all bones', 0.4, 2, 1, 0.5)]
    """
    _check_rows(rows)
    summaries = []
    for domain in dict.fromkeys(row["domain"] for row in rows):
        pooled = [row for row in rows if row["domain"] == domain]
        for label in dict.fromkeys(row["label"] for row in pooled):
            summaries.append(_summary(domain, label, [row for row in pooled if row["label"] == label]))
        summaries.append(_summary(domain, ALL_BONES, pooled))
    return summaries


def write_scores_csv(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV with the header `COLUMNS`, whole or not at all.

    Args:
        path: file to write, e.g. `metrics.csv`; an older one is replaced.
        rows: as for `summarise`. Numbers get 6 significant digits; an undefined one is written `nan`.

    Raises:
        InputError: a row is unusable, see `summarise`; nothing is written then.
        OSError: the file cannot be written; an older one stays as it was.
    """
    _check_rows(rows)
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        table.writerow([f"{row[key]:.6g}" if isinstance(row[key], Real) else row[key] for key in COLUMNS])
    write_atomically(Path(path), text.getvalue().encode())


def format_summary(rows: Sequence[Mapping[str, Any]], *, border: str) -> str:
    """Lay out `summarise(rows)` as a plain text table, with the counts and the surface convention beside the numbers.

    Args:
        rows: as for `summarise`.
        border: the convention that the rows were scored with, see `surface_distances.BORDERS`.

    Returns:
        Lines without a final newline. Undefined numbers show as "-".

    Raises:
        InputError: a row is unusable, see `summarise`, or `border` is unknown.
    """
    if border not in BORDERS:
        raise InputError(f"border must be one of {', '.join(BORDERS)}, got {border!r}; name the one used for scoring")
    header = [
        "domain",
        "bone",
        "n",
        "missed",
        "false",
        "absent",
        "Dice % (sd)",
        "n dist",
        "ASSD mm (sd)",
        "MSSD mm (sd)",
    ]
    table = [header]
    for each in summarise(rows):
        counts = [str(count) for count in (each.n, each.missed, each.false_finds, each.absent)]
        dice = _mean_and_sd(100 * each.dice_mean, 100 * each.dice_sd, 1)
        assd = _mean_and_sd(each.assd_mean_mm, each.assd_sd_mm, 2)
        mssd = _mean_and_sd(each.mssd_mean_mm, each.mssd_sd_mm, 1)
        table.append([each.domain, each.label, *counts, dice, str(each.n_distance), assd, mssd])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if position < 2 else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join(
        [
            *lines,
            "n: bones in the reference, of which missed have no prediction; false: predicted but not in the reference; "
            "absent: in neither, not counted.",
            "Dice: mean over n + false, where missed and false count as 0. Distances: mean over n dist, those defined.",
            f"Surface convention, border={border}: {BORDERS[border]}.",
        ]
    )


def _summary(domain: str, label: str, rows: Sequence[Mapping[str, Any]]) -> ScoreSummary:
    statuses = [row["status"] for row in rows]
    columns = [[row[key] for row in rows if not math.isnan(row[key])] for key in ("dice", "assd_mm", "mssd_mm")]
    missed, false_finds = statuses.count("missed"), statuses.count("false_find")
    moments = [value for column in columns for value in _moments(column)]
    counts = (statuses.count("ok") + missed, missed, false_finds, statuses.count("absent"))
    return ScoreSummary(domain, label, *counts, len(columns[0]), len(columns[1]), *moments)


def _moments(values: list[float]) -> tuple[float, float]:
    mean = float(np.mean(values)) if values else math.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _mean_and_sd(mean: float, sd: float, digits: int) -> str:
    return " ".join(
        "-" if math.isnan(value) else style.format(f"{value:.{digits}f}")
        for value, style in ((mean, "{}"), (sd, "({})"))
    )


def _check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
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
        _check_numbers(name, row)


def _check_numbers(name: str, row: Mapping[str, Any]) -> None:
    dice, *distances = numbers = [row[key] for key in ("dice", "assd_mm", "mssd_mm")]
    if not all(isinstance(number, Real) for number in numbers) or any(map(math.isinf, numbers)):
        raise InputError(f"dice, assd_mm and mssd_mm of {name} must be finite numbers or NaN, got {numbers}")
    undefined = [math.isnan(number) for number in distances]
    fits = {
        # A bone that fills the whole array has no surface: its distances are undefined though it was found.
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

"""Means over the rows of a table of scores, with their counts, the surface convention and the failed cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.errors import InputError
from custom_components.metrics.score_tables import ALL_BONES, CONNECTIVITY, check_rows, write_table
from custom_components.metrics.surface_distances import BORDERS, check_border
from custom_components.system.terminal import align_columns, count


@dataclass(frozen=True)
class ScoreSummary:
    """Means and sample standard deviations (n - 1) of several rows; NaN where there are too few.

    Args:
        domain: name of the domain.
        label: name of the bone, or `ALL_BONES`.
        n: rows whose reference has the bone, missed ones included.
        missed: rows whose reference has the bone and whose prediction does not.
        false_finds: rows whose prediction has the bone and whose reference does not.
        absent: rows without the bone, in no mean.
        n_dice: rows in the Dice mean: `n + false_finds`; missed and false finds count as 0.
        n_distance: rows in the distance means: those whose distances are defined.
        dice_mean, dice_sd: Dice, 0..1.
        assd_mean_mm, assd_sd_mm: average symmetric surface distance in mm.
        mssd_mean_mm, mssd_sd_mm: maximum symmetric surface distance in mm.
        level_errors: rows whose bone was taken for another, see `bone_scores.score_case`.
        level_errors_percent: `level_errors` of the `n` rows.
        dice_as_one_mean: Dice of all bones as one, mean over exams; NaN but for `ALL_BONES`.
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
    level_errors: int
    level_errors_percent: float
    dice_as_one_mean: float


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[ScoreSummary]:
    """Summarise rows by bone and by domain.

    Args:
        rows: dictionaries with the keys of `score_tables.COLUMNS`, one row per domain, case and bone.

    Returns:
        For each domain, in order of appearance: one summary per bone, then one labelled `ALL_BONES` that pools its
        rows (a bone present in more cases weighs more). Empty for no rows.

    Raises:
        InputError: a row is invalid, see `score_tables.check_rows`.

    Example:
        >>> from custom_components.metrics.bone_scores import BoneScore
        >>> from custom_components.metrics.score_tables import score_rows
        >>> talus = BoneScore("talus", 7, 0.8, 0.5, 4.0, "ok")
        >>> tibia = BoneScore("tibia", 9, 0.0, math.nan, math.nan, "missed")
        >>> rows = score_rows([talus, tibia], case="c1", subject="s1", domain="ankle", spacing_mm=(1.0, 1.0, 3.0))
        >>> [(each.label, each.dice_mean, each.n_dice, each.missed, each.assd_mean_mm) for each in summarise(rows)]
        [('talus', 0.8, 1, 0, 0.5), ('tibia', 0.0, 1, 1, nan), ('all bones', 0.4, 2, 1, 0.5)]
    """
    check_rows(rows)
    summaries = []
    for domain in dict.fromkeys(row["domain"] for row in rows):
        pooled = [row for row in rows if row["domain"] == domain]
        for label in dict.fromkeys(row["label"] for row in pooled):
            summaries.append(_summary(domain, label, [row for row in pooled if row["label"] == label]))
        summaries.append(_summary(domain, ALL_BONES, pooled))
    return summaries


def write_summary_csv(
    path: Path | str, rows: Sequence[Mapping[str, Any]], *, border: str, failures: Sequence[tuple[str, str]] = ()
) -> None:
    """Write `summarise(rows)` as CSV, with the counts and the convention in every row, atomically.

    Args:
        path: file to write or replace.
        rows: as for `summarise`.
        border: surface convention of the rows, see `surface_distances.BORDERS`.
        failures: domain and name of each case that could not be scored and is in no mean. Each row states the number
            (`cases_failed`) and the names (`failed_cases`, joined by "; ") for its domain; a domain whose cases all
            failed gets an `ALL_BONES` row without means.

    Raises:
        InputError: a row is invalid, see `summarise`, or `border` is unknown or differs from that of the rows.
    """
    table = []
    for each in _summarise_all(rows, border, failures):
        failed = [case for domain, case in failures if domain == each.domain]
        table.append([*astuple(each), border, CONNECTIVITY, len(failed), "; ".join(failed)])
    names = [field.name for field in fields(ScoreSummary)]
    write_table(path, [*names, "border", "connectivity", "cases_failed", "failed_cases"], table)


def format_summary(rows: Sequence[Mapping[str, Any]], *, border: str, failures: Sequence[tuple[str, str]] = ()) -> str:
    """Format `summarise(rows)` as a plain text table; for the arguments see `write_summary_csv`.

    Returns:
        Lines without a final newline. Undefined numbers appear as "-". The last line names the cases in no mean.

    Raises:
        InputError: as `write_summary_csv`.
    """
    header = ["domain", "bone", "n", "missed", "false", "absent"]
    table = [[*header, "Dice % (sd)", "n dist", "ASSD mm (sd)", "MSSD mm (sd)", "level errors (%)", "as one %"]]
    for each in _summarise_all(rows, border, failures):
        counts = [str(count) for count in (each.n, each.missed, each.false_finds, each.absent)]
        dice = _mean_and_sd(100 * each.dice_mean, 100 * each.dice_sd, 1)
        assd = _mean_and_sd(each.assd_mean_mm, each.assd_sd_mm, 2)
        mssd = _mean_and_sd(each.mssd_mean_mm, each.mssd_sd_mm, 1)
        named = f"{each.level_errors} {_number(each.level_errors_percent, 1, '({})')}"
        as_one = _number(100 * each.dice_as_one_mean, 1)
        table.append([each.domain, each.label, *counts, dice, str(each.n_distance), assd, mssd, named, as_one])
    return "\n".join(
        [
            *align_columns(table, num_left=2),
            "n: bones in the reference, of which missed have no prediction; false: predicted but not in the reference; "
            "absent: in neither, not counted.",
            "Dice: mean over n + false, where missed and false count as 0. Distances: mean over n dist, those defined.",
            "Level errors: bones of the reference that overlap most with another predicted bone, background left out, "
            "and their share of n. As one: Dice of all bones as one, whatever their names, mean over exams.",
            f"Surface convention, border={border}: {BORDERS[border]}; connectivity={CONNECTIVITY}: a surface voxel has "
            "a neighbour across a face outside its bone. Each case by its own spacing in mm.",
            _describe_failures(failures, any_scored=bool(rows)),
        ]
    )


def _summarise_all(
    rows: Sequence[Mapping[str, Any]], border: str, failures: Sequence[tuple[str, str]]
) -> list[ScoreSummary]:
    """Summarise rows, and add an empty summary for each domain in which no case was scored."""
    check_border(border)
    for row in rows:
        if row.get("border", border) != border:
            raise InputError(
                f"border must be that of the rows, got {border!r} and {row['border']!r}; score with one of them"
            )
    scored = {row.get("domain") for row in rows}
    lost = dict.fromkeys(domain for domain, _ in failures if domain not in scored)
    return [*summarise(rows), *(_summary(domain, ALL_BONES, []) for domain in lost)]


def _describe_failures(failures: Sequence[tuple[str, str]], *, any_scored: bool) -> str:
    if not failures:
        return "Every case was scored." if any_scored else "No case was scored."
    names = ", ".join(f"{domain}/{case}" for domain, case in failures)
    scope = "and in no mean above" if any_scored else "so there is no mean"
    return f"NOT SCORED, {scope}: {count(len(failures), 'case')}: {names}."


def _summary(domain: str, label: str, rows: Sequence[Mapping[str, Any]]) -> ScoreSummary:
    statuses = [row["status"] for row in rows]
    columns = [[row[key] for row in rows if not math.isnan(row[key])] for key in ("dice", "assd_mm", "mssd_mm")]
    missed, false_finds = statuses.count("missed"), statuses.count("false_find")
    moments = [value for column in columns for value in _moments(column)]
    counts = (statuses.count("ok") + missed, missed, false_finds, statuses.count("absent"))
    taken = sum(bool(row.get("taken_for")) for row in rows)
    percent = 100 * taken / counts[0] if counts[0] else math.nan
    exams = {row["case"]: row.get("dice_as_one", math.nan) for row in rows} if label == ALL_BONES else {}
    as_one, _ = _moments([dice for dice in exams.values() if not math.isnan(dice)])
    numbers: list[Any] = [*counts, len(columns[0]), len(columns[1]), *moments, taken, percent, as_one]
    return ScoreSummary(domain, label, *numbers)


def _moments(values: list[float]) -> tuple[float, float]:
    mean = float(np.mean(values)) if values else math.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _mean_and_sd(mean: float, sd: float, digits: int) -> str:
    return f"{_number(mean, digits)} {_number(sd, digits, '({})')}"


def _number(value: float, digits: int, style: str = "{}") -> str:
    return "-" if math.isnan(value) else style.format(f"{value:.{digits}f}")

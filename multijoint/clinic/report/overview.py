"""The head of a report of segmentations: counts of cases, each bone over all cases, models and settings."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from custom_components.metrics.score_summaries import ScoreSummary, summarise
from custom_components.system.pages import show_number

from multijoint.clinic.report.cases import ReportedBone, ReportedCase
from multijoint.clinic.report.tables import DASH, GRAVE, Cell, Table

__all__ = ["Overview", "look_over"]


class Overview(NamedTuple):
    """All cases of a report together.

    Args:
        counts: numbers of cases, each with its meaning.
        bones: a row a domain and bone.
        origin: models, settings and versions that made the label maps; several at once are worth seeing.
    """

    counts: list[tuple[int, str]]
    bones: Table
    origin: list[tuple[str, str]]


def look_over(cases: Sequence[ReportedCase]) -> Overview:
    """Count and summarise the cases of a report."""
    statuses = Counter(case.result.status for case in cases)
    always = [(len(cases), "cases"), (statuses["segmented"], "segmented"), (statuses["failed"], "failed")]
    grave = sum(any(flag in GRAVE for flag, _ in case.all_flags) for case in cases)
    others = [
        (statuses["waiting"], "not reached"),
        (grave, "with a bone missing, missed or falsely found"),
        (sum(bool(case.all_flags) for case in cases), "with any flag"),
    ]
    records = [case.result.record for case in cases if case.result.record]
    origin = {
        "Model, SHA-256": [str(record.get("model_sha256") or "not recorded")[:16] for record in records],
        "Settings": [_settings(record.get("settings")) for record in records],
        "multijoint": [str(record.get("version") or "not recorded") for record in records],
    }
    return Overview(
        [*always, *(pair for pair in others if pair[0])],
        _tabulate(cases),
        [(name, _count(texts)) for name, texts in origin.items()],
    )


def _tabulate(cases: Sequence[ReportedCase]) -> Table:
    groups: dict[tuple[str, str], list[ReportedBone]] = {}
    for case in cases:
        for bone in case.bones:
            groups.setdefault((case.result.domain or "unknown", bone.name), []).append(bone)
    summaries = {(each.domain, each.label): each for each in summarise([row for case in cases for row in case.rows])}
    has_confidence = any(math.isfinite(bone.confidence) for bones in groups.values() for bone in bones)
    header = ["Bone", "Domain", "Cases", "Missing", "Volume ml: median (least to most)"]
    header += ["Confidence: median (least)"] if has_confidence else []
    header += ["Dice: mean (SD; n)", "Missed", "False finds", "ASSD mm: mean (n)"] if summaries else []
    rows = []
    for (domain, name), bones in groups.items():
        found = [bone for bone in bones if bone.volume_ml]
        row = [Cell(name), Cell(domain), Cell(str(len(bones))), _bad_count(len(bones) - len(found))]
        row.append(_spread([bone.volume_ml for bone in found], 1))
        row += [_spread([bone.confidence for bone in found], 2, most=False)] if has_confidence else []
        row += _scores(summaries.get((domain, name))) if summaries else []
        rows.append(row)
    return Table("Each bone over all cases", header, rows, num_left=2)


def _scores(summary: ScoreSummary | None) -> list[Cell]:
    if summary is None:
        return [Cell(DASH)] * 4
    spread = f"{show_number(summary.dice_sd, 3)}; {summary.n_dice}"
    return [
        Cell(f"{show_number(summary.dice_mean, 3)} ({spread})"),
        _bad_count(summary.missed),
        _bad_count(summary.false_finds),
        Cell(f"{show_number(summary.assd_mean_mm, 2)} ({summary.n_distance})"),
    ]


def _bad_count(number: int) -> Cell:
    return Cell(str(number), is_bad=number > 0)


def _spread(values: Sequence[float], digits: int, *, most: bool = True) -> Cell:
    numbers = [value for value in values if math.isfinite(value)]
    if not numbers:
        return Cell(DASH)
    upper = f" to {max(numbers):.{digits}f}" if most else ""
    return Cell(f"{statistics.median(numbers):.{digits}f} ({min(numbers):.{digits}f}{upper})")


def _settings(settings: object) -> str:
    if not isinstance(settings, dict):
        return "not recorded"
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _count(texts: Sequence[str]) -> str:
    counter = Counter(texts)
    return "; ".join(text if len(counter) == 1 else f"{text} ({n} cases)" for text, n in counter.most_common())

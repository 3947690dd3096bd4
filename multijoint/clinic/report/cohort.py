"""The table of all cases, with sort keys, filters and search words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from multijoint.clinic.report.cases import ReportedBone, ReportedCase
from multijoint.clinic.report.tables import DASH, GRAVE, Cell, number_cell

_STATUSES = ("failed", "waiting", "segmented")
_SIDES = {"training": "trained on", "validation": "validated on", "testing": "unseen"}


class Column(NamedTuple):
    """A column of the table: its cells in the order of the cases; its kind is "text" or "number"."""

    title: str
    kind: str
    cells: list[Cell]


class Select(NamedTuple):
    """A filter to choose from: its options are (value, text, number of cases)."""

    name: str
    title: str
    options: list[tuple[str, str, int]]


class Cohort(NamedTuple):
    """All cases: columns, of which the first names the case, filters, and for each case the text that a search sees."""

    columns: list[Column]
    selects: list[Select]
    words: list[str]


def worst_first(cases: Sequence[ReportedCase]) -> list[ReportedCase]:
    """Failed cases, then waiting ones, then those with missing bones, then those with other flags."""

    def rank(case: ReportedCase) -> tuple[int, int, int]:
        flags = [flag for flag, _ in case.all_flags]
        grave = sum(flag in GRAVE for flag in flags)
        return _STATUSES.index(case.result.status), -grave, -bool(flags)

    return sorted(cases, key=rank)


def tabulate_cases(cases: Sequence[ReportedCase]) -> Cohort:
    """Table, filters and search of the cases, in their order."""
    columns = [
        Column("Case", "text", [Cell("", key=case.result.case) for case in cases]),
        _text_column("Domain", (case.result.domain for case in cases)),
        Column("Status", "number", [Cell("", key=_STATUSES.index(case.result.status)) for case in cases]),
        Column("Bones found", "number", [_found(case) for case in cases]),
        Column(
            "Flags, cause", "number", [Cell("", key=len(case.all_flags) + bool(case.result.cause)) for case in cases]
        ),
    ]
    if any(math.isfinite(bone.confidence) for case in cases for bone in case.bones):
        columns.append(Column("Lowest confidence", "number", [_confidence(case) for case in cases]))
    if any(case.rows for case in cases):
        columns.append(Column("Lowest Dice", "number", [_dice(case) for case in cases]))
        for name in ("assd_mm", "mssd_mm"):
            title = f"Highest {name.removesuffix('_mm').upper()} mm"
            columns.append(Column(title, "number", [_distance(case, name) for case in cases]))
    if any(case.side for case in cases):
        columns.append(_text_column("To the model", (_SIDES.get(case.side, "") for case in cases)))
    return Cohort(columns, _selects(cases), [" ".join(_words(case)).lower() for case in cases])


def _words(case: ReportedCase) -> Iterator[str]:
    yield from (_SIDES.get(case.side, ""), case.result.case, case.result.domain, case.result.status, case.result.cause)
    yield from case.notes
    yield from (word for flag in case.all_flags for word in flag)
    yield from (bone.name for bone in case.bones)


def _selects(cases: Sequence[ReportedCase]) -> list[Select]:
    statuses = Counter(case.result.status for case in cases)
    domains = Counter(case.result.domain for case in cases)
    flags = Counter(flag for case in cases for flag in dict(case.all_flags))
    flagged = sum(bool(case.all_flags) for case in cases)
    chosen = [("any", "any flag", flagged), ("none", "no flag", len(cases) - flagged)]
    return [
        Select("status", "Status", [(name, name, statuses[name]) for name in _STATUSES if statuses[name]]),
        Select("domain", "Domain", [(f"is:{name}", name or "unknown", domains[name]) for name in sorted(domains)]),
        Select("flag", "Flags", [*chosen, *((f"is:{name}", name, number) for name, number in flags.most_common())]),
    ]


def _text_column(title: str, texts: Iterable[str]) -> Column:
    return Column(title, "text", [Cell(text or DASH, key=text) for text in texts])


def _found(case: ReportedCase) -> Cell:
    if not case.bones:
        return Cell(DASH, key=-1)
    found, every = sum(bone.volume_ml > 0 for bone in case.bones), len(case.bones)
    return Cell(f"{found} of {every}", is_bad=found < every, key=found / every)


def _lowest(bones: Sequence[ReportedBone], values: Sequence[float], digits: int) -> Cell:
    """The lowest of some numbers, with its bone; a bone without a number is passed over."""
    pairs = [(value, bone.name) for value, bone in zip(values, bones, strict=True) if math.isfinite(value)]
    if not pairs:
        return Cell(DASH, key=-1)
    value, name = min(pairs)
    return number_cell(value, digits)._replace(note=name, key=value)


def _confidence(case: ReportedCase) -> Cell:
    missing = [bone.name for bone in case.bones if not bone.volume_ml]
    if missing:
        return Cell("missing", note=", ".join(missing), is_bad=True, key=-0.5)
    return _lowest(case.bones, [bone.confidence for bone in case.bones], 2)


def _dice(case: ReportedCase) -> Cell:
    scored = [bone for bone in case.bones if bone.score is not None]
    return _lowest(scored, [bone.score.dice for bone in scored if bone.score is not None], 3)


def _distance(case: ReportedCase, name: str) -> Cell:
    scores = [bone.score for bone in case.bones if bone.score is not None]
    if any(score.status in ("missed", "false_find") for score in scores):
        return Cell("undefined", is_bad=True, key=1e9)
    values = [getattr(score, name) for score in scores if math.isfinite(getattr(score, name))]
    return number_cell(max(values), 2)._replace(key=max(values)) if values else Cell(DASH, key=1e8)

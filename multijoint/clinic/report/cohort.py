"""The table of all cases, and what it is sorted and filtered by."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from multijoint.clinic.report.cases import ReportedBone, ReportedCase
from multijoint.clinic.report.html import GRAVE, escape, flag_list, show_number

__all__ = ["draw_cohort", "worst_first"]

_STATUSES = ("failed", "waiting", "segmented")
_SIDES = {"training": "trained on", "validation": "validated on", "testing": "unseen"}


class _Cell(NamedTuple):
    """What a cell shows, as HTML, and what it is sorted by: a number that is missing counts as the worst."""

    shown: str
    key: str | float


class _Column(NamedTuple):
    title: str
    kind: str
    cell: Callable[[ReportedCase], _Cell]


def worst_first(cases: Sequence[ReportedCase]) -> list[ReportedCase]:
    """What failed, then what nobody came to, then missing bones, then other flags; else the order they came in."""

    def rank(case: ReportedCase) -> tuple[int, int, int]:
        flags = [flag for flag, _ in case.all_flags]
        grave = sum(flag in GRAVE for flag in flags)
        return _STATUSES.index(case.result.status), -grave, -bool(flags)

    return sorted(cases, key=rank)


def draw_cohort(cases: Sequence[ReportedCase]) -> str:
    """Controls and table; the rows refer to cards by their number.

    Args:
        cases: in the order of their cards.
    """
    columns = [
        _Column("Case", "text", lambda case: _Cell("", case.result.case)),
        _Column("Domain", "text", lambda case: _text(case.result.domain)),
        _Column("Status", "number", _status),
        _Column("Bones found", "number", _found),
        _Column("Flags, cause", "number", _flags),
    ]
    bones = [bone for case in cases for bone in case.bones]
    if any(math.isfinite(bone.confidence) for bone in bones):
        columns.append(_Column("Lowest confidence", "number", _confidence))
    if any(case.rows for case in cases):
        columns += [
            _Column("Lowest Dice", "number", _dice),
            _Column("Highest ASSD mm", "number", lambda case: _distance(case, "assd_mm")),
            _Column("Highest MSSD mm", "number", lambda case: _distance(case, "mssd_mm")),
        ]
    if any(case.side for case in cases):
        columns.append(_Column("To the model", "text", lambda case: _text(_SIDES.get(case.side, ""))))
    head = "".join(
        f'<th scope="col" data-kind="{column.kind}"><button type="button">{column.title}</button></th>'
        for column in columns
    )
    rows = "".join(_row(number, case, columns) for number, case in enumerate(cases))
    return (
        f"{_controls(cases)}"
        '<div class="scroll cohort" tabindex="0" role="region" aria-label="Table of all cases">'
        f'<table id="cohort"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(number: int, case: ReportedCase, columns: Sequence[_Column]) -> str:
    result = case.result
    words = [_SIDES.get(case.side, ""), result.case, result.domain, result.status, result.cause, *case.notes]
    words += [word for flag in case.all_flags for word in flag] + [bone.name for bone in case.bones]
    flags = list(dict.fromkeys(flag for flag, _ in case.all_flags))
    cells = "".join(
        f'<td class="{_class(column)}" data-sort="{escape(cell.key)}">{cell.shown}</td>'
        for column in columns[1:]
        for cell in (column.cell(case),)
    )
    return (
        f'<tr data-card="case-{number}" data-status="{result.status}" data-domain="{escape(result.domain)}" '
        f'data-flags="{escape(json.dumps(flags))}" data-text="{escape(" ".join(words).lower())}">'
        f'<th scope="row" data-sort="{escape(result.case)}"><a href="#case-{number}">{escape(result.case)}</a></th>'
        f"{cells}</tr>"
    )


def _class(column: _Column) -> str:
    return {"Flags, cause": "cause", "Status": ""}.get(column.title, "number" if column.kind == "number" else "")


def _controls(cases: Sequence[ReportedCase]) -> str:
    statuses = Counter(case.result.status for case in cases)
    domains = Counter(case.result.domain for case in cases)
    flags = Counter(flag for case in cases for flag in dict.fromkeys(flag for flag, _ in case.all_flags))
    flagged = sum(bool(case.all_flags) for case in cases)
    return (
        '<form id="controls" class="controls" role="search" aria-label="Filter the cases" autocomplete="off" hidden>'
        '<label>Search<input type="search" name="text" placeholder="name, bone, cause"></label>'
        + _select("status", "Status", [(name, name, statuses[name]) for name in _STATUSES if statuses[name]])
        + _select("domain", "Domain", [(f"is:{name}", name or "unknown", domains[name]) for name in sorted(domains)])
        + _select(
            "flag",
            "Flags",
            [
                ("any", "any flag", flagged),
                ("none", "no flag", len(cases) - flagged),
                *((f"is:{name}", name, number) for name, number in flags.most_common()),
            ],
        )
        + '<button type="reset">Show all</button></form>'
        f'<p id="count" role="status">All {len(cases)} cases are shown.</p>'
    )


def _select(name: str, title: str, options: Sequence[tuple[str, str, int]]) -> str:
    items = "".join(f'<option value="{escape(value)}">{escape(text)} ({n})</option>' for value, text, n in options)
    return f'<label>{title}<select name="{name}"><option value="">all</option>{items}</select></label>'


def _text(text: str) -> _Cell:
    return _Cell(escape(text) or "&ndash;", text)


def _status(case: ReportedCase) -> _Cell:
    status = case.result.status
    return _Cell(f'<span class="status-{status}">{status}</span>', _STATUSES.index(status))


def _flags(case: ReportedCase) -> _Cell:
    shown = flag_list(case.all_flags) + (f"<p>{escape(case.result.cause)}</p>" if case.result.cause else "")
    return _Cell(shown or "none", len(case.all_flags) + bool(case.result.cause))


def _found(case: ReportedCase) -> _Cell:
    if not case.bones:
        return _Cell("&ndash;", -1)
    found = sum(bone.volume_ml > 0 for bone in case.bones)
    shown = f"{found} of {len(case.bones)}"
    return _Cell(shown if found == len(case.bones) else f'<span class="bad">{shown}</span>', found / len(case.bones))


def _worst(bones: Sequence[ReportedBone], values: Sequence[float], digits: int) -> _Cell:
    """The lowest of some numbers, with its bone; a bone without a number is passed over."""
    pairs = [(value, bone.name) for value, bone in zip(values, bones, strict=True) if math.isfinite(value)]
    if not pairs:
        return _Cell("&ndash;", -1)
    value, name = min(pairs)
    return _Cell(f'{show_number(value, digits)} <small class="soft">{escape(name)}</small>', value)


def _confidence(case: ReportedCase) -> _Cell:
    missing = [bone.name for bone in case.bones if not bone.volume_ml]
    if missing:
        return _Cell(f'<span class="bad">missing</span> <small class="soft">{escape(", ".join(missing))}</small>', -0.5)
    return _worst(case.bones, [bone.confidence for bone in case.bones], 2)


def _dice(case: ReportedCase) -> _Cell:
    scored = [bone for bone in case.bones if bone.score is not None]
    return _worst(scored, [bone.score.dice for bone in scored if bone.score is not None], 3)


def _distance(case: ReportedCase, name: str) -> _Cell:
    scores = [bone.score for bone in case.bones if bone.score is not None]
    if any(score.status in ("missed", "false_find") for score in scores):
        return _Cell('<span class="bad">undefined</span>', 1e9)
    values = [getattr(score, name) for score in scores if math.isfinite(getattr(score, name))]
    return _Cell(show_number(max(values), 2), max(values)) if values else _Cell("&ndash;", 1e8)

"""Counts of cases, each bone over all cases, models and settings; and the bones of one case, for its card."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from custom_components.metrics.score_summaries import ScoreSummary, summarise
from custom_components.system.pages import show_number
from custom_components.system.terminal import count

from multijoint.clinic.report.cases import ReportedBone, ReportedCase
from multijoint.clinic.report.tables import DASH, GRAVE, Cell, Table, number_cell, plain_text


class Overview(NamedTuple):
    """All cases together: numbers with their meaning, a row a domain and bone, and what made the label maps.

    Several models, settings or versions at once are worth seeing.
    """

    counts: list[tuple[int, str]]
    bones: Table
    origin: list[tuple[str, str]]


def look_over(cases: Sequence[ReportedCase]) -> Overview:
    """Count and summarise the cases of a report."""
    statuses = Counter(case.result.status for case in cases)
    grave = sum(any(flag in GRAVE for flag, _ in case.all_flags) for case in cases)
    counts = [
        (len(cases), "case" if len(cases) == 1 else "cases"),
        (statuses["segmented"], "segmented"),
        (statuses["failed"], "failed"),
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
    shown = [*counts[:3], *(pair for pair in counts[3:] if pair[0])]
    return Overview(shown, _tabulate(cases), [(name, _count(texts)) for name, texts in origin.items()])


def _tabulate(cases: Sequence[ReportedCase]) -> Table:
    groups: dict[tuple[str, str], list[ReportedBone]] = {}
    for case in cases:
        for bone in case.bones:
            groups.setdefault((case.result.domain or "unknown", bone.name), []).append(bone)
    summaries = {(each.domain, each.label): each for each in summarise([row for case in cases for row in case.rows])}
    has_confidence = any(math.isfinite(bone.confidence) for bones in groups.values() for bone in bones)
    is_one = all(len(bones) == 1 for bones in groups.values())  # then nothing is spread
    header = ["Bone", "Domain", "Cases", "Missing", "Volume ml" + ("" if is_one else ": median (least to most)")]
    header += ["Confidence" + ("" if is_one else ": median (least)")] if has_confidence else []
    scores = ("Dice", "ASSD mm") if is_one else ("Dice: mean (SD; n)", "ASSD mm: mean (n)")
    header += [scores[0], "Missed", "False finds", scores[1]] if summaries else []
    rows = []
    for (domain, name), bones in groups.items():
        found = [bone for bone in bones if bone.volume_ml]
        row = [Cell(name), Cell(domain), Cell(str(len(bones))), _bad_count(len(bones) - len(found))]
        row.append(_spread([bone.volume_ml for bone in found], 1))
        row += [_spread([bone.confidence for bone in found], 2, most=False)] if has_confidence else []
        row += _scores(summaries.get((domain, name)), is_one) if summaries else []
        rows.append(row)
    return Table("Each bone over all cases", header, rows, num_left=2)


def _scores(summary: ScoreSummary | None, is_one: bool) -> list[Cell]:
    if summary is None:
        return [Cell(DASH)] * 4
    spread = f"{show_number(summary.dice_sd, 3)}; {summary.n_dice}" if summary.n_dice > 1 else str(summary.n_dice)
    return [
        Cell(show_number(summary.dice_mean, 3) + ("" if is_one else f" ({spread})")),
        _bad_count(summary.missed),
        _bad_count(summary.false_finds),
        Cell(show_number(summary.assd_mean_mm, 2) + ("" if is_one else f" ({summary.n_distance})")),
    ]


def _bad_count(number: int) -> Cell:
    return Cell(str(number), is_bad=number > 0)


def _spread(values: Sequence[float], digits: int, *, most: bool = True) -> Cell:
    numbers = [value for value in values if math.isfinite(value)]
    if not numbers:
        return Cell(DASH)
    middle = f"{statistics.median(numbers):.{digits}f}"
    if len(numbers) == 1:
        return Cell(middle)
    upper = f" to {max(numbers):.{digits}f}" if most else ""
    return Cell(f"{middle} ({min(numbers):.{digits}f}{upper})")


def _settings(settings: object) -> str:
    given = settings.items() if isinstance(settings, dict) else None
    return "not recorded" if given is None else ", ".join(f"{name} {plain_text(value)}" for name, value in given)


def _count(texts: Sequence[str]) -> str:
    counter = Counter(texts)
    if len(counter) == 1:
        return texts[0]
    return "; ".join(f"{text} ({count(number, 'case')})" for text, number in counter.most_common())


def tabulate_bones(case: ReportedCase) -> Table:
    """The columns behind the name of each bone: volume, and others that some bone of the case has a value for."""
    columns = {"Volume ml": [_volume(bone) for bone in case.bones]}
    if any(math.isfinite(bone.surface_mm2) for bone in case.bones):
        columns["Surface cm\u00b2"] = [number_cell(bone.surface_mm2 / 100, 1) for bone in case.bones]
    if any(math.isfinite(bone.confidence) for bone in case.bones):
        columns["Confidence"] = [_confidence(bone) for bone in case.bones]
    if any(bone.score is not None for bone in case.bones):
        scores = [_bone_scores(bone) for bone in case.bones]
        columns |= {title: [row[k] for row in scores] for k, title in enumerate(("Dice", "ASSD mm", "MSSD mm"))}
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return Table(f"Bones of {case.result.case}", list(columns), rows, num_left=0)


def _volume(bone: ReportedBone) -> Cell:
    if not bone.volume_ml:
        return Cell("missing", is_bad=True)
    return Cell(f"{bone.volume_ml:.1f}" if bone.volume_ml >= 1 else f"{bone.volume_ml:.2g}")


def _confidence(bone: ReportedBone) -> Cell:
    if not bone.volume_ml or not math.isfinite(bone.confidence):
        return Cell(DASH)
    return Cell(f"{bone.confidence:.2f}", note="" if bone.calibrated else "uncalibrated")


def _bone_scores(bone: ReportedBone) -> list[Cell]:
    score = bone.score
    if score is not None and score.status == "ok":
        return [number_cell(score.dice, 3), number_cell(score.assd_mm, 2), number_cell(score.mssd_mm, 2)]
    dice = {
        "absent": Cell("", note="in neither"),
        "missed": Cell("0 missed", is_bad=True),
        "false_find": Cell("0 false find", is_bad=True),
    }
    return [Cell(DASH) if score is None else dice[score.status], Cell(DASH), Cell(DASH)]

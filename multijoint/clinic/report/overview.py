"""The head of a report of segmentations: how many came out, each bone over all cases, and what made them."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from custom_components.metrics.score_summaries import ScoreSummary, summarise

from multijoint.clinic.report.cases import ReportedBone, ReportedCase
from multijoint.clinic.report.html import GRAVE, escape, facts, plain_table, show_number

__all__ = ["draw_overview"]


def draw_overview(cases: Sequence[ReportedCase], notes: Sequence[str]) -> str:
    """Counts, a row a domain and bone, and the models and settings of the results.

    Args:
        cases: of the report.
        notes: about all of them.
    """
    statuses = Counter(case.result.status for case in cases)
    grave = sum(any(flag in GRAVE for flag, _ in case.all_flags) for case in cases)
    flagged = sum(bool(case.all_flags) for case in cases)
    counts = [
        (len(cases), "cases"),
        (statuses["segmented"], "segmented"),
        (statuses["failed"], "failed"),
        (statuses["waiting"], "not reached"),
        (grave, "with a bone missing, missed or falsely found"),
        (flagged, "with any flag"),
    ]
    always = ("cases", "segmented", "failed")
    items = "".join(f"<li><b>{number}</b>{text}</li>" for number, text in counts if number or text in always)
    told = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f'<ul class="counts">{items}</ul>'
        + (f'<ul class="notes">{told}</ul>' if told else "")
        + _bones(cases)
        + _origin(cases)
    )


def _bones(cases: Sequence[ReportedCase]) -> str:
    groups: dict[tuple[str, str], list[ReportedBone]] = {}
    for case in cases:
        for bone in case.bones:
            groups.setdefault((case.result.domain or "unknown", bone.name), []).append(bone)
    if not groups:
        return ""
    summaries = {(each.domain, each.label): each for each in summarise([row for case in cases for row in case.rows])}
    has_confidence = any(math.isfinite(bone.confidence) for bones in groups.values() for bone in bones)
    header = ["Bone", "Domain", "Cases", "Missing", "Volume ml: median (least to most)"]
    header += ["Confidence: median (least)"] if has_confidence else []
    header += ["Dice: mean (SD; n)", "Missed", "False finds", "ASSD mm: mean (n)"] if summaries else []
    rows = []
    for (domain, name), bones in groups.items():
        found = [bone for bone in bones if bone.volume_ml]
        missing = len(bones) - len(found)
        row = [
            escape(name),
            escape(domain),
            str(len(bones)),
            f'<span class="bad">{missing}</span>' if missing else "0",
            _spread([bone.volume_ml for bone in found], 1),
        ]
        row += [_spread([bone.confidence for bone in found], 2, most=False)] if has_confidence else []
        row += _score_cells(summaries.get((domain, name))) if summaries else []
        rows.append(row)
    return plain_table(header, rows, num_left=2, label="Each bone over all cases")


def _score_cells(summary: ScoreSummary | None) -> list[str]:
    if summary is None:
        return ["&ndash;"] * 4
    spread = f"{show_number(summary.dice_sd, 3)}; {summary.n_dice}"
    return [
        f"{show_number(summary.dice_mean, 3)} ({spread})",
        f'<span class="bad">{summary.missed}</span>' if summary.missed else "0",
        f'<span class="bad">{summary.false_finds}</span>' if summary.false_finds else "0",
        f"{show_number(summary.assd_mean_mm, 2)} ({summary.n_distance})",
    ]


def _spread(values: Sequence[float], digits: int, *, most: bool = True) -> str:
    numbers = [value for value in values if math.isfinite(value)]
    if not numbers:
        return "&ndash;"
    upper = f" to {max(numbers):.{digits}f}" if most else ""
    return f"{statistics.median(numbers):.{digits}f} ({min(numbers):.{digits}f}{upper})"


def _origin(cases: Sequence[ReportedCase]) -> str:
    """Which models, settings and versions made the label maps; several at once are worth seeing."""
    records = [case.result.record for case in cases if case.result.record]
    models = Counter(str(record.get("model_sha256") or "not recorded")[:16] for record in records)
    settings = Counter(_settings(record.get("settings")) for record in records)
    versions = Counter(str(record.get("version") or "not recorded") for record in records)
    pairs = [("Model, SHA-256", models), ("Settings", settings), ("multijoint", versions)]
    return facts((name, _counted(counter)) for name, counter in pairs)


def _settings(settings: object) -> str:
    if not isinstance(settings, dict):
        return "not recorded"
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _counted(counter: Counter[str]) -> str:
    if len(counter) == 1:
        return escape(next(iter(counter)))
    return "; ".join(f"{escape(text)} ({number} cases)" for text, number in counter.most_common())

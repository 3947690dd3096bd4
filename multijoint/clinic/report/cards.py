"""The bones of a case as a table for its card: volume, surface, confidence and scores, as far as they are known."""

from __future__ import annotations

import math

from multijoint.clinic.report.cases import ReportedBone, ReportedCase
from multijoint.clinic.report.tables import DASH, Cell, Table, number_cell

__all__ = ["tabulate_bones"]


def tabulate_bones(case: ReportedCase) -> Table:
    """The columns behind the name of each bone: volume, and others that some bone of the case has a value for."""
    columns = {"Volume ml": [_volume(bone) for bone in case.bones]}
    if any(math.isfinite(bone.surface_mm2) for bone in case.bones):
        columns["Surface cm\u00b2"] = [number_cell(bone.surface_mm2 / 100, 1) for bone in case.bones]
    if any(math.isfinite(bone.confidence) for bone in case.bones):
        columns["Confidence"] = [_confidence(bone) for bone in case.bones]
    if any(bone.score is not None for bone in case.bones):
        scores = [_scores(bone) for bone in case.bones]
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


def _scores(bone: ReportedBone) -> list[Cell]:
    score = bone.score
    if score is not None and score.status == "ok":
        return [number_cell(score.dice, 3), number_cell(score.assd_mm, 2), number_cell(score.mssd_mm, 2)]
    dice = {
        "absent": Cell("", note="in neither"),
        "missed": Cell("0 missed", is_bad=True),
        "false_find": Cell("0 false find", is_bad=True),
    }
    return [Cell(DASH) if score is None else dice[score.status], Cell(DASH), Cell(DASH)]

"""The card of a case: its picture, its bones with the colours of the legend, and what must be said."""

from __future__ import annotations

import math

from custom_components.domains import COLORS

from multijoint.clinic.report.cases import ReportedBone, ReportedCase
from multijoint.clinic.report.html import data_uri, escape, flag_list, show_number

__all__ = ["draw_card"]


def draw_card(number: int, case: ReportedCase) -> str:
    """An `article` of a case.

    Args:
        number: its place in the report; its anchor is `case-<number>`.
        case: with or without a label map.
    """
    result = case.result
    about = [f'<span class="status-{result.status}">{result.status}</span>']
    about += [f'<span class="soft">{escape(result.domain)}</span>'] if result.domain else []
    cause = f'<p class="bad">{escape(result.cause)}</p>' if result.cause else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in case.notes)
    body = cause + (f'<ul class="notes">{notes}</ul>' if notes else "")
    table = _bone_table(case) if case.bones else ""
    flags = flag_list((flag, "") for flag in case.flags)
    picture = _figure(case) if case.picture else ""
    return (
        f'<article class="card{" wide" if picture else ""}" id="case-{number}" tabindex="-1" '
        f'aria-labelledby="name-{number}"><header><h3 id="name-{number}">{escape(result.case)}</h3>'
        f'{"".join(about)}{flags}<a class="up" href="#cases">Back to the table</a></header>'
        f"{picture}<div>{table}{body}</div></article>"
    )


def _figure(case: ReportedCase) -> str:
    assert case.picture is not None
    found = [f"{bone.value} {bone.name}" for bone in case.bones if bone.volume_ml]
    alt = f"Axial, coronal and sagittal slice of {case.result.case}, with outlines of {', '.join(found) or 'no bone'}"
    white = " White: the reference." if case.rows else ""
    return (
        '<figure><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Picture of {escape(case.result.case)}"><img loading="lazy" decoding="async" '
        f'width="{case.picture.width}" height="{case.picture.height}" alt="{escape(alt)}" src="{data_uri(case)}"></div>'
        f"<figcaption>Axial, coronal, sagittal, to one scale; numbers as in the table.{white}</figcaption></figure>"
    )


def _bone_table(case: ReportedCase) -> str:
    bones = case.bones
    has_confidence = any(math.isfinite(bone.confidence) for bone in bones)
    has_surface = any(math.isfinite(bone.surface_mm2) for bone in bones)
    has_score = any(bone.score is not None for bone in bones)
    titles = ["Volume ml"]
    titles += ["Surface cm&sup2;"] if has_surface else []
    titles += ["Confidence"] if has_confidence else []
    titles += ["Dice", "ASSD mm", "MSSD mm"] if has_score else []
    head = "".join(f'<th scope="col" class="number">{title}</th>' for title in titles)
    rows = []
    for bone in bones:
        cells = [_volume(bone)]
        cells += [show_number(bone.surface_mm2 / 100, 1)] if has_surface else []
        cells += [_confidence(bone)] if has_confidence else []
        cells += _score_cells(bone) if has_score else []
        swatch = f'<span class="swatch c{(bone.index - 1) % len(COLORS)}">{bone.value}</span>'
        name = f'<th scope="row"><div class="bone">{swatch}<span>{escape(bone.name)}</span></div></th>'
        rows.append("<tr>" + name + "".join(f'<td class="number">{cell}</td>' for cell in cells) + "</tr>")
        if bone.flags:
            flags = flag_list((flag, bone.name) for flag in bone.flags)
            rows.append(f'<tr class="more"><td colspan="{len(titles) + 1}">{flags}</td></tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Bones of {escape(case.result.case)}"><table>'
        f'<thead><tr><th scope="col">Bone</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _volume(bone: ReportedBone) -> str:
    if not bone.volume_ml:
        return '<span class="bad">missing</span>'
    return f"{bone.volume_ml:.1f}" if bone.volume_ml >= 1 else f"{bone.volume_ml:.2g}"


def _confidence(bone: ReportedBone) -> str:
    if not bone.volume_ml or not math.isfinite(bone.confidence):
        return "&ndash;"
    return f"{bone.confidence:.2f}" + ("" if bone.calibrated else ' <small class="soft">uncalibrated</small>')


def _score_cells(bone: ReportedBone) -> list[str]:
    if bone.score is None:
        return ["&ndash;"] * 3
    if bone.score.status == "absent":
        return ['<small class="soft">in neither</small>', "&ndash;", "&ndash;"]
    if bone.score.status != "ok":
        word = {"missed": "missed", "false_find": "false find"}[bone.score.status]
        return [f'<span class="bad">0 {word}</span>', "&ndash;", "&ndash;"]
    return [f"{bone.score.dice:.3f}", show_number(bone.score.assd_mm, 2), show_number(bone.score.mssd_mm, 2)]

"""Findings about the cases of one data set: the problems of `examine`, then rules on labels, sizes and headers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from custom_components.domains import Domain
from custom_components.system.terminal import count

from multijoint.checks.checked_case import CheckedCase, Rule, Said
from multijoint.checks.cuts import CUT_RULES
from multijoint.checks.label_names import NAME_RULES
from multijoint.checks.measures import LARGE
from multijoint.checks.misplaced import PLACEMENT_RULES
from multijoint.checks.outliers import OUTLIER_RULES, RARE
from multijoint.checks.sides import SIDE_RULES

_STRAY = 30  # voxels; fewer are no bone where others have ten times as many
_SIDES = ("left", "right", "lt", "rt", "l", "r")

LEVELS = ("error", "warning", "note")
"""An error would spoil a training, a warning should be looked at, a note is good to know."""


@dataclass(frozen=True)
class Finding:
    """A message about a case, or about a data set (`case` empty)."""

    level: str
    rule: str
    domain: str
    case: str
    message: str


def sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, otherwise in the given order."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def find(cases: Sequence[CheckedCase], domain: Domain) -> list[Finding]:
    """Findings of one data set, errors first."""
    found = [Finding("error", rule, domain.name, case.name, text) for case in cases for rule, text in case.problems]
    usable = [case for case in cases if case.shape]
    for rule, check in RULES.items():
        found += [Finding(level, rule, domain.name, case, text) for level, case, text in check(usable, domain)]
    return sort_findings(found)


def _remarks(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    """Warnings of the reader; one line for those that most cases share."""
    remarks: dict[str, list[tuple[CheckedCase, str]]] = {}
    for case in cases:
        for text in case.remarks:
            kind = next((part for part in (" states no ", " voxel sizes", " sform ", " bytes ") if part in text), text)
            remarks.setdefault(kind, []).append((case, text))
    for said in remarks.values():
        if len(said) > max(1, len(cases) // 2):
            yield "warning", "", f"{len(said)} of {len(cases)} cases have this in common: {said[0][1]}"
        else:
            yield from (("warning", case.name, text) for case, text in said)


def _missing_bones(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    shown = [case for case in cases if case.bones]
    for name in domain.labels.values():
        without = [case for case in shown if name not in case.bones]
        having = len(shown) - len(without)
        if shown and not having:
            yield "error", "", f"{name} must be in some case, got it in none of {len(shown)}; correct the manifest"
        elif len(without) <= max(1, RARE * len(shown)) and having > len(without):
            for case in without:
                yield "warning", case.name, f"{name} is missing; {having} of {len(shown)} cases have it"
        elif without:
            yield "note", "", f"{name} is missing in {len(without)} of {len(shown)} cases"


def _components(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    for case in cases:
        for name, bone in case.bones.items():
            if len(bone.large) > 1:
                shares = " + ".join(f"{100 * size / bone.volume_ml:.0f} %" for size in bone.large[:5])
                text = f"{name} has {len(bone.large)} large components ({shares}), as growth plates make them"
                yield "note", case.name, f"{text}; post-processing keeps only the largest"
            specks = bone.num_components - len(bone.large)
            if specks > 0:
                small = f"{count(specks, 'component')} below {100 * LARGE:.0f} % of its volume"
                yield "note", case.name, f"{name} has {small}"


def _islands(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    """Parts far away from their bone, where other cases have none; a label of several bones has them always."""
    for name in domain.labels.values():
        having = [case for case in cases if name in case.bones]
        far = [case for case in having if case.bones[name].num_far]
        level = "warning" if len(far) <= max(1, RARE * len(having)) and len(having) > 1 else "note"
        for case in far:
            number = case.bones[name].num_far
            rest = f"{len(having) - len(far)} of {len(having)} cases have none"
            yield level, case.name, f"{name} has {number} parts far away from its largest; {rest}: label noise?"


def _strays(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    """Labels that are nowhere more than a few voxels: the manifest names a value that is no bone."""
    for name in domain.labels.values():
        having = [case for case in cases if name in case.bones]
        for case in having if all(_is_stray(case, name) for case in having) else ():
            number = case.bones[name].num_voxels
            text = f"{name} is only {number} {'voxel' if number == 1 else 'voxels'} large, and nowhere larger"
            yield "warning", case.name, f"{text}: a stray value?"


def _is_stray(case: CheckedCase, name: str) -> bool:
    usual = sorted(bone.num_voxels for bone in case.bones.values())[len(case.bones) // 2]
    return case.bones[name].num_voxels < min(_STRAY, usual / 10)


def _same_file(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    labels = {case.digests.label_file: case for case in cases if case.digests.label_file}
    for case in cases:
        other = labels.get(case.digests.image_file)
        if other is not None:
            whose = "its own label" if other is case else f"the label of {other.name}"
            yield "error", case.name, f"image must not be a label map, got the same file as {whose}; correct it"


def _subjects(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    for names in similar_names(list(dict.fromkeys(case.subject for case in cases))):
        shown = f"{', '.join(map(repr, names[:5]))}{' ...' if len(names) > 5 else ''}"
        yield "warning", "", f"subjects {shown} look like one person; if so, give all its cases one subject:"


def similar_names(names: Sequence[str]) -> list[list[str]]:
    """Groups, of two and more, of names that differ only in case, separators, leading zeros or a side; in order.

    Example:
        >>> similar_names(["Sub_007-left", "sub7", "s1-11", "s11-1", "s01L", "S1"])
        [['Sub_007-left', 'sub7'], ['s01L', 'S1']]
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        groups.setdefault(_name_key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _name_key(name: str) -> tuple[str, ...]:
    """Runs of letters and of digits, in any script, without the side; the name itself if nothing is left."""
    text = unicodedata.normalize("NFKC", name).casefold()
    runs = [run.lstrip("0") or "0" if run.isdecimal() else run for run in re.findall(r"\d+|[^\W\d_]+", text)]
    rest = [run for place, run in enumerate(runs) if run not in _SIDES or (place == 0 and len(run) < 3)]
    return tuple(rest) if any(map(str.isalnum, rest)) and rest else (name,)


def _sizes(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    labelled = len({case.subject for case in cases if case.case.label is not None})
    if labelled < 3:
        yield "error", "", f"labelled, readable subjects must be at least 3 (train, validate, test), got {labelled}"
    elif labelled < 6:
        yield "warning", "", f"only {labelled} labelled subjects: scores will say little"
    without = [case.name for case in cases if case.case.label is None]
    if without:
        yield "note", "", f"without a label, and so in no split: {count(len(without), 'case')}"


def _planes(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    off = [case for case in cases if case.thick_plane not in (None, domain.plane)]
    if len(off) > max(1, RARE * len(cases)):
        planes = " or ".join(sorted({str(case.thick_plane) for case in off}))
        text = f"slices of {len(off)} of {len(cases)} cases look {planes} by their voxel sizes, not {domain.plane}"
        yield "warning", "", f"{text}; correct plane: or slice_axis:"
        return
    for case in off:
        text = f"slices look {case.thick_plane} by their voxel sizes, not {domain.plane} as the manifest says"
        yield "warning", case.name, text


def _orientations(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    axes = [case.axes for case in cases]
    usual = max(axes, key=axes.count, default="")
    for case in cases:
        if case.axes != usual and axes.count(usual) >= (1 - RARE) * len(axes):
            yield "note", case.name, f"stored as {case.axes}, the others as {usual}; it is turned when read"


RULES: dict[str, Rule] = {
    "header": _remarks,
    "missing-bone": _missing_bones,
    "components": _components,
    "islands": _islands,
    "stray-value": _strays,
    **NAME_RULES,
    "same-file": _same_file,
    "subject-names": _subjects,
    "tiny-set": _sizes,
    "slice-plane": _planes,
    "axis-order": _orientations,
    **OUTLIER_RULES,
    **CUT_RULES,
    **SIDE_RULES,
    **PLACEMENT_RULES,
}
"""Rules about a case among the others; those about one file are `cases.examine`'s problems."""

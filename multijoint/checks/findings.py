"""What is said about the cases of one data set: rules on labels, sizes and headers; those of `examine` come first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from custom_components.domains import Domain

from multijoint.checks.measures import LARGE
from multijoint.checks.names import similar_names
from multijoint.checks.outliers import RARE, find_outliers
from multijoint.checks.records import Exam
from multijoint.checks.sides import find_swapped

__all__ = ["LEVELS", "RULES", "Finding", "find", "sort_findings"]

LEVELS = ("error", "warning", "note")
"""An error would spoil a training, a warning wants a look, a note is good to know."""


@dataclass(frozen=True)
class Finding:
    """One thing said of a case, or of a data set (`case` empty)."""

    level: str
    rule: str
    domain: str
    case: str
    message: str


def sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, otherwise in the given order."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def find(exams: Sequence[Exam], domain: Domain) -> list[Finding]:
    """Findings of one data set, errors first."""
    found = [
        Finding("error", rule, domain.name, exam.case.name, text) for exam in exams for rule, text in exam.problems
    ]
    usable = [exam for exam in exams if exam.shape]
    for rule, check in RULES.items():
        found += [Finding(level, rule, domain.name, case, text) for level, case, text in check(usable, domain)]
    return sort_findings(found)


Said = Iterator[tuple[str, str, str]]


def _remarks(exams: Sequence[Exam], domain: Domain) -> Said:
    """What the reader warns of; one line if it says so of most cases."""
    remarks: dict[str, list[tuple[Exam, str]]] = {}
    for exam in exams:
        for text in exam.remarks:
            kind = next((part for part in (" states no ", " voxel sizes", " sform ", " bytes ") if part in text), text)
            remarks.setdefault(kind, []).append((exam, text))
    for said in remarks.values():
        if len(said) > max(1, len(exams) // 2):
            yield "warning", "", f"{len(said)} of {len(exams)} cases have this in common: {said[0][1]}"
        else:
            yield from (("warning", exam.case.name, text) for exam, text in said)


def _missing_bones(exams: Sequence[Exam], domain: Domain) -> Said:
    shown = [exam for exam in exams if exam.bones]
    for name in domain.labels.values():
        without = [exam for exam in shown if name not in exam.bones]
        having = len(shown) - len(without)
        if shown and not having:
            yield "error", "", f"{name} must be in some case, got it in none of {len(shown)}; correct the manifest"
        elif len(without) <= max(1, RARE * len(shown)) and having > len(without):
            for exam in without:
                yield "warning", exam.case.name, f"{name} is missing; {having} of {len(shown)} cases have it"
        elif without:
            yield "note", "", f"{name} is missing in {len(without)} of {len(shown)} cases"


def _components(exams: Sequence[Exam], domain: Domain) -> Said:
    for exam in exams:
        for name, bone in exam.bones.items():
            if len(bone.large) > 1:
                shares = " + ".join(f"{100 * size / bone.volume_ml:.0f} %" for size in bone.large[:5])
                text = f"{name} has {len(bone.large)} large components ({shares}), as growth plates make them"
                yield "note", exam.case.name, f"{text}; post-processing keeps only the largest"
            specks = bone.num_components - len(bone.large)
            if specks > 0:
                yield "note", exam.case.name, f"{name} has {specks} components below {100 * LARGE:.0f} % of its volume"


def _islands(exams: Sequence[Exam], domain: Domain) -> Said:
    """Parts far away from their bone, where other cases have none; a label of several bones has them always."""
    for name in domain.labels.values():
        having = [exam for exam in exams if name in exam.bones]
        far = [exam for exam in having if exam.bones[name].num_far]
        level = "warning" if len(far) <= max(1, RARE * len(having)) and len(having) > 1 else "note"
        for exam in far:
            number = exam.bones[name].num_far
            rest = f"{len(having) - len(far)} of {len(having)} cases have none"
            yield level, exam.case.name, f"{name} has {number} parts far away from its largest; {rest}: label noise?"


def _same_file(exams: Sequence[Exam], domain: Domain) -> Said:
    labels = {exam.digests.label_file: exam for exam in exams if exam.digests.label_file}
    for exam in exams:
        other = labels.get(exam.digests.image_file)
        if other is not None:
            whose = "its own label" if other is exam else f"the label of {other.case.name}"
            yield "error", exam.case.name, f"image must not be a label map, got the same file as {whose}; correct it"


def _subjects(exams: Sequence[Exam], domain: Domain) -> Said:
    for names in similar_names(list(dict.fromkeys(exam.case.subject for exam in exams))):
        shown = f"{', '.join(map(repr, names[:5]))}{' ...' if len(names) > 5 else ''}"
        yield "warning", "", f"subjects {shown} look like one person; if so, give all its cases one subject:"


def _sizes(exams: Sequence[Exam], domain: Domain) -> Said:
    labelled = len({exam.case.subject for exam in exams if exam.case.label is not None})
    if labelled < 3:
        yield "error", "", f"labelled, readable subjects must be at least 3 (train, validate, test), got {labelled}"
    elif labelled < 6:
        yield "warning", "", f"only {labelled} labelled subjects: scores will say little"
    without = [exam.case.name for exam in exams if exam.case.label is None]
    if without:
        yield "note", "", f"{len(without)} cases have no label and are in no split"


def _planes(exams: Sequence[Exam], domain: Domain) -> Said:
    off = [exam for exam in exams if exam.thick_plane not in (None, domain.plane)]
    if len(off) > max(1, RARE * len(exams)):
        planes = " or ".join(sorted({str(exam.thick_plane) for exam in off}))
        text = f"slices of {len(off)} of {len(exams)} cases look {planes} by their voxel sizes, not {domain.plane}"
        yield "warning", "", f"{text}; correct plane: or slice_axis:"
        return
    for exam in off:
        text = f"slices look {exam.thick_plane} by their voxel sizes, not {domain.plane} as the manifest says"
        yield "warning", exam.case.name, text


def _orientations(exams: Sequence[Exam], domain: Domain) -> Said:
    axes = [exam.axes for exam in exams]
    usual = max(axes, key=axes.count, default="")
    for exam in exams:
        if exam.axes != usual and axes.count(usual) >= (1 - RARE) * len(axes):
            yield "note", exam.case.name, f"stored as {exam.axes}, the others as {usual}; it is turned when read"


RULES: dict[str, Callable[[Sequence[Exam], Domain], Said]] = {
    "header": _remarks,
    "missing-bone": _missing_bones,
    "components": _components,
    "islands": _islands,
    "same-file": _same_file,
    "subject-names": _subjects,
    "tiny-set": _sizes,
    "slice-plane": _planes,
    "axis-order": _orientations,
    **find_outliers,
    **find_swapped,
}
"""Rules about a case among the others; those about one file are `exams.examine`'s problems."""

"""What is said about the cases of a data set: rules on one case, and on one among the others."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from custom_components.checks.exams import Exam
from custom_components.domains import Domain

__all__ = ["LEVELS", "RULES", "Finding", "find"]

LEVELS = ("error", "warning", "note")
"""An error would spoil a training, a warning wants a look, a note is good to know."""

_FEW = 5  # cases that it takes to tell an outlier
_PLATE = 0.01  # share of a bone that the second component of a growth plate has at least


@dataclass(frozen=True)
class Finding:
    """One thing said of a case, or of a data set (`case` empty)."""

    level: str
    rule: str
    domain: str
    case: str
    message: str


def find(exams: Sequence[Exam], domain: Domain) -> list[Finding]:
    """Findings of one data set, errors first."""
    found = [
        Finding("error", rule, domain.name, exam.case.name, text) for exam in exams for rule, text in exam.problems
    ]
    usable = [exam for exam in exams if exam.shape]
    for rule, check in RULES.items():
        found += [Finding(level, rule, domain.name, case, text) for level, case, text in check(usable, domain)]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


Said = Iterator[tuple[str, str, str]]


def _missing_bones(exams: Sequence[Exam], domain: Domain) -> Said:
    shown = [exam for exam in exams if exam.bones]
    for name in domain.labels.values():
        without = [exam for exam in shown if name not in exam.bones]
        if shown and len(without) == len(shown):
            yield "error", "", f"{name} must be in some case, got it in none of {len(shown)}; correct the manifest"
        elif 2 * len(without) < len(shown):
            for exam in without:
                yield "warning", exam.case.name, f"{name} is missing; {len(shown) - len(without)} cases have it"


def _components(exams: Sequence[Exam], domain: Domain) -> Said:
    for exam in exams:
        for name, bone in exam.bones.items():
            large = [size for size in bone.components if size >= _PLATE * bone.volume_ml]
            if len(large) > 1:
                shares = " + ".join(f"{100 * size / bone.volume_ml:.0f} %" for size in large)
                text = f"{name} has {len(large)} large components ({shares}), as growth plates make them"
                yield "note", exam.case.name, f"{text}; post-processing keeps only the largest"
            if len(bone.components) > len(large):
                specks = len(bone.components) - len(large)
                yield "note", exam.case.name, f"{name} has {specks} specks below {100 * _PLATE:.0f} % of its volume"


def _duplicates(exams: Sequence[Exam], domain: Domain) -> Said:
    for first, second in combinations(exams, 2):
        same_person = first.case.subject == second.case.subject
        level, other = "warning" if same_person else "error", first.case.name
        if first.digests[0] == second.digests[0] or first.digests[1] == second.digests[1]:
            yield level, second.case.name, f"image must differ from that of {other}, got the same; leave one out"
        elif first.sizes == second.sizes and _likeness(first, second) > 0.9995:
            text = f"image must differ from that of {other}, got nearly the same (correlation > 0.9995)"
            yield level, second.case.name, f"{text}; leave one out, or give both the same subject"
        elif first.digests[2] and first.digests[2] == second.digests[2] and first.bones:
            yield "error", second.case.name, f"labels must differ from those of {other}, got the same; correct them"


def _subjects(exams: Sequence[Exam], domain: Domain) -> Said:
    by_key: dict[str, list[str]] = {}
    for subject in dict.fromkeys(exam.case.subject for exam in exams):
        by_key.setdefault(_subject_key(subject), []).append(subject)
    for names in by_key.values():
        if len(names) > 1:
            text = f"subjects {', '.join(names)} look like one person under several names"
            yield "warning", "", f"{text}; set subject: so that a split cannot part them"


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
    if off and len(off) == len(exams):
        yield "warning", "", f"slices look {off[0].thick_plane} by their voxel sizes, but the plane is {domain.plane}"
        return
    for exam in off:
        yield "warning", exam.case.name, f"slices look {exam.thick_plane} by their voxel sizes, not {domain.plane}"


def _orientations(exams: Sequence[Exam], domain: Domain) -> Said:
    axes = [exam.axes for exam in exams]
    usual = max(axes, key=axes.count, default="")
    for exam in exams:
        if exam.axes != usual and axes.count(usual) >= 0.8 * len(axes):
            yield "note", exam.case.name, f"stored as {exam.axes}, the others as {usual}; it is turned when read"


def _spacings(exams: Sequence[Exam], domain: Domain) -> Said:
    yield from _far_off(exams, "spacing", "mm", 2.0, lambda exam: exam.spacing_mm)
    yield from _far_off(exams, "field of view", "mm", 3.0, _extent_mm)


def _volumes(exams: Sequence[Exam], domain: Domain) -> Said:
    for name in domain.labels.values():
        having = [exam for exam in exams if name in exam.bones]
        yield from _far_off(having, f"volume of {name}", "ml", 5.0, partial(_volume_ml, name=name))


def _swapped(exams: Sequence[Exam], domain: Domain) -> Said:
    """The one case that is more like the others when it is mirrored, where all others are less so.

    Data sets that mix sides have no usual side; symmetric anatomy shows nothing along its axis of symmetry.
    """
    having = [exam for exam in exams if exam.layout.size]
    if len(having) < 2 * _FEW:
        return
    images, layouts = (np.stack(each) for each in zip(*((exam.thumbnail, exam.layout) for exam in having), strict=True))
    for axis, direction in enumerate(("left and right", "front and back", "top and bottom")):
        by_image, by_label = _preference(images, axis + 1), _preference(layouts, axis + 2)
        for what, against in (
            ("image and labels are", by_image & by_label),
            ("labels are", by_label & ~by_image),
            ("image is", by_image & ~by_label),
        ):
            if against.sum() == 1:
                case = having[int(against.argmax())].case.name
                text = f"{what} more like the {len(having) - 1} other cases with {direction} swapped"
                yield "warning", case, f"{text}: swapped by mistake, or another side shown"


def _preference(small: np.ndarray, axis: int) -> np.ndarray:
    """Which cases clearly prefer their mirror image, where cases clearly prefer to be as they are."""
    rest = small.sum(axis=0) - small
    along = tuple(range(1, small.ndim))
    rest /= np.sqrt(np.square(rest).sum(axis=along, keepdims=True))
    gain = ((small - np.flip(small, axis)) * rest).sum(axis=along)
    usual = float(np.median(gain))
    return (gain < -0.5 * usual) & (usual > 0.2)


def _intensities(exams: Sequence[Exam], domain: Domain) -> Said:
    for exam in exams:
        low, _, _, last, high = exam.percentiles
        if exam.num_levels < 16:
            yield (
                "warning",
                exam.case.name,
                f"image has only {exam.num_levels} grey levels; is it a label map or a mask?",
            )
        elif last == high and high > low:
            yield "warning", exam.case.name, "image is saturated: over 1 % of it has the highest intensity"
    ratios = [exam.contrast for exam in exams]
    known = [value for value in ratios if math.isfinite(value) and value > 0]
    if len(known) >= _FEW:
        usual = float(np.median(np.log(known)))
        for exam in exams:
            if exam.contrast > 0 and abs(math.log(exam.contrast) - usual) > math.log(2.5):
                text = (
                    f"bones are {exam.contrast:.2g} times as bright as the image, usually {math.exp(usual):.2g} times"
                )
                yield "warning", exam.case.name, f"{text}: other contrast, or labels in another place"


RULES: dict[str, Callable[[Sequence[Exam], Domain], Said]] = {
    "missing-bone": _missing_bones,
    "components": _components,
    "duplicate": _duplicates,
    "subject-names": _subjects,
    "tiny-set": _sizes,
    "slice-plane": _planes,
    "axis-order": _orientations,
    "size-outlier": _spacings,
    "volume-outlier": _volumes,
    "swapped": _swapped,
    "intensity": _intensities,
}
"""Rules about a case among the others; those about one file are `exams.examine`'s problems."""


def _far_off(
    exams: Sequence[Exam], what: str, unit: str, factor: float, values_of: Callable[[Exam], Sequence[float]]
) -> Said:
    """Cases that differ from the median by more than a factor; too few cases have no median to speak of."""
    if len(exams) < _FEW:
        return
    values = np.array([values_of(exam) for exam in exams])
    usual = np.median(values, axis=0)
    for exam, own in zip(exams, values, strict=True):
        if (np.maximum(own / usual, usual / own) > factor).any():
            shown, common = (" x ".join(f"{value:.3g}" for value in each) for each in (own, usual))
            yield "warning", exam.case.name, f"{what} is {shown} {unit}, usually {common} {unit}"


def _extent_mm(exam: Exam) -> Sequence[float]:
    return sorted(size * spacing for size, spacing in zip(exam.sizes, exam.spacing_mm, strict=True))


def _volume_ml(exam: Exam, *, name: str) -> Sequence[float]:
    return (exam.bones[name].volume_ml,)


def _likeness(first: Exam, second: Exam) -> float:
    return float((first.thumbnail * second.thumbnail).sum())


def _subject_key(subject: str) -> str:
    """What is left of a name without case, separators, leading zeros and the side.

    Example:
        >>> _subject_key("Sub_007-left") == _subject_key("sub7")
        True
    """
    parts = [
        part for part in re.split(r"[^a-z0-9]+", subject.casefold()) if part not in ("l", "r", "left", "right", "")
    ]
    return re.sub(r"(?<!\d)0+(?=\d)", "", "".join(parts))

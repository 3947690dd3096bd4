"""The series of an exam, and which one of them is segmented, by stated rules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from custom_components.errors import InputError
from custom_components.system.files import file_digest
from custom_components.system.terminal import align_columns

from multijoint.clinic.dicom.parts import MAGNITUDE
from multijoint.clinic.dicom.slices import ENHANCED, DicomFile
from multijoint.clinic.dicom.stacks import MIN_SLICES, Stack, stacks_of

RULE = (
    f"* is taken: the only usable series of its exam (MR; one grid of at least {MIN_SLICES} equally spaced slices; no "
    "localiser; a magnitude, not derived), or the one named with --series"
)
"""How a series is chosen, in one line."""

_MAX_LISTED = 5
_WITHHELD = "(withheld: names the patient)"
_EXPORT_AGAIN = "export it again"
_MOSAICS = {"MOSAIC", "VFRAME"}  # Siemens, United Imaging


@dataclass(frozen=True)
class Series:
    """One stack of a series, or a series that is none.

    Args:
        key: what `--series` calls it: the series number, with `.2` behind it for the second stack, and `-2` for the
            second series of that number.
        description: as shown: withheld where it names the patient.
        kind: modality, and more where it is not a plain image.
        stack: its slices in order.
        verdict: "usable"; "on request", taken only when named; or "refused".
        reason: for a verdict other than usable, as the end of a sentence that begins with the series.
        remedy: for a verdict of refused.
        warning: what may be missing although it can be taken, as the end of such a sentence; or "".
    """

    key: str
    uid: str
    description: str
    kind: str
    files: tuple[DicomFile, ...]
    stack: Stack
    verdict: str
    reason: str
    remedy: str = _EXPORT_AGAIN
    warning: str = ""


@dataclass(frozen=True)
class DicomExam:
    """The instances of one study.

    Args:
        name: for files and messages; says nothing of the patient.
        problems: a line for each file that is damaged or cannot be read.
        num_others: files in its folder that are not DICOM.
        aside: kinds of the objects without pixels, such as "Raw Data", one an object.
    """

    name: str
    series: tuple[Series, ...]
    problems: tuple[str, ...]
    num_others: int
    aside: tuple[str, ...] = ()


def choose_series(exam: DicomExam, wanted: str | None = None) -> Series:
    """The series to segment: the only usable one, or the one whose key or UID is `wanted`.

    Raises:
        InputError: none or several can be meant, the one meant cannot be used, or files of the exam cannot be read.
    """
    if exam.problems and (wanted is None or not exam.series):
        more = f" and {len(exam.problems) - 1} more" if len(exam.problems) > 1 else ""
        has_others = any(each.verdict != "refused" for each in exam.series)
        more += ", or name another series with --series" if has_others else ""
        raise InputError(f"exam {exam.name} must be readable as a whole, got: {exam.problems[0]}{more}")
    if not exam.series:
        rule = f"exam {exam.name} must have a usable MR series, got none"
        raise InputError(f"{rule} ({_said_aside(exam)}); export the images, too")
    if wanted is not None:
        return _named(exam, wanted)
    usable = [each for each in exam.series if each.verdict == "usable"]
    if len(usable) == 1:
        return usable[0]
    if usable:
        *others, last = (each.key for each in usable)
        listed = f"{', '.join(others)} and {last}"
        raise InputError(f"exam {exam.name} must have one usable series, got {listed}; name one with --series")
    reasons = ", ".join(f"series {each.key} {each.reason}" for each in exam.series[:_MAX_LISTED])
    more = f", and {len(exam.series) - _MAX_LISTED} more" if len(exam.series) > _MAX_LISTED else ""
    remedies = {each.remedy for each in exam.series if each.kind.startswith("MR")} or {exam.series[0].remedy}
    remedy = remedies.pop() if len(remedies) == 1 else _EXPORT_AGAIN
    if any(each.verdict == "on request" for each in exam.series):
        remedy = "name one with --series"
    raise InputError(f"exam {exam.name} must have a usable MR series, got none ({reasons}{more}); {remedy}")


def _named(exam: DicomExam, wanted: str) -> Series:
    """The series of a key or UID; a UID means the MR images, if other objects have it, too."""
    named = [each for each in exam.series if wanted in (each.key, each.uid)]
    named = [each for each in named if each.key == wanted or each.stack.slices] or named
    if len(named) != 1:
        keys = ", ".join(each.key for each in exam.series)
        found = repr(wanted) if not named else f"one that means {' and '.join(each.key for each in named)}"
        raise InputError(f"series of exam {exam.name} must be one of {keys}, got {found}; see multijoint dicom")
    if named[0].verdict == "refused":
        raise InputError(f"series {named[0].key} of exam {exam.name} {named[0].reason}; {named[0].remedy}")
    return named[0]


def format_exam(exam: DicomExam, chosen: Series | None = None) -> str:
    """A table, a line a series; the chosen one is marked."""
    rows: list[tuple[str, ...]] = [("series", "description", "kind", "slices", "voxels mm", "verdict")]
    for each in exam.series:
        shape, spacing = "-", "-"
        if each.stack.slices:
            first, affine = each.stack.slices[0], each.stack.affine
            depth = [] if affine is None else [float((affine[:3, 2] ** 2).sum() ** 0.5)]
            shape = f"{len(each.stack.slices)} of {first.shape[1]}x{first.shape[0]}"
            spacing = " x ".join(f"{size:.3g}" for size in (*first.spacing_mm[::-1], *depth))
        verdict = each.verdict if not each.reason else f"{each.verdict}: {each.reason}"
        rows.append((each.key, each.description or "-", each.kind, shape, spacing, verdict))
    marks = ["  ", *("* " if each is chosen else "  " for each in exam.series)]
    lines = [f"exam {exam.name}"]
    if exam.series:
        lines += [mark + line for mark, line in zip(marks, align_columns(rows), strict=True)]
    lines += [f"  unreadable: {problem}" for problem in exam.problems[:_MAX_LISTED]]
    more = len(exam.problems) - _MAX_LISTED
    lines += [f"  unreadable: {more} more"] if more > 0 else []
    lines += [f"  warning: series {each.key} {each.warning}" for each in exam.series if each.warning]
    lines += [f"  left aside: {_said_aside(exam)}"] if exam.aside else []
    files = "1 file that is" if exam.num_others == 1 else f"{exam.num_others} files that are"
    lines += [f"  passed over: {files} not DICOM"] if exam.num_others else []
    return "\n".join(lines)


def _said_aside(exam: DicomExam) -> str:
    """What an exam has besides images, in one line."""
    counts = sorted(Counter(exam.aside).items())
    return f"{', '.join(f'{number} {kind}' for kind, number in counts)}; without pixels"


def series_of(files: Sequence[DicomFile], damage: Mapping[str, str]) -> list[Series]:
    """The series of one exam, with keys that differ.

    Args:
        files: the images of the exam.
        damage: a line about a file that is damaged or cannot be read, by the UID of its series.
    """
    # Other objects under the images' own series UID, such as screenshots, are told apart from the images.
    groups: dict[tuple[str, bool], list[DicomFile]] = {}
    for file in files:
        groups.setdefault((file.series, not file.is_mr), []).append(file)
    found: list[Series] = []
    seen: dict[str, int] = {}
    for (uid, is_other), own in sorted(groups.items(), key=lambda group: (_number(group[1][0].number), group[0])):
        number = own[0].number or "none"
        seen[number] = seen.get(number, 0) + 1
        key = number if seen[number] == 1 else f"{number}-{seen[number]}"
        found += _stacks(key, uid, own, "" if is_other else damage.get(uid, ""))
    return found


def _stacks(key: str, uid: str, files: Sequence[DicomFile], damage: str) -> list[Series]:
    files, problem = _without_copies(files)
    words = frozenset().union(*(file.identity for file in files))
    description = next((file.description for file in files if file.description), "")
    description = _WITHHELD if tells(description, words) else description
    problem = f"must be readable as a whole, got: {damage}" if damage else problem or _series_problem(files)
    slices = [each for file in files for each in file.slices]
    problem = problem or ("" if slices else "must have slices")
    stacks = [Stack(tuple(slices), problem=problem)] if problem else stacks_of(slices)
    warning = _announced(files)
    result = []
    for number, stack in enumerate(stacks, 1):
        kind, request = _kind(files[0], stack)
        verdict, reason = ("on request", request) if request else ("usable", "")
        text = f"{description} ({stack.keys})" if stack.keys else description
        own = key if len(stacks) == 1 else f"{key}.{number}"
        series = Series(own, uid, text, kind, tuple(files), stack, verdict, reason, warning=warning)
        if stack.problem:
            reason, _, remedy = stack.problem.partition("; ")
            series = replace(series, verdict="refused", reason=reason, remedy=remedy or _EXPORT_AGAIN, warning="")
        result.append(series)
    return result


def _announced(files: Sequence[DicomFile]) -> str:
    """Whether fewer images are there than a header says that their acquisition has."""
    there = Counter[str]()
    for file in files:
        there[file.acquisition] += len(file.slices)
    for file in files:
        if file.num_in_acquisition > there[file.acquisition]:
            found = f"{there[file.acquisition]} of the {file.num_in_acquisition} images of an acquisition"
            return f"has {found} (ImagesInAcquisition); copy the others, too, if its first or last slices are missing"
    return ""


def _series_problem(files: Sequence[DicomFile]) -> str:
    """What refuses a series whatever its slices."""
    first = files[0]
    if first.modality != "MR":
        return f"must have modality MR, got {first.modality or 'none'}; give an MR exam"
    if not first.is_mr:
        return "must be MR images, got other objects (secondary captures?); export the images themselves"
    if any("LOCALIZER" in file.image_type for file in files):
        return "must be a volume, got a localiser (its ImageType says so); give another series"
    if any(_MOSAICS & set(file.image_type) for file in files):
        rule = "must have one slice an image, got mosaics (the slices of a volume side by side)"
        return f"{rule}; convert it with dcm2niix and give the NIfTI file"
    parts = Counter(file.concatenation for file in files)
    for (uid, announced), found in parts.items():
        if uid and found < announced:
            return f"must be complete, got {found} of {announced} files of a multi-frame image; copy the others, too"
    return next((file.problem for file in files if file.problem), "")


def _kind(file: DicomFile, stack: Stack) -> tuple[str, str]:
    """Kind of a series, and why it is taken on request only, if so."""
    kind = f"{file.modality or '?'}{' enhanced' if file.sop_class in ENHANCED else ''}"
    first = stack.slices[0] if stack.slices else None
    part = first.key("part") if first else ""
    if part not in ("", MAGNITUDE):
        return f"{kind} {part}", f"is {'an' if part.startswith('i') else 'a'} {part}, not a magnitude"
    own = first.key("type").upper().split("\\") if first and first.key("type") else file.image_type
    if "DERIVED" in own[:1] or "SECONDARY" in own[1:2]:
        return f"{kind} derived", "is derived from other images"
    return kind, ""


def _without_copies(files: Sequence[DicomFile]) -> tuple[list[DicomFile], str]:
    """Each instance once; several different files of one instance are a problem."""
    kept: dict[str, DicomFile] = {}
    problem = ""
    for file in files:
        other = kept.setdefault(file.uid or str(file.path), file)
        if other is not file and file_digest(other.path) != file_digest(file.path):
            problem = "must have one file an instance, got two different ones with one SOPInstanceUID"
    return list(kept.values()), problem


def tells(text: str, identity: Collection[str]) -> bool:
    """Whether a text has words of the patient's identity in it; short ones count as whole words only."""
    own = set(re.split(r"[\W_]+", text.casefold()))
    return bool(own & set(identity)) or any(len(word) > 3 and word in text.casefold() for word in identity)


def _number(text: str) -> tuple[int, str]:
    return (int(text), "") if text.lstrip("-").isdecimal() else (10**9, text)
